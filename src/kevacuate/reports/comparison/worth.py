# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verdict of the model is worth: how often kernels that were really booted say the same.

``worth.json`` beside this file has the counts. ``docs/generate_fidelity.py`` writes it together with docs/fidelity.md, from every
recording that has enough repeats of real kernels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from statistics import median

from kevacuate.measure.fidelity import BOTH, KERNELS_ONLY, Effect, Verification

FILE = "worth.json"


@dataclass(frozen=True)
class Worth:
    """Effects of policies on measures, in the model and in booted kernels, over all recordings with repeats."""

    recordings: tuple[str, ...]
    """The recordings replayed."""
    rows: int
    """Effects compared: a policy and a measure each."""
    model_differs: int
    """Rows in which the model's replays under the policy differ from those under `mainline`."""
    kernels_too: int
    """Of these, rows in which the booted kernels differ the same way."""
    kernels_only: int
    """Rows in which only the kernels differ."""
    spread: float
    """Standard deviation of replays by that of the stock kernel's boots: the median of the rows under `mainline`."""

    def as_json(self) -> str:
        """The text of ``worth.json``."""
        return json.dumps({**asdict(self), "recordings": list(self.recordings)}, indent=2) + "\n"


def spread_ratios(effects: Sequence[Effect]) -> list[float]:
    """Standard deviation of replays under `mainline` by that of the stock kernel's boots, of each measure once, ascending."""
    of = {row.name: (row.ours.before_sd, row.theirs.before_sd) for row in effects}
    return sorted(ours / theirs for ours, theirs in of.values() if theirs > 0)


def worth_of(results: Sequence[Verification]) -> Worth:
    """Count over the verifications that hold effects."""
    told = [
        (result.recording, level.effects)
        for result in results
        if (level := result.levels.get("counterfactual")) is not None and level.effects
    ]
    rows = [row for _, effects in told for row in effects]
    ratios = sorted(ratio for _, effects in told for ratio in spread_ratios(effects))
    return Worth(
        recordings=tuple(name for name, _ in told),
        rows=len(rows),
        model_differs=sum(row.ours.direction != 0 for row in rows),
        kernels_too=sum(row.agreement == BOTH for row in rows),
        kernels_only=sum(row.agreement == KERNELS_ONLY for row in rows),
        spread=round(median(ratios), 2) if ratios else 0.0,
    )


@cache
def worth() -> Worth:
    """The counts that the package holds."""
    values = json.loads(files("kevacuate.reports.comparison").joinpath(FILE).read_text(encoding="utf-8"))
    return Worth(**{**values, "recordings": tuple(values["recordings"])})


def worth_words() -> str:
    """What a comparison's verdicts are worth, in sentences."""
    known = worth()
    if not known.rows:
        return "All this is said of the model; no booted kernel was held against it."
    loads = f"{len(known.recordings)} recorded load{'' if len(known.recordings) == 1 else 's'}"
    return (
        "All this is said of the model; booted kernels may differ. "
        f"On {loads} the model differed in {known.model_differs:,} of {known.rows:,} rows; the kernels differed the same way in "
        f"{known.kernels_too:,} of these (docs/fidelity.md)."
    )
