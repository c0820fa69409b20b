"""Which rows are compared, under which names and matched by what, on hand-built stores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_rows import CLASSES, answers, made_board, made_row
from sklearn.metrics import balanced_accuracy_score, f1_score

from ferbench.comparison import compare_pairs
from ferbench.competitors import (
    BoardAnswers,
    Question,
    choose,
    compare_boards,
    name_competitors,
    property_key,
    read_answers,
)
from ferbench.competitors.outcome import mean_of
from ferbench.competitors.properties import condition, in_words, telling_apart
from ferbench.errors import StoreError, UnknownName, UsageError
from ferbench.fingerprints import PROTOCOL_VERSION
from ferbench.row_filter import parse_where
from ferbench.store import Store, open_store

#: Enough for what is tested here, which is not the width of intervals.
DRAWS = 100

compared = partial(compare_boards, draws=DRAWS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "board.sqlite")) as opened:
        yield opened


def asked(store: Store, rows: Sequence[str] = (), where: Sequence[str] = (), by: Sequence[str] = ()) -> Question:
    return Question(tuple(store.runs(row=row)[0].entry for row in rows), parse_where(where), tuple(by))


def found(store: Store, question: Question) -> tuple[list[BoardAnswers], list[str]]:
    chosen, failed = choose(question, store.leaderboard_rows())
    named, alone = name_competitors(question, chosen)
    return [read_answers(board, store.run_predictions) for board in named], [*failed, *alone]


def only(store: Store, question: Question) -> BoardAnswers:
    (board,), _ = found(store, question)
    return board


# --- words ------------------------------------------------------------------------------------------------------------


def test_properties_in_words_and_as_conditions_that_choose_them(store: Store) -> None:
    row = made_row(
        *(store, "cascade", 0.5),
        train_fraction=0.25,
        auxiliaries=("big", "more"),
        weights="a file, of ours",
        recipe={"lr": 0.003, "grey": True},
        tries=2,
    )
    (run, *_) = store.leaderboard_rows()
    words = {key: in_words(key, value) for key, value in (*run.recipe, ("image_size", run.image_size))}
    assert (words["lr"], words["grey"], words["image_size"]) == ("lr 0.003", "grey true", "224 px")
    assert [in_words(key, getattr(run, key)) for key in ("auxiliaries", "train_fraction", "device")] == [
        *("with big, more", "25 % of train", "cpu")
    ]
    assert [in_words("tuned", True), in_words("tuned", False), in_words("auxiliaries", ())] == [
        *("tuned", "not tuned", "without auxiliaries")
    ]
    values = {"lr": 0.003, "grey": True, "tuned": True, **{k: getattr(run, k) for k in ("auxiliaries", "weights")}}
    values["train_fraction"] = run.train_fraction
    for key, value in values.items():
        text = condition(key, value).removeprefix("--where ").strip("'")
        assert parse_where([text]).keeps_run(run), text
        assert not parse_where([text.replace("=", "!=", 1)]).keeps_run(run), text
    assert run.entry.startswith(row)


def test_rows_are_told_apart_by_few_properties(store: Store) -> None:
    for strategy, auxiliaries in (("cascade", ("big",)), ("target-only", ())):
        for backbone in ("vgg16", "alexnet"):
            made_row(store, strategy, 0.5, seeds=[0], backbone=backbone, auxiliaries=auxiliaries)
    runs = store.leaderboard_rows()
    # Auxiliaries follow from the strategy, and device, weights and recipe are the same everywhere.
    assert telling_apart(runs) == ("backbone", "strategy")
    assert telling_apart(runs[:1]) == ()
    # Where one is enough, the strategy is: the first and the last row differ in both.
    assert telling_apart([runs[0], runs[-1]]) == ("strategy",)
    assert telling_apart(runs[:2]) == ("backbone",)
    assert telling_apart(runs[:1], ["weights"]) == ("weights",)
    made_row(store, "cascade", 0.5, seeds=[0], backbone="vgg16", recipe={"lr": 0.5})
    assert telling_apart(store.leaderboard_rows()) == ("backbone", "strategy", "lr")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("backbon", "did you mean backbone?"),
        ("seed", "each row is a competitor without --by"),
        ("target", "rows of different boards are never compared"),
        ("stage2.lrr", "rows have no such property"),
        ("accuracy", "rows have no such property"),
    ],
)
def test_keys_that_rows_cannot_be_put_together_by(text: str, words: str) -> None:
    assert [property_key(key) for key in ("Strategy", "train", "stage2.lr", "image-size")] == [
        *("strategy", "train_fraction", "stage2.lr", "image_size")
    ]
    with pytest.raises(UsageError, match=words):
        property_key(text)


# --- which rows -------------------------------------------------------------------------------------------------------


def test_rows_and_properties_together(store: Store) -> None:
    a, b, c = (made_row(store, name, 0.5) for name in ("cascade", "single-stage", "target-only"))
    other = made_row(store, "cascade", 0.5, backbone="alexnet", seeds=[0])

    def names(rows: Sequence[str] = (), where: Sequence[str] = (), by: Sequence[str] = ()) -> list[str]:
        return [one.name for one in only(store, asked(store, rows, where, by)).competitors]

    assert names([c, a]) == [c, a]
    assert names([c], ["strategy=cascade"]) == [c, *sorted([a, other])]
    assert names(where=["backbone=vgg16"]) == sorted([a, b, c])
    assert names([c, b], by=["strategy"]) == ["target-only", "single-stage"]
    # Seeds choose among the runs of what is named.
    board = only(store, asked(store, [a, b], ["seed=1"]))
    assert [sorted(one.answers) for one in board.competitors] == [[("", 1)]] * 2
    assert board.labels == {a: f"cascade ({a})", b: f"single-stage ({b})"}
    # What was reached is asked of whole entries.
    assert set(names(where=["accuracy>0", "strategy=cascade"])) == {a, other}
    _, notes = found(store, asked(store, where=["rank<=4"]))
    assert [note for note in notes if "rank<=4" in note] == notes != []


@pytest.mark.parametrize(
    ("rows", "words"),
    [("", "name two rows"), ("a", "alone is no comparison"), ("aa", "named twice"), ("aba", "named twice")],
)
def test_what_is_no_comparison(rows: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Question(tuple(row * 64 for row in rows))


def test_failed_rows(store: Store) -> None:
    a = made_row(store, "cascade", 0.5)
    made_row(store, "cascade", 0.5, seeds=[7], status="failed")
    failed = made_row(store, "single-stage", 0.5, status="failed")
    with pytest.raises(StoreError, match=f"row {failed} has no finished run: `ferbench leaderboard` shows why"):
        found(store, asked(store, [a, failed]))
    with pytest.raises(UsageError, match=r"no two to compare on one board.*cascade \(|alone is on it"):
        found(store, asked(store, where=["backbone=vgg16"]))
    made_row(store, "target-only", 0.5)
    _, notes = found(store, asked(store, where=["backbone=vgg16"]))
    assert sorted(notes) == sorted([f"{a}: seed 7, failed", f"{failed}: seeds 0-1, failed"])
    with pytest.raises(UsageError, match="no finished row that fits backbone=resnet"):
        found(store, asked(store, where=["backbone=resnet"]))


def test_rows_of_other_protocols(store: Store) -> None:
    old = made_board(protocol=PROTOCOL_VERSION - 1)
    now = [made_row(store, name, 0.5) for name in ("cascade", "single-stage")]
    stale = [made_row(store, name, 0.5, board=old) for name in ("cascade", "single-stage")]
    with pytest.raises(UsageError) as refused:
        found(store, asked(store, [now[0], stale[1]]))
    assert refused.value.line == (
        f"rows {stale[1]} and {now[0]} are of different boards, films val (basic7, n 120, protocol 0, board "
        f"{old.fingerprint[:10]}) and films val (basic7, n 120, protocol 1, board {made_board().fingerprint[:10]}): "
        "what a number means has changed between their protocols; run the older again"
    )
    (board,), notes = found(store, asked(store, by=["strategy"]))
    assert board.board == made_board()
    assert notes == ["2 rows of another protocol than 1, which are stale"]
    (board,), notes = found(store, asked(store, stale))
    assert board.board == old
    assert notes == ["all rows are stale: they are of protocol 0, and the present one is 1"]


# --- by a property, in blocks -----------------------------------------------------------------------------------------


def test_rows_are_put_together_and_matched_by_all_else(store: Store) -> None:
    made = {
        (strategy, backbone): made_row(store, strategy, 0.5, backbone=backbone, auxiliaries=auxiliaries)
        for strategy, auxiliaries in (("cascade", ("big",)), ("target-only", ()))
        for backbone in ("vgg16", "alexnet")
    }
    alone = made_row(store, "cascade", 0.5, backbone="resnet", weights="a file")
    board = only(store, asked(store, by=["strategy"]))
    cascade, target = board.competitors
    assert (cascade.name, target.name) == ("cascade", "target-only")
    assert set(cascade.rows) == {made["cascade", "vgg16"], made["cascade", "alexnet"], alone}
    blocks = {block for block, _ in target.answers}
    assert blocks == {"vgg16 · random", "alexnet · random"}
    assert {block for block, _ in cascade.answers} - blocks == {"resnet · a file"}
    # The answers are those of the rows, seed by seed.
    (stored, said), *_ = store.run_predictions(made["target-only", "alexnet"])
    np.testing.assert_array_equal(target.answers["alexnet · random", stored.cell.seed], said.probabilities)
    assert target.stages["alexnet · random", 0] == stored.stages
    (pair,) = compared([board]).pairs
    assert (pair.a, pair.b, set(pair.blocks)) == ("cascade", "target-only", blocks)
    assert pair.left_out == ("cascade: resnet · a file",)
    expected = np.mean(
        [run.scores[0].value for b in ("vgg16", "alexnet") for run in store.runs(row=made["cascade", b])]
    )
    assert pair.value_a == pytest.approx(expected)


def test_rows_of_one_block_are_refused_with_what_tells_them_apart(store: Store) -> None:
    first, second = (made_row(store, "cascade", 0.5, recipe={"lr": lr}) for lr in (0.1, 0.01))
    made_row(store, "target-only", 0.5)
    with pytest.raises(UsageError) as refused:
        found(store, asked(store, by=["strategy"]))
    assert refused.value.line == (
        f"cascade has two rows of vgg16 · random on films val, {first} and {second}, which differ in lr (0.1 and "
        "0.01): choose with --where lr=0.1 or --where lr=0.01, or add lr to --by"
    )
    assert len(only(store, asked(store, where=["lr=0.01"], by=["strategy"])).competitors) == 2
    names = [one.name for one in only(store, asked(store, by=["strategy", "lr"])).competitors]
    assert names == ["cascade · lr 0.1", "cascade · lr 0.01", "target-only · lr 0.01"]
    tuned = made_row(store, "target-only", 0.5, tries=3)
    with pytest.raises(UsageError, match=r"which differ in tuned .tuned and not tuned.: choose with ") as refused:
        found(store, asked(store, where=["lr=0.01"], by=["strategy"]))
    assert tuned in refused.value.line


def test_what_a_row_was_tuned_over_is_not_matched(store: Store) -> None:
    for strategy, lr in (("cascade", 0.1), ("target-only", 0.03)):
        made_row(store, strategy, 0.5, tries=4, recipe={"lr": lr})
    (pair,) = compared([only(store, asked(store, by=["strategy"]))]).pairs
    assert pair.blocks == ("vgg16 · random",)


def test_a_row_without_target_data_is_matched_at_every_part_of_train(store: Store) -> None:
    for fraction in (0.25, 0.5):
        made_row(store, "cascade", 0.5, train_fraction=fraction)
    none = made_row(store, "source-only", 0.4, train_fraction=0.0)
    board = only(store, asked(store, by=["strategy"]))
    source = next(one for one in board.competitors if one.name == "source-only")
    assert source.rows == (none,)
    (pair,) = compared([board]).pairs
    assert pair.blocks == ("vgg16 · random · 25 % of train", "vgg16 · random · 50 % of train")


def test_backbones_are_matched_by_the_kind_of_their_weights(store: Store) -> None:
    for backbone in ("vgg16", "alexnet"):
        made_row(store, "cascade", 0.5, backbone=backbone)
        made_row(store, "cascade", 0.5, backbone=backbone, weights=f"weights of {backbone}")
    (pair,) = compared([only(store, asked(store, by=["backbone"]))]).pairs
    assert pair.blocks == ("cascade · pretrained", "cascade · random")


def test_pairs_without_anything_in_common_are_left_out_and_the_others_keep_their_digits(store: Store) -> None:
    made_row(store, "cascade", 0.6)
    made_row(store, "target-only", 0.5)
    made_row(store, "cascade", 0.6, backbone="alexnet")
    made_row(store, "linear-probe", 0.4, backbone="alexnet")
    board = only(store, asked(store, by=["strategy"]))
    outcome = compared([board])
    assert [(pair.a, pair.b) for pair in outcome.pairs] == [("cascade", "linear-probe"), ("cascade", "target-only")]
    assert outcome.left_out == (
        "linear-probe and target-only on films val have nothing in common to compare them on: alexnet · random against "
        "vgg16 · random",
    )
    (alone,) = compare_pairs(board.samples, board.competitors[:2], draws=DRAWS)
    first = outcome.pairs[0]
    assert (first.low, first.high, first.p) == (alone.low, alone.high, alone.p)
    # Corrected for the two pairs there are: the smaller p is doubled.
    low, high = sorted(outcome.pairs, key=lambda pair: pair.p)
    assert (low.holm_p, high.holm_p) == pytest.approx((min(1, 2 * low.p), min(1, max(2 * low.p, high.p))))
    with pytest.raises(UsageError, match="nothing can be compared"):
        compared([only(store, asked(store, where=["strategy=target-only,linear-probe"], by=["strategy"]))])


# --- several boards ---------------------------------------------------------------------------------------------------


def test_rows_of_several_boards(store: Store) -> None:
    films, faces = made_board("films"), made_board("faces", n=90)
    rows = {
        (board.target, name): made_row(store, name, skill, board=board)
        for board in (films, faces)
        for name, skill in (("cascade", 0.7), ("single-stage", 0.5))
    }
    with pytest.raises(UsageError) as refused:
        found(store, asked(store, [rows["films", "cascade"], rows["faces", "single-stage"]]))
    assert refused.value.line == (
        f"the rows are of different boards, faces val (basic7, n 90, protocol 1, board {faces.fingerprint[:10]}) and "
        f"films val (basic7, n 120, protocol 1, board {films.fingerprint[:10]}): only rows of one board are compared, "
        "or the same configurations on each of several boards"
    )
    boards, _ = found(store, asked(store, list(rows.values())))
    outcome = compared(boards)
    assert [(pair.a, pair.board) for pair in outcome.pairs] == [
        (rows["faces", "cascade"], faces.fingerprint),
        (rows["films", "cascade"], films.fingerprint),
    ]
    assert outcome.across is not None
    assert (outcome.across.competitors, outcome.across.average_ranks) == (("cascade", "single-stage"), (1.0, 2.0))
    # Holm over the pairs of both boards.
    low = min(outcome.pairs, key=lambda pair: pair.p)
    assert low.holm_p == pytest.approx(min(1, 2 * low.p))
    # A configuration on one of the boards takes part in its pairs, not in the ranks.
    made_row(store, "lp-ft", 0.5, board=films)
    made_row(store, "cascade", 0.5, board=made_board("lonely"))
    boards, alone = found(store, asked(store, by=["strategy"]))
    outcome = compared(boards, left_out=alone)
    assert outcome.across is not None and outcome.across.competitors == ("cascade", "single-stage")
    assert len(outcome.pairs) == 4
    assert len(outcome.left_out) == 2
    assert outcome.left_out[0].startswith("lonely val") and outcome.left_out[0].endswith("cascade alone is on it")
    assert outcome.left_out[1] == "lp-ft is not ranked over boards: it is not on all of them"
    # Another backbone on the other board is another configuration.
    other = made_row(store, "single-stage", 0.5, board=faces, backbone="alexnet")
    with pytest.raises(UsageError, match="different boards"):
        found(store, asked(store, [rows["films", "cascade"], rows["films", "single-stage"], other]))


def test_against_one(store: Store) -> None:
    boards = [made_board("films"), made_board("faces")]
    for board in boards:
        for name in ("cascade", "single-stage", "target-only"):
            made_row(store, name, 0.5, board=board, groups=0)
    made_row(store, "cascade", 0.5, board=made_board("more"))
    made_row(store, "target-only", 0.5, board=made_board("more"))
    answered, _ = found(store, asked(store, by=["strategy"]))
    outcome = compared(answered, against="Single-Stage")
    assert [(pair.a, pair.b) for pair in outcome.pairs] == [
        *[("cascade", "single-stage"), ("target-only", "single-stage")] * 2
    ]
    assert outcome.left_out[0].startswith("more val")
    # A row of one board stands for its configuration on all of them.
    answered, _ = found(store, asked(store, where=["strategy=*"]))
    row = next(row for row, label in answered[0].labels.items() if label.startswith("single-stage"))
    by_row = compared(answered, against=row[:6])
    assert [answered[0].labels.get(pair.b, "") for pair in by_row.pairs][:2] == [f"single-stage ({row})"] * 2
    assert len(by_row.pairs) == 4
    with pytest.raises(UnknownName, match="did you mean"):
        compared(answered, against="single-stag")


# --- stored predictions -----------------------------------------------------------------------------------------------


def test_predictions_of_other_samples_are_refused(store: Store) -> None:
    board = made_board()
    sound = made_row(store, "cascade", 0.5)
    said = answers(board, 0.5, "x", 1)
    assert said.labels is not None
    turned = said.labels.copy()
    turned[[3, 5]] = (turned[[3, 5]] + 1) % len(CLASSES)
    broken = {
        "labels of 2 samples .the first is films-3.": dataclasses.replace(said, labels=turned),
        "their ids .sample 2 is films-1 in one and other in the other.": dataclasses.replace(
            said, ids=(said.ids[0], "other", *said.ids[2:])
        ),
        "their groups": dataclasses.replace(said, groups=("another", *said.groups[1:])),  # type: ignore[index]
        "their classes, 7 and 6": dataclasses.replace(said, probabilities=said.probabilities[:, :6]),
        "of 119 samples, the board has 120": dataclasses.replace(
            said, ids=said.ids[1:], labels=said.labels[1:], probabilities=said.probabilities[1:]
        ),
    }
    for number, (words, wrong) in enumerate(broken.items()):
        row = made_row(store, "single-stage", 0.5, name=str(number))
        run = store.runs(row=row)[1]
        store.save_predictions(run.stages[-1], board.fingerprint, wrong, again=[run.key])
        with pytest.raises(StoreError, match=f"row {row}, seed 1.*{words}"):
            found(store, asked(store, [sound, row]))
    missing = made_row(store, "lp-ft", 0.5, without_predictions=True)
    with pytest.raises(StoreError, match="holds no predictions of row"):
        found(store, asked(store, [sound, missing]))
    # The same pictures in another layout: other ids, the same order by content.
    renamed = made_row(store, "target-only", 0.5)
    for run, each in store.run_predictions(renamed):
        other = dataclasses.replace(each, ids=tuple(f"folder/{name}" for name in each.ids))
        store.save_predictions(run.stages[-1], board.fingerprint, other, again=[run.key])
    assert len(only(store, asked(store, [sound, renamed])).competitors) == 2


def test_means_are_scikit_learns(store: Store) -> None:
    rows = [made_row(store, "cascade", 0.5, backbone=name) for name in ("vgg16", "alexnet")]
    made_row(store, "target-only", 0.5)
    board = only(store, asked(store, by=["strategy"]))
    said = [each for row in rows for _, each in store.run_predictions(row)]
    for metric, reference in (
        ("accuracy", lambda truth, taken: float((truth == taken).mean())),
        ("uar", balanced_accuracy_score),
        ("macro_f1", lambda truth, taken: f1_score(truth, taken, average="macro")),
    ):
        expected = np.mean([reference(each.labels, each.probabilities.argmax(axis=1)) for each in said])
        assert mean_of(board.samples, board.competitors[0], metric) == pytest.approx(expected)
