# SPDX-License-Identifier: GPL-2.0-or-later
"""Many tests at once: the same p as one by one, and few false discoveries."""

from __future__ import annotations

import numpy as np
import pytest

from kevacuate.measure.discoveries import discovery_qs, permutation_ps, ps_of
from kevacuate.measure.permutation import LEVEL, permutation_p


@pytest.mark.parametrize("sizes", [(2, 2), (5, 5), (4, 7), (9, 9), (12, 12)])
@pytest.mark.parametrize("counts", [True, False])
def test_p_is_that_of_the_one_test(sizes: tuple[int, int], counts: bool) -> None:
    rng = np.random.default_rng(sum(sizes) + counts)
    first = rng.poisson(9, (30, sizes[0])) if counts else rng.normal(size=(30, sizes[0]))
    second = rng.poisson(12, (30, sizes[1])) if counts else rng.normal(0.7, size=(30, sizes[1]))
    found = permutation_ps(first.astype(np.float64), second.astype(np.float64))
    alone = [permutation_p(a.tolist(), b.tolist()) for a, b in zip(first, second, strict=True)]
    assert found.tolist() == alone


def test_groups_of_several_sizes_and_constant_ones() -> None:
    pairs = {
        "a": ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
        "b": ([1.0, 1.0], [1.0, 1.0]),
        "c": ([1.0, 2.0], [3.0, 4.0, 5.0]),
        "d": ([1.0], [2.0, 3.0]),
    }
    found = ps_of(pairs)
    assert list(found) == ["a", "c"]
    assert found["a"] == permutation_p(*pairs["a"]) == 0.1


def test_qs_are_benjaminis_and_hochbergs() -> None:
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "e": 0.6}
    assert discovery_qs(p) == pytest.approx({"a": 0.025, "b": 0.05, "c": 0.05, "d": 0.025, "e": 0.6})
    assert list(discovery_qs(p)) == list(p)
    assert discovery_qs({}) == {}


def simulated(settings: int, helping: int, rng: np.random.Generator) -> tuple[int, int]:
    """(False discoveries, all) of one grid of settings against one base, eight replays each."""
    values = rng.poisson(50, (settings + 1, 8)).astype(np.float64)
    values[1 : helping + 1] -= 20
    pairs = {i: (values[0].tolist(), values[i].tolist()) for i in range(1, settings + 1)}
    called = [i for i, q in discovery_qs(ps_of(pairs)).items() if q <= LEVEL]
    return sum(i > helping for i in called), len(called)


def test_few_discoveries_are_false() -> None:
    rng = np.random.default_rng(5)
    grids = [simulated(40, 0, rng) for _ in range(60)]
    assert sum(called > 0 for _, called in grids) <= 9, "of grids without an effect at most 5 % have one"
    mixed = [simulated(40, 8, rng) for _ in range(40)]
    assert np.mean([false / max(called, 1) for false, called in mixed]) <= 0.08
    assert np.mean([called - false for false, called in mixed]) >= 7, "and the effects are found"
