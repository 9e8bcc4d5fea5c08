# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy changes: in the model's replays, and in kernels that were really booted.

The rows of :mod:`.level` say whether a *level* is the kernels'. A comparison asks another question: does a policy
differ from `mainline`? Here the same test answers it for both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kevacuate.measure.fidelity import Change, Effect
from kevacuate.measure.permutation import LEVEL, decide, least_p, mean, spread

LEFT_OUT = "_by_order "
"""Free chunks of each single order are many rows that say one thing: they are left out."""


@dataclass(frozen=True)
class Sides:
    """One measure under one policy: its name, the values of real runs, those of replays."""

    name: str
    theirs: list[float]
    ours: list[float]


def change(before: list[float], after: list[float]) -> Change:
    """Means, spreads and p (exact permutation test of the means, two-sided) of two groups of at least two values."""
    decision = decide(before, after)
    return Change(
        mean(before), spread(before) or 0.0, mean(after), spread(after) or 0.0, decision.p, decision.verdict
    )


def _can_decide(before: list[float], after: list[float]) -> bool:
    """Whether groups of these sizes can give a p at or below LEVEL at all."""
    return min(len(before), len(after)) >= 2 and least_p(len(before), len(after)) <= LEVEL


def effects(
    base: Mapping[str, Sides], changed: Mapping[str, Sides], policy: str, kernel: tuple[str, str]
) -> tuple[Effect, ...]:
    """A row for every measure of which both sides have enough values to tell a difference.

    Parameters
    ----------
    base, changed : mapping of column to Sides
        The measures under `mainline`, and under *policy*.
    policy : str
        The policy's name.
    kernel : (str, str)
        The kernels that ran so: `("stock", "fixskip")`.

    Returns
    -------
    tuple of Effect
        In the order of *base*; empty where there are too few runs or replays.
    """
    rows = []
    for column, before in base.items():
        after = changed.get(column)
        if after is None or LEFT_OUT in column:
            continue
        if _can_decide(before.theirs, after.theirs) and _can_decide(before.ours, after.ours):
            rows.append(
                Effect(
                    policy,
                    kernel,
                    before.name,
                    change(before.theirs, after.theirs),
                    change(before.ours, after.ours),
                )
            )
    return tuple(rows)
