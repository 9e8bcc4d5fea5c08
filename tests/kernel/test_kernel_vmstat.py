# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters of /proc/vmstat by today's names, of kernels of several versions."""

from kevacuate.kernel.vmstat import EVENTS, GAUGES, counters


def test_counters_by_zone_are_summed() -> None:
    assert counters(
        {
            "allocstall_dma": 1,
            "allocstall_dma32": 2,
            "allocstall_normal": 4,
            "allocstall_movable": 8,
            "allocstall_device": 16,
        }
    ) == {"allocstall": 31}
    assert counters({"pgalloc_dma": 1, "pgalloc_high": 2}) == {"pgalloc": 3}


def test_a_counter_with_a_like_name_is_another() -> None:
    assert counters(
        {"pgscan_direct": 5, "pgscan_direct_throttle": 7, "pgalloc_mask": 9, "pgsteal_anon": 1}
    ) == {"pgscan_direct": 5}


def test_older_names() -> None:
    assert counters({"thp_split": 3}) == {"thp_split_page": 3}
    assert counters({"compact_pages_moved": 5, "compact_pagemigrate_failed": 6}) == {
        "pgmigrate_success": 5,
        "pgmigrate_fail": 6,
    }


def test_what_is_not_used_is_left_out() -> None:
    assert counters({"pgpgin": 5, "nr_mapped": 6, "nr_free_pages": 7, "oom_kill": 8}) == {
        "nr_free_pages": 7,
        "oom_kill": 8,
    }
    assert not set(EVENTS) & set(GAUGES)
