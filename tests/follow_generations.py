# SPDX-License-Identifier: GPL-2.0-or-later
"""The multi-gen LRU's decisions in a recording with the hook gt_gen, one by one.

To run: ``python tests/follow_generations.py RECORDING``.

The lists of the generations are taken from the first dump that shows them and follow the events from there. The oracle's own
functions (:mod:`oracle.generations`, :mod:`oracle.lrugen`) say which folio stands at the tail of the oldest generation, which
tiers are protected, and what becomes of the folio. Evictions, refaults and protected folios are counted by what the oracle
holds, never by what a dump says; the dumps are compared. One node, one zone, one CPU. After a mismatch the kernel goes on.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

from oracle.generations import GENS, Generations, tier_of
from oracle.lrugen import last_unprotected_tier, roll

from kevacuate.kernel.hooks import DumpKind, FolioFlag, GenOp
from kevacuate.recording import EventKind, Recording
from kevacuate.recording.event_numbers import MIG_ISOLATED

KINDS = (EventKind.GT_GEN, EventKind.GT_DUMP, EventKind.GT_MIG, EventKind.GT_REC, EventKind.MM_PAGE_FREE)
FILE = 1
UNEVICTABLE, PROMOTED, PROTECTED, WORN, TOO_HIGH, ISOLATED = range(6)
"""What sort_folio makes of a folio (``a`` of gt_gen 1)."""
GIVEN = 2
"""``who`` of gt_rec: a list that the caller gave."""
AT_TAIL = 3
"""``a`` of gt_gen 12: rotated to the tail. 4 (a file deactivated) goes there, too, if it is clean."""
DEACTIVATED = 4


class Row(NamedTuple):
    """One event, its columns as :data:`kevacuate.recording.schema.EVENT_SPECS` has them."""

    kind: int
    pid: int
    pfn: int
    order: int
    a: int
    b: int
    c: int
    d: int

    @property
    def op(self) -> int:
        """``op`` of gt_gen."""
        return self.b & 255

    @property
    def what(self) -> int:
        """Its field a."""
        return self.b >> 24

    @property
    def type(self) -> int:
        """Its type: 0 anonymous memory, 1 files."""
        return self.b >> 8 & 255

    @property
    def pages(self) -> int:
        """Pages of its folio."""
        return 1 << (self.b >> 16 & 255)


def rows_of(recording: Recording) -> Iterator[Row]:
    """The events behind the start, in order."""
    for chunk in recording.events(kinds=KINDS, after=recording.start):
        columns = (getattr(chunk, name).tolist() for name in Row._fields)
        yield from map(Row._make, zip(*columns, strict=True))


def uses_of(flags: int) -> int:
    """folio_lru_refs, as the flags of gt_gen have it."""
    return flags >> 16 & 15


def gen_of(flags: int) -> int:
    """The generation modulo 4, -1 for none."""
    return (flags >> 20 & 15) - 1


class Follower:
    """The generations of files, and of anonymous memory as far as events tell."""

    def __init__(self) -> None:
        self.gens = Generations()
        self.lists: defaultdict[tuple[int, int], OrderedDict[int, None]] = defaultdict(OrderedDict)
        """By generation modulo 4 and type, the tail first."""
        self.where: dict[int, tuple[int, int]] = {}
        self.taken: defaultdict[int, deque[int]] = defaultdict(deque)
        """Isolated by each task, and not yet looked at by shrink_folio_list."""
        self.tier: dict[int, int] = {}
        """The last tier of each type that this eviction does not protect."""
        self.made, self.wrong = Counter[str](), Counter[str]()
        self.dump: list[Row] = []
        self.began = False
        self._machine = SimpleNamespace(reached=Counter[str]())

    def decided(self, what: str, right: bool) -> None:
        """Count a decision."""
        self.made[what] += 1
        self.wrong[what] += not right

    def take_off(self, pfn: int) -> None:
        """The folio is on no list any more."""
        key = self.where.pop(pfn, None)
        if key is not None:
            del self.lists[key][pfn]

    def put(self, pfn: int, gen: int, kind: int, at_head: bool = True) -> None:
        """The folio is on a list from now on."""
        self.take_off(pfn)
        self.where[pfn] = (gen, kind)
        self.lists[gen, kind][pfn] = None
        self.lists[gen, kind].move_to_end(pfn, last=at_head)

    def feed(self, row: Row) -> None:
        """Follow one event."""
        if self.dump and (row.kind != EventKind.GT_DUMP or row.a == DumpKind.LRU_END):
            self.dump_ends()
        if row.kind == EventKind.GT_DUMP:
            if row.a in (DumpKind.GEN_SEQ, DumpKind.GEN_TIER, DumpKind.GEN_FOLIO):
                self.dump.append(row)
        elif not self.began:
            return
        elif row.kind == EventKind.MM_PAGE_FREE:
            for pfn in range(row.pfn, row.pfn + (1 << row.order)):
                self.take_off(pfn)
        elif row.kind == EventKind.GT_MIG:
            if row.b == MIG_ISOLATED:
                self.take_off(row.pfn)
        elif row.kind == EventKind.GT_REC:
            if row.c != GIVEN and self.taken[row.pid]:
                self.decided("which folio is reclaimed next", self.taken[row.pid].popleft() == row.pfn)
        else:
            self.step(row)

    def step(self, row: Row) -> None:
        """An event of gt_gen."""
        if row.op == GenOp.EVICT:
            self.decided("min_seq of files, at an eviction", row.d == self.gens.min_seq[FILE])
            self.tier.clear()
        elif row.op == GenOp.SORTED:
            self.sorted(row)
        elif row.op == GenOp.PUT_BACK:
            self.put(row.pfn, gen_of(row.a), row.type)
        elif row.op == GenOp.MIN_SEQ:
            roll(self.gens, row.type, row.c)
        elif row.op == GenOp.MAX_SEQ:
            self.gens.max_seq += 1
        elif row.op == GenOp.MOVED_UP:
            self.put(row.pfn, (self.gens.min_seq[row.type] + 1) % GENS, row.type, False)
        elif row.op == GenOp.LISTED:
            self.listed(row)
        elif row.op == GenOp.REFAULT:
            self.gens.history[row.type, tier_of(row.c, bool(row.d))].refaulted += row.what * row.pages
        elif row.op == GenOp.SHADOW:
            tier = tier_of(uses_of(row.a), bool(row.a & FolioFlag.WORKINGSET))
            self.decided("the tier of an evicted folio", tier == row.c)
            self.gens.history[row.type, tier].evicted += row.pages

    def sorted(self, row: Row) -> None:
        """sort_folio: which folio, and what becomes of it."""
        oldest = self.gens.min_seq[row.type] % GENS
        tail = next(iter(self.lists[oldest, row.type]), -1)
        self.decided("which folio stands at the tail", tail == row.pfn)
        if row.type not in self.tier:
            self.tier[row.type] = last_unprotected_tier(self._machine, self.gens, row.type)  # type: ignore[arg-type]
        self.decided("the last tier that is not protected", self.tier[row.type] == row.c)
        workingset = bool(row.a & FolioFlag.WORKINGSET)
        tier = tier_of(uses_of(row.a), workingset)
        worn = uses_of(row.a) == 4 and workingset
        if row.a & (FolioFlag.UNEVICTABLE | FolioFlag.MLOCKED):
            ours = UNEVICTABLE
        elif gen_of(row.a) != oldest:
            ours = PROMOTED
        else:
            ours = WORN if worn else (PROTECTED if tier > self.tier[row.type] else ISOLATED)
        self.decided("what becomes of the folio at the tail", ours == row.what)
        if row.what == PROMOTED:
            self.put(row.pfn, gen_of(row.a), row.type)
        elif row.what in (PROTECTED, WORN):
            self.put(row.pfn, (oldest + 1) % GENS, row.type)
            self.gens.history[row.type, tier].protected += (row.what == PROTECTED) * row.pages
        else:
            self.take_off(row.pfn)
            self.taken[row.pid].append(row.pfn)

    def listed(self, row: Row) -> None:
        """A folio batch has moved a folio."""
        if gen_of(row.a) < 0:
            self.take_off(row.pfn)
            return
        clean = row.a & (FolioFlag.DIRTY | FolioFlag.WRITEBACK) == 0
        at_tail = row.what == AT_TAIL or (row.what == DEACTIVATED and clean)
        self.put(row.pfn, gen_of(row.a), row.type, not at_tail)

    def dump_ends(self) -> None:
        """The generations are dumped, in one moment: the lists of files are compared, and all are taken over."""
        seq = {row.b: row.d for row in self.dump if row.a == DumpKind.GEN_SEQ and row.b < 3}
        folios: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for one in self.dump:
            if one.a == DumpKind.GEN_FOLIO:
                folios[one.c >> 8, one.b >> 7].append(one.d & 0xFFFFFFFF)
        if self.began:
            self.compare(seq, folios)
        self.gens.max_seq, self.gens.min_seq = seq[0], [seq[1], seq[2]]
        self.lists.clear()
        self.where.clear()
        for (gen, kind), pfns in folios.items():
            for pfn in reversed(pfns):
                self.put(pfn, gen, kind)
        self.dump.clear()
        self.began = True

    def compare(self, seq: dict[int, int], folios: dict[tuple[int, int], list[int]]) -> None:
        """Hold what was followed against a dump."""
        own = (self.gens.max_seq, self.gens.min_seq[FILE])
        self.decided("max_seq and min_seq of files, in a dump", own == (seq[0], seq[2]))
        for gen in range(GENS):
            ours, theirs = list(self.lists[gen, FILE])[::-1], folios.get((gen, FILE), [])
            self.decided("order of a generation of files, in a dump", ours == theirs)
            self.made["folios of files on their lists, in a dump"] += len(theirs)
        for row in self.dump:
            if row.a == DumpKind.GEN_TIER and row.b == FILE:
                history = self.gens.history[FILE, row.c & 255]
                ours_at = (
                    history.avg_refaulted, history.avg_total, history.protected, history.evicted, history.refaulted,
                )  # fmt: skip
                self.decided("counts of a tier of files, in a dump", ours_at[row.c >> 8] == row.d)


def main() -> int:
    """Follow a recording; 1 if a decision was another."""
    follower = Follower()
    for row in rows_of(Recording.open(sys.argv[1])):
        follower.feed(row)
    for what, made in follower.made.items():
        print(f"{what}: {made - follower.wrong[what]:,} of {made:,}")
    return int(any(follower.wrong.values()) or not follower.made)


if __name__ == "__main__":
    sys.exit(main())
