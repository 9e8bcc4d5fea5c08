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

    Groups have at least two values each. A row whose values are all equal asks no question, so it counts for none.
    """
    p = {name: permutation_p(*groups) for name, groups in rows.items()}
    corrected = holm({name: p[name] for name, (before, after) in rows.items() if len({*before, *after}) > 1})
    found = {}
    for name, groups in rows.items():
        before, after = (Sample.of(values) for values in groups)
        found[name] = Change(before, after, welch(before, after), p[name], corrected.get(name, 1.0))
    return found
