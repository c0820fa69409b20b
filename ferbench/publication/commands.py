"""The commands by which a row can be had again, from what its runs say of themselves."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from ferbench.catalog import Catalog
from ferbench.defaults import default_recipe
from ferbench.errors import FerbenchError
from ferbench.fingerprints import fingerprint
from ferbench.pages.row import Command
from ferbench.quantities import joined, ranges
from ferbench.recipes import Recipe, RecipeValue
from ferbench.records import Run, RunSummary
from ferbench.references import CUT, parse_reference
from ferbench.stages import Cell, InitialWeights, Tuning
from ferbench.store import Store
from ferbench.tuning import TUNING_SEED
from ferbench.weights import POLICIES

#: Steps of an ensemble's greedy choice up to which its command is looked for.
_MOST_STEPS = 100

#: What `ensembles.naming.made_of` says of the rows that members were chosen from.
_CHOSEN = re.compile(r"members chosen on select by (\w+) of \d+ (?:rows|runs)")

_THERE = "which must be in the store: their own pages say how to have them"

#: What it says of the rows that a mean is of.
_MEAN = re.compile(r"mean of (?:row |\d+ rows: |\d+ runs of \d+ rows: )([0-9a-f, ]+)")


def command_of(runs: Sequence[Run], catalog: Catalog, store: Store, *, track: bool = False) -> str:
    """The one line that makes a row again, for a shell.

    Parameters
    ----------
    runs : the row's finished runs, of any seeds
    store : where an ensemble's rows are looked up
    track : its last stage was looked at after each epoch
    """
    return Commands(catalog, store).of(runs, track=track)[0].line


class Commands:
    """Says how rows of one store are made again."""

    def __init__(self, catalog: Catalog, store: Store) -> None:
        self._catalog = catalog
        self._store = store
        self._recipes: dict[tuple[str, str], Recipe | None] = {}

    def of(self, runs: Sequence[Run], looked_up: Cell | None = None, *, track: bool = False) -> tuple[Command, ...]:
        """The command that makes a row again, then others that go with it.

        Parameters
        ----------
        runs : the row's finished runs
        looked_up : where names in `runs` have lost their folders, the cell with those that can be looked up
        track : as in `command_of`
        """
        first = runs[0]
        verify = Command(
            f"ferbench verify {first.row} --infer",
            "derives every figure of this row again from its stored predictions, and those from its checkpoints",
        )
        if first.members:
            members = f"ferbench verify {first.row} --members"
            return (self._ensemble(runs), Command(members, "averages its members again, and verifies each of them"))
        defaults = self.defaults(looked_up or first.cell)
        own = self._run(runs, defaults, track=track)
        if first.cell.tuning is None:
            return (own, verify)
        untuned = dataclasses.replace(first, cell=dataclasses.replace(first.cell, tuning=None))
        same = self._run([untuned, *runs[1:]], defaults, track=track)
        says = "trains the chosen recipe without trying others: a row by another name, with the same figures"
        return (own, Command(same.line, says), verify)

    def defaults(self, cell: Cell) -> Recipe | None:
        """The recipe of a cell's backbone and target where nothing is set; None where they cannot be looked up."""
        key = (cell.backbone, cell.target)
        if key not in self._recipes:
            try:
                dataset = parse_reference(cell.target, self._catalog.dataset).dataset
                self._recipes[key] = default_recipe(self._catalog.backbone(cell.backbone), dataset)
            except FerbenchError:
                self._recipes[key] = None
        return self._recipes[key]

    def _run(self, runs: Sequence[Run], defaults: Recipe | None, *, track: bool) -> Command:
        first, cell = runs[0], runs[0].cell
        words = ["ferbench", "run", "-b", cell.backbone, "-s", cell.strategy, "-t", cell.target]
        words += ["-a", ",".join(cell.auxiliaries)] if cell.auxiliaries else []
        words += _weights(cell.weights, first.weights)
        words += [] if cell.train_fraction == 1 else ["--train-fraction", str(cell.train_fraction)]
        words += ["--seed", ranges(run.cell.seed for run in runs).replace(" ", "")]
        tuned = {} if cell.tuning is None else _axes(cell.tuning)
        for key, value in cell.recipe_values():
            if key not in tuned and (defaults is None or "." in key or getattr(defaults, key) != value):
                words += ["--set", f"{key}={_spelled(value)}"]
        # In the order of the tries, whose first key varies least.
        for key, values in tuned.items():
            words += ["--set", f"{key}={','.join(map(_spelled, values))}"]
        if cell.tuning is not None and tuned:
            words += ["--tune"]
            words += [] if cell.tuning.metric == "accuracy" else ["--tune-by", cell.tuning.metric]
            words += [] if cell.tuning.seed == TUNING_SEED else ["--tune-seed", str(cell.tuning.seed)]
        words += ["--track"] if track else []
        words += ["--device", first.environment.device_kind] if first.environment.device_kind in ("cpu", "mps") else []
        local, lacking = self._plugins(first)
        for path in local:
            words += ["--plugin", path]
        line = shlex.join(words)
        return Command(line, "; ".join(_remarks(first, line, tuned, lacking)))

    def _plugins(self, run: Run) -> tuple[list[str], list[str]]:
        """Files of the plugins that a row needs beside those that are installed, and names of those not here."""
        known = self._origins
        local = [f"{CUT}{name}.py" for name, _ in run.sources if known.get(name, True)]
        return local, [name for name, _ in run.sources if name not in known]

    @functools.cached_property
    def _origins(self) -> Mapping[str, bool]:
        """Plugins by name, and whether they come from a file of the user's."""
        return {plugin.name: plugin.origin == str(plugin.path) for plugin in self._catalog.plugins()}

    def _ensemble(self, runs: Sequence[Run]) -> Command:
        for identity, words in self._ensembles(runs):
            if fingerprint(identity) == runs[0].entry:
                return Command(shlex.join(["ferbench", "ensemble", *words]), f"averages the same rows again, {_THERE}")
        rows = sorted({member.row for run in runs for member in run.members})
        greedy = ["--greedy"] if any(_CHOSEN.match(note) for note in runs[0].notes) else []
        says = (
            f"averages its members, {_THERE}; which rows it was asked of is not recorded, so that it has another name"
        )
        return Command(shlex.join(["ferbench", "ensemble", *rows, *greedy]), says)

    def _ensembles(self, runs: Sequence[Run]) -> Iterator[tuple[dict[str, object], list[str]]]:
        """What the row may have been asked for: its identity, as `ensembles.ensemble` hashes it, and the words."""
        board = runs[0].board
        note = runs[0].notes[0] if runs[0].notes else ""
        chosen = _CHOSEN.match(note)
        for rows in self._pools(runs, note):
            identity: dict[str, object] = {"board": board and board.fingerprint, "ensemble": "mean", "rows": rows}
            words = [row[:10] for row in rows]
            methods: Iterable[tuple[dict[str, object], list[str]]] = [({}, [])]
            if chosen:
                methods = _greedy(chosen[1])
            own = [[row, seed] for row in rows for seed in self._seeds.get(row, ())]
            for values, more in methods:
                alone = [] if len(rows) == 1 else ["--over-seeds"]
                yield {**identity, **values}, [*words, *more]
                yield {**identity, **values, "runs": own}, [*words, *alone, *more]

    def _pools(self, runs: Sequence[Run], note: str) -> Iterator[list[str]]:
        """Rows that it may be made of, by their whole hashes."""
        members = {member.entry for run in runs for member in run.members}
        yield sorted(members)
        if named := _MEAN.match(note):
            entries = [self._entries.get(row.strip()) for row in named[1].split(",")]
            if all(entries):
                yield sorted(entry for entry in entries if entry)
        if board := runs[0].board:
            # All trained rows of the board, then those that one condition of --where fits.
            trained = self._trained.get(board.fingerprint, {}).values()
            yield sorted(each.entry for each in trained)
            for what in map(attrgetter, ("backbone", "strategy", "weights", "auxiliaries")):
                alike = {what(each) for each in trained if each.entry in members}
                if len(alike) == 1:
                    yield sorted(each.entry for each in trained if what(each) in alike)

    @functools.cached_property
    def _finished(self) -> list[RunSummary]:
        return [run for run in self._store.leaderboard_rows() if run.status == "finished"]

    @functools.cached_property
    def _seeds(self) -> Mapping[str, list[int]]:
        """The seeds of finished rows, by their whole hashes."""
        found: dict[str, list[int]] = {}
        for run in self._finished:
            found.setdefault(run.entry, []).append(run.seed)
        return {entry: sorted(seeds) for entry, seeds in found.items()}

    @functools.cached_property
    def _entries(self) -> Mapping[str, str]:
        return {run.entry[:10]: run.entry for run in self._finished}

    @functools.cached_property
    def _trained(self) -> Mapping[str, dict[str, RunSummary]]:
        """A run of each row that is no ensemble, by the fingerprint of its board and its own whole hash."""
        found: dict[str, dict[str, RunSummary]] = {}
        for run in self._finished:
            if run.board is not None and not run.members:
                found.setdefault(run.board.fingerprint, {})[run.entry] = run
        return found


def _weights(policy: str, weights: InitialWeights) -> list[str]:
    """What `auto` came to, so that another machine comes to the same or says that it cannot."""
    if weights.is_random:
        return ["--weights", "random"]
    if not weights.is_file:
        return []
    return ["--weights", "pretrained" if policy in POLICIES else policy]


def _axes(tuning: Tuning) -> dict[str, tuple[RecipeValue, ...]]:
    """The values that were tried, by key; empty where the tries are not all combinations of some."""
    found: dict[str, dict[RecipeValue, None]] = {}
    for each in tuning.tries:
        for key, value in each.values:
            found.setdefault(key, {})[value] = None
    axes = {key: tuple(values) for key, values in found.items()}
    tries = [tuple(value for _, value in each.values) for each in tuning.tries]
    return axes if list(itertools.product(*axes.values())) == tries else {}


def _remarks(run: Run, line: str, tuned: Mapping[str, Sequence[RecipeValue]], lacking: Sequence[str]) -> Iterator[str]:
    yield "trains and scores this row again; what is finished in a store is not run again without --force"
    device = run.environment.device_kind
    if device not in ("cpu", "mps"):
        yield f"on another device than {device} it is another row"
    if CUT in line:
        yield f"put a folder of your own in the place of {CUT}"
    if run.weights.is_file:
        yield f"the SHA-256 of the weights begins with {run.weights.sha256[:10]}"
    if run.cell.tuning is not None and not tuned:
        yield "its tries were no product of values, so that none are made here"
    if lacking:
        many = "s" if len(lacking) > 1 else ""
        yield f"it needs the plugin{many} {joined(list(lacking))}, not known here: a file, or a package to install"
    if run.hardware:
        yield f"computed on {run.hardware}; elsewhere the row has another name"


def _greedy(metric: str) -> Iterator[tuple[dict[str, object], list[str]]]:
    by = [] if metric == "nll" else ["--by", metric]
    for steps in (25, *(each for each in range(1, _MOST_STEPS + 1) if each != 25)):
        more = [] if steps == 25 else ["--steps", str(steps)]
        yield {"ensemble": "greedy", "by": metric, "steps": steps}, ["--greedy", *by, *more]


def _spelled(value: RecipeValue) -> str:
    """A value as `--set` reads it, to the last digit."""
    return str(value).lower() if isinstance(value, bool) else str(value)
