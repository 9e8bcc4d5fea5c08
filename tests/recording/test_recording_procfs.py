# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of /proc as text: what a kernel with page_owner adds, indices of debugfs, sizes."""

from kevacuate.recording.procfs import (
    parse_index,
    parse_meminfo,
    parse_mixed_blocks,
    parse_pagetypeinfo,
    parse_slabinfo,
    stopped_counts,
)

TYPES = """Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2
Node    0, zone   Normal, type    Unmovable     53    105    830
Node    0, zone   Normal, type      Movable >100000  93493 >100000

Number of blocks type     Unmovable      Movable
Node 0, zone      DMA            1            7
Node 0, zone   Normal          298        10165

Number of mixed blocks    Unmovable      Movable
Node 0, zone      DMA            0            0
Node 0, zone   Normal            5           11
"""


def test_mixed_blocks_are_not_taken_for_blocks() -> None:
    free, blocks = parse_pagetypeinfo(TYPES)
    assert blocks == {
        (0, "DMA"): {"Unmovable": 1, "Movable": 7},
        (0, "Normal"): {"Unmovable": 298, "Movable": 10165},
    }
    assert free[0, "Normal"]["Movable"] == (100000, 93493, 100000)
    assert parse_mixed_blocks(TYPES) == {
        (0, "DMA"): {"Unmovable": 0, "Movable": 0},
        (0, "Normal"): {"Unmovable": 5, "Movable": 11},
    }
    assert stopped_counts(TYPES) == {(0, "Normal", "Movable", 0), (0, "Normal", "Movable", 2)}


def test_a_kernel_without_page_owner() -> None:
    assert parse_mixed_blocks(TYPES.partition("Number of mixed")[0]) == {}


def test_an_index_below_zero_is_printed_in_two_parts() -> None:
    assert parse_index("Node 0, zone   Normal -1.000 0.954 0.-500 1.000 \n") == {
        (0, "Normal"): (-1000, 954, -500, 1000)
    }


def test_sizes() -> None:
    assert parse_meminfo("MemTotal:  16 kB\nHugePages_Total:   3\nActive(anon):  4 kB\n") == {
        "MemTotal": 16, "HugePages_Total": 3, "Active(anon)": 4,
    }  # fmt: skip
    assert parse_slabinfo("task_struct 60 64 9792 3 8 : tunables 0 0 0 : slabdata 22 22 0\n") == {
        "task_struct": (60, 64, 176)
    }
