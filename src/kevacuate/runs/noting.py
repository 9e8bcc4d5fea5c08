# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay that also notes what becomes of the pages of one range: who gets them, who lets them go, what moves them.

The model's own log tells of pageblocks; the pages' traffic would be too much for it. So the rows are replayed by an entry of its
own, which writes a record, laid out as those of the log, whenever a row or a worker touches a page of the range.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand import objects as ob
from kevacuate.demand.objects import has_object, makes_object
from kevacuate.errors import KevacuateError
from kevacuate.jit import kernel, part, pointers
from kevacuate.measure.blocks import block_counts
from kevacuate.mm import constants as k
from kevacuate.mm.base_pages import OBJ_BASE_PAGES, base_pages_of, base_pages_order
from kevacuate.mm.clock import advance
from kevacuate.mm.fields import LogRecord, View
from kevacuate.mm.layout import State
from kevacuate.mm.log import write_record
from kevacuate.recording import DemandChunk
from kevacuate.records import Records, Words, seen_as
from kevacuate.runs.base_pages import ROW_BAD, ROW_DONE
from kevacuate.runs.loop import (
    LOG_MARGIN,
    NO_ROWS,
    STOP_END,
    STOP_IDS,
    STOP_LOG,
    STOP_OBJECT,
    STOP_SAMPLE,
    one_block,
    replay_row,
    row_begins,
    row_time,
)
from kevacuate.runs.replay import Replay

NOTE_ALLOC = 64
"""A request got pages: a = order, b = migratetype asked for, c = gfp + 2**32 * attributes, d = object."""
NOTE_FREE = 65
"""Pages were freed: a = order, d = object (-1: in use since the start)."""
NOTE_MOVED_OUT = 66
"""Migrated away: a = order, b = pfn it has now, d = object."""
NOTE_DROPPED = 67
"""Clean page cache, dropped: a = order, d = object."""
NOTE_MOVED_IN = 68
"""A migration's destination: a = order, d = object."""
NOTE_START = 69
"""In use when the replay starts: a = order, c = 2**32 * attributes, d = object (-1: cannot move)."""

N_COUNT = 0
N_CAPACITY = 1
N_FIRST = 2
N_LAST = 3


class NotesView(NamedTuple):
    """:class:`Notes` in compiled code."""

    records: Records[LogRecord]
    resident: Words
    fixed: Words


@seen_as(NotesView)
class Notes(NamedTuple):
    """What the compiled loop writes to."""

    records: npt.NDArray[np.int64]
    """Records of eight int64: t, kind, cpu, pfn, a, b, c, d."""
    resident: npt.NDArray[np.int64]
    """Scratch: the object that starts at each page of the range, 16 * object + order, or -1."""
    fixed: npt.NDArray[np.int64]
    """Records written (beyond the capacity they are only counted), capacity, first pfn, pfn after the last."""


@part(cold=True)
def note(s: View, n: NotesView, kind: int, pfn: int, a: int, b: int, c: int, d: int) -> None:
    """Append a record."""
    i = n.fixed[N_COUNT]
    n.fixed[N_COUNT] = i + 1
    if i < n.fixed[N_CAPACITY]:
        write_record(s, n.records[i], kind, pfn, a, b, c, d)


@part
def overlaps(n: NotesView, pfn: int, order: int) -> bool:
    """Whether a chunk has a page in the range."""
    return pfn >= 0 and pfn < n.fixed[N_LAST] and pfn + (1 << order) > n.fixed[N_FIRST]


@part
def held_by(s: View, pfn: int) -> int:
    """16 * object + order of the object that starts at *pfn*, or -1."""
    meta = s.meta[pfn] + 0
    state = meta >> 4
    if (state == k.CHUNK_ALLOC or state == k.CHUNK_ISOLATED) and s.link[2 * pfn] >= 0:
        return 16 * int(s.link[2 * pfn]) + (meta & 15)
    return -1


@part
def note_changes(s: View, n: NotesView) -> None:
    """Note every object that has come or gone since ``resident`` was filled: only the background has run since."""
    first = n.fixed[N_FIRST]
    for i in range(n.fixed[N_LAST] - first):
        before = n.resident[i] + 0
        now = held_by(s, first + i)
        if before == now:
            continue
        if before >= 0:
            note_gone(s, n, first + i, before & 15, before >> 4)
        if now >= 0 and not came_apart(s, n, first + i, now >> 4):
            note(s, n, NOTE_MOVED_IN, first + i, now & 15, 0, 0, now >> 4)


@part
def look_at_residents(s: View, n: NotesView) -> None:
    """Fill ``resident``."""
    for i in range(n.fixed[N_LAST] - n.fixed[N_FIRST]):
        n.resident[i] = held_by(s, n.fixed[N_FIRST] + i)


@part
def note_gone(s: View, n: NotesView, pfn: int, order: int, obj: int) -> None:
    """Note that 2**order pages are no longer the object's folio: it is elsewhere now, was dropped, or freed.

    Of a folio that was split only the pages that have gone are noted.
    """
    where = s.obj[obj] + 0
    parts = parts_of(s, obj, pfn, order)
    if parts >= 0:
        for i in range(1 << order):
            if s.obj[parts + i] != pfn + i:
                note_gone_page(s, n, pfn + i, 0, parts + i, s.obj[parts + i] + 0)
    else:
        note_gone_page(s, n, pfn, order, obj, where)


@part
def note_gone_page(s: View, n: NotesView, pfn: int, order: int, obj: int, where: int) -> None:
    """Note that the object is no longer at *pfn*, but at *where*, or nowhere."""
    if where >= 0:
        note(s, n, NOTE_MOVED_OUT, pfn, order, where, 0, obj)
    else:
        note(s, n, NOTE_DROPPED if where == k.OBJ_DROPPED else NOTE_FREE, pfn, order, 0, 0, obj)


@part
def parts_of(s: View, obj: int, pfn: int, order: int) -> int:
    """The first of the objects that the pages are of a folio which was the object's at *pfn*, and was split; -1 if it was not."""
    code = s.obj[obj] + 0
    if order > 0 and code <= OBJ_BASE_PAGES and base_pages_order(code) == order:
        return s.stat.first_base_page + base_pages_of(code)
    shadows = s.stat.first_shadow <= obj < s.stat.first_base_page
    whole = code == pfn and s.meta[pfn] & 15 == order
    return obj if order > 0 and shadows and not whole else -1


@part
def came_apart(s: View, n: NotesView, pfn: int, obj: int) -> bool:
    """Whether the page, which is object *obj* now, was part of a folio here that was split, and has not moved."""
    first = n.fixed[N_FIRST]
    for order in range(s.cfg.max_page_order + 1):
        head = pfn >> order << order
        if head < first:
            return False
        before = n.resident[head - first] + 0
        if before >= 0:
            parts = parts_of(s, before >> 4, head, before & 15)
            return parts >= 0 and obj == parts + pfn - head
    return False


@part
def note_request_changes(s: View, n: NotesView, own: int, code: int) -> None:
    """Note what a request of a closed loop did to others' objects, as it reclaimed and compacted.

    *own* is its own object, or -1, *code* what ``State.obj`` holds for it if it is in base pages, else -1.
    """
    first = n.fixed[N_FIRST]
    low = high = own
    if code <= OBJ_BASE_PAGES:
        low = s.stat.first_base_page + base_pages_of(code)
        high = low + (1 << base_pages_order(code)) - 1
    for i in range(n.fixed[N_LAST] - first):
        before = n.resident[i] + 0
        now = held_by(s, first + i)
        if before == now:
            continue
        if before >= 0 and before >> 4 != own and not low <= before >> 4 <= high:
            note_gone(s, n, first + i, before & 15, before >> 4)
        if now < 0 or now >> 4 == own or low <= now >> 4 <= high:
            continue
        if not came_apart(s, n, first + i, now >> 4):
            note(s, n, NOTE_MOVED_IN, first + i, now & 15, 0, 0, now >> 4)


@part
def covered_until(s: View, pfn: int) -> int:
    """The pfn behind the object's chunk that holds the page *pfn*; *pfn* if none does."""
    for order in range(s.cfg.max_page_order + 1):
        head = pfn >> order << order
        held = held_by(s, head)
        if held >= 0 and head + (1 << (held & 15)) > pfn:
            return head + (1 << (held & 15))
    return pfn


@part
def note_page_changes(s: View, n: NotesView, had: int) -> None:
    """Note page by page what a row did that halves folios or gives them other names.

    *had* is the pfn behind the chunk that held the range's first page before.
    """
    first = n.fixed[N_FIRST]
    has = covered_until(s, first)
    owner = taker = -1
    for pfn in range(first, n.fixed[N_LAST]):
        before = n.resident[pfn - first] + 0
        now = held_by(s, pfn)
        if before >= 0:
            had, owner = pfn + (1 << (before & 15)), before >> 4
        if now >= 0:
            has, taker = pfn + (1 << (now & 15)), now >> 4
        if has <= pfn < had:
            note_gone(s, n, pfn, 0, max(owner, 0))
        elif had <= pfn < has:
            note(s, n, NOTE_MOVED_IN, pfn, 0, 0, 0, taker)


@part
def closed_row_noting(s: View, n: NotesView, d: DemandChunk, i: int) -> int:
    """One row of a closed loop, or of contiguous allocation, noting; returns as :func:`kevacuate.runs.loop.replay_row`.

    What the recorded kernel reclaimed neither comes nor goes, and neither does what is read again while the model has it.
    """
    op = d.op[i]
    hits, reads = s.stat.hit_pages + 0, s.stat.refault_pages + 0
    request = makes_object(op) or op == ob.OP_ACCESS or op == ob.OP_ATTEMPT or op == ob.OP_READ
    own = d.obj[i] + 0 if request and has_object(op) else -1
    before = s.obj[own] + 0 if own >= 0 else -1
    had = n.fixed[N_FIRST] + 0
    if request or op == ob.OP_TRUNCATE:
        look_at_residents(s, n)
        had = covered_until(s, had)
    note_before(s, n, d, i)
    done = replay_row(s, d, i)
    if done == ROW_BAD:
        return ROW_BAD
    apart = op == ob.OP_ACCESS and before <= OBJ_BASE_PAGES
    if op == ob.OP_TRUNCATE or (request and s.stat.hit_pages > hits):
        note_page_changes(s, n, had)
    elif request and (op != ob.OP_ACCESS or s.stat.refault_pages > reads):
        code = s.obj[own] + 0 if own >= 0 and not apart else -1
        note_request_changes(s, n, own, code)
        if not apart:
            note_after(s, n, d, i)
    return done


@part
def advance_noting(s: View, n: NotesView, t: int) -> None:
    """Run what is due until *t*, one due time at a time, and note what it did to the range."""
    while s.stat.next_due <= t:
        look_at_residents(s, n)
        advance(s, max(s.stat.next_due, s.stat.now))
        note_changes(s, n)


@part
def note_free(s: View, n: NotesView, obj: int) -> None:
    """Note that an object's pages are about to be freed."""
    pfn = s.obj[obj] + 0
    if pfn >= 0 and overlaps(n, pfn, s.meta[pfn] & 15):
        note(s, n, NOTE_FREE, pfn, s.meta[pfn] & 15, 0, 0, obj)


@part
def note_before(s: View, n: NotesView, d: DemandChunk, i: int) -> None:
    """Note a free before it happens, while the pages still say what they are."""
    s.stat.cpu = d.cpu[i]
    if d.op[i] == ob.OP_FREE:
        code = s.obj[d.obj[i]] + 0
        if code > OBJ_BASE_PAGES:
            note_free(s, n, d.obj[i] + 0)
            return
        first = s.stat.first_base_page + base_pages_of(code)
        for page in range(first, first + (1 << base_pages_order(code))):
            note_free(s, n, page)
    elif d.op[i] == ob.OP_FREE_CONTIG:
        pfn = s.obj[d.obj[i]] + 0
        if overlaps(n, pfn, d.order[i] + 0):
            note(s, n, NOTE_FREE, pfn, d.order[i] + 0, 0, 0, d.obj[i] + 0)
    elif d.op[i] == ob.OP_FREE_PFN and overlaps(n, d.aux[i] + 0, d.order[i] + 0):
        note(s, n, NOTE_FREE, d.aux[i] + 0, d.order[i] + 0, 0, 0, -1)


@part
def note_alloc(s: View, n: NotesView, d: DemandChunk, i: int, order: int, obj: int) -> None:
    """Note that an object has its pages, which row *i* asked for."""
    pfn = s.obj[obj] + 0
    if overlaps(n, pfn, order):
        flags = int(d.gfp[i]) + (int(d.attr[i]) << 32)
        note(s, n, NOTE_ALLOC, pfn, order, d.mt[i] + 0, flags, obj)


@part
def note_after(s: View, n: NotesView, d: DemandChunk, i: int) -> None:
    """Note an allocation, now that it has its pages."""
    op = d.op[i]
    if makes_object(op) or op == ob.OP_ACCESS:
        code = s.obj[d.obj[i]] + 0
        if code > OBJ_BASE_PAGES:
            note_alloc(s, n, d, i, d.order[i] + 0, d.obj[i] + 0)
            return
        first = s.stat.first_base_page + base_pages_of(code)
        for page in range(first, first + (1 << base_pages_order(code))):
            note_alloc(s, n, d, i, 0, page)


@kernel
def replay_rows_noting(
    sa: State, na: Notes, da: DemandChunk, start: int, end: int, next_sample: int, until: int
) -> tuple[int, int]:
    """As :func:`kevacuate.runs.loop.replay_rows`; first what is due until *until* (ns; -1: nothing) is run."""
    s = pointers(sa)
    n = pointers(na)
    d = pointers(da)
    room = s.cfg.log_capacity - LOG_MARGIN
    if until >= 0:
        advance_noting(s, n, until)
    i = start
    while i < end:
        if d.t[i] >= next_sample:
            return i, STOP_SAMPLE
        if s.stat.nr_log > room or n.fixed[N_COUNT] > n.fixed[N_CAPACITY] - LOG_MARGIN:
            return i, STOP_LOG
        t = row_time(s, d.t[i])
        while t >= s.stat.next_due:
            advance_noting(s, n, t)
            if s.stat.spare_base_page < 0:
                return i, STOP_IDS
            t = row_time(s, d.t[i])
        row_begins(s, d.t[i])
        s.stat.now = max(t, s.stat.now)
        if s.cfg.open_loop and d.op[i] < ob.OP_ALLOC_CONTIG:
            note_before(s, n, d, i)
            done = replay_row(s, d, i)
            note_after(s, n, d, i)
        else:
            done = closed_row_noting(s, n, d, i)
        if done == ROW_BAD:
            return i, STOP_OBJECT
        i += 1
        if done != ROW_DONE:
            return i, STOP_IDS
    return i, STOP_END


CAPACITY = 1 << 16
"""Records between two reads of the notes."""


def compile_noting() -> None:
    """Have :func:`replay_rows_noting` compiled: run it on a machine of one block, without rows."""
    notes = Notes(*(np.zeros(4, np.int64) for _ in Notes._fields))
    replay_rows_noting(one_block(), notes, NO_ROWS, 0, 0, 0, -1)


class NotingReplay(Replay):
    """A replay that notes what becomes of the pages ``[first, last)``.

    Set by :meth:`watch` before :meth:`~kevacuate.runs.replay.Replay.run`; keeps the log, too.

    Attributes
    ----------
    notes : list of arrays
        int64[n, 8] each, laid out as the log's records, kinds ``NOTE_*``.
    contents : list of tuples
        At every sample (t in ns, migratetype, pages free, pcp, movable, unmovable, reserved) of the range's first pageblock.
    """

    def watch(self, first: int, last: int) -> None:
        """Note the pages from *first* to *last* (exclusive), which must lie in the model's memory.

        Raises
        ------
        KevacuateError
            They do not.
        """
        pages = self.state.view.cfg.npages_real
        if not 0 <= first < last <= pages:
            raise KevacuateError(
                f"The machine has no page at pfn {max(first, last - 1):#x}: its pfns end at {pages - 1:#x}."
            )
        self.keep_log = True
        self.notes: list[np.ndarray] = [self._in_use(first, last)]
        self.contents: list[tuple[int, ...]] = []
        self._notes = Notes(
            np.zeros(CAPACITY * LogRecord.STRIDE, np.int64),
            np.zeros(last - first, np.int64),
            np.array([0, CAPACITY, first, last], np.int64),
        )

    def _in_use(self, first: int, last: int) -> np.ndarray:
        """A NOTE_START record of every chunk of the range that is in use now."""
        heads = first + np.flatnonzero(self.state.meta[first:last] >> 4 == k.CHUNK_ALLOC)
        table = np.zeros((heads.size, LogRecord.STRIDE), np.int64)
        fields = LogRecord.table(table)
        fields["kind"][:] = NOTE_START
        fields["pfn"][:] = heads
        fields["a"][:] = self.state.meta[heads] & 15
        fields["c"][:] = (self.state.link[2 * heads + 1].astype(np.int64) & k.ATTR_STATIC) << 32
        fields["d"][:] = self.state.link[2 * heads]
        return table

    def advance(self, t: int) -> None:
        """Run what is due until *t* ns, noting."""
        replay_rows_noting(self.state, self._notes, NO_ROWS, 0, 0, k.NEVER, t)

    def sample(self, t: int) -> None:
        """Run what is due until *t*, noting, and measure; the watched block's contents too."""
        self.advance(t)
        self.take_log()
        super().sample(t)
        counts, _ = block_counts(self.state)
        order = self.state.view.cfg.pageblock_order
        at = np.flatnonzero(counts.start == int(self._notes.fixed[N_FIRST]) >> order << order)
        if at.size:
            row = int(at[0])
            self.contents.append((t, int(counts.mt[row]), *counts.pages[row].tolist()))

    def take_log(self) -> None:
        """Empty the log and the notes, keeping both."""
        super().take_log()
        kept = min(int(self._notes.fixed[N_COUNT]), CAPACITY)
        self.lost_log += int(self._notes.fixed[N_COUNT]) - kept
        self.notes.append(self._notes.records[: kept * LogRecord.STRIDE].reshape(-1, LogRecord.STRIDE).copy())
        self._notes.fixed[N_COUNT] = 0

    def step_rows(self, rows: Any, at: int, end: int) -> tuple[int, int]:
        """The rows from *at* on, noting."""
        stopped: tuple[int, int] = replay_rows_noting(
            self.state, self._notes, rows, at, end, self._next_sample, -1
        )
        return stopped

    def records(self) -> np.ndarray:
        """Log and notes together, int64[n, 8], in order of time.

        At one time: what a worker did to pages, the log, then what requests got (a claim before the page that it was for).
        """
        table = np.concatenate([np.empty((0, LogRecord.STRIDE), np.int64), *self.log, *self.notes])
        fields = LogRecord.table(table)
        rank = np.where(fields["kind"] < NOTE_ALLOC, 1, 2)
        rank[np.isin(fields["kind"], (NOTE_START, NOTE_MOVED_OUT, NOTE_DROPPED))] = 0
        return table[np.lexsort((rank, fields["time"]))]
