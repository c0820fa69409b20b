"""Stages one after the other: a failure ends its own descendants only."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from ferbench.errors import CheckpointLost, TrainingError
from ferbench.executors import inprocess
from ferbench.executors.inprocess import StageFailure, execute
from ferbench.recipes import Recipe
from ferbench.records import StageResult
from ferbench.stages import RANDOM_WEIGHTS, Stage
from ferbench.worker import Evaluation, StageOutcome, StageTask

#: A workbench on which nobody asks for an end.
IDLE: Any = SimpleNamespace(stop=lambda: False)


def task(name: str, parent: str | None = None) -> StageTask:
    stage = Stage(name, 0 if parent is None else 1, "tiny", RANDOM_WEIGHTS, (), (), Recipe(), 0, parent)
    return StageTask(stage, "basic7", ())


def result(name: str) -> StageResult:
    return StageResult(name, 8, 1.0, 8.0, 1, (), "cpu", 1, 8, 1, "0" * 64)


class Watch:
    def __init__(self) -> None:
        self.started: list[tuple[str, int, int]] = []
        self.told: list[tuple[str, object]] = []

    def stage_started(self, stage: Stage, number: int, total: int) -> None:
        self.started.append((stage.fingerprint, number, total))

    def stage_progress(self, stage: Stage, progress: object) -> None:
        self.told.append((stage.fingerprint, progress))

    def epoch_finished(self, stage: Stage, epoch: object) -> None:
        self.told.append((stage.fingerprint, epoch))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Execute tasks with a worker that fails by name; gives outcomes by name, the watch, and parents' results."""

    def run(tasks: list[StageTask], failing: dict[str, BaseException], known: dict[str, StageResult] | None = None):  # type: ignore[no-untyped-def]
        parents: dict[str, StageResult | None] = {}

        def run_stage(task: StageTask, bench: Any, on_progress: Any, on_epoch: Any, parent_result: Any) -> StageOutcome:
            name = task.stage.fingerprint
            parents[name] = parent_result
            on_progress(f"progress of {name}")
            on_epoch(f"epoch of {name}")
            if name in failing:
                raise failing[name]
            return StageOutcome(result(name), ())

        monkeypatch.setattr(inprocess, "run_stage", run_stage)
        watch, results = Watch(), {} if known is None else known
        outcomes = {t.stage.fingerprint: o for t, o in execute(tasks, IDLE, watch, results, {})}  # type: ignore[arg-type]
        return outcomes, watch, parents, results

    return run


TASKS = [task("a"), task("b", "a"), task("c", "b"), task("d", "a"), task("e")]


def test_children_are_given_their_parents_results_known_before_or_now(run) -> None:  # type: ignore[no-untyped-def]
    outcomes, watch, parents, known = run([*TASKS, task("g", "old")], {}, {"old": result("old")})
    assert list(outcomes) == [*"abcdeg"] and all(isinstance(o, StageOutcome) for o in outcomes.values())
    assert parents == {"a": None, "b": result("a"), "c": result("b"), "d": result("a"), "e": None, "g": result("old")}
    assert known.keys() == {"old", *"abcdeg"}
    assert watch.started == [(name, number, 6) for number, name in enumerate("abcdeg", 1)]
    assert watch.told[:4] == [("a", "progress of a"), ("a", "epoch of a"), ("b", "progress of b"), ("b", "epoch of b")]


def test_a_failure_ends_its_descendants_and_no_one_else(run) -> None:  # type: ignore[no-untyped-def]
    outcomes, watch, _, known = run(TASKS, {"b": TrainingError("the loss\n is nan")})
    assert {name for name, outcome in outcomes.items() if isinstance(outcome, StageFailure)} == {"b", "c"}
    assert outcomes["b"].line == outcomes["c"].line == "the loss is nan"
    assert "TrainingError" in outcomes["b"].trace
    assert [name for name, *_ in watch.started] == [*"abde"] and known.keys() == {*"ade"}


def test_a_foreign_exception_is_one_line_with_its_type(run) -> None:  # type: ignore[no-untyped-def]
    outcomes, *_ = run(TASKS, {"a": RuntimeError("mat1 and mat2\nmuch more"), "e": MemoryError()})
    assert outcomes["a"].line == "RuntimeError: mat1 and mat2"
    assert outcomes["e"].line.startswith("MemoryError")
    assert all(isinstance(outcomes[name], StageFailure) for name in "abcde")


def test_an_interrupt_passes_through(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(KeyboardInterrupt):
        run(TASKS, {"b": KeyboardInterrupt()})


def test_a_lost_parent_that_is_trained_again_predicts_what_it_could_be_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = (Evaluation("big", "report"),)
    optional = dataclasses.replace(task("a"), evaluations=wanted, trained=result("a"), optional=True)
    asked: list[tuple[str, tuple[Evaluation, ...]]] = []

    def run_stage(task: StageTask, *arguments: object, **options: object) -> StageOutcome:
        name = task.stage.fingerprint
        asked.append((name, task.evaluations if task.trained is None else ()))
        if len(asked) == 2:
            raise CheckpointLost("a", "it is gone")
        return StageOutcome(result(name), ())

    monkeypatch.setattr(inprocess, "run_stage", run_stage)
    known = {"a": result("a")}
    list(execute([optional, task("b", "a")], IDLE, Watch(), known, {"a": task("a")}))  # type: ignore[arg-type]
    assert asked == [("a", ()), ("b", ()), ("a", wanted), ("b", ())]


def test_outcomes_come_as_soon_as_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def run_stage(task: StageTask, *arguments: object, **options: object) -> StageOutcome:
        done.append(task.stage.fingerprint)
        return StageOutcome(dataclasses.replace(result(task.stage.fingerprint)), ())

    monkeypatch.setattr(inprocess, "run_stage", run_stage)
    outcomes = execute(TASKS, IDLE, Watch(), {}, {})  # type: ignore[arg-type]
    next(outcomes)
    assert done == ["a"]
