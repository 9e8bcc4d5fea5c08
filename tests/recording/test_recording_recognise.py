# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are no traces: each kind is named, with what to do instead."""

import re
from pathlib import Path

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.recording import Recording
from kevacuate.recording.importers import open_source
from kevacuate.recording.recognise import RECOGNISERS, recognised

SAMPLES: tuple[tuple[str, bytes], ...] = (
    (
        "a copy of page_owner_stacks",
        b" post_alloc_hook+0x1/0x2\n get_page_from_freelist+0x3/0x4\nnr_base_pages: 4\n\n",
    ),
    (
        "bcc's compactsnoop",
        b"COMM           PID    NODE ZONE         ORDER MODE       LAT(ms)           STATUS\n",
    ),
    ("empty", b""),
    ("empty", b"\n \n"),
    ("UTF-16", "# tracer: nop\n".encode("utf-16")),
    ("a saved result", b"PK\x03\x04" + bytes(26) + b"about.json"),
    ("kevacuate report", b'<!doctype html>\n<head>\n<meta name="generator" content="kevacuate 1.0">\n'),
    ("kevacuate snapshot", b'{"blocks": {"class": ["free", "movable"]'),
    ("an archive", b"PK\x03\x04" + bytes(64)),
    ("an archive", b"trace.txt".ljust(257, b"\0") + b"ustar  \0 mm_page_alloc: pfn=1"),
    ("compressed with lz4", b"\x04\x22\x4d\x18mm_page_alloc: pfn=1"),
    ("perf stat", b" Performance counter stats for 'system wide':\n\n   1,234   kmem:mm_page_alloc\n"),
    ("hist trigger", b"# event histogram\n#\n# trigger info: hist:keys=order:vals=hitcount [active]\n"),
    ("Chrome's JSON", b'{"traceEvents":[{"name":"mm_page_alloc","ph":"i","ts":1}]}'),
    ("extfrag_index or unusable_index", b"Node 0, zone Normal " + b"-1.000 " * 11 + b"\n"),
    ("/proc/vmstat", b"pgalloc_normal 12\npgmigrate_success 3\n"),
    ("/proc/allocinfo", b"allocinfo - version: 1.0\n#     <size>  <calls> <tag info>\n"),
    ("/proc/pressure", b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
    ("vmstat, free or sar", b"              total        used        free      shared\nMem:  16316412  1234  3\n"),
    ("vmstat, free or sar", b"procs -----------memory---------- ---swap--\n r  b   swpd   free   buff\n"),
    ("sar, sadf or netdata", b"Linux 5.4.0 (host)\n\n18:30:26     pgpgin/s pgpgout/s\n"),
    ("perf.data", b"PERFILE2" + bytes(64)),
    ("Common Trace Format", b"\xc1\x1f\xfc\xc1" + bytes(64)),
    ("Common Trace Format", b"/* CTF 1.8 */\ntypealias integer"),
    ("babeltrace", b"[10:11:12.123456789] (+?.?????????) host kmem_kmalloc: { cpu_id = 1 }, { ptr = 0x1 }\n"),
    ("an ELF file", b"\x7fELF\x02\x01" + bytes(64)),
    ("a crash dump", b"KDUMP   \x06" + bytes(64)),
    ("a crash dump", b"makedumpfile\0" + bytes(64)),
    ("plot-fragmentation", b'{\n "events": [{"event_type": "extfrag", "pid": 1}]}'),
    ("perf kmem", b"SUMMARY (page allocator)\n========================\n"),
    ("perf trace", b"     0.000 ( 0.004 ms): bash/1240 kmem:mm_page_free(pfn: 1534487)\n"),
    ("perf trace", b"     0.000 bash/1240 kmem:mm_page_free(pfn: 1534487, order: 0)\n"),
    ("bpftrace", b"Attaching 3 probes...\n\n@: 12\n"),
    ("bpftrace", b"@order_lat[9]:\n[1K, 2K)  12 |@@@@|\n"),
    ("corelens", b"====== MODULE buddyinfo ======\n"),
    ("page-types", b"             flags\tpage-count       MB  symbolic-flags\n"),
    ("page_owner", b"Page allocated via order 0, mask 0x24213ca(GFP_HIGHUSER_MOVABLE)\nPFN 520 type Movable\n"),
    ("node_exporter", b"# HELP node_vmstat_compact_stall x\nnode_vmstat_compact_stall 1\n"),
    ("/proc/pagetypeinfo", b"Page block order: 9\nPages per block:  512\n"),
    ("/proc/zoneinfo", b"Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 1\n"),
    ("/proc/zoneinfo", b"Node 0, zone   Normal\n  pages free     35012\n"),
    ("/proc/buddyinfo", b"Node 0, zone      DMA      1      0      0      0      2      1      1      0      1      1      3 \n"),
    ("/proc/vmstat", b"nr_free_pages 140111\nnr_zone_inactive_anon 5\n"),
    ("/proc/meminfo", b"MemTotal:       16384000 kB\nMemFree:         1000 kB\n"),
    ("/proc/slabinfo", b"slabinfo - version: 2.1\n# name <active_objs>\n"),
    ("page allocation failure", b"[1.0] sh: page allocation failure: order:4, mode:0x2040d0\n"),
    ("page allocation failure", b"[    5.000001] java invoked oom-killer: gfp_mask=0xcc0\n"),
    ("function tracers", b"# tracer: function_graph\n#\n# CPU  DURATION  FUNCTION CALLS\n 0)   0.101 us    |  a();\n"),
    ("function tracers", b"# tracer: function\n#\n   bash-1 [000] .... 1.000001: kfree <-seq_release\n"),
    ("without the task", b" 7132.400001: kmem:mm_page_free: page=0x1 pfn=0x1 order=0\n"),
    ("without the task", b" 1240 [003]  7132.400001: kmem:mm_page_free: page=0x1 pfn=0x1 order=0\n"),
    ("without the task", b"  Web Content [003]  7132.400001: kmem:mm_page_free: page=0x1 pfn=0x1 order=0\n"),
    ("without the time", b"bash  1240 [003] kmem:mm_page_free: page=0x1 pfn=0x1 order=0\n"),
    ("in a form that is not read", b"mm_page_alloc: page=0x1 pfn=0x1 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n"),
    ("in a form that is not read", b"2025-01-01T00:00:01 mm_page_alloc_extfrag pfn=1 alloc_order=0\n"),
    ("a kernel log", b"[    0.123456] usb 1-1: new device\n[    0.2] x\n"),
)  # fmt: skip


@pytest.mark.parametrize(("what", "data"), SAMPLES)
def test_each_kind_is_named(tmp_path: Path, what: str, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(KevacuateError) as caught:
        open_source(tmp_path / "f")
    said = str(caught.value)
    assert what in said
    assert "is not a file that can be imported" not in said
    assert said.endswith(".")
    assert "`" in said or "unchanged" in said, "what to do instead"
    assert all(
        len(sentence.split()) <= 25
        for sentence in re.split(r"\. (?=[A-Z`])", said.replace(str(tmp_path), ""))
    )


def test_every_recogniser_has_a_sample() -> None:
    found = {kind.what for _, data in SAMPLES if (kind := recognised(data)) is not None}
    missing = {kind.what for kind in RECOGNISERS} - found
    assert missing == {"what perf script prints without the events' values"} or not missing


def test_perf_script_without_values() -> None:
    kind = recognised(b"bash  1240 [003]  7132.400001:  kmem:mm_page_free: \n")
    assert kind is not None
    assert kind.what.endswith("without the events' values")


def test_what_is_not_known_is_said_to_be_so(tmp_path: Path) -> None:
    for data in (b"hello world\n", b"a,b,c\n1,2,3\n", b"\0" * 100):
        assert recognised(data) is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("buddyinfo", "vmstat"), r"holds copies of /proc files \(buddyinfo, vmstat\)"),
        (("proc/zoneinfo", "etc"), r"holds copies of /proc files \(zoneinfo\)"),
        (("metadata", "channel0_0"), "is an LTTng trace"),
        (("data", "data.0"), "is a directory of perf record"),
        (("kmem/mm_page_alloc/format",), "holds event formats and no trace"),
        (("other",), "without cpuN.raw files: name the file in it to import"),
    ],
)
def test_directories(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with pytest.raises(KevacuateError, match=said):
        open_source(tmp_path)
    if "name the file" not in said:
        with pytest.raises(KevacuateError, match=said):
            Recording.open(tmp_path)


def test_a_trace_behind_a_long_log_is_found(tmp_path: Path) -> None:
    log = b"".join(b"[%5d.000000] usb 1-1: a line of a kernel log\n" % i for i in range(3000))
    event = b"[ 9999.000000] bash-1240  1....  600200000us : mm_page_free: page=07 pfn=5 order=0\n"
    assert len(log) > 1 << 16
    (tmp_path / "dmesg").write_bytes(log + event)
    assert sum(chunk.rows for chunk in open_source(tmp_path / "dmesg").events()) == 1
    (tmp_path / "dmesg").write_bytes(log)
    with pytest.raises(KevacuateError, match="is a kernel log: it holds no events"):
        open_source(tmp_path / "dmesg")
