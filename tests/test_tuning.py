"""Tuning: the same tries for every cell, chosen on select alone with a seed of their own, and said on the row."""

from __future__ import annotations

import dataclasses

import pytest
from sklearn.metrics import accuracy_score
from tiny import matrix, tiny_catalog

from ferbench.engine import Engine
from ferbench.errors import UsageError
from ferbench.leaderboard import leaderboards
from ferbench.matrix import Matrix, RecipeAxis, Tune, unrolled
from ferbench.publish.tuning import tuning_lines
from ferbench.stages import Try, Tuning
from ferbench.tuning import TUNING_SEED, Candidates, candidates, tuning_note, tuning_seed

LR = RecipeAxis("lr", (0.05, 0.001, 0.2))
SMOOTHING = RecipeAxis("label_smoothing", (0.0, 0.1))


def to_tune(strategies: str = "cascade target-only", axes: tuple[RecipeAxis, ...] = (LR,), **others: object) -> Matrix:
    return dataclasses.replace(matrix(strategies, **others), axes=axes, tune=Tune())


def found(asked: Matrix) -> tuple[Candidates, ...]:
    catalog = tiny_catalog()
    return candidates(asked, lambda block: unrolled(block, catalog))


def tune(engine: Engine, asked: Matrix, *, force: bool = False):  # type: ignore[no-untyped-def]
    engine.run(engine.prepare_tries(asked, force=force))
    return engine.run(engine.prepare_chosen(asked), force=force)


def test_every_row_has_all_combinations_and_no_other_value_varies() -> None:
    for each in found(to_tune(axes=(LR, SMOOTHING, RecipeAxis("batch_size", (4,))), seeds=(0, 1))):
        assert each.values == tuple(
            (("lr", lr), ("label_smoothing", smoothing)) for lr in LR.values for smoothing in SMOOTHING.values
        )
        assert [(cell.recipe.lr, cell.recipe.label_smoothing) for cell in each.cells] == [
            (dict(values)["lr"], dict(values)["label_smoothing"]) for values in each.values
        ]
        same = {
            dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, lr=1.0, label_smoothing=0.0))
            for cell in each.cells
        }
        assert len(same) == 1 and {cell.seed for cell in each.cells} == {TUNING_SEED} and each.seeds == (0, 1)
    assert [each.cells[0].strategy for each in found(to_tune())] == ["cascade", "target-only"]


def test_values_of_one_stage_are_tried_too_and_further_blocks_have_tries_of_their_own() -> None:
    first = to_tune("cascade", axes=(RecipeAxis("lr", (0.1, 0.2), stage=2),))
    (each,) = found(first)
    assert each.values == ((("stage2.lr", 0.1),), (("stage2.lr", 0.2),))
    block = to_tune("target-only", axes=(RecipeAxis("lr", (0.3, 0.4)),), seeds=(4,))
    both = dataclasses.replace(first, also=(dataclasses.replace(block, tune=None),))
    assert [(len(each.values), each.seeds) for each in found(both)] == [(2, (0,)), (2, (4,))]
    assert {tuning_seed(both), tuning_seed(first)} == {TUNING_SEED}
    assert tuning_seed(dataclasses.replace(both, tune=Tune(seed=1))) == 1
    unequal = dataclasses.replace(first, also=(dataclasses.replace(to_tune("target-only"), tune=None),))
    with pytest.raises(UsageError, match="some rows would have 2 tries and others 3"):
        found(unequal)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (to_tune(axes=(RecipeAxis("lr", (0.1,)),)), "there is nothing to tune"),
        (to_tune(axes=(RecipeAxis("images_seen", (64, 128)),)), "images_seen cannot be tuned"),
        (dataclasses.replace(to_tune(seeds=(0, 3)), tune=Tune(seed=3)), "seed 3 would be tuned with and reported"),
    ],
)
def test_what_cannot_be_tuned_is_refused(asked: Matrix, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        found(asked)


def test_the_best_try_is_taken_the_first_of_equal_ones_and_less_is_better_of_a_loss() -> None:
    (each,) = found(to_tune("target-only"))
    assert each.tuning([0.3, 0.5, 0.5], 21).chosen == (("lr", 0.001),)
    assert each.tuning([None, None, 0.1], 21).chosen == (("lr", 0.2),)
    assert each.tuning([None, None, None], 21).chosen == (("lr", 0.05),)
    assert dataclasses.replace(each, metric="nll").tuning([0.3, 0.2, 0.5], 21).chosen == (("lr", 0.001),)


def test_a_tuned_row_is_the_best_on_select_with_other_seeds_and_says_what_was_tried(bench) -> None:
    asked = to_tune(seeds=(0, 1), recipe={})
    outcome = tune(bench.engine, asked)
    assert len(outcome.finished) == 4 and not outcome.failed
    # By hand: the same tries as rows of their own, scored on the stored select predictions by scikit-learn.
    for run in outcome.finished:
        tuning = run.cell.tuning
        assert tuning.seed == TUNING_SEED and run.cell.seed in (0, 1) and tuning.select_n == 21
        by_hand = {}
        for lr in LR.values:
            (alone,) = (
                bench.run(run.cell.strategy, seeds=(TUNING_SEED,), recipe={"lr": lr}).finished
                or bench.engine.prepare(
                    matrix(run.cell.strategy, seeds=(TUNING_SEED,), recipe={"lr": lr}), calibrate=False
                ).finished.values()
            )
            select = bench.store.select_predictions(alone)
            by_hand[lr] = accuracy_score(select.labels, select.probabilities.argmax(axis=1))
        assert {dict(each.values)["lr"]: each.score for each in tuning.tries} == pytest.approx(by_hand)
        best = max(by_hand, key=lambda lr: by_hand[lr])
        assert run.cell.recipe.lr == dict(tuning.chosen)["lr"] == best
        tried = ", ".join(f"{lr} ({100 * score:.1f} %)" for lr, score in by_hand.items())
        edge = "" if best == 0.05 else "; lr at the edge of what was tried"
        assert run.notes[0] == f"tuned: lr {best} of {tried}{edge}; by accuracy on select (n 21, seed 1000000)"
    # The tries are no rows, and left no checkpoint; a tuned row is another than the same recipe untuned.
    rows = {run.entry for run in outcome.finished}
    tried = [run for run in bench.store.runs() if run.cell.seed == TUNING_SEED]
    assert len(rows) == 2 and not rows & {run.entry for run in tried}
    (table,) = leaderboards(bench.store.leaderboard_rows())
    assert {entry.row: entry.tries for entry in table.entries if entry.tries} == dict.fromkeys(
        (entry[:10] for entry in rows), 3
    )


def test_tries_are_trained_once_predict_no_report_split_and_leave_no_checkpoint(bench) -> None:
    asked = to_tune("target-only")
    tries = bench.engine.prepare_tries(asked)
    assert len(tries.tasks) == 3
    assert {each.role for task in tries.tasks for each in task.evaluations} == {"select"}
    assert bench.engine.run(tries).finished == () and bench.store.runs() == []
    assert not list((bench.folder / "cache" / "checkpoints").glob("*.safetensors"))
    assert bench.engine.prepare_tries(asked).tasks == ()
    again = bench.engine.prepare(asked, calibrate=False)
    assert (again.cost.tries, again.cost.cells, len(again.tasks)) == (3, 1, 1)
    (run,) = bench.engine.run(bench.engine.prepare_chosen(asked)).finished
    assert again.pending[0].key == run.key
    trained = bench.store.images_trained()
    assert tune(bench.engine, asked).skipped == (run,) and bench.store.images_trained() == trained


def test_a_try_that_fails_is_said_and_another_one_taken(bench) -> None:
    asked = to_tune("target-only", axes=(RecipeAxis("lr", (1000.0, 0.05)), RecipeAxis("momentum", (0.99,))))
    asked = dataclasses.replace(asked, tune=Tune(seed=1))
    (run,) = tune(bench.engine, asked).finished
    scores = {dict(each.values)["lr"]: each.score for each in run.cell.tuning.tries}
    assert scores[1000.0] is None and scores[0.05] is not None and run.cell.recipe.lr == 0.05
    assert "of 1000.0 (failed), 0.05 (" in run.notes[0]
    assert any(
        line.startswith("a try failed: ") and "try a smaller --set lr" in line for line in bench.reporter.warnings
    )


def test_a_plan_counts_the_tries_and_is_not_run_before_them(bench) -> None:
    asked = to_tune(seeds=(0, 1))
    prepared = bench.engine.prepare(asked, calibrate=False)
    assert (prepared.cost.tries, prepared.cost.cells) == (6, 4)
    assert prepared.cost.images == (6 + 4) * 64
    with pytest.raises(ValueError, match="prepare_tries"):
        bench.engine.run(prepared)


def test_nothing_is_chosen_on_what_is_reported(bench) -> None:
    with pytest.raises(UsageError, match="nothing may be chosen on what is reported"):
        bench.engine.prepare(to_tune("target-only", targets=("small:va",)))


def test_tries_that_do_not_matter_to_a_strategy_are_told(bench) -> None:
    asked = to_tune("target-only", axes=(RecipeAxis("target_share", (0.5, 0.7)),))
    (run,) = tune(bench.engine, asked).finished
    assert run.cell.tuning.distinct == 1 and "which come to 1 here" in run.notes[0]


def test_the_note_and_the_log_name_what_was_tried() -> None:
    (each,) = found(to_tune("cascade", axes=(LR, SMOOTHING)))
    tuning = each.tuning([0.25, None, 0.5, 0.1, 0.2, 0.3], 1021)
    assert tuning_note(tuning) == (
        "tuned: lr 0.001; label_smoothing 0.0, best of 6 tries, 1 of them failed; lr and label_smoothing at the edge "
        "of what was tried; by accuracy on select (n 1,021, seed 1000000)"
    )
    lines = tuning_lines([(each.cells[0], tuning)])
    assert lines[0] == "chosen  tiny · cascade · with big · on small: lr 0.001; label_smoothing 0.0 (lr"
    assert "25.0 % with lr 0.05; label_smoothing 0.0" in " ".join(lines) and "failed with" in " ".join(lines)
    assert max(map(len, lines)) <= 80
    nothing = Tuning("nll", 1, 9, (Try((("lr", 0.1),)), Try((("lr", 0.2),))), (("lr", 0.1),))
    assert "every try failed" in " ".join(tuning_lines([(each.cells[0], nothing)]))
