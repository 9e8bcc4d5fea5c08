# SPDX-License-Identifier: GPL-2.0-or-later
"""``spb-steering``: claims and whole-pageblock refills are steered by regions, over the zone's free lists as they are.

What it does is modelled in :mod:`kevacuate.mm.region_steer`; its page is docs/policies/spb-steering.md.
"""

from __future__ import annotations

from kevacuate.mm.constants import REGION_AUTO
from kevacuate.mm.layout import RegionConfig
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.spb import STEERING, knobs

SPB_STEERING = PolicyKind(
    "spb-steering",
    "with claims and whole-pageblock refills steered by 1 GiB regions",
    knobs(STEERING),
    regions=RegionConfig(REGION_AUTO, region_steer_claims=8, region_steer_refills=8),
)
