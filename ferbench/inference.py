"""What a stored run says of samples that it did not predict when it was trained, from its checkpoint."""

from __future__ import annotations

from ferbench.catalog import Catalog
from ferbench.checkpoints import Checkpoints
from ferbench.data.roles import RoleReader
from ferbench.environment import chosen_device
from ferbench.errors import CheckpointLost, StoreError
from ferbench.records import Predictions, Run
from ferbench.references import parse_reference
from ferbench.settings import Settings
from ferbench.store import Store
from ferbench.worker import Evaluation, StageTask, Workbench, run_stage


class Inference:
    """Predicts for one command; each dataset is read once."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._find = catalog.dataset
        roles = RoleReader(catalog.dataset, settings.data_folder, settings.cache_folder)
        device = chosen_device(settings.device)
        self._bench = Workbench(catalog.backbone, roles, Checkpoints(settings.cache_folder), device)

    def predictions(self, run: Run, split: str, store: Store) -> Predictions:
        """A finished run's predictions of one split of its target, with or without labels.

        Parameters
        ----------
        split : select, which is looked up in the store, or a published split's name in any case

        Raises
        ------
        UsageError : the target has no such split
        StoreError : the store lacks the select predictions or the stage, or the checkpoint is gone
        DatasetError : the split cannot be read
        """
        target, labels, final = run.cell.target, run.cell.recipe.label_set, run.stages[-1]
        if split == "select":
            samples = self._bench.roles.select(target, labels)
            known = store.predictions(final, samples.dataset, samples.splits, samples.content)
            if known is None:
                raise StoreError(
                    f"{store.location} holds no predictions of {_named(run)} on {samples.dataset} {samples.splits} as "
                    "it lies here: run that cell again with --force"
                )
            return known
        dataset = parse_reference(target, self._find).dataset
        spelled = next((each for each in dataset.splits if each.casefold() == split.casefold()), split)
        evaluation = Evaluation(f"{dataset.name}:{spelled}", "named")
        parse_reference(evaluation.reference, self._find)
        stage, result = store.stage(final), store.stage_result(final)
        if stage is None or result is None:
            raise StoreError(
                f"{store.location} lacks the last stage of {_named(run)}: run that cell again with --force"
            )
        task = StageTask(stage, labels, (evaluation,), result)
        try:
            outcome = run_stage(task, self._bench, lambda progress: None, lambda epoch: None)
        except CheckpointLost as error:
            raise StoreError(f"{_named(run)} cannot predict: {error.line}; run that cell again with --force") from error
        return outcome.predictions[0][1]


def _named(run: Run) -> str:
    return f"row {run.row}, seed {run.cell.seed}"
