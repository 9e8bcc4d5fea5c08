# SPDX-License-Identifier: GPL-2.0-or-later
"""Beginnings of reports as kernels of all versions print them, and what the OOM killer says."""

import pytest

from kevacuate.kernelfiles.allocfailure import FAILURE, OOM, STALL, VMALLOC, beginning, node_set, reports
from kevacuate.kernelfiles.loglines import log_line
from kevacuate.observe.files.kernel_log import told_of

BEGINNINGS = {
    "tar: page allocation failure: order:1, mode:0x4020": (FAILURE, "tar", 1, 0x4020, ""),
    "tar: page allocation failure. order:1, mode:0x4020": (FAILURE, "tar", 1, 0x4020, ""),
    "kworker/u8:4: page allocation failure: order:0, mode:0x404000(GFP_NOWAIT|__GFP_COMP),cpuset=/,mems_allowed=0": (
        FAILURE, "kworker/u8:4", 0, 0x404000, "GFP_NOWAIT|__GFP_COMP",
    ),
    "CPU 0/KVM: page allocation failure: order:4, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO)": (
        FAILURE, "CPU 0/KVM", 4, 0x40DC0, "GFP_KERNEL|__GFP_COMP|__GFP_ZERO",
    ),
    "tar: page allocation stalls for 10004ms, order:0, mode:0x14204d2(GFP_HIGHUSER|__GFP_COLD), nodemask=(null)": (
        STALL, "tar", 0, 0x14204D2, "GFP_HIGHUSER|__GFP_COLD",
    ),
    "tar: page allocation stall for 10 secs: order:3, mode:0xcc0(GFP_KERNEL) nodemask=(null),cpuset=/,mems_allowed=0": (
        STALL, "tar", 3, 0xCC0, "GFP_KERNEL",
    ),
    "tar: vmalloc: allocation failure: 33554432 bytes, mode:0x24000c2(GFP_KERNEL|__GFP_HIGHMEM)": (
        VMALLOC, "tar", 0, 0x24000C2, "GFP_KERNEL|__GFP_HIGHMEM",
    ),
    "tar: vmalloc error: size 4294967296, page order 9, failed to allocate pages, mode:0xcc0(GFP_KERNEL), nodemask=(null)": (
        VMALLOC, "tar", 9, 0xCC0, "GFP_KERNEL",
    ),
    "tar: vmalloc error: size 4096, vm_struct allocation failed, mode:0xcc0(GFP_KERNEL), nodemask=(null)": (
        VMALLOC, "tar", 0, 0xCC0, "GFP_KERNEL",
    ),
    "tar: vmalloc error: size 8192, failed to allocate pages, mode:0xcc2(GFP_KERNEL|__GFP_HIGHMEM), nodemask=(null)": (
        VMALLOC, "tar", 0, 0xCC2, "GFP_KERNEL|__GFP_HIGHMEM",
    ),
    "tar invoked oom-killer: gfp_mask=0x201da, order=0, oom_score_adj=0": (OOM, "tar", 0, 0x201DA, ""),
    "tar invoked oom-killer: gfp_mask=0x201da, order=0, oom_adj=0, oom_score_adj=0": (OOM, "tar", 0, 0x201DA, ""),
    "tar invoked oom-killer: gfp_mask=0x24201ca(GFP_HIGHUSER_MOVABLE|__GFP_COLD), nodemask=0-1, order=0, oom_score_adj=0": (
        OOM, "tar", 0, 0x24201CA, "GFP_HIGHUSER_MOVABLE|__GFP_COLD",
    ),
    "tar invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), nodemask=(null),  order=3, oom_score_adj=0": (
        OOM, "tar", 3, 0xCC0, "GFP_KERNEL",
    ),
    "sh invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0": (OOM, "sh", -1, 0xCC0, "GFP_KERNEL"),
}  # fmt: skip


@pytest.mark.parametrize("line", BEGINNINGS)
def test_a_line_that_begins_a_report(line: str) -> None:
    report = beginning(log_line(f"[    1.000000] {line}"))
    assert report is not None
    assert (report.kind, report.task, report.order, report.gfp, report.gfp_names) == BEGINNINGS[line]


@pytest.mark.parametrize(
    "line", ["hello", "SLUB: Unable to allocate memory on node -1", "cma: cma_alloc: alloc failed", ""]
)
def test_other_lines_begin_none(line: str) -> None:
    assert beginning(log_line(line)) is None


def test_nodes_of_masks() -> None:
    assert node_set("0-1,3") == {0, 1, 3}
    assert node_set("7") == {7}
    for text in ("null", "", "5-3", "0-99999999", "1,,2", "-"):
        assert node_set(text) is None, text


ZONE = "Node 0 Normal free:{}kB min:100kB low:125kB high:150kB present:4096kB managed:4096kB free_cma:0kB"


def log(*lines: str) -> list[bytes]:
    """Lines with a time each."""
    return [f"[    7.{at:06d}] {line}".encode() for at, line in enumerate(lines)]


def test_netconsole_with_callers_in_turn() -> None:
    begin = "{}: page allocation failure: order:0, mode:0xcc0(GFP_KERNEL), nodemask=(null)"
    lines = []
    for at in range(3):
        for caller, free in (("T17", 400), ("C1", 80)):
            text = (begin.format(f"task{caller}"), ZONE.format(free), "Node 0 Normal: 20*4kB (U) = 80kB")[at]
            lines.append(f"4,{at},{7000 + at},-,caller={caller};{text}".encode())
    found = {report.task: report for report in reports(lines)}
    assert {task: report.zones[0].fields["free"] for task, report in found.items()} == {
        "taskT17": 400,
        "taskC1": 80,
    }
    assert not any(report.mixed for report in found.values())
    assert found["taskT17"].first.uptime_us == 7000


def test_the_oom_killer_asked_for_by_sysrq_and_without_a_victim() -> None:
    asked, nobody = (
        told_of(report)
        for report in reports(
            log(
                "sh invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0",
                "Node 0 Normal free:4000kB min:100kB low:125kB high:150kB",
                "Out of memory: Killed process 5 (big) total-vm:9kB, anon-rss:8kB, file-rss:0kB, shmem-rss:0kB",
                "tar invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=2, oom_score_adj=0",
                "COMPACTION is disabled!!!",
                "CPU: 1 PID: 9 Comm: tar Not tainted 6.1.0 #1",
                ZONE.format(400),
                "lowmem_reserve[]: 0 0",
                "Node 0 Normal: 100*4kB (U) 0*8kB 0*16kB = 400kB",
                "Out of memory and no killable processes...",
                "Kernel panic - not syncing: System is deadlocked on memory",
            )
        )
    )
    assert (asked["oom"]["asked_for"], asked["oom"]["victim"], asked["verdict"], asked["zones"]) == (
        True,
        "big",
        "not known",
        [],
    )
    assert (nobody["oom"]["nobody_killed"], nobody["verdict"], nobody["compaction"]) == (
        True,
        "fragmentation",
        False,
    )
    assert "mm/oom_kill.c:dump_header" in [piece["source"] for piece in nobody["helps"]]


def test_victims_are_named_by_the_last_line() -> None:
    (old,) = reports(
        log(
            "tar invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0",
            "Out of memory: Kill process 100 (parent) score 900 or sacrifice child",
            "Killed process 101 (child) total-vm:9kB, anon-rss:8kB, file-rss:0kB",
        )
    )
    assert (old.oom.victim, old.oom.victim_pid, old.oom.victim_anon_kb, old.oom.score) == (
        "child",
        101,
        8,
        900,
    )
    (red_hat,) = reports(
        log("Killed process 215701, UID 679, (java) total-vm:11017300kB, anon-rss:7152432kB, file-rss:1232kB")
    )
    assert (red_hat.kind, red_hat.oom.victim, red_hat.oom.victim_anon_kb) == (OOM, "java", 7152432)
