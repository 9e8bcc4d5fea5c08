# SPDX-License-Identifier: GPL-2.0-or-later
"""Evacuate movable blocks from which unmovable or reclaimable requests stole a page, as well as those they claimed."""

from kevacuate.policy.api import (
    MIGRATE_MOVABLE,
    Hooks,
    counter,
    evacuate_block,
    evacuations_pending,
    knob,
    pageblock_order,
)


class OnSteal(Hooks):
    """Evacuates on claim and on steal, with back-pressure."""

    pending = knob(16, "no steal queues a block while so many evacuations wait")
    queued = counter("blocks queued on a steal", "blocks")
    held_back = counter("steals that queued nothing", "steals", better="lower")

    def block_claimed(self, s, z, pfn, order, start_type, block_type):
        if block_type == MIGRATE_MOVABLE and start_type != MIGRATE_MOVABLE and order < pageblock_order(s):
            evacuate_block(s, pfn)

    def page_stolen(self, s, z, pfn, order, start_type, block_type):
        if block_type != MIGRATE_MOVABLE or start_type == MIGRATE_MOVABLE:
            return
        if evacuations_pending(s) >= self.pending or not evacuate_block(s, pfn):
            self.held_back += 1
            return
        self.queued += 1
