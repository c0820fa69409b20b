"""Which blocks and seeds of two competitors are compared, and what is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ferbench.comparison.records import Competitor
from ferbench.errors import UsageError


@dataclass(frozen=True, slots=True)
class Matched:
    """What of a and b is compared: the same blocks, and the seeds of each side, which are the same where paired."""

    blocks: tuple[str, ...]
    seeds_a: tuple[int, ...]
    seeds_b: tuple[int, ...]
    paired: bool
    left_out: tuple[str, ...]


def match(a: Competitor, b: Competitor) -> Matched:
    """The blocks that both have, each with the same seeds.

    Where blocks differ in their seeds, those are taken that leave the most runs. Without a seed in common, each side's
    own seeds are taken.

    Raises
    ------
    UsageError : no block in common, or no seed that all blocks of a side have
    """
    of_a, of_b = _seeds_by_block(a), _seeds_by_block(b)
    common = sorted(of_a.keys() & of_b.keys())
    if not common:
        raise UsageError(
            f"{a.name} and {b.name} have nothing in common to compare them on: one has {_listed(of_a)}, "
            f"the other {_listed(of_b)}"
        )
    both = {block: of_a[block] & of_b[block] for block in common}
    paired = any(both.values())
    if paired:
        blocks, seeds = most_runs(both)
        seeds_a = seeds_b = tuple(sorted(seeds))
    else:
        blocks = tuple(common)
        seeds_a = _of_all(a, [of_a[block] for block in blocks])
        seeds_b = _of_all(b, [of_b[block] for block in blocks])
    left_out = (*_left_out(a.name, of_a, blocks, seeds_a), *_left_out(b.name, of_b, blocks, seeds_b))
    return Matched(blocks, seeds_a, seeds_b, paired, left_out)


def _seeds_by_block(competitor: Competitor) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for block, seed in competitor.answers:
        found.setdefault(block, set()).add(seed)
    return found


def most_runs(both: Mapping[str, set[int]]) -> tuple[tuple[str, ...], set[int]]:
    """The blocks and seeds that leave the most runs, of the seeds that all sides have in each block; none without."""
    candidates = [*both.values(), set.intersection(*both.values())]
    best: tuple[tuple[str, ...], set[int]] = ((), set())
    for seeds in sorted(filter(None, candidates), key=sorted):
        blocks = tuple(block for block, there in both.items() if seeds <= there)
        # Of equal numbers of runs, those of more blocks say more.
        if (len(seeds) * len(blocks), len(blocks)) > (len(best[1]) * len(best[0]), len(best[0])):
            best = blocks, seeds
    return best


def _of_all(side: Competitor, seeds: list[set[int]]) -> tuple[int, ...]:
    shared = set.intersection(*seeds)
    if not shared:
        raise UsageError(
            f"{side.name} has no seed that all of its blocks share: run the missing seeds, or compare single rows"
        )
    return tuple(sorted(shared))


def _left_out(
    name: str, there: Mapping[str, set[int]], blocks: Collection[str], seeds: Collection[int]
) -> Iterable[str]:
    missing = sorted(there.keys() - set(blocks))
    if missing:
        yield f"{name}: {', '.join(missing)}"
    extra = sorted(set().union(*(there[block] for block in blocks)) - set(seeds))
    if extra:
        yield f"{name}: seed{'s' if len(extra) > 1 else ''} {', '.join(map(str, extra))}"


def _listed(blocks: Iterable[str]) -> str:
    return ", ".join(block or "a single row" for block in sorted(blocks))
