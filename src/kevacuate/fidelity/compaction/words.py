# SPDX-License-Identifier: GPL-2.0-or-later
"""The first divergence of the compaction level, in words."""

from __future__ import annotations

from typing import Any

from kevacuate.fidelity.compaction import books as bk
from kevacuate.kernel.compaction import RESULTS
from kevacuate.kernel.hooks import ListOp
from kevacuate.measure.fidelity import Divergence
from kevacuate.mm import constants as k

LIST_OPS = {
    ListOp.DELETE: "deleted from",
    ListOp.ROTATE_FIRST: "now first of",
    ListOp.ROTATE_LAST: "now last of",
}
AFTER = ("the next round", "another scan of the block", "the end")


def decision_words(kind: int, value: int) -> str:
    """A decision's number, as :func:`.steps.judge` compares them, as people read it."""
    if kind == bk.D_DEFERRAL:
        considered, shift, failed = value >> 12, value >> 6 & 63, value & 63
        return f"considered {considered}, defer_shift {shift}, order_failed {failed}"
    if kind == bk.D_AFTER:
        return AFTER[value] if 0 <= value < len(AFTER) else str(value)
    if value < 0:
        return "nothing"
    if kind == bk.D_LIST:
        op, order, mt = value >> 7 & 7, value >> 3 & 15, value & 7
        name = k.MIGRATE_NAMES[mt] if mt < len(k.MIGRATE_NAMES) else f"type {mt}"
        did = LIST_OPS.get(ListOp(op), f"operation {op} on") if op <= max(ListOp) else f"operation {op} on"
        return f"pfn {value >> 10:#x} {did} list order {order} {name}"
    if kind == bk.D_FOLIO:
        return f"pfn {value >> 4:#x} order {value & 15}"
    if kind in (bk.D_FINISHED, bk.D_RESULT, bk.D_WANTED):
        return RESULTS[value] if value < len(RESULTS) else str(value)
    return f"{value:#x}"


def divergence_of(facts: Any) -> Divergence | None:
    """The books' first divergence; None if there is none."""
    if not facts[bk.F_DIVERGED]:
        return None
    kind = int(facts[bk.F_FIRST_KIND])
    return Divergence(
        position=int(facts[bk.F_FIRST_ROW]),
        ts=int(facts[bk.F_FIRST_TS]),
        what=bk.KINDS[kind],
        model=decision_words(kind, int(facts[bk.F_FIRST_MODEL])),
        kernel=decision_words(kind, int(facts[bk.F_FIRST_KERNEL])),
    )
