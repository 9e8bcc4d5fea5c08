# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's first divergence and its notes, as people read them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.tuning import books as bk
from kevacuate.measure.fidelity import Divergence
from kevacuate.mm.layout import State


def divergence(first: npt.NDArray[np.int64]) -> Divergence:
    """The first mismatch in words."""
    v = [int(x) for x in first]
    kind = v[bk.V_KIND]
    what = f"{bk.KINDS[kind]}, CPU {v[bk.V_CPU]}, zone {v[bk.V_ZONE]}"
    if kind == bk.D_REFILL:
        model = f"{v[bk.V_MODEL]} chunks, with count {v[bk.V_COUNT]} and high {v[bk.V_HIGH]}"
        kernel = f"{v[bk.V_KERNEL]} chunks of order {v[bk.V_FREE_COUNT]}"
    elif kind == bk.D_DRAIN:
        flags = v[bk.V_ACTIVE]
        zone = "RECLAIM_ACTIVE" if flags & 1 else "BELOW_HIGH" if flags & 2 else "no zone flag"
        model = f"{v[bk.V_MODEL]} pages, with count {v[bk.V_COUNT]}, high {v[bk.V_HIGH]}, free_count {v[bk.V_FREE_COUNT]}, {zone}"
        kernel = f"{v[bk.V_KERNEL]} pages"
    elif kind == bk.D_DECAY:
        model, kernel = f"{v[bk.V_MODEL]} pages", f"{v[bk.V_KERNEL]} pages"
    else:
        model, kernel = f"{v[bk.V_MODEL]}, with count {v[bk.V_COUNT]}", f"{v[bk.V_KERNEL]}"
    return Divergence(v[bk.V_POSITION], v[bk.V_TS], what, model, kernel)


def notes(
    state: State,
    books: bk.TuningBooks,
    quiet: int,
    skipped: int,
    phase: int,
    fits: int,
    wrong: npt.NDArray[np.int64],
) -> tuple[str, ...]:
    """What a reader must know."""
    lines = [
        f"{quiet:,} frees that drained neither in the model nor in the kernel are not counted as decisions",
        "pcp->count follows the recorded refills and drains after each has been compared, so that an error does not spread",
        f"the decay's phase was fitted. {phase * bk.PHASE_NS / 1e9:.3f} s past every fourth second of the recording's clock has "
        f"the fewest mismatches, {int(wrong[0]):,}, as have {fits - 1} phases beside it. The median of all {bk.PHASES} has "
        f"{int(np.median(wrong)):,}, the worst {int(wrong[-1]):,}",
        "a decay that drains nothing is not seen. It happens at the fitted phase, or up to 50 ms later if a free that has been "
        "compared shows so. A decay that drains happens at its first recorded drain, "
        "also where the worker is late. One that should have drained and did not until the next tick has not happened",
        "kswapd counts as active until balance_pgdat ends, or until it wakes kcompactd there: the end's event may come late",
    ]
    if skipped:
        lines.append(
            f"nothing is decided in the {skipped:,} events before the first dump with per-CPU lists: those of boot are others"
        )
    lines += _by_what_was_recorded(books)
    if state.view.cfg.nr_zones > 1:
        lines.append(
            "that a zone's list is tried is an input (gt_rmq 0), also where the refill then brings nothing"
        )
    if state.view.cfg.nr_nodes > 1:
        lines.append(
            "the idle lists of a zone of another node are drained every few seconds (pcp->expire): the model "
            "does not, so those drains are mismatches"
        )
    return tuple(lines)


def _by_what_was_recorded(books: bk.TuningBooks) -> list[str]:
    """What follows from the kinds of events there are."""
    lines = []
    if not books.facts[bk.F_VMSCAN]:
        lines.append(_kswapd(books))
    if books.facts[bk.F_INSERTIONS]:
        lines.append(
            "a page that a task has taken before its mm_page_alloc shows is known by the count at an insertion (gt_rmq 5)"
        )
    else:
        lines.append(
            "insertions (gt_rmq 5) were not recorded: a batched free is inserted at mm_page_free_batched, any other at "
            "mm_page_free. A page taken before its mm_page_alloc shows is counted too long, unless a compared free shows so"
        )
    if not books.facts[bk.F_LISTS]:
        lines.append(
            "list operations (gt_list) were not recorded: NR_FREE_PAGES follows what is taken, drained, freed, isolated"
        )
    return lines


def _kswapd(books: bk.TuningBooks) -> str:
    if not books.facts[bk.F_KSWAPD]:
        return "balance_pgdat was not recorded, and no task shows itself as kswapd: only drains show that it is active"
    return (
        "balance_pgdat was not recorded. Kswapd counts as active from its first batched free to its last, over gaps of 30 ms "
        "at most. It then gives the boost back, and a free that has been compared may show otherwise"
    )
