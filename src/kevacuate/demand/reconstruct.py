# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiled reconstruction: events in, demand rows out."""

from __future__ import annotations

from kevacuate.demand import freepages as fp
from kevacuate.demand import objects as ob
from kevacuate.demand.freepages import stage_delete, unstage
from kevacuate.demand.migrations import (
    close_session,
    find_session,
    free_chunks_isolated,
    mover_alloc,
    mover_free,
    open_batch,
    open_session,
    resolve_compaction,
    resolve_evacuation,
)
from kevacuate.demand.objects import (
    Tables,
    emit,
    free_everything,
    free_object,
    free_piece,
    free_start_pages,
    i64,
    open_object,
)
from kevacuate.demand.pagecache import (
    READ_FAULT,
    READ_MAPPED,
    no_object_reclaimed,
    on_activate,
    on_add,
    on_delete,
    on_listed,
    on_look,
    on_mark,
    on_read,
    page_key,
    reclaimed_without_file,
    use_huge_folios,
)
from kevacuate.demand.pagekinds import attr_of
from kevacuate.demand.reclaimers import is_reclaimer, reclaim_begins, reclaim_ends
from kevacuate.demand.unplaced import leave_limbo
from kevacuate.jit import kernel, part, pointers
from kevacuate.kernel import gfp as gf
from kevacuate.kernel.hooks import FolioFlag, GenOp, LruOp, RecWhat
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE, MIGRATE_PCPTYPES
from kevacuate.recording import event_numbers as ev
from kevacuate.recording.demand import DemandChunk
from kevacuate.recording.schema import EventChunk, EventKind

MARGIN = 1 << 16
"""More rows than one event can make: all queues of all sessions, ended runs and the free of 1024 objects."""

TARGET_MASK = gf.GFP_HIGHMEM | gf.GFP_MOVABLE | gf.GFP_HARDWALL | gf.GFP_COMP | gf.GFP_ZERO | gf.GFP_WRITE
TARGET_GFP = gf.GFP_HIGHMEM | gf.GFP_MOVABLE | gf.GFP_HARDWALL | gf.GFP_COMP
"""alloc_migration_target's gfp (specification 4.6): GFP_HIGHUSER_MOVABLE | __GFP_COMP, or GFP_TRANSHUGE."""

BULK_GFP = gf.GFP_KERNEL
"""gfp of a bulk allocation, which no event shows: GFP_KERNEL."""


KINDS_READ: tuple[EventKind, ...] = (
    EventKind.MM_PAGE_ALLOC,
    EventKind.MM_PAGE_FREE,
    EventKind.MM_PAGE_FREE_BATCHED,
    EventKind.MM_PAGE_ALLOC_ZONE_LOCKED,
    EventKind.MM_PAGE_ALLOC_EXTFRAG,
    EventKind.GT_RMQ,
    EventKind.GT_LIST,
    EventKind.GT_REC,
    EventKind.GT_LRU,
    EventKind.GT_GEN,
    EventKind.COMPACTION_ISOLATE_MIGRATEPAGES,
    EventKind.COMPACTION_ISOLATE_FREEPAGES,
    EventKind.COMPACTION_FAST_ISOLATE_FREEPAGES,
    EventKind.COMPACTION_BEGIN,
    EventKind.COMPACTION_END,
    EventKind.MIGRATE_PAGES,
    EventKind.REMOVE_MIGRATION_PTE,
    EventKind.VMSCAN_KSWAPD_WAKE,
    EventKind.VMSCAN_KSWAPD_SLEEP,
    EventKind.VMSCAN_BALANCE_PGDAT_BEGIN,
    EventKind.VMSCAN_BALANCE_PGDAT_END,
    EventKind.VMSCAN_DIRECT_RECLAIM_BEGIN,
    EventKind.VMSCAN_DIRECT_RECLAIM_END,
    EventKind.MM_LRU_ACTIVATE,
    EventKind.MM_FILEMAP_ADD_TO_PAGE_CACHE,
    EventKind.MM_FILEMAP_DELETE_FROM_PAGE_CACHE,
    EventKind.MM_FILEMAP_GET_PAGES,
    EventKind.MM_FILEMAP_FAULT,
    EventKind.MM_FILEMAP_MAP_PAGES,
)
"""The kinds of events that the reconstruction needs, as far as the recording has them."""

_MAPPED_FILE = int(FolioFlag.MAPPED | FolioFlag.FILE)
_KEPT_ACTIVE = int(LruOp.KEPT_ACTIVE)
_FILE = int(FolioFlag.FILE)
_YOUNG, _ACCESSED, _LISTED = int(GenOp.YOUNG), int(GenOp.ACCESSED), int(GenOp.LISTED)
_ACTIVATED_REFERENCED, _KEPT_REFERENCED = int(RecWhat.ACTIVATED_REFERENCED), int(RecWhat.KEPT_REFERENCED)

_Q_ALLOC_EVENTS = ob.Q["alloc_events"]
_Q_FAILED = ob.Q["failed_allocs"]
_Q_ATTEMPTS = ob.Q["attempts"]
_Q_MALFORMED = ob.Q["malformed"]
_Q_BULK = ob.Q["bulk_allocs"]
_Q_FREE_EVENTS = ob.Q["free_events"]
_Q_DUPLICATES = ob.Q["free_duplicates"]
_Q_ALLOCS = ob.Q["allocs"]
_Q_PARTIAL = ob.Q["partial_frees"]
_Q_REGROUPED = ob.Q["regrouped"]
_Q_REGROUPED_PAGES = ob.Q["regrouped_pages"]
_Q_BROKEN = ob.Q["regroup_broken"]
_Q_MISSED = ob.Q["missed_frees"]
_Q_COVERING = ob.Q["covering_frees"]
_Q_ORPHANS = ob.Q["orphan_frees"]
_Q_UNPAIRED_TARGETS = ob.Q["unpaired_destinations"]
_Q_EVENTS = ob.Q["events"]
_Q_UNRESOLVED = ob.Q["moves_unresolved"]


@part
def _well_formed(s: Tables, pfn: int, order: int) -> bool:
    """Whether the chunk exists: order in range, pfn aligned and inside the machine."""
    if order < 0 or order > ob.MAX_ORDER:
        return False
    size = 1 << order
    return 0 <= pfn <= s.g[ob.G_PAGES] - size and pfn % size == 0


@part
def _emit_alloc(s: Tables, out: DemandChunk, obj: int, op: int) -> None:
    """The row of the object's birth."""
    gfp = i64(s.gfp[obj])
    order = i64(s.order[obj])
    mt = i64(s.mt[obj])
    emit(s, out, op, obj, order, mt, gfp, attr_of(s, i64(s.seq[obj]), s.q[_Q_ALLOCS], gfp, mt), 0)
    s.q[_Q_ALLOCS] += 1


@part
def flush_group(s: Tables, out: DemandChunk, cpu: int) -> None:
    """The CPU's page-by-page free stopped before the object's end: free the pages one by one."""
    obj = i64(s.groups[2 * cpu])
    if obj < 0:
        return
    count = i64(s.groups[2 * cpu + 1])
    s.groups[2 * cpu] = -1
    s.g[ob.G_GROUPS] -= 1
    s.flags[obj] = i64(s.flags[obj]) & ~ob.FLAG_GROUP
    before = s.g[ob.G_CPU]
    s.g[ob.G_CPU] = cpu
    base = i64(s.pfn[obj])
    for page in range(base, base + count):
        free_piece(s, out, i64(s.owner[page]), page, i64(0))
        s.q[_Q_PARTIAL] += 1
    s.q[_Q_BROKEN] += count > 1
    s.g[ob.G_CPU] = before


@part
def flush_owner(s: Tables, out: DemandChunk, obj: int) -> None:
    """End the page-by-page free of this object."""
    for cpu in range(s.g[ob.G_CPUS]):
        if i64(s.groups[2 * cpu]) == obj:
            flush_group(s, out, cpu)


@part
def resolve(s: Tables, out: DemandChunk, slot: int) -> None:
    """Settle everything that the session still holds."""
    record = slot * fp.S_SIZE
    if s.sessions[record + fp.S_KIND] == fp.KIND_COMPACT:
        resolve_compaction(s, out, slot)
        return
    resolve_evacuation(s, out, slot)
    for i in range(i64(s.sessions[record + fp.S_TARGETS])):
        obj = i64(s.targets[slot * fp.QUEUE + i])
        if obj >= 0:
            s.flags[obj] = ob.FLAG_COMP
            _emit_alloc(s, out, obj, i64(ob.OP_ALLOC))
            s.q[_Q_UNPAIRED_TARGETS] += 1
    s.sessions[record + fp.S_TARGETS] = 0


@part
def resolve_all(s: Tables, out: DemandChunk) -> None:
    """Settle all sessions, because a page that one of them may hold is wanted."""
    for slot in range(fp.SLOTS):
        if s.sessions[slot * fp.S_SIZE + fp.S_PID] != -1:
            resolve(s, out, slot)


@part
def _settle(s: Tables, out: DemandChunk, pfn: int, order: int) -> None:
    """Make sure that nothing is undecided about the pages: no run under way, no batch open."""
    for page in range(pfn, pfn + (1 << order)):
        code = i64(s.owner[page])
        if code >= 0 and i64(s.flags[code]) & ob.FLAG_GROUP:
            flush_owner(s, out, code)
    if s.g[ob.G_SESSIONS] > 0:
        resolve_all(s, out)


@part
def _clear_range(s: Tables, out: DemandChunk, pfn: int, order: int) -> None:
    """Make sure that nobody owns the pages of a new allocation."""
    used = False
    for page in range(pfn, pfn + (1 << order)):
        if i64(s.owner[page]) != ob.FREE_CODE:
            used = True
    if not used:
        return
    _settle(s, out, pfn, order)
    if free_everything(s, out, pfn, order) > 0:
        s.q[_Q_MISSED] += 1


@part
def on_alloc(s: Tables, out: DemandChunk, pid: int, pfn: int, order: int, mt: int, gfp: int, op: int) -> None:
    """A page allocation: a birth, or the destination of an evacuation."""
    cpu = i64(s.g[ob.G_CPU])
    if s.g[ob.G_GROUPS] > 0:
        flush_group(s, out, cpu)
    if not (_well_formed(s, pfn, order) and 0 <= mt <= 5):
        s.q[_Q_MALFORMED] += 1
        return
    _clear_range(s, out, pfn, order)
    seq = s.g[ob.G_SEQ]
    s.g[ob.G_SEQ] = seq + 1
    if mt == MIGRATE_MOVABLE and gfp & TARGET_MASK == TARGET_GFP:
        slot = find_session(s, pid)
        if slot >= 0:
            record = slot * fp.S_SIZE
            if (
                s.sessions[record + fp.S_KIND] == fp.KIND_EVACUATE
                and s.sessions[record + fp.S_OPEN]
                and mover_alloc(s, slot, pfn, order, mt, gfp, seq)
            ):
                return
    obj = open_object(s, pfn, order, mt, gfp, ob.FLAG_COMP if gfp & gf.GFP_COMP else 0, seq)
    _emit_alloc(s, out, obj, op)


@part
def on_failed(s: Tables, out: DemandChunk, order: int, mt: int, gfp: int) -> None:
    """A page allocation that the recorded kernel refused: an attempt, and nobody's pages."""
    s.q[_Q_FAILED] += 1
    if 0 <= order <= ob.MAX_ORDER and 0 <= mt < MIGRATE_PCPTYPES:
        s.q[_Q_ATTEMPTS] += 1
        emit(s, out, i64(ob.OP_ATTEMPT), i64(0), order, mt, gfp, i64(0), i64(0))


@part
def on_bulk(s: Tables, out: DemandChunk, pfn: int, mt: int) -> None:
    """alloc_pages_bulk handed out a page; no event tells its gfp."""
    s.q[_Q_BULK] += 1
    on_alloc(s, out, i64(-1), pfn, i64(0), mt, i64(BULK_GFP), i64(ob.OP_ALLOC_BULK))


@part
def _continue_group(s: Tables, out: DemandChunk, pfn: int, order: int) -> bool:
    """Whether the free is the next page of this CPU's run; if not, the run ends here."""
    cpu = i64(s.g[ob.G_CPU])
    obj = i64(s.groups[2 * cpu])
    if obj < 0:
        return False
    count = i64(s.groups[2 * cpu + 1])
    if order != 0 or pfn != i64(s.pfn[obj]) + count:
        flush_group(s, out, cpu)
        return False
    count += 1
    s.groups[2 * cpu + 1] = count
    if count == 1 << i64(s.order[obj]):
        s.groups[2 * cpu] = -1
        s.g[ob.G_GROUPS] -= 1
        free_object(s, out, obj)
        s.q[_Q_REGROUPED] += 1
        s.q[_Q_REGROUPED_PAGES] += count
    return True


@part
def _free_owned(s: Tables, out: DemandChunk, obj: int, pfn: int, order: int) -> None:
    """Free [pfn, pfn + 2**order) of an object at least that large."""
    size = i64(s.order[obj])
    if size == order:
        free_object(s, out, obj)
    elif order == 0 and pfn == i64(s.pfn[obj]) and i64(s.flags[obj]) & (ob.FLAG_COMP | ob.FLAG_PENDING) == 0:
        cpu = i64(s.g[ob.G_CPU])
        s.flags[obj] = i64(s.flags[obj]) | ob.FLAG_GROUP
        s.groups[2 * cpu] = obj
        s.groups[2 * cpu + 1] = 1
        s.g[ob.G_GROUPS] += 1
    else:
        s.q[_Q_PARTIAL] += 1
        free_piece(s, out, obj, pfn, order)


@part
def _free_used(s: Tables, out: DemandChunk, pfn: int, order: int) -> bool:
    """Free the range if one object covers it, or start pages only; returns whether that is so."""
    code = i64(s.owner[pfn])
    if code >= 0 and i64(s.order[code]) >= order:
        _free_owned(s, out, code, pfn, order)
        return True
    for page in range(pfn, pfn + (1 << order)):
        if i64(s.owner[page]) >= ob.FREE_CODE:
            return False
    free_start_pages(s, out, pfn, order)
    return True


@part
def _free_unowned(s: Tables, out: DemandChunk, pfn: int, order: int) -> None:
    """Free pages the first of which is not in use, or whose owners are smaller than the range."""
    _settle(s, out, pfn, order)
    if i64(s.owner[pfn]) == ob.FREE_CODE:
        leave_limbo(s, pfn, order)
    if _free_used(s, out, pfn, order):
        return
    if free_everything(s, out, pfn, order) > 0:
        s.q[_Q_COVERING] += 1
    else:
        s.q[_Q_ORPHANS] += 1


@part
def _reclaims(s: Tables, pid: int) -> bool:
    """Whether page cache that the task lets go now is reclaimed by the kernel: see :mod:`kevacuate.demand.reclaimers`."""
    if is_reclaimer(s, pid):
        return True
    slot = find_session(s, pid)
    if slot < 0:
        return False
    record = slot * fp.S_SIZE
    return s.sessions[record + fp.S_KIND] == fp.KIND_EVACUATE and s.sessions[record + fp.S_OPEN] != 0


@part
def on_free(s: Tables, out: DemandChunk, pid: int, pfn: int, order: int) -> None:
    """A page free: a death, a part of one, a move, or nothing that concerns the demand."""
    if not _well_formed(s, pfn, order):
        s.q[_Q_MALFORMED] += 1
        return
    if s.g[ob.G_GROUPS] > 0:
        if _continue_group(s, out, pfn, order):
            return
        code = i64(s.owner[pfn])
        if code >= 0 and i64(s.flags[code]) & ob.FLAG_GROUP:
            flush_owner(s, out, code)
    slot = find_session(s, pid)
    if slot >= 0 and mover_free(s, out, slot, pfn, order):
        return
    code = i64(s.owner[pfn])
    if code >= 0 and i64(s.flags[code]) & ob.FLAG_PENDING:
        resolve_all(s, out)
    reclaims = s.g[ob.G_RECLAIMERS] + s.g[ob.G_SESSIONS] > 0 and _reclaims(s, pid)
    if reclaims:
        reclaimed_without_file(s, out, pfn, order)
    if not _free_used(s, out, pfn, order):
        _free_unowned(s, out, pfn, order)
    if reclaims:
        no_object_reclaimed(s, pfn)


@part
def _on_list_event(s: Tables, kind: int, pid: int, pfn: int, order: int, op: int) -> None:
    """A buddy-list operation or a taken chunk: which chunks a compacting task keeps for itself."""
    if kind == ev.GT_LIST:
        s.g[ob.G_LISTS] = 1
    if s.g[ob.G_SESSIONS] <= 0:
        return
    slot = find_session(s, pid)
    if slot < 0 or s.sessions[slot * fp.S_SIZE + fp.S_KIND] != fp.KIND_COMPACT:
        return
    if not 0 <= order <= ob.MAX_ORDER or pfn < 0 or pfn >= s.g[ob.G_PAGES]:
        return
    if kind == ev.GT_LIST and op == ev.LIST_DELETE:
        stage_delete(s, slot, pfn, order)
    elif kind != ev.GT_LIST or op < ev.LIST_DELETE:
        unstage(s, slot, pfn, order)


@part
def _on_isolate(s: Tables, out: DemandChunk, pid: int, start: int, end: int, taken: int) -> None:
    """A scan for pages to migrate has ended."""
    slot = find_session(s, pid)
    if slot >= 0 and s.sessions[slot * fp.S_SIZE + fp.S_KIND] == fp.KIND_EVACUATE:
        resolve(s, out, slot)
        if taken <= 0:
            close_session(s, slot)
            return
        s.sessions[slot * fp.S_SIZE + fp.S_OPEN] = 0
    if taken <= 0:
        return
    if slot < 0:
        slot = open_session(s, pid, fp.KIND_EVACUATE)
    if slot >= 0:
        open_batch(s, slot, start, end)


@part
def _on_mover_event(s: Tables, out: DemandChunk, kind: int, pid: int, pfn: int, a: int, taken: int) -> None:
    """An event of a task that compacts or migrates."""
    if kind == ev.COMPACTION_ISOLATE_MIGRATEPAGES:
        _on_isolate(s, out, pid, pfn, a, taken)
        return
    slot = find_session(s, pid)
    if kind == ev.COMPACTION_BEGIN:
        if slot >= 0:
            resolve(s, out, slot)
            close_session(s, slot)
        open_session(s, pid, fp.KIND_COMPACT)
    if slot < 0:
        return
    if kind == ev.REMOVE_MIGRATION_PTE:
        s.sessions[slot * fp.S_SIZE + fp.S_NEW] = pfn
    elif kind == ev.MIGRATE_PAGES:
        resolve(s, out, slot)
        s.sessions[slot * fp.S_SIZE + fp.S_OPEN] = 0
        if s.sessions[slot * fp.S_SIZE + fp.S_KIND] == fp.KIND_EVACUATE:
            close_session(s, slot)
    elif kind == ev.COMPACTION_END:
        resolve(s, out, slot)
        close_session(s, slot)
    elif (
        kind in (ev.COMPACTION_ISOLATE_FREEPAGES, ev.COMPACTION_FAST_ISOLATE_FREEPAGES)
        and s.sessions[slot * fp.S_SIZE + fp.S_KIND] == fp.KIND_COMPACT
    ):
        free_chunks_isolated(s, slot, pfn, a, taken, kind == ev.COMPACTION_FAST_ISOLATE_FREEPAGES)


@part
def _on_page_cache_event(s: Tables, out: DemandChunk, e: EventChunk, i: int) -> None:
    """An event of the page cache or of the LRU lists."""
    kind = i64(e.kind[i])
    pfn = i64(e.pfn[i])
    if kind == ev.MM_LRU_ACTIVATE:
        on_activate(s, out, pfn)
        return
    key = page_key(i64(e.a[i]), i64(e.b[i]), i64(e.c[i]))
    if kind == ev.MM_FILEMAP_ADD_TO_PAGE_CACHE:
        on_add(s, out, pfn, i64(e.order[i]), key)
    elif kind == ev.MM_FILEMAP_DELETE_FROM_PAGE_CACHE:
        on_delete(s, out, pfn, i64(e.order[i]), key, _reclaims(s, i64(e.pid[i])))
    elif kind == ev.MM_FILEMAP_FAULT:
        on_read(s, out, i64(e.pid[i]), key, i64(1), False, i64(READ_FAULT))
    elif kind in (ev.MM_FILEMAP_GET_PAGES, ev.MM_FILEMAP_MAP_PAGES):
        pages = min(i64(e.d[i]) - i64(e.c[i]), 1 << 20) + 1
        marks = kind == ev.MM_FILEMAP_GET_PAGES
        on_read(s, out, i64(e.pid[i]), key, pages, marks, i64(0) if marks else i64(READ_MAPPED))


@part
def _on_reclaim_look(s: Tables, out: DemandChunk, e: EventChunk, i: int) -> None:
    """Reclaim has looked at a folio of an LRU list: note that it was used through a page table, if it was."""
    if i64(e.a[i]) & _MAPPED_FILE != _MAPPED_FILE:
        return
    what = i64(e.b[i])
    if e.kind[i] == ev.GT_LRU:
        found = what == _KEPT_ACTIVE
    else:
        found = what == _ACTIVATED_REFERENCED or what == _KEPT_REFERENCED
    on_look(s, out, i64(e.pfn[i]), found)


@part
def _on_generation_event(s: Tables, out: DemandChunk, e: EventChunk, i: int) -> None:
    """The multi-gen LRU: a folio was marked accessed, or found used through a page table by aging or beside a reclaimed folio.

    The mark that a fault gives to new anonymous memory is the model's own.
    """
    s.g[ob.G_MARKS] = 1
    if i64(e.a[i]) & _FILE == 0:
        return
    op = i64(e.b[i]) & 255
    if op == _YOUNG:
        if i64(e.a[i]) & _MAPPED_FILE == _MAPPED_FILE:
            on_look(s, out, i64(e.pfn[i]), True)
    elif op == _ACCESSED and not is_reclaimer(s, i64(e.pid[i])):
        on_mark(s, out, i64(e.pfn[i]))
    elif op == _LISTED:
        on_listed(s, i64(e.pfn[i]), i64(e.b[i]) >> 16 & 255)


@part
def _on_reclaim_event(s: Tables, kind: int, pid: int) -> None:
    """A kswapd shows itself, or a direct reclaim begins or ends."""
    if kind == ev.VMSCAN_DIRECT_RECLAIM_END:
        reclaim_ends(s, pid)
    elif kind in (
        ev.VMSCAN_DIRECT_RECLAIM_BEGIN,
        ev.VMSCAN_KSWAPD_WAKE,
        ev.VMSCAN_KSWAPD_SLEEP,
        ev.VMSCAN_BALANCE_PGDAT_BEGIN,
        ev.VMSCAN_BALANCE_PGDAT_END,
    ):
        reclaim_begins(s, pid)


@part
def _on_alloc_event(s: Tables, out: DemandChunk, e: EventChunk, i: int) -> None:
    """A request that the recorded kernel served or refused."""
    s.q[_Q_ALLOC_EVENTS] += 1
    order, mt, gfp = i64(e.order[i]), i64(e.mt[i]), i64(e.gfp[i])
    if e.pfn[i] < 0:
        on_failed(s, out, order, mt, gfp)
    else:
        on_alloc(s, out, i64(e.pid[i]), i64(e.pfn[i]), order, mt, gfp, i64(ob.OP_ALLOC))


@kernel(plain_work=1 << 18)
def consume(tables: Tables, rows: DemandChunk, events: EventChunk, first: int, last: int) -> int:
    """Work through events [first, last) until they end or the rows might not suffice; their times count from the start state.

    The DemandChunk are filled from ``tables.g[G_OUT]`` on. Returns where it stopped.
    """
    s = pointers(tables)
    out = pointers(rows)
    e = pointers(events)
    room = len(rows.t) - MARGIN
    i = first
    cache_room = s.g[ob.G_CACHE_SIZE] // 2
    while i < last and s.g[ob.G_OUT] <= room and s.g[ob.G_CACHED] <= cache_room:
        kind = i64(e.kind[i])
        s.q[_Q_EVENTS] += 1
        s.g[ob.G_NOW] = e.ts[i]
        s.g[ob.G_CPU] = e.cpu[i]
        s.g[ob.G_TASK] = e.pid[i]
        if s.g[ob.G_IN_USE] > 0 and e.ts[i] >= s.g[ob.G_NEXT_USE]:
            use_huge_folios(s, out)
        if kind == ev.MM_PAGE_FREE:
            s.q[_Q_FREE_EVENTS] += 1
            on_free(s, out, i64(e.pid[i]), i64(e.pfn[i]), i64(e.order[i]))
        elif kind == ev.MM_PAGE_ALLOC:
            _on_alloc_event(s, out, e, i)
        elif kind == ev.MM_PAGE_FREE_BATCHED:
            s.q[_Q_DUPLICATES] += 1
        elif kind == ev.GT_RMQ and e.a[i] == ev.RMQ_BULK_PAGE:
            on_bulk(s, out, i64(e.pfn[i]), i64(e.mt[i]))
        elif kind == ev.GT_REC or kind == ev.GT_LRU:
            _on_reclaim_look(s, out, e, i)
        elif kind == ev.GT_GEN:
            _on_generation_event(s, out, e, i)
        elif kind in (ev.GT_LIST, ev.MM_PAGE_ALLOC_ZONE_LOCKED, ev.MM_PAGE_ALLOC_EXTFRAG):
            _on_list_event(s, kind, i64(e.pid[i]), i64(e.pfn[i]), i64(e.order[i]), i64(e.a[i]))
        elif kind >= ev.MM_LRU_ACTIVATE:
            _on_page_cache_event(s, out, e, i)
        elif kind >= ev.VMSCAN_KSWAPD_WAKE:
            _on_reclaim_event(s, kind, i64(e.pid[i]))
        elif kind >= ev.COMPACTION_ISOLATE_MIGRATEPAGES:
            _on_mover_event(s, out, kind, i64(e.pid[i]), i64(e.pfn[i]), i64(e.a[i]), i64(e.c[i]))
        i += 1
    return i


@kernel(plain_work=1 << 18)
def finish(tables: Tables, rows: DemandChunk, step: int) -> int:
    """The events are over: settle what waits. Returns the next step, -1 after the last one."""
    s = pointers(tables)
    out = pointers(rows)
    room = len(rows.t) - MARGIN
    cpus = s.g[ob.G_CPUS]
    while step < cpus + fp.SLOTS:
        if s.g[ob.G_OUT] > room:
            return step
        if step < cpus:
            flush_group(s, out, step)
        elif s.sessions[(step - cpus) * fp.S_SIZE + fp.S_PID] != -1:
            resolve(s, out, step - cpus)
        step += 1
    s.q[_Q_UNRESOLVED] = s.g[ob.G_LIMBO]
    return -1
