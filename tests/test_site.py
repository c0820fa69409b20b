"""The site as a whole: pages hold together, names are text, what is written is the site's own and nothing else's."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest
from made_rows import made_board, made_row
from tiny import bar_dataset, tiny_catalog

from ferbench.errors import UsageError
from ferbench.metrics import correctness
from ferbench.pages.board import BoardPage, hex_name
from ferbench.pages.site import Site
from ferbench.publication.files import site_files
from ferbench.publication.folder import MANIFEST, check_folder, write_site
from ferbench.publication.gathering import SHOWN, Choice, gathered
from ferbench.publish.site.boards import board_html, board_table, index_html
from ferbench.publish.site.one_page import one_page
from ferbench.publish.site.shell import Shell, asset, json_text, number, points, visible
from ferbench.records import ReportedResult
from ferbench.settings import Settings
from ferbench.store import Store, open_store
from ferbench.whole_files import HIDDEN

EVIL = """<script>alert("1")</script>'&amp;\u202e\x01"""
VISIBLE = EVIL.replace("\u202e", "‹U+202E›").replace("\x01", "‹U+0001›")
FILMS = made_board("films", n=60)
OLD = made_board("films", n=40, protocol=FILMS.protocol - 1)
EVIL_BOARD = made_board(EVIL, n=50, majority=0.75)

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(HTMLParser):
    """A page whose elements must close in their order; what it is made of is kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.labelled: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.said: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.main = ""
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), f"{tag}: an attribute stands twice"
        self.tags.append((tag, found))
        assert not [key for key in found if key.startswith("on")], "handlers stand in scripts"
        self.ids += [str(found["id"])] if "id" in found else []
        self.links += [str(found["href"])] if tag == "a" and "href" in found else []
        if tag in ("script", "img") and "src" in found:
            self.loaded.append(str(found["src"]))
        if tag == "link":
            self.loaded.append(str(found["href"]))
        if "wide" in str(found.get("class")).split():
            # What scrolls is reached by the keyboard, and says what it is.
            assert found["tabindex"] == "0" and found["role"] in ("region", "group") and found["aria-label"]
        self.labelled += str(found.get("aria-labelledby") or "").split()
        self.headings += [""] if tag == "th" else []
        if tag == "script":
            self.scripts.append((found, ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()
        assert tag != "th" or self.headings.pop().strip(), "a heading says nothing"

    def handle_data(self, data: str) -> None:
        self.headings = [each + data for each in self.headings]
        self.main += data if "main" in self.open and "script" not in self.open else ""
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif "style" not in self.open:
            self.said.append(data)

    @property
    def text(self) -> str:
        return "".join(self.said)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows on a board, on a stale one and on one with a hostile name; one without predictions, one that failed.

    One is tuned, and one cost more.
    """
    path = tmp_path_factory.mktemp("site") / "board.sqlite"
    with open_store(str(path)) as store:
        for backbone, skill in (("vgg16", 0.8), (EVIL, 0.5), ("/home/me/nets/own", 0.1)):
            made_row(store, "cascade", skill, board=FILMS, backbone=backbone, tries=2 if backbone == "vgg16" else 0)
        dear = {"images_seen": 40_000}
        made_row(store, "cascade", 0.7, board=FILMS, backbone="lost", without_predictions=True, recipe=dear)
        made_row(store, "cascade", 0.7, board=FILMS, backbone="broken", status="failed")
        made_row(store, "cascade", 0.7, board=OLD, seeds=[0])
        made_row(store, EVIL, 0.6, board=EVIL_BOARD, auxiliaries=(), train_fraction=0.5, weights=EVIL)
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(str(path), read_only=True) as store:
        yield store


def site_of(store: Store, folder: Path, choice: Choice | None = None, said: list[str] | None = None) -> Site:
    films = dataclasses.replace(bar_dataset("films", 4), licence_permits=("ids",))
    settings = Settings(store.location, folder / "data", folder / "cache", "cpu")
    warn = [].append if said is None else said.append
    return gathered(store, tiny_catalog(films), settings, choice or Choice(), "A site", warn)


def films_of(site: Site) -> BoardPage:
    return next(page for page in site.boards if page.table.board == FILMS)


def test_every_page_of_a_site_holds_together(store: Store, tmp_path: Path) -> None:
    said: list[str] = []
    site = site_of(store, tmp_path, said=said)
    lost = next(entry.row for entry in films_of(site).table.entries if entry.backbone == "lost")
    assert said == [f"row {lost} has no page: its predictions are not in the store: run that cell again with --force"]
    files = dict(site_files(site))
    written = write_site(tmp_path / "site", files.items())
    assert written.files == len(files) + 1 and written.rows == 5 and not written.removed
    folders = {page.folder for page in site.boards}
    assert all(re.fullmatch(r"boards/[0-9a-f]{10}", folder) for folder in folders)
    for path in files:
        assert re.fullmatch(r"(assets/[\w.-]+|index\.html|boards/[0-9a-f]{10}/[\w./-]+)", str(path)), path
    pages = {path: Page(files[path].decode()) for path in files if path.suffix == ".html"}
    for path, page in pages.items():
        assert len(set(page.ids)) == len(page.ids), path
        assert set(page.labelled) <= set(page.ids), path
        for link in page.links + page.loaded:
            check_link(path, link, pages, set(files))
        for attributes, text in page.scripts:
            # No code stands in a page, and data that does is JSON.
            assert attributes.get("src") or (attributes["type"] == "application/json" and json.loads(text) is not ...)
        assert "\u202e" not in page.text and "\x01" not in page.text
        assert "/home/me" not in files[path].decode()
        assert any(attributes.get("http-equiv") == "Content-Security-Policy" for _, attributes in page.tags)
    # A script of a hostile name is text wherever it is named, and nothing turns what follows round.
    films, evil = (next(page for page in site.boards if page.table.board == board) for board in (FILMS, EVIL_BOARD))
    own = [f"{films.folder}/rows/{entry.row}.html" for entry in films.table.entries if entry.backbone == EVIL]
    own += [f"{evil.folder}/rows/{evil.table.entries[0].row}.html", f"{evil.folder}/index.html"]
    own += ["index.html", f"{films.folder}/index.html", f"{films.folder}/compare.html"]
    assert {str(path) for path, page in pages.items() if VISIBLE in page.main} == set(own)
    assert VISIBLE in Page(board_html(site.boards[-1], Shell(EVIL), compared=True)).text
    # What has no page is linked from nowhere, drawings included.
    (drawn,) = [
        text for attributes, text in pages[PurePosixPath(films.folder, "compare.html")].scripts if "page" in text
    ]
    assert {point["row"]: point["page"] for point in json.loads(drawn)["points"]} == {
        entry.row: None if entry.row == lost else entry.row for entry in films.table.entries
    }
    # A second time, the same bytes, and nothing is written.
    before = {path: (tmp_path / "site" / path).stat().st_mtime_ns for path in files}
    assert dict(site_files(site_of(store, tmp_path))) == files
    write_site(tmp_path / "site", files.items())
    assert {path: (tmp_path / "site" / path).stat().st_mtime_ns for path in files} == before


def check_link(path: PurePosixPath, link: str, pages: dict[PurePosixPath, Page], files: set[PurePosixPath]) -> None:
    """An address of a file that is there and, in a page, of an id; others are of the web, https or data alone."""
    parts = urlsplit(link)
    if parts.scheme:
        assert parts.scheme in ("https", "data"), (path, link)
        return
    target = PurePosixPath(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
    assert target in files, (path, link)
    if parts.fragment:
        assert unquote(parts.fragment) in pages[target].ids, (path, link)


def test_a_board_says_all_without_a_script(store: Store, tmp_path: Path) -> None:
    reported = (
        ReportedResult("theirs & others", "films", "val", 0.485, 431, "A. Author, doi 10.1/<x>", "disputed"),
        ReportedResult("another", "films", None, 0.5, None, "B. Author"),
    )
    site = site_of(store, tmp_path)
    board = dataclasses.replace(films_of(site), reported=reported[::-1])
    table = board_table(board)
    text = board_html(board, Shell("T"), compared=True)
    page = Page(text)
    rows = [attributes for tag, attributes in page.tags if tag == "tr" and "data-row" in attributes]
    assert [each["data-row"] for each in rows] == [entry.row for entry in board.table.entries]
    for line in table.lines:
        entry = line.entry
        assert f"{100 * entry.accuracy.mean:.1f}" in page.text
        assert f"{100 * entry.accuracy.low:.1f}–{100 * entry.accuracy.high:.1f}" in page.text
        assert 0 <= line.low <= line.mean <= line.high <= 100
        # The marker is of those alone that a constant answer beats or reaches.
        assert line.beats == (entry.accuracy.mean > FILMS.majority + 1e-9)
    assert page.text.count("not above majority") == sum(not line.beats for line in table.lines) == 1
    # The line stands between those that beat it and the others.
    order = re.findall(r'<tr (?:id="row-\w+-(\w{10})"|class="(majority)")', text)
    assert [row or line for row, line in order].index("majority") == table.place == 3
    linked = [link for link in page.links if link.startswith("rows/")]
    assert len(linked) == 3 and len(rows) == 4
    assert page.text.index("theirs & others") < page.text.index("another") and "48.5" in page.text
    assert "Reported, not reproduced" in page.text and page.text.index("Measured") < page.text.index("theirs")
    assert "withheld: it may name a sample" in page.text and "the ids of samples" in page.text
    filters = {key: values for key, _, values in table.filters}
    assert filters["backbone"] == tuple(sorted(("vgg16", EVIL, "…/own", "lost")))
    overview = Page(index_html(site, Shell("T"), compared={board.folder}))
    assert overview.text.index("Boards") < overview.text.index("Stale boards")
    assert f"{site.boards[-1].folder}/index.html" in overview.links and site.boards[-1].table.stale
    assert "stale: measured under protocol" in Page(board_html(site.boards[-1], Shell("T"), compared=False)).text


def test_one_page_is_whole_and_the_same_every_time(store: Store, tmp_path: Path) -> None:
    text = one_page(site_of(store, tmp_path))
    assert text == one_page(site_of(store, tmp_path / "elsewhere"))
    page = Page(text)
    assert page.loaded == ["data:,"] and all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids) and len(set(page.ids)) == len(page.ids)
    assert [script for _, script in page.scripts] == [asset("site.js"), asset("rows.js")]
    assert VISIBLE in page.main and "\u202e" not in text
    assert "can be told apart" in page.text and "stale" in page.text
    # Of a machine and of a day nothing stands there.
    assert (
        text.lower().startswith("<!doctype html>")
        and "/home/me" not in text
        and not re.search(r"\b20\d\d-\d\d-\d\d\b", page.text)
    )


def test_rows_are_read_one_at_a_time(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(store, tmp_path)
    asked: list[str] = []
    read = Store.run_predictions
    monkeypatch.setattr(Store, "run_predictions", lambda self, row: asked.append(row) or read(self, row))
    rows = site.rows(films_of(site))
    assert asked == []
    first, second = next(rows), next(rows)
    assert asked == [first.page.row, second.page.row]
    assert first.card.startswith("---\n") and first.page.row in first.card


def test_what_is_shown_follows_the_licence_and_what_is_asked_for(store: Store, tmp_path: Path) -> None:
    def shown(choice: Choice) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        return [(page.shown, page.beyond) for page in site_of(store, tmp_path, choice).boards[:2]]

    # `films` permits ids; nobody knows the licence of the other one.
    assert {page.table.board.target for page in site_of(store, tmp_path).boards[:2]} == {"films", EVIL}
    assert sorted(shown(Choice())) == [((), ()), (("ids",), ())]
    asked = shown(Choice(asked=("pictures", "ids")))
    assert sorted(asked) == [(("ids", "pictures"), ("ids", "pictures")), (("ids", "pictures"), ("pictures",))]
    assert all("pictures" not in each for each, _ in shown(Choice(asked=SHOWN, pictures=False)))
    row = films_of(site_of(store, tmp_path)).table.entries[0].row
    some = site_of(store, tmp_path, Choice(rows=(row,)))
    assert [len(page.table.entries) for page in some.boards] == [1] and some.boards[0].table.hidden == 3
    assert site_of(store, tmp_path, Choice(references="all")).reported
    assert not site_of(store, tmp_path).reported
    with pytest.raises(UsageError, match="no row fits"):
        site_of(store, tmp_path, Choice(where=("backbone=nobody",)))


def test_no_name_of_a_gated_sample_gets_into_any_file(tmp_path: Path) -> None:
    error = "cannot read image 'Train/Angry/AlexEmma_000044.png'"
    with open_store(str(tmp_path / "gated.sqlite")) as store:
        for seeds, status in (((0,), "finished"), ((8, 9), "failed")):
            made_row(store, "cascade", 0.6, board=FILMS, auxiliaries=(), seeds=seeds, status=status)
        lost, failed, finished = sorted(store.runs(), key=lambda run: -run.cell.seed)
        store.save_run(dataclasses.replace(lost, board=None, error=error), None)
        store.save_run(dataclasses.replace(failed, error=error), None)
        said = store.run_predictions(finished.row)[0][1]
        store.save_run(dataclasses.replace(finished, notes=(error,)), correctness(said))

        site = site_of(store, tmp_path)
        files = {str(path): content for path, content in site_files(site)}
        assert [path for path, content in files.items() if b"AlexEmma" in content] == []
        assert "AlexEmma" not in one_page(site) and "1 run failed" in one_page(site)
        assert b"Failed before they had a board" in files["index.html"]
        # Asked for, they are shown.
        asked = dict(site_files(site_of(store, tmp_path, Choice(asked=("ids", "groups")))))
        named = {path.name for path, content in asked.items() if b"AlexEmma" in content}
        assert {"index.html", f"{finished.row}.html", "leaderboard.json", "leaderboard.csv"} <= named


# The folder


def test_only_what_an_earlier_publication_listed_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    write_site(folder, [(PurePosixPath("index.html"), b"1"), (PurePosixPath("boards/a/rows/b.html"), b"2")])
    (folder / "boards/a/mine.txt").write_text("mine")
    (tmp_path / "outside").write_text("outside")
    listed = json.loads((folder / MANIFEST).read_text())
    assert listed["files"] == ["boards/a/rows/b.html", "index.html"]
    listed["files"] += ["../outside", str(tmp_path / "outside"), "link/outside", "", 3]
    (folder / "link").symlink_to(tmp_path)
    (folder / MANIFEST).write_text(json.dumps(listed))
    written = write_site(folder, [(PurePosixPath("index.html"), b"3")])
    assert written.removed == 1 and (folder / "index.html").read_bytes() == b"3"
    assert not (folder / "boards/a/rows").exists() and (folder / "boards/a/mine.txt").exists()
    assert (tmp_path / "outside").exists() and not list(folder.rglob(f"{HIDDEN}*"))


def test_a_folder_that_is_no_site_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        check_folder(tmp_path / name)
    for content in (None, "{}", "[]", "no json", '{"ferbench_site": 99, "files": []}'):
        folder = tmp_path / f"other-{content}"[:20].replace("/", "")
        folder.mkdir()
        (folder / "index.html").write_text("theirs")
        if content is not None:
            (folder / MANIFEST).write_text(content)
        with pytest.raises(UsageError, match="is not empty and holds no site of ferbench"):
            write_site(folder, [(PurePosixPath("index.html"), b"ours")])
        assert (folder / "index.html").read_text() == "theirs"
    write_site(folder, [(PurePosixPath("index.html"), b"ours")], force=True)
    check_folder(folder)
    with pytest.raises(UsageError, match="is no folder for a site"):
        check_folder(folder / "index.html")


def test_a_publication_that_was_broken_off_is_gone_on_with(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[PurePosixPath, bytes]]:
        yield PurePosixPath("boards/a/index.html"), b"1"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_site(tmp_path / "site", broken())
    written = write_site(tmp_path / "site", [(PurePosixPath("index.html"), b"2")])
    assert written.removed == 1 and not (tmp_path / "site/boards").exists()


# What templates are given


def test_texts_and_numbers_as_templates_show_them() -> None:
    assert visible("a\u202eb\x00\n\tc\u200d") == "a‹U+202E›b‹U+0000›\n\tc‹U+200D›"
    assert [points(value) for value in (0.012, -0.0349, 0.0, -0.0001)] == ["+1.2", "−3.5", "0.0", "0.0"]
    assert [number(value) for value in (None, 3, 0.1 + 0.2, 1e-9)] == ["", "3", "0.3", "0.0"]
    said = json_text({"b": "</script><!--", "a": "\u2028'&"})
    assert "<" not in said and "&" not in said and json.loads(said) == {"b": "</script><!--", "a": "\u2028'&"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))


def test_names_in_addresses_are_digits() -> None:
    assert hex_name("0123456789abcdef") == "0123456789"
    for name in ("", "../../x", "ABCDEF0123456789", EVIL, "\ud800", "0123"):
        assert re.fullmatch("[0-9a-f]{10}", hex_name(name)), name
