# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded kernel's own page migrations, recognised and taken out of the demand.

A move is not a death and a birth: the object keeps its identity and gets a new pfn. A *session* follows one
task that migrates. Its rules, from what the events of Linux 7.2 show:

* ``mm_compaction_begin`` to ``_end`` of a task is a compaction session: destinations are silent.
  ``mm_compaction_isolate_migratepages`` outside of one (the evacuation patch, alloc_contig_range) opens a
  session whose destinations are ordinary allocations of that task (specification 4.6).
* A *batch* lasts from an ``isolate_migratepages`` that took something to the task's next
  ``mm_migrate_pages``. A free by the task inside the isolated range, of a folio in use, is a
  *source*. In an evacuation it is one only as long as more destinations than sources are outstanding:
  before that, frees in the range are clean page cache that was reclaimed, a death.
* Source and destination are paired exactly where ``remove_migration_pte`` of the same task named the new
  pfn since the previous source; else in order: n-th source, n-th destination (:mod:`.freepages` for
  compaction with list operations); else the object waits (:mod:`.unplaced`).
* Any other free by a compacting task of a page not in use is compaction's own list (S9).
"""

from __future__ import annotations

from kevacuate.demand import freepages as fp
from kevacuate.demand import objects as ob
from kevacuate.demand.freepages import clear_lists, compaction_alloc, lists_run_out, put_ready, stock_isolated
from kevacuate.demand.objects import Tables, i64, open_object, release_id, set_owner, split_to
from kevacuate.demand.unplaced import BLOCK_ORDER, enter_limbo, give_up, place
from kevacuate.jit import part
from kevacuate.recording.demand import DemandChunk

MAX_CHUNKS_TRIED = 64
"""How many chunks of compaction's list are tried for the pfn that an event named."""

_Q_EXACT = ob.Q["moves_exact"]
_Q_DESTINATION = ob.Q["moves_by_destination"]
_Q_LIST = ob.Q["moves_by_list"]
_Q_UNPAIRED_SOURCES = ob.Q["unpaired_sources"]
_Q_REPEATED = ob.Q["repeated_destinations"]
_Q_RECLAIMED = ob.Q["reclaimed_in_evacuation"]
_Q_LIST_FREES = ob.Q["compaction_list_frees"]
_Q_ANON = ob.Q["anonymous_moves"]


@part
def find_session(s: Tables, pid: int) -> int:
    """The task's session, -1 if it has none."""
    if s.g[ob.G_SESSIONS] == 0 or pid < 0:
        return -1
    for slot in range(fp.SLOTS):
        if s.sessions[slot * fp.S_SIZE + fp.S_PID] == pid:
            return slot
    return -1


@part
def open_session(s: Tables, pid: int, kind: int) -> int:
    """A session for the task; -1 if there are too many movers (their moves then stay unrecognised)."""
    if pid < 0:
        return -1
    for slot in range(fp.SLOTS):
        record = slot * fp.S_SIZE
        if s.sessions[record + fp.S_PID] == -1:
            for i in range(fp.S_SIZE):
                s.sessions[record + i] = 0
            s.sessions[record + fp.S_PID] = pid
            s.sessions[record + fp.S_KIND] = kind
            s.sessions[record + fp.S_NEW] = -1
            clear_lists(s, slot)
            s.sessions[record + fp.S_LISTED] = s.g[ob.G_LISTS]
            s.g[ob.G_SESSIONS] += 1
            return slot
    return -1


@part
def close_session(s: Tables, slot: int) -> None:
    """The session is over; everything in it has been resolved."""
    s.sessions[slot * fp.S_SIZE + fp.S_PID] = -1
    s.g[ob.G_SESSIONS] -= 1


@part
def open_batch(s: Tables, slot: int, start: int, end: int) -> None:
    """Pages of [start, end) were isolated."""
    record = slot * fp.S_SIZE
    if s.sessions[record + fp.S_OPEN] == 0:
        s.sessions[record + fp.S_OPEN] = 1
        s.sessions[record + fp.S_LO] = start
        s.sessions[record + fp.S_HI] = end
        s.sessions[record + fp.S_NEW] = -1
        s.sessions[record + fp.S_CALL] = 0
    else:
        s.sessions[record + fp.S_LO] = min(s.sessions[record + fp.S_LO], start)
        s.sessions[record + fp.S_HI] = max(s.sessions[record + fp.S_HI], end)


@part
def free_chunks_isolated(s: Tables, slot: int, start: int, end: int, taken: int, fast: int) -> None:
    """Compaction took *taken* free pages of [start, end); the fast search does not tell from which block."""
    record = slot * fp.S_SIZE
    if fast or s.sessions[record + fp.S_CALL] == 0:
        lists_run_out(s, slot)
        s.sessions[record + fp.S_CALL] = 1
    stock_isolated(s, slot, taken)
    last = i64(s.sessions[record + fp.S_STOCK_END])
    if taken > 0 and last < fp.QUEUE:
        block = start >> BLOCK_ORDER
        s.stock_block[slot * fp.QUEUE + last] = -1 if fast or block < 0 or block > 1 << 30 else block
        s.stock_pages[slot * fp.QUEUE + last] = min(taken, 1 << 30)
        s.sessions[record + fp.S_STOCK_END] = last + 1


@part
def _draw_stock(s: Tables, slot: int, pages: int) -> int:
    """The pageblock that the next destination of so many pages probably comes from, -1 if unknown."""
    record = slot * fp.S_SIZE
    first = i64(s.sessions[record + fp.S_STOCK_FIRST])
    last = i64(s.sessions[record + fp.S_STOCK_END])
    block = -1
    while first < last and pages > 0:
        left = i64(s.stock_pages[slot * fp.QUEUE + first])
        block = i64(s.stock_block[slot * fp.QUEUE + first])
        if left > pages:
            s.stock_pages[slot * fp.QUEUE + first] = left - pages
            pages = 0
        else:
            pages -= left
            first += 1
    if first == last:
        first = last = 0
    s.sessions[record + fp.S_STOCK_FIRST] = first
    s.sessions[record + fp.S_STOCK_END] = last
    return block


@part
def _all_free(s: Tables, pfn: int, order: int) -> bool:
    """Whether the pages exist and nobody owns one."""
    if pfn < 0 or pfn > s.g[ob.G_PAGES] - (1 << order):
        return False
    for page in range(pfn, pfn + (1 << order)):
        if i64(s.owner[page]) != ob.FREE_CODE:
            return False
    return True


@part
def _outstanding(s: Tables, slot: int, order: int) -> int:
    """Destinations of this order that the evacuation holds, less the sources that will take one."""
    record = slot * fp.S_SIZE
    count = 0
    for i in range(i64(s.sessions[record + fp.S_TARGETS])):
        obj = i64(s.targets[slot * fp.QUEUE + i])
        if obj >= 0 and i64(s.order[obj]) == order:
            count += 1
    for i in range(i64(s.sessions[record + fp.S_SOURCES])):
        if i64(s.source_order[slot * fp.QUEUE + i]) == order and i64(s.source_known[slot * fp.QUEUE + i]) < 0:
            count -= 1
    return count


@part
def _movable_source(s: Tables, pfn: int, order: int) -> int:
    """Whether the pages can be a source: of one folio, or start pages that lie together.

    A folio is movable or compound: page cache of block devices and of the initramfs is on the LRU lists
    although its requests were not movable.
    """
    code = i64(s.owner[pfn])
    if code >= 0:
        flags = i64(s.flags[code])
        folio = i64(s.mt[code]) == 1 or flags & ob.FLAG_COMP != 0
        return folio and i64(s.order[code]) >= order and flags & (ob.FLAG_GROUP | ob.FLAG_PENDING) == 0
    if code == ob.FREE_CODE or (ob.ANON_BASE - code) % (1 << order) != 0:
        return False
    for i in range(1 << order):
        if i64(s.owner[pfn + i]) != code - i:
            return False
    return True


@part
def drop_target(s: Tables, slot: int, obj: int) -> None:
    """Remove the destination from the session's queue and from the pages."""
    for i in range(i64(s.sessions[slot * fp.S_SIZE + fp.S_TARGETS])):
        if i64(s.targets[slot * fp.QUEUE + i]) == obj:
            s.targets[slot * fp.QUEUE + i] = -1
    last = i64(s.sessions[slot * fp.S_SIZE + fp.S_TARGETS])
    while last > 0 and i64(s.targets[slot * fp.QUEUE + last - 1]) < 0:
        last -= 1
    s.sessions[slot * fp.S_SIZE + fp.S_TARGETS] = last
    set_owner(s, i64(s.pfn[obj]), i64(s.order[obj]), ob.FREE_CODE)
    release_id(s, obj)


@part
def _is_target(s: Tables, slot: int, obj: int) -> bool:
    """Whether the object is a destination that this session holds."""
    for i in range(i64(s.sessions[slot * fp.S_SIZE + fp.S_TARGETS])):
        if i64(s.targets[slot * fp.QUEUE + i]) == obj:
            return True
    return False


@part
def mover_alloc(s: Tables, slot: int, pfn: int, order: int, mt: int, gfp: int, seq: int) -> bool:
    """An allocation like a migration target's, by an evacuating task: kept back; False if full."""
    record = slot * fp.S_SIZE
    count = i64(s.sessions[record + fp.S_TARGETS])
    if count == fp.QUEUE:
        return False
    s.targets[slot * fp.QUEUE + count] = open_object(
        s, pfn, order, mt, gfp, ob.FLAG_COMP | ob.FLAG_PENDING, seq
    )
    s.sessions[record + fp.S_TARGETS] = count + 1
    return True


@part
def _named_destination(s: Tables, slot: int, order: int) -> int:
    """First page of the destination that remove_migration_pte named, if it can be one; else -1."""
    record = slot * fp.S_SIZE
    new = i64(s.sessions[record + fp.S_NEW])
    s.sessions[record + fp.S_NEW] = -1
    if new < 0 or new >= s.g[ob.G_PAGES]:
        return -1
    new = new >> order << order
    if s.sessions[record + fp.S_KIND] == fp.KIND_COMPACT:
        return new if _all_free(s, new, order) else -1
    obj = i64(s.owner[new])
    if (
        obj >= 0
        and i64(s.flags[obj]) & ob.FLAG_PENDING != 0
        and _is_target(s, slot, obj)
        and i64(s.pfn[obj]) == new
        and i64(s.order[obj]) == order
    ):
        return new
    return -1


@part
def _push_source(s: Tables, out: DemandChunk, slot: int, code: int, order: int, known: int) -> None:
    """Queue a moved owner (or, with code FREE_CODE, the place of one already paired)."""
    record = slot * fp.S_SIZE
    count = i64(s.sessions[record + fp.S_SOURCES])
    if count == fp.QUEUE:
        if code != ob.FREE_CODE:
            enter_limbo(s, out, code, order, -1)
        return
    s.sources[slot * fp.QUEUE + count] = code
    s.source_order[slot * fp.QUEUE + count] = order
    s.source_known[slot * fp.QUEUE + count] = known
    s.sessions[record + fp.S_SOURCES] = count + 1


@part
def _move_source(s: Tables, out: DemandChunk, slot: int, pfn: int, order: int) -> None:
    """The pages' owner has been moved away from them."""
    code = i64(s.owner[pfn])
    if code >= 0:
        code = split_to(s, out, code, pfn, order)
        s.pfn[code] = -1
    else:
        s.q[_Q_ANON] += 1
    set_owner(s, pfn, order, ob.FREE_CODE)
    evacuates = s.sessions[slot * fp.S_SIZE + fp.S_KIND] == fp.KIND_EVACUATE
    new = _named_destination(s, slot, order)
    if new >= 0:
        if evacuates:
            drop_target(s, slot, i64(s.owner[new]))
        else:
            _push_source(s, out, slot, ob.FREE_CODE, order, new)
        place(s, new, order, code)
        s.q[_Q_EXACT] += 1
    else:
        _push_source(s, out, slot, code, order, -1)


@part
def mover_free(s: Tables, out: DemandChunk, slot: int, pfn: int, order: int) -> bool:
    """A free by a migrating task. True if it was no death: a moved source, or the mover's own page."""
    record = slot * fp.S_SIZE
    code = i64(s.owner[pfn])
    compacts = s.sessions[record + fp.S_KIND] == fp.KIND_COMPACT
    if code >= 0 and i64(s.flags[code]) & ob.FLAG_PENDING and not compacts:
        if i64(s.pfn[code]) == pfn and i64(s.order[code]) == order and _is_target(s, slot, code):
            drop_target(s, slot, code)
            s.q[_Q_REPEATED] += 1
            return True
        return False
    if code == ob.FREE_CODE and compacts and _all_free(s, pfn, order):
        s.q[_Q_LIST_FREES] += 1
        returned = i64(s.sessions[record + fp.S_RETURNED])
        if s.sessions[record + fp.S_OPEN] and s.sessions[record + fp.S_SOURCES] > 0 and returned < fp.QUEUE:
            s.returned[slot * fp.QUEUE + returned] = pfn
            s.sessions[record + fp.S_RETURNED] = returned + 1
        return True
    inside = s.sessions[record + fp.S_LO] <= pfn < s.sessions[record + fp.S_HI]
    if not (inside and s.sessions[record + fp.S_OPEN] and _movable_source(s, pfn, order)):
        return False
    if not compacts and _outstanding(s, slot, order) <= 0:
        s.q[_Q_RECLAIMED] += 1
        return False
    if compacts and s.sessions[record + fp.S_RETURNED] > 0:
        resolve_compaction(s, out, slot)
    _move_source(s, out, slot, pfn, order)
    return True


@part
def _was_returned(s: Tables, slot: int, pfn: int) -> bool:
    """Whether a failed migration gave the page back."""
    for i in range(i64(s.sessions[slot * fp.S_SIZE + fp.S_RETURNED])):
        if i64(s.returned[slot * fp.QUEUE + i]) == pfn:
            return True
    return False


@part
def _listed_destination(s: Tables, slot: int, order: int, known: int) -> int:
    """The next destination of compaction's lists; single pages passed over stand first in line afterwards."""
    passed = 0
    found = -1
    while found < 0 and passed < MAX_CHUNKS_TRIED:
        pfn = compaction_alloc(s, slot, order)
        if pfn < 0:
            break
        if (known < 0 or pfn == known) and not _was_returned(s, slot, pfn):
            found = pfn
        else:
            s.targets[slot * fp.QUEUE + passed] = pfn
            passed += 1
    while passed > 0:
        passed -= 1
        if order == 0:
            put_ready(s, slot, i64(s.targets[slot * fp.QUEUE + passed]))
    return found


@part
def resolve_compaction(s: Tables, out: DemandChunk, slot: int) -> None:
    """Give the waiting sources their destinations, or send them to limbo."""
    record = slot * fp.S_SIZE
    staged = i64(s.sessions[record + fp.S_TARGETS])
    for i in range(i64(s.sessions[record + fp.S_SOURCES])):
        code = i64(s.sources[slot * fp.QUEUE + i])
        order = i64(s.source_order[slot * fp.QUEUE + i])
        block = _draw_stock(s, slot, 1 << order)
        pfn = -1
        if s.sessions[record + fp.S_LISTED] and staged == 0:
            pfn = _listed_destination(s, slot, order, i64(s.source_known[slot * fp.QUEUE + i]))
        if code == ob.FREE_CODE:
            continue
        if pfn >= 0 and _all_free(s, pfn, order):
            place(s, pfn, order, code)
            s.q[_Q_LIST] += 1
        else:
            enter_limbo(s, out, code, order, block)
    s.sessions[record + fp.S_SOURCES] = 0
    s.sessions[record + fp.S_RETURNED] = 0


@part
def resolve_evacuation(s: Tables, out: DemandChunk, slot: int) -> None:
    """Pair sources and destinations in order; sources left over die."""
    record = slot * fp.S_SIZE
    first = slot * fp.QUEUE
    for i in range(i64(s.sessions[record + fp.S_SOURCES])):
        code = i64(s.sources[first + i])
        order = i64(s.source_order[first + i])
        obj = -1
        for k in range(i64(s.sessions[record + fp.S_TARGETS])):
            candidate = i64(s.targets[first + k])
            if obj < 0 and candidate >= 0 and i64(s.order[candidate]) == order:
                obj = candidate
        if obj >= 0:
            pfn = i64(s.pfn[obj])
            drop_target(s, slot, obj)
            place(s, pfn, order, code)
            s.q[_Q_DESTINATION] += 1
        else:
            give_up(s, out, code, order)
            s.q[_Q_UNPAIRED_SOURCES] += 1
    s.sessions[record + fp.S_SOURCES] = 0
