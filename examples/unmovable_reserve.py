# SPDX-License-Identifier: GPL-2.0-or-later
"""Keep whole free pageblocks for requests that cannot move, so that these need not claim or steal from movable blocks."""

from kevacuate.policy import api


class Reserve(api.Hooks):
    """Keeps free unmovable pageblocks in every zone, and movable requests away from them."""

    blocks = api.knob(4, "free unmovable chunks of a pageblock or more to keep in each zone")
    period_ms = api.knob(10, "how often the worker looks [ms]", least=1)
    made = api.counter("free blocks claimed for the reserve", "blocks")
    kept = api.counter("movable claims of the reserve refused", "claims")

    def short(self, s, z):
        found = 0
        for order in range(api.pageblock_order(s), api.max_page_order(s) + 1):
            found += api.nr_free_of_type(s, z, order, api.MIGRATE_UNMOVABLE)
        return found < self.blocks

    def try_to_claim_block(self, s, z, pfn, order, start_type, block_type):
        if (
            start_type == api.MIGRATE_MOVABLE
            and block_type == api.MIGRATE_UNMOVABLE
            and order >= api.pageblock_order(s)
        ):
            self.kept += 1
            return api.REFUSE
        return api.MAINLINE_RULE

    def worker(self, s):
        for z in range(api.nr_zones(s)):
            pfn = api.free_list_first(s, z, api.pageblock_order(s), api.MIGRATE_MOVABLE)
            if pfn >= 0 and self.short(s, z) and api.claim_block(s, pfn, api.MIGRATE_UNMOVABLE):
                self.made += 1
        return self.period_ms * 1000000
