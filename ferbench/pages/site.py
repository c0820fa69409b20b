"""A whole site: boards at hand, and their rows and comparisons made one at a time when they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ferbench.leaderboard import FailedEntry
from ferbench.pages.board import BoardPage
from ferbench.pages.comparison import AcrossPage, ComparisonPage
from ferbench.pages.row import RowPage
from ferbench.records import ReportedResult


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """What there is of a row.

    card : for the Hugging Face Hub, in Markdown
    """

    page: RowPage
    card: str


@dataclass(frozen=True, slots=True)
class Site:
    """What is published.

    boards : in the order of their targets, stale ones last
    lost : runs that failed before they had a board
    reported : figures from the literature of datasets that no board is of
    rows : a board's rows in the order of its table, each read when it is asked for
    comparison : of a board's rows; None where there are not two to compare
    across : of what is on several boards; None where nothing is
    """

    title: str
    boards: tuple[BoardPage, ...]
    lost: tuple[FailedEntry, ...]
    reported: tuple[ReportedResult, ...]
    rows: Callable[[BoardPage], Iterator[PublishedRow]]
    comparison: Callable[[BoardPage], ComparisonPage | None]
    across: Callable[[], AcrossPage | None]
