# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of a comparison: the figures a maintainer would quote, with their units and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kevacuate.errors import KevacuateError, instance
from kevacuate.measure import Comparison, Run, prices
from kevacuate.measure.rows import Row, own_rows
from kevacuate.measure.table import FIRST_ROWS, OUTCOME_ROWS, SKIP_BITS_ROW
from kevacuate.policy import POLICIES
from kevacuate.reports.comparison.group_rows import GroupRow, by_id, told_apart

_BUILT_IN = tuple(row for policy in POLICIES.values() for row in policy.rows)

ROWS: tuple[Row, ...] = (*FIRST_ROWS, *_BUILT_IN, *OUTCOME_ROWS)
"""In the order in which they are shown."""


def row_of(row_id: str) -> Row:
    """The row of a comparison's table with this id.

    Raises
    ------
    KevacuateError
        There is none.
    """
    for row in ROWS:
        if row.id == row_id:
            return row
    raise KevacuateError(
        f"A comparison has no row {row_id!r}: the known ones are {', '.join(row.id for row in ROWS)}."
    )


def value_of(row: Row, run: Run) -> float | None:
    """A run's value; None where it has none to give, as :class:`~kevacuate.measure.rows.Row` says.

    Raises
    ------
    KevacuateError
        The run lacks a figure that every run has: another version made it.
    """
    try:
        return row.value(run)
    except KeyError as error:
        raise KevacuateError(
            f"The row {row.id} shows the figure {error}, which the run of {run.policy!r} lacks: "
            "another version made that run, so compare again."
        ) from None


def comparison_rows(comparison: Comparison) -> list[GroupRow[Row]]:
    """The rows of a comparison, one group per policy; a row of which some run has no value is left out.

    That of the skip bits is shown, as not recorded, where a recording has none.

    Raises
    ------
    KevacuateError
        As :func:`value_of`.
    """
    groups: Sequence[Sequence[Run]] = list(instance(comparison, Comparison, "compare").groups.values())
    rows = (*FIRST_ROWS, *_BUILT_IN, *own_rows(comparison.runs), *OUTCOME_ROWS)
    made = [GroupRow.of(row, ([value_of(row, run) for run in group] for group in groups)) for row in rows]
    return [
        row
        for row in made
        if row.row.id == SKIP_BITS_ROW or not any(v is None for group in row.values for v in group)
    ]


def folded(rows: Sequence[GroupRow[Row]]) -> tuple[list[GroupRow[Row]], list[GroupRow[Row]]]:
    """The rows that people see first, and those that are 0 in every run, which have nothing to say."""
    zeros = [row for row in rows if all(value == 0 for group in row.values for value in group)]
    return [row for row in rows if row not in zeros], zeros


def zeros_words(zeros: Sequence[object]) -> str:
    """What stands for rows that are folded away."""
    return f"{len(zeros)} row{'' if len(zeros) == 1 else 's'} {'is' if len(zeros) == 1 else 'are'} 0 in every run"


@dataclass(frozen=True)
class Price:
    """What a gain cost: id, label, unit, key in :func:`kevacuate.measure.prices`, and the id of the row that was gained."""

    id: str
    label: str
    unit: str
    key: str
    gain: str


PRICES = (
    Price(
        "price.huge_pages_per_worker_second",
        "huge pages gained per worker second",
        "1/s",
        "huge_pages_per_worker_second",
        "end.huge_pages_free",
    ),
    Price(
        "price.huge_pages_per_dropped_page",
        "huge pages gained per page dropped",
        "1/page",
        "huge_pages_per_dropped_page",
        "end.huge_pages_free",
    ),
    Price(
        "price.movable_only_per_worker_second",
        "2 MiB regions gained per worker second",
        "1/s",
        "movable_only_per_worker_second",
        "end.regions_2m_movable_only",
    ),
    Price(
        "price.movable_only_per_dropped_page",
        "2 MiB regions gained per page dropped",
        "1/page",
        "movable_only_per_dropped_page",
        "end.regions_2m_movable_only",
    ),
)


def price_rows(comparison: Comparison) -> list[tuple[Price, list[float | None]]]:
    """The prices of the benefit, and each policy's value.

    None where nothing was paid; and of several runs where they cannot tell the gain from chance, as then nothing was bought.
    """
    rows = by_id(comparison_rows(comparison))
    base, *others = comparison.groups.values()
    found = []
    for price in PRICES:
        values: list[float | None] = [None]
        for i, runs in enumerate(others):
            known = not comparison.repeated or (
                price.gain in rows and told_apart(rows[price.gain].decisions[i])
            )
            values.append(prices(base, runs)[price.key] if known else None)
        found.append((price, values))
    return found


def seeds_words(runs: Sequence[Run]) -> str:
    """``seeds 0 to 4``: what several runs of a policy were drawn with."""
    seeds = sorted(run.seed for run in runs)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def replays_words(comparison: Comparison) -> str:
    """How often each policy was replayed, and with which seeds."""
    groups = list(comparison.groups.values())
    words = {f"{len(runs)} replay{'s' if len(runs) > 1 else ''} ({seeds_words(runs)})" for runs in groups}
    if len(words) == 1:
        return words.pop() + (" each" if len(groups) > 1 else "")
    return "replays: " + ", ".join(str(len(runs)) for runs in groups)
