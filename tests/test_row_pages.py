"""A row's page: its numbers against scikit-learn and by hand, what a licence withholds, and the HTML that says it."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from tiny import CLASSES, Bench, bar_dataset, bars, tiny_catalog

from ferbench.components import PERMITS, Permit
from ferbench.ensembles import Method, make_ensemble
from ferbench.fingerprints import fingerprint
from ferbench.leaderboard import BoardTable, leaderboards
from ferbench.pages.board import hex_name
from ferbench.pages.row import MemberRow, RowPage
from ferbench.publication.citations import citation
from ferbench.publication.files import site_files
from ferbench.publication.gathering import Choice, gathered
from ferbench.publication.pictures import SamplePictures
from ferbench.publication.row_figures import group_scores, hard_samples, hardest_places
from ferbench.publication.rows import RowPages, row_page
from ferbench.publish.site.rows import row_html
from ferbench.publish.site.shell import Shell
from ferbench.records import Predictions
from ferbench.settings import Settings

NOTHING: tuple[Permit, ...] = ()


def board_of(bench: Bench) -> BoardTable:
    (table,) = leaderboards(bench.store.leaderboard_rows())
    return table


def pages_of(bench: Bench, permits: tuple[Permit, ...] = PERMITS, **more: object) -> dict[str, RowPage]:
    """Pages of all rows, by strategy."""
    table, making = board_of(bench), RowPages(bench.store, bench.catalog)
    answers = {entry: bench.store.run_predictions(entry.row) for entry in table.entries}
    return {
        entry.strategy: making.page(table, entry, said, permits, **more)  # type: ignore[arg-type]
        for entry, said in answers.items()
    }


def html_of(page: RowPage) -> str:
    return row_html(page, Shell("a site"), "../../../")


class Reader(HTMLParser):
    """Tags, links and charts' data of a page, whose every element ends where it should."""

    VOID = frozenset(("meta", "link", "img", "br", "input"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.charts: dict[str, object] = {}
        self.ids: list[str] = []
        self._kind = ""
        self._data = False
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [values["href"] or ""] if tag == "a" else []
        self.ids += [values["id"] or ""] if "id" in values else []
        self._kind = values.get("data-chart") or self._kind
        self._data = values.get("type") == "application/json"

    def handle_data(self, data: str) -> None:
        if self._data:
            self.charts[self._kind] = json.loads(data)
            self._data = False

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def said(
    *probabilities: list[list[float]], labels: list[int], groups: tuple[str, ...] | None = None
) -> list[Predictions]:
    ids = tuple(f"s{place}" for place in range(len(labels)))
    return [
        Predictions("films", "val", ids, np.array(labels), np.array(each, dtype=np.float32), groups)
        for each in probabilities
    ]


def test_the_hardest_are_those_that_most_seeds_get_wrong_and_then_the_least_likely() -> None:
    one = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]]
    two = [[0.8, 0.2], [0.4, 0.6], [0.6, 0.4], [0.1, 0.9]]
    both = said(one, two, labels=[0, 0, 0, 0])
    assert hardest_places(both) == (3, 1, 2) and hardest_places(both, 2) == (3, 1)
    first, _, third = hard_samples(both, ("happy", "sad"), (3, 1, 2))
    assert (first.name, first.truth, first.wrong, first.answers) == ("s3", "happy", 2, (("sad", 2),))
    assert first.of_truth == pytest.approx(0.2) and first.group is None
    assert third.wrong == 1 and sorted(third.answers) == [("happy", 1), ("sad", 1)]


def test_groups_by_hand() -> None:
    one = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    two = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    best, worst = group_scores(said(one, two, labels=[0, 0, 0, 0], groups=("a", "b", "b", "a")))
    assert (best.name, best.n, best.accuracy, best.low, best.high) == ("a", 2, 1.0, 1.0, 1.0)
    assert (worst.name, worst.n, worst.accuracy, worst.low, worst.high) == ("b", 2, 0.25, 0.0, 0.5)
    assert group_scores(said(one, labels=[0] * 4)) == ()
    assert group_scores(said(one, labels=[0] * 4, groups=("a",) * 4)) == ()
    assert group_scores(said(one, labels=[0] * 4, groups=("a", "b", "c", "d"))) == ()


def test_a_page_says_what_the_store_holds(bench: Bench) -> None:
    bench.run("cascade source-only cascade+linear-probe", seeds=(0, 1), recipe={"lr": 0.02})
    pages = pages_of(bench)
    page = pages["cascade"]
    found = bench.store.run_predictions(page.row)

    truth = np.concatenate([each.labels for _, each in found])
    answers = np.concatenate([each.probabilities.argmax(axis=1) for _, each in found])
    assert page.classes == CLASSES
    assert np.array(page.confusion).tolist() == confusion_matrix(truth, answers, labels=range(7)).tolist()
    by_seed = [
        precision_recall_fscore_support(
            each.labels, each.probabilities.argmax(axis=1), labels=range(7), zero_division=0
        )
        for _, each in found
    ]
    for number, name in enumerate(("precision", "recall", "f1")):
        means = np.mean([of_seed[number] for of_seed in by_seed], axis=0)
        assert [getattr(each, name) for each in page.of_classes] == pytest.approx(means.tolist())
    assert [each.support for each in page.of_classes] == by_seed[0][3].tolist()
    assert [seed.accuracy for seed in page.seeds] == [run.scores[0].value for run, _ in found]
    assert sum(each.count for each in page.calibrated.before) == sum(each.count for each in page.calibrated.after) == 70
    assert sum(group.n for group in page.groups) == 35
    assert {group.name for group in page.groups} == set(found[0][1].groups or ())
    assert sum(group.n * group.accuracy for group in page.groups) / 35 == pytest.approx(page.entry.accuracy.mean)

    # Both chains begin with all of source-only, and each row says with which others it shares a stage.
    first, last = page.chain
    assert set(first.shared) == {pages["source-only"].row, pages["cascade+linear-probe"].row} and last.shared == ()
    assert [len(stage.fingerprints) for stage in page.chain] == [2, 2]
    assert [part.dataset for stage in page.chain for part in stage.parts] == ["big", "small"]
    probe = pages["cascade+linear-probe"].chain[1]
    assert (probe.recipe.trainable, probe.recipe.augment) == ("head", "none")

    of_seed = [point for point in page.curve if point.seed == 1]
    assert of_seed[-1].images_seen == page.entry.images_seen == 64
    assert [point.images_seen for point in of_seed] == sorted({point.images_seen for point in of_seed})
    assert {point.stage for point in of_seed} == {1, 2}
    assert [line.key for line in page.recipe if line.changed] == ["lr"] and page.recipe[0].default == 0.05
    assert page.forgotten[0].dataset == "big" and page.forgotten[0].seeds == 2
    assert page.commands[0].line.startswith("ferbench run -b tiny -s cascade -t small -a big --weights random --seed")


def test_what_a_licence_does_not_permit_is_on_no_page(bench: Bench) -> None:
    bench.run("target-only", recipe={"lr": 1e-6})
    ids = re.compile(r"\bte-\d+\b")
    shown = pages_of(bench, ("ids", "groups"))["target-only"]
    text = html_of(shown)
    assert ids.search(text) and "film0" in text and "withholds" not in text

    page = pages_of(bench, NOTHING)["target-only"]
    text = html_of(page)
    assert not ids.search(text) and "film0" not in text
    assert "withholds their ids" in text and "group 1" in text
    numbers = [sample.name for sample in page.hardest]
    assert numbers == [str(sample.place + 1) for sample in shown.hardest]
    assert [group.accuracy for group in page.groups] == pytest.approx([group.accuracy for group in shown.groups])
    assert str(bench.folder) not in text


def test_pictures_are_the_boards_own_or_none(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.run("target-only", recipe={"lr": 1e-6})
    ((run, predictions),) = bench.store.run_predictions(board_of(bench).entries[0].row)
    pictures = SamplePictures(bench.catalog, bench.folder / "data", bench.folder / "cache")
    marked = {predictions.ids[hardest_places([predictions])[0]]: b"a saliency map"}
    page = pages_of(bench, ("pictures",), pictures=pictures, saliency=marked)["target-only"]
    drawn, _ = bars(35, 22)
    first = page.hardest[0]
    assert (first.picture, first.saliency) == (
        f"samples/{first.place + 1}.png",
        f"rows/{page.row}-{first.place + 1}-saliency.png",
    )
    own = drawn[int(predictions.ids[first.place].removeprefix("te-"))][:, :, 0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(page.pictures[first.picture]))), own)
    assert page.pictures[str(first.saliency)] == b"a saliency map"
    text = html_of(page)
    assert set(page.pictures) == set(re.findall(r'<img src="\.\./([^"]+)"', text))

    assert pages_of(bench, ("ids",), pictures=pictures)["target-only"].pictures == {}
    # Other pictures under the same name are not those that the row was scored on.
    other = tiny_catalog()
    other._datasets._singles["small"] = (
        other._datasets._singles["small"][0],
        bar_dataset("small", 9, groups=True),
    )
    elsewhere = SamplePictures(other, bench.folder / "data", bench.folder / "cache")
    assert elsewhere.png(run, [0]) == []


def test_a_sample_is_one_file_for_all_rows_that_show_it(bench: Bench) -> None:
    bench.run("target-only source-only", recipe={"lr": 1e-6})
    settings = Settings(bench.store.location, bench.folder / "data", bench.folder / "cache", "cpu")
    site = gathered(bench.store, bench.catalog, settings, Choice(asked=("pictures",)), "a site")
    (board,) = site.boards
    shown = [{sample.place for sample in row.page.hardest} for row in site.rows(board)]
    files = [str(path) for path, _ in site_files(site)]
    assert len(set(files)) == len(files) and shown[0] & shown[1]
    assert {path for path in files if path.endswith(".png")} == {
        f"{board.folder}/samples/{place + 1}.png" for place in set.union(*shown)
    }


def test_warnings_come_first_and_failed_seeds_are_said(bench: Bench) -> None:
    bench.run("target-only", recipe={"lr": 1e-6})
    (run,) = bench.store.runs()
    failed = dataclasses.replace(
        run,
        key=fingerprint([run.entry, 9]),
        cell=dataclasses.replace(run.cell, seed=9),
        status="failed",
        error="no picture '/home/me/films/a b.png' <script>alert(1)</script>",
    )
    bench.store.save_run(failed, None)
    page = pages_of(bench, NOTHING)["target-only"]
    assert [each.seed for each in page.failed] == [9] and "/home" not in page.failed[0].error
    text = html_of(page)
    Reader(text)
    note = text[text.index('class="note"') : text.index('class="tiles"')]
    for words in ("Synthetic faces", "random weights", "One seed alone", "Seed 9 failed"):
        assert words in note
    assert "does not beat the majority line" in note or page.entry.accuracy.mean > page.board.majority
    assert "<script>alert" not in text and "a b.png" not in text


def test_the_page_is_sound_html_with_its_charts_data(bench: Bench) -> None:
    finished = bench.run("cascade source-only", seeds=(0, 1)).finished
    make_ensemble(bench.store, [run.row for run in finished], Method())
    pages = pages_of(bench)
    rows = {page.row for page in pages.values()}
    for strategy, page in pages.items():
        text = html_of(page)
        read = Reader(text)
        assert text == html_of(page)
        assert len(read.ids) == len(set(read.ids))
        for link in read.links:
            name, hash_, part = link.partition("#")
            assert not hash_ or name.startswith("https://") or part in read.ids
            beside = name.removesuffix(".html") in rows or name in ("", "../index.html", "../../../index.html")
            assert beside or name.startswith(("https://", "../../../assets/"))
        kinds = {"row-reliability", "row-groups", *(["row-curves"] if strategy != "ensemble" else [])}
        assert set(read.charts) == kinds
    # A row's page is found by its name in addresses; a share is written with few digits.
    odd = dataclasses.replace(
        pages["cascade"],
        members=(MemberRow("../ROW", "", 1.0, 1, True),),
        confusion=((1, 2, *[0] * 5), *pages["cascade"].confusion[1:]),
    )
    assert f'href="{hex_name("../ROW")}.html"' in html_of(odd) and '--part: 0.333"' in html_of(odd)
    ensemble = pages["ensemble"]
    assert [member.row for member in ensemble.members if member.linked] and not ensemble.chain and not ensemble.curve
    assert sum(member.weight for member in ensemble.members) == pytest.approx(1)
    assert "it is the mean of what" in html_of(ensemble) and "which must be in the store" in html_of(ensemble)
    # It stands on the works that its members stand on; of other people's data it is said what is not known.
    whats = {strategy: {(each.what, each.licence) for each in page.citations} for strategy, page in pages.items()}
    assert whats["ensemble"] > whats["cascade"] - {("software", "")}
    assert ("datasets small and big", "licence not known here") in whats["ensemble"]
    bounds = tuple(dataclasses.replace(seed, temperature=20.0 * seed.seed or 1.5) for seed in pages["cascade"].seeds)
    assert "That of seed 1 is an end of what is tried" in html_of(dataclasses.replace(pages["cascade"], seeds=bounds))
    assert "an end of what is tried" not in html_of(dataclasses.replace(pages["cascade"], seeds=(bounds[0], bounds[0])))
    curves = Reader(html_of(pages["cascade"])).charts["row-curves"]
    assert isinstance(curves, dict) and curves["seeds"] == [0, 1] and curves["ends"] == [32, 64]


def test_one_row_alone_has_the_same_page(bench: Bench) -> None:
    bench.run("target-only")
    table = board_of(bench)
    entry = table.entries[0]
    alone = row_page(table, entry, bench.store.run_predictions(entry.row), bench.store, bench.catalog, PERMITS)
    assert alone == pages_of(bench)["target-only"]


#: BibTeX counts braces, escaped or not.
LATEX = r"\v{R}. {\char34}\textbraceleft{}{[}a{]}\textbraceright{} of \'{E}{\char34}"
CITED: tuple[tuple[str, str | None, str | None], ...] = (
    ("Ng et al., ICMI 2015, doi 10.1145/28.30.", "https://doi.org/10.1145/28.30", "Ng et al., ICMI 2015"),
    ("One weird trick & more (arXiv:1404.5997)", "https://arxiv.org/abs/1404.5997", "One weird trick \\& more"),
    ("see https://example.org/a_b.", "https://example.org/a_b", None),
    ("1512.03385", None, None),
    ("a book", None, None),
    ('Ř. "{[a]} of É", arXiv:1404.5997', "https://arxiv.org/abs/1404.5997", LATEX),
)


@pytest.mark.parametrize(("text", "url", "title"), CITED)
def test_citations_lead_to_what_they_name(text: str, url: str | None, title: str | None) -> None:
    found = citation("backbone some/net", text)
    assert (found.text, found.url) == (text, url)
    assert (found.bibtex is None) == (title is None)
    if title is not None:
        assert found.bibtex is not None and f"title = {{{title}}}," in found.bibtex
        assert found.bibtex.startswith("@misc{some-net,")
