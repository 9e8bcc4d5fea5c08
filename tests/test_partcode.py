# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts that are written as LLVM's code from their source give what plain Python gives; the rest is Numba's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir
from numba import njit, types
from numba.core.errors import NumbaError

from kevacuate import jit
from kevacuate.hookcompiler import jit_type
from kevacuate.jit import kernel, part, pointers
from kevacuate.kernel.migratetypes import MIGRATE_PCPTYPES
from kevacuate.mm.fields import View
from kevacuate.partcode import PartCode
from kevacuate.recording import DemandChunk
from kevacuate.records import Record, Records, Words, seen_as, words
from kevacuate.recordtypes import view_type
from kevacuate.runs import loop

pytestmark = pytest.mark.skipif(jit.ARRAY_FORM, reason="the parts are Numba's, or plain Python")

ODD = (3, 5, 7)


class Shelf(Record, dtype=np.int32):
    """A record of a number, and of several."""

    height: int
    books: Words = words(4)


class RoomView(NamedTuple):
    """Numbers of several widths, and records."""

    wide: Words
    bytes: Words
    shelf: Records[Shelf]
    out: Words


@seen_as(RoomView)
class Room(NamedTuple):
    """The arrays of a :class:`RoomView`."""

    wide: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.uint8]
    shelf: npt.NDArray[np.int32]
    out: npt.NDArray[np.int64]


@part
def arithmetic(s: RoomView, a: int, b: int) -> int:
    s.out[0], s.out[1] = a // b, a % b
    s.out[2] = (a << 3) + (b >> 2) - a * 5
    s.out[3] = (a & b) | (a ^ 12)
    s.out[4] = -a + ~b
    s.out[5] = max(a, b, 7) - min(a, b)
    s.bytes[1] = a & 127
    s.bytes[1] += 3
    return s.bytes[0] - s.bytes[1]


@part(cold=True)
def conditions(a: int, b: int) -> tuple[int, bool]:
    found = 0
    if a < b and not (a == 3 or b == 9):
        found += 1
    elif a > 5 or b <= 2:
        found += 2
    found += 4 if 0 <= a < b != 8 else 8
    found += 16 if a in ODD else 0
    found += 32 if b not in (1, 2, a) else 0
    both = a > 1 and b > 1
    found += 64 * both
    return found, (a or b) > 4


@part(inline=True)
def loops(s: RoomView, n: int) -> int:
    total = 0
    for i in range(n):
        if i == 4:
            continue
        for j in range(i, 0, -1):
            if j > 6:
                break
            total += j
    for i in range(1, 2 * n, 3):
        total += i
    for odd in (1, n, 9):
        total = 2 * total + odd
    while True:
        total -= n + 5
        if total < 0:
            return total
        s.out[6] += 1


@part(inline=False)
def records(s: RoomView, i: int) -> None:
    shelf = s.shelf[i]
    shelf.height += 2
    shelf.books[1] = shelf.height * 3
    shelf.books[2] -= len_of(s.shelf[0]) + MIGRATE_PCPTYPES
    values = (shelf.height, i, 9)
    s.out[7] = values[i] + values[2]


@part
def len_of(shelf: Shelf) -> int:
    return shelf.height


@part
def widened(a: int) -> int:
    seen = a > 2
    count = True
    if seen:
        count = 5
    return count + seen


@part
def pair(a: int, b: int) -> tuple[int, int]:
    a, b = b, a
    return a, b - 1


@part
def recursive(n: int) -> int:
    return 1 if n < 2 else n * recursive(n - 1)


@part
def halved(a: int) -> int:
    """Numbers with a point are Numba's."""
    return int(a * 0.5)


@kernel
def everything(sa: Room, a: int, b: int, i: int) -> int:
    """All of these."""
    s = pointers(sa)
    total = arithmetic(s, a, b)
    found, more = conditions(a, b)
    s.out[8], s.out[9] = found, more
    s.out[10] = loops(s, i + 3)
    records(s, i)
    s.out[11] = widened(a)
    first, second = pair(a, b)
    return total + 10 * first + 100 * second + recursive(i + 2) + halved(a)


def room() -> Room:
    shelves = np.arange(3 * Shelf.STRIDE, dtype=np.int32)
    return Room(np.zeros(4, np.int64), np.full(2, 200, np.uint8), shelves, np.zeros(12, np.int64))


numbers = st.integers(-(2**40), 2**40) | st.integers(-10, 10)


@given(numbers, numbers.filter(bool), st.integers(0, 2))
def test_a_part_gives_what_plain_python_gives(a: int, b: int, i: int) -> None:
    ours, theirs = room(), room()
    assert everything(ours, a, b, i) == everything.plain(theirs, a, b, i)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.tolist() == other.tolist()


ALONE = """
import sys
sys.path.insert(0, {tests!r})
import test_partcode as here
from kevacuate import jit
here.everything(here.room(), 1, 1, 0)
parts = {{name: one for name, one in vars(here).items() if isinstance(one, jit.Part)}}
print([name for name, one in parts.items() if one._compiled is not None])
"""


def test_only_what_is_not_known_is_numbas(tmp_path: Path) -> None:
    """In a process of its own, with nothing compiled before."""
    script = ALONE.format(tests=str(Path(__file__).parent))
    given = {**os.environ, "KEVACUATE_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=given, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "['halved']\n"


LOWEST = -(2**63)


@kernel
def divided(out: npt.NDArray[np.int64], a: int, b: int) -> None:
    out[0], out[1] = quotient(a, b), remainder(a, b)


@part
def quotient(a: int, b: int) -> int:
    return a // b


@part
def remainder(a: int, b: int) -> int:
    return a % b


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(7, 0, [0, 0]), (LOWEST, -1, [0, 0]), (-7, 2, [-4, 1]), (7, -2, [-4, -1]), (LOWEST, 1, [LOWEST, 0])],
)
def test_divisions_that_plain_python_refuses_or_widens_end_as_numbas(
    a: int, b: int, expected: list[int]
) -> None:
    out = np.zeros(2, np.int64)
    divided(out, a, b)
    assert out.tolist() == expected
    assert expected == [numba_divides(a, b, "//"), numba_divides(a, b, "%")]


def numba_divides(a: int, b: int, sign: str) -> int:
    """What Numba makes of the same part."""
    function = (quotient if sign == "//" else remainder).py_func
    return int(njit(error_model="numpy")(function)(a, b))


def test_the_whole_loop_of_a_replay_is_written_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    by_numba: list[str] = []

    def told(code: PartCode, function: Any) -> None:
        by_numba.append(function.part.py_func.__name__)
        made(code, function)

    made = PartCode._by_numba
    monkeypatch.setattr(PartCode, "_by_numba", told)
    state, rows = ([jit_type(array) for array in arrays] for arrays in (loop.one_block(), loop.NO_ROWS))
    code = PartCode(ir.Module("parts"))
    code.want(loop.replay_row, (view_type(View, state), view_type(DemandChunk, rows), types.int64))
    names = code.write()
    assert by_numba == ["policy_work"]  # which takes the address of a part
    assert len(names) > 350


def test_what_is_wrong_in_a_part_is_told_as_numba_tells_it() -> None:
    with pytest.raises(NumbaError, match="nothing_of_that_name"):
        wrong(1)


@kernel
def wrong(a: int) -> int:
    return faulty(a)


@part
def faulty(a: int) -> int:
    return a + nothing_of_that_name  # noqa: F821


def test_a_part_whose_source_is_not_at_hand_is_numbas() -> None:
    names: dict[str, Any] = {}
    exec("def one_more(a):\n    return a + 1\n", names)
    code = PartCode(ir.Module("parts"))
    code.want(jit.Part(names["one_more"], None, False), (types.int64,))
    code.write()
    assert len(code.libraries) == 1
