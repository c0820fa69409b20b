"""`--where`: what texts mean, against fnmatch, plain comparisons and hand-made rows."""

from __future__ import annotations

import dataclasses
import fnmatch
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.errors import UsageError
from ferbench.recipes import Recipe
from ferbench.records import Board, Entry, Interval, RunSummary
from ferbench.row_filter import MEASURED, known_keys, parse_where

BOARD = Board("b0" * 32, "film", "val", 431, "basic7", 1, 0.2, synthetic=True)
RECIPE = dataclasses.asdict(Recipe())


def run(**changes: object) -> RunSummary:
    values = {
        **{"entry": "0123456789" + "a" * 54, "status": "finished", "board": BOARD, "backbone": "tv/resnet18"},
        **{"strategy": "cascade+lp-ft", "target": "film:val", "auxiliaries": ("one:train+select", "two")},
        **{"weights": "random", "image_size": 48, "device": "NVIDIA H100 80GB HBM3", "seed": 3, "images_seen": 1000},
        **{"train_seconds": 10.0, "accuracy": None, "uar": None, "macro_f1": None, "train_fraction": 0.1071},
        **{"precision": "bf16", "processor": "x", "threads": 2, "tries": 0, "members": 0},
    }
    recipe = RECIPE | {"lr": 0.003, "optimizer": "adamw", "grey": True, "stage2.lr": 0.0001}
    return RunSummary(**(values | {"recipe": tuple(recipe.items())} | changes))  # type: ignore[arg-type]


def interval(mean: float) -> Interval:
    return Interval(mean, 0.01, mean - 0.02, mean + 0.02, "t")


def entry(**changes: object) -> Entry:
    values = {
        **{"row": "0123456789", "rank": 2, "backbone": "x", "strategy": "y", "auxiliaries": (), "weights": "random"},
        **{"image_size": 48, "device": "cpu", "seeds": (0, 1, 2), "accuracy": interval(0.4567), "uar": interval(0.4)},
        **{"macro_f1": interval(0.3), "images_seen": 1000, "train_seconds": 60.0, "nll": 1.25, "ece": None},
        **{"peak_memory_bytes": 2_000_000_000},
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        *("row=0123", "row=FFFF,0123456789", "board=b0b0", "backbone=tv/*", "backbone = vgg16 , TV/ResNet18", "n=431"),
        *("strategy=*lp-ft", "strategy==cascade+lp-ft", "strategy!=cascade", "target=film", "target=film:val"),
        *("split=val", "auxiliaries=two", "with=one", "auxiliaries=one:train+select", "auxiliaries!=none"),
        *("auxiliaries=one:train+select+two", "auxiliaries!=three", "weights=random", "image_size=48", "size>=48"),
        *("device=*h100*", "seed=0-4", "seed=1,3", "seed>2", "seed!=4-9", "images_seen=1_000", "images<1e4"),
        *("train_fraction=10.7%", "train_fraction=0.107", "train-fraction<0.2", "label_set=basic7", "protocol=1"),
        *("synthetic=yes", "tuned=no", "ensemble=FALSE", "status=finished", "lr=0.003", "lr=3e-3,0.1", "lr<=0.003"),
        *("stage2.lr=0.0001", "stage1.lr!=0.0001", "recipe.images_seen=200000", "optimizer=adamw", "optimizer!=sgd"),
        *("grey=yes", "grey!=no", "target_share=50%", "precision=bf16", "recipe.precision=auto", "threads=2"),
    ],
)
def test_what_a_run_is(text: str) -> None:
    assert parse_where([text]).keeps_run(run())
    if "<" not in text and ">" not in text:
        plain = text.replace("==", "=")
        turned = plain.replace("!=", "=") if "!=" in plain else plain.replace("=", "!=", 1)
        assert not parse_where([turned]).keeps_run(run())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tries": 4}, "tuned=yes"),
        ({"members": 3}, "ensemble=yes"),
        ({"auxiliaries": ()}, "auxiliaries=none"),
        ({"board": None}, "split!=val"),
        ({"board": None}, "synthetic!=yes"),
        ({"precision": None}, "precision=auto"),
        ({"status": "failed"}, "status=failed"),
        ({"backbone": "hf/a*b(c"}, "backbone=hf/a*b(c"),
    ],
)
def test_what_other_runs_are(changes: dict[str, object], text: str) -> None:
    assert parse_where([text]).keeps_run(run(**changes))
    assert not parse_where([text]).keeps_run(run())


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        *(("accuracy>0.45", True), ("accuracy>45.67%", False), ("accuracy>=45.67%", True), ("accuracy<45%", False)),
        *(("accuracy=45.7%", True), ("accuracy=0.457", True), ("accuracy=45.6%", False), ("accuracy!=0.4567", False)),
        *(("time<61", True), ("train_seconds>60", False), ("rank=1-3", True), ("rank=1", False), ("seeds=3", True)),
        *(("nll<1.3", True), ("ece<1", False), ("ece>=0", False), ("ece!=0", True), ("memory>1e9", True)),
        ("f1=30%", True),
    ],
)
def test_what_an_entry_reached(text: str, kept: bool) -> None:
    wanted = parse_where([text])
    assert wanted.measured and wanted.keeps_entry(entry()) is kept
    # What an entry is is asked of its runs, and what it reached is not.
    assert wanted.keeps_run(run()) and parse_where(["seed=9"]).keeps_entry(entry())


def test_rows_are_those_with_a_run_that_fits_everything() -> None:
    other = dataclasses.replace(BOARD, fingerprint="c" * 64)
    runs = [
        *(run(seed=0), run(seed=1, backbone="vgg16")),
        run(entry="f" * 64, seed=0, backbone="vgg16", board=other),
        run(entry="e" * 64, seed=0, backbone="vgg16", board=None, status="failed"),
    ]
    wanted = parse_where(["backbone=vgg16", "seed=0", "accuracy>1%"])
    # The first row's seed 0 has another backbone: one run must fit both.
    assert wanted.rows(runs) == {("c" * 64, "f" * 10)}
    assert wanted.rows(runs, "failed") == {("", "e" * 10)}
    assert str(wanted) == "backbone=vgg16 and seed=0 and accuracy>1%"
    assert not parse_where([]) and parse_where([]).keeps_run(run()) and parse_where([]).keeps_entry(entry())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("", "KEY=VALUE"), ("vgg16", "KEY=VALUE"), ("=3", "KEY=VALUE"), ("backbone~x", "KEY=VALUE")),
        *(
            ("acuracy>1", "did you mean accuracy"),
            ("quux=1", "There are: accuracy, augment, "),
            ("stage2.x=1", "no 'st"),
        ),
        *(("backbone=", "value is missing"), ("seed=1,,2", "value is missing"), ("backbone<3", "no number")),
        *(("seed=x", "with a number"), ("lr<1,2", "with a number"), ("lr=nan", "with a number"), ("lr<", "a number")),
        *(("seed=4-2", "goes backwards"), ("accuracy>40", "write 0.4 or 40%"), ("seed=4%", "not counted in percent")),
        *(("tuned=maybe", "yes or no"), ("optimizer=adam", "one of sgd, adamw"), ("status=done", "finished, failed")),
        ("stage2.optimizer=adam", "one of sgd, adamw"),
    ],
)
def test_what_cannot_be_asked(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="--where") as error:
        parse_where([text])
    assert said in error.value.line


def test_every_value_of_a_recipe_and_everything_measured_is_a_key() -> None:
    assert {*RECIPE, *MEASURED, "backbone", "target", "board", "tuned"} <= {*known_keys()}
    for key, value in RECIPE.items():
        assert parse_where([f"recipe.{key}={value}"]).keeps_run(run(recipe=tuple(RECIPE.items()))), key
    for key, (_, measure) in MEASURED.items():
        assert parse_where([f"{key}!=1"]).keeps_entry(entry()) is (measure(entry()) != 1), key


# --- properties -------------------------------------------------------------------------------------------------------

PIECES = st.lists(st.sampled_from(["*", "a", "B", ".", "(", "[", "+", "é", "ß", "-", "/", "?", " x", "\\"]), min_size=1)


@given(PIECES, PIECES)
def test_stars_stand_for_any_text_as_in_a_shell(pattern: list[str], name: list[str]) -> None:
    text, value = "".join(pattern).strip(), "".join(name)
    # fnmatch has two signs more, which are put in brackets to be themselves.
    plain = "".join(f"[{letter}]" if letter in "[?" else letter for letter in text.casefold())
    expected = fnmatch.fnmatchcase(value.casefold(), plain)
    assert parse_where([f"backbone={text}"]).keeps_run(run(backbone=value)) is expected
    assert parse_where([f"backbone!={text}"]).keeps_run(run(backbone=value)) is not expected


@given(st.sampled_from(["<", "<=", ">", ">=", "="]), st.integers(-5000, 5000), st.integers(0, 3))
def test_fractions_and_percentages_are_the_same_numbers(operator: str, thousandths: int, digits: int) -> None:
    asked = thousandths / 5000
    value = round(asked, digits)
    kept = {"<": value < asked, "<=": value <= asked, ">": value > asked, ">=": value >= asked}
    kept["="] = f"{value:.3g}" == f"{asked:.3g}"
    for text in (f"{asked!r}", f"{thousandths / 50!r}%"):
        found = parse_where([f"forgotten{operator}{text}"]).keeps_entry(entry(forgotten=value))
        assert found is kept[operator] or math.isclose(value, asked)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=4), st.integers(0, 30))
def test_lists_and_ranges_of_whole_numbers(ranges: list[tuple[int, int]], seed: int) -> None:
    ranges = [(min(pair), max(pair)) for pair in ranges]
    text = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
    expected = any(seed in range(low, high + 1) for low, high in ranges)
    assert parse_where([f"seed={text}"]).keeps_run(run(seed=seed)) is expected
    assert parse_where([f"seed!={text}"]).keeps_run(run(seed=seed)) is not expected


@given(st.lists(st.sampled_from(["seed=3", "seed>5", "backbone=tv*", "lr<0.001", "tuned=yes", "size=48"]), max_size=4))
def test_several_conditions_must_all_fit(texts: list[str]) -> None:
    expected = all(parse_where([text]).keeps_run(run()) for text in texts)
    assert parse_where(texts).keeps_run(run()) is expected


@given(st.text(max_size=30) | st.builds("{}{}{}".format, st.sampled_from(known_keys()), st.text("=<>!"), st.text()))
def test_any_text_is_a_filter_or_one_clear_line(text: str) -> None:
    try:
        wanted = parse_where([text])
    except UsageError as error:
        assert error.line.startswith("--where") and error.exit_code == 2
    else:
        assert wanted.keeps_run(run()) in (True, False) and wanted.keeps_entry(entry()) in (True, False)


def test_a_mean_that_is_a_hair_off_is_the_number_that_is_shown() -> None:
    third = (84 / 420 + 84 / 420 + 84 / 420) / 3
    assert third != 0.2
    for text, keeps in (
        ("accuracy>20%", False),
        ("accuracy>=20%", True),
        ("accuracy<=20%", True),
        ("accuracy<20%", False),
    ):
        condition = parse_where([text])
        assert condition.keeps_entry(entry(accuracy=interval(third))) is keeps, text
