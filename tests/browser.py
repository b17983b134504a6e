"""A real headless Chromium, driven through Playwright; pages are watched for errors and for what they ask for."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def chromium() -> str:
    """Where Chromium is.

    Skips the test where there is none and it cannot be installed here; with ``CI`` set that is a failure.
    """
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    lacking = "Chromium is not installed: run `sh .ci/system-packages tests`"
    if os.environ.get("CI"):
        pytest.fail(lacking)
    pytest.skip(lacking)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Chromium, started once for many pages."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page and what it did.

    Args:
        page: To drive.
        errors: Messages of the console's errors and of uncaught exceptions.
        requests: URLs that it asked for, data: URLs left out.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def sideways(self) -> int:
        """Pixels that the page is wider than the window: 0 where nobody has to scroll sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@contextmanager
def watched(browser: Browser, viewport: dict[str, int] = DESKTOP, scheme: str = "light") -> Iterator[Watched]:
    """A new page of its own context."""
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    found = Watched(context.new_page())
    found.page.on("console", lambda message: message.type == "error" and found.errors.append(message.text))
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on("request", lambda call: call.url.startswith("data:") or found.requests.append(call.url))
    yield found
    context.close()
