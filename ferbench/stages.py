"""The frozen records of what is to be computed: cells, and the stages that they need."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ferbench.recipes import Recipe, RecipeValue


@dataclass(frozen=True, slots=True)
class StageChange:
    """One recipe value for one stage only; stages count from 1, as in `--set stage2.lr=0.001`."""

    stage: int
    key: str
    value: RecipeValue


@dataclass(frozen=True, slots=True)
class Try:
    """One recipe that was tried.

    values : what it was tried with, by the names that `--set` has (`lr`, `stage2.lr`)
    score : what it reached on select; None where it failed
    """

    values: tuple[tuple[str, RecipeValue], ...]
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a cell's recipe was chosen: every try trained with one seed, the best on select taken.

    metric : what was compared on select, a name of metrics.METRICS
    seed : of the tries; none of the seeds that are reported
    select_n : samples it was compared on
    chosen : the values of the best try
    distinct : tries that differ in what they compute; some values do not matter to some strategies. 0 where not known
    """

    metric: str
    seed: int
    select_n: int
    tries: tuple[Try, ...]
    chosen: tuple[tuple[str, RecipeValue], ...]
    distinct: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One coordinate of a matrix.

    `weights` is a policy: auto, pretrained, random, or a file's path. `auxiliaries` is one chain, in order.
    `train_fraction` is the part of the target's train samples that may be trained on, above 0 and at most 1.
    `tuning` says how the recipe was chosen; None where it was given.
    """

    backbone: str
    weights: str
    strategy: str
    target: str
    auxiliaries: tuple[str, ...]
    recipe: Recipe
    seed: int
    stage_changes: tuple[StageChange, ...] = ()
    train_fraction: float = 1.0
    tuning: Tuning | None = None

    def recipe_values(self) -> tuple[tuple[str, RecipeValue], ...]:
        """Every value by the name that `--set` has for it: the recipe's own, then such as `stage2.lr`."""
        own = [(field.name, getattr(self.recipe, field.name)) for field in fields(self.recipe)]
        return (*own, *((f"stage{change.stage}.{change.key}", change.value) for change in self.stage_changes))


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
    """One dataset's training samples.

    dataset : the reference as a cell has it
    content : hash of pixels, expressions and groups
    fraction : the part of the dataset's train samples that was asked for
    whole : how many there are of them, of which `count` are taken; groups are not divided
    """

    dataset: str
    splits: str
    content: str
    count: int
    synthetic: bool = False
    fraction: float = 1.0
    whole: int = 0

    @property
    def share(self) -> float:
        """The part that is really taken."""
        return self.count / self.whole if self.whole else self.fraction


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Where a chain starts; `source` says in words what it is.

    sha256 : the file's; or the word `random`; or `none` for a backbone without weights
    """

    sha256: str
    source: str
    path: str | None = None

    @property
    def is_random(self) -> bool:
        return self.sha256 == "random"

    @property
    def is_file(self) -> bool:
        return self.sha256 not in ("random", "none")


RANDOM_WEIGHTS = InitialWeights("random", "random")
NO_WEIGHTS = InitialWeights("none", "none")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage with everything resolved; what it computes is named by its fingerprint.

    recipe : its `images_seen` is this stage's own share of the budget; values that cannot matter here (such as
        `target_share`) are put to the general default, so that equal work has one fingerprint
    index : position in the chain, from 0
    parent : fingerprint of the stage that it goes on from, or None
    select : content of the select samples that the checkpoint is chosen on; empty where the last one is taken
    detector : what finds the faces that pictures are cut to, with version and library; empty where they are whole
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
    detector: str = ""

    @property
    def feature_images(self) -> int:
        """Images whose features are computed once before the steps, in every view; 0 where that would not pay.

        It depends on the stage alone and not on what is cached, so that the stage gives the same bits again.
        """
        recipe = self.recipe
        if recipe.trainable == "all" or recipe.head_fit != "sgd" or recipe.views is None:
            return 0
        images = recipe.views * sum(part.count for part in self.parts)
        return images if images <= recipe.images_seen else 0

    @property
    def trained(self) -> str:
        """What is trained and how, as speeds tell it apart: the recipe's, and maybe ` on features`."""
        return f"{self.recipe.trained} on features" if self.feature_images else self.recipe.trained
