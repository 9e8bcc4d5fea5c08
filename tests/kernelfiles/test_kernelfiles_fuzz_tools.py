# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and hostile copies of page_owner and texts of tracers give an answer or one sentence, in bounded memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.door import triage

FILES = 100
LIMIT_MIB = 400

SAMPLES: dict[str, str] = {
    "page_owner": (
        "Page allocated via order 2, mask 0xd20c0(__GFP_IO|__GFP_FS|__GFP_COMP), pid 1210, tgid 1210 (bash), ts 12000210101 ns\n"
        "PFN 0x9c4 type Unmovable Block 4 type Movable Flags 0x200(slab|node=0|zone=1)\n post_alloc_hook+0x1f/0x30\n "
        "f+0x3a1/0x1230\n"
        "Page has been migrated, last migrate reason: compaction\nCharged to memcg a\n\n"
        "3 times, 6 pages, allocated by SLAB :\nPage allocated via order 1, mask 0xcc0(GFP_KERNEL)\n new_slab+0x1/0x2\n\n"
        "Page allocated via order 0, mask 0x200\nPFN 1030 Block 2 type 2 Fallback Flags    A \n [<ffffffff811682c4>] "
        "g+0x134/0x230\n\n"
    ),
    "page_owner_stacks": " a+0x1/0x2\n b+0x3/0x4\nhandle: 9\nnr_base_pages: 16\n\n "
    "register_early_stack+0x1/0x2\nstack_count: 4\n",
    "traced": (
        "     0.021 bash/1240 kmem:mm_page_alloc_extfrag(pfn: 1534976, alloc_order: 0, fallback_order: 4, alloc_migratetype: 0, "
        "fallback_migratetype: 1, change_ownership: 1)\n     0.022 bash/1240 kmem:mm_page_alloc(pfn: 1, gfp_flags: 3264, "
        "migratetype: 0)\n"
        "LOST 3 events!\n"
    ),
    "traced lttng": (
        '[23:59:59.500000000] (+?.?????????) host kmem_mm_page_alloc_extfrag: { cpu_id = 3 }, { procname = "x", tid = 5 }, '
        "{ pfn = 66048, alloc_order = 0, fallback_order = 3, "
        "alloc_migratetype = 2, fallback_migratetype = 1, change_ownership = 1 }\n"
    ),
    "traced json": json.dumps(
        {
            "metadata": {"duration": 3.5, "total_events": 2, "kernel_version": "6.17"},
            "events": [
                {"timestamp": 1.5, "absolute_time": "x", "event_type": "extfrag", "pid": 1, "comm": "dd", "order": 2,
                "fallback_order": 4,
                 "migrate_from": "MOVABLE", "migrate_to": "UNMOVABLE", "is_steal": False},
                {"timestamp": 2.5, "event_type": "compaction_failure", "pid": 45, "comm": "k", "order": 9},
            ],
        },
        indent=1,
    ),
    "snoop": (
        "COMM           PID    NODE ZONE         ORDER MODE    FRAGIDX  MIN  LOW  HIGH FREE       LAT(ms)           STATUS\n"
        "summ           28276  1    ZONE_NORMAL  3     ASYNC   0.728    1    2    3    4         3.58          partial\n"
        "TIME(s)       COMM           PID     LAT(ms) PAGES\n107.364115000 loader        17491      0.24    50\n"
    ),
    "perf_kmem": (
        " Total alloc (KB) | Hits      | Order | Mig.type | GFP flags | Callsite\n               64 |         4 |     2 |  "
        "RECLAIM |  00285250 | f\n"
        "# 0014200a:  HIM: GFP_HIGHUSER_MOVABLE\nSUMMARY (page allocator)\nTotal allocation requests     :  44,260   [  "
        "177,256 KB ]\n"
        "Order     Unmovable   Reclaimable       Movable      Reserved  CMA/Isolated\n-----  ------------  ---\n    0   32  "
         ".   44,210   .   .\n"
    ),
    "bpftrace": (
        "Attaching 1 probe...\n@[kworker/u16:3, 0, 1]: 412\n@order_lat[9]:\n[1K, 2K)   12 |@@@@@       |\n(..., 0)  4 |@|\n"
        "@s[\n    f+1\n]: 7\n@x: count 4, average 25, total 100\n"
    ),
    "monitors sar": (
        "Linux 6.1.0 (host-a) \t11/30/26 \t_x86_64_\t(2 CPU)\n\n"
        "07:34:03 AM  kbmemfree   kbavail  %commit\n07:34:04 AM   13925944  22206712     9.33\n07:34:05 AM   13.2G  223  8.41\n"
        "Average:     14018413  22299723     8.78\n\n07:34:03 AM  pgscank/s pgscand/s pgsteal/s\n07:34:04 AM  4.00  9,50  0.00\n"
    ),
    "monitors sadf": (
        "# hostname;interval;timestamp;pgscank/s;pgscand/s;pgsteal/s\nvm;1;2026-11-30 07:34:04 UTC;1.00;2.50;0.00\n"
        "vm\t1\t1764488044\t-\tkbmemfree\t13925944\n"
    ),
    "monitors json": json.dumps({"sysstat": {"hosts": [{"nodename": "a", "statistics": [
        {"timestamp": {"date": "2026-11-30", "time": "07:34:04", "utc": 1}, "paging": {"pgscand": 3.5, "pgsteal": 1},
         "memory": {"memfree": 13925944}}]}]}}, indent=1),
    "monitors xml": (
        '<sysstat\n<host nodename="vm">\n<timestamp date="2026-11-30" time="07:34:04" utc="1" interval="1">\n'
        '<paging per="second" pgscank="0.00" pgscand="4.50"/>\n<memory><memfree>139</memfree></memory>\n'
    ),
    "monitors netdata": (
        'netdata_mem_available_MiB_average{chart="mem.available",dimension="avail",instance="h"} 123.5 1764488044000\n'
        'netdata_x{chart="mem.fragmentation_node_0_normal_index",dimension="order9"} -1 1764488044000\n'
        'netdata_mem_x{chart="mem.pagetype_global",dimension="4KB (0)"} 4096\n'
    ),
    "monitors netdata csv": "time,success,fail,stall\n2026-11-30 07:34:04,1,-2.5,3\n2026-11-30 07:34:05,null,-0,3\n",
    "monitors netdata json": json.dumps({"labels": ["time", "avail"], "data": [[1764488044, 12.5], [1764488045, None]]}),
    "monitors netdata shell": 'NETDATA_MEM_AVAILABLE_AVAIL="123"      # MiB\nNETDATA_MEM_THP_COMPACT_FAIL="-4" # events/s\n',
    "allocinfo": "allocinfo - version: 2.0\n       49152       48 mm/a.c:27 [m] func:f accurate:no \n           1        1 "
    "mm/b.c:1 func:g\n",
}  # fmt: skip
"""A whole file of each kind; the name's first word is the kind."""

WORDS = (
    "0x",
    "-",
    "\0",
    "\n",
    "\n\n",
    "(",
    ")",
    "[",
    "9" * 400,
    "-" + "9" * 30,
    "PFN ",
    "@",
    "@[\n",
    "{",
    '"',
    " " * 300,
    "\ufffd",
    "order 99, ",
    "|",
)


def damaged(text: str, draw: random.Random) -> bytes:
    """The text with one to eight words, cuts or repetitions."""
    for _ in range(draw.randint(1, 8)):
        at, length = draw.randrange(len(text) + 1), draw.randint(0, 60)
        choice = draw.randrange(4)
        if choice == 0:
            text = text[:at] + draw.choice(WORDS) + text[at + draw.choice((0, 1, 5)) :]
        elif choice == 1:
            text = text[:at] + text[at + length :]
        elif choice == 2:
            text = text[:at] + text[at : at + length] * draw.choice((2, 30)) + text[at:]
        else:
            text = text[:at] + chr(draw.randrange(1, 0x3000)) + text[at + 1 :]
    return text.encode("utf-8", "replace")


def say(name: str, path: Path) -> str:
    """What a file gives: its words, or the sentence of a refusal."""
    kind = name.split(maxsplit=1)[0]
    try:
        found = import_module(f"kevacuate.observe.files.{kind}").answer([TextFile(path)])
    except KevacuateError as error:
        return str(error).replace("\n", "more than a sentence")
    words = import_module(f"kevacuate.reports.triage.files.{kind}")
    json.dumps(found, allow_nan=False)
    words.tables(found)
    return str(words.words(found))


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    draw, path = random.Random(name), tmp_path / "given"
    path.write_text(SAMPLES[name])
    whole = say(name, path)
    noticed = 0
    for _ in range(FILES):
        path.write_bytes(damaged(SAMPLES[name], draw))
        said = say(name, path)
        assert "more than a sentence" not in said
        noticed += said != whole
    assert whole
    assert noticed > FILES // 10, "no damage was noticed"


def _repeat(part: Callable[[int], str], count: int) -> str:
    return "".join(part(i) for i in range(count))


BOMBS: dict[str, str] = {
    "page_owner": "Page allocated via order 0, mask 0xcc0(GFP_KERNEL)\nPFN 0x200 type Unmovable Block 1 type Movable Flags "
    "0x0()\n" + " x+0x1/0x2\n" * 300_000,
    "page_owner heads": "Page allocated via order 0, mask 0xcc0(GFP_KERNEL)\n" + "no page at all\n" * 300_000,
    "page_owner stacks": _repeat(
        lambda i: (
            f"Page allocated via order 16, mask 0xcc0(), pid {i}, tgid {i} (t{i}), ts 1 ns\n"
            f"PFN 0x{i << 9:x} type Unmovable Block {i} type Movable Flags 0x0()\n f{i}+0x1/0x2\n\n"
        ),
        3_000,
    ),
    "page_owner_stacks": " x+0x1/0x2\n" * 300_000,
    "monitors sar": "12:00:00  kbmemfree pgscand/s\n"
    + _repeat(lambda i: f"{i % 24:02}:{i % 60:02}:{i // 24 % 60:02} {i} 1\n", 100_000),
    "monitors hosts": _repeat(
        lambda i: f"# hostname;interval;timestamp;kbmemfree\nh{i};1;{1700000000 + i};{i}\n", 60_000
    ),
    "monitors json": '{"sysstat": {"hosts": [' + "[]," * 2_700_000,
    "monitors json deep": '{"sysstat": ' + "[" * 1_000_000,
    "monitors netdata": _repeat(
        lambda i: (
            f'netdata_mem_x{{chart="mem.pagetype_global",dimension="{i % 16}"}} {i} {1700000000000 + i}\n'
        ),
        60_000,
    ),
    "traced json": '{"events": [' + '{"event_type": [' * 300_000,
    "traced json long": '{"absolute_time": "' + "x" * 5_000_000,
    "snoop": "COMM PID LAT(ms) PAGES\n" + _repeat(lambda i: f"t{i} {i} 1.5 {i}\n", 100_000),
    "bpftrace": "@[\n" + "    f+1\n" * 300_000,
    "bpftrace maps": _repeat(lambda i: f"@m{i}[{i}, {i}]: {i}\n", 100_000),
    "allocinfo": _repeat(lambda i: f"{i} 1 mm/f{i}.c:1 func:f{i}\n", 100_000),
    "perf_kmem": "Mig.type | GFP flags | Order | Hits | (KB)\n"
    + _repeat(lambda i: f"MOVABLE | {i:08x} | 1 | 1 | {i}\n", 100_000),
}
"""Files that could fill memory: one thing without end, or as many different things as fit."""

SCRIPT = """
import sys
from pathlib import Path
from test_kernelfiles_fuzz_tools import say
print(bool(say(sys.argv[1], Path(sys.argv[2]))))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_sizes_stay_within_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_text(BOMBS[name])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        timeout=120,
    )
    said, memory = done.stdout.split()
    assert said == "True"
    assert int(memory) < LIMIT_MIB, f"{memory} MiB"


@pytest.mark.parametrize("name", SAMPLES)
def test_the_door_knows_each_kind(name: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_text(SAMPLES[name])
    answers = triage([path])["answers"]
    assert [(answer["kind"], answer["files"]) for answer in answers] == [
        (name.split(maxsplit=1)[0], [str(path)])
    ]


def test_a_folder_of_all_kinds_is_answered_once_a_kind(tmp_path: Path) -> None:
    for number, text in enumerate(SAMPLES.values()):
        (tmp_path / f"{number}.txt").write_text(text)
    found = triage([tmp_path])
    kinds = [answer["kind"] for answer in found["answers"]]
    assert sorted(kinds) == sorted({name.split()[0] for name in SAMPLES})
    assert found["not_read"] == []
    assert 0 < len(found["advice"]) <= 3
