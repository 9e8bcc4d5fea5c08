# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a row of the counterfactual level is outside, as far as the recording and the replays themselves tell.

The rules, the first that applies:

1. The recorded run itself is outside on the same side: the row tells what this one run's demand is, not what the model does.
2. Pages that should be free are on the model's per-CPU lists: the recorded kernel's direct compaction and reclaim had drained
   them (drain_all_pages) for requests that failed, and a demand holds no request that failed.
3. Some replays are within, others far outside: the replays differ more among themselves than the kernel's runs do.
4. All replays are off to the same side. What is known not to be modelled and acts on the row is named: reclaim is the recorded
   run's (it frees the objects that the recorded kernel chose, wherever the model has them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kevacuate.measure.fidelity import Outcome


class Evidence(NamedTuple):
    """What a cause is found from."""

    own: Mapping[str, float]
    """What the recorded run itself came to, by column."""
    pcp: Mapping[str, tuple[float, float]]
    """Label of a moment to the pages on per-CPU lists: of the replays (mean), of the recorded run."""


class Cause(NamedTuple):
    """A cause: what kind, and the figures of the row."""

    kind: str
    words: str


def cause_of(column: str, row: Outcome, replays: Sequence[float], evidence: Evidence) -> Cause:
    """The cause of a row that is outside; *replays* are the single replays' values."""
    own = evidence.own.get(column)
    low, high = row.accepts
    if own is not None and (own < low if row.ours < low else own > high):
        return Cause(
            "the recorded run itself is outside on the same side",
            f"the recorded run itself came to {own:g}, outside on the same side: this is its demand, not the model",
        )
    held = evidence.pcp.get(column.removesuffix("_free_pages"))
    if column.endswith("_free_pages") and held is not None and row.ours < low:
        ours, theirs = held
        if ours - theirs > (row.mean - row.ours) / 2:
            return Cause(
                "per-CPU lists that the recorded kernel had drained",
                f"the per-CPU lists hold {ours:.0f} pages, the recorded run's held {theirs:.0f}: it drained them for requests "
                "that failed, which a demand does not hold",
            )
    inside = sum(low <= value <= high for value in replays)
    if inside:
        return Cause(
            "the replays differ more among themselves than the kernel's runs",
            f"{inside} of {len(replays)} replays are within, from {min(replays):g} to {max(replays):g}: their paths part after "
            "the first claims",
        )
    return Cause(
        "all replays are off: reclaim is the recorded run's, not the model's",
        f"all replays are outside, from {min(replays):g} to {max(replays):g}: reclaim frees the objects that the recorded kernel "
        "chose, wherever the model has them",
    )
