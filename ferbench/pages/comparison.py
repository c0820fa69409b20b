"""What a site says of rows beside each other: on one board, and of strategies over several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ferbench.comparison import AcrossBoards
from ferbench.competitors import BoardOutcome
from ferbench.curves import Curve
from ferbench.records import Board, Entry, Interval


@dataclass(frozen=True, slots=True)
class Matrix:
    """Competitors of one board, each with each other.

    by : properties that they were put together by; without any, each is a row
    asked : what gives the same in a terminal, without the program's name
    outcome : None where nothing was compared, and `refused` says why
    left_out : in words, what is in no pair
    """

    by: tuple[str, ...]
    asked: str
    outcome: BoardOutcome | None
    left_out: tuple[str, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Confusion:
    """What a row's runs took each class for, together: counts by truth, then by what was said.

    label : the row in words, without its digits where these tell no more
    """

    row: str
    label: str
    seeds: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def shares(self) -> tuple[tuple[float | None, ...], ...]:
        """Of the samples of each true class, what was taken for which; None for a class without samples."""
        return tuple(tuple(count / sum(of) if sum(of) else None for count in of) for of in self.counts)


@dataclass(frozen=True, slots=True)
class Confusions:
    """Rows whose confusion matrices are set beside each other, two at a time.

    first, second : ROWs that a reader sees before choosing
    left_out : rows of the board that cannot be chosen
    """

    classes: tuple[str, ...]
    rows: tuple[Confusion, ...]
    first: str
    second: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """How much of an auxiliary a row knew right after it and knows in the end; accuracies, means over seeds."""

    row: str
    label: str
    dataset: str
    split: str
    n: int
    seeds: int
    before: float
    after: float

    @property
    def lost(self) -> float:
        """As a fraction; below 0 where more is known than before."""
        return self.before - self.after


#: What rows cost, by key: of an entry, None where it is not known.
COSTS: Mapping[str, Callable[[Entry], float | None]] = {
    "train_seconds": lambda entry: entry.train_seconds or None,
    "parameters": lambda entry: entry.parameters or None,
    "images_seen": lambda entry: entry.images_seen or None,
    "forward_flops": lambda entry: entry.forward_flops or None,
}

#: The largest cost is so many times the smallest where a scale of powers tells more.
_POWERS = 10


@dataclass(frozen=True, slots=True)
class CostAxis:
    """One kind of cost that accuracy is set against.

    key : of COSTS
    known : rows of which it is known
    front : ROWs that none is as cheap and more accurate than, or as accurate and cheaper, cheapest first
    """

    key: str
    known: int
    logarithmic: bool
    front: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CostPoint:
    """A row as it is drawn: `costs` by key, None where not known."""

    row: str
    label: str
    backbone: str
    strategy: str
    accuracy: Interval
    seeds: int
    costs: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Costs:
    """A board's rows, by accuracy, and what they cost.

    devices : kinds of them that rows were trained on; time on one says nothing of time on another
    """

    axes: tuple[CostAxis, ...]
    points: tuple[CostPoint, ...]
    devices: tuple[str, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """A board's rows beside each other.

    matrices : strategies, backbones, and the best rows
    rows : ROWs that have a page on the site
    confusions : None where fewer than two rows have predictions of one board
    curves : of rows that differ in how much of the target they were trained on, by two parts or more
    known : auxiliaries that chains pass through
    curves_left_out, known_left_out : curves, and rows that forgot, which are not among them
    """

    board: Board
    rows: frozenset[str]
    matrices: tuple[Matrix, ...]
    confusions: Confusions | None
    costs: Costs
    curves: tuple[Curve, ...] = ()
    curves_left_out: int = 0
    known: tuple[Known, ...] = ()
    known_left_out: int = 0


@dataclass(frozen=True, slots=True)
class AcrossPage:
    """Strategies over several boards.

    across : None where no two of them are on all boards, and `left_out` says which are not
    asked : what gives the same in a terminal, without the program's name
    """

    boards: tuple[Board, ...]
    across: AcrossBoards | None
    asked: str
    left_out: tuple[str, ...] = ()


def cost_axes(points: Iterable[CostPoint]) -> tuple[CostAxis, ...]:
    """The kinds of cost that are known of two rows or more and in which any of them differ."""
    points = tuple(points)
    axes = []
    for key in COSTS:
        costs = [cost for point in points if (cost := point.costs[key]) is not None]
        if len(set(costs)) > 1:
            axes.append(CostAxis(key, len(costs), max(costs) > _POWERS * min(costs), _front(points, key)))
    return tuple(axes)


def _front(points: Iterable[CostPoint], key: str) -> tuple[str, ...]:
    by_cost = [(cost, -point.accuracy.mean, point.row) for point in points if (cost := point.costs[key]) is not None]
    found: list[tuple[float, float, str]] = []
    for cost, accuracy, row in sorted(by_cost):
        # As cheap and as accurate as the last one is as good as it.
        if not found or accuracy < found[-1][1] or (cost, accuracy) == found[-1][:2]:
            found.append((cost, accuracy, row))
    return tuple(row for *_, row in found)
