# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verdict of the model is worth: which rows it has got right against kernels that were really booted.

``data/trust.json`` is the record. ``docs/generate_trust.py`` makes it from what ``kevacuate verify --level verdict --json`` says
of the demands at hand, and ``docs/generate_fidelity.py`` makes it together with docs/fidelity.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from kevacuate.measure import Comparison
from kevacuate.measure.trustrecord import record

MARK = "°"
"""Stands behind the name of a row that has not earned trust."""

FOOTNOTE = (
    f"{MARK} has not earned trust against booted kernels: the row speaks of the model (docs/fidelity.md)."
)
"""What the mark means."""


def loop_of(comparison: Comparison) -> str:
    """The loop that a comparison was replayed in."""
    loop: dict[str, str] = comparison.baseline.provenance.get("loop", {})
    return loop.get("ran", "open")


ROWS_THAT_DECIDE, ROWS_THAT_DIFFER = (
    ("row that decides", "rows that decide"),
    ("row that differs", "rows that differ"),
)
OUTCOMES_SHOWN, OUTCOMES_THAT_DIFFER = (
    ("outcome", "outcomes"),
    ("outcome that differs", "outcomes that differ"),
)
"""What the rows are that a verdict rests on, one and several: those that decide are other rows than all outcomes."""


def worth_words(deciding: Sequence[str], loop: str, what: tuple[str, str] = ROWS_THAT_DECIDE) -> str:
    """What a verdict that rests on these rows is worth, in sentences; *what* they are called, one and several."""
    known = record()
    total = known.total(loop)
    if not total.asked:
        return f"All this is said of the model; no booted kernel was held against it in {loop} loop."
    earned = sum(known.earned(row_id, loop) for row_id in deciding)
    rows = f"{len(deciding)} {what[0] if len(deciding) == 1 else what[1]}"
    has = f"{earned} of the {rows} {'has' if 1 in (earned, len(deciding)) else 'have'} earned trust against booted kernels."
    false = f"{total.false} {'was' if total.false == 1 else 'were'} false"
    demands = f"{total.demands} recorded demand{'' if total.demands == 1 else 's'}"
    return (
        f"{has if deciding else 'No row decides.'} On {demands} in {loop} loop {total.right} of {total.asked} verdicts on a row "
        f"were the kernels', and {false} (docs/fidelity.md)."
    )
