"""Puts together what belongs together: to each run its stages, its predictions and its further scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from ferbench.records import FurtherScores, Predictions, Run, StageResult
from ferbench.snapshot.checking import Samples, check_uncontested, checked
from ferbench.snapshot.found import Found, Refused
from ferbench.snapshot.strict import Unsound, decoded, is_hash
from ferbench.stages import Stage
from ferbench.store.kept import KeptRun

Checked = TypeVar("Checked", Run, KeptRun)


class Gathering:
    """What one source holds, as it is read; what is wrong is laid at the door of the runs that stand on it."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._runs: dict[str, Run] = {}
        self._stages: dict[str, tuple[Stage, StageResult]] = {}
        self._further: dict[str, list[FurtherScores]] = defaultdict(list)
        self._spoilt: dict[str, str] = {}
        self._refused: list[Refused] = []

    def refuse(self, refused: Refused) -> None:
        self._refused.append(refused)

    def add_run(self, value: Any, where: str) -> None:
        """Decode a run's record; refused where it is none, or where its key stands there twice."""
        row, seed = _named(value)
        try:
            run = decoded(Run, value, "run")
        except Unsound as error:
            self.refuse(Refused(row, seed, str(error) if row else f"{where}: {error}"))
            return
        if self._runs.setdefault(run.key, run) is not run:
            self.refuse(Refused(row, seed, "key: another run has it too"))

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(self._runs.values())

    def wanted_stages(self) -> set[str]:
        """Stages of finished runs."""
        return {name for run in self._runs.values() if run.status == "finished" for name in run.stages}

    def add_stage(self, fingerprint: str, stage: Stage, result: StageResult) -> None:
        """Raises Unsound for a stage that is there under another name or twice."""
        if fingerprint != stage.fingerprint:
            raise Unsound("stage.fingerprint: it is stored under another")
        if fingerprint in self._stages:
            raise Unsound("stage.fingerprint: another stage has it too")
        self._stages[fingerprint] = (stage, result)

    def spoil_stage(self, fingerprint: str, reason: str) -> None:
        """Refuse every run that stands on a stage."""
        self._spoilt.setdefault(fingerprint, reason)

    def add_further(self, stage: str, further: FurtherScores) -> None:
        self._further[stage].append(further)

    def found(self, predictions: Callable[[str], Mapping[str, Predictions]]) -> Found:
        """Every run checked, in the order of entry and seed.

        predictions : what a stage has predicted, by content; raises Unsound for what cannot be read
        """
        ordered = sorted(self._runs.values(), key=lambda run: (run.entry, run.cell.seed))
        sound = self._sound(ordered, lambda run: checked(self._kept(run, predictions), self._samples))
        # Known once all are read.
        good = self._sound(sound, self._uncontested)
        return Found(tuple(good), tuple(self._refused))

    def _sound(self, runs: Iterable[Checked], check: Callable[[Checked], KeptRun]) -> list[KeptRun]:
        """Those that pass; the others are refused."""
        good = []
        for each in runs:
            try:
                good.append(check(each))
            except Unsound as error:
                run = each.run if isinstance(each, KeptRun) else each
                self.refuse(Refused(run.row, run.cell.seed, str(error)))
        return good

    def _uncontested(self, kept: KeptRun) -> KeptRun:
        check_uncontested(kept, self._samples)
        return kept

    def _kept(self, run: Run, predictions: Callable[[str], Mapping[str, Predictions]]) -> KeptRun:
        if run.status == "failed":
            return KeptRun(run)
        for number, name in enumerate(run.stages, 1):
            if name in self._spoilt:
                raise Unsound(f"stage {number}: {self._spoilt[name]}")
        stages = tuple(self._stages[name] for name in run.stages if name in self._stages)
        further = tuple(
            (name, each)
            for name in dict.fromkeys(run.stages)
            for each in sorted(self._further[name], key=lambda each: (each.dataset, each.split, each.content))
        )
        wanted = {(run.stages[-1], content) for content in self._on_final(run)} if run.stages else set()
        wanted |= {(each.stage, each.content) for each in run.forgetting}
        wanted |= {(name, each.content) for name, each in further}
        found = {}
        for name in dict.fromkeys(run.stages):
            contents = {content for stage, content in wanted if stage == name}
            older = name == run.stages[-1] and not run.select_content
            if not contents and not older:
                continue
            own = predictions(name)
            if older:
                contents |= _older_select(run, own, {each.content for _, each in further})
            found.update({(name, content): own[content] for content in sorted(contents) if content in own})
        return KeptRun(run, stages, found, further)

    def _on_final(self, run: Run) -> set[str]:
        """Samples that the last stage has spoken of, for the run's sake."""
        contents = {each.content for each in run.forgetting} | {run.select_content} - {""}
        return contents if run.board is None else contents | {run.board.fingerprint}


def _older_select(run: Run, own: Mapping[str, Predictions], further: Collection[str]) -> set[str]:
    """Select samples of a run of an older ferbench, which does not name them: of its target nothing else is there."""
    if run.board is None:
        return set()
    known = {run.board.fingerprint, *further}
    others = [content for content, each in own.items() if content not in known and each.dataset == run.board.target]
    return set(sorted(others)[:1])


def _named(value: Any) -> tuple[str | None, int | None]:
    """Row and seed of a record that is perhaps none."""
    if not isinstance(value, dict) or not is_hash(value.get("entry")):
        return None, None
    cell = value.get("cell")
    seed = cell.get("seed") if isinstance(cell, dict) else None
    return value["entry"][:10], seed if type(seed) is int and 0 <= seed < 2**63 else None
