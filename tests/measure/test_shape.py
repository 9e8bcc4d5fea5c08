# SPDX-License-Identifier: GPL-2.0-or-later
"""The shape of a demand: runs, lifetimes and mixing of hand-made rows, and the distances of two shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kevacuate.measure.shape import (
    CLASSES,
    Shape,
    Shaping,
    apart,
    figures_of,
    octave,
    octaves,
    survival,
    total_variation,
)
from kevacuate.recording import DemandChunk, DemandOp
from kevacuate.recording.demand import DEMAND_TYPES

UNMOVABLE, MOVABLE, RECLAIMABLE = range(3)
SECOND = 1_000_000_000


def chunk(*rows: tuple[int, int, int, int, int, int, int]) -> DemandChunk:
    """Rows of (t, op, cpu, obj, order, mt, aux)."""
    columns = {name: np.zeros(len(rows), kind) for name, kind in DEMAND_TYPES.items()}
    for place, name in enumerate(("t", "op", "cpu", "obj", "order", "mt", "aux")):
        columns[name][:] = [row[place] for row in rows]
    return DemandChunk(**columns)


def alloc(t: int, obj: int, mt: int, cpu: int = 0, order: int = 0) -> tuple[int, ...]:
    return (t, DemandOp.ALLOC, cpu, obj, order, mt, 0)


def free(t: int, obj: int, order: int = 0) -> tuple[int, ...]:
    return (t, DemandOp.FREE, 0, obj, order, 0, 0)


def shape_of(*rows: tuple[int, ...], in_use: int = 0, pieces: int = 1) -> Shape:
    shaping = Shaping(2, in_use)
    for part in np.array_split(np.arange(len(rows)), pieces):
        shaping.add(chunk(*(rows[i] for i in part)))  # type: ignore[arg-type]
    return shaping.shape


ROWS = (
    alloc(0, 0, MOVABLE),
    alloc(1, 1, MOVABLE),
    alloc(2, 2, UNMOVABLE, cpu=1),
    free(3, 1),
    alloc(4, 3, MOVABLE),
    alloc(5, 4, UNMOVABLE, order=2),
    alloc(6, 5, RECLAIMABLE),
    free(2 * SECOND, 4, 2),
)


@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_runs_are_by_cpu_and_frees_do_not_end_them(pieces: int) -> None:
    runs = shape_of(*ROWS, pieces=pieces).runs
    assert {(mt, n): int(runs[mt, n]) for mt, n in zip(*np.nonzero(runs), strict=True)} == {
        (MOVABLE, 2): 1,  # three requests: 2 to 3
        (UNMOVABLE, 1): 2,  # one on each CPU
        (RECLAIMABLE, 1): 1,
    }


def test_the_interleaving_distance_is_of_the_whole_machine() -> None:
    between = shape_of(*ROWS).between
    assert between[0] == 1  # reclaimable behind unmovable
    assert between[1] == 1  # one movable request between two unmovable ones
    assert between.sum() == 2


def test_what_lives_counts_as_that_old_at_least() -> None:
    shape = shape_of(*ROWS)
    assert shape.lives.sum() == 2
    assert shape.alive.sum() == 4
    figures = {one.id: one for one in figures_of(shape, shape)}
    assert figures["life.unmovable"].before == 100.0
    assert figures["life.movable"].before == pytest.approx(200 / 3)


def test_halves_are_as_old_as_the_whole() -> None:
    rows = (alloc(0, 0, MOVABLE, order=1), (5, DemandOp.SPLIT, 0, 0, 1, MOVABLE, 1), free(SECOND, 1))
    assert shape_of(*rows).lives[MOVABLE, int(octaves(np.array([SECOND]), 2)[0])] == 1


def test_the_most_pages_in_use_count_those_of_the_start() -> None:
    assert shape_of(*ROWS, in_use=100).peak == 108


def test_distances_are_0_of_equals_and_1_of_strangers() -> None:
    shape = shape_of(*ROWS)
    assert {one.distance for one in figures_of(shape, shape)} == {0.0}
    one, other = np.array([3, 0, 0]), np.array([0, 0, 5])
    assert apart(one, other) == total_variation(one, other) == 1.0
    assert apart(np.array([1, 1]), np.array([1, 3])) == 0.25


def test_survival_is_kaplan_and_meiers() -> None:
    """Of their method's textbook case: deaths at 1 (of 4 at risk) and 3 (of 2 at risk), one lost at 2, one at 3."""
    died, alive = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    assert survival(died, alive).tolist() == [1.0, 0.75, 0.75, 0.375]


@given(st.lists(st.integers(0, (1 << 61) - 1), min_size=1, max_size=20), st.sampled_from([0, 2]))
def test_both_ways_to_a_class_agree_and_ascend(values: list[int], bits: int) -> None:
    from kevacuate.measure import shape

    plain = getattr(shape.note_rows, "plain", None)
    one = plain.__globals__["octave"] if plain else octave
    found = octaves(np.array(sorted(values)), bits)
    assert found.tolist() == [one(value, bits) for value in sorted(values)]
    assert (np.diff(found) >= 0).all()
    assert found[-1] < CLASSES
