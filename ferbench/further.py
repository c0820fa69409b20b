"""`run --also-report`: what rows score on the report splits of further datasets, beside their target's board.

Such scores are never ranked. They are of the last stage's checkpoint; nothing is trained for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ferbench.components import Dataset
from ferbench.data.roles import LabelledImages, check_target
from ferbench.errors import CheckpointLost, FerbenchError, UsageError
from ferbench.expressions import label_set
from ferbench.metrics import scores
from ferbench.plan import CellPlan
from ferbench.records import FurtherScores, Predictions, Run
from ferbench.references import parse_reference
from ferbench.stages import Stage
from ferbench.store import Store
from ferbench.workbench import Workbench
from ferbench.worker import Evaluation, StageTask, run_stage

#: Rows that a warning names one by one.
_NAMED = 5


class FurtherReports:
    """Scores the rows of one command on further datasets.

    Parameters
    ----------
    references : datasets, maybe with splits
    warn : told one line for what cannot be scored or means less than it seems; each line once
    """

    def __init__(
        self,
        find: Callable[[str], Dataset],
        store: Store,
        bench: Workbench,
        references: Iterable[str],
        warn: Callable[[str], None],
    ) -> None:
        self._find = find
        self._store = store
        self._bench = bench
        self._tell = warn
        self._warned: set[str] = set()
        self._copies: dict[tuple[object, ...], frozenset[str]] = {}
        self.references = tuple(dict.fromkeys(references))

    def check(self, cells: Iterable[CellPlan]) -> None:
        """Read what is to be reported on, before anything is trained.

        Raises
        ------
        UnknownName, DatasetError : no such dataset, or one without a report split or a sample of the label set
        UsageError : labels that are withheld, what is trained on by its role, or nothing but the rows' own target
        """
        asked = dict.fromkeys((cell.cell.target, cell.cell.recipe.label_set) for cell in cells)
        for reference in self.references:
            check_target(parse_reference(reference, self._find), "--also-report")
            own = []
            for target, labels in asked:
                samples = self._bench.roles.report(reference, labels)
                if samples.labels is None:
                    raise UsageError(
                        f"--also-report {reference}: the labels of {samples.splits} are withheld, name another split"
                    )
                for line in samples.warnings:
                    self._warn(f"{samples.dataset}: {line}")
                own.append(samples.content == self._bench.roles.report(target, labels).content)
            if own and all(own):
                raise UsageError(
                    f"--also-report {reference}: these are the samples that the rows are reported on anyway, "
                    "name another dataset"
                )

    def score(self, runs: Iterable[Run], *, force: bool = False) -> int:
        """Score finished runs on what they are not scored on yet; gives how many stages that were.

        A row whose checkpoint is gone, or that cannot be scored for another reason, is a warning.

        Parameters
        ----------
        force : score again what is scored already

        Raises
        ------
        KeyboardInterrupt : the user has asked for an end; what is scored by then is stored
        """
        if not self.references:
            return 0
        lost: dict[str, None] = {}
        seen: set[str] = set()
        count = 0
        for run in runs:
            final = run.stages[-1]
            if run.status != "finished" or final in seen:
                continue
            if self._bench.stop():
                raise KeyboardInterrupt
            seen.add(final)
            try:
                count += self._scored(run, force)
            except CheckpointLost:
                lost[run.row] = None
            except FerbenchError as error:
                self._warn(f"row {run.row}, seed {run.cell.seed} is not scored on further datasets: {error.line}")
        if lost:
            rows = ", ".join(list(lost)[:_NAMED]) + (f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else "")
            self._warn(
                f"not scored on {', '.join(self.references)}: row{'s' if len(lost) > 1 else ''} {rows}, for "
                "checkpoints were pruned from the cache or are damaged; run again with --force to train them anew"
            )
        return count

    def _scored(self, run: Run, force: bool) -> bool:
        """Whether there was something to score."""
        labels, final = run.cell.recipe.label_set, run.stages[-1]
        own = self._bench.roles.report(run.cell.target, labels).content
        known = () if force else {each.content for each in self._store.further_scores(final).get(final, ())}
        wanted = {reference: self._bench.roles.report(reference, labels) for reference in self.references}
        wanted = {
            reference: samples
            for reference, samples in wanted.items()
            if samples.content != own and samples.content not in known
        }
        if not wanted:
            return False
        chain = [stage for name in run.stages if (stage := self._store.stage(name)) is not None]
        for samples, predictions in self._predictions(run, wanted, force):
            self._store.save_further_scores(
                final,
                FurtherScores(
                    dataset=samples.dataset,
                    split=samples.splits,
                    n=samples.count,
                    content=samples.content,
                    label_set=label_set(labels).name,
                    scores=scores(predictions, label_set(labels).classes),
                    excluded=samples.excluded,
                    synthetic=samples.synthetic,
                    trained_on=self._trained_on(samples, chain, labels),
                ),
            )
        return True

    def _predictions(
        self, run: Run, wanted: dict[str, LabelledImages], force: bool
    ) -> Iterator[tuple[LabelledImages, Predictions]]:
        """Of all that is wanted; what is not stored comes from the checkpoint, which is read once."""
        final = run.stages[-1]
        missing: dict[Evaluation, LabelledImages] = {}
        for reference, samples in wanted.items():
            stored = self._store.predictions(final, samples.dataset, samples.splits, samples.content)
            if stored is None or force:
                missing[Evaluation(reference, "report")] = samples
            else:
                yield samples, stored
        if not missing:
            return
        stage, result = self._store.stage(final), self._store.stage_result(final)
        if stage is None or result is None:
            raise CheckpointLost(final, f"{self._store.location} lacks the last stage of row {run.row}")
        task = StageTask(stage, run.cell.recipe.label_set, tuple(missing), result)
        outcome = run_stage(task, self._bench, lambda progress: None, lambda epoch: None)
        for evaluation, predictions in outcome.predictions:
            self._store.save_predictions(final, missing[evaluation].content, predictions)
            yield missing[evaluation], predictions

    def _trained_on(self, samples: LabelledImages, chain: Sequence[Stage], labels: str) -> int:
        """How many samples show a picture that the chain was trained on."""
        shared: set[str] = set()
        for part in dict.fromkeys(part for stage in chain for part in stage.parts):
            key = (samples.content, part.dataset, part.fraction, labels)
            if key not in self._copies:
                trained = self._bench.roles.train(part.dataset, labels, part.fraction)
                self._copies[key] = frozenset(samples.pictures) & frozenset(trained.pictures)
            shared |= self._copies[key]
        count = sum(picture in shared for picture in samples.pictures)
        if count:
            where = f"{samples.dataset} {samples.splits}"
            self._warn(f"{count:,} of the {samples.count:,} pictures of {where} are among those that rows trained on")
        return count

    def _warn(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            self._tell(line)
