# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np

from kevacuate.recording.presence import absent_blocks, silent_blocks
from kevacuate.recording.snapshot import ZoneCounts


def zone(start: int, blocks: int, counted: int | None) -> ZoneCounts:
    """A zone of blocks of 4 pages, of which /proc/pagetypeinfo counts so many."""
    by_type = {} if counted is None else {"Unmovable": counted // 2, "Movable": counted - counted // 2}
    return ZoneCounts(
        0, "Normal", 4 * start, 4 * blocks, 0, 0, 0, 0, (0, 0, 0, 0), (), blocks_by_type=by_type
    )


def absent(silent: str, *zones: ZoneCounts, later: str = "") -> str:
    """Blocks as characters: x shows something, . is silent; the answer has - for absent ones."""
    marks = np.array([mark == "." for mark in silent])
    given = np.array([mark == "l" for mark in later.ljust(len(silent))])
    found = absent_blocks(marks, zones, 2, given)
    return "".join("-" if gone else mark for mark, gone in zip(silent, found, strict=True))


def test_silent_blocks_show_no_flag_but_nopage() -> None:
    words = np.array([0, 0, 0, 0, 1 << 20, 0, 0, 0, 0, 0, 0, 1 << 7, 0, 1 << 63], np.uint64)
    assert silent_blocks(words, 2).tolist() == [True, True, False, False]


def test_holes_are_long_and_kernel_blocks_stand_alone() -> None:
    assert absent("xx.x......", zone(0, 10, 3)) == "xx-x------"
    assert absent("xx.x......", zone(0, 10, 4)) == "xx.x------"
    assert absent("xx.x......", zone(0, 10, 6)) == "xx.x..----"
    assert absent("xx.x......", zone(0, 10, 10)) == "xx.x......"
    assert absent("x....x.x", zone(0, 8, 4)) == "x----x.x"


def test_without_counts_no_silent_block_exists() -> None:
    assert absent("xx.x..", zone(0, 6, None)) == "xx-x--"


def test_zones_are_told_apart_and_what_came_later_comes_last() -> None:
    assert absent("x..x..", zone(0, 3, 2), zone(3, 3, 1)) == "x.-x--"
    assert absent("x.x..", zone(0, 5, 3), later=" l") == "x-x.-"
    assert absent("x.x..", zone(0, 5, 5), later=" l") == "x.x.."
