# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction's private list of free pages, followed through the recorded list operations.

A recording with ``gt_list`` events shows which chunks compaction took from the buddy lists: deletions that no
allocation (``mm_page_alloc_zone_locked``, ``mm_page_alloc_extfrag``) and no merge (an addition that contains
the chunk) explains, and whose pages add up to the ``nr_taken`` of the ``isolate_freepages`` event that
follows. From there the destinations follow: ``compaction_alloc`` takes the head of the smallest sufficient
order, splits it, pushes the upper halves to the heads of the lower orders and hands out the lowest part, and
isolates more only when nothing is left (specification 5.5).

Which source took which destination is decided when a batch is over, so the pages that were on the lists when
more were isolated stand in a queue of their own, *ready*, in the order in which they were handed out; so do
pages that a failed migration gave back.
"""

from __future__ import annotations

from kevacuate.demand.objects import MAX_ORDER, Tables, i64
from kevacuate.jit import part

SLOTS = 16
"""Movers at work at the same time."""

QUEUE = 1024
"""Entries of each of a mover's queues."""

CHUNKS = 4096
"""Chunks that a compaction's free lists can hold."""

S_PID = 0
S_KIND = 1
S_LO = 2
S_HI = 3
S_OPEN = 4
S_SOURCES = 5
S_TARGETS = 6
S_NEW = 7
S_FREE_NODE = 8
S_LISTED = 9
S_STOCK_FIRST = 10
S_STOCK_END = 11
S_CALL = 12
S_READY_FIRST = 13
S_READY_END = 14
S_RETURNED = 15
S_HEAD = 16
S_TAIL = 28
S_SIZE = 40
"""Places in a session's record: task, kind, range of pages being moved, whether a batch is under way, number
of sources and of targets, last new pfn of a remove_migration_pte, first free node, whether the lists are
right, range of the stock queue, whether free pages were isolated in this batch, range of the ready queue,
number of pages given back; head and tail per order."""

KIND_EVACUATE = 0
KIND_COMPACT = 1


@part
def clear_lists(s: Tables, slot: int) -> None:
    """Empty the session's lists."""
    record = slot * S_SIZE
    first = slot * CHUNKS
    for order in range(MAX_ORDER + 1):
        s.sessions[record + S_HEAD + order] = -1
        s.sessions[record + S_TAIL + order] = -1
    for i in range(CHUNKS):
        s.chunk_next[first + i] = i + 1 if i + 1 < CHUNKS else -1
    s.sessions[record + S_READY_FIRST] = CHUNKS
    s.sessions[record + S_READY_END] = CHUNKS
    s.sessions[record + S_RETURNED] = 0
    s.sessions[record + S_FREE_NODE] = 0
    s.sessions[record + S_LISTED] = 0
    s.sessions[record + S_TARGETS] = 0


@part
def _node(s: Tables, slot: int, pfn: int) -> int:
    """A node that holds the pfn, -1 if none is left."""
    record = slot * S_SIZE
    node = i64(s.sessions[record + S_FREE_NODE])
    if node >= 0:
        s.sessions[record + S_FREE_NODE] = s.chunk_next[slot * CHUNKS + node]
        s.chunk_pfn[slot * CHUNKS + node] = pfn
    return node


@part
def push_head(s: Tables, slot: int, pfn: int, order: int) -> None:
    """Put the chunk at the head of its order's list."""
    node = _node(s, slot, pfn)
    if node < 0:
        return
    record = slot * S_SIZE
    head = i64(s.sessions[record + S_HEAD + order])
    s.chunk_next[slot * CHUNKS + node] = head
    s.sessions[record + S_HEAD + order] = node
    if head < 0:
        s.sessions[record + S_TAIL + order] = node


@part
def push_tail(s: Tables, slot: int, pfn: int, order: int) -> None:
    """Put the chunk at the tail of its order's list."""
    node = _node(s, slot, pfn)
    if node < 0:
        return
    record = slot * S_SIZE
    tail = i64(s.sessions[record + S_TAIL + order])
    s.chunk_next[slot * CHUNKS + node] = -1
    s.sessions[record + S_TAIL + order] = node
    if tail < 0:
        s.sessions[record + S_HEAD + order] = node
    else:
        s.chunk_next[slot * CHUNKS + tail] = node


@part
def pop_head(s: Tables, slot: int, order: int) -> int:
    """Take the chunk at the head of the order's list: its pfn, -1 if the list is empty."""
    record = slot * S_SIZE
    node = i64(s.sessions[record + S_HEAD + order])
    if node < 0:
        return -1
    after = i64(s.chunk_next[slot * CHUNKS + node])
    s.sessions[record + S_HEAD + order] = after
    if after < 0:
        s.sessions[record + S_TAIL + order] = -1
    s.chunk_next[slot * CHUNKS + node] = s.sessions[record + S_FREE_NODE]
    s.sessions[record + S_FREE_NODE] = node
    return i64(s.chunk_pfn[slot * CHUNKS + node])


@part
def put_ready(s: Tables, slot: int, pfn: int) -> None:
    """Put a page in front of the ready queue."""
    first = i64(s.sessions[slot * S_SIZE + S_READY_FIRST])
    if first > 0:
        first -= 1
        s.ready[slot * 2 * CHUNKS + first] = pfn
        s.sessions[slot * S_SIZE + S_READY_FIRST] = first


@part
def lists_run_out(s: Tables, slot: int) -> None:
    """More is about to be isolated: what is on the lists has been handed out, smallest order first."""
    record = slot * S_SIZE
    first = i64(s.sessions[record + S_READY_FIRST])
    end = i64(s.sessions[record + S_READY_END])
    base = slot * 2 * CHUNKS
    for i in range(end - first):
        s.ready[base + CHUNKS - (end - first) + i] = s.ready[base + first + i]
    first = CHUNKS - (end - first)
    end = CHUNKS
    for order in range(MAX_ORDER + 1):
        pfn = pop_head(s, slot, order)
        while pfn >= 0:
            for page in range(pfn, pfn + (1 << order)):
                if end < 2 * CHUNKS:
                    s.ready[base + end] = page
                    end += 1
            pfn = pop_head(s, slot, order)
    s.sessions[record + S_READY_FIRST] = max(first, 0)
    s.sessions[record + S_READY_END] = end


@part
def _take_ready(s: Tables, slot: int, order: int) -> int:
    """The first aligned run of 2**order pages of the ready queue, -1 if it has none."""
    record = slot * S_SIZE
    base = slot * 2 * CHUNKS
    first = i64(s.sessions[record + S_READY_FIRST])
    end = i64(s.sessions[record + S_READY_END])
    size = 1 << order
    for i in range(first, end - size + 1):
        pfn = i64(s.ready[base + i])
        if pfn % size == 0 and i64(s.ready[base + i + size - 1]) == pfn + size - 1:
            for k in range(i - 1, first - 1, -1):
                s.ready[base + k + size] = s.ready[base + k]
            s.sessions[record + S_READY_FIRST] = first + size
            return pfn
    return -1


@part
def compaction_alloc(s: Tables, slot: int, order: int) -> int:
    """The destination that compaction took next for a folio of this order, -1 if there was none."""
    pfn = _take_ready(s, slot, order)
    found = order
    while found <= MAX_ORDER and pfn < 0:
        pfn = pop_head(s, slot, found)
        if pfn >= 0:
            while found > order:
                found -= 1
                push_head(s, slot, pfn + (1 << found), found)
        found += 1
    return pfn


@part
def stage_delete(s: Tables, slot: int, pfn: int, order: int) -> None:
    """The mover's task took the chunk off a buddy list; why, later events tell."""
    record = slot * S_SIZE
    count = i64(s.sessions[record + S_TARGETS])
    if count < QUEUE:
        s.targets[slot * QUEUE + count] = pfn
        s.target_order[slot * QUEUE + count] = order
        s.sessions[record + S_TARGETS] = count + 1


@part
def unstage(s: Tables, slot: int, pfn: int, order: int) -> None:
    """Forget the deletions of chunks that overlap [pfn, pfn + 2**order): allocated or merged."""
    record = slot * S_SIZE
    first = slot * QUEUE
    kept = 0
    for i in range(i64(s.sessions[record + S_TARGETS])):
        start = i64(s.targets[first + i])
        size = 1 << i64(s.target_order[first + i])
        if start + size <= pfn or start >= pfn + (1 << order):
            s.targets[first + kept] = s.targets[first + i]
            s.target_order[first + kept] = s.target_order[first + i]
            kept += 1
    s.sessions[record + S_TARGETS] = kept


@part
def stock_isolated(s: Tables, slot: int, taken: int) -> None:
    """An isolate_freepages call ended: the staged chunks go to the lists if they add up to *taken*."""
    record = slot * S_SIZE
    first = slot * QUEUE
    count = i64(s.sessions[record + S_TARGETS])
    pages = 0
    for i in range(count):
        pages += 1 << i64(s.target_order[first + i])
    if pages == taken:
        for i in range(count):
            push_tail(s, slot, i64(s.targets[first + i]), i64(s.target_order[first + i]))
    else:
        s.sessions[record + S_LISTED] = 0
    s.sessions[record + S_TARGETS] = 0
