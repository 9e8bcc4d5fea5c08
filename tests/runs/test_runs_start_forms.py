# SPDX-License-Identifier: GPL-2.0-or-later
"""Start states in other tools' forms: written, read by a second reader, and read back."""

from __future__ import annotations

import gzip
import re
import resource
import shutil
import signal
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from workload_book import workload

import kevacuate
from kevacuate import KevacuateError, StartState
from kevacuate.demand.start_objects import pages_in_use, start_objects
from kevacuate.kernel.pageflags import KPF_COMPOUND_HEAD, absent_pages, flag, movable_pages
from kevacuate.mm.check import check
from kevacuate.recording.llfreetrace import Entries, read_trace, write_trace
from kevacuate.runs import start_procdir
from kevacuate.runs.start import start_state
from kevacuate.runs.start_forms import save_start
from kevacuate.workload import describe as ds

PARTS = (
    ds.Anonymous(memory="25%", tasks=4, lifetime="300ms", pause="20ms", thp=0.5),
    ds.PageCache(files="60%", cached="25%", reads="60MiB/s", file="256KiB", written=0.1),
    ds.Slab(memory="8%", lifetime="200ms", long=0.2, long_lifetime="3s"),
)
SMALL = workload(ds.Slab(memory="1MiB"), cpus=2, duration="500ms", fill="100ms")


@cache
def used() -> StartState:
    """What a busy workload leaves."""
    return start_state(workload(*PARTS, cpus=2, duration="2s"), policy="mainline")


def in_use(start: StartState) -> np.ndarray:
    """Which of the allocator's pages are in use, page 0 left out."""
    flags = start.state.page_flags
    assert flags is not None
    found = pages_in_use(start.state, start.machine.hugepage_order) & ~absent_pages(flags)
    found[0] = False
    return found


def llfree(path: Path) -> tuple[dict[int, tuple[int, int, int]], int]:
    """What is allocated behind a trace, as LLFree's replay reads it: pfn to (order, flags, CPU); and its entries."""
    data = path.read_bytes()
    pages, _, max_pfn = struct.unpack_from("<III", data)
    assert len(data) == 4096 * (1 + pages)
    events = []
    for at in range(4096, len(data), 4096):
        (cpu,) = struct.unpack_from("<I", data, at)
        for i in range(255):
            word = int.from_bytes(data[at + 16 + 16 * i : at + 32 + 16 * i], "little")
            pfn = word >> 38 & (1 << 24) - 1
            if pfn == 0:
                break
            time = struct.unpack("f", struct.pack("f", (word & (1 << 38) - 1) / 1e6))[0]
            events.append((time, word >> 62 & 1, pfn, word >> 63 & 15, word >> 67 & (1 << 29) - 1, cpu))
            assert pfn <= max_pfn
    events.sort(key=lambda event: event[0])
    alive: dict[int, tuple[int, int, int]] = {}
    for _, alloc, pfn, order, flags, cpu in events:
        if alloc:
            assert pfn not in alive
            alive[pfn] = (order, flags, cpu)
        else:
            assert alive.pop(pfn)[0] == order
    return alive, len(events)


def test_llfree_reads_what_is_in_use(tmp_path: Path) -> None:
    start = used()
    where, lost = save_start(start, tmp_path / "used.llfree")
    alive, entries = llfree(where)
    assert "pageblock types" in lost
    pages = np.zeros(len(in_use(start)), np.int64)
    for pfn, (order, _, _) in alive.items():
        pages[pfn : pfn + (1 << order)] += 1
    assert np.array_equal(pages, in_use(start).astype(np.int64))
    assert entries > len(alive)
    flags = start.state.page_flags
    assert flags is not None
    movable = movable_pages(flags)
    assert all(bool(word >> 3 & 1) == bool(movable[pfn]) for pfn, (_, word, _) in alive.items())
    assert {order for order, _, _ in alive.values()} >= {0, 9}


def test_a_trace_of_llfrees_is_read_back(tmp_path: Path) -> None:
    start = used()
    where, _ = save_start(start, tmp_path / "used.llfree")
    back = start_state(where)
    ours_used, pages = in_use(back), len(in_use(start))
    assert np.array_equal(ours_used[:pages], in_use(start))
    assert not ours_used[pages:].any()  # its machine is a whole number of 4 MiB
    ours, theirs = (start_objects(one.state, in_use(one)) for one in (back, start))
    assert ours.pfn.tolist() == theirs.pfn.tolist()
    assert ours.order.tolist() == theirs.order.tolist()
    assert (ours.attr & 3).tolist() == (theirs.attr & 3).tolist()
    assert back.made[-1] == {
        "step": "imported",
        "from": "used.llfree",
        "form": "llfree",
        "entries": llfree(where)[1],
    }
    recording = kevacuate.open(SMALL, start=back)
    run = kevacuate.replay(recording, "mainline")
    assert run.metrics["allocations_failed"] == 0
    again, _ = save_start(back, tmp_path / "again.llfree")
    assert llfree(again)[0] == llfree(where)[0]
    third = start_state(again)
    assert replace(third, made=()).digest == replace(back, made=()).digest
    flags = back.state.page_flags
    assert flags is not None
    assert flag(flags, KPF_COMPOUND_HEAD).any()


def test_copies_of_proc_files_are_read_back(tmp_path: Path) -> None:
    start = used()
    where, lost = save_start(start, tmp_path / "used.proc")
    assert "which pageblock is of which type" in lost
    flags = np.fromfile(where / "kpageflags", "<u8")
    assert np.array_equal(flags, start.state.page_flags)  # type: ignore[arg-type]
    (where / "kpageflags.gz").write_bytes(gzip.compress((where / "kpageflags").read_bytes()))
    (where / "kpageflags").unlink()
    back = start_state(where)
    for name in ("managed", "start_pfn", "spanned", "watermark", "lowmem_reserve", "name"):
        assert [getattr(zone, name) for zone in back.state.zones] == [
            getattr(zone, name) for zone in start.state.zones
        ]
    for ours, theirs in zip(back.state.pcp, start.state.pcp, strict=True):
        if ours is not back.state.pcp.flags:
            assert ours.shape == theirs.shape
    assert back.state.pcp.high_max.tolist() == start.state.pcp.high_max.tolist()
    assert back.machine.cpus == 2
    chunks = [
        sorted(zip(one.state.free.order.tolist(), one.state.free.pfn.tolist(), strict=True))
        for one in (back, start)
    ]
    assert chunks[0] == chunks[1]
    types = [np.bincount(one.state.blocks.mt.astype(np.int64), minlength=6).tolist() for one in (back, start)]
    assert types[0] == types[1]
    assert kevacuate.replay(kevacuate.open(SMALL, start=back), "mainline").metrics["allocations_failed"] == 0


def test_what_a_form_cannot_hold_is_refused(tmp_path: Path) -> None:
    start = used()
    bare = replace(start, state=replace(start.state, page_flags=None))
    for suffix in (".llfree", ".proc"):
        with pytest.raises(KevacuateError, match="no page flags"):
            save_start(bare, tmp_path / f"bare{suffix}")
        save_start(start, tmp_path / f"twice{suffix}")
        with pytest.raises(KevacuateError, match="exists already"):
            save_start(start, tmp_path / f"twice{suffix}")
    with pytest.raises(KevacuateError, match="says no form"):
        save_start(start, tmp_path / "used.txt")
    with pytest.raises(KevacuateError, match="one state and no demand"):
        start_state(tmp_path / "twice.llfree", policy="mainline")
    none = np.zeros(0, np.int64)
    with pytest.raises(KevacuateError, match="64 GiB"):
        write_trace(tmp_path / "large.llfree", Entries(none.astype(bool), none, none, none), 1, 1 << 24)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_damaged_trace_is_one_sentence(tmp_path: Path) -> None:
    where, _ = save_start(used(), tmp_path / "used.llfree")
    data = bytearray(where.read_bytes())
    head = struct.pack("<III", 0, 1, 1 << 20).ljust(4096, b"\0")
    for content, said in (
        (head, "has no entries"),
        (head[:8] + struct.pack("<I", 40) + head[12:], "has no entries"),
    ):
        where.write_bytes(content)
        with pytest.raises(KevacuateError, match=said):
            start_state(where)
    for length in (0, 100, 4096 + 10, len(data) - 4096):
        where.write_bytes(data[:length])
        with pytest.raises(KevacuateError, match="no trace of LLFree's"):
            start_state(where)
    rng = np.random.default_rng(3)
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 20).tolist():
            broken[at] = int(rng.integers(0, 256))
        broken[:12] = data[:12]
        where.write_bytes(broken)
        try:
            check(begun := kevacuate_state(start_state(where)))
            assert begun is not None
        except KevacuateError:
            pass
    data[8:12] = struct.pack("<I", 40)
    where.write_bytes(data)
    with pytest.raises(KevacuateError, match="beyond its highest"):
        read_trace(where)


def kevacuate_state(start: StartState) -> object:
    """The model's state that it loads as."""
    from kevacuate import ReplayOptions
    from kevacuate.demand.build import build_demand
    from kevacuate.policy import parse_policy
    from kevacuate.runs.replay import Replay

    recording = kevacuate.open(
        SMALL, start=replace(start, machine=replace(start.machine, cpus=max(start.machine.cpus, 2)))
    )
    return Replay(recording, build_demand(recording), parse_policy("mainline"), ReplayOptions()).state


def test_damaged_copies_are_one_sentence(tmp_path: Path) -> None:
    whole, _ = save_start(used(), tmp_path / "used.proc")
    for name, change, said in (
        ("kpageflags", lambda data: data[:-3], "truncated"),
        ("kpageflags", lambda data: data[:8], "truncated"),
        ("zoneinfo", lambda data: data[: len(data) // 3], "it lacks node 0 DMA32|no zone"),
        ("zoneinfo", lambda data: b"", "no zone"),
        (
            "zoneinfo",
            lambda data: data.replace(b"start_pfn:           ", b"start_pfn: 99999999999"),
            "is truncated: it has",
        ),
    ):
        broken = tmp_path / "broken.proc"
        shutil.copytree(whole, broken)
        (broken / name).write_bytes(change((broken / name).read_bytes()))
        with pytest.raises(KevacuateError, match=said):
            start_state(broken)
        shutil.rmtree(broken)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("zoneinfo", r"managed .*", "managed 5", "is corrupted: node 0 "),
        ("zoneinfo", r"cpu: 0", "cpu: 99999999", "names CPU 99,999,999, and the model takes 1,024 CPUs"),
        ("pagetypeinfo", r"order: 9", "order: 60", "pageblocks of order 60"),
    ],
)
def test_copies_that_cannot_be_are_one_sentence(
    name: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    where, _ = save_start(used(), tmp_path / "used.proc")
    text = (where / name).read_text()
    (where / name).write_text(re.sub(old, new, text, count=1))
    with pytest.raises(KevacuateError, match=said):
        start_state(where)


def test_page_flags_that_lack_present_pages_or_are_none_are_refused(tmp_path: Path) -> None:
    where, _ = save_start(used(), tmp_path / "used.proc")
    data = (where / "kpageflags").read_bytes()
    (where / "kpageflags").write_bytes(data[: len(data) // 16 * 15 // 4096 * 4096])
    with pytest.raises(KevacuateError, match="is truncated"):
        start_state(where)
    (where / "kpageflags").write_bytes(data[:-1] + b"\x40")
    with pytest.raises(KevacuateError, match="flags that no kernel has"):
        start_state(where)


@pytest.mark.parametrize("suffix", [".kev", ".llfree", ".proc"])
def test_a_link_to_nowhere_is_no_free_name(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"used{suffix}").symlink_to("nowhere")
    with pytest.raises(KevacuateError, match="exists already"):
        save_start(used(), tmp_path / f"used{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"used{suffix}"]


def test_a_folder_whose_name_is_taken_meanwhile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = start_procdir._texts

    def slow(start: StartState) -> object:
        (tmp_path / "used.proc").mkdir(exist_ok=True)
        return texts(start)

    monkeypatch.setattr(start_procdir, "_texts", slow)
    where, _ = save_start(used(), tmp_path / "used.proc")
    assert where == tmp_path / "used-2.proc"
    assert (where / "zoneinfo").is_file()


@pytest.mark.parametrize("suffix", [".llfree", ".proc"])
def test_a_form_of_another_tool_is_no_file_to_begin_from(suffix: str, tmp_path: Path) -> None:
    where, _ = save_start(used(), tmp_path / f"used{suffix}")
    with pytest.raises(KevacuateError, match=r"make it one by `kevacuate start .* -o NAME\.kev`"):
        kevacuate.open(SMALL, start=where)


@pytest.mark.parametrize("name", ["used.proc", "used.llfree", "used.kev"])
def test_a_file_that_cannot_grow_is_told(tmp_path: Path, name: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(KevacuateError, match=r"cannot be written: File too large"):
            save_start(used(), tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not [*tmp_path.iterdir()]
