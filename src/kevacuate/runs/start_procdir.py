# SPDX-License-Identifier: GPL-2.0-or-later
"""A start state as a folder of copies of /proc files, and back: what fragview reads with ``-proc-root``.

Read are ``kpageflags`` (plain or compressed) and ``zoneinfo``, and if they are there ``pagetypeinfo``, ``buddyinfo``, ``vmstat``,
``meminfo`` and ``version``: what anybody can copy from a running kernel. Written are the same, and ``iomem``.

The form carries what every page is, the size of free chunks, marks, the per-CPU lists' tuning and counts, and how many pageblocks
there are of each type. It carries neither which pageblock is of which type nor which pages are on per-CPU lists (they look like
the kernel's own), nor skip bits, the order of lists, compaction's positions and sysctls.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import tails_as_heads
from kevacuate.measure.startfile import LABEL, StartState
from kevacuate.recording import AllocatorState, Machine, ZoneState, atomic_write, procfs
from kevacuate.recording.blocktypes import TYPE_INDEX
from kevacuate.recording.formats import read_text
from kevacuate.recording.opener import open_any
from kevacuate.recording.possible import MOST_PAGES
from kevacuate.recording.snapshot import Snapshot, snapshot_from_texts
from kevacuate.recording.startstate import PageSnapshot, StateFacts, build_state
from kevacuate.recording.state import BUSY, PINNED, UNCLEAR

SUFFIX = ".proc"
TEXTS = ("zoneinfo", "buddyinfo", "pagetypeinfo", "vmstat", "meminfo", "version")
_RELEASE = re.compile(r"^Linux version (\S+)")
_STEP = 1 << 24
BEYOND = 1 << 18
"""Pages that a zone may span beyond the end of kpageflags: a GiB, which a hole at its end may be, and no more than it has."""
KERNEL_BITS = 48
"""Bits of a page's flags that a kernel may set: those above it never has (include/uapi/linux/kernel-page-flags.h)."""
MOST_CPUS = 1024
"""CPUs that the model takes."""
SHOWN = ~(PINNED | BUSY | UNCLEAR)
"""The bits of page flags that a kernel has."""
_PCP_FIELDS = ("count", "high", "batch", "high_min", "high_max")


def is_procdir(path: Path) -> bool:
    """Whether a directory holds copies of /proc/kpageflags and /proc/zoneinfo."""
    return (path / "zoneinfo").is_file() and _page_file(path) is not None


def _page_file(path: Path) -> Path | None:
    """The copy of kpageflags in a directory."""
    names = ("kpageflags", "kpageflags.gz", "kpageflags.xz", "kpageflags.zst")
    return next((file for name in names if (file := path / name).is_file()), None)


def _words(file: Path) -> npt.NDArray[np.uint64]:
    """The flags of every page."""
    stream, _ = open_any(file)
    parts, size = [], 0
    with closing(stream):
        while data := stream.read(_STEP):
            size += len(data)
            if size > 8 * MOST_PAGES:
                raise KevacuateError(f"{file} is no copy of /proc/kpageflags: it is larger than any can be.")
            parts.append(data)
    if size % 8 or not size:
        raise KevacuateError(f"{file} is truncated: {size} bytes are not a whole number of 8-byte words.")
    words = np.frombuffer(b"".join(parts), "<u8").astype(np.uint64)
    if (words >> np.uint64(KERNEL_BITS)).any():
        raise KevacuateError(f"{file} is no copy of /proc/kpageflags: it has flags that no kernel has.")
    return words


def read_procdir(path: Path) -> StartState:
    """The start state that copies of /proc files show.

    Raises
    ------
    KevacuateError
        A file is missing, truncated, or not what the kernel prints.
    """
    file = _page_file(path)
    if file is None:
        raise KevacuateError(f"{path} holds no copy of /proc/kpageflags.")
    texts = {name: read_text(path / name, 1 << 26) for name in TEXTS if (path / name).is_file()}
    snapshot = snapshot_from_texts(texts, 0, LABEL)
    machine = _machine(path, texts, snapshot)
    flags = tails_as_heads(_words(file))
    top = max(zone.start_pfn + zone.spanned for zone in machine.zones)
    short = any(zone.present > max(len(flags) - zone.start_pfn, 0) for zone in snapshot.zones)
    if short or top > len(flags) + min(BEYOND, len(flags)):
        raise KevacuateError(
            f"{file} is truncated: it has {len(flags):,} pages, and zoneinfo has zones up to pfn {top:,}."
        )
    pages = PageSnapshot(flags, None, 0, 0, max(len(flags), 1), np.zeros(1, np.int64))
    facts = StateFacts(machine.pageblock_order, machine.hugepage_order, machine.nr_pcp_lists)
    state = build_state(snapshot, pages, facts)
    return StartState(machine, state, ({"step": "imported", "from": path.name, "form": "proc"},))


def _machine(path: Path, texts: dict[str, str], snapshot: Snapshot) -> Machine:
    """The machine that the texts describe.

    Raises
    ------
    KevacuateError
        /proc/zoneinfo is cut off.
    """
    zones, names = procfs.parse_zoneinfo(texts.get("zoneinfo", ""))
    if not zones or not all(zone.pcp for zone in snapshot.zones):
        raise KevacuateError(
            f"{path / 'zoneinfo'} shows no zone with pages and per-CPU lists: copy /proc/zoneinfo whole."
        )
    for zone in snapshot.zones:
        if not zone.free <= zone.managed <= zone.present <= zone.spanned:
            raise KevacuateError(
                f"{path / 'zoneinfo'} is corrupted: node {zone.node} {zone.name} has {zone.free:,} pages free, {zone.managed:,} "
                f"managed, {zone.present:,} present and {zone.spanned:,} spanned."
            )
    lacking = {f"node {node} {name}" for node, name in procfs.parse_buddyinfo(texts.get("buddyinfo", ""))}
    lacking -= {f"node {zone.node} {zone.name}" for zone in zones}
    if lacking:
        raise KevacuateError(
            f"{path / 'zoneinfo'} is truncated: it lacks {min(lacking)}, which buddyinfo has."
        )
    cpus = 1 + max(own.cpu for zone in snapshot.zones for own in zone.pcp)
    if cpus > MOST_CPUS:
        raise KevacuateError(
            f"{path / 'zoneinfo'} names CPU {cpus - 1:,}, and the model takes {MOST_CPUS:,} CPUs."
        )
    meminfo = texts.get("meminfo", "")
    release, huge = _RELEASE.search(texts.get("version", "")), procfs.hugepage_order(meminfo)
    return Machine(
        kernel=release[1] if release else "",
        arch="x86_64",
        cpus=cpus,
        nodes=tuple(sorted({zone.node for zone in zones})),
        zones=zones,
        zone_names=names,
        page_size=4096,
        pageblock_order=procfs.pageblock_order(texts.get("pagetypeinfo", "")),
        hugepage_order=huge,
        nr_pcp_lists=14 if huge > 0 else 12,
        clock="mono",
        gfp_bits={},
        swap=procfs.has_swap(meminfo),
    )


def _chunks(state: AllocatorState, zone: ZoneState, orders: int) -> dict[str, list[int]]:
    """Free chunks of a zone by type's name and order."""
    free = state.free
    return {
        name: np.bincount(free.order[(free.zone == zone.index) & (free.mt == mt)], minlength=orders).tolist()
        for name, mt in TYPE_INDEX.items()
    }


def _row(values: list[int], width: int = 6) -> str:
    return " ".join(f"{value:>{width}}" for value in values)


def _buddyinfo(start: StartState, nodes: dict[int, int], orders: int) -> Iterator[str]:
    for zone in start.state.zones:
        chunks = np.sum(list(_chunks(start.state, zone, orders).values()), axis=0).tolist()
        yield f"Node {nodes[zone.start_pfn]}, zone {zone.name:>8} {_row(chunks)}"


def _pagetypeinfo(start: StartState, nodes: dict[int, int], orders: int) -> Iterator[str]:
    order = start.machine.pageblock_order
    yield f"Page block order: {order}\nPages per block:  {1 << order}\n"
    yield f"Free pages count per migrate type at order {_row(list(range(orders)))}"
    for zone in start.state.zones:
        for name, chunks in _chunks(start.state, zone, orders).items():
            yield f"Node {nodes[zone.start_pfn]:>4}, zone {zone.name:>8}, type {name:>12} {_row(chunks)}"
    yield f"\nNumber of blocks type {' '.join(f'{name:>12}' for name in TYPE_INDEX)}"
    for zone in start.state.zones:
        mt = start.state.blocks.mt[start.state.blocks.zone == zone.index]
        counts = [int((mt == number).sum()) for number in TYPE_INDEX.values()]
        yield f"Node {nodes[zone.start_pfn]}, zone {zone.name:>8} {_row(counts, 12)}"


def _zoneinfo(start: StartState, nodes: dict[int, int]) -> Iterator[str]:
    pcp = start.state.pcp
    for zone in start.state.zones:
        marks = dict(
            zip(("min", "low", "high", "promo"), (m + zone.boost for m in zone.watermark), strict=False)
        )
        sizes = {"spanned": zone.spanned, "present": zone.present, "managed": zone.managed}
        yield f"Node {nodes[zone.start_pfn]}, zone {zone.name:>8}"
        yield f"  pages free     {zone.nr_free}"
        yield from (
            f"        {name:<8} {value}" for name, value in {"boost": zone.boost, **marks, **sizes}.items()
        )
        yield f"        protection: ({', '.join(str(pages) for pages in zone.lowmem_reserve)})"
        yield "  pagesets"
        for row in np.flatnonzero(pcp.zone == zone.index).tolist():
            yield f"    cpu: {pcp.cpu[row]}"
            yield from (f"              {name}: {getattr(pcp, name)[row]}" for name in _PCP_FIELDS)
        yield f"  start_pfn:           {zone.start_pfn}"


def _texts(start: StartState) -> Iterator[tuple[str, Iterator[str] | list[str]]]:
    """(file, its lines)."""
    machine, state = start.machine, start.state
    nodes = {zone.start_pfn: zone.node for zone in machine.zones}
    orders = int(machine.extra.get("max_page_order", max(10, machine.pageblock_order))) + 1
    managed = sum(zone.managed for zone in state.zones)
    yield "zoneinfo", _zoneinfo(start, nodes)
    yield "buddyinfo", _buddyinfo(start, nodes, orders)
    yield "pagetypeinfo", _pagetypeinfo(start, nodes, orders)
    yield "vmstat", [f"nr_free_pages {sum(zone.nr_free for zone in state.zones)}"]
    huge = [f"Hugepagesize: {4 << machine.hugepage_order} kB"] if machine.hugepage_order > 0 else []
    yield "meminfo", [f"MemTotal: {managed * 4} kB", f"SwapTotal: {int(machine.swap)} kB", *huge]
    yield "version", [f"Linux version {machine.kernel}"]
    spans = [(zone.start_pfn << 12, (zone.start_pfn + zone.spanned << 12) - 1) for zone in state.zones]
    yield "iomem", [f"{first:08x}-{last:08x} : System RAM" for first, last in spans]


def write_procdir(start: StartState, target: Path) -> Path:
    """Write the folder; where it lies.

    Raises
    ------
    KevacuateError
        The state has no page flags, or the folder cannot be written.
    """
    flags = start.state.page_flags
    if flags is None:
        raise KevacuateError("The start state has no page flags, and copies of /proc files need them.")
    own = atomic_write.beside(target)
    try:
        atomic_write.claim(target, own, directory=True)
        for name, lines in _texts(start):
            (own / name).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        (own / "kpageflags").write_bytes((flags & SHOWN).astype("<u8").tobytes())
        return atomic_write.put(own, target)
    except OSError as error:
        raise atomic_write.not_written(target, error) from None
    finally:
        atomic_write.release(own)
        shutil.rmtree(own, ignore_errors=True)
