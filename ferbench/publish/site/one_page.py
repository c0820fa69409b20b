"""A site's boards as one file that needs no other: the page of a snapshot, the same bytes for the same rows.

Neither the version of ferbench nor any date is on it. Its scripts and its style stand in it, and its policy names them
by their hashes, so that nothing else is run or loaded.
"""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup

from ferbench.pages.board import BoardPage
from ferbench.pages.site import Site
from ferbench.publish.boards import failure_words, protocol_words
from ferbench.publish.site.boards import Filter, Table, board_table, own_first
from ferbench.publish.site.comparisons import MatrixView, matrix_views
from ferbench.publish.site.shell import Shell, asset
from ferbench.reported_results import STATUS


def one_page(site: Site) -> str:
    """The whole file; rows have no pages of their own here."""
    tables = [board_table(page) for page in site.boards]
    scripts = {name: _inline(asset(f"{name}.js"), "script") for name in ("site", "rows")}
    style = _inline(asset("site.css"), "style")
    return Shell(site.title).render(
        "one_page.html",
        "",
        boards=[_board(page, table, site) for page, table in zip(site.boards, tables, strict=True)],
        filters=_filters(tables),
        rows=sum(len(table.lines) for table in tables),
        lost=[(each, failure_words(each)) for each in site.lost],
        status=STATUS,
        style=style,
        scripts=scripts,
        policy=f"default-src 'none'; script-src {_hashes(*scripts.values())}; style-src {_hashes(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
    )


def _board(page: BoardPage, table: Table, site: Site) -> dict[str, object]:
    comparison = site.comparison(page)
    matrices: list[MatrixView] = [] if comparison is None else matrix_views(comparison)
    return {
        "page": page,
        "table": table,
        "said": protocol_words(page.table.board),
        "failed": [(each, failure_words(each)) for each in page.table.failed],
        "reported": own_first(page.reported, page.table.board.split),
        "matrices": [matrix for matrix in matrices if not matrix.refused],
    }


def _filters(tables: list[Table]) -> list[Filter]:
    """Of all tables together, with the dataset in front where there are several."""
    found: dict[tuple[str, str], set[str]] = {}
    targets = {table.board.target for table in tables}
    if len(targets) > 1:
        found["target", "Dataset"] = targets
    for table in tables:
        for key, title, values in table.filters:
            found.setdefault((key, title), set()).update(values)
    return [(key, title, tuple(sorted(values))) for (key, title), values in found.items()]


def _inline(text: str, element: str) -> Markup:
    if f"</{element}" in text.lower():
        raise ValueError(f"an asset would end the element {element} that it stands in")
    return Markup(text)


def _hashes(*texts: str) -> str:
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts)
