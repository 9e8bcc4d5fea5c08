# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps and histograms as bpftrace prints them when a script ends, or by ``print()``.

``@name[key, key]: value`` is an element of a map; ``@name[key]:`` above lines like ``[1K, 2K) 12 |@@@|`` is a histogram; a stack
as a key is printed on lines of its own. bpftrace prints neither the names of keys nor the probe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from kevacuate.kernelfiles.allocator_frames import holder_of
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread

MOST_KEY = 1000
"""Characters of a key that are kept."""

MOST_FRAMES = 128
"""Lines of a stack that are kept."""

_HEAD = re.compile(r"^Attach(?:ing|ed) \d+ probes?", re.MULTILINE)
_ELEMENT = re.compile(
    r"^@(\w{0,80})(?:\[(.{0,4000}?)\])?: (-?\d{1,20}|count \d{1,20}, average -?\d{1,20}, total -?\d{1,20})$"
)
_HISTOGRAM = re.compile(r"^@(\w{0,80})(?:\[(.{0,4000}?)\])?: *$")
_BUCKET = re.compile(
    r"^(?:\[(-?\d{1,18}[KMGTPE]?)(?:, (-?\d{1,18}[KMGTPE]?|\.\.\.)[)\]]|\])|\(\.\.\., (-?\d{1,18}[KMGTPE]?)[)\]]) +(\d{1,18}) \|"
)
_OPENED = re.compile(r"^@(\w{0,80})\[ *$")
_CLOSED = re.compile(r"^ *(?:, (.{0,400}))?\]: (-?\d{1,20})$")
_COUNTED = re.compile(r"count (\d+)")
_UNITS = {unit: 1 << 10 * (power + 1) for power, unit in enumerate("KMGTPE")}


class Element(NamedTuple):
    """One element of a map."""

    map: str
    key: tuple[str, ...]
    """The parts of the key; of a stack the function that asked."""
    value: int
    """Its value; of a statistic, how often."""


class Bucket(NamedTuple):
    """One line of a histogram."""

    map: str
    key: tuple[str, ...]
    low: int | None
    """The least value; None: as low as can be."""
    high: int | None
    """The first value above; None: as high as can be."""
    found: int
    """How many values."""


def looks_like_bpftrace(file: TextFile) -> bool:
    """Whether a file begins as bpftrace's output does, or holds its maps."""
    return bool(_HEAD.search(file.head)) or any(
        _ELEMENT.match(line) or _HISTOGRAM.match(line) or _OPENED.match(line)
        for line in file.head.splitlines()
    )


def _key(text: str | None) -> tuple[str, ...]:
    return tuple(text[:MOST_KEY].split(", ")) if text else ()


def parts(file: TextFile, unread: Unread) -> Iterator[Element | Bucket]:
    """Every element and bucket, in the file's order.

    Raises
    ------
    KevacuateError
        The file cannot be read, or does not decompress.

    """
    histogram: tuple[str, tuple[str, ...]] | None = None
    stack: tuple[str, list[str]] | None = None
    for line in file.lines():
        if stack is not None:
            if found := _CLOSED.match(line):
                asked = holder_of([name.partition("+")[0] for name in stack[1]])
                yield Element(stack[0], (asked, *_key(found[1])), int(found[2]))
                stack = None
            elif len(stack[1]) < MOST_FRAMES and line.strip():
                stack[1].append(line.strip()[:200])
        elif found := _ELEMENT.match(line):
            counted = _COUNTED.match(found[3])
            yield Element(found[1], _key(found[2]), int(counted[1] if counted else found[3]))
        elif found := _OPENED.match(line):
            stack = (found[1], [])
        elif found := _HISTOGRAM.match(line):
            histogram = (found[1], _key(found[2]))
        elif histogram is not None and (found := _BUCKET.match(line)):
            yield Bucket(*histogram, *_bounds(found), int(found[4]))
        elif line.strip() and not _HEAD.match(line) and line.strip() != "^C":
            unread.lines += 1


def _bounds(found: re.Match[str]) -> tuple[int | None, int | None]:
    """The least value of a bucket and the first above it."""
    if found[3]:
        return None, _number(found[3])
    low = _number(found[1])
    if found[2] is None:
        return low, low + 1
    return low, None if found[2] == "..." else _number(found[2])


def _number(text: str) -> int:
    """A number with a unit of 1,024."""
    return int(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else int(text)
