# SPDX-License-Identifier: GPL-2.0-or-later
"""The exact state of a kernel's page allocator from its memory: what a replay can begin from, and what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.capture.survey import Survey, count_blocks
from kevacuate.capture.vmcore import Core, Unreadable, number, text, variable
from kevacuate.capture.vmcore_blocks import pageblocks
from kevacuate.capture.vmcore_check import ListCheck, check_lists, chunks_by_order, pages_of
from kevacuate.capture.vmcore_lists import (
    TYPES,
    Geometry,
    ZoneReader,
    free_pages,
    geometry,
    pcp_fields,
    pcp_pages,
    zone_readers,
)
from kevacuate.capture.vmcore_pages import PageWords
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import KPF_BUDDY
from kevacuate.kernel.pcp import pcp_order
from kevacuate.recording.blocktypes import TYPE_INDEX
from kevacuate.recording.kev import KevWriter
from kevacuate.recording.machine import Machine, ZoneInfo
from kevacuate.recording.snapshot import PcpCounts, Snapshot, ZoneCounts
from kevacuate.recording.state import AllocatorState, PcpFields

HUGEPAGE_ORDER = 9
"""HPAGE_PMD_ORDER of x86-64."""

_VM = {
    "min_free_kbytes": "min_free_kbytes",
    "watermark_scale_factor": "watermark_scale_factor",
    "watermark_boost_factor": "watermark_boost_factor",
    "defrag_mode": "defrag_mode",
    "percpu_pagelist_high_fraction": "percpu_pagelist_high_fraction",
    "compaction_proactiveness": "sysctl_compaction_proactiveness",
    "extfrag_threshold": "sysctl_extfrag_threshold",
    "compact_unevictable_allowed": "sysctl_compact_unevictable_allowed",
}
"""Variables of mm/page_alloc.c and mm/compaction.c (7.2) by sysctl; stat_interval is left out, as its variable counts jiffies."""


@dataclass(frozen=True)
class CoreSnapshot:
    """What a kernel's memory says of its page allocator.

    Attributes
    ----------
    source : str
        The file that was read.
    machine : Machine
        The kernel's machine, as recordings describe machines.
    state : AllocatorState
        Zones, ordered free lists, pageblocks, per-CPU lists, page flags.
    counts : Snapshot
        The same counted, as /proc would.
    checks : tuple of ListCheck
        What must hold, and whether it does.

    """

    source: str
    machine: Machine
    state: AllocatorState
    counts: Snapshot
    checks: tuple[ListCheck, ...]

    @property
    def whole(self) -> bool:
        """Whether everything holds that must: the lists are exact."""
        return all(check.holds for check in self.checks)

    @property
    def survey(self) -> Survey:
        """The state as a map of pageblocks; pages on per-CPU lists, which are known here, count as free."""
        flags = np.asarray(self.state.page_flags).copy()
        pages = self.state.pcp_pages
        flags[pages_of(pages.pfn, pcp_order(pages.pindex, HUGEPAGE_ORDER))] = np.uint64(1 << KPF_BUDDY)
        order = self.machine.pageblock_order
        absent = np.ones(-(-len(flags) >> order), np.bool_)
        absent[self.state.blocks.pfn >> order] = False
        return Survey(self.counts, order, count_blocks(flags, order), self.machine.kernel, absent, True)

    def to_json(self) -> dict[str, Any]:
        """The survey, and every list in order, as plain JSON values."""
        state = self.state
        free = [
            {"zone": z, "order": o, "type": TYPES[m].lower(), "pfns": pfns.tolist()}
            for (z, o, m), pfns in _grouped(
                (state.free.zone, state.free.order, state.free.mt), state.free.pfn
            )
        ]
        pcp = [
            {"zone": z, "cpu": c, "pindex": i, "pfns": pfns.tolist()}
            for (z, c, i), pfns in _grouped(
                (state.pcp_pages.zone, state.pcp_pages.cpu, state.pcp_pages.pindex), state.pcp_pages.pfn
            )
        ]
        fields = [
            {name: int(column[row]) for name, column in state.pcp._asdict().items()}
            for row in range(len(state.pcp.zone))
        ]
        blocks = state.blocks
        exact = {
            "source": self.source,
            "whole": self.whole,
            "checks": [{"name": c.name, "holds": c.holds, "found": c.found} for c in self.checks],
            "approximate": list(state.approximate),
            "free_lists": free,
            "pcp": fields,
            "pcp_lists": pcp,
            "pageblocks": {
                "zone": blocks.zone.tolist(),
                "pfn": blocks.pfn.tolist(),
                "type": [TYPES[m].lower() if m >= 0 else "unknown" for m in blocks.mt.tolist()],
                "skip": blocks.skip.tolist(),
            },
        }
        return self.survey.to_json() | {"lists": exact}

    def save(self, target: Path) -> Path:
        """Write it as a recording without events, whose start state it is; where it lies.

        Raises
        ------
        KevacuateError
            It exists, or cannot be written.

        """
        with KevWriter(target, self.machine) as writer:
            writer.add_state(self.state)
            writer.add_snapshots([self.counts])
            writer.set_quality({"stopped": f"at once: a snapshot of {Path(self.source).name}"})
        return writer.path


def _grouped(keys: tuple[Any, ...], pfn: Any) -> list[tuple[tuple[int, ...], Any]]:
    """Runs of rows with equal keys: the lists stand together."""
    if not len(pfn):
        return []
    table = np.stack([k.astype(np.int64) for k in keys])
    starts = np.flatnonzero(np.r_[True, (table[:, 1:] != table[:, :-1]).any(axis=0)])
    ends = np.r_[starts[1:], len(pfn)]
    return [
        (tuple(int(n) for n in table[:, a]), pfn[a:b])
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def read_core(core: Core) -> CoreSnapshot:
    """Read the allocator's state.

    Parameters
    ----------
    core : Core
        A kernel's memory.

    Raises
    ------
    KevacuateError
        It is not a kernel whose allocator is known, or a list is broken.

    """
    try:
        return _read(core)
    except Unreadable as error:
        raise KevacuateError(
            f"{core.name} lacks memory that the page allocator's state lies in ({error}): it is cut off, or was filtered."
        ) from None


def _read(core: Core) -> CoreSnapshot:
    sizes = geometry(core)
    zones = zone_readers(core, sizes)
    free = free_pages(zones)
    pcp, fields = pcp_pages(zones), pcp_fields(zones)
    counters = [(zone.counts(), zone.nr_free_pages()) for zone in zones]
    states = tuple(zone.state() for zone in zones)
    blocks = pageblocks(zones)
    words = PageWords(core, sizes, zones)
    words.mark_free(free.pfn, free.order.astype(np.int64))
    state = AllocatorState(
        tag="c",
        ts=0,
        ts_begin=0,
        cpu=0,
        ordinal=-1,
        zones=states,
        free=free,
        blocks=blocks,
        pcp=fields,
        pcp_pages=pcp,
        label="now" if core.live else "dump",
        page_flags=words.flags,
    )
    checks = check_lists(state, zones, counters, words, HUGEPAGE_ORDER)
    lines = _sentences(core, zones, checks)
    state = AllocatorState(**{**vars(state), "approximate": lines})
    return CoreSnapshot(core.name, _machine(core, sizes, zones, state), state, _counts(zones, state), checks)


def _sentences(core: Core, zones: list[ZoneReader], checks: tuple[ListCheck, ...]) -> tuple[str, ...]:
    """What is not exact: nothing in a dump whose checks hold."""
    lines = [f"Not so: {check.name} ({check.found})." for check in checks if not check.holds]
    if core.live:
        again = sum(zone.retries for zone in zones)
        lines.append(
            f"Read from a running kernel, list by list, while it went on; {again} lists were read again because they changed."
        )
    return tuple(lines)


def _counts(zones: list[ZoneReader], state: AllocatorState) -> Snapshot:
    """What zoneinfo, buddyinfo and pagetypeinfo would show of the state."""
    names = {number_: name for name, number_ in TYPE_INDEX.items()}
    found = []
    for zone, fields in zip(zones, state.zones, strict=True):
        free, blocks, pcp = state.free, state.blocks, state.pcp
        by_type = {}
        for mt in sorted(set(zone.sizes.mt)):
            mine = (free.zone == zone.index) & (free.mt == mt)
            counts = np.bincount(free.order[mine].astype(np.int64), minlength=zone.sizes.orders)
            by_type[names[mt]] = tuple(int(n) for n in counts)
        found.append(
            ZoneCounts(
                node=zone.at.node,
                name=fields.name,
                start_pfn=fields.start_pfn,
                spanned=fields.spanned,
                present=fields.present,
                managed=fields.managed,
                free=max(zone.nr_free_pages(), 0),
                boost=fields.boost,
                watermark=tuple(mark + fields.boost for mark in fields.watermark),
                protection=fields.lowmem_reserve,
                chunks=chunks_by_order(free, zone.index, zone.sizes.orders),
                chunks_by_type=by_type,
                blocks_by_type={
                    names[mt]: int(((blocks.zone == zone.index) & (blocks.mt == mt)).sum())
                    for mt in sorted(set(zone.sizes.mt))
                },
                pcp=tuple(_pcp_counts(pcp, row) for row in np.flatnonzero(pcp.zone == zone.index).tolist()),
            )
        )
    return Snapshot(0, state.label, tuple(found), {})


def _pcp_counts(pcp: PcpFields, row: int) -> PcpCounts:
    names = ("cpu", "count", "high", "batch", "high_min", "high_max")
    return PcpCounts(**{name: int(getattr(pcp, name)[row]) for name in names})


def _machine(core: Core, sizes: Geometry, zones: list[ZoneReader], state: AllocatorState) -> Machine:
    """The machine, as far as its memory tells."""
    first = min(at.node for at in core.zones())
    names = [ZoneReader(core, sizes, at, 0).name for at in core.zones() if at.node == first]
    cpus = max(core.cpus) + 1
    nodes = [0] * cpus
    placed = core.symbol("numa_node")
    for cpu in core.cpus if placed is not None else ():
        nodes[cpu] = number(core, core.per_cpu(placed or 0, cpu), 4)
    settings = {name: variable(core, at, 4) for name, at in _VM.items() if core.symbol(at) is not None}
    extra = {
        "mode": "snapshot",
        "cpu_node": nodes,
        "max_page_order": sizes.orders - 1,
        "settings": settings,
        "source": Path(core.name).name,
    }
    command = core.symbol("saved_command_line")
    return Machine(
        kernel=core.release,
        arch=core.arch,
        cpus=cpus,
        nodes=tuple(sorted({zone.at.node for zone in zones})),
        zones=tuple(_zone_info(zone, z, state.pcp) for zone, z in zip(zones, state.zones, strict=True)),
        zone_names=tuple(name for name in names if name != "Device"),
        page_size=4096,
        pageblock_order=sizes.block_order,
        hugepage_order=HUGEPAGE_ORDER if sizes.pcp_lists > 12 else -1,
        nr_pcp_lists=sizes.pcp_lists,
        clock="mono",
        gfp_bits={},
        cmdline="" if command is None else text(core, number(core, command)),
        swap=variable(core, "total_swap_pages", 8) > 0,
        extra=extra,
    )


def _zone_info(zone: ZoneReader, fields: Any, pcp: PcpFields) -> ZoneInfo:
    rows = np.flatnonzero(pcp.zone == zone.index)
    row = int(rows[0]) if len(rows) else 0
    return ZoneInfo(
        node=zone.at.node,
        index=zone.at.place,
        name=fields.name,
        start_pfn=fields.start_pfn,
        spanned=fields.spanned,
        present=fields.present,
        managed=fields.managed,
        watermark_min=fields.watermark[0],
        watermark_low=fields.watermark[1],
        watermark_high=fields.watermark[2],
        pcp_batch=int(pcp.batch[row]),
        pcp_high_min=int(pcp.high_min[row]),
        pcp_high_max=int(pcp.high_max[row]),
    )
