"""The frozen records that travel between the parts, and their fingerprints.

Everything here is plain data: no torch, no files, no SQL. Arrays are numpy's and only annotated, never made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Raised when the meaning of a published number changes. Part of every row.
PROTOCOL_VERSION = 1

#: Raised when the way from stored pixels to network input changes. Part of every stage's fingerprint.
PREPROCESSING_VERSION = 1

RecipeValue = str | int | float | bool
Role = Literal["train", "select", "report"]
ROLES: tuple[Role, ...] = ("train", "select", "report")


def canonical_json(value: object) -> str:
    """JSON with one spelling for one value: sorted keys, no spaces, no NaN.

    Raises
    ------
    ValueError : for NaN and infinities
    TypeError : for what JSON has no word for
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: object) -> str:
    """SHA-256 of a value's canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def derived_seed(seed: int, stage_index: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed for one use of randomness, from coordinates alone.

    Nothing else may seed anything: two strategies of one seed then share data order and head initialisation, and
    going on in the middle of a stage needs only the step.
    """
    digest = hashlib.sha256(f"{seed}/{stage_index}/{purpose}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a stage is trained. One default for all; a backbone and a dataset may bring defaults of their own.

    Units: `images_seen` counts training images over the whole chain (in a resolved stage: of that stage); `warmup` and
    `target_share` are fractions; `lr` is the peak learning rate at the given batch size.
    """

    images_seen: int = 200_000
    target_share: float = 0.5
    mixing: str = "raw"
    batch_size: int = 32
    lr: float = 0.01
    head_lr_factor: float = 1.0
    optimizer: str = "sgd"
    weight_decay: float = 5e-4
    momentum: float = 0.9
    schedule: str = "one-cycle"
    warmup: float = 0.25
    label_smoothing: float = 0.05
    imbalance: str = "none"
    augment: str = "standard"
    image_size: int = 224
    grey: bool = False
    precision: str = "auto"
    trainable: str = "all"
    head: str = "keep"
    checkpoint: str = "last"
    label_set: str = "basic7"


#: The words that a recipe's text fields may hold.
RECIPE_CHOICES: Mapping[str, tuple[str, ...]] = {
    "mixing": ("raw", "balanced"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("one-cycle", "cosine", "constant"),
    "imbalance": ("none", "weighted"),
    "augment": ("none", "flip", "standard"),
    "precision": ("auto", "fp32", "bf16"),
    "trainable": ("all", "head"),
    "head": ("keep", "new"),
    "checkpoint": ("last", "best-on-select"),
}

#: Inclusive ranges of a recipe's numbers.
RECIPE_RANGES: Mapping[str, tuple[float, float]] = {
    "images_seen": (1, 10**12),
    "target_share": (0.0, 1.0),
    "batch_size": (1, 65_536),
    "lr": (0.0, 1e3),
    "head_lr_factor": (0.0, 1e6),
    "weight_decay": (0.0, 1e3),
    "momentum": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "label_smoothing": (0.0, 1.0),
    "image_size": (1, 4_096),
}


@dataclass(frozen=True, slots=True)
class StageChange:
    """One recipe value for one stage only; stages count from 1, as in `--set stage2.lr=0.001`."""

    stage: int
    key: str
    value: RecipeValue


@dataclass(frozen=True, slots=True)
class Cell:
    """One coordinate of a matrix.

    `weights` is a policy: auto, pretrained, random, or a file's path. `auxiliaries` is one chain, in order.
    """

    backbone: str
    weights: str
    strategy: str
    target: str
    auxiliaries: tuple[str, ...]
    recipe: Recipe
    seed: int
    stage_changes: tuple[StageChange, ...] = ()


@dataclass(frozen=True, slots=True)
class StageSpec:
    """What a strategy asks for: a stage before names are resolved.

    datasets : names of the datasets whose train role is trained on, together
    share : of the cell's `images_seen`
    changes : recipe values of this stage, as pairs of key and value
    """

    datasets: tuple[str, ...]
    share: float
    changes: tuple[tuple[str, RecipeValue], ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """One dataset's training samples: the reference as a cell has it, and the hash of pixels and labels."""

    dataset: str
    splits: str
    content: str
    count: int
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Where a chain starts: `sha256` is the file's, or the word `random`; `source` says in words what it is."""

    sha256: str
    source: str
    path: str | None = None

    @property
    def is_random(self) -> bool:
        return self.sha256 == "random"


RANDOM_WEIGHTS = InitialWeights("random", "random")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage with everything resolved; what it computes is named by its fingerprint.

    recipe : its `images_seen` is this stage's own share of the budget; values that cannot matter here (such as
        `target_share`) are put to the general default, so that equal work has one fingerprint
    index : position in the chain, from 0
    parent : fingerprint of the stage that it goes on from, or None
    select : content of the select samples that the checkpoint is chosen on; empty where the last one is taken
    """

    fingerprint: str
    index: int
    backbone: str
    weights: InitialWeights
    parts: tuple[TrainingPart, ...]
    classes: tuple[str, ...]
    recipe: Recipe
    seed: int
    parent: str | None
    select: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CellPlan:
    """A cell with its chain.

    stages : fingerprints, in order; the last one is reported on
    entry : what must agree for runs to be put together over seeds, hashed; see Run
    key : the entry and the seed, hashed: one run
    images_seen, target_images_seen : of the whole chain as if it stood alone
    """

    cell: Cell
    board: Board
    weights: InitialWeights
    stages: tuple[str, ...]
    entry: str
    key: str
    images_seen: int
    target_images_seen: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages that some cells need, each once, parents before children; and the cells."""

    stages: tuple[Stage, ...]
    cells: tuple[CellPlan, ...]


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One pass over as many images as the stage's training data holds. `loss` is the mean over its steps.

    `select_accuracy` is a fraction, and None unless the recipe's checkpoint policy looks at the select split.
    """

    epoch: int
    images_seen: int
    loss: float
    images_per_second: float
    select_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class StageResult:
    """What training a stage gave and cost."""

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
    """One metric, as a fraction (or in nats for NLL), with its interval where one is defined; n is never left out."""

    metric: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None


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

    @property
    def row(self) -> str:
        """The 10 hex digits by which every command names this run's entry."""
        return self.entry[:10]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What ranking needs of a run, without the rest: ten thousand of them are read at once.

    weights : where the chain started, in words (`InitialWeights.source`)
    accuracy, uar, macro_f1 : None for a failed run
    correct : bool [n], which samples of the board were answered right, in the board's order; None for a failed run
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
    correct: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, run: Run, correct: NDArray[np.bool_] | None) -> RunSummary:
        """A run's summary; `correct` is bool [n] for a finished run."""
        scores = {score.metric: score for score in run.scores}
        return cls(
            entry=run.entry,
            status=run.status,
            board=run.board,
            backbone=run.cell.backbone,
            strategy=run.cell.strategy,
            target=run.cell.target,
            auxiliaries=run.cell.auxiliaries,
            weights=run.weights.source,
            image_size=run.cell.recipe.image_size,
            device=run.environment.device_kind,
            seed=run.cell.seed,
            images_seen=run.images_seen,
            train_seconds=run.train_seconds,
            accuracy=scores.get("accuracy"),
            uar=scores.get("uar"),
            macro_f1=scores.get("macro_f1"),
            notes=run.notes,
            error=run.error,
            correct=correct,
        )


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a finished stage was trained, for estimates of the next one."""

    backbone: str
    image_size: int
    trainable: str
    precision: str
    batch_size: int
    device: str
    threads: int
    images_per_second: float
    peak_memory_bytes: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean over seeds with its interval; `kind` names how the interval was computed (`wilson` or `t`)."""

    mean: float
    sd: float | None
    low: float
    high: float
    kind: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A board's row: the runs of one key over seeds."""

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


def as_plain(record: Any) -> Any:
    """A record as JSON's own types: dataclasses to objects, tuples to lists."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: as_plain(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): as_plain(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [as_plain(value) for value in record]
    return record
