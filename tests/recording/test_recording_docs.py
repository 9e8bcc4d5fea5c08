# SPDX-License-Identifier: GPL-2.0-or-later
import re
from pathlib import Path
from types import GenericAlias
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.recording.schema import COLUMN_TYPES, EVENT_SPECS, EventKind, column_types
from kevacuate.recording.statefiles import TABLES

TEXT = (Path(__file__).parents[2] / "docs" / "recording-format.md").read_text()


def test_every_kind_is_documented() -> None:
    rows = {int(i): name for i, name in re.findall(r"^\| (\d+) \| (\w+) \|", TEXT, re.MULTILINE)}
    assert rows == {int(spec.kind): name for name, spec in EVENT_SPECS.items()}
    assert set(rows) == {int(kind) for kind in EventKind}


def test_every_column_is_documented() -> None:
    for types in (COLUMN_TYPES, DEMAND_TYPES, *map(column_types, TABLES.values())):
        for name in types:
            assert f"`{name}`" in TEXT, name


def test_column_types_are_read_from_either_form_of_annotation() -> None:
    """NumPy 2.5's NDArray has one argument, the scalar type; before, and in ndarray, a dtype is the second."""

    class Table(NamedTuple):
        before: "np.ndarray[Any, np.dtype[np.uint8]]"
        now: "GenericAlias(list, (np.int16,))"  # type: ignore[valid-type]
        own: "npt.NDArray[np.int64]"

    assert column_types(Table) == {"before": np.uint8, "now": np.int16, "own": np.int64}
