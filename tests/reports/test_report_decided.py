# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of the rows that decide: the bounds of their change, and what more replays would tell."""

from __future__ import annotations

from dataclasses import replace

from kevacuate.measure.sequential import OPEN, RowDecision
from kevacuate.reports.comparison.decided import bounds_words, seen_words

ROW = RowDecision(("end.mixed_blocks", 1), OPEN, 18, 1.0, 0.64, 3.0, -0.153, 1.114, 1531)


def test_bounds_have_their_signs_and_are_left_out_where_there_are_none() -> None:
    assert bounds_words(ROW) == "-15 % to +111 %"
    assert bounds_words(replace(ROW, low=None, high=None)) == ""


def test_power_and_what_would_tell_that_nothing_matters() -> None:
    assert seen_words(ROW) == "a change of 64 % would have been seen; 1,531 replays would tell 20 %"
    assert seen_words(replace(ROW, needed=None)) == "a change of 64 % would have been seen"
    assert seen_words(replace(ROW, seen=None)).startswith("its power cannot be told")
