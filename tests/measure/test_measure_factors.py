# SPDX-License-Identifier: GPL-2.0-or-later
"""What knobs explain, and the Pareto front, against the plainest way to find them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from kevacuate.measure.factors import parts_of
from kevacuate.measure.front import pareto
from kevacuate.measure.intervals import f_tail, t_share


def planted(interaction: float, noise: float, seed: int = 1) -> np.ndarray:
    """Values of a grid of 3 x 2 x 4 levels, six repeats: factor 0 counts, and 1 and 2 together beyond each alone."""
    rng = np.random.default_rng(seed)
    values = noise * rng.normal(size=(3, 2, 4, 6))
    for a, b, c in product(range(3), range(2), range(4)):
        values[a, b, c] += 5.0 * a + interaction * (2 * b - 1) * (c - 1.5)
    return values


def test_shares_are_those_that_were_planted() -> None:
    parts = {part.factors: part for part in parts_of(planted(2.0, 0.0))}
    assert set(parts) == {(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)}
    main, pair = 25 * 2 / 3, 4 * 1.25
    assert parts[0,].share == pytest.approx(main / (main + pair))
    assert parts[1, 2].share == pytest.approx(pair / (main + pair))
    assert sum(part.share for part in parts.values()) == pytest.approx(1)
    assert parts[1, 2].p == 0.0


def test_chance_is_told_from_an_interaction() -> None:
    seen = {part.factors: part.p for part in parts_of(planted(1.0, 1.0))}
    assert max(seen[0,], seen[1, 2]) < 1e-6
    p = [
        part.p for seed in range(200) for part in parts_of(planted(0.0, 1.0, seed)) if part.factors == (1, 2)
    ]
    assert 2 <= sum(one <= 0.05 for one in p if one is not None) <= 20


def test_a_share_does_not_depend_on_the_order_of_factors() -> None:
    values = planted(1.0, 1.0)
    turned = {part.factors: part for part in parts_of(values.transpose(2, 1, 0, 3))}
    for part in parts_of(values):
        other = turned[tuple(sorted(2 - axis for axis in part.factors))]
        assert other.share == pytest.approx(part.share)
        assert other.p == pytest.approx(part.p)


def test_what_is_constant_has_no_parts_and_single_cells_have_no_p() -> None:
    assert parts_of(np.full((2, 3, 4), 7.25)) == []
    assert all(part.p is None for part in parts_of(planted(1.0, 1.0)[..., :1]))


def test_f_is_the_square_of_t() -> None:
    for t, freedom in ((0.5, 3), (2.0, 10), (3.3, 40)):
        assert f_tail(t * t, 1, freedom) == pytest.approx(2 * (1 - t_share(t, freedom)))
    assert f_tail(3.2839, 3, 12) == pytest.approx(0.0586, abs=2e-4)


def test_the_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        n = int(rng.integers(1, 12))
        cost, benefit = rng.integers(0, 5, n).tolist(), rng.integers(0, 5, n).tolist()
        unbeaten = [
            i
            for i in range(n)
            if not any(
                cost[j] <= cost[i]
                and benefit[j] >= benefit[i]
                and (cost[j], benefit[j]) != (cost[i], benefit[i])
                for j in range(n)
            )
        ]
        assert sorted(pareto(cost, benefit)) == unbeaten
    assert pareto([], []) == []
