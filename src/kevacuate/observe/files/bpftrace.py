# SPDX-License-Identifier: GPL-2.0-or-later
"""What bpftrace's maps hold: each by its keys, whatever they are; bpftrace names neither them nor the probe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from kevacuate.kernelfiles.bpftrace import parts
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread
from kevacuate.observe.files.each import each

MOST_ELEMENTS = 1 << 18
"""Elements and buckets kept; later ones are counted."""

ROWS = 100
"""Maps, elements of a map, values of a key, and histograms in the answer."""


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """The maps and histograms of each file.

    Parameters
    ----------
    files : sequence of TextFile
        What bpftrace printed.
    progress : callable, optional
        Called with (files done, files in all).

    Returns
    -------
    dict
        ``kind``, ``files``, ``advice`` (none: what was counted is not printed), and ``outputs``: one dict a file with
        ``maps`` (each
        with its ``sum``, its ``elements`` by value, and ``keys``: for each place in the key the sums by its values),
        ``histograms``
        (``count``, ``buckets`` of [least, first above, count], ``median``: the bucket that holds it), ``repeated``
        (elements printed
        again: the last value counts), ``lines_not_read`` and ``left_out``.

    Raises
    ------
    KevacuateError
        A file cannot be read, or does not decompress.

    """
    outputs = each(files, _output, progress)
    return {"kind": "bpftrace", "files": [file.name for file in files], "outputs": outputs, "advice": []}


def _output(file: TextFile) -> dict[str, Any]:
    """The answer of one file."""
    unread, repeated, left_out = Unread(), 0, 0
    kept: dict[tuple[Any, ...], int] = {}
    for one in parts(file, unread):
        key = one[:-1]
        repeated += key in kept
        if key in kept or len(kept) < MOST_ELEMENTS:
            kept[key] = one[-1]
        else:
            left_out += 1
    maps: dict[str, dict[tuple[str, ...], int]] = {}
    histograms: dict[tuple[str, tuple[str, ...]], dict[tuple[int | None, int | None], int]] = {}
    for (name, at, *bounds), value in kept.items():
        if bounds:
            histograms.setdefault((name, at), {})[bounds[0], bounds[1]] = value
        else:
            maps.setdefault(name, {})[at] = value
    return {
        "file": file.name,
        "maps": [_map(name, elements) for name, elements in sorted(maps.items()) if elements][:ROWS],
        "histograms": [
            _histogram(name, key, buckets) for (name, key), buckets in sorted(histograms.items()) if buckets
        ][:ROWS],
        "repeated": repeated,
        "lines_not_read": unread.lines,
        "left_out": left_out,
    }


def _map(name: str, elements: dict[tuple[str, ...], int]) -> dict[str, Any]:
    """A map: its elements, largest first, and the sums over each place in its key."""
    ranked = sorted(elements.items(), key=lambda item: (-item[1], item[0]))
    sums: list[Counter[str]] = []
    for key, value in ranked:
        for place, part in enumerate(key):
            if place == len(sums):
                sums.append(Counter())
            sums[place][part] += value
    return {
        "name": f"@{name}",
        "sum": sum(elements.values()),
        "elements_in_all": len(elements),
        "elements": [{"key": list(key), "value": value} for key, value in ranked[:ROWS]],
        "keys": [
            [
                {"value": part, "sum": n}
                for part, n in sorted(place.items(), key=lambda item: (-item[1], item[0]))[:ROWS]
            ]
            for place in sums
        ],
    }


def _histogram(
    name: str, key: tuple[str, ...], buckets: dict[tuple[int | None, int | None], int]
) -> dict[str, Any]:
    """A histogram, and the bucket in which its median lies."""
    ordered = sorted(buckets.items(), key=lambda item: (item[0][0] is not None, item[0][0] or 0))
    total, before, median = sum(buckets.values()), 0, None
    for bounds, count in ordered:
        before += count
        if median is None and 2 * before >= total > 0:
            median = list(bounds)
    return {
        "name": f"@{name}",
        "key": list(key),
        "count": total,
        "buckets": [[low, high, count] for (low, high), count in ordered[:ROWS]],
        "median": median,
    }
