# SPDX-License-Identifier: GPL-2.0-or-later
"""Counting decisions, as the buddy and the pcp level do: by kind, and before the recorded kernel's first compaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kevacuate.jit import part
from kevacuate.measure.fidelity import LevelResult, Tally

# Fields of ``facts`` in the books of both levels and of compaction's; each has further ones of its own below these.
F_COMPACTIONS = 12  # compactions begun so far
F_BEFORE = 13  # decisions before the first compaction, and
F_BEFORE_WRONG = 14  # mismatches among them
F_LAST = 15  # number of the event of the last mismatch
F_NUMBER = 16  # of row 0 of the events at hand
FACTS = 17


@part(inline=True)
def decided(b: Any, kind: int, right: bool) -> None:
    """Count a decision."""
    b.tally[2 * kind] += 1
    if b.facts[F_COMPACTIONS] == 0:
        b.facts[F_BEFORE] += 1
        if not right:
            b.facts[F_BEFORE_WRONG] += 1
    if not right:
        b.tally[2 * kind + 1] += 1


def fill_result(result: LevelResult, books: Any, kinds: Sequence[str], inputs: Sequence[str]) -> None:
    """Write what the books counted into *result*: kinds and inputs that occurred, the last mismatch, before compaction."""
    result.kinds = {
        name: Tally(int(books.tally[2 * i]), int(books.tally[2 * i + 1]))
        for i, name in enumerate(kinds)
        if books.tally[2 * i]
    }
    result.inputs = {name: int(n) for name, n in zip(inputs, books.inputs, strict=True) if n}
    result.last_position = int(books.facts[F_LAST]) if result.mismatches else -1
    if books.facts[F_COMPACTIONS]:
        result.until_compaction = Tally(int(books.facts[F_BEFORE]), int(books.facts[F_BEFORE_WRONG]))
