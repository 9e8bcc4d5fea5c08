# SPDX-License-Identifier: GPL-2.0-or-later
"""In words: which of the rows that decide are decided, and what of the others would have been seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kevacuate.measure import Comparison
from kevacuate.measure.deciding import decided
from kevacuate.measure.intervals import POWER
from kevacuate.measure.rows import Row
from kevacuate.measure.sequential import (
    DIFFERS,
    EQUAL,
    MATTERS,
    OPEN,
    SHARES,
    SMALL,
    RowDecision,
    Sequential,
)
from kevacuate.percent import percent
from kevacuate.reports.comparison.group_rows import GroupRow, Part, by_id, mean_text, moved

TESTED_FROM = SHARES[1][0]
"""Replays of each policy from which on something is tested."""


def bounds_words(row: RowDecision) -> str:
    """Between which bounds a row's change lies; empty where it has none."""
    if row.low is None or row.high is None:
        return ""
    return f"{percent(row.low, signed=True)} to {percent(row.high, signed=True)}"


def seen_words(row: RowDecision) -> str:
    """What change of an undecided row would have been seen, and how many replays would tell that none matters."""
    if row.seen is None:
        return "its power cannot be told, as the first policy has 0 or nothing varies"
    needed = f"; {row.needed:,} replays would tell {percent(MATTERS)}" if row.needed else ""
    return f"a change of {percent(row.seen)} would have been seen{needed}"


def _named(rows: Sequence[GroupRow[Row]], one: RowDecision) -> str:
    """The row's label and its means."""
    row = by_id(rows)[one.key[0]]
    when = " at the end" if one.key[0].startswith("end.") else ""
    return f"{row.row.label}{when} {mean_text(*row.summary(0))} -> {mean_text(*row.summary(one.key[1]))}"


def _bounded(rows: Sequence[GroupRow[Row]], one: RowDecision) -> str:
    """The row's label, its means and the bounds of its change."""
    bounds = bounds_words(one)
    return _named(rows, one) + (f" ({bounds})" if bounds else "")


def _policy_parts(name: str, own: Sequence[RowDecision], rows: Sequence[GroupRow[Row]]) -> Iterator[Part]:
    """The parts about one policy."""
    differ = [one for one in own if one.state == DIFFERS]
    if differ:
        told = "; ".join(
            f"{_named(rows, one)} ({moved(by_id(rows)[one.key[0]], one.key[1])}, after {one.replays} replays)"
            for one in differ
        )
        yield Part("decided", f"Decided under {name}: {told}.", tuple(one.key[0] for one in differ))
    small = [one for one in own if one.state in (SMALL, EQUAL)]
    if small:
        told = "; ".join(_bounded(rows, one) for one in small)
        text = f"No change of {percent(MATTERS)} under {name}: {told}."
        yield Part("decided", text, tuple(one.key[0] for one in small))
    still = [one for one in own if one.state == OPEN]
    if still:
        told = "; ".join(f"{_bounded(rows, one)}: {seen_words(one)}" for one in still)
        yield Part("undecided", f"Undecided under {name}: {told}.", tuple(one.key[0] for one in still))


def decided_parts(comparison: Comparison, rows: Sequence[GroupRow[Row]]) -> Iterator[Part]:
    """Parts of the kinds ``decided`` and ``undecided``, and ``error``, the rule; none of fewer replays than are tested."""
    told = decided(comparison)
    if told is None or told.replays < TESTED_FROM:
        return
    for i, name in enumerate(list(comparison.groups)[1:], 1):
        yield from _policy_parts(name, [row for row in told.rows if row.key[1] == i], rows)
    yield Part("error", error_words(told))


def error_words(told: Sequential) -> str:
    """How the error is kept, and what is meant by seen."""
    return (
        f"A row is decided so that chance alone decides any of these {len(told.rows)} in at most 5 % of comparisons, "
        f"however long they go on. In as few a bound in brackets is wrong on the side where the change lies. "
        f"Of {len(told.looks)} looks the last was after {told.replays} replays of each policy. "
        f"Seen means: by {POWER * 10:.0f} of 10 such comparisons. --repeats {told.replays} gives the same table again."
    )
