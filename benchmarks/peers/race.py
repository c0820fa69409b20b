"""Loops that take turns in one process, and their paired ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peers.stopwatch import steady_seconds
from peers.work import Run, Work

#: Steps of the trial turn that each setting of a peer gets; it is the contender's warm-up as well.
TRIAL_STEPS = 4


@dataclass(frozen=True)
class Peer:
    """A loop with the settings that might suit it, in words; the fastest on this machine takes part."""

    name: str
    settings: Mapping[str, Run]


@dataclass(frozen=True)
class Pairs:
    """Seconds of a peer and of ferbench's loop right before or after it, over the rounds."""

    peer: str
    setting: str
    peer_seconds: tuple[float, ...]
    own_seconds: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Above 1 where ferbench is faster."""
        return tuple(peer / own for peer, own in zip(self.peer_seconds, self.own_seconds, strict=True))

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


def race(work: Work, ours: Run, peers: Sequence[Peer], rounds: int) -> list[Pairs]:
    """`work.steps` steps each, in turn: two peers with ferbench between them, then the next two; every other round
    backwards, so that none always comes first."""

    def seconds(run: Run, steps: int = work.steps) -> float:
        return steady_seconds(run, steps, work.device)

    seconds(ours, TRIAL_STEPS)
    chosen = {
        peer.name: min(peer.settings, key=lambda word: seconds(peer.settings[word], TRIAL_STEPS)) for peer in peers
    }
    own: dict[str, list[float]] = {peer.name: [] for peer in peers}
    theirs: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        turns = list(peers if number % 2 == 0 else reversed(peers))
        for at in range(0, len(turns), 2):
            pair = turns[at : at + 2]
            theirs[pair[0].name].append(seconds(pair[0].settings[chosen[pair[0].name]]))
            between = seconds(ours)
            for peer in pair:
                own[peer.name].append(between)
            for peer in pair[1:]:
                theirs[peer.name].append(seconds(peer.settings[chosen[peer.name]]))
    return [Pairs(p.name, chosen[p.name], tuple(theirs[p.name]), tuple(own[p.name])) for p in peers]
