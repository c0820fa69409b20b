"""Figures from the literature: read with faults told in one line, held to what was published, shown apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from ferbench import Dataset, ReportedResult
from ferbench.catalog import Catalog
from ferbench.cli import root
from ferbench.contract import reported_result_faults
from ferbench.errors import PluginError, UnknownName, UsageError
from ferbench.metrics import correctness, scores
from ferbench.plugin_source import Plugin, from_file
from ferbench.publish.reported_results import reported_lines
from ferbench.recipes import Recipe
from ferbench.records import Board, Environment, Predictions, Run
from ferbench.reported_results import STATUS, read_reported_results
from ferbench.stages import RANDOM_WEIGHTS, Cell
from ferbench.store import open_store
from ferbench_plugins import reported_results as built_in_plugin

# --- what was published -----------------------------------------------------------------------------------------------

#: Typed from the papers' figures, not from the file that is held to them.
PUBLISHED: dict[tuple[str, str | None], list[tuple[str, str, int | None]]] = {
    ("sfew", "Val"): [
        ("PHOG + LPQ, SVM (challenge baseline)", "35.96", 431),
        ("Ng et al., cascade", "48.5", None),
        ("FaceNet2ExpNet", "55.15", None),
        ("Covariance pooling", "58.14", None),
        ("ARM", "58.71", None),
        ("MA-Net", "59.40", None),
    ],
    ("sfew", "Test"): [
        ("PHOG + LPQ, SVM (challenge baseline)", "39.13", 372),
        ("Ng et al., cascade", "55.6", 372),
        ("Kim et al., best single CNN", "57.3", 372),
        ("Kim et al., hierarchical committee", "61.6", 372),
    ],
    ("fer2013", "PrivateTest"): [
        ("VGG19", "70.80", None),
        ("ResNet34", "72.42", None),
        ("ResNet152", "73.22", None),
        ("Residual Masking Network", "74.14", None),
        ("Residual Masking Network + 6", "76.82", None),
    ],
    ("fer2013", None): [
        ("Human", "65", None),
        ("VGGNet, tuned", "73.28", None),
        ("CNN ensemble", "75.2", None),
        ("ResEmoteNet", "79.79", None),
    ],
}


def built_in() -> tuple[ReportedResult, ...]:
    catalog = Catalog()
    catalog.add(Plugin("reported_results", "ferbench", built_in_plugin))
    return catalog.reported_results()


def test_the_plugins_figures_are_the_published_ones() -> None:
    found: dict[tuple[str, str | None], list[tuple[str, float, int | None]]] = {}
    for each in built_in():
        found.setdefault((each.dataset, each.split), []).append((each.method, each.accuracy, each.n))
    assert found == {
        place: [(method, float(Decimal(percent) / 100), n) for method, percent, n in rows]
        for place, rows in PUBLISHED.items()
    }


def test_every_figure_can_be_looked_up() -> None:
    sources = {"10.1145/2818346.2830593", "10.1145/2818346.2830590", "10.1109/CVPRW.2018.00077"}
    sources |= {"10.1109/TIP.2021.3093397"}
    numbers = {"1609.06591", "2103.10189", "1307.0414", "2105.03588", "1612.02903", "2409.10545", "2603.05937"}
    for each in built_in():
        doi = re.search(r"\bdoi (\S+)$", each.source)
        number = re.search(r"\barXiv (\d{4}\.\d{4,5})$", each.source)
        assert (doi and doi[1] in sources) or (number and number[1] in numbers) or "model card" in each.source, each


def test_what_a_reader_must_know_stands_beside_the_figure() -> None:
    remarks = {(each.method, each.split): each.remark for each in built_in()}
    assert "155 of 431" in remarks["PHOG + LPQ, SVM (challenge baseline)", "Val"]
    assert round(431 * 0.3596) == 155 and f"{100 * 155 / 431:.2f}" == "35.96"
    assert "35.96" not in {f"{100 * right / 436:.2f}" for right in range(437)}
    assert "disputed" in remarks["ResEmoteNet", None]
    assert "± 5" in remarks["Human", None]
    assert "secondary" in remarks["FaceNet2ExpNet", "Val"]


def test_datasets_and_splits_are_named_as_their_plugins_name_them() -> None:
    catalog = Catalog.load()
    assert read_reported_results(built_in_plugin.RESULTS, catalog.dataset) == built_in()


# --- the file ---------------------------------------------------------------------------------------------------------

GOOD = {"method": "m", "dataset": "d", "accuracy_percent": 48.5, "source": "doi 10.1/x"}


def toml(*tables: dict[str, object]) -> str:
    """TOML's basic texts are JSON's, but for DEL, which JSON leaves as it is."""
    lines = []
    for table in tables:
        lines.append("[[result]]")
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
            for key, value in table.items()
        ]
    return "\n".join(lines)


def refusal(path: Path, text: str, find: Callable[[str], Dataset] | None = None) -> str:
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError) as caught:
        read_reported_results(path, find)
    assert str(caught.value) == caught.value.line
    assert caught.value.line.startswith(f"reported results {path}")
    return caught.value.line.removeprefix(f"reported results {path}")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"acuracy": 3}, ", table 2: unknown key 'acuracy': there are method, dataset"),
        ({"accuracy": 0.485}, ", table 2: unknown key 'accuracy'"),
        ({"accuracy_percent": 0.48}, ", table 2: accuracy_percent=0.48 looks like a fraction: write it in percent, 48"),
        ({"accuracy_percent": 1}, ", table 2: accuracy_percent=1 looks like a fraction: write it in percent, 100 for"),
        ({"accuracy_percent": 100.1}, ", table 2: accuracy_percent=100.1 is not from 0 to 100"),
        ({"accuracy_percent": -3}, ", table 2: accuracy_percent=-3 is not from 0 to 100"),
        ({"accuracy_percent": "48.5"}, ", table 2: accuracy_percent='48.5' is a text, not a number"),
        ({"accuracy_percent": True}, ", table 2: accuracy_percent=True is a truth value, not a number"),
        ({"accuracy_percent": [48.5]}, "is a list, not a number"),
        ({"n": 0}, ", table 2: n=0 is not a whole number from 1"),
        ({"n": 431.0}, ", table 2: n=431.0 is not a whole number from 1: leave n out"),
        ({"n": "431"}, ", table 2: n='431' is not a whole number"),
        ({"n": True}, ", table 2: n=True is not a whole number"),
        ({"method": 3}, ", table 2: method=3 is a number, not a text: put it in quotation marks"),
        ({"method": " \n"}, ", table 2: method='' is not a text"),
        ({"dataset": ""}, ", table 2: dataset='' is not a text"),
        ({"source": ""}, ", table 2: source='' is not a text"),
        ({"split": ""}, ", table 2: split='' is not a text"),
        ({"split": 1.5}, ", table 2: split=1.5 is a number, not a text"),
        ({"remark": False}, ", table 2: remark=False is a truth value, not a text"),
        ({"remark": "\x1b[31mred"}, r", table 2: remark='\x1b[31mred' is not one line of characters"),
        ({"method": "a\u200bb"}, r", table 2: method='a\u200bb' is not one line of characters"),
    ],
)
def test_a_fault_is_one_line_with_file_table_key_and_value(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    assert said in refusal(tmp_path / "own.toml", toml(GOOD, GOOD | changes))


@pytest.mark.parametrize("key", ["method", "dataset", "accuracy_percent", "source"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    table = {name: value for name, value in GOOD.items() if name != key}
    assert refusal(tmp_path / "own.toml", toml(table)).startswith(f", table 1: {key} is missing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[result]]\nmethod = ", " is not TOML: "),
        ('results = "x"', ": unknown key 'results': write each figure as a table [[result]]"),
        ("[result]\nmethod = 'x'", ": result is no list of tables"),
        ("result = [1]", ": result is no list of tables"),
        (toml(GOOD).replace("48.5", "nan"), ", table 1: accuracy_percent=NaN is not from 0 to 100"),
        (toml(GOOD).replace("48.5", "inf"), ", table 1: accuracy_percent=Infinity is not from 0 to 100"),
        (toml(GOOD).replace("48.5", "2015-11-09"), "is a time or date, not a number"),
    ],
)
def test_what_is_no_list_of_figures_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path / "own.toml", text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml: No such file"):
        read_reported_results(tmp_path / "nowhere.toml")
    with pytest.raises(UsageError, match="Is a directory"):
        read_reported_results(tmp_path)
    (tmp_path / "latin.toml").write_bytes(toml(GOOD).encode() + "\n# é".encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin\.toml is not TOML: "):
        read_reported_results(tmp_path / "latin.toml")


def test_names_are_held_to_what_there_is(tmp_path: Path) -> None:
    def find(name: str) -> Dataset:
        if name != "d":
            raise UnknownName("dataset", name, ["d"])
        return Dataset("d", 1, ("a", "b"), ("Val", "Test"), {"report": "Val"}, lambda root: None, lambda *_: None)  # type: ignore[arg-type]

    path = tmp_path / "own.toml"
    assert refusal(path, toml(GOOD | {"dataset": "e"}), find).startswith(
        ", table 1: dataset='e': no dataset named 'e': "
    )
    assert refusal(path, toml(GOOD | {"split": "val"}), find).startswith(
        ", table 1: split='val': dataset 'd' has no split 'val': there are Val, Test; "
    )
    path.write_text(toml(GOOD, GOOD | {"split": "Val"}, GOOD | {"split": "Val+Test"}), "utf-8")
    assert [each.split for each in read_reported_results(path, find)] == [None, "Val", "Val+Test"]


def test_an_empty_file_has_no_figures(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("# none yet\n", "utf-8")
    assert read_reported_results(tmp_path / "own.toml") == ()


def test_long_texts_over_several_lines_become_one(tmp_path: Path) -> None:
    text = toml(GOOD) + '\nremark = """\n  first line\n  second line\n"""'
    (tmp_path / "own.toml").write_text(text, "utf-8")
    assert read_reported_results(tmp_path / "own.toml")[0].remark == "first line second line"


WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20),
    min_size=1,
    max_size=6,
).map(" ".join)
PERCENT = st.decimals("1.01", 100, places=2)
TABLES = st.fixed_dictionaries(
    {"method": WORDS, "dataset": WORDS, "accuracy_percent": PERCENT, "source": WORDS},
    optional={"split": WORDS, "n": st.integers(1, 10**9), "remark": WORDS},
)


@settings(max_examples=60, deadline=None)
@given(tables=st.lists(TABLES, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, tables: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("round") / "own.toml"
    numbers = [table | {"accuracy_percent": float(table["accuracy_percent"])} for table in tables]
    path.write_text(toml(*numbers), "utf-8")
    found = read_reported_results(path)
    assert [each.accuracy for each in found] == [float(table["accuracy_percent"] / 100) for table in tables]
    for each, table in zip(found, tables, strict=True):
        assert (each.method, each.dataset, each.source) == (table["method"], table["dataset"], table["source"])
        assert (each.split, each.n, each.remark) == (table.get("split"), table.get("n"), table.get("remark", ""))
        assert reported_result_faults(each) == []


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80) | st.binary(max_size=80))
def test_any_other_content_is_refused_or_empty(tmp_path_factory: pytest.TempPathFactory, text: str | bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "own.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    try:
        assert read_reported_results(path) == ()
    except UsageError as error:
        assert error.line.startswith(f"reported results {path}")


# --- plugins ----------------------------------------------------------------------------------------------------------

RESULT = ReportedResult("m", "d", None, 0.5, None, "doi 10.1/x")

PLUGIN = """
from ferbench import ReportedResult, Dataset, Strategy, hookimpl

def load(split, root):
    raise AssertionError

@hookimpl
def ferbench_register_datasets():
    return [Dataset(name, 1, ("a", "b"), ("train", "te", "other"), {"train": "train", "report": "te"},
            lambda root: None, load) for name in ("tiny", "small")]

@hookimpl
def ferbench_register_reported_results():
    return [
        ReportedResult("elsewhere", "tiny", "other", 0.9876, None, "Somebody, doi 10.1000/182"),
        ReportedResult("the same split", "tiny", "te", 0.4321, 431, "Somebody, doi 10.1000/182", "disputed: leakage"),
        ReportedResult("nobody knows where", "tiny", None, 0.65, None, "Somebody Else, arXiv 1234.56789"),
        ReportedResult("of a small one", "small", "te", 0.123, 1000, "Somebody Else, arXiv 1234.56789"),
    ]
"""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accuracy": 48.5}, "accuracy=48.5 is not a fraction from 0 to 1"),
        ({"accuracy": float("nan")}, "accuracy=nan"),
        ({"accuracy": "0.5"}, "accuracy='0.5'"),
        ({"accuracy": True}, "accuracy=True"),
        ({"n": 0}, "n=0 is not a whole number from 1"),
        ({"n": 3.0}, "n=3.0"),
        ({"n": True}, "n=True"),
        ({"method": ""}, "method='' is not a text"),
        ({"source": None}, "source=None is not a text"),
        ({"split": 3}, "split=3 is not a text"),
        ({"remark": "two\nlines"}, r"remark='two\nlines' is not one line"),
        ({"remark": None}, "remark=None is not one line"),
    ],
)
def test_a_malformed_record_has_its_fault_named(changes: dict[str, Any], said: str) -> None:
    fields = {"method": "m", "dataset": "d", "split": None, "accuracy": 0.5, "n": None, "source": "doi 10.1/x"}
    assert reported_result_faults(ReportedResult(**(fields | changes)))[0].startswith(said)
    assert reported_result_faults(RESULT) == []
    assert reported_result_faults(("m", 0.5)) == ["('m', 0.5) is a tuple, not a ReportedResult"]


def test_the_catalog_gives_each_figure_once_and_takes_a_faulty_plugin_not_at_all(tmp_path: Path) -> None:
    for name in ("zebra", "apple"):
        (tmp_path / f"{name}.py").write_text(PLUGIN.replace('"tiny", "small"', f'"{name}",'), "utf-8")
    (tmp_path / "bad.py").write_text(PLUGIN.replace("0.65", "65"), "utf-8")
    catalog = Catalog()
    catalog.add(from_file(tmp_path / "zebra.py"))
    catalog.add(from_file(tmp_path / "apple.py"))
    with pytest.raises(PluginError, match=r"^plugin bad \(.*\): reported result 3: accuracy=65 is not a fraction"):
        catalog.add(from_file(tmp_path / "bad.py"))
    methods = ["elsewhere", "the same split", "nobody knows where", "of a small one"]
    assert [each.method for each in catalog.reported_results()] == methods
    assert catalog.reported_results("apple") == catalog.reported_results()
    assert catalog.reported_results("bad") == ()
    assert [each.name for each in catalog.datasets()] == ["apple", "zebra"]


# --- lines ------------------------------------------------------------------------------------------------------------

RESULTS_OF_ANY_KIND = st.lists(
    st.builds(
        ReportedResult,
        method=WORDS,
        dataset=st.just("d"),
        split=st.none() | WORDS,
        accuracy=PERCENT.map(lambda percent: float(percent / 100)),
        n=st.none() | st.integers(1, 10**9),
        source=WORDS,
        remark=st.just("") | WORDS,
    ),
    min_size=1,
    max_size=4,
)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@settings(max_examples=60, deadline=None)
@given(results=RESULTS_OF_ANY_KIND, width=st.sampled_from((40, 60, 80, 120, 200)))
def test_no_line_is_too_long_and_nothing_is_lost(results: list[ReportedResult], width: int) -> None:
    lines = reported_lines(results, "d", width=width)
    assert max(map(len, lines)) <= width
    text = squeezed("".join(lines))
    assert text.startswith(squeezed(f"{STATUS} · d"))
    for each in results:
        n = "n not stated" if each.n is None else f"{each.n:,}"
        percent = f"{each.accuracy * 100:.2f}".rstrip("0").rstrip(".")
        for part in (each.method, each.split or "split not stated", n, percent, each.source, each.remark):
            assert squeezed(part) in text


def test_a_boards_own_split_comes_first_and_the_rest_keeps_its_order() -> None:
    results = [
        ReportedResult(name, "d", split, 0.5, None, "s")
        for name, split in (("first", "Val"), ("second", "Test"), ("third", None), ("fourth", "Test"))
    ]
    rows = [line.split()[0] for line in reported_lines(results, "d", "Test", width=120)[2:]]
    assert rows == ["second", "fourth", "first", "third"]
    assert [line.split()[0] for line in reported_lines(results, "d", width=120)[2:]] == [
        *("first", "second", "third", "fourth")
    ]


def test_the_points_stand_under_each_other_without_digits_that_nobody_printed() -> None:
    results = [ReportedResult("m", "d", "Val", accuracy, 9, "s") for accuracy in (0.3596, 0.65, 0.0712, 1.0, 0.485)]
    lines = reported_lines(results, "d", width=80)
    start = lines[1].index("accuracy")
    assert [line[start:].split("  s")[0].rstrip() for line in lines[2:]] == [" 35.96", " 65", "  7.12", "100", " 48.5"]


# --- the command line -------------------------------------------------------------------------------------------------

Call = Callable[..., Result]


@pytest.fixture
def ferbench_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the command line with the plugin above; `code` is the exit code that is expected."""
    (tmp_path / "literature.py").write_text(PLUGIN, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERBENCH_STORE", str(tmp_path / "board.sqlite"))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, ["leaderboard", *arguments, "--plugin", "literature.py"])
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def stored(tmp_path: Path) -> None:
    """One row on the board `tiny te`, right on 2 of 4."""
    classes = ("a", "b")
    predictions = Predictions(
        *("tiny", "te", ("1", "2", "3", "4"), np.array([0, 0, 0, 1])),
        np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]], np.float32),
    )
    board = Board("b" * 64, "tiny", "te", 4, "a-b", 1, 0.75)
    environment = Environment("cpu", "a processor", 1, "3.11", "2.14", "0.1", "Linux")
    cell = Cell("net", "random", "only", "tiny", (), Recipe(), 0)
    stages, found = ("f" * 64,), scores(predictions, classes)
    run = Run("k" * 64, "e" * 64, cell, "finished", board, RANDOM_WEIGHTS, environment, stages, found)
    with open_store(str(tmp_path / "board.sqlite")) as store:
        store.save_run(run, correctness(predictions))


OWN = {"method": "table 2, row 3", "dataset": "tiny", "accuracy_percent": 47.3, "source": "doi 10.1/x", "split": "te"}


@pytest.mark.usefixtures("stored")
def test_figures_stand_below_their_board_and_the_board_is_as_without_them(ferbench_: Call) -> None:
    plain = ferbench_().stdout
    shown = ferbench_("--references").stdout
    assert STATUS not in plain
    board, rest = shown.split(f"{STATUS} · tiny\n")
    below, others = rest.split("\n\n", 1)
    assert plain.startswith(board)
    assert "".join(re.findall(r"^F1: .*\n(?:.+\n)*", shown, re.MULTILINE)) == plain.removeprefix(board)
    assert below.splitlines() == [
        "method              split                        n  accuracy %",
        "the same split      te                         431  43.21",
        "    Somebody, doi 10.1000/182 · disputed: leakage",
        "elsewhere           other             n not stated  98.76",
        "    Somebody, doi 10.1000/182",
        "nobody knows where  split not stated  n not stated  65",
        "    Somebody Else, arXiv 1234.56789",
    ]
    assert others.index("F1: macro-F1") < others.index(f"{STATUS} · small")
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.usefixtures("stored")
def test_a_wide_terminal_has_the_source_in_the_row(ferbench_: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shown = ferbench_("--references", "-t", "tiny").stdout
    assert "  43.21       Somebody, doi 10.1000/182\n    disputed: leakage\nelsewhere" in shown
    assert max(map(len, shown.splitlines())) <= 120


@pytest.mark.usefixtures("stored")
def test_json_gets_a_list_of_its_own_only_when_asked(ferbench_: Call) -> None:
    plain = json.loads(ferbench_("--json").stdout)
    assert plain.keys() == {"boards"}
    asked = json.loads(ferbench_("--references", "--json", "-t", "tiny").stdout)
    assert asked["boards"] == plain["boards"]
    assert [each["method"] for each in asked["references"]] == ["elsewhere", "the same split", "nobody knows where"]
    assert asked["references"][1] == {
        "method": "the same split",
        "dataset": "tiny",
        "split": "te",
        "n": 431,
        "accuracy": 0.4321,
        "source": "Somebody, doi 10.1000/182",
        "remark": "disputed: leakage",
        "status": "reported, not reproduced",
    }
    assert (asked["references"][2]["split"], asked["references"][2]["n"]) == (None, None)


def test_an_empty_store_still_has_its_references(ferbench_: Call, tmp_path: Path) -> None:
    lines = ferbench_("--references").stdout.splitlines()
    assert lines[0].startswith("no results in board.sqlite yet: start with")
    assert {f"{STATUS} · tiny", f"{STATUS} · small"} <= set(lines)
    only = ferbench_("--references", "-t", "small").stdout
    assert re.findall(rf"{STATUS} · (\w+)", only) == ["small"]
    found = json.loads(ferbench_("--references", "-t", "small", "--json").stdout)
    assert found["boards"] == []
    assert [each["method"] for each in found["references"]] == ["of a small one"]
    assert not (tmp_path / "board.sqlite").exists()


@pytest.mark.usefixtures("stored")
def test_a_target_without_board_or_figures_is_an_error(ferbench_: Call) -> None:
    assert "no board of target 'small': there are tiny" in ferbench_("-t", "small", code=2).stderr
    lines = ferbench_("--references", "-t", "small").stdout.splitlines()
    assert lines[:3] == ["no board of small yet", "", f"{STATUS} · small"]
    said = ferbench_("--references", "-t", "other", code=2).stderr
    assert "no board and no reported result of target 'other': there are tiny, " in said
    assert [line[:7] for line in said.splitlines() if not line.startswith("warning: ")] == ["error: "]


def test_files_of_ones_own_come_after_and_imply_references(ferbench_: Call, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(toml(OWN, OWN), "utf-8")
    (tmp_path / "two.toml").write_text(toml(OWN | {"method": "table 2, row 4", "n": 431}), "utf-8")
    arguments = ("--references-from", "one.toml", "--references-from", "two.toml", "-t", "tiny")
    found = json.loads(ferbench_(*arguments, "--json").stdout)["references"]
    assert [each["method"] for each in found[-2:]] == ["table 2, row 3", "table 2, row 4"]
    assert (found[-2]["accuracy"], found[-2]["n"], found[-1]["n"]) == (0.473, None, 431)
    assert len(found) == 5
    assert "table 2, row 4" in ferbench_(*arguments).stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accuracy_percent": 0.473}, "table 1: accuracy_percent=0.473 looks like a fraction"),
        ({"dataset": "tinny"}, "table 1: dataset='tinny': no dataset named 'tinny': did you mean tiny"),
        ({"split": "test"}, "table 1: split='test': dataset 'tiny' has no split 'test'"),
        ({"nn": 3}, "table 1: unknown key 'nn'"),
    ],
)
def test_a_fault_in_a_file_of_ones_own_is_one_line(
    ferbench_: Call, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    (tmp_path / "own.toml").write_text(toml(OWN | changes), "utf-8")
    result = ferbench_("--references-from", "own.toml", code=2)
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert line.startswith("error: reported results own.toml, ")
    assert said in line
    assert result.stdout == ""


def test_plugins_says_what_such_a_plugin_reports_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "literature.py").write_text(PLUGIN, "utf-8")
    result = CliRunner().invoke(root, ["plugins", "literature", "--plugin", str(tmp_path / "literature.py")])
    assert result.exit_code == 0, result.output
    assert "reported results from the literature: 4 on tiny, small" in result.stdout
