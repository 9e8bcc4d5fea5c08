# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy changes, in kernels or in replays: difference, interval, power, and p corrected for the number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kevacuate.measure.fidelity import Change
from kevacuate.measure.intervals import Sample, holm, welch
from kevacuate.measure.permutation import LEVEL, least_p, permutation_p

Groups = tuple[Sequence[float], Sequence[float]]
"""The values of one figure without and with a policy."""


def can_decide(groups: Groups) -> bool:
    """Whether groups of these sizes can give a p at or below LEVEL at all."""
    sizes = [len(group) for group in groups]
    return min(sizes) >= 2 and least_p(*sizes) <= LEVEL


def changes(rows: Mapping[str, Groups]) -> dict[str, Change]:
    """What becomes of each figure, by its name; p is corrected for the number of rows that vary at all.

    Groups have at least two values each. A row whose values are all equal asks no question, so it counts for none. What would
    have been seen is of the step of Holm's correction that stopped: LEVEL shared by the rows that were not called.
    """
    p = {name: permutation_p(*groups) for name, groups in rows.items()}
    corrected = holm({name: p[name] for name, (before, after) in rows.items() if len({*before, *after}) > 1})
    level = LEVEL / max(1, sum(p > LEVEL for p in corrected.values()))
    found = {}
    for name, groups in rows.items():
        before, after = (Sample.of(values) for values in groups)
        difference = welch(before, after)
        seen = difference.seen_at(level)
        found[name] = Change(before, after, difference, p[name], corrected.get(name, 1.0), seen)
    return found
