"""A real browser for tests: the machine's Chromium, driven by Playwright, with connections only to the service."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox",  # a container's root has no other choice; only our own pages are opened
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
DESKTOP, PHONE = (1280, 900), (390, 844)


def chromium() -> str | None:
    """Return the browser: what NNMASS_TEST_CHROMIUM names, else the machine's."""
    named = os.environ.get("NNMASS_TEST_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def opened() -> Iterator[Browser]:
    """Open a browser; skips the test where there is none."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine (Debian's package chromium; NNMASS_TEST_CHROMIUM names another)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        yield browser
        browser.close()


@dataclass
class Visit:
    """One visitor of the site: the page it looks at, what the browser complained of, and what it has loaded."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    loaded: list[Response] = field(default_factory=list)

    def bytes_loaded(self) -> int:
        """Return the size of everything that was loaded so far."""
        return sum(len(response.body()) for response in self.loaded if response.status == 200)


@contextmanager
def visit(
    browser: Browser, address: str, *, theme: str = "light", size: tuple[int, int] = DESKTOP, scripts: bool = True
) -> Iterator[Visit]:
    """Visit a site with a new profile. The browser must report no errors."""
    context = browser.new_context(
        base_url=address,
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": size[0], "height": size[1]},
        java_script_enabled=scripts,
        accept_downloads=True,
    )
    context.set_default_timeout(60_000)
    page = context.new_page()
    visitor = Visit(page, context)
    page.on(
        "console",
        lambda message: visitor.complaints.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    page.on("response", lambda response: visitor.loaded.append(response))  # noqa: PLW0108 - a method of C has no name
    try:
        yield visitor
        # that scripts are blocked is all it then complains of
        assert visitor.complaints == [] or not scripts, visitor.complaints
        foreign = [one.url for one in visitor.loaded if not one.url.startswith((address, "data:", "blob:"))]
        assert foreign == []
    finally:
        context.close()


def keep(page: Page, name: str) -> Path:
    """Keep a picture of a page for a person to look at: where NNMASS_SCREENSHOTS says, or in build/screenshots."""
    folder = Path(os.environ.get("NNMASS_SCREENSHOTS", "build/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    return folder / f"{name}.png"
