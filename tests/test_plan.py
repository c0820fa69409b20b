"""Fingerprints, entries and shared stages, with the world behind planning replaced by tables."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CLASSES, bar_dataset, tiny_backbone, tiny_catalog

import ferbench.plan
from ferbench.catalog import Catalog
from ferbench.components import Strategy
from ferbench.errors import RecipeError
from ferbench.expressions import label_set
from ferbench.matrix import Matrix, RecipeAxis, parse_axis, unrolled
from ferbench.plan import CellPlan, Plan, PlanInputs, make_plan
from ferbench.recipes import Recipe
from ferbench.records import Board
from ferbench.stages import RANDOM_WEIGHTS, Cell, InitialWeights, StageSpec, TrainingPart

STRATEGIES = (
    "single-stage",
    "cascade",
    "target-only",
    "source-only",
    "linear-probe",
    "lp-ft",
    "cascade+linear-probe",
    "cascade+lp-ft",
)
COUNTS = {"big": 600, "other": 300, "small": 100}


@cache
def catalog() -> Catalog:
    return tiny_catalog(tiny_backbone("tiny2"), bar_dataset("third", 4))


def inputs(**changes: object) -> PlanInputs:
    values: dict[str, object] = {
        "training_part": lambda name, labels, fraction: TrainingPart(
            name,
            "tr",
            f"content of {name}" + (f" {fraction}" if fraction < 1 else ""),
            round(fraction * COUNTS.get(name.partition(":")[0], 50)),
            fraction=fraction,
        ),
        "select_content": lambda name, labels: f"select of {name}",
        "board": lambda name, labels: Board(
            f"board of {name} {label_set(labels).name}", name, "te", 35, label_set(labels).name, 1, 0.2
        ),
        "weights": lambda backbone, policy: RANDOM_WEIGHTS,
        "precision": "fp32",
        "device_kind": "cpu",
    }
    return PlanInputs(**{**values, **changes})  # type: ignore[arg-type]


def planned(
    *strategies: str,
    world: PlanInputs | None = None,
    sets: tuple[str, ...] = (),
    components: object = None,
    **axes: object,
) -> Plan:
    values: dict[str, object] = {
        "backbones": ("tiny",),
        "strategies": strategies,
        "targets": ("small",),
        "auxiliaries": (("big", "other"),),
        "axes": (RecipeAxis("images_seen", (960,)), *map(parse_axis, sets)),
    }
    matrix = Matrix(**{**values, **axes})  # type: ignore[arg-type]
    known = components or catalog()
    return make_plan(unrolled(matrix, known), known, world or inputs())  # type: ignore[arg-type]


def only(plan: Plan) -> CellPlan:
    (cell,) = plan.cells
    return cell


# --- chains -----------------------------------------------------------------------------------------------------------


def test_a_cascade_is_a_chain_of_parts_of_the_budget() -> None:
    plan = planned("cascade")
    first, second, third = plan.stages
    assert [stage.parts[0].dataset for stage in plan.stages] == ["big", "other", "small"]
    assert [stage.recipe.images_seen for stage in plan.stages] == [240, 240, 480]
    assert [stage.parent for stage in plan.stages] == [None, first.fingerprint, second.fingerprint]
    assert [stage.index for stage in plan.stages] == [0, 1, 2]
    cell = only(plan)
    assert cell.stages == (first.fingerprint, second.fingerprint, third.fingerprint)
    assert (cell.images_seen, cell.target_images_seen) == (960, 480)
    assert first.classes == CLASSES


def test_single_stage_counts_the_targets_images_by_size_or_equally() -> None:
    raw = only(planned("single-stage"))
    assert (raw.images_seen, raw.target_images_seen) == (960, 96)
    balanced = only(planned("single-stage", sets=("mixing=balanced",)))
    assert (balanced.images_seen, balanced.target_images_seen) == (960, 320)
    assert only(planned("source-only")).target_images_seen == 0


@given(
    images_seen=st.integers(1, 10**6),
    batch_size=st.integers(1, 512),
    share=st.floats(0.01, 0.99),
    strategy=st.sampled_from(STRATEGIES),
    chain=st.sampled_from([("big",), ("other", "big"), ("big", "other", "third")]),
)
@settings(max_examples=80, deadline=None)
def test_budgets_are_full_batches_and_never_more_than_was_given(
    images_seen: int, batch_size: int, share: float, strategy: str, chain: tuple[str, ...]
) -> None:
    sets = (f"batch_size={batch_size}", f"target_share={share}")
    axes = (RecipeAxis("images_seen", (images_seen,)), *map(parse_axis, sets))
    plan = planned(strategy, auxiliaries=(chain,), axes=axes)
    cell = only(plan)
    seen = [stage.recipe.images_seen for stage in plan.stages]
    assert all(images % batch_size == 0 and images > 0 for images in seen) and cell.images_seen == sum(seen)
    # A stage has one batch at least, and rounding may give it half an image more.
    raised = sum(images == batch_size for images in seen)
    assert cell.images_seen <= images_seen + len(seen) + raised * batch_size
    if strategy != "source-only" and images_seen * min(share, 1 - share) / 8 > batch_size:
        assert cell.images_seen > images_seen - len(seen) * (batch_size + 1)
    assert 0 <= cell.target_images_seen <= cell.images_seen


# --- what stages share ------------------------------------------------------------------------------------------------


@given(
    strategies=st.lists(st.sampled_from(STRATEGIES), min_size=1, max_size=5, unique=True),
    chains=st.lists(st.permutations(["big", "other", "third"]).map(tuple), min_size=1, max_size=3, unique=True),
    seeds=st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True),
)
@settings(max_examples=40, deadline=None)
def test_equal_beginnings_are_one_chain_and_parents_come_first(
    strategies: list[str], chains: list[tuple[str, ...]], seeds: list[int]
) -> None:
    plan = planned(*strategies, auxiliaries=tuple(chains), seeds=tuple(seeds))
    seen: set[str] = set()
    for stage in plan.stages:
        assert stage.fingerprint not in seen and (stage.parent is None or stage.parent in seen)
        seen.add(stage.fingerprint)
    stages = {stage.fingerprint: stage for stage in plan.stages}
    assert {name for cell in plan.cells for name in cell.stages} == seen
    work = {}
    for cell in plan.cells:
        history: tuple[object, ...] = (cell.cell.seed,)
        for name in cell.stages:
            stage = stages[name]
            history = (*history, tuple(part.dataset for part in stage.parts), stage.recipe)
            # The whole past decides: equal pasts have one fingerprint, different ones different fingerprints.
            assert work.setdefault(history, name) == name
    assert len(set(work.values())) == len(work)


def test_cascade_and_source_only_begin_with_the_same_stages() -> None:
    plan = planned("cascade", "source-only", "cascade+linear-probe", "cascade+lp-ft")
    chains = {cell.cell.strategy: cell.stages for cell in plan.cells}
    assert chains["source-only"] == chains["cascade"][:2] == chains["cascade+lp-ft"][:2]
    assert len(plan.stages) == 2 + 1 + 1 + 2


def test_the_order_of_cells_does_not_matter() -> None:
    there, back = planned("cascade", "lp-ft", "source-only"), planned("source-only", "lp-ft", "cascade")
    assert {s.fingerprint: s for s in there.stages} == {s.fingerprint: s for s in back.stages}
    assert {c.key for c in there.cells} == {c.key for c in back.cells}


def test_another_process_computes_the_same_fingerprints() -> None:
    code = (
        "from test_plan import planned, only; cell = only(planned('cascade'))\nprint(' '.join(cell.stages), cell.key)"
    )
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": folder, "PYTHONHASHSEED": "77"},
    )
    assert done.stdout.split() == [*only(planned("cascade")).stages, only(planned("cascade")).key]


# --- what a fingerprint is made of ------------------------------------------------------------------------------------


def content(name: str) -> PlanInputs:
    return inputs(training_part=lambda n, labels, fraction: TrainingPart(n, "tr", f"{name} {n}", COUNTS[n]))


def weights(sha256: str, source: str = "somewhere") -> PlanInputs:
    return inputs(weights=lambda backbone, policy: InitialWeights(sha256, source))


RECIPE_CHANGES = (
    "images_seen=1920",
    "batch_size=16",
    "lr=0.02",
    "head_lr_factor=2",
    "optimizer=adamw",
    "weight_decay=0.001",
    "momentum=0.8",
    "schedule=cosine",
    "warmup=0.1",
    "label_smoothing=0",
    "imbalance=weighted",
    "augment=flip",
    "image_size=16",
    "grey=true",
    "precision=bf16",
    "trainable=head",
    "checkpoint=best-on-select",
    "label_set=basic8",
    "faces=crop",
)


@pytest.mark.parametrize("change", RECIPE_CHANGES)
def test_each_recipe_value_is_part_of_fingerprint_entry_and_key(change: str) -> None:
    base = only(planned("target-only"))
    axes = (RecipeAxis("images_seen", (960,)), parse_axis(change))
    other = only(planned("target-only", axes=axes))
    assert other.stages != base.stages and other.entry != base.entry and other.key != base.key


def test_every_recipe_value_is_either_tested_above_or_named_here() -> None:
    # These matter to some stages only: see the tests of what cannot matter.
    conditional = {"target_share", "mixing", "head", "head_fit", "face_detector"}
    tested = {change.partition("=")[0] for change in RECIPE_CHANGES}
    assert tested | conditional == {field.name for field in dataclasses.fields(Recipe)}


def versioned(**changes: object):  # type: ignore[no-untyped-def]
    """The catalog with the tiny backbone changed."""

    class Components:
        dataset = staticmethod(catalog().dataset)
        strategy = staticmethod(catalog().strategy)

        @staticmethod
        def backbone(name: str):  # type: ignore[no-untyped-def]
            return dataclasses.replace(catalog().backbone(name), **changes)

    return Components()


def test_what_was_trained_by_earlier_versions_is_found_again() -> None:
    # Written by the first version: a field that came later does not rename what was trained without it.
    released = "4eab7011082c27f94f31de7ac20ec276a02dd51d1736fd646bd5ccd4092c595b"
    assert planned("cascade").stages[1].fingerprint == released


def test_a_machine_on_frozen_features_looks_at_every_image_once() -> None:
    plan = planned("target-only", sets=("trainable=head", "head_fit=svm", "images_seen=960"))
    stage = plan.stages[0]
    assert stage.recipe.images_seen == stage.parts[0].count == plan.cells[0].images_seen
    # A recipe by steps does not matter to it; balance and pixels do.
    same = ("lr=0.5", "batch_size=16", "optimizer=adamw", "augment=flip", "images_seen=320", "schedule=constant")
    other = ("imbalance=weighted", "image_size=16", "grey=true", "precision=bf16")
    for change in (*same, *other):
        asked = planned("target-only", sets=("trainable=head", "head_fit=svm", change))
        assert (asked.stages[0].fingerprint == stage.fingerprint) == (change in same), change


def test_a_machine_needs_a_stage_that_trains_the_head_alone() -> None:
    with pytest.raises(RecipeError, match="no stage of cascade trains the head alone: take a strategy that does"):
        planned("cascade", sets=("head_fit=svm",))
    chain = planned("cascade+linear-probe", sets=("head_fit=svm",)).stages
    assert [stage.recipe.head_fit for stage in chain] == ["sgd", "sgd", "svm"]
    assert chain[0].fingerprint == planned("cascade+linear-probe").stages[0].fingerprint


def test_a_fraction_of_train_is_asked_for_of_the_target_alone() -> None:
    whole, half = planned("cascade", train_fractions=(1.0, 0.5)).cells
    assert whole.stages[:2] == half.stages[:2] and whole.stages[2] != half.stages[2] and whole.entry != half.entry
    assert (whole.cell.train_fraction, half.cell.train_fraction) == (1.0, 0.5)
    # The budget stays, and what does not touch the target is one cell.
    assert whole.images_seen == half.images_seen
    assert len(planned("source-only", train_fractions=(1.0, 0.5)).cells) == 1


DIFFERENT: dict[str, Callable[[], Plan]] = {
    "backbone": lambda: planned("cascade", backbones=("tiny2",)),
    "the plugin's version": lambda: planned("cascade", components=versioned(version=2)),
    "the library's version": lambda: planned("cascade", components=versioned(library="timm 9")),
    "content of training data": lambda: planned("cascade", world=content("other pixels")),
    "initial weights": lambda: planned("cascade", world=weights("5" * 64)),
    "what auto means": lambda: planned("cascade", world=inputs(precision="bf16")),
    "order of auxiliaries": lambda: planned("cascade", auxiliaries=(("other", "big"),)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_changes_the_computation_changes_every_name(what: str) -> None:
    base, other = only(planned("cascade")), only(DIFFERENT[what]())
    assert not set(base.stages) & set(other.stages)
    # A finished run must not be taken for that of another computation: its key changes too.
    assert base.entry != other.entry and base.key != other.key


@pytest.mark.parametrize("name", ["PROTOCOL_VERSION", "PREPROCESSING_VERSION"])
def test_versions_of_the_core_are_in_every_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base = only(planned("cascade"))
    monkeypatch.setattr(ferbench.plan, name, 99)
    other = only(planned("cascade"))
    assert not set(base.stages) & set(other.stages) and base.entry != other.entry and base.key != other.key


def test_seeds_are_in_the_fingerprint_and_the_key_but_not_in_the_entry() -> None:
    plan = planned("cascade", seeds=(0, 1, 2))
    assert len({cell.entry for cell in plan.cells}) == 1
    assert len({cell.key for cell in plan.cells}) == 3
    assert len(plan.stages) == 9


def test_report_and_select_data_and_device_are_outside_the_fingerprint() -> None:
    base = only(planned("cascade"))
    worlds = {
        "board": inputs(board=lambda name, labels: Board("another", name, "va", 9, labels, 1, 0.5)),
        "select": inputs(select_content=lambda name, labels: "another"),
        "device": inputs(device_kind="NVIDIA H100"),
    }
    found = {what: only(planned("cascade", world=world)) for what, world in worlds.items()}
    assert {cell.stages for cell in found.values()} == {base.stages}
    # Rows of two boards or two kinds of device are never put together.
    assert found["board"].entry != base.entry != found["device"].entry and found["select"].entry == base.entry
    # Only where the checkpoint is chosen on it does select data decide what comes out.
    chosen = [
        only(planned("cascade", world=world, sets=("checkpoint=best-on-select",)))
        for world in (inputs(), worlds["select"])
    ]
    assert not set(chosen[0].stages) & set(chosen[1].stages)


def test_names_of_strategies_and_where_weights_came_from_are_outside_the_fingerprint() -> None:
    class Renamed:
        dataset, backbone = staticmethod(catalog().dataset), staticmethod(catalog().backbone)

        @staticmethod
        def strategy(name: str) -> Strategy:
            return Strategy("waterfall", catalog().strategy("cascade").stages)

    base, other = only(planned("cascade")), only(planned("waterfall", components=Renamed()))
    assert base.stages == other.stages and base.entry != other.entry
    one, same = (only(planned("cascade", world=weights("5" * 64, source))) for source in ("a file", "a hub"))
    assert one.stages == same.stages and one.key == same.key


# --- what cannot matter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "sets"),
    [
        ("target-only", "target_share=0.3,0.7"),
        ("single-stage", "target_share=0.3,0.7"),
        ("target-only", "mixing=raw,balanced"),
        ("cascade", "mixing=raw,balanced"),
        ("target-only", "head=keep,new"),
        ("target-only", "precision=auto,fp32"),
        ("target-only", "label_set=basic7,BASIC7,angry/disgust/fear/happy/sad/surprise/neutral"),
    ],
)
def test_values_that_cannot_matter_make_no_second_cell(strategy: str, sets: str) -> None:
    assert only(planned(strategy, sets=(sets,))).key == only(planned(strategy)).key


def test_momentum_is_sgds_and_warm_up_is_the_one_cycles() -> None:
    assert len(planned("target-only", sets=("optimizer=adamw", "momentum=0.5,0.9")).cells) == 1
    assert len(planned("target-only", sets=("schedule=cosine", "warmup=0.1,0.3")).cells) == 1
    assert len(planned("target-only", sets=("momentum=0.5,0.9", "warmup=0.1,0.3")).cells) == 4


def test_a_new_head_matters_from_the_second_stage_on() -> None:
    keep, new = only(planned("cascade")), only(planned("cascade", sets=("head=new",)))
    assert keep.stages[0] == new.stages[0] and keep.stages[1] != new.stages[1]


def test_mixing_matters_to_mixed_stages_and_target_share_to_cascades() -> None:
    assert len(planned("single-stage", sets=("mixing=raw,balanced",)).cells) == 2
    assert len(planned("cascade", sets=("target_share=0.3,0.7",)).cells) == 2


# --- changes of one stage ---------------------------------------------------------------------------------------------


def test_a_strategys_changes_stand_over_the_cells_and_a_users_over_both() -> None:
    cell = only(planned("lp-ft"))
    plan = planned("lp-ft", sets=("augment=flip", "stage1.lr=0.5", "stage1.augment=standard", "stage2.batch_size=16"))
    probe, tune = plan.stages
    assert (probe.recipe.trainable, probe.recipe.augment, probe.recipe.lr) == ("head", "standard", 0.5)
    assert (tune.recipe.trainable, tune.recipe.augment, tune.recipe.lr) == ("all", "flip", 0.05)
    assert (tune.recipe.batch_size, tune.recipe.images_seen) == (16, 480)
    assert only(plan).entry != cell.entry


def test_a_change_of_the_last_stage_leaves_the_others_shared() -> None:
    base, other = only(planned("cascade")), only(planned("cascade", sets=("stage3.lr=0.001",)))
    assert base.stages[:2] == other.stages[:2] and base.stages[2] != other.stages[2]


def test_cells_are_planned_in_the_order_given_and_keep_their_boards() -> None:
    plan = planned("cascade", "target-only", targets=("small", "third"))
    assert [(cell.cell.target, cell.cell.strategy) for cell in plan.cells] == [
        ("small", "cascade"),
        ("small", "target-only"),
        ("third", "cascade"),
        ("third", "target-only"),
    ]
    assert all(cell.board.target == cell.cell.target for cell in plan.cells)


def test_a_spec_may_share_the_target_by_a_reference_with_splits() -> None:
    cell = Cell("tiny", "random", "target-only", "small:va", (), Recipe(images_seen=320, image_size=12), 0)
    plan = make_plan([cell], catalog(), inputs())
    assert plan.stages[0].parts[0].dataset == "small:va" and only(plan).target_images_seen == 320
    assert catalog().strategy("target-only").stages("small:va", (), Recipe()) == (StageSpec(("small:va",), 1.0),)


def test_the_heads_own_name_is_the_word_head() -> None:
    named, word = (planned("target-only", sets=(f"trainable={name}",)) for name in ("6", "head"))
    assert named.stages == word.stages and named.stages[0].recipe.trainable == "head"


def test_cells_that_differ_in_their_seeds_look_nothing_up_again() -> None:
    asked: list[str] = []
    world = inputs()

    def part(name: str, labels: str, fraction: float) -> TrainingPart:
        asked.append(name)
        return world.training_part(name, labels, fraction)

    watched = dataclasses.replace(world, training_part=part)
    one = planned("cascade", "lp-ft", world=watched)
    looked_up = len(asked)
    many = planned("cascade", "lp-ft", world=watched, seeds=tuple(range(50)))
    assert len(asked) == 2 * looked_up
    assert len(many.cells) == 100 and len(many.stages) == 50 * len(one.stages)
    # The first seed's cells and stages are those that it has alone.
    assert [cell for cell in many.cells if cell.cell.seed == 0] == list(one.cells)
    assert [stage for stage in many.stages if stage.seed == 0] == list(one.stages)
    assert len({cell.entry for cell in many.cells}) == 2 and len({cell.key for cell in many.cells}) == 100
