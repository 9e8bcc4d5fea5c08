# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lockstep tests have reached: counted, kept across processes, summed and judged at the session's end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from kevacuate.mm import constants as k
from kevacuate.mm.fields import Counters, LogRecord

REQUIRED_OPERATIONS = 670_000
REQUIRED_EACH = 1_000
SHARDS = 91
TESTS = SHARDS + 1
"""Tests in tests/mm/test_lockstep.py that save counts; a run with all of them is judged."""

REQUIRED = (
    "rmqueue: own type",
    "rmqueue: CMA (balance or mode)",
    "rmqueue: CMA mode",
    "rmqueue: highatomic reserve",
    "rmqueue: claim of whole blocks",
    "rmqueue: claim below block size",
    "rmqueue: steal",
    "refill of a pcp",
    "drain of a pcp",
    "decay of a pcp",
    "slow path",
    "watermark refused",
    "taken below the watermark (open loop)",
    "allocation failed",
    "claim refused: too little",
    "claim refused: isolate bit",
    "isolated",
    "isolation refused",
    "boost",
    "kswapd woken",
    "kswapd began",
    "kswapd ended",
    "highatomic block reserved",
    "highatomic block unreserved",
    "evacuation queued",
    "evacuation dropped (no item)",
    "evacuation unready (no irq_work)",
    "irq_work",
    "evacuation started",
    "evacuation started, skip bit set",
    "evacuation skipped",
    "batch reclaimed from",
    "batch migrated",
    "batch with failures put back",
    "destination missing (-ENOMEM)",
    "freed while isolated",
    "evacuation ended: 0 end of block",
    "evacuation ended: 2 too many isolated",
    "evacuation ended: 4 nothing isolated",
    "evacuation ended: 5 a page failed to migrate",
)
REQUIRED_OF_REGIONS = {
    "region tainted": 60,
    "region cleaned": 30,
    "region work": 8,
    "region rests": 6,
    "targeted evacuation": 25,
    "slabs shrunk for a region": 12,
    "pass 1": 200,
    "pass 2": 20,
    "pass 2b": 2,
    "pass 2c": 5,
    "pass 3": 20,
    "pass clean": 200,
    "pass shared": 15,
    "pass reserve": 10,
}
"""The least of each that a complete run reaches. Pass 2d, refused tainting and steered refills are rarer."""

REQUIRED_OF_ZRAM = {
    "folio swapped": 500,
    "large folio swapped": 50,
    "page freed in swap": 50,
    "folio kept, anonymous and used": 500,
    "folio activated, anonymous and used twice": 50,
    "folio activated, swap is full": 100,
    "zspage: page without marks": 20,
    "page read from swap": 300,
    "scans by swappiness and costs": 3_000,
    "scans anonymous lists alone": 100,
    "scans all lists alike": 300,
    "costs of reclaim decay": 1_000,
}
"""What is reached on machines that swap to a zram device; that no memory is left to compress to is rarer."""

REQUIRED_OF_GENERATIONS = {
    "generations: aged": 3_000,
    "generations: folio promoted by the walk": 200,
    "generations: folio used often": 50,
    "generations: folio protected": 5,
    "generations: promoted folio sorted": 100,
    "generations: folio of too high a zone moved on": 500,
    "generations: rejected folio kept out of the oldest": 3_000,
    "generations: other type scanned": 50,
    "generations: refault in its tier": 10,
    "generations: refault, too late": 30,
    "generations: window moved past what may not be evicted": 3_000,
    "generations: nothing reclaimed for a boost": 5,
    "generations: kswapd begins at another priority": 10,
}
"""What is reached with the multi-gen LRU; tiers protected for their refaults: tests/mm/test_lru_gen.py."""

REQUIRED_OF_KERNELS = {
    "operations on 6.18": 2_000,
    "operations on 6.12": 12_000,
    "operations on 6.1": 12_000,
    "buddy on the list of a type that is not its block's": 50,
}
"""What is reached on kernels other than 7.2; the last only 6.1 does."""

REQUIRED_OF_COMPACTION = {
    "kcompactd woken": 300,
    "kcompactd asked while it works": 300,
    "kcompactd asked in vain, order remembered": 300,
    "kcompactd's timeout finds an order remembered": 100,
    "kcompactd goes on with what was asked for meanwhile": 15,  # a machine in ten has it, dozens of times
    "kswapd finishes at order 0 for a larger one": 300,
    "kswapd runs again at once": 10,
    "compaction deferred": 100,
    "compaction began, proactive": 100,
    "compaction began, for an order": 300,
    "suitability: nothing to do": 1_000,
    "suitability: cannot help": 1_000,
    "suitability: go": 1_000,
    "compacts, then gives up without reclaim": 4,
    "defrag_mode: given up rather than fallen back": 100,
    "defrag_mode: fallback allowed at last": 50,
}
"""What is reached on machines with a kcompactd, or in defrag_mode."""

REQUIRED_OF_RECLAIM = {
    "activated by way of the batch": 1_000,
    "made active in its batch": 50,
    "unevictable folio used again": 10,
    "folio reclaimed": 1_000,
    "folio activated, dirty": 1_000,
    "folio activated, pinned": 1_000,
    "folio activated, under writeback": 1_000,
    "folio activated, under writeback too long": 20,
    "folio kept, locked": 1_000,
    "folio kept, in a batch": 100,
    "folio of too high a zone passed over": 1_000,
    "dirty folio found written": 50,
    "flusher woken by reclaim": 1_000,
    "written folio rotated to the tail": 50,
    "refault, active at once": 5,
    "refault, too late to be active": 100,
    "reclaim goes on for a compaction's sake": 100,
    "direct reclaim gives way to compaction": 50,
    "direct reclaim forces deactivation": 1_000,
    "direct reclaim in vain": 1_000,
    "kswapd begins during a direct reclaim": 20,
    "boost forgotten, the node is not balanced": 30,
    "boost given up, nothing reclaimed": 20,
    "kswapd falls back to order 0": 15,
    "kswapd reclaims nothing": 100,
    "kswapd restarts without cache_trim_mode": 100,
    "kswapd gives up on a hopeless node": 10,
    "hopeless node left alone": 1_000,
    "hopeless node revived": 2,
    "kswapd woken from its short sleep": 100,
}
"""What is reached where the model reclaims."""
REQUIRED_OF_OPENINGS = {
    "opening: steal asks for its block": 10,
    "opening: block queued already": 5,
    "opening: block waits for an item": 5,
    "opening: waiting block queued": 5,
    "opening: batch tried again": 1,
    "opening: goes on behind what failed": 5,
    "opening: drained first": 50,
    "opening: clean cache is moved too": 50,
    "opening: destination off the movable lists": 50,
    "opening: block isolated meanwhile": 50,
    "opening: movable again, evacuated all the same": 5,
}
"""What the evacuation does where its parts are changed, or what the patch leaves open is closed."""
PRESSURE = (
    *(f"slow path left: {name}" for name in k.EXIT_NAMES if name != k.EXIT_NAMES[k.EXIT_OOM_HIGH]),
    *(f"direct compaction: {name}" for name in k.COMPACT_NAMES.values()),
)
"""Every exit of a closed loop's slow path, and every result of a direct compaction."""
STAGED = (
    f"direct compaction: {k.COMPACT_NAMES[k.COMPACT_CONTENDED]}",
    *(f"slow path left: {k.EXIT_NAMES[how]}" for how in (k.EXIT_OOM_NOFAIL, k.EXIT_NOFAIL, k.EXIT_RETRIED)),
)
"""Those that chance seldom comes to: tests/mm/lockstep_straits.py stages them."""
REQUIRED_OF_PRESSURE = {
    **dict.fromkeys(PRESSURE, 20),
    **dict.fromkeys(STAGED, 60),
    "page captured": 20,
    "slow path: compaction's priority raised": 4,
    "slow path: compacts again": 5,
    "slow path: reclaims again": 300,
    "slow path: drains all after reclaim": 100,
    "slow path: falls back at last (defrag_mode)": 50,
    "slow path: may not reclaim, falls back (defrag_mode)": 50,
    "slow path: gives up reclaim after 16 rounds": 50,
    "skip bits flushed": 30,
    "fast search: a block to empty": 15,
    "fast search: nothing, goes on halfway": 100,
    "isolated pages put back: their neighbour stays": 10,
    "free page not isolated: below MIN": 2,
    "asynchronous compaction would use CMA": 100,
    "asynchronous compaction: too many isolated": 4,
}
"""What is reached in closed loops under pressure in a suite's run."""
SPLITS = (
    "folio split",
    "folio that cannot be split",
    "pages of split folios tried",
    "pages of split folios: destinations ran out",
    "pages of split folios put back untried",
    "all pages of split folios moved",
    "kcompactd: pages of split folios tried",
    "kcompactd: pages of split folios put back untried",
    "evacuation: folio split",
)
"""What becomes of large folios that migration has no destination for, and of their pages."""
KCOMPACTD = tuple(
    f"kcompactd's compaction: {name}"
    for result, name in k.COMPACT_NAMES.items()
    if result not in (k.COMPACT_SKIPPED, k.COMPACT_DEFERRED)
)
"""How kcompactd's compactions of a zone end: those two are said before it begins."""
REQUIRED_OF_LONG_RUN = {
    **dict.fromkeys(PRESSURE, REQUIRED_EACH),
    **dict.fromkeys(SPLITS, 20),
    **dict.fromkeys(KCOMPACTD, 20),
    # Nothing is under writeback where kcompactd isolates, and it waits for locks: only a pinned or dirty folio of a file is left.
    f"kcompactd's compaction: {k.COMPACT_NAMES[k.COMPACT_CONTENDED]}": 1,
    "kcompactd: source freed meanwhile": 20,
    "compaction: rest of the block scanned at once": 5,
    "operations": 300_000,
}
"""What tests/lockstep_pressure.py goes on for under pressure."""

REQUIRED_OF_LONG_REGIONS = {
    "operations with regions": 200_000,
    "operations under passes": 150_000,
    "operations under passes, with workers": 60_000,
    "operations under steering": 100_000,
    **dict.fromkeys(REQUIRED_OF_REGIONS, 500),
    **dict.fromkeys(("pass 2", "pass 2d", "tainting refused"), 100),
    **dict.fromkeys(("refill steered", "pass 2b"), 20),
}
"""What its run by regions goes on for; what stands last comes seldom."""

REQUIRED_OF_LONG_GENERATIONS = {
    "operations": 100_000,
    **dict.fromkeys(REQUIRED_OF_GENERATIONS, 100),
    "generations: refault on another node": 10,
    "written folio rotated to the tail": 100,
    "folio activated, used through a page table": 20,
    "folio activated, anonymous and used twice": 100,
    "large folio swapped": 100,
    "folio split": 100,
    "kswapd gives up on a hopeless node": 50,
}
"""What its run with generations goes on for."""

SUITABILITIES = {
    k.COMPACT_SUCCESS: "suitability: nothing to do",
    k.COMPACT_SKIPPED: "suitability: cannot help",
    k.COMPACT_CONTINUE: "suitability: go",
}

SELDOM = {
    # 6.1 gives back a block of which no page moves, and says that it has not: no retry follows, and the reserve has shrunk.
    f"slow path left: {k.EXIT_NAMES[k.EXIT_OOM_HIGH]}": "it is for pages that others free meanwhile, and a request is one moment",
}
"""What only a rare state of one kernel leads to, and why no other does."""
UNREACHABLE = {
    # isolate_migratepages_range leaves the list empty only with -EAGAIN (ending 2) or after it ran to the block's end
    # (4): it stops before the end only once 32 pages are on the list. The kernel's third way, an aborted scan
    # (fatal signal, lost race for the skip bit), is not modelled.
    "evacuation ended: 3 nothing isolated early": "a scan stops early only with pages on its list",
    # The only errors of isolate_migratepages_range besides -EAGAIN come with a fatal signal.
    "evacuation ended: 1 error": "isolation has no other error than -EAGAIN",
}

BY_KIND = {
    k.L_BOOST: "boost",
    k.L_HIGHATOMIC_RESERVE: "highatomic block reserved",
    k.L_HIGHATOMIC_UNRESERVE: "highatomic block unreserved",
    k.L_EVAC_QUEUED: "evacuation queued",
    k.L_EVAC_DROPPED: "evacuation dropped (no item)",
    k.L_IRQ_WORK: "irq_work",
    k.L_EVAC_STARTED: "evacuation started",
    k.L_EVAC_SKIPPED: "evacuation skipped",
    k.L_ALLOC_FAILED: "allocation failed",
    k.L_EVAC_PUTBACK: "batch with failures put back",
}
BY_STAT = {
    "regions_tainted": "region tainted",
    "regions_cleaned": "region cleaned",
    "region_taint_refused": "tainting refused",
    "region_works": "region work",
    "region_rests": "region rests",
    "region_evacuations": "targeted evacuation",
    "region_evacuations_served": "targeted evacuation made room",
    "region_shrinks": "slabs shrunk for a region",
    "refills": "refill of a pcp",
    "drains": "drain of a pcp",
    "decays": "decay of a pcp",
    "slowpath": "slow path",
    "watermark_refused": "watermark refused",
    "below_watermark": "taken below the watermark (open loop)",
    "guard_refused": "claim refused: isolate bit",
    "unready": "evacuation unready (no irq_work)",
    "freed_while_isolated": "freed while isolated",
}
ENDINGS = {
    k.WHY_END: "evacuation ended: 0 end of block",
    k.WHY_ERROR: "evacuation ended: 1 error",
    k.WHY_EAGAIN: "evacuation ended: 2 too many isolated",
    k.WHY_EMPTY_EARLY: "evacuation ended: 3 nothing isolated early",
    k.WHY_EMPTY: "evacuation ended: 4 nothing isolated",
    k.WHY_MIGRATE_FAILED: "evacuation ended: 5 a page failed to migrate",
}


class Counts:
    """Operations compared, and what happened in them."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self._logs: list[np.ndarray] = []

    def add(self, what: str, times: int = 1) -> None:
        """Something happened."""
        self.total[what] += times

    def operation(self, log: np.ndarray) -> None:
        """One operation was compared; its log records."""
        self.total["operations"] += 1
        if log.size:
            self._logs.append(log)
        if len(self._logs) >= 1024:
            self._digest_logs()

    def _digest_logs(self) -> None:
        if not self._logs:
            return
        log = np.concatenate(self._logs).reshape(-1, LogRecord.STRIDE)
        self._logs = []
        kind, a, b, d = log[:, 1], log[:, 4], log[:, 5], log[:, 7]
        for number, what in BY_KIND.items():
            self.add(what, int((kind == number).sum()))
        locked = b[kind == k.L_ZONE_LOCKED]
        self.add("rmqueue: own type", int((locked < k.MIGRATE_PCPTYPES).sum()))
        self.add("rmqueue: CMA (balance or mode)", int((locked == k.MIGRATE_CMA).sum()))
        self.add("rmqueue: highatomic reserve", int((locked == k.MIGRATE_HIGHATOMIC).sum()))
        self.add("claim refused: too little", int((d[kind == k.L_EVAC_CLAIM] == 0).sum()))
        for phase, what in ((1, "kswapd woken"), (2, "kswapd began"), (3, "kswapd ended")):
            self.add(what, int((b[kind == k.L_KSWAPD] == phase).sum()))
        self.add("evacuation started, skip bit set", int((a[kind == k.L_EVAC_STARTED] & 1).sum()))
        for why, what in ENDINGS.items():
            self.add(what, int((d[kind == k.L_EVAC_FINISHED] % 256 == why).sum()))
        self.add("batch reclaimed from", int((a[kind == k.L_EVAC_RECLAIM] > 0).sum()))
        self.add("batch migrated", int((log[:, 6][kind == k.L_EVAC_MIGRATE] > 0).sum()))
        orders = b[kind == k.L_COMPACT_BEGIN]
        self.add("compaction began, proactive", int((orders < 0).sum()))
        self.add("compaction began, for an order", int((orders > 0).sum()))
        self.add("destination missing (-ENOMEM)", int((a[kind == k.L_EVAC_MIGRATE] == -k.ENOMEM).sum()))

    def take_stat(self, stat: Counters) -> None:
        """Take in the fast model's counters, and hold those that the log knows too against it."""
        self._digest_logs()
        self._check_stat(stat)
        for name, what in BY_STAT.items():
            self.add(what, getattr(stat, name))
        for exits, name in zip(stat.slowpath_exit, k.EXIT_NAMES, strict=True):
            self.add(f"slow path left: {name}", exits)
        for result, name in k.COMPACT_NAMES.items():
            self.add(f"direct compaction: {name}", stat.direct_compact[result])
        self.add("rmqueue: CMA mode", stat.mode[k.RMQUEUE_CMA])
        for name, chunks in zip(k.PASS_NAMES, stat.region_pass, strict=True):
            self.add(f"pass {name}", chunks)
        extfrag = np.array(stat.extfrag).reshape(3, -1).sum(axis=1)
        self.add("rmqueue: steal", int(extfrag[0]))
        self.add("rmqueue: claim below block size", int(extfrag[1]))
        self.add("rmqueue: claim of whole blocks", int(extfrag[2]))

    def _check_stat(self, stat: Counters) -> None:
        pairs = {
            "boosts": "boost",
            "alloc_failed": "allocation failed",
            "queued": "evacuation queued",
            "dropped": "evacuation dropped (no item)",
            "irq_works": "irq_work",
            "started": "evacuation started",
            "started_skip_bit": "evacuation started, skip bit set",
            "skipped": "evacuation skipped",
            "claim_refused": "claim refused: too little",
            "kswapd_wakes": "kswapd woken",
            "highatomic_reserved": "highatomic block reserved",
            "highatomic_unreserved": "highatomic block unreserved",
        }
        counted = [(getattr(stat, name), what) for name, what in pairs.items()]
        for count, what in counted + [(stat.why[why], what) for why, what in ENDINGS.items()]:
            assert count == self.total[what], f"{what}: counter {count}, log {self.total[what]}"

    def save(self, directory: Path, name: str) -> None:
        """Write the counts of one test for the session's summary."""
        kept = {what: int(times) for what, times in self.total.items()}
        (directory / f"{name}.json").write_text(json.dumps({**kept, "tests": 1}))


def load(directory: Path) -> Counter[str]:
    """Sum of what the tests of a session have saved."""
    total: Counter[str] = Counter()
    for path in sorted(directory.glob("*.json")):
        total.update(json.loads(path.read_text()))
    return total


def shortfalls(total: Counter[str]) -> list[str]:
    """What a complete run has not reached often enough, in words."""
    missing = [f"{what}: {total[what]} < {REQUIRED_EACH}" for what in REQUIRED if total[what] < REQUIRED_EACH]
    missing += [
        f"{what}: {total[what]} < {least}"
        for what, least in {
            **REQUIRED_OF_KERNELS,
            **REQUIRED_OF_COMPACTION,
            **REQUIRED_OF_RECLAIM,
            **REQUIRED_OF_PRESSURE,
            **REQUIRED_OF_OPENINGS,
            **REQUIRED_OF_REGIONS,
            **REQUIRED_OF_ZRAM,
            **REQUIRED_OF_GENERATIONS,
        }.items()
        if total[what] < least
    ]
    if total["operations"] < REQUIRED_OPERATIONS:
        missing.append(f"operations: {total['operations']} < {REQUIRED_OPERATIONS}")
    return missing + [f"{what}: {total[what]}, though unreachable" for what in UNREACHABLE if total[what]]


def table(total: Counter[str]) -> list[str]:
    """The counts, a line each."""
    lines = [f"{total['operations']:>10,} operations compared, in {total['tests']} tests"]
    lines += [
        f"{total[what]:>10,} {what}"
        for what in (
            *REQUIRED,
            *REQUIRED_OF_KERNELS,
            *REQUIRED_OF_COMPACTION,
            *REQUIRED_OF_RECLAIM,
            *REQUIRED_OF_PRESSURE,
            *REQUIRED_OF_OPENINGS,
            *REQUIRED_OF_REGIONS,
            *REQUIRED_OF_ZRAM,
            *REQUIRED_OF_GENERATIONS,
        )
    ]
    lines += [f"{total[what]:>10,} {what} (seldom: {why})" for what, why in SELDOM.items()]
    return lines + [f"{total[what]:>10,} {what} (never: {why})" for what, why in UNREACHABLE.items()]
