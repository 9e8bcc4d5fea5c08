# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine described once, to be built as the fast model and as the oracle."""

from __future__ import annotations

from dataclasses import dataclass

from oracle import Config, Oracle
from oracle import ZoneConfig as OracleZoneConfig
from oracle.buddy import memblock_free_all

from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.fields import PerCpuPages
from kevacuate.mm.layout import (
    EvacuationConfig,
    MachineConfig,
    State,
    StateOptions,
    build_state,
    zspage_shape,
)

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
        """Objects that the scripts use."""
        return self.machine.npages + 64

    @property
    def parts(self) -> int:
        """Objects behind those, for the pages of split folios: none in open loop."""
        order = self.machine.max_page_order
        return 0 if self.machine.open_loop else -(-self.machine.npages >> order) << order

    @property
    def zspage_pages(self) -> int:
        """Objects behind those, for the pages of zspages."""
        if not self.machine.swap_pages:
            return 0
        chain, order = zspage_shape(self.machine.zram_bytes)[0], self.machine.max_page_order
        pages = -(-self.machine.npages >> order) << order
        return max(min(self.machine.swap_pages, pages // chain), 1) * chain

    @property
    def table(self) -> int:
        """Objects in all."""
        return self.objects + self.parts + self.zspage_pages


def oracle_config(spec: Spec) -> Config:
    """The oracle's description of the same machine."""
    machine, policy = spec.machine, spec.policy
    pages = -(-machine.npages >> machine.max_page_order) << machine.max_page_order
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
        kernel_name=machine.profile.name,
        region_order=policy.regions.order_on(pages, machine.max_page_order),
        **{name: getattr(policy.regions, name) for name in REGION_FIELDS},
        **same,
    )


MACHINE_FIELDS = (
    "npages", "max_page_order", "pageblock_order", "hpage_pmd_order", "zone_dma32", "defrag_mode",
    "watermark_boost_factor", "page_group_by_mobility_disabled", "pcp_high_fraction", "free_high_batch", "open_loop",
    "vmstat_phase_ns", "kswapd_wake_ns", "kswapd_run_ns", "shrink_inactive_ns", "shrink_active_ns",
    "kswapd_slice_ns", "dirty_expire_ns", "flush_ns", "swap_pages", "swappiness", "lru_gen", "anon_used", "zram_bytes",
    "zram_write_ns", "stat_interval_ns", "compaction", "compaction_proactiveness", "extfrag_threshold",
    "compact_unevictable_allowed",
)  # fmt: skip
REGION_FIELDS = (
    "region_fullness", "region_steer_claims", "region_steer_refills", "region_passes", "region_reserve_least",
    "region_reserve_percent", "region_half_rule", "region_pack_above", "region_taint_nofragment", "region_cheap_taints",
    "region_worker", "region_start_blocks", "region_start_pages", "region_stop_blocks", "region_stop_pages", "region_cooldown_ns",
    "region_nofragment_kept", "region_evacuate", "region_evacuate_blocks", "region_shrink", "region_shrink_priority",
    "region_contig", "region_contig_tries", "region_contig_free",
)  # fmt: skip
POLICY_FIELDS = (
    "evacuate", "pool", "wq", "skip_hint", "claims", "on_steal", "guard", "recheck", "tries", "pass_failed", "drain_first",
    "queue_twice", "wait_for_item", "drop_clean", "any_target", "isolate_block", "work_ns", "irq_work_ns", "wakeup_ns", "scan_ns",
    "isolate_ns", "reclaim_ns", "migrate_ns", "time_scale",
)  # fmt: skip


def build_fast(spec: Spec) -> State:
    """The fast model of the machine, booted."""
    options = StateOptions(spec.table, spec.log_level, LOG_CAPACITY)
    state = build_state(spec.machine, spec.policy, options)
    stat = state.view.stat
    stat.first_shadow = stat.first_base_page = spec.objects
    stat.nr_base_pages = spec.parts
    stat.first_zspage_page = spec.objects + spec.parts
    if spec.machine.compaction and spec.machine.open_loop:
        state.view.cfg.compaction = (
            2  # the oracle has no compact_zone as it was first modelled: its results are given
        )
    for block in spec.cma:
        state.block[2 * block] = k.MIGRATE_CMA
    if spec.batch is not None:
        PerCpuPages.table(state.pcp)["batch"][:] = spec.batch
    load_state.memblock_free_all(state, spec.machine)
    entry.late_initcall(state, int(spec.initcall))
    entry.advance(state, 0)
    return state


def build_oracle(spec: Spec) -> Oracle:
    """The oracle's model of the machine, booted."""
    oracle = Oracle(oracle_config(spec), boot=False)
    oracle.m.first_part, oracle.m.nr_parts = spec.objects, spec.parts
    if oracle.m.swap is not None:
        oracle.m.swap.first_name = spec.objects + spec.parts
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
