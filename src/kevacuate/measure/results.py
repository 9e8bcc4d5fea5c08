# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of replays: a run, a comparison of runs, and what one says of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kevacuate.measure import arrow
from kevacuate.measure.arrow import What
from kevacuate.measure.frames import Frames
from kevacuate.measure.history import History
from kevacuate.measure.permutation import mean

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Run:
    """One replay of one demand under one policy.

    Attributes
    ----------
    policy : str
        The policy as it was written.
    metrics : dict
        What the run did and how it ended (:func:`kevacuate.measure.metrics.run_metrics`); equal inputs give equal metrics.
    series : dict
        Lists of equal length over virtual time; ``t`` in ns.
    provenance : dict
        Versions, parameters, the recording's digest, the digest of the final state.
    timing : dict
        Wall-clock figures: the only part that varies between repeats.
    frames : Frames or None
        The pageblock map over time, if it was kept (``ReplayOptions(keep=True)``).
    history : History or None
        What became of every pageblock, likewise.
    """

    policy: str
    metrics: dict[str, Any] = field(repr=False)
    series: dict[str, list[Any]] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    timing: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    frames: Frames | None = field(default=None, compare=False, repr=False)
    history: History | None = field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        """Which policy and seed, and the mixed pageblocks at the end."""
        mixed = self.metrics.get("end", {}).get("mixed_blocks")
        end = "" if mixed is None else f", {mixed:,} mixed pageblocks at the end"
        return f"<Run of {self.policy!r}, seed {self.seed}{end}>"

    @property
    def seed(self) -> int:
        """The seed of what was drawn; 0 where it was not kept."""
        return int(self.provenance.get("options", {}).get("seed", 0))

    @property
    def loop(self) -> tuple[str, str]:
        """Which loop it ran, ``open`` or ``closed``, and the sentences on what that rests; older runs were open."""
        told = self.provenance.get("loop", {})
        told = told if isinstance(told, dict) else {}
        return str(told.get("ran", "open")), str(told.get("why", ""))

    def to_json(self, *, series: bool = False) -> dict[str, Any]:
        """As plain JSON values; the time series only on request."""
        out = {
            "policy": self.policy,
            "metrics": self.metrics,
            "provenance": self.provenance,
            "timing": self.timing,
        }
        if series:
            out["series"] = self.series
        return out

    def to_arrow(self, what: What = "series") -> pa.Table:
        """The time series, or the metrics, as an Arrow table (:func:`kevacuate.measure.arrow.to_arrow`)."""
        return arrow.to_arrow((self,), what)

    def to_pandas(self, what: What = "series") -> Any:
        """The same as a pandas DataFrame; KevacuateError if pandas is not installed."""
        return arrow.to_pandas(self.to_arrow(what))

    def to_polars(self, what: What = "series") -> Any:
        """The same as a polars DataFrame; KevacuateError if polars is not installed."""
        return arrow.to_polars(self.to_arrow(what))


@dataclass(frozen=True)
class Comparison:
    """Runs of one demand side by side, one or several of each policy; the first policy is what the others are compared with."""

    runs: tuple[Run, ...]
    recording: dict[str, Any]

    def __repr__(self) -> str:
        """Of which recording, and how many runs of each policy."""
        many = ", ".join(f"{policy} ({len(runs)})" for policy, runs in self.groups.items())
        return f"<Comparison of {self.recording.get('name', 'a recording')!r}: runs of {many}>"

    @property
    def baseline(self) -> Run:
        """The first run of the policy that the others are compared with."""
        return self.runs[0]

    @property
    def groups(self) -> dict[str, tuple[Run, ...]]:
        """The runs of each policy, in the order in which the policies first come."""
        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.policy, []).append(run)
        return {policy: tuple(runs) for policy, runs in groups.items()}

    @property
    def repeated(self) -> bool:
        """Whether some policy was run more than once."""
        return len(self.groups) < len(self.runs)

    @property
    def typical(self) -> Comparison:
        """One run of each policy: what maps, timelines and flows show (:func:`typical_run`)."""
        return replace(self, runs=tuple(typical_run(runs) for runs in self.groups.values()))

    def to_json(self, *, series: bool = False) -> dict[str, Any]:
        """As plain JSON values; ``prices`` are against the first policy's run of the same seed, or else its first run."""
        bases = {run.seed: run for run in reversed(self.groups[self.baseline.policy])}
        runs = [
            {**run.to_json(series=series), "prices": prices([bases.get(run.seed, self.baseline)], [run])}
            for run in self.runs
        ]
        return {"recording": self.recording, "runs": runs}

    def to_arrow(self, what: What = "series") -> pa.Table:
        """The time series, or the metrics, of all runs as an Arrow table (:func:`kevacuate.measure.arrow.to_arrow`)."""
        return arrow.to_arrow(self.runs, what)

    def to_pandas(self, what: What = "series") -> Any:
        """The same as a pandas DataFrame; KevacuateError if pandas is not installed."""
        return arrow.to_pandas(self.to_arrow(what))

    def to_polars(self, what: What = "series") -> Any:
        """The same as a polars DataFrame; KevacuateError if polars is not installed."""
        return arrow.to_polars(self.to_arrow(what))


def typical_run(runs: Sequence[Run]) -> Run:
    """The run that stands for several of one policy where only one can be shown: the median by mixed pageblocks at the end.

    Of an even number the lower of the two in the middle, of equal ones the earlier. If any run has a map, only those count.
    """
    drawn = [run for run in runs if run.frames is not None] or list(runs)
    if len(drawn) == 1:
        return drawn[0]
    return sorted(drawn, key=lambda run: run.metrics["end"]["mixed_blocks"])[(len(drawn) - 1) // 2]


def prices(baseline: Sequence[Run], runs: Sequence[Run]) -> dict[str, float | int | None]:
    """What the benefit cost: huge pages gained over the baseline per second of worker CPU and per cache page dropped.

    ``huge_pages_gained`` counts free chunks of huge-page order at the end; ``movable_only_gained`` regions of 2 MiB that
    no unmovable page holds. A price is None where nothing was paid. Of several runs the means count.
    """

    def of(some: Sequence[Run], *names: str) -> float | int:
        values = []
        for run in some:
            value: Any = run.metrics
            for name in names:
                value = value[name]
            values.append(value)
        return values[0] if len(values) == 1 else mean(values)

    gained = of(runs, "end", "huge_pages_free") - of(baseline, "end", "huge_pages_free")
    path = ("end", "regions_2m", "movable_only")
    regions = of(runs, *path) - of(baseline, *path)
    seconds, dropped = of(runs, "worker_cpu_seconds"), of(runs, "pages_dropped")
    return {
        "huge_pages_gained": gained,
        "movable_only_gained": regions,
        "huge_pages_per_worker_second": gained / seconds if seconds else None,
        "huge_pages_per_dropped_page": gained / dropped if dropped else None,
        "movable_only_per_worker_second": regions / seconds if seconds else None,
        "movable_only_per_dropped_page": regions / dropped if dropped else None,
    }
