# SPDX-License-Identifier: GPL-2.0-or-later
"""What an importer gives: the events of a foreign file as a stream, and what the file says about the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kevacuate.recording.formats import EventFormat, gfp_bits, zone_names
from kevacuate.recording.machine import Machine
from kevacuate.recording.ringbuf import CpuLosses
from kevacuate.recording.schema import EVENT_SPECS, EventChunk

ROWS_HELD = 1 << 19
"""Most rows that the CPUs' decoders hold together."""

BLOCK_BYTES = 1 << 26
"""Most bytes of undecoded data that the CPUs' decoders hold together."""

MAX_CPUS = 8192
"""More CPUs than any kernel can be configured for are not believed."""

CLOCKS_NOT_NS = frozenset({"counter", "uptime", "x86-tsc", "ppc-tb"})
"""Trace clocks that do not count nanoseconds (kernel/trace/trace.c, trace_clocks)."""


@dataclass(frozen=True)
class ImportOptions:
    """What the user may say about a file."""

    formats: Path | None = None
    """Directory with ``SYSTEM/EVENT`` format files of the recorded kernel."""
    buffer: str | None = None
    """Name of the buffer instance to take, where a file holds several."""


class Source(Protocol):
    """A foreign file, opened."""

    form: str
    """What it is, as ``trace.dat version 7``."""
    total: int
    """Bytes of events there are to read (of the file, if it is text)."""

    @property
    def done(self) -> int:
        """Bytes of them read so far."""

    def events(self) -> Iterator[EventChunk]:
        """All events, sorted by time. Raises KevacuateError where the file is truncated or corrupted."""

    def machine(self) -> Machine:
        """The machine, complete once the events have been read."""

    def losses(self) -> Sequence[CpuLosses]:
        """What each CPU lost, complete once the events have been read."""

    def facts(self) -> dict[str, Any]:
        """What else is known: JSON values for ``quality.json``."""


def kept_formats(formats: dict[int, EventFormat]) -> dict[str, str]:
    """``system/event`` to format file, of the events that a recording keeps."""
    return {f"{e.system}/{e.name}": e.text for e in formats.values() if e.name in EVENT_SPECS}


def machine_of(
    formats: dict[int, EventFormat],
    *,
    kernel: str = "",
    arch: str = "",
    cpus: int = 0,
    clock: str = "",
    pageblock_order: int = 0,
    zones: tuple[str, ...] = (),
    **extra: Any,
) -> Machine:
    """A machine of which only this is known: no zones, and where nothing is said the orders of x86-64."""
    alloc = next((e for e in formats.values() if e.name == "mm_page_alloc"), None)
    names = {e.name for e in formats.values()}
    assumed = ["page_size", *([] if pageblock_order else ["pageblock_order"]), "hugepage_order"]
    return Machine(
        kernel=kernel,
        arch=arch,
        cpus=cpus,
        nodes=(0,),
        zones=(),
        zone_names=zone_names(formats) or zones,
        page_size=4096,
        pageblock_order=pageblock_order or 9,
        hugepage_order=9,
        nr_pcp_lists=0,
        clock=clock,
        gfp_bits=gfp_bits(alloc) if alloc else {},
        events=kept_formats(formats),
        hooks="gt_dump" in names,
        extra={"assumed": assumed, **extra},
    )
