# SPDX-License-Identifier: GPL-2.0-or-later
"""What the compaction level keeps beside the model's state: who compacts, what the model decided, counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.mm.constants import NR_ORDERS
from kevacuate.mm.layout import State

KINDS = (
    "where a run starts: both scanners, whole zone or not (gt_cz 0)",
    "whether a run is over (mm_compaction_finished)",
    "where the migrate scanner stops (mm_compaction_isolate_migratepages)",
    "folios that an isolation takes, in order (gt_mig 0)",
    "list operations of both scanners (gt_list)",
    "free page that a move gets (gt_mig 1, 2, 3)",
    "what follows a batch: another scan of the block, the end, or the next round",
    "result of a run (gt_cz 1)",
    "both scanners after a run (gt_cz 1)",
    "cached positions after a run (gt_cz 1)",
    "free pages given back after a run, in order (mm_page_free)",
    "whether a zone is compacted: deferred, skipped, nothing to do (mm_compaction_deferred, gt_cz 0 and 2)",
    "deferral after a run (mm_compaction_defer_compaction, mm_compaction_defer_reset)",
    "skip bit of a pageblock at a dump",
    "cached positions and deferral of a zone at a dump",
    "where the free scanner stands at a fast search (mm_compaction_fast_isolate_freepages)",
    "what a fast search looks at and takes (mm_compaction_fast_isolate_freepages)",
    "the block that the free scanner takes next, or none (mm_compaction_isolate_freepages)",
    "where the free scanner stops in a block, and pages taken (mm_compaction_isolate_freepages)",
    "pages that an isolation takes (mm_compaction_isolate_migratepages)",
)
"""The kinds of decision, by number."""

(
    D_START, D_FINISHED, D_STOP, D_FOLIO, D_LIST, D_TARGET, D_AFTER, D_RESULT, D_SCANNERS, D_CACHED, D_RELEASE, D_WANTED,
    D_DEFERRAL, D_DUMP_SKIP, D_DUMP_FIELDS, D_SCANNER, D_SEARCH, D_SCAN, D_TAKEN,
    D_PAGES,
) = range(20)  # fmt: skip

INPUTS = (
    "list operations of requests and frees (gt_list)",
    "allocations and frees (mm_page_alloc, mm_page_free)",
    "folios put on the LRU (mm_lru_insertion)",
    "folios not unmapped or not moved (gt_mig 2, 3)",
    "folios freed while isolated",
    "mlocked folios, and those in a batch, when a run drains the batches",
    "runs beyond those that are decided about at a time",
    "large folios without a destination: whether each could be split (mm_migrate_pages)",
    "ends of balance_pgdat, at which kswapd clears skip bits",
    "skip bits of evacuated blocks (gt_evac 10)",
    "clearings of skip bits in the middle of which kcompactd begins (cached positions of gt_cz 0)",
    "list operations of requests and frees, made by the buddy level's model",
    "clearings of skip bits by kswapd, whose runs were not recorded: where the next run starts tells (mm_compaction_begin)",
    "skip bits at a dump that kswapd may have cleared since, whose runs were not recorded",
    "free pages given back after runs that stock events alone show (mm_page_free)",
    "scans of a block that other tasks interrupted: the rest is decided by what they left",
    "blocks that kcompactd looked into in the middle of such a clearing: kswapd had come there",
    "such clearings that ended before kcompactd did (cached positions of the next gt_cz 0)",
    "folios passed over that another task had unmapped: it let go of them with no other event of its own between",
)
"""What is taken from the recording, by number."""

(
    N_LIST, N_PAGES, N_LRU, N_FAILED, N_FREED, N_UNSEEN, N_MODES, N_SPLIT, N_FLUSHES, N_EVACUATED, N_FLUSHES_CUT, N_MADE,
    N_CLEARED, N_UNSURE, N_RELEASED, N_RESUMED,
    N_REACHED, N_ENDED, N_UNMAPPED,
) = range(19)  # fmt: skip

CAUSES = (
    "folios that the kernel passed over: locked, pinned, under writeback, or in another task's hands. No event shows which",
    "other tasks ran while the step was made: the kernel saw their work in part, the model all of it",
    "after another wrong decision of the same run",
    "cause not found: among them compound pages from before the recording, at which the free scanner's stride steps on",
    "kswapd's runs were not recorded: when it clears skip bits, lowers the boost, and is awake",
    "which folios moved, and where to, in runs that stock events alone show",
)
"""Why a decision may be wrong, by number."""

C_PASSED, C_OTHERS, C_FOLLOWS, C_OTHERWISE, C_KSWAPD, C_STOCK = range(6)

F_RUN = 0  # the run that is decided about, -1: none
F_ACTIVE = 1  # runs under way
F_LOADED = 2  # the direct compaction whose free pages stand in the zones' lists
F_DIVERGED = 3
F_FIRST_KIND = 4  # of the first divergence: kind,
F_FIRST_ROW = 5  # number of its event,
F_FIRST_TS = 6  # time,
F_FIRST_MODEL = 7  # what the model decided,
F_FIRST_KERNEL = 8  # what the kernel did
F_KSWAPD = 9  # whether kswapd is balancing
F_LINK = 10  # words of the state's links, of its blocks
F_BLOCK = 11
F_FLUSHING = 17  # zones in which kswapd clears skip bits
F_SKIPPED = 18  # an evacuation under way: the block's skip bit at its start,
F_TAKEN = 19  # pages isolated so far,
F_LAST_TOOK = 20  # and in its last call
F_ROWS = 21  # of the events at hand
F_UNLISTED = 22  # whether the kernel recorded no list operations: the buddy level makes them
F_UNSEEN_LRU = 23  # whether it recorded no insertions into the LRU
F_UNSEEN_KSWAPD = 24  # whether it recorded no runs of kswapd
COMPACTION_FACTS = 25

RUNS = 8
"""Tasks that compact at a time; of more the runs are followed only."""

# A run: a task inside compact_zone.
R_PID = 0  # pid + 1; 0: unused
R_STATE = 1
R_REQUEST = 2  # pages left of a drain of this task: its list operations are a request's; 0: none
R_PASS = 3  # passes over the folios of the batch so far
R_EXPECT = 4  # list operations of the scan that the model has decided, and
R_SEEN = 5  # how many of them the kernel has made
R_QUEUE = 6  # folios of the batch that were unmapped or attempted so far in this pass
R_LENGTH = 7  # folios of this pass
R_LATER = 8  # folios to be tried again
R_MOVING = 9  # whether the move phase has begun
R_FAILED = 10  # folios of the batch that failed for good
R_ENOMEM = 11
R_SCANNED = 12  # whether the free scanner has run for the destination wanted next
R_RESULT = 13
R_MODEL = 14  # whether the model decides about this run
R_ASYNC = 15
R_OTHERS = 16  # whether other tasks had events since the run's last look whether it is over
R_AGAIN = 17
R_FOLIOS = 18  # folios that the model isolated
R_STOP = 19  # where its scan stopped
R_SPLITS = 20  # large folios of the batch that had no destination
R_TAKEN = 21  # folios that the kernel isolated so far
R_ZONE = 23
R_HIGHEST = 24  # highest free page given back
R_SPLIT = 27  # pages of split folios that wait
R_CAPTURED = 28  # whether a page was captured for the task
R_WRONG = 31  # whether a decision of it was wrong
R_JOIN = 29  # whether the cached positions of both modes move together still
R_BLOCK = 32  # the pageblock that the free scanner takes next, + 1; 0: no scan is under way
R_PFN = 33  # where it begins there
R_STRIDE = 34  # its steps there
R_AROUND = 35  # where it begins in the block of what a fast search found, + 1
R_STOCK = 36  # stock events alone show the run: 1; it is a direct compaction's: 2
R_MISSING = 37  # pages that the kernel isolated and the model does not know, without a destination so far
R_HAD = 38  # free pages at hand when the batch was isolated
R_BROUGHT = 39  # and those that scans have brought since
R_PHASE = 40  # how far the free scanner is (:mod:`.free_scan`)
R_FOUND = 41  # the page that its fast search found, + 1; 0: none
R_START = 42  # the block that it scans
R_AT = 43  # where the kernel's last operation in it leaves it
R_STOPPED = 44  # where the model's scan of it stops, and
R_GOT = 45  # whether it takes pages
R_FROM = 46  # where the migrate scanner begins, as its fast search has found, + 1; 0: it has not searched
R_BREAK = 47  # whether other tasks had events on its CPU since the run's latest
R_CPU = 48  # the CPU of that
RW = 49

# A run that mm_compaction_begin has shown, and no other event so far.
B_PID = 0  # pid + 1; 0: unused
B_MIGRATE = 1
B_FREE = 2
B_ZONE_START = 3
BW = 4

OWNERS = 4096
"""Tasks of which it is remembered when they last did something else than let go of pages, by pid modulo this."""

ASKED = 16
"""Tasks in the slow path whose request is remembered."""

# A request that may compact directly.
A_PID = 0  # pid + 1
A_ROW = 1  # number of its latest event
A_FLAGS = 2  # alloc_flags (gt_slow 0)
A_GFP = 3
A_PRIORITY = 4
A_ORDER = 5
A_RESETS = 6  # resets of the deferral that the end of a run accounts for
A_NODE = 7  # node of the zone that it prefers: the one with as many free pages as gt_slow says
AW = 8

S_LOOP, S_SCAN, S_FOUND, S_SCANNED, S_MIGRATE, S_OVER, S_END = range(1, 8)
"""What is waited for: compact_finished; an isolation; that after a fast search; the rest of it; moves; what follows; the end."""

ZW = 32
"""Words of a zone's counters."""

# A zone whose skip bits kswapd is clearing (:mod:`.flush`), by the names of __reset_isolation_suitable.
Z_FLUSH = 0  # whether; CUT: kcompactd began in the middle
Z_MIGRATE = 1
Z_FREE = 2
Z_RESET_MIGRATE = 3
Z_RESET_FREE = 4
Z_SOURCE_SET = 5
Z_FREE_SET = 6
Z_ENDED = 7  # whether a clearing that was cut has gone to its end, after the run or in the middle of it:
Z_ENDED_MIGRATE = 8  # the cached positions before that
Z_ENDED_FREE = 9
ZF = 10
CUT = 2

BATCH = 1024
"""Folios of a batch, and list operations of a scan, at most."""

UNDECIDED = 0
"""A row's decision: none, it is no list operation of a run that the model decides about."""
DECIDED_NONE = 1
"""The kernel's list operation is none of the model's. Greater: :func:`.targets.operation` + :data:`DECIDED_FROM` is the model's.

Below :data:`UNDECIDED` the kernel has left out operations of the model's before the row: minus their number, and the first of
them times :data:`LEFT_OUT`.
"""
DECIDED_FROM = 2
LEFT_OUT = 2048

PAGES = 1 << 21
"""Two numbers as one, where a decision has both: the first times this, and the second, of pages."""


class CompactionBooks(NamedTuple):
    """The arrays."""

    tally: npt.NDArray[np.int64]
    """Per kind of decision: made, wrong."""
    inputs: npt.NDArray[np.int64]
    facts: npt.NDArray[np.int64]
    runs: npt.NDArray[np.int64]
    """Records of RW words."""
    ours: npt.NDArray[np.int64]
    """Per run, what the model isolated: pfn, order [runs, BATCH, 2]."""
    source: npt.NDArray[np.int64]
    """Per run, the folios of the batch in the order in which migrate_pages takes them [runs, BATCH]."""
    later: npt.NDArray[np.int64]
    """Per run, those that are tried again [runs, BATCH]."""
    parked: npt.NDArray[np.int64]
    """First and last free page of direct compactions, while others' stand in the lists [zones, runs, NR_ORDERS, 2]; -1: new."""
    split: npt.NDArray[np.int64]
    """Per run, pages of split folios, to be tried in the end [runs, BATCH]."""
    expected: npt.NDArray[np.int64]
    """Per run, list operations of the free scanner: pfn, op, order, type [runs, BATCH, 4]."""
    asked: npt.NDArray[np.int64]
    """Requests of tasks that may compact directly: records of AW words."""
    wanted: npt.NDArray[np.int64]
    """Per node: kcompactd that has woken (pid + 1; 0: none), and whether the model would compact for it."""
    target: npt.NDArray[np.int32]
    """Destination of a folio that is being moved, + 1; 0: none, [npages]."""
    source_of: npt.NDArray[np.int32]
    """The folio that a destination was given to [npages]."""
    inserted: npt.NDArray[np.uint8]
    """Whether a free page of compaction's has joined the LRU: as a destination that the model has not given away yet [npages]."""
    order: npt.NDArray[np.uint8]
    """Order of the folio that a page belongs to [npages]."""
    passed: npt.NDArray[np.int64]
    """Number of the event + 1 that showed that the kernel passed over the folio; 0: none since its latest event [npages]."""
    busy: npt.NDArray[np.int64]
    """Per task, number of its latest event + 1 that is not one of letting go of pages [OWNERS]."""
    zone_of: npt.NDArray[np.int64]
    """Recorded zone index to the model's zone."""
    zone_index: npt.NDArray[np.int64]
    """The model's zone to the recorded zone index."""
    causes: npt.NDArray[np.int64]
    """Mismatches by cause."""
    link: npt.NDArray[np.int32]
    """The state's links before a scan of the model's."""
    meta: npt.NDArray[np.uint8]
    block: npt.NDArray[np.uint8]
    zone: npt.NDArray[np.int64]
    begun: npt.NDArray[np.int64]
    """Runs that only mm_compaction_begin has shown so far: records of BW words."""
    daemon: npt.NDArray[np.int64]
    """Per node, kcompactd (pid + 1; 0: not seen yet)."""
    flush: npt.NDArray[np.int64]
    """Per zone, how far kswapd has come in clearing its skip bits: records of ZF words."""
    decisions: npt.NDArray[np.int64]
    """Per row of the events at hand, what was decided of compaction's list operations: see :data:`UNDECIDED` [rows]."""


def new_books(state: State, zone_of: npt.NDArray[np.int64]) -> CompactionBooks:
    """Empty books for the state."""
    npages = state.view.cfg.npages
    facts = np.zeros(COMPACTION_FACTS, np.int64)
    facts[F_LOADED] = state.view.cfg.nr_nodes
    facts[F_LINK], facts[F_BLOCK] = state.link.size, 2 * (npages >> state.view.cfg.pageblock_order)
    zone_index = np.zeros(state.view.cfg.nr_zones, np.int64)
    zone_index[zone_of] = np.arange(zone_of.size)
    return CompactionBooks(
        tally=np.zeros(2 * len(KINDS), np.int64),
        inputs=np.zeros(len(INPUTS), np.int64),
        facts=facts,
        runs=np.zeros(RUNS * RW, np.int64),
        ours=np.zeros(RUNS * BATCH * 2, np.int64),
        source=np.zeros(RUNS * BATCH, np.int64),
        later=np.zeros(RUNS * BATCH, np.int64),
        parked=np.full(state.view.cfg.nr_zones * RUNS * NR_ORDERS * 2, -1, np.int64),
        split=np.zeros(RUNS * BATCH, np.int64),
        expected=np.zeros(RUNS * BATCH * 4, np.int64),
        asked=np.zeros(ASKED * AW, np.int64),
        wanted=np.zeros(2 * max(state.view.cfg.nr_nodes, 1), np.int64),
        target=np.zeros(npages, np.int32),
        source_of=np.zeros(npages, np.int32),
        inserted=np.zeros(npages, np.uint8),
        order=np.zeros(npages, np.uint8),
        passed=np.zeros(npages, np.int64),
        busy=np.zeros(OWNERS, np.int64),
        zone_of=zone_of,
        zone_index=zone_index,
        causes=np.zeros(len(CAUSES), np.int64),
        link=np.empty_like(state.link),
        meta=np.empty_like(state.meta),
        block=np.empty_like(state.block),
        zone=np.zeros(state.view.cfg.nr_zones * ZW, np.int64),
        begun=np.zeros(RUNS * BW, np.int64),
        daemon=np.zeros(max(state.view.cfg.nr_nodes, 1), np.int64),
        flush=np.zeros(state.view.cfg.nr_zones * ZF, np.int64),
        decisions=np.zeros(0, np.int64),
    )
