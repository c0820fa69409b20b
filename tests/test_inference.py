"""Predictions of a stored run on a split that it did not see, from its checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable

import numpy as np
import pytest
from tiny import Bench, bar_dataset, tiny_catalog

from ferbench.components import Dataset
from ferbench.errors import StoreError, UsageError
from ferbench.inference import Inference
from ferbench.records import Run
from ferbench.settings import Settings


def with_secret_test() -> Dataset:
    """A dataset whose published test part has no labels."""
    open_one = bar_dataset("contest", 4, groups=True)
    load = open_one.load

    def withheld(split, root):  # type: ignore[no-untyped-def]
        return dataclasses.replace(load("te", root), labels=None) if split == "Test" else load(split, root)

    return dataclasses.replace(open_one, splits=(*open_one.splits, "Test"), load=withheld)


@pytest.fixture
def contest(make_bench: Callable[..., Bench]) -> tuple[Bench, Run, Inference]:
    bench = make_bench("contest", tiny_catalog(with_secret_test()))
    (run,) = bench.run("target-only", targets=("contest",), auxiliaries=((),)).finished
    settings = Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")
    return bench, run, Inference(bench.catalog, settings)


def test_a_split_without_labels_is_predicted_as_the_one_with_them(contest: tuple[Bench, Run, Inference]) -> None:
    bench, run, inference = contest
    ((_, reported),) = bench.store.run_predictions(run.row)
    # The same pictures, once with and once without labels; without, their content sorts otherwise.
    found = inference.predictions(run, "test", bench.store)
    assert (found.dataset, found.split, found.labels) == ("contest", "Test", None)
    place = {identifier: row for row, identifier in enumerate(reported.ids)}
    order = [place[identifier] for identifier in found.ids]
    np.testing.assert_array_equal(found.probabilities, reported.probabilities[order])
    assert found.groups == tuple((reported.groups or ())[row] for row in order)


def test_labelled_splits_and_roles_by_name(contest: tuple[Bench, Run, Inference]) -> None:
    bench, run, inference = contest
    ((_, reported),) = bench.store.run_predictions(run.row)
    np.testing.assert_array_equal(inference.predictions(run, "te", bench.store).probabilities, reported.probabilities)
    chosen, by_name = (inference.predictions(run, name, bench.store) for name in ("select", "va"))
    np.testing.assert_array_equal(chosen.probabilities, by_name.probabilities)
    # What was trained on can be looked at too, and is what it says.
    trained = inference.predictions(run, "tr", bench.store)
    assert trained.split == "tr" and len(trained.ids) == 56 and set(trained.ids) == {f"tr-{n}" for n in range(56)}
    with pytest.raises(UsageError, match="dataset 'contest' has no split 'nowhere'"):
        inference.predictions(run, "nowhere", bench.store)


def test_without_its_checkpoint_a_row_predicts_nothing_new(contest: tuple[Bench, Run, Inference]) -> None:
    bench, run, inference = contest
    shutil.rmtree(bench.folder / "cache" / "checkpoints")
    with pytest.raises(StoreError, match=rf"row {run.row}, seed 0 cannot predict: .*run that cell again with --force"):
        inference.predictions(run, "test", bench.store)


def test_heads_of_all_kinds_are_loaded(contest: tuple[Bench, Run, Inference]) -> None:
    bench, _, inference = contest
    axes = {"targets": ("contest",), "auxiliaries": ((),), "recipe": {"head_fit": "svm"}}
    (run,) = bench.run("linear-probe", **axes).finished
    ((_, reported),) = bench.store.run_predictions(run.row)
    np.testing.assert_array_equal(inference.predictions(run, "te", bench.store).probabilities, reported.probabilities)
