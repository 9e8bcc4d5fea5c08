# SPDX-License-Identifier: GPL-2.0-or-later
"""Sub-buffers, spools and work directories for the tests, and whether this machine can be recorded."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kevacuate.capture.spool import DONE, W_DONE, Words, segment_path
from kevacuate.capture.tracefs import find_tracefs
from kevacuate.kernel.pcp import pcp_order
from kevacuate.recording import EventKind, Recording
from kevacuate.recording.formats import EventFormat, parse_format
from kevacuate.recording.machine import Machine, ZoneInfo
from kevacuate.recording.schema import concat_chunks

LONGEST = 600.0
"""Seconds that a test waits for what surely comes, on however busy a machine."""
DRIFT = 125 * (os.cpu_count() or 1)
"""Pages by which a zone's count of free pages may be late: each CPU holds up to so many back (mm/vmstat.c)."""
TOUCHING = [
    EventKind.MM_PAGE_ALLOC,
    EventKind.MM_PAGE_FREE,
    EventKind.MM_PAGE_ALLOC_ZONE_LOCKED,
    EventKind.MM_PAGE_ALLOC_EXTFRAG,
    EventKind.MM_PAGE_PCPU_DRAIN,
]
"""The kinds of events that tell where a page was."""

PAGE = 4096
HEAD = """	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned long pfn;	offset:8;	size:8;	signed:0;
	field:unsigned int order;	offset:16;	size:4;	signed:0;
"""
FREE_TEXT = f'name: mm_page_free\nID: 266\nformat:\n{HEAD}\nprint fmt: "pfn=0x%lx", REC->pfn\n'
FORMATS: dict[int, EventFormat] = {266: parse_format(FREE_TEXT, "kmem")}


def unavailable() -> str:
    """Why the running machine cannot be recorded, '' if it can."""
    if os.geteuid() != 0:
        return "needs root"
    tracefs = find_tracefs()
    if tracefs is None:
        return "needs tracefs, mounted"
    if not (tracefs / "events/kmem/mm_page_alloc/format").is_file() or not Path("/proc/kpageflags").exists():
        return "needs a kernel with the page allocator's tracepoints and kpageflags"
    return ""


def free(pfn: int, delta: int = 0, pid: int = 7) -> bytes:
    """An mm_page_free event."""
    payload = struct.pack("<HBBiQIxxxx", 266, 0, 0, pid, pfn, 0)
    return struct.pack("<I", delta << 5 | len(payload) // 4) + payload


def sub_buffer(time: int, *events: bytes, missed: int = 0) -> bytes:
    """A sub-buffer, before which *missed* events were lost."""
    data = b"".join(events)
    flags, tail = (0xC0000000, struct.pack("<Q", missed)) if missed else (0, b"")
    return (struct.pack("<QQ", time, len(data) | flags) + data + tail).ljust(PAGE, b"\0")


class FakeSpool:
    """A spool that the test fills as the reader would."""

    def __init__(self, path: Path, cpus: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.cpus, self.sizes = path, cpus, [0] * cpus
        self.words = Words(path, cpus, create=True)

    def put(self, cpu: int, *pages: bytes, until: int = 0, segment_bytes: int = 8 << 20) -> None:
        """Append sub-buffers to a CPU's segments."""
        for page in pages:
            with segment_path(self.path, cpu, self.sizes[cpu] // segment_bytes).open("ab") as file:
                file.write(page)
            self.sizes[cpu] += len(page)
        self.words.set_spooled(cpu, self.sizes[cpu])
        if until:
            self.words.set_until(cpu, until)

    def done(self) -> None:
        """The reader has ended."""
        self.words[W_DONE] = DONE


def small_machine(cpus: int = 2) -> Machine:
    """4096 pages in one zone."""
    zone = ZoneInfo(0, 0, "Normal", 0, 4096, 4096, 4096, 10, 20, 30, 63, 100, 200)
    return Machine(
        kernel="6.1.0",
        arch="x86_64",
        cpus=cpus,
        nodes=(0,),
        zones=(zone,),
        zone_names=("Normal",),
        page_size=4096,
        pageblock_order=9,
        hugepage_order=9,
        nr_pcp_lists=14,
        clock="mono",
        gfp_bits={},
        events={"kmem/mm_page_free": FREE_TEXT},
        extra={"mode": "default", "cpu_node": [0] * cpus, "max_page_order": 10},
    )


ZONEINFO = """Node 0, zone   Normal
  pages free     1024
        boost    0
        min      10
        low      20
        high     30
        promo    40
        spanned  4096
        present  4096
        managed  4000
        protection: (0, 0, 0)
  pagesets
    cpu: 0
              count:    3
              high:     100
              batch:    63
              high_min: 90
              high_max: 200
  vm stats threshold: 24
    cpu: 1
              count:    0
              high:     100
              batch:    63
  node_unreclaimable:  0
  start_pfn:           0
"""
BUDDYINFO = (
    "Node 0, zone   Normal      0      0      0      0      0      0      0      0      0      0      1 \n"
)
PAGETYPEINFO = """Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2
Node    0, zone   Normal, type    Unmovable      0      0      0
Node    0, zone   Normal, type      Movable      0      0 >100000

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate
Node 0, zone   Normal            2            5            1            0            0
"""
TEXTS = {
    "zoneinfo": ZONEINFO,
    "buddyinfo": BUDDYINFO,
    "pagetypeinfo": PAGETYPEINFO,
    "vmstat": "pgalloc_normal 5\n",
}


def kevacuate(*arguments: str, **options: object) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    code = "from kevacuate.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that surely comes true."""
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def pages_moved(recording: Recording, begin: int, end: int) -> int:
    """Pages that went to or from the buddy or a per-CPU list between two times (ns)."""
    return sum(
        int((1 << chunk.order[(chunk.ts >= begin) & (chunk.ts <= end)].clip(0).astype(np.int64)).sum())
        for chunk in recording.events(kinds=TOUCHING)
    )


def agrees_with_first_events(recording: Recording) -> None:
    """Check the start state: pages that are allocated first are free, of those freed first none is on a per-CPU list."""
    start = recording.start
    assert start is not None
    listed, free = start.pcp_pages, start.free
    order = pcp_order(listed.pindex, recording.machine.hugepage_order)
    size = max(zone.start_pfn + zone.spanned for zone in start.zones) + (1 << 11)
    buddy, cached = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    for where, pfns, orders in ((buddy, free.pfn, free.order), (cached, listed.pfn, order)):
        for i in np.unique(orders).tolist():
            where[(pfns[orders == i][:, None] + np.arange(1 << i)).ravel()] = True
    events = concat_chunks(list(recording.events(kinds=TOUCHING, after=start)))
    pages = np.where(
        events.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG, np.maximum(events.a, events.order), events.order
    )
    seen = np.zeros(size, np.bool_)
    for kind, pfn, order_ in zip(events.kind.tolist(), events.pfn.tolist(), pages.tolist(), strict=True):
        if pfn < 0 or seen[pfn]:
            continue
        seen[pfn : pfn + (1 << order_)] = True
        if kind == EventKind.MM_PAGE_ALLOC and order_ <= 3:
            assert buddy[pfn] or cached[pfn], f"page {pfn:#x} is in use, and then allocated"
        if kind == EventKind.MM_PAGE_FREE:
            assert not cached[pfn], f"page {pfn:#x} is on a per-CPU list, and then freed"
