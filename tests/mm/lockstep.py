# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast model and the oracle side by side: the same operation on both, then everything compared.

After every operation the whole state of both is written as a row of integers and the rows are compared, the log
records of the operation are compared, and the fast model's invariants are checked.
"""

from __future__ import annotations

import hashlib
from array import array
from itertools import chain
from typing import Any

import numpy as np
from lockstep_counts import SUITABILITIES, Counts
from lockstep_decode import explain, explain_log
from lockstep_fast import compaction_ended, hold, let_go, snapshot, suitabilities
from lockstep_spec import LOG_CAPACITY, Spec, build_fast, build_oracle, set_batch
from oracle.kcompactd import suitability
from oracle.serialise import serialise

from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.check import PROBLEMS, SUMS, check_state
from kevacuate.mm.fields import Config, PerCpuPages
from kevacuate.mm.layout import log_table


class Disagreement(AssertionError):
    """The two models differ; says where."""


def kinds_of_regions(cfg: Config) -> list[str]:
    """What a machine has of regions: nothing where it keeps none."""
    if not cfg.region_order:
        return []
    acts = {
        "under steering": cfg.region_steer_claims or cfg.region_steer_refills,
        "under passes": cfg.region_passes,
        "with workers of regions": cfg.region_worker,
        "under passes, with workers": cfg.region_passes and cfg.region_worker,
    }
    blocks = 1 << (cfg.region_order - cfg.pageblock_order)
    size = f"with regions of {blocks} pageblocks"
    return ["with regions", size, *(what for what, does in acts.items() if does)]


class Lockstep:
    """Both models of one machine. Every method is one operation; it raises Disagreement if they differ after it."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.fast = build_fast(spec)
        self.oracle = build_oracle(spec)
        self.counts = Counts()
        self.digest = hashlib.sha256()
        self._row = np.zeros(1 << 16, np.int64)
        self._sums = np.zeros(SUMS, np.int64)
        self.operation: tuple[Any, ...] = ("boot",)
        self._compare(0, 0)

    # Operations.

    def alloc(self, cpu: int, order: int, mt: int, gfp: int, attr: int, obj: int, nid: int = -1) -> int:
        """alloc_pages."""
        self.operation = ("alloc", cpu, order, mt, gfp, attr, obj, nid)
        fast = entry.alloc(self.fast, cpu, nid, order, mt, gfp, attr, obj)
        return self._compare(fast, self.oracle.alloc(cpu, order, mt, gfp, attr, obj, nid))

    def alloc_bulk(self, cpu: int, mt: int, gfp: int, attr: int, obj: int) -> int:
        """alloc_pages_bulk of one page."""
        self.operation = ("alloc_bulk", cpu, mt, gfp, attr, obj)
        fast = entry.alloc_bulk(self.fast, cpu, mt, gfp, attr, obj)
        return self._compare(fast, self.oracle.alloc_bulk(cpu, mt, gfp, attr, obj))

    def alloc_with_isolate_bit(
        self, block: int, cpu: int, order: int, mt: int, gfp: int, attr: int, obj: int
    ) -> int:
        """Allocate while one block's bare isolate bit is up."""
        self.operation = ("alloc_with_isolate_bit", block, cpu, order, mt, gfp, attr, obj)
        pfn = block << self.spec.machine.pageblock_order
        fast = entry.alloc_with_isolate_bit(self.fast, pfn, cpu, order, mt, gfp, attr, obj)
        return self._compare(fast, self.oracle.alloc_with_isolate_bit(block, cpu, order, mt, gfp, attr, obj))

    def free(self, cpu: int, pfn: int) -> None:
        """Free the chunk at `pfn`."""
        self.operation = ("free", cpu, pfn)
        known = entry.free(self.fast, cpu, pfn)
        self.oracle.free(cpu, pfn)
        self._compare(int(known), 1)

    def alloc_contig(self, cpu: int, order: int, gfp: int, obj: int, nid: int = -1) -> int:
        """alloc_contig_pages."""
        self.operation = ("alloc_contig", cpu, order, gfp, obj, nid)
        fast = entry.alloc(self.fast, cpu, nid, order, k.MIGRATE_UNMOVABLE, gfp, 0, obj)
        return self._compare(fast, self.oracle.alloc_contig(cpu, order, gfp, obj, nid))

    def free_contig(self, cpu: int, pfn: int, order: int) -> None:
        """Free what alloc_contig_pages gave."""
        self.operation = ("free_contig", cpu, pfn, order)
        known = entry.free_contig(self.fast, cpu, pfn, order)
        self.oracle.free_contig(cpu, pfn, order)
        self._compare(int(known), 1)

    def free_swapped(self, cpu: int, obj: int) -> None:
        """The owner of a page in swap gives it up."""
        self.operation = ("free_swapped", cpu, obj)
        known = entry.free_in_swap(self.fast, cpu, obj)
        self.oracle.free_swapped(cpu, obj)
        self._compare(int(known), 1)

    def mark_accessed(self, cpu: int, pfn: int) -> None:
        """folio_mark_accessed of the chunk at `pfn`."""
        self.operation = ("mark_accessed", cpu, pfn)
        entry.mark_accessed(self.fast, cpu, pfn)
        self.oracle.mark_accessed(cpu, pfn)
        self._compare(0, 0)

    def mark_young(self, cpu: int, pfn: int) -> None:
        """A use of the chunk at `pfn` through a page table."""
        self.operation = ("mark_young", cpu, pfn)
        entry.mark_young(self.fast, cpu, pfn)
        self.oracle.mark_young(cpu, pfn)
        self._compare(0, 0)

    def reclaim(self, cpu: int, node: int, order: int, gfp: int) -> int:
        """try_to_free_pages."""
        self.operation = ("reclaim", cpu, node, order, gfp)
        fast = entry.reclaim(self.fast, cpu, node, order, gfp)
        return self._compare(fast, self.oracle.reclaim(cpu, node, order, gfp))

    def split(self, pfn: int, obj: int) -> None:
        """Halve the chunk at `pfn`."""
        self.operation = ("split", pfn, obj)
        entry.split(self.fast, pfn, obj)
        self.oracle.split(pfn, obj)
        self._compare(0, 0)

    def set_attr(self, pfn: int, bits: int) -> None:
        """Replace the static attributes of the allocated chunk at `pfn`."""
        self.operation = ("set_attr", pfn, bits)
        at = 2 * pfn + 1
        self.fast.link[at] = (self.fast.link[at] & ~k.ATTR_STATIC) | bits
        self.oracle.set_attr(pfn, bits)
        self._compare(0, 0)

    def advance(self, t: int) -> None:
        """Let time pass until `t`."""
        self.operation = ("advance", t)
        entry.advance(self.fast, t)
        self.oracle.advance(t)
        self._compare(0, 0)

    def isolate(self, block: int) -> bool:
        """set_migratetype_isolate."""
        self.operation = ("isolate", block)
        fast = entry.isolate_block(self.fast, block)
        isolated = bool(self._compare(int(fast), int(self.oracle.set_migratetype_isolate(block))))
        self.counts.add("isolated" if isolated else "isolation refused")
        return isolated

    def unisolate(self, block: int) -> None:
        """unset_migratetype_isolate."""
        self.operation = ("unisolate", block)
        entry.unisolate_block(self.fast, block)
        self.oracle.unset_migratetype_isolate(block)
        self._compare(0, 0)

    def set_skip(self, block: int, bit: bool) -> None:
        """Write PB_compact_skip."""
        self.operation = ("set_skip", block, bit)
        bits = int(self.fast.block[2 * block])
        self.fast.block[2 * block] = bits | k.PB_COMPACT_SKIP if bit else bits & (255 - k.PB_COMPACT_SKIP)
        self.oracle.set_skip(block, bit)
        self._compare(0, 0)

    def hold(self, pfn: int) -> None:
        """Somebody isolates the LRU folio at `pfn`."""
        self.operation = ("hold", pfn)
        hold(self.fast, pfn)
        self.oracle.hold(pfn)
        self._compare(0, 0)

    def let_go(self, cpu: int, pfn: int) -> None:
        """Who isolated the folio at `pfn` lets go of it."""
        self.operation = ("let_go", cpu, pfn)
        let_go(self.fast, cpu, pfn)
        self.oracle.let_go(cpu, pfn)
        self._compare(0, 0)

    def forget_failures(self) -> None:
        """No zone defers compaction, no block is to be skipped, and the free scanner has begun at the zone's end."""
        self.operation = ("forget_failures",)
        for zone in self.fast.view.zone:
            zone.compact_considered = zone.compact_defer_shift = zone.compact_order_failed = 0
            zone.compact_init_free_pfn = zone.zone_end_pfn - 1
        self.fast.block[: 2 * len(self.oracle.m.blocks) : 2] &= 255 - k.PB_COMPACT_SKIP
        self.oracle.forget_failures()
        self._compare(0, 0)

    def forget(self, obj: int) -> None:
        """The object is nobody's any more, if it has no page: it was dropped, or is in base pages, which are objects too."""
        self.operation = ("forget", obj)
        self.fast.obj[obj] = k.OBJ_NONE
        self.oracle.m.obj_pfn.pop(obj, None)
        self.oracle.m.shadows.pop(obj, None)
        self._compare(0, 0)

    def wake_kcompactd(self, node: int, order: int) -> None:
        """wakeup_kcompactd for all zones of a node."""
        self.operation = ("wake_kcompactd", node, order)
        entry.wake_kcompactd(self.fast, node, order)
        self.oracle.wake_kcompactd(node, order)
        self._compare(0, 0)

    def compaction_ended(self, node: int, result: int) -> None:
        """The compaction that the node's kcompactd has begun ends with this result."""
        self.operation = ("compaction_ended", node, result)
        compaction_ended(self.fast, node, result)
        self.oracle.compaction_ended(node, result)
        self._compare(0, 0)

    def suitability(self) -> None:
        """compaction_suit_allocation_order of every zone, order and highest zone index."""
        self.operation = ("suitability",)
        fast = self._row[: suitabilities(self.fast, self._row)].tolist()
        m = self.oracle.m
        oracle = [
            suitability(m, zone, order, highest)
            for zone in m.zones
            for order in range(self.spec.machine.max_page_order + 1)
            for highest in range(zone.index, k.ZONE_MOVABLE + 1)
        ]
        if fast != oracle:
            raise Disagreement(f"{self.operation}: fast {fast}, oracle {oracle}")
        for result, what in SUITABILITIES.items():
            self.counts.add(what, fast.count(result))

    def drain_all(self) -> None:
        """drain_all_pages."""
        self.operation = ("drain_all",)
        entry.drain_all(self.fast)
        self.oracle.drain_all_pages()
        self._compare(0, 0)

    def setup_per_zone_wmarks(self, kbytes: int) -> None:
        """Watermarks from min_free_kbytes."""
        self.operation = ("setup_per_zone_wmarks", kbytes)
        load_state.setup_per_zone_wmarks(self.fast, self.spec.machine, kbytes)
        self.oracle.setup_per_zone_wmarks(kbytes)
        if self.spec.batch is not None:
            PerCpuPages.table(self.fast.pcp)["batch"][:] = self.spec.batch
            set_batch(self.oracle, self.spec.batch)
        self._compare(0, 0)

    def late_initcall(self) -> None:
        """Run pageblock_evacuate_init on a machine built before it."""
        self.operation = ("late_initcall",)
        entry.late_initcall(self.fast, 1)
        ready = self.spec.policy.ready
        self.oracle.config.ready = list(ready) if ready is not None else [True] * self.spec.machine.nodes
        self._compare(0, 0)

    # Comparison.

    def _compare(self, fast_result: int, oracle_result: int) -> int:
        if fast_result != oracle_result:
            raise Disagreement(f"{self.operation}: fast returns {fast_result}, oracle {oracle_result}")
        objects = self.spec.table
        length = snapshot(self.fast, objects, self._row)
        fast_row = self._row[:length].tobytes()
        oracle_row = serialise(self.oracle.m, objects)
        if fast_row != oracle_row.tobytes():
            raise Disagreement(
                f"{self.operation}: {explain(self.spec, self._row[:length].tolist(), oracle_row)}"
            )
        log = self._take_fast_log()
        records = array("q", chain.from_iterable(self.oracle.take_log()))
        if log.tobytes() != records.tobytes():
            raise Disagreement(f"{self.operation}: {explain_log(log.tolist(), records.tolist())}")
        code, where = check_state(self.fast, self._sums)
        if code:
            raise Disagreement(f"{self.operation}: {PROBLEMS[code]} (at {where:#x})")
        self.digest.update(fast_row)
        self.digest.update(records)
        self.counts.operation(log)
        return fast_result

    def _take_fast_log(self) -> np.ndarray:
        assert self.fast.view.stat.nr_log <= LOG_CAPACITY
        records = log_table(self.fast).ravel().copy()
        self.fast.view.stat.nr_log = 0
        return records

    def finish(self) -> Counts:
        """What happened, with the fast model's own counters checked against the log and taken in."""
        self.counts.take_stat(self.fast.view.stat)
        for what, times in self.oracle.m.reached.items():
            if what in self.counts.total:
                assert self.counts.total[what] == times, (
                    f"{what}: fast {self.counts.total[what]}, oracle {times}"
                )
            else:
                self.counts.add(what, times)
        kernel = self.spec.machine.profile.name
        if kernel != "7.2":
            self.counts.add(f"operations on {kernel}", self.counts.total["operations"])
        for what in kinds_of_regions(self.fast.view.cfg):
            self.counts.add(f"operations {what}", self.counts.total["operations"])
        strays = [
            page
            for page in self.oracle.chunks(k.CHUNK_BUDDY)
            if page.mt != self.oracle.m.get_pageblock_migratetype(page.pfn)
        ]
        self.counts.add("buddy on the list of a type that is not its block's", len(strays))
        return self.counts
