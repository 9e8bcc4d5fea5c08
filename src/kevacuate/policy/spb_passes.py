# SPDX-License-Identifier: GPL-2.0-or-later
"""``spb-passes``: free lists of every region, and __rmqueue in passes that pack unmovable memory into tainted regions.

What it does is modelled in :mod:`kevacuate.mm.region_passes`; its page is docs/policies/spb-passes.md.
"""

from __future__ import annotations

from kevacuate.mm.constants import REGION_AUTO
from kevacuate.mm.layout import RegionConfig
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.spb import PASS_ROWS, PASSES, knobs

SPB_PASSES = PolicyKind(
    "spb-passes",
    "with __rmqueue in passes over 1 GiB regions, and a reserve in tainted ones",
    knobs(PASSES),
    rows=PASS_ROWS,
    regions=RegionConfig(REGION_AUTO, region_steer_claims=8, region_passes=True),
)
