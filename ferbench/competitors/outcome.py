"""From answers to pairs: on each board by itself, corrected together, then over all boards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ferbench.comparison import AcrossBoards, Competitor, Pair, Samples, across_boards, compare_pairs, holm
from ferbench.comparison.matching import most_runs
from ferbench.competitors.answers import BoardAnswers
from ferbench.competitors.choice import board_in_words
from ferbench.errors import UnknownName, UsageError
from ferbench.records import Board, Run
from ferbench.resampling import tally, values

#: Fewer digits name too many rows, as everywhere.
_SHORTEST_ROW = 4


@dataclass(frozen=True, slots=True)
class BoardOutcome:
    """One board's pairs.

    labels : how sentences name the competitors
    means : of each over blocks and, within them, seeds: those that all competitors have, where there are such
    mean_of : what each mean is of, as block and seeds
    runs : by competitor and block, by seed
    """

    board: Board
    pairs: tuple[Pair, ...]
    labels: Mapping[str, str]
    means: Mapping[str, float]
    mean_of: Mapping[str, Mapping[str, tuple[int, ...]]]
    runs: Mapping[str, Mapping[str, tuple[Run, ...]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a comparison says.

    across : None where fewer than two competitors are on all of several boards
    left_out : in words, what is not in any pair, or not in `across`
    """

    metric: str
    boards: tuple[BoardOutcome, ...]
    across: AcrossBoards | None
    left_out: tuple[str, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return tuple(pair for each in self.boards for pair in each.pairs)


def compare_boards(
    boards: Sequence[BoardAnswers],
    metric: str = "accuracy",
    draws: int = 10_000,
    against: str | None = None,
    left_out: Sequence[str] = (),
) -> Outcome:
    """All pairs of each board, or those with `against` alone, with Holm's correction over all of them together.

    Parameters
    ----------
    against : a competitor by name, label or name across boards, or the first digits of its ROW
    left_out : in words, what was left out before

    Raises
    ------
    UnknownName, UsageError : no competitor that `against` names, or no pair with anything in common
    """
    of_all = None if against is None else _across_name(boards, against)
    found: list[BoardOutcome] = []
    notes = [*left_out]
    for each in boards:
        one = None
        if of_all is not None:
            one = next((name for name, across in each.across.items() if across == of_all), None)
            if one is None:
                notes.append(f"{board_in_words(each.board)}: {of_all} is not on it")
                continue
        pairs, apart = _pairs(each, metric, draws, one)
        notes += apart
        paired = {name for pair in pairs for name in (pair.a, pair.b)}
        alike = taken_alike([one for one in each.competitors if one.name in paired])
        means = {
            one.name: mean_of(each.samples, one, metric, alike[one.name])
            for one in each.competitors
            if one.name in paired
        }
        found.append(BoardOutcome(each.board, tuple(pairs), each.labels, means, alike, each.runs))
    corrected = iter(holm([pair for each in found for pair in each.pairs]))
    found = [replace(each, pairs=tuple(next(corrected) for _ in each.pairs)) for each in found]
    if not any(each.pairs for each in found):
        raise UsageError(f"nothing can be compared: {'; '.join(notes)}")
    across = None
    if len(boards) > 1:
        across, unranked = rank_over_boards(boards, metric)
        notes += unranked
    return Outcome(metric, tuple(each for each in found if each.pairs), across, tuple(notes))


def rank_over_boards(boards: Sequence[BoardAnswers], metric: str = "accuracy") -> tuple[AcrossBoards | None, list[str]]:
    """Competitors by their ranks on several boards, None where no two are on all of them; and who is not, in words."""
    scores, notes = _scores(boards, metric)
    return (across_boards(scores, metric) if scores else None), notes


def taken_alike(competitors: Sequence[Competitor]) -> dict[str, dict[str, tuple[int, ...]]]:
    """By competitor and block the seeds over which their means can be set side by side.

    The blocks and seeds that all have, as a pair takes what both have. Without a seed in common, each one's seeds in
    the blocks that all have; without a block in common, all that each has.
    """
    has: dict[str, dict[str, set[int]]] = {one.name: defaultdict(set) for one in competitors}
    for one in competitors:
        for block, seed in one.answers:
            has[one.name][block].add(seed)
    common = set.intersection(*(set(blocks) for blocks in has.values())) if has else set()
    shared = {block: set.intersection(*(blocks[block] for blocks in has.values())) for block in sorted(common)}
    taken, seeds = most_runs(shared) if any(shared.values()) else ((), set())
    if taken:
        return {name: {block: tuple(sorted(seeds)) for block in taken} for name in has}
    return {
        name: {block: tuple(sorted(some)) for block, some in blocks.items() if block in common or not common}
        for name, blocks in has.items()
    }


def mean_of(
    samples: Samples, competitor: Competitor, metric: str, taken: Mapping[str, Sequence[int]] | None = None
) -> float:
    """A competitor's mean over blocks of its mean over seeds, as a fraction; of `taken`, or of all it has."""
    keys = [key for key in competitor.answers if taken is None or key[1] in taken.get(key[0], ())]
    answers = np.stack([competitor.answers[key].argmax(axis=1) for key in keys])
    one_group = np.zeros(len(samples.labels), dtype=np.int64)
    scores = values(tally(metric, samples.labels, answers, samples.classes, one_group, 1))
    by_block: dict[str, list[float]] = defaultdict(list)
    for (block, _), score in zip(keys, scores, strict=True):
        by_block[block].append(float(score))
    return float(np.mean([np.mean(some) for some in by_block.values()]))


def _pairs(board: BoardAnswers, metric: str, draws: int, against: str | None) -> tuple[tuple[Pair, ...], list[str]]:
    """All pairs that have anything in common, and which have not."""
    blocks = {one.name: {block for block, _ in one.answers} for one in board.competitors}
    wanted = [(a, b) for a, b in _wanted(board.competitors, against) if not blocks[a.name].isdisjoint(blocks[b.name])]
    missing = [pair for pair in _wanted(board.competitors, against) if pair not in wanted]
    notes = [
        f"{a.name} and {b.name} on {board.board.target} {board.board.split} have nothing in common to compare them on: "
        f"{_listed(blocks[a.name])} against {_listed(blocks[b.name])}"
        for a, b in missing
    ]
    if not missing:
        return compare_pairs(board.samples, board.competitors, metric, draws, against, corrected=False), notes
    # Draws come from a fixed number, so that a pair by itself has the digits that it has among others.
    alone = (compare_pairs(board.samples, pair, metric, draws, corrected=False)[0] for pair in wanted)
    return tuple(alone), notes


def _wanted(competitors: Sequence[Competitor], against: str | None) -> Iterator[tuple[Competitor, Competitor]]:
    if against is None:
        yield from combinations(competitors, 2)
        return
    one = next(each for each in competitors if each.name == against)
    yield from ((each, one) for each in competitors if each is not one)


def _scores(boards: Sequence[BoardAnswers], metric: str) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Mean scores by board and competitor, of the competitors that are on all boards; none where that cannot be."""
    everywhere = [
        name
        for name in dict.fromkeys(across for each in boards for across in each.across.values())
        if all(name in each.across.values() for each in boards)
    ]
    some = dict.fromkeys(across for each in boards for across in each.across.values())
    notes = [f"{name} is not ranked over boards: it is not on all of them" for name in some if name not in everywhere]
    if len(everywhere) < 2:
        return {}, [f"there is no ranking over the {len(boards)} boards: no two are on all of them"]
    scores: dict[str, dict[str, float]] = {}
    for each in boards:
        names = {across: name for name, across in each.across.items()}
        ranked = {one.name: one for one in each.competitors if one.name in {names[name] for name in everywhere}}
        common = set.intersection(*({block for block, _ in one.answers} for one in ranked.values()))
        if not common:
            where = f"{each.board.target} {each.board.split}"
            return {}, [*notes, f"there is no ranking over the boards: no block on {where} is of all of them"]
        alike = taken_alike(list(ranked.values()))
        scores[each.board.fingerprint] = {
            name: mean_of(each.samples, ranked[names[name]], metric, alike[names[name]]) for name in everywhere
        }
    return scores, notes


def _across_name(boards: Sequence[BoardAnswers], asked: str) -> str:
    """The name across boards of the competitor that is asked for by any of its names."""
    wanted = asked.strip().casefold()
    found: dict[str, None] = {}
    for each in boards:
        for one in each.competitors:
            label, across = each.labels[one.name], each.across[one.name]
            starts = [row.startswith(wanted) for row in one.rows if len(wanted) >= _SHORTEST_ROW]
            if wanted in {name.casefold() for name in (one.name, label, across)} or any(starts):
                found[across] = None
    if len(found) > 1:
        raise UsageError(f"--against {asked} is any of {', '.join(found)}: give more of its name")
    if not found:
        known = dict.fromkeys(name for each in boards for name in each.across.values())
        raise UnknownName("competitor", asked, known)
    return next(iter(found))


def _listed(blocks: Iterable[str]) -> str:
    return ", ".join(sorted(blocks))
