# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers as the page carries them: streams of bytes, deflated (zlib) and in base64; page/decode.js is the inverse."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.measure.frames import Steps
from kevacuate.measure.history import KIND, PFN, D, History, T
from kevacuate.mm import constants as k

CLAIMED, QUEUED, ENDED = range(3)
"""What the page marks of a history: a block claimed, an evacuation queued, an evacuation ended."""

_MARKS = ((k.L_EVAC_CLAIM, CLAIMED), (k.L_EVAC_QUEUED, QUEUED), (k.L_EVAC_FINISHED, ENDED))


class Blobs:
    """The streams of a page; each is referred to by its number."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, data: bytes) -> int:
        """Deflate a stream; its number."""
        self.texts.append(base64.b64encode(zlib.compress(data, 6)).decode("ascii"))
        return len(self.texts) - 1

    def varints(self, values: npt.NDArray[Any]) -> int:
        """Numbers from 0 to 2^53 as LEB128, seven bits a byte, lowest first."""
        return self.add(varint(values))


def varint(values: npt.NDArray[Any]) -> bytes:
    """LEB128 of numbers that are not negative."""
    numbers = np.asarray(values, np.uint64)
    size = np.ones(len(numbers), np.int64)
    rest = numbers >> np.uint64(7)
    while rest.any():
        size += rest > 0
        rest >>= np.uint64(7)
    end = np.cumsum(size)
    out = np.zeros(int(end[-1]) if len(end) else 0, np.uint8)
    begin = end - size
    for i in range(int(size.max(initial=0))):
        has = size > i
        part = numbers[has] >> np.uint64(7 * i) & np.uint64(127)
        more = (size[has] > i + 1).astype(np.uint64) << np.uint64(7)
        out[begin[has] + i] = (part | more).astype(np.uint8)
    return out.tobytes()


def planes(values: npt.NDArray[Any]) -> bytes:
    """Low bytes, then high bytes, of 16-bit numbers; bytes as they are."""
    if values.dtype.itemsize == 1:
        return values.tobytes()
    return (values & 255).astype(np.uint8).tobytes() + (values >> 8).astype(np.uint8).tobytes()


def previous_values(steps: Steps) -> npt.NDArray[Any]:
    """What every changed place held before its change."""
    order = np.argsort(steps.place, kind="stable")
    place, value = steps.place[order], steps.value[order]
    before = np.empty_like(steps.value)
    if len(place):
        same = np.concatenate([[False], place[1:] == place[:-1]])
        earlier = np.concatenate([value[:1], value[:-1]])
        before[order] = np.where(same, earlier, steps.first[place])
    return before


def gaps(values: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Differences of ascending numbers within each run ``[offsets[i], offsets[i + 1])``, from 0."""
    out = np.diff(values, prepend=0)
    begins = offsets[:-1][offsets[:-1] < offsets[1:]]
    out[begins] = values[begins]
    return out


def pack_steps(blobs: Blobs, steps: Steps) -> dict[str, Any]:
    """A plane over time: the first moment, then per moment how many places changed, which, and by which XOR.

    XOR undoes itself, so that the page can go back in time as well as on.
    """
    return {
        "size": len(steps.first),
        "bytes": steps.first.dtype.itemsize,
        "first": blobs.add(planes(steps.first)),
        "counts": blobs.varints(np.diff(steps.offsets)),
        "gaps": blobs.varints(gaps(steps.place, steps.offsets)),
        "xor": blobs.add(planes(steps.value ^ previous_values(steps))),
    }


def ascending(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Differences of ascending numbers, the first from 0."""
    return gaps(values, np.array([0, len(values)], np.int64))


def pack_marks(blobs: Blobs, history: History, starts: npt.NDArray[np.int64]) -> dict[str, Any]:
    """What the map marks, by block: per block how many, then their times and what each is (CLAIMED, QUEUED, ENDED).

    Times are microseconds, each as the difference to the one before in its block. A claim that was refused is none.
    """
    order = history.pageblock_order
    records = history.of_kind(*(kind for kind, _ in _MARKS))
    records = records[(records[:, KIND] != k.L_EVAC_CLAIM) | (records[:, D] > 0)]
    first = records[:, PFN] >> order << order
    row = np.searchsorted(starts, first)
    inside = row < len(starts)
    inside[inside] = starts[row[inside]] == first[inside]
    by_block = np.argsort(row[inside], kind="stable")
    records, row = records[inside][by_block], row[inside][by_block]
    counts = np.bincount(row, minlength=len(starts))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    what = np.zeros(64, np.int64)
    for kind, mark in _MARKS:
        what[kind] = mark
    return {
        "marks": len(records),
        "counts": blobs.varints(counts),
        "t": blobs.varints(gaps(records[:, T] // 1000, offsets)),
        "what": blobs.varints(what[records[:, KIND]]),
    }
