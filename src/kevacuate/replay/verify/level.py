# SPDX-License-Identifier: GPL-2.0-or-later
"""What every level of verification is: a reader of the recording's events that decides before it looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from kevacuate.measure.fidelity import LevelResult
from kevacuate.recording import AllocatorState, EventChunk, Recording


class Given(NamedTuple):
    """What a level starts from."""

    recording: Recording
    start: AllocatorState
    """The state that the first event fed follows."""
    profile: str
    """Kernel profile of the model: `7.2`."""
    resync: bool = False
    """Whether to take over the recorded state at a dump that shows a difference (counted)."""


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
    def feed(self, chunk: EventChunk, first: int) -> None:
        """Take the next events; *first* is the number of the first one."""

    @abstractmethod
    def at_state(self, state: AllocatorState) -> None:
        """Compare what the model holds with a dump."""

    @abstractmethod
    def finish(self) -> LevelResult:
        """Decide what was kept back, and say what it came to."""
