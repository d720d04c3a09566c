"""A browser on the page, and what it saw: messages, addresses, pixels."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Route

from e2e.service import Service

#: As Debian and others call it, in the order of preference.
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
#: WebGL 2 in software; nothing that the browser does by itself.
FLAGS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
#: Everything here is a matter of seconds; a busy machine needs more.
PATIENCE_MS = 240_000


def chromium() -> str | None:
    """Where the browser is, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def launched(playwright: Playwright) -> Browser:
    """A headless browser; as root it has no sandbox."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS, *sandbox])


@dataclass
class Tab:
    """One page, and all that was said and asked for in it.

    Args:
        page: Playwright's.
        url: the gateway's address.
        said: warnings, errors and refusals of the page's own policy.
        strangers: requests to other hosts; none of them got through.
    """

    page: Page
    url: str
    said: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def sign_in(self, token: str) -> None:
        """Give the token, and wait until there is something to do."""
        self.page.get_by_label("Access token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="New case").wait_for()

    def picture(self, view: Literal["scene", "slices"]) -> NDArray[np.int16]:
        """(height, width, 3) of one of the canvases, as it is seen."""
        # Two frames: what was asked for is drawn in the next one.
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => setTimeout(r, 60)))")
        shot = self.page.locator(f".view.{view} canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=np.int16)

    def keep(self, name: str) -> None:
        """Leave a screenshot for the documentation, where NEPHRA_PICTURES names a folder."""
        if folder := os.environ.get("NEPHRA_PICTURES"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@dataclass
class Case:
    """The case of these tests.

    Args:
        tab: in which it is looked at.
        service: that works on it.
        lines: what the line of progress said, one after the other.
        early: what was shown before it was done: `data-` members of the stage.
        states: of the steps then, by their class.
    """

    tab: Tab
    service: Service
    lines: list[str] = field(default_factory=list)
    early: dict[str, str] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)

    @property
    def ticket(self) -> str:
        """Its number."""
        return self.tab.page.url.rsplit("/", 1)[-1]


@contextmanager
def opened(
    browser: Browser,
    url: str,
    *,
    dark: bool = False,
    width: int = 1440,
    token: str = "",
    at: str = "",
) -> Iterator[Tab]:
    """A tab of its own, with nothing from any other.

    Args:
        browser: that it is in.
        url: the gateway's address.
        dark: what the system prefers.
        width: of the window, in CSS pixels.
        token: to be signed in already.
        at: the place in the page, `#/tickets`.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
    )
    context.set_default_timeout(PATIENCE_MS)
    if token:
        context.add_init_script(f"sessionStorage.setItem('nephra.token', '{token}')")
    tab = Tab(context.new_page(), url)

    def pass_on(route: Route) -> None:
        if urlsplit(route.request.url).netloc == urlsplit(url).netloc:
            route.continue_()
        else:
            tab.strangers.append(route.request.url)
            route.abort()

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            tab.said.append(message.text)

    context.route("**/*", pass_on)
    tab.page.on("console", hear)
    tab.page.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.page.goto(f"{url}/{at}")
    try:
        yield tab
    finally:
        context.close()


def colours(picture: NDArray[np.int16]) -> int:
    """How many different colours a picture has; an empty canvas has one."""
    return len(np.unique(picture.reshape(-1, 3), axis=0))


def changed(first: NDArray[np.int16], second: NDArray[np.int16]) -> int:
    """How many pixels differ by more than what smoothing of edges does."""
    return int((np.abs(first - second).max(axis=2) > 12).sum())
