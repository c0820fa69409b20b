"""What a stored run says of samples that it did not predict when it was trained, from its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from ferbench.averaging import averaged
from ferbench.catalog import Catalog
from ferbench.components import ROLES, Dataset
from ferbench.data.roles import LabelledImages, RoleReader
from ferbench.environment import chosen_device
from ferbench.errors import CheckpointLost, DatasetError, StoreError, UnknownName, UsageError
from ferbench.records import Predictions, Run
from ferbench.references import parse_reference
from ferbench.settings import Settings
from ferbench.store import Store
from ferbench.store.last_stage import cannot_predict, last_stage, members_of, named
from ferbench.workbench import Workbench
from ferbench.worker import Evaluation, StageTask, evaluated, run_stage


@dataclass(frozen=True, slots=True)
class SplitPredictions:
    """A run's predictions of a split, with what a reader of them must know.

    trained_on : how many of the samples the run was trained on, in any of its stages
    warnings : one line each
    """

    predictions: Predictions
    trained_on: int = 0
    warnings: tuple[str, ...] = ()


class Inference:
    """Predicts for one command; each dataset is read once."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._find = catalog.dataset
        roles = RoleReader(catalog.dataset, settings.data_folder, settings.cache_folder)
        device = chosen_device(settings.device)
        self._bench = Workbench(
            catalog.backbone, roles, settings.cache_folder, device, find_face_detector=catalog.face_detector
        )

    def predictions(self, run: Run, split: str, store: Store) -> SplitPredictions:
        """A finished run's predictions of one split of its target, labelled or not; an ensemble's from its members.

        Parameters
        ----------
        split : select, which is looked up in the store; a published split's name in any case; or a role, which stands
            for the published split that plays it

        Raises
        ------
        UsageError : the target has no such split
        StoreError : the store lacks the select predictions or the stage, or the checkpoint is gone
        DatasetError : the split cannot be read
        """
        target, labels = run.cell.target, run.cell.recipe.label_set
        dataset = parse_reference(target, self._find).dataset
        if split == "select":
            evaluation = Evaluation(target, "select")
        else:
            evaluation = Evaluation(f"{dataset.name}:{self._published(dataset, split)}", "named")
        samples = evaluated(self._bench.roles, evaluation, labels)
        said_by = self._stored if split == "select" else self._predicted
        if run.members:
            members = [said_by(each, evaluation, samples, store) for each in members_of(run, store)]
            found = averaged(members, [member.weight for member in run.members])
        else:
            found = said_by(run, evaluation, samples, store)
        trained_on, untold = self._trained_on(run, dataset.name, samples, store)
        name = f"{samples.dataset} {samples.splits}"
        warnings = [f"{samples.dataset}: {line}" for line in samples.warnings]
        if samples.excluded:
            verb = "sample is" if samples.excluded == 1 else "samples are"
            warnings.append(f"{name}: {samples.excluded} {verb} left out, of classes outside label set {labels}")
        if trained_on:
            warnings.append(f"row {run.row} was trained on {trained_on} of the {samples.count} samples of {name}")
        warnings += [f"row {run.row} may have been trained on samples of {name}: {line}" for line in untold]
        return SplitPredictions(found, trained_on, tuple(dict.fromkeys(warnings)))

    def _published(self, dataset: Dataset, split: str) -> str:
        """The published split that is meant."""
        wanted = split.casefold()
        found = next((each for each in dataset.splits if each.casefold() == wanted), None)
        if split in dataset.splits:
            found = split
        elif found is None and wanted in ROLES:
            found = self._bench.roles.roles_of(dataset).get(wanted)
        if found is None:
            known = ", ".join(dict.fromkeys(("report", "select", *dataset.splits)))
            raise UsageError(f"dataset {dataset.name!r} has no split {split!r}: there are {known}")
        return found

    def _stored(self, run: Run, evaluation: Evaluation, samples: LabelledImages, store: Store) -> Predictions:
        known = store.predictions(run.stages[-1], samples.dataset, samples.splits, samples.content)
        if known is None:
            raise StoreError(
                f"{store.location} holds no predictions of {named(run)} on {samples.dataset} {samples.splits} as "
                "it lies here: run that cell again with --force"
            )
        return known

    def _predicted(self, run: Run, evaluation: Evaluation, samples: LabelledImages, store: Store) -> Predictions:
        stage, result = last_stage(run, store)
        task = StageTask(stage, run.cell.recipe.label_set, (evaluation,), result)
        try:
            outcome = run_stage(task, self._bench, lambda progress: None, lambda epoch: None)
        except CheckpointLost as lost:
            raise cannot_predict(run, store, lost) from lost
        return outcome.predictions[0][1]

    def _trained_on(self, run: Run, dataset: str, samples: LabelledImages, store: Store) -> tuple[int, list[str]]:
        """How many of the samples some stage was trained on, and why that cannot be told exactly, a line each."""
        seen: set[tuple[str, str]] = set()
        untold: list[str] = []
        for fingerprint in run.stages:
            stage = store.stage(fingerprint)
            if stage is None:
                untold.append(f"{store.location} lacks stage {fingerprint[:10]}")
                continue
            for part in stage.parts:
                try:
                    if parse_reference(part.dataset, self._find).dataset.name != dataset:
                        continue
                    trained = self._bench.roles.train(part.dataset, run.cell.recipe.label_set, part.fraction)
                except UnknownName:
                    continue  # a dataset of a plugin that is not there is not the one that was just read
                except (DatasetError, UsageError) as error:
                    untold.append(error.line)
                    continue
                if trained.content != part.content:
                    untold.append(f"{part.dataset} holds other train samples now than when the row was trained")
                # An id is unique within its split alone; with the picture it tells the sample.
                seen.update(zip(trained.ids, trained.pictures, strict=True))
        return len(seen.intersection(zip(samples.ids, samples.pictures, strict=True))), list(dict.fromkeys(untold))
