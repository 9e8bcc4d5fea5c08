# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of a demand on a zone: those of a recording (:class:`~kevacuate.recording.DemandChunk`)."""

from __future__ import annotations

import numpy as np

from kevacuate.recording import DemandChunk
from kevacuate.recording.demand import DEMAND_TYPES


def empty_rows(count: int) -> DemandChunk:
    """Columns of *count* zeros."""
    return DemandChunk._make(np.zeros(count, dtype) for dtype in DEMAND_TYPES.values())


def first_rows(rows: DemandChunk, count: int) -> DemandChunk:
    """The first rows; no copies."""
    return DemandChunk._make(column[:count] for column in rows)
