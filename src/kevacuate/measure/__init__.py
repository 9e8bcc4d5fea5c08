# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics, each with its formula and source, and the results that hold them."""

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
