# SPDX-License-Identifier: GPL-2.0-or-later
"""kswapd's clearing of skip bits, block by block: kcompactd may run in the middle of it.

``__reset_isolation_suitable`` (mm/compaction.c:349, 7.2) calls cond_resched at every block. No event shows it. The cached
positions with which kcompactd begins say how far it had come at least (gt_cz 0); they are an input then. It goes on while
kcompactd runs, without an event of its own. A block that kcompactd looks into has no skip bit: kswapd has been there. The cached
positions of the next run say whether it came to its end before kcompactd did.
"""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.scan import copy_words
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_reset import reset_isolation_pfn
from kevacuate.mm.fields import View
from kevacuate.recording import EventChunk


@part(cold=True)
def restart_flush(s: View, b: CompactionBooks, z: int) -> None:
    """kswapd stands before the first block of the zone."""
    zone, at = s.zone[z], z * bk.ZF
    b.facts[bk.F_FLUSHING] += b.flush[at + bk.Z_FLUSH] == 0
    b.flush[at + bk.Z_FLUSH] = 1
    b.flush[at + bk.Z_MIGRATE] = b.flush[at + bk.Z_RESET_FREE] = zone.zone_start_pfn
    b.flush[at + bk.Z_FREE] = b.flush[at + bk.Z_RESET_MIGRATE] = zone.zone_end_pfn - 1
    b.flush[at + bk.Z_SOURCE_SET] = b.flush[at + bk.Z_FREE_SET] = 0


@part(cold=True)
def begin_flush(s: View, b: CompactionBooks, node: int) -> None:
    """kswapd is about to clear the skip bits of the node's zones in which a direct compaction has met itself."""
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        if zone.node == node and zone.compact_blockskip_flush:
            zone.compact_blockskip_flush = 0
            restart_flush(s, b, z)


@part
def flush_block(s: View, b: CompactionBooks, z: int) -> bool:
    """The next block from either end, or what follows the last; whether there is more."""
    zone, at = s.zone[z], z * bk.ZF
    migrate, free = b.flush[at + bk.Z_MIGRATE] + 0, b.flush[at + bk.Z_FREE] + 0
    if migrate >= free:
        if b.flush[at + bk.Z_RESET_MIGRATE] >= b.flush[at + bk.Z_RESET_FREE]:
            zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = migrate
            zone.compact_cached_free_pfn = free
        b.flush[at + bk.Z_FLUSH] = 0
        b.facts[bk.F_FLUSHING] -= 1
        return False
    source = reset_isolation_pfn(s, z, migrate, True, b.flush[at + bk.Z_SOURCE_SET] != 0)
    if source and migrate < b.flush[at + bk.Z_RESET_MIGRATE]:
        b.flush[at + bk.Z_SOURCE_SET] = 1
        b.flush[at + bk.Z_RESET_MIGRATE] = migrate
        zone.compact_init_migrate_pfn = migrate
        zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = migrate
    target = reset_isolation_pfn(s, z, free, b.flush[at + bk.Z_FREE_SET] != 0, True)
    if target and free > b.flush[at + bk.Z_RESET_FREE]:
        b.flush[at + bk.Z_FREE_SET] = 1
        b.flush[at + bk.Z_RESET_FREE] = free
        zone.compact_init_free_pfn = free
        zone.compact_cached_free_pfn = free
    b.flush[at + bk.Z_MIGRATE] = migrate + (1 << s.cfg.pageblock_order)
    b.flush[at + bk.Z_FREE] = free - (1 << s.cfg.pageblock_order)
    return True


@part(cold=True)
def end_flush(s: View, b: CompactionBooks, z: int) -> None:
    """kswapd goes on to the end of the zone."""
    while b.flush[z * bk.ZF + bk.Z_FLUSH] != 0:
        flush_block(s, b, z)


@part(cold=True)
def end_flushes(s: View, b: CompactionBooks) -> None:
    """kswapd goes on to the end of each zone."""
    for z in range(s.cfg.nr_zones):
        zone, at = s.zone[z], z * bk.ZF
        b.flush[at + bk.Z_ENDED] = b.flush[at + bk.Z_FLUSH] == bk.CUT
        b.flush[at + bk.Z_ENDED_MIGRATE] = zone.compact_cached_migrate_pfn[0]
        b.flush[at + bk.Z_ENDED_FREE] = zone.compact_cached_free_pfn
        end_flush(s, b, z)


@part(cold=True)
def flush_reaches(s: View, b: CompactionBooks, z: int, pfn: int) -> None:
    """kcompactd looks into the block of *pfn* after it began in the middle of a clearing: that has come there, or ended."""
    at = 2 * (pfn >> s.cfg.pageblock_order)
    b.inputs[bk.N_REACHED] += s.block[at] & k.PB_COMPACT_SKIP != 0
    while s.block[at] & k.PB_COMPACT_SKIP and b.flush[z * bk.ZF + bk.Z_FLUSH] == bk.CUT:
        flush_block(s, b, z)


@part(cold=True)
def ended_before(s: View, b: CompactionBooks, e: EventChunk, i: int, z: int) -> None:
    """The next run begins (gt_cz 0): a clearing that was cut ended before the run that cut it, if the cached positions say so."""
    zone, at = s.zone[z], z * bk.ZF
    migrate, free = b.flush[at + bk.Z_ENDED_MIGRATE] + 0, b.flush[at + bk.Z_ENDED_FREE] + 0
    ended = b.flush[at + bk.Z_ENDED] != 0
    b.flush[at + bk.Z_ENDED] = 0
    if (
        ended
        and not at_kernels_positions(s, e, i, z)
        and migrate == e.c[i] & 0xFFFFFFFF
        and free == e.d[i] & 0xFFFFFFFF
    ):
        zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = migrate
        zone.compact_cached_free_pfn = free
        b.inputs[bk.N_ENDED] += 1


@part(cold=True)
def cleared_unseen(s: View, b: CompactionBooks, z: int, migrate: int, free: int, synchronous: int) -> bool:
    """Whether kswapd, whose runs were not recorded, has cleared the zone's skip bits: a run begins where it would then.

    *migrate* and *free*: where the scanners of the run begin. What was cleared stays so; otherwise all is as it was.
    """
    zone, at = s.zone[z], z * bk.ZF
    if not (b.facts[bk.F_UNSEEN_KSWAPD] and zone.compact_blockskip_flush):
        return False
    copy_words(b.block, s.block, b.facts[bk.F_BLOCK])
    asynchronous, cached = zone.compact_cached_migrate_pfn[0] + 0, zone.compact_cached_migrate_pfn[1] + 0
    cached_free = zone.compact_cached_free_pfn + 0
    init_migrate, init_free = zone.compact_init_migrate_pfn + 0, zone.compact_init_free_pfn + 0
    restart_flush(s, b, z)
    end_flush(s, b, z)
    if zone.compact_cached_migrate_pfn[synchronous] == migrate and zone.compact_cached_free_pfn == free:
        zone.compact_blockskip_flush = 0
        b.inputs[bk.N_CLEARED] += 1
        return True
    copy_words(s.block, b.block, b.facts[bk.F_BLOCK])
    zone.compact_cached_migrate_pfn[0], zone.compact_cached_migrate_pfn[1] = asynchronous, cached
    zone.compact_cached_free_pfn = cached_free
    zone.compact_init_migrate_pfn, zone.compact_init_free_pfn = init_migrate, init_free
    b.flush[at + bk.Z_FLUSH] = 0
    return False


@part
def at_kernels_positions(s: View, e: EventChunk, i: int, z: int) -> bool:
    """Whether the zone's cached positions are those of gt_cz."""
    zone = s.zone[z]
    migrate = zone.compact_cached_migrate_pfn[0] == e.c[i] & 0xFFFFFFFF
    return migrate and zone.compact_cached_free_pfn == e.d[i] & 0xFFFFFFFF


@part(cold=True)
def flush_until(s: View, b: CompactionBooks, e: EventChunk, i: int, z: int) -> None:
    """kcompactd begins (gt_cz 0): kswapd has come to the end, or if the cached positions say otherwise, as far as they say."""
    zone, at = s.zone[z], z * bk.ZF
    if b.flush[at + bk.Z_ENDED]:
        ended_before(s, b, e, i, z)
    if b.flush[at + bk.Z_FLUSH] == 0:
        return
    copy_words(b.block, s.block, b.facts[bk.F_BLOCK])
    migrate, free = zone.compact_cached_migrate_pfn[0] + 0, zone.compact_cached_free_pfn + 0
    init_migrate, init_free = zone.compact_init_migrate_pfn + 0, zone.compact_init_free_pfn + 0
    end_flush(s, b, z)
    if at_kernels_positions(s, e, i, z):
        return
    copy_words(s.block, b.block, b.facts[bk.F_BLOCK])
    zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = migrate
    zone.compact_cached_free_pfn = free
    zone.compact_init_migrate_pfn, zone.compact_init_free_pfn = init_migrate, init_free
    restart_flush(s, b, z)
    b.inputs[bk.N_FLUSHES_CUT] += 1
    b.flush[at + bk.Z_FLUSH] = bk.CUT
    while not at_kernels_positions(s, e, i, z):
        if not flush_block(s, b, z):
            return
