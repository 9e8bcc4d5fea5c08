# SPDX-License-Identifier: GPL-2.0-or-later
"""What show_free_areas prints of zones (mm/show_mem.c; mm/page_alloc.c until 6.5), in the formats of 3.8 to 7.2.

Of each zone there are three lines: its marks, its lowmem_reserve, and its free chunks by order with a letter for each type of
pageblock they are in: U, M, E (reclaimable), R (reserve, until 4.3), H (highatomic, since 4.4), C (CMA), I (isolate).
``Node 0`` stands before them only on kernels with CONFIG_NUMA.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kevacuate.kernel.watermark import ZONES

LETTERS = {
    "U": "unmovable", "M": "movable", "E": "reclaimable", "R": "reserve", "H": "highatomic", "C": "cma", "I": "isolate",
}  # fmt: skip
"""Letters of show_migration_types to the type's name."""

MOST_ORDERS = 16
"""Orders that are kept; MAX_PAGE_ORDER is 10 on most machines, 13 on some arm64 ones."""

LONGEST_LIST = 2000
"""Characters of a line of free chunks that are kept."""

_NAMES = "|".join(sorted(ZONES, key=len, reverse=True))
_ZONE = re.compile(rf"(?:Node (\d{{1,4}}) )?\b({_NAMES}) free:(\d{{1,15}})kB\b")
_FIELD = re.compile(r"(?<![\w()])([\w()]{1,40}): ?(\d{1,15})[kK]B")
_RESERVE = re.compile(r"lowmem_reserve\[\]:((?: +-?\d{1,15})*)")
_FREE_LIST = re.compile(rf"(?:Node (\d{{1,4}}) )?\b({_NAMES}): *(?=\d+\*\d+kB|$)")
_CHUNKS = re.compile(r"(\d{1,12})\*(\d{1,9})kB(?: ?\(([A-Z]{0,8})\))?")
_TOTAL = re.compile(r"= ?(\d{1,15})kB")
_MORE_RESERVE = re.compile(r" *\d{1,15}(?: +\d{1,15}){0,7} *")
_MORE_FIELDS = re.compile(
    r"(?:[\w()]+: ?\d+[kK]B ?)+(?:pages_scanned:\d+ ?)?(?:all_unreclaimable\? (?:yes|no))?"
)
_MORE_CHUNKS = re.compile(r"\d{0,12}\*?\d{0,9}kB|\d{1,12}\*\d{0,9}$|[A-Z]{0,8}\)|\([A-Z]{0,8}\)?|= ?\d*")


@dataclass(slots=True)
class Zone:
    """A zone as a report shows it; numbers are KiB, as printed."""

    node: int
    name: str
    fields: dict[str, int] = field(default_factory=dict)
    """``free``, ``boost``, ``min``, ``low``, ``high``, ``managed``, ``free_cma`` and so on, those that the kernel prints."""
    reserve: tuple[int, ...] = ()
    """lowmem_reserve in pages, by index of the highest zone that a request may take from."""
    chunks: list[tuple[int, int, str]] = field(default_factory=list)
    """By order: free chunks, KiB of one, letters of the types they are in."""
    total: int | None = None
    """Free KiB in all chunks, as the kernel adds them up."""
    printed: str = ""
    """The line of free chunks, as far as it was read."""

    @property
    def page_kb(self) -> int:
        """KiB of a page: what a chunk of order 0 has; 4 where no chunks are shown."""
        return self.chunks[0][1] if self.chunks else 4

    @property
    def whole(self) -> bool:
        """Whether the line of free chunks was read to its end: the chunks make up the sum that the kernel prints behind them."""
        return self.total is not None and self.total == sum(count * size for count, size, _ in self.chunks)

    @property
    def nr_free(self) -> tuple[int, ...]:
        """Free chunks by order."""
        return tuple(count for count, _, _ in self.chunks)


def zone_fields(text: str) -> tuple[int, str, dict[str, int]] | None:
    """Node, name and numbers of a zone's first line; None if the text holds none."""
    found = _ZONE.search(text) if " free:" in text else None
    if found is None:
        return None
    return int(found[1] or 0), found[2], fields(text[found.end(2) :])


def fields(text: str) -> dict[str, int]:
    """``name:123kB`` of a text by name."""
    return {name: int(value) for name, value in _FIELD.findall(text)}


def lowmem_reserve(text: str) -> tuple[int, ...] | None:
    """Pages by zone index of a ``lowmem_reserve[]:`` line; None if it is none."""
    found = _RESERVE.search(text) if "lowmem_reserve" in text else None
    return None if found is None else tuple(int(number) for number in found[1].split()[: len(ZONES)])


def reserve_goes_on(text: str) -> tuple[int, ...]:
    """The numbers of a line that is the rest of a ``lowmem_reserve[]:`` line: wrapped, or printed piece by piece; none if not."""
    return tuple(map(int, text.split())) if _MORE_RESERVE.fullmatch(text) else ()


def free_list(text: str) -> tuple[int, str, str] | None:
    """Node, name and the rest of a line of free chunks; None if it is none."""
    found = _FREE_LIST.search(text) if "*" in text or text.endswith(":") else None
    return None if found is None else (int(found[1] or 0), found[2], text[found.end() :])


def add_chunks(zone: Zone, text: str) -> None:
    """Adds the chunks and the sum that a line, or what follows it on the next, holds.

    A line may end anywhere, inside a number too. Chunks that do not double in size from order to order are passed over: the
    line is mixed with another.
    """
    zone.printed = (zone.printed + text)[:LONGEST_LIST]
    zone.chunks.clear()
    for count, size, letters in _CHUNKS.findall(zone.printed):
        wanted = zone.chunks[-1][1] * 2 if zone.chunks else int(size)
        if int(size) == wanted and int(size) and len(zone.chunks) < MOST_ORDERS:
            zone.chunks.append((int(count), int(size), letters))
    zone.total = sum_of_chunks(zone.printed)


def sum_of_chunks(text: str) -> int | None:
    """KiB that a line of free chunks adds up to, as printed behind them; None if it does not say."""
    found = _TOTAL.search(text)
    return None if found is None else int(found[1])


def goes_on(text: str) -> bool:
    """Whether a line is the rest of a zone's first line, which a mail client wrapped."""
    return _MORE_FIELDS.fullmatch(text) is not None


def chunks_go_on(text: str) -> bool:
    """Whether a line is the rest of a line of free chunks: wrapped, or printed piece by piece."""
    return _MORE_CHUNKS.match(text) is not None
