# SPDX-License-Identifier: GPL-2.0-or-later
"""The vm sysctls that a recording keeps, and what a replay makes of each.

They stand in ``machine.extra["settings"]`` by the name of their file under /proc/sys/vm. A file that the kernel does not have is
not recorded; the model then takes the kernel's default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.recording.machine import Machine

INT_MAX = (1 << 31) - 1


@dataclass(frozen=True)
class Sysctl:
    """One file under /proc/sys/vm.

    Attributes
    ----------
    name : str
        Its name.
    least, most : int
        The values that the kernel takes (``extra1`` and ``extra2`` of its ctl_table).
    default : int or None
        The kernel's default; None where it depends on the machine.
    modelled : bool
        Whether the model has a parameter for it, which every replay sets to the recorded value.
    where : str
        Of one that is not a parameter of every replay: what stands for it, in words.
    reclaim : bool
        Whether it is a parameter of reclaim, so of closed loops alone.
    """

    name: str
    least: int
    most: int
    default: int | None
    modelled: bool
    where: str = ""
    reclaim: bool = False


SYSCTLS = (
    Sysctl("compaction_proactiveness", 0, 100, 20, True),
    Sysctl("extfrag_threshold", 0, 1000, 500, True),
    Sysctl("watermark_boost_factor", 0, INT_MAX, 15000, True),
    Sysctl("defrag_mode", 0, 1, 0, True),
    Sysctl("percpu_pagelist_high_fraction", 0, INT_MAX, 0, True),
    Sysctl("stat_interval", 0, INT_MAX, 1, True),
    Sysctl("min_free_kbytes", 0, INT_MAX, None, False, "in the recorded watermarks"),
    Sysctl("watermark_scale_factor", 1, 3000, 10, False, "in the recorded watermarks"),
    Sysctl("compact_unevictable_allowed", 0, 1, 1, True),
    Sysctl("zone_reclaim_mode", 0, 7, 0, False, "not modelled: the model reclaims nothing"),
    Sysctl("numa_stat", 0, 1, 1, False, "changes no decision of the allocator"),
    Sysctl("swappiness", 0, 200, 60, False, "replayed where a policy gives zram", reclaim=True),
    Sysctl("dirty_expire_centisecs", 0, INT_MAX, 3000, False, "replayed in a closed loop", reclaim=True),
    Sysctl("dirty_background_ratio", 0, 100, 10, False, "not modelled: age and reclaim start the flusher"),
    Sysctl("dirty_ratio", 0, 100, 20, False, "not modelled: no writer waits for the flusher"),
)
"""Defaults and limits: the ctl_tables of mm/page_alloc.c, compaction.c, vmstat.c, vmscan.c, page-writeback.c at 7.2.

stat_interval is in seconds.
"""

LRU_GEN = "lru_gen"
"""Name among the settings of what /sys/kernel/mm/lru_gen/enabled says, as a number; bit 0 is the multi-gen LRU."""
MOST_LRU_GEN = 7


def recorded_settings(machine: Machine) -> dict[str, int]:
    """The vm sysctls that the recording keeps, by name, in the order of :data:`SYSCTLS`.

    Raises
    ------
    KevacuateError
        A value is one that the kernel does not take.
    """
    kept = machine.extra.get("settings", {})
    values: dict[str, Any] = {**machine.extra, **(kept if isinstance(kept, dict) else {})}
    found = {}
    for sysctl in SYSCTLS:
        value = values.get(sysctl.name)
        if value is None:
            continue
        if not isinstance(value, int) or not sysctl.least <= value <= sysctl.most:
            raise KevacuateError(
                f"machine.json says vm.{sysctl.name} is {value!r}, but Linux takes {sysctl.least} to {sysctl.most}: "
                "record again."
            )
        found[sysctl.name] = int(value)
    return found


def recorded_lru_gen(machine: Machine) -> bool | None:
    """Whether the recorded kernel ran the multi-gen LRU; None where the recording does not say.

    Raises
    ------
    KevacuateError
        The value is none that the kernel gives.
    """
    kept = machine.extra.get("settings", {})
    value = kept.get(LRU_GEN) if isinstance(kept, dict) else None
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value <= MOST_LRU_GEN:
        raise KevacuateError(
            f"The recording says {LRU_GEN} is {value!r}, but Linux gives 0 to {MOST_LRU_GEN}: record again."
        )
    return bool(value & 1)


def settings_in_words(machine: Machine) -> list[str]:
    """A line each: the vm sysctls that were recorded, and what a replay makes of them; then those that were not."""
    recorded = recorded_settings(machine)
    lines, absent = [], []
    for sysctl in SYSCTLS:
        if sysctl.name in recorded:
            lines.append(f"{sysctl.name} {recorded[sysctl.name]} ({sysctl.where or 'replayed'})")
        elif sysctl.modelled:
            absent.append(f"{sysctl.name} {sysctl.default}")
    if (on := recorded_lru_gen(machine)) is not None:
        lines.append(f"{LRU_GEN} {int(on)} (replayed in a closed loop)")
    if absent:
        lines.append(f"not recorded, the kernel's default is replayed: {', '.join(absent)}")
    return lines
