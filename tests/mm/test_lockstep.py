# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast model against the oracle on random machines, compared in full after every operation.

Most operations come from long seeded scripts; a rule-based part finds small examples. The session's summary (in
tests/conftest.py) adds up what was reached and fails a complete run that has not reached enough.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from lockstep import Disagreement, Lockstep
from lockstep_counts import SHARDS, Counts
from lockstep_machines import THEMES, of_kernels, specs
from lockstep_script import Script
from lockstep_spec import Spec

from kevacuate.mm import constants as k
from kevacuate.mm.fields import Cpu, PerCpuPages, Zone


class Shard(NamedTuple):
    """A test of its own: machines of a theme, each driven by scripts after a plan."""

    theme: str
    plan: str
    machines: int
    operations: int
    part: int = 0
    kernel: str = "7.2"

    def __str__(self) -> str:
        return f"{self.theme}, {self.plan}, {self.part}" + (
            f", {self.kernel}" if self.kernel != "7.2" else ""
        )


PRESSURE_SHARDS = [
    *(Shard("pressure", "press", 6, 1200, part) for part in range(2)),
    Shard("pressure", "squeeze", 5, 1200),
    *(Shard("pressure, high marks", "press reserves", 6, 1200, part) for part in range(2)),
    Shard("pressure, defrag_mode", "press", 6, 1200),
    Shard("pressure, falling back late", "falls back late", 6, 1200),
    Shard("pressure, no marks", "squeeze only", 5, 1200),
    Shard("pressure", "too many isolated", 5, 1200),
    Shard("pressure, large blocks", "squeeze", 5, 1000),
    Shard("pressure, evacuating", "press evacuating", 5, 1200),
    Shard("pressure, openings", "press evacuating", 4, 1000),
    Shard("pressure", "squeeze folios", 5, 1000),
    Shard("pressure, no marks", "squeeze folios", 5, 1000),
    Shard("pressure, high marks, single pages", "below the marks", 5, 1000),
    Shard("pressure, defrag_mode", "squeeze pinned", 5, 1000),
    Shard("pressure, zram", "swap", 5, 800),
    Shard("pressure, zram", "press", 12, 800),
    Shard("pressure, zram, high marks", "swap", 8, 600),
]
"""Closed loops: requests that reclaim, compact, and run out of memory. tests/lockstep_pressure.py plays them for longer."""
GENERATION_SHARDS = [
    Shard("generations", "reclaim", 6, 1000),
    Shard("generations", "press", 4, 800),
    Shard("generations, zram", "swap", 6, 800),
]
"""Closed loops with the multi-gen LRU. The same script plays them for longer."""
REGION_SHARDS = [
    Shard("regions", "mixed", 4, 600),
    *(Shard("by regions", "mixed", 8, 500, part) for part in range(2)),
    Shard("by regions", "highatomic", 4, 400),
    Shard("by regions, pressure", "squeeze", 4, 500),
    Shard("by regions, pressure", "press", 3, 500),
    Shard("by regions, relief", "mixed", 5, 500),
    Shard("by regions, relief under pressure", "falls back late", 4, 500),
    Shard("regions", "highatomic", 6, 600),
    Shard("regions", "mixed", 3, 500, 0, "6.1"),
    Shard("regions, pressure", "squeeze", 3, 600),
    Shard("regions, pressure", "squeeze folios", 2, 600),
    Shard("regions, evacuation", "staged", 3, 800),
]
"""Machines with regions, most of them under a policy that goes by them. The same script plays them for longer."""
SHARD_LIST = [
    *(Shard("any", "mixed", 10, 1500, part) for part in range(3)),
    Shard("one zone", "mixed", 10, 1500),
    *(Shard("numa", "mixed", 10, 1500, part) for part in range(2)),
    Shard("many cpus", "mixed", 6, 800),
    *(Shard("cma", "mixed", 12, 1500, part) for part in range(2)),
    Shard("large blocks", "mixed", 10, 1500),
    Shard("large blocks", "staged", 6, 1500),
    *(Shard("highatomic", "highatomic", 64, 2000, part) for part in range(3)),
    *(Shard("evacuation", "staged", 24, 2000, part) for part in range(4)),
    *(Shard("busy", "staged, little LRU", 24, 2000, part) for part in range(5)),
    Shard("evacuation", "evacuation", 10, 2000),
    Shard("busy", "busy", 8, 2000),
    Shard("crowded", "crowded", 8, 2000),
    Shard("small pool", "staged", 36, 2000),
    Shard("openings", "staged", 8, 1200),
    Shard("openings", "busy", 8, 1500),
    Shard("unready", "staged", 18, 2000),
    *(Shard("evacuation", "guard", 10, 2000, part) for part in range(2)),
    Shard("any", "isolation", 10, 1500),
    *(Shard("compaction", "compaction", 15, 1500, part) for part in range(4)),
    *(Shard("defrag", "defrag", 24, 1200, part) for part in range(2)),
    *(Shard("reclaim", "reclaim", 13, 1500, part) for part in range(4)),
    *(
        Shard(theme, plan, machines if plan == "mixed" else 3, 700, 0, kernel)
        for kernel, machines in (
            ("6.12", 3),
            ("6.1", 40),
        )  # 6.1 alone may leave a list and a block of different types
        for theme, plan in (
            ("any", "mixed"),
            ("numa", "mixed"),
            ("cma", "mixed"),
            ("highatomic", "highatomic"),
            ("evacuation", "staged"),
            ("any", "isolation"),
        )
    ),
    Shard("any", "mixed", 3, 700, 0, "6.18"),
    *PRESSURE_SHARDS,
    *GENERATION_SHARDS,
    *REGION_SHARDS,
]
assert len(SHARD_LIST) == SHARDS
SETTINGS = settings(phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
"""A script is not worth shrinking: its message has the seed, and the rule-based part shrinks."""


@pytest.mark.parametrize("shard", SHARD_LIST, ids=str)
def test_scripts(shard: Shard, lockstep_counts: Counts) -> None:
    @settings(SETTINGS, max_examples=shard.machines)
    @given(specs(of_kernels(shard.theme, shard.kernel)), st.integers(0, 2**32 - 1))
    def run(spec: Spec, seed: int) -> None:
        lock = Lockstep(spec)
        Script(lock, seed + shard.part, shard.plan).run(shard.operations)
        lockstep_counts.total.update(lock.finish().total)

    run()


class Rules(RuleBasedStateMachine):
    """Operations drawn one by one, on small machines."""

    def __init__(self) -> None:
        super().__init__()
        self.lock: Lockstep | None = None
        self.now = 0
        self.next_object = 0

    @initialize(theme=st.sampled_from(("any", "numa", "cma", "evacuation", "small pool")), data=st.data())
    def build(self, theme: str, data: st.DataObject) -> None:
        """A machine."""
        self.lock = Lockstep(data.draw(specs(THEMES[theme])))

    def _object(self) -> int:
        self.next_object += 1
        return self.next_object if self.next_object < self.lock.spec.objects else -1

    @rule(
        cpu=st.integers(0, 63),
        order=st.integers(0, 10),
        kind=st.sampled_from(
            (
                (k.MIGRATE_UNMOVABLE, k.GFP_KERNEL, 0),
                (k.MIGRATE_UNMOVABLE, k.GFP_ATOMIC, 0),
                (k.MIGRATE_RECLAIMABLE, k.GFP_KERNEL | k.GFP_RECLAIMABLE, 0),
                (k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU),
                (k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU | k.ATTR_FILE),
                (k.MIGRATE_MOVABLE, k.GFP_TRANSHUGE_LIGHT, k.ATTR_LRU | k.ATTR_BUSY),
                (k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, k.ATTR_MOVABLE_OPS),
            )
        ),
        times=st.integers(1, 12),
    )
    def alloc(self, cpu: int, order: int, kind: tuple[int, int, int], times: int) -> None:
        """A few like requests."""
        machine = self.lock.spec.machine
        for _ in range(times):
            order = min(order, machine.max_page_order)
            self.lock.alloc(cpu % len(machine.cpu_node), order, *kind, self._object())

    @rule(cpu=st.integers(0, 63), which=st.integers(0, 4095), times=st.integers(1, 12))
    def free(self, cpu: int, which: int, times: int) -> None:
        """Free a few chunks that lie side by side."""
        chunks = self.lock.oracle.chunks(k.CHUNK_ALLOC)
        for page in chunks[which % len(chunks) :][:times] if chunks else []:
            self.lock.free(cpu % len(self.lock.spec.machine.cpu_node), page.pfn)

    @rule(which=st.integers(0, 4095))
    def split(self, which: int) -> None:
        """Halve a chunk."""
        chunks = [page for page in self.lock.oracle.chunks(k.CHUNK_ALLOC) if page.order]
        if chunks:
            self.lock.split(chunks[which % len(chunks)].pfn, self._object())

    @rule(step=st.sampled_from((0, 1000, 33_000, 1_000_000, 1_000_000_000)))
    def advance(self, step: int) -> None:
        """Let time pass."""
        self.now += step
        self.lock.advance(self.now)

    @rule()
    def drain(self) -> None:
        """Empty the pcps."""
        self.lock.drain_all()

    @precondition(
        lambda self: (
            self.lock and self.lock.spec.machine.hpage_pmd_order <= self.lock.spec.machine.pageblock_order
        )
    )
    @rule(which=st.integers(0, 4095))
    def isolate(self, which: int) -> None:
        """Isolate a block, or give it back."""
        machine = self.lock.spec.machine
        zone = machine.zones[which % len(machine.zones)]
        first, last = (pfn >> machine.pageblock_order for pfn in (zone.start_pfn, zone.end_pfn - 1))
        block = first + which % (last - first + 1)
        if not self.lock.isolate(block):
            self.lock.unisolate(block)


def test_rules(lockstep_counts: Counts) -> None:
    class Counting(Rules):
        def teardown(self) -> None:
            if self.lock is not None:
                lockstep_counts.total.update(self.lock.finish().total)

    Counting.TestCase.settings = settings(
        max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck)
    )
    Counting.TestCase("runTest").runTest()


def small_lock() -> Lockstep:
    @settings(SETTINGS, max_examples=1)
    @given(specs(THEMES["evacuation"]))
    def first(spec: Spec) -> None:
        locks.append(Lockstep(spec))

    locks: list[Lockstep] = []
    first()
    return locks[0]


@pytest.mark.parametrize(
    ("array", "index", "says"),
    [
        ("zone", Zone.FIELDS["nr_lru"].offset, "nr_lru: fast"),
        ("block", 2, "block 1 bits: fast"),
        ("pcp", PerCpuPages.FIELDS["high"].offset, "pcp 0 high: fast"),
        ("obj", 3, "object 3: fast"),
        ("cpu", Cpu.FIELDS["lru_add_nr"].offset, "lru batch 0: fast"),
    ],
)
def test_a_difference_is_noticed_and_named(array: str, index: int, says: str) -> None:
    lock = small_lock()
    getattr(lock.fast, array)[index] += 1
    with pytest.raises(Disagreement, match=re.escape(says)):
        lock.advance(0)


def test_the_order_of_a_list_is_compared() -> None:
    lock = small_lock()
    link, head = (
        lock.fast.link,
        lock.fast.view.cfg.npages + lock.spec.machine.max_page_order * k.NR_TYPES + 1,
    )
    first = int(link[2 * head])
    second, last = int(link[2 * first]), int(link[2 * head + 1])
    link[2 * head], link[2 * second + 1] = second, head
    link[2 * last], link[2 * first], link[2 * first + 1], link[2 * head + 1] = first, head, last, first
    with pytest.raises(Disagreement, match="list movable: fast"):
        lock.advance(0)


def test_the_log_is_compared() -> None:
    lock = small_lock()
    lock.oracle.m.log(k.L_BOOST, -1, 0, 1)
    with pytest.raises(Disagreement, match="log record 0"):
        lock.advance(0)
