# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a Perfetto trace with Perfetto's own Python classes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

messages = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
Event = messages.TrackEvent


class Read:
    """A trace read back: tracks by uuid, slices with their depth, instants, counters' values."""

    def __init__(self, data: bytes) -> None:
        trace = messages.Trace()
        assert trace.ParseFromString(data) == len(data)
        self.packets = list(trace.packet)
        self.tracks: dict[int, Any] = {}
        self.slices: list[tuple[str, str, int, int, int, dict[str, Any]]] = []
        self.instants: list[tuple[str, str, int, dict[str, Any]]] = []
        self.counters: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.flows: dict[int, list[str]] = defaultdict(list)
        opened: dict[int, list[Any]] = defaultdict(list)
        for packet in self.packets:
            assert packet.trusted_packet_sequence_id == 1
            if packet.HasField("track_descriptor"):
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
            else:
                self._event(packet.timestamp, packet.track_event, opened)
        assert not any(opened.values()), "slices that never end"

    def _event(self, t: int, event: Any, opened: dict[int, list[Any]]) -> None:
        track = self.tracks[event.track_uuid].name
        for flow in event.flow_ids:
            self.flows[flow].append(event.name)
        facts = {
            a.name: a.int_value if a.HasField("int_value") else a.string_value
            for a in event.debug_annotations
        }
        if event.type == Event.TYPE_SLICE_BEGIN:
            opened[event.track_uuid].append((event.name, t, facts))
        elif event.type == Event.TYPE_SLICE_END:
            name, begun, known = opened[event.track_uuid].pop()
            assert begun <= t
            self.slices.append((track, name, len(opened[event.track_uuid]), begun, t, known | facts))
        elif event.type == Event.TYPE_INSTANT:
            self.instants.append((track, event.name, t, facts))
        else:
            value = event.counter_value if event.HasField("counter_value") else event.double_counter_value
            self.counters[track].append((t, value))
