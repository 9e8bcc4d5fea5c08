# SPDX-License-Identifier: GPL-2.0-or-later
"""Keep whole free pageblocks for requests that cannot move, so that these need not claim or steal from movable blocks."""

from kevacuate.policy.api import (
    MAINLINE_RULE,
    MIGRATE_MOVABLE,
    MIGRATE_UNMOVABLE,
    REFUSE,
    Hooks,
    claim_block,
    counter,
    free_list_first,
    knob,
    max_page_order,
    nr_free_of_type,
    nr_zones,
    pageblock_order,
)


class Reserve(Hooks):
    """Keeps free unmovable pageblocks in every zone, and movable requests away from them."""

    blocks = knob(4, "free unmovable chunks of a pageblock or more to keep in each zone")
    period_ms = knob(10, "how often the worker looks [ms]", least=1)
    made = counter("free blocks claimed for the reserve", "blocks")
    kept = counter("movable claims of the reserve refused", "claims")

    def short(self, s, z):
        found = 0
        for order in range(pageblock_order(s), max_page_order(s) + 1):
            found += nr_free_of_type(s, z, order, MIGRATE_UNMOVABLE)
        return found < self.blocks

    def try_to_claim_block(self, s, z, pfn, order, start_type, block_type):
        if start_type == MIGRATE_MOVABLE and block_type == MIGRATE_UNMOVABLE and order >= pageblock_order(s):
            self.kept += 1
            return REFUSE
        return MAINLINE_RULE

    def worker(self, s):
        for z in range(nr_zones(s)):
            pfn = free_list_first(s, z, pageblock_order(s), MIGRATE_MOVABLE)
            if pfn >= 0 and self.short(s, z) and claim_block(s, pfn, MIGRATE_UNMOVABLE):
                self.made += 1
        return self.period_ms * 1000000
