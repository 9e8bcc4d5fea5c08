# SPDX-License-Identifier: GPL-2.0-or-later
"""The page or pageblock that a story is of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """What a story is of: the pages [first, last) of a pageblock, or one page of it (then ``last`` is ``first`` + 1)."""

    block: int
    first: int
    last: int
    pageblock_order: int
    zone: str
    """Its name, "" if not known."""
    node: int
    """-1 if not known."""

    @property
    def is_page(self) -> bool:
        """Whether it is a single page."""
        return self.last - self.first == 1

    @property
    def text(self) -> str:
        """In words."""
        zone = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in self.zone)
        where = f"node {self.node}, zone {zone}" if self.zone else "zone not known"
        if self.is_page:
            return f"page {self.first:#x} (pfn {self.first:,}), in pageblock {self.block}, {where}"
        return f"pageblock {self.block}: pfns {self.first:#x} to {self.last - 1:#x}, {where}"
