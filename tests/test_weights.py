"""Initial weights: what a policy means, and what reaches the module."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ferbench.components import Backbone, WeightsFile
from ferbench.errors import WeightsError
from ferbench.stages import RANDOM_WEIGHTS, InitialWeights
from ferbench.state_dicts import fit, read_state_dict
from ferbench.weights import check_fit, load_initial_weights, resolve_weights


def small_network(classes: int = 7) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


def backbone(resolved: WeightsFile | None = None, asked: list[str] | None = None) -> Backbone:
    def resolve(policy: str) -> WeightsFile | None:
        if asked is not None:
            asked.append(policy)
        return resolved

    return Backbone(
        name="small",
        version=1,
        build=lambda classes, size: small_network(classes),
        resolve_weights=resolve,
        load_weights=lambda module, file: fit(module, read_state_dict(file.path), "4", str(file.path)),
        image_size=32,
        smallest_image_size=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        classifier="4",
    )


def body(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items() if not key.startswith("4.")}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_random_asks_no_backbone() -> None:
    asked: list[str] = []
    assert resolve_weights(backbone(asked=asked), "random") is RANDOM_WEIGHTS
    assert asked == []


def test_auto_is_none_and_pretrained_an_error_where_nothing_can_be_had() -> None:
    asked: list[str] = []
    assert resolve_weights(backbone(asked=asked), "auto") is None
    with pytest.raises(WeightsError, match=r"small cannot be had.*--weights FILE"):
        resolve_weights(backbone(asked=asked), "pretrained")
    assert asked == ["auto", "pretrained"]


def test_a_file_is_named_without_its_folder_and_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.pth").write_bytes(b"weights")
    expected = InitialWeights(hashlib.sha256(b"weights").hexdigest(), "file mine.pth", str(tmp_path / "mine.pth"))
    assert resolve_weights(backbone(), "mine.pth") == expected


@pytest.mark.parametrize("policy", ["imagenet", "no/such/file.pth", "Random"])
def test_what_is_neither_policy_nor_file_is_refused(policy: str) -> None:
    with pytest.raises(WeightsError, match="no such file; weights is auto, pretrained, random"):
        resolve_weights(backbone(), policy)


def test_initial_weights_are_loaded_unless_random_and_draw_no_random_numbers(tmp_path: Path) -> None:
    theirs = small_network()
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    resolved = resolve_weights(backbone(), str(tmp_path / "a.pth"))
    assert resolved is not None
    ours, untouched = small_network(), small_network()
    before = body(untouched)
    state = torch.get_rng_state()
    load_initial_weights(backbone(), ours, resolved)
    load_initial_weights(backbone(), untouched, RANDOM_WEIGHTS)
    assert torch.equal(state, torch.get_rng_state())
    assert same(body(ours), body(theirs))
    assert same(body(untouched), before)


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(small_network().state_dict(), path)
    resolved = resolve_weights(backbone(), str(path))
    assert resolved is not None
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="has changed"):
        load_initial_weights(backbone(), small_network(), resolved)


def saved(path: Path, state: dict[str, torch.Tensor]) -> InitialWeights:
    torch.save(state, path)
    resolved = resolve_weights(backbone(), str(path))
    assert resolved is not None
    return resolved


def test_a_fit_is_tried_once_for_each_file_and_draws_no_random_numbers(tmp_path: Path) -> None:
    built: list[tuple[int, int]] = []

    def build(classes: int, size: int) -> nn.Module:
        built.append((classes, size))
        return small_network(classes)

    ours = replace(backbone(), name="counted", build=build)
    weights = [saved(tmp_path / f"{number}.pth", small_network(1000).state_dict()) for number in range(2)]
    state = torch.get_rng_state()
    for each in (weights[0], weights[0], RANDOM_WEIGHTS, weights[1]):
        check_fit(ours, each, 7, 32)
    assert torch.equal(state, torch.get_rng_state())
    assert built == [(7, 32), (7, 32)]
    check_fit(replace(ours, name="counted too"), weights[0], 3, 16)
    assert built[2:] == [(3, 16)]


def test_what_does_not_fit_is_refused_each_time(tmp_path: Path) -> None:
    state = small_network().state_dict()
    del state["0.bias"]
    weights = saved(tmp_path / "a.pth", state)
    for _ in range(2):
        with pytest.raises(WeightsError, match=r"a\.pth do not fit: 0\.bias is missing"):
            check_fit(backbone(), weights, 7, 32)


def test_a_loader_s_own_error_is_one_line_of_weights(tmp_path: Path) -> None:
    def load(module: nn.Module, file: WeightsFile) -> None:
        module.load_state_dict({"x": torch.zeros(1)})

    weights = saved(tmp_path / "a.pth", small_network().state_dict())
    with pytest.raises(WeightsError, match=r"a\.pth does not fit strict: Error\(s\) in loading state_dict") as caught:
        check_fit(replace(backbone(), name="strict", load_weights=load), weights, 7, 32)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone_or_changed_does_not_fit(tmp_path: Path) -> None:
    weights = saved(tmp_path / "a.pth", small_network().state_dict())
    (tmp_path / "a.pth").write_bytes(b"other")
    with pytest.raises(WeightsError, match="has changed"):
        check_fit(backbone(), weights, 7, 32)
