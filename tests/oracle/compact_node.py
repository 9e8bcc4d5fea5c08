# SPDX-License-Identifier: GPL-2.0-or-later
"""kcompactd's compact_zone (mm/compaction.c, mm/migrate.c), in closed loop: turn by turn, as its time passes.

Written from the kernel with the model's simplifications (docs/model.md, Compaction). A batch is isolated, and all its
destinations are found, in one turn. Its folios then move in turns of 32 pages. What is locked stays so: one look is enough.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from .compaction import (
    CLUSTER,
    Batch,
    Control,
    check_drain,
    compact_finished,
    compaction_alloc,
    compaction_free,
    isolate_migratepages,
    migrated,
    release_free_list,
    reset_isolation_suitable,
    restarting,
    scanners_met,
    set_scanners,
    start_of_block,
    try_split_folio,
)
from .constants import (
    A_BUSY,
    A_FREED,
    A_PINNED,
    ALLOC,
    COMPACT_CONTINUE,
    COMPACT_NAMES,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_SUCCESS,
    ENOMEM,
    GFP_KERNEL,
    L_COMPACT_BEGIN,
    L_COMPACT_END,
    UNMOVABLE,
    WMARK_HIGH,
)
from .kcompactd import fragmentation_score
from .lru import lru_add_drain
from .machine import Kcompactd, Machine
from .migrate import free_isolated, move_page, putback_movable_pages
from .watermark import zone_watermark_ok
from .zone import Page, Zone

Move = tuple[int, int]
"""A source and its destination, which is NONE or UNTRIED for what is to be put back."""
NONE, UNTRIED = -1, -2


def control(thread: Kcompactd, zone: Zone) -> Control:
    """The compact_control of kcompactd_do_work or, for a proactive run, of compact_node."""
    proactive = thread.proactive
    return Control(
        zone, thread.order, max(thread.order, 0), UNMOVABLE, GFP_KERNEL, 0, thread.run_highest, False, proactive,
        proactive, direct=False, proactive=proactive,
    )  # fmt: skip


def begin(m: Machine, thread: Kcompactd, zone: Zone) -> None:
    """`compact_zone` up to its loop. The searches' memory, and whole_zone, are those of the zone before."""
    cc = control(thread, zone)
    if thread.control is not None:
        cc.whole_zone = thread.control.whole_zone
        cc.fast_search_fail, cc.search_order = thread.control.fast_search_fail, thread.control.search_order
    thread.control = cc
    if restarting(zone, cc.order):
        reset_isolation_suitable(m, zone)
    set_scanners(m, cc)
    m.log(L_COMPACT_BEGIN, cc.migrate_pfn, cc.free_pfn, cc.order, zone.number)
    lru_add_drain(m)
    thread.turns = turns(m, thread, cc)


def finished(m: Machine, thread: Kcompactd, cc: Control) -> int:
    """`__compact_finished`: a proactive run ends by its score, one under defrag_mode by whole free blocks."""
    zone = cc.zone
    if scanners_met(m, cc):
        return compact_finished(m, cc)
    if cc.proactive:
        if not m.kswapds[zone.node].sleeps:
            m.reached["proactive compaction gives way to kswapd"] += 1
            return COMPACT_PARTIAL_SKIPPED
        score = fragmentation_score(zone, m.config.compaction_order)
        return COMPACT_CONTINUE if score > 100 - m.config.compaction_proactiveness else COMPACT_SUCCESS
    if m.config.defrag_mode and cc.migrate_pfn % m.block_pages == 0:
        mark = zone.wmark_pages(WMARK_HIGH)
        enough = zone_watermark_ok(zone, cc.order, mark, cc.highest, 0, zone.nr_free_blocks)
        return COMPACT_SUCCESS if enough else COMPACT_CONTINUE
    return compact_finished(m, cc)


def turns(m: Machine, thread: Kcompactd, cc: Control) -> Iterator[None]:
    """The loop, and what follows it; `thread.result` is how it ends."""
    while (result := finished(m, thread, cc)) == COMPACT_CONTINUE:
        cc.finish_pageblock = start_of_block(m, cc.last_migrated) == start_of_block(m, cc.migrate_pfn)
        again = True
        while again:
            again = False
            isolate(m, thread, cc)
            if cc.migratepages:
                err, moved, put = yield from migrate(m, thread, cc)
                result, again = migrated(m, cc, err, moved, put)
        if result != COMPACT_CONTINUE:
            break
        check_drain(m, cc)
        yield
    thread.result = result
    end(m, thread, cc)


def isolate(m: Machine, thread: Kcompactd, cc: Control) -> None:
    """One call of isolate_migratepages, which takes time; of which block it was is remembered."""
    taken = cc.isolated
    cc.walked = 0
    isolate_migratepages(m, cc)
    thread.cost += (cc.isolated - taken) * m.config.isolate_ns + cc.walked * m.config.scan_ns
    if cc.migratepages:
        cc.last_migrated = max(cc.zone.start_pfn, start_of_block(m, cc.migrate_pfn - 1))


def migrate(m: Machine, thread: Kcompactd, cc: Control) -> Generator[None, None, tuple[int, int, int]]:
    """`migrate_pages` and putback: yields where a turn ends, returns as `compaction.migrate_pages`."""
    batch, folios = Batch(), len(cc.migratepages)
    moves, ran_out = targets(m, cc, cc.migratepages, batch)
    parts, batch.parts = batch.parts or [], None
    if moves:
        yield
        yield from move_all(m, thread, cc, moves, batch)
    if parts and ran_out:
        m.reached["kcompactd: pages of split folios put back untried"] += 1
        put_back(m, batch, parts)
    elif parts:
        m.reached["kcompactd: pages of split folios tried"] += 1
        moves, _ = targets(m, cc, parts, batch)
        yield
        yield from move_all(m, thread, cc, moves, batch)
    cc.migratepages = []
    put = len(batch.failed)
    m.events["compact_failed"] += put
    m.events["pgmigrate_fail"] += batch.failed_pages
    return (-ENOMEM if ran_out else put), folios + batch.extra - put, put


def targets(m: Machine, cc: Control, pages: list[int], batch: Batch) -> tuple[list[Move], bool]:
    """A destination for each, and whether they ran out: there was none for one that could not be split."""
    moves: list[Move] = []
    ran_out = False
    for pfn in pages:
        page = m.heads[pfn]
        if ran_out:
            moves.append((pfn, UNTRIED))
            continue
        if page.attr & A_FREED:
            moves.append((pfn, NONE))
            continue
        busy = page.attr & A_BUSY
        dst = compaction_alloc(m, cc, page.order)
        if dst >= 0 and busy:
            compaction_free(m, cc, dst)
            moves.append((pfn, NONE))
        elif dst >= 0:
            moves.append((pfn, dst))
        elif not try_split_folio(m, batch, Page(pfn, page.order), True):
            moves.append((pfn, NONE))
            ran_out = True
    return moves, ran_out


def move_all(m: Machine, thread: Kcompactd, cc: Control, moves: list[Move], batch: Batch) -> Iterator[None]:
    """Move or put back one after the other; a turn ends once 32 pages have moved, if any are left."""
    moved = 0
    for pfn, dst in moves:
        if moved >= CLUSTER:
            yield
            moved = 0
        page = m.heads[pfn]
        if page.attr & A_FREED:
            m.reached["kcompactd: source freed meanwhile"] += 1
            free_isolated(m, page)
        elif dst >= 0 and not page.attr & A_PINNED and m.heads[dst].order == page.order:
            size = page.size
            move_page(m, page, replaced(m, dst))
            moved += size
            thread.cost += size * m.config.migrate_ns
            m.events["pgmigrate_success"] += size
            continue
        else:
            batch.failed_pages += page.size if dst != UNTRIED else 0
            put_back(m, batch, [pfn])
        if dst >= 0:
            compaction_free(m, cc, dst)


def replaced(m: Machine, dst: int) -> Page:
    """A destination, in use from now on."""
    m.heads[dst] = Page(dst, m.heads[dst].order, ALLOC)
    return m.heads[dst]


def put_back(m: Machine, batch: Batch, pages: list[int]) -> None:
    """`putback_movable_pages`."""
    batch.failed += pages
    putback_movable_pages(m, pages)


def end(m: Machine, thread: Kcompactd, cc: Control) -> None:
    """`out:`: unused destinations are given back, and what was scanned is counted."""
    m.log(L_COMPACT_END, cc.migrate_pfn, cc.free_pfn, cc.order, thread.result, cc.zone.number)
    release_free_list(m, cc)
    for kind in ("compact_", "compact_daemon_"):
        m.events[f"{kind}migrate_scanned"] += cc.migrate_scanned
        m.events[f"{kind}free_scanned"] += cc.free_scanned
    m.reached[f"kcompactd's compaction: {COMPACT_NAMES[thread.result]}"] += 1
