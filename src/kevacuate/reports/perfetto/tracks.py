# SPDX-License-Identifier: GPL-2.0-or-later
"""Perfetto's trace format, as far as it is needed: tracks, slices, instants, counters, flows.

Perfetto's own Python classes write it (the package ``perfetto``, which is optional).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from importlib import metadata
from typing import IO, Any

from kevacuate.errors import KevacuateError

SEQUENCE = 1
"""trusted_packet_sequence_id: all packets are one sequence."""

OLDEST_PROTOBUF = (6, 31, 1)
"""The protobuf whose compiler made the messages of perfetto 0.59: older ones refuse them. The extra asks for it."""


def _module(name: str) -> Any:
    """One of Perfetto's modules.

    Raises
    ------
    KevacuateError
        They are not installed, or do not load with the installed protobuf.
    """
    try:
        return importlib.import_module(name)
    except Exception as problem:  # protobuf's VersionError is neither an ImportError nor in every protobuf
        raise KevacuateError(_why_not_loaded(problem)) from None


def _why_not_loaded(problem: Exception) -> str:
    """Why Perfetto's Python package could not be imported, in a sentence, with what to do."""
    missing = "Perfetto's Python package is not installed: pip install 'kevacuate[perfetto]'."
    if isinstance(problem, ModuleNotFoundError) and str(problem.name).startswith("perfetto"):
        return missing
    try:
        package, runtime = metadata.version("perfetto"), metadata.version("protobuf")
    except metadata.PackageNotFoundError:
        return missing
    numbers = tuple(int(part) for part in re.findall(r"\d+", runtime)[:3])
    if numbers < OLDEST_PROTOBUF:
        oldest = ".".join(map(str, OLDEST_PROTOBUF))
        return f"protobuf {runtime} is too old for perfetto {package}, which needs {oldest} or later: pip install -U protobuf."
    return (
        f"perfetto {package} does not load with protobuf {runtime} ({type(problem).__name__}): "
        "pip install -U perfetto protobuf."
    )


class PerfettoWriter:
    """Writes packets to a binary file as they come; times in ns.

    Raises
    ------
    KevacuateError
        The package ``perfetto`` is not installed, or does not load with the installed protobuf.
    """

    def __init__(self, file: IO[bytes]) -> None:
        messages = _module("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
        builder = _module("perfetto.trace_builder.proto_builder")
        self._out = builder.StreamingTraceProtoBuilder(file)
        self._event = messages.TrackEvent
        self._cleared = messages.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        self._explicit = messages.TrackDescriptor.EXPLICIT
        self._tracks = 0
        self.events = 0

    def _packet(self) -> Any:
        packet = self._out.create_packet()
        packet.trusted_packet_sequence_id = SEQUENCE
        return packet

    def _descriptor(self, name: str) -> tuple[Any, int]:
        """A packet with the descriptor of a new track, and the track's uuid."""
        packet = self._packet()
        if not self._tracks:
            packet.sequence_flags = self._cleared
        self._tracks += 1
        packet.track_descriptor.uuid = self._tracks
        packet.track_descriptor.name = name
        return packet, self._tracks

    def process(self, name: str) -> int:
        """A group of tracks; its uuid."""
        packet, uuid = self._descriptor(name)
        packet.track_descriptor.process.pid = uuid
        packet.track_descriptor.process.process_name = name
        packet.track_descriptor.child_ordering = self._explicit
        self._out.write_packet(packet)
        return uuid

    def track(self, parent: int, name: str, rank: int) -> int:
        """A track of slices and instants, at place *rank* among its parent's; its uuid."""
        packet, uuid = self._descriptor(name)
        packet.track_descriptor.parent_uuid = parent
        packet.track_descriptor.sibling_order_rank = rank
        self._out.write_packet(packet)
        return uuid

    def counter(self, parent: int, name: str, unit: str, rank: int) -> int:
        """A counter track; its uuid."""
        packet, uuid = self._descriptor(name)
        packet.track_descriptor.parent_uuid = parent
        packet.track_descriptor.sibling_order_rank = rank
        packet.track_descriptor.counter.unit_name = unit
        self._out.write_packet(packet)
        return uuid

    def _write(
        self,
        kind: int,
        track: int,
        t: int,
        name: str = "",
        facts: Mapping[str, Any] | None = None,
        flow: int = 0,
    ) -> None:
        packet = self._packet()
        packet.timestamp = t
        event = packet.track_event
        event.type = kind
        event.track_uuid = track
        if name:
            event.name = name
            event.categories.append("mm")
        for key, value in (facts or {}).items():
            note = event.debug_annotations.add()
            note.name = key
            if isinstance(value, int):
                note.int_value = value
            else:
                note.string_value = str(value)
        if flow:
            event.flow_ids.append(flow)
        self._out.write_packet(packet)
        self.events += 1

    def begin(
        self, track: int, t: int, name: str, facts: Mapping[str, Any] | None = None, flow: int = 0
    ) -> None:
        """A slice begins."""
        self._write(self._event.TYPE_SLICE_BEGIN, track, t, name, facts, flow)

    def end(self, track: int, t: int, facts: Mapping[str, Any] | None = None) -> None:
        """The slice that began last on the track ends; *facts* are added to its own."""
        self._write(self._event.TYPE_SLICE_END, track, t, "", facts)

    def instant(
        self, track: int, t: int, name: str, facts: Mapping[str, Any] | None = None, flow: int = 0
    ) -> None:
        """Something without duration."""
        self._write(self._event.TYPE_INSTANT, track, t, name, facts, flow)

    def count(self, track: int, t: int, value: float) -> None:
        """A counter's value from *t* on."""
        packet = self._packet()
        packet.timestamp = t
        event = packet.track_event
        event.type = self._event.TYPE_COUNTER
        event.track_uuid = track
        if isinstance(value, int):
            event.counter_value = value
        else:
            event.double_counter_value = value
        self._out.write_packet(packet)
        self.events += 1
