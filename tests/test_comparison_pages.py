"""Pages of comparisons: their digits are those of `ferbench compare`, their words are true of the counts."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from browser import opened, running_browser
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kept_rows import kept_run, save
from made_rows import made_board, made_row

from ferbench.cli import root
from ferbench.leaderboard import BoardTable, leaderboards
from ferbench.metrics import confusion
from ferbench.pages.comparison import ComparisonPage, Confusion, CostPoint, Costs, cost_axes
from ferbench.publication import comparisons
from ferbench.publication.comparisons import across_boards_page, comparison_page
from ferbench.publish.comparison import comparison_json
from ferbench.publish.site.comparisons import across_html, comparison_html, confusion_words
from ferbench.publish.site.shell import Shell
from ferbench.publish.verdicts import points
from ferbench.records import Interval, Predictions, Run
from ferbench.store import Store, open_store

EVIL = "timm/<script>alert(1)</script>"
FILMS = made_board("films", n=90)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backbones, three strategies and two parts of train on `films`; three strategies on six small boards."""
    path = tmp_path_factory.mktemp("compared-pages") / "board.sqlite"
    with open_store(str(path)) as store:
        for backbone, more in (("vgg16", 0.0), (EVIL, 0.02)):
            for strategy, skill in (("cascade", 0.7), ("single-stage", 0.5), ("target-only", 0.45)):
                for part in (0.1, 1.0):
                    own: dict[str, Any] = {"board": FILMS, "backbone": backbone, "train_fraction": part}
                    made_row(store, strategy, skill + more + part / 10, **own)
        made_row(store, "cascade", 0.9, board=FILMS, backbone="vgg16", status="failed", name="failed")
        for number in range(6):
            for strategy, skill in (("cascade", 0.8), ("single-stage", 0.6), ("target-only", 0.3)):
                made_row(store, strategy, skill, board=made_board(f"set{number}", n=40), seeds=[0], groups=0)
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(str(path), read_only=True) as store:
        yield store


def table_of(store: Store, target: str = "films") -> BoardTable:
    return next(table for table in leaderboards(store.leaderboard_rows()) if table.board.target == target)


def page_of(store: Store) -> ComparisonPage:
    page = comparison_page(table_of(store), store)
    assert page is not None
    return page


@pytest.fixture(scope="module")
def page(path: Path) -> ComparisonPage:
    with open_store(str(path), read_only=True) as store:
        return page_of(store)


@pytest.fixture
def command(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """What a command prints as JSON."""
    monkeypatch.setenv("FERBENCH_STORE", str(path))

    def call(asked: str) -> dict[str, Any]:
        result = CliRunner().invoke(root, [*asked.split(), "--json"], prog_name="ferbench")
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    return call


class Parsed(HTMLParser):
    """A page's elements, ids and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_pairs_are_those_that_the_command_gives(page: ComparisonPage, command: Callable[[str], dict[str, Any]]) -> None:
    text = Parsed(comparison_html(page, Shell("A site"), "../../")).text
    assert [matrix.by for matrix in page.matrices] == [("strategy",), ("backbone",), ()]
    for matrix in page.matrices:
        assert matrix.outcome is not None and matrix.asked
        shown = json.loads(json.dumps(comparison_json([matrix.outcome], "accuracy")))
        assert shown["pairs"] == command(matrix.asked)["pairs"]
        for pair, said in zip(matrix.outcome.pairs, shown["pairs"], strict=True):
            _, low, high = (each.replace("-", "−") for each in points(pair))
            assert f"{low} to {high}" in text and said["sentence"] in text
    rows = page.matrices[-1]
    assert rows.outcome is not None and len(rows.outcome.pairs) == 45
    assert "2 rows behind the best 10: these were chosen by what they reached" in text


def test_rows_without_predictions_are_said_and_nothing_of_the_machine(path: Path, tmp_path: Path) -> None:
    copy = shutil.copy(path, tmp_path / "board.sqlite")
    with open_store(str(copy)) as store:
        row = made_row(store, "cascade", 0.9, board=FILMS, backbone="/home/someone/lost", without_predictions=True)
        html = comparison_html(page_of(store), Shell("A site"), "../../")
    parsed = Parsed(html)
    assert f"1 row without predictions in the store: {row}" in parsed.text and "/home/" not in html
    assert EVIL in parsed.text and "<script>alert" not in html
    assert "board.sqlite" not in html
    assert [name for name, times in Counter(parsed.ids).items() if times > 1] == []


def test_what_is_compared_is_bounded_and_what_is_left_out_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "_RUNS", 12)
    monkeypatch.setattr(comparisons, "_BEST", 3)
    monkeypatch.setattr(comparisons, "_COMPETITORS", 2)
    monkeypatch.setattr(comparisons, "_CONFUSIONS", 4)
    page = page_of(store)
    strategies, _, best = page.matrices
    assert strategies.outcome is not None and best.outcome is not None
    assert len(strategies.outcome.pairs) == 1 and len(best.outcome.pairs) == 3
    assert any(text.startswith("target-only: more than 2 are not compared") for text in strategies.left_out)
    assert any("at most 12 runs are compared on a page" in text for text in strategies.left_out)
    # A block is compared whole or not at all: all rows that are left share their backbone.
    rows = {run.cell.backbone for of in strategies.outcome.runs.values() for runs in of.values() for run in runs}
    assert len(rows) == 1
    assert page.confusions is not None and page.confusions.left_out == 12 - len(page.confusions.rows)


def test_rows_of_one_kind_are_told_apart_or_not_averaged(tmp_path: Path) -> None:
    board = made_board("many", n=40)
    with open_store(str(tmp_path / "many.sqlite")) as store:
        for strategy in ("cascade", "single-stage"):
            for lr in (0.1, 0.01):
                made_row(store, strategy, 0.5, board=board, recipe={"lr": lr}, seeds=[0])
        found = comparison_page(table_of(store, "many"), store)
        assert found is not None and found.matrices[0].by == ("strategy", "lr")
        assert found.matrices[0].outcome is not None and len(found.matrices[0].outcome.pairs) == 6
        for number in range(12):
            made_row(store, "cascade", 0.5, board=board, recipe={"lr": 0.2 + number}, seeds=[0])
        found = comparison_page(table_of(store, "many"), store)
        assert found is not None and found.matrices[0].outcome is None
        assert "rows of one strategy differ in lr" in found.matrices[0].refused
        assert "Not compared: rows of one strategy" in Parsed(comparison_html(found, Shell("A"), "../../")).text


def test_confusions_are_those_of_all_seeds_together(store: Store, page: ComparisonPage) -> None:
    confusions = page.confusions
    assert confusions is not None
    by_row = {each.row: each for each in confusions.rows}
    entries = {entry.row: entry for entry in table_of(store).entries}
    assert entries[confusions.first].strategy != entries[confusions.second].strategy
    for row, each in by_row.items():
        said = sum(confusion(predictions) for _, predictions in store.run_predictions(row))
        assert each.counts == tuple(map(tuple, said.tolist()))  # type: ignore[union-attr]


def test_the_order_in_which_rows_got_into_a_store_says_nothing(tmp_path: Path) -> None:
    rows = [(name, backbone) for name in ("cascade", "single-stage", "lp-ft") for backbone in ("vgg16", "alexnet")]
    board, found = made_board("ordered", n=40), set()
    for number, order in enumerate((rows, rows[::-1])):
        with open_store(str(tmp_path / f"{number}.sqlite")) as store:
            for name, backbone in order:
                # Some are tied, and some are in no pair.
                made_row(store, name, 0.5, board=board, backbone=backbone, name="same", seeds=[0])
                made_row(
                    store, name, 0.5, board=board, backbone=backbone, status="failed", seeds=[3, 4][:: 1 - 2 * number]
                )
            page = comparison_page(table_of(store, "ordered"), store)
            assert page is not None and all(matrix.outcome for matrix in page.matrices)
            found.add(comparison_html(page, Shell("A site"), "../../"))
    assert len(found) == 1


def test_predictions_of_other_samples_are_refused_without_a_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read, table = Store.run_predictions, table_of(store, "set0")
    renamed = table.entries[0].row

    def some_renamed(self: Store, row: str) -> list[tuple[Run, Predictions]]:
        found = read(self, row)
        if row.startswith(renamed):
            found = [(run, dataclasses.replace(said, ids=("AlexEmma_0004", *said.ids[1:]))) for run, said in found]
        # The same row has answered another board, too.
        return [*found, *((dataclasses.replace(run, board=FILMS), said) for run, said in found)]

    monkeypatch.setattr(Store, "run_predictions", some_renamed)
    page = comparison_page(table, store)
    assert page is not None and page.matrices[-1].outcome is None
    html = comparison_html(page, Shell("A site"), "../../")
    assert "AlexEmma" not in html and "set0-0" not in html and "`ferbench verify ROW` tells why" in html
    assert page.confusions is not None and all(sum(map(sum, each.counts)) == 40 for each in page.confusions.rows)


def test_confusions_in_words() -> None:
    a = Confusion("aaaaaaaaaa", "one", (0,), ((8, 2), (1, 3)))
    b = Confusion("bbbbbbbbbb", "other", (0,), ((7, 3), (2, 2)))
    assert confusion_words(("happy", "sad"), a, b) == (
        "one (aaaaaaaaaa) against other (bbbbbbbbbb): right more often on happy (+10.0), sad (+25.0). "
        "The largest change among errors: sad taken for happy −25.0."
    )
    empty = Confusion("cccccccccc", "third", (0,), ((8, 2), (0, 0)))
    assert confusion_words(("happy", "sad"), a, empty).endswith("third (cccccccccc): right as often.")


cost = st.sampled_from([None, 1.0, 2.0, 3.0, 50.0])


@given(st.lists(st.tuples(cost, st.integers(0, 5)), min_size=2, max_size=12))
def test_no_row_on_the_front_is_beaten_and_every_other_one_is(rows: list[tuple[float | None, int]]) -> None:
    made = []
    for number, (price, accuracy) in enumerate(rows):
        interval = Interval(accuracy / 10, None, 0.0, 1.0, "wilson")
        costs = {"train_seconds": price, "parameters": None, "images_seen": 7.0, "forward_flops": None}
        made.append(CostPoint(str(number), "", "", "", interval, 1, costs))
    known = [(price, accuracy, str(number)) for number, (price, accuracy) in enumerate(rows) if price is not None]
    axes = cost_axes(made)
    if len({price for price, *_ in known}) < 2:
        assert axes == ()
        return
    (axis,) = axes
    beaten = {
        name
        for price, accuracy, name in known
        if any(p <= price and a >= accuracy and (p, a) != (price, accuracy) for p, a, _ in known)
    }
    assert {*axis.front} == {name for *_, name in known} - beaten
    assert axis.logarithmic == (max(known)[0] > 10 * min(known)[0]) and axis.known == len(known)


def test_curves_and_what_was_forgotten(page: ComparisonPage, tmp_path: Path) -> None:
    assert len(page.curves) == 6 and {len(curve.points) for curve in page.curves} == {2}
    with open_store(str(tmp_path / "kept.sqlite")) as kept:
        runs = [kept_run(strategy, seed) for strategy in ("cascade", "single-stage") for seed in (0, 1)]
        save(kept, *runs)
        found = comparison_page(table_of(kept), kept)
        assert found is not None and len(found.known) == 2
        for each in found.known:
            own = [run.run.forgetting[0] for run in runs if run.run.row == each.row]
            assert each.before == pytest.approx(sum(one.before for one in own) / 2)
            assert each.lost == pytest.approx(sum(one.lost for one in own) / 2)
        text = Parsed(comparison_html(found, Shell("A site"), "../../")).text
        assert "Accuracy on stills Test (n 25) right after the stage" in text


def test_ranks_over_boards_are_those_of_the_command(store: Store, command: Callable[[str], dict[str, Any]]) -> None:
    tables = leaderboards(store.leaderboard_rows())
    small = [table for table in tables if table.board.target != "films"]
    page = across_boards_page(tables, store)
    assert page is not None and page.across is not None and page.across.boards == 7
    said = command(page.asked)["across_boards"]
    assert said["average_ranks"] == list(page.across.average_ranks)
    assert said["friedman_p"] == page.across.friedman_p and said["competitors"] == list(page.across.competitors)
    html = across_html(page, Shell("A site"), "")
    parsed = Parsed(html)
    assert parsed.tags["svg"] == 1 and "Nemenyi's test at 5 %" in parsed.text
    assert {"across-title", "across-description"} <= {*parsed.ids}
    # In a page, a style of its own must not reach other pictures.
    style = re.search(r"<style>(.*?)</style>", html)
    assert style is not None and all(
        rule.startswith(".critical-difference ") for rule in style[1].split("}") if rule.strip()
    )
    few = across_boards_page(small[:5], store)
    assert few is not None and few.asked == ""
    text = Parsed(across_html(few, Shell("A site"), "")).text
    assert "the critical-difference diagram" in text.lower() and "here are 5" in text
    assert across_boards_page(small[:1], store) is None


def test_in_a_browser(page: ComparisonPage, tmp_path: Path) -> None:
    # Each row costs something else, and one has no page.
    points = tuple(
        dataclasses.replace(point, costs={**point.costs, "images_seen": 1000.0 * number})
        for number, point in enumerate(page.costs.points, 1)
    )
    costs = Costs(cost_axes(points), points, page.costs.devices)
    page = dataclasses.replace(page, costs=costs, rows=page.rows - {points[0].row})
    file = tmp_path / "boards" / "board" / "compare.html"
    file.parent.mkdir(parents=True)
    file.write_text(comparison_html(page, Shell("A site"), "../../"), "utf-8")
    (tmp_path / "assets").mkdir()
    for asset in resources.files("ferbench.publish.site").joinpath("assets").iterdir():
        (tmp_path / "assets" / asset.name).write_bytes(asset.read_bytes())
    confusions = page.confusions
    assert confusions is not None
    with running_browser() as browser:
        with opened(browser, java_script_enabled=False) as plain:
            plain.open(file)
            said = plain.page.locator("#confusion-part .said").text_content()
            cells = plain.page.locator("table.confusion tbody").text_content()
            assert not plain.page.locator("#confusion-part select").first.is_visible()
        with opened(browser, width=390, color_scheme="dark") as shown:
            shown.open(file)
            shown.page.wait_for_function("document.documentElement.dataset.charts === 'drawn'")
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= 390
            assert shown.page.eval_on_selector_all(
                "figure.chart", "all => all.every(each => each.dataset.drawn === 'yes')"
            )
            marks = shown.page.locator("figure[data-chart=costs] .rows a")
            links = marks.evaluate_all("all => all.map(link => link.href.baseVal)")
            assert sorted(links) == sorted(f"rows/{point.row}.html" for point in points[1:])
            # The script says of the pair that is there at first what the page says without it.
            assert shown.page.locator("#confusion-part .said").text_content() == said
            assert shown.page.locator("table.confusion tbody").text_content().split() == (cells or "").split()
            second = shown.page.get_by_label("Second row")
            second.focus()
            shown.page.keyboard.press("End")
            chosen = second.input_value()
            assert chosen == confusions.rows[-1].row != confusions.second
            a, b = (next(each for each in confusions.rows if each.row == row) for row in (confusions.first, chosen))
            assert shown.page.locator("#confusion-part .said").text_content() == confusion_words(
                confusions.classes, a, b
            )
            assert shown.complaints == [] and shown.asked_outside == []
