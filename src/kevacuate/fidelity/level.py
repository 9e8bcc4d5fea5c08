# SPDX-License-Identifier: GPL-2.0-or-later
"""What every level of verification is: a reader of the recording's events that decides before it looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from kevacuate.kernel.hooks import RmqKind
from kevacuate.measure.fidelity import LevelResult
from kevacuate.recording import AllocatorState, EventChunk, EventKind, Recording

PEEK_EVENTS = 1 << 18
"""Events looked at beforehand for what the hooks of the recorded kernel show: insertions come with the first frees."""


class Shown(NamedTuple):
    """What the recording hooks of this kernel show; they differ from recording to recording."""

    insertions: bool
    """Insertions into per-CPU lists (gt_rmq 5)."""
    lists: bool
    """Operations on free lists (gt_list)."""


class Given(NamedTuple):
    """What a level starts from; made by :meth:`of`."""

    recording: Recording
    start: AllocatorState
    """The state that the first event fed follows."""
    profile: str
    """Kernel profile of the model: `7.2`."""
    shown: Shown
    resync: bool = False
    """Whether to take over the recorded state at a dump that shows a difference (counted)."""

    @classmethod
    def of(cls, recording: Recording, start: AllocatorState, *, resync: bool = False) -> Given:
        """What there is to start from in a recording; reads some of its events."""
        insertions = lists = False
        seen = 0
        for chunk in recording.events(after=start):
            insertions |= bool(((chunk.kind == EventKind.GT_RMQ) & (chunk.a == RmqKind.INSERT)).any())
            lists |= bool((chunk.kind == EventKind.GT_LIST).any())
            seen += chunk.rows
            if seen >= PEEK_EVENTS or (insertions and lists):
                break
        return cls(recording, start, recording.machine.kernel, Shown(insertions, lists), resync)


def missing_requests(given: Given) -> str:
    """What a level lacks that takes refills and drains from the recording, in words; empty if it lacks nothing."""
    if given.recording.machine.hooks:
        return ""
    return (
        "no gt_rmq events: the recorded kernel has no recording hooks, so its refills and drains are unknown"
    )


class Level(ABC):
    """A level reads the events in order, and compares its decisions with them.

    The driver calls :meth:`feed` with every event after the start state (dumps left out), :meth:`at_state` when a
    dump has been passed, and :meth:`finish` once. A level keeps back what it cannot decide yet (a request whose
    events are not all there); at a dump all that came before it is there.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def missing(cls, given: Given) -> str:
        """What the recording lacks for this level, in words; empty if it lacks nothing."""

    @abstractmethod
    def __init__(self, given: Given) -> None:
        """Prepare for the first event."""

    @abstractmethod
    def feed(self, chunk: EventChunk, first: int, lead: int = 0) -> None:
        """Take the next events; *first* is the number of the first new one, before which stand *lead* that were given before."""

    @abstractmethod
    def at_state(self, state: AllocatorState) -> None:
        """Compare what the model holds with a dump."""

    @abstractmethod
    def finish(self) -> LevelResult:
        """Decide what was kept back, and say what it came to."""
