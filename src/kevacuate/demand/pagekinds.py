# SPDX-License-Identifier: GPL-2.0-or-later
"""What kind of page an object is: on an LRU list, file or anonymous, dirty, pinned, busy.

Where the recording holds page flags (``/proc/kpageflags``), they tell the kind of the objects alive then.
For the others the gfp flags of the request tell (:func:`page_class`), and what no recording shows is drawn
from a hash of the object's number, with the shares of :class:`PageKindModel`.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

from kevacuate.demand.objects import G_KNOWN, Tables, asks_buddy, i64
from kevacuate.errors import KevacuateError
from kevacuate.jit import kernel, part, run
from kevacuate.kernel import gfp as gf
from kevacuate.kernel import pageflags as pf
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from kevacuate.kernel.pageattr import PageAttr
from kevacuate.kernel.pageflags import can_move, flag
from kevacuate.records import Words

A_LRU = int(PageAttr.LRU)
A_FILE = int(PageAttr.FILE)
A_DIRTY = int(PageAttr.DIRTY)
A_WRITEBACK = int(PageAttr.WRITEBACK)
A_PINNED = int(PageAttr.PINNED)
A_BUSY = int(PageAttr.BUSY)
A_MOVABLE_OPS = int(PageAttr.MOVABLE_OPS)

CLASS_KERNEL = 0
CLASS_ANON = 1
CLASS_READ = 2
CLASS_WRITTEN = 3
CLASS_BUFFER = 4
"""Classes of requests: kernel memory, anonymous or shmem, page cache read, written, of a block device."""

READAHEAD = gf.GFP_NORETRY | gf.GFP_NOWARN
NOT_A_FOLIO = gf.GFP_FS | gf.GFP_ZERO | gf.GFP_HIGH | gf.GFP_NORETRY | gf.GFP_NOMEMALLOC | gf.GFP_ACCOUNT

KNOWN_KERNEL = 128
"""In the table of known kinds: the page was in use and on no LRU list."""

SHARE_ONE = 1 << 32
"""A share of 1, in the fixed-point numbers that the draws are compared with."""


@dataclass(frozen=True)
class PageKindModel:
    """Shares of what a recording cannot show, each 0 to 1, and the seed of the draws.

    The defaults are fitted to ``fixskip-churn-1g-smp1-s3`` of the ground truth, whose ``gt_evac`` steps show
    55 evacuations: 5159 pages isolated, 3421 of them reclaimed at once, 1738 given to migrate_pages in 110
    batches, 1728 moved, 10 failed (one or three in each of 8 batches, which ended the evacuation). Each
    failed page had exactly one destination allocated and freed: it failed in the move phase, as unexpected
    references do, not at the lock. Joined with the gfp flags of the requests, and with 819 more reclaimed or
    moved pages of the two patched recordings: 4540 of 4540 pages from readahead were reclaimed; 164 of 164
    pages from write requests were not, and moved; 2409 of 2409 anonymous and shmem pages moved; of the 10
    failures 9 had block-device page cache (buffer heads) among the candidates, and no such page ever moved.
    No page of the stock s3 and kbuild recordings' snapshots was locked or under writeback.

    ``pinned_buffer`` is not from the evacuations alone: they meet block-device pages mostly in blocks that compaction
    has just emptied of all that could move, so that those left there are the pinned ones. Compaction's own failures are
    many fewer: in 17 proactive runs, which ignore the skip bits, of two stock recordings (churn, seeds 2 and 3) 0.65 and
    0.68 % of the pages failed, other than for want of a destination. Replays of those demands fail at 2.2 and 2.8 % with a
    share of 0.92, at 0.9 and 1.1 % with 0.3: between what the two kinds of evidence say, nearer to compaction's.

    ``pinned`` is from compactions: three one-CPU recordings show each folio's way (``gt_mig``; churn, seed 5, two of pressure).
    They isolated 203,286 folios that had no buffers, some of them several times. Six, all of files, ever failed to move for
    another cause than a missing destination, and all six moved later. Of 987 folios of block devices 466 ever failed, and 337
    never moved. The evacuations' one unexplained failure of 1738 was the share before: with that, every fourth block full of
    anonymous pages could never be emptied.
    """

    seed: int = 0
    """Seed of the draws."""
    dirty_read: float = 0.0
    """Dirty among page cache from reads: 0 of 4540."""
    dirty_written: float = 0.99
    """Dirty, or not reclaimable for its buffers, among page cache from writes: 164 of 164 (165/166)."""
    dirty_buffer: float = 0.26
    """Dirty among block-device page cache: 462 of 1775 in the snapshots of two stock recordings."""
    writeback: float = 0.0
    """Under writeback among dirty page cache: none seen."""
    pinned: float = 0.00003
    """Pinned among all but block-device pages: 6 of 203,286 folios that compaction isolated."""
    pinned_buffer: float = 0.3
    """Pinned among block-device page cache: chosen, see above."""
    busy: float = 0.0
    """Locked whenever tried: no failure in the unmap phase was seen."""

    def __post_init__(self) -> None:
        """Refuse shares that are none.

        Raises
        ------
        KevacuateError
            A share is not a number between 0 and 1, or the seed is no number or negative.

        """
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise KevacuateError(f"page kind parameter {field.name} is {value}: give a share from 0 to 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise KevacuateError(f"page kind seed is {self.seed}: give a number that is not negative")

    def shares(self) -> npt.NDArray[np.int64]:
        """Seed, then the shares in field order as fixed-point numbers (SHARE_ONE is 1)."""
        values = astuple(self)
        return np.array([values[0] & 0xFFFFFFFF, *(round(v * SHARE_ONE) for v in values[1:])], np.int64)


NOTHING_DRAWN = PageKindModel(dirty_written=0.0, dirty_buffer=0.0, pinned=0.0, pinned_buffer=0.0)
"""All shares are 0: nothing is drawn."""

M_SEED, M_DIRTY_READ, M_DIRTY_WRITTEN, M_DIRTY_BUFFER, M_WRITEBACK, M_PINNED, M_PINNED_BUFFER, M_BUSY = range(
    8
)
"""Places in :meth:`PageKindModel.shares`."""


@part
def mix(value: int, salt: int) -> int:
    """A well-mixed 32-bit hash of a number and a salt (multiply and shift, no state)."""
    x = ((value ^ (value >> 32)) & 0xFFFFFFFF) ^ ((salt * 0x05EBCA6B) & 0xFFFFFFFF)
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x46CA68B5) & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x2C1B3C6D) & 0xFFFFFFFF
    return x ^ (x >> 15)


@part
def page_class(gfp: int, mt: int) -> int:
    """Class of a request by its gfp flags and migratetype.

    Movable: ``__GFP_WRITE`` is a page-cache write; NORETRY with NOWARN but without NOMEMALLOC is readahead
    (THP has NOMEMALLOC); without ``__GFP_FS`` it is page cache whose file system may not recurse, and without
    HIGHMEM that of a block device; the rest is anonymous or shmem. Not movable, but a folio of plain page
    cache (compound, without FS, ZERO, HIGH, NORETRY, NOMEMALLOC, ACCOUNT): buffers, and the initramfs.
    """
    if mt == MIGRATE_MOVABLE:
        if gfp & gf.GFP_WRITE:
            return CLASS_WRITTEN
        if gfp & READAHEAD == READAHEAD and gfp & gf.GFP_NOMEMALLOC == 0:
            return CLASS_READ
        if gfp & gf.GFP_FS:
            return CLASS_ANON
        return CLASS_READ if gfp & gf.GFP_HIGHMEM else CLASS_BUFFER
    if mt == MIGRATE_UNMOVABLE and gfp & gf.GFP_COMP and gfp & NOT_A_FOLIO == 0:
        return CLASS_BUFFER if gfp & gf.GFP_HARDWALL else CLASS_READ
    return CLASS_KERNEL


@part
def _dirty_share(shares: Words, page: int) -> int:
    """Share of dirty pages in the class."""
    if page == CLASS_WRITTEN:
        return shares[M_DIRTY_WRITTEN]
    if page == CLASS_BUFFER:
        return shares[M_DIRTY_BUFFER]
    return shares[M_DIRTY_READ]


@part
def _known(s: Tables, seq: int) -> int:
    """What a snapshot says about the allocation, 0 if nothing. Asked in ascending order of seq."""
    at = s.g[G_KNOWN]
    while s.known_seq[at] < seq:
        at += 1
    s.g[G_KNOWN] = at
    return i64(s.known_attr[at]) if s.known_seq[at] == seq else 0


@part
def drawn_bits(shares: Words, seq: int, page: int) -> int:
    """What the number *seq* draws of DIRTY, WRITEBACK, PINNED and BUSY for an object of a class."""
    salt = i64(shares[M_SEED]) * 8
    bits = 0
    if mix(seq, salt) < _dirty_share(shares, page):
        bits |= A_DIRTY
    if mix(seq, salt + 1) < shares[M_WRITEBACK]:
        bits |= A_WRITEBACK
    if mix(seq, salt + 2) < shares[M_PINNED_BUFFER if page == CLASS_BUFFER else M_PINNED]:
        bits |= A_PINNED
    if mix(seq, salt + 3) < shares[M_BUSY]:
        bits |= A_BUSY
    return bits


@part
def drawn_attr(shares: Words, seq: int, page: int, attr: int) -> int:
    """Add to what is known of the attr (LRU, FILE, DIRTY) what is drawn from the number *seq*."""
    bits = drawn_bits(shares, seq, page)
    if attr & A_FILE == 0:
        bits &= ~(A_DIRTY | A_WRITEBACK)
    elif (attr | bits) & A_DIRTY == 0:
        bits &= ~A_WRITEBACK
    return attr | bits


@part
def attr_of(s: Tables, seq: int, number: int, gfp: int, mt: int) -> int:
    """Attr of the object that allocation event *seq* made, the *number*-th of the demand."""
    known = _known(s, seq)
    if known & KNOWN_KERNEL:
        return known & ~KNOWN_KERNEL
    page = page_class(gfp, mt)
    if known == 0:
        if page == CLASS_KERNEL:
            return 0
        known = A_LRU if page == CLASS_ANON else A_LRU | A_FILE
    return drawn_attr(s.shares, number, page, known)


@kernel(plain_work=1 << 18)
def draw_again(
    op: Words, gfp: Words, mt: Words, attr: Words, number: int, shares: Words, before: Words
) -> int:
    """Draw anew, in place, the attr of the allocations among some rows, which shares *before* had drawn.

    What *before* does not explain was recorded, or described, and stays. *number* counts the allocations before; returns it for
    the next rows.
    """
    for i in range(len(op)):
        if asks_buddy(op[i]):
            if i64(attr[i]) & A_LRU:
                page = page_class(i64(gfp[i]), i64(mt[i]))
                known = i64(attr[i]) & ~drawn_bits(before, number, page)
                attr[i] = drawn_attr(shares, number, page, known)
            number += 1
    return number


@part
def _start_class(attr: int) -> int:
    """The class of a start object: nobody knows who asked for it."""
    return CLASS_READ if attr & A_FILE else CLASS_ANON


@kernel(plain_work=1 << 18)
def draw_rows(attr: Words, shares: Words, before: Words) -> None:
    """As :func:`draw_again`, of the start objects, which are numbered -1, -2 and so on."""
    for i in range(len(attr)):
        page = _start_class(i64(attr[i]))
        known = i64(attr[i]) & ~drawn_bits(before, -1 - i, page)
        attr[i] = drawn_attr(shares, -1 - i, page, known)


def draw_start(
    attr: npt.NDArray[np.uint8], kinds: PageKindModel, before: PageKindModel = NOTHING_DRAWN
) -> npt.NDArray[np.uint8]:
    """The attr of start objects, what is not known drawn; as page cache that was read, or anonymous.

    So of the file pages :attr:`PageKindModel.dirty_read` are dirty, beside those that the page flags show. What *before* does
    not explain was recorded, and stays.
    """
    drawn = attr.copy()
    run(draw_rows, drawn.size, drawn, kinds.shares(), before.shares())
    return drawn


def attr_from_flags(flags: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """LRU, FILE, DIRTY, WRITEBACK and MOVABLE_OPS as the flags of folios' heads show them; 0 for a page that cannot move.

    An anonymous folio on its way to an LRU list has LRU.
    """
    lru = can_move(flags)
    file = lru & ~flag(flags, pf.KPF_SWAPBACKED) & ~flag(flags, pf.KPF_ANON)
    attr = np.where(lru, A_LRU, 0) | np.where(file, A_FILE, 0)
    attr |= np.where(file & flag(flags, pf.KPF_DIRTY), A_DIRTY, 0)
    attr |= np.where(file & flag(flags, pf.KPF_WRITEBACK), A_WRITEBACK, 0)
    attr |= np.where(~lru & flag(flags, pf.KPF_OFFLINE), A_MOVABLE_OPS, 0)
    return attr.astype(np.uint8)


def known_attr(flags: npt.NDArray[np.uint64], mt: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Entries for the table of known kinds; 0 (unknown) for a movable page that is on no LRU list yet."""
    attr = attr_from_flags(flags)
    kernel_page = (attr & A_LRU == 0) & ((mt != MIGRATE_MOVABLE) | (attr != 0))
    return np.where(attr & A_LRU, attr, np.where(kernel_page, attr | KNOWN_KERNEL, 0)).astype(np.uint8)
