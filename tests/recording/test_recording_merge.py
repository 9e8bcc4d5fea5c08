# SPDX-License-Identifier: GPL-2.0-or-later
from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kevacuate.recording.merge import merge_chunks
from kevacuate.recording.schema import COLUMN_TYPES, EventChunk


def chunk_of(cpu: int, times: list[int], first: int) -> EventChunk:
    columns = {n: np.zeros(len(times), t) for n, t in COLUMN_TYPES.items()}
    columns["ts"][:] = times
    columns["cpu"][:] = cpu
    columns["a"][:] = range(first, first + len(times))
    return EventChunk(**columns)


def stream(cpu: int, times: list[int], size: int) -> Iterator[EventChunk]:
    for at in range(0, len(times), size):
        yield chunk_of(cpu, times[at : at + size], at)


@given(
    st.lists(st.lists(st.integers(0, 12), max_size=40).map(sorted), min_size=1, max_size=4),
    st.integers(1, 7),
)
def test_merge_sorts_by_time_cpu_position(cpus: list[list[int]], size: int) -> None:
    merged = list(merge_chunks([stream(c, times, size) for c, times in enumerate(cpus)]))
    rows = [r for m in merged for r in zip(m.ts.tolist(), m.cpu.tolist(), m.a.tolist(), strict=True)]
    assert rows == sorted((t, c, i) for c, times in enumerate(cpus) for i, t in enumerate(times))


def test_merge_holds_little() -> None:
    ahead = 0

    def counted(cpu: int) -> Iterator[EventChunk]:
        nonlocal ahead
        for i in range(50):
            ahead += 1
            yield chunk_of(cpu, [i * 10 + cpu, i * 10 + 5], 0)

    worst = given_out = 0
    for chunk in merge_chunks([counted(0), counted(1)]):
        given_out += chunk.rows
        worst = max(worst, 2 * ahead - given_out)
    assert given_out == 200
    assert worst <= 8
