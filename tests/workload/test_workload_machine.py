# SPDX-License-Identifier: GPL-2.0-or-later
"""The described machine at boot: its lists are those of memblock_free_all, its marks and bounds the kernel's own choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from workload_book import workload

from kevacuate import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm import load_state
from kevacuate.mm.check import check
from kevacuate.mm.fields import PerCpuPages
from kevacuate.mm.layout import State, build_state
from kevacuate.runs.initial_state import machine_config
from kevacuate.workload import describe as ds
from kevacuate.workload.machine import boot_state, zones_of


def lists(state: State) -> dict[tuple[int, int, int], list[int]]:
    """Every free list of a state, by zone, order and type: its chunks, head first."""
    found = {}
    for zone in range(state.view.cfg.nr_zones):
        for order in range(state.view.cfg.max_page_order + 1):
            for mt in range(k.NR_TYPES):
                head = state.view.cfg.npages + zone * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt
                at, chunks = int(state.link[2 * head]), []
                while at != head:
                    chunks.append(at)
                    at = int(state.link[2 * at])
                if chunks:
                    found[zone, order, mt] = chunks
    return found


@pytest.mark.parametrize(
    "machine",
    [
        {"memory": "64MiB"},
        {"memory": "6GiB", "cpus": 5, "nodes": 2},
        {"memory": "4098MiB", "cpus": 2},
        {"memory": "100MiB", "zones": "one"},
        {"memory": "64MiB", "kernel": "6.1", "cpus": 2},
    ],
)
def test_the_boot_state_is_that_of_memblock_free_all(machine: dict[str, Any]) -> None:
    described, start = boot_state(workload(ds.Slab(), **machine))
    config = machine_config(described, start)
    state = build_state(config)
    load_state.memblock_free_all(state, config)
    expected = lists(state)
    free = start.free
    for zone, order, mt in expected:
        mine = (free.zone == zone) & (free.order == order) & (free.mt == mt)
        assert free.pfn[mine].tolist() == expected[zone, order, mt]
    assert len(free.pfn) == sum(map(len, expected.values()))
    assert sum(1 << int(order) for order in free.order) == sum(zone.managed for zone in start.zones)


def test_marks_and_per_cpu_bounds_are_the_kernels_own_choice() -> None:
    described, start = boot_state(workload(ds.Slab(), memory="8GiB", cpus=4))
    config = machine_config(described, start)
    state = build_state(config)
    load_state.memblock_free_all(state, config)
    kbytes = load_state.khugepaged_min_free_kbytes(state, load_state.min_free_kbytes(state))
    load_state.setup_per_zone_wmarks(state, config, kbytes)
    for zone, own in zip(start.zones, state.view.zone, strict=True):
        assert [abs(a - b) <= 2 for a, b in zip(zone.watermark, own.watermark, strict=True)] == [True] * 4
    pcp = PerCpuPages.table(state.pcp)
    assert start.pcp.batch.tolist() == pcp["batch"].tolist()
    assert start.pcp.high_max.tolist() == pcp["high_max"].tolist()
    assert np.abs(start.pcp.high_min - pcp["high_min"]).max() <= 1
    assert [zone.name for zone in start.zones] == ["DMA", "DMA32", "Normal"]
    assert start.zones[1].lowmem_reserve[2] == start.zones[2].managed // 256
    check(state)


def test_reserved_and_gigantic_memory_lies_outside_the_zones() -> None:
    plain = zones_of(workload(ds.Slab(), memory="8GiB", nodes=2, cpus=2))
    more = zones_of(
        workload(ds.Slab(), memory="8GiB", nodes=2, cpus=2, gigantic_pages=ds.GiganticPages(count=3))
    )
    assert sum(zone.managed for zone in plain) == sum(zone.managed for zone in more) == 8 << 18
    assert more[-1].end - plain[-1].end == 3 << 18
    reserved = plain[-1].end - (8 << 18)
    assert abs(reserved / plain[-1].end - 0.016) < 0.001


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"memory": "16MiB"}, "machine.memory cannot be 16,777,216 bytes"),
        ({"memory": "4TiB"}, "give 32MiB to 2TiB"),
        ({"nodes": 4}, "machine.cpus cannot be 1: each of the 4 nodes has a CPU at least."),
        ({"kernel": "linux"}, "which is no Linux release"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(machine: dict[str, Any], said: str) -> None:
    with pytest.raises(KevacuateError) as refused:
        boot_state(workload(ds.Slab(), **({"memory": "64MiB"} | machine)))
    assert said in str(refused.value)
