# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of perf trace and babeltrace, and plot-fragmentation's JSON: each value worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles import plotfrag
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.traced import LTTNG, PERF_TRACE, tool_of
from kevacuate.observe.files import traced
from kevacuate.reports.triage.files import traced as traced_words


def answer_of(tmp_path: Path, text: str) -> tuple[dict[str, Any], str]:
    """The trace of a file of that text, and its words; its tables are made, too."""
    path = tmp_path / "trace"
    path.write_text(text)
    found = traced.answer([TextFile(path)])
    with Console(quiet=True) as console:
        for table in traced_words.tables(found):
            console.print(table)
    return found["traces"][0], traced_words.words(found)


def perf(ms: str, task: str, event: str, fields: str) -> str:
    """A line of perf trace since 5.0."""
    return f"{ms:>10} {task} kmem:{event}({fields})\n"


EXTFRAG = "pfn: {}, alloc_order: {}, fallback_order: {}, alloc_migratetype: {}, fallback_migratetype: {}, change_ownership: {}"


def test_perf_trace_counts_by_type_order_and_task(tmp_path: Path) -> None:
    """A claim of order 4, a whole-block claim of order 10 and a steal of order 1 from movable blocks, one claim by a
    movable request.
    """
    text = (
        perf("0.000", "make/10", "mm_page_alloc_extfrag", EXTFRAG.format(0x10200, 0, 4, 0, 1, 1))
        + perf("100.500", "cc1/11", "mm_page_alloc_extfrag", EXTFRAG.format(0x20400, 0, 10, 2, 1, 1))
        + perf("2000.250", "make/10", "mm_page_alloc_extfrag", EXTFRAG.format(0x10201, 1, 1, 2, 1, 0))
        + perf("3000.000", "cc1/11", "mm_page_alloc_extfrag", EXTFRAG.format(0x30000, 0, 9, 1, 0, 1))
        + "LOST 11 events!\n"
    )
    trace, words = answer_of(tmp_path, text)
    assert trace["tool"] == PERF_TRACE
    assert (trace["seconds"], trace["extfrag"], trace["lost_events"]) == (3.0, 4, 11)
    found = [trace[f"{name}_from_movable"] for name in ("claims", "claims_whole_block", "steals")]
    assert found == [1, 1, 1]
    assert (trace["steals"]["pages"], trace["steals"]["blocks"]) == (2, 1)
    assert trace["claims_whole_block_by_movable"] == 1
    assert [(row["pid"], row["claims"], row["claims_whole_block"], row["steals"]) for row in trace["tasks"]] == [
        (10, 1, 0, 1), (11, 0, 1, 0)
    ]  # fmt: skip
    assert trace["task_names"] == {"10": "make", "11": "cc1"}
    assert "11 events of any kind were lost" in words
    assert "Pageblock order 9 is assumed" in words


def test_perf_trace_leaves_out_what_is_zero(tmp_path: Path) -> None:
    """Lines of perf 6.1 on Linux 6.18: no order and no migratetype where they are 0; a steal has no change_ownership."""
    text = (
        "     0.000 true/12358 kmem:mm_page_alloc(pfn: 5423385, gfp_flags: 4459968)\n"
        "     0.087 true/12358 kmem:mm_page_alloc(pfn: 4286685, gfp_flags: 1313994, migratetype: 1)\n"
        "     0.099 true/12358 kmem:mm_page_alloc(pfn: 5559517, gfp_flags: 4459968)\n"
        "     0.121 true/12358 kmem:mm_page_free(pfn: 1989021)\n"
        "     1.000 true/12358 kmem:mm_page_alloc_extfrag(pfn: 5559517, fallback_order: 1, fallback_migratetype: 1)\n"
    )
    trace, _ = answer_of(tmp_path, text)
    assert (trace["steals_from_movable"], trace["extfrag"], trace["numbering"]) == (1, 1, "since 4.4")
    assert [(row["type"], row["order"], row["gfp_names"], row["requests"]) for row in trace["requests"]] == [
        ("unmovable", 0, "GFP_KERNEL_ACCOUNT|__GFP_ZERO|__GFP_COMP", 2),
        ("movable", 0, "GFP_HIGHUSER_MOVABLE|__GFP_COMP", 1),
    ]


@pytest.mark.parametrize(("movable", "claims"), [(1, 1), (2, 0)])
def test_a_movable_request_proves_the_numbers_of_types(tmp_path: Path, movable: int, claims: int) -> None:
    """Type 1 is movable since 4.4 and reclaimable before: an unmovable claim from it is one from movable blocks, or not."""
    text = perf("0.000", "a/1", "mm_page_alloc_extfrag", EXTFRAG.format(0x10200, 0, 4, 0, 1, 1)) + perf(
        "1.000", "a/1", "mm_page_alloc", f"pfn: 7, gfp_flags: 131274, migratetype: {movable}"
    )
    trace, words = answer_of(tmp_path, text)
    assert trace["claims_from_movable"] == claims
    assert trace["numbering"] == ("since 4.4" if claims else "before 4.4")
    assert trace["requests"][0]["type"] == "movable"
    assert "no movable request proves them" not in words


def test_a_trace_of_other_events_says_that_none_came(tmp_path: Path) -> None:
    """A public report of page faults in perf trace, with its lines of losses (9 and 10 events)."""
    line = "{} a.out/73827 exceptions:page_fault_user(address: 0x57060420, ip: 4195786, error_code: 6)\n"
    text = line.format("  3711.661") + "LOST 9 events!\n" + line.format("  3711.706") + "LOST 10 events!\n"
    trace, words = answer_of(tmp_path, text)
    assert (trace["verdict"], trace["lost_events"]) == ("not known", 19)
    assert trace["events_held"] == {"page_fault_user": 2}
    assert "Not known" in words
    path = tmp_path / "trace"
    advice = traced.answer([TextFile(path)])["advice"]
    assert [piece["do"] for piece in advice] == [
        "Record mm_page_alloc_extfrag with `perf trace -a -e kmem:mm_page_alloc_extfrag`."
    ]


def lttng(at: str, name: str, cpu: int, fields: str, context: str = "") -> str:
    """A line of babeltrace."""
    return f"[{at}] (+0.000001234) host-1 {name}: {{ cpu_id = {cpu} }}, {context}{{ {fields} }}\n"


def test_babeltrace(tmp_path: Path) -> None:
    """LTTng records the allocator's events under kmem_ names: here over midnight, 2 s long, with the flags of the request
    that follows.
    """
    context = '{ procname = "sync job", tid = 4711 }, '
    text = (
        lttng("23:59:59.500000000", "kmem_mm_page_alloc_extfrag", 3, "page = 0xFFFFEA0000408000, pfn = 66048, alloc_order = 0, "
              "fallback_order = 3, alloc_migratetype = 2, fallback_migratetype = 1, change_ownership = 1", context)
        + lttng("23:59:59.500000100", "kmem_mm_page_alloc", 3, "page = 0xFFFFEA0000408000, pfn = 66048, order = 0, "
                "gfp_flags = 3280, migratetype = 2", context)
        + lttng("00:00:01.500000000", "sched_switch", 3, 'prev_comm = "a", next_tid = 5')
    )  # fmt: skip
    path = tmp_path / "t"
    path.write_text(text)
    assert tool_of(TextFile(path)) == LTTNG
    trace, _ = answer_of(tmp_path, text)
    assert (trace["seconds"], trace["claims_from_movable"], trace["evacuation"]["blocks"]) == (2.0, 1, 1)
    assert trace["requesters"] == [
        {
            "type": "reclaimable",
            "order_asked": 0,
            "gfp": 3280,
            "claims": 1,
            "claims_whole_block": 0,
            "steals": 0,
            "claims_or_steals": 0,
        }
    ]
    assert trace["task_names"] == {"4711": "sync job"}
    assert trace["requests_matched"] == 1
    for at in ("2026-11-30 23:59:59.500000000", "1764547199.500000000"):
        assert answer_of(tmp_path, text.replace("23:59:59.500000000", at))[0]["extfrag"] == 1


def test_nonsense_in_lines_is_counted_as_such(tmp_path: Path) -> None:
    """Types, orders and page frames that no kernel has; a type that is not stored makes an event malformed."""
    text = perf("0.000", "a/1", "mm_page_alloc_extfrag", EXTFRAG.format(1 << 60, 999, 4, 0, 77, 1)) + perf(
        "1.000", "a/99999999999", "mm_page_alloc_extfrag", EXTFRAG.format(-5, 0, 4, 0, 1, 1)
    )
    trace, _ = answer_of(tmp_path, text)
    assert (trace["extfrag_malformed"], trace["extfrag"]) == (1, 0), (
        "a thread of 11 digits is no line of perf trace"
    )


def tracker(events: list[dict[str, Any]], **metadata: Any) -> str:
    """plot-fragmentation's JSON."""
    about = {
        "start_time": 1.0,
        "duration": 60.0,
        "total_events": len(events),
        "kernel_version": "6.17.0-rc4",
    } | metadata
    return json.dumps({"metadata": about, "events": events, "statistics": {}}, indent=2)


def one(seconds: float, source: str, wanted: str, order: int, steal: bool) -> dict[str, Any]:
    """An extfrag event of it."""
    return {
        "timestamp": seconds, "absolute_time": "2025-09-03T14:16:31", "event_type": "extfrag", "pid": 1, "tid": 2, "comm": "load",
        "order": 0, "fallback_order": order, "migrate_from": source, "migrate_to": wanted, "is_steal": steal, "node": -1,
        "fragmentation_index": 100,
    }  # fmt: skip


def test_counts_of_the_public_files(tmp_path: Path) -> None:
    """One of the two public files: 95 + 71 claims of order 8, and 4 + 1 + 1 + 3 of whole blocks, from movable blocks; 175,
    166 of them below.
    """
    m, u, r = "MOVABLE", "UNMOVABLE", "RECLAIMABLE"
    kinds = [
        (m, u, False, 8, 95), (m, r, False, 8, 71), (u, m, False, 9, 48), (u, m, False, 10, 30), (m, u, False, 9, 4),
        (u, r, False, 10, 3), (r, m, False, 9, 3), (r, u, False, 8, 3), (m, r, False, 10, 3), (u, m, True, 9, 3),
        (u, r, False, 8, 2), (m, u, False, 10, 1), (r, m, False, 8, 1), (r, m, False, 6, 1), (m, r, False, 9, 1),
    ]  # fmt: skip
    events = [one(5.0 + i / 100, *kind[:2], kind[3], kind[2]) for kind in kinds for i in range(kind[4])]
    trace, _ = answer_of(tmp_path, tracker(events, duration=135.41470551490784))
    assert trace["extfrag"] == len(events) == 269
    assert (
        trace["claims_from_movable"],
        trace["claims_whole_block_from_movable"],
        trace["steals_from_movable"],
    ) == (166, 9, 0)
    assert trace["evacuation"]["would_queue"] == 166
    assert trace["verdict"] == "quiet now"
    assert trace["events_without_page"] == 175
    assert trace["seconds"] == pytest.approx(135.41470551490784)


def test_what_a_file_says_it_holds_is_compared(tmp_path: Path) -> None:
    broken = [
        {**one(1.0, "MOVABLE", "UNMOVABLE", 3, False), "is_steal": "no"},
        {"timestamp": 1, "event_type": "absolute_time"},
    ]
    trace, words = answer_of(
        tmp_path, tracker([one(1.0, "MOVABLE", "TYPE_9", 3, False), *broken], total_events=12)
    )
    assert (trace["malformed"], trace["extfrag_malformed"], trace["told_events"]) == (2, 1, 12)
    assert "The file says that it holds 12 events; it holds 3." in words


def test_plotfrag_in_one_line_and_in_another_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in pieces of seven bytes, too: each event once."""
    monkeypatch.setattr(plotfrag, "PIECE", 7)
    events = [one(1.0, "MOVABLE", "UNMOVABLE", 3, False)] * 5
    text = json.dumps(
        {"statistics": {}, "events": events, "metadata": {"duration": 2.5, "kernel_version": "6.12"}}
    )
    trace, _ = answer_of(tmp_path, text)
    assert (trace["extfrag"], trace["seconds"], trace["kernel"]) == (5, 2.5, "6.12")
    trace, _ = answer_of(tmp_path, '{"events": [], "x": "\\"event_type\\" \\"absolute_time\\""}')
    assert trace["extfrag"] == 0


@pytest.mark.parametrize("end", ["", "]", "}", "]]", "], ", "], 3", '], "x": ', "nonsense"])
def test_a_broken_json_is_one_sentence(tmp_path: Path, end: str) -> None:
    whole = tracker([one(1.0, "MOVABLE", "UNMOVABLE", 3, False)])
    at = whole.rindex("]")
    with pytest.raises(KevacuateError, match=r"truncated|stands where none may"):
        answer_of(tmp_path, whole[:at] + end)
