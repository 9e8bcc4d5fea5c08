# SPDX-License-Identifier: GPL-2.0-or-later
"""``spb-contig``: as ``spb-worker``, and contiguous allocations ask the regions' counters which range is cheapest to empty.

What it does is modelled in :mod:`kevacuate.mm.contig_regions`; its page is docs/policies/spb-contig.md.
"""

from __future__ import annotations

from dataclasses import replace

from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.knobs import Knob
from kevacuate.policy.spb import entries, knobs, per_cent
from kevacuate.policy.spb_worker import KNOBS as WORKER
from kevacuate.policy.spb_worker import SPB_WORKER

KNOBS: dict[str, Knob] = {
    **WORKER,
    "contig-tries": Knob(
        entries,
        "a number from 0 to 4096, default 0",
        "ranges that a contiguous allocation tries before it gives up; 0: all",
        "region_contig_tries",
    ),
    "contig-free": Knob(
        per_cent,
        "a number from 0 to 100, default 0",
        "per cent of a range that has to be free for it to be tried",
        "region_contig_free",
    ),
}

SPB_CONTIG = PolicyKind(
    "spb-contig",
    "as spb-worker, and contiguous allocations take the range that is cheapest to empty",
    knobs(KNOBS),
    regions=replace(SPB_WORKER.regions, region_contig=True),
)
