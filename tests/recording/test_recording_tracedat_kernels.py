# SPDX-License-Identifier: GPL-2.0-or-later
"""trace.dat of other kernels and machines: what trace-cmd says of it is what is decoded, in the numbers of Linux 7.2."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import kernel_formats as kf
import numpy as np
import pytest
from report_reference import compare_report
from tracecmd_tools import trace_cmd
from tracedat_maker import DATA, PACKERS, Maker, pack, take_apart

from kevacuate.cli import main
from kevacuate.errors import KevacuateError
from kevacuate.kernel import compaction
from kevacuate.recording import EventChunk, EventKind, Recording
from kevacuate.recording.cconstant import constant
from kevacuate.recording.fieldtable import decoding
from kevacuate.recording.formats import EventFormat
from kevacuate.recording.gfptext import gfp_text
from kevacuate.recording.importers import ImportOptions, container, import_recording, open_source
from kevacuate.recording.printfmt import arguments, flags, pageblock_order, symbols
from kevacuate.recording.ringbuf import RawReader
from kevacuate.recording.schema import ALL_KINDS, concat_chunks

MACHINES = [("little", 8), ("little", 4), ("big", 8), ("big", 4)]


def events_of(path: Path, buffer: str | None = None) -> EventChunk:
    """All events of a file."""
    return concat_chunks(list(open_source(path, ImportOptions(buffer=buffer)).events()))


def one_buffer(
    path: Path, maker: Maker, formats: list[EventFormat], payloads: list[bytes], uname: str = ""
) -> Path:
    """A file whose top buffer holds these payloads, on CPU 0."""
    page = maker.page(10**9, *(maker.event(payload) for payload in payloads))
    path.write_bytes(maker.version_7(formats, {"": (maker.page_bytes, {0: page})}, uname))
    return path


def whole_machine(
    order: Literal["little", "big"], long_bytes: int
) -> tuple[Maker, list[EventFormat], list[list[bytes]]]:
    """A machine of that kind, formats with fields of every size, and payloads of two CPUs."""
    maker = Maker(order, long_bytes)
    formats = [
        kf.page_alloc(kf.GFP_72, long_bytes, "unsigned long"),
        kf.page_free(long_bytes),
        kf.extfrag("10", long_bytes),
        kf.compaction_finished(kf.RESULTS_72, long_bytes),
        kf.compaction_end(kf.RESULTS_72, long_bytes),
        kf.kcompactd_wake("classzone_idx", long_bytes),
        kf.zone_wmarks(long_bytes),
    ]
    alloc, free, frag, finished, end, wake, marks = formats
    first = [
        maker.payload(alloc, 4711, pfn=0x12345, order=3, gfp_flags=0x140CCA, migratetype=1),
        maker.payload(alloc, 12, pfn=-1, order=9, gfp_flags=0x1D20CA, migratetype=1),
        maker.payload(free, 70000, pfn=0x12345, order=3),
        maker.payload(
            frag, 1, pfn=0xABCDE, alloc_order=1, fallback_order=4, fallback_migratetype=1, change_ownership=1
        ),
        maker.payload(
            marks, text=b"Normal\0", node_id=1, watermark_min=90000, watermark_low=90001, watermark_high=3
        ),
    ]
    second = [
        maker.payload(finished, nid=1, idx=2, order=9, ret=8),
        maker.payload(
            end, zone_start=4096, migrate_pfn=0x5000, free_pfn=0x9000, zone_end=0x10000, sync=1, status=6
        ),
        maker.payload(wake, nid=0, order=9, classzone_idx=2),
    ]
    return maker, formats, [first, second]


@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")
@pytest.mark.parametrize(("order", "long_bytes"), MACHINES)
@pytest.mark.parametrize("version", [6, 7])
def test_every_machine_says_what_trace_cmd_reports(
    tmp_path: Path, order: Literal["little", "big"], long_bytes: int, version: int
) -> None:
    maker, formats, cpus = whole_machine(order, long_bytes)
    data = {
        cpu: maker.page(10**9 + cpu, *(maker.event(p) for p in payloads))
        + maker.page(2 * 10**9 + cpu, maker.event(payloads[0]))
        for cpu, payloads in enumerate(cpus)
    }
    path = tmp_path / "x.dat"
    path.write_bytes(
        maker.version_6(formats, data) if version == 6 else maker.version_7(formats, {"": (4096, data)})
    )
    source = open_source(path)
    report = trace_cmd("report", "-R", "-t", path).splitlines()
    if long_bytes == 4:  # trace-cmd shows -1 of 32 bits as the number that it is without a sign
        report = [line.replace("pfn=0xffffffff ", "pfn=0xffffffffffffffff ") for line in report]
    assert compare_report(report, source.events(), source.machine()) == 10


@pytest.mark.parametrize(("order", "long_bytes"), MACHINES)
def test_every_machine_says_the_same(
    tmp_path: Path, order: Literal["little", "big"], long_bytes: int
) -> None:
    maker, formats, cpus = whole_machine(order, long_bytes)
    path = one_buffer(tmp_path / "x.dat", maker, formats, cpus[0] + cpus[1])
    events = events_of(path)
    assert events.pfn.tolist() == [0x12345, -1, 0x12345, 0xABCDE, -1, -1, 0x5000, -1]
    assert events.order.tolist() == [3, 9, 3, 1, 2, 9, 1, 9]
    assert events.pid.tolist() == [4711, 12, 70000, 1, 7, 7, 7, 7]
    assert [gfp_text(int(x)) for x in events.gfp[:2]] == [
        "GFP_HIGHUSER_MOVABLE|__GFP_COMP",
        "GFP_TRANSHUGE_LIGHT|__GFP_NORETRY",
    ]
    assert events.a.tolist() == [0, 0, 0, 4, 90000, 1, 0x9000, 0]
    assert events.ts.tolist() == [10**9 + 1000 * i for i in range(1, 9)]
    assert open_source(path).machine().pageblock_order == 10


@pytest.mark.parametrize(("order", "long_bytes"), MACHINES)
def test_losses_of_every_machine(tmp_path: Path, order: Literal["little", "big"], long_bytes: int) -> None:
    maker = Maker(order, long_bytes)
    free = kf.page_free(long_bytes)
    event = maker.event(maker.payload(free, pfn=5))
    full = (4096 - 8 - long_bytes) // len(
        event
    )  # the count stands at the very end of the sub-buffer, or does not fit
    pages = maker.page(5, event) + maker.page(6, event, missed=17) + maker.page(7, event, missed=0)
    pages += maker.page(8, *[event] * (full - 1), missed=3)
    (tmp_path / "x.dat").write_bytes(maker.version_7([free], {"": (4096, {0: pages})}))
    import_recording(tmp_path / "x.dat", tmp_path / "x.kev")
    (losses,) = Recording.open(tmp_path / "x.kev").losses
    assert (losses.missed, losses.gaps) == (20, 1)


@pytest.mark.parametrize(("order", "long_bytes"), MACHINES)
def test_every_way_to_tell_time_of_every_machine(
    tmp_path: Path, order: Literal["little", "big"], long_bytes: int
) -> None:
    maker, free = Maker(order, long_bytes), kf.page_free(long_bytes)

    def head(kind: int, delta: int, second: int) -> bytes:
        return maker.pack("II", kind << 27 | delta if order == "big" else delta << 5 | kind, second)

    events = [
        maker.event(maker.payload(free, pfn=1), 5),
        head(30, 9, 2),  # time goes on by 9 + (2 << 27)
        maker.event(maker.payload(free, pfn=2), 1),
        head(29, 4, 8) + bytes(4),  # padding of 8 bytes, its length among them
        maker.event(maker.payload(free, pfn=3), 0),
        head(31, 77, 5000),  # time is 77 + (5000 << 27)
        maker.event(maker.payload(free, pfn=4), 2),
        maker.pack("I", 29 << 27 if order == "big" else 29),  # nothing follows
        bytes(8),
    ]
    (tmp_path / "x.dat").write_bytes(maker.version_7([free], {"": (4096, {0: maker.page(1000, *events)})}))
    read = events_of(tmp_path / "x.dat")
    later = 1005 + 9 + (2 << 27) + 1
    assert read.pfn.tolist() == [1, 2, 3, 4]
    assert read.ts.tolist() == [1005, later, later + 4, 77 + (5000 << 27) + 2]


@pytest.mark.parametrize(("order", "long_bytes"), MACHINES)
@pytest.mark.parametrize("codec", ["zlib", "zstd"])
def test_compressed_files_of_every_machine(
    tmp_path: Path, order: Literal["little", "big"], long_bytes: int, codec: str
) -> None:
    maker, free = Maker(order, long_bytes), kf.page_free(long_bytes)
    pages = b"".join(maker.page(10**9 * i, *frees(maker, free, i, 50)) for i in range(1, 30))
    (tmp_path / "x.dat").write_bytes(maker.version_7([free], {"": (4096, {0: pages})}, codec=codec))
    assert events_of(tmp_path / "x.dat").pfn.tolist() == [i + n for i in range(1, 30) for n in range(50)]


@pytest.mark.parametrize(("order", "long_bytes"), MACHINES)
@pytest.mark.parametrize("said", [True, False])
def test_raw_pages_of_every_machine(
    tmp_path: Path, order: Literal["little", "big"], long_bytes: int, said: bool
) -> None:
    maker, formats, cpus = whole_machine(order, long_bytes)
    raw = tmp_path / "raw"
    for event in formats:
        (raw / "formats" / event.system).mkdir(parents=True, exist_ok=True)
        (raw / "formats" / event.system / event.name).write_text(event.text)
    if said:
        (raw / "header_page").write_bytes(maker.header_page())
    (raw / "cpu0.raw").write_bytes(maker.page(10**9, *(maker.event(p) for p in cpus[0])))
    (raw / "cpu1.raw").write_bytes(b"")
    for path in (raw, raw / "cpu0.raw"):
        assert events_of(path).pfn.tolist() == [0x12345, -1, 0x12345, 0xABCDE, -1]


@pytest.mark.parametrize(("order", "long_bytes"), MACHINES)
def test_short_fields_of_every_machine(
    tmp_path: Path, order: Literal["little", "big"], long_bytes: int
) -> None:
    fields = "unsigned short other; unsigned short order; unsigned long pfn"
    event = kf.made("kmem", "mm_page_free", 602, fields, '"pfn=0x%lx", REC->pfn', long_bytes)
    maker = Maker(order, long_bytes)
    path = one_buffer(
        tmp_path / "x.dat", maker, [event], [maker.payload(event, other=77, order=5, pfn=0x123456)]
    )
    events = events_of(path)
    assert (events.order.tolist(), events.pfn.tolist()) == ([5], [0x123456])


def test_a_long_event_of_a_big_endian_machine(tmp_path: Path) -> None:
    maker = Maker("big", 8)
    fields = "unsigned long pfn; unsigned int order;" + ";".join(f"u64 x{i}" for i in range(20))
    wide = kf.made("kmem", "mm_page_free", 602, fields, '"pfn=0x%lx", REC->pfn')
    path = one_buffer(
        tmp_path / "x.dat", maker, [wide], [maker.payload(wide, pfn=3 + (1 << 40), order=2)] * 2
    )
    assert events_of(path).pfn.tolist() == [3 + (1 << 40)] * 2


def test_a_file_of_a_big_endian_machine_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.dat"
    data = Maker().version_7([kf.page_free()], {"": (4096, {0: bytes(4096)})})
    path.write_bytes(data[:12] + b"\1" + data[13:])
    with pytest.raises(
        KevacuateError, match=r"of a big-endian machine, is truncated .* what `trace-cmd report` prints"
    ):
        open_source(path)


def frees(maker: Maker, free: EventFormat, first: int, count: int) -> list[bytes]:
    return [maker.event(maker.payload(free, pfn=first + i)) for i in range(count)]


@pytest.mark.parametrize("named", [4096, 65536])
def test_an_instance_with_smaller_sub_buffers(tmp_path: Path, named: int) -> None:
    large, small, free = Maker(page_bytes=65536), Maker(), kf.page_free()
    top = large.page(10**9, *frees(large, free, 0x1000, 10))
    foo = b"".join(
        small.page(10**9 + i * 10**6, *frees(small, free, 256 * i, 100)) for i in range(8)
    ) + bytes(4 * 4096)
    path = tmp_path / "x.dat"
    path.write_bytes(large.version_7([free], {"": (65536, {0: top}), "foo": (named, {0: foo})}))
    about = import_recording(path, tmp_path / "foo.kev", ImportOptions(buffer="foo"))
    assert about["events"] == 800
    assert about["lost_events"] == {}
    assert import_recording(path, tmp_path / "top.kev", ImportOptions(buffer=""))["events"] == 10


def test_larger_sub_buffers_than_the_file_names(tmp_path: Path) -> None:
    large, free = Maker(page_bytes=16384), kf.page_free()
    pages = b"".join(
        large.page(10**9 + i * 10**6, *frees(large, free, 0, n)) for i, n in enumerate((500, 3, 400))
    )
    path = tmp_path / "x.dat"
    path.write_bytes(large.version_7([free], {"": (4096, {0: pages})}))
    about = import_recording(path, tmp_path / "x.kev")
    assert (about["events"], about["lost_events"]) == (903, {})


def test_an_instance_of_version_6_with_smaller_sub_buffers(tmp_path: Path) -> None:
    large, small, free = Maker(page_bytes=65536), Maker(), kf.page_free()
    top = large.page(10**9, *frees(large, free, 0x1000, 10))
    foo = b"".join(
        small.page(10**9 + i * 10**6, *frees(small, free, 256 * i, 100)) for i in range(8)
    ) + bytes(65536 - 8 * 4096)
    path = tmp_path / "x.dat"
    path.write_bytes(large.version_6([free], {0: top}, {"foo": {0: foo}}))
    about = import_recording(path, tmp_path / "foo.kev", ImportOptions(buffer="foo"))
    assert (about["events"], about["lost_events"]) == (800, {})
    odd = b"".join(Maker(page_bytes=8192).page(10**9 + i, *frees(small, free, 0, 3)) for i in range(16))
    path.write_bytes(large.version_6([free], {0: top}, {"foo": {0: odd}}))
    about = import_recording(path, tmp_path / "odd.kev", ImportOptions(buffer="foo"))
    assert (about["events"], about["lost_events"]) == (48, {})


def test_sub_buffers_smaller_than_said_are_never_a_silent_loss(tmp_path: Path) -> None:
    small, free = Maker(), kf.page_free()
    raw = tmp_path / "cpu0.raw"
    raw.write_bytes(b"".join(small.page(10**9 + i, *frees(small, free, 0, 3)) for i in range(4)))
    with pytest.raises(KevacuateError, match="sub-buffers are smaller than the file says"):
        list(RawReader(raw, 0, decoding({free.id: free}, ALL_KINDS), 16384).chunks(1 << 12))


def test_zeros_between_sub_buffers_are_a_gap_and_behind_them_nothing(tmp_path: Path) -> None:
    maker, free = Maker(), kf.page_free()
    page = maker.page(10**9, *frees(maker, free, 1, 3))
    path = tmp_path / "x.dat"
    path.write_bytes(maker.version_7([free], {"": (4096, {0: page + page + bytes(8192)})}))
    assert import_recording(path, tmp_path / "a.kev")["lost_events"] == {}
    path.write_bytes(maker.version_7([free], {"": (4096, {0: page + bytes(8192) + page})}))
    assert import_recording(path, tmp_path / "b.kev")["lost_events"] == {"0": 1}


def test_the_clock_of_an_instance_is_not_known(tmp_path: Path) -> None:
    maker, free = Maker(), kf.page_free()
    page = maker.page(10**9, *frees(maker, free, 1, 3))
    path = tmp_path / "x.dat"
    path.write_bytes(maker.version_7([free], {"": (4096, {0: page}), "foo": (4096, {0: page})}, clock="mono"))
    top = import_recording(path, tmp_path / "top.kev", ImportOptions(buffer=""))
    assert (top["clock"], top["lacks"]) == ("mono", ["states", "zones"])
    foo = import_recording(path, tmp_path / "foo.kev", ImportOptions(buffer="foo"))
    assert (foo["clock"], foo["lacks"]) == ("", ["states", "zones", "clock"])
    assert Recording.open(tmp_path / "foo.kev").machine.extra["lacks"] == ["states", "zones", "clock"]
    path.write_bytes(maker.version_6([free], {0: b""}, {"foo": {0: page}}))
    assert "clock" in import_recording(path, tmp_path / "six.kev")["lacks"]


def test_times_of_the_day_are_no_time_since_boot(tmp_path: Path) -> None:
    maker, free = Maker(), kf.page_free()
    page = maker.page(1_795_963_733 * 10**9, *frees(maker, free, 1, 3))
    path = tmp_path / "x.dat"
    for clock, said in (("mono", ""), ("tai", "tai")):
        path.write_bytes(maker.version_7([free], {"": (4096, {0: page})}, clock=clock))
        assert import_recording(path, tmp_path / f"{clock}.kev")["clock"] == said


@pytest.mark.parametrize(
    ("bits", "recorded", "said"),
    [
        (kf.GFP_41, 0x280DA, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO"),
        (kf.GFP_41, 0x80D0, "GFP_KERNEL|__GFP_ZERO"),
        (kf.GFP_41, 0x20, "GFP_ATOMIC"),
        (kf.GFP_41, 0x400010, "__GFP_DIRECT_RECLAIM"),
        (kf.GFP_41, 0x10, "GFP_NOIO"),
        (kf.GFP_41, 0, "__GFP_KSWAPD_RECLAIM"),
        (kf.GFP_41, 0xD1, "GFP_KERNEL|GFP_DMA"),
        (kf.GFP_44, 0x24280CA, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO"),
        (kf.GFP_44, 0x2080020, "GFP_ATOMIC"),
        (kf.GFP_44, 0, "none"),
        (kf.GFP_72, 0xCC4, "GFP_KERNEL|GFP_DMA32"),
        (kf.GFP_72 | {"__GFP_ATOMIC": 0x200}, 0xA20, "GFP_ATOMIC"),
    ],
)
def test_gfp_flags_by_the_names_in_the_print_fmt(
    tmp_path: Path, bits: dict[str, int], recorded: int, said: str
) -> None:
    alloc = kf.page_alloc(bits)
    maker = Maker()
    path = one_buffer(tmp_path / "x.dat", maker, [alloc], [maker.payload(alloc, pfn=1, gfp_flags=recorded)])
    assert gfp_text(int(events_of(path).gfp[0])) == said


def test_migratetypes_before_44(tmp_path: Path) -> None:
    maker, frag = Maker(), kf.extfrag()
    for bits, expected in ((kf.GFP_41, [0, 2, 1, -1, 4, 5]), (kf.GFP_44, [0, 1, 2, 3, 4, 5])):
        alloc = kf.page_alloc(bits)
        payloads = [maker.payload(alloc, pfn=1, gfp_flags=0x10, migratetype=mt) for mt in range(6)]
        payloads.append(maker.payload(frag, pfn=1, alloc_migratetype=1, fallback_migratetype=2))
        events = events_of(one_buffer(tmp_path / "x.dat", maker, [alloc, frag], payloads))
        assert events.mt[:6].tolist() == expected
        assert (events.mt[6], events.b[6]) == (expected[1], expected[2])


def test_migratetypes_by_the_release_where_no_flags_prove_them(tmp_path: Path) -> None:
    maker, frag = Maker(), kf.extfrag()
    payload = maker.payload(frag, pfn=1, alloc_migratetype=0, fallback_migratetype=2)
    for release, expected in (("4.1.12-124.el7uek", 1), ("4.4.88", 2), ("", 2)):
        uname = f"Linux host {release} #1 SMP x86_64" if release else ""
        path = one_buffer(tmp_path / "x.dat", maker, [frag], [payload], uname)
        assert events_of(path).b.tolist() == [expected]
    source = open_source(path, ImportOptions(kernel="4.1.12"))
    assert [event for chunk in source.events() for event in chunk.b.tolist()] == [1]
    assert source.machine().kernel == "4.1.12"
    path = one_buffer(tmp_path / "x.dat", maker, [frag], [payload], "Linux host 4.4.88 #1 SMP x86_64")
    open_source(path, ImportOptions(kernel="4.4"))
    with pytest.raises(KevacuateError, match=r"is of Linux 4.4.88: leave --kernel out"):
        open_source(path, ImportOptions(kernel="5.4"))


def test_results_of_compaction_by_the_names_in_the_print_fmt(tmp_path: Path) -> None:
    maker = Maker()
    finished, end = kf.compaction_finished(kf.RESULTS_44), kf.compaction_end(kf.RESULTS_44)
    payloads = [maker.payload(finished, idx=2, ret=number) for number in range(9)]
    payloads += [maker.payload(end, status=number) for number in range(9)]
    events = events_of(one_buffer(tmp_path / "x.dat", maker, [finished, end], payloads))
    expected = [
        compaction.RESULTS.index({"partial": "success"}.get(name, name)) for name in kf.RESULTS_44.values()
    ]
    assert events.c[:9].tolist() == events.d[9:].tolist() == [*expected, -1]


def test_results_of_compaction_of_kernels_that_print_from_an_array(tmp_path: Path) -> None:
    maker = Maker()
    fields = "int nid; char* name; int order; int ret"
    text = '"node=%d zone=%-8s order=%d ret=%s", REC->nid, REC->name, REC->order, compaction_status_string[REC->ret]'
    finished = kf.made("compaction", "mm_compaction_finished", 611, fields, text)
    events = events_of(
        one_buffer(tmp_path / "x.dat", maker, [finished], [maker.payload(finished, order=9, ret=3)])
    )
    assert (events.b[0], events.c[0]) == (-1, compaction.RESULTS.index("success"))


def test_a_mode_that_is_gone_is_not_known(tmp_path: Path) -> None:
    modes = {0: "MIGRATE_ASYNC", 1: "MIGRATE_SYNC_LIGHT", 2: "MIGRATE_SYNC", 3: "MIGRATE_SYNC_NO_COPY"}
    text = (
        f'"nr_succeeded=%lu nr_failed=%lu mode=%s reason=%s", REC->succeeded, REC->failed, __print_symbolic(REC->mode, '
        f"{kf.symbols(modes)}), __print_symbolic(REC->reason, {kf.symbols({5: 'numa_misplaced', 6: 'cma'})})"
    )
    fields = "unsigned long succeeded; unsigned long failed; enum migrate_mode mode; int reason"
    event, maker = kf.made("migrate", "mm_migrate_pages", 620, fields, text), Maker()
    payloads = [maker.payload(event, succeeded=3, mode=mode, reason=6) for mode in range(4)]
    path = one_buffer(tmp_path / "x.dat", maker, [event], payloads)
    events = events_of(path)
    assert events.order.tolist() == [0, 1, 2, -1]
    assert events.mt.tolist() == [6] * 4
    about = import_recording(path, tmp_path / "x.kev")
    assert about["names_not_known"] == ["MIGRATE_SYNC_NO_COPY"]


def test_old_names_of_events_and_fields(tmp_path: Path) -> None:
    maker = Maker()
    wake = kf.kcompactd_wake("classzone_idx")
    page = kf.made(
        "vmscan", "mm_vmscan_writepage", 630, "unsigned long pfn; int reclaim_flags", '"pfn=%lu", REC->pfn'
    )
    payloads = [
        maker.payload(wake, order=9, classzone_idx=2),
        maker.payload(page, pfn=20153, reclaim_flags=2),
    ]
    events = events_of(one_buffer(tmp_path / "x.dat", maker, [wake, page], payloads))
    assert events.kind.tolist() == [EventKind.COMPACTION_KCOMPACTD_WAKE, EventKind.VMSCAN_WRITE_FOLIO]
    assert events.b[0] == 2
    assert (events.pfn[1], events.a[1]) == (20153, 2)


def test_the_pageblock_order_is_the_print_fmts(tmp_path: Path) -> None:
    maker = Maker()
    wide = "(((unsigned int)((21 - 12))) < ((unsigned int)(10)) ? ((unsigned int)((21 - 12))) : ((unsigned int)(10)))"
    for expression, order, assumed in (("(11-1)", 10, False), (wide, 9, False), ("pageblock_order", 9, True)):
        frag = kf.extfrag(expression)
        path = one_buffer(tmp_path / "x.dat", maker, [frag], [maker.payload(frag, pfn=1)])
        machine = open_source(path).machine()
        assert machine.pageblock_order == order
        assert ("pageblock_order" in machine.extra["assumed"]) == assumed


def test_migration_entries_of_other_machines_have_no_pfn(tmp_path: Path) -> None:
    maker = Maker()
    event = kf.made(
        "migrate",
        "set_migration_pte",
        640,
        "unsigned long addr; unsigned long pte; int order",
        '"addr=%lx", REC->addr',
    )
    payload = maker.payload(event, addr=0x7000, pte=(0x1234 << 12) | 1)
    for arch, pfn in (("x86_64", 0x1234), ("aarch64", -1)):
        path = one_buffer(tmp_path / "x.dat", maker, [event], [payload], f"Linux host 6.1.0 #1 SMP {arch}")
        assert events_of(path).pfn.tolist() == [pfn]


def test_events_without_a_format_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maker, free, other = Maker(), kf.page_free(), kf.kcompactd_wake("highest_zoneidx")
    path = one_buffer(tmp_path / "x.dat", maker, [free], [maker.payload(free, pfn=1), maker.payload(other)])
    kev = tmp_path / "x.kev"
    assert "1 event could not be read: no format file says" in call(capsys, "import", path, "-o", kev)
    info = call(capsys, "info", kev)
    assert "No event was lost" not in info
    assert "1 event could not be read" in info


@pytest.mark.parametrize("field", ["highest_zoneidx", "classzone_idx"])
def test_zone_names_of_kernels_that_have_no_other_list(tmp_path: Path, field: str) -> None:
    maker, wake = Maker(), kf.kcompactd_wake(field)
    path = one_buffer(tmp_path / "x.dat", maker, [wake], [maker.payload(wake, order=9)])
    assert open_source(path).machine().zone_names == ("DMA", "DMA32", "Normal", "Movable")


def call(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What the command prints."""
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_events_with_a_page_pointer_are_counted_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maker, free = Maker(), kf.kcompactd_wake("classzone_idx")
    old = kf.extfrag("9", field="struct page * page")
    path = one_buffer(tmp_path / "x.dat", maker, [old], [maker.payload(old)])
    with pytest.raises(
        KevacuateError, match=r"no pfn \(Linux before 4.1\): .* import the text of its trace or trace_pipe"
    ):
        import_recording(path, tmp_path / "x.kev")
    path = one_buffer(
        tmp_path / "x.dat", maker, [old, free], [maker.payload(old)] * 3 + [maker.payload(free, order=9)]
    )
    kev = tmp_path / "mixed.kev"
    assert "3 events of mm_page_alloc_extfrag could not be read" in call(capsys, "import", path, "-o", kev)
    info = call(capsys, "info", kev)
    assert "3 of mm_page_alloc_extfrag" in info
    assert "3 events could not be read." in info
    assert "No event was lost" not in info
    about = json.loads(call(capsys, "info", kev, "--json"))
    assert about["events_not_read"] == {"mm_page_alloc_extfrag": 3}


@pytest.mark.parametrize("pack_whole", [lzma.compress, gzip.compress, bz2.compress, PACKERS["zstd"]])
def test_a_file_that_is_compressed_as_a_whole(tmp_path: Path, pack_whole: Callable[[bytes], bytes]) -> None:
    data = pack(take_apart((DATA / "live.v7.dat").read_bytes()), "zstd")
    (tmp_path / "x.dat").write_bytes(data)
    (tmp_path / "packed").write_bytes(pack_whole(data))
    for one, other in zip(events_of(tmp_path / "packed"), events_of(tmp_path / "x.dat"), strict=True):
        np.testing.assert_array_equal(one, other)
    (tmp_path / "cut").write_bytes(pack_whole(data)[:-100])
    with pytest.raises(KevacuateError, match=r"is truncated|is corrupted: it does not decompress"):
        open_source(tmp_path / "cut")


def test_a_file_that_decompresses_to_far_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MOST_UNPACKED", 1 << 20)
    data = (DATA / "live.v7.dat").read_bytes()
    (tmp_path / "x.xz").write_bytes(lzma.compress(data))
    open_source(tmp_path / "x.xz")
    (tmp_path / "x.xz").write_bytes(lzma.compress(data[:100] + bytes(100 << 20)))
    with pytest.raises(KevacuateError, match="more than 1,000 times its size"):
        open_source(tmp_path / "x.xz")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(11-1)", 10), ("((gfp_t)(0x400000u|0x2000000u)) & ~((gfp_t)0x2000000u)", 0x400000), ("1 << 3 | 1", 9),
        ("(unsigned long)((((1UL))) << (11))", 2048), ("~0", (1 << 64) - 1), ("2 + 3 * 4 - 1", 13), ("1 ? 2 : 3", 2),
        ("0 ? 2 : 0 ? 3 : 4", 4), ("!0 && 2 < 3", 1), ("010", 8), ("MR_CMA", None), ("sizeof(int)", None), ("", None),
        ("1 +", None), ("(1", None), ("1)", None), ("1 2", None), ("09", None),
        ("(" * 500 + "1" + ")" * 500, None), ("1?1:" * 3000 + "1", None),
        ("-" * 3000 + "1", None), ("1" * 40, None), ("0x" + "f" * 30, None), ("1/0", None),
    ],
)  # fmt: skip
def test_constants_of_c(text: str, value: int | None) -> None:
    assert constant(text) == value


def test_print_fmts_are_taken_apart() -> None:
    text = 'print fmt: "a=%d b:%s, 100%% c=%-8s (%p)", REC->a, f(1, "x,y"), '
    text += '__print_symbolic(REC->c, {0, "DMA"}, {(1 << 1), "N"}), 5\n'
    assert list(arguments(text).items())[:2] == [("a", "REC->a"), ("b", 'f(1, "x,y")')]
    assert symbols(text, "c") == {"DMA": 0, "N": 2}
    assert symbols(text, "d") == symbols("", "c") == {}
    assert flags('__print_flags(REC->f, "|", {0x1u, "A"}, {B, "B"})') == [("A", 1)]
    assert pageblock_order('print fmt: "pageblock_order=%d", 99\n') is None
