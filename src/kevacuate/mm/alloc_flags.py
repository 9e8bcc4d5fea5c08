# SPDX-License-Identifier: GPL-2.0-or-later
"""The type and the alloc_flags with which a request begins (mm/page_alloc.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.hooks import hooked, hooked_gfp_migratetype
from kevacuate.mm.slowpath_flags import cheap_flag


@part(inline=True)
def gfp_migratetype(s: View, order: int, mt: int, gfp: int) -> int:
    """The requested type; unmovable where grouping by mobility is disabled; what the policy says where it has a say."""
    if s.cfg.page_group_by_mobility_disabled and mt < k.MIGRATE_PCPTYPES:
        return k.MIGRATE_UNMOVABLE
    if hooked(s, k.HOOK_GFP_MIGRATETYPE):
        return hooked_gfp_migratetype(s, order, mt, gfp)
    return mt


@part(inline=True)
def alloc_flags_nofragment(s: View, node: int, gfp: int, first: int) -> int:
    """ALLOC_KSWAPD from gfp, and ALLOC_NOFRAGMENT where a lower zone than that at *first* can take the fallback (:3742)."""
    alloc_flags = gfp & k.GFP_KSWAPD_RECLAIM
    if s.cfg.nofragment_apart:
        return alloc_flags | nofragment_apart(s, node, gfp, first)
    return alloc_flags | nofragment_of_zones(s, node, first)


@part(inline=True)
def nofragment_of_zones(s: View, node: int, first: int) -> int:
    """ALLOC_NOFRAGMENT if the zone at *first* is ZONE_NORMAL and a lower one is populated."""
    pgdat = s.node[node]
    count = pgdat.nr_zonelist
    if first >= count:
        return 0
    preferred = pgdat.zonelist[first]
    if s.zone[preferred].index != k.ZONE_NORMAL:
        return 0
    if s.cfg.nr_nodes == 1:
        return k.ALLOC_NOFRAGMENT
    for i in range(count):
        z = pgdat.zonelist[i]
        zone = s.zone[z]
        same_node = zone.node == s.zone[preferred].node
        if same_node and zone.index == k.ZONE_DMA32:
            return k.ALLOC_NOFRAGMENT
    return 0


@part(cold=True)
def nofragment_apart(s: View, node: int, gfp: int, first: int) -> int:
    """The same where there is no ZONE_DMA32, under defrag_mode, and where requests with a cheap fallback are told apart."""
    alloc_flags = cheap_flag(s, gfp)
    if not s.cfg.zone_dma32:
        return alloc_flags
    if s.cfg.defrag_mode:
        return alloc_flags | k.ALLOC_NOFRAGMENT
    return alloc_flags | nofragment_of_zones(s, node, first)
