"""`--also-report`: scores on further report splits, from checkpoints, never on the target's board."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import accuracy_score, recall_score
from tiny import CLASSES, Bench, bar_dataset, matrix, tiny_catalog

from ferbench.cli import root
from ferbench.errors import DatasetError, UnknownName, UsageError
from ferbench.records import FurtherScores
from ferbench.store import open_store

PLUGIN = """
from tiny import bar_dataset, hookimpl, tiny_backbone

@hookimpl
def ferbench_register_datasets():
    return [bar_dataset("big", 1), bar_dataset("other", 3), bar_dataset("small", 2)]

@hookimpl
def ferbench_register_backbones():
    return [tiny_backbone()]
"""

MATRIX = """
backbones = ["tiny"]
strategies = ["cascade"]
targets = ["small"]
auxiliaries = ["big"]
weights = ["random"]
also_report = ["other"]
"""


def further(bench: Bench, *references: str, strategies: str = "cascade", force: bool = False, **axes: object) -> int:
    """What `run --also-report` does."""
    prepared = bench.engine.prepare(matrix(strategies, **axes), force=force, calibrate=False)
    reports = bench.engine.further_reports(references)
    reports.check(prepared.plan.cells)
    outcome = bench.engine.run(prepared, force=force)
    return reports.score((*outcome.finished, *outcome.skipped), force=force)


def value(scores: FurtherScores, metric: str) -> float:
    return next(score.value for score in scores.scores if score.metric == metric)


def test_finished_rows_are_scored_from_their_checkpoints_as_scikit_learn_does(make_bench) -> None:  # type: ignore[no-untyped-def]
    load = bar_dataset("eight", 6).load

    def with_contempt(split, root):  # type: ignore[no-untyped-def]
        """Every fifth face shows what the label set has no name for."""
        samples = load(split, root)
        return dataclasses.replace(samples, labels=np.where(np.arange(len(samples.ids)) % 5 == 0, 7, samples.labels))

    eight = dataclasses.replace(bar_dataset("eight", 6), classes=(*CLASSES, "contempt"), load=with_contempt)
    bench = make_bench(catalog=tiny_catalog(bar_dataset("third", 5, classes=CLASSES[::-1]), eight))
    rows = bench.run("cascade source-only", recipe={"images_seen": 640}).finished
    trained, boards = bench.store.images_trained(), bench.store.boards()
    named = {"strategies": "cascade source-only", "recipe": {"images_seen": 640}}
    # `big` was predicted for the sake of forgetting; the others are predicted now.
    assert further(bench, "third", "eight", "big", **named) == 2
    assert bench.store.images_trained() == trained and bench.store.boards() == boards
    for row in rows:
        found = {each.dataset: each for each in bench.store.further_scores(row.stages[-1])[row.stages[-1]]}
        assert set(found) == {"third", "eight", "big"}
        for name, scores in found.items():
            predictions = bench.store.predictions(row.stages[-1], name, "te", scores.content)
            predicted = predictions.probabilities.argmax(axis=1)
            assert scores.content not in boards and scores.n == len(predictions.ids) == 35 - scores.excluded
            assert value(scores, "accuracy") == pytest.approx(accuracy_score(predictions.labels, predicted))
            uar = recall_score(predictions.labels, predicted, average="macro", labels=np.unique(predictions.labels))
            assert value(scores, "uar") == pytest.approx(uar)
            assert (scores.split, scores.label_set, scores.synthetic) == ("te", "basic7", True)
        assert [found[name].excluded for name in ("third", "eight", "big")] == [0, 7, 0]
        # Aligned by name: what was learnt of `big`'s classes is right on `third`'s, which count from the other end.
        assert value(found["third"], "accuracy") > 0.4
        assert row in bench.store.runs() and bench.store.finished([row.key])[row.key].scores == row.scores
    # A second time there is nothing left to do, unless it is forced.
    assert further(bench, "third", "eight", "big", **named) == 0
    assert further(bench, "third", force=True) == 1


def test_a_pruned_checkpoint_is_a_warning_and_the_others_are_scored(bench: Bench) -> None:
    first, second = bench.run("target-only", seeds=(0, 1)).finished
    bench.engine._bench.checkpoints.remove(first.stages[0])
    trained = bench.store.images_trained()
    assert further(bench, "other", strategies="target-only", seeds=(0, 1)) == 1
    assert bench.store.images_trained() == trained and set(bench.store.further_scores()) == {second.stages[0]}
    (told,) = [line for line in bench.reporter.warnings if "not scored on other" in line]
    assert f"row {first.row}," in told and "--force" in told


def test_what_cannot_be_reported_on_is_refused_before_anything_is_trained(make_bench) -> None:  # type: ignore[no-untyped-def]
    bare, hidden = bar_dataset("bare", 7, roles={"train": "tr", "select": "va"}), bar_dataset("hidden", 8)
    load = hidden.load
    hidden = dataclasses.replace(hidden, load=lambda split, root: dataclasses.replace(load(split, root), labels=None))
    # The same pictures under another name.
    twin = dataclasses.replace(bar_dataset("small", 2, groups=True), name="twin")
    bench = make_bench(catalog=tiny_catalog(bare, hidden, twin))
    refused = {
        "nowhere": (UnknownName, "nowhere"),
        "bare": (DatasetError, "'bare' has no report split"),
        "hidden": (UsageError, "labels of te are withheld"),
        "small": (UsageError, "reported on anyway"),
        "twin": (UsageError, "reported on anyway"),
        "big:train": (UsageError, "--also-report big:train would report on training data"),
    }
    for reference, (kind, words) in refused.items():
        with pytest.raises(kind, match=words):
            further(bench, "other", reference)
    assert bench.store.runs() == [] and bench.reporter.stages == []
    # Of several targets, each is a further dataset to the other's rows.
    assert further(bench, "small", "other", targets=("small", "other"), auxiliaries=(("big",),)) == 2
    found = {run.cell.target: bench.store.further_scores()[run.stages[-1]] for run in bench.store.runs()}
    assert {name: [each.dataset for each in scores] for name, scores in found.items()} == {
        "small": ["other"],
        "other": ["small"],
    }


def test_pictures_that_the_chain_was_trained_on_are_counted(bench: Bench) -> None:
    assert further(bench, "big", auxiliaries=(("big:train+report",),)) == 1
    (scores,) = bench.store.further_scores().values()
    assert [(each.split, each.n, each.trained_on) for each in scores] == [("te", 35, 35)]
    assert any("35 of the 35 pictures of big te" in line for line in bench.reporter.warnings)


def test_the_command_takes_further_datasets_from_flags_and_from_a_matrix_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny_plugin.py").write_text(PLUGIN, "utf-8")
    (tmp_path / "matrix.toml").write_text(MATRIX, "utf-8")

    def run(*arguments: str) -> Result:
        common = ["--matrix", "matrix.toml", "--store", "b.sqlite", "--device", "cpu", "--plugin", "tiny_plugin.py"]
        return CliRunner().invoke(root, ["run", *common, *arguments])

    refused = run("--also-report", "other,small")
    assert refused.exit_code == 2 and "--also-report small: these are the samples" in refused.output
    assert run("--dry-run", "--no-forgetting", "--track").exit_code == 0
    first = run("--no-forgetting", "--track")
    assert first.exit_code == 0, first.output
    assert "also reported on other: 1 run scored now" in first.output
    assert "other te: n 35, synthetic" in first.output
    again = run("--also-report", "big", "--also-report", "other")
    assert again.exit_code == 0 and "also reported on big, other: 1 run scored now" in again.output
    with open_store("b.sqlite", read_only=True) as store:
        (row,) = store.runs()
        assert [each.dataset for each in store.further_scores(row.stages[-1])[row.stages[-1]]] == ["other", "big"]
        result = store.stage_result(row.stages[-1])
        assert row.forgetting == () and result is not None and result.tracked == row.select_content
        assert len(store.trainings()) == 2
