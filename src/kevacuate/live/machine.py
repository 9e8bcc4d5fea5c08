# SPDX-License-Identifier: GPL-2.0-or-later
"""The running machine, moment by moment."""

from __future__ import annotations

import platform
import time
from collections import Counter, deque
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.live.flags import FlagSweep
from kevacuate.live.stallfeed import StallFeed
from kevacuate.live.tap import ExtfragTap
from kevacuate.live.view import SO_FAR, Extfrag, Queued, View
from kevacuate.measure.holders import HeldBlocks
from kevacuate.recording import Lost, procfs
from kevacuate.recording.snapshot import ZoneCounts, snapshot_from_texts

PROC = Path("/proc")
EVENTS_KEPT = 500
FIRST_SHARE = 0.02
"""Share of one core that reading page flags may take until all blocks were read once, and ..."""
SHARE = 0.007
"""... from then on."""


def _text(name: str) -> str:
    """A file of /proc.

    Raises
    ------
    KevacuateError
        It cannot be read.
    """
    try:
        return (PROC / name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise KevacuateError(f"{PROC / name} cannot be read ({error.strerror}): run as root.") from None


def machine_blocks(zoneinfo: str, pageblock_order: int) -> npt.NDArray[np.int64]:
    """Numbers of the pageblocks that the zones span, ascending."""
    zones, _ = procfs.parse_zoneinfo(zoneinfo)
    spans = [
        np.arange(zone.start_pfn >> pageblock_order, -(-(zone.start_pfn + zone.spanned) >> pageblock_order))
        for zone in zones
        if zone.name != "Device"
    ]
    return np.unique(np.concatenate([np.empty(0, np.int64), *spans]))


class LiveSource:
    """Views of the running kernel; needs root.

    Parameters
    ----------
    interval : float
        Seconds between two views: how much of the page flags one renews depends on it.
    stalls : StallFeed, optional
        Given the events of stalls, which are recorded only for it.

    Raises
    ------
    KevacuateError
        Page flags or events cannot be had.
    """

    playback = False

    def __init__(self, interval: float, stalls: StallFeed | None = None) -> None:
        self.interval = interval
        self.order = procfs.pageblock_order(_text("pagetypeinfo"))
        self.began = time.clock_gettime(time.CLOCK_MONOTONIC)
        self.stalls = stalls
        self.flags = FlagSweep(machine_blocks(_text("zoneinfo"), self.order), self.order)
        try:
            self.tap = ExtfragTap(self.began, stalls.add if stalls else None)
        except BaseException:
            self.flags.close()
            raise
        self.zones: tuple[ZoneCounts, ...] = ()
        """The zones' counts as of the last whole sweep: how many blocks there are takes the kernel a while to count."""
        self.held: HeldBlocks | None = None
        """Which blocks are held, as of the last whole sweep, too."""
        self._swept = 0
        self.events: deque[Extfrag] = deque(maxlen=EVENTS_KEPT)
        self.by_types: Counter[tuple[int, int, int]] = Counter()
        """Events so far by kind (:data:`kevacuate.kernel.extfrag.KIND_NAMES`), type asked for and type taken from."""
        self.queued: list[Queued] = []
        self.counts = dict.fromkeys((*SO_FAR, "pages_to_move"), 0) | Lost().to_json()

    def _take(self, event: Extfrag) -> None:
        """Count an event; if the evacuation would have queued its block, look what is in that now."""
        self.events.append(event)
        self.by_types[event.kind(self.order), event.wanted, event.source] += 1
        self.counts[SO_FAR[event.kind(self.order)]] += 1
        if not event.queues(self.order):
            return
        free, lru, _ = self.flags.look(event.pfn >> self.order) or (-1, -1, -1)
        self.queued.append(Queued(event.t, event.pfn >> self.order, lru, free, event.wanted))
        self.counts["pages_to_move"] += max(lru, 0)

    def read_all(self) -> None:
        """Read the flags of all pages, however long it takes."""
        self.flags.sweep(float("inf"))

    def listen(self, batches: int = 1) -> None:
        """Take the events that have come, up to so many batches of them (:data:`kevacuate.live.tap.MOST_LINES`)."""
        for _ in range(batches):
            for event in self.tap.poll():
                self._take(event)
            if not self.tap.more:
                break
        self.counts |= self.tap.lost.to_json()

    def poll(self) -> View:
        """What is new."""
        self.listen()
        self.flags.sweep(self.interval * (SHARE if self.flags.sweeps else FIRST_SHARE))
        if self.flags.sweeps != self._swept:
            texts = {name: _text(name) for name in ("zoneinfo", "pagetypeinfo")}
            self.zones, self._swept = snapshot_from_texts(texts, 0, "now").zones, self.flags.sweeps
            self.held = self.flags.held(self.zones)
        cached = sum(pcp.count for zone in self.zones for pcp in zone.pcp)
        free = procfs.parse_buddyinfo(_text("buddyinfo"))
        age = (
            f"map renewed every {self.flags.seconds:.0f} s" if self.flags.sweeps else "reading the page flags"
        )
        return View(
            title=f"{platform.node()}, Linux {platform.release()}",
            subtitle=age,
            t=time.clock_gettime(time.CLOCK_MONOTONIC) - self.began,
            start=self.flags.blocks,
            content=self.flags.shown(self.zones),
            free_orders=[(f"{node} {zone}", list(chunks)) for (node, zone), chunks in free.items()],
            events=list(self.events),
            queued=self.queued,
            counts=self.counts,
            pageblock_order=self.order,
            mixed=self.flags.mixed(cached) if self.flags.sweeps else None,
            held=self.held,
            waits=self.stalls.to_json() if self.stalls else None,
        )

    def seek(self, moments: int) -> None:
        """Nothing: time goes its way."""

    def close(self) -> None:
        """Remove the tracing instance, close the files."""
        self.flags.close()
        self.tap.close()
