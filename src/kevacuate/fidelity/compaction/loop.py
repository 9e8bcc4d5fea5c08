# SPDX-License-Identifier: GPL-2.0-or-later
"""The compaction level, compiled: every event is followed; those of a task that compacts are held against the model first."""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.flush import begin_flush, end_flushes, flush_reaches, flush_until
from kevacuate.fidelity.compaction.follow import follow, follow_free
from kevacuate.fidelity.compaction.free_scan import (
    AT_BLOCKS,
    NO_SCAN,
    OVER,
    SEARCHED,
    block_over,
    reach_block,
    search_over,
)
from kevacuate.fidelity.compaction.operations import compare_operation
from kevacuate.fidelity.compaction.steps import (
    FLAG_DIRECT,
    asked_by,
    batch_ended,
    begin_run,
    end_run,
    finished,
    force_cached,
    isolated,
    judge,
    need_sources,
    released,
    scan_ended,
    scan_stopped,
    sources_found,
    take_folio,
)
from kevacuate.fidelity.compaction.stock_runs import (
    adopt_folios,
    begin_stock_run,
    begun_by,
    end_stock_run,
    forget_begin,
    note_begin,
    stock_batch_ended,
    stock_free,
)
from kevacuate.fidelity.compaction.targets import (
    attempted,
    close_scan,
    freed_while_isolated,
    give_back,
    move_folio,
    moved,
    need_targets,
    not_moved,
    undo_unmoved,
)
from kevacuate.fidelity.compaction.unlisted import unlisted_scan
from kevacuate.fidelity.tally import F_NUMBER
from kevacuate.fidelity.tuning.zone import balance_begins, balance_ends
from kevacuate.jit import kernel, part, pointers
from kevacuate.kernel.hooks import LAST_REQUEST, ZONE_INDEX
from kevacuate.mm import constants as k
from kevacuate.mm.as_recorded import set_block_skip
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.compact_scanners import add_to_freepages, freepages, pageblock_start_pfn
from kevacuate.mm.compact_suitable import compaction_defer_reset
from kevacuate.mm.direct_compact import direct_compacted, direct_compaction_wanted
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.get_page import gfp_zone
from kevacuate.mm.kcompactd import compacted, set_kcompactd_control, wants_compaction
from kevacuate.mm.layout import State
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev

OPEN = 1 << 30
"""Pages left of a request whose end its own events do not show."""


@part(inline=True)
def run_of(b: CompactionBooks, pid: int) -> int:
    """The run of the task; -1 if it does not compact."""
    for run in range(bk.RUNS):
        if b.runs[run * bk.RW + bk.R_PID] == pid + 1:
            return run
    return -1


@part
def own_request(b: CompactionBooks, e: EventChunk, i: int, run: int) -> None:
    """Which list operations of a compacting task are those of a request of its own (gt_rmq)."""
    at = run * bk.RW
    kind = e.kind[i]
    if kind == ev.GT_RMQ:
        if e.a[i] <= LAST_REQUEST:
            b.runs[at + bk.R_REQUEST] = (
                e.d[i] + 1 if e.a[i] == ev.RMQ_DRAIN else 1 if e.a[i] > ev.RMQ_DRAIN else OPEN
            )
    elif kind == ev.MM_PAGE_PCPU_DRAIN:
        b.runs[at + bk.R_REQUEST] = max(b.runs[at + bk.R_REQUEST] - (1 << e.order[i]), 1)
    elif kind == ev.GT_LIST:
        if e.a[i] <= ev.LIST_ADD_TAIL and b.runs[at + bk.R_REQUEST] == 1:
            b.runs[at + bk.R_REQUEST] = 0
    elif (
        kind == ev.MM_PAGE_ALLOC
        or kind == ev.GT_MIG
        or kind == ev.MM_PAGE_FREE
        or kind >= ev.COMPACTION_ISOLATE_MIGRATEPAGES
    ):
        b.runs[at + bk.R_REQUEST] = 0


@part(cold=True)
def correct_skip(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """The fast search for sources found another chunk: its block has no skip bit, that of the model's choice has one."""
    if b.decisions[i] > bk.DECIDED_NONE:
        set_block_skip(s, (b.decisions[i] - bk.DECIDED_FROM) >> 10, True)
    set_block_skip(s, e.pfn[i] + 0, False)


@part
def scan_operation(s: View, b: CompactionBooks, run: int, z: int, cc: CompactControl) -> None:
    """The kernel's free scanner is about to do something to a list: let the model decide that step, if it has not yet."""
    at = run * bk.RW
    reach_block(s, b, z, cc, run)
    if b.runs[at + bk.R_PHASE] == NO_SCAN or b.runs[at + bk.R_PHASE] == OVER:
        need_targets(s, b, z, cc, run)
        reach_block(s, b, z, cc, run)


@part
def own_list(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """gt_list of a compacting task, outside its requests: the scanners'."""
    at = run * bk.RW
    cc = s.cc[run]
    op, state = e.a[i], b.runs[at + bk.R_STATE]
    if op == ev.LIST_ROTATE_LAST and state != bk.S_MIGRATE:
        sources_found(s, b, e, i, run, z, cc)
        if not compare_operation(b, e, i, run):
            correct_skip(s, b, e, i)
    elif state == bk.S_MIGRATE and (op == ev.LIST_DELETE or op == ev.LIST_ROTATE_FIRST):
        scan_operation(s, b, run, z, cc)
        compare_operation(b, e, i, run)
        if op == ev.LIST_DELETE:
            b.runs[at + bk.R_AT] = e.pfn[i] + (1 << e.order[i])
            follow(s, b, e, i)
            add_to_freepages(s, z, cc, e.pfn[i] + 0, e.order[i] + 0)
            return
    follow(s, b, e, i)


@part
def own_migration(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """gt_mig of a compacting task."""
    cc = s.cc[run]
    op = e.b[i]
    if op == ev.MIG_ISOLATED:
        isolated(s, b, e, i, run, z, cc)
    elif b.runs[run * bk.RW + bk.R_STATE] != bk.S_MIGRATE:
        return
    elif op == ev.MIG_MOVED:
        moved(s, b, e, i, run, z, cc)
    elif op == ev.MIG_NOT_UNMAPPED:
        attempted(s, b, e, i, run, z, cc)
    else:
        not_moved(s, b, e, i, run, z, cc)


@part
def own_free(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """mm_page_free of a compacting task: a free page given back, or a source whose owner has let go of it."""
    pfn = e.pfn[i] + 0
    state = s.meta[pfn] >> 4
    if state == k.CHUNK_COMPACT and b.runs[run * bk.RW + bk.R_STATE] >= bk.S_OVER:
        released(s, b, e, i, run, z)
    elif b.runs[run * bk.RW + bk.R_STATE] == bk.S_MIGRATE:
        if state == k.CHUNK_RESERVED and b.target[b.source_of[pfn]] == pfn + 1:
            give_back(s, b, z, s.cc[run], b.source_of[pfn] + 0)
        if s.meta[pfn] >> 4 == k.CHUNK_COMPACT:
            return
        if state == k.CHUNK_ISOLATED and b.target[pfn] == 0:
            freed_while_isolated(s, b, z, s.cc[run], run, pfn)
    follow_free(s, b, e, i)


@part
def own_scan(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """A range of the free scanner's, or its fast search: a scan is under way, whether it took anything or not."""
    if b.facts[bk.F_UNLISTED]:
        unlisted_scan(s, b, e, i, run, z)
        return
    at = run * bk.RW
    if b.runs[at + bk.R_STATE] != bk.S_MIGRATE:
        return
    phase = b.runs[at + bk.R_PHASE]
    if e.kind[i] == ev.COMPACTION_FAST_ISOLATE_FREEPAGES:
        if phase != SEARCHED:
            close_scan(s, b, e, i, run)
            need_targets(s, b, z, s.cc[run], run)
        search_over(s, b, e, i, run, z, s.cc[run])
        return
    if phase == NO_SCAN or (phase == OVER and s.cc[run].order <= 0):
        need_targets(s, b, z, s.cc[run], run)
    block_over(s, b, e, i, run, z, s.cc[run])


@part(cold=True)
def stock_event(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> bool:
    """An event of a run that stock events alone show; whether it is one that only such runs take in their own way."""
    kind = e.kind[i]
    if kind == ev.COMPACTION_ISOLATE_MIGRATEPAGES:
        need_sources(s, b, e, i, run, z, cc)
        adopt_folios(s, b, e, i, run, cc)
        scan_stopped(s, b, e, i, run, z, cc)
    elif kind == ev.MM_PAGE_FREE and b.runs[run * bk.RW + bk.R_STATE] == bk.S_MIGRATE:
        stock_free(s, b, e, i, run, z)
    elif kind == ev.COMPACTION_MIGRATEPAGES:
        stock_batch_ended(s, b, e, i, run, z, cc)
    elif kind == ev.COMPACTION_END:
        direct = b.runs[run * bk.RW + bk.R_STOCK] == 2
        end_stock_run(s, b, e, i, run, z, cc)
        b.facts[bk.F_ACTIVE] -= 1
        if direct:
            made_of_result(s, b, e, i, z, e.d[i] + 0)
        else:
            compacted(s, cc, z, e.d[i] + 0)
    else:
        return False
    return True


@part(cold=True)
def looks_into(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int) -> None:
    """Row *i* of a run that began in the middle of a clearing of skip bits: the block that it is the first event of."""
    at = run * bk.RW
    kind, state = e.kind[i], b.runs[at + bk.R_STATE] + 0
    own = kind == ev.GT_LIST and b.runs[at + bk.R_REQUEST] == 0 and e.a[i] == ev.LIST_DELETE
    if kind == ev.COMPACTION_ISOLATE_FREEPAGES or (own and state == bk.S_MIGRATE):
        if b.runs[at + bk.R_PHASE] == AT_BLOCKS and b.runs[at + bk.R_AROUND] == 0:
            flush_reaches(s, b, z, e.pfn[i] + 0)
    elif kind == ev.COMPACTION_ISOLATE_MIGRATEPAGES or kind == ev.GT_MIG:
        pfn = s.cc[run].migrate_pfn
        same = pageblock_start_pfn(s, pfn) == pageblock_start_pfn(s, e.pfn[i] + 0)
        at_start = pfn in (pageblock_start_pfn(s, pfn), s.zone[z].zone_start_pfn)
        if state <= bk.S_FOUND and (at_start or not same):
            flush_reaches(s, b, z, e.pfn[i] + 0)


@part
def own_event(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int) -> None:
    """An event of a task inside compact_zone."""
    at = run * bk.RW
    z = b.runs[at + bk.R_ZONE] + 0
    kind = e.kind[i]
    load_free_pages(s, b, run)
    own_request(b, e, i, run)
    if b.flush[z * bk.ZF + bk.Z_FLUSH] == bk.CUT:
        looks_into(s, b, e, i, run, z)
    if b.runs[at + bk.R_STOCK] and stock_event(s, b, e, i, run, z, s.cc[run]):
        return
    if kind == ev.GT_LIST and b.runs[at + bk.R_REQUEST] == 0:
        own_list(s, b, e, i, run, z)
    elif kind == ev.GT_MIG:
        own_migration(s, b, e, i, run, z)
    elif kind == ev.MM_PAGE_FREE:
        own_free(s, b, e, i, run, z)
    elif kind == ev.COMPACTION_FINISHED:
        finished(s, b, e, i, run, z, s.cc[run])
    elif kind == ev.COMPACTION_ISOLATE_MIGRATEPAGES:
        scan_ended(s, b, e, i, run, z, s.cc[run])
    elif kind == ev.COMPACTION_FAST_ISOLATE_FREEPAGES or kind == ev.COMPACTION_ISOLATE_FREEPAGES:
        own_scan(s, b, e, i, run, z)
    elif kind == ev.GT_CAPT:
        b.runs[at + bk.R_CAPTURED] = 1
    elif kind == ev.COMPACTION_MIGRATEPAGES:
        close_scan(s, b, e, i, run)
        undo_unmoved(s, b, z, s.cc[run], run)
        batch_ended(s, b, e, i, run, s.cc[run])
    else:
        follow(s, b, e, i)
    b.runs[at + bk.R_BREAK], b.runs[at + bk.R_CPU] = 0, e.cpu[i]


@part
def free_run(s: View, b: CompactionBooks) -> int:
    """A record for a direct compaction; -1 if all are in use."""
    for run in range(s.cfg.nr_nodes, bk.RUNS):
        if b.runs[run * bk.RW + bk.R_PID] == 0:
            return run
    return -1


@part
def load_free_pages(s: View, b: CompactionBooks, run: int) -> None:
    """Put the free pages of a direct compaction into the lists that all share, and away those of the one before."""
    before = b.facts[bk.F_LOADED]
    if run < s.cfg.nr_nodes or run == before:
        return
    for z in range(s.cfg.nr_zones):
        for order in range(k.NR_ORDERS):
            head = freepages(s, z, s.cc[run], order)
            slot = ((z * bk.RUNS) * k.NR_ORDERS + order) * 2
            old, new = slot + before * 2 * k.NR_ORDERS, slot + run * 2 * k.NR_ORDERS
            b.parked[old], b.parked[old + 1] = s.link[2 * head] + 0, s.link[2 * head + 1] + 0
            s.link[2 * head] = b.parked[new] if b.parked[new] >= 0 else head
            s.link[2 * head + 1] = b.parked[new + 1] if b.parked[new] >= 0 else head
    b.facts[bk.F_LOADED] = run


@part
def compact_zone_event(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """gt_cz: a run begins, ends, or did not begin."""
    op, result = e.a[i] & 255, e.a[i] >> 24 & 255
    direct = e.a[i] >> 32 & FLAG_DIRECT != 0
    z = b.zone_of[e.a[i] >> 48 & 255] + 0
    if op == ev.CZ_ENDS:
        run = run_of(b, e.pid[i] + 0)
        if run < 0:
            force_cached(s, e, i, z)
        else:
            load_free_pages(s, b, run)
            end_run(s, b, e, i, run, z, s.cc[run])
            b.facts[bk.F_ACTIVE] -= 1
        if direct:
            ended_directly(s, b, e, i, z, result)
        elif run >= 0:
            compacted(s, s.cc[run], z, result)
        return
    if direct:
        wanted_directly(s, b, e, i, z, k.COMPACT_CONTINUE if op == ev.CZ_BEGINS else result)
        if op == ev.CZ_NONE:
            ended_directly(s, b, e, i, z, result)
    else:
        wanted(b, e, i, op == ev.CZ_BEGINS, s.zone[z].node)
    if op == ev.CZ_BEGINS:
        forget_begin(b, e.pid[i] + 0)
        flush_until(s, b, e, i, z)
        run = free_run(s, b) if direct else s.zone[z].node
        if run < 0 or b.runs[run * bk.RW + bk.R_PID]:
            b.inputs[bk.N_MODES] += 1
        else:
            load_free_pages(s, b, run)
            begin_run(s, b, e, i, run, z)
            b.facts[bk.F_ACTIVE] += 1


@part
def wanted_directly(s: View, b: CompactionBooks, e: EventChunk, i: int, z: int, theirs: int) -> None:
    """Whether a direct compaction compacts a zone: COMPACT_CONTINUE, or why not."""
    at = asked_by(b, e.pid[i] + 0)
    highest = gfp_zone(b.asked[at + bk.A_GFP] + 0)
    ours = direct_compaction_wanted(
        s,
        z,
        b.asked[at + bk.A_ORDER] + 0,
        highest,
        b.asked[at + bk.A_FLAGS] + 0,
        b.asked[at + bk.A_PRIORITY] + 0,
    )
    judge(b, e, i, bk.D_WANTED, ours, theirs)


@part
def ended_directly(s: View, b: CompactionBooks, e: EventChunk, i: int, z: int, result: int) -> None:
    """What try_to_compact_pages makes of a zone's result."""
    captured = e.d[i] >> 32 & 0xFFFFFFFF
    if captured != 0xFFFFFFFF:
        result = k.COMPACT_SUCCESS
    made_of_result(s, b, e, i, z, result)


@part
def made_of_result(s: View, b: CompactionBooks, e: EventChunk, i: int, z: int, result: int) -> None:
    """The zone's deferral after a direct compaction."""
    at = asked_by(b, e.pid[i] + 0)
    direct_compacted(s, z, b.asked[at + bk.A_ORDER] + 0, b.asked[at + bk.A_PRIORITY] + 0, result)
    b.asked[at + bk.A_RESETS] = 1 if result == k.COMPACT_SUCCESS else 0


@part
def wanted(b: CompactionBooks, e: EventChunk, i: int, begun: bool, node: int) -> None:
    """Whether kcompactd compacts after a wake."""
    if b.wanted[2 * node] == e.pid[i] + 1:
        b.wanted[2 * node] = 0
        judge(b, e, i, bk.D_WANTED, b.wanted[2 * node + 1] + 0, 1 if begun else 0)


@part
def kcompactd_woke(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """mm_compaction_kcompactd_wake: kcompactd_do_work asks its zones."""
    node = e.a[i]
    b.daemon[node] = b.wanted[2 * node] = e.pid[i] + 1
    b.wanted[2 * node + 1] = 0
    for z in range(s.cfg.nr_zones):
        if s.zone[z].node != node:
            continue
        highest = min(e.b[i] - (b.zone_index[z] & ZONE_INDEX) + s.zone[z].index, k.ZONE_MOVABLE)
        set_kcompactd_control(s.cc[node], e.order[i] + 0, highest, False)
        if wants_compaction(s, z, e.order[i] + 0, highest):
            b.wanted[2 * node + 1] = 1


@part(cold=True)
def preferred_node(s: View, free: int) -> int:
    """The node of the zone that a request prefers: the one with as many *free* pages, or with almost as many (gt_slow)."""
    best = 0
    for z in range(s.cfg.nr_zones):
        if abs_of(s.zone[z].nr_free_pages - free) < abs_of(s.zone[best].nr_free_pages - free):
            best = z
    return s.zone[best].node


@part(inline=True)
def abs_of(number: int) -> int:
    """Its absolute value."""
    return number if number >= 0 else -number


@part
def event_zone(s: View, b: CompactionBooks, e: EventChunk, i: int) -> int:
    """The zone of an event about deferral, which does not name its node: kcompactd's own, or the one that a request prefers."""
    pid, index = e.pid[i] + 1, e.a[i] + 0
    if s.cfg.nr_nodes <= 1:
        return b.zone_of[index] + 0
    for node in range(s.cfg.nr_nodes):
        if b.daemon[node] == pid:
            return b.zone_of[index + (ZONE_INDEX + 1) * node] + 0
    return b.zone_of[index + (ZONE_INDEX + 1) * b.asked[asked_by(b, pid - 1) + bk.A_NODE]] + 0


@part
def asks(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """A task is in the slow path, or tries to compact."""
    at = asked_by(b, e.pid[i] + 0)
    b.asked[at + bk.A_PID] = e.pid[i] + 1
    b.asked[at + bk.A_ROW] = b.facts[F_NUMBER] + i
    if e.kind[i] == ev.GT_SLOW:
        b.asked[at + bk.A_NODE] = preferred_node(s, e.d[i] + 0)
        if e.a[i] == 0:
            b.asked[at + bk.A_FLAGS] = e.c[i]
        return
    b.asked[at + bk.A_ORDER] = e.order[i]
    b.asked[at + bk.A_GFP] = e.gfp[i]
    b.asked[at + bk.A_PRIORITY] = e.a[i]
    b.asked[at + bk.A_RESETS] = 0


@part
def outside(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """Compaction's events outside compact_zone, and kswapd's."""
    kind = e.kind[i]
    if kind == ev.COMPACTION_KCOMPACTD_WAKE:
        kcompactd_woke(s, b, e, i)
    elif kind == ev.COMPACTION_KCOMPACTD_SLEEP:
        wanted(b, e, i, False, e.a[i] + 0)
    elif kind == ev.COMPACTION_TRY_TO_COMPACT_PAGES:
        asks(s, b, e, i)
    elif kind == ev.COMPACTION_DEFERRED:
        z = event_zone(s, b, e, i)
        if b.wanted[2 * s.zone[z].node] != e.pid[i] + 1:
            wanted_directly(s, b, e, i, z, k.COMPACT_DEFERRED)
        deferral(s, b, e, i)
    elif kind == ev.COMPACTION_DEFER_COMPACTION:
        deferral(s, b, e, i)
    elif kind == ev.COMPACTION_DEFER_RESET:
        got_page(s, b, e, i)
        deferral(s, b, e, i)
    elif kind == ev.VMSCAN_BALANCE_PGDAT_BEGIN or kind == ev.VMSCAN_WAKEUP_KSWAPD:
        b.facts[bk.F_KSWAPD] = 1
        if kind == ev.VMSCAN_BALANCE_PGDAT_BEGIN:
            balance_begins(s, e.a[i] + 0, e.b[i] + 0, b.zone_index)
    elif kind == ev.VMSCAN_KSWAPD_SLEEP:
        b.facts[bk.F_KSWAPD] = 0
    elif kind == ev.VMSCAN_BALANCE_PGDAT_END:
        b.facts[bk.F_KSWAPD] = 0
        b.inputs[bk.N_FLUSHES] += 1
        balance_ends(s, e.a[i] + 0)
        begin_flush(s, b, e.a[i] + 0)


@part
def got_page(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """A reset of the deferral that the end of no run accounts for: the direct compactor has got its page (page_alloc.c:4220)."""
    at = asked_by(b, e.pid[i] + 0)
    if b.asked[at + bk.A_PID] != e.pid[i] + 1:
        return
    if b.asked[at + bk.A_RESETS]:
        b.asked[at + bk.A_RESETS] = 0
        return
    z = event_zone(s, b, e, i)
    s.zone[z].compact_blockskip_flush = 0
    compaction_defer_reset(s, z, e.order[i] + 0, True)


@part
def deferral(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """The zone's deferral, as the kernel prints it after it has changed or was asked; taken over."""
    zone = s.zone[event_zone(s, b, e, i)]
    ours = (zone.compact_considered * 64 + zone.compact_defer_shift) * 64 + zone.compact_order_failed
    judge(b, e, i, bk.D_DEFERRAL, ours, (e.b[i] * 64 + e.c[i]) * 64 + e.d[i])
    zone.compact_considered = e.b[i]
    zone.compact_defer_shift = e.c[i]
    zone.compact_order_failed = e.d[i]


@part
def others_ran(b: CompactionBooks, cpu: int) -> None:
    """A task that does not compact has an event while others do: those whose CPU it has are interrupted."""
    for run in range(bk.RUNS):
        b.runs[run * bk.RW + bk.R_OTHERS] = 1
        if b.runs[run * bk.RW + bk.R_CPU] == cpu:
            b.runs[run * bk.RW + bk.R_BREAK] = 1


@part
def other_migration(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """gt_mig of a task whose run is not the model's, or of an evacuation."""
    if e.b[i] == ev.MIG_ISOLATED:
        take_folio(s, b, e.pfn[i] + 0, e.order[i] + 0)
    elif e.b[i] == ev.MIG_MOVED:
        move_folio(s, b, e.pfn[i] + 0, e.order[i] + 0, e.a[i] + 0)


@part(cold=True)
def kcompactd_runs(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int) -> bool:
    """Whether row *i* is kcompactd's, about to begin a run or in one that began while kswapd had not come to the end."""
    if run >= 0:
        return (
            run < s.cfg.nr_nodes and b.flush[b.runs[run * bk.RW + bk.R_ZONE] * bk.ZF + bk.Z_FLUSH] == bk.CUT
        )
    if e.kind[i] == ev.COMPACTION_KCOMPACTD_WAKE:
        return True
    for node in range(s.cfg.nr_nodes):
        if b.wanted[2 * node] == e.pid[i] + 1:
            return True
    return False


@part
def frame_event(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """Where stock events alone show it, a run begins."""
    kind = e.kind[i]
    if kind == ev.COMPACTION_BEGIN:
        note_begin(b, e, i)
    at = begun_by(b, e.pid[i] + 0) if kind == ev.COMPACTION_FINISHED else -1
    if at >= 0:
        z = page_zone(s, b.begun[at + bk.B_ZONE_START] + 0)
        node = s.zone[z].node
        direct = b.asked[asked_by(b, e.pid[i] + 0) + bk.A_PID] == e.pid[i] + 1
        if not direct:
            b.daemon[node] = e.pid[i] + 1
            wanted(b, e, i, True, node)
        run = free_run(s, b) if direct else node + 0
        if run < 0 or b.runs[run * bk.RW + bk.R_PID]:
            b.inputs[bk.N_MODES] += 1
            b.begun[at] = 0
            return
        load_free_pages(s, b, run)
        begin_stock_run(s, b, e, i, run, z, at)
        b.facts[bk.F_ACTIVE] += 1


@part(inline=True)
def lets_go(kind: int) -> bool:
    """Whether an event of this kind may be part of letting go of pages."""
    freed = kind == ev.MM_PAGE_FREE or kind == ev.MM_PAGE_FREE_BATCHED
    return freed or kind == ev.MM_PAGE_PCPU_DRAIN or kind == ev.GT_RMQ or kind == ev.GT_LIST


@part(inline=False)
def compaction_row(s: View, b: CompactionBooks, e: EventChunk, i: int) -> None:
    """Run one row through the level."""
    kind = e.kind[i]
    if not lets_go(kind):
        b.busy[e.pid[i] % bk.OWNERS] = b.facts[F_NUMBER] + i + 1
    if b.facts[bk.F_UNLISTED]:
        frame_event(s, b, e, i)
    run = run_of(b, e.pid[i] + 0) if b.facts[bk.F_ACTIVE] > 0 else -1
    b.facts[bk.F_RUN] = run
    if run < 0 and b.facts[bk.F_ACTIVE] > 0:
        others_ran(b, e.cpu[i] + 0)
    if b.facts[bk.F_FLUSHING] > 0 and not kcompactd_runs(s, b, e, i, run):
        end_flushes(s, b)
    if kind == ev.GT_CZ:
        compact_zone_event(s, b, e, i)
    elif kind == ev.GT_SLOW:
        asks(s, b, e, i)
    elif run >= 0:
        own_event(s, b, e, i, run)
    elif kind == ev.GT_MIG:
        other_migration(s, b, e, i)
    elif kind >= ev.COMPACTION_ISOLATE_MIGRATEPAGES and kind <= ev.VMSCAN_BALANCE_PGDAT_END:
        outside(s, b, e, i)
    else:
        follow(s, b, e, i)


@kernel
def compaction_rows(sa: State, books: CompactionBooks, events: EventChunk, number: int, first: int) -> None:
    """Run rows from *first* on through the level; *number* is that of row 0."""
    s, b, e = pointers(sa), pointers(books), pointers(events)
    b.facts[bk.F_ROWS], b.facts[F_NUMBER] = events.kind.size, number
    for i in range(first, events.kind.size):
        compaction_row(s, b, e, i)
