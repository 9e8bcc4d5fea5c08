# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the counterfactual level: when a row decides, and when it is within."""

from __future__ import annotations

import statistics
from collections import Counter

from kevacuate.fidelity.counterfactual import measures
from kevacuate.measure.fidelity import Outcome

DEVIATIONS = 2.0
"""How many standard deviations from the kernels' mean a row may be."""

LEAST_RUNS = 3
"""Kernel runs below which a row is informational."""

SHARES = (measures.EVACUATIONS["share_with_skip_bit"],)
"""Rows that are no counts."""

LEAST_SPREAD = 0.5
"""A standard deviation is taken as at least this: counts are whole, and six equal runs do not bind a seventh."""

WITHIN, OUTSIDE, INFORMATIONAL = "within", "outside", "informational"


def outcome(policy: str, name: str, theirs: list[float], ours: list[float]) -> Outcome:
    """One row: real runs against replays, verdict by the rules of this module, no cause."""
    mean, sd = _mean_sd(theirs)
    our_mean, our_sd = _mean_sd(ours)
    reach = DEVIATIONS * (sd if name in SHARES else max(sd, LEAST_SPREAD))
    accepts = (max(mean - reach, 0.0), mean + reach)
    decides = len(theirs) >= LEAST_RUNS and mean - reach > 0
    inside = accepts[0] <= our_mean <= accepts[1]
    verdict = (WITHIN if inside else OUTSIDE) if decides else INFORMATIONAL
    z = (our_mean - mean) / sd if sd > 0 else None
    return Outcome(policy, name, len(theirs), mean, sd, our_mean, our_sd, len(ours), z, accepts, verdict)


def _mean_sd(values: list[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def repeats_outside(theirs: list[float], name: str) -> tuple[int, int]:
    """(outside, decided): each real run held against the others as the replay is held against them all."""
    verdicts = Counter(
        outcome("", name, theirs[:i] + theirs[i + 1 :], [value]).verdict for i, value in enumerate(theirs)
    )
    return verdicts[OUTSIDE], verdicts[OUTSIDE] + verdicts[WITHIN]
