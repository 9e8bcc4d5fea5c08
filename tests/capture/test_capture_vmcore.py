# SPDX-License-Identifier: GPL-2.0-or-later
"""Ordered lists from a kernel's memory: from memory made by hand, and as they were read from Debian's kernel."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from vmcore_tools import PAGES, SPAN, FakeCore, words

from kevacuate.capture.vmcore import Core, Torn
from kevacuate.capture.vmcore_check import pages_of
from kevacuate.capture.vmcore_drgn import open_core
from kevacuate.capture.vmcore_lists import walk
from kevacuate.capture.vmcore_state import CoreSnapshot, read_core
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pcp import pcp_order
from kevacuate.recording import Recording, procfs
from kevacuate.recording.snapshot import snapshot_from_texts

LRU, RESERVED, HEAD = 1 << 4, 1 << 12, 1 << 16
KPF_LRU, KPF_SLAB, KPF_BUDDY, KPF_TAIL, KPF_RESERVED = 5, 7, 10, 16, 32


def machine(**given: bool) -> FakeCore:
    """Free chunks of two types in an order of their own, per-CPU lists, a folio with tails."""
    core = FakeCore(**given)  # type: ignore[arg-type]
    core.free(0, 1, [1029, 1025, 1031])
    core.free(3, 0, [528, 512])
    core.put(PAGES + 64 * 528 + 40, 8, 3)
    core.free(9, 1, [3072, 2048])
    core.free(0, len(core.types) - 1, [1700])
    core.add(core.zone + 176, -1)  # an isolated page is no part of NR_FREE_PAGES
    core.fill_pcp(0, 1, [1040, 1050])
    core.fill_pcp(1, 4, [1060], order=1)
    core.fill_pcp(1, 13, [2560], order=9)
    core.set_block(1, 0, skip=True)
    core.set_block(3, len(core.types) - 1)
    words(core, 0, RESERVED)
    words(core, 1200, LRU | HEAD, mapping=0xFFFF888000001001)
    for pfn in range(1201, 1204):
        words(core, pfn, 0, tail_of=1200)
    return core


def read(core: FakeCore) -> CoreSnapshot:
    memory: Core = core
    return read_core(memory)


@pytest.mark.parametrize("new", [False, True], ids=["6.1", "6.12"])
def test_lists_are_read_in_order(new: bool) -> None:
    core = machine(new=new)
    found = read(core)
    free, pcp, blocks = found.state.free, found.state.pcp_pages, found.state.blocks
    assert free.pfn[free.order == 0].tolist() == [1029, 1025, 1031, 1700]
    assert free.mt[free.order == 0].tolist() == [1, 1, 1, 5]
    assert free.pfn[free.order == 3].tolist() == [528, 512]
    assert free.pfn[free.order == 9].tolist() == [3072, 2048]
    assert pcp.pfn[pcp.pindex == 1].tolist() == [1040, 1050]
    assert pcp.cpu[pcp.pindex == 4].tolist() == [1]
    assert pcp.pfn[pcp.pindex == 13].tolist() == [2560]
    assert found.whole, found.checks
    assert blocks.mt.tolist() == [1, 0, 1, 5, 1, 1, 1, 1]
    assert blocks.skip.tolist() == [False, True, *[False] * 6]
    assert found.machine.kernel == core.release
    assert found.state.zones[0].managed == SPAN - 100


def test_what_does_not_fit_is_said() -> None:
    whole = FakeCore()
    whole.free(10, 1, [2048])
    whole.free(2, 1, [1028])
    whole.fill_pcp(0, 4, [1040], order=1)
    found = read(whole)
    assert found.whole, found.checks
    assert found.state.approximate == ()
    whole.add(whole.zone + 176, 3)  # NR_FREE_PAGES
    whole.free(2, 1, [1028, 1024])  # buddies, and the counts doubled
    whole.fill_pcp(1, 1, [1041])  # a page that is on another list, too
    whole.put(PAGES + 64 * 1028 + 40, 8, 1)  # marked with another order
    found = read(whole)
    wrong = {check.name.split()[0] for check in found.checks if not check.holds}
    assert wrong == {"free", "pages", "no", "exactly"}
    assert len(found.state.approximate) == 5
    assert not found.to_json()["lists"]["whole"]


@pytest.mark.parametrize("new", [False, True], ids=["6.1", "6.12"])
def test_page_flags_are_those_of_kpageflags(new: bool) -> None:
    core = machine(new=new)
    core.put(PAGES + 64 * 1300 + 48, 4, 0xF5000000 if new else 0xFFFFFFFF)
    words(core, 1300, 0 if new else 1 << 9)
    flags = read(core).state.page_flags
    assert flags is not None

    def pages(bit: int) -> list[int]:
        return np.flatnonzero(flags >> np.uint64(bit) & np.uint64(1)).tolist()

    assert pages(KPF_RESERVED) == [0]
    assert pages(KPF_LRU) == [1200, 1201, 1202, 1203]
    assert pages(KPF_TAIL) == [1201, 1202, 1203]
    assert pages(KPF_SLAB) == [1300]
    assert pages(KPF_BUDDY) == [
        *range(512, 520),
        *range(528, 536),
        1025,
        1029,
        1031,
        1700,
        *range(2048, 2560),
        *range(3072, 3584),
    ]


def test_the_skip_bit_is_read_by_either_name() -> None:
    class Renamed(FakeCore):
        """A kernel that calls it PB_compact_skip."""

        def constant(self, name: str) -> int | None:
            names = {"PB_compact_skip": "PB_migrate_skip", "PB_migrate_skip": ""}
            return super().constant(names.get(name, name))

    core = Renamed(new=True)
    core.set_block(1, 0, skip=True)
    assert read(core).state.blocks.skip.tolist() == [False, True, *[False] * 6]


def test_a_broken_list_is_refused_and_a_changing_one_read_again() -> None:
    core = machine()
    core.put(PAGES + 64 * 1025 + 16, 8, 0)
    with pytest.raises(KevacuateError, match=r"broken.*dumped in the middle of a change"):
        read(core)
    memory: Core = core
    with pytest.raises(Torn, match="does not end"):
        walk(memory, core.head(9, 1), 1)

    class Busy(FakeCore):
        """Its first list is whole at the third look."""

        looks = 0

        def read(self, address: int, size: int) -> bytes:
            if address == PAGES + 64 * 1029 + 8 and size == 16:
                self.looks += 1
                self.put(PAGES + 64 * 1025 + 16, 8, PAGES + 64 * 1029 + 8 if self.looks > 2 else 0)
            return super().read(address, size)

    busy = Busy(live=True)
    busy.free(0, 1, [1029, 1025])
    found = read(busy)
    assert found.state.free.pfn.tolist() == [1029, 1025]
    assert any("2 lists were read again" in line for line in found.state.approximate)


def test_memory_that_is_missing_is_said() -> None:
    core = machine()
    core.put(core.zone + 256, 8, 0x1000)  # per_cpu_pageset
    with pytest.raises(KevacuateError, match="made-up lacks memory"):
        read(core)


def test_a_snapshot_is_a_recording_that_a_replay_can_begin_from(tmp_path: Path) -> None:
    found = read(machine())
    found.save(tmp_path / "a.kev")
    recording = Recording.open(tmp_path / "a.kev")
    start = recording.start
    assert start is not None
    assert start.free.pfn.tolist() == found.state.free.pfn.tolist()
    assert recording.snapshots == (found.counts,)
    survey = found.survey
    assert survey.blocks.free[2] == 3 + 2 + 2  # free pages and those on per-CPU lists
    text = json.dumps(found.to_json())
    assert [1029, 1025, 1031] in [entry["pfns"] for entry in json.loads(text)["lists"]["free_lists"]]


def test_without_drgn_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "drgn", None)
    (tmp_path / "vmcore").write_bytes(b"\x7fELF")
    with pytest.raises(KevacuateError, match=r"pip install 'kevacuate\[drgn\]'"):
        open_core(tmp_path / "vmcore")


def test_what_is_no_dump_is_said(tmp_path: Path) -> None:
    pytest.importorskip("drgn")
    for data, said in ((b"makedumpfile\0", "is flattened"), (b"text", "is not a dump that drgn can open")):
        (tmp_path / "vmcore").write_bytes(data)
        with pytest.raises(KevacuateError, match=said):
            open_core(tmp_path / "vmcore")
    with pytest.raises(KevacuateError, match="does not exist: name the dump"):
        open_core(tmp_path / "none")


DEBIAN = Path(__file__).parents[1] / "data/debian-6.1"
"""A dump of Debian's 6.1.0-56-amd64 in qemu (docs/vmcore.md), and what its /proc said while it was held still."""


def test_debians_lists_are_what_its_proc_said() -> None:
    recording = Recording.open(DEBIAN / "state.kev")
    (now,) = recording.snapshots
    buddy = procfs.parse_buddyinfo((DEBIAN / "buddyinfo").read_text())
    by_type, blocks = procfs.parse_pagetypeinfo((DEBIAN / "pagetypeinfo").read_text())
    said = snapshot_from_texts({"zoneinfo": (DEBIAN / "zoneinfo").read_text()}, 0, "now")
    assert [zone.name for zone in now.zones] == ["DMA", "DMA32"]
    for zone, theirs in zip(now.zones, said.zones, strict=True):
        key = (zone.node, zone.name)
        assert zone.chunks == buddy[key]
        assert zone.chunks_by_type == by_type[key]
        assert zone.blocks_by_type == blocks[key]
        assert (zone.managed, zone.present, zone.spanned) == (theirs.managed, theirs.present, theirs.spanned)
        assert [replace(p, count=0) for p in zone.pcp] == [replace(p, count=0) for p in theirs.pcp]
        assert zone.pcp[1] == theirs.pcp[1]  # CPU 0 is the one that reads /proc
        assert (zone.watermark[:3], zone.protection) == (theirs.watermark[:3], theirs.protection)
    start = recording.start
    assert start is not None
    assert start.approximate == ()
    assert start.blocks.skip.sum() == 118
    pages = np.zeros(now.zones[1].start_pfn + now.zones[1].spanned, np.uint8)
    chunks = [(start.free.pfn, start.free.order.astype(np.int64))]
    chunks.append((start.pcp_pages.pfn, pcp_order(start.pcp_pages.pindex, 9)))
    for pfn, order in chunks:
        assert (pfn % (1 << order) == 0).all()
        pages[pages_of(pfn, order)] += 1
    assert pages.max() == 1
    assert int(pages.sum()) == sum(zone.free + sum(p.count for p in zone.pcp) for zone in now.zones)
