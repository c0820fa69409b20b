"""Loops that take turns in one process, and their paired ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from peers.stopwatch import steady_seconds
from peers.work import Run, Work

#: Steps at least of the trials that each setting of a peer gets; they are the contender's warm-up as well.
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
    """`work.steps` steps each, in turn: two peers with ferbench between them, then the next two.

    Every other round goes backwards, so that none always comes first.
    """

    def seconds(run: Run, steps: int = work.steps) -> float:
        return steady_seconds(run, steps, work.device)

    # In fewer steps than workers have batches ready, it would not show how fast they make more.
    trial_steps = min(work.steps, max(TRIAL_STEPS, work.spare))
    seconds(ours, trial_steps)
    runs = {peer.name: _fastest(peer, lambda run: seconds(run, trial_steps)) for peer in peers}
    own: dict[str, list[float]] = {peer.name: [] for peer in peers}
    theirs: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        turns = [peer.name for peer in peers]
        if number % 2:
            turns.reverse()
        for at in range(0, len(turns), 2):
            pair = turns[at : at + 2]
            order = [pair[0], "", *pair[1:]]
            if len(pair) == 1 and number % 2:
                order.reverse()
            times = {name: seconds(runs[name][1] if name else ours) for name in order}
            for name in pair:
                theirs[name].append(times[name])
                own[name].append(times[""])
    return [Pairs(peer.name, runs[peer.name][0], tuple(theirs[peer.name]), tuple(own[peer.name])) for peer in peers]


def _fastest(peer: Peer, seconds: Callable[[Run], float]) -> tuple[str, Run]:
    """The setting with the fastest of two trials, and its run; a first trial may still be warming up."""
    trials: dict[str, list[float]] = {word: [] for word in peer.settings}
    for _ in range(2):
        for word, run in peer.settings.items():
            trials[word].append(seconds(run))
    chosen = min(trials, key=lambda word: min(trials[word]))
    return chosen, peer.settings[chosen]
