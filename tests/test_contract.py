"""Faults of components, one malformed field at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.components import Backbone, BackboneFamily, Dataset, Strategy
from ferbench.contract import component_faults, name_faults, stage_faults
from ferbench.stages import StageSpec


def absent(*given: object) -> Any:
    raise AssertionError(given)


BACKBONE = Backbone("b", 1, absent, absent, absent, 224, 32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "head", {"lr": 0.003})
DATASET = Dataset(
    name="d",
    version=1,
    classes=("happy", "sad"),
    splits=("Training", "Test"),
    roles={"train": "Training", "report": "Test"},
    locate=absent,
    load=absent,
    counts={"Training": {"happy": 3}},
    default_for="target",
    recipe={"image_size": 48},
)


@pytest.mark.parametrize("component", [BACKBONE, DATASET, Strategy("s", absent), BackboneFamily("f/", absent, absent)])
def test_well_formed_components_have_no_faults(component: object) -> None:
    assert component_faults(component) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "its name is ''"),
        ({"name": "a b"}, "holds ' '"),
        ({"name": "a,b"}, "holds ','"),
        ({"name": "a:b"}, "holds ':'"),
        ({"name": 3}, "its name is 3"),
        ({"version": 0}, "version=0"),
        ({"version": True}, "version=True"),
        ({"version": "1"}, "version='1'"),
        ({"build": None}, "build is not callable"),
        ({"load_weights": "x"}, "load_weights is not callable"),
        ({"smallest_image_size": 225}, "not pixels in rising order"),
        ({"smallest_image_size": 0}, "not pixels in rising order"),
        ({"image_size": 224.0}, "not pixels in rising order"),
        ({"mean": (0.5, 0.5)}, "mean=(0.5, 0.5) is not three numbers"),
        ({"mean": 0.5}, "mean=0.5 is not three numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "is not above 0"),
        ({"std": (0.5, 0.5, float("nan"))}, "is not three numbers"),
        ({"classifier": ""}, "classifier=''"),
        ({"recipe": {"lrr": 0.1}}, "did you mean lr"),
        ({"recipe": {"lr": "fast"}}, "recipe value lr=fast"),
        ({"recipe": {"optimizer": "adam"}}, "it is one of sgd, adamw"),
        ({"recipe": {"momentum": 1.5}}, "between 0 and 1"),
        ({"recipe": None}, "a field is of the wrong type"),
    ],
)
def test_a_malformed_backbone(changes: dict[str, Any], said: str) -> None:
    faults = component_faults(replace(BACKBONE, **changes))
    assert len(faults) == 1
    assert said in faults[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "a b"}, "holds ' '"),
        ({"classes": ["happy", "sad"]}, "is not a tuple of texts"),
        ({"classes": ("happy",), "counts": {}}, "fewer than two"),
        ({"classes": ("happy", "happy"), "counts": {}}, "classes names 'happy' twice"),
        ({"splits": ("Training", "Test", "a+b")}, "holds '+'"),
        ({"roles": {}}, "roles is empty"),
        ({"roles": {"train": "Trainig"}}, "role train names split 'Trainig', which is not one of Training, Test"),
        ({"roles": {"training": "Training"}}, "roles names 'training', which is not one of train, select, report"),
        ({"roles": {"select": "Test", "report": "Test"}}, "one split two roles"),
        ({"counts": {"Val": {"happy": 3}}}, "counts names split 'Val'"),
        ({"counts": {"Test": {"joy": 3}}}, "name class 'joy'"),
        ({"counts": 3}, "a field is of the wrong type"),
        ({"default_for": "source"}, "default_for='source'"),
        ({"identity": absent}, "identity is for embedded datasets"),
        ({"identity": "x", "embedded": True}, "identity is not callable"),
        ({"load": None}, "load is not callable"),
        ({"recipe": {"image_size": 0}}, "image_size=0"),
    ],
)
def test_a_malformed_dataset(changes: dict[str, Any], said: str) -> None:
    faults = component_faults(replace(DATASET, **changes))
    assert len(faults) == 1
    assert said in faults[0]


@pytest.mark.parametrize("prefix", ["", "/", "a", "a b/", "a,/", "a+/", None])
def test_a_malformed_prefix(prefix: Any) -> None:
    assert len(component_faults(BackboneFamily(prefix, absent, absent))) == 1


def test_what_is_no_component_at_all() -> None:
    assert component_faults("vgg") == ["'vgg' is a str, not a component"]


def spec(*datasets: str, share: Any = 0.5, changes: Any = ()) -> StageSpec:
    return StageSpec(datasets, share, changes)


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        ((), "not a tuple of at least one StageSpec"),
        ([spec("t")], "not a tuple of at least one StageSpec"),
        (("t",), "not a tuple of at least one StageSpec"),
        ((spec("t"), spec("u")), "stage 2 trains on 'u', which is not among the datasets given"),
        ((spec("t", "t"),), "stage 1 names a dataset twice"),
        ((spec(),), "stage 1 trains on ()"),
        ((StageSpec("t", 0.5),), "stage 1 trains on 't', not on a tuple"),  # type: ignore[arg-type]
        ((spec("t", share=0),), "stage 1 has share 0"),
        ((spec("t", share=-0.1),), "stage 1 has share -0.1"),
        ((spec("t", share=float("nan")),), "stage 1 has share nan"),
        ((spec("t", share="all"),), "stage 1 has share 'all'"),
        ((spec("t", share=0.6), spec("a", share=0.6)), "shares sum to 1.2, more than 1"),
        ((spec("t", changes=(("lrr", 0.1),)),), "no recipe value named 'lrr'"),
        ((spec("t", changes=(("images_seen", 5),)),), "stage 1 changes images_seen, which belongs to the whole chain"),
        ((spec("t", changes=(("label_set", "basic8"),)),), "stage 1 changes label_set"),
        ((spec("t", changes={"lr": 0.1}),), "stage 1 has changes {'lr': 0.1}, not a tuple of pairs"),
        ((spec("t", changes=None),), "stage 1 has changes None, not a tuple of pairs"),
        ((spec("t", changes=(("lr", 0.1, 2),)),), "a stage's field is of the wrong type"),
    ],
)
def test_malformed_stages(specs: Any, said: str) -> None:
    faults = stage_faults(specs, "t", ("a",))
    assert len(faults) == 1
    assert said in faults[0]


def test_shares_that_miss_one_by_rounding_alone_pass() -> None:
    assert stage_faults((spec("t", share=0.1),) * 10, "t", ()) == []


@given(st.text())
def test_a_name_passes_only_if_it_survives_a_comma_separated_list(name: str) -> None:
    survives = bool(name) and [part.strip() for part in name.split(",")] == [name] and len(name.split()) == 1
    if name_faults(name) == []:
        assert survives
