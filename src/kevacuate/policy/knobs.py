# SPDX-License-Identifier: GPL-2.0-or-later
"""Knobs of policies: how a knob's text becomes a value, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST = 1_000_000
"""Largest number a knob takes: with it no time of a step exceeds 2^63 ns."""

MOST_TIMES = 100
"""How often something may be tried."""

SkipBits = str | float


@dataclass(frozen=True)
class Knob:
    """A knob.

    Attributes
    ----------
    convert : callable
        From text to value; raises ValueError or KeyError for any other text.
    values : str
        What it takes, in words.
    help : str
        What it does, in words.
    field : str
        The field of :class:`kevacuate.mm.layout.EvacuationConfig` that it sets; empty for an input of the run, and for a setting.
    setting : str
        The kernel's setting that it stands for: a file under /proc/sys/vm, ``thp_enabled``, ``thp_defrag`` or ``memory``.
    """

    convert: Callable[[str], Any]
    values: str
    help: str
    field: str = ""
    setting: str = ""


def count(text: str) -> int:
    """A whole number from 0 to MOST, in plain digits."""
    if not (text.isascii() and text.isdigit()) or int(text) > MOST:
        raise ValueError
    return int(text)


def times(text: str) -> int:
    """A whole number from 1 to MOST_TIMES, in plain digits."""
    if not 1 <= (value := count(text)) <= MOST_TIMES:
        raise ValueError
    return value


def choice(**values: Any) -> Callable[[str], Any]:
    """One of the named values; ``_`` in a name stands for ``-``."""
    table = {name.replace("_", "-"): value for name, value in values.items()}

    def convert(text: str) -> Any:
        return table[text]

    convert.__doc__ = " or ".join(table)
    return convert


def skip_bits(text: str) -> SkipBits:
    """One of recorded, none, all, or a share of the blocks from 0 to 1."""
    if text in ("recorded", "none", "all"):
        return text
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def nodes(text: str) -> tuple[int, ...]:
    """Node numbers joined by +."""
    return tuple(count(part) for part in text.split("+"))


SKIP_BITS = Knob(
    skip_bits,
    "recorded (default), none, all, or a share of the blocks",
    "input: which blocks carry compaction's skip bit when the replay starts",
)
"""A knob of every policy: it is an input of the run."""
