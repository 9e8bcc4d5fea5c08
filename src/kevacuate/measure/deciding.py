# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows that decide a comparison: few, so that correcting for their number costs little, and what evidence is asked for.

``tests/reports`` holds that each has the value of the table's row with its id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kevacuate.measure.results import Comparison, Run
from kevacuate.measure.rows import at_the_end, counter
from kevacuate.measure.sequential import Sequential, SequentialTest, Values

DECIDING: dict[str, Callable[[Run], float | None]] = {
    "extfrag.claims_from_movable": counter("claims_from_movable"),
    "extfrag.steals_from_movable": counter("steals_from_movable"),
    "end.mixed_blocks": at_the_end("mixed_blocks"),
    "end.polluted_blocks": at_the_end("polluted_blocks"),
    "end.regions_2m_movable_only": at_the_end("regions_2m", "movable_only"),
}
"""Id of the row to its value."""


def deciding_values(groups: Sequence[Sequence[Run]]) -> Values:
    """The values of the rows that decide, of the runs of each policy; the first policy is what the others are compared with."""
    tables = [{row: [value(run) for run in group] for row, value in DECIDING.items()} for group in groups]
    found = {}
    for row in DECIDING:
        for i in range(1, len(groups)):
            first = [value for value in tables[0][row] if value is not None]
            second = [value for value in tables[i][row] if value is not None]
            if len(first) == len(tables[0][row]) and len(second) == len(tables[i][row]):
                found[row, i] = (first, second)
    return found


def decided(comparison: Comparison) -> Sequential | None:
    """What the rows that decide have come to; None where a single policy, or none repeatedly, was run."""
    groups = list(comparison.groups.values())
    replays = min(len(group) for group in groups)
    if len(groups) < 2 or replays < 2:
        return None
    return SequentialTest().decide(deciding_values(groups), replays)
