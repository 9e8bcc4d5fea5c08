# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a start is guessed: counted, in words, in verdicts, and beside the rows that rest on it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded_tools import M, U, event, extfrag, write_events
from synthetic import Script, start_state, write_recording

from kevacuate.demand.refusals import refuse_without_demand
from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison
from kevacuate.measure.claims import claims_to_evacuate, nothing_words
from kevacuate.measure.table import SKIP_BITS_ROW
from kevacuate.observe.info import about_recording
from kevacuate.recording import AllocatorState, EventKind, Recording
from kevacuate.recording.state import UNCLEAR, Guesses
from kevacuate.reports.comparison.conclusion import comparison_json, conclusion
from kevacuate.reports.comparison.rows import comparison_rows
from kevacuate.reports.comparison.start_guesses import guessed_parts
from kevacuate.reports.comparison.tables import comparison_table
from kevacuate.runs.compare import compare
from kevacuate.runs.start_guesses import firm, guessed_words, start_facts

K = EventKind


def guessed_state(**changes: Any) -> AllocatorState:
    """The synthetic start, as /proc would show it: one block of objects, unclear pages among them."""
    state = start_state()
    assert state.page_flags is not None
    flags = state.page_flags.copy()
    flags[1024 + 64 : 1024 + 192] = UNCLEAR
    values: dict[str, int] = {
        "blocks": 16, "block_types": 10, "silent_blocks": 0, "pcp_pages": 500, "pcp_pages_unknown": 200, "unclear_pages": 128,
    }  # fmt: skip
    guesses = Guesses(**(values | changes))
    return replace(state, page_flags=flags, guesses=guesses, skip_known=False, approximate=("x",))


def test_a_dump_stands_on_firm_ground(tmp_path: Path) -> None:
    facts = start_facts(Recording.open(write_recording(tmp_path / "x.kev")))
    assert facts["skip_bits_recorded"] is True
    assert facts["blocks_with_skip_bit"] == 0
    assert facts["guesses"] is facts["mixed_blocks"] is None
    assert firm(facts)
    assert guessed_words(facts) == ""


def test_what_is_guessed_weighs_in_the_verdict(tmp_path: Path) -> None:
    recording = Recording.open(write_recording(tmp_path / "x.kev", state=guessed_state()))
    facts = start_facts(recording)
    assert facts["blocks_with_skip_bit"] is None
    assert facts["mixed_blocks"] == {"least": 0, "most": 1}
    assert not firm(facts)
    words = guessed_words(facts)
    assert (
        "types of 10 of 16 pageblocks, 200 of 500 pages on per-CPU lists and compaction's skip bits" in words
    )
    assert "skip-bits=SHARE" in words
    verdict = about_recording(recording)["verdict"]
    assert "firm ground" not in verdict
    assert words in verdict


@pytest.mark.parametrize(
    ("changes", "ground"),
    [
        ({"block_types": 0, "pcp_pages_unknown": 0}, True),
        ({"block_types": 1, "pcp_pages_unknown": 0}, False),
        ({"block_types": 0, "pcp_pages_unknown": 11}, False),
        ({"block_types": 0, "pcp_pages_unknown": 10}, True),
    ],
)
def test_little_that_is_guessed_leaves_firm_ground(
    tmp_path: Path, changes: dict[str, int], ground: bool
) -> None:
    state = replace(guessed_state(**changes), skip_known=True)
    facts = start_facts(Recording.open(write_recording(tmp_path / "x.kev", state=state)))
    assert firm(facts) is ground
    assert not firm(facts | {"skip_bits_recorded": False})


def test_an_older_recording_that_did_not_count_is_not_firm(tmp_path: Path) -> None:
    state = replace(start_state(), approximate=("Types of 8 pageblocks: none is named.",))
    facts = start_facts(Recording.open(write_recording(tmp_path / "x.kev", state=state)))
    assert not firm(facts)
    assert "not counted by the version that recorded it" in guessed_words(facts)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    path = write_recording(tmp_path_factory.mktemp("guessed") / "x.kev", state=guessed_state())
    return compare(
        Recording.open(path), ["mainline", "evacuate", "evacuate,skip-bits=0.5"], repeats=2, workers=1
    )


def test_each_figure_that_rests_on_a_guess_is_named(compared: Comparison) -> None:
    parts = list(guessed_parts(compared))
    named = {row_id for part in parts for row_id in part.rows}
    known = {row.row.id for row in comparison_rows(compared)}
    assert len(parts) == 3
    assert (
        {"end.mixed_blocks", "end.polluted_blocks", "extfrag.claims_from_movable", SKIP_BITS_ROW}
        <= named
        <= known
    )
    assert not any(row_id.startswith("control.") for row_id in named)
    text = str(conclusion(compared))
    assert "Types of 10 of 16 pageblocks" in text
    assert "0 to 1" in text
    made = comparison_json(compared)
    assert [part["rows"] for part in made["conclusion"] if part["kind"] == "guessed"] == [
        list(p.rows) for p in parts
    ]


def test_skip_bits_that_were_not_recorded_are_never_none_at_all(compared: Comparison) -> None:
    row = next(row for row in comparison_rows(compared) if row.row.id == SKIP_BITS_ROW)
    assert row.values[0] == (None, None)
    assert all(value is not None for value in row.values[2]), "a share was asked for"
    lines = {line.name: line for line in comparison_table(compared).lines}
    shown = lines["blocks with skip bit at the start"].cells
    assert [cells[0].plain for cells in shown[:2]] == ["not recorded", "not recorded"]
    assert shown[2][0].plain != "not recorded"
    (made,) = (r for r in comparison_json(compared)["rows"] if r["id"] == SKIP_BITS_ROW)
    assert made["values"][0] == [None, None]
    assert "0 of 16 blocks marked" not in str(conclusion(compared))


FALLBACKS = {
    "claim": (extfrag(5, 512, U, M, taken=4, own=True), True),
    "whole block": (extfrag(5, 512, U, M, taken=9, own=True), False),
    "steal": (extfrag(5, 512, U, M, taken=4, own=False), False),
    "by movable": (extfrag(5, 512, M, U, taken=4, own=True), False),
}


@pytest.mark.parametrize("case", list(FALLBACKS))
def test_whether_there_was_anything_to_evacuate_is_known_before(tmp_path: Path, case: str) -> None:
    row, expected = FALLBACKS[case]
    path = write_events(tmp_path / "x.kev", [row, event(9, K.MM_PAGE_ALLOC, 700, mt=M)])
    found = claims_to_evacuate(Recording.open(path))
    assert found is expected
    words = nothing_words({"claims_to_evacuate": found, "recorded_seconds": 23.0})
    assert bool(words) is not expected
    assert not words or words.startswith("In these 23 s evacuation would have done nothing")


def test_nobody_knows_of_claims_where_the_events_may_have_been_off_or_lost(tmp_path: Path) -> None:
    off = Recording.open(write_events(tmp_path / "off.kev", [event(9, K.MM_PAGE_ALLOC, 700, mt=M)]))
    assert claims_to_evacuate(off) is None
    assert nothing_words({"claims_to_evacuate": None}) == ""
    lost = write_events(tmp_path / "lost.kev", [FALLBACKS["steal"][0]], missed=3)
    assert claims_to_evacuate(Recording.open(lost)) is None
    more: dict[str, Any]
    for more in ({"missed": 0, "unknown": 2}, {"kernel": "3.10.0-693.el7.x86_64"}):
        path = write_events(tmp_path / f"{len(more)}.kev", [FALLBACKS["steal"][0]], **more)
        assert claims_to_evacuate(Recording.open(path)) is None


def test_what_an_old_kernel_says_of_ownership_is_not_believed_by_its_release_alone(tmp_path: Path) -> None:
    for kernel, unknown in (("3.10.0-693.el7.x86_64", True), ("4.19.0", False)):
        path = write_events(tmp_path / f"{kernel}.kev", [FALLBACKS["steal"][0]], kernel=kernel)
        assert about_recording(Recording.open(path))["change_ownership_unknown"] is unknown


def test_light_data_are_refused_before_their_states_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_events(tmp_path / "light.kev", [FALLBACKS["claim"][0]], states=[start_state()])

    def unread(self: Recording) -> list[AllocatorState]:
        raise AssertionError("a state was read")

    monkeypatch.setattr(Recording, "states", property(unread))
    monkeypatch.setattr(Recording, "start", property(unread))
    with pytest.raises(KevacuateError, match="kevacuate triage"):
        refuse_without_demand(Recording.open(path))
    with pytest.raises(KevacuateError, match="record without --light"):
        compare(Recording.open(path), ["mainline"])


def test_a_demand_alone_is_not_refused(tmp_path: Path) -> None:
    script = Script()
    script.alloc(500)
    refuse_without_demand(Recording.open(write_recording(tmp_path / "x.kev", script)))
