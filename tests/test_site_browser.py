"""Published sites in headless Chromium, opened from disk as their readers do."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Opened, opened, running_browser
from made_rows import made_board, made_row
from playwright.sync_api import expect
from tiny import tiny_catalog

from ferbench.fingerprints import fingerprint
from ferbench.leaderboard import BoardTable, leaderboards
from ferbench.pages.board import BoardPage
from ferbench.publication.files import site_files
from ferbench.publication.folder import write_site
from ferbench.publication.gathering import Choice, gathered
from ferbench.publish.site.boards import board_html
from ferbench.publish.site.shell import Shell
from ferbench.settings import Settings
from ferbench.store import open_store

HOSTILE = "<script>document.title='taken'</script>"
QUOTED = "\"'><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published site of two boards, one of an older protocol, with names that no page may run."""
    folder = tmp_path_factory.mktemp("site")
    settings = Settings(str(folder / "board.sqlite"), folder / "data", folder / "cache", "cpu")
    board = made_board()
    with open_store(settings.store) as store:
        made_row(store, "cascade", 0.62, board=board, seeds=range(3))
        made_row(store, "single-stage", 0.6, board=board, seeds=range(3))
        made_row(store, "target-only", 0.35, board=board, backbone="tv/resnet18", seeds=(0,))
        made_row(store, "cascade", 0.05, board=board, backbone="alexnet", seeds=(0, 1))
        made_row(store, HOSTILE, 0.5, board=board, backbone=QUOTED, weights="</script><b>bold</b>")
        made_row(store, "cascade", 0.5, board=made_board("older", protocol=0), seeds=(0, 1))
        made_row(store, "single-stage", 0.5, board=made_board("older", protocol=0), seeds=(0, 1))
        made_row(store, "lp-ft", 0.5, board=board, status="failed", seeds=(7,))
        found = gathered(store, tiny_catalog(), settings, Choice(), "Faces")
        write_site(folder / "site", site_files(found))
    return folder / "site"


@pytest.fixture(scope="module")
def board_folder(site: Path) -> Path:
    return site / "boards" / made_board().fingerprint[:10]


@pytest.fixture
def window(browser: Any) -> Iterator[Opened]:
    """A page that must have said nothing and asked for nothing at the end of the test."""
    with opened(browser) as found:
        yield found
        assert found.complaints == []
        assert found.asked_outside == []


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def rows_shown(window: Opened) -> list[str]:
    """ROW of each line that is visible, from top to bottom."""
    rows: list[str] = window.page.locator("table[data-rows] tbody tr[data-row]:visible").evaluate_all(
        "rows => rows.map(row => row.dataset.row)"
    )
    return rows


def column(window: Opened, key: str) -> list[str]:
    """What visible lines have in a column."""
    script = """(table, key) => {
        const at = [...table.tHead.rows[0].cells].findIndex(cell => cell.dataset.key === key);
        return [...table.tBodies[0].rows].filter(row => !row.hidden && row.dataset.row)
            .map(row => row.cells[at].dataset.value);
    }"""
    found: list[str] = window.page.locator("table[data-rows]").evaluate(script, key)
    return found


def test_every_page_opens_without_a_complaint_or_a_request_and_draws_its_charts(window: Opened, site: Path) -> None:
    assert len(pages(site)) == 1 + 2 * 2 + 5 + 2
    for path in pages(site):
        window.open(path)
        figures = window.page.locator("figure.chart")
        expect(window.page.locator('figure.chart[data-drawn="yes"]')).to_have_count(figures.count())
        assert window.page.locator("h1").count() == 1
        assert window.page.evaluate("document.title") != "taken"


def test_every_link_leads_to_a_page_or_a_place_that_is_there(window: Opened, site: Path) -> None:
    for path in pages(site):
        window.open(path)
        links: list[str] = window.page.locator("a[href]").evaluate_all("all => all.map(link => link.href)")
        for link in links:
            if link.startswith(("http:", "https:")):
                continue
            file, _, fragment = link.removeprefix("file://").partition("#")
            assert Path(file).is_file(), (path, link)
            if fragment:
                assert f'id="{fragment}"' in Path(file).read_text("utf-8"), (path, link)
    window.open(site / "index.html")
    window.page.get_by_role("link", name="films val", exact=True).click()
    window.page.locator("table[data-rows] tbody a").first.click()
    assert window.page.locator("h1").inner_text()


def test_headings_sort_with_mouse_and_keyboard_and_say_so(window: Opened, board_folder: Path) -> None:
    window.open(board_folder / "index.html")
    ranked = rows_shown(window)
    assert len(ranked) == 5
    heading = window.page.locator('th[data-key="accuracy"]')
    heading.get_by_role("button").click()
    values = [float(value) for value in column(window, "accuracy")]
    assert values == sorted(values, reverse=True) and heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").press("Enter")
    assert [float(value) for value in column(window, "accuracy")] == values[::-1]
    assert heading.get_attribute("aria-sort") == "ascending"
    # A row of one seed has no standard deviation: it comes last whichever way.
    for _ in range(2):
        window.page.locator('th[data-key="sd"]').get_by_role("button").press("Space")
        assert column(window, "sd")[-1] == ""
    window.page.locator('th[data-key="backbone"]').get_by_role("button").click()
    assert column(window, "backbone") == sorted(column(window, "backbone"), key=lambda name: (name[0].isalnum(), name))
    window.page.reload()
    assert window.page.locator('th[data-key="backbone"]').get_attribute("aria-sort") == "ascending"
    window.page.locator('th[data-key="rank"]').get_by_role("button").click()
    assert rows_shown(window) == ranked


def test_rows_are_chosen_by_what_they_are_and_counted_aloud(window: Opened, board_folder: Path) -> None:
    window.open(board_folder / "index.html")
    count = window.page.get_by_role("status")
    assert count.inner_text() == "5 rows"
    window.page.locator("#filters select[name=strategy]").select_option("cascade")
    assert set(column(window, "strategy")) == {"cascade"} and count.inner_text() == "2 of 5 rows"
    window.page.locator("#filters select[name=backbone]").select_option("alexnet")
    assert column(window, "backbone") == ["alexnet"] and count.inner_text() == "1 of 5 rows"
    address = window.page.url
    window.page.get_by_role("button", name="Show all").click()
    expect(count).to_have_text("5 rows")
    window.page.locator("#filters input[name=text]").fill("onerror")
    assert column(window, "backbone") == [QUOTED]
    window.page.goto("about:blank")
    window.page.goto(address)
    assert count.inner_text() == "1 of 5 rows" and column(window, "backbone") == ["alexnet"]
    # What no row has is not asked for, and leaves the address.
    window.open(board_folder / "index.html", "#backbone=gone&strategy=cascade")
    window.page.reload()
    assert count.inner_text() == "2 of 5 rows" and window.page.url.endswith("#strategy=cascade")


def test_on_a_phone_rows_come_before_what_chooses_them(browser: Any, board_folder: Path) -> None:
    with opened(browser, width=390, height=800) as window:
        window.open(board_folder / "index.html")
        form = window.page.locator("#filters")
        assert not form.is_visible() and len(rows_shown(window)) == 5
        window.page.get_by_text("Choose and sort rows").click()
        form.locator("select[name=backbone]").select_option("alexnet")
        assert column(window, "backbone") == ["alexnet"]


def test_names_are_text_whatever_stands_in_them(window: Opened, site: Path, board_folder: Path) -> None:
    window.page.on("dialog", lambda dialog: pytest.fail(f"a name ran: {dialog.message}"))
    named = set()
    for path in pages(site):
        window.open(path)
        named |= {path.name} if HOSTILE in window.page.locator("main").inner_text() else set()
        assert window.page.locator("img[src=x], td b, script:not([src]):not([type])").count() == 0
    window.open(board_folder / "index.html")
    (row,) = [row for row, name in zip(rows_shown(window), column(window, "strategy"), strict=True) if name == HOSTILE]
    assert named == {"index.html", "compare.html", f"{row}.html"}
    assert QUOTED in column(window, "backbone") and HOSTILE in column(window, "strategy")


def test_without_a_script_everything_is_there(browser: Any, site: Path, board_folder: Path) -> None:
    with opened(browser, java_script_enabled=False) as window:
        window.open(board_folder / "index.html")
        assert window.page.locator("table[data-rows] tbody tr[data-row]").count() == 5
        assert not window.page.locator("#filters").is_visible()
        window.open(site / "index.html")
        window.page.get_by_role("link", name="films val", exact=True).click()
        window.page.get_by_role("link", name="Comparisons").first.click()
        assert window.page.locator("table").count() >= 2


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_scrolls_sideways(browser: Any, site: Path, width: int) -> None:
    with opened(browser, width=width, height=800) as window:
        for path in pages(site):
            window.open(path)
            assert window.page.evaluate("document.documentElement.scrollWidth") <= width, path
            summaries = window.page.locator("summary:visible")
            assert all(height >= 24 for height in summaries.evaluate_all("all => all.map(each => each.offsetHeight)"))


def test_the_theme_follows_the_system_and_the_button_overrules_it(browser: Any, site: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    grounds = {}
    for theme in ("light", "dark"):
        with opened(browser, color_scheme=theme) as window:
            window.open(site / "index.html")
            grounds[theme] = window.page.evaluate(ground)
            window.page.locator("#theme").press("Enter")
            window.page.reload()
            grounds[f"not {theme}"] = window.page.evaluate(ground)
    assert grounds["light"] == grounds["not dark"] != grounds["dark"] == grounds["not light"]


def test_the_keyboard_reaches_the_content_first(window: Opened, board_folder: Path) -> None:
    window.open(board_folder / "index.html")
    window.page.keyboard.press("Tab")
    assert window.page.evaluate("document.activeElement.className") == "skip"
    window.page.keyboard.press("Enter")
    assert window.page.evaluate("document.activeElement.id") == "content"


def test_a_thousand_rows_open_in_less_than_two_seconds(window: Opened, tmp_path: Path, board_folder: Path) -> None:
    with open_store(str(tmp_path / "board.sqlite")) as store:
        made_row(store, "cascade", 0.6, seeds=(0, 1))
        (table,) = leaderboards(store.leaderboard_rows())
    (entry,) = table.entries
    entries = [
        dataclasses.replace(entry, row=fingerprint(number)[:10], rank=1 + number // 3, backbone=f"backbone-{number}")
        for number in range(1000)
    ]
    page = BoardPage(BoardTable(table.board, tuple(entries), ()))
    folder = tmp_path / "site" / page.folder
    folder.mkdir(parents=True)
    (tmp_path / "site" / "assets").symlink_to(board_folder.parents[1] / "assets")
    (folder / "index.html").write_text(board_html(page, Shell("many"), compared=False), "utf-8")
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        window.open(folder / "index.html")
        expect(window.page.locator("html")).to_have_attribute("data-rows", "ready")
        seconds.append(time.monotonic() - started)
    # Two seconds are the reader's patience; it takes less than half, and the fastest says so on a busy machine too.
    assert min(seconds) < 2
    assert len(rows_shown(window)) == 1000
