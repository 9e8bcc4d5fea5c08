# SPDX-License-Identifier: GPL-2.0-or-later
"""What bcc, bpftrace, perf kmem and /proc/allocinfo print: facts of public examples, values worked out by hand; task names
are made up.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from kevacuate.kernelfiles.snoop import looks_like_snoop
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files import allocinfo, bpftrace, perf_kmem, snoop
from kevacuate.reports.triage.files import allocinfo as allocinfo_words
from kevacuate.reports.triage.files import bpftrace as bpftrace_words
from kevacuate.reports.triage.files import perf_kmem as perf_kmem_words
from kevacuate.reports.triage.files import snoop as snoop_words

WORDS: dict[ModuleType, ModuleType] = {
    allocinfo: allocinfo_words, bpftrace: bpftrace_words, perf_kmem: perf_kmem_words, snoop: snoop_words
}  # fmt: skip


def answer_of(kind: ModuleType, tmp_path: Path, text: str) -> tuple[dict[str, Any], str]:
    """The answer of that kind to a file of that text, and its words; its tables are made, too."""
    path = tmp_path / "given"
    path.write_text(text)
    found = kind.answer([TextFile(path)])
    with Console(quiet=True) as console:
        for table in WORDS[kind].tables(found):
            console.print(table)
    return found, WORDS[kind].words(found)


def test_compactsnoop_of_a_compaction_of_all_memory(tmp_path: Path) -> None:
    """The tool's own example: two rounds over four zones take 199.495 and 199.273 ms; order -1 is all orders, so
    "complete" is success.
    """
    rounds = ((0.025, 3.925, 113.975, 81.57), (0.02, 4.631, 113.975, 80.647))
    zones = ("0    ZONE_DMA    ", "0    ZONE_DMA32  ", "0    ZONE_NORMAL ", "1    ZONE_NORMAL ")
    text = "COMM           PID    NODE ZONE         ORDER MODE      LAT(ms)           STATUS\n" + "".join(
        f"shell          23685  {zone} -1    SYNC  {ms:>11}         complete\n"
        for times in rounds for zone, ms in zip(zones, times, strict=True)
    )  # fmt: skip
    found, words = answer_of(snoop, tmp_path, text + "^C\n")
    tool = found["tools"][0]
    assert (tool["tool"], tool["stalls"], tool["ns"], tool["worst_ns"], tool["failed"]) == (
        "compactsnoop", 8, 398_768_000, 113_975_000, 0
    )  # fmt: skip
    assert tool["percentiles_ns"] == {"p50": 4_631_000, "p90": 113_975_000, "p99": 113_975_000}
    assert found["unread"] == 0
    assert "compactsnoop saw 8 stalls in compaction, 399 ms in all." in words


EXTENDED = (
    (3, "0.728", "3.58", "partial"),
    (2, "-1.000", "0.0", "complete"),
    (2, "-1.000", "0.019", "complete"),
    (2, "-1.000", "0.006", "partial"),
    (2, "-1.000", "0.030", "complete"),
    (2, "-1.000", "0.024", "complete"),
    (2, "-1.000", "0.023", "complete"),
    (3, "0.832", "0.006", "partial"),
    (2, "-1.000", "0.005", "partial"),
    (3, "0.733", "0.012", "partial"),
)
HEADING = "TIME(s)  COMM  PID  NODE ZONE  ORDER MODE  FRAGIDX  MIN  LOW  HIGH  FREE  LAT(ms)  STATUS\n"
STACK = "               kretprobe_trampoline+0x0\n               try_to_compact_pages+0x121\n\n"


def test_compactsnoop_with_more_columns_stacks_and_a_name_with_blanks(tmp_path: Path) -> None:
    """The tool's example of -e: 3.705 ms in ten stalls, five "complete" without the page; 3.598 ms of it for order 3."""
    text = HEADING + "".join(
        f"101.364115000  load   a b  28276  1  ZONE_NORMAL  {order}  ASYNC  {index} 112 141 169 141 {ms} {status}\n{STACK}"
        for order, index, ms, status in EXTENDED
    )
    found, _ = answer_of(snoop, tmp_path, text)
    tool = found["tools"][0]
    assert (tool["stalls"], tool["ns"], tool["failed"], found["unread"]) == (10, 3_705_000, 5, 0)
    by_order = {order: sum(row["ns"] for row in tool["groups"] if row["order"] == order) for order in (2, 3)}
    assert by_order == {2: 107_000, 3: 3_598_000}
    assert [(row["order"], row["status"], row["stalls"]) for row in tool["groups"]] == [
        (3, "partial", 3),
        (2, "complete", 5),
        (2, "partial", 2),
    ]
    assert tool["tasks"][0]["task"] == "load a b"
    assert found["advice"] == [], "milliseconds are no reason for advice"


def test_drsnoop(tmp_path: Path) -> None:
    """The tool's own example: twenty stalls of 110.04 ms and 2,992 pages, the longest 104.84 ms."""
    ms = (0.19, 0.55, 0.15, 0.27, 0.48, 0.16, 0.29, 0.17, 0.14, 104.84)
    ms += (0.32, 0.14, 0.16, 0.29, 0.27, 0.32, 0.16, 0.43, 0.14, 0.57)
    pages = (143, 313, 145, 237, 111, 75, 339, 109, 73, 40, 167, 106, 67, 267, 69, 46, 85, 283, 182, 135)
    rows = zip(ms, pages, strict=True)
    text = "UID   COMM           PID     LAT(ms) PAGES  FREE(KB)\n" + "".join(
        f"1000  loader         17678  {took:>9} {freed:>5}     86260\n" for took, freed in rows
    )
    found, words = answer_of(snoop, tmp_path, text + "1000  loader  x  y  z  1 2 3 4 5 6 7 8 9\n")
    tool = found["tools"][0]
    assert (tool["tool"], tool["stalls"], tool["ns"], tool["worst_ns"], tool["pages"]) == (
        "drsnoop", 20, 110_040_000, 104_840_000, 2992
    )  # fmt: skip
    assert found["unread"] == 1
    assert "They reclaimed 2,992 pages." in words


def test_long_stalls_are_reason_for_advice(tmp_path: Path) -> None:
    text = "COMM PID NODE ZONE ORDER MODE LAT(ms) STATUS\nqemu 1 0 ZONE_NORMAL 9 SYNC 1500.5 contended\n"
    found, _ = answer_of(snoop, tmp_path, text)
    assert found["advice"][0]["source"].endswith("compaction_proactiveness")
    assert "qemu stalled 1.50 s of 1.50 s" in found["advice"][0]["evidence"]


def test_other_tools_of_bcc_are_not_taken_for_these(tmp_path: Path) -> None:
    path = tmp_path / "biosnoop"
    path.write_text(
        "TIME(s)     COMM           PID     DISK      T SECTOR     BYTES  LAT(ms)\n0.000000    supervise      1950    xvda1 "
        "W 13092560   4096      0.74\n"
    )
    assert not looks_like_snoop(TextFile(path))


def test_bpftrace_maps_statistics_and_stacks(tmp_path: Path) -> None:
    """A recipe for compaction's results and extfrag events, a statistic, and stacks as keys."""
    text = (
        "Attached 3 probes\n\nCompaction outcomes:\n@[8]: 12\n@[5]: 30\n@[8]: 14\n\n@extfrag_total: 5\n@lat[cc1, 9]: count "
        "4, average 25, total 100\n"
        "@who[\n    get_page_from_freelist+2451\n    __alloc_pages+233\n    pte_alloc_one+23\n, make]: 7\n"
        "@ns:\n(..., 0)               1 |@     |\n[0]                    2 |@@    |\n[512, 1K)              5 "
        "|@@@@@@|\n[1M, ...)              1 |@     |\n"
    )
    found, words = answer_of(bpftrace, tmp_path, text)
    output = found["outputs"][0]
    maps = {one["name"]: one for one in output["maps"]}
    assert maps["@"]["elements"] == [{"key": ["5"], "value": 30}, {"key": ["8"], "value": 14}]
    assert (maps["@"]["sum"], output["repeated"], output["lines_not_read"]) == (44, 1, 1)
    assert maps["@extfrag_total"]["sum"] == 5
    assert maps["@lat"]["sum"] == 4
    assert maps["@who"]["elements"] == [{"key": ["pte_alloc_one", "make"], "value": 7}]
    histogram = output["histograms"][0]
    assert (histogram["count"], histogram["median"]) == (9, [512, 1024])
    assert histogram["buckets"] == [[None, 0, 1], [0, 1, 2], [512, 1024, 5], [1 << 20, None, 1]]
    assert "@ns: 9 values, the median from 512 to below 1,024." in words


def test_bpftrace_sums_by_each_place_of_a_key(tmp_path: Path) -> None:
    """@[comm, order]: by task 9 and 4, by order 0 10 and order 3 3."""
    found, _ = answer_of(
        bpftrace, tmp_path, "Attaching 1 probe...\n@[make, 0]: 6\n@[make, 3]: 3\n@[cc1, 0]: 4\n"
    )
    keys = found["outputs"][0]["maps"][0]["keys"]
    assert keys == [
        [{"value": "make", "sum": 9}, {"value": "cc1", "sum": 4}], [{"value": "0", "sum": 10}, {"value": "3", "sum": 3}]
    ]  # fmt: skip


SUMMARY = (
    "SUMMARY (page allocator)\n========================\n"
    "Total allocation requests     :           44,260   [          177,256 KB ]\n"
    "Total free requests           :              117   [              468 KB ]\n\n"
    "Total allocation failures     :                0   [                0 KB ]\n\n"
    "Order     Unmovable   Reclaimable       Movable      Reserved  CMA/Isolated\n"
    "-----  ------------  ------------  ------------  ------------  ------------\n"
    "    0            32             .        44,210             .             .\n"
    "    1             .             .             .             .             .\n"
    "    2             .            18             .             .             .\n"
)


@pytest.mark.parametrize(
    ("row", "numbering", "by_type"),
    [
        ("RECLAIM |  00285250", "before 4.4", {"unmovable": 32, "movable": 44210, "reclaimable": 18}),
        ("RECLAIM |  0014200a", "since 4.4", {"unmovable": 32, "reclaimable": 44210, "movable": 18}),
        ("MOVABLE |  000000d0", "since 4.4", {"unmovable": 32, "reclaimable": 44210, "movable": 18}),
        (
            "UNMOVABL |  000202d0",
            "not known",
            {"unmovable": 32, "perf's MOVABLE": 44210, "perf's RECLAIM": 18},
        ),
    ],
)
def test_perf_kmem_names_types_as_the_flags_prove(
    tmp_path: Path, row: str, numbering: str, by_type: dict[str, int]
) -> None:
    """A public report of 2015 (44,260 requests), and what the same table means on other kernels: bit 3 is __GFP_MOVABLE."""
    rows = (
        " PFN              | Total alloc (KB) | Hits     | Order | Mig.type | GFP flags\n"
        f"          4045014 |               16 |        1 |     2 |  {row}\n"
        " ...              | ...              | ...      | ...   | ...      | ...\n"
    )
    found, words = answer_of(perf_kmem, tmp_path, rows + SUMMARY)
    report = found["reports"][0]
    assert report["numbering"] == numbering
    assert report["by_type"] == by_type
    assert report["totals"] == {"requests": [44260, 177256], "frees": [117, 468], "failures": [0, 0]}
    assert (report["rows_in_all"], report["rows_not_read"]) == (1, 0)
    assert ("its own names are shown" in words) == (numbering == "not known")
    assert bool(found["advice"]) == (numbering == "not known")


REAL = (
    "#\n# GFP flags\n# ---------\n# 00000cc0:                   K: GFP_KERNEL\n# 00002800:                  NW: GFP_NOWAIT\n"
    "# 00140cca:               HUM|C: GFP_HIGHUSER_MOVABLE|__GFP_COMP\n"
    "# 00440dc0:             KAC|Z|C: GFP_KERNEL_ACCOUNT|__GFP_ZERO|__GFP_COMP\n\n"
    "-------------------------------------------------------------------------------------------\n"
    " Total alloc (KB) | Hits      | Order | Mig.type | GFP flags           | Callsite\n"
    "-------------------------------------------------------------------------------------------\n"
    "             3080 |       770 |     0 |  RECLAIM | HUM|C               | ffffffff0262184b\n"
    "               68 |        17 |     0 | UNMOVABL | KAC|Z|C             | ffffffff0262184b\n"
    "               32 |         8 |     0 | UNMOVABL | NW                  | ffffffff0262184b\n"
)


def test_perf_kmem_orders_in_other_digits(tmp_path: Path) -> None:
    found, _ = answer_of(perf_kmem, tmp_path, SUMMARY + "\u00b2  1 . . . .\n")
    assert found["reports"][0]["totals"]["requests"] == [44260, 177256]


def test_perf_kmem_of_linux_6_18(tmp_path: Path) -> None:
    """perf 6.1 on 6.18: what parts letters of flags also parts cells; 770 requests that it calls RECLAIM are movable."""
    report = answer_of(perf_kmem, tmp_path, REAL)[0]["reports"][0]
    assert (report["numbering"], report["rows_in_all"], report["rows_not_read"]) == ("since 4.4", 3, 0)
    assert [(row["type"], row["hits"], row["gfp"]) for row in report["rows"]] == [
        ("movable", 770, "GFP_HIGHUSER_MOVABLE|__GFP_COMP"),
        ("unmovable", 17, "GFP_KERNEL_ACCOUNT|__GFP_ZERO|__GFP_COMP"),
        ("unmovable", 8, "GFP_NOWAIT"),
    ]


def test_perf_kmem_legend_and_contradictions(tmp_path: Path) -> None:
    """Since 4.6 perf prints letters, and a legend of them."""
    text = (
        "#\n# GFP flags\n# ---------\n# 0014200a:          HI|M: GFP_HIGHUSER_MOVABLE\n# 00002a20:             A: GFP_ATOMIC\n#\n"
        " Total alloc (KB) | Hits      | Order | Mig.type | GFP flags | Callsite\n"
        "              100 |        25 |     0 |  RECLAIM |  HI|M | do_anonymous_page\n"
    )
    path = tmp_path / "given"
    path.write_text(text.replace("HI|M", "HIM"))
    report = perf_kmem.answer([TextFile(path)])["reports"][0]
    assert (report["numbering"], report["rows"][0]["type"], report["rows"][0]["gfp"]) == (
        "since 4.4",
        "movable",
        "GFP_HIGHUSER_MOVABLE",
    )
    path.write_text(
        text.replace("HI|M", "HIM") + "              100 |        25 |     0 |  MOVABLE |  0014200a | x\n"
    )
    assert perf_kmem.answer([TextFile(path)])["reports"][0]["numbering"] == "contradictory"


ALLOCINFO = (
    "allocinfo - version: 2.0\n#     <size>  <calls> <tag info>\n"
    "           0        0 arch/x86/kernel/kdebugfs.c:105 func:create_setup_data_nodes \n"
    "       49152       48 arch/x86/kernel/cpu/mce/core.c:2709 func:mce_device_create accurate:no \n"
    "       32768        1 arch/x86/kernel/cpu/mce/genpool.c:132 func:mce_gen_pool_create \n"
    "          40        1 fs/xfs/xfs_log_cil.c:1775 [xfs] func:xlog_cil_init \n"
    "     4194304     1024 mm/filemap.c:1961 func:__filemap_get_folio \n"
    "      131072       32 mm/slub.c:2425 func:alloc_slab_page \n"
)


def test_allocinfo(tmp_path: Path) -> None:
    """Lines of two public reports: 81,960 bytes cannot move; slabs and page cache are kept apart."""
    found, words = answer_of(allocinfo, tmp_path, ALLOCINFO + "nonsense\n")
    copy = found["copies"][0]
    assert (copy["bytes"], copy["movable_bytes"], copy["slab_pages_bytes"]) == (4407336, 4194304, 131072)
    assert (copy["cannot_move_bytes"], copy["places_in_all"], copy["inaccurate"], copy["lines_not_read"]) == (
        81960,
        3,
        1,
        1,
    )
    assert [(row["function"], row["module"], row["bytes"]) for row in copy["places"]] == [
        ("mce_device_create", "", 49152), ("mce_gen_pool_create", "", 32768), ("xlog_cil_init", "xfs", 40)
    ]  # fmt: skip
    assert "mce_device_create" in found["advice"][0]["do"]
    assert "1 place missed allocations" in words


def test_allocinfo_keeps_the_largest(tmp_path: Path) -> None:
    """Of 500 places the hundred largest, in order, whatever the file's."""
    lines = [f"{size} 1 mm/x.c:{size} func:f{size}\n" for size in range(1, 501)]
    found, _ = answer_of(allocinfo, tmp_path, "".join(lines))
    assert [row["bytes"] for row in found["copies"][0]["places"]] == list(range(500, 400, -1))
    assert answer_of(allocinfo, tmp_path, "".join(reversed(lines)))[0]["copies"] == found["copies"]
    assert found["advice"] == [], "no place stands out"
