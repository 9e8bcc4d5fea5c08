# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's zones, compiled: NR_FREE_PAGES, BELOW_HIGH, the boost, and when kswapd is active.

NR_FREE_PAGES follows the recorded list operations, or without them what was taken, drained, freed and isolated. What is
approximate: whether a free chunk of a high order exists is not known, so BELOW_HIGH is set by such a request only if the zone has
too few pages, or if direct compaction or a failed allocation shows it.
"""

from __future__ import annotations

from kevacuate.fidelity.tuning import books as bk
from kevacuate.fidelity.tuning.books import TuningBooks, TuningScratch
from kevacuate.jit import part
from kevacuate.kernel.hooks import ZONE_INDEX
from kevacuate.mm.constants import MIGRATE_ISOLATE, NEVER, WMARK_HIGH, ZONE_MOVABLE
from kevacuate.mm.fields import View
from kevacuate.mm.layout import Int64Array
from kevacuate.mm.watermark import boost_watermark, wmark_pages, zone_watermark_ok
from kevacuate.recording import EventChunk
from kevacuate.recording import event_numbers as ev

KSWAPD_GAP_NS = 30_000_000
"""kswapd's batched frees are taken for one run of balance_pgdat if they lie no further apart; likewise what a free has shown.

In two emulated recordings that show balance_pgdat, gaps within a run were 18 ms at most, between runs mostly 25 or more; a
slower one has gaps of 30 in which a free shows it active.
"""

BOOST_GAP_NS = 10_000_000
"""After a gap longer than this the boost is given back: it may have been the end of one run and the begin of another."""

KSWAPD_END_NS = 150_000
"""How long balance_pgdat lasts after its last free."""


@part(inline=True)
def test_high_mark(s: View, z: int, order: int) -> None:
    """A request for the zone: set BELOW_HIGH unless it passes at HIGH (page_alloc.c:3860)."""
    zone = s.zone[z]
    if zone.below_high == 0:
        mark = zone.watermark[WMARK_HIGH] + zone.watermark_boost
        least = mark + zone.lowmem_reserve[ZONE_MOVABLE] + (1 << order) - 1
        if zone.nr_free_pages <= least:
            zone.below_high = s.cfg.below_high


@part
def test_zones_above(s: View, z: int, hi: int, order: int) -> None:
    """The zones before *z* in the zonelist of its node, up to index *hi*, were tried first."""
    zone = s.zone[z]
    for other in range(s.cfg.nr_zones):
        above = s.zone[other]
        if zone.index < above.index <= hi and above.node == zone.node:
            test_high_mark(s, other, order)


@part(cold=True)
def no_chunk_found(s: View) -> None:
    """A request that went to direct compaction or failed had not passed at HIGH in any zone."""
    for z in range(s.cfg.nr_zones):
        s.zone[z].below_high = s.cfg.below_high


@part(cold=True)
def clear_below_high(s: View, z: int) -> None:
    """After a free's drain: clear BELOW_HIGH if the zone passes at HIGH again (page_alloc.c:2914)."""
    zone = s.zone[z]
    if zone.below_high and zone_watermark_ok(s, z, 0, wmark_pages(s, z, WMARK_HIGH), ZONE_MOVABLE, 0):
        zone.below_high = 0


@part(inline=True)
def list_operation(s: View, z: int, op: int, order: int, mt: int) -> None:
    """gt_list: a chunk came to a free list, or left it."""
    if mt != MIGRATE_ISOLATE and op <= ev.LIST_DELETE:
        s.zone[z].nr_free_pages += (1 << order) if op < ev.LIST_DELETE else -(1 << order)


@part(cold=True)
def claim_attempt(s: View, b: TuningBooks, z: int) -> None:
    """gt_evac 0: every attempt to claim below pageblock order boosts first."""
    b.inputs[bk.N_BOOSTS] += 1
    boost_watermark(s, z, 0)


@part(cold=True)
def balance_begins(s: View, node: int, hi: int, zone_index: Int64Array) -> None:
    """balance_pgdat begins, up to recorded zone index *hi*: RECLAIM_ACTIVE, and the boost to give back (vmscan.c:7014)."""
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node and zone_index[z] & ZONE_INDEX <= hi:
            zone.reclaim_active = 1
            zone.boost_seen = zone.watermark_boost


@part(cold=True)
def balance_ends(s: View, node: int) -> None:
    """It ends: no longer active, and the boost seen at its begin is given back (vmscan.c:7235)."""
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node:
            zone.reclaim_active = 0
            zone.watermark_boost -= min(zone.watermark_boost, zone.boost_seen)
            zone.boost_seen = 0


@part(cold=True)
def vmscan_event(s: View, b: TuningBooks, e: EventChunk, i: int) -> None:
    """Begin and end of balance_pgdat, where they are recorded, and kswapd's wake-up of kcompactd within one.

    The end's event comes last: RECLAIM_ACTIVE is cleared and the boost given back before kcompactd is woken (balance_pgdat).
    Kswapd may be preempted between the two, so what it asks about kcompactd ends the run already.
    """
    kind, node = e.kind[i], e.a[i] + 0
    if node < 0 or node >= s.cfg.nr_nodes:
        return
    if kind == ev.VMSCAN_BALANCE_PGDAT_BEGIN:
        b.inputs[bk.N_BALANCES] += 1
        balance_begins(s, node, e.b[i] + 0, b.zone_index)
        b.balancer[2 * node], b.balancer[2 * node + 1] = e.pid[i] + 1, e.order[i]
    elif kind == ev.VMSCAN_BALANCE_PGDAT_END or asks_for_kcompactd(s, b, e, i):
        b.inputs[bk.N_WAKES] += kind != ev.VMSCAN_BALANCE_PGDAT_END
        balance_ends(s, node)
        b.balancer[2 * node] = 0


@part(cold=True)
def asks_for_kcompactd(s: View, b: TuningBooks, e: EventChunk, i: int) -> bool:
    """Whether kswapd's balance_pgdat is at wakeup_kcompactd, which asks for a pageblock whatever the run was for.

    mm_compaction_suitable says so, too, unless the run itself is for that order: then should_continue_reclaim asks as well.
    """
    node = e.a[i]
    if b.balancer[2 * node] != e.pid[i] + 1:
        return False
    if e.kind[i] == ev.COMPACTION_WAKEUP_KCOMPACTD:
        return True
    return e.order[i] == s.cfg.pageblock_order and b.balancer[2 * node + 1] < s.cfg.pageblock_order


@part
def find_next_kswapd(b: TuningBooks, e: EventChunk, w: TuningScratch, rows: int) -> None:
    """When kswapd next frees a batch, or asks whether to wake kcompactd, which it does at its end; NEVER: not soon."""
    later = NEVER
    i = rows - 1
    while i >= 0:
        kind = e.kind[i]
        if (
            kind == ev.MM_PAGE_FREE_BATCHED
            or kind == ev.COMPACTION_SUITABLE
            or kind == ev.COMPACTION_WAKEUP_KCOMPACTD
        ) and is_kswapd(b, e.pid[i]):
            w.later[i] = later
            later = e.ts[i] + 0
        i -= 1


@part(cold=True)
def infer_kswapd(s: View, b: TuningBooks, e: EventChunk, w: TuningScratch, i: int) -> None:
    """An event of kswapd's, where balance_pgdat is not recorded: what it frees it frees within balance_pgdat.

    Only where there is one node: its kswapd is known by waking kcompactd, for a whole block after a boost.
    """
    if e.kind[i] == ev.COMPACTION_WAKEUP_KCOMPACTD or e.kind[i] == ev.COMPACTION_SUITABLE:
        inferred_end(s, b)
    if e.kind[i] != ev.MM_PAGE_FREE_BATCHED:
        return
    if b.facts[bk.F_RUNNING] and e.ts[i] - b.facts[bk.F_BATCHED] > BOOST_GAP_NS:
        inferred_end(s, b)
    b.facts[bk.F_BATCHED] = e.ts[i]
    if not b.facts[bk.F_RUNNING]:
        b.inputs[bk.N_INFERRED] += 1
        b.facts[bk.F_RUNNING] = 1
        balance_begins(s, 0, ZONE_MOVABLE, b.zone_index)
    set_active(s, 1)
    goes_on = w.later[i] - e.ts[i] <= KSWAPD_GAP_NS
    b.facts[bk.F_UNTIL] = w.later[i] if goes_on else e.ts[i] + KSWAPD_END_NS


@part(cold=True)
def inferred_end(s: View, b: TuningBooks) -> None:
    """kswapd has ended, as far as can be told."""
    if b.facts[bk.F_RUNNING]:
        b.facts[bk.F_RUNNING] = 0
        balance_ends(s, 0)
    set_active(s, 0)


@part(cold=True)
def set_active(s: View, active: int) -> None:
    """Set or clear RECLAIM_ACTIVE in all zones; the boost stays as it is."""
    for z in range(s.cfg.nr_zones):
        s.zone[z].reclaim_active = active


@part(cold=True)
def put_right(s: View, b: TuningBooks, active: int, now: int) -> None:
    """A free that has been compared shows whether kswapd was active; by inference only."""
    if b.facts[bk.F_VMSCAN]:
        return
    b.inputs[bk.N_CORRECTED] += 1
    set_active(s, active)
    if active:
        b.facts[bk.F_UNTIL] = max(b.facts[bk.F_UNTIL] + 0, now + KSWAPD_GAP_NS)
        b.facts[bk.F_RUNNING] = 1


@part(cold=True)
def not_below_high(s: View, b: TuningBooks, z: int) -> None:
    """A free that has been compared shows BELOW_HIGH clear: more boost was given back than was inferred."""
    if b.facts[bk.F_VMSCAN]:
        return
    b.inputs[bk.N_CORRECTED] += 1
    zone = s.zone[z]
    most = zone.nr_free_pages - zone.watermark[WMARK_HIGH] - 1
    zone.below_high = 0
    zone.watermark_boost = max(min(zone.watermark_boost, most), 0)


@part(inline=True)
def kswapd_idle(s: View, b: TuningBooks, now: int) -> None:
    """By inference: kswapd has ended if it has not been seen for a while."""
    if b.facts[bk.F_RUNNING] and now > b.facts[bk.F_UNTIL]:
        inferred_end(s, b)


@part(inline=True)
def is_kswapd(b: TuningBooks, pid: int) -> bool:
    """Whether the task is kswapd, as far as it was found."""
    return b.facts[bk.F_KSWAPD] == pid + 1
