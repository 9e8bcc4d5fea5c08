# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast model and the oracle side by side: the same operation on both, then everything compared.

After every operation the whole state of both is written as a row of integers and the rows are compared, the log
records of the operation are compared, and the fast model's invariants are checked.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from lockstep_counts import Counts
from lockstep_fast import snapshot
from oracle import Config, Oracle
from oracle import ZoneConfig as OracleZoneConfig
from oracle.buddy import memblock_free_all
from oracle.serialise import serialise

from kevacuate.mm import boot, entry
from kevacuate.mm import constants as k
from kevacuate.mm.check import PROBLEMS, check_state
from kevacuate.mm.layout import EvacuationConfig, MachineConfig, State, StateOptions, build_state

LOG_CAPACITY = 1 << 16


@dataclass(frozen=True)
class Spec:
    """A machine to be built twice.

    `cma` are block numbers of type CMA; `batch` replaces the pcp batch (small zones have 1); `initcall` False: the
    late_initcall has not run yet.
    """

    machine: MachineConfig
    policy: EvacuationConfig
    cma: tuple[int, ...] = ()
    batch: int | None = None
    initcall: bool = True
    log_level: int = 3

    @property
    def objects(self) -> int:
        """Size of the object table."""
        return self.machine.npages + 64


class Disagreement(AssertionError):
    """The two models differ; says where."""


def oracle_config(spec: Spec) -> Config:
    """The oracle's description of the same machine."""
    machine, policy = spec.machine, spec.policy
    ready = list(policy.ready) if policy.ready is not None else [True] * machine.nodes
    zones = [
        OracleZoneConfig(
            z.node, z.index, z.start_pfn, z.end_pfn, list(z.reserved), z.watermark, list(z.lowmem_reserve)
        )
        for z in machine.zones
    ]
    same = {
        name: getattr(source, name)
        for source, names in ((machine, MACHINE_FIELDS), (policy, POLICY_FIELDS))
        for name in names
    }
    return Config(
        cpu_node=list(machine.cpu_node),
        zones=zones,
        distance=[list(row) for row in machine.distance] if machine.distance else None,
        ready=ready if spec.initcall else [False] * machine.nodes,
        log_level=spec.log_level,
        **same,
    )


MACHINE_FIELDS = (
    "npages", "max_page_order", "pageblock_order", "hpage_order", "zone_dma32", "defrag_mode",
    "watermark_boost_factor", "mobility_disabled", "pcp_high_fraction", "free_high_batch", "open_loop", "vmstat_phase_ns",
    "kswapd_wake_ns", "kswapd_run_ns",
)  # fmt: skip
POLICY_FIELDS = (
    "evacuate", "pool", "wq", "skip_hint", "work_ns", "irq_work_ns", "wakeup_ns", "scan_ns", "isolate_ns",
    "reclaim_ns", "migrate_ns", "time_scale",
)  # fmt: skip


def build_fast(spec: Spec) -> State:
    """The fast model of the machine, booted."""
    state = build_state(spec.machine, spec.policy, StateOptions(spec.objects, spec.log_level, LOG_CAPACITY))
    for block in spec.cma:
        state.block[2 * block] = k.MIGRATE_CMA
    if spec.batch is not None:
        state.pcp[k.P_BATCH :: k.PS] = spec.batch
    boot.memblock_free_all(state, spec.machine)
    entry.late_initcall(state, int(spec.initcall))
    entry.advance(state, 0)
    return state


def build_oracle(spec: Spec) -> Oracle:
    """The oracle's model of the machine, booted."""
    oracle = Oracle(oracle_config(spec), boot=False)
    for block in spec.cma:
        oracle.m.blocks[block].mt = k.MIGRATE_CMA
    set_batch(oracle, spec.batch)
    memblock_free_all(oracle.m)
    oracle.take_log()
    oracle.advance(0)
    return oracle


def set_batch(oracle: Oracle, batch: int | None) -> None:
    """Replace the pcp batch everywhere."""
    for zone in oracle.m.zones:
        for pcp in zone.pcps:
            pcp.batch = pcp.batch if batch is None else batch


class Lockstep:
    """Both models of one machine. Every method is one operation; it raises Disagreement if they differ after it."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.fast = build_fast(spec)
        self.oracle = build_oracle(spec)
        self.counts = Counts()
        self.digest = hashlib.sha256()
        self._row = np.zeros(1 << 16, np.int64)
        self._sums = np.zeros(96, np.int64)
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
        self.fast.block[2 * block] = bits | k.PB_SKIP if bit else bits & (255 - k.PB_SKIP)
        self.oracle.set_skip(block, bit)
        self._compare(0, 0)

    def drain_all(self) -> None:
        """drain_all_pages."""
        self.operation = ("drain_all",)
        entry.drain_all(self.fast)
        self.oracle.drain_all_pages()
        self._compare(0, 0)

    def setup_per_zone_wmarks(self, kbytes: int) -> None:
        """Watermarks from min_free_kbytes."""
        self.operation = ("setup_per_zone_wmarks", kbytes)
        boot.setup_per_zone_wmarks(self.fast, self.spec.machine, kbytes)
        self.oracle.setup_per_zone_wmarks(kbytes)
        if self.spec.batch is not None:
            self.fast.pcp[k.P_BATCH :: k.PS] = self.spec.batch
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
        objects = self.spec.objects
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
        count = int(self.fast.stat[k.T_NLOG])
        assert count <= LOG_CAPACITY
        self.fast.stat[k.T_NLOG] = 0
        return self.fast.log[: count * k.LR].copy()

    def finish(self) -> Counts:
        """What happened, with the fast model's own counters checked against the log and taken in."""
        self.counts.take_stat(self.fast.stat)
        return self.counts


# Decoding.

ZONE_NAMES = (
    "nr_free", "nr_free_cma", "nr_free_highatomic", "nr_free_blocks", "boost", "boosted", "below_high",
    "reclaim_active", "nr_reserved_highatomic", "nr_lru", "nr_isolated", "cached_migrate_pfn", "boost seen",
    "managed", "MIN", "LOW", "HIGH", "PROMO", "lowmem0", "lowmem1", "lowmem2", "lowmem3",
)  # fmt: skip
PCP_NAMES = ("count", "high", "high_min", "high_max", "batch", "flags", "alloc_factor", "free_count")
WORK_NAMES = ("zone", "block", "cursor", "isolated", "dropped", "migrated", "failed")


class Reader:
    """Takes a row apart."""

    def __init__(self, row: Sequence[int]) -> None:
        self._row = iter(row)

    def numbers(self, count: int) -> list[int]:
        """The next `count` integers (fewer at the row's end)."""
        return list(islice(self._row, max(count, 0)))

    def one(self) -> int:
        """The next integer."""
        return next(self._row, -999)

    def pages(self) -> list[int]:
        """A list."""
        return self.numbers(self.one())


def decode_zone(reader: Reader, spec: Spec, prefix: str) -> Iterator[tuple[str, object]]:
    """Names and values of a zone."""
    for name in ZONE_NAMES:
        yield f"{prefix} {name}", reader.one()
    for order in range(spec.machine.max_page_order + 1):
        yield f"{prefix} order {order} nr_free", reader.one()
        for mt in range(k.MIGRATE_TYPES):
            yield f"{prefix} order {order} list {k.MIGRATE_NAMES[mt]}", reader.pages()
    lists = 14 if spec.machine.hpage_order >= 0 else 12
    for cpu in range(len(spec.machine.cpu_node)):
        for name in PCP_NAMES:
            yield f"{prefix} pcp {cpu} {name}", reader.one()
        for pindex in range(lists):
            yield f"{prefix} pcp {cpu} list {pindex}", reader.pages()


def decode_worker(reader: Reader, prefix: str) -> Iterator[tuple[str, object]]:
    """Names and values of a worker."""
    for name in ("state", "due", "busy_until"):
        yield f"{prefix} {name}", reader.one()
    item = reader.one()
    yield f"{prefix} item", item
    if item >= 0:
        for name in WORK_NAMES:
            yield f"{prefix} {name}", reader.one()
        yield f"{prefix} private list", reader.pages()
    yield f"{prefix} queue (item, zone, block)", reader.numbers(3 * reader.one())


def decode_page(value: int) -> str:
    """A page frame's entry in words."""
    state = ("tail", "buddy", "pcp", "alloc", "reserved", "isolated")[value & 15]
    if state in ("alloc", "isolated"):
        return f"{state} order {value >> 4 & 15} attr {value >> 8 & 0xFFFF:#x} obj {(value >> 24) - 1}"
    return f"{state} order {value >> 4 & 15}"


def decode(spec: Spec, row: Sequence[int]) -> Iterator[tuple[str, object]]:
    """Names and values of all that a row holds."""
    machine = spec.machine
    reader = Reader(row)
    for name in ("now", "next due", "worker ns"):
        yield name, reader.one()
    for z in range(len(machine.zones)):
        yield from decode_zone(reader, spec, f"zone {z}")
    for block in range(-(-machine.npages >> machine.pageblock_order)):
        yield f"block {block} bits", reader.one()
    for pfn in range(machine.npages):
        yield f"pfn {pfn}", decode_page(reader.one())
    for cpu in range(len(machine.cpu_node)):
        yield f"lru batch {cpu}", reader.pages()
    yield "free items", reader.pages()
    for node in range(machine.nodes):
        yield f"pending {node}", reader.numbers(3 * reader.one())
    workers = machine.nodes if spec.policy.wq == "per_node" else len(machine.cpu_node)
    for worker in range(workers):
        yield from decode_worker(reader, f"worker {worker}")
    for node in range(machine.nodes):
        yield f"kswapd {node} state, due", reader.numbers(2)
    for cpu in range(len(machine.cpu_node)):
        yield f"tick {cpu}", reader.one()
    for obj in range(spec.objects):
        yield f"object {obj}", reader.one()


def explain(spec: Spec, fast: Sequence[int], oracle: Sequence[int]) -> str:
    """The first differences of two rows, in words."""
    mine, theirs = dict(decode(spec, fast)), dict(decode(spec, oracle))
    differences = [
        f"{name}: fast {mine.get(name)}, oracle {theirs.get(name)}"
        for name in mine
        if mine.get(name) != theirs.get(name)
    ]
    return f"{len(differences)} differences\n  " + "\n  ".join(differences[:20])


def explain_log(fast: list[int], oracle: list[int]) -> str:
    """The first log record that differs, with those before it."""
    mine = [tuple(fast[i : i + 8]) for i in range(0, len(fast), 8)]
    theirs = [tuple(oracle[i : i + 8]) for i in range(0, len(oracle), 8)]
    at = next(
        (i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs))
    )
    return (
        f"log record {at} (t kind cpu pfn a b c d)\n  before {mine[max(at - 5, 0) : at]}\n"
        f"  fast {mine[at : at + 5]}\n  oracle {theirs[at : at + 5]}"
    )
