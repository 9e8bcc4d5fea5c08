# SPDX-License-Identifier: GPL-2.0-or-later
"""What no machine has is refused where events are read, whatever they lie in."""

from pathlib import Path
from typing import Any

import pytest
from recorded_tools import DATA, K, chunk_of, event, extfrag, write_events

from kevacuate.errors import KevacuateError
from kevacuate.kernel.hooks import RmqKind
from kevacuate.recording import Recording
from kevacuate.recording.importers import import_recording
from kevacuate.recording.possible import LATEST_NS, MOST_ORDER, MOST_PAGES, refuse_impossible_events

PAGE, ORDER, TIME = "a page that no machine has", "an order that no machine has", "a time that no clock shows"
LARGEST = (1 << 63) - 1

IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    (event(1, K.MM_PAGE_ALLOC, LARGEST), PAGE),
    (event(1, K.MM_PAGE_FREE, MOST_PAGES), PAGE),
    (event(1, K.MM_PAGE_FREE_BATCHED, -2), PAGE),
    (event(1, K.COMPACTION_ISOLATE_MIGRATEPAGES, 0, a=LARGEST), PAGE),
    (event(1, K.COMPACTION_ISOLATE_FREEPAGES, 0, a=-LARGEST), PAGE),
    (event(1, K.COMPACTION_BEGIN, 0, b=MOST_PAGES), PAGE),
    (event(1, K.COMPACTION_END, 0, c=LARGEST), PAGE),
    (event(1, K.GT_RMQ, 0, a=RmqKind.FREE, c=LARGEST), PAGE),
    (event(1, K.VMSCAN_KSWAPD_WAKE, LARGEST), PAGE),
    (event(1, K.MM_PAGE_ALLOC, 0, order=MOST_ORDER + 1), ORDER),
    (event(1, K.MM_PAGE_FREE, 0, order=-1), ORDER),
    (event(1, K.GT_LIST, 0, order=127), ORDER),
    (extfrag(1, 0, 0, 1, taken=64, own=False), ORDER),
    (event(LATEST_NS + 1, K.MM_PAGE_FREE, 0), TIME),
]


@pytest.mark.parametrize(("row", "what"), IMPOSSIBLE, ids=str)
def test_what_no_machine_has_is_refused(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    rows = [event(0, K.MM_PAGE_FREE, 5), row]
    recording = Recording.open(write_events(tmp_path / "bad.kev", rows))
    with pytest.raises(
        KevacuateError, match=rf"bad\.kev: an event \({K(row['kind']).name.lower()} at .*{what}"
    ):
        list(recording.events())


def test_a_time_before_the_clock_began_is_refused() -> None:
    with pytest.raises(KevacuateError, match=TIME):
        refuse_impossible_events(chunk_of([event(-1, K.MM_PAGE_FREE, 0)]), "x")


def test_what_some_machine_has_is_read(tmp_path: Path) -> None:
    rows = [
        event(0, K.MM_PAGE_ALLOC, -1, order=MOST_ORDER),
        event(1, K.MM_PAGE_FREE, MOST_PAGES - 1),
        event(2, K.GT_RMQ, a=RmqKind.DRAIN, c=LARGEST),
        event(3, K.COMPACTION_TRY_TO_COMPACT_PAGES, order=-1),
        event(4, K.COMPACTION_ISOLATE_MIGRATEPAGES, a=-1, b=LARGEST),
        event(5, K.SET_MIGRATION_PTE, 7, a=-1),
        event(6, K.VMSCAN_LRU_SHRINK_ACTIVE, order=-1, a=-1, c=LARGEST),
        event(LATEST_NS, K.MM_PAGE_FREE, 0),
    ]
    recording = Recording.open(write_events(tmp_path / "good.kev", rows))
    assert sum(chunk.rows for chunk in recording.events()) == len(rows)


def test_imported_text_that_names_an_impossible_page_is_refused(tmp_path: Path) -> None:
    line = "  x-1  [000] .....  1.000000: mm_page_free: page=0000000000000000 pfn=0x{pfn} order=0\n"
    for pfn, refused in (("5", False), ("7fffffffffffffff", True)):
        text = tmp_path / f"{pfn}.txt"
        text.write_text("# tracer: nop\n" + line.format(pfn="1") + line.format(pfn=pfn))
        if refused:
            with pytest.raises(KevacuateError, match=PAGE):
                import_recording(text, tmp_path / f"{pfn}.kev")
            assert not (tmp_path / f"{pfn}.kev").exists()
        else:
            assert import_recording(text, tmp_path / f"{pfn}.kev")["events"] == 2


def test_excerpts_of_real_recordings_are_read() -> None:
    for name in ("one-cpu.kev", "two-cpus.kev", "raw-1cpu", "raw-2cpu"):
        assert sum(chunk.rows for chunk in Recording.open(DATA / name).events()) > 1000


def test_where_a_fast_search_would_have_begun_may_be_no_page() -> None:
    row = event(1, K.COMPACTION_FAST_ISOLATE_FREEPAGES, -9223372036854768640, a=7168, b=1)
    chunk = chunk_of([row])  # as recorded kernels print it near a zone's start
    assert refuse_impossible_events(chunk, "x") is chunk
