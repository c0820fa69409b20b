"""Time to accuracy: by hand, and tracking that changes nothing that is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.metrics import accuracy_score
from tiny import Bench, matrix

from ferbench.engine import Engine
from ferbench.records import EpochResult, Run, StageResult
from ferbench.settings import Settings
from ferbench.time_to_accuracy import time_to_accuracy

SLOW = {"images_seen": 448, "lr": 0.02, "trainable": "all"}


def engine(bench: Bench, *, track: bool = True, keep_seconds: float = 300.0) -> Engine:
    settings = Settings("", bench.folder / "data", bench.folder / "cache", "cpu", keep_seconds=keep_seconds)
    return Engine(bench.catalog, bench.store, settings, bench.reporter, track=track)


def run(bench: Bench, engine: Engine, strategies: str, **axes: object) -> dict[str, Run]:
    outcome = engine.run(engine.prepare(matrix(strategies, **axes), calibrate=False))
    return {each.cell.strategy: each for each in outcome.finished}


def results(bench: Bench, run: Run) -> list[StageResult]:
    found = bench.store.stage_results(run.stages)
    return [found[name] for name in run.stages]


def test_tracking_measures_select_accuracy_and_changes_no_bit(make_bench: Callable[..., Bench]) -> None:
    tracked, plain = make_bench("tracked"), make_bench("plain")
    strategies = "cascade cascade+linear-probe"
    with_it = run(tracked, engine(tracked), strategies, recipe=SLOW)
    without = run(plain, engine(plain, track=False), strategies, recipe=SLOW)
    for strategy, row in with_it.items():
        assert row.stages == without[strategy].stages and row.key == without[strategy].key
        chain, same = results(tracked, row), results(plain, without[strategy])
        assert [each.checkpoint_sha256 for each in chain] == [each.checkpoint_sha256 for each in same]
        # Of the last stage alone, on features too; and what it ends with is what the row says of select.
        assert all(epoch.target_accuracy is None for each in chain[:-1] for epoch in each.history)
        assert (chain[-1].features_per_second is not None) == (strategy == "cascade+linear-probe")
        history = chain[-1].history
        assert len(history) > 1 and all(epoch.target_accuracy is not None for epoch in history)
        select = tracked.store.select_predictions(row)
        assert select is not None and select.labels is not None
        truth = accuracy_score(select.labels, select.probabilities.argmax(axis=1))
        assert history[-1].target_accuracy == pytest.approx(truth) == pytest.approx(row.select_accuracy)
        assert chain[-1].tracked == row.select_content
        assert [e.target_accuracy for each in same for e in each.history] == [None] * sum(len(e.history) for e in same)
        assert (same[-1].tracked, [e.loss for e in same[-1].history]) == ("", [e.loss for e in history])
    assert with_it["cascade+linear-probe"].stages[:1] == with_it["cascade"].stages[:1]


def test_a_stage_that_goes_on_goes_on_being_tracked(make_bench: Callable[..., Bench]) -> None:
    whole, stopped = make_bench("whole"), make_bench("stopped")
    undisturbed = run(whole, engine(whole), "target-only", recipe=SLOW)["target-only"]
    (expected,) = results(whole, undisturbed)
    looks = iter(range(10**6))
    first = engine(stopped)
    with pytest.raises(KeyboardInterrupt):
        # Seven steps are an epoch; the second one is under way.
        prepared = first.prepare(matrix("target-only", recipe=SLOW), calibrate=False)
        first.run(prepared, stop=lambda: next(looks) > 10)
    (result,) = results(stopped, run(stopped, engine(stopped), "target-only", recipe=SLOW)["target-only"])
    assert 0 < result.resumed_at < result.images_seen and result.tracked == expected.tracked
    assert [e.target_accuracy for e in result.history] == [e.target_accuracy for e in expected.history]
    assert result.checkpoint_sha256 == expected.checkpoint_sha256


def test_a_history_never_mixes_what_was_looked_at_for_two_targets(bench: Bench) -> None:
    """`source-only` is one stage whatever the target is."""
    looks = iter(range(10**6))
    first, recipe = engine(bench), {**SLOW, "images_seen": 896}
    with pytest.raises(KeyboardInterrupt):
        first.run(first.prepare(matrix("source-only", recipe=recipe), calibrate=False), stop=lambda: next(looks) > 10)
    row = run(bench, engine(bench), "source-only", targets=("other",), recipe=recipe)["source-only"]
    (result,) = results(bench, row)
    assert result.tracked == row.select_content and result.resumed_at > 0
    known = [epoch.target_accuracy is not None for epoch in result.history]
    assert known == [epoch.images_seen > result.resumed_at for epoch in result.history] and not known[0]


def test_best_on_select_looks_once_where_both_look_at_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferbench.fitting import Fitting

    counted: list[str] = []
    predicted = Fitting.predicted
    monkeypatch.setattr(
        Fitting, "predicted", lambda self, samples: counted.append(samples.splits) or predicted(self, samples)
    )
    row = run(bench, engine(bench), "target-only", recipe={**SLOW, "checkpoint": "best-on-select"})["target-only"]
    (result,) = results(bench, row)
    assert [e.target_accuracy for e in result.history] == [e.select_accuracy for e in result.history]
    # Once an epoch, and once in the end.
    assert counted.count("va") == len(result.history) + 1


def stage(train_seconds: float, feature_seconds: float = 0.0, accuracies: tuple[float | None, ...] = ()) -> StageResult:
    history = tuple(EpochResult(n + 1, 100 * (n + 1), 1.0, 10.0, None, a) for n, a in enumerate(accuracies))
    return StageResult(
        *("f", 100 * max(1, len(accuracies)), train_seconds, 10.0, 0, history, "cpu", 1, 8, 0, ""),
        feature_seconds=feature_seconds,
        tracked="here" if accuracies else "",
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from tiny import Recorder, tiny_catalog

    from ferbench.store import open_store

    folder: Path = tmp_path_factory.mktemp("reach")
    with open_store(str(folder / "board.sqlite")) as store:
        own = Bench(folder, store, tiny_catalog(), Recorder(), None)  # type: ignore[arg-type]
        return run(own, engine(own), "cascade")["cascade"]


def test_seconds_are_of_the_chain_up_to_the_epoch_that_first_reached_it(finished: Run) -> None:
    row = dataclasses.replace(finished, select_content="here", select_accuracy=0.4)
    chain = [stage(10.0), stage(50.0, 10.0, (0.1, 0.3, 0.5, 0.4))]
    # 10 s of the first stage, 10 s of features, 40 s of steps over four epochs.
    assert time_to_accuracy(row, chain, 0.1) == pytest.approx(10 + 10 + 10)
    assert time_to_accuracy(row, chain, 0.3) == pytest.approx(10 + 10 + 20)
    assert time_to_accuracy(row, chain, 0.31) == pytest.approx(10 + 10 + 30)
    assert time_to_accuracy(row, chain, 0.51) is None
    # An epoch that was not looked at, in a stage that went on from an untracked beginning.
    begun = [stage(10.0), stage(50.0, 10.0, (None, 0.3, 0.5, 0.4))]
    assert time_to_accuracy(row, begun, 0.1) == pytest.approx(10 + 10 + 20)


def test_without_tracking_the_end_of_training_is_an_upper_bound(finished: Run) -> None:
    row = dataclasses.replace(finished, select_content="here", select_accuracy=0.4)
    plain = [stage(10.0), stage(50.0, 10.0)]
    assert time_to_accuracy(row, plain, 0.4) == pytest.approx(60)
    assert time_to_accuracy(row, plain, 0.41) is None
    # What was tracked is of another target's samples.
    other = [stage(10.0), dataclasses.replace(stage(50.0, 10.0, (0.9, 0.9)), tracked="elsewhere")]
    assert time_to_accuracy(row, other, 0.4) == pytest.approx(60) and time_to_accuracy(row, other, 0.5) is None
    unknown = dataclasses.replace(row, select_accuracy=None)
    assert time_to_accuracy(unknown, plain, 0.0) is None
    assert time_to_accuracy(row, plain[:1], 0.1) is None and time_to_accuracy(row, (), 0.1) is None
    assert time_to_accuracy(dataclasses.replace(row, status="failed"), plain, 0.1) is None
