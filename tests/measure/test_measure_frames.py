# SPDX-License-Identifier: GPL-2.0-or-later
"""The pageblock map over time, against the time series and against the pages it was made from."""

from pathlib import Path

import numpy as np
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.measure import Run
from kevacuate.measure import frames as f
from kevacuate.measure import pages as p
from kevacuate.measure.frames import Frames, Steps, StepsBuilder, decode, encode, levels
from kevacuate.mm import constants as k
from kevacuate.observe.maps import recorded_flows, recorded_frames
from kevacuate.recording import Recording
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay

DATA = Path(__file__).resolve().parent.parent / "data"


@pytest.fixture(scope="module")
def kept(synthetic_kev: Path) -> Run:
    return replay(Recording.open(synthetic_kev), "evacuate", options=ReplayOptions(keep=True, samples=40))


def counts_of(pages: np.ndarray, blocks: int) -> np.ndarray:
    rows = pages.reshape(blocks, -1)
    return np.stack([(rows == c).sum(axis=1) for c in range(len(p.PAGE_NAMES))], axis=1)


def test_levels() -> None:
    assert levels(9).tolist() == [0, 1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 320, 384, 448, 512]
    for order in range(1, 14):
        table = levels(order)
        assert table[0] == 0
        assert table[1] == 1
        assert table[15] == 1 << order
        assert np.all(np.diff(table) >= 0)


def test_decode_gives_back_what_the_levels_can_tell() -> None:
    rng = np.random.default_rng(4)
    counts = rng.multinomial(512, [0.3, 0.05, 0.3, 0.2, 0.1, 0.05, 0], size=300)
    counts[:40, p.MOVABLE] = 0
    mt, skip = rng.integers(0, 6, 300), rng.integers(0, 2, 300).astype(bool)
    seen = decode(encode(mt, counts, skip, 9), 9)
    assert np.array_equal(seen.mt, mt)
    assert np.array_equal(seen.skip, skip)
    table = levels(9)
    for name, real in (("movable", counts[:, p.MOVABLE]), ("unmovable", counts[:, 3] + counts[:, 5])):
        told = getattr(seen, name)
        above = table[np.minimum(np.searchsorted(table, told, side="right"), 15)]
        assert np.all(told <= real)
        assert np.all((real < above) | (told == 512))


@pytest.mark.parametrize(
    ("pages", "content"),
    [
        ({p.FREE: 500, p.RESERVED: 12}, "free"),
        ({p.PCP: 1, p.RESERVED: 511}, "free"),
        ({p.FREE: 1, p.MOVABLE: 511}, "movable"),
        ({p.FREE: 511, p.UNMOVABLE: 1}, "unmovable"),
        ({p.RECLAIMABLE: 3, p.UNMOVABLE: 1, p.FREE: 508}, "unmovable"),
        ({p.RECLAIMABLE: 3, p.FREE: 509}, "reclaimable"),
        ({p.RECLAIMABLE: 1, p.MOVABLE: 511}, "mixed"),
        ({p.UNMOVABLE: 1, p.MOVABLE: 1, p.FREE: 510}, "mixed"),
        ({p.RESERVED: 512}, "reserved"),
        ({p.IN_USE: 12, p.FREE: 500}, "in use"),
    ],
)
def test_what_a_block_holds_in_a_word(pages: dict[int, int], content: str) -> None:
    counts = np.zeros((1, 7), int)
    for which, number in pages.items():
        counts[0, which] = number
    frame = encode(np.array([1]), counts, np.array([False]), 9)
    assert f.CONTENT_NAMES[int(decode(frame, 9).content[0])] == content


def test_the_map_is_what_the_time_series_counts(kept: Run) -> None:
    frames = kept.frames
    assert frames is not None
    assert frames.t.tolist() == kept.series["t"]
    assert frames.zones == ("node 0 Normal",)
    for i in range(len(frames.t)):
        seen = frames.at(i)
        assert int((seen.content == f.CONTENT_MIXED).sum()) == kept.series["mixed_blocks"][i]
        assert int((seen.unmovable > 0).sum()) == kept.series["blocks_with_unmovable"][i]
        for mt, name in enumerate(k.MIGRATE_NAMES):
            assert int((seen.mt == mt).sum()) == kept.series["blocks"][i][name]
    assert kept.series["mixed_blocks"][-1] > 0


def test_the_pages_are_what_the_map_and_the_time_series_count(kept: Run) -> None:
    frames = kept.frames
    assert frames is not None
    assert frames.pages is not None
    reclaimable = 0
    for i, (blocks, pages) in enumerate(zip(frames.blocks, frames.pages, strict=True)):
        counts = counts_of(pages, len(frames.start))
        seen = decode(blocks, 9)
        assert np.array_equal(encode(seen.mt, counts, seen.skip, 9), blocks)
        total = counts.sum(axis=0)
        assert total[p.FREE] == kept.series["free_pages"][i]
        assert total[p.PCP] == kept.series["pcp_pages"][i]
        assert total[p.MOVABLE] == kept.series["movable_pages"][i]
        assert total[p.UNMOVABLE] + total[p.RECLAIMABLE] == kept.series["unmovable_pages"][i]
        reclaimable += int(total[p.RECLAIMABLE])
    assert reclaimable > 0


def test_keeping_the_map_changes_nothing(synthetic_kev: Path, kept: Run) -> None:
    plain = replay(Recording.open(synthetic_kev), "evacuate", options=ReplayOptions(samples=40))
    assert plain == kept
    assert plain.frames is plain.history is None


def test_steps_by_number_and_in_order() -> None:
    rng = np.random.default_rng(1)
    planes = [rng.integers(0, 3, 50).astype(np.uint8) for _ in range(9)]
    builder = StepsBuilder()
    for plane in planes:
        builder.add(plane)
    steps = builder.build()
    steps.check()
    assert steps.moments == 9
    assert all(np.array_equal(a, b) for a, b in zip(steps, planes, strict=True))
    assert all(np.array_equal(steps.at(i), planes[i]) for i in range(-9, 9))


def test_damaged_steps_are_refused(kept: Run) -> None:
    assert kept.frames is not None
    good = kept.frames.blocks
    bad = [
        Steps(good.first, good.offsets[:-1], good.place, good.value),
        Steps(good.first, good.offsets, good.place + len(good.first), good.value),
        Steps(good.first, good.offsets[::-1].copy(), good.place, good.value),
        Steps(good.first, good.offsets, good.place, good.value.astype(np.uint8)),
    ]
    for steps in bad:
        with pytest.raises(KevacuateError, match="contradict"):
            steps.check()
    frames = kept.frames
    with pytest.raises(KevacuateError, match="contradict"):
        Frames(frames.t[1:], frames.start, frames.zone, frames.zones, 9, good).check()


@pytest.mark.parametrize("name", ["one-cpu.kev", "two-cpus.kev"])
def test_recorded_states_as_a_map(name: str) -> None:
    recording = Recording.open(DATA / name)
    frames = recorded_frames(recording)
    frames.check()
    assert len(frames.t) == len(recording.states) == 2
    assert frames.pages is not None
    for i, state in enumerate(recording.states):
        seen = frames.at(i)
        assert np.array_equal(seen.mt, state.blocks.mt)
        assert np.array_equal(seen.skip, state.blocks.skip)
        pages = frames.pages.at(i)
        free = np.zeros(len(pages), bool)
        for order, pfn in zip(state.free.order.tolist(), state.free.pfn.tolist(), strict=True):
            free[pfn : pfn + (1 << order)] = True
        assert np.array_equal(np.flatnonzero(pages == p.FREE), np.flatnonzero(free & (pages != p.PCP)))
        assert bool((pages == p.IN_USE).any()) == (state.page_flags is None)


def test_recorded_flows_are_the_recorded_events() -> None:
    recording = Recording.open(DATA / "two-cpus.kev")
    flows = recorded_flows(recording)
    assert sum(flow["events"] for flow in flows) == recording.quality["events_by_kind"].get(
        "MM_PAGE_ALLOC_EXTFRAG", 0
    )
