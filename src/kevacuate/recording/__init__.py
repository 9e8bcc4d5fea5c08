# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings: the on-disk format, its reader and writer, and the importers of other formats."""

from kevacuate.kernel.pageattr import PageAttr
from kevacuate.recording.demand import (
    DemandChunk,
    DemandOp,
    StartObjects,
    demand_facts,
    has_demand,
    read_demand,
    read_start_objects,
    write_demand,
)
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
