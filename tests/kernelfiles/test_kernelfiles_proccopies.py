# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of /proc files in texts: where one ends, what its time is, what wrapping and quoting leave of it."""

from typing import Any

import pytest

from kevacuate.kernelfiles import proccopies
from kevacuate.kernelfiles.proccopies import NOT_IN_FILE, Copy, copies

DMA = "Node 0, zone      DMA      1      0      0      1      2      1      1      0      1      1      3 "
NORMAL = "Node 0, zone   Normal    211    198     45     10      2      0      0      0      0      0      0 "
CHUNKS = {
    (0, "DMA"): (1, 0, 0, 1, 2, 1, 1, 0, 1, 1, 3),
    (0, "Normal"): (211, 198, 45, 10, 2, 0, 0, 0, 0, 0, 0),
}


def of(text: str) -> list[Copy]:
    return list(copies(text.splitlines()))


def seconds(found: list[Copy]) -> list[Any]:
    return [copy.stamp.seconds if copy.stamp else None for copy in found]


def test_a_second_row_of_a_zone_begins_the_next_copy() -> None:
    found = of("\n".join([DMA, NORMAL] * 3))
    assert [copy.values for copy in found] == [CHUNKS] * 3
    assert seconds(found) == [None] * 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("time: 1684144800", "time: 1684144810"),
        ("2023-05-15 10:00:00", "2023-05-15 10:00:10"),
        ("Mon May 15 10:00:00 UTC 2023", "Mon May 15 10:00:10 UTC 2023"),
    ],
)
def test_a_time_between_copies_belongs_to_what_follows(first: str, second: str) -> None:
    found = of(f"{first}\n{DMA}\n{NORMAL}\n{second}\n{DMA}\n{NORMAL}\n")
    assert [copy.values for copy in found] == [CHUNKS, CHUNKS]
    assert seconds(found) == [1684144800.0, 1684144810.0]


def test_a_time_before_each_row() -> None:
    found = of(f"1684144800 {DMA}\n1684144800 {NORMAL}\n1684144810 {DMA}\n1684144810 {NORMAL}\n")
    assert [copy.values for copy in found] == [CHUNKS, CHUNKS]
    assert seconds(found) == [1684144800.0, 1684144810.0]


def test_a_day_ends() -> None:
    found = of(f"23:59:50\n{DMA}\n00:00:10\n{DMA}\n00:00:30\n{DMA}\n")
    assert seconds(found) == [86390.0, 86410.0, 86430.0]


def test_several_files_after_one_time() -> None:
    text = f"2023-05-15 10:00:00\n{DMA}\n{NORMAL}\nnr_free_pages 5\ncompact_stall 7\nMemTotal:  9 kB\nMemFree: 8 kB\n"
    found = of(text + text.replace(":00:00", ":00:10"))
    assert [copy.kind for copy in found] == ["buddyinfo", "vmstat", "meminfo"] * 2
    assert found[1].values == {"nr_free_pages": 5, "compact_stall": 7}
    assert found[2].values == {"MemTotal": 9, "MemFree": 8}
    assert seconds(found) == [1684144800.0] * 3 + [1684144810.0] * 3


def pagetypeinfo(node: int) -> str:
    return (
        "Page block order: 9\nPages per block:  512\n\nFree pages count per migrate type at order  0 1 2\n"
        f"Node    {node}, zone   Normal, type    Unmovable      1      2      3\n"
        f"Node    {node}, zone   Normal, type      Movable >100000     5      6\n\n"
        f"Number of blocks type     Unmovable      Movable\nNode {node}, zone   Normal            7            8\n\n"
        f"Number of mixed blocks    Unmovable      Movable\nNode {node}, zone   Normal            2            1\n"
    )


def test_two_nodes_of_pagetypeinfo_are_one_copy() -> None:
    found = of("".join(pagetypeinfo(node) for node in (0, 1)))
    assert len(found) == 1
    types = found[0].values
    assert types.free[1, "Normal"] == {"Unmovable": (1, 2, 3), "Movable": (100000, 5, 6)}
    assert types.blocks == {
        (0, "Normal"): {"Unmovable": 7, "Movable": 8},
        (1, "Normal"): {"Unmovable": 7, "Movable": 8},
    }
    assert types.mixed == {
        (0, "Normal"): {"Unmovable": 2, "Movable": 1},
        (1, "Normal"): {"Unmovable": 2, "Movable": 1},
    }
    assert types.stopped == {(0, "Normal", "Movable", 0), (1, "Normal", "Movable", 0)}
    assert types.pageblock_order == 9


def test_buddyinfo_below_a_table_of_blocks_is_not_its_row() -> None:
    found = of(
        f"Number of blocks type     Unmovable      Movable\nNode 0, zone   Normal            7            8\n{NORMAL}\n"
    )
    assert [copy.kind for copy in found] == ["pagetypeinfo", "buddyinfo"]
    assert found[0].values.blocks == {(0, "Normal"): {"Unmovable": 7, "Movable": 8}}


def test_lines_that_a_mail_wrapped() -> None:
    whole = of(f"{DMA}\n{NORMAL}\n")
    wrapped = "\n".join(line[:60] + "\n " + line[60:] for line in (DMA, NORMAL))
    assert of(wrapped) == whole
    assert of("\n".join(f"> >> {line}" for line in wrapped.splitlines())) == whole
    assert of(f"{DMA[:60]}=\n{DMA[60:]}\n{NORMAL[:60]}=\n{NORMAL[60:]}\n") == whole


def test_a_number_below_a_row_is_no_part_of_it() -> None:
    found = of(f"{DMA}\n{NORMAL}\n1684144810\n{DMA}\n{NORMAL}\n17\n")
    assert [copy.values for copy in found] == [CHUNKS, CHUNKS]
    assert seconds(found) == [None, 1684144810.0]


def test_a_number_below_the_first_row_is_no_part_of_it() -> None:
    found = of(f"{DMA}\n1684144810\n{DMA}\n17\n")
    assert [copy.values for copy in found] == [{(0, "DMA"): CHUNKS[0, "DMA"]}] * 2
    assert seconds(found) == [None, 1684144810.0]


def test_a_row_does_not_go_on_over_an_empty_line() -> None:
    assert of(f"{DMA[:60]}\n\n 1 1 3\n")[0].values == {(0, "DMA"): (1, 0, 0, 1, 2)}


def test_zoneinfo_keeps_its_own_counters() -> None:
    found = of(
        "Node 0, zone   Normal\n  per-node stats\n      nr_free_pages 77\n  pages free     35012\n        boost    10240\n"
        "        min      9830\n        low      12287\n        high     14745\n        present  1835008\n  pagesets\n"
        "    cpu: 0\n              count:    30\n              high:  60\n              batch: 15\n"
        "    cpu: 1\n              count:    12\n              high:  60\n              batch: 15\n"
        "Node 0, zone  Movable\n  pages free     0\n        present  0\n"
    )
    assert [copy.kind for copy in found] == ["zoneinfo"]
    assert set(found[0].values) == {(0, "Normal")}
    zone = found[0].values[0, "Normal"]
    assert (zone["free"], zone["boost"], zone["low"], zone["present"], zone["pcp"]) == (
        35012,
        10240,
        12287,
        1835008,
        42,
    )


def test_both_indices_of_debugfs() -> None:
    extfrag = "Node 0, zone   Normal -1.000 -1.000 0.954 0.977 \n"
    unusable = "Node 0, zone   Normal 0.000 0.381 1.000 1.000 \n"
    found = of(extfrag + unusable)
    assert [(copy.kind, copy.values) for copy in found] == [
        ("extfrag_index", {(0, "Normal"): (-1000, -1000, 954, 977)}),
        ("unusable_index", {(0, "Normal"): (0, 381, 1000, 1000)}),
    ]


def test_a_negative_index_is_printed_in_two_parts() -> None:
    """One free chunk of half the order: 1000 - (1000 + 500) / 1 is -500, which %d.%03d prints as 0.-500."""
    assert of("Node 0, zone   Normal -1.000 0.-500 0.-50\n")[0].values == {(0, "Normal"): (-1000, -500, -50)}


def test_slab_caches() -> None:
    text = (
        "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> ...\n"
        "dentry   1000 1050 192 21 1 : tunables 0 0 0 : slabdata 50 50 0\n"
        "task_struct   60 64 9792 3 8 : tunables 0 0 0 : slabdata 22 22 0\n"
    )
    assert of(text)[0].values == {"dentry": (1000, 1050, 50), "task_struct": (60, 64, 176)}


def test_node_exporter() -> None:
    text = (
        "# HELP node_buddyinfo_blocks Count of free blocks according to size.\n"
        'node_buddyinfo_blocks{node="0",size="0",zone="Normal"} 426212\n'
        'node_buddyinfo_blocks{node="0",size="1",zone="Normal"} 1.5e+03\n'
        'node_buddyinfo_blocks{node="0",size="3",zone="Normal"} 7\n'
        "node_memory_MemFree_bytes 4.096e+06\nnode_memory_HugePages_Total 3\nnode_vmstat_compact_stall 9120\n"
    )
    found = of(text)
    assert [(copy.kind, copy.values) for copy in found] == [
        ("buddyinfo", {(0, "Normal"): (426212, 1500, NOT_IN_FILE, 7)}),
        ("meminfo", {"MemFree": 4000, "HugePages_Total": 3}),
        ("vmstat", {"compact_stall": 9120}),
    ]
    again = of((text + text).replace("} 426212", "} 426212 1684144800000", 1))
    assert len(again) == 6
    assert seconds(again)[0] == 1684144800.0


def test_a_copy_of_endless_lines_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proccopies, "MOST_LINES", 10)
    found = of("\n".join(f"nr_{number} 1" for number in range(95)))
    assert [len(copy.values) for copy in found] == [10] * 9 + [5]
