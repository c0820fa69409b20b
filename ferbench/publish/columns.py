"""Tables that give way: columns as far as the width carries, the rest in words for the lines under each row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ferbench.publish.layout import GAP, Align

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """`cell` is what stands in the column, `words` what stands under the row where the column has no room."""

    title: str
    cell: Callable[[Row], str]
    words: Callable[[Row], str]
    align: Align = "left"


def fitted(
    columns: Sequence[Column[Row]],
    rows: Sequence[Row],
    width: int,
    leaving: Sequence[str],
    empty: Collection[str] = (),
    least: Mapping[str, int] | None = None,
) -> tuple[list[Column[Row]], list[Column[Row]]]:
    """The columns that the width carries, and those that go under each row.

    Parameters
    ----------
    leaving : titles, in the order in which columns go where there is no room
    empty : titles of columns without content, which are shown nowhere
    least : characters that a column takes whatever its rows are
    """
    needed = {
        column.title: max(
            len(column.title), (least or {}).get(column.title, 0), *(len(column.cell(row)) for row in rows)
        )
        for column in columns
    }
    gone = [*empty]

    def fits() -> bool:
        kept = [size for title, size in needed.items() if title not in gone]
        return sum(kept) + len(GAP) * (len(kept) - 1) <= width

    for title in leaving:
        if fits():
            break
        gone.append(title)
    # One long name may have driven others out that have room without it.
    for title in reversed(gone[len(empty) : -1]):
        gone.remove(title)
        if not fits():
            gone.append(title)
    kept = [column for column in columns if column.title not in gone]
    return kept, [column for column in columns if column.title in gone and column.title not in empty]
