# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verification against a recorded kernel comes to: levels, decisions, divergences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kevacuate.measure.permutation import DIFFERS

LEVELS = ("buddy", "pcp", "tuning", "evacuation", "compaction", "counterfactual")
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
class Outcome:
    """One row of the counterfactual level: a measure of real kernels, and ours."""

    policy: str
    """The kernel and policy compared: `mainline`, `evacuate` or `evacuate,skip-hint=ignore`."""
    name: str
    runs: int
    """Kernel runs behind the mean."""
    mean: float
    sd: float
    """Standard deviation of the kernel's runs (n - 1)."""
    ours: float
    """The mean of the replays."""
    ours_sd: float
    """Their standard deviation (n - 1); 0 for one."""
    replays: int
    """Replays behind it: of one demand under one policy, with different seeds."""
    z: float | None
    """(ours - mean) / sd; None without a spread."""
    accepts: tuple[float, float]
    """The lowest and the highest value that the row would still accept: how wide it is open."""
    verdict: str
    """`within`, `outside` or `informational` (fewer than three runs, or a spread so large that it decides nothing)."""
    cause: str = ""
    """Why a row is outside, as far as known."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "accepts": list(self.accepts)}


@dataclass(frozen=True)
class Change:
    """A measure without and with a policy: means, standard deviations (n - 1), and what a permutation test says."""

    before: float
    before_sd: float
    after: float
    after_sd: float
    p: float | None
    """Share of all deals with means at least as far apart (:func:`kevacuate.measure.permutation.permutation_p`)."""
    verdict: str
    """As :func:`kevacuate.measure.permutation.decide` says it."""

    @property
    def direction(self) -> int:
        """-1 or 1 where the groups differ, else 0."""
        return (1 if self.after > self.before else -1) if self.verdict == DIFFERS else 0


BOTH, NEITHER, MODEL_ONLY, KERNELS_ONLY, OPPOSITE = (
    "both differ",
    "neither differs",
    "the model only",
    "the kernels only",
    "opposite ways",
)
"""What can be said of the effect of a policy on one measure: see :attr:`Effect.agreement`."""


@dataclass(frozen=True)
class Effect:
    """What a policy changes of one measure, in real kernels and in replays of the model."""

    policy: str
    kernels: tuple[str, str]
    """The kernels without and with it: `("stock", "fixskip")`."""
    name: str
    theirs: Change
    ours: Change

    @property
    def agreement(self) -> str:
        """Whether the model's verdict is the kernels'."""
        theirs, ours = self.theirs.direction, self.ours.direction
        if theirs == ours:
            return BOTH if theirs else NEITHER
        if theirs and ours:
            return OPPOSITE
        return MODEL_ONLY if ours else KERNELS_ONLY

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "policy": self.policy,
            "kernels": list(self.kernels),
            "name": self.name,
            "theirs": vars(self.theirs),
            "ours": vars(self.ours),
            "agreement": self.agreement,
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
    outcomes: tuple[Outcome, ...] = ()
    """The rows of the counterfactual level."""
    effects: tuple[Effect, ...] = ()
    """What each policy changes there, in real kernels and in the model."""
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
            "rows": [row.as_dict() for row in self.outcomes],
            "effects": [row.as_dict() for row in self.effects],
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
