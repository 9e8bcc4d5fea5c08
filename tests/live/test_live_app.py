# SPDX-License-Identifier: GPL-2.0-or-later
"""The terminal view on screens of two sizes, compared with stored text, and its keys.

After a wanted change: ``KEVACUATE_WRITE_SCREENS=1 python -m pytest tests/live/test_live_app.py``, and look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual")

from live_tools import MadeUp, press, screen, watched

from kevacuate.errors import KevacuateError
from kevacuate.live.app import WatchApp

SCREENS = Path(__file__).parent / "screens"


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
def test_the_screen(size: tuple[int, int]) -> None:
    async def then(app: WatchApp, pilot: Any) -> None:
        lines = screen(app)
        stored = SCREENS / f"{size[0]}x{size[1]}.txt"
        if os.environ.get("KEVACUATE_WRITE_SCREENS"):
            stored.write_text("\n".join(lines) + "\n")
        assert lines == stored.read_text().splitlines()
        assert len(lines) == size[1]

    watched(size, then)


def test_hostile_names_are_text_on_the_screen() -> None:
    async def then(app: WatchApp, pilot: Any) -> None:
        whole = "\n".join(screen(app))
        assert "\\x1b[31mred" in whole
        for c in "\x1b\u202e\r\x07":
            assert c not in whole
        styles = {
            str(s.style) for strip in app.screen._compositor.render_strips() for s in strip if "red" in s.text
        }
        assert styles
        assert not any(" red" in f" {style}" for style in styles)

    watched((200, 60), then)


def test_the_keys() -> None:
    async def then(app: WatchApp, pilot: Any) -> None:
        first = screen(app)
        assert "PAUSED" in "\n".join(await press(app, pilot, "space"))
        app.tick()
        assert app.source.at == 0
        assert "PAUSED" not in "\n".join(await press(app, pilot, "space"))
        app.tick()
        assert app.source.at == 1
        assert "most pages first" in "\n".join(await press(app, pilot, "s"))
        assert "by block" in "\n".join(await press(app, pilot, "s"))
        assert "latest first" in "\n".join(await press(app, pilot, "s"))
        assert "1 block of 2 MiB" in "\n".join(first)
        await press(app, pilot, "plus", "minus")
        assert "the worst of 2 blocks" in "\n".join(screen(app))
        assert "the worst of 4 blocks" in "\n".join(await press(app, pilot, "minus"))
        await press(app, pilot, "plus", "plus")
        before = screen(app)
        assert await press(app, pilot, "down") == before, "everything fits: there is nowhere to go"

    watched((200, 60), then)


def test_the_map_scrolls_where_it_does_not_fit() -> None:
    async def then(app: WatchApp, pilot: Any) -> None:
        await press(app, pilot, "plus")
        before = screen(app)
        after = await press(app, pilot, "down")
        assert [line[:44] for line in after[2:5]] == [line[:44] for line in before[3:6]]
        assert await press(app, pilot, "up") == before

    watched((80, 24), then, MadeUp(5_000))


def test_a_playback_is_wound() -> None:
    async def then(app: WatchApp, pilot: Any) -> None:
        source = app.source
        assert source.at == 0
        await press(app, pilot, "right", "right", "right")
        assert source.at == 3
        await press(app, pilot, "left")
        assert source.at == 2
        assert "END" in "\n".join(await press(app, pilot, "end"))
        assert source.at == 9
        await press(app, pilot, "home")
        assert source.at == 0

    watched((80, 24), then)


def test_a_changed_size_is_used() -> None:
    async def then(app: WatchApp, pilot: Any) -> None:
        await pilot.resize_terminal(200, 60)
        expected = (SCREENS / "200x60.txt").read_text().splitlines()
        for _ in range(1000):
            if screen(app) == expected:
                break
            await pilot.pause()
        assert screen(app) == expected

    watched((80, 24), then)


def test_an_error_ends_it() -> None:
    class Broken(MadeUp):
        def poll(self) -> Any:
            raise KevacuateError("gone.")

    async def then(app: WatchApp, pilot: Any) -> None:
        assert str(app.error) == "gone."

    watched((80, 24), then, Broken())
