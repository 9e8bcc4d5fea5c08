# SPDX-License-Identifier: GPL-2.0-or-later
"""Knobs of policies: how a knob's text becomes a value, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kevacuate.mm.constants import REGION_AUTO

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
        The field of :class:`kevacuate.mm.layout.EvacuationConfig` or of its ``regions`` that it sets; empty for an input of the
        run, and for a setting.
    setting : str
        The kernel's setting that it stands for: a file under /proc/sys/vm, ``thp_enabled``, ``lru_gen`` or ``memory``, say.
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


def region_order(text: str) -> int:
    """``off``, ``auto``, or an order from 4 to 30."""
    if text in REGION_ORDERS:
        return REGION_ORDERS[text]
    if not 4 <= count(text) <= 30:
        raise ValueError
    return count(text)


REGION_ORDERS = {"off": 0, "auto": REGION_AUTO}
"""Orders of regions that have a name."""


def needed_order(text: str) -> int:
    """``auto``, or an order from 4 to 30."""
    return region_order("auto" if text == "auto" else str(count(text)))


REGIONS = Knob(
    region_order,
    "off (default), auto (1 GiB, less on machines below 16 GiB), or an order from 4 to 30",
    "whether regions are kept, of which order: which are tainted, and how many could be had",
    "region_order",
)
"""A knob of every policy: what is kept changes nothing else."""

KEPT_REGIONS = replace(
    REGIONS, values="off, auto (default: 1 GiB, less on machines below 16 GiB), or an order from 4 to 30"
)
"""The same where they are kept unless that is turned off."""

NEEDED_REGIONS = replace(
    REGIONS,
    convert=needed_order,
    values="auto (default: 1 GiB, less on machines below 16 GiB) or an order from 4 to 30",
    help="of which order regions are",
)
"""The same of a policy that goes by them."""

FULLNESS_HELP = (
    "per cent of a region's pageblocks that are free, from which it is half full, mostly empty, almost empty"
)


def cut_offs(text: str) -> tuple[int, int, int]:
    """Three shares in per cent, joined by +, in order."""
    low, middle, high = (count(part) for part in text.split("+"))
    if not low <= middle <= high <= 100:
        raise ValueError
    return low, middle, high


REGION_FULLNESS = Knob(
    cut_offs, "three shares from 0 to 100 joined by +, default 25+50+75", FULLNESS_HELP, "region_fullness"
)

SKIP_BITS = Knob(
    skip_bits,
    "recorded (default), none, all, or a share of the blocks",
    "input: which blocks carry compaction's skip bit when the replay starts",
)
"""A knob of every policy: it is an input of the run."""

COMMON = {"skip-bits": SKIP_BITS, "regions": REGIONS, "region-fullness": REGION_FULLNESS}
"""Knobs of every policy, beside the kernel's settings."""
