"""From cells to the graph of stages: equal work is found by fingerprint and planned once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping

from ferbench.components import Backbone
from ferbench.errors import RecipeError
from ferbench.expressions import label_set
from ferbench.fingerprints import (
    PREPROCESSING_VERSION,
    PROTOCOL_VERSION,
    canonical_json,
    fingerprint,
    fingerprint_of_json,
    joined_array,
    joined_object,
    spelled,
)
from ferbench.matrix import Components
from ferbench.recipes import Recipe, changed
from ferbench.records import Board
from ferbench.stages import Cell, InitialWeights, Stage, StageSpec, TrainingPart

_DEFAULT = Recipe()

#: A recipe is flat: its fields' values are JSON's own.
_RECIPE_FIELDS = tuple(field.name for field in dataclasses.fields(Recipe))

#: Recipe fields that came after stages had been stored, with the values that those were trained with: left out there,
#: so that what was trained once is found again.
_LATER = {"head_fit": "sgd", "faces": "none", "face_detector": "auto"}


@dataclasses.dataclass(frozen=True, slots=True)
class CellPlan:
    """A cell with its chain.

    stages : fingerprints, in order; the last one is reported on
    entry : what must agree for runs to be put together over seeds, hashed; see Run
    key : the entry and the seed, hashed: one run
    images_seen, target_images_seen : of the whole chain as if it stood alone
    train_fraction : the part of the target's train samples that the chain trains on, 0 where it trains on none
    """

    cell: Cell
    board: Board
    weights: InitialWeights
    stages: tuple[str, ...]
    entry: str
    key: str
    images_seen: int
    target_images_seen: int
    train_fraction: float


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All stages that some cells need, each once, parents before children; and the cells.

    tries : cells that become no row, equal ones too: their last stage says of select how good a recipe is
    """

    stages: tuple[Stage, ...]
    cells: tuple[CellPlan, ...]
    tries: tuple[CellPlan, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class PlanInputs:
    """What planning needs to know of the world; each is a pure look-up.

    training_part : (dataset reference, label set, fraction) to the samples trained on
    select_content : (dataset reference, label set) to the hash of the select samples
    board : (target reference, label set) to the board
    weights : (backbone, policy) to the weights that a chain starts from
    precision : what `precision=auto` means on the device
    device_kind : part of every entry
    face_detector : the name of a face detector, or `auto`, to its name and its identity
    """

    training_part: Callable[[str, str, float], TrainingPart]
    select_content: Callable[[str, str], str]
    board: Callable[[str, str], Board]
    weights: Callable[[str, str], InitialWeights]
    precision: str
    device_kind: str
    face_detector: Callable[[str], tuple[str, str]] = lambda name: (name, name)


def make_plan(cells: Iterable[Cell], components: Components, inputs: PlanInputs, *, tries: Iterable[Cell] = ()) -> Plan:
    """Resolve every cell's chain; stages come out in first-needed order, which puts parents before children.

    Cells that differ only in what cannot matter to them, such as `target_share` to `target-only`, are one.
    """
    stages: dict[str, Stage] = {}
    chains: dict[tuple[object, ...], _Chain] = {}

    def planned(cell: Cell) -> CellPlan:
        coordinates = tuple(getattr(cell, name) for name in _BUT_THE_SEED)
        if coordinates not in chains:
            chains[coordinates] = _chain(cell, components, inputs)
        return chains[coordinates].with_seed(cell, stages)

    tried = tuple([planned(cell) for cell in tries])
    reported: dict[str, CellPlan] = {}
    for cell in cells:
        whole = planned(cell)
        reported.setdefault(whole.key, whole)
    return Plan(tuple(stages.values()), tuple(reported.values()), tried)


#: A cell's coordinates that cells over seeds have in common.
_BUT_THE_SEED = tuple(field.name for field in dataclasses.fields(Cell) if field.name != "seed")


@dataclasses.dataclass(frozen=True, slots=True)
class _Chain:
    """What cells have in common that differ in their seeds alone.

    stages : without seed, parent and fingerprint
    computed : what each of them computes, see `_computed`
    cell : one of them, without stages and key
    """

    stages: tuple[Stage, ...]
    computed: tuple[Mapping[str, str], ...]
    cell: CellPlan

    def with_seed(self, cell: Cell, stages: dict[str, Stage]) -> CellPlan:
        """One of the cells; its stages are added to those there are."""
        names: list[str] = []
        parent: str | None = None
        for stage, computed in zip(self.stages, self.computed, strict=True):
            own = {"seed": canonical_json(cell.seed), "parent": canonical_json(parent)}
            name = fingerprint_of_json(joined_object({**computed, **own}))
            if name not in stages:
                stages[name] = dataclasses.replace(stage, fingerprint=name, seed=cell.seed, parent=parent)
            names.append(name)
            parent = name
        key = fingerprint([self.cell.entry, cell.seed])
        like = self.cell.cell
        if (cell.recipe, cell.stage_changes) != (like.recipe, like.stage_changes):
            cell = dataclasses.replace(cell, recipe=like.recipe, stage_changes=like.stage_changes)
        return dataclasses.replace(self.cell, cell=cell, stages=tuple(names), key=key)


def _chain(cell: Cell, components: Components, inputs: PlanInputs) -> _Chain:
    specs = components.strategy(cell.strategy).stages(cell.target, cell.auxiliaries, cell.recipe)
    backbone = components.backbone(cell.backbone)
    weights = inputs.weights(cell.backbone, cell.weights)
    classes = label_set(cell.recipe.label_set).classes
    chain: list[Stage] = []
    for index, spec in enumerate(specs):
        parts = tuple(
            inputs.training_part(name, cell.recipe.label_set, cell.train_fraction if name == cell.target else 1.0)
            for name in spec.datasets
        )
        count = sum(part.count for part in parts)
        recipe = _resolved(cell, index, spec, inputs.precision, count, backbone.classifier)
        recipe, detector = _with_detector(recipe, inputs)
        select: tuple[str, ...] = ()
        if recipe.checkpoint == "best-on-select":
            select = tuple(inputs.select_content(name, cell.recipe.label_set) for name in spec.datasets)
        chain.append(
            Stage(
                fingerprint="",
                index=index,
                backbone=backbone.name,
                weights=weights,
                parts=parts,
                classes=classes,
                recipe=recipe,
                seed=0,
                parent=None,
                select=select,
                detector=detector,
            )
        )
    if cell.recipe.head_fit != "sgd" and all(stage.recipe.head_fit == "sgd" for stage in chain):
        raise RecipeError(
            f"head_fit={cell.recipe.head_fit} fits a head on frozen features, and no stage of {cell.strategy} trains "
            "the head alone: take a strategy that does, or --set trainable=head"
        )
    if not any(stage.detector for stage in chain):
        # Nothing was cut to what it finds: no row is to bear its name.
        recipe = dataclasses.replace(cell.recipe, face_detector=_DEFAULT.face_detector)
        changes = tuple([change for change in cell.stage_changes if change.key != "face_detector"])
        cell = dataclasses.replace(cell, recipe=recipe, stage_changes=changes)
    computed = tuple(_computed(stage, backbone) for stage in chain)
    return _Chain(tuple(chain), computed, _cell_plan(cell, chain, computed, inputs))


def _resolved(cell: Cell, index: int, spec: StageSpec, precision: str, count: int, classifier: str) -> Recipe:
    """The stage's own recipe: the cell's, then the strategy's changes, then the user's for this stage.

    What cannot matter there is put to the general default, so that equal work has one fingerprint.
    """
    own = [(change.key, change.value) for change in cell.stage_changes if change.stage == index + 1]
    recipe = changed(cell.recipe, [*spec.changes, *own])
    if recipe.trainable == classifier:
        recipe = dataclasses.replace(recipe, trainable="head")
    if recipe.trainable != "head" and recipe.head_fit != _DEFAULT.head_fit:
        recipe = dataclasses.replace(recipe, head_fit=_DEFAULT.head_fit)
    if recipe.head_fit == "svm":
        # Every training image is looked at once, as it is; of a recipe by steps little is left.
        return dataclasses.replace(
            _DEFAULT,
            images_seen=count,
            augment="none",
            trainable=recipe.trainable,
            head_fit=recipe.head_fit,
            imbalance=recipe.imbalance,
            image_size=recipe.image_size,
            grey=recipe.grey,
            faces=recipe.faces,
            face_detector=recipe.face_detector,
            precision=precision if recipe.precision == "auto" else recipe.precision,
            label_set=label_set(recipe.label_set).name,
        )
    # Full batches only: the budget is what is really drawn.
    steps = max(1, round(cell.recipe.images_seen * spec.share) // recipe.batch_size)
    return dataclasses.replace(
        recipe,
        images_seen=steps * recipe.batch_size,
        precision=precision if recipe.precision == "auto" else recipe.precision,
        target_share=_DEFAULT.target_share,
        mixing=recipe.mixing if len(spec.datasets) > 1 else _DEFAULT.mixing,
        head=recipe.head if index > 0 else _DEFAULT.head,
        momentum=recipe.momentum if recipe.optimizer == "sgd" else _DEFAULT.momentum,
        warmup=recipe.warmup if recipe.schedule == "one-cycle" else _DEFAULT.warmup,
        label_set=label_set(recipe.label_set).name,
    )


def _with_detector(recipe: Recipe, inputs: PlanInputs) -> tuple[Recipe, str]:
    """The recipe with its face detector named, and the detector's identity; neither where pictures stay whole."""
    if recipe.faces == "none":
        return dataclasses.replace(recipe, face_detector=_DEFAULT.face_detector), ""
    name, identity = inputs.face_detector(recipe.face_detector)
    return dataclasses.replace(recipe, face_detector=name), identity


def _computed(stage: Stage, backbone: Backbone) -> Mapping[str, str]:
    """What a stage computes, but for seed and parent: canonical JSON by key."""
    named = {
        "backbone": stage.backbone,
        "backbone_version": backbone.version,
        "library": backbone.library,
        "weights": stage.weights.sha256,
        "index": stage.index,
        "data": [[part.content, part.count] for part in stage.parts],
        "select": list(stage.select),
        "classes": list(stage.classes),
        "preprocessing": PREPROCESSING_VERSION,
        "protocol": PROTOCOL_VERSION,
    }
    if stage.detector:
        named["detector"] = stage.detector
    return {**spelled(named), "recipe": _spelled_recipe(stage.recipe)}


def stage_fingerprint(stage: Stage, backbone: Backbone) -> str:
    """What a stage is called by its values, whatever name it bears; `backbone` is the one that it is trained with."""
    own = {"seed": canonical_json(stage.seed), "parent": canonical_json(stage.parent)}
    return fingerprint_of_json(joined_object({**_computed(stage, backbone), **own}))


def plan_of_stages(cell: Cell, stages: Iterable[Stage], backbone: Backbone, inputs: PlanInputs) -> CellPlan:
    """What a cell is called by the stages that it has, whatever strategy asked for them; without stages and key.

    backbone : the one that they were trained with
    """
    chain = list(stages)
    return _cell_plan(cell, chain, [_computed(stage, backbone) for stage in chain], inputs)


@functools.lru_cache(maxsize=4096)
def _spelled_recipe(recipe: Recipe) -> str:
    # Ten thousand cells have few recipes, and spelling them is what planning would spend its time on.
    values = {name: getattr(recipe, name) for name in _RECIPE_FIELDS}
    return canonical_json({key: value for key, value in values.items() if key not in _LATER or value != _LATER[key]})


def _cell_plan(cell: Cell, chain: list[Stage], computed: Iterable[Mapping[str, str]], inputs: PlanInputs) -> CellPlan:
    """Without stages and key, which hang on the seed."""
    board = inputs.board(cell.target, cell.recipe.label_set)
    identity: dict[str, object] = {
        "board": board.fingerprint,
        "strategy": cell.strategy,
        "target": cell.target,
        "auxiliaries": list(cell.auxiliaries),
        "device": inputs.device_kind,
    }
    if cell.tuning is not None:
        # What it was chosen from, and not how the tries came out, which another machine may find otherwise.
        tuning = cell.tuning
        tried = [[list(pair) for pair in each.values] for each in tuning.tries]
        identity["tuning"] = {"metric": tuning.metric, "seed": tuning.seed, "tries": tried}
    named = spelled(identity)
    entry = fingerprint_of_json(joined_object({**named, "stages": joined_array(map(joined_object, computed))}))
    return CellPlan(
        cell=cell,
        board=board,
        weights=chain[0].weights,
        stages=(),
        entry=entry,
        key="",
        images_seen=sum(stage.recipe.images_seen for stage in chain),
        target_images_seen=sum(target_images(stage, cell.target) for stage in chain),
        train_fraction=max(
            (part.share for stage in chain for part in stage.parts if part.dataset == cell.target), default=0.0
        ),
    )


def target_images(stage: Stage, target: str) -> int:
    """Images of the target among a stage's, rounded: by size where mixed raw, an equal part where balanced."""
    own = [part.count for part in stage.parts if part.dataset == target]
    if not own:
        return 0
    if stage.recipe.mixing == "balanced":
        return round(stage.recipe.images_seen / len(stage.parts))
    return round(stage.recipe.images_seen * sum(own) / sum(part.count for part in stage.parts))
