# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings: the on-disk format, its reader and writer, and the importers of other formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kevacuate._lazy import handed_on

if TYPE_CHECKING:
    from kevacuate.kernel.pageattr import PageAttr
    from kevacuate.recording.demand import (
        DemandChunk,
        StartObjects,
        demand_facts,
        has_demand,
        read_demand,
        read_start_objects,
        write_demand,
    )
    from kevacuate.recording.demand_op import DemandOp
    from kevacuate.recording.kev import KevWriter
    from kevacuate.recording.losses import Lost
    from kevacuate.recording.machine import Machine, ZoneInfo
    from kevacuate.recording.recording import Recording
    from kevacuate.recording.ringbuf import CpuLosses
    from kevacuate.recording.schema import SCHEMA_VERSION, EventChunk, EventKind
    from kevacuate.recording.state import AllocatorState, ZoneState

__all__ = [
    "SCHEMA_VERSION",
    "AllocatorState",
    "CpuLosses",
    "DemandChunk",
    "DemandOp",
    "EventChunk",
    "EventKind",
    "KevWriter",
    "Lost",
    "Machine",
    "PageAttr",
    "Recording",
    "StartObjects",
    "ZoneInfo",
    "ZoneState",
    "demand_facts",
    "has_demand",
    "read_demand",
    "read_start_objects",
    "write_demand",
]

_HOMES = {
    "AllocatorState": "kevacuate.recording.state",
    "CpuLosses": "kevacuate.recording.ringbuf",
    "DemandChunk": "kevacuate.recording.demand",
    "DemandOp": "kevacuate.recording.demand_op",
    "EventChunk": "kevacuate.recording.schema",
    "EventKind": "kevacuate.recording.schema",
    "KevWriter": "kevacuate.recording.kev",
    "Lost": "kevacuate.recording.losses",
    "Machine": "kevacuate.recording.machine",
    "PageAttr": "kevacuate.kernel.pageattr",
    "Recording": "kevacuate.recording.recording",
    "SCHEMA_VERSION": "kevacuate.recording.schema",
    "StartObjects": "kevacuate.recording.demand",
    "ZoneInfo": "kevacuate.recording.machine",
    "ZoneState": "kevacuate.recording.state",
    "demand_facts": "kevacuate.recording.demand",
    "has_demand": "kevacuate.recording.demand",
    "read_demand": "kevacuate.recording.demand",
    "read_start_objects": "kevacuate.recording.demand",
    "write_demand": "kevacuate.recording.demand",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    return handed_on(__name__, _HOMES, name)


def __dir__() -> list[str]:
    """The names that are handed on."""
    return sorted(__all__)
