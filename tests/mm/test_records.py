# SPDX-License-Identifier: GPL-2.0-or-later
"""Named fields: their places, their values in every form, and what is refused."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import kevacuate
from kevacuate.jit import kernel, part, pointers
from kevacuate.mm import constants
from kevacuate.mm.fields import Config, PerCpuPages, View, Zone
from kevacuate.mm.layout import (
    NOT_COPIED,
    EvacuationConfig,
    MachineConfig,
    State,
    StateOptions,
    ZoneConfig,
    _copy_named,
    _set_config,
    build_state,
)
from kevacuate.records import Record, Records, Words, record_kinds, seen_as, words

MM = Path(kevacuate.__file__).parent / "mm"


class Narrow(Record, dtype=np.int32):
    """A record of narrow words."""

    first: int
    several: Words = words(3)
    last: int


class SampleView(NamedTuple):
    """What compiled code sees."""

    rows: Records[Narrow]
    one: Narrow
    plain: Words


@seen_as(SampleView)
class Sample(NamedTuple):
    """Arrays."""

    rows: np.ndarray
    one: np.ndarray
    plain: np.ndarray


def sample() -> Sample:
    return Sample(Narrow.new(4), Narrow.new(), np.zeros(4, np.uint8))


@part
def fill(row: Narrow, value: int) -> int:
    """Write every field of a record; what it then holds in sum."""
    row.first = value
    for i in range(3):
        row.several[i] = value + i
    row.several[1] -= 2 * value
    row.last = value > 3
    return row.first + row.several[0] + row.several[1] + row.several[2] + row.last


@kernel
def fill_all(arrays: Sample, value: int) -> int:
    """Fill the third record and the single one."""
    s = pointers(arrays)
    s.plain[1] = 7
    return fill(s.rows[2], value) + 1000 * fill(s.one, -value)


def test_fields_lie_one_behind_the_other() -> None:
    assert Narrow.FIELDS == {"first": (0, 0), "several": (1, 3), "last": (4, 0)}
    assert (5, np.int32) == (Narrow.STRIDE, Narrow.DTYPE)
    assert record_kinds(SampleView) == {"rows": (Narrow, False), "one": (Narrow, True)}


def test_compiled_code_reads_and_writes_the_named_words_and_no_others() -> None:
    arrays = sample()
    assert fill_all(arrays, 5) == (5 + 5 - 4 + 7 + 1) + 1000 * (-5 - 5 + 6 - 3 + 0)
    assert arrays.rows.tolist() == [0] * 10 + [5, 5, -4, 7, 1] + [0] * 5
    assert arrays.one.tolist() == [-5, -5, 6, -3, 0]
    assert arrays.plain.tolist() == [0, 7, 0, 0]


def test_python_reads_and_writes_the_same_words() -> None:
    arrays = sample()
    fill_all(arrays, 5)
    row = Records(Narrow, arrays.rows)[2]
    assert (row.first, list(row.several), row.last) == (5, [5, -4, 7], 1)
    assert repr(row) == "Narrow(first=5, several=[5, -4, 7], last=1)"
    row.several[2], row.last = 70, 8
    assert arrays.rows[13:15].tolist() == [70, 8]
    assert Narrow.table(arrays.rows)["several"][2].tolist() == [5, -4, 70]
    assert Narrow.table(arrays.rows)["last"].tolist() == [0, 0, 8, 0]


@pytest.mark.parametrize("index", [-1, 4])
def test_a_record_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=f"There is no Narrow {index}: there are 4"):
        Records(Narrow, sample().rows)[index]


def test_a_field_that_is_not_declared_is_refused() -> None:
    with pytest.raises(AttributeError):
        Records(Narrow, sample().rows)[0].lost = 1  # type: ignore[attr-defined]


def test_a_states_view_is_its_own_memory() -> None:
    state = build_state(MachineConfig(64, (ZoneConfig(0, 2, 0, 64),), (0, 0), 4, 3, -1))
    view = state.view
    assert isinstance(view, View)
    assert (view.cfg.nr_cpus, len(view.zone), len(view.pcp), len(view.cpu)) == (2, 1, 2, 2)
    view.zone[0].nr_free_pages = 12
    assert state.zone[Zone.FIELDS["nr_free_pages"].offset] == 12
    assert {name: getattr(state, name).dtype for name in ("pcp", "zone")} == {
        "pcp": np.int32,
        "zone": np.int64,
    }
    assert state.pcp.size == 2 * PerCpuPages.STRIDE
    assert state.cfg.size == Config.STRIDE


CHECKED = """
from test_records import *
@kernel
def reach(arrays, row, word):
    return pointers(arrays).rows[row].several[word]
said = []
for row, word in ((3, 2), (4, 0), (-1, 0), (0, 3), (0, -1)):
    try:
        said.append(str(reach(sample(), row, word)))
    except IndexError:
        said.append("refused")
print(*said)
"""


@pytest.mark.parametrize("form", [{"NUMBA_BOUNDSCHECK": "1"}, {"NUMBA_DISABLE_JIT": "1"}])
def test_indices_are_checked_where_bounds_are(form: dict[str, str], tmp_path: Path) -> None:
    here, source = Path(__file__).parent, Path(kevacuate.__file__).parent.parent
    script = tmp_path / "checked.py"
    script.write_text(CHECKED)
    path = os.pathsep.join((str(source), str(here)))
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": path, "KEVACUATE_CACHE_DIR": str(tmp_path), **form},
        capture_output=True,
        text=True,
        check=False,
    )
    last = (
        "refused" if "NUMBA_BOUNDSCHECK" in form else "0"
    )  # a memoryview counts from its end, as Python does
    assert done.stdout.split() == ["0", "refused", "refused", "refused", last], done.stderr


def test_every_array_of_a_state_is_seen_under_its_own_name() -> None:
    assert State._fields == View._fields


@pytest.mark.parametrize("path", sorted(MM.glob("*.py")), ids=lambda path: path.name)
def test_no_file_imports_more_than_twelve_constants(path: Path) -> None:
    names = [
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "kevacuate.mm.constants"
        for alias in node.names
    ]
    assert len(names) <= 12, names


def test_constants_are_no_places_of_fields() -> None:
    names = {name for record in Record.__subclasses__() for name in record.FIELDS}
    assert len(names) > 150
    prefixes = ("Z_", "P_", "C_", "T_", "W_", "I_", "WK_", "KS_", "KC_")
    assert not [name for name in vars(constants) if name.startswith(prefixes)]


@dataclass(frozen=True)
class WithUnknownField(MachineConfig):
    """A machine with a knob that the state knows by another name."""

    proactiveness: int = 20


def test_a_knob_that_the_configuration_lacks_is_refused() -> None:
    """A field of a description that ``cfg`` lacks is an error, and does not stay 0 in silence."""
    cfg = Config(Config.new().data)
    with pytest.raises(LookupError, match=r"WithUnknownField\.proactiveness is neither"):
        _copy_named(cfg, WithUnknownField(4096, (ZoneConfig(0, 2, 0, 4096),)))


def test_every_field_of_the_configuration_is_set() -> None:
    """No field of ``cfg`` keeps what it held before the descriptions were copied; no exception is out of date."""
    unset = -7777
    config = Config.new()
    config[:] = unset
    cfg = Config(config.data)
    _set_config(cfg, MachineConfig(4096, (ZoneConfig(0, 2, 0, 4096),)), EvacuationConfig(), StateOptions())
    assert [name for name in Config.FIELDS if getattr(cfg, name) == unset] == []
    described = {
        one.name for kind in (MachineConfig, EvacuationConfig, StateOptions) for one in dataclass_fields(kind)
    }
    assert described >= NOT_COPIED
