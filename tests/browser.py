# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Chromium for the page's tests, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
]
SCHEMES = ("light", "dark")
LONGEST_MS = 120_000
"""Milliseconds that a test waits for what surely comes, on however busy a machine."""


def chromium() -> str | None:
    """The browser's path: of the variable CHROMIUM, or where Debian puts it."""
    named = os.environ.get("CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser")


def missing() -> str:
    """Why there is no browser to test with; empty if there is one."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the Python package playwright is not installed"
    return "" if chromium() else "no Chromium is installed (apt-get install chromium)"


@dataclass
class Watched:
    """A page with all that it said and asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


_RUNNING: list[Any] = []
"""The Chromium of this process: Playwright takes no second one beside it."""


@contextmanager
def browser() -> Iterator[Any]:
    """A Chromium with a profile of its own, closed at the end; the one that runs in this process already, where one does."""
    from playwright.sync_api import sync_playwright

    if _RUNNING:
        yield _RUNNING[0]
        return
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        _RUNNING.append(started)
        try:
            yield started
        finally:
            _RUNNING.clear()
            started.close()


@contextmanager
def opened(
    started: Any,
    path: Path,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: str = "light",
    fragment: str = "",
    ready: str = "html[data-ready]",
    **more: Any,
) -> Iterator[Watched]:
    """The page of a file in a context of its own, once there is an element *ready*."""
    context = started.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion="reduce",
        locale="en-GB",
        **more,
    )
    try:
        page = context.new_page()
        page.set_default_timeout(LONGEST_MS)
        watched = Watched(page)
        page.on("console", lambda message: watched.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: watched.said.append(f"error: {error}"))
        page.on("request", lambda request: watched.asked.append(request.url))
        page.on("dialog", lambda dialog: (watched.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(path.absolute().as_uri() + fragment)
        if more.get("java_script_enabled", True):
            page.wait_for_selector(ready, state="attached")
        yield watched
    finally:
        context.close()
