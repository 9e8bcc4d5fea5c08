# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of integers (`oracle.serialise`) and log records in words, for the message about a difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from lockstep_spec import Spec
from oracle.serialise import EVENTS

from kevacuate.kernel.regions import nr_regions
from kevacuate.mm import constants as k

ZONE_NAMES = (
    "nr_free", "nr_free_cma", "nr_free_highatomic", "nr_free_blocks", "boost", "boosted", "below_high",
    "reclaim_active", "nr_reserved_highatomic", "nr_lru", "nr_isolated", "cached_migrate_pfn",
    "cached_migrate_sync", "cached_free_pfn", "considered", "defer_shift", "order_failed", "init_migrate_pfn",
    "init_free_pfn", "blockskip_flush", "boost seen",
    "managed", "MIN", "LOW", "HIGH", "PROMO", "lowmem0", "lowmem1", "lowmem2", "lowmem3",
)  # fmt: skip
PCP_NAMES = ("count", "high", "high_min", "high_max", "batch", "flags", "alloc_factor", "free_count")
CONTROL_NAMES = (
    "migrate_pfn", "free_pfn", "last_migrated_pfn", "whole_zone", "finish_pageblock", "fast_search_fail", "search_order",
    "nr_freepages", "migrate scanned", "free scanned",
)  # fmt: skip
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
    lists = 14 if spec.machine.hpage_pmd_order >= 0 else 12
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
    state = ("tail", "buddy", "pcp", "alloc", "reserved", "isolated", "compaction's")[value & 15]
    if state in ("alloc", "isolated"):
        return f"{state} order {value >> 4 & 15} attr {value >> 8 & 0x7FFFFFFF:#x} obj {(value >> 40) - 1}"
    return f"{state} order {value >> 4 & 15}"


def decode_reclaim(reader: Reader, spec: Spec, states: list[int]) -> Iterator[tuple[str, object]]:
    """What a closed loop has: LRU lists, batches, shadow entries, events; *states* are the kswapds'."""
    for node, state in enumerate(states):
        if spec.machine.lru_gen:
            yield from decode_generations(reader, node)
        for name in ("inactive anon", "active anon", "inactive file", "active file"):
            yield f"node {node} {name} list", reader.pages()
        for index in range(4):
            yield f"node {node} LRU sizes, zone index {index}", reader.numbers(5)
        yield (
            f"node {node} isolated file, age, activated, refaults, PGDAT_WRITEBACK, failures, anonymous ones, costs, marked",
            reader.numbers(11),
        )
        if state == k.KSWAPD_RUNNING:
            name = "order, priority, reclaimed, of this lruvec, to reclaim, to scan by list, slice, late"
            yield f"kswapd {node} run: {name}", reader.numbers(11)
    for cpu in range(len(spec.machine.cpu_node)):
        yield f"lru_activate batch {cpu}", reader.pages()
    yield "shadow entries (object, age, node and workingset)", reader.numbers(3 * reader.one())
    yield "flushes, when the flusher is due", reader.numbers(2)
    for name in EVENTS:
        yield name, reader.one()
    if spec.machine.swap_pages:
        yield from decode_swap(reader, spec)


def decode_generations(reader: Reader, node: int) -> Iterator[tuple[str, object]]:
    """A node's generations."""
    yield f"node {node} max_seq, min_seq", reader.numbers(3)
    yield f"node {node} pages of generations", reader.numbers(k.NR_GEN_LISTS)
    for which in range(2 * k.MAX_NR_TIERS):
        name = f"node {node} type {which // k.MAX_NR_TIERS} tier {which % k.MAX_NR_TIERS}"
        yield f"{name}: averages, protected, evicted, refaulted", reader.numbers(5)
    for which in range(k.NR_GEN_LISTS):
        name = f"generation {which // 8} type {which // 4 % 2} zone index {which % 4}"
        yield f"node {node} {name} (pfn, generation and uses)", reader.numbers(2 * reader.one())


def decode_swap(reader: Reader, spec: Spec) -> Iterator[tuple[str, object]]:
    """Slots, zspages and the queue of pages that are used again."""
    free = reader.pages()
    yield "free slots", free
    yield "free zspages", reader.pages()
    for _ in range(spec.machine.swap_pages - len(free)):
        yield f"slot {reader.one()}: object, age, shadow, zspage, due", reader.numbers(5)
    for group in range(k.NR_ZS_FULLNESS):
        yield f"zspages of group {group} (number, objects)", reader.numbers(2 * reader.one())
    yield "slots whose pages are used again", reader.pages()


def decode_regions(reader: Reader, spec: Spec) -> Iterator[tuple[str, object]]:
    """What there is of regions, if any are kept."""
    pages = -(-spec.machine.npages >> spec.machine.max_page_order) << spec.machine.max_page_order
    order = spec.policy.regions.order_on(pages, spec.machine.max_page_order)
    if not order:
        return
    yield "regions tainted, cleaned, evacuated blocks, pages, ns, shrunk pages", reader.numbers(6)
    for node in range(spec.machine.nodes):
        yield f"shrink work {node}: due, busy", reader.numbers(2)
    for zone in spec.machine.zones:
        for number in range(nr_regions(zone.start_pfn, zone.end_pfn, order)):
            name = "zone, start, end, total, reserved, free, used by type, highatomic, free pages, tainted, class, work"
            yield f"region {number}: {name}", reader.numbers(17)


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
    yield "waiting for an item (zone, block, movable)", reader.numbers(3 * reader.one())
    workers = machine.nodes if spec.policy.wq == "per_node" else len(machine.cpu_node)
    for worker in range(workers):
        yield from decode_worker(reader, f"worker {worker}")
    kswapds = []
    for node in range(machine.nodes):
        kswapds.append(reader.numbers(7))
        yield (
            f"kswapd {node} state, due, order, highest, alloc order, reclaim order, run's highest",
            kswapds[node],
        )
    for node in range(machine.nodes):
        state = reader.one()
        yield f"kcompactd {node} state", state
        yield f"kcompactd {node} due, max_order, highest", reader.numbers(3)
        if state == k.KCOMPACTD_RUNNING:
            yield f"kcompactd {node} zone, order, run's highest, proactive, score", reader.numbers(5)
        if state == k.KCOMPACTD_RUNNING and not machine.open_loop:
            for name in CONTROL_NAMES:
                yield f"kcompactd {node} {name}", reader.one()
    if not machine.open_loop:
        yield from decode_reclaim(reader, spec, [values[0] for values in kswapds])
    yield from decode_regions(reader, spec)
    for cpu in range(len(machine.cpu_node)):
        yield f"tick {cpu}", reader.one()
    for obj in range(spec.table):
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
