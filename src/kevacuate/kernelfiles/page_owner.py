# SPDX-License-Identifier: GPL-2.0-or-later
"""What page_owner prints (mm/page_owner.c): each allocated page's stack, task and types; and page_owner_sort's output of it.

The lines by version, as the sources of these versions print them (:func:`records` reads all):

======== =========================================================================================================
3.19     ``Page allocated via order N, mask 0xN``, ``PFN N Block N type N Fallback Flags KREUDLA...``
4.6      ``mask 0xN(names)``, ``PFN N type Movable Block N type Movable Flags 0xN(names)``, last migrate reason
5.11     ``, pid N, ts N ns``
5.14     ``, free_ts N ns`` (5.13 was not at hand)
5.19     ``, tgid N (task)`` (5.18 was not at hand), lines of the memory cgroup
6.8      ``PFN 0xN``, and no ``free_ts`` (last seen in 6.4)
======== =========================================================================================================

``page_owner_stacks/show_stacks`` (since 6.9) prints stacks and a count alone: ``stack_count: N`` of allocations, and from
6.13 at the latest ``nr_base_pages: N``; :func:`stacks` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from kevacuate.kernel.gfp import bits
from kevacuate.kernel.migratetypes import (
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    NAMES,
    SWAPPED_FIRST,
    SWAPPED_UNTIL,
    table,
)
from kevacuate.kernel.versions import Version
from kevacuate.kernelfiles.text import TextFile

NO_TYPE = -1
"""Stands for a migratetype that is not printed, or that no kernel has."""

HIGHEST_ORDER = 16
"""No kernel allocates more: MAX_PAGE_ORDER is 10, 13 for arm64 with pages of 64 KiB, and chosen by few."""

PFN_BITS = 40
"""Physical addresses have at most 52 bits."""

LONGEST_PREFIX = 64
"""Bytes that a mail or a log may have put before each line."""

LONGEST_HEAD = 4096
"""Bytes of a record's lines before its stack that are looked at; a mail may have broken them."""

MOST_FRAMES = 128
"""Lines kept of one stack: page_owner keeps 16."""

_HEAD = b"Page allocated via order "
_ALLOCATED = re.compile(
    rb"Page allocated via order (\d{1,3}), mask (0x[0-9a-f]{1,16})"
    rb"(?:\(([^)]{0,2000})\))?(?:, pid (-?\d{1,10})(?:, tgid (-?\d{1,10}))?(?: \((.{0,64})\))?, +ts)?"
)
_PFN = re.compile(
    rb"PFN (0x[0-9a-f]{1,16}|\d{1,20}) "
    rb"(?:type (\w{1,20}) Block (\d{1,20}) type (\w{1,20})|Block (\d{1,20}) type (\d{1,2}) (Fallback)?) *Flags (.{0,400})"
)
_TIMES = re.compile(rb"(\d{1,18}) times(?:, (\d{1,18}) pages)?[,:( \n]|(\d{1,18}) times, (\d{1,18}) pages$")
_SORTED_TASK = re.compile(rb"task_comm_name: (.{0,64}?)(?:, allocated by |:$|$)")
_COUNT = re.compile(rb"(stack_count|nr_base_pages): (\d{1,18})$")
_ADDRESS = re.compile(r"^\[<[0-9a-fx]+>\] *")
_NUMBERS = {name.encode(): number for number, name in enumerate(NAMES)}


class Task(NamedTuple):
    """Who allocated a page, as far as the kernel keeps it."""

    name: str
    """"" before 5.18, when none was kept."""
    tgid: int
    """The process (the thread where only that is printed); -1 before 5.11, when none was kept."""


class Owned(NamedTuple):
    """One record: an allocation that was not freed."""

    order: int
    gfp: str
    """The flags' names, or the number where there are none."""
    task: Task
    pfn: int
    """-1 in page_owner_sort's output."""
    block: int
    """Pageblock number; -1 in page_owner_sort's output."""
    page_type: int
    """Migratetype that the flags ask for, as stored numbers have it; NO_TYPE where neither is printed."""
    block_type: int
    """Migratetype of the pageblock; NO_TYPE in page_owner_sort's output."""
    slab: bool
    """Whether the page is a slab."""
    stack: bytes
    """The lines of the stack as printed, joined by line ends."""
    times: int
    """Allocations that the record stands for: 1 but in page_owner_sort's output."""
    pages: int


class Tally:
    """What was not read.

    Attributes
    ----------
    malformed : int
        Records without a line that is needed, or with a number that no kernel has.
    how : str
        "" or how the numbers of migratetypes were settled (kernels before 4.6).

    """

    def __init__(self) -> None:
        self.malformed, self.how = 0, ""


class _Numbering(NamedTuple):
    """What the numbers of a kernel before 4.6 mean."""

    types: tuple[int, ...]
    """Stored number of each number of a migratetype."""
    reclaimable: int
    """The bit __GFP_RECLAIMABLE; __GFP_MOVABLE has been 8 always."""


def _numbering(version: Version) -> _Numbering:
    numbers, named = table(version), bits(version)
    assert numbers is not None
    assert named is not None
    return _Numbering(tuple(int(x) for x in numbers), 1 << named["__GFP_RECLAIMABLE"])


_MOVABLE_BIT = 1 << 3
_LATER = _numbering(SWAPPED_FIRST)
_EARLIER = _numbering(SWAPPED_UNTIL)


def looks_like_page_owner(file: TextFile) -> bool:
    """Whether a file begins like page_owner, or like page_owner_sort's output."""
    head = file.head_bytes
    return bool(re.search(rb"^[> \t]*Page allocated via order \d+, mask 0x", head, re.MULTILINE)) or bool(
        re.match(rb"\s*\d+ times, \d+ pages", head)
    )


def looks_like_stacks(file: TextFile) -> bool:
    """Whether a file begins like page_owner_stacks/show_stacks."""
    return bool(
        re.search(
            rb"^ ?\S+\+0x[0-9a-f]+/0x.+\n(?:handle: \d+\n)?(?:stack_count|nr_base_pages): \d+$",
            file.head_bytes,
            re.M,
        )
    )


@lru_cache(maxsize=1 << 16)
def frames(stack: bytes) -> tuple[str, ...]:
    """The functions of a stack, innermost first, without addresses, offsets and sizes."""
    found = []
    for line in stack.decode("utf-8", "replace").split("\n"):
        name = _ADDRESS.sub("", line.strip()).partition("+0x")[0]
        if name and name not in ("(null)", "0xffffffffffffffff"):
            found.append(name)
    return tuple(found)


def _blocks(lines: Iterable[bytes]) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Each record's lines before its stack, and its stack's, without what a mail puts before each line."""
    prefix, placed = b"", False
    above: list[bytes] = []
    stack: list[bytes] = []
    for full in lines:
        line = full.removeprefix(prefix)
        if placed and line[:1] == b" ":
            if len(stack) < MOST_FRAMES:
                stack.append(line)  # most lines are such
            continue
        if 0 <= (at := line.find(_HEAD)) <= LONGEST_PREFIX:
            if stack or (above and not _TIMES.match(above[0])):
                yield above, stack
                above, stack = [], []
            prefix, placed = full[: full.find(_HEAD)], False
            above.append(line[at:])
            continue
        if not line or line.isspace():
            if above:
                yield above, stack
            above, stack, placed = [], [], False
        else:
            placed |= _one_more(line, above, stack, placed)
    if above:
        yield above, stack


def _one_more(line: bytes, above: list[bytes], stack: list[bytes], placed: bool) -> bool:
    """Put a line where it belongs; whether it says where the page is."""
    if line.startswith(b"PFN ") or (not above and _TIMES.match(line)):
        above.append(line)
        return line.startswith(b"PFN ")
    if line[:1] in b" [\t" and above and len(stack) < MOST_FRAMES:
        stack.append(line)
    elif above and not placed and len(above) < 4 and len(above[-1]) < LONGEST_HEAD:
        above[-1] += b" " + line
    return False


def records(file: TextFile, tally: Tally) -> Iterator[Owned]:
    """Every record of page_owner, or of page_owner_sort's output.

    Parameters
    ----------
    file : TextFile
        Of any version.
    tally : Tally
        Counts what is not read.

    Raises
    ------
    KevacuateError
        The file cannot be read, or does not decompress.

    """
    numbering = _LATER
    if re.search(rb"^[> \t]*PFN \d+ Block \d+ type \d", file.head_bytes, re.MULTILINE):
        numbering, tally.how = _settled(file)
    for above, stack in _blocks(file.raw_lines()):
        found = _record(above, stack, numbering)
        if found is None:
            tally.malformed += 1
        else:
            yield found


def _settled(file: TextFile) -> tuple[_Numbering, str]:
    """The numbering of a kernel before 4.6: a movable page whose block has its type proves it."""
    for above, _ in _blocks(file.raw_lines()):
        page = _PFN.match(above[-1])
        head = _ALLOCATED.match(above[0])
        if page and head and page[6] and not page[7] and int(head[2], 16) & _MOVABLE_BIT:
            return (_LATER if int(page[6]) == MIGRATE_MOVABLE else _EARLIER), "proven"
    return _EARLIER, "assumed"


def _record(above: list[bytes], stack: list[bytes], numbering: _Numbering) -> Owned | None:
    """The record of these lines; None if it is malformed."""
    times = _TIMES.match(above[0])
    lines = above[1:] if times else above
    head = _ALLOCATED.match(lines[0]) if lines else None
    place = _PFN.match(lines[-1]) if lines else None
    if times is None and (head is None or place is None):
        return None
    order = int(head[1]) if head else 0
    if order > HIGHEST_ORDER:
        return None
    count = int(times[1] or times[3]) if times else 1
    pages = (int(times[2] or times[4] or 0) if times else 0) or count << order
    if (count | pages) >> PFN_BITS:
        return None
    where = _where(head, place, numbering)
    if where is None:
        return None
    task = _task(head) if head else _sorted_task(above[0])
    gfp = (head[3] or head[2]).decode("ascii", "replace") if head else ""
    slab = (place is not None and b"slab" in place[8]) or b"allocated by SLAB" in above[0]
    return Owned(order, gfp, task, *where, slab, b"\n".join(stack), count, pages)


def _where(
    head: re.Match[bytes] | None, place: re.Match[bytes] | None, numbering: _Numbering
) -> tuple[int, int, int, int] | None:
    """pfn, block, type of the page, type of the block; None if one is of no kernel."""
    asked = NO_TYPE if head is None else _asked(int(head[2], 16), numbering)
    if place is None:
        unsure = head is not None and head[3] is None and asked != MIGRATE_MOVABLE
        return -1, -1, NO_TYPE if unsure else asked, NO_TYPE
    pfn = int(place[1], 0) if place[1].startswith(b"0x") else int(place[1])
    block = int(place[3] or place[5])
    if pfn >> PFN_BITS or block > pfn:
        return None
    if place[2]:
        named = [_NUMBERS.get(name.lower(), NO_TYPE) for name in (place[2], place[4])]
        return None if named[0] == NO_TYPE else (pfn, block, named[0], named[1])
    number = int(place[6])
    if number >= len(numbering.types):
        return None
    return pfn, block, asked, numbering.types[number]


def _asked(mask: int, numbering: _Numbering) -> int:
    """gfp_migratetype(): the migratetype that flags ask for."""
    if mask & _MOVABLE_BIT:
        return MIGRATE_MOVABLE
    return MIGRATE_RECLAIMABLE if mask & numbering.reclaimable else MIGRATE_UNMOVABLE


def _task(head: re.Match[bytes]) -> Task:
    """The task that a record's first line names."""
    name = head[6].decode("utf-8", "replace") if head[6] else ""
    return Task(name, int(head[5] or head[4] or -1))


def _sorted_task(line: bytes) -> Task:
    """The task that page_owner_sort names where it culls by name."""
    found = _SORTED_TASK.search(line)
    return Task(found[1].decode("utf-8", "replace") if found else "", -1)


class Stack(NamedTuple):
    """One stack of page_owner_stacks/show_stacks."""

    stack: bytes
    """Its lines, joined by line ends."""
    number: int
    """What the line behind it counts."""
    pages: bool
    """Whether that is base pages (``nr_base_pages``), and not allocations (``stack_count``, 6.9)."""


def stacks(file: TextFile) -> Iterator[Stack]:
    """Every stack of a file of page_owner_stacks/show_stacks.

    Raises
    ------
    KevacuateError
        The file cannot be read, or does not decompress.

    """
    lines: list[bytes] = []
    for line in file.raw_lines():
        found = _COUNT.match(line.strip())
        if found:
            yield Stack(b"\n".join(lines), int(found[2]), found[1] == b"nr_base_pages")
            lines = []
        elif not line.strip() or line.lstrip().startswith(b"handle: "):
            lines = lines if line.strip() else []
        elif len(lines) < MOST_FRAMES:
            lines.append(line)
