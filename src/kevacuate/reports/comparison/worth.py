# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verdict of the model is worth: which rows it has got right against kernels that were really booted.

``data/trust.json`` is the record. ``docs/generate_trust.py`` makes it from what ``kevacuate verify --level verdict --json`` says
of the demands at hand, and ``docs/generate_fidelity.py`` makes it together with docs/fidelity.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from kevacuate.measure import Comparison

FILE = "trust.json"
"""In the package's ``data``."""

LEAST_DEMANDS = 2
"""A row earns trust on so many recorded demands at least."""

MARK = "°"
"""Stands behind the name of a row that has not earned trust."""

FOOTNOTE = (
    f"{MARK} has not earned trust against booted kernels: the row speaks of the model (docs/fidelity.md)."
)
"""What the mark means."""


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


def loop_of(comparison: Comparison) -> str:
    """The loop that a comparison was replayed in."""
    loop: dict[str, str] = comparison.baseline.provenance.get("loop", {})
    return loop.get("ran", "open")


def worth_words(deciding: Sequence[str], loop: str) -> str:
    """What a verdict that rests on these rows is worth, in sentences."""
    known = record()
    total = known.total(loop)
    if not total.asked:
        return f"All this is said of the model; no booted kernel was held against it in {loop} loop."
    earned = sum(known.earned(row_id, loop) for row_id in deciding)
    rows = "1 row that decides" if len(deciding) == 1 else f"{len(deciding)} rows that decide"
    has = f"{earned} of the {rows} {'has' if 1 in (earned, len(deciding)) else 'have'} earned trust against booted kernels."
    false = f"{total.false} {'was' if total.false == 1 else 'were'} false"
    demands = f"{total.demands} recorded demand{'' if total.demands == 1 else 's'}"
    return (
        f"{has if deciding else 'No row decides.'} On {demands} in {loop} loop {total.right} of {total.asked} verdicts on a row "
        f"were the kernels', and {false} (docs/fidelity.md)."
    )
