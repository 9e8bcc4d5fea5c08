# SPDX-License-Identifier: GPL-2.0-or-later
"""How many events were lost: a number that is exact, or of which is only known that it is at least so many.

The one place where losses are summed and put in words; each reader of a recording goes through :class:`Lost`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lost:
    """Lost events of a CPU or a recording.

    Attributes
    ----------
    events : int
        How many; a place where an unknown number is missing counts as one.
    at_least : bool
        There is such a place, so that more may be missing.

    """

    events: int = 0
    at_least: bool = False

    def __bool__(self) -> bool:
        """Whether events were lost."""
        return self.events > 0

    @classmethod
    def marked(cls, missed: int, gaps: int, counted: int = 0) -> Lost:
        """Of marks in a stream (*missed* events, *gaps* of unknown size) and the kernel's own count of the same events."""
        return cls(max(missed + gaps, counted), gaps > 0)

    @classmethod
    def total(cls, parts: Iterable[Lost]) -> Lost:
        """The sum; at least so many, if that is so of a part."""
        parts = tuple(parts)
        return cls(sum(part.events for part in parts), any(part.at_least for part in parts))

    @classmethod
    def of_json(cls, about: Mapping[str, Any]) -> Lost:
        """What :meth:`to_json` gave, or such values with a list of ``lost_events`` by CPU."""
        events = about["lost_events"]
        return cls(events if isinstance(events, int) else sum(events), bool(about["lost_events_at_least"]))

    def to_json(self) -> dict[str, Any]:
        """``lost_events`` and ``lost_events_at_least``: whether more than that number may be missing."""
        return {"lost_events": self.events, "lost_events_at_least": self.at_least}

    @property
    def number(self) -> str:
        """``3``, ``at least 3``."""
        return f"at least {self.events:,}" if self.at_least else f"{self.events:,}"

    @property
    def were(self) -> str:
        """``1 event was``, ``at least 3 events were``."""
        return f"{self.number} {'event was' if self.events == 1 else 'events were'}"

    @property
    def words(self) -> str:
        """``no event was lost``, ``at least 3 events were lost``."""
        return f"{self.were} lost" if self else "no event was lost"

    @property
    def sentence(self) -> str:
        """As :attr:`words`, as a sentence begins."""
        return self.words[0].upper() + self.words[1:]
