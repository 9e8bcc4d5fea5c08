# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel logs of the field: facts of public reports with names, hosts and times of our own, and values worked out by hand.

Numbers are KiB unless said; "counted" is what is free less what the request may not use, "mark" the min mark as lowered.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.allocfailure import reports
from kevacuate.kernelfiles.text import TextFile
from kevacuate.measure.metrics import fragmentation_index, unusable_free_index
from kevacuate.observe.files import kernel_log
from kevacuate.observe.files.kernel_log import answer, clock, told_of
from kevacuate.observe.files.zones_of_failure import index_text, kernel_verdict
from kevacuate.recording.procfs import parse_buddyinfo
from kevacuate.reports.triage.files.kernel_log import words

DATA = Path(__file__).parents[1] / "data"
LOGS = DATA / "kernel_logs"
GUESTS = DATA / "kernel_states"
CASES = Path(__file__).parents[1] / "cases"


def told(path: Path) -> list[dict[str, Any]]:
    """What is said of each report of a log."""
    return [told_of(report) for report in reports(TextFile(path).raw_lines())]


def zones(report: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Of each zone: counted, mark, lowmem_reserve, large chunks, index, reasons, verdict (or why it is outside)."""
    return {
        f"{zone['node']} {zone['name']}": (
            zone["counted_kb"], zone["mark_kb"], zone["reserve_kb"], zone["large_chunks"], zone["index_text"],
            zone["reasons"], zone["outside"] or zone["verdict"],
        )
        for zone in report["zones"]
    }  # fmt: skip


REPORTS: dict[str, tuple[dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    # Node 0 Normal: 12,748 chunks of 20,324 pages: 1000 - (1000 + 20324000 / 32) / 12748 = 1000 - 49. Node 1: 22,160 of 29,358.
    # DMA32: 62,733 - 31 pages are not above 298 + 62,430.
    "310-numa-syslog": (
        {"order": 5, "gfp": "GFP_KERNEL|__GFP_COMP|__GFP_ZERO|__GFP_KMEMCG", "task": "setup[1:NET]", "pid": 4711, "cpu": 9,
         "highest_zone": "Normal", "migratetype": "unmovable", "verdict": "fragmentation"},
        {"0 DMA": (15064, 8, 256548, 6, "-1.000", ["lowmem_reserve"], "protected"),
         "0 DMA32": (250808, 1192, 249720, 3, "-1.000", ["lowmem_reserve"], "protected"),
         "0 Normal": (79788, 43728, 0, 0, "0.951", ["no chunk"], "fragmentation"),
         "1 Normal": (117448, 45176, 0, 0, "0.959", ["no chunk"], "fragmentation")},
    ),
    # Of 143,792 free 143,136 are CMA's: 164 pages; 834 pages of min, halved and less a quarter: 313.
    "310-arm-cma-quoted": (
        {"order": 0, "gfp": "GFP_ATOMIC", "task": "swapper/0", "highest_zone": "Normal", "verdict": "shortage", "rules": "3.10"},
        {"0 DMA": (656, 1252, 0, 4452 + 4382 + 4111 + 786, "-1.000", ["below min"], "shortage")},
    ),
    # A page is 16 KiB. The request is for DMA, which has no page at all; 411,376 lie in Normal, above it.
    "317-mips-16k-wrapped": (
        {"order": 0, "gfp": "GFP_KERNEL|__GFP_DMA|__GFP_NORETRY", "highest_zone": "DMA", "verdict": "shortage"},
        {"0 DMA": (0, 0, 0, 0, "0.000", ["below min", "no chunk"], "shortage"),
         "0 Normal": (411376, 2752, 0, 49, "-1.000", [], "above DMA")},
    ),
    # DMA32: 1,729 pages > 396 (1,056 halved and less a quarter), not above 396 + 4,990.
    "41-x86-atomic": (
        {"order": 0, "gfp": "GFP_ATOMIC", "task": "swapper/3", "pid": 0, "cpu": 3, "verdict": "shortage"},
        {"0 DMA": (15884, 12, 31832, 11, "-1.000", ["lowmem_reserve"], "protected"),
         "0 DMA32": (6916, 1584, 19960, 1508, "-1.000", ["lowmem_reserve"], "protected"),
         "0 Normal": (0, 2664, 0, 0, "0.000", ["below min", "no chunk"], "shortage")},
    ),
    # Printed piece by piece. 128 pages > 256 / 2 - 128 / 4 = 96.
    "414-mips-pieces": (
        {"order": 0, "gfp": "GFP_ATOMIC", "task": "swapper/3", "verdict": "could have served"},
        {"0 Normal": (512, 384, 0, 8 + 15, "-1.000", [], "could have served")},
    ),
    # DMA32: 12,599 chunks of 15,684 pages: 1000 - (1000 + 3921000) / 12599 = 1000 - 311. Normal: 1,362 - 3 - 1,001 of CMA = 358.
    "48-x86-cma-dmesg-x": (
        {"order": 2, "gfp": "GFP_KERNEL_ACCOUNT|__GFP_NOTRACK", "kind": "out of memory", "verdict": "fragmentation and shortage"},
        {"0 DMA": (1996, 280, 14096, 8, "-1.000", ["lowmem_reserve", "only types it may not take"], "protected"),
         "0 DMA32": (83280, 61984, 376, 0, "0.689", ["no chunk"], "fragmentation"),
         "0 Normal": (1432, 5316, 0, 112, "-1.000", ["below min", "only types it may not take"], "fragmentation and shortage")},
    ),
    # i386 has no DMA32: GFP_DMA32 means Normal. 10,601 pages are not above 10,604; DMA's 1,029 not above 197 + 833.
    "49-i386-highmem": (
        {"order": 0, "highest_zone": "Normal", "migratetype": "reclaimable", "verdict": "shortage"},
        {"0 DMA": (4116, 788, 3332, 15, "-1.000", ["lowmem_reserve"], "protected"),
         "0 Normal": (42404, 42416, 0, 1855, "-1.000", ["below min"], "shortage"),
         "0 HighMem": (120916, 512, 0, 126, "-1.000", [], "above Normal")},
    ),
    "44-ppc64-64k": (
        {"order": 0, "verdict": "shortage", "kernel": "4.4.68-1-default", "highest_zone": "Normal"},
        {"7 DMA": (0, 0, 0, 0, "0.000", ["below min", "no chunk"], "shortage")},
    ),
    # 2,727 - 178 pages of CMA are above 1,548 / 2 - 774 / 4 = 581, but all chunks are highatomic: not for a single page.
    "419-arm64-vendor": (
        {"order": 0, "gfp": "GFP_ATOMIC", "task": "Service:31_3", "verdict": "shortage"},
        {"0 Normal": (10196, 2324, 0, 1129, "-1.000", ["only types it may not take"], "shortage")},
    ),
    # The cpuset has one node, of movable memory only: a request that is not movable has no zone.
    "58-cpuset-movable-node": (
        {"order": 0, "gfp": "GFP_HIGHUSER|__GFP_ACCOUNT", "highest_zone": "Normal", "verdict": "no zone allowed"},
        {"4 Movable": (130021408, 9140, 0, 31748, "-1.000", [], "above Normal")},
    ),
    # DMA: 12,084 - 15 - 508 - 15 = 11,546 > 4,923, not above 4,923 + 6,962. Normal: 13,635 - 15 - 508 = 13,112 > 12,640.
    "617-arm64-highatomic": (
        {"order": 4, "gfp": "GFP_NOFS|__GFP_COMP", "task": "sumfiles", "pid": 416120, "verdict": "could have served"},
        {"0 DMA": (46184, 19692, 27848, 148, "-1.000", ["lowmem_reserve"], "protected"),
         "0 DMA32": (51296, 36236, 15816, 140, "-1.000", ["lowmem_reserve"], "protected"),
         "0 Normal": (52448, 50560, 0, 171, "-1.000", [], "could have served")},
    ),
    # __GFP_HIGH halves the mark, and the highatomic reserve counts. DMA32: 94,145 pages are not above 140 + 94,028.
    "619-x86-dmesg-T": (
        {"order": 0, "task": "kswapd0", "pid": 244, "cpu": 3, "verdict": "shortage", "kernel": "6.19.11-1-example"},
        {"0 DMA": (11264, 4, 382636, 4, "-1.000", ["lowmem_reserve"], "protected"),
         "0 DMA32": (376580, 560, 376112, 918, "-1.000", ["lowmem_reserve"], "protected"),
         "0 Normal": (20084, 33228, 0, 307, "-1.000", ["below min"], "shortage")},
    ),
    # 1,482,936 - 1,073,152 of the highatomic reserve = 409,784, below 410,416.
    "66-highatomic-oom": (
        {"order": 0, "gfp": "GFP_HIGHUSER_MOVABLE", "highest_zone": "Movable", "migratetype": "movable", "verdict": "shortage"},
        {"0 Normal": (409784, 410416, 0, 10169, "-1.000", ["below min"], "shortage")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_of_the_field(name: str) -> None:
    (report,) = told(LOGS / f"{name}.txt")
    wanted, wanted_zones = REPORTS[name]
    assert {key: report[key] for key in wanted} == wanted
    assert zones(report) == wanted_zones
    for zone in report["zones"]:
        assert zone["index_says"] == kernel_verdict(zone["index"])


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_that_was_cut_has_its_verdict_or_none(name: str, tmp_path: Path) -> None:
    """Wherever the log ends; so have the zones of a report with a verdict. A zone that is not shown is not known.

    Marks, reserves and chunks come one after the other: what is missing was taken for 0.
    """
    lines = (LOGS / f"{name}.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    wanted, _ = REPORTS[name]
    right = {(zone["node"], zone["name"]): zone["verdict"] for zone in told(LOGS / f"{name}.txt")[0]["zones"]}
    for end in range(1, len(lines)):
        (tmp_path / "log").write_text("".join(lines[:end]), encoding="utf-8")
        try:
            found = told(tmp_path / "log")
        except KevacuateError:
            continue
        for report in found:
            both = wanted["verdict"].split(" and ")  # of one zone fragmentation, of another shortage
            assert report["verdict"] in (wanted["verdict"], "not known", *both), end
            for zone in report["zones"] if report["verdict"] != "not known" else ():
                assert zone["verdict"] in (right[zone["node"], zone["name"]], "not known"), (
                    end,
                    zone["name"],
                )


def test_every_log_is_held_to_values() -> None:
    assert {path.stem for path in LOGS.glob("*.txt")} == {*REPORTS, "memcg-41-and-54"}


def test_the_sums_of_free_chunks_are_the_kernels() -> None:
    """What the chunks sum up to is what the kernel printed behind them, but where a report was written piece by piece."""
    for path in LOGS.glob("*.txt"):
        for report in reports(TextFile(path).raw_lines()):
            for zone in report.zones:
                assert zone.total == sum(count * size for count, size, _ in zone.chunks), (path, zone.name)


def test_memory_cgroups_are_told_apart() -> None:
    old, new = told(LOGS / "memcg-41-and-54.txt")
    assert [one["verdict"] for one in (old, new)] == ["memory cgroup limit"] * 2
    assert [one["zones"] for one in (old, new)] == [[], []]
    assert (old["oom"]["memory_cgroup"], old["oom"]["limit_kb"], old["oom"]["victim"]) == (
        "/box/34186d9b",
        204800,
        "hog",
    )
    assert new["oom"] == {
        "constraint": "memcg", "memory_cgroup": "/lab.slice/memhog.scope", "usage_kb": 65536, "limit_kb": 65536,
        "victim": "nodejob", "victim_pid": 5192, "victim_anon_kb": 63108, "asked_for": False, "nobody_killed": False,
    }  # fmt: skip


def test_the_oom_killers_victim_and_constraint() -> None:
    (report,) = told(LOGS / "58-cpuset-movable-node.txt")
    assert (report["oom"]["constraint"], report["oom"]["victim"], report["oom"]["victim_pid"]) == (
        "cpuset",
        "boxes",
        4100,
    )
    (report,) = told(LOGS / "48-x86-cma-dmesg-x.txt")
    assert (report["oom"]["victim"], report["oom"]["victim_anon_kb"]) == ("swapper_test", 250000)


GUEST_STATES = ("fresh", "fragmented", "after the failure", "nearly full", "at the edge")


def states(path: Path) -> dict[str, dict[str, str]]:
    """The states that a guest printed: the text of each file of each state."""
    found: dict[str, dict[str, str]] = {}
    for block in path.read_text().split("=== STATE ")[1:]:
        name = (
            block.split(" after ", 1)[0] if not block.startswith("after the failure") else "after the failure"
        )
        assert "(torn)" not in block.splitlines()[0]
        parts = block.split("=== END")[0].split("--- ")[1:]
        found[name] = {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in parts}
    return found


@pytest.mark.parametrize("guest", ["linux-6.1", "linux-7.2", "linux-7.2-first"])
def test_the_index_is_the_kernels_own(guest: str) -> None:
    """Every order of every zone in every state, to the printed digit: extfrag_index and unusable_index of debugfs."""
    found = states(GUESTS / f"{guest}.txt")
    assert tuple(found) == GUEST_STATES[: 5 if guest == "linux-7.2" else 4]
    values = 0
    for state in found.values():
        for (node, zone), chunks in parse_buddyinfo(state["buddyinfo"]).items():
            head = f"Node {node}, zone {zone:>8} "
            indices = [index_text(fragmentation_index(chunks, order)) for order in range(len(chunks))]
            assert (
                head + " ".join(index.rjust(2 + len(index) - index.index(".")) for index in indices) + " "
                in state["extfrag_index"]
            ), (
                guest,
                head,
            )
            unusable = [index_text(unusable_free_index(chunks, order)) for order in range(len(chunks))]
            assert head + " ".join(unusable) + " " in state["unusable_index"], (guest, head)
            values += sum(index != "-1.000" for index in indices)
    assert values >= 8


def test_the_verdict_is_the_kernels_own() -> None:
    """At the edge there is one chunk of order 3 in DMA32: the kernel prints 0.-500 for order 4, which is lack of memory."""
    said = set()
    for guest in ("linux-6.1", "linux-7.2"):
        for state in states(GUESTS / f"{guest}.txt").values():
            for (_, zone), chunks in parse_buddyinfo(state["buddyinfo"]).items():
                printed = next(
                    line.split()[4:] for line in state["extfrag_index"].splitlines() if f" {zone} " in line
                )
                for order, text in enumerate(printed):
                    lack = text.startswith("0.-") or text <= "0.500"
                    wanted = (
                        "could have served" if text == "-1.000" else "shortage" if lack else "fragmentation"
                    )
                    assert kernel_verdict(fragmentation_index(chunks, order)) == wanted, (
                        guest,
                        zone,
                        order,
                        text,
                    )
                    said.add(wanted)
    assert said == {"could have served", "shortage", "fragmentation"}


@pytest.mark.parametrize("guest", ["linux-6.1", "linux-7.2-first"])
def test_the_guests_failure_and_its_verdict(guest: str) -> None:
    """The log of the same guests: the request failed of fragmentation by the kernel's own index, and the last one of shortage."""
    failure, oom = told(GUESTS / f"{guest}.txt")
    assert failure["kind"] == "allocation failure"
    assert failure["gfp"] in ("GFP_USER|__GFP_COMP|__GFP_ZERO", "GFP_USER|__GFP_ZERO|__GFP_COMP")
    assert {zone["index_says"] for zone in failure["zones"]} == {"fragmentation"}
    assert failure["verdict"] in ("fragmentation", "fragmentation and shortage")
    for zone in failure["zones"]:
        assert zone["large_chunks"] == 0
    assert (oom["kind"], oom["order"], oom["verdict"]) == ("out of memory", 0, "shortage")
    assert oom["oom"]["constraint"] == "none"


def test_how_debugfs_prints_an_index() -> None:
    assert [index_text(index) for index in (-1000, 0, 7, 951, 1000, -500)] == [
        "-1.000", "0.000", "0.007", "0.951", "1.000", "0.-500",
    ]  # fmt: skip
    assert [kernel_verdict(index) for index in (None, -1000, 0, 500, 501)] == [
        "not known", "could have served", "shortage", "shortage", "fragmentation",
    ]  # fmt: skip


def blocks() -> list[str]:
    """The reports of all logs, with times since boot of their own."""
    found = []
    for number, path in enumerate([*sorted(LOGS.glob("4*.txt")), LOGS / "619-x86-dmesg-T.txt"]):
        lines = [
            line.split("] ", 1)[-1] for line in path.read_text().splitlines() if "pieces" not in path.name
        ]
        found.append("".join(f"[{100 + number}.{at:06d}] {line}\n" for at, line in enumerate(lines)))
    return [block for block in found if block]


def test_the_order_of_reports_and_files_changes_nothing(tmp_path: Path) -> None:
    parts = blocks()
    draw = random.Random(7)
    wanted = None
    for _ in range(4):
        draw.shuffle(parts)
        cut = draw.randrange(1, len(parts))
        (tmp_path / "a").write_text("".join(parts[:cut]))
        (tmp_path / "b").write_text("".join(parts[cut:]))
        found = answer([TextFile(tmp_path / name) for name in draw.sample("ab", 2)])
        by_file = {file["file"]: file["count"] for file in found.pop("by_file")}
        assert by_file == {str(tmp_path / "a"): cut, str(tmp_path / "b"): len(parts) - cut}
        wanted = wanted or found
        assert found == wanted
    assert wanted is not None
    assert wanted["failures"] + wanted["oom_kills"] == len(parts)


def test_a_report_in_two_logs_counts_once(tmp_path: Path) -> None:
    part = blocks()[0]
    (tmp_path / "dmesg").write_text(part)
    (tmp_path / "syslog").write_text(
        "".join(f"Mar  4 02:11:07 h kernel: {line}\n" for line in part.splitlines())
    )
    found = answer([TextFile(tmp_path / "dmesg"), TextFile(tmp_path / "syslog")])
    assert (found["failures"], found["copies"], len(found["groups"])) == (1, 1, 1)


UNTIMED = re.compile(r"\[ *\d+\.\d+\] ?")


@pytest.mark.parametrize(
    ("logs", "reports", "copies"),
    [
        ("t u", 1, 1), ("u t", 1, 1), ("u u", 1, 1), ("uu u", 2, 1), ("u uu", 2, 1), ("uu t", 2, 1), ("u m", 1, 1), ("m t", 1, 1),
        ("t t", 1, 1), ("t l", 2, 0), ("tl u", 2, 1), ("u tl", 2, 1), ("tl uu", 2, 2), ("u d", 2, 0),
    ],
)  # fmt: skip
def test_a_report_without_a_time_since_boot_is_told_by_what_it_says(
    tmp_path: Path, logs: str, reports: int, copies: int
) -> None:
    """t: with its time since boot, l: the same at a later time, u: in syslog without, m: in a mail, d: another figure."""
    part = blocks()[0]
    bare = UNTIMED.sub("", part)
    syslog = "".join(f"Mar  4 02:11:07 h kernel: {line}\n" for line in bare.splitlines())
    later = re.sub(r"\[ *(\d+)\.", lambda found: f"[{int(found[1]) + 60}.", part)
    free = re.search(r"free:(\d+)kB", syslog)
    assert free is not None
    forms = {
        "t": part,
        "l": later,
        "u": syslog,
        "m": bare,
        "d": syslog.replace(free[0], f"free:{int(free[1]) + 4}kB"),
    }
    files = []
    for number, letters in enumerate(logs.split()):
        path = tmp_path / f"log{number}"
        path.write_text("".join(forms[letter] for letter in letters))
        files.append(TextFile(path))
    found = answer(files)
    assert (found["failures"], found["copies"], found["copies_untold"]) == (reports, copies, 0)


def test_reports_that_nothing_tells_apart_are_counted_and_named(tmp_path: Path) -> None:
    line = "sh: page allocation failure: order:4, mode:0x2040d0\n"
    for name in "ab":
        (tmp_path / name).write_text(line)
    found = answer([TextFile(tmp_path / name) for name in "ab"])
    assert (found["failures"], found["copies"], found["copies_untold"]) == (2, 0, 1)
    assert "1 counted report may stand in the logs twice" in words(found)


def test_sums_by_order_task_and_time(tmp_path: Path) -> None:
    line = "Mar  4 {}:00:00 h kernel: {}: page allocation failure: order:{}, mode:0x20\n"
    drawn = [("02", "a", 0), ("02", "a", 2), ("02", "b", 2), ("05", "a", 2)]
    (tmp_path / "log").write_text("".join(line.format(*one) for one in drawn))
    found = answer([TextFile(tmp_path / "log")])
    assert found["by_order"] == {"0": 1, "2": 3}
    assert found["by_task"] == [{"task": "a", "count": 3}, {"task": "b", "count": 1}]
    assert found["by_time"] == [
        {"hour": "03-04 02:00", "failures": 3, "oom": 0},
        {"hour": "03-04 05:00", "failures": 1, "oom": 0},
    ]
    assert found["verdicts"] == {"not known": 4}
    assert found["advice"] == []
    json.dumps(found)


def test_clocks_of_logs() -> None:
    assert clock("Jun  3 04:36:30") == "06-03 04:36:30"
    assert clock("Mon Jun  3 04:36:30 2019") == "2019-06-03 04:36:30"
    assert clock("2024-06-13T04:36:30.123456+02:00") == "2024-06-13 04:36:30"
    assert clock("Thu 2024-06-13 04:36:30 UTC") == "2024-06-13 04:36:30"
    assert clock("") == clock("Foo  3 04:36:30") == ""


def interleaved(first: list[str], second: list[str], draw: random.Random) -> list[str]:
    """The lines of both in one order that keeps each one's."""
    turns = [0] * len(first) + [1] * len(second)
    draw.shuffle(turns)
    left = [list(reversed(first)), list(reversed(second))]
    return [left[turn].pop() for turn in turns]


def test_reports_of_two_cpus_are_told_apart_by_their_callers(tmp_path: Path) -> None:
    texts = [(LOGS / f"{name}.txt").read_text().splitlines() for name in ("41-x86-atomic", "49-i386-highmem")]
    made = [
        [f"[  7.{at:06d}][  T{caller}] {line.split('] ', 1)[-1]}" for at, line in enumerate(text)]
        for caller, text in enumerate(texts)
    ]
    for seed in range(5):
        (tmp_path / "log").write_text("\n".join(interleaved(*made, random.Random(seed))))
        found = sorted(told(tmp_path / "log"), key=lambda one: one["kind"])
        assert [zones(one) for one in found] == [
            REPORTS["41-x86-atomic"][1],
            REPORTS["49-i386-highmem"][1],
        ], seed
        assert not any(one["mixed"] for one in found)


def test_mixed_reports_without_callers_go_to_the_older_first(tmp_path: Path) -> None:
    text = (LOGS / "41-x86-atomic.txt").read_text().splitlines()
    other = [
        line.replace("swapper/3", "swapper/5")
        .replace("CPU: 3", "CPU: 5")
        .replace("free:6916kB", "free:6920kB")
        for line in text
    ]
    lines = [line for pair in zip(text, other, strict=True) for line in pair]
    (tmp_path / "log").write_text("\n".join(lines))
    one, two = told(tmp_path / "log")
    assert (one["task"], two["task"], one["cpu"], two["cpu"]) == ("swapper/3", "swapper/5", 3, 5)
    assert zones(one) == REPORTS["41-x86-atomic"][1]
    assert two["zones"][1]["free_kb"] == 6920
    assert one["mixed"]
    assert two["mixed"]


def test_a_log_without_a_report(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("[    0.000000] Linux version 6.1.0 (builder@host)\n[    1.000000] hello\n")
    found = answer([TextFile(tmp_path / "log")])
    assert (found["failures"], found["oom_kills"], found["groups"], found["advice"]) == (0, 0, [], [])


def test_a_kernel_that_is_not_named_is_said(tmp_path: Path) -> None:
    lines = [
        line for line in (LOGS / "617-arm64-highatomic.txt").read_text().splitlines() if "CPU:" not in line
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    (report,) = told(tmp_path / "log")
    assert (report["kernel"], report["rules"], report["rules_guessed"]) == (None, "6.13", True)
    assert zones(report) == REPORTS["617-arm64-highatomic"][1]
    (tmp_path / "log").write_text("[    0.000000] Linux version 6.17.1-x (b@h)\n" + "\n".join(lines))
    (report,) = told(tmp_path / "log")
    assert (report["kernel"], report["rules_guessed"]) == ("6.17.1-x", False)


def test_many_kinds_of_reports_stay_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_log, "MOST_GROUPS", 5)
    monkeypatch.setattr(kernel_log, "MOST_NAMES", 5)
    line = "[{}.000000] t{}: page allocation failure: order:{}, mode:0x20\n"
    (tmp_path / "log").write_text("".join(line.format(n, n, n % 8) for n in range(40)))
    found = answer([TextFile(tmp_path / "log")])
    assert found["failures"] == 40
    assert (len(found["groups"]), found["reports_in_no_group"]) == (5, 15)
    assert {"task": "(others)", "count": 35} in found["by_task"]


def failure(when: str, task: str, order: int, free_kb: int, chunks: str) -> list[str]:
    """Lines of a report with one zone, whose min is 10,000 kB."""
    return [
        f"{when}{task}: page allocation failure: order:{order}, mode:0x40cc0(GFP_KERNEL|__GFP_COMP), nodemask=(null)",
        f"{when}CPU: 0 UID: 0 PID: 7 Comm: {task} Not tainted 6.18.0 #1 NONE",
        f"{when}Node 0 Normal free:{free_kb}kB boost:0kB min:10000kB low:12000kB high:14000kB free_highatomic:0KB free_cma:0kB",
        f"{when}lowmem_reserve[]: 0 0 0 0",
        *([f"{when}Node 0 Normal: {chunks}"] if chunks else []),
        f"{when}9999 pages RAM",
    ]


NONE = " ".join(f"0*{4 << order}kB" for order in range(2, 11))


def test_a_line_that_was_cut_proves_no_missing_chunk() -> None:
    """The line of free chunks ends at any byte: what it lacks may be large enough, what it shows is there."""
    line = f"40000*4kB (UM) 10*8kB (U) {NONE} = 160080kB"
    for end in range(len(line) + 1):
        cut = failure("[   10.000000] ", "sh", 4, 160080, line[:end])
        (found,) = [told_of(report) for report in reports(text.encode() for text in cut)]
        (zone,) = found["zones"]
        whole = end >= len(line)
        assert found["verdict"] == ("fragmentation" if whole else "not known"), line[:end]
        assert (zone["large_chunks"], zone["may_take_one"]) == ((0, False) if whole else (None, None))
    # 40,010 chunks of 40,020 pages: 1000 - (1000 + 40020000 / 16) / 40010 = 1000 - 62.
    assert zone["index"] == 938
    shown = failure("[   10.000000] ", "sh", 1, 160080, "40000*4kB (UM) 10*8kB (U) 0*16")
    (found,) = [told_of(report) for report in reports(text.encode() for text in shown)]
    assert (found["verdict"], found["zones"][0]["may_take_one"]) == ("could have served", True)


def test_mixed_lists_of_chunks_go_to_the_zone_that_had_so_much_free() -> None:
    """Whatever the order of two CPUs' lines, no zone has another's chunks, and none ends before its own came."""
    sums = {160000: (40000, 938), 80000: (20000, 938)}
    first, second = (
        failure("[   10.000000] ", task, 4, free, f"{count}*4kB (U) 0*8kB {NONE} = {free}kB")
        for task, (free, (count, _)) in zip(("one", "two"), sums.items(), strict=True)
    )
    for seed in range(60):
        mixed = interleaved(first, second, random.Random(seed))
        found = [told_of(report) for report in reports(text.encode() for text in mixed)]
        assert sorted(report["task"] for report in found) == ["one", "two"]
        for zone in (report["zones"][0] for report in found):
            assert (zone["free_chunks"][0], zone["index"]) == sums[zone["free_kb"]], seed


def test_a_log_without_years_goes_on_over_new_year(tmp_path: Path) -> None:
    times = ("Jan  1 00:00:02", "Dec 31 23:59:58", "Dec 30 10:00:00", "Jan  2 01:00:00")
    lines = [line for time in times for line in failure(f"{time} host kernel: ", "sh", 4, 160000, "")]
    (tmp_path / "syslog").write_text("\n".join(lines))
    found = answer([TextFile(tmp_path / "syslog")])
    assert [one["hour"] for one in found["by_time"]] == [
        "12-30 10:00",
        "12-31 23:00",
        "01-01 00:00",
        "01-02 01:00",
    ]
    (group,) = found["groups"]
    assert (group["first"]["clock"], group["last"]["clock"]) == ("12-30 10:00:00", "01-02 01:00:00")
    assert group["example"]["moment"]["clock"] == "12-30 10:00:00"


def test_flags_that_cannot_be_read_are_not_taken_for_none() -> None:
    lines = [line.replace("__GFP_COMP", "0x") for line in failure("[   10.000000] ", "sh", 0, 8000, "")]
    (found,) = [told_of(report) for report in reports(text.encode() for text in lines)]
    assert (found["can_reclaim"], found["verdict"], found["zones"]) == (None, "not known", [])


def test_names_of_flags_hold_beside_a_release_that_printed_none() -> None:
    """GFP_KERNEL may wait, whatever kernel a mixed log names: it must respect the whole min mark."""
    lines = [line.replace("6.18.0", "3.7.0") for line in failure("[   10.000000] ", "sh", 0, 8000, "")]
    (found,) = [told_of(report) for report in reports(text.encode() for text in lines)]
    assert found["zones"][0]["mark_kb"] == 10000
