"""What a site says of one row: what it is, how it came about, what it answered, and how to have it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ferbench.components import Permit
from ferbench.evidence import ReliabilityBin
from ferbench.generalisation import FurtherEntry
from ferbench.metrics import ClassScore
from ferbench.recipes import Recipe, RecipeValue
from ferbench.records import Board, Entry, Environment
from ferbench.stages import InitialWeights, TrainingPart, Tuning


@dataclass(frozen=True, slots=True)
class RecipeLine:
    """One value of a row's recipe.

    key : as `--set` has it, such as `lr` or `stage2.lr`
    default : what it would be without `--set`; None for a stage's own value
    changed : it is not the default
    """

    key: str
    value: RecipeValue
    default: RecipeValue | None
    changed: bool


@dataclass(frozen=True, slots=True)
class ChainStage:
    """A stage of the chain; seconds and speeds are means over seeds.

    parts : what it was trained on
    recipe : its own, with its part of the budget
    peak_memory_bytes : the most of any seed
    micro_batches : images at once, where that was not the batch size
    fingerprints : by seed, in the order of the row's seeds
    shared : other rows that stand on it
    pruned : seeds whose checkpoint was given up
    notes : what it says of itself
    """

    number: int
    parts: tuple[TrainingPart, ...]
    recipe: Recipe
    train_seconds: float
    images_per_second: float
    peak_memory_bytes: int
    micro_batches: tuple[int, ...]
    fingerprints: tuple[str, ...]
    shared: tuple[str, ...] = ()
    pruned: tuple[int, ...] = ()
    absent_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """An epoch of one seed; images are counted over the whole chain. Accuracies are fractions, None where unknown."""

    seed: int
    stage: int
    images_seen: int
    loss: float
    select_accuracy: float | None
    target_accuracy: float | None


@dataclass(frozen=True, slots=True)
class SeedScores:
    """One seed's scores; as fractions, NLL in nats."""

    seed: int
    accuracy: float
    low: float
    high: float
    uar: float
    macro_f1: float
    nll: float | None
    brier: float | None
    ece: float | None
    select_accuracy: float | None
    temperature: float | None
    train_seconds: float
    finished_at: str


@dataclass(frozen=True, slots=True)
class Calibrated:
    """How far probabilities can be believed, over all seeds together.

    before, after : bins of the answers as predicted, and at each seed's own temperature; none where a seed has none
    ece, after_ece : means over seeds, as fractions
    after_brier : as Calibration has it, mean over seeds
    temperature : mean over seeds
    select_n : samples that temperatures were fitted on
    """

    before: tuple[ReliabilityBin, ...]
    ece: float | None
    after: tuple[ReliabilityBin, ...] = ()
    after_ece: float | None = None
    after_brier: float | None = None
    temperature: float | None = None
    select_n: int = 0


@dataclass(frozen=True, slots=True)
class GroupScore:
    """A film's or a subject's samples; accuracies are fractions.

    name : its own, or such as `group 1` where names are withheld
    accuracy : mean over seeds
    low, high : of the worst and of the best seed
    """

    name: str
    n: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class HardSample:
    """A sample that many seeds get wrong.

    place : its number in the board's order, from 0
    name : its id, or its number in the board's order where ids are withheld
    group : its film or subject, named as in GroupScore; None where there are none
    wrong : seeds that are
    answers : what was answered, each with the number of seeds, most first
    of_truth : probability of its label, mean over seeds
    picture, saliency : names among the page's pictures; a picture is the same on pages of all rows that show the sample
    """

    place: int
    name: str
    group: str | None
    truth: str
    wrong: int
    answers: tuple[tuple[str, int], ...]
    of_truth: float
    picture: str | None = None
    saliency: str | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An auxiliary that the chain passed through; accuracies are fractions, means over seeds."""

    dataset: str
    split: str
    n: int
    before: float
    after: float
    seeds: int

    @property
    def lost(self) -> float:
        return self.before - self.after


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A row in an ensemble.

    weight : its part of the mean, over the ensemble's runs
    runs : how many of its runs are in it
    linked : it has a page beside this one
    """

    row: str
    words: str
    weight: float
    runs: int
    linked: bool


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A seed that is not in the row's figures."""

    seed: int
    error: str


@dataclass(frozen=True, slots=True)
class Command:
    """A line for a shell, and what it does or what must be known of it."""

    line: str
    says: str


@dataclass(frozen=True, slots=True)
class Citation:
    """What to cite.

    what : the part of the row that it stands for, such as `backbone vgg16`
    url : where it leads, by its doi, arXiv number or address; None where its text names none
    bibtex : None where there is no doi or arXiv number
    licence : of the part; empty where none is said
    """

    what: str
    text: str
    url: str | None = None
    bibtex: str | None = None
    licence: str = ""


@dataclass(frozen=True, slots=True)
class RowPage:
    """One row of a board.

    board : paths in names are cut, here and everywhere
    rows : finished rows of the board
    permits : what of its samples is shown; ids and groups are numbers where theirs is not among them
    environments : the seeds' distinct ones, each with its seeds
    confusion : counts summed over seeds, int [C][C]; rows are the truth
    of_classes : means over seeds; a recall is None where the truth has no sample of a class
    chain : empty for an ensemble, as are `curve` and `recipe`
    groups : best first; empty where the samples have none
    hardest : most seeds wrong first, then by the truth's probability
    linked : rows that have a page beside this one
    sources : plugins by name, with the SHA-256 of their source
    hardware : what computed it, where rows of another machine met one of the same name
    pictures : PNG files by name, which is a path from the board's folder
    """

    board: Board
    entry: Entry
    rows: int
    stale: bool
    permits: frozenset[Permit]
    failed: tuple[FailedRun, ...]
    seeds: tuple[SeedScores, ...]
    recipe: tuple[RecipeLine, ...]
    chain: tuple[ChainStage, ...]
    weights: InitialWeights
    environments: tuple[tuple[Environment, tuple[int, ...]], ...]
    curve: tuple[CurvePoint, ...]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    of_classes: tuple[ClassScore, ...]
    calibrated: Calibrated
    groups: tuple[GroupScore, ...]
    hardest: tuple[HardSample, ...]
    tuning: Tuning | None
    forgotten: tuple[Forgotten, ...]
    further: tuple[FurtherEntry, ...]
    members: tuple[MemberRow, ...]
    commands: tuple[Command, ...]
    citations: tuple[Citation, ...]
    linked: frozenset[str] = frozenset()
    sources: tuple[tuple[str, str], ...] = ()
    hardware: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def row(self) -> str:
        return self.entry.row
