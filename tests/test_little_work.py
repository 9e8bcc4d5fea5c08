# SPDX-License-Identifier: GPL-2.0-or-later
"""Little work is done in plain Python, more in compiled code, by the same source: both give the same."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kevacuate import jit
from kevacuate.demand import pagekinds, reconstruct
from kevacuate.demand.build import build_demand
from kevacuate.jit import kernel, part, pointers, run
from kevacuate.observe import pagebooks
from kevacuate.observe.info import about_recording
from kevacuate.recording import Recording, decode

DATA = Path(__file__).parent / "data"
pytestmark = pytest.mark.skipif(jit.JIT_DISABLED, reason="all is plain Python")


class Column(NamedTuple):
    """One array."""

    x: np.ndarray


@part
def _twice(value: int) -> int:
    return 2 * value


@kernel(plain_work=5)
def fill(column: Column, value: int) -> int:
    """Write 0, 2, 4 and so on, then twice *value* into the last cell."""
    x = pointers(column).x
    for i in range(4):
        x[i] = _twice(i)
    x[4] = _twice(value)
    return x[3]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> jit.EntryPoint:
    """The entry point, of which nothing is used up or compiled."""
    monkeypatch.setattr(jit, "cache_dir", lambda: str(tmp_path))
    return jit.EntryPoint(fill.py_func, 5)


def test_little_is_done_without_compiling_and_more_is_compiled(fresh: jit.EntryPoint) -> None:
    for work, compiled in ((3, False), (2, False), (1, True), (0, True)):
        column = Column(np.zeros(5, np.int64))
        assert run(fresh, work, column, 7) == 6
        assert column.x.tolist() == [0, 2, 4, 6, 14]
        assert (fresh._compiled is not None) == compiled


def test_less_is_little_where_machine_code_is_kept(
    fresh: jit.EntryPoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEVACUATE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jit, "cache_dir", lambda: str(tmp_path / "compiled-0"))
    (tmp_path / "compiled-0").mkdir()
    assert not fresh._kept_once()
    fresh(Column(np.zeros(5, np.int64)), 1)
    again = jit.EntryPoint(fill.py_func, 8)
    assert again._kept_once()
    assert again.little(1, (Column(np.zeros(5, np.int64)), 1)) == (True, 6)
    assert again.little(1, (Column(np.zeros(5, np.int64)), 1)) == (False, None)


def test_what_plain_python_cannot_end_is_undone_and_compiled(fresh: jit.EntryPoint) -> None:
    column = Column(np.full(5, 9, np.int8))
    seen = []
    fresh._compiled = None
    compiled = fresh.compiled

    def watched(*arguments: object) -> int:
        seen.append(column.x.tolist())
        return int(compiled(*arguments))

    fresh._compiled = None
    fresh.__class__ = type("Watched", (jit.EntryPoint,), {"compiled": property(lambda _: watched)})
    assert (
        run(fresh, 1, column, 100) == 6
    )  # 200 does not fit in int8: plain Python says so, machine code wraps
    assert seen == [[9] * 5]
    assert column.x.tolist() == [0, 2, 4, 6, -56]


def test_an_error_of_the_function_is_not_lost(fresh: jit.EntryPoint) -> None:
    with pytest.raises(Exception, match="x"):
        run(fresh, 1, NamedTuple("Other", [("y", np.ndarray)])(np.zeros(5)), 1)


ENTRIES = (
    decode.decode_block,
    pagebooks.enter_events,
    pagekinds.draw_rows,
    pagekinds.draw_again,
    reconstruct.consume,
    reconstruct.finish,
)


@pytest.mark.parametrize("name", ["raw-1cpu", "one-cpu.kev", "raw-2cpu"])
def test_both_read_and_reconstruct_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for work in (1 << 40, 0):
        for entry in ENTRIES:
            monkeypatch.setattr(entry, "_plain_work", work)
            monkeypatch.setattr(entry, "_compiled", None)
        recording = Recording.open(DATA / name)
        events = [np.concatenate(columns) for columns in zip(*recording.events(), strict=True)]
        demand = build_demand(recording)
        rows = [np.concatenate(columns) for columns in zip(*demand.chunks(), strict=True)]
        said.append(
            (about_recording(recording), demand.quality, [(c.dtype, c.tobytes()) for c in events + rows])
        )
        assert (reconstruct.consume._compiled is None) == (work > 0)
    assert said[0] == said[1]
