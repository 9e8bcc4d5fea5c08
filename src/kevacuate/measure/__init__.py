# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics, each with its formula and source, and the results that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kevacuate._lazy import handed_on

if TYPE_CHECKING:
    from kevacuate.measure.metrics import (
        fragmentation_index,
        moment,
        run_metrics,
        so_far,
        unusable_free_index,
    )
    from kevacuate.measure.results import Comparison, Run, prices

__all__ = [
    "Comparison",
    "Run",
    "fragmentation_index",
    "moment",
    "prices",
    "run_metrics",
    "so_far",
    "unusable_free_index",
]

_HOMES = {
    "Comparison": "kevacuate.measure.results",
    "Run": "kevacuate.measure.results",
    "fragmentation_index": "kevacuate.measure.metrics",
    "moment": "kevacuate.measure.metrics",
    "prices": "kevacuate.measure.results",
    "run_metrics": "kevacuate.measure.metrics",
    "so_far": "kevacuate.measure.metrics",
    "unusable_free_index": "kevacuate.measure.metrics",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    return handed_on(__name__, _HOMES, name)


def __dir__() -> list[str]:
    """The names that are handed on."""
    return sorted(__all__)
