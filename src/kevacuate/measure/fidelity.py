# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verification against a recorded kernel comes to: levels, decisions, divergences."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from kevacuate.measure.intervals import Difference, Sample, errors_apart
from kevacuate.measure.permutation import LEVEL

LEVELS = ("buddy", "pcp", "tuning", "evacuation", "compaction", "reclaim", "verdict")
"""The levels of verification, from the free lists outward."""


@dataclass(frozen=True)
class Divergence:
    """The first decision that was not the kernel's."""

    position: int
    """Number of the event that shows it, from 0 at the start state, dumps not counted; -1 if a dump shows it."""
    ts: int
    """Time of that event, nanoseconds of the recording's clock."""
    what: str
    """The decision, in words: `mm_page_alloc order 0 unmovable on CPU 1`."""
    model: str
    """What the model held or did."""
    kernel: str
    """What the kernel did."""
    around: tuple[str, ...] = ()
    """The recorded events around it, one line each."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "around": list(self.around)}


@dataclass
class Tally:
    """Decisions of one kind, and how many were not the kernel's."""

    decisions: int = 0
    mismatches: int = 0

    @property
    def exactness(self) -> float | None:
        """Share of the decisions that were the kernel's, 0 to 1; None for 0 of 0."""
        return None if self.decisions == 0 else (self.decisions - self.mismatches) / self.decisions


@dataclass(frozen=True)
class LevelRow:
    """One figure of the verdict level: what repeats of a kernel came to, and what replays under its policy do."""

    policy: str
    """`mainline`, `evacuate` or `evacuate,skip-hint=ignore`."""
    kernel: str
    """The kernel booted with it: `stock`, `patched` or `fixskip`."""
    column: str
    """Its column in the table of repeats."""
    name: str
    row: str
    """Id of the comparison's row that shows the same figure; empty if none does."""
    theirs: Sample
    ours: Sample
    recorded: float | None
    """What the recorded run itself came to; of the stock kernel only."""

    @property
    def errors(self) -> float | None:
        """Standard errors by which our mean lies above theirs; None with fewer than two values on a side."""
        if min(self.theirs.n, self.ours.n) < 2:
            return None
        return errors_apart(self.theirs, self.ours)

    @property
    def level_holds(self) -> bool | None:
        """Whether the means are within ERRORS standard errors of their difference."""
        return None if self.errors is None else abs(self.errors) <= ERRORS

    @property
    def spread_ratio(self) -> float | None:
        """Our standard deviation by theirs; None where theirs is 0 or a side has fewer than two values."""
        return self.ours.sd / self.theirs.sd if self.theirs.sd and self.errors is not None else None

    @property
    def spread_holds(self) -> bool | None:
        """Whether the standard deviations differ by at most SPREAD of theirs."""
        if self.errors is None:
            return None
        return abs(self.ours.sd - self.theirs.sd) <= SPREAD * self.theirs.sd

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        errors = self.errors
        return {
            **vars(self),
            "theirs": {**vars(self.theirs), "error": self.theirs.error},
            "ours": {**vars(self.ours), "error": self.ours.error},
            "errors": errors if errors is None or isfinite(errors) else None,
            "level_holds": self.level_holds,
            "spread_ratio": self.spread_ratio,
            "spread_holds": self.spread_holds,
        }


ERRORS = 2.0
"""A level holds within so many standard errors of the difference."""

SPREAD = 0.25
"""A spread holds within so large a share of the kernels' standard deviation."""


@dataclass(frozen=True)
class Change:
    """A figure without and with a policy, and what a permutation test says of that."""

    before: Sample
    after: Sample
    difference: Difference
    p: float
    """Share of all deals with means at least as far apart (:func:`kevacuate.measure.permutation.permutation_p`)."""
    corrected: float
    """p corrected for the number of the policy's rows (:func:`kevacuate.measure.intervals.holm`)."""
    seen: float
    """The smallest true change, up or down, that would have been called after that correction with a probability of POWER."""

    @property
    def direction(self) -> int:
        """-1 or 1 where the groups differ after correction, else 0."""
        if self.corrected > LEVEL:
            return 0
        return 1 if self.difference.value > 0 else -1

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **vars(self),
            "before": vars(self.before),
            "after": vars(self.after),
            "difference": vars(self.difference),
            "verdict": WORDS[self.direction],
        }


WORDS = {0: "no difference shown", 1: "more", -1: "fewer"}
"""What a verdict is called, by its direction."""

BOTH, NEITHER, OPEN, MODEL_ONLY, KERNELS_ONLY, OPPOSITE = (
    "both differ",
    "neither differs",
    "the kernels cannot tell",
    "the model only",
    "the kernels only",
    "opposite ways",
)
"""What can be said of the effect of a policy on one figure: see :attr:`Effect.agreement`."""

FALSE = (MODEL_ONLY, OPPOSITE)
"""False verdicts: the model says a difference that the kernels contradict."""


@dataclass(frozen=True)
class Effect:
    """What a policy changes of one figure, in real kernels and in replays of the model."""

    policy: str
    kernels: tuple[str, str]
    """The kernels without and with it: `("stock", "fixskip")`."""
    column: str
    name: str
    row: str
    """As of :class:`LevelRow`."""
    theirs: Change
    ours: Change

    @property
    def holds(self) -> bool:
        """Whether the model's effect lies in the kernels' interval."""
        return self.theirs.difference.holds(self.ours.difference.value)

    @property
    def agreement(self) -> str:
        """Whether the model's verdict is the kernels', after correction.

        Where the model alone differs, the kernels *cannot tell* if their interval holds the model's effect and their repeats
        would have missed one so small, by the same corrected test; else the verdict is false.
        """
        theirs, ours = self.theirs.direction, self.ours.direction
        if theirs == ours:
            return BOTH if theirs else NEITHER
        if theirs and ours:
            return OPPOSITE
        if not ours:
            return KERNELS_ONLY
        small = abs(self.ours.difference.value) < self.theirs.seen
        return OPEN if self.holds and small else MODEL_ONLY

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **vars(self),
            "kernels": list(self.kernels),
            "theirs": self.theirs.as_dict(),
            "ours": self.ours.as_dict(),
            "holds": self.holds,
            "agreement": self.agreement,
            "false_verdict": self.agreement in FALSE,
        }


@dataclass(frozen=True)
class Judged:
    """What the verdict level came to on one demand."""

    workload: str
    """`churn, 1g, 1 CPU, seed 5`."""
    loop: str
    """`open` or `closed`: whose reclaim and compaction the replays had."""
    boots: dict[str, int]
    """Repeats of each kernel."""
    replays: int
    """Replays of each policy."""
    rows: tuple[LevelRow, ...]
    effects: tuple[Effect, ...]
    not_modelled: tuple[str, ...]
    """Columns of the table of repeats of which the replays have no figure."""
    perfect: dict[str, float]
    """By question, the share of rows that a perfect model would pass: the kernels' own boots drawn against themselves."""
    one_boot: float | None
    """The share of levels that a model would pass whose replays come to what a single boot did: a demand is one draw."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **vars(self),
            "rows": [row.as_dict() for row in self.rows],
            "effects": [row.as_dict() for row in self.effects],
            "not_modelled": list(self.not_modelled),
        }


@dataclass
class LevelResult:
    """What one level came to on one recording."""

    level: str
    inputs: dict[str, int] = field(default_factory=dict)
    """What was taken from the recording, and how often."""
    kinds: dict[str, Tally] = field(default_factory=dict)
    """The model's decisions by kind; their sum is what exactness is measured over."""
    causes: dict[str, int] = field(default_factory=dict)
    """Mismatches by cause."""
    first: Divergence | None = None
    last_position: int = -1
    """Number of the event of the last mismatch: how far a divergence spread."""
    dumps: dict[str, bool] = field(default_factory=dict)
    """Dump tag to whether everything compared there was equal."""
    resyncs: int = 0
    """How often the level was put back to the recorded state at a dump."""
    not_exercised: str = ""
    """Why the level made no decision; empty if it made some."""
    notes: tuple[str, ...] = ()
    """What a reader must know: what is approximate, what was inferred."""
    judged: Judged | None = None
    """What the verdict level came to."""
    until_compaction: Tally | None = None
    """The decisions before the recorded kernel's first compaction, where that makes a difference."""

    @property
    def decisions(self) -> int:
        """Decisions the model made."""
        return sum(tally.decisions for tally in self.kinds.values())

    @property
    def mismatches(self) -> int:
        """Those that were not the kernel's."""
        return sum(tally.mismatches for tally in self.kinds.values())

    @property
    def exactness(self) -> float | None:
        """Share of the decisions that were the kernel's, 0 to 1; None if none was made."""
        return Tally(self.decisions, self.mismatches).exactness

    def passes(self, required: float) -> bool:
        """Whether the level reaches *required*; one that was not exercised does not."""
        return self.exactness is not None and self.exactness >= required

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        before = self.until_compaction
        return {
            "exactness": self.exactness,
            "decisions": self.decisions,
            "mismatches": self.mismatches,
            "inputs": self.inputs,
            "kinds": {name: {**vars(t), "exactness": t.exactness} for name, t in self.kinds.items()},
            "causes": self.causes,
            "first_divergence": self.first.as_dict() if self.first else None,
            "last_mismatch_position": self.last_position,
            "dumps": self.dumps,
            "resyncs": self.resyncs,
            "until_first_compaction": {**vars(before), "exactness": before.exactness} if before else None,
            "not_exercised": self.not_exercised,
            "notes": list(self.notes),
            **({"verdict": self.judged.as_dict()} if self.judged else {}),
        }


@dataclass(frozen=True)
class Verification:
    """A verification of the model against one recording."""

    recording: str
    """The recording's name."""
    digest: str
    """SHA-256 of the recording's content."""
    kernel: str
    """Release of the recorded kernel."""
    profile: str
    """Kernel profile the model ran under, with its standing: `7.2`, `6.12 (unverified profile)`."""
    events: int
    """Events that were read, dumps not counted."""
    levels: dict[str, LevelResult]

    def __repr__(self) -> str:
        """Of which recording, and the exactness of each level."""
        said = ", ".join(
            f"{name} {'not exercised' if level.not_exercised else f'{level.exactness:.4f}'}"
            for name, level in self.levels.items()
        )
        return f"<Verification of {self.recording!r}: {said}>"

    def passes(self, required: float, *, must_run: bool = True) -> bool:
        """Whether every level reaches *required*.

        A level that was not exercised does not; unless *must_run*, such levels do not count, but one at least must have run.
        """
        counted = [level for level in self.levels.values() if must_run or not level.not_exercised]
        return bool(counted) and all(level.passes(required) for level in counted)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "levels": {name: level.as_dict() for name, level in self.levels.items()}}
