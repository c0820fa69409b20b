"""One board as files for papers, spreadsheets and scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ferbench.leaderboard import BoardTable, as_json
from ferbench.publish.board_columns import ACCURACY
from ferbench.publish.boards_csv import boards_csv
from ferbench.publish.boards_latex import PREAMBLE, board_latex, reported_latex
from ferbench.publish.boards_markdown import board_markdown, escaped, reported_markdown
from ferbench.records import ReportedResult
from ferbench.reported_results import as_json as reported_json


def board_files(table: BoardTable, reported: Sequence[ReportedResult] = ()) -> Mapping[str, str]:
    """The texts by their files' names: `leaderboard.md`, `.tex`, `.csv` and `.json`; the same for the same rows.

    They are what `ferbench leaderboard` prints of the board with `--markdown --references` and so on. Written as UTF-8
    and without changing line ends, which are the CSV's own.

    Parameters
    ----------
    reported : published figures, of which those of the board's target are taken; the CSV has none
    """
    board = table.board
    rows = (board, table.entries, table.failed)
    own = [result for result in reported if result.dataset == board.target]
    markdown = [board_markdown(*rows, hidden=table.hidden), reported_markdown(own, board.target, board.split)]
    markdown.append([escaped(ACCURACY.legend)] if table.entries else [])
    latex = [[*PREAMBLE], board_latex(*rows, hidden=table.hidden)]
    latex.append(reported_latex(own, board.target, board.split, board.fingerprint[:10]))
    content = {**as_json([table]), "references": [reported_json(result) for result in own]}
    return {
        "leaderboard.md": _joined(markdown),
        "leaderboard.tex": _joined(latex),
        "leaderboard.csv": boards_csv([(board, table.entries)]),
        "leaderboard.json": json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }


def _joined(blocks: Sequence[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"
