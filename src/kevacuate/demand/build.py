# SPDX-License-Identifier: GPL-2.0-or-later
"""The demand of a recording: allocations and frees of objects, whatever pfns they had.

``build_demand(recording)`` reconstructs it from the events, streaming; :mod:`.reconstruct` has the rules,
:mod:`.migrations` what is recognised as the recorded kernel's own work, :mod:`.pagekinds` what kind of page an
object is. A recording that already holds a demand (a shipped ``.kev``) is read instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.demand import pagekinds, reconstruct
from kevacuate.demand.loops import NOTHING, Span, Spans, open_rows
from kevacuate.demand.objects import FREE_CODE, G_CACHE_SIZE, G_CACHED, G_FILES, G_LRU_GEN, G_OUT
from kevacuate.demand.pagecache import BACK
from kevacuate.demand.pagekinds import NOTHING_DRAWN, PageKindModel
from kevacuate.demand.quality import MARKS, DemandQuality
from kevacuate.demand.refusals import refuse_without_demand
from kevacuate.demand.start_objects import pages_in_use, refuse_too_many_pages, start_objects
from kevacuate.demand.tables import Files, KnownKinds, event_input, files_read, larger_cache, new_tables
from kevacuate.demand.uses import NO_USES, Lives, Uses, inferred_uses, lives_of, with_uses
from kevacuate.errors import KevacuateError
from kevacuate.jit import run
from kevacuate.recording import AllocatorState, EventChunk, Recording
from kevacuate.recording.demand import (
    DEMAND_TYPES,
    DemandChunk,
    StartObjects,
    demand_facts,
    demand_span,
    read_demand,
    read_start_objects,
)
from kevacuate.recording.settings import recorded_lru_gen

__all__ = ["Demand", "DemandChunk", "StartObjects", "build_demand"]

DEFAULT_CHUNK_ROWS = 1 << 18


class Demand:
    """A demand that can be read any number of times, chunk by chunk."""

    def __init__(
        self,
        start_objects: StartObjects,
        chunks: Callable[[Demand], Iterator[DemandChunk]],
        kinds: PageKindModel,
        quality: DemandQuality | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.start_objects = start_objects
        """Objects in use at the start that may move: ids 0 to n - 1."""
        self.kinds = kinds
        """The page kind model that ``attr`` was drawn with."""
        self.redrawn: Callable[[int], Demand] | None = None
        """Of a workload that is described: the same workload as another seed of a replay draws it."""
        self.peak_pages: int | None = None
        """The most pages that it has at once; None where nobody has counted them."""
        self.own_pages = 0
        """Page frames of the machine that it is of, where it begins from another's start state."""
        self._chunks = chunks
        self._quality = quality
        self._spans = spans

    def __repr__(self) -> str:
        """How many rows, where that is known already."""
        rows = "rows not counted yet" if self._spans is None else f"{self._spans.open.rows:,} rows"
        return f"<Demand: {rows}, {len(self.start_objects.pfn):,} objects at the start>"

    @property
    def quality(self) -> DemandQuality:
        """What was counted.

        Raises
        ------
        KevacuateError
            It is not known before the first full iteration of :meth:`chunks`.

        """
        if self._quality is None:
            raise KevacuateError("The demand's quality is known only after a full iteration of chunks().")
        return self._quality

    @property
    def max_objects(self) -> int | None:
        """Number of object ids the demand uses; None before it is known (see :attr:`quality`)."""
        return None if self._quality is None else self._quality.peak_objects

    def chunks(self, *, closed: bool = False) -> Iterator[DemandChunk]:
        """The rows in order of time, in chunks of any size, none empty: of the open loop, or of the *closed* one."""
        chunks = self._chunks(self)
        if closed:
            return chunks
        return (rows for chunk in chunks if (rows := open_rows(chunk)).t.size)

    @property
    def spans(self) -> Spans:
        """How long the demand is in each loop; unless stored, one pass when first asked for.

        After such a pass :attr:`quality` and :attr:`max_objects` are known, too.
        """
        if self._spans is None:
            spans = NOTHING
            for chunk in self.chunks(closed=True):
                spans = spans.after(chunk)
            self._spans = spans
        return self._spans

    @property
    def span(self) -> tuple[int, int]:
        """(virtual ns from the start to the last row, number of rows) of the open loop; (0, 0) of an empty demand."""
        return self.spans.open

    @property
    def tells_reclaim(self) -> bool:
        """Whether the demand tells the recorded kernel's reclaim from the workload's frees."""
        return self._quality is not None and self._quality.reclaimed > 0

    def complete(self, quality: DemandQuality) -> None:
        """Note what a full iteration has counted."""
        self._quality = quality

    def measured(self, spans: Spans) -> None:
        """Note how long it is, where a full iteration has told."""
        self._spans = spans


class Reconstruction:
    """One pass over a recording's events: tables, output rows, and the compiled code that fills them."""

    def __init__(
        self,
        used: npt.NDArray[np.bool_],
        start: StartObjects,
        kinds: PageKindModel,
        known: KnownKinds | None = None,
        out_rows: int = DEFAULT_CHUNK_ROWS,
        files: Files | None = None,
        lru_gen: bool = False,
    ) -> None:
        self.tables = new_tables(used, start, kinds, known, files)
        self.tables.g[G_LRU_GEN] = lru_gen
        rows = out_rows + reconstruct.MARGIN
        self.rows = DemandChunk(*(np.empty(rows, dtype) for dtype in DEMAND_TYPES.values()))
        self._fed = 0

    def feed(self, events: EventChunk) -> Iterator[DemandChunk]:
        """Work through the events; yields rows whenever the buffer is nearly full."""
        at, end = 0, len(events.ts)
        work = end
        self._fed += work
        while at < end:
            at = run(reconstruct.consume, work, self.tables, self.rows, events, at, end)
            work = 0
            if self.tables.g[G_CACHED] > self.tables.g[G_CACHE_SIZE] // 2:
                self.tables = larger_cache(self.tables)
            elif at < end:
                yield self.drain(keep=BACK)

    def finish(self) -> Iterator[DemandChunk]:
        """The events are over: settle what waits, and yield the last rows."""
        step = 0
        while step >= 0:
            step = run(reconstruct.finish, self._fed, self.tables, self.rows, step)
            if self.tables.g[G_OUT]:
                yield self.drain()

    def drain(self, *, keep: int = 0) -> DemandChunk:
        """The rows so far, copied out of the buffer, but for the last *keep*, which may still change."""
        rows = int(self.tables.g[G_OUT])
        count = max(rows - keep, 0)
        columns: list[Any] = [column[:count].copy() for column in self.rows]
        for column in self.rows:
            column[: rows - count] = column[count:rows].copy()
        self.tables.g[G_OUT] = rows - count
        return DemandChunk(*columns)

    @property
    def quality(self) -> DemandQuality:
        """The counters now."""
        return DemandQuality.from_counters(self.tables.q)


class _Source:
    """The recording, its start, and how to go through its events."""

    def __init__(self, recording: Recording, chunk_rows: int) -> None:
        state = recording.start
        if state is None:
            raise KevacuateError(
                f"{recording.path} holds no state of the allocator to start from (its zones, free lists and block types). "
                "Record it again with a snapshot at the start."
            )
        refuse_too_many_pages(state, str(recording.path))
        self.recording, self.chunk_rows, self.state = recording, chunk_rows, state
        self.used = pages_in_use(state, recording.machine.hugepage_order)
        self.start = start_objects(state, self.used)
        self.lru_gen = bool(recorded_lru_gen(recording.machine))

    def events(self) -> Iterator[tuple[EventChunk, npt.NDArray[np.int64]]]:
        """The events after the start, with their times on the recording's clock."""
        stream = self.recording.events(
            kinds=reconstruct.KINDS_READ, chunk_rows=self.chunk_rows, after=self.state
        )
        for chunk in stream:
            yield event_input(chunk, self.state.ts), chunk.ts

    def later_states(self) -> list[AllocatorState]:
        """States after the start that have page flags, in order of time."""
        later = [s for s in self.recording.states if s.ts > self.state.ts and s.page_flags is not None]
        return sorted(later, key=lambda s: s.ts)


class _FirstPass:
    """A pass over a recording's events that keeps what the next one needs to know."""

    def __init__(self, source: _Source, kinds: PageKindModel) -> None:
        self.work = Reconstruction(source.used, source.start, kinds, lru_gen=source.lru_gen)
        self._lives: list[Lives] = []

    def run(self, events: EventChunk) -> None:
        """Work through the events; of the rows keep which objects begin and end, unless events tell the uses of files."""
        for rows in self.work.feed(events):
            self._keep(rows)
        self._keep(self.work.drain(keep=BACK))

    def end(self) -> tuple[DemandQuality, Uses, Files]:
        """Settle what waits; what was counted, the uses of files that the order of reclaim tells, and the files that are read."""
        for rows in self.work.finish():
            self._keep(rows)
        uses, quality = NO_USES, self.work.quality
        if self._lives and quality.reclaimed_without_file:
            uses = inferred_uses(Lives(*(np.concatenate(c) for c in zip(*self._lives, strict=True))))
        marks = MARKS * uses.number.size
        files = files_read(self.work.tables)
        counted = {"accesses": quality.accesses + marks, "accesses_inferred": marks}
        if len(files.key):
            counted["file_pages"] = files.end
        return replace(quality, **counted), uses, files

    def _keep(self, rows: DemandChunk) -> None:
        if self.work.tables.g[G_FILES]:
            self._lives.clear()
        else:
            self._lives.append(lives_of(rows))


def known_kinds(source: _Source, kinds: PageKindModel) -> tuple[KnownKinds, DemandQuality, Uses, Files]:
    """First pass: what the snapshots say of the objects alive at each, what it has counted, uses of files, and which are read.

    The first snapshot at which an object is alive counts. Memory: one entry per object so found; where no event names files, 18
    bytes a row by which an object begins or ends.
    """
    first = _FirstPass(source, kinds)
    seqs, attrs = np.empty(0, np.int64), np.empty(0, np.uint8)
    waiting = source.later_states()
    for events, ts in source.events():
        at = 0
        while waiting and len(ts) and waiting[0].ts < ts[-1]:
            cut = int(np.searchsorted(ts, waiting[0].ts, "right"))
            first.run(events.take(slice(at, cut)))
            seqs, attrs = _merge_known((seqs, attrs), _alive(first.work, waiting.pop(0)))
            at = cut
        first.run(events.take(slice(at, None)))
    for state in waiting:
        seqs, attrs = _merge_known((seqs, attrs), _alive(first.work, state))
    return (seqs, attrs), *first.end()


def _alive(work: Reconstruction, state: AllocatorState) -> KnownKinds:
    """Numbers and kinds of the allocated objects that the state's page flags show."""
    tables, flags = work.tables, state.page_flags
    assert flags is not None
    owner = tables.owner[: len(flags)]
    pages = np.flatnonzero(owner > FREE_CODE)
    heads = pages[tables.pfn[owner[pages]] == pages]
    ids = owner[heads]
    attr = pagekinds.known_attr(flags[heads], tables.mt[ids])
    wanted = (tables.seq[ids] >= 0) & (attr != 0)
    return tables.seq[ids][wanted], attr[wanted]


def _merge_known(old: KnownKinds, new: KnownKinds) -> KnownKinds:
    """Both, by ascending number; where both know one, the old."""
    seqs, first = np.unique(np.concatenate([old[0], new[0]]), return_index=True)
    return seqs, np.concatenate([old[1], new[1]])[first]


def build_demand(
    recording: Recording | str | Path,
    *,
    kinds: PageKindModel = PageKindModel(),  # noqa: B008 (frozen)
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
) -> Demand:
    """The demand of a recording.

    Memory is bounded by the pages and by the objects alive at snapshots, not by the recording's length.
    Equal input gives equal rows, whatever *chunk_rows* is.

    Parameters
    ----------
    recording : Recording or path
        With events, or with a stored demand, which is then read.
    kinds : PageKindModel
        Shares of what no recording shows. A stored demand made with other shares is drawn anew.
    chunk_rows : int
        About how many events are worked on at once.

    Raises
    ------
    KevacuateError
        The recording has no start state, or page flags that do not fit it.

    """
    recording = Recording.of(recording)
    refuse_without_demand(recording)
    if recording.generated is not None:
        made: Demand = recording.generated()
        return made
    if recording.has_demand:
        return _stored_demand(recording, kinds, chunk_rows)
    source = _Source(recording, chunk_rows)
    known, quality, uses, files = None, None, NO_USES, None
    if source.later_states():
        known, quality, uses, files = known_kinds(source, kinds)

    def chunks(demand: Demand) -> Iterator[DemandChunk]:
        work = Reconstruction(source.used, source.start, kinds, known, files=files, lru_gen=source.lru_gen)
        yield from with_uses(_rows(source, work), uses)
        demand.complete(quality or work.quality)

    attr = pagekinds.draw_start(source.start.attr, kinds)
    return Demand(source.start._replace(attr=attr), chunks, kinds, quality)


def _rows(source: _Source, work: Reconstruction) -> Iterator[DemandChunk]:
    """All rows of a reconstruction that begins."""
    for events, _ in source.events():
        yield from work.feed(events)
    yield from work.finish()


def _stored_demand(recording: Recording, kinds: PageKindModel, chunk_rows: int) -> Demand:
    """The demand that lies beside the recording."""
    facts = demand_facts(recording.path)["facts"]
    counted = facts.get("quality", {})
    if not isinstance(counted, dict):
        raise KevacuateError(
            f"{recording.path / 'demand.json'} has no quality report of this program's making."
        )
    quality = DemandQuality.from_dict(counted) if "quality" in facts else None
    start = read_start_objects(recording.path)
    before = _stored_kinds(recording.path, facts)
    same = before == kinds
    if not same:
        start = start._replace(attr=pagekinds.draw_start(start.attr, kinds, before))
    shares = kinds.shares(), before.shares()

    def chunks(_: Demand) -> Iterator[DemandChunk]:
        number = 0
        for chunk in read_demand(recording.path, chunk_rows, verify=False):
            if same:
                yield chunk
            else:
                attr = chunk.attr.copy()
                drawn = chunk.op, chunk.gfp, chunk.mt, attr
                number = run(pagekinds.draw_again, attr.size, *drawn, number, *shares)
                yield chunk._replace(attr=attr)

    return Demand(start, chunks, kinds, quality, _stored_spans(recording.path, facts, quality))


def _stored_kinds(path: Path, facts: dict[str, Any]) -> PageKindModel:
    """The shares that a stored demand was drawn with; none where it does not say so."""
    try:
        return PageKindModel(**facts.get("page_kinds", asdict(NOTHING_DRAWN)))
    except TypeError:
        raise KevacuateError(f"{path / 'demand.json'} has no page kinds of this program's making.") from None


def _stored_spans(path: Path, facts: dict[str, Any], quality: DemandQuality | None) -> Spans | None:
    """How long a stored demand is, where that is known without reading it."""
    whole = Span(*demand_span(path))
    closed_alone = 0
    if quality is not None:
        closed_alone = quality.accesses + quality.truncated + quality.attempts + quality.file_pages
    if not closed_alone:
        return Spans(whole, whole)
    kept = facts.get("open_span")
    if not isinstance(kept, list) or len(kept) != 2 or not all(type(x) is int and x >= 0 for x in kept):
        return None
    return Spans(Span(*kept), whole)
