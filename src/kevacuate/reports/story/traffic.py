# SPDX-License-Identifier: GPL-2.0-or-later
"""The traffic of single pages in a block between two steps of its story, summed up."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kevacuate.kernel import migratetypes
from kevacuate.mm import constants as k
from kevacuate.mm.log import unpack_types
from kevacuate.observe.event_records import NOTE_UNMAPPED
from kevacuate.reports.story.words import Happening, plural, seconds
from kevacuate.runs.noting import (
    NOTE_ALLOC,
    NOTE_DROPPED,
    NOTE_FREE,
    NOTE_MOVED_IN,
    NOTE_MOVED_OUT,
    NOTE_START,
)

KINDS = frozenset((
    k.L_EXTFRAG, NOTE_ALLOC, NOTE_FREE, NOTE_MOVED_OUT, NOTE_DROPPED, NOTE_MOVED_IN, NOTE_START, NOTE_UNMAPPED,
))  # fmt: skip
"""Kinds of records that are about pages, with their order in column a, rather than about a block."""


class Traffic:
    """Sums since the last step: pages by what happened to them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start anew."""
        self.any = False
        self.since = self.until = 0
        self.pages: dict[str, Counter[str]] = {"allocated": Counter(), "steals": Counter()}
        self.counts: Counter[str] = Counter()

    def add(self, one: Happening) -> None:
        """Add a record."""
        pages = 1 << one.a
        if one.kind == NOTE_ALLOC:
            self.pages["allocated"][migratetypes.name(one.b)] += pages
        elif one.kind == k.L_EXTFRAG:
            self.pages["steals"][migratetypes.name(unpack_types(one.c)[0])] += 1
        elif one.kind in _COUNTED:
            self.counts[_COUNTED[one.kind]] += pages
        else:
            return
        self.since = one.t if not self.any else self.since
        self.until = one.t
        self.any = True

    def facts(self) -> dict[str, Any]:
        """The figures: pages by type that requests got, steals by type, pages freed, moved in and out, dropped."""
        out: dict[str, Any] = {name: dict(sorted(count.items())) for name, count in self.pages.items()}
        return {**out, **{name: self.counts[name] for name in _COUNTED.values()}, "until_ns": self.until}

    def text(self, *, meanwhile: bool) -> str:
        """The sentence; *meanwhile*: during an evacuation."""
        parts = []
        if got := self.pages["allocated"]:
            kinds = ", ".join(f"{n:,} {name}" for name, n in sorted(got.items()))
            parts.append(f"{plural(sum(got.values()), 'page')} allocated ({kinds})")
        if stolen := self.pages["steals"]:
            kinds = ", ".join(f"{n:,} for {name}" for name, n in sorted(stolen.items()))
            parts.append(f"{plural(sum(stolen.values()), 'chunk')} stolen from it ({kinds})")
        parts += [f"{n:,} {name.replace('_', ' ')}" for name, n in self.counts.items() if n]
        return f"{'meanwhile, ' if meanwhile else ''}up to {seconds(self.until)}: " + ", ".join(parts)


_COUNTED = {
    NOTE_FREE: "freed",
    NOTE_MOVED_OUT: "moved_out",
    NOTE_DROPPED: "dropped",
    NOTE_MOVED_IN: "moved_in",
}
