# SPDX-License-Identifier: GPL-2.0-or-later
"""Prefixes of kernel logs, by whatever wrote them."""

import json
from pathlib import Path

import pytest

from kevacuate.kernelfiles.loglines import LogLine, log_line, looks_like_log, messages

WORDS = "dd: page allocation failure: order:2, mode:0x20"
LOGS = Path(__file__).parents[1] / "data" / "kernel_logs"


@pytest.mark.parametrize(
    ("prefix", "uptime", "clock", "caller"),
    [
        ("", None, "", ""),
        ("[   12.345678] ", 12_345_678, "", ""),
        ("[85531.010995] ", 85_531_010_995, "", ""),
        ("<4>[    1.500000] ", 1_500_000, "", ""),
        ("<4>[  156.701747]  [4:        kswapd0: 1209] ", 156_701_747, "", ""),
        ("<4>[  156.701747]  [3:  Binder:91_3:22875] ", 156_701_747, "", ""),
        ("[ 1266.262126][ T1230] ", 1_266_262_126, "", "T1230"),
        ("[ 1266.262126][    C3] ", 1_266_262_126, "", "C3"),
        ("[Mon Mar 25 23:35:17 2019] ", None, "Mon Mar 25 23:35:17 2019", ""),
        ("kern  :warn  : [   38.708419] ", 38_708_419, "", ""),
        ("kern  :warn  : [Mon Mar 25 23:35:17 2019] ", None, "Mon Mar 25 23:35:17 2019", ""),
        ("Jun 13 04:36:30 host-1 kernel: ", None, "Jun 13 04:36:30", ""),
        ("Jun  3 04:36:30 host-1 kernel: [123.456789] ", 123_456_789, "Jun  3 04:36:30", ""),
        ("2024-06-13T04:36:30.123456+02:00 host-1 kernel: ", None, "2024-06-13T04:36:30.123456+02:00", ""),
        ("2024-06-13T04:36:30+0200 host-1 kernel: ", None, "2024-06-13T04:36:30+0200", ""),
        ("2024-06-13T04:36:30,123456+00:00 ", None, "2024-06-13T04:36:30,123456+00:00", ""),
        ("Thu 2024-06-13 04:36:30 UTC host-1 kernel: ", None, "Thu 2024-06-13 04:36:30 UTC", ""),
        ("[   12.345678] host-1 kernel: ", 12_345_678, "", ""),
        ("Sun Jan  1 00:00:00 2017 kern.warn kernel: [   12.300000] ", 12_300_000, "Sun Jan  1 00:00:00 2017", ""),
        ("4,1234,5678901,-;", 5_678_901, "", ""),
        ("4,1234,5678901,-,caller=T17;", 5_678_901, "", "T17"),
        ("> > [   12.300000] ", 12_300_000, "", ""),
        ("| [   12.300000] ", 12_300_000, "", ""),
    ],
)  # fmt: skip
def test_prefixes_are_taken_off(prefix: str, uptime: int | None, clock: str, caller: str) -> None:
    assert log_line(prefix + WORDS) == LogLine(WORDS, uptime, clock, caller)


def test_lines_that_rsyslog_joined_are_taken_apart() -> None:
    line = b"Jun 13 04:36:30 h kernel: [1.5] active_anon:1#012 active_file:2#012 free:3 free_cma:0"
    assert [(told.text, told.uptime_us) for told in messages(line)] == [
        ("active_anon:1", 1_500_000),
        ("active_file:2", 1_500_000),
        ("free:3 free_cma:0", 1_500_000),
    ]


def test_entries_of_the_journals_json() -> None:
    entry = {
        "MESSAGE": f"{WORDS}\n second line", "__REALTIME_TIMESTAMP": "1718245890123456", "_SOURCE_MONOTONIC_TIMESTAMP": "5678901",
    }  # fmt: skip
    line = json.dumps(entry).encode()
    assert list(messages(line)) == [
        LogLine(WORDS, 5_678_901, "2024-06-13 02:31:30", ""),
        LogLine("second line", 5_678_901, "2024-06-13 02:31:30", ""),
    ]
    assert looks_like_log(line.decode() + "\n" + json.dumps({"MESSAGE": "hello"}) + "\n")
    for broken in (
        b'{"MESSAGE": [1, 2]}',
        b'{"MESSAGE"',
        b'["MESSAGE"]',
        b'{"MESSAGE": "x", "__REALTIME_TIMESTAMP": "99999999999999999999"}',
    ):
        assert len(list(messages(broken))) == 1


def test_logs_are_told_from_other_texts() -> None:
    assert looks_like_log("[    0.000000] Linux version 6.1.0\n[    0.000000] Command line: quiet\n")
    assert looks_like_log(
        "Jun 13 04:36:30 h systemd[1]: Started it.\nJun 13 04:36:31 h cron[7]: (root) CMD\n"
    )
    assert not looks_like_log("Node 0, zone   Normal   1 2 3\n")
    assert looks_like_log("[    1.500000] eth0: link up\n\ncontinued\n\n")
    assert not looks_like_log("")
    assert not looks_like_log("\n\n")
    assert not looks_like_log(
        "[  601.000010] Dumping ftrace buffer:\n"
        "[  601.000021] bash-1240 1.... 600200000us : mm_page_alloc: page=1 pfn=1 order=0\n"
    )
    for log in LOGS.glob("*.txt"):
        assert looks_like_log(log.read_text()), log
