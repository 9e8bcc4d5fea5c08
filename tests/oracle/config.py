# SPDX-License-Identifier: GPL-2.0-or-later
"""What machine to model: sizes, zones, CPUs, switches and costs. Plain data, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field

from .kernels import KERNELS, Kernel


@dataclass
class ZoneConfig:
    """One populated zone.

    `reserved` are `[start, end)` ranges of pfns inside the span that are never free; `watermark` is (min,
    low, high, promo) in pages; `lowmem_reserve` is indexed by the request's highest zone index (4 entries).
    """

    node: int
    index: int
    start_pfn: int
    end_pfn: int
    reserved: list[tuple[int, int]] = field(default_factory=list)
    watermark: tuple[int, int, int, int] = (0, 0, 0, 0)
    lowmem_reserve: list[int] = field(default_factory=lambda: [0, 0, 0, 0])


@dataclass
class Config:
    """The whole machine. `ready` None: every node's irq_work.func is set. `thp` None: hpage_pmd_order >= 0."""

    cpu_node: list[int]
    zones: list[ZoneConfig]
    npages: int
    max_page_order: int = 10
    pageblock_order: int = 9
    hpage_pmd_order: int = 9
    distance: list[list[int]] | None = None
    zone_dma32: bool = True
    defrag_mode: bool = False
    thp: bool | None = None
    watermark_boost_factor: int = 15000
    page_group_by_mobility_disabled: bool = False
    pcp_high_fraction: int = 0
    free_high_batch: bool = False
    open_loop: bool = False
    vmstat_phase_ns: int = 0
    stat_interval_ns: int = 1_000_000_000
    compaction: bool = False
    compaction_proactiveness: int = 20
    extfrag_threshold: int = 500
    compact_unevictable_allowed: bool = True
    kswapd_wake_ns: int = 50_000
    kswapd_run_ns: int = 1_000_000
    shrink_inactive_ns: int = 165
    shrink_active_ns: int = 40
    kswapd_slice_ns: int = 0
    dirty_expire_ns: int = 30_000_000_000
    flush_ns: int = 1_400_000
    swap_pages: int = 0
    swappiness: int = 60
    lru_gen: bool = False
    anon_used: int = 500
    zram_bytes: int = 1365
    zram_write_ns: int = 2_500
    evacuate: bool = False
    pool: int = 64
    wq: str = "per_cpu"
    ready: list[bool] | None = None
    skip_hint: bool = True
    claims: str = "both"
    on_steal: bool = False
    guard: bool = True
    recheck: bool = True
    tries: int = 1
    pass_failed: bool = False
    drain_first: bool = False
    queue_twice: bool = True
    wait_for_item: bool = False
    drop_clean: bool = True
    any_target: bool = True
    isolate_block: bool = False
    work_ns: int = 1000
    irq_work_ns: int = 2000
    wakeup_ns: int = 30_000
    scan_ns: int = 4
    isolate_ns: int = 219
    reclaim_ns: int = 400
    migrate_ns: int = 1100
    time_scale: int = 1
    region_order: int = 0
    region_fullness: tuple[int, int, int] = (25, 50, 75)
    region_steer_claims: int = 0
    region_steer_refills: int = 0
    region_passes: bool = False
    region_reserve_least: int = 4
    region_reserve_percent: int = 3
    region_half_rule: bool = False
    region_pack_above: int = 8
    region_taint_nofragment: bool = False
    region_cheap_taints: bool = True
    region_worker: bool = False
    region_start_blocks: int = 1
    region_start_pages: int = 2
    region_stop_blocks: int = 2
    region_stop_pages: int = 3
    region_cooldown_ns: int = 5_000_000_000
    region_nofragment_kept: bool = False
    region_evacuate: bool = False
    region_evacuate_blocks: int = 8
    region_shrink: bool = False
    region_shrink_priority: int = 4
    region_contig: bool = False
    region_contig_tries: int = 0
    region_contig_free: int = 0
    log_level: int = 1
    kernel_name: str = "7.2"

    @property
    def kernel(self) -> Kernel:
        """How the kernel that runs differs from others."""
        return KERNELS[self.kernel_name]

    @property
    def nofragment_kept(self) -> bool:
        """Whether fallbacks are the last resort of the slow path."""
        return self.defrag_mode or self.region_nofragment_kept

    @property
    def compaction_order(self) -> int:
        """COMPACTION_HPAGE_ORDER: without huge pages PMD_SHIFT - PAGE_SHIFT, 21 - 12."""
        return self.hpage_pmd_order if self.hpage_pmd_order >= 0 else 9

    @property
    def has_thp(self) -> bool:
        """Whether transparent huge pages exist."""
        return self.hpage_pmd_order >= 0 if self.thp is None else self.thp and self.hpage_pmd_order >= 0

    @property
    def nodes(self) -> int:
        """Return the number of online nodes: the highest node named anywhere, plus one."""
        named = [*self.cpu_node, *(zone.node for zone in self.zones)]
        return max(max(named) + 1, len(self.ready or []), len(self.distance or []))
