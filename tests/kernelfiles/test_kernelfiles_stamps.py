# SPDX-License-Identifier: GPL-2.0-or-later
"""Times in lines and names: each form that people's loops, date, watch and monitors write."""

import pytest

from kevacuate.kernelfiles.stamps import BOOT, DAY, EPOCH, YEAR, stamp_in, stamp_of_name

TEN = 1684144800.0
"""2023-05-15 10:00:00 UTC: date -d @1684144800."""


@pytest.mark.parametrize(
    "line",
    [
        "2023-05-15 10:00:00",
        "2023-05-15T10:00:00Z",
        "2023/05/15 10:00:00",
        "2023-05-15T12:00:00+02:00",
        "== 2023-05-15 05:30:00 -0430 ==",
        "Mon May 15 10:00:00 UTC 2023",
        "Mon May 15 10:00:00 AM UTC 2023",
        "Mon 15 May 2023 10:00:00 AM UTC",
        "Mon 15 May 12:00:00 CEST 2023",
        "Mon May 15 05:00:00 CDT 2023",
        "Mon May 15 10:00:00 XYZ 2023",
        "Mon, 15 May 2023 12:00:00 +0200",
        "zzz ***Mon May 15 10:00:00 UTC 2023",
        "Every 2.0s: cat /proc/buddyinfo                  box: Mon May 15 10:00:00 2023",
        "time: 1684144800",
        "1684144800",
        "#1684144800",
        "ts=1684144800",
        "1684144800.0",
        "1684144800000",
        "1684144800000000000",
        "===== sample seq=1 wall=2023-05-15T10:00:00+00:00 monotonic_ns=100 =====",
    ],
)
def test_a_time_since_1970(line: str) -> None:
    stamp = stamp_in(line)
    assert stamp is not None
    assert (stamp.seconds, stamp.clock) == (TEN, EPOCH)


@pytest.mark.parametrize(
    ("line", "seconds", "clock"),
    [
        ("10:00:00", 36000.0, DAY),
        ("*** 10:00:00 PM ***", 22 * 3600.0, DAY),
        ("12:00:01 AM", 1.0, DAY),
        ("[  123.500]", 123.5, BOOT),
        ("time: 12.5", 12.5, BOOT),
        ("May 15 10:00:00", (31 + 29 + 31 + 30 + 14) * 86400 + 36000.0, YEAR),
        ("2023-05-15 10:00:00.250", TEN + 0.25, EPOCH),
    ],
)
def test_a_time_of_another_clock(line: str, seconds: float, clock: str) -> None:
    stamp = stamp_in(line)
    assert stamp is not None
    assert (stamp.seconds, stamp.clock) == (seconds, clock)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "nr_free_pages 5",
        "2023-13-15 10:00:00",
        "2023-02-30 10:00:00",
        "25:00:00",
        "9999999999",
        "7",
        "x" * 300 + "10:00:00",
    ],
)
def test_no_time(line: str) -> None:
    assert stamp_in(line) is None


@pytest.mark.parametrize(
    "name",
    [
        "buddyinfo.1684144800",
        "buddyinfo-20230515-100000.gz",
        "buddyinfo_2023-05-15_10:00:00",
        "20230515T100000Z",
        "proc-2023-05-15T10-00",
        "2023-05-15_10-00-00",
    ],
)
def test_a_time_in_a_name(name: str) -> None:
    stamp = stamp_of_name(name)
    assert stamp is not None
    assert (stamp.seconds, stamp.clock) == (TEN, EPOCH)


@pytest.mark.parametrize(
    "name",
    ["buddyinfo", "buddyinfo.12", "sosreport-box-0042-2023-05-15-abcdef", "linux-6.1.10", "20231315-100000"],
)
def test_no_time_in_a_name(name: str) -> None:
    assert stamp_of_name(name) is None


def test_summer_time_begins_and_ends_without_a_jump() -> None:
    lines = (
        "Sun Oct 27 02:59:00 CEST 2024",
        "Sun Oct 27 02:01:00 CET 2024",
        "Sun Mar 10 01:59:00 EST 2024",
        "Sun Mar 10 03:01:00 EDT 2024",
    )
    seconds = [stamp.seconds for line in lines if (stamp := stamp_in(line))]
    assert (seconds[1] - seconds[0], seconds[3] - seconds[2]) == (120, 120)
