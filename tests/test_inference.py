"""Predictions of a stored run on a split that it did not see, from its checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable

import numpy as np
import pytest
from tiny import Bench, bar_dataset, tiny_catalog

from ferbench.components import Dataset
from ferbench.errors import SplitMissing, StoreError, UsageError
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
    told = inference.predictions(run, "test", bench.store)
    assert (told.trained_on, told.warnings) == (0, ())
    found = told.predictions
    assert (found.dataset, found.split, found.labels) == ("contest", "Test", None)
    place = {identifier: row for row, identifier in enumerate(reported.ids)}
    order = [place[identifier] for identifier in found.ids]
    np.testing.assert_array_equal(found.probabilities, reported.probabilities[order])
    assert found.groups == tuple((reported.groups or ())[row] for row in order)


def test_labelled_splits_and_roles_by_name(contest: tuple[Bench, Run, Inference]) -> None:
    bench, run, inference = contest
    ((_, reported),) = bench.store.run_predictions(run.row)
    answers = inference.predictions(run, "te", bench.store).predictions
    np.testing.assert_array_equal(answers.probabilities, reported.probabilities)
    chosen, by_name = (inference.predictions(run, name, bench.store).predictions for name in ("select", "VA"))
    np.testing.assert_array_equal(chosen.probabilities, by_name.probabilities)
    # What was trained on can be looked at too, and is what it says.
    trained = inference.predictions(run, "tr", bench.store)
    answers = trained.predictions
    assert answers.split == "tr" and len(answers.ids) == 56 and set(answers.ids) == {f"tr-{n}" for n in range(56)}
    assert trained.trained_on == 56
    assert trained.warnings == (f"row {run.row} was trained on 56 of the 56 samples of contest tr",)
    by_role = inference.predictions(run, "train", bench.store)
    np.testing.assert_array_equal(by_role.predictions.probabilities, answers.probabilities)


@pytest.mark.parametrize("split", ["nowhere", "hold-out", "", "tr+va"])
def test_a_split_that_is_none_is_a_usage_error_with_those_there_are(
    contest: tuple[Bench, Run, Inference], split: str
) -> None:
    bench, run, inference = contest
    with pytest.raises(UsageError, match=r"'contest' has no split '.*': there are report, select, tr, va, te, Test$"):
        inference.predictions(run, split, bench.store)


def _inference(bench: Bench) -> Inference:
    return Inference(
        bench.catalog, Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")
    )


def test_only_samples_that_were_trained_on_are_counted(make_bench: Callable[..., Bench]) -> None:
    # No select split, so that some of `tr` is held out; ids that are the same in every split.
    plain = bar_dataset("plain", 4, groups=True, roles={"train": "tr", "report": "te"})

    def numbered(split, root):  # type: ignore[no-untyped-def]
        samples = plain.load(split, root)
        return dataclasses.replace(samples, ids=tuple(str(n) for n in range(len(samples.ids))))

    bench = make_bench("plain", tiny_catalog(dataclasses.replace(plain, load=numbered)))
    axes = {"targets": ("plain",), "auxiliaries": (("big",),), "train_fractions": (0.5, 1.0)}
    counts = {}
    for run in bench.run("target-only cascade source-only", **axes).finished:
        inference = _inference(bench)
        found = inference.predictions(run, "tr", bench.store)
        stages = [bench.store.stage(name) for name in run.stages]
        parts = [part for stage in stages if stage for part in stage.parts if part.dataset == "plain"]
        assert found.trained_on == (parts[0].count if parts else 0)
        counts[run.cell.strategy, run.cell.train_fraction] = found.trained_on
        for other in ("select", "te", "va"):
            assert inference.predictions(run, other, bench.store).trained_on == 0
    assert counts["source-only", 1.0] == 0
    assert 0 < counts["cascade", 0.5] == counts["target-only", 0.5] < counts["cascade", 1.0] < 56


def test_a_sample_of_two_stages_counts_once_and_changed_ones_are_told(
    make_bench: Callable[..., Bench],
) -> None:
    own = bar_dataset("own", 4)
    bench = make_bench("own", tiny_catalog(own))
    (run,) = bench.run("lp-ft", targets=("own",), auxiliaries=((),)).finished
    assert len(run.stages) == 2
    assert _inference(bench).predictions(run, "tr", bench.store).trained_on == 56

    def shortened(split, root):  # type: ignore[no-untyped-def]
        samples = own.load(split, root)
        cut = len(samples.ids) - 7 if split == "tr" else len(samples.ids)
        return dataclasses.replace(
            samples, images=samples.images[:cut], labels=samples.labels[:cut], ids=samples.ids[:cut]
        )

    changed = dataclasses.replace(own, load=shortened, identity=lambda split: f"other/{split}")
    later = dataclasses.replace(bench, catalog=tiny_catalog(changed))
    found = _inference(later).predictions(run, "te", bench.store)
    assert found.warnings == (
        f"row {run.row} may have been trained on samples of own te: own holds other train samples now than when the "
        "row was trained",
    )


def test_a_submission_needs_no_train_samples(make_bench: Callable[..., Bench]) -> None:
    own = bar_dataset("own", 4)
    bench = make_bench("own", tiny_catalog(own))
    (run,) = bench.run("target-only", targets=("own",), auxiliaries=((),)).finished

    def without_train(split, root):  # type: ignore[no-untyped-def]
        if split == "tr":
            raise SplitMissing("no tr of own here")
        return own.load(split, root)

    later = dataclasses.replace(
        bench, catalog=tiny_catalog(dataclasses.replace(own, load=without_train, identity=lambda split: f"2/{split}"))
    )
    found = _inference(later).predictions(run, "te", bench.store)
    assert len(found.predictions.ids) == 35 and found.trained_on == 0
    assert found.warnings == (f"row {run.row} may have been trained on samples of own te: no tr of own here",)


def test_a_role_is_the_one_of_the_copy(make_bench: Callable[..., Bench]) -> None:
    # As published `va` plays train; this copy has `tr` for it.
    swapped = dataclasses.replace(
        bar_dataset("swapped", 4, roles={"train": "va", "report": "te"}),
        roles_at=lambda root: {"train": "tr", "select": "va", "report": "te"},
    )
    bench = make_bench("swapped", tiny_catalog(swapped))
    (run,) = bench.run("target-only", targets=("swapped",), auxiliaries=((),)).finished
    found = _inference(bench).predictions(run, "Train", bench.store)
    assert (found.predictions.split, found.trained_on) == ("tr", 56)


def test_without_its_checkpoint_a_row_predicts_nothing_new(contest: tuple[Bench, Run, Inference]) -> None:
    bench, run, inference = contest
    shutil.rmtree(bench.folder / "cache" / "checkpoints")
    with pytest.raises(StoreError, match=rf"row {run.row}, seed 0 cannot predict: checkpoint .*run again with --force"):
        inference.predictions(run, "test", bench.store)


def test_heads_of_all_kinds_are_loaded(contest: tuple[Bench, Run, Inference]) -> None:
    bench, _, inference = contest
    axes = {"targets": ("contest",), "auxiliaries": ((),), "recipe": {"head_fit": "svm"}}
    (run,) = bench.run("linear-probe", **axes).finished
    ((_, reported),) = bench.store.run_predictions(run.row)
    answers = inference.predictions(run, "te", bench.store).predictions
    np.testing.assert_array_equal(answers.probabilities, reported.probabilities)
