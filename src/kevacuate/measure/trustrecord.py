# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of the model's verdicts against kernels that were really booted: ``data/trust.json``, and when a row earns trust.

``docs/generate_trust.py`` makes it (its ``record_of``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

FILE = "trust.json"
"""In the package's ``data``."""

LEAST_DEMANDS = 2
"""A row earns trust on so many recorded demands at least."""


@dataclass(frozen=True)
class RowRecord:
    """How often the model was right about one row, in one loop."""

    demands: int
    """Recorded demands whose kernels were booted again and again."""
    asked: int
    """Verdicts held against theirs: one a demand and patched kernel."""
    right: int
    """Those that were the kernels', with an effect inside their 95 % interval. Of what only a patched kernel does, the level."""
    false: int
    """Those that the kernels contradict."""

    @property
    def earned(self) -> bool:
        """Whether every verdict was right, on LEAST_DEMANDS demands at least."""
        return self.demands >= LEAST_DEMANDS and self.right == self.asked


@dataclass(frozen=True)
class Record:
    """The record of the level `verdict`."""

    demands: tuple[dict[str, Any], ...]
    """Of each demand: recording, digest, workload, loop, replays of each policy, boots of each kernel."""
    rows: Mapping[str, Mapping[str, RowRecord]]
    """By the row's id and the loop."""

    def of(self, row_id: str, loop: str) -> RowRecord:
        """The record of one row; of a row that was never held against a kernel, zeros."""
        return self.rows.get(row_id, {}).get(loop, RowRecord(0, 0, 0, 0))

    def earned(self, row_id: str, loop: str) -> bool:
        """Whether the row has earned trust in this loop."""
        return self.of(row_id, loop).earned

    def total(self, loop: str) -> RowRecord:
        """All rows together; its demands are those of the loop."""
        told = [by_loop[loop] for by_loop in self.rows.values() if loop in by_loop]
        demands = sum(demand["loop"] == loop for demand in self.demands)
        return RowRecord(
            demands, sum(r.asked for r in told), sum(r.right for r in told), sum(r.false for r in told)
        )

    def as_json(self) -> str:
        """The text of the file."""
        rows = {
            name: {loop: asdict(found) for loop, found in sorted(by_loop.items())}
            for name, by_loop in sorted(self.rows.items())
        }
        return json.dumps({"demands": list(self.demands), "rows": rows}, indent=1) + "\n"


@cache
def record() -> Record:
    """The record that the package holds."""
    values = json.loads(files("kevacuate").joinpath("data", FILE).read_text(encoding="utf-8"))
    rows = {
        name: {loop: RowRecord(**found) for loop, found in by_loop.items()}
        for name, by_loop in values["rows"].items()
    }
    return Record(tuple(values["demands"]), rows)
