"""All files of a site, one after the other: paths from its folder, and bytes that are the same for the same rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import PurePosixPath

from ferbench.leaderboard import as_json
from ferbench.pages.board import BoardPage, hex_name
from ferbench.pages.row import RowPage
from ferbench.pages.site import Site
from ferbench.publish.board_columns import ACCURACY
from ferbench.publish.boards_csv import boards_csv
from ferbench.publish.boards_latex import board_latex
from ferbench.publish.boards_markdown import board_markdown, reported_markdown
from ferbench.publish.site.boards import board_html, index_html
from ferbench.publish.site.comparisons import across_html, comparison_html
from ferbench.publish.site.rows import row_html
from ferbench.publish.site.shell import Shell
from ferbench.reported_results import as_json as reported_json

File = tuple[PurePosixPath, bytes]

#: Scripts of the charts that stand on the overview.
_ACROSS_SCRIPTS = ("charts-compare.js",)


def site_files(site: Site) -> Iterator[File]:
    """Every file of a site, a row's when its turn comes; the overview comes last."""
    shell = Shell(site.title)
    yield from _assets()
    compared = set()
    for page in site.boards:
        folder = PurePosixPath(page.folder)
        comparison = site.comparison(page)
        if comparison is not None:
            compared.add(page.folder)
            yield folder / "compare.html", comparison_html(comparison, shell, "../../").encode()
        yield folder / "index.html", board_html(page, shell, compared=comparison is not None).encode()
        yield from _downloads(page, folder)
        for row in site.rows(page):
            yield from _row(row, shell, folder / "rows")
    across = site.across()
    text = "" if across is None else across_html(across, shell, "")
    overview = index_html(site, shell, compared=compared, across=text, scripts=_ACROSS_SCRIPTS)
    yield PurePosixPath("index.html"), overview.encode()


def _assets() -> Iterator[File]:
    folder = resources.files("ferbench.publish.site").joinpath("assets")
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        yield PurePosixPath("assets", each.name), each.read_bytes()


def _row(row: RowPage, shell: Shell, folder: PurePosixPath) -> Iterator[File]:
    name = hex_name(row.row)
    yield folder / f"{name}.html", row_html(row, shell, "../../../").encode()
    for picture, png in sorted(row.pictures.items()):
        if not re.fullmatch(r"[0-9a-f][0-9a-z-]*\.png", picture):
            raise ValueError(f"a picture's name becomes a file's: {picture!r} may not")
        yield folder / picture, png


def _downloads(page: BoardPage, folder: PurePosixPath) -> Iterator[File]:
    """The board for papers and scripts."""
    table = page.table
    markdown = board_markdown(table.board, table.entries, table.failed, hidden=table.hidden)
    if reported := reported_markdown(page.reported, table.board.target, table.board.split):
        markdown += ["", *reported]
    markdown += ["", ACCURACY.legend] if table.entries else []
    shown = as_json([table]) | {"references": [reported_json(result) for result in page.reported]}
    texts = {
        "csv": boards_csv([(table.board, table.entries)]),
        "json": json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "md": _text(markdown),
        "tex": _text(board_latex(table.board, table.entries, table.failed)),
    }
    for ending, text in texts.items():
        yield folder / f"leaderboard.{ending}", text.encode("utf-8", "replace")


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
