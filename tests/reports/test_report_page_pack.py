# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers as the page carries them, read back by a second decoder."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_synthetic import BLOCK, frames, history, run

from kevacuate.measure import Run
from kevacuate.measure.history import KIND, D, History
from kevacuate.mm import constants as k
from kevacuate.reports.page.data import blocks_with_pages, longest_queue, moments_at, thinned
from kevacuate.reports.page.pack import CLAIMED, ENDED, QUEUED, Blobs, pack_marks, pack_steps, varint


def read(blobs: Blobs, number: int) -> bytes:
    return zlib.decompress(base64.b64decode(blobs.texts[number], validate=True))


def numbers(data: bytes) -> list[int]:
    out, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            out.append(value)
            value = shift = 0
    assert shift == 0
    return out


@given(st.lists(st.integers(0, 2**53)))
def test_varints(values: list[int]) -> None:
    assert numbers(varint(np.array(values, np.int64))) == values


@pytest.mark.parametrize("which", ["blocks", "pages"])
def test_a_plane_over_time_goes_on_and_back(which: str) -> None:
    steps = getattr(frames(40, 9, 3, pages=True), which)
    blobs = Blobs()
    packed = pack_steps(blobs, steps)
    size, width = packed["size"], packed["bytes"]
    assert (size, width) == (len(steps.first), steps.first.dtype.itemsize)

    def plane(data: bytes) -> np.ndarray:
        parts = np.frombuffer(data, np.uint8).reshape(width, -1).astype(np.uint16)
        return sum(parts[i] << 8 * i for i in range(width))

    now = plane(read(blobs, packed["first"])).copy()
    counts = numbers(read(blobs, packed["counts"]))
    gaps = numbers(read(blobs, packed["gaps"]))
    xor = plane(read(blobs, packed["xor"]))
    seen, at, moves = [now.copy()], 0, []
    for count in counts[1:]:
        place = np.cumsum(np.array(gaps[at : at + count], np.int64))
        moves.append((place, xor[at : at + count]))
        now[place] ^= xor[at : at + count]
        at += count
        seen.append(now.copy())
    assert at == len(gaps) == len(xor)
    assert all(np.array_equal(a, b) for a, b in zip(seen, steps, strict=True))
    for place, change in reversed(moves):
        now[place] ^= change
    assert np.array_equal(now, steps.first)


def test_a_part_of_the_blocks() -> None:
    steps = frames(40, 6, 3, pages=True).pages
    assert steps is not None
    keep = np.array([0, 3, 17, 39])
    part = steps.part(keep, BLOCK)
    part.check()
    for i in range(6):
        whole = steps.at(i).reshape(-1, BLOCK)[keep].reshape(-1)
        assert np.array_equal(part.at(i), whole)


def test_marks_by_block() -> None:
    told = history(64, 10, 1, evacuates=True, claims=30, steals=300)
    starts = np.arange(64) << 9
    blobs = Blobs()
    packed = pack_marks(blobs, told, starts)
    column = {name: numbers(read(blobs, packed[name])) for name in ("counts", "t", "what")}
    wanted = {k.L_EVAC_CLAIM: CLAIMED, k.L_EVAC_QUEUED: QUEUED, k.L_EVAC_FINISHED: ENDED}
    at = 0
    for block, count in enumerate(column["counts"]):
        own = [
            r
            for r in told.of_block(block).records.tolist()
            if r[KIND] in wanted and (r[KIND] != k.L_EVAC_CLAIM or r[D])
        ]
        assert count == len(own)
        assert column["what"][at : at + count] == [wanted[r[KIND]] for r in own]
        assert np.cumsum(column["t"][at : at + count]).tolist() == [r[0] // 1000 for r in own]
        at += count
    assert at == packed["marks"] > 60
    assert {*column["what"]} == {CLAIMED, QUEUED, ENDED}


def test_blocks_that_something_happened_to_get_their_pages_first() -> None:
    runs = [run("mainline", 256, 5, pages=True), run("evacuate", 256, 5, pages=True, claims=10)]
    assert len(blocks_with_pages(runs, 10**9)) == 256
    assert len(blocks_with_pages(runs, 0)) == 0
    some = blocks_with_pages(runs, 6_000)
    assert 10 <= len(some) < 100
    assert runs[1].history is not None
    evacuated = {e.block for e in runs[1].history.evacuations()}
    assert evacuated <= set(some.tolist())


def test_a_map_of_too_many_changes_leaves_out_moments() -> None:
    runs = [run("mainline", 256, 40), run("evacuate", 256, 40)]
    whole, every = thinned(runs)
    assert (whole, every) == (runs, 1)
    few, every = thinned(runs, 1500)
    assert every > 1
    for old, new in zip(runs, few, strict=True):
        assert old.frames is not None
        assert new.frames is not None
        new.frames.check()
        assert len(new.frames.blocks.place) < len(old.frames.blocks.place)
        assert new.frames.t[-1] == old.frames.t[-1]
        assert np.array_equal(new.frames.blocks.at(-1), old.frames.blocks.at(-1))
        assert np.array_equal(new.frames.blocks.at(1), old.frames.blocks.at(every))


def test_the_moment_nearest_to_a_time() -> None:
    assert moments_at([0, 10, 20], [0, 4, 6, 14, 99, -5]) == [0, 0, 1, 1, 2, 0]
    assert moments_at([7], [0, 100]) == [0, 0]


def test_the_longest_queue_between_two_moments() -> None:
    rows = [
        (5, k.L_EVAC_QUEUED, 0, 512, 1, 0, 0, 0),
        (6, k.L_EVAC_QUEUED, 0, 1024, 2, 0, 0, 0),
        (7, k.L_EVAC_DROPPED, 0, 1536, 0, 0, 0, 0),
        (8, k.L_EVAC_STARTED, 0, 512, 0, 0, 0, 1),
        (9, k.L_EVAC_FINISHED, 0, 512, 0, 0, 0, 0),
        (15, k.L_EVAC_SKIPPED, 0, 1024, 0, 0, 0, 2),
    ]
    told = History(np.array(rows), 9)
    made = Run("evacuate", {}, {"t": [0, 4, 10, 14, 20, 30]}, {}, history=told)
    assert longest_queue(made) == [0, 0, 2, 1, 1, 0]
    assert longest_queue(Run("mainline", {}, {"t": [0]}, {})) is None
