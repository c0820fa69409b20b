"""A real browser for tests of pages: headless Chromium, offline, with all that a page must not do written down."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

#: Where there is one, tests fail without it and are not skipped.
NEEDED = os.environ.get("CI") == "true"

_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def chromium() -> str:
    """The browser's path; without one the test is skipped, and fails on CI, which installs it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    if NEEDED:
        pytest.fail("no chromium: .ci/run installs it")
    pytest.skip("no chromium here: apt install chromium")


@dataclass(slots=True)
class Opened:
    """A page with what it said and asked for meanwhile.

    complaints : lines of the console that are warnings or errors, and uncaught exceptions
    asked_outside : addresses other than files that it asked for
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    asked_outside: list[str] = field(default_factory=list)

    def open(self, path: Path, fragment: str = "") -> None:
        self.page.goto(path.resolve().as_uri() + fragment)


@contextmanager
def running_browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*_FLAGS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, width: int = 1280, height: int = 900, **context_options: Any) -> Iterator[Opened]:
    """An empty page in a context of its own."""
    context = browser.new_context(viewport={"width": width, "height": height}, **context_options)
    found = Opened(context.new_page())
    found.page.on(
        "console",
        lambda message: found.complaints.append(message.text) if message.type in ("error", "warning") else None,
    )
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else found.asked_outside.append(request.url),
    )
    try:
        yield found
    finally:
        context.close()
