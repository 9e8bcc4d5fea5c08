# SPDX-License-Identifier: GPL-2.0-or-later
"""What an importer gives: the events of a foreign file as a stream, and what the file says about the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kevacuate.errors import KevacuateError
from kevacuate.recording.fieldtable import Decoding
from kevacuate.recording.formats import EventFormat, kernel_gfp_bits, zone_names
from kevacuate.recording.machine import Machine
from kevacuate.recording.printfmt import pageblock_order as constant_pageblock_order
from kevacuate.recording.ringbuf import CpuLosses, RawReader, unread_by_name
from kevacuate.recording.schema import EventChunk, event_spec

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
    kernel: str | None = None
    """Release of the recorded kernel, as ``uname -r`` prints it, where the file does not name it."""


PAGE_SIZES = frozenset(1 << bits for bits in range(12, 19))
"""Bytes of a page that a kernel can be configured for."""


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

    def tasks(self) -> dict[str, str]:
        """Process id to name, as far as the file has names."""

    def facts(self) -> dict[str, Any]:
        """What else is known: JSON values for ``quality.json``."""


def kept_formats(formats: dict[int, EventFormat]) -> dict[str, str]:
    """``system/event`` to format file, of the events that a recording keeps."""
    return {f"{e.system}/{e.name}": e.text for e in formats.values() if event_spec(e.name)}


def not_read(readers: Sequence[RawReader], formats: dict[int, EventFormat]) -> dict[str, Any]:
    """What decoders could not read, {} if they read all.

    ``events_not_read`` is event name (NO_FORMAT without one) to how many of them, ``names_not_known`` names that Linux
    7.2 has no number for.
    """
    counts = sum((reader.unreadable for reader in readers), Counter[int]())
    names = {name for reader in readers for name in reader.table.numbers.unknown}
    unread = unread_by_name(counts, sum(reader.unknown for reader in readers), formats)
    return ({"events_not_read": unread} if unread else {}) | (
        {"names_not_known": sorted(names)} if names else {}
    )


def refuse_unread(path: Path, readers: Sequence[RawReader], decoding: Decoding) -> None:
    """Raise, saying why, if there were events of a recording's kinds that could not be read."""
    for reader in readers:
        for event in sorted(reader.unreadable):
            raise KevacuateError(f"{path} cannot be read. {decoding.unreadable[event]}")


def machine_of(
    formats: dict[int, EventFormat],
    *,
    kernel: str = "",
    arch: str = "",
    cpus: int = 0,
    clock: str = "",
    pageblock_order: int = 0,
    page_size: int = 0,
    zones: tuple[str, ...] = (),
    **extra: Any,
) -> Machine:
    """A machine of which only this is known: no zones, and where nothing is said the page and orders of x86-64."""
    names = {e.name: e for e in formats.values()}
    if not pageblock_order and "mm_page_alloc_extfrag" in names:
        pageblock_order = constant_pageblock_order(names["mm_page_alloc_extfrag"].text) or 0
    known = {"page_size": page_size, "pageblock_order": pageblock_order, "hugepage_order": 0}
    assumed = [name for name, value in known.items() if not value]
    return Machine(
        kernel=kernel,
        arch=arch,
        cpus=cpus,
        nodes=(0,),
        zones=(),
        zone_names=zone_names(formats) or zones,
        page_size=page_size or 4096,
        pageblock_order=pageblock_order or 9,
        hugepage_order=9,
        nr_pcp_lists=0,
        clock=clock,
        gfp_bits=kernel_gfp_bits(formats.values()),
        events=kept_formats(formats),
        hooks="gt_dump" in names,
        extra={"assumed": assumed, **extra},
    )
