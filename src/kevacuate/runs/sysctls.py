# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded vm sysctls as parameters of the model, and what of them a run has used."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.mm.constants import PAGE_SIZE
from kevacuate.mm.profile import Profile, profile_for
from kevacuate.policy.settings import without_swap
from kevacuate.recording import Machine
from kevacuate.recording.settings import SYSCTLS, recorded_lru_gen, recorded_settings

SECOND_NS = 1_000_000_000
CENTISECOND_NS = SECOND_NS // 100
DEFAULT_SWAPPINESS = 60
ZRAM_RATIO = 3
"""How many times smaller a page is once compressed, unless a policy says so."""

NO_SYSCTLS = ("memory", "thp_enabled", "thp_defrag", "zram", "zram_ratio", "anon_used", "lru_gen")
"""Settings of a policy that are no files under /proc/sys/vm."""

CLOSED_ALONE = ("zram", "lru_gen")
"""Settings of a policy that an open loop, which takes reclaim as recorded, cannot follow."""


def model_settings(
    machine: Machine, profile: Profile, given: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """The fields of :class:`~kevacuate.mm.layout.MachineConfig` that sysctls set: those of a policy, else as recorded.

    A sysctl that is neither given nor recorded is absent. A kernel whose profile has no defrag_mode is replayed without it,
    whatever was recorded.

    Raises
    ------
    KevacuateError
        A recorded value is one that the kernel does not take, or a policy's is of a sysctl that the recorded kernel lacks.
    """
    if given.get("defrag_mode") and not profile.defrag_mode:
        raise KevacuateError(
            f"defrag_mode=1 cannot be replayed: Linux {profile.name}, the recording's profile, has no vm.defrag_mode."
        )
    recorded: dict[str, Any] = {**recorded_settings(machine), **given}
    if (on := recorded_lru_gen(machine)) is not None:
        recorded.setdefault("lru_gen", on)
    fields: dict[str, Any] = {}
    for name, field, made in (
        ("compaction_proactiveness", "compaction_proactiveness", int),
        ("extfrag_threshold", "extfrag_threshold", int),
        ("watermark_boost_factor", "watermark_boost_factor", int),
        ("compact_unevictable_allowed", "compact_unevictable_allowed", bool),
        ("defrag_mode", "defrag_mode", lambda value: bool(value) and profile.defrag_mode),
        ("percpu_pagelist_high_fraction", "pcp_high_fraction", int),
        ("stat_interval", "stat_interval_ns", lambda value: max(value, 1) * SECOND_NS),
        ("zram", "swap_pages", lambda value: value // PAGE_SIZE),
        ("zram_ratio", "zram_bytes", lambda value: max(round(PAGE_SIZE / value), 1)),
        ("swappiness", "swappiness", int),
        ("lru_gen", "lru_gen", bool),
        ("dirty_expire_centisecs", "dirty_expire_ns", lambda value: value * CENTISECOND_NS),
        ("anon_used", "anon_used", lambda value: round(1000 * value)),
    ):
        if name in recorded:
            fields[field] = made(recorded[name])
    return fields


def swap_room(given: Mapping[str, Any]) -> int:
    """Pages that a zram device of these settings gains when it is full: those swapped out, less what they compress to."""
    return int(given.get("zram", 0) // PAGE_SIZE * (1 - 1 / given.get("zram_ratio", ZRAM_RATIO)))


def settings_used(machine: Machine, given: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """What a run's provenance says of the vm sysctls; *given* are the policy's settings.

    ``given``: the policy's. ``replayed``: the value of each that the model has a parameter for, or that was given.
    ``not_recorded``: those of them that are the kernel's default, for want of a recorded value. ``not_replayed``: recorded ones
    that the model has no parameter for, or whose kernel's profile has none, with what stands for them.
    """
    recorded, profile = recorded_settings(machine), profile_for(machine.kernel)[0]
    replayed = {s.name: recorded.get(s.name, s.default) for s in SYSCTLS if s.modelled}
    not_replayed = {
        s.name: f"{recorded[s.name]} ({s.where})" for s in SYSCTLS if not s.modelled and s.name in recorded
    }
    if replayed["defrag_mode"] and not profile.defrag_mode:
        not_replayed["defrag_mode"] = (
            f"{replayed['defrag_mode']} (the profile {profile.name} has no defrag_mode)"
        )
        replayed["defrag_mode"] = 0
    if given.get("zram"):
        replayed["swappiness"] = recorded.get("swappiness", DEFAULT_SWAPPINESS)
        not_replayed.pop("swappiness", None)
    if (on := recorded_lru_gen(machine)) is not None:
        replayed["lru_gen"] = int(on)
    replayed |= {name: value for name, value in given.items() if name not in NO_SYSCTLS}
    not_replayed = {name: words for name, words in not_replayed.items() if name not in given}
    for name in without_swap(given):
        replayed.pop(name, None)
        not_replayed[name] = f"{given[name]} (there is no swap)"
    return {
        "given": dict(given),
        "replayed": replayed,
        "not_recorded": [name for name in replayed if name not in recorded and name not in given],
        "not_replayed": not_replayed,
    }
