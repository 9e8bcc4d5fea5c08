# SPDX-License-Identifier: GPL-2.0-or-later
"""The page books against a slow set of books, and the quality report of recordings with and without a start state."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from recorded_tools import DATA, K, M, U, chunk_of, event, extfrag, write_events

from kevacuate.observe.info import about_recording, verdict
from kevacuate.observe.pagebooks import MAX_PAGES, PageBooks
from kevacuate.recording import Recording

PAGES = 64
TAIL = 8  # the largest chunk may begin at the last page
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 2, 2, 3, 16]),
        st.integers(-1, PAGES - 1),
        st.integers(0, 3),
        st.sampled_from([3, 4]),
    ),
    max_size=80,
)


def slow_books(rows: list[tuple[int, int, int, int]], used: set[int] | None) -> Counter[str]:
    """The same counts with sets."""
    state = {} if used is None else {p: "before" if p in used else "free" for p in range(PAGES + TAIL)}
    heads: set[int] = set()
    slow: Counter[str] = Counter()
    for kind, pfn, order, a in rows:
        if kind == 16 and a != 4:
            continue
        pages = range(pfn, pfn + (1 << order if kind in (1, 2) else 1))
        if pfn < 0:
            slow["allocations_failed" if kind == 1 else "malformed"] += 1
        elif kind == 3:
            slow["duplicates"] += 1
            slow["duplicates_confirmed"] += state.get(pfn) == "free"
        elif kind == 2:
            slow["frees"] += 1
            found = {state.get(p) for p in pages}
            what = (
                "free"
                if "free" in found
                else "unknown"
                if None in found
                else "earlier"
                if "before" in found
                else ""
            )
            if what:
                slow[f"frees_of_{what}_pages"] += 1
            state |= dict.fromkeys(pages, "free")
            heads -= set(pages)
        else:
            slow["allocations"] += 1
            used_pages = sum(1 for p in pages if state.get(p) in ("allocated", "before"))
            slow["reused_without_free"] += used_pages > 0
            slow["reused_pages"] += used_pages
            state |= dict.fromkeys(pages, "allocated")
            heads -= set(pages)
            heads.add(pfn)
    slow["never_freed"] = len(heads)
    return +slow


@given(EVENTS, st.booleans(), st.integers(1, 9))
def test_books_against_slow_books(rows: list[tuple[int, int, int, int]], started: bool, step: int) -> None:
    used = np.arange(PAGES + TAIL) % 3 == 0
    books = PageBooks(used if started else None)
    for at in range(0, len(rows), step):
        part = [event(0, K(kind), pfn, order=order, a=a) for kind, pfn, order, a in rows[at : at + step]]
        books.add(chunk_of(part))
    slow = slow_books(rows, set(np.flatnonzero(used).tolist()) if started else None)
    assert +Counter(asdict(books.facts)) == slow


@pytest.mark.parametrize("pfn", [MAX_PAGES, 1 << 52, -7])
def test_impossible_pfns_take_no_memory(pfn: int) -> None:
    books = PageBooks()
    books.add(chunk_of([event(0, K.MM_PAGE_FREE, pfn), event(0, K.MM_PAGE_ALLOC, 5, order=99)]))
    assert books.facts.malformed == 2
    assert len(books.pages) <= 1 << 16


def test_a_page_to_which_a_size_cannot_be_added_is_malformed() -> None:
    books = PageBooks()
    books.add(chunk_of([event(0, K.MM_PAGE_ALLOC, (1 << 63) - 1), event(1, K.MM_PAGE_FREE, (1 << 63) - 8)]))
    assert books.facts.malformed == 2


def test_the_books_grow_with_the_pfns() -> None:
    books = PageBooks()
    books.add(chunk_of([event(0, K.MM_PAGE_ALLOC, 1)]))
    books.add(chunk_of([event(0, K.MM_PAGE_ALLOC, 1 << 20), event(0, K.MM_PAGE_FREE, 1)]))
    assert (books.facts.allocations, books.facts.never_freed) == (2, 1)


def stream(step: int = 10**8) -> list[dict[str, Any]]:
    """A little of everything that the report counts."""
    rows = [
        event(0, K.MM_PAGE_ALLOC, 600, mt=M, cpu=0),
        event(0, K.MM_PAGE_ALLOC, 608, mt=U, order=1, cpu=1),
        event(0, K.MM_PAGE_FREE, 600, cpu=0),
        event(0, K.MM_PAGE_FREE_BATCHED, 600, cpu=0),
        event(0, K.MM_PAGE_FREE, 700, cpu=1),
        event(0, K.MM_PAGE_FREE, 600, cpu=1),
        event(0, K.MM_PAGE_ALLOC, 609, mt=U, cpu=1),
        event(0, K.MM_PAGE_ALLOC, -1, mt=U, cpu=1),
        extfrag(0, 512, U, M, taken=3, own=True, cpu=0),
    ]
    return [row | {"ts": i * step} for i, row in enumerate(rows)]


def test_the_report_of_a_recording_without_states(tmp_path: Path) -> None:
    about = about_recording(Recording.open(write_events(tmp_path / "x.kev", stream(), missed=3)))
    assert about["events_by_cpu"] == [4, 5]
    assert about["events_by_kind"]["MM_PAGE_ALLOC"] == 4
    assert about["recorded_seconds"] == pytest.approx(0.8)
    assert sum(about["timeline"]["events"]) == about["events"] == 9
    pages = about["pages"]
    expected = {
        "allocations": 3,
        "allocations_failed": 1,
        "frees": 3,
        "duplicates": 1,
        "duplicates_confirmed": 1,
        "frees_of_unknown_pages": 1,
        "frees_of_free_pages": 1,
        "reused_without_free": 1,
        "never_freed": 2,
    }
    assert {name: n for name, n in pages.items() if name in expected} == expected
    assert about["lost_events"] == [0, 3]
    assert about["quality"] == {}
    assert about["verdict"] == (
        "3 events were lost. It cannot be replayed, as it holds no state of the allocator to start from; triage and compare "
        "--recorded can use it."
    )


def test_what_was_guessed_is_named_whatever_was_lost() -> None:
    start = {"guesses": {"blocks": 9, "block_types": 4, "pcp_pages": 0, "pcp_pages_unknown": 0}}
    about = {
        "no_demand": "",
        "lost_events": [1],
        "lost_events_at_least": False,
        "events_not_read": {},
        "start": start,
        "moves": None,
    }
    said = verdict(about, 0.9999)
    assert said.startswith(
        "1 event was lost, so objects are missing or never freed: at most 99.99 % of the demand is known."
    )
    assert "Guessed at the start: types of 4 of 9 pageblocks" in said


def test_the_report_of_light_data(tmp_path: Path) -> None:
    rows = [row for row in stream() if row["kind"] == K.MM_PAGE_ALLOC_EXTFRAG]
    about = about_recording(
        Recording.open(write_events(tmp_path / "x.kev", rows, states=[synthetic.start_state()]))
    )
    assert about["pages"] is None
    assert "it holds no allocations and frees after its start state" in about["verdict"]


def test_moves_by_event_and_by_rule_are_told_apart() -> None:
    about = about_recording(Recording.open(DATA / "two-cpus.kev"))
    assert "seconds" not in about  # triage's word for the recording's own time
    assert 0 < about["demand_seconds"] <= about["recorded_seconds"]
    quality, moves = about["quality"], about["moves"]
    assert moves["by_rule"] == quality["moves_by_destination"] + quality["moves_by_list"] > 0
    assert moves["waiting"] == quality["moves_unresolved"] > 0
    assert moves["by_event"] == quality["moves_exact"] == 0
    assert (
        f"Compaction moved {moves['waiting'] + moves['by_block']:,} objects to pages that no event names"
        in about["verdict"]
    )
    pages = about["pages"]
    assert pages["frees"] == quality["free_events"]
    assert pages["allocations"] == quality["alloc_events"] + quality["bulk_allocs"] - quality["failed_allocs"]
    assert pages["duplicates_confirmed"] == pages["duplicates"] == quality["free_duplicates"]
    assert pages["reused_without_free"] == quality["missed_frees"]
    assert pages["frees_of_free_pages"] >= quality["orphan_frees"]
