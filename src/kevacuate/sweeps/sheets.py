# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine's sheet: what of its triage tells it from other machines, in a few figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.measure.triage import FREE_MEMORY, RECOVERING, SAME_BLOCKS, SPREADING

FRAGMENTING = (SPREADING, SAME_BLOCKS, FREE_MEMORY, RECOVERING)
"""Verdicts of machines that fragment."""

RATES = (
    "mixing",
    "whole_block_claims",
    "compactions",
    "direct_compactions",
    "direct_reclaims",
)
"""Figures per hour; ``mixing`` counts claims below pageblock order and steals, of movable pageblocks."""

SHARES = ("late", "steals", "reclaimable", "high_order", "unusable")
"""Figures from 0 to 1: of the mixing, how much came in the last third of the time, was steals, was by reclaimable requests, was
for more than order 3 (PAGE_ALLOC_COSTLY_ORDER); of free memory, how much no huge page could use at the last snapshot."""

COSTLY = 3
"""PAGE_ALLOC_COSTLY_ORDER (include/linux/mmzone.h)."""

MOST_NAMED = 8
"""Requesters and tasks that a sheet keeps."""

_KINDS = ("claims", "steals", "claims_or_steals")


def _mixing(row: Mapping[str, Any]) -> int:
    """Events of a row that took part of a movable pageblock."""
    return sum(int(row[name]) for name in _KINDS)


def sheet_of(triage: Mapping[str, Any]) -> dict[str, Any]:
    """The sheet of a triage (:func:`kevacuate.observe.triage.triage_recording`), as JSON values; None where it is not known."""
    seconds = float(triage["seconds"])
    rows = triage["requesters"]
    mixing = sum(_mixing(row) for row in rows)
    stalls = triage["stalls"]
    counts = {
        "mixing": mixing,
        "whole_block_claims": int(triage["claims_whole_block_from_movable"]),
        "compactions": int(triage["compactions"]),
        "direct_compactions": stalls["direct_compaction"]["count"] if stalls else None,
        "direct_reclaims": stalls["direct_reclaim"]["count"] if stalls else None,
    }
    late = sum(int(triage["late"][name]) for name in _KINDS)
    steals = sum(int(row["steals"]) for row in rows)
    told = triage["claims_told_from_steals"]
    shots = triage["snapshots"]
    unusable = shots[-1]["unusable_free_index"] if shots else None
    return {
        "kernel": triage["kernel"],
        "verdict": triage["verdict"],
        "seconds": seconds,
        "gib": triage["managed_pages"] * 4096 / (1 << 30),
        "lost": bool(triage["lost_events"]),
        "trend": triage["unusable_free_index_change"],
        **{
            name: None if count is None or not seconds else count * 3600 / seconds
            for name, count in counts.items()
        },
        "late": late / mixing if mixing else None,
        "steals": steals / mixing if mixing and told else None,
        "reclaimable": _part(rows, mixing, lambda row: row["type"] == "reclaimable"),
        "high_order": _part(rows, mixing, lambda row: row["order_asked"] > COSTLY),
        "unusable": None if unusable is None else unusable / 1000,
        "requesters": [
            {"type": row["type"], "order": row["order_asked"], "gfp": row["gfp"], "mixing": _mixing(row)}
            for row in rows[:MOST_NAMED]
            if _mixing(row)
        ],
        "tasks": _tasks(triage),
    }


def _part(rows: Sequence[Mapping[str, Any]], mixing: int, wanted: Any) -> float | None:
    """The share of the mixing that some requesters have."""
    return sum(_mixing(row) for row in rows if wanted(row)) / mixing if mixing else None


def _tasks(triage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks by name, those without a name left out; numbers of kernel threads (``kworker/0:1``) are taken off."""
    names = triage["task_names"]
    found: dict[str, int] = {}
    for row in triage["tasks"]:
        name = str(names.get(str(row["pid"]), "")).partition("/")[0]
        if name and _mixing(row):
            found[name] = found.get(name, 0) + _mixing(row)
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [{"name": name, "mixing": count} for name, count in ranked[:MOST_NAMED]]


def vectors(sheets: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """The sheets as points: float64[machines, figures]. Two points a distance of 1 apart differ by a factor of ten in a rate, or
    wholly in a share.

    A rate counts as log10(1 + per hour). What is not known is the median of those that know it, so that it sets nobody apart.
    """
    columns = []
    for name in (*RATES, *SHARES):
        known = np.array([np.nan if one[name] is None else one[name] for one in sheets], np.float64)
        column = np.log10(1 + known) if name in RATES else known
        here = column[~np.isnan(column)]
        columns.append(np.where(np.isnan(column), np.median(here) if here.size else 0.0, column))
    return np.stack(columns, axis=1)
