# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of values in a description: how each is written, what it is read as, and what is said of a wrong one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from kevacuate.errors import KevacuateError
from kevacuate.kernel.gfp import COMPOSED, GFP_BITS

SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
TIMES = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
}  # fmt: skip
PAGE = 4096
"""Bytes of a page: what is described is x86-64."""

MOST_NS = 1 << 55
"""The longest time that is taken: 417 days."""

LEAST_LIFE_NS = 1000
"""The shortest mean life that is taken: a task's rows are 200 ns apart at least (plan.py:ROW_NS)."""

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z%]*)(?:/([a-z]+))?\s*")


class Amount(NamedTuple):
    """An amount of memory: bytes, or a share of the machine's."""

    size: int
    share: float = 0.0

    def pages(self, memory: int) -> int:
        """Pages, of a machine with so many pages."""
        return round(self.share * memory) if self.share else -(-self.size // PAGE)


class Ns(int):
    """A time that was read: ns. Read again it stays what it is, where a plain number is seconds."""


class BytesPerSecond(float):
    """A rate of bytes that was read."""


class Kind(NamedTuple):
    """A kind of value; *read* returns None of what is none."""

    read: Callable[[Any], Any]
    accepted: str
    """What is taken, as the end of a sentence that begins with *give*."""

    def of(self, name: str, value: Any) -> Any:
        """The value of the key *name* as it is used.

        Raises
        ------
        KevacuateError
            It is none of this kind.
        """
        found = self.read(value)
        if found is None:
            raise KevacuateError(f"{name} cannot be {value!r}: give {self.accepted}.")
        return found


def _parts(value: Any) -> tuple[float, str, str] | None:
    """Number, unit and the unit behind a stroke of a text; None if it is none such."""
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    return (float(found[1]), found[2], found[3] or "") if found else None


def _number(value: Any) -> float | None:
    """A finite number that is not negative; None of anything else."""
    good = (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )
    return float(value) if good else None


def _amount(value: Any) -> Amount | None:
    if isinstance(value, Amount):
        return value
    parts = _parts(value)
    if parts is None or parts[2]:
        return None
    number, unit, _ = parts
    if unit == "%":
        return Amount(0, number / 100) if 0 < number <= 400 else None
    return (
        Amount(round(number * SIZES[unit])) if unit in SIZES and 0 < number * SIZES[unit] < 1 << 50 else None
    )


def _bytes(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 < value < 1 << 50 else None
    found = _amount(value)
    return found.size if found and not found.share else None


def _time(value: Any) -> Ns | None:
    if isinstance(value, Ns):
        return value
    parts = _parts(value)
    number = _number(value)
    if parts and parts[1] in TIMES and not parts[2]:
        number = parts[0] * TIMES[parts[1]]
    elif number is not None:
        number *= 10**9
    return Ns(round(number)) if number is not None and number <= MOST_NS else None


def _life(value: Any) -> Ns | None:
    """A time in which an object can be allocated and freed."""
    found = _time(value)
    return found if found is not None and found >= LEAST_LIFE_NS else None


def _rate(value: Any) -> float | None:
    parts = _parts(value)
    if parts and not parts[1] and parts[2] in TIMES:
        return parts[0] * 10**9 / TIMES[parts[2]]
    return _number(value)


def _flow(value: Any) -> BytesPerSecond | None:
    if isinstance(value, BytesPerSecond):
        return value
    parts = _parts(value)
    if parts and parts[1] in SIZES and parts[2] in TIMES:
        return BytesPerSecond(parts[0] * SIZES[parts[1]] * 10**9 / TIMES[parts[2]])
    return None


def _share(value: Any) -> float | None:
    parts = _parts(value)
    number = parts[0] / 100 if parts and parts[1] == "%" and not parts[2] else _number(value)
    return number if number is not None and number <= 1 else None


def _gfp(value: Any) -> int | None:
    """GFP flags of names with strokes between them."""
    known = COMPOSED | {name: 1 << bit for name, bit in GFP_BITS.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 1 << 23 else None
    names = [name.strip() for name in value.split("|")] if isinstance(value, str) else [""]
    found = 0
    for name in names:
        if name not in known:
            return None
        found |= known[name]
    return found


def _cpus(value: Any) -> str | None:
    good = isinstance(value, str) and re.fullmatch(r"all|node\d+|\d+|\d+-\d+", value)
    return str(value) if good else None


AMOUNT = Kind(_amount, "a size such as 2GiB, or a share of the machine's memory such as 30%")
BYTES = Kind(_bytes, "a size such as 128KiB")
TIME = Kind(_time, "a time such as 500us, 2s, 10min, 3h or 1d")
LIFE = Kind(_life, f"a time from {LEAST_LIFE_NS // 1000}us on, such as 500us, 2s or 10min")
RATE = Kind(_rate, "a rate such as 20/s or 3/min")
FLOW = Kind(_flow, "bytes in a time, such as 200MiB/s")
SHARE = Kind(_share, "a share such as 25%, or a number from 0 to 1")
NUMBER = Kind(_number, "a number that is not negative")
SWITCH = Kind(lambda value: value if isinstance(value, bool) else None, "true or false")
NAME = Kind(
    lambda value: value if isinstance(value, str) and value.strip() else None, "a text that is not empty"
)
GFP = Kind(_gfp, "GFP flags such as GFP_KERNEL|__GFP_ZERO")
CPUS = Kind(_cpus, "all, a node such as node1, a CPU such as 3, or a range such as 0-7")


def whole(least: int, most: int) -> Kind:
    """Whole numbers in a range."""

    def read(value: Any) -> int | None:
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return int(value) if good else None

    return Kind(read, f"a whole number from {least} to {most:,}")


def choice(*names: str) -> Kind:
    """One of some words."""
    said = f"{', '.join(names[:-1])} or {names[-1]}"
    return Kind(lambda value: value if isinstance(value, str) and value in names else None, said)


def several(one: Kind, most: int, least: int = 1) -> Kind:
    """A list of values of one kind."""

    def read(value: Any) -> tuple[Any, ...] | None:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            return None
        found = tuple(one.read(item) for item in value)
        return None if any(item is None for item in found) else found

    return Kind(read, f"a list of {least} to {most} values, each {one.accepted}")
