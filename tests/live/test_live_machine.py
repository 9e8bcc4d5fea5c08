# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of a running machine: page flags, trace lines; and the machine itself where that is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kevacuate.capture.tracefs import find_tracefs
from kevacuate.errors import KevacuateError
from kevacuate.live.flags import FlagSweep, block_holders, block_pages, contents
from kevacuate.live.machine import LiveSource, machine_blocks
from kevacuate.live.tap import parse_line
from kevacuate.live.text import held_words
from kevacuate.live.view import CONTENTS, UNREAD
from kevacuate.measure.pages import FREE, IN_USE, MOVABLE, UNMOVABLE
from kevacuate.recording.snapshot import ZoneCounts

LINE = (
    "{task}-{pid}     [003] d..2.  1234.500000: mm_page_alloc_extfrag: page=00000000421783 pfn=0x1a2b3 alloc_order=0 "
    "fallback_order=4 pageblock_order=9 alloc_migratetype=0 fallback_migratetype=1 fragmenting=1 change_ownership=1"
)
BUDDY, LRU, NOPAGE, RESERVED, SLAB, PGTABLE = (1 << bit for bit in (10, 5, 20, 32, 7, 26))


def test_blocks_of_page_flags() -> None:
    words = np.array(
        [
            [BUDDY] * 4,
            [LRU, LRU, BUDDY, SLAB],
            [0, 0, LRU, LRU],
            [NOPAGE] * 4,
            [RESERVED] * 4,
            [SLAB, 0, 0, BUDDY],
            [0] * 4,
        ],
        np.uint64,
    ).ravel()
    pages = block_pages(words, 2)
    seen = pages[:, [FREE, MOVABLE, UNMOVABLE, IN_USE]].tolist()
    assert seen == [
        [4, 0, 0, 0],
        [1, 2, 1, 0],
        [0, 2, 0, 2],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 2],
        [0, 0, 0, 0],
    ]
    names = [CONTENTS[i] for i in contents(pages)]
    assert names == ["free", "mixed", "unclear", "absent", "reserved", "unmovable", "absent"]


def test_holders_of_page_flags() -> None:
    words = np.array([SLAB, SLAB, PGTABLE, BUDDY, 0, 1, LRU, RESERVED, 0, 0, 0, 0], np.uint64)
    assert block_holders(words, 2).tolist() == [
        [2, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_held_blocks_by_hand(tmp_path: Path) -> None:
    """Block 0: a slab page, 1: none, 2: no flag but counted, 3: slab and page table, 4: all slab, 5: a hole."""
    words = np.full((6, 8), BUDDY, np.uint64)
    words[0, 0] = SLAB
    words[1] = LRU
    words[2] = words[5] = 0
    words[3, :2] = (SLAB, PGTABLE)
    words[4] = SLAB
    (tmp_path / "kpageflags").write_bytes(words.tobytes())
    zone = ZoneCounts(
        0, "Normal", 0, 48, 40, 40, 0, 0, (0,) * 4, (), blocks_by_type={"Unmovable": 2, "Movable": 3}
    )
    sweep = FlagSweep(np.arange(6), 3, tmp_path / "kpageflags")
    sweep.sweep(float("inf"))
    held = sweep.held((zone,))
    sweep.close()
    assert held.held.tolist() == [True, False, False, True, False, False]
    assert held.blocks["movable_type"] == 2
    assert held.blocks["nearly_empty"] == 1
    assert [(row.holder.kind, row.blocks, row.alone, row.otherwise) for row in held.rows[:2]] == [
        ("slab", 2, 1, 13),
        ("page table", 1, 0, 6),
    ]
    assert held_words(held) == "held 2 by: slab 2, page table 1"


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    """A file like /proc/kpageflags of 40 blocks of 4 pages: even ones free, odd ones movable, 30 to 34 absent."""
    words = np.where(np.arange(40)[:, None] % 2, LRU, BUDDY).repeat(4, axis=1).astype(np.uint64)
    words[30:35] = NOPAGE
    path = tmp_path / "kpageflags"
    path.write_bytes(words.tobytes())
    return path


def test_a_sweep_reads_every_block_once(flags: Path) -> None:
    blocks = np.r_[0:20, 25:40]
    sweep = FlagSweep(blocks, 2, flags)
    assert (sweep.content == UNREAD).all()
    sweep.sweep(float("inf"))
    assert sweep.sweeps == 1
    expected = ["absent" if 30 <= b < 35 else "movable" if b % 2 else "free" for b in blocks.tolist()]
    assert [CONTENTS[i] for i in sweep.content] == expected
    words = np.fromfile(flags, np.uint64)
    words[31 * 4 :] = LRU
    words[:4] = LRU
    flags.write_bytes(words.tobytes())
    sweep.sweep(float("inf"))
    expected[0] = "movable"
    expected[blocks.tolist().index(31) :] = ["movable"] * int((blocks >= 31).sum())
    assert [CONTENTS[i] for i in sweep.content] == expected
    sweep.close()


def test_one_block_is_looked_at(flags: Path) -> None:
    sweep = FlagSweep(np.arange(41), 2, flags)
    assert sweep.look(3) == (0, 4, 0)
    assert sweep.look(40) == (0, 0, 0)
    assert sweep.look(99) is None
    sweep.close()
    with pytest.raises(KevacuateError, match=r"There is no .*nothing: "):
        FlagSweep(np.arange(4), 2, flags.parent / "nothing")


def test_blocks_of_the_zones() -> None:
    zone = (
        "Node 0, zone   {name}\n  pages free     1\n        spanned  {spanned}\n        present  8\n        managed  8\n"
        "  start_pfn:           {start}\n"
    )
    text = zone.format(name="DMA", spanned=1023, start=1) + zone.format(
        name="Normal", spanned=1024, start=4096
    )
    assert machine_blocks(text, 9).tolist() == [0, 1, 8, 9]


def test_a_line_of_the_trace() -> None:
    event = parse_line(LINE.format(task="   kworker/u8:3", pid=42), 1234.0)
    assert event is not None
    assert event.task == "kworker/u8:3-42"
    assert (event.t, event.cpu, event.pfn, event.wanted, event.source) == (0.5, 3, 0x1A2B3, 0, 1)
    assert (event.order_asked, event.order_taken, event.claimed) == (0, 4, True)
    assert event.queues(9)


@pytest.mark.parametrize(
    "name",
    [
        "a-1 [000] d..2. 1.0: mm_page_alloc_extfrag: pfn=0x1",
        "\x1b[31mx",
        "\u202exyz",
        "<...>",
        "",
        "-1-",
        "][",
    ],
)
def test_a_hostile_name_does_not_change_the_event(name: str) -> None:
    event = parse_line(LINE.format(task=name, pid=42), 1234.0)
    assert event is not None
    assert (event.pfn, event.cpu, event.task) == (0x1A2B3, 3, f"{name.lstrip()}-42")


@given(st.text(max_size=200))
def test_any_line_is_taken(text: str) -> None:
    parse_line(text, 0)
    parse_line(LINE.format(task="x", pid=1)[: len(text)] + text, 0)


@pytest.mark.parametrize(
    "line", ["", "# tracer: nop", "CPU:3 [LOST 12 EVENTS]", LINE.split("alloc_migratetype", maxsplit=1)[0]]
)
def test_other_lines_are_no_events(line: str) -> None:
    assert parse_line(line, 0) is None


def can_trace() -> bool:
    tracefs = find_tracefs()
    return (
        os.geteuid() == 0 and tracefs is not None and (tracefs / "events/kmem/mm_page_alloc_extfrag").is_dir()
    )


@pytest.mark.skipif(not can_trace(), reason="needs root and tracefs")
def test_the_running_machine_leaves_no_instance() -> None:
    tracefs = find_tracefs()
    assert tracefs is not None
    source = LiveSource(1.0)
    try:
        mine = source.tap.instance.path
        assert mine.is_dir()
        view = source.poll()
        assert len(view.start) == len(view.content) > 0
        assert sum(sum(chunks) for _, chunks in view.free_orders) > 0
        assert "lost_events" in view.as_dict()["counts"]
        assert "held" not in view.as_dict()
        source.read_all()
        held = source.poll().as_dict()["held"]
        assert 0 < held["blocks"]["held"] <= held["blocks"]["present"]
        assert "slab" in [row["kind"] for row in held["holders"]]
    finally:
        source.close()
    assert not mine.exists()
