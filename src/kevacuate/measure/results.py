# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of replays: a run, a comparison of runs, and what one says of another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kevacuate.measure import arrow
from kevacuate.measure.arrow import What
from kevacuate.measure.frames import Frames
from kevacuate.measure.history import History

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
    metrics: dict[str, Any]
    series: dict[str, list[Any]]
    provenance: dict[str, Any]
    timing: dict[str, Any] = field(default_factory=dict, compare=False)
    frames: Frames | None = field(default=None, compare=False, repr=False)
    history: History | None = field(default=None, compare=False, repr=False)

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
    """Runs of one demand side by side; the first is what the others are compared with."""

    runs: tuple[Run, ...]
    recording: dict[str, Any]

    @property
    def baseline(self) -> Run:
        """The run the others are compared with."""
        return self.runs[0]

    def to_json(self, *, series: bool = False) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "recording": self.recording,
            "runs": [
                {**run.to_json(series=series), "prices": prices(self.baseline, run)} for run in self.runs
            ],
        }

    def to_arrow(self, what: What = "series") -> pa.Table:
        """The time series, or the metrics, of all runs as an Arrow table (:func:`kevacuate.measure.arrow.to_arrow`)."""
        return arrow.to_arrow(self.runs, what)

    def to_pandas(self, what: What = "series") -> Any:
        """The same as a pandas DataFrame; KevacuateError if pandas is not installed."""
        return arrow.to_pandas(self.to_arrow(what))

    def to_polars(self, what: What = "series") -> Any:
        """The same as a polars DataFrame; KevacuateError if polars is not installed."""
        return arrow.to_polars(self.to_arrow(what))


def prices(baseline: Run, run: Run) -> dict[str, float | int | None]:
    """What the benefit cost: huge pages gained over the baseline per second of worker CPU and per cache page dropped.

    ``huge_pages_gained`` counts free chunks of huge-page order at the end; ``movable_only_gained`` regions of 2 MiB that
    no unmovable page holds. A price is None where nothing was paid.
    """
    end, base = run.metrics["end"], baseline.metrics["end"]
    gained = end["huge_pages_free"] - base["huge_pages_free"]
    regions = end["regions_2m"]["movable_only"] - base["regions_2m"]["movable_only"]
    seconds = run.metrics["worker_cpu_seconds"]
    dropped = run.metrics["pages_dropped"]
    return {
        "huge_pages_gained": gained,
        "movable_only_gained": regions,
        "huge_pages_per_worker_second": gained / seconds if seconds else None,
        "huge_pages_per_dropped_page": gained / dropped if dropped else None,
        "movable_only_per_worker_second": regions / seconds if seconds else None,
        "movable_only_per_dropped_page": regions / dropped if dropped else None,
    }
