# SPDX-License-Identifier: GPL-2.0-or-later
"""A source of made-up views for the terminal view's tests, and its screen as lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from textual.pilot import Pilot

from kevacuate.live.app import WatchApp
from kevacuate.live.view import CONTENTS, Extfrag, Queued, View
from kevacuate.mm.constants import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE

HOSTILE = "\x1b[31mred\x1b[0m\u202egnp[/b]\r\n\x07-1"
BLOCKS = 512


class MadeUp:
    """Views that follow from their number alone."""

    playback = True

    def __init__(self, blocks: int = BLOCKS) -> None:
        self.blocks = blocks
        self.at = -1
        self.closed = False

    def poll(self) -> View:
        self.at = min(self.at + 1, 9)
        content = np.random.default_rng(1).integers(0, CONTENTS.index("in use"), self.blocks).astype(np.uint8)
        content[: 40 + self.at] = CONTENTS.index("free")
        content[-8:] = CONTENTS.index("reserved")
        events = [
            Extfrag(0.5, 0, "", 70_000, MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, 0, 0, False),
            Extfrag(0.75, 1, "kworker/0:1-17", 51_300, MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, 0, 4, True),
            Extfrag(0.875, 1, HOSTILE, 103_000, MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE, 2, 9, True),
        ]
        queued = [
            Queued(0.75, 100, 143, 301, MIGRATE_UNMOVABLE),
            Queued(0.80, 7, 12, 480, MIGRATE_RECLAIMABLE),
            Queued(0.85, 300, -1, -1, MIGRATE_UNMOVABLE),
        ]
        return View(
            title=f"made up {HOSTILE}",
            subtitle="map renewed every 5 s",
            t=1.0 + self.at,
            start=np.arange(self.blocks, dtype=np.int64),
            content=content,
            free_orders=[
                ("0 DMA32", [3, 5, 0, 2, 0, 1, 0, 0, 0, 1, 40]),
                ("0 Normal", [10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8]),
            ],
            events=events,
            queued=queued,
            counts={
                "claims": 2,
                "claims_whole_block": 0,
                "steals": 1,
                "lost_events": 0,
                "lost_events_at_least": False,
                "pages_to_move": 155,
            },
            pageblock_order=9,
            ended=self.at == 9,
        )

    def seek(self, moments: int) -> None:
        self.at = min(max(self.at + moments, -1), 8)

    def close(self) -> None:
        self.closed = True


def screen(app: WatchApp) -> list[str]:
    """The screen's lines as text."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


Then = Callable[[WatchApp, "Pilot[Any]"], Awaitable[None]]


def watched(size: tuple[int, int], then: Then, source: Any = None, interval: float = 1e6) -> None:
    """Run the application without a terminal, wait for its first view, and do *then*."""

    async def run() -> None:
        app = WatchApp(source or MadeUp(), interval)
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot)
            await then(app, pilot)

    with ThreadPoolExecutor(1) as apart:  # a browser's test may have left this thread an event loop that runs
        apart.submit(lambda: asyncio.run(run())).result()


async def settle(app: WatchApp, pilot: Pilot[Any]) -> None:
    """Wait until what was asked for is drawn."""
    for _ in range(3):
        await pilot.pause()


async def press(app: WatchApp, pilot: Pilot[Any], *keys: str) -> list[str]:
    """Press keys; the screen then."""
    await pilot.press(*keys)
    await settle(app, pilot)
    return screen(app)
