# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel with newer hooks records beside what is known: passed over, counted by name, and no trouble to a dump."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kevacuate.kernel.hooks import DumpKind
from kevacuate.recording import EventChunk, EventKind, Recording, fieldtable
from kevacuate.recording import decode as dc
from kevacuate.recording.formats import EventFormat, FieldFormat
from kevacuate.recording.groundtruth import GroundTruth
from kevacuate.recording.schema import concat_chunks
from kevacuate.recording.settings import recorded_lru_gen
from kevacuate.recording.state import state_from_dump

RAW = Path(__file__).parent.parent / "data" / "raw-1cpu"


def rows_of(path: Path, kind: EventKind) -> EventChunk:
    return concat_chunks(list(Recording.open(path).events(kinds=[kind])))


def test_an_event_that_no_kind_stands_for_is_counted_by_name_and_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = Recording.open(RAW)
    assert known.passed_over == {}
    counts = known.quality["events_by_kind"]
    unknown = ("gt_rmq", "mm_page_free_batched")
    known_spec = fieldtable.event_spec
    monkeypatch.setattr(fieldtable, "event_spec", lambda name: None if name in unknown else known_spec(name))
    recording = Recording.open(RAW)
    passed = {"gt_rmq": counts["GT_RMQ"], "mm_page_free_batched": counts["MM_PAGE_FREE_BATCHED"]}
    assert recording.passed_over == recording.quality["events_passed_over"] == passed
    assert recording.quality["events"] == known.quality["events"] - sum(passed.values())
    assert not any(loss.any or loss.unknown for loss in recording.losses)
    assert recording.save(tmp_path / "a.kev").passed_over == passed
    assert json.loads((tmp_path / "a.kev/quality.json").read_text())["events_passed_over"] == passed


def test_more_events_than_16_bits_of_signed_ids_can_pass_over() -> None:
    field = FieldFormat("common_type", 0, 2, False, "unsigned short common_type")
    formats = {i: EventFormat(f"event{i}", "", i, (field,), "") for i in range(1, 1 << 16)}
    ids = fieldtable.decoding(formats, frozenset()).table.ids
    assert len(set(ids.tolist())) == 1 << 16
    assert int(ids.max()) == dc.UNKNOWN_ID


def with_lru_lists(dump: EventChunk) -> EventChunk:
    """The dump, and behind its end rows of kinds 7 and 8."""
    more = dump.take(np.arange(5))
    more.a[:] = (7, 7, 7, 7, 8)
    return concat_chunks([dump, more])


def test_a_dump_ends_at_its_end_whatever_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    dumps = rows_of(RAW, EventKind.GT_DUMP)
    ends = np.flatnonzero(dumps.a == DumpKind.END)
    cut = [0, *(ends + 1).tolist()]
    parts = [with_lru_lists(dumps.take(slice(a, b))) for a, b in pairwise(cut)]
    plain = [state.free.pfn.tolist() for state in GroundTruth(RAW).dumps()]
    for rows in (1 << 20, 1000, 7):
        whole = concat_chunks(parts)

        def events(
            self: GroundTruth, *_: object, step: int = rows, all_rows: EventChunk = whole
        ) -> Iterator[EventChunk]:
            yield from (all_rows.take(slice(at, at + step)) for at in range(0, all_rows.rows, step))

        monkeypatch.setattr(GroundTruth, "events", events)
        assert [state.free.pfn.tolist() for state in GroundTruth(RAW).dumps()] == plain
    assert len(plain) == len(parts) == 2


def test_the_zone_of_a_second_node_has_its_name() -> None:
    dumps = rows_of(RAW, EventKind.GT_DUMP)
    dump = dumps.take(slice(0, int(np.flatnonzero(dumps.a == DumpKind.END)[0]) + 1))
    names = Recording.open(RAW).machine.zone_names
    assert [zone.name for zone in state_from_dump(dump, 0, names).zones] == ["DMA32"]
    dump.b[dump.a == 1] += 16
    moved = state_from_dump(dump, 0, names).zones
    assert [(zone.name, zone.index) for zone in moved] == [("DMA32", 16)]


def test_the_node_of_each_cpu_is_read_from_the_kernels_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "<6>.... node  #0, CPUs:      #1\n<6>.... node  #1, CPUs:   #2 #3\n"
    source = GroundTruth(RAW)
    source.raw = dict.fromkeys(range(4), source.raw[0])
    monkeypatch.setattr(GroundTruth, "_text", lambda self, *names: text if "dmesg" in names else "")
    assert source._cpu_nodes(2) == {"cpu_node": [0, 0, 1, 1]}
    assert source._cpu_nodes(1) == {}


@pytest.mark.parametrize(("said", "on"), [("0x0007", True), ("0x0006", False), ("7", None), ("", None)])
def test_whether_the_kernel_ran_the_multi_gen_lru_is_read_from_the_first_snapshot(
    monkeypatch: pytest.MonkeyPatch, said: str, on: bool | None
) -> None:
    source, text = GroundTruth(RAW), GroundTruth._text
    monkeypatch.setattr(
        GroundTruth,
        "_text",
        lambda self, *names: f"{said}\n" if "lru_gen_enabled" in names[0] else text(self, *names),
    )
    assert recorded_lru_gen(source.machine) is on
