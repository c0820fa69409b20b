"""The frozen records of what came out: of an epoch, a stage and a run, and on which board.

Everything here is plain data: no torch, no files, no SQL. Arrays are numpy's and only annotated, never made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ferbench.evidence import Calibration, Forgetting, Member, ReliabilityBin
from ferbench.recipes import RecipeValue
from ferbench.stages import Cell, InitialWeights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One pass over as many images as the stage's training data holds, or more where that would make too many rows.

    `loss` is the mean over its steps.

    `select_accuracy` is a fraction, and None unless the recipe's checkpoint policy looks at the select split.

    `target_accuracy` is a fraction, of the target's select samples; None unless `run --track` asks for it.
    """

    epoch: int
    images_seen: int
    loss: float
    images_per_second: float
    select_accuracy: float | None = None
    target_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class StageResult:
    """What training a stage gave and cost.

    train_seconds : what training takes where nothing of it was done before: steps, and the features of a frozen prefix;
        evaluation on the select split and compilation left out
    images_per_second : of the training steps alone
    micro_batch : images that went through the network at once; the recipe's batch size where memory allowed it
    feature_seconds : of `train_seconds`, what computing features took when they were first computed
    features_per_second : of that computation, in images; None where no features were used
    spent_seconds : what this machine really spent, compilation included, attempts that ran out of memory and the search
        for faces not; None in results of earlier versions
    compile_seconds : of `spent_seconds`, what compiling took
    resumed_at : images that an earlier command had seen, from whose partial checkpoint this one went on
    tracked : hash of the samples that the epochs' `target_accuracy` is of; empty where nothing was tracked
    """

    fingerprint: str
    images_seen: int
    train_seconds: float
    images_per_second: float
    peak_memory_bytes: int
    history: tuple[EpochResult, ...]
    device: str
    threads: int
    micro_batch: int
    parameters: int
    checkpoint_sha256: str
    absent_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    feature_seconds: float = 0.0
    features_per_second: float | None = None
    spent_seconds: float | None = None
    compile_seconds: float = 0.0
    resumed_at: int = 0
    tracked: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """One training of a stage that really happened, as the store logs it; seconds as in StageResult.

    stage : its fingerprint
    saved_at : seconds since 1970
    """

    stage: str
    images: int
    train_seconds: float
    spent_seconds: float | None
    micro_batch: int
    device: str
    threads: int
    saved_at: float


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model said of every sample of one split, in the split's order.

    labels : int64 [n], index into the label set's classes, or None where the truth is withheld
    probabilities : float32 [n, C], rows sum to 1
    groups : film or subject of each sample, or None
    """

    dataset: str
    split: str
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | None
    probabilities: NDArray[np.float32]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """One metric, as a fraction (or in nats for NLL), with its interval where one is defined; n is never left out.

    interval : how low and high were computed: `wilson`, `bootstrap` over samples, or `cluster-bootstrap` over groups
    """

    metric: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    interval: str = "wilson"


@dataclass(frozen=True, slots=True)
class FurtherScores:
    """What a stage scores on samples that are not its row's board: a further dataset's report split.

    content : hash of the samples, under which the predictions are stored
    excluded : samples outside the label set, left out
    trained_on : samples whose picture is among those that the row's chain was trained on
    """

    dataset: str
    split: str
    n: int
    content: str
    label_set: str
    scores: tuple[Score, ...]
    excluded: int = 0
    synthetic: bool = False
    trained_on: int = 0


@dataclass(frozen=True, slots=True)
class Board:
    """What a number is measured on; only rows of one board are ranked together.

    fingerprint : hash of the report split's content, label set, exclusions and protocol version
    majority : fraction of the most frequent class, what a constant answer would score
    """

    fingerprint: str
    target: str
    split: str
    n: int
    label_set: str
    protocol: int
    majority: float
    excluded: int = 0
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class Environment:
    """What a row was computed with. `device_kind` is `cpu` or the accelerator's model name."""

    device_kind: str
    processor: str
    threads: int
    python: str
    torch: str
    ferbench: str
    platform: str
    versions: tuple[tuple[str, str], ...] = ()
    git_commit: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One cell's outcome: finished with scores, or failed with the error's one line.

    entry : hash of what must agree for runs to be put together over seeds; its first 10 digits are ROW
    images_seen, target_images_seen : of the whole chain, and those of the target among them
    train_seconds : the chain's stages as if it stood alone, shared or not
    spent_seconds : what this run really cost, shared stages counted for the first cell only
    train_fraction : the part of the target's train samples that the chain trains on, 0 where it trains on none
    predictions_sha256 : of the last stage's predictions on the board; empty in rows of earlier versions
    select_content : hash of the target's select samples, under which the last stage's predictions of them are stored;
        empty in rows of earlier versions
    select_accuracy : of them, as a fraction
    reliability : of the report split, as predicted
    calibration : with a temperature fitted on select; None where there is nothing to fit on but what is reported
    forgetting : of the auxiliaries that the chain passed through and that have a report split
    members : of an ensemble, which has no stage of its own but `stages[-1]`, which names its predictions
    sources : plugins that the row's parts come from, by name, with the SHA-256 of their source
    hardware : where rows of another machine met one of the same name here, what computed this one; else empty
    select_sha256 : of the last stage's predictions of the select samples, as `predictions_sha256`
    """

    key: str
    entry: str
    cell: Cell
    status: Literal["finished", "failed"]
    board: Board | None
    weights: InitialWeights
    environment: Environment
    stages: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    images_seen: int = 0
    target_images_seen: int = 0
    train_seconds: float = 0.0
    spent_seconds: float = 0.0
    peak_memory_bytes: int = 0
    parameters: int = 0
    error: str | None = None
    notes: tuple[str, ...] = ()
    finished_at: str = ""
    train_fraction: float = 1.0
    predictions_sha256: str = ""
    select_content: str = ""
    select_accuracy: float | None = None
    reliability: tuple[ReliabilityBin, ...] = ()
    calibration: Calibration | None = None
    forgetting: tuple[Forgetting, ...] = ()
    members: tuple[Member, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    hardware: str = ""
    select_sha256: str = ""

    @property
    def row(self) -> str:
        """The 10 hex digits by which every command names this run's entry."""
        return self.entry[:10]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What ranking needs of a run, without the rest: ten thousand of them are read at once.

    weights : where the chain started, in words (`InitialWeights.source`)
    image_size : side in pixels in the last stage, which is what was reported on
    accuracy, uar, macro_f1 : None for a failed run
    recipe : every value of the cell's recipe and stage changes (`Cell.recipe_values`)
    train_fraction : the part of the target's train samples that was trained on, 0 for none
    correct : bool [n], which samples of the board were answered right, in the board's order; None for a failed run
    spent_seconds, peak_memory_bytes, parameters : as in Run; None for a failed run
    processor, threads : as in Environment; None for a failed run
    precision : of the last stage, `fp32` or `bf16`; None for a failed run, and where no store tells
    nll, brier, ece : as in metrics.scores; None for a failed run
    select_accuracy : as in Run
    forgotten : accuracy lost, mean over the auxiliaries; None where that is not known
    temperature, calibrated_nll, calibrated_ece : as in Calibration; None without one
    tries : recipes that were tried before this one was chosen on select; 0 for one that was not tuned
    members : runs of an ensemble; 0 for a row that is none
    final_stage : fingerprint of the stage that was reported on
    """

    entry: str
    status: Literal["finished", "failed"]
    board: Board | None
    backbone: str
    strategy: str
    target: str
    auxiliaries: tuple[str, ...]
    weights: str
    image_size: int
    device: str
    seed: int
    images_seen: int
    train_seconds: float
    accuracy: Score | None
    uar: Score | None
    macro_f1: Score | None
    notes: tuple[str, ...] = ()
    error: str | None = None
    recipe: tuple[tuple[str, RecipeValue], ...] = ()
    train_fraction: float = 1.0
    correct: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    spent_seconds: float | None = None
    peak_memory_bytes: int | None = None
    parameters: int | None = None
    processor: str | None = None
    threads: int | None = None
    precision: str | None = None
    nll: float | None = None
    brier: float | None = None
    ece: float | None = None
    select_accuracy: float | None = None
    forgotten: float | None = None
    temperature: float | None = None
    calibrated_nll: float | None = None
    calibrated_ece: float | None = None
    tries: int = 0
    members: int = 0
    final_stage: str | None = None

    @classmethod
    def of(cls, run: Run, correct: NDArray[np.bool_] | None) -> RunSummary:
        """A run's summary; `correct` is bool [n] for a finished run."""
        scores = {score.metric: score for score in run.scores}
        recipe = run.cell.recipe_values()
        finished = run.status == "finished"
        image_size = dict(recipe).get(f"stage{len(run.stages)}.image_size", run.cell.recipe.image_size)
        return cls(
            entry=run.entry,
            status=run.status,
            board=run.board,
            backbone=run.cell.backbone,
            strategy=run.cell.strategy,
            target=run.cell.target,
            auxiliaries=run.cell.auxiliaries,
            weights=run.weights.source,
            image_size=int(image_size),
            device=run.environment.device_kind,
            seed=run.cell.seed,
            images_seen=run.images_seen,
            train_seconds=run.train_seconds,
            accuracy=scores.get("accuracy"),
            uar=scores.get("uar"),
            macro_f1=scores.get("macro_f1"),
            notes=run.notes,
            error=run.error,
            recipe=recipe,
            train_fraction=run.train_fraction,
            spent_seconds=run.spent_seconds if finished else None,
            peak_memory_bytes=run.peak_memory_bytes if finished else None,
            parameters=run.parameters if finished else None,
            processor=run.environment.processor if finished else None,
            threads=run.environment.threads if finished else None,
            correct=correct,
            nll=_value(scores.get("nll")),
            brier=_value(scores.get("brier")),
            ece=_value(scores.get("ece")),
            select_accuracy=run.select_accuracy,
            forgotten=sum(each.lost for each in run.forgetting) / len(run.forgetting) if run.forgetting else None,
            temperature=None if run.calibration is None else run.calibration.temperature,
            calibrated_nll=None if run.calibration is None else run.calibration.nll,
            calibrated_ece=None if run.calibration is None else run.calibration.ece,
            tries=0 if run.cell.tuning is None else len(run.cell.tuning.tries),
            members=len(run.members),
            final_stage=run.stages[-1] if run.stages else None,
        )


def _value(score: Score | None) -> float | None:
    return None if score is None else score.value


@dataclass(frozen=True, slots=True)
class SpeedKey:
    """What a training speed depends on."""

    backbone: str
    image_size: int
    trainable: str
    precision: str
    batch_size: int
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class Speed:
    """What a stage of one kind cost, for estimates of the next one.

    images_per_second : of the training steps
    features_per_second : of computing the features of a frozen prefix; None where there are none
    """

    key: SpeedKey
    images_per_second: float
    peak_memory_bytes: int | None = None
    parameters: int | None = None
    features_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Median of repeated measurements, with the smallest and the largest of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SpeedMeasurement:
    """How fast a backbone is on a device that it owned alone: a row of the speed board.

    training_images_per_second, inference_images_per_second : in batches of `batch_size`, after warm-up
    latency_p50_seconds, latency_p95_seconds : of one image
    peak_memory_bytes : of training
    forward_flops : of one image, a multiplication and an addition counted as two
    matrix_flops_per_second : of a large matrix product in the same precision, measured in the same process
    training_mfu, inference_mfu : FLOPs done per second, backward counted as twice forward, over that rate
    repeats : measurements that each spread is of
    """

    backbone: str
    image_size: int
    batch_size: int
    precision: str
    device: str
    threads: int
    compiled: bool
    processor: str
    torch: str
    ferbench: str
    training_images_per_second: Spread
    inference_images_per_second: Spread
    latency_p50_seconds: float
    latency_p95_seconds: float
    peak_memory_bytes: int
    parameters: int
    forward_flops: int
    matrix_flops_per_second: float
    training_mfu: float
    inference_mfu: float
    compile_seconds: float
    repeats: int
    measured_at: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean over seeds with its interval.

    kind : how the interval was computed: `t` over seeds; of one seed `wilson`, `bootstrap` or `cluster-bootstrap`
    """

    mean: float
    sd: float | None
    low: float
    high: float
    kind: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A board's row: the runs of one key over seeds.

    recipe : every value of the recipe and the stage changes of its first run (`Cell.recipe_values`)
    images_per_second : of training, over `train_seconds`
    spent_seconds : what the runs really took, stages shared with other rows counted once; mean over seeds
    peak_memory_bytes, parameters : of training; the most of any seed
    forward_flops : of the speed board's row of the same backbone and image size; None where it has none
    inference_images_per_second, latency_p50_seconds : of its row that has the same device, too
    nll, brier, ece, select_accuracy, forgotten, temperature, calibrated_nll, calibrated_ece : as in RunSummary; means
        over seeds, None unless every seed has one
    tries, members : as in RunSummary
    final_stages : fingerprint of the stage that was reported on, by seed in the order of `seeds`
    """

    row: str
    rank: int
    backbone: str
    strategy: str
    auxiliaries: tuple[str, ...]
    weights: str
    image_size: int
    device: str
    seeds: tuple[int, ...]
    accuracy: Interval
    uar: Interval
    macro_f1: Interval
    images_seen: int
    train_seconds: float
    notes: tuple[str, ...] = field(default=())
    recipe: tuple[tuple[str, RecipeValue], ...] = ()
    train_fraction: float = 1.0
    images_per_second: float | None = None
    spent_seconds: float | None = None
    peak_memory_bytes: int | None = None
    parameters: int | None = None
    forward_flops: int | None = None
    inference_images_per_second: float | None = None
    latency_p50_seconds: float | None = None
    nll: float | None = None
    brier: float | None = None
    ece: float | None = None
    select_accuracy: float | None = None
    forgotten: float | None = None
    temperature: float | None = None
    calibrated_nll: float | None = None
    calibrated_ece: float | None = None
    tries: int = 0
    members: int = 0
    final_stages: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportedResult:
    """A figure from the literature: reported there, not reproduced here. It never stands among measured rows.

    dataset : a dataset's name, given without splits
    split : as the dataset names it; None where the source does not say
    accuracy : a fraction
    n : samples; None where the source does not say
    source : a citation, with a doi or an arXiv number
    remark : what a reader must know beside the figure, such as that it is disputed
    """

    method: str
    dataset: str
    split: str | None
    accuracy: float
    n: int | None
    source: str
    remark: str = ""
