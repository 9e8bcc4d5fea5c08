# SPDX-License-Identifier: GPL-2.0-or-later
"""triage, as a user runs it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_tools import COMMAND, call, refusal, run
from recorded_tools import DATA, K, M, R, U, event, extfrag, proc_snapshot, write_events

from kevacuate.capture.events import LIGHT
from kevacuate.measure.triage import VERDICTS
from kevacuate.reports.triage.words import HEADLINES, SHORT_SECONDS

SECOND = 10**9
ON = {"events": {"kmem/mm_page_alloc_extfrag": ""}, "extra": {"mode": "light"}}
ENDS = [event(0, K.MM_PAGE_FREE, 1), event(60 * SECOND, K.MM_PAGE_FREE, 1)]


def written(path: Path, *rows: dict[str, Any], **more: Any) -> Path:
    """A recording of a minute with these events."""
    return write_events(path, sorted([*ENDS, *rows], key=lambda row: row["ts"]), **{**ON, **more})


def said(path: Path) -> str:
    done = call("triage", path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def verdict(path: Path) -> dict[str, Any]:
    done = call("triage", path, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def steal(second: int, block: int) -> dict[str, Any]:
    return extfrag(second * SECOND, 512 * block, U, M, taken=1, own=False)


def free(first: int, last: int) -> list[Any]:
    """Snapshots at both ends of the minute: of 1,000 free pages so many in chunks below order 9."""
    return [
        proc_snapshot(0, "start", {0: first, 9: 1}), proc_snapshot(60 * SECOND, "end", {0: last, 9: 1}),
    ]  # fmt: skip


CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "not known": ([], {"missed": 2}, "some were lost or not read"),
    "not fragmenting": ([], {}, "in 1 min no unmovable or reclaimable request took memory from a movable pageblock"),
    "whole free blocks only": (
        [extfrag(50 * SECOND, 512, U, M, taken=9, own=True)], {},
        "in 1 min 1 request took free movable pageblocks, and none took part of a block",
    ),
    "quiet now": (
        [steal(1, 1), steal(2, 2)], {},
        "took part of a movable pageblock 2 times in 1 min. None of the 2 was in the last third",
    ),
    "fragmenting in the same blocks": (
        [steal(1, 1), steal(50, 1)], {}, "1 of the 2 was in the last third of that time, all in blocks that had been hit",
    ),
    "fragmenting": (
        [steal(50, 1), steal(51, 2)], {}, "All were in the last third of that time, which hit 2 blocks for the first time",
    ),
    "mixing, free memory recovers": (
        [steal(50, 1)], {"snapshots": free(512, 0)},
        "Yet free memory that no huge page (order 9) can use fell from 50.0 % to 0.0 %.",
    ),
    "free memory fragments": (
        [], {"snapshots": free(0, 512)}, "free memory that no huge page (order 9) can use rose from 0.0 % to 50.0 %.",
    ),
}  # fmt: skip
"""By verdict: events, what else is recorded, and what is said."""


def test_there_is_a_case_of_every_headline() -> None:
    assert sorted(CASES) == sorted(HEADLINES) == sorted(VERDICTS)


@pytest.mark.parametrize("name", CASES)
def test_every_headline_can_be_reached(name: str, tmp_path: Path) -> None:
    rows, more, words = CASES[name]
    path = written(tmp_path / "x.kev", *rows, **more)
    headline = said(path).splitlines()[1]
    assert headline.startswith(f"{HEADLINES[name]}: ")
    assert words in headline
    assert verdict(path)["verdict"] == name


def test_triage_of_a_recording(tmp_path: Path) -> None:
    rows = [extfrag(i * SECOND, 512 * i, U, M, taken=4, own=True) for i in range(20)]
    rows += [extfrag(i * SECOND, 512 * i, R, M, taken=1, own=False, order=1) for i in range(3)]
    path = written(tmp_path / "m4.kev", *rows)
    text = said(path)
    assert text.splitlines()[0] == "m4.kev, Linux 7.2.0-synthetic"
    assert "took part of a movable pageblock 23 times in 1 min. None of the 23" in text
    assert "Evacuation: 20 claims would have queued one, in 20 blocks.\n" in text
    assert "Of claims and whole-block claims that is 100 %" in text
    assert "Steals: 3 events, 13 % of all that took from movable blocks, put 6 pages into 3 blocks." in text
    assert "0 of these blocks were never claimed" in text
    found = verdict(path)
    assert found["evacuation"]["would_queue"] == 20
    assert found["requesters"][0] == {
        "type": "unmovable", "order_asked": 0, "gfp": None, "claims": 20, "claims_whole_block": 0, "steals": 0,
        "claims_or_steals": 0,
    }  # fmt: skip


def test_triage_of_a_real_excerpt() -> None:
    text = said(DATA / "two-cpus.kev")
    assert (
        "Fragmenting: unmovable and reclaimable requests took part of a movable pageblock 778 times" in text
    )
    assert "Evacuation: 8 claims would have queued one, in 8 blocks." in text
    assert "that is 35 %: a whole-block claim (15 came) leaves nothing to evacuate" in text
    assert "From first event to last, claims and whole-block claims took 35 movable pageblocks" in text
    assert "GFP_KERNEL|__GFP_RECLAIMABLE" in text


def test_compare_and_triage_count_claims_alike() -> None:
    path = DATA / "two-cpus.kev"
    rows = json.loads(call("compare", "--recorded", path, path, "--json").stdout)["rows"]
    named = {row["id"]: row["values"][0][0] for row in rows}
    found = verdict(path)
    assert found["evacuation"]["would_queue"] == named["extfrag.claims_from_movable"] == 8
    assert sum(found["timeline"]["claims"]) == sum(row["claims"] for row in found["requesters"]) == 8
    assert (
        sum(found["timeline"]["claims_whole_block"]) == named["extfrag.claims_whole_block_from_movable"] == 15
    )
    assert sum(found["timeline"]["steals"]) == named["extfrag.steals_from_movable"] == 770


def test_light_data_say_what_they_cannot_know(tmp_path: Path) -> None:
    text = said(written(tmp_path / "light.kev", steal(1, 1)))
    assert "The gfp flags are not known" in text
    off = {"events": {"kmem/mm_page_alloc": ""}, "extra": {"mode": "default"}}
    text = said(written(tmp_path / "without.kev", **off))
    assert "Not known: mm_page_alloc_extfrag was not recorded. Record again with it" in text
    assert "The recording holds: mm_page_free 2." in text
    text = said(written(tmp_path / "mute.kev", extra={}))
    assert "no mm_page_alloc_extfrag event in 1 min, and the recording does not say whether" in text
    assert "The recording holds: mm_page_free 2." in text


def test_many_kinds_of_events_are_cut_short(tmp_path: Path) -> None:
    kinds = [K.MM_PAGE_ALLOC, *list(K)[5:15]]
    kinds.remove(K.MM_PAGE_ALLOC_EXTFRAG)
    text = said(written(tmp_path / "x.kev", *(event(i, kind) for i, kind in enumerate(kinds)), extra={}))
    assert re.search(r"holds: mm_page_free 2(, \w+ 1){7} and 2 other kinds\.", text)


def test_before_3_12_nothing_is_called_a_steal(tmp_path: Path) -> None:
    text = said(written(tmp_path / "old.kev", steal(1, 1), steal(59, 2), kernel="3.10.0-693.el7.x86_64"))
    assert "Fragmenting: " in text
    assert (
        "2 events took part of a movable block: claims or steals, which this kernel's event does not tell apart"
        in text
    )
    assert "Evacuation: " not in text
    assert "Steals: " not in text
    assert "claims or steals" in text.partition("Over time")[2]


def test_a_kernel_that_is_not_known_is_called_so(tmp_path: Path) -> None:
    assert said(written(tmp_path / "x.kev", kernel="")).splitlines()[0] == "x.kev, Linux (not known)"


@pytest.mark.parametrize(("seconds", "sample"), [(SHORT_SECONDS - 1, True), (SHORT_SECONDS, False)])
def test_less_than_ten_minutes_is_a_sample(seconds: int, sample: bool, tmp_path: Path) -> None:
    end = event(seconds * SECOND, K.MM_PAGE_FREE, 1)
    text = said(written(tmp_path / "x.kev", steal(1, 1), end))
    assert SHORT_SECONDS == 600
    assert ("a sample, not its life" in text) == sample
    assert ("(6 an hour)" in text) != sample


def test_a_begin_without_an_end_is_counted(tmp_path: Path) -> None:
    text = said(written(tmp_path / "x.kev", event(SECOND, K.VMSCAN_DIRECT_RECLAIM_BEGIN, pid=7)))
    assert "do not pair: begins without an end 1, ends without a begin 0." in text
    assert "No task waited" not in text
    text = said(written(tmp_path / "y.kev", event(SECOND, K.VMSCAN_DIRECT_RECLAIM_BEGIN)))
    assert "name no task, and so pair with none: 1." in text
    text = said(written(tmp_path / "z.kev"))
    assert "pair" not in text
    assert "waited" not in text


def test_no_stall_is_said_where_stalls_were_recorded(tmp_path: Path) -> None:
    on = {"events": dict.fromkeys(LIGHT, ""), "extra": {"mode": "light"}}
    text = said(written(tmp_path / "x.kev", **on))
    assert "No task waited in direct reclaim.\nNo task waited in direct compaction.\n" in text
    assert verdict(tmp_path / "x.kev")["stalls"]["direct_reclaim"]["count"] == 0


CASE_81 = """\
# tracer: nop
#
v-111 [001] .... 10.000900: mm_vmscan_direct_reclaim_begin: order=9 gfp_flags=GFP_HIGHUSER|__GFP_NOWARN
v-111 [001] .... 10.004000: mm_vmscan_direct_reclaim_end: nr_reclaimed=32
v-111 [001] .... 10.005000: mm_compaction_try_to_compact_pages: order=9 gfp_mask=GFP_HIGHUSER priority=0
v-111 [001] .... 10.006000: mm_compaction_begin: zone_start=0x1 migrate_pfn=0x2 free_pfn=0x3 zone_end=0x4, mode=sync
v-111 [001] .... 10.011000: mm_compaction_end: zone_start=0x1 migrate_pfn=0x2 free_pfn=0x3 zone_end=0x4, mode=sync status=success
v-111 [001] .... 10.012000: mm_page_alloc: page=00000000d2be5665 pfn=0x11a200 order=9 migratetype=0 gfp_flags=GFP_HIGHUSER
"""
EXTFRAG = (
    "mm_page_alloc_extfrag: page=00000000d2be5665 pfn={pfn} alloc_order=0 fallback_order={order} pageblock_order=9 "
    "alloc_migratetype={mt} fallback_migratetype=1 fragmenting=1 change_ownership=1"
)
CASE_82 = "\n".join(
    [
        "# tracer: nop",
        "#",
        "   kswapd0-61 [003] d..3 100.000000: mm_vmscan_kswapd_wake: nid=0 order=0",
        f"   bash-1240 [001] d..1 110.000000: {EXTFRAG.format(pfn='0x11a200', order=4, mt=0)}",
        f"   bash-1240 [001] d..1 110.100000: {EXTFRAG.format(pfn='0x11b400', order=4, mt=0)}",
        f"   bash-1240 [001] d..1 110.200000: {EXTFRAG.format(pfn='0x20f640', order=3, mt=2)}",
        "   kswapd0-61 [003] d..3 160.000000: mm_vmscan_kswapd_sleep: nid=0\n",
    ]
)


def imported(text: str, directory: Path) -> Path:
    (directory / "trace.txt").write_text(text)
    target = directory / "out.kev"
    assert call("import", directory / "trace.txt", "-o", target).returncode == 0
    return target


def test_stalls_do_not_make_a_machine_calm(tmp_path: Path) -> None:
    path = imported(CASE_81, tmp_path)
    text = said(path)
    assert "Not known: no mm_page_alloc_extfrag event in 11.1 ms, and the recording does not say" in text
    assert "mm_vmscan_direct_reclaim_begin 1" in text
    assert "Tasks waited 5 ms in direct compaction, once." in text
    assert "This saw 11.1 ms" in text
    assert "not fragmenting" not in text.lower()
    shown = call("export", path, "--ftrace", "-o", tmp_path / "shown.txt")
    assert shown.returncode == 0
    assert "mm_vmscan_direct_reclaim_end" in (tmp_path / "shown.txt").read_text()


def test_claims_long_ago_are_quiet_now(tmp_path: Path) -> None:
    path = imported(CASE_82, tmp_path)
    text = said(path)
    assert "Fragmented, quiet now" in text
    assert "3 times in 1 min. None of the 3 was in the last third" in text
    assert "This saw 1 min of the machine" in text
    assert verdict(path)["seconds"] == 60.0


@pytest.mark.parametrize("columns", ["99999999999", "0", "wide"])
def test_a_width_that_is_none_is_passed_over(columns: str) -> None:
    usual = run("triage", DATA / "two-cpus.kev", COLUMNS="200")
    assert run("triage", DATA / "two-cpus.kev", COLUMNS=columns).stdout == usual.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit(width: int) -> None:
    done = run("triage", DATA / "two-cpus.kev", COLUMNS=str(width))
    tables = done.stdout.partition("Over time")[2].partition("What would help here")[0].splitlines()
    assert max(map(len, tables)) <= width
    assert "…" not in done.stdout
    words = " ".join(tables).replace("|", " ").split()
    for heading in ("type", "order", "gfp", "claims", "whole-block", "steals", "task", "blocks"):
        assert heading in words, heading
    for flag in ("__GFP_RECLAIMABLE", "__GFP_NOMEMALLOC", "GFP_KERNEL_ACCOUNT", "__GFP_NORETRY"):
        assert flag in words, flag


def test_triage_wants_one_of_two(tmp_path: Path) -> None:
    assert "give one of the two" in refusal("triage")
    assert "give one of the two" in refusal("triage", "--live", tmp_path)
    empty = write_events(tmp_path / "empty.kev", [])
    assert "holds no events of the recorded kernel" in refusal("triage", empty)


def test_two_recordings_are_told_one_after_the_other(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{name}.kev", steal(20, 1)) for name in ("b", "a")]
    done = call("triage", *paths)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("a.kev, ") < done.stdout.index("b.kev, ")
    result = json.loads(call("triage", *reversed(paths), "--json").stdout)
    assert [one["files"] for one in result["answers"]] == [
        [str(tmp_path / "a.kev")],
        [str(tmp_path / "b.kev")],
    ]
    assert [one["verdict"] for one in result["answers"]] == [verdict(paths[0])["verdict"]] * 2


def test_a_recording_among_other_files_keeps_its_tables_of_stalls(tmp_path: Path) -> None:
    path = imported(CASE_81, tmp_path)
    (tmp_path / "vmstat").write_text("compact_stall 9120\ncompact_fail 8290\n")
    for among in ([path], [path, tmp_path / "vmstat"]):
        text = call("triage", *among).stdout
        assert "Who waited, by request" in text
        assert "Who waited, by task" in text


def test_help_says_what_files_it_takes() -> None:
    text = " ".join(call("triage", "--help").stdout.split())
    for word in (
        "dmesg | kevacuate triage -",
        "buddyinfo",
        "page_owner",
        "A folder or tar archive is searched",
        "sar and sadf, netdata",
    ):
        assert word in text, word


def test_a_traces_text_is_triaged_as_it_is(tmp_path: Path) -> None:
    kev = written(tmp_path / "one.kev", steal(20, 1), steal(30, 2))
    assert call("export", kev, "--ftrace", "-o", tmp_path / "one.txt").returncode == 0
    found = verdict(tmp_path / "one.txt")
    assert (found["name"], found["steals"]["events"]) == ("one.txt", 2)


def test_standard_input_is_called_so() -> None:
    vmstat = b"compact_stall 9120\ncompact_fail 8290\n"
    found = [
        subprocess.run(
            [*COMMAND, "triage", "-", "--json"], input=vmstat, capture_output=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert json.loads(found[0])["answers"][0]["files"] == ["standard input"]
    assert found[0] == found[1]


def test_a_file_of_no_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text("roses are red\n")
    assert "poem.txt" in refusal("triage", tmp_path / "poem.txt")
    (tmp_path / "song.txt").write_text("violets are blue\n")
    assert "none of the 2 files" in refusal("triage", tmp_path / "poem.txt", tmp_path / "song.txt")
