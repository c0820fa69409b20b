"""All files of a site, one after the other: paths from its folder, and bytes that are the same for the same rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import PurePosixPath

from ferbench.pages.board import hex_name
from ferbench.pages.site import PublishedRow, Site
from ferbench.publication.formats import board_files
from ferbench.publish.site.boards import board_html, index_html
from ferbench.publish.site.comparisons import across_html, comparison_html
from ferbench.publish.site.rows import row_html
from ferbench.publish.site.shell import Shell

File = tuple[PurePosixPath, bytes]

#: What pictures may be called: names come from digits alone.
_PICTURE = re.compile(r"samples/[0-9]+\.png|rows/[0-9a-f]{10}-[0-9]+-saliency\.png")


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
        for name, text in board_files(page.table, page.reported).items():
            yield folder / name, text.encode("utf-8", "replace")
        pictures: set[str] = set()
        for row in site.rows(page):
            yield from _row(row, shell, folder, pictures)
    across = site.across()
    text = "" if across is None else across_html(across, shell, "")
    yield PurePosixPath("index.html"), index_html(site, shell, compared=compared, across=text).encode()


def _assets() -> Iterator[File]:
    folder = resources.files("ferbench.publish.site").joinpath("assets")
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        yield PurePosixPath("assets", each.name), each.read_bytes()


def _row(row: PublishedRow, shell: Shell, folder: PurePosixPath, there: set[str]) -> Iterator[File]:
    """A row's files; pictures are left out that another row of the board has had written."""
    name = hex_name(row.page.row)
    yield folder / "rows" / f"{name}.html", row_html(row.page, shell, "../../../").encode()
    yield folder / "rows" / f"{name}.md", row.card.encode("utf-8", "replace")
    for picture, png in sorted(row.page.pictures.items()):
        if not _PICTURE.fullmatch(picture):
            raise ValueError(f"a picture's name becomes a file's: {picture!r} may not")
        if picture not in there:
            there.add(picture)
            yield folder / picture, png
