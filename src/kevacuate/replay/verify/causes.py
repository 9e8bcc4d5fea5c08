# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a row of the counterfactual level is outside, as far as the recording itself tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kevacuate.measure.fidelity import Outcome


class Evidence(NamedTuple):
    """What a cause is found from."""

    own: Mapping[str, float]
    """What the recorded run itself came to, by column."""


def cause_of(column: str, row: Outcome, evidence: Evidence) -> str:
    """The cause of a row that is outside."""
    own = evidence.own.get(column)
    if own is not None and not row.accepts[0] <= own <= row.accepts[1]:
        return "the recorded run itself is outside"
    return "unknown"
