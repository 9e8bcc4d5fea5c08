# SPDX-License-Identifier: GPL-2.0-or-later
"""Send unmovable requests that may not sleep to the reclaimable blocks: network buffers and the like, which live briefly."""

from kevacuate.policy.api import (
    GFP_DIRECT_RECLAIM,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    Hooks,
    counter,
    knob,
)


class ByGfp(Hooks):
    """Steers unmovable requests that may not sleep to reclaimable blocks."""

    largest = knob(3, "largest order that is steered", most=10)
    steered = counter("requests steered", "requests")

    def gfp_migratetype(self, s, gfp, order, mt):
        if mt != MIGRATE_UNMOVABLE or gfp & GFP_DIRECT_RECLAIM or order > self.largest:
            return mt
        self.steered += 1
        return MIGRATE_RECLAIMABLE
