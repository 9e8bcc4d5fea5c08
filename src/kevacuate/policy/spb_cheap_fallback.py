# SPDX-License-Identifier: GPL-2.0-or-later
"""``spb-cheap-fallback``: as ``spb-passes``, and who has a cheap fallback does not taint a clean region.

Which requests those are: :func:`kevacuate.mm.slowpath_flags.has_cheap_fallback`; its page is docs/policies/spb-cheap-fallback.md.
"""

from __future__ import annotations

from dataclasses import replace

from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.spb import PASSES, knobs
from kevacuate.policy.spb_passes import SPB_PASSES

SPB_CHEAP_FALLBACK = PolicyKind(
    "spb-cheap-fallback",
    "as spb-passes, and requests with a cheap fallback taint no clean region",
    knobs(PASSES),
    regions=replace(SPB_PASSES.regions, region_cheap_taints=False),
)
