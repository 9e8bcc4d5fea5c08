# SPDX-License-Identifier: GPL-2.0-or-later
"""Shadows: pages that the recorded kernel reclaimed, and that a model that reclaims by itself may still hold.

The kernel leaves a shadow entry where a page was in the page cache (mm/workingset.c). So does the demand: each page of a folio
that reclaim freed gets a number, neighbours in the folio neighbouring numbers, the first a multiple of the folio's size. A read
of the same file and index names the number; a truncation of the file gives it up. Numbers are used again in turn: by then as many
pages were reclaimed as the machine has, and the former folio is forgotten (op TRUNCATE).
"""

from __future__ import annotations

from kevacuate.demand import objects as ob
from kevacuate.demand.objects import Tables, emit, i64
from kevacuate.demand.pagekinds import mix
from kevacuate.jit import kernel, part, pointers
from kevacuate.recording.demand import DemandChunk
from kevacuate.records import Words

NO_FILE = 1
"""Key of a shadow of whose file nothing is known: no place of the page cache has it."""

INDEX_BITS = 30
"""Bits of a key that tell the pages of a file: files of up to 4 TiB."""

INDEXES = (1 << INDEX_BITS) - 2048
"""Pages whose keys are exact; what follows is room behind the largest folio, and the two places below."""

CACHED_PAGES = (1 << INDEX_BITS) - 1
FILE_SHADOWS = (1 << INDEX_BITS) - 2
FILE_LENGTH = (1 << INDEX_BITS) - 3
FILE_FIRST = (1 << INDEX_BITS) - 4
FILE_MAPPED = (1 << INDEX_BITS) - 5
"""Places of a file that stand for no page: how many of its pages are in the page cache, how many shadows it has, its pages as far
as events show and how it is read, the number of its first page among those of all files, and where its mapping ends."""

IN_TABLE = 1 << 62
"""Added to a page's key: the place that says that a page table maps the page."""

MOST_GIVEN_UP = 1 << 14
"""Shadows that one event gives up at most: its rows have to fit (reconstruct.MARGIN)."""

_Q_TRUNCATED = ob.Q["truncated"]
_Q_FORGOTTEN = ob.Q["shadows_forgotten"]
_Q_PEAK = ob.Q["peak_shadows"]


@part
def _home(s: Tables, key: int) -> int:
    """Where the key's entry is looked for first."""
    return i64(mix(key, i64(7)) & (s.g[ob.G_CACHE_SIZE] - 1))


@part
def find_place(s: Tables, key: int) -> int:
    """The place of the key in the table, or the empty place where it would go (linear probing)."""
    last = s.g[ob.G_CACHE_SIZE] - 1
    at = _home(s, key)
    while s.cache_key[at] != 0 and s.cache_key[at] != key:
        at = (at + 1) & last
    return at


@part
def enter(s: Tables, key: int, value: int) -> None:
    """Say what is at the key's place in the page cache."""
    at = find_place(s, key)
    s.g[ob.G_CACHED] += s.cache_key[at] == 0
    s.cache_key[at] = key
    s.cache_value[at] = value


@kernel
def enter_all(tables: Tables, keys: Words, values: Words) -> None:
    """Enter what stood in a smaller table."""
    s = pointers(tables)
    for i in range(len(keys)):
        enter(s, i64(keys[i]), i64(values[i]))


@part
def leave(s: Tables, key: int) -> None:
    """Nothing is at the key's place any more; entries behind move up, so that no search breaks off."""
    last = s.g[ob.G_CACHE_SIZE] - 1
    hole = find_place(s, key)
    if s.cache_key[hole] == 0:
        return
    s.g[ob.G_CACHED] -= 1
    at = hole
    while True:
        at = (at + 1) & last
        if s.cache_key[at] == 0:
            break
        home = _home(s, s.cache_key[at])
        if (at - home) & last >= (at - hole) & last:
            s.cache_key[hole] = s.cache_key[at]
            s.cache_value[hole] = s.cache_value[at]
            hole = at
    s.cache_key[hole] = 0


@part
def file_place(key: int, what: int) -> int:
    """The key of CACHED_PAGES or FILE_SHADOWS of the file that the page with that key is of."""
    return ((key - 2) >> INDEX_BITS << INDEX_BITS | what) + 2


@part
def file_count(s: Tables, key: int, what: int) -> int:
    """CACHED_PAGES or FILE_SHADOWS of that page's file."""
    at = find_place(s, file_place(key, what))
    return i64(s.cache_value[at]) if s.cache_key[at] != 0 else i64(0)


@part
def count_in_file(s: Tables, key: int, what: int, more: int) -> None:
    """Change that count; one that comes to 0 leaves no entry."""
    count = file_count(s, key, what) + more
    if count > 0:
        enter(s, file_place(key, what), count)
    else:
        leave(s, file_place(key, what))


@part
def first_shadow(s: Tables, shadow: int) -> int:
    """The first shadow of the folio that this one was a page of."""
    for order in range(ob.MAX_ORDER + 1):
        first = shadow >> order << order
        if i64(s.shadow_order[first]) != ob.SHADOW_TAIL:
            return first
    return shadow


@part
def forget_shadow(s: Tables, shadow: int) -> None:
    """The shadow is gone: its place in the page cache is empty, or another's."""
    key = i64(s.shadow_key[shadow])
    s.shadow_key[shadow] = 0
    if key != NO_FILE and key != 0:
        count_in_file(s, key, i64(FILE_SHADOWS), i64(-1))
        at = find_place(s, key)
        if s.cache_key[at] == key and i64(s.cache_value[at]) == -1 - shadow:
            leave(s, key)


@part
def _truncate_row(s: Tables, out: DemandChunk, shadow: int, order: int) -> None:
    """A TRUNCATE row of the shadows from *shadow* on, which are gone then."""
    emit(s, out, ob.OP_TRUNCATE, i64(0), order, i64(0), i64(0), i64(0), shadow)
    s.q[_Q_TRUNCATED] += 1
    for i in range(shadow, shadow + (1 << order)):
        forget_shadow(s, i)


@part
def truncate_shadow(s: Tables, out: DemandChunk, shadow: int) -> None:
    """Give up the folio that the shadow was a page of: in one row where none of it was read again, else page by page."""
    if i64(s.shadow_key[shadow]) == 0:
        return
    first = first_shadow(s, shadow)
    order = i64(s.shadow_order[first])
    whole = True
    for i in range(first, first + (1 << order)):
        whole = whole and i64(s.shadow_key[i]) != 0
    if whole:
        _truncate_row(s, out, first, order)
        return
    for i in range(first, first + (1 << order)):
        if i64(s.shadow_key[i]) != 0:
            _truncate_row(s, out, i, i64(0))


@part
def truncate_file(s: Tables, out: DemandChunk, key: int) -> None:
    """Give up the shadows of that page's file: at most MOST_GIVEN_UP of them."""
    left = min(file_count(s, key, i64(FILE_SHADOWS)), i64(MOST_GIVEN_UP))
    file = (key - 2) >> INDEX_BITS
    shadow = i64(1)
    while left > 0 and shadow < i64(s.g[ob.G_SHADOWS]):
        found = i64(s.shadow_key[shadow])
        if found > NO_FILE and (found - 2) >> INDEX_BITS == file:
            before = file_count(s, key, i64(FILE_SHADOWS))
            truncate_shadow(s, out, shadow)
            left -= before - file_count(s, key, i64(FILE_SHADOWS))
        shadow += 1


@part
def new_shadows(s: Tables, out: DemandChunk, order: int, key: int) -> int:
    """Numbers for the pages of a folio that is being reclaimed; returns the first, 0 if no folio is that large.

    *key* is the first page's place in the page cache; the others' follow.
    """
    size = 1 << order
    first = (i64(s.g[ob.G_SHADOW]) + size - 1) >> order << order
    if first == 0 or first + size > i64(s.g[ob.G_SHADOWS]):
        first = size
    if first + size > i64(s.g[ob.G_SHADOWS]):
        return i64(0)
    for i in range(first, first + size):
        if i64(s.shadow_key[i]) != 0:
            s.q[_Q_FORGOTTEN] += 1
            truncate_shadow(s, out, i)
    for i in range(size):
        s.shadow_order[first + i] = ob.SHADOW_TAIL
        s.shadow_key[first + i] = NO_FILE if key == NO_FILE else key + i
    if key != NO_FILE:
        count_in_file(s, key, i64(FILE_SHADOWS), size)
    s.shadow_order[first] = order
    s.g[ob.G_SHADOW] = first + size
    s.q[_Q_PEAK] = max(i64(s.q[_Q_PEAK]), first + size)
    return first
