# SPDX-License-Identifier: GPL-2.0-or-later
"""Random machines for the lockstep tests, drawn by Hypothesis: small, and odd in every way the kernel allows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st
from lockstep_spec import Spec

from kevacuate.mm import constants as k
from kevacuate.mm.layout import EvacuationConfig, MachineConfig, RegionConfig, ZoneConfig
from kevacuate.mm.profile import PROFILES

Draw = st.DrawFn
FLAG = st.booleans()


@dataclass(frozen=True)
class Theme:
    """What a family of machines has in common; the rest is drawn."""

    name: str
    pageblock_orders: tuple[int, ...] = (3, 4, 5, 6, 7, 8, 9)
    nodes: tuple[int, ...] = (1, 2, 3)
    zones_per_node: tuple[int, ...] = (1, 2)
    cpus: tuple[int, ...] = (1, 2, 3, 4)
    npages: tuple[int, int] = (192, 2048)
    evacuate: tuple[bool, ...] = (True, True, True, False)
    pools: tuple[int, ...] = (0, 1, 2, 3, 64)
    cma: tuple[bool, ...] = (False, False, True)
    initcall: tuple[bool, ...] = (True, True, False)
    wqs: tuple[str, ...] = ("per_cpu", "per_cpu", "per_node")
    skip_hints: tuple[bool, ...] = (False, True)
    openings: int = 0  # of six draws of what the patch leaves open, how many are not the patch's
    time_scales: tuple[int, ...] = (1, 10)
    plain: bool = False  # no switch that keeps fallbacks from happening
    marks: str = "any"  # or "low", "high", "none"
    batches: tuple[int | None, ...] = (None, 3, 7, 31)
    profiles: tuple[str, ...] = ("7.2",)
    compaction: bool = False  # kcompactd runs, and the vm sysctls that it follows are drawn
    defrag_mode: bool = False
    open_loop: bool | None = None  # None: drawn
    zone_dma32: bool | None = None  # None: drawn
    regions: bool = False  # regions are kept, most times
    by_regions: bool = False  # and the policy goes by them
    passes: bool = False  # always, and in passes
    relief: bool = False  # and requests make room in tainted ones
    lru_gen: bool = False  # the multi-gen LRU, always
    zram: bool = False  # there is a zram device to swap to, most times
    larger: int = 10  # by how much MAX_PAGE_ORDER is above pageblock_order at most
    contig: bool = False  # contiguous allocations ask regions, most times


EVACUATING = Theme(
    "evacuation", pageblock_orders=(3, 4, 5), nodes=(1,), evacuate=(True,), pools=(3, 64), cpus=(1, 2, 4),
    npages=(256, 640), initcall=(True,), cma=(False,), plain=True, marks="low", batches=(None, None, 3),
)  # fmt: skip
PRESSED = Theme(
    "pressure", pageblock_orders=(3, 4, 4, 5), nodes=(1, 1, 1, 2), cpus=(1, 2), npages=(256, 640), cma=(False, False, True),
    evacuate=(True, False, False), pools=(3,), initcall=(True,), plain=True, marks="low", compaction=True, open_loop=False,
)  # fmt: skip
BY_REGIONS = Theme(
    "by regions", pageblock_orders=(3, 4), npages=(256, 640), cpus=(1, 2), nodes=(1, 1, 2), regions=True, by_regions=True,
)  # fmt: skip
CONTIG = (
    replace(
        PRESSED,
        name="contig",
        marks="any",
        npages=(384, 1024),
        pageblock_orders=(3, 4),
        larger=1,
        zones_per_node=(1, 1, 2),
    ),
    Theme(
        "contig, open loop",
        npages=(384, 1024),
        pageblock_orders=(3, 4),
        larger=1,
        nodes=(1, 2),
        open_loop=True,
    ),
)
CONTIG += (
    replace(CONTIG[0], name="contig, by regions", regions=True, by_regions=True, passes=True, contig=True),
)
THEMES = {
    theme.name: theme
    for theme in (
        Theme("any", openings=1),
        Theme("one zone", nodes=(1,), zones_per_node=(1,), cpus=(1, 2)),
        Theme("numa", nodes=(2, 3), cpus=(2, 3, 5)),
        Theme("many cpus", cpus=(16, 33, 64), pageblock_orders=(3, 4, 5), npages=(512, 2048)),
        Theme(
            "highatomic",
            pageblock_orders=(3,),
            nodes=(1,),
            zones_per_node=(1,),
            npages=(900, 1300),
            marks="high",
            batches=(None, 3),
            plain=True,
            cma=(False,),
            open_loop=True,
        ),
        Theme("cma", cma=(True,), nodes=(1, 2), pageblock_orders=(3, 4, 5, 6)),
        EVACUATING,
        replace(EVACUATING, name="large blocks", pageblock_orders=(6, 7, 8, 9), npages=(1024, 2048)),
        replace(
            EVACUATING,
            name="busy",
            cpus=(4, 5, 8),
            pools=(64,),
            pageblock_orders=(5, 6),
            npages=(256, 448),
            wqs=("per_cpu",),
            skip_hints=(False, False, True),
        ),
        replace(EVACUATING, name="small pool", pools=(0, 1)),
        replace(
            EVACUATING,
            name="openings",
            pools=(1, 1, 2, 64),
            openings=4,
            skip_hints=(False, False, True),
            time_scales=(10, 100),
        ),
        replace(EVACUATING, name="unready", initcall=(False,), pools=(2,)),
        replace(EVACUATING, name="crowded", marks="high", npages=(256, 512)),
        Theme(
            "compaction",
            pageblock_orders=(3, 4, 5, 6),
            nodes=(1, 1, 2),
            npages=(256, 1024),
            pools=(3,),
            compaction=True,
        ),
        Theme(
            "reclaim",
            pageblock_orders=(3, 4, 5),
            nodes=(1, 1, 2),
            cpus=(1, 2, 4),
            npages=(256, 1024),
            cma=(False,),
            evacuate=(True, False, False),
            pools=(3,),
            initcall=(True,),
            plain=True,
            open_loop=False,
        ),
        *CONTIG,
        PRESSED,
        replace(PRESSED, name="pressure, high marks", marks="any", batches=(31, 31, 7), npages=(256, 1000)),
        replace(
            PRESSED,
            name="pressure, large blocks",
            pageblock_orders=(5, 6),
            marks="any",
            batches=(31,),
            npages=(512, 1000),
            nodes=(1,),
            zones_per_node=(1,),
            cpus=(1, 2),
            cma=(False,),
        ),
        replace(
            PRESSED,
            name="pressure, no marks",
            pageblock_orders=(5, 5, 4),
            marks="none",
            batches=(31,),
            npages=(512, 1000),
            nodes=(1,),
            zones_per_node=(1,),
            cma=(False,),
            evacuate=(False,),
        ),
        replace(PRESSED, name="pressure, defrag_mode", defrag_mode=True),
        replace(
            PRESSED,
            name="pressure, falling back late",
            defrag_mode=True,
            zone_dma32=True,
            batches=(None, None, 3),
        ),
        Theme(
            "regions",
            pageblock_orders=(3, 4, 5),
            npages=(192, 640),
            cpus=(1, 2),
            nodes=(1, 1, 2),
            regions=True,
        ),
        BY_REGIONS,
        replace(PRESSED, name="by regions, pressure", npages=(256, 448), regions=True, by_regions=True),
        Theme(
            "by regions, relief",
            pageblock_orders=(3, 4),
            npages=(256, 448),
            cpus=(1, 2),
            nodes=(1,),
            zones_per_node=(1, 1, 2),
            plain=True,
            cma=(False,),
            zone_dma32=True,
            regions=True,
            by_regions=True,
            relief=True,
        ),
        replace(
            PRESSED,
            name="by regions, relief under pressure",
            npages=(256, 448),
            nodes=(1,),
            cma=(False,),
            zone_dma32=True,
            regions=True,
            by_regions=True,
            relief=True,
        ),
        replace(PRESSED, name="pressure, zram", npages=(256, 448), zram=True),
        replace(PRESSED, name="pressure, zram, high marks", marks="high", npages=(256, 448), zram=True),
        replace(PRESSED, name="generations", npages=(384, 1200), nodes=(1, 1, 2), lru_gen=True),
        replace(PRESSED, name="generations, zram", npages=(384, 700), zram=True, lru_gen=True),
        replace(PRESSED, name="regions, pressure", npages=(256, 448), regions=True),
        replace(BY_REGIONS, name="passes", passes=True),
        replace(
            PRESSED, name="passes, pressure", npages=(256, 448), regions=True, by_regions=True, passes=True
        ),
        replace(
            EVACUATING,
            name="passes, evacuation",
            npages=(256, 448),
            regions=True,
            by_regions=True,
            passes=True,
        ),
        replace(EVACUATING, name="regions, evacuation", npages=(256, 448), regions=True),
        replace(
            PRESSED,
            name="pressure, high marks, single pages",
            marks="high",
            batches=(None, None, 3),
        ),
        replace(
            PRESSED, name="pressure, evacuating", evacuate=(True,), pools=(64,), cma=(False,), cpus=(2, 4)
        ),
        replace(PRESSED, name="pressure, openings", evacuate=(True,), pools=(1, 3, 64), openings=3),
        Theme(
            "defrag",
            pageblock_orders=(3, 4, 5),
            nodes=(1, 2),
            npages=(256, 768),
            plain=True,
            defrag_mode=True,
            open_loop=True,
        ),
    )
}


def of_kernels(theme: str, *profiles: str) -> Theme:
    """The same machines, running one of these kernels."""
    return replace(THEMES[theme], profiles=profiles)


def draw_reserved(draw: Draw, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """A few holes and reserved ranges, ascending."""
    ranges: list[tuple[int, int]] = []
    at = start
    for _ in range(draw(st.integers(0, 3))):
        first = draw(st.integers(at, end - 1))
        last = min(end, first + draw(st.sampled_from((1, 2, 7, 16, 64))))
        ranges.append((first, last))
        at = last + 1
        if at >= end:
            break
    if sum(last - first for first, last in ranges) > (end - start) // 2:
        return ()
    return tuple(ranges)


def draw_marks(draw: Draw, pages: int, kind: str) -> tuple[int, int, int, int]:
    """Watermarks of a zone with so many pages."""
    if kind == "none":
        return 0, 0, 0, 0
    least, most, widest = {"any": (0, 12, 20), "low": (64, 48, 64), "high": (6, 3, 10)}[kind]
    low = draw(st.integers(pages // least if least else 0, pages // most))
    gap = draw(st.integers(0, max(pages // widest, 1)))
    return low, low + gap, low + 2 * gap, low + 3 * gap


def draw_zones(draw: Draw, theme: Theme, npages: int, block: int) -> tuple[ZoneConfig, ...]:
    """Populated zones, sorted by (node, index), that share no block; spans need not be aligned."""
    nodes = draw(st.sampled_from(theme.nodes))
    wanted: list[tuple[int, int]] = []
    for node in range(nodes):
        count = draw(st.sampled_from(theme.zones_per_node))
        indices = draw(st.sampled_from(((2,), (2,), (1,)) if count == 1 else ((1, 2), (0, 2), (2, 3))))
        wanted += [(node, index) for index in indices]
    wanted = wanted[: max(npages // block // 2, 1)]
    blocks = npages // block
    cuts = [i * blocks // len(wanted) * block for i in range(len(wanted) + 1)]
    cuts[-1] = npages
    zones = []
    for (node, index), first, last in zip(wanted, cuts[:-1], cuts[1:], strict=True):
        slack = min(block, last - first) - 1
        start = first + draw(st.sampled_from((0, 0, 1, slack)))
        end = last - draw(st.sampled_from((0, 0, 1, slack)))
        if end - start < 8:
            start, end = first, last
        reserve = tuple(draw(st.integers(0, (end - start) // 24)) if hi > index else 0 for hi in range(4))
        zones.append(
            ZoneConfig(
                node, index, start, end, draw_reserved(draw, start, end),
                draw_marks(draw, end - start, theme.marks), reserve,
            )
        )  # fmt: skip
    return tuple(zones)


OPEN: dict[str, tuple[bool | int | str, ...]] = {
    "claims": ("unmovable", "reclaimable"),
    "on_steal": (True,),
    "guard": (False,),
    "recheck": (False,),
    "tries": (2, 5),
    "pass_failed": (True,),
    "drain_first": (True,),
    "queue_twice": (False,),
    "wait_for_item": (True,),
    "drop_clean": (False,),
    "any_target": (False,),
    "isolate_block": (True,),
}
"""What else the evacuation's parts and what the patch leaves open may be."""


def draw_policy(draw: Draw, theme: Theme, nodes: int, max_page_order: int) -> EvacuationConfig:
    """The evacuation's switches and costs."""
    ready = tuple(draw(st.integers(0, 3)) > 0 for _ in range(nodes)) if "unready" in theme.name else None
    return EvacuationConfig(
        evacuate=draw(st.sampled_from(theme.evacuate)),
        pool=draw(st.sampled_from(theme.pools)),
        wq=draw(st.sampled_from(theme.wqs)),
        ready=ready
        if ready is not None
        else draw(st.sampled_from((None, (False,) * nodes, (True,) * nodes)))
        if theme.initcall != (True,)
        else None,
        skip_hint=draw(st.sampled_from(theme.skip_hints)),
        **{
            name: draw(st.sampled_from(OPEN[name]))
            for name in OPEN
            if draw(st.integers(1, 6)) <= theme.openings
        },
        irq_work_ns=draw(st.sampled_from((0, 2000))),
        wakeup_ns=draw(st.sampled_from((0, 1000, 30_000))),
        work_ns=draw(st.sampled_from((1000, 1000, 1000, 7))),
        scan_ns=draw(st.sampled_from((4, 4, 4, 31))),
        isolate_ns=draw(st.sampled_from((219, 219, 219, 5))),
        reclaim_ns=draw(st.sampled_from((400, 400, 400, 3))),
        migrate_ns=draw(st.sampled_from((1, 1100))),
        time_scale=draw(st.sampled_from(theme.time_scales)),
        regions=draw_regions(draw, theme, max_page_order) if theme.regions else RegionConfig(),
    )


def draw_regions(draw: Draw, theme: Theme, max_page_order: int) -> RegionConfig:
    """Whether regions are kept, and of which size, small ones, so that machines have several; what a policy does by them."""
    orders = (k.REGION_AUTO, max_page_order, max_page_order + 1, max_page_order + 2)
    order = draw(st.sampled_from(orders if theme.relief or theme.passes else (0, *orders)))
    cuts = draw(st.sampled_from(((25, 50, 75), (25, 50, 75), (0, 100, 100), (10, 20, 90), (50, 50, 50))))
    kept = RegionConfig(order, cuts)
    if not order or not theme.by_regions:
        return kept
    scan = st.sampled_from((0, 1, 8))
    by_passes = (
        theme.relief
        or theme.passes
        or (draw(st.sampled_from((True, True, True, False))) and theme.profiles != ("6.1",))
    )
    if theme.contig:
        kept = replace(
            kept,
            region_contig=draw(st.sampled_from((True, True, False))),
            region_contig_tries=draw(st.sampled_from((0, 1, 3))),
            region_contig_free=draw(st.sampled_from((0, 0, 30))),
        )
    return replace(
        kept,
        region_nofragment_kept=theme.relief or draw(FLAG),
        region_evacuate=theme.relief or (by_passes and draw(FLAG)),
        region_evacuate_blocks=draw(st.sampled_from((8, 1, 3))),
        region_shrink=theme.relief or draw(FLAG),
        region_shrink_priority=draw(st.sampled_from((0, 1, 4))),
        region_steer_claims=draw(scan),
        region_steer_refills=draw(scan),
        region_passes=by_passes,
        region_reserve_least=draw(st.sampled_from((4, 1, 0))),
        region_reserve_percent=draw(st.sampled_from((3, 30))),
        region_half_rule=draw(st.sampled_from((False, False, True))),
        region_pack_above=draw(st.sampled_from((8, 2, 0))),
        region_taint_nofragment=draw(FLAG),
        region_cheap_taints=draw(FLAG),
        region_worker=draw(FLAG),
        region_start_blocks=draw(st.sampled_from((1, 3))),
        region_start_pages=draw(st.sampled_from((2, 4))),
        region_stop_blocks=draw(st.sampled_from((2, 5))),
        region_stop_pages=draw(st.sampled_from((3, 6))),
        region_cooldown_ns=draw(st.sampled_from((5_000_000_000, 1_000_000))),
    )


def draw_zram(draw: Draw, machine: MachineConfig) -> MachineConfig:
    """The machine with a zram device, mostly, and the inputs that swap has."""
    return replace(
        machine,
        swap_pages=draw(st.sampled_from((64, 128, 512, 16, 1, 0))),
        swappiness=draw(st.sampled_from((60, 100, 200, 0))),
        anon_used=draw(st.sampled_from((500, 100, 0, 1000))),
        zram_bytes=draw(st.sampled_from((1365, 1365, 500, 2000, 4096, 1))),
        zram_write_ns=draw(st.sampled_from((2_500, 0))),
    )


def draw_sysctls(draw: Draw, machine: MachineConfig) -> MachineConfig:
    """The machine with a kcompactd, and the sysctls that change what the background does."""
    return replace(
        machine,
        compaction=True,
        compaction_proactiveness=draw(st.sampled_from((20, 60, 100, 0))),
        extfrag_threshold=draw(st.sampled_from((500, 0, 1000))),
        compact_unevictable_allowed=draw(FLAG),
        stat_interval_ns=draw(st.sampled_from((1_000_000_000, 300_000_000))),
    )


@st.composite
def specs(draw: Draw, theme: Theme) -> Spec:
    """A machine of the theme."""
    profile = PROFILES[draw(st.sampled_from(theme.profiles)) if theme.profiles[1:] else theme.profiles[0]]
    pageblock_order = draw(st.sampled_from(theme.pageblock_orders))
    block = 1 << pageblock_order
    npages = max(draw(st.integers(*theme.npages)), 2 * block)
    zones = draw_zones(draw, theme, npages, block)
    nodes = 1 + max(zone.node for zone in zones)
    cpus = draw(st.sampled_from(theme.cpus))
    odd = st.sampled_from((False,) if theme.plain else (False, False, False, True))
    max_page_order = draw(st.integers(pageblock_order, min(pageblock_order + theme.larger, 10)))
    machine = MachineConfig(
        npages=npages,
        zones=zones,
        cpu_node=tuple(draw(st.integers(0, nodes - 1)) for _ in range(cpus)),
        max_page_order=max_page_order,
        pageblock_order=pageblock_order,
        hpage_pmd_order=draw(st.sampled_from((-1, pageblock_order, min(max_page_order, 9)))),
        distance=draw_distance(draw, nodes),
        zone_dma32=draw(FLAG) if theme.zone_dma32 is None else theme.zone_dma32,
        defrag_mode=draw(odd) if profile.defrag_mode else False,
        watermark_boost_factor=draw(st.sampled_from((15000, 15000, 15000, 0))),
        page_group_by_mobility_disabled=draw(odd),
        open_loop=draw(FLAG) if theme.open_loop is None else theme.open_loop,
        pcp_high_fraction=draw(st.sampled_from((0, 0, 8))),
        free_high_batch=draw(FLAG),
        vmstat_phase_ns=draw(st.sampled_from((0, 1, 500_000_000))),
        kswapd_wake_ns=draw(st.sampled_from((50_000, 0))),
        kswapd_run_ns=draw(st.sampled_from((1_000_000, 10_000))),
        shrink_inactive_ns=draw(st.sampled_from((165, 165, 0, 40_000))),
        shrink_active_ns=draw(st.sampled_from((40, 0))),
        kswapd_slice_ns=draw(st.sampled_from((0, 20_000, 2_500_000))),
        dirty_expire_ns=draw(st.sampled_from((30_000_000_000, 1_000_000_000, 0))),
        flush_ns=draw(st.sampled_from((1_400_000, 20_000, 0))),
        profile=profile,
        lru_gen=theme.lru_gen,
    )
    if theme.compaction:
        machine = draw_sysctls(draw, machine)
    if theme.zram:
        machine = draw_zram(draw, machine)
    if theme.defrag_mode:
        machine = replace(machine, defrag_mode=True)
    numbered = sorted(
        {pfn for z in zones for pfn in range(z.start_pfn >> pageblock_order, z.end_pfn >> pageblock_order)}
    )
    wanted = draw(st.sampled_from(theme.cma)) and len(numbered) > 3
    cma = tuple(b for b in numbered if draw(st.integers(0, 3)) == 0) if wanted else ()
    return Spec(
        machine,
        draw_policy(draw, theme, nodes, max_page_order),
        cma,
        draw(st.sampled_from(theme.batches)),
        draw(st.sampled_from(theme.initcall)),
    )


def draw_distance(draw: Draw, nodes: int) -> tuple[tuple[int, ...], ...] | None:
    """Node distances, or the default ones."""
    if nodes < 3 or draw(FLAG):
        return None
    return tuple(
        tuple(10 if a == b else draw(st.integers(11, 40)) for b in range(nodes)) for a in range(nodes)
    )
