# SPDX-License-Identifier: GPL-2.0-or-later
"""Which free page each move gets: the free scanner's list operations, and what compaction_alloc takes of what it brought.

migrate_pages asks for a destination for every folio in turn and unmaps it; then it moves what it could unmap, and what it
could not it tries again, at last one by one. Which folio failed, and when, is an input (gt_mig 2, 3).
"""

from __future__ import annotations

from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks
from kevacuate.fidelity.compaction.follow import split_folio, unuse, use_folio
from kevacuate.fidelity.compaction.free_blocks import close_blocks
from kevacuate.fidelity.compaction.free_scan import begin_search, finish_scan
from kevacuate.fidelity.compaction.operations import NONE
from kevacuate.fidelity.compaction.steps import judge
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_scanners import add_to_freepages, freepages
from kevacuate.mm.fields import CompactControl, View
from kevacuate.mm.isolate_freepages import compaction_alloc, compaction_free
from kevacuate.mm.lists import list_del
from kevacuate.recording import EventChunk
from kevacuate.recording.event_numbers import GT_MIG, MIG_NOT_UNMAPPED, MIGRATE_PAGES


@part
def has_free(s: View, z: int, cc: CompactControl, order: int) -> bool:
    """Whether cc->freepages serves a folio of *order* without a scan."""
    for o in range(order, s.cfg.max_page_order + 1):
        head = freepages(s, z, cc, o)
        if s.link[2 * head] != head:
            return True
    return False


@part
def allocate(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int, pfn: int) -> int:
    """compaction_alloc for a folio, with what the kernel's scans have brought; NONE where that is nothing."""
    order = s.meta[pfn] & 15
    if not has_free(s, z, cc, order):
        return NONE
    b.runs[run * bk.RW + bk.R_SCANNED] = 0
    dst = compaction_alloc(s, z, cc, order)
    s.meta[dst] = k.CHUNK_RESERVED << 4 | order
    s.link[2 * dst + 1] = 0
    return dst


@part(inline=True)
def give(b: CompactionBooks, pfn: int, dst: int) -> None:
    """The folio has this destination."""
    b.target[pfn] = dst + 1
    if dst >= 0:
        b.source_of[dst] = pfn


@part
def allocate_until(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int, last: int) -> None:
    """Give the folios of this pass before *last* (-1: all) their destinations, as far as the free pages at hand go."""
    at = run * bk.RW
    n = b.runs[at + bk.R_QUEUE]
    while n < b.runs[at + bk.R_LENGTH] and b.source[run * bk.BATCH + n] != last:
        pfn = b.source[run * bk.BATCH + n] + 0
        if b.target[pfn] == 0 and s.meta[pfn] >> 4 == k.CHUNK_ISOLATED:
            dst = allocate(s, b, z, cc, run, pfn)
            if dst == NONE:
                break
            give(b, pfn, dst)
        n += 1
    b.runs[at + bk.R_QUEUE] = n


@part
def target_waiting(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """The kernel scans for free pages: the folios before have theirs, and so have those of a large one that is split."""
    at = run * bk.RW
    if b.runs[at + bk.R_MOVING] and b.runs[at + bk.R_SPLIT]:
        begin_split(b, run)
    allocate_until(s, b, z, cc, run, -1)
    if b.runs[at + bk.R_QUEUE] >= b.runs[at + bk.R_LENGTH] and b.runs[at + bk.R_SPLIT]:
        begin_split(b, run)
        allocate_until(s, b, z, cc, run, -1)


@part
def need_targets(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """The kernel scans for free pages: the folios before have theirs, and the model searches."""
    target_waiting(s, b, z, cc, run)
    begin_search(s, b, z, cc, run)


@part
def close_scan(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int) -> None:
    """The scan is over: what the model expected of it beyond that is wrong."""
    if b.facts[bk.F_UNLISTED]:
        close_blocks(s, b, e, i, run)
    else:
        finish_scan(s, b, e, i, run)


@part
def next_pass(b: CompactionBooks, run: int) -> None:
    """Go on with the folios that are to be tried again."""
    at = run * bk.RW
    for n in range(b.runs[at + bk.R_LATER]):
        b.source[run * bk.BATCH + b.runs[at + bk.R_TAKEN] + n] = b.later[run * bk.BATCH + n]
    b.runs[at + bk.R_QUEUE] = b.runs[at + bk.R_TAKEN]
    b.runs[at + bk.R_LENGTH] = b.runs[at + bk.R_TAKEN] + b.runs[at + bk.R_LATER]
    b.runs[at + bk.R_LATER] = 0
    b.runs[at + bk.R_PASS] += 1


@part(cold=True)
def queue_split(s: View, b: CompactionBooks, run: int, pfn: int, order: int) -> None:
    """try_split_folio: the folio's other pages and then its first are tried by themselves in the end (mm/migrate.c:1640)."""
    split_folio(s, b, pfn)
    at = run * bk.RW
    for n in range(1, (1 << order) + 1):
        if b.runs[at + bk.R_SPLIT] < bk.BATCH:
            b.split[run * bk.BATCH + b.runs[at + bk.R_SPLIT]] = pfn + n if n < 1 << order else pfn
            b.runs[at + bk.R_SPLIT] += 1


@part(cold=True)
def begin_split(b: CompactionBooks, run: int) -> None:
    """The pages of the split folios are the batch now, for one pass."""
    at = run * bk.RW
    taken = b.runs[at + bk.R_TAKEN]
    count = min(b.runs[at + bk.R_SPLIT], bk.BATCH - taken)
    for n in range(count):
        b.source[run * bk.BATCH + taken + n] = b.split[run * bk.BATCH + n]
    b.runs[at + bk.R_QUEUE] = taken
    b.runs[at + bk.R_TAKEN] = b.runs[at + bk.R_LENGTH] = taken + count
    b.runs[at + bk.R_SPLIT] = b.runs[at + bk.R_LATER] = b.runs[at + bk.R_MOVING] = 0
    b.runs[at + bk.R_PASS] = k.NR_MAX_MIGRATE_PAGES_RETRY


@part
def is_queued(b: CompactionBooks, run: int, pfn: int) -> bool:
    """Whether the page is one of a split folio that waits."""
    for n in range(b.runs[run * bk.RW + bk.R_SPLIT]):
        if b.split[run * bk.BATCH + n] == pfn:
            return True
    return False


@part
def begin_moves(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """The first folio is moved: all that could be unmapped have their destinations."""
    at = run * bk.RW
    if b.runs[at + bk.R_MOVING]:
        return
    allocate_until(s, b, z, cc, run, -1)
    passes = k.NR_MAX_MIGRATE_PAGES_RETRY if b.runs[at + bk.R_ASYNC] else k.NR_MAX_MIGRATE_ASYNC_RETRY
    while (
        b.runs[at + bk.R_LATER] > 0 and b.runs[at + bk.R_PASS] + 1 < passes and b.runs[at + bk.R_ENOMEM] == 0
    ):
        next_pass(b, run)
        allocate_until(s, b, z, cc, run, -1)
    b.runs[at + bk.R_MOVING] = 1


@part
def undo_unmoved(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int) -> None:
    """migrate_folios_undo: destinations of what was unmapped and not moved go back."""
    for n in range(b.runs[run * bk.RW + bk.R_TAKEN]):
        pfn = b.source[run * bk.BATCH + n] + 0
        if b.target[pfn] > 0:
            give_back(s, b, z, cc, pfn)


@part
def give_back(s: View, b: CompactionBooks, z: int, cc: CompactControl, pfn: int) -> None:
    """compaction_free of a folio's destination."""
    dst = b.target[pfn] - 1
    b.target[pfn] = 0
    if dst >= 0 and s.meta[dst] == k.CHUNK_RESERVED << 4 | (s.meta[pfn] & 15):
        compaction_free(s, z, cc, dst, s.meta[dst] & 15)


@part
def need_target(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int, pfn: int) -> int:
    """The destination that the model has for the folio, in the order in which migrate_pages asks."""
    at = run * bk.RW
    if b.target[pfn] == 0 and b.runs[at + bk.R_MOVING]:
        give(b, pfn, allocate(s, b, z, cc, run, pfn))
    while b.target[pfn] == 0:
        ahead(s, b, z, cc, run, pfn)
        if b.target[pfn] == 0:
            if b.runs[at + bk.R_LATER] == 0 or b.runs[at + bk.R_QUEUE] < b.runs[at + bk.R_LENGTH]:
                break
            next_pass(b, run)
    return b.target[pfn] - 1


@part
def ahead(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int, pfn: int) -> None:
    """Destinations for the folios of this pass up to *pfn*."""
    at = run * bk.RW
    allocate_until(s, b, z, cc, run, pfn)
    n = b.runs[at + bk.R_QUEUE]
    if n < b.runs[at + bk.R_LENGTH] and b.source[run * bk.BATCH + n] == pfn:
        dst = allocate(s, b, z, cc, run, pfn)
        if dst != NONE:
            give(b, pfn, dst)
            b.runs[at + bk.R_QUEUE] = n + 1


@part
def attempted(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """gt_mig 2: the folio was not unmapped; it had a destination all the same, but for -ENOMEM."""
    at = run * bk.RW
    pfn, rc = e.pfn[i] + 0, e.d[i] + 0
    close_scan(s, b, e, i, run)
    if b.runs[at + bk.R_SPLIT] and is_queued(b, run, pfn):
        begin_split(b, run)
    b.inputs[bk.N_FAILED] += 1
    ours = need_target(s, b, z, cc, run, pfn)
    if rc == -k.ENOMEM:
        no_target(s, b, e, i, run, z, cc, ours)
        return
    judge(b, e, i, bk.D_TARGET, ours, e.a[i] + 0)
    give_back(s, b, z, cc, pfn)
    if rc == -k.EAGAIN and not b.runs[at + bk.R_MOVING] and b.runs[at + bk.R_LATER] < bk.BATCH // 2:
        b.later[run * bk.BATCH + b.runs[at + bk.R_LATER]] = pfn
        b.runs[at + bk.R_LATER] += 1
    elif rc != -k.EAGAIN:
        b.runs[at + bk.R_FAILED] += 1


@part
def no_target(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl, ours: int
) -> None:
    """There is no free page for the folio: a large one is split, and its pages are tried in the end."""
    at = run * bk.RW
    pfn = e.pfn[i] + 0
    if ours == NONE and b.runs[at + bk.R_SCANNED] == 0 and not b.facts[bk.F_UNLISTED]:
        begin_search(s, b, z, cc, run)
        close_scan(s, b, e, i, run)
    judge(b, e, i, bk.D_TARGET, ours, NONE)
    give_back(s, b, z, cc, pfn)
    b.runs[at + bk.R_SCANNED] = 0
    b.runs[at + bk.R_QUEUE] += 1
    order = s.meta[pfn] & 15
    if order > 0:
        b.inputs[bk.N_SPLIT] += 1
        b.runs[at + bk.R_SPLITS] += 1
        if not split_failed(b, e, i, run):
            queue_split(s, b, run, pfn, order)
            return
    elif b.runs[at + bk.R_PASS] >= k.NR_MAX_MIGRATE_PAGES_RETRY:
        return
    b.runs[at + bk.R_ENOMEM] = 1
    b.runs[at + bk.R_QUEUE] = b.runs[at + bk.R_LENGTH]
    b.runs[at + bk.R_LATER] = b.runs[at + bk.R_SPLIT] = 0


@part(cold=True)
def split_failed(b: CompactionBooks, e: EventChunk, i: int, run: int) -> bool:
    """Whether the large folio of row *i* could not be split: migrate_pages gives up then, with -ENOMEM (mm/migrate.c:1874).

    It is the last of the batch, and mm_migrate_pages counts fewer splits than there were folios without a destination.
    """
    for j in range(i + 1, b.facts[bk.F_ROWS]):
        if e.pid[j] != e.pid[i]:
            continue
        if e.kind[j] == GT_MIG and e.b[j] == MIG_NOT_UNMAPPED and e.d[j] == -k.ENOMEM and e.order[j] > 0:
            return False
        if e.kind[j] == MIGRATE_PAGES:
            return b.runs[run * bk.RW + bk.R_SPLITS] > e.d[j]
    return False


@part
def moved(s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl) -> None:
    """gt_mig 1: the folio is where the kernel took it."""
    at = run * bk.RW
    pfn, order, dst = e.pfn[i] + 0, e.order[i] + 0, e.a[i] + 0
    close_scan(s, b, e, i, run)
    if b.runs[at + bk.R_SPLIT] and is_queued(b, run, pfn):
        begin_split(b, run)
    begin_moves(s, b, z, cc, run)
    ours = need_target(s, b, z, cc, run, pfn)
    if not judge(b, e, i, bk.D_TARGET, ours, dst):
        give_back(s, b, z, cc, pfn)
        take_free_page(s, z, cc, dst)
    b.target[pfn] = 0
    move_folio(s, b, pfn, order, dst)


@part(cold=True)
def take_free_page(s: View, z: int, cc: CompactControl, pfn: int) -> None:
    """After a wrong destination: the kernel's leaves cc->freepages, and what else its chunk has stays there."""
    for order in range(s.cfg.max_page_order + 1):
        head = (pfn >> order) << order
        if s.meta[head] != (k.CHUNK_COMPACT << 4 | order):
            continue
        list_del(s, head)
        s.meta[head] = k.CHUNK_RESERVED << 4
        cc.nr_freepages -= 1 << order
        for page in range(head, head + (1 << order)):
            if page != pfn:
                add_to_freepages(s, z, cc, page, 0)
        return


@part
def move_folio(s: View, b: CompactionBooks, pfn: int, order: int, dst: int) -> None:
    """The destination is the folio now, on the LRU if the event of that came first; the source is nobody's until freed."""
    attr = s.link[2 * pfn + 1] & ~k.ATTR_ON_LRU
    if s.meta[dst] >> 4 == k.CHUNK_ALLOC or s.meta[dst] >> 4 == k.CHUNK_RESERVED:
        attr |= s.link[2 * dst + 1] & k.ATTR_ON_LRU
    if b.inserted[dst]:
        attr |= k.ATTR_ON_LRU
    b.inserted[dst] = 0
    unuse(s, b, pfn, order)
    use_folio(s, b, dst, order, k.CHUNK_ALLOC, attr)


@part
def not_moved(
    s: View, b: CompactionBooks, e: EventChunk, i: int, run: int, z: int, cc: CompactControl
) -> None:
    """gt_mig 3: the folio was unmapped and not moved; it keeps its destination if it is tried again."""
    at = run * bk.RW
    pfn = e.pfn[i] + 0
    close_scan(s, b, e, i, run)
    b.inputs[bk.N_FAILED] += 1
    begin_moves(s, b, z, cc, run)
    ours = need_target(s, b, z, cc, run, pfn)
    judge(b, e, i, bk.D_TARGET, ours, e.a[i] + 0)
    b.runs[at + bk.R_FAILED] += e.d[i] != -k.EAGAIN


@part
def freed_while_isolated(s: View, b: CompactionBooks, z: int, cc: CompactControl, run: int, pfn: int) -> None:
    """A source was freed by its owner: migrate_pages drops it, without a destination, when its turn comes."""
    b.inputs[bk.N_FREED] += 1
    allocate_until(s, b, z, cc, run, pfn)
