# SPDX-License-Identifier: GPL-2.0-or-later
"""Which settings a tuning tries: a few values of each that the recorded machine did not have."""

from __future__ import annotations

from kevacuate.demand.build import Demand
from kevacuate.mm.profile import profile_for
from kevacuate.policy import Policy
from kevacuate.recording import AllocatorState, Machine
from kevacuate.recording.settings import SYSCTLS, recorded_settings
from kevacuate.runs.huge_faults import huge_faults
from kevacuate.runs.watermarks import min_free_kbytes, scale_factor

VALUES: dict[str, tuple[int, ...]] = {
    "watermark_scale_factor": (100, 300),
    "watermark_boost_factor": (0, 30_000),
    "compaction_proactiveness": (0, 50, 90),
    "defrag_mode": (0, 1),
    "percpu_pagelist_high_fraction": (8, 64),
    "compact_unevictable_allowed": (0, 1),
    "extfrag_threshold": (100,),
}
"""Values of each sysctl: its ends, or what distributions and tuning guides set."""

MULTIPLES = (2, 4)
"""Of the recorded vm.min_free_kbytes."""

MOST_OF_MEMORY = 0.1
"""No vm.min_free_kbytes beyond this share of memory is tried."""

LEAST_HUGE_FAULTS = 10
"""Without so many huge faults in the demand THP's settings are not tried."""


def _huge_faults(demand: Demand, order: int) -> int:
    """Huge faults of the demand, counted until there are enough."""
    found = 0
    for chunk in demand.chunks():
        found += int(huge_faults(chunk, order).sum())
        if found >= LEAST_HUGE_FAULTS:
            break
    return found


def grid(machine: Machine, state: AllocatorState, demand: Demand, base: Policy) -> list[str]:
    """The settings, as ``knob=value``, in the order of the knobs; none that the base policy gives, or that was recorded."""
    recorded = {sysctl.name: sysctl.default for sysctl in SYSCTLS} | recorded_settings(machine)
    kbytes = min_free_kbytes(machine, state)
    recorded["watermark_scale_factor"] = scale_factor(machine, state)
    most = MOST_OF_MEMORY * 4 * sum(zone.managed for zone in state.zones)
    values = {"min_free_kbytes": tuple(kbytes * n for n in MULTIPLES if kbytes * n <= most), **VALUES}
    if not profile_for(machine.kernel)[0].defrag_mode:
        values["defrag_mode"] = ()
    found = [f"{name}={value}" for name, some in values.items() for value in some if value != recorded[name]]
    if machine.hugepage_order >= 0 and _huge_faults(demand, machine.hugepage_order) >= LEAST_HUGE_FAULTS:
        kept = machine.extra.get("settings", {})
        had = kept.get("thp_defrag") if isinstance(kept, dict) else None
        found += [f"thp_defrag={value}" for value in ("always", "madvise", "never") if value != had]
        found.append("thp_enabled=never")
    return [text for text in found if text.partition("=")[0] not in base.settings]
