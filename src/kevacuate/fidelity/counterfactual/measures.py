# SPDX-License-Identifier: GPL-2.0-or-later
"""What the counterfactual level compares: a measure of a kernel's run, and the same of a replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kevacuate.measure.extfrag import from_movable
from kevacuate.mm import constants as k
from kevacuate.mm.fields import LogRecord
from kevacuate.mm.log import unpack_types

MOMENTS = ("peak", "freed", "end")
"""Labels of the snapshots at which the outcomes describe memory."""

COUNTS = {
    "claims_below_pageblock_order": "claims of movable blocks below pageblock order",
    "claims_whole_block": "whole-block claims of movable blocks",
    "claims_refused": "claims of movable blocks refused",
    "steals_from_movable": "steals from movable",
    "steals_by_movable": "steals by movable",
}
"""Columns that count fallbacks, and what they are called."""

EVACUATIONS = {
    "evac_queued": "evacuations queued",
    "evac_started": "evacuations started",
    "share_with_skip_bit": "share started with the skip bit set",
    "pages_isolated": "pages isolated",
    "pages_reclaimed": "pages reclaimed",
    "pages_migrated": "pages migrated",
    "pages_failed": "pages that failed to migrate",
}
"""Columns that only kernels with the patch fill; the share is computed from two of them."""

AT_A_MOMENT = {
    "blocks_unmovable": "unmovable blocks",
    "blocks_movable": "movable blocks",
    "blocks_reclaimable": "reclaimable blocks",
    "mixed": "mixed blocks",
    "blocks_with_unmovable": "blocks with a page that cannot move",
    "polluted": "polluted blocks",
    "free_pages": "free pages",
    **{f"free_by_order {order}": f"free chunks of order {order}" for order in range(11)},
}
"""Columns of one moment, without its name in front."""


def columns_for(policy_evacuates: bool, moments: tuple[str, ...]) -> dict[str, str]:
    """Column to name of the row, for one policy and the moments that a recording marks."""
    found = dict(COUNTS)
    if policy_evacuates:
        found |= EVACUATIONS
    for label in moments:
        found |= {f"{label}_{column}": f"{name} at {label}" for column, name in AT_A_MOMENT.items()}
    return found


def kernel_value(values: Mapping[str, float], column: str) -> float | None:
    """The measure of a kernel's run; None where its row does not say."""
    if column != "share_with_skip_bit":
        return values.get(column)
    started, marked = values.get("evac_started"), values.get("evac_started_with_skip_bit")
    return marked / started if started and marked is not None else None


def replay_fallbacks(metrics: Mapping[str, Any]) -> dict[str, int]:
    """The counts of fallbacks, from :func:`kevacuate.measure.extfrag.extfrag_metrics`."""
    return {
        "claims_below_pageblock_order": metrics["claims_from_movable"],
        "claims_whole_block": metrics["claims_whole_block_from_movable"],
        "steals_from_movable": metrics["steals_from_movable"],
        "steals_by_movable": metrics["steals_by_movable"],
    }


def replay_counts(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The counts of a whole replay, from :func:`kevacuate.measure.run_metrics`; claims refused are the log's to tell."""
    started = metrics["evacuations_started"]
    return {
        **replay_fallbacks(metrics),
        "evac_queued": metrics["evacuations_queued"],
        "evac_started": started,
        "share_with_skip_bit": metrics["evacuations_started_with_skip_bit"] / started if started else 0.0,
        "pages_isolated": metrics["pages_isolated"],
        "pages_reclaimed": metrics["pages_dropped"],
        "pages_migrated": metrics["pages_migrated"],
        "pages_failed": metrics["pages_failed"],
    }


def replay_moment(found: Mapping[str, Any]) -> dict[str, float]:
    """The measures of one moment of a replay or of a dump, from :func:`kevacuate.measure.moment` or ``state_moment``.

    Without page flags a dump has no measures of what blocks hold.
    """
    held = {
        "mixed": "mixed_blocks",
        "blocks_with_unmovable": "blocks_with_unmovable",
        "polluted": "polluted_blocks",
    }
    return {
        **{f"blocks_{name}": found["blocks"][name] for name in ("unmovable", "movable", "reclaimable")},
        **{column: found[name] for column, name in held.items() if name in found},
        "free_pages": found["free_pages"],
        **{f"free_by_order {order}": int(n) for order, n in enumerate(found["free_by_order"])},
    }


def refused_in(log: np.ndarray) -> int:
    """Claims of movable blocks for unmovable or reclaimable requests that a replay's log shows as refused."""
    claims = LogRecord.table(log[LogRecord.table(log)["kind"] == k.L_EVAC_CLAIM])
    wanted = from_movable(*unpack_types(claims["a"])) & (claims["d"] == 0)
    return int(wanted.sum())
