# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of the modelled machine, and the few look-ups everything else needs.

No behaviour of the allocator is here: the other files of this package hold it as functions of a Machine,
named after the kernel's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .config import Config, ZoneConfig
from .constants import (
    COSTLY_ORDER,
    HALF_SECOND,
    HIGHATOMIC,
    ISOLATE,
    L_BLOCK_TYPE,
    MOVABLE,
    PCPF_FREE_HIGH_BATCH,
    PCPTYPES,
    RESERVED,
    UNMOVABLE,
    VMSTAT_STAGGER,
    ZONE_MOVABLE,
)
from .zone import FreeArea, Page, PageList, Pcp, Zone

LogRecord = tuple[int, int, int, int, int, int, int, int]


@dataclass
class Block:
    """A pageblock's bits: the 3-bit type, PB_migrate_isolate, PB_compact_skip."""

    mt: int = MOVABLE
    isolate: bool = False
    skip: bool = False


@dataclass
class Item:
    """An evacuation work item."""

    zone: int = -1
    start_pfn: int = -1
    movable: bool = False  # evacuated though it is movable: it was so when somebody asked


class Worker:
    """A `kevacuate` worker: a FIFO of item numbers and the work in progress."""

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.state = "IDLE"
        self.due = -1
        self.busy_until = 0
        self.cpu_ns = 0
        self.item = -1
        self.cursor = 0
        self.isolated: list[int] = []
        self.queue: list[int] = []
        self.forget_work()

    def forget_work(self) -> None:
        """Reset what belongs to one work item."""
        self.item = -1
        self.cursor = 0
        self.isolated = []
        self.total_isolated = self.total_dropped = self.total_migrated = self.total_failed = 0
        self.tried = 0
        self.isolates = False


class Lruvec:
    """A node's LRU lists (the unevictable folios are only counted), and what reclaim remembers of them."""

    def __init__(self) -> None:
        self.lists = [PageList() for _ in range(4)]
        self.sizes: Counter[tuple[int, int]] = Counter()  # pages by (zone index, list)
        self.isolated_file = 0
        self.nonresident_age = 0
        self.activated = 0  # WORKINGSET_ACTIVATE_FILE
        self.refaults = 0
        self.writeback = False  # PGDAT_WRITEBACK
        self.marked = 0  # folios met dirty since the flusher last wrote
        self.activated_anon = self.refaults_anon = 0
        self.costs = [0, 0]  # anon_cost, file_cost
        self.gens: Any = None  # the multi-gen LRU (generations.Generations), with folios that are in none for want of an owner:
        self.loose: Counter[tuple[int, int]] = Counter()  # pages by (zone index, list)

    def size(self, lru: int, highest: int = ZONE_MOVABLE) -> int:
        """Pages on a list, of zones up to an index."""
        return sum(self.sizes[index, lru] for index in range(highest + 1))


class Kswapd:
    """A node's kswapd: IDLE, WOKEN, RUNNING or NAP, and the boosts it will give back (per zone number).

    `order` and `highest` are what was asked for since it last began; the others belong to the run.
    """

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.state = "IDLE"
        self.due = -1
        self.boosts: dict[int, int] = {}
        self.order = 0
        self.highest: int | None = None
        self.alloc_order = self.reclaim_order = 0
        self.run_highest = ZONE_MOVABLE
        self.failures = 0
        self.slice = 0  # what is left of its slice of the CPU
        self.thread: Iterator[None] | None = None  # in closed loop: what it is at
        self.control: Any = None  # the scan_control of the run in progress

    @property
    def sleeps(self) -> bool:
        """Whether it waits to be woken."""
        return self.state in ("IDLE", "NAP")


@dataclass
class RegionWork:
    """What a region's worker is at: the how manyth block is queued or evacuated, where it goes on, until when it rests."""

    busy: int = 0
    cursor: int = 0
    rests_until: int = 0


@dataclass
class ShrinkWork:
    """A node's shrink work for its tainted regions: when it runs (-1: it is not queued), until when its last run took."""

    due: int = -1
    busy: int = 0
    cpu_ns: int = 0


@dataclass
class Capture:
    """`struct capture_control` of the task that compacts: what it wants, in which zone just now, what it got."""

    order: int
    mt: int
    zone: Zone | None = None
    pfn: int = -1


class Kcompactd:
    """A node's kcompactd: IDLE (asleep), WOKEN or RUNNING; what it was asked for; the run in progress."""

    def __init__(self, cpu: int, due: int) -> None:
        self.cpu = cpu
        self.state = "IDLE"
        self.due = due
        self.max_order = 0
        self.highest = ZONE_MOVABLE
        self.order = 0
        self.run_highest = 0
        self.proactive = False
        self.score = 0
        self.whole_zone = False
        self.zone = -1
        self.left: list[Zone] = []
        self.control: Any = None  # in closed loop: the compact_control of the run in progress,
        self.turns: Iterator[None] = iter(())  # what it still has to do in its zone,
        self.cost = 0  # what this turn has cost, ns,
        self.result = 0  # and how it ended
        self.slice = 0  # what is left of its turn on the CPU, ns


def lowest_cpu(config: Config, node: int) -> int:
    """Return the lowest CPU of `node`, 0 if it has none."""
    return next((cpu for cpu, its in enumerate(config.cpu_node) if its == node), 0)


def order_zonelist(config: Config, node: int, zones: list[Zone]) -> list[Zone]:
    """Zones in the order node `node` tries them: its own first, others by distance, each node high to low."""
    nodes = config.nodes

    def distance(other: int) -> int:
        if config.distance is not None:
            return config.distance[node][other]
        return 10 if other == node else 20

    others = sorted((n for n in range(nodes) if n != node), key=lambda n: (distance(n), (n - node) % nodes))
    return [
        zone
        for n in [node, *others]
        for zone in sorted((z for z in zones if z.node == n), key=lambda z: -z.index)
    ]


class Machine:
    """Everything that changes, and the configuration that does not.

    `cpu` is the CPU acting now (`smp_processor_id()`), `heads` maps the first pfn of every chunk to its Page.
    `movable_pages`, when set, replaces the count of movable pages in a claim (for replays of a real kernel,
    whose LRU pages are not known). `reached` counts what the tests want to know to have happened.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.now = 0
        self.flushes = 0  # how often the flusher has written all that was dirty
        self.flush_due = config.dirty_expire_ns  # when it has next
        self.late = 0  # how long tasks have waited for the CPU that kswapd or kcompactd had
        self.cpu = 0
        self.log_records: list[LogRecord] = []
        self.log_level = config.log_level
        self.heads: dict[int, Page] = {}
        self.obj_pfn: dict[int, int] = {}
        self.first_part = 0  # names for the pages of split folios: from which on,
        self.nr_parts = 0  # how many,
        self.next_part = self.spare_part = (
            0  # where the next ones are looked for, where the largest folio's are
        )
        self.block_pages = 1 << config.pageblock_order
        self.blocks = [Block() for _ in range(-(-config.npages // self.block_pages))]
        self.zones = [self._new_zone(number, zc) for number, zc in enumerate(config.zones)]
        self._block_zone = self._map_blocks()
        self.nodes = config.nodes
        self.zonelists = [order_zonelist(config, node, self.zones) for node in range(self.nodes)]
        self.node_zones = [[z for z in self.zones if z.node == node] for node in range(self.nodes)]
        self.lru_batches: list[list[int]] = [[] for _ in config.cpu_node]
        self.activate_batches: list[list[int]] = [[] for _ in config.cpu_node]
        self.lruvecs = [Lruvec() for _ in range(self.nodes)]
        self.shadows: dict[int, tuple[int, int, bool]] = {}  # of dropped objects: node, age, active before
        self.events: Counter[str] = Counter()  # /proc/vmstat, of reclaim
        self.swap: Any = None  # the device that is swapped to (swap.Swap)
        self.capture: Capture | None = None
        self.kthread = False  # whether a kernel thread is allocating: it captures nothing
        self.movable_pages: Callable[[int], int] | None = None
        self.policy: Any = None  # a policy of hooks (policy.Policy)
        self.taken_for: dict[int, int] = {}  # what chunks in use were taken for, where regions are kept
        self.region_lists: dict[tuple[int, int, int, int], PageList] = {}  # by zone, number, order, type
        self.contig: dict[int, int] = {}  # contiguous allocations: first pfn, pages
        self.region_work: dict[tuple[int, int], RegionWork] = {}  # by zone, number
        self.shrinks = [ShrinkWork() for _ in range(self.nodes)]
        self.tainted: set[tuple[int, int]] = (
            set()
        )  # regions that were tainted when last looked at: zone, number
        self._new_background()

    def _new_zone(self, number: int, zc: ZoneConfig) -> Zone:
        config = self.config
        managed = zc.end_pfn - zc.start_pfn - sum(end - start for start, end in zc.reserved)
        areas = [FreeArea() for _ in range(config.max_page_order + 1)]
        pcps = [Pcp(14 if config.has_thp else 12) for _ in config.cpu_node]
        for pcp in pcps:
            pcp.flags = PCPF_FREE_HIGH_BATCH if config.free_high_batch else 0
        zone = Zone(
            number, zc.node, zc.index, zc.start_pfn, zc.end_pfn, managed,
            list(zc.watermark), list(zc.lowmem_reserve), areas, pcps,
        )  # fmt: skip
        zone.counts_free_highatomic = config.kernel.counts_free_highatomic
        for start, end in zc.reserved:
            self.heads.update((pfn, Page(pfn, 0, RESERVED)) for pfn in range(start, end))
        return zone

    def _map_blocks(self) -> list[Zone | None]:
        owner: list[Zone | None] = [None] * len(self.blocks)
        for zone in self.zones:
            for block in range(zone.start_pfn // self.block_pages, -(-zone.end_pfn // self.block_pages)):
                owner[block] = zone
        return owner

    def _new_background(self) -> None:
        config = self.config
        self.items = [Item() for _ in range(config.pool)]
        self.free_items = list(range(config.pool))  # a stack: the top is the last
        self.pending: list[list[int]] = [[] for _ in range(self.nodes)]  # newest first
        self.waiting: list[Item] = []  # blocks for which there was no item, oldest first
        node_cpus = [lowest_cpu(config, node) for node in range(self.nodes)]
        worker_cpus = list(range(len(config.cpu_node))) if config.wq == "per_cpu" else node_cpus
        self.workers = [Worker(cpu) for cpu in worker_cpus]
        self.kswapds = [Kswapd(cpu) for cpu in node_cpus]
        ticks = [config.vmstat_phase_ns + cpu * VMSTAT_STAGGER for cpu in range(len(config.cpu_node))]
        self.ticks = [tick if tick > 0 else tick + config.stat_interval_ns for tick in ticks]
        looks = config.compaction and config.compaction_proactiveness
        self.kcompactds = [Kcompactd(cpu, HALF_SECOND if looks else -1) for cpu in node_cpus]
        self.reached: Counter[str] = Counter()

    def ask(self, hook: str, mainline: int, *numbers: int) -> int:
        """The policy's answer at a hook; `mainline` without a policy or without that hook."""
        return mainline if self.policy is None else int(self.policy.ask(self, hook, mainline, *numbers))

    def log(self, kind: int, pfn: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        """Append a record if the level asks for its kind (1: below 32, 2: below 34, 3: all)."""
        if self.log_level >= (1 if kind < 32 else 2 if kind < 34 else 3):
            self.log_records.append((self.now, kind, self.cpu, pfn, a, b, c, d))

    def zone_of(self, pfn: int) -> Zone:
        """Return the zone that owns `pfn`."""
        zone = self._block_zone[pfn // self.block_pages]
        assert zone is not None, f"pfn {pfn} is in no zone"
        return zone

    def block_of(self, pfn: int) -> Block:
        """Return the pageblock of `pfn`."""
        return self.blocks[pfn // self.block_pages]

    def get_pageblock_migratetype(self, pfn: int) -> int:
        """Type of the block of `pfn`: ISOLATE if the isolate bit is set (or if that is its type)."""
        block = self.block_of(pfn)
        return ISOLATE if block.isolate else block.mt

    def set_pageblock_migratetype(self, pfn: int, mt: int) -> None:
        """Write the type of the block of `pfn`; clears the isolate bit, leaves the skip bit."""
        if self.config.page_group_by_mobility_disabled and mt < PCPTYPES:
            mt = UNMOVABLE
        block = self.block_of(pfn)
        if block.mt != mt:
            self.log(L_BLOCK_TYPE, pfn - pfn % self.block_pages, block.mt, mt)
        old, block.mt = block.mt, mt
        block.isolate = False
        if HIGHATOMIC in (old, mt) and old != mt:
            self.changed_region(pfn)

    def changed_region(self, pfn: int) -> None:
        """A block has become highatomic, or is no longer."""
        from .regions import compare  # which needs this file

        compare(self, pfn)

    def is_isolated(self, pfn: int) -> bool:
        """Whether the block of `pfn` is isolated, however the kernel marks that."""
        return self.get_pageblock_migratetype(pfn) == ISOLATE

    def mark_isolated(self, pfn: int, isolate: bool) -> None:
        """Mark the block of `pfn` isolated, or not: by the bit, or by its type, which is movable afterwards."""
        if self.config.kernel.isolate_bit:
            self.block_of(pfn).isolate = isolate
        else:
            self.set_pageblock_migratetype(pfn, ISOLATE if isolate else MOVABLE)

    def change_pageblock_range(self, pfn: int, order: int, mt: int) -> None:
        """Write the type of every block under a chunk of at least block size."""
        for start in range(pfn, pfn + (1 << order), self.block_pages):
            self.set_pageblock_migratetype(start, mt)

    def covering(self, pfn: int) -> Page | None:
        """Return the chunk `pfn` lies in, whether as head or as tail."""
        for order in range(self.config.max_page_order + 1):
            page = self.heads.get(pfn >> order << order)
            if page is not None:
                return page if page.pfn + page.size > pfn else None
        return None

    def pcp_allowed_order(self, order: int) -> bool:
        """Whether chunks of this order are cached on pcp lists."""
        return order <= COSTLY_ORDER or (self.config.has_thp and order == self.config.hpage_pmd_order)
