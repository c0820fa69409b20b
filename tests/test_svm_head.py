"""The support vector machine as a head, against scikit-learn's own calibrated machines."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import recall_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn
from torch.nn import functional

from ferbench import svm_head
from ferbench.errors import DatasetError, RecipeError, TrainingError
from ferbench.svm_head import CalibratedLinear, SvmHead, fit_svm_head, put_svm_head

SEED = 11


def blobs(
    counts: list[int], width: int = 12, distance: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of unequal scale and mean, in random order, and the classes that they were drawn for."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = distance * generator.normal(size=(len(counts), width))
    noise = generator.normal(size=(len(labels), width))
    features = (centres[labels] + noise) * np.geomspace(0.1, 30, width) + np.linspace(-3, 5, width)
    return features.astype(np.float32), labels


def probabilities(head: SvmHead, features: NDArray[np.float32]) -> NDArray[np.float32]:
    module = nn.Sequential(nn.Linear(*head.weight.T.shape))
    put_svm_head(module, "0", head)
    with torch.inference_mode():
        found: NDArray[np.float32] = module(torch.from_numpy(features)).softmax(dim=1).numpy()
    return found


def by_scikit_learn(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: tuple[str, ...] | None,
    c: float,
    unseen: NDArray[np.float32],
    *,
    folds: int = 5,
    balanced: bool = False,
) -> NDArray[np.float64]:
    """Probabilities of a pipeline that has seen the same folds."""
    if groups is None:
        cv = list(StratifiedKFold(folds, shuffle=True, random_state=SEED).split(features, labels))
    else:
        cv = list(StratifiedGroupKFold(folds, shuffle=True, random_state=SEED).split(features, labels, groups))
    with config_context(enable_metadata_routing=True):
        machine = LinearSVC(C=c, dual="auto", random_state=SEED, max_iter=5_000).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = CalibratedClassifierCV(make_pipeline(scaler, machine), method="sigmoid", ensemble=False, cv=cv)
        weights = compute_sample_weight("balanced", labels) if balanced else None
        pipeline.fit(features.astype(np.float64), labels, sample_weight=weights)
    found: NDArray[np.float64] = pipeline.predict_proba(unseen.astype(np.float64))
    return found


@pytest.mark.parametrize(
    ("counts", "width", "grouped", "balanced"),
    [
        ([60, 50, 40, 30, 20, 12, 9], 12, False, False),
        ([60, 50, 40, 30, 20, 12, 9], 12, False, True),
        ([60, 50, 40], 12, True, False),
        ([25, 15, 12], 200, False, False),  # more features than samples: LIBLINEAR solves the dual
        ([40, 30], 12, False, False),
        ([45, 15], 12, True, True),
    ],
)
def test_probabilities_are_those_of_scikit_learn(counts: list[int], width: int, grouped: bool, balanced: bool) -> None:
    features, labels = blobs(counts, width)
    unseen, _ = blobs(counts, width, seed=1)
    groups = tuple(f"film{number % 13}" for number in range(len(labels))) if grouped else None
    head = fit_svm_head(features, labels, groups, len(counts), balanced=balanced, seed=SEED)
    expected = by_scikit_learn(features, labels, groups, head.c, unseen, balanced=balanced)
    assert head.notes == ()
    assert head.weight.dtype == head.bias.dtype == np.float32
    np.testing.assert_allclose(probabilities(head, unseen), expected, atol=1e-4)
    assert expected.std(axis=0).min() > 0.02


def test_fewer_folds_where_a_class_has_fewer_samples() -> None:
    features, labels = blobs([30, 20, 3])
    head = fit_svm_head(features, labels, None, 3, balanced=False, seed=SEED)
    assert head.notes == ("svm: calibrated on 3 folds, a class has 3 samples",)
    expected = by_scikit_learn(features, labels, None, head.c, features, folds=3)
    np.testing.assert_allclose(probabilities(head, features), expected, atol=1e-4)


def test_fewer_folds_where_a_class_is_in_fewer_groups() -> None:
    features, labels = blobs([30, 20])
    groups = tuple("ab"[number % 2] if label else f"c{number % 9}" for number, label in enumerate(labels))
    head = fit_svm_head(features, labels, groups, 2, balanced=False, seed=SEED)
    assert head.notes == ("svm: calibrated on 2 folds, a class is in 2 groups",)


def test_groups_are_kept_together() -> None:
    """Features that name the film alone tell nothing of a film that was held out."""
    generator = np.random.default_rng(0)
    films = np.repeat(np.arange(20), 10)
    labels = (films % 2).astype(np.int64)
    features = generator.normal(size=(20, 40))[films].astype(np.float32)
    groups = tuple(map(str, films))
    apart = probabilities(fit_svm_head(features, labels, None, 2, balanced=False, seed=SEED), features)
    together = probabilities(fit_svm_head(features, labels, groups, 2, balanced=False, seed=SEED), features)
    assert apart[np.arange(200), labels].mean() > 0.95
    assert together[np.arange(200), labels].mean() < 0.8


@pytest.mark.parametrize("balanced", [False, True])
def test_the_penalty_is_the_best_on_held_out_folds(balanced: bool) -> None:
    features, labels = blobs([90, 30, 12], width=30, distance=0.5)
    found = fit_svm_head(features, labels, None, 3, balanced=balanced, seed=SEED).c
    weights = compute_sample_weight("balanced", labels) if balanced else np.ones(len(labels))
    accuracy, recall = {}, {}
    for c in (0.001, 0.01, 0.1, 1.0, 10.0):
        predicted = np.empty_like(labels)
        for fitted, held in StratifiedKFold(5, shuffle=True, random_state=SEED).split(features, labels):
            scaler = StandardScaler().fit(features[fitted].astype(np.float64))
            machine = LinearSVC(C=c, random_state=SEED, max_iter=5_000)
            machine.fit(scaler.transform(features[fitted].astype(np.float64)), labels[fitted], weights[fitted])
            predicted[held] = machine.predict(scaler.transform(features[held].astype(np.float64)))
        accuracy[c] = float((predicted == labels).mean())
        recall[c] = recall_score(labels, predicted, average="macro")
    score, other = (recall, accuracy) if balanced else (accuracy, recall)
    best = max(score, key=lambda c: score[c])
    assert best != max(other, key=lambda c: other[c]), (accuracy, recall)
    assert found == pytest.approx(best)


def test_balance_reaches_the_predictions() -> None:
    features, labels = blobs([400, 120, 115], distance=0.6)
    kept = [np.flatnonzero(labels == code)[:count] for code, count in enumerate((300, 20, 15))]
    train = np.concatenate(kept)
    unseen = np.setdiff1d(np.arange(len(labels)), train)
    recalls = []
    for balanced in (False, True):
        head = fit_svm_head(features[train], labels[train], None, 3, balanced=balanced, seed=SEED)
        predicted = probabilities(head, features[unseen]).argmax(axis=1)
        recalls.append(recall_score(labels[unseen], predicted, average="macro"))
    assert recalls[1] > recalls[0] + 0.1, recalls


def test_a_class_without_samples_is_never_predicted() -> None:
    features, labels = blobs([30, 20, 25])
    head = fit_svm_head(features, labels * 2 + 1, None, 7, balanced=True, seed=SEED)
    found = probabilities(head, features * 1000)
    assert np.isfinite(found).all()
    assert (found[:, [0, 2, 4, 6]] == 0).all()
    alone = fit_svm_head(features, labels, None, 3, balanced=True, seed=SEED)
    np.testing.assert_allclose(found[:, [1, 3, 5]], probabilities(alone, features * 1000), atol=1e-6)


def test_a_class_with_one_sample_has_a_small_constant_as_its_sigmoid() -> None:
    features, labels = blobs([30, 20, 1])
    head = fit_svm_head(features, labels, None, 3, balanced=False, seed=SEED)
    assert head.notes == ("svm: a class has 1 sample, its probability is a constant",)
    # It is missing from the fold that holds its sample out; of the others' 40 samples Platt's prior makes 1 / (n + 2).
    assert np.abs(head.weight[2]).max() < 1e-6
    assert 1 / (51 + 2) < 1 / (1 + np.exp(-head.bias[2])) < 1 / (38 + 2)
    assert (probabilities(head, features).argmax(axis=1) == labels)[labels < 2].mean() > 0.8


@pytest.mark.parametrize(
    ("labels", "groups"), [([0, 1, 2], None), ([0, 0, 0, 0, 1], None), ([0, 0, 1, 1], ("a", "a", "a", "a"))]
)
def test_without_classes_to_hold_out_there_is_a_machine_and_a_note(
    labels: list[int], groups: tuple[str, ...] | None
) -> None:
    features = np.eye(len(labels), 5, dtype=np.float32)
    head = fit_svm_head(features, np.array(labels), groups, 3, balanced=False, seed=SEED)
    assert head.notes == ("svm: not calibrated, fewer than two classes can be held out",)
    assert (probabilities(head, features).argmax(axis=1) == labels).all()


@pytest.mark.parametrize("count", [0, 4])
def test_one_class_is_nothing_to_tell_apart(count: int) -> None:
    with pytest.raises(DatasetError, match=f"nothing to tell apart: its {count} training samples"):
        fit_svm_head(np.ones((count, 3), np.float32), np.full(count, 2), None, 7, balanced=False, seed=SEED)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_not_finite_is_refused_by_its_place(value: float) -> None:
    features, labels = blobs([10, 10])
    features[7, 3] = value
    with pytest.raises(TrainingError, match=f"feature 3 of training sample 7 is {value}"):
        fit_svm_head(features, labels, None, 2, balanced=False, seed=SEED)


def test_shapes_and_labels_must_fit() -> None:
    features, labels = blobs([10, 10])
    with pytest.raises(ValueError, match="a label and a group a sample"):
        fit_svm_head(features[1:], labels, None, 2, balanced=False, seed=SEED)
    with pytest.raises(ValueError, match="a label and a group a sample"):
        fit_svm_head(features, labels, ("a",), 2, balanced=False, seed=SEED)
    with pytest.raises(ValueError, match=r"0\.\.0"):
        fit_svm_head(features, labels, None, 1, balanced=False, seed=SEED)


def test_constant_features_and_those_that_vary_by_rounding_alone_are_left_alone() -> None:
    features, labels = blobs([30, 20, 25])
    rounding = np.float32(1000) + np.float32(6.2e-5) * (np.arange(75) % 2).astype(np.float32)
    wider = np.column_stack([features, np.full(75, 7, np.float32), rounding])
    narrow = fit_svm_head(features, labels, None, 3, balanced=False, seed=SEED)
    wide = fit_svm_head(wider, labels, None, 3, balanced=False, seed=SEED)
    assert np.abs(wide.weight[:, 12:]).max() < 1e-3
    np.testing.assert_allclose(probabilities(wide, wider), probabilities(narrow, features), atol=2e-3)


def test_many_samples_choose_the_penalty_on_a_part_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svm_head, "_CHOICE_SAMPLES", 100)
    monkeypatch.setattr(svm_head, "_CHOICE_VALUES", 0)
    monkeypatch.setattr(svm_head, "_MANY_SAMPLES", 250)
    features, labels = blobs([200, 100, 6])
    head = fit_svm_head(features, labels, None, 3, balanced=False, seed=SEED)
    # 100 x 200 / 306 and 100 x 100 / 306, and five of the rare class.
    assert head.notes == ("svm: C chosen on 103 of 306 samples",)
    expected = by_scikit_learn(features, labels, None, head.c, features, folds=3)
    np.testing.assert_allclose(probabilities(head, features), expected, atol=1e-4)


def test_a_machine_that_does_not_converge_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svm_head, "_ITERATIONS", 2)
    features, labels = blobs([30, 20, 25])
    head = fit_svm_head(features, labels, None, 3, balanced=False, seed=SEED)
    assert head.notes == ("svm: not converged in 2 iterations",)


def test_same_features_same_bits() -> None:
    features, labels = blobs([30, 20, 25], width=100)
    groups = tuple(f"film{number % 9}" for number in range(75))
    first, second = (fit_svm_head(features, labels, groups, 3, balanced=True, seed=2**62 + 1) for _ in range(2))
    assert (first.weight.tobytes(), first.bias.tobytes(), first.c) == (
        second.weight.tobytes(),
        second.bias.tobytes(),
        second.c,
    )
    other = fit_svm_head(features, labels, groups, 3, balanced=True, seed=2**62 + 2)
    assert other.weight.tobytes() != first.weight.tobytes()


def test_the_module_is_a_linear_layer_whose_softmax_is_the_share_of_its_sigmoids() -> None:
    module = CalibratedLinear(4, 3)
    inputs = torch.randn(5, 4)
    arguments = inputs @ module.weight.T + module.bias
    shares = arguments.sigmoid() / arguments.sigmoid().sum(dim=1, keepdim=True)
    torch.testing.assert_close(module(inputs).softmax(dim=1), shares)
    assert set(module.state_dict()) == set(nn.Linear(4, 3).state_dict())


def test_the_head_is_put_in_its_place_deep_in_a_module() -> None:
    module = nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), nn.ModuleDict({"fc": nn.Linear(4, 3).double()}))
    module.eval()
    head = SvmHead(np.ones((3, 4), np.float32), np.arange(3, dtype=np.float32), (), 1.0)
    put_svm_head(module, "1.fc", head)
    put = module.get_submodule("1.fc")
    assert isinstance(put, CalibratedLinear)
    assert not put.training
    assert put.weight.dtype == torch.float64
    expected = functional.logsigmoid(torch.tensor([4.0, 5.0, 6.0], dtype=torch.float64))
    torch.testing.assert_close(put(torch.ones(4, dtype=torch.float64)), expected)
    bare = nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), nn.ModuleDict({"fc": nn.Linear(4, 3).double()}))
    put_svm_head(bare, "1.fc")
    bare.load_state_dict(module.state_dict())
    torch.testing.assert_close(bare.get_submodule("1.fc")(torch.ones(4, dtype=torch.float64)), expected)


def test_a_head_that_is_not_linear_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"0 is a Conv2d: take head_fit=sgd"):
        put_svm_head(nn.Sequential(nn.Conv2d(3, 7, 1)), "0")


def test_the_module_is_imported_without_scikit_learn() -> None:
    code = "import ferbench.svm_head, sys; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_probabilities_are_finite_and_sum_to_one(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 30), "samples")
    width = data.draw(st.integers(1, 40), "features")
    classes = data.draw(st.integers(2, 7), "classes")
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count), "labels"))
    groups = data.draw(st.none() | st.lists(st.sampled_from("abcde"), min_size=count, max_size=count), "groups")
    generator = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    scale = 10.0 ** generator.integers(-6, 7, size=width) * generator.integers(0, 2, size=width)
    offset = 10.0 ** data.draw(st.integers(-3, 4), "offset")
    features = (generator.normal(size=(count, width)).round(1) * scale + offset).astype(np.float32)
    balanced = data.draw(st.booleans(), "balanced")
    wanted = None if groups is None else tuple(groups)
    if len(set(labels.tolist())) == 1:
        with pytest.raises(DatasetError):
            fit_svm_head(features, labels, wanted, classes, balanced=balanced, seed=0)
        return
    head = fit_svm_head(features, labels, wanted, classes, balanced=balanced, seed=0)
    assert np.isfinite(head.weight).all()
    assert np.isfinite(head.bias).all()
    found = probabilities(head, np.concatenate([features, features * 1000]))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found >= 0).all()
    assert (found[:, sorted(set(range(classes)) - set(labels.tolist()))] == 0).all()
