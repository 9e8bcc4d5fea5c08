# SPDX-License-Identifier: GPL-2.0-or-later
"""Moved objects whose new pfn no event tells.

The destinations of compaction are silent. Where nothing else pairs them (no ``remove_migration_pte``, no
list operations in the recording), a moved object waits *in limbo*, in the list of the pageblock that its
destination was probably taken from (``mm_compaction_isolate_freepages`` names the block). The first free of
a page that is not in use, in that pageblock, is then the death of the object that waits there longest.
"""

from __future__ import annotations

from kevacuate.demand import objects as ob
from kevacuate.demand.objects import Tables, emit, free_object, i64, set_owner
from kevacuate.jit import part
from kevacuate.recording.demand import DemandChunk

BLOCK_ORDER = 9
"""The lists are per 512 pages, whatever the pageblock order of the recorded machine."""

NEIGHBOURS = 16
"""How many pageblocks to either side of the freed page's are searched for a waiting object."""

LOOK_AHEAD = 64
"""How many waiting objects of one pageblock are looked at for one of the freed order."""

_Q_BY_BLOCK = ob.Q["moves_by_block"]
_Q_DROPPED = ob.Q["moves_dropped"]


@part
def enter_limbo(s: Tables, out: DemandChunk, code: int, order: int, block: int) -> None:
    """The moved owner waits in the list of the pageblock (-1: unknown); given up if no node is left."""
    node = s.g[ob.G_LIMBO_FREE]
    if node < 0:
        s.q[_Q_DROPPED] += 1
        give_up(s, out, code, order)
        return
    s.g[ob.G_LIMBO_FREE] = s.limbo_next[node]
    blocks = s.g[ob.G_BLOCKS]
    if block < 0 or block >= blocks:
        block = blocks
    s.limbo_code[node] = code
    s.limbo_order[node] = order
    s.limbo_next[node] = -1
    if s.limbo_head[block] < 0:
        s.limbo_head[block] = node
    else:
        s.limbo_next[s.limbo_tail[block]] = node
    s.limbo_tail[block] = node
    s.g[ob.G_LIMBO] += 1


@part
def give_up(s: Tables, out: DemandChunk, code: int, order: int) -> None:
    """Free a moved owner that has no pfn."""
    if code >= 0:
        free_object(s, out, code)
    else:
        emit(s, out, ob.OP_FREE_PFN, -1, order, 0, 0, 0, ob.ANON_BASE - code)
        s.q[ob.Q_START_FREES] += 1


@part
def _fits(s: Tables, pfn: int, order: int, size: int) -> bool:
    """Whether an object of order *size* can be the one that the free pages at pfn are a part of."""
    if size <= order:
        return size == order
    base = pfn >> size << size
    if base + (1 << size) > s.g[ob.G_PAGES]:
        return False
    for page in range(base, base + (1 << size)):
        if i64(s.owner[page]) != ob.FREE_CODE:
            return False
    return True


@part
def _take(s: Tables, block: int, pfn: int, order: int) -> int:
    """Unlink the first node of the block's list whose object fits; -1 if there is none."""
    node = i64(s.limbo_head[block])
    before = -1
    looked = 0
    while node >= 0 and looked < LOOK_AHEAD:
        after = i64(s.limbo_next[node])
        if _fits(s, pfn, order, i64(s.limbo_order[node])):
            if before < 0:
                s.limbo_head[block] = after
            else:
                s.limbo_next[before] = after
            if after < 0:
                s.limbo_tail[block] = before
            s.limbo_next[node] = s.g[ob.G_LIMBO_FREE]
            s.g[ob.G_LIMBO_FREE] = node
            s.g[ob.G_LIMBO] -= 1
            return node
        before = node
        node = after
        looked += 1
    return -1


@part
def _find(s: Tables, pfn: int, order: int) -> int:
    """A waiting node for the page: in its block, in the nearest neighbour, or of unknown block."""
    blocks = i64(s.g[ob.G_BLOCKS])
    block = pfn >> BLOCK_ORDER
    node = _take(s, block, pfn, order)
    distance = 1
    while node < 0 and distance <= NEIGHBOURS:
        if block + distance < blocks:
            node = _take(s, block + distance, pfn, order)
        if node < 0 and block >= distance:
            node = _take(s, block - distance, pfn, order)
        distance += 1
    if node < 0:
        node = _take(s, blocks, pfn, order)
    return node


@part
def leave_limbo(s: Tables, pfn: int, order: int) -> bool:
    """Give the free pages at *pfn* to an object that waits; returns whether there was one.

    A larger object gets the aligned range around the pages, if none of it is in use.
    """
    if s.g[ob.G_LIMBO] == 0:
        return False
    node = _find(s, pfn, order)
    if node < 0:
        return False
    size = i64(s.limbo_order[node])
    place(s, pfn >> size << size, size, i64(s.limbo_code[node]))
    s.q[_Q_BY_BLOCK] += 1
    return True


@part
def place(s: Tables, base: int, order: int, code: int) -> None:
    """The moved owner now has the 2**order pages from *base*."""
    if code >= 0:
        s.pfn[code] = base
        set_owner(s, base, order, code)
    else:
        for i in range(1 << order):
            s.owner[base + i] = code - i
