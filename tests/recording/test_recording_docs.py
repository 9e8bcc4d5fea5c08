# SPDX-License-Identifier: GPL-2.0-or-later
import re
from pathlib import Path

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
