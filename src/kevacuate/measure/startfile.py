# SPDX-License-Identifier: GPL-2.0-or-later
"""A start state: what memory is like when a replay begins. As a file it is a recording without events that holds one state."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.measure.startshares import start_shares
from kevacuate.recording.kev import KevWriter
from kevacuate.recording.machine import Machine
from kevacuate.recording.recording import Recording
from kevacuate.recording.state import AllocatorState, zone_to_json
from kevacuate.recording.statefiles import PAGE_FILES, TABLES

LABEL = "start"
"""The label of a start state's state."""


@dataclass(frozen=True)
class StartState:
    """A start state.

    Attributes
    ----------
    machine : Machine
        The machine, as recordings describe machines.
    state : AllocatorState
        Zones, ordered free lists, pageblocks, per-CPU lists, page flags.
    made : tuple of dict
        How it came about, step by step; each has ``step`` (``taken``, ``replayed``, ``aged``, ``scaled``, ``imported``) and what
        that step was of, as JSON values.
    """

    machine: Machine
    state: AllocatorState
    made: tuple[dict[str, Any], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of machine and state, however it was made: equal for equal content."""
        zones = [zone_to_json(zone) for zone in self.state.zones]
        reclaim = {"reclaim": self.state.reclaim} if self.state.reclaim else {}
        body = json.dumps(
            {"machine": self.machine.to_json(), "zones": zones, "due": self.state.due, **reclaim},
            sort_keys=True,
            default=list,
        )
        digest = hashlib.sha256(body.encode())
        tables = [getattr(self.state, name) for name in TABLES]
        for table in tables if self.state.lru is None else [*tables, self.state.lru]:
            for column in table:
                digest.update(np.ascontiguousarray(column).data)
        for name in PAGE_FILES:
            if (words := getattr(self.state, name)) is not None:
                digest.update(np.ascontiguousarray(words).data)
        return digest.hexdigest()

    @property
    def shares(self) -> dict[str, Any]:
        """What it is like: :func:`kevacuate.measure.startshares.start_shares`, and :attr:`lru_order`."""
        return {**start_shares(self.machine, self.state), "lru_order": self.lru_order}

    @property
    def lru_order(self) -> str:
        """Whether the order of the LRU lists is as the state ``left`` it, or ``stated``: the lower the address, the older."""
        return "stated" if self.state.lru is None else "left"

    def save(self, target: str | Path) -> Path:
        """Write it as a recording without events; where it lies.

        Raises
        ------
        KevacuateError
            It exists, or cannot be written.
        """
        with KevWriter(target, self.machine) as writer:
            writer.add_state(self.state)
            writer.set_quality({"start": list(self.made), "stopped": "at once: a start state"})
        return writer.path


def read_start(source: Recording | str | Path, label: str | None = None) -> StartState:
    """The start state of a recording, of a start state's file, or the recorded state of that *label*.

    Raises
    ------
    KevacuateError
        It is no recording, is corrupted, or has no such state.
    """
    recording = Recording.of(source)
    state = recording.start if label is None else _labelled(recording, label)
    if state is None:
        raise KevacuateError(
            f"{recording.path} holds no state of the allocator: take one with `kevacuate snapshot --kcore -o NAME.kev`."
        )
    made = recording.quality.get("start") or [_taken(recording, state)]
    machine = replace(recording.machine, events={})
    return StartState(
        machine, replace(state, tag="s", ordinal=-1, ts=0, ts_begin=0, label=LABEL), tuple(made)
    )


def _taken(recording: Recording, state: AllocatorState) -> dict[str, Any]:
    """The first step of a state that a recording holds."""
    return {
        "step": "taken",
        "from": recording.path.name,
        "digest": recording.digest,
        "state": state.label or state.tag,
    }


def _labelled(recording: Recording, label: str) -> AllocatorState:
    """The recorded state of that label."""
    labels = [state.label or state.tag for state in recording.states]
    if label not in labels:
        known = ", ".join(labels) or "none"
        raise KevacuateError(f"{recording.path} has no state {label!r}; its states are: {known}.")
    return recording.states[labels.index(label)]
