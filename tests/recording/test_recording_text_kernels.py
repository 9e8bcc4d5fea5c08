# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace text of older kernels: which kernel it is of, and what its names and numbers mean."""

import bz2
import gzip
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.kernel import migratetypes
from kevacuate.kernel.versions import KernelRange
from kevacuate.recording import EventKind, Recording
from kevacuate.recording.gfptext import gfp_text, gfp_value
from kevacuate.recording.importers import ImportOptions, import_recording
from kevacuate.recording.importers.ftracetext import PLAIN
from kevacuate.recording.importers.kernelproof import ASSUMED, GIVEN, NAMED, PROVEN, Survey
from kevacuate.recording.schema import EventChunk, concat_chunks

HEAD = "  x-5 [001] .... 1.000001: "
ALLOC = HEAD + "mm_page_alloc: page=000000007 pfn={} order=0 migratetype={} gfp_flags={}\n"


def read(tmp_path: Path, text: str, **options: str) -> tuple[EventChunk, dict[str, object]]:
    """The events of a text, and what import says of it."""
    (tmp_path / "t.txt").write_text(text)
    about = import_recording(tmp_path / "t.txt", tmp_path / "t.kev", ImportOptions(**options))  # type: ignore[arg-type]
    return concat_chunks(list(Recording.open(tmp_path / "t.kev").events())), about


def known(tmp_path: Path, text: str, given: str | None = None) -> tuple[str, KernelRange]:
    """How the kernel of a text is known, and which it can be."""
    (tmp_path / "t.txt").write_text(text)
    kernel = Survey(tmp_path / "t.txt", PLAIN.facts).kernel(given, tmp_path / "t.txt")
    return kernel.how, kernel.versions


@pytest.mark.parametrize(
    ("text", "how", "first", "last"),
    [
        (ALLOC.format(5, 1, "GFP_KERNEL"), ASSUMED, None, None),
        (ALLOC.format(5, 1, "GFP_HIGHUSER_MOVABLE"), PROVEN, (4, 4), None),
        (ALLOC.format(5, 2, "GFP_HIGHUSER_MOVABLE"), PROVEN, None, (4, 3)),
        (ALLOC.format(5, 2, "GFP_TRANSHUGE"), PROVEN, None, (4, 3)),
        (ALLOC.format(5, 0, "GFP_KERNEL|GFP_ZERO"), PROVEN, None, (4, 5)),
        (ALLOC.format(5, 0, "GFP_KERNEL|__GFP_ZERO"), PROVEN, (4, 6), None),
        (HEAD + "mm_pagevec_free: page=07 pfn=5 order=0 cold=0\n", PROVEN, None, (3, 2)),
        (HEAD + "mm_page_free_batched: page=07 pfn=5 order=0 cold=0\n", PROVEN, None, (4, 14)),
        (HEAD + "mm_compaction_try_to_compact_pages: order=9 gfp_mask=0x1 mode=0\n", PROVEN, (4, 0), (4, 7)),
        (HEAD + "mm_compaction_finished: node=0 zone=Normal   order=9 ret=partial\n", PROVEN, (4, 0), (4, 8)),
        (HEAD + "mm_migrate_pages: nr_succeeded=1 nr_failed=0 mode=MIGRATE_SYNC reason=cma\n", PROVEN, None, (4, 16)),
        (HEAD + "mm_compaction_isolate_freepages: nr_scanned=512 nr_taken=32\n", PROVEN, None, (3, 19)),
        (HEAD + "mm_compaction_isolate_freepages: range=(0x1 ~ 0x2) nr_scanned=1 nr_taken=1\n", ASSUMED, None, None),
        (HEAD + "mm_compaction_end: status=2\n", PROVEN, None, (3, 15)),
        (HEAD + "mm_compaction_end: zone_start=0x1 migrate_pfn=0x2 sync=1 status=8\n", ASSUMED, None, None),
        (HEAD + "mm_page_alloc_extfrag: page=07 pfn=5 fragmenting=1 change_ownership=1\n", PROVEN, (3, 12), None),
        (HEAD + "mm_page_alloc_extfrag: page=07 pfn=5 fragmenting=1 change_ownership=0\n", ASSUMED, None, None),
        (HEAD + "mm_vmscan_writepage: page=07 pfn=5 flags=RECLAIM_WB_ANON\n", PROVEN, None, (5, 18)),
        ("# kernel 5.4.0-150-generic\n" + ALLOC.format(5, 1, "GFP_KERNEL"), NAMED, (5, 4), (5, 4)),
        ("[    0.000000] Linux version 3.10.0-693.el7.x86_64 (gcc)\n", NAMED, (3, 10), (3, 10)),
        ("[  1.0] CPU: 1 PID: 2 Comm: sh Not tainted 4.18.0-553.el8 #1\n", NAMED, (4, 18), (4, 18)),
        ("# kernel 2.6.32-754.el6.x86_64\n" + ALLOC.format(5, 1, "GFP_KERNEL"), NAMED, (2, 6, 33), (2, 6, 33)),
        ("# kernel 3.10.0\n" + ALLOC.format(5, 1, "GFP_HIGHUSER_MOVABLE"), PROVEN, (4, 4), None),
    ],
)  # fmt: skip
def test_which_kernel(tmp_path: Path, text: str, how: str, first: object, last: object) -> None:
    assert known(tmp_path, text) == (how, (first, last))


def test_the_kernel_that_is_given(tmp_path: Path) -> None:
    text = ALLOC.format(5, 1, "GFP_KERNEL")
    assert known(tmp_path, text, "3.10") == (GIVEN, ((3, 10), (3, 10)))
    for given in ("", "x", "2.6.18", "1.2"):
        with pytest.raises(KevacuateError, match=r"is not a version from 2\.6\.33 on"):
            known(tmp_path, text, given)
    with pytest.raises(KevacuateError, match=r"have migratetype 2, as in 4\.3 or older\. Correct --kernel"):
        known(tmp_path, ALLOC.format(5, 2, "GFP_HIGHUSER_MOVABLE"), "5.4")
    with pytest.raises(KevacuateError, match=r"have migratetype 1, as in 4\.4 or later"):
        known(tmp_path, ALLOC.format(5, 1, "GFP_TRANSHUGE"), "3.10")


def test_the_proof_may_stand_far_behind_the_first_line(tmp_path: Path) -> None:
    text = ALLOC.format(5, 2, "GFP_KERNEL|__GFP_") * 200_000 + ALLOC.format(6, 2, "GFP_HIGHUSER_MOVABLE")
    text = text.replace("|__GFP_", "")
    assert len(text) > 1 << 24
    assert known(tmp_path, text) == (PROVEN, (None, (4, 3)))


def test_migratetypes_of_every_event_are_renumbered(tmp_path: Path) -> None:
    text = "# kernel 3.10.0\n" + ALLOC.format(5, 1, "GFP_KERNEL")
    text += HEAD + "mm_page_alloc_zone_locked: page=07 pfn=5 order=0 migratetype=2 percpu_refill=1\n"
    text += HEAD + "mm_page_pcpu_drain: page=07 pfn=5 order=0 migratetype=3\n"
    text += HEAD + (
        "mm_page_alloc_extfrag: page=07 pfn=5 alloc_order=0 fallback_order=4 pageblock_order=9 alloc_migratetype=1 "
        "fallback_migratetype=2 fragmenting=1 change_ownership=0\n"
    )
    events, about = read(tmp_path, text)
    assert events.mt.tolist() == [2, 1, -1, 2]  # reserve is no type of Linux 7.2
    assert events.b[3] == 1
    assert [migratetypes.name(mt) for mt in events.mt.tolist()] == [
        "reclaimable",
        "movable",
        "not known",
        "reclaimable",
    ]
    assert about["old_migratetypes"] is True
    assert about["change_ownership_unknown"] is True


@pytest.mark.parametrize(("kernel", "unknown"), [("3.11.10", True), ("3.12.1", False), ("2.6.39", True)])
def test_ownership_before_312(tmp_path: Path, kernel: str, unknown: bool) -> None:
    _, about = read(tmp_path, ALLOC.format(5, 1, "GFP_KERNEL"), kernel=kernel)
    assert about["change_ownership_unknown"] is unknown


@pytest.mark.parametrize(
    ("kernel", "printed", "stored"),
    [
        ("3.10", "GFP_KERNEL", "GFP_KERNEL"),
        ("3.10", "GFP_NOWAIT", "__GFP_KSWAPD_RECLAIM"),
        ("3.10", "GFP_WAIT|GFP_NORETRY|GFP_NO_KSWAPD", "__GFP_DIRECT_RECLAIM|__GFP_NORETRY"),
        ("3.10", "GFP_COMP|GFP_ZERO", "__GFP_ZERO|__GFP_KSWAPD_RECLAIM|__GFP_COMP"),
        ("3.10", "GFP_TRANSHUGE", "GFP_TRANSHUGE|__GFP_NORETRY"),
        ("4.4", "GFP_NOWAIT", "none"),
        ("4.4", "GFP_ATOMIC|GFP_ZERO", "GFP_ATOMIC|__GFP_ZERO"),
        ("4.4", "GFP_HIGH|GFP_ATOMIC", "__GFP_HIGH"),
        ("4.6", "GFP_TRANSHUGE", "GFP_TRANSHUGE_LIGHT|__GFP_NORETRY"),
        ("5.4", "GFP_NOWAIT", "__GFP_KSWAPD_RECLAIM"),
        ("6.18", "GFP_NOWAIT", "GFP_NOWAIT"),
        ("5.4", "GFP_KERNEL|__GFP_ATOMIC", "GFP_KERNEL"),
        ("7.2", "GFP_KERNEL|__GFP_ZEROTAGS|__GFP_SKIP_KASAN", "GFP_KERNEL"),
    ],
)
def test_names_of_flags(tmp_path: Path, kernel: str, printed: str, stored: str) -> None:
    events, about = read(tmp_path, ALLOC.format(5, 0, printed), kernel=kernel)
    assert gfp_text(int(events.gfp[0])) == stored
    assert about["names_not_known"] == (["__GFP_ATOMIC"] if "__GFP_ATOMIC" in printed else [])


@pytest.mark.parametrize(
    ("kernel", "number", "stored", "not_read"),
    [
        ("4.9", "0x24280ca", "GFP_HIGHUSER_MOVABLE|__GFP_ZERO", 0),
        ("3.10", "0x2040d0", "GFP_KERNEL|__GFP_COMP", 0),
        ("4.19", "0x6280ca", "GFP_HIGHUSER_MOVABLE|__GFP_ZERO", 0),
        ("6.18", "0x1000cc0", "GFP_KERNEL", 0),
        ("5.1", "0x140cca", "none", 1),
    ],
)
def test_flags_that_are_numbers(tmp_path: Path, kernel: str, number: str, stored: str, not_read: int) -> None:
    events, about = read(tmp_path, ALLOC.format(5, 0, number), kernel=kernel)
    assert gfp_text(int(events.gfp[0])) == stored
    assert (about["gfp_numbers_not_read"], about["gfp_numbers_unmapped"]) == (not_read, False)


def test_composed_names_without_a_version_are_those_of_today() -> None:
    assert gfp_value("GFP_NOWAIT") == (0x2800, ())
    assert gfp_value("GFP_ZERO|nonsense") == (0x100, ("nonsense",))


def test_results_of_compaction_as_numbers(tmp_path: Path) -> None:
    line = HEAD + "mm_compaction_finished: nid=0 idx=2 order=9 ret={}\n"
    events, _ = read(tmp_path, line.format(2) + line.format(3) + line.format(42), kernel="4.4.88")
    assert events.c.tolist() == [4, 8, -1]


def test_results_that_are_numbers_of_one_of_several_kernels(tmp_path: Path) -> None:
    text = HEAD + "mm_compaction_try_to_compact_pages: order=9 gfp_mask=0x0 mode=0\n"
    line = HEAD + "mm_compaction_finished: nid=0 idx=2 order=9 ret={}\n"
    events, about = read(tmp_path, text + line.format(1) + line.format(3))
    assert about["kernel_range"] == ["4.0", "4.7"]
    assert events.c.tolist()[1:] == [1, -1]  # 1 was skipped in all of them, 3 was partial or no_suitable_page
    assert about["results_not_read"] == 1


@pytest.mark.parametrize(
    ("kernel", "printed", "stored"),
    [
        ("3.10", "GFP_KERNEL|0x2000", "GFP_KERNEL|__GFP_MEMALLOC"),
        ("3.10", "GFP_KERNEL|0x100000", "GFP_KERNEL"),
        ("3.10", "GFP_TRANSHUGE|0x2", "GFP_TRANSHUGE|__GFP_NORETRY"),
        ("4.4", "GFP_KERNEL|0x2000", "GFP_KERNEL|__GFP_MEMALLOC"),
        ("6.18", "GFP_KERNEL|0x2000000", "GFP_KERNEL"),
        ("", "GFP_KERNEL|0x2000", "GFP_KERNEL|__GFP_NOWARN"),
    ],
)
def test_flags_behind_names_that_are_numbers(tmp_path: Path, kernel: str, printed: str, stored: str) -> None:
    given = {"kernel": kernel} if kernel else {}
    events, about = read(tmp_path, ALLOC.format(5, 0, printed), **given)
    assert gfp_text(int(events.gfp[0])) == stored
    assert about["names_not_known"] == []


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        (HEAD + "mm_compaction_isolate_freepages: nr_scanned=512 nr_taken=32\n", True),
        (HEAD + "mm_page_alloc_zone_locked: page=07 pfn=5 order=0 migratetype=2 percpu_refill=1\n", False),
        (HEAD + "mm_page_free_batched: page=07 pfn=5 order=0 cold=0\n", False),
    ],
)
def test_a_kernel_that_may_be_older_than_312(tmp_path: Path, text: str, unknown: bool) -> None:
    claim = HEAD + (
        "mm_page_alloc_extfrag: page=07 pfn=5 alloc_order=0 fallback_order=4 pageblock_order=9 alloc_migratetype=0 "
        "fallback_migratetype=2 fragmenting=1 change_ownership={}\n"
    )
    assert read(tmp_path, text + claim.format(0))[1]["change_ownership_unknown"] is unknown
    (tmp_path / "1").mkdir()
    assert read(tmp_path / "1", text + claim.format(1))[1]["change_ownership_unknown"] is False


def test_lines_that_can_be_no_event_do_not_count(tmp_path: Path) -> None:
    text = ALLOC.format(5, 1, "GFP_KERNEL")
    text += (
        HEAD
        + "<stack trace>\n => __alloc_pages\n\tffffffff81 get_page+0x1 ([kernel.kallsyms])\n<div>\nDear list,\n"
    )
    text += "[  601.000010] Dumping ftrace buffer:\n"
    _, about = read(tmp_path, text)
    assert (about["lines_not_read"], about.get("events_not_read")) == (0, None)
    (tmp_path / "cut").mkdir()
    _, about = read(tmp_path / "cut", text + "  x-5 [0 .... 1.000001: mm_pa\n")
    assert about["lines_not_read"] == 1


@pytest.mark.parametrize("before", ["<4>", "kern  :warn  : ", "Mai 15 10:00:00 rechner kernel: ", ""])
def test_tp_printk_behind_what_a_log_puts_before(tmp_path: Path, before: str) -> None:
    events, about = read(tmp_path, before + "[   12.345678] mm_page_free: page=07 pfn=5 order=0\n")
    assert (events.ts.tolist(), about["lines_lack"]) == ([12_345_678_000], ["cpu", "pid"])


def test_compaction_of_linux_314(tmp_path: Path) -> None:
    text = HEAD + "mm_compaction_begin: zone_start=4096 migrate_start=4608 free_start=8192 zone_end=9000\n"
    text += (
        HEAD
        + "mm_compaction_end: status=2\n"
        + HEAD
        + "mm_compaction_migratepages: nr_migrated=3 nr_failed=1\n"
    )
    events, about = read(tmp_path, text)
    assert events.kind.tolist() == [EventKind.COMPACTION_BEGIN, EventKind.COMPACTION_MIGRATEPAGES]
    assert [int(getattr(events, c)[0]) for c in ("pfn", "a", "b", "c", "order")] == [
        4608,
        8192,
        4096,
        9000,
        -1,
    ]
    assert about["events_not_read"] == {"mm_compaction_end": 1}


@pytest.mark.parametrize(
    "page",
    ["(nil)", "(null)", "          (null)", "0000000000000000", "00000000", "0x0", "0", "<null>"],
)
@pytest.mark.parametrize("pfn", ["0", "0x0", "-1", "18446744073709551615", "0xffffffffffffffff"])
def test_failed_allocations_in_every_form(tmp_path: Path, page: str, pfn: str) -> None:
    text = HEAD + f"mm_page_alloc: page={page} pfn={pfn} order=3 migratetype=0 gfp_flags=GFP_KERNEL\n"
    assert read(tmp_path, text)[0].pfn.tolist() == [-1]


@pytest.mark.parametrize("page", ["00000000d2be5665", "(____ptrval____)", "0x1234", "ffffea0000000000"])
def test_the_first_page_is_no_failure(tmp_path: Path, page: str) -> None:
    text = HEAD + f"mm_page_alloc: page={page} pfn=0 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n"
    assert read(tmp_path, text)[0].pfn.tolist() == [0]


def test_lines_of_known_events_that_are_not_read_are_counted(tmp_path: Path) -> None:
    text = ALLOC.format(5, 1, "GFP_KERNEL")
    text += "mm_page_free: page=07 pfn=5 order=0\n" + HEAD + "sched_switch: prev_comm=x\n"
    text += HEAD + "mm_vmscan_kswapd_wake: nid=0\n"
    _, about = read(tmp_path, text)
    assert about["events_not_read"] == {"mm_page_free": 1, "mm_vmscan_kswapd_wake": 1}
    assert about["other_events"] == 1


def test_a_wrapped_line_at_the_end_and_a_cut_one(tmp_path: Path) -> None:
    good = ALLOC.format(5, 1, "GFP_KERNEL")
    events, about = read(tmp_path, good + good.replace(" migratetype", "\n migratetype"))
    assert (events.rows, about["lines_joined"]) == (2, 1)
    (tmp_path / "cut").mkdir()
    with pytest.raises(KevacuateError, match="line 2 has mm_page_alloc without its mt"):
        read(tmp_path / "cut", good + good.split(" migratetype")[0])


def test_a_loss_behind_a_cut_line_counts(tmp_path: Path) -> None:
    text = HEAD + "mm_vmscan_kswapd_wake: nid=0\nCPU:1 [LOST 7 EVENTS]\n" + ALLOC.format(5, 1, "GFP_KERNEL")
    _, about = read(tmp_path, text)
    assert about["lost_events"] == {"1": 7}
    assert about["events_not_read"] == {"mm_vmscan_kswapd_wake": 1}


PERF = "  sh   5 [002] {}: kmem:mm_page_free: page=0x1 pfn=0x7 order=0\n"


def test_perf_with_intervals_for_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        KevacuateError, match="begins at time 0: perf script printed it with --deltatime or --reltime"
    ):
        read(tmp_path, PERF.format("0.000000") + PERF.format("0.000012"))
    other = "  swapper   0 [000] 0.000000: sched:sched_switch: prev_comm=x\n"
    with pytest.raises(KevacuateError, match="--deltatime"):
        read(tmp_path, other + PERF.format("0.000012"))
    assert read(tmp_path, PERF.format("1.000000") + PERF.format("1.000000"))[0].rows == 2


def _zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


def _lzma_alone(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, _zstd, _lzma_alone])
def test_compressed_text(tmp_path: Path, pack: object) -> None:
    data = (ALLOC.format(5, 1, "GFP_KERNEL") * 3000).encode()
    packed = pack(data)  # type: ignore[operator]
    (tmp_path / "t").write_bytes(packed)
    assert import_recording(tmp_path / "t", tmp_path / "t.kev")["events"] == 3000
    for damaged in (packed[: len(packed) // 2], packed[:-12] + b"\0" * 12):
        (tmp_path / "d").write_bytes(damaged)
        with pytest.raises(KevacuateError, match=r"is truncated|is corrupted|is no|is not a file"):
            import_recording(tmp_path / "d", tmp_path / "d.kev")


def test_an_export_of_an_old_kernels_events_comes_back(tmp_path: Path) -> None:
    from kevacuate.reports.ftrace import write_ftrace

    events, _ = read(
        tmp_path,
        ALLOC.format(5, 2, "GFP_HIGHUSER_MOVABLE") + ALLOC.format(6, 1, "GFP_NOWAIT"),
        kernel="3.10.0",
    )
    with (tmp_path / "e.txt").open("wb") as out:
        write_ftrace(Recording.open(tmp_path / "t.kev"), out)
    import_recording(tmp_path / "e.txt", tmp_path / "e.kev")
    made = Recording.open(tmp_path / "e.kev")
    again = concat_chunks(list(made.events()))
    assert again.mt.tolist() == events.mt.tolist() == [1, 2]
    assert again.gfp.tolist() == events.gfp.tolist()
    assert made.machine.kernel == "3.10.0"
    assert made.machine.extra["change_ownership_unknown"] is True
