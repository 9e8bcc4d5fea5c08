# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories of raw traces as a kernel with the recording hooks left them: ``trace/cpuN.raw[.xz]``,
``formats/SYSTEM/EVENT``, ``snap-K-NAME/`` and a few text files.

What was found about their dumps. Of one dump, header to end, no other event of its own CPU ever comes between
(each zone is dumped with interrupts off). Events of other CPUs do, in the dumps under load of machines with
two CPUs (tags 2, 3 and 4: up to 370 events in 190 ms), never in the dumps at boot and at the start of the
workload (tags b and 0), where the other CPU is idle. The clock stands at 0 through early boot, so the boot
dump and the first thousands of events share one time stamp; only their position orders them, and two events
come before the boot dump. So a state's time is that of its dump's last event, and a replay from it takes what
follows that event in the merged stream, not what is later than its time.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.hooks import DumpKind
from kevacuate.recording import procfs
from kevacuate.recording.fieldtable import decoding
from kevacuate.recording.formats import gfp_bits, load_formats, read_text, zone_names
from kevacuate.recording.machine import Machine
from kevacuate.recording.merge import merge_chunks
from kevacuate.recording.quality import QualityCounter
from kevacuate.recording.ringbuf import (
    PAGE_BYTES,
    CpuLosses,
    RawReader,
    cpu_losses,
    read_blocks,
    sub_buffer_bytes,
    unread_by_name,
)
from kevacuate.recording.schema import ALL_KINDS, EventChunk, EventKind, concat_chunks
from kevacuate.recording.settings import LRU_GEN
from kevacuate.recording.snapshot import Snapshot
from kevacuate.recording.state import AllocatorState, state_from_dump

_RAW = re.compile(r"^cpu(\d{1,5})\.raw(\.xz)?$")
_SNAP = re.compile(r"^snap-(\w)-(\w+)$")
_RELEASE = re.compile(r"Linux version (\S+)")
_BROUGHT_UP = re.compile(r"\.{4} node +#(\d{1,4}), CPUs:((?: +#\d{1,5})+)")
_ENABLED = re.compile(r"0x[0-9a-f]{1,4}")
_CLOCK = re.compile(r"(?:^|[\s,])trace_clock=(\S+)")
PAGE_WORDS = ("kpageflags", "kpagecount")
"""The files of a snapshot that describe every page."""


def is_ground_truth(path: Path) -> bool:
    """Whether the directory looks like one of these: a trace with raw files, and formats."""
    trace = path / "trace"
    return trace.is_dir() and any(_RAW.match(p.name) for p in trace.iterdir())


class GroundTruth:
    """One such directory, read as it lies there.

    Parameters
    ----------
    path : Path
        The directory.

    Raises
    ------
    KevacuateError
        If it has no raw files or no formats.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.raw = self._raw_files()
        self.formats = load_formats(path / "formats")
        self.page_bytes = self._page_bytes()

    def _raw_files(self) -> dict[int, Path]:
        files: dict[int, Path] = {}
        for file in sorted((self.path / "trace").iterdir()):
            match = _RAW.match(file.name)
            if match and (int(match[1]) not in files or not match[2]):
                files[int(match[1])] = file
        if not files:
            raise KevacuateError(f"{self.path / 'trace'} holds no cpuN.raw file: nothing was recorded there.")
        return dict(sorted(files.items()))

    def _page_bytes(self) -> int:
        file = self.path / "trace" / "header_page"
        if not file.is_file():
            return PAGE_BYTES
        return sub_buffer_bytes(read_text(file), str(file))

    def _text(self, *names: str) -> str:
        """The first of these files that exists, or ''."""
        for name in names:
            file = self.path / name
            if file.is_file():
                return read_text(file, 1 << 24)
        return ""

    @cached_property
    def snapshots(self) -> dict[str, Path]:
        """Tag to snapshot directory."""
        found = {}
        for directory in sorted(self.path.iterdir()):
            match = _SNAP.match(directory.name)
            if match and directory.is_dir():
                found[match[1]] = directory
        return found

    @cached_property
    def zone_names(self) -> tuple[str, ...]:
        """The kernel's zone names by index, from a snapshot's zoneinfo or a format that lists them."""
        snap = next((f"{d.name}/" for d in self.snapshots.values()), "")
        return procfs.parse_zoneinfo(self._text(snap + "zoneinfo"))[1] or zone_names(self.formats)

    @cached_property
    def machine(self) -> Machine:
        """The machine, from the formats, the first snapshot and the command line."""
        snap = next((f"{d.name}/" for d in self.snapshots.values()), "")
        zones, _ = procfs.parse_zoneinfo(self._text(snap + "zoneinfo"))
        by_name = {e.name: e for e in self.formats.values()}
        release = _RELEASE.search(self._text("version", "dmesg"))
        meminfo, cmdline = self._text(snap + "meminfo"), self._text("cmdline").strip()
        alloc = by_name.get("mm_page_alloc")
        hooks = "gt_dump" in by_name
        return Machine(
            kernel=release[1] if release else "",
            arch="x86_64",
            cpus=len(self.raw),
            nodes=tuple(sorted({z.node for z in zones})) or (0,),
            zones=zones,
            zone_names=self.zone_names,
            page_size=4096,
            pageblock_order=procfs.pageblock_order(self._text(snap + "pagetypeinfo")),
            hugepage_order=procfs.hugepage_order(meminfo),
            nr_pcp_lists=self._pcp_lists() if hooks else 0,
            clock=self._clock(cmdline),
            gfp_bits=gfp_bits(alloc) if alloc else {},
            events={f"{e.system}/{e.name}": e.text for e in self.formats.values()},
            cmdline=cmdline,
            swap=procfs.has_swap(meminfo),
            hooks=hooks,
            extra=self._cpu_nodes(len({z.node for z in zones})) | self._lru_gen(snap),
        )

    def _lru_gen(self, snap: str) -> dict[str, Any]:
        """``settings`` with what /sys/kernel/mm/lru_gen/enabled said at the first snapshot; {} where it was not kept."""
        said = self._text(snap + "lru_gen_enabled").strip()
        return {"settings": {LRU_GEN: int(said, 16)}} if _ENABLED.fullmatch(said) else {}

    def _cpu_nodes(self, nodes: int) -> dict[str, Any]:
        """``cpu_node`` of a machine with several nodes: the kernel says at boot of which node the CPUs are that it brings up.

        The first CPU, which is up already, is node 0's.
        """
        if nodes < 2:
            return {}
        of = [0] * len(self.raw)
        for node, cpus in _BROUGHT_UP.findall(self._text("dmesg")):
            for cpu in map(int, re.findall(r"#(\d+)", cpus)):
                if cpu < len(of):
                    of[cpu] = int(node)
        return {"cpu_node": of}

    def _clock(self, cmdline: str) -> str:
        """The clock: the command line's, which trace_clock does not show, else trace_clock's."""
        match = _CLOCK.search(cmdline)
        if match:
            return match[1]
        chosen = re.search(r"\[(\w[\w-]*)\]", self._text("trace/trace_clock"))
        return chosen[1] if chosen else "local"

    def _pcp_lists(self) -> int:
        state = next((s for s in self.dumps() if s.pcp_ready), None)
        return int(state.pcp.nr_lists.max()) if state is not None else 0

    def readers(self, kinds: frozenset[int]) -> list[RawReader]:
        """One reader per CPU."""
        table = decoding(self.formats, kinds)
        return [RawReader(file, cpu, table, self.page_bytes) for cpu, file in self.raw.items()]

    def events(
        self, kinds: frozenset[int] = ALL_KINDS, chunk_rows: int = 1 << 17, since: int = -1
    ) -> Iterator[EventChunk]:
        """The events of all CPUs, merged, in chunks of about *chunk_rows* (*since* is of no use here)."""
        yield from merge_chunks([reader.chunks(chunk_rows) for reader in self.readers(kinds)])

    def dumps(self) -> Iterator[AllocatorState]:
        """The states of all dumps in order of time, without page flags; one cut off is left out.

        A dump goes from its first header to its end; what follows the end of its kind, such as the LRU lists, is passed over.
        """
        ordinal = 0
        names = self.zone_names
        kinds = ALL_KINDS if len(self.raw) > 1 else frozenset({int(EventKind.GT_DUMP)})
        held: list[EventChunk] = []
        for chunk in self.events(kinds):
            marks = np.flatnonzero(_of_state(chunk))
            headers = marks[chunk.a[marks] == DumpKind.HEADER]
            begin = 0 if held else _first(headers, -1, chunk.rows)
            for end in marks[chunk.a[marks] == DumpKind.END].tolist():
                held.append(chunk.take(slice(begin, end + 1)))
                yield _state(concat_chunks(held), ordinal, names)
                ordinal, held = ordinal + 1, []
                begin = _first(headers, end, chunk.rows)
            if begin < chunk.rows:
                held.append(chunk.take(slice(begin, None)))

    def states(self) -> Iterator[AllocatorState]:
        """The states of all dumps, with page flags and counts where a snapshot has them.

        /proc/kpageflags was read some milliseconds after the dump, so it shows a few hundred pages as in use
        that the dump has on a free list: where the two differ, the dump is right.
        """
        for state in self.dumps():
            yield self._with_pages(state)

    def _with_pages(self, state: AllocatorState) -> AllocatorState:
        directory = self.snapshots.get(state.tag)
        if directory is None:
            return state
        label = directory.name.split("-", 2)[2]
        return state.with_pages(label, *(self._words(directory, name) for name in PAGE_WORDS))

    def _words(self, directory: Path, name: str) -> npt.NDArray[np.uint64] | None:
        file = self._page_file(directory, name)
        return None if file is None else procfs.read_page_words(file)

    def _page_file(self, directory: Path, name: str) -> Path | None:
        return next((f for f in (directory / name, directory / f"{name}.xz") if f.is_file()), None)

    def snapshot_counts(self) -> tuple[Snapshot, ...]:
        """None: their times are not known."""
        return ()

    def losses(self) -> tuple[CpuLosses, ...]:
        """What each CPU lost: the marks in the stream (read to its end) and the kernel's own counts."""
        return self._read_through[0]

    def event_times(self) -> tuple[int, int] | None:
        """Times (ns) of the first and the last event of any kind; None without events."""
        return self._read_through[1]

    def passed_over(self) -> dict[str, int]:
        """Events that no kind stands for, and rows of dumps that no state holds, by name: how many there are."""
        return self._read_through[2]

    def not_read(self) -> dict[str, int]:
        """Events that could not be read, by name: how many there are."""
        return self._read_through[3]

    @cached_property
    def _read_through(
        self,
    ) -> tuple[tuple[CpuLosses, ...], tuple[int, int] | None, dict[str, int], dict[str, int]]:
        """Losses, times of the events, what was passed over and what was not read, from one pass over each CPU's file."""
        losses, times, passed, unread = [], list[int](), Counter[str](), Counter[str]()
        for reader in self.readers(ALL_KINDS):
            for chunk in reader.chunks(1 << 16):
                if chunk.rows:
                    times += [int(chunk.ts[0]), int(chunk.ts[-1])]
                passed.update(_dumped_beside(chunk))
            passed.update(reader.passed_over)
            unread.update(unread_by_name(reader.unreadable, reader.unknown, self.formats))
            losses.append(cpu_losses(reader, self._text(f"trace/cpu{reader.cpu}.stats")))
        counts = {name: count for name, count in sorted(passed.items()) if count}
        return tuple(losses), (min(times), max(times)) if times else None, counts, dict(unread)

    @property
    def quality(self) -> dict[str, Any]:
        """Counts, from one pass over all events."""
        counter = QualityCounter()
        for chunk in self.events():
            counter.add(chunk)
        return counter.to_json() | {
            "losses": [asdict(x) for x in self.losses()],
            "events_passed_over": self.passed_over(),
            "events_not_read": self.not_read(),
        }

    @property
    def digest(self) -> str:
        """SHA-256 over formats, decompressed raw files and page flags."""
        digest = hashlib.sha256(b"raw recording 1\n")
        for ident, event in sorted(self.formats.items()):
            digest.update(f"{ident} {event.system}/{event.name} {len(event.text)}\n{event.text}".encode())
        files = [(f"cpu{cpu}", file) for cpu, file in self.raw.items()]
        for tag, directory in self.snapshots.items():
            found = ((f"{tag}/{name}", self._page_file(directory, name)) for name in PAGE_WORDS)
            files += [(name, file) for name, file in found if file is not None]
        for name, file in files:
            size = 0
            digest.update(f"{name}\n".encode())
            for data in read_blocks(file):
                digest.update(data)
                size += len(data)
            digest.update(f"{size}\n".encode())
        return digest.hexdigest()


def _dumped_beside(chunk: EventChunk) -> dict[str, int]:
    """Rows of dumps that no state holds, by name."""
    beside = (chunk.kind == EventKind.GT_DUMP) & (chunk.a > DumpKind.END)
    kinds, rows = np.unique(chunk.a[beside], return_counts=True)
    return {f"gt_dump of kind {kind}": n for kind, n in zip(kinds.tolist(), rows.tolist(), strict=True)}


def _first(places: npt.NDArray[np.intp], after: int, otherwise: int) -> int:
    """The first of ascending places beyond *after*."""
    later = places[places > after]
    return int(later[0]) if len(later) else otherwise


def _state(dump: EventChunk, ordinal: int, names: tuple[str, ...]) -> AllocatorState:
    """The state of a dump's events, among which there may be others, of other CPUs."""
    state = state_from_dump(dump.take(_of_state(dump)), ordinal, names)
    return replace(state, interleaved=int((dump.kind != EventKind.GT_DUMP).sum()))


def _of_state(chunk: EventChunk) -> npt.NDArray[np.bool_]:
    """Which events are part of a dump's state: those of the kinds that are known. The LRU lists that may follow one are not."""
    return np.asarray((chunk.kind == EventKind.GT_DUMP) & (chunk.a <= DumpKind.END))
