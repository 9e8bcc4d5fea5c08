# SPDX-License-Identifier: GPL-2.0-or-later
"""What the reclaim level came to, in words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.reclaim import books as bk
from kevacuate.fidelity.reclaim.books import Facts
from kevacuate.measure.fidelity import Divergence
from kevacuate.percent import percent

OUTCOMES = ("reclaimed", "activated", "kept")
LISTS = ("inactive_anon", "active_anon", "inactive_file", "active_file")

NOTES = (
    "after a mismatch the kernel's decision is taken over: each is counted once",
    "the lists follow the recorded events, so the moments at which folio batches are drained are inputs",
    "free pages for the marks are exact; the kernel's own count may be 8 pages behind",
)


def shares(tally: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """The level's parts with their exactness."""
    parts = (
        ("wakes and stops of kswapd", bk.TIMELINE),
        ("amounts of each round", (bk.D_PRIORITY, bk.D_DIRECT, bk.D_BATCH, bk.D_SCANNED)),
        ("which folios", (bk.D_FOLIO,)),
        ("what becomes of them", (bk.D_OUTCOME, bk.D_RECLAIMED)),
    )
    found = []
    for name, kinds in parts:
        made = sum(int(tally[2 * kind]) for kind in kinds)
        wrong = sum(int(tally[2 * kind + 1]) for kind in kinds)
        if made:
            found.append(f"{name}: {made - wrong:,} of {made:,} ({percent((made - wrong) / made, 2)})")
    return tuple(found)


def value_words(kind: int, value: int) -> str:
    """What the model or the kernel did, of a kind of decision."""
    if kind == bk.D_WAKE:
        return "kswapd is woken" if value else "kswapd is not woken"
    if kind == bk.D_LOOK:
        return "kswapd goes to sleep" if value else "kswapd begins a run"
    if kind in (bk.D_ROUND, bk.D_DIRECT):
        return "another round" if value else "the end"
    if kind == bk.D_ASKED:
        return f"order {value >> 3}, highest zone index {value & 7}"
    if kind == bk.D_END_ORDER:
        return f"order {value}"
    if kind == bk.D_PRIORITY:
        return f"priority {value}"
    if kind == bk.D_BATCH:
        return "no batch" if value < 0 else f"{value & 63} pages of {LISTS[min(value >> 6, 3)]}"
    if kind in (bk.D_SCANNED, bk.D_RECLAIMED):
        return f"{value} pages"
    if kind == bk.D_FOLIO:
        return "no folio" if value < 0 else f"pfn {value:#x}"
    return OUTCOMES[value] if kind == bk.D_OUTCOME and 0 <= value < len(OUTCOMES) else str(value)


def divergence(facts: Facts) -> Divergence:
    """The first decision that was not the kernel's."""
    kind = int(facts.first_kind)
    return Divergence(
        position=int(facts.first_position),
        ts=int(facts.first_ts),
        what=bk.KINDS[kind],
        model=value_words(kind, int(facts.first_model)),
        kernel=value_words(kind, int(facts.first_kernel)),
    )
