"""`ferbench leaderboard` over a store of hand-made rows: which are shown, in which order and form."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt

import ferbench.cli.boards as boards_printing
from ferbench.cli import root
from ferbench.fingerprints import PROTOCOL_VERSION, fingerprint
from ferbench.metrics import wilson
from ferbench.recipes import Recipe
from ferbench.records import Board, Environment, EpochResult, FurtherScores, Run, Score, StageResult
from ferbench.stages import RANDOM_WEIGHTS, Cell, Stage
from ferbench.store import open_store

N = 100
FILM = Board("b" * 64, "film", "val", N, "basic7", PROTOCOL_VERSION, 0.25)
OLD = Board("c" * 64, "film", "val", N, "basic7", PROTOCOL_VERSION - 1, 0.25)
FER = Board("d" * 64, "fer", "test", N, "basic7", PROTOCOL_VERSION, 0.25)
ENVIRONMENT = Environment("cpu", "a processor", 1, "3.11", "2.14", "0.1", "Linux")

#: Of each row: board, backbone, answers that are right per seed, seconds, learning rate.
ROWS = {
    "1": (FILM, "vgg16", (80, 84), 9.0, 0.01),
    "2": (FILM, "vgg11", (70, 74), 3.0, 0.001),
    "3": (FILM, "alexnet", (50, 52), 1.0, 0.01),
    "4": (FILM, "@alex|net", (20,), 2.0, 0.01),
    "5": (FER, "vgg16", (60, 61), 9.0, 0.01),
    "6": (OLD, "vgg16", (99,), 9.0, 0.01),
}

Call = Callable[..., Result]


def runs() -> list[tuple[Run, np.ndarray]]:
    found = []
    for name, (board, backbone, right, seconds, lr) in ROWS.items():
        for seed, count in enumerate(right):
            correct = np.arange(N) < count
            low, high = wilson(count, N)
            scores = tuple(Score(metric, count / N, N, low, high) for metric in ("accuracy", "uar", "macro_f1"))
            cell = Cell(backbone, "random", "s", board.target, (), Recipe(lr=lr), seed)
            chain = (fingerprint(["stage", name, seed]),)
            run = Run(
                *(fingerprint([name, seed]), name * 64, cell, "finished", board, RANDOM_WEIGHTS, ENVIRONMENT),
                **{"stages": chain, "scores": scores, "images_seen": 1000, "train_seconds": seconds},
                **{"select_content": "select", "select_accuracy": count / N},
            )
            found.append((run, correct))
    return found


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the rows, one failed, one scored on a further dataset, one whose epochs were looked at."""
    path = tmp_path_factory.mktemp("board") / "board.sqlite"
    with open_store(str(path)) as store:
        for run, correct in runs():
            store.save_run(run, correct)
        cell = Cell("alexnet", "random", "s", "film", (), Recipe(), 0)
        failed = Run("f" * 64, "f" * 64, cell, "failed", FILM, RANDOM_WEIGHTS, ENVIRONMENT, error="out of memory")
        store.save_run(failed, None)
        scores = tuple(Score(metric, 0.5, 9, 0.4, 0.6) for metric in ("accuracy", "uar", "macro_f1"))
        for seed in (0, 1):
            looked_at, scored = (fingerprint(["stage", name, seed]) for name in "12")
            history = tuple(EpochResult(n, 50 * n, 1.0, 1.0, target_accuracy=0.4 * n) for n in (1, 2))
            for name, epochs in ((looked_at, history), (scored, ())):
                stage = Stage(name, 0, "vgg16", RANDOM_WEIGHTS, (), ("a",), Recipe(), seed, None)
                cost = (name, 100, 8.0, 1.0, 1, epochs, "cpu", 1, 1, 1, "")
                store.save_stage(stage, StageResult(*cost, tracked="select" if epochs else ""))
            store.save_further_scores(scored, FurtherScores("fer2013", "PrivateTest", 9, "9" * 64, "basic7", scores))
    return path


@pytest.fixture
def ferbench_(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls `ferbench leaderboard`; `code` is the exit code that is expected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERBENCH_STORE", str(stored))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, ["leaderboard", *arguments])
        assert result.exit_code == code, result.output
        return result

    return call


def shown(text: str) -> list[str]:
    """The first digit of each row that is shown, a blank between boards."""
    found = re.findall(r"^ *\d+  (\d)\1{9}\b|^\w+ (?:val|test) (·)", text, re.MULTILINE)
    return "".join(row or " " for row, _ in found).split()


def entries(result: Result) -> list[list[tuple[str, int]]]:
    boards = json.loads(result.stdout)["boards"]
    return [[(entry["row"][0], entry["rank"]) for entry in board["entries"]] for board in boards]


def test_boards_of_an_older_protocol_stand_last_and_are_called_stale(ferbench_: Call) -> None:
    text = ferbench_().stdout
    assert shown(text) == ["5", "1234", "6"]
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("! stale: measured under protocol") == 1
    assert [board["stale"] for board in json.loads(ferbench_("--json").stdout)["boards"]] == [False, False, True]


def test_ranks_are_those_of_the_whole_board_whatever_is_shown(ferbench_: Call) -> None:
    ranks = dict(entries(ferbench_("--json"))[1])
    assert list(ranks.values()) == [1, 2, 3, 4]
    found = entries(ferbench_("--json", "--where", "backbone=alex*,@*", "--where", "protocol>0", "--sort", "time-"))
    assert found == [[("4", 4), ("3", 3)]]
    text = ferbench_("--where", "accuracy<60%", "--sort", "time", "--top", "1").stdout
    assert shown(text) == ["3"]
    assert "where accuracy<60% · sorted by train_seconds, least first · 1 of 4 rows shown" in text
    assert "not shown: 2 other boards with 2 rows, none of them where accuracy<60%" in text
    # What failed reached nothing; what it was is known.
    assert "out of memory" not in text and "out of memory" in ferbench_("--where", "backbone=alexnet").stdout
    assert shown(ferbench_("--top", "2", "-t", "film").stdout) == ["12", "6"]
    nothing = ferbench_("--where", "seed=7").stdout
    assert nothing == "not shown: 3 boards with 6 rows, none of them where seed=7\n"
    assert json.loads(ferbench_("--where", "seed=7", "--json").stdout) == {"boards": []}


def test_csv_has_the_numbers_of_the_json(ferbench_: Call) -> None:
    result = ferbench_("--csv", "--generalisation", "--where", "board=b", "--reach", "75")
    assert "failed runs have no line in the CSV (1 row)" in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    (board,) = json.loads(ferbench_("--json", "--where", "board=b").stdout)["boards"]
    assert [(row["row"], int(row["rank"]), float(row["accuracy"])) for row in rows] == [
        (entry["row"], entry["rank"], entry["accuracy"]["mean"]) for entry in board["entries"]
    ]
    assert rows[3]["backbone"] == "'@alex|net" and rows[1]["recipe.lr"] == "0.001"
    assert [row["fer2013 PrivateTest 999999 accuracy"] for row in rows] == ["", "0.5", "", ""]
    assert [row["seconds_to_75_percent"] for row in rows] == ["8.0", "", "", ""]


def test_markdown_is_a_table_a_board(ferbench_: Call) -> None:
    text = ferbench_("--markdown", "--cost", "--top", "3").stdout
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.type == "table_open" for token in tokens) == 3
    assert sum(token.type == "tr_open" for token in tokens) == 3 * 2 + 5
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings == ["fer test", "film val", "film val"]
    assert "3 of 4 rows shown" in text and "**stale: measured" in text and "\x1b" not in text


def test_rows_on_further_datasets_are_never_ranked_by_them(ferbench_: Call) -> None:
    text = ferbench_("--generalisation", "-t", "film").stdout
    assert shown(text) == ["1234", "6"]
    assert "fer2013 PrivateTest: n 9" in text and "50.0 ± 0.0" in text
    boards = json.loads(ferbench_("--generalisation", "--json").stdout)["boards"]
    further = {entry["row"][0]: entry["further"] for board in boards for entry in board["entries"]}
    assert [name for name, found in further.items() if found] == ["2"]
    assert (further["2"][0]["dataset"], further["2"][0]["seeds"]) == ("fer2013", [0, 1])


def test_time_to_an_accuracy(ferbench_: Call) -> None:
    text = ferbench_("--reach", "40", "--sort", "reach", "--where", "board=b").stdout
    assert re.search(r"1{10} .* 4\.0 s$", text, re.MULTILINE) and "to 40 %: training until" in text
    (board,) = json.loads(ferbench_("--reach", "40", "--json", "--where", "board=b").stdout)["boards"]
    assert board["entries"][0]["reach"] == {"accuracy": 0.4, "train_seconds": 4.0, "reached": 2, "seeds": 2}
    # Of the second row no epoch was looked at: its whole training counts. Of the others no stage is stored.
    assert [entry["reach"]["train_seconds"] for entry in board["entries"]] == [4.0, 8.0, None, None]
    assert "--sort reach needs" in ferbench_("--sort", "reach", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--json --csv", "--json and --csv are two ways"),
        ("--csv --markdown", "--csv and --markdown are two ways"),
        ("--cost --calibration", "--cost and --calibration show different columns"),
        ("--curves --markdown", "--curves cannot be printed with --markdown"),
        ("--csv --references", "published figures are no rows of the CSV"),
        ("--where acuracy>1", "did you mean accuracy"),
        ("--where accuracy>40", "write 0.4 or 40%"),
        ("--sort acuracy", "did you mean accuracy"),
        ("--top 0", "0 is not in the range"),
        ("--reach 0", "0"),
    ],
)
def test_what_does_not_go_together(ferbench_: Call, arguments: str, said: str) -> None:
    assert said in ferbench_(*arguments.split(), code=2).stderr


def test_a_run_ends_with_the_best_rows_and_its_own(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ferbench.leaderboard import leaderboards

    monkeypatch.setattr(boards_printing, "MOST_AT_THE_END", 2)
    monkeypatch.setenv("COLUMNS", "80")
    with open_store(str(stored), read_only=True) as store:
        tables = [table for table in leaderboards(store.leaderboard_rows()) if table.board in (FILM, FER)]
        boards_printing.show_boards(tables, ["4" * 64])
        text = capsys.readouterr().out
        assert shown(text) == ["5", "124"]
        assert "3 of 4 rows shown" in text and text.count("those of this command") == 1
        boards_printing.show_generalisation(store, tables, ["2" * 64])
    assert shown(capsys.readouterr().out) == ["2"]
