# SPDX-License-Identifier: GPL-2.0-or-later
"""Uses of files that the order of reclaim tells: hand-made queues, and rows put among others."""

from __future__ import annotations

import numpy as np
import pytest

from kevacuate.demand.quality import MARKS
from kevacuate.demand.tables import GFP_OF_A_READ
from kevacuate.demand.uses import NO_USES, PASSED, Uses, inferred_uses, lives_of, with_uses
from kevacuate.recording.demand import DEMAND_TYPES, DemandChunk

ALLOC, FREE, SPLIT, RECLAIM, ACCESS = 0, 1, 2, 5, 6
ANON = 0x140DCA


def rows_of(rows):
    """A chunk of (op, obj), 1,000 ns apart; an ALLOC row may say its gfp."""
    filled = [(*row, GFP_OF_A_READ)[:3] for row in rows]
    columns = {name: np.zeros(len(rows), kind) for name, kind in DEMAND_TYPES.items()}
    for i, (op, obj, gfp) in enumerate(filled):
        columns["t"][i], columns["op"][i], columns["obj"][i] = 1000 * (i + 1), op, obj
        columns["gfp"][i], columns["mt"][i], columns["task"][i] = gfp if op == ALLOC else 0, 1, 7
    return DemandChunk(**columns)


def uses_of(rows):
    return inferred_uses(lives_of(rows_of(rows)))


FOLIOS = [(ALLOC, i) for i in range(100)]


def queue(kept, until=100):
    """Reclaim takes all folios up to *until* in their order, but for the kept ones."""
    return FOLIOS + [(RECLAIM, i) for i in range(until) if i not in kept]


def test_what_goes_in_the_order_in_which_it_came_was_not_used():
    assert uses_of(queue(())).number.tolist() == []
    assert uses_of([]) == NO_USES


@pytest.mark.parametrize("end", [[(RECLAIM, 5)], [(FREE, 5)], []])
def test_a_folio_that_reclaim_has_passed_was_used_before(end):
    found = uses_of(queue({5}) + end)
    assert found.number.tolist() == [5]
    passed = 1000 * (len(FOLIOS) + 5 + PASSED)  # five came before it, the last of PASSED after it
    assert 6000 <= found.t[0] < passed


def test_a_batch_has_to_pass():
    until = 6 + PASSED
    assert uses_of([*queue({5}, until - 1), (RECLAIM, 5), (RECLAIM, until)]).number.tolist() == []
    assert uses_of([*queue({5}, until), (RECLAIM, 5)]).number.tolist() == [5]


def test_one_young_folio_that_goes_early_passes_nobody():
    rows = FOLIOS + [(RECLAIM, 99)] + [(RECLAIM, i) for i in range(99)]
    assert uses_of(rows).number.tolist() == []


def test_neighbours_are_used_together_and_runs_apart():
    found = uses_of(queue({5, 6, 7, 40, 41}))
    assert found.number.tolist() == [5, 6, 7, 40, 41]
    births = 1000 * (found.number + 1)
    passed = 1000 * (len(FOLIOS) + np.array([37, 37, 37, 69, 69]))
    share = (found.t - births) / (passed - births)
    assert np.ptp(share[:3]) < 1e-4
    assert np.ptp(share[3:]) < 1e-4
    assert abs(share[0] - share[3]) > 1e-3


def test_the_time_is_drawn_evenly():
    """Every second folio of many is kept: each is a run of its own."""
    folios = 4000
    rows = [(ALLOC, i) for i in range(folios)] + [(RECLAIM, i) for i in range(0, folios, 2)]
    found = uses_of(rows)
    births = 1000 * (found.number + 1)
    passed = 1000 * (folios + (found.number + 1) // 2 + PASSED)
    share = (found.t - births) / (passed - births)
    assert found.number.size > 1900
    assert np.allclose(np.quantile(share, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)


def test_anonymous_pages_and_folios_that_are_split_are_left_out():
    rows = [(ALLOC, 200, ANON), (ALLOC, 201), *queue(()), (RECLAIM, 200), (RECLAIM, 201)]
    assert uses_of(rows).number.tolist() == [1]
    rows[2:2] = [(SPLIT, 201)]
    assert uses_of(rows).number.tolist() == []


def test_an_id_that_is_used_again_is_another_folio():
    rows = [*queue({5}), (FREE, 5), (ALLOC, 5), (RECLAIM, 5)]
    assert uses_of(rows).number.tolist() == [5]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_marks_lie_between_birth_and_death_whatever_the_chunks(size):
    rows = rows_of([*queue({5, 6, 50}), (RECLAIM, 5), (RECLAIM, 6), (FREE, 50)])
    uses = inferred_uses(lives_of(rows))
    pieces = [DemandChunk._make(c[i : i + size] for c in rows) for i in range(0, rows.t.size, size)]
    made = list(with_uses(iter(pieces), uses))
    out = DemandChunk(*(np.concatenate(columns) for columns in zip(*made, strict=True)))
    assert [column.dtype for column in out] == [column.dtype for column in rows]
    assert (np.diff(out.t) >= 0).all()
    mark = out.op == ACCESS
    assert [column[~mark].tolist() for column in out] == [column.tolist() for column in rows]
    assert mark.sum() == MARKS * 3
    for number, t in zip(uses.number.tolist(), uses.t.tolist(), strict=True):
        own = np.flatnonzero(out.obj == number)
        assert out.op[own].tolist() == [ALLOC, ACCESS, ACCESS, FREE if number == 50 else RECLAIM]
        assert out.t[own[1:3]].tolist() == [t, t]
        assert (out.gfp[own[1]], out.task[own[1]]) == (GFP_OF_A_READ, 7)


def test_a_use_at_the_end_of_a_chunk_comes_after_its_folio():
    rows = rows_of([(ALLOC, 0), (ALLOC, 1), (FREE, 0)])
    made = list(with_uses(iter([rows]), Uses(np.array([1]), np.array([2000]))))
    assert made[0].op.tolist() == [ALLOC, ALLOC, ACCESS, ACCESS, FREE]


def test_a_chunk_without_uses_is_handed_on_as_it_is():
    early, late = rows_of(FOLIOS[:50]), rows_of(FOLIOS[50:])
    late = late._replace(t=late.t + early.t[-1])
    assert [
        made is given
        for made, given in zip(with_uses(iter([early, late]), NO_USES), (early, late), strict=True)
    ] == [True] * 2
    first, second = with_uses(iter([early, late]), Uses(np.array([60]), late.t[20:21]))
    assert first is early
    assert second.t.size == late.t.size + MARKS
