# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of many settings give a benefit at the least cost: the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence


def pareto(costs: Sequence[float], benefits: Sequence[float]) -> list[int]:
    """The numbers of those that no other beats: none costs as little or less and gives as much or more, one of the two strictly.

    By cost, then by number. Costs are better when lower, benefits when higher.
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -benefits[i], i))
    front: list[int] = []
    for i in order:
        last = front[-1] if front else None
        equal = last is not None and (costs[i], benefits[i]) == (costs[last], benefits[last])
        if last is None or benefits[i] > benefits[last] or equal:
            front.append(i)
    return front
