# SPDX-License-Identifier: GPL-2.0-or-later
"""A row of bars in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

BARS = " ▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """One character a value, the highest a full block; a value above 0 is never blank."""
    most = max(values, default=0)
    if most <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[0 if v <= 0 else max(1, round(v / most * 8))] for v in values)


def duration(ns: float) -> str:
    """A length of time as people read it."""
    for size, unit in ((3.6e12, "h"), (6e10, "min"), (1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"
