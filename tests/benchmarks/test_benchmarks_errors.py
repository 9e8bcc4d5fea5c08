# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of errors finds an effect that is planted, and seldom calls what is none."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks import errors
from kevacuate.measure.deciding import DECIDING


def test_what_is_planted_is_found_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    figures = errors.distributed("normal", errors.DISTRIBUTIONS["normal"])
    assert figures.rows == tuple(DECIDING)
    assert figures.deviation == pytest.approx(30, rel=0.01)
    errors.show_compare(figures, 40, 12)
    errors.show_tune(figures, 40)
    none, found, no_winner, won = (int(n) for n in re.findall(r"(\d+) of 40", capsys.readouterr().out))
    assert max(none, no_winner) <= 7  # 2 at most are expected; 8 of 40 would come once in 1,000
    assert min(found, won) >= 22  # 32 are


def test_what_matters_is_not_said_to_be_small_and_what_does_not_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = errors.distributed("narrow", errors.NARROW["normal, 15 %"])
    errors.show_small(figures, 10, 18)
    said = capsys.readouterr().out
    smaller, larger = (int(n) for n in re.findall(r"(\d+) (?:of 10 say|that one is larger)", said))
    assert max(smaller, larger) <= 3
    found, rows = (int(n) for n in re.search(r"without any (\d+) of (\d+) rows", said).groups())  # type: ignore[union-attr]
    assert rows == 14
    assert found >= 1


def test_rows_of_real_replays_hang_together() -> None:
    figures = errors.replays("shipped", "closed", 4)
    drawn = figures.draw(np.random.default_rng(0), 3, 50)
    assert drawn.shape == (3, len(figures.rows), 50)
    pool = {tuple(column) for group in drawn for column in group.T}
    assert 1 < len(pool) <= 4
