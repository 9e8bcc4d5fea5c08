# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording scaled: more memory, more CPUs, less memory for what it does, longer; and how far that is from the recording."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.demand import objects as ob
from kevacuate.demand.build import Demand, build_demand
from kevacuate.demand.loops import NOTHING, open_rows
from kevacuate.demand.quality import DemandQuality
from kevacuate.demand.refusals import empty_demand
from kevacuate.errors import KevacuateError, whole_number
from kevacuate.kernel.pcp import pcp_order
from kevacuate.measure.shape import Figure, Shape, Shaping, figures_of
from kevacuate.recording import AllocatorState, KevWriter, Recording, write_demand
from kevacuate.recording.completeness import refuse_losses
from kevacuate.recording.demand import DemandChunk, read_demand
from kevacuate.runs.memory import TooSmallError, rounded_up
from kevacuate.runs.scaled_rows import TASKS, Plan
from kevacuate.runs.scaled_start import ScaledStart, Scaling, scaled_start, scaling_of
from kevacuate.workload.opening import Replayable, recording_of

PHASE = 0.05
"""Largest shift of a copy as a share of the demand's length, where none is given: chosen, so that bursts part and phases stay."""

MOST = {"memory": 256, "cpus": 256, "length": 4096}
"""Copies, groups of CPUs and passes at most. Each copy reads the demand for itself, and holds some 10 MB of it."""

ROWS_AT_ONCE = 1 << 20
"""Rows that all copies together read at once, about."""

MOST_IDS = (1 << 31) - 1
LONGEST_NS = 1 << 61
_COUNTED = (
    "allocs",
    "frees",
    "frees_of_start_pages",
    "splits",
    "reclaimed",
    "read_again",
    "accesses",
    "truncated",
    "attempts",
)

Report = Callable[[str, int, int], None]
"""Called with (what is done, rows done, rows in all)."""


@dataclass(frozen=True)
class Scaled:
    """A scaled recording and what scaling kept.

    Attributes
    ----------
    recording : Recording
        The scaled one, as stored.
    source : str
        Name of the one that was scaled.
    memory, cpus, length : int
        How many times.
    tight : float or None
        Memory as a share of the working set.
    phase : float
        Largest shift as a share of the demand's length.
    seed : int
    rows : int
        Rows of the scaled demand.
    seconds : float
        Its virtual time.
    figures : tuple of Figure
        Of the recorded demand and of the scaled one, with their distance.
    """

    recording: Recording
    source: str
    memory: int
    cpus: int
    length: int
    tight: float | None
    phase: float
    seed: int
    rows: int
    seconds: float
    figures: tuple[Figure, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        names = ("source", "memory", "cpus", "length", "tight", "phase", "seed", "rows", "seconds")
        return {
            "recording": str(self.recording.path),
            "digest": self.recording.digest,
            **{name: getattr(self, name) for name in names},
            "figures": [asdict(one) for one in self.figures],
        }


def scale(
    recording: Replayable,
    target: str | Path,
    *,
    memory: int = 1,
    cpus: int = 1,
    length: int = 1,
    tight: float | None = None,
    phase: float = PHASE,
    seed: int = 0,
    progress: Report | None = None,
) -> Scaled:
    """Make a recording of a larger, tighter or longer run of what a recorded machine did. Every verb that replays takes it.

    Parameters
    ----------
    recording : Recording, Workload or path
        With a start state and a demand, or events to make one of.
    target : path
        The ``.kev`` directory to make; it must not exist.
    memory : int
        Copies of the demand, side by side, on a machine with that many times the memory.
    cpus : int
        That many times the CPUs. Copies beyond that share them in turn.
    length : int
        Passes of each copy, one after the other.
    tight : float, optional
        The machine's memory as a share of its working set, the most pages in use at once. Default: the memory as it is.
    phase : float
        Copies begin later by up to that share of the demand's length, and pause that long between passes: 0 to 1.
    seed : int
        Of what is drawn: the phases, which objects are freed first between passes, which group of CPUs a task has.
    progress : callable, optional
        Called with (what is done, rows done, rows in all).

    Returns
    -------
    Scaled
        ``recording``, ``figures``.

    Raises
    ------
    KevacuateError
        The recording cannot be replayed, the model cannot hold the machine, or the target exists or cannot be written.

    Examples
    --------
    >>> import kevacuate
    >>> made = kevacuate.scale("my-server.kev", "twice.kev", memory=2, cpus=2)
    >>> made.recording.machine.cpus
    2
    """
    given = {
        name: whole_number(name, value, 1, MOST[name])
        for name, value in (("memory", memory), ("cpus", cpus), ("length", length))
    }
    seed = whole_number("seed", seed, 0, MOST_IDS)
    share = _number("phase", phase, 0, 1)
    if tight is not None:
        tight = _number("tight", tight, 0.01, 100)
    source = recording_of(recording)
    refuse_losses(source)
    scaling = _Scaling(source, given, tight, share, seed, progress or (lambda *_: None))
    return scaling.written(Path(target))


def _number(name: str, value: Any, least: float, most: float) -> float:
    """The argument *name* as a number, checked."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise KevacuateError(f"{name} cannot be {value!r}: it is a number from {least:g} to {most:g}.")
    return float(value)


def in_use_at(state: AllocatorState, hugepage_order: int) -> int:
    """Pages that the allocator has given out: managed, and neither free nor on a per-CPU list."""
    free = int(np.left_shift(1, state.free.order.astype(np.int64)).sum())
    cached = int(np.left_shift(1, pcp_order(state.pcp_pages.pindex, hugepage_order)).sum())
    return max(sum(zone.managed for zone in state.zones) - free - cached, 0)


class _Scaling:
    """One recording being scaled."""

    def __init__(
        self,
        source: Recording,
        times: dict[str, int],
        tight: float | None,
        phase: float,
        seed: int,
        report: Report,
    ) -> None:
        self.source, self.times, self.tight, self.phase, self.seed = source, times, tight, phase, seed
        self.report = report
        self._counts = np.zeros(16, np.int64)
        self._read_again = 0
        self._spans = NOTHING

    def written(self, target: Path) -> Scaled:
        """Write it."""
        source, machine = self.source, self.source.machine
        start = source.start
        demand = build_demand(
            source, chunk_rows=self._rows_at_once()
        )  # refuses a recording without a start state
        assert start is not None
        scaling = scaling_of(machine, start, self.times["memory"], self.times["cpus"])
        with KevWriter(target, machine) as writer:
            base = self._read_once(demand, writer.directory / "once")
            before = self._shape(base, start)
            share = self._share(before, start)
            made = self._start(start, base, scaling, share)
            plan = Plan(base, machine.cpus, scaling, made, self.times["length"], self.phase, self.seed)
            self._refuse_too_long(plan)
            writer.machine = self._described(made.machine)
            writer.add_state(made.state)
            writer.set_quality({"scaled": self._about(), "tasks": self._tasks()})
            shaping = Shaping(made.machine.cpus, in_use_at(made.state, machine.hugepage_order))
            rows = write_demand(
                writer.directory, self._told(plan, shaping), made.objects, lambda: self._facts(plan, base)
            )
            shutil.rmtree(writer.directory / "once", ignore_errors=True)
        figures = (
            *figures_of(before, shaping.shape),
            _peak(before, start, shaping.shape, made.state),
        )
        return Scaled(
            recording=Recording.open(writer.path, verify=False),
            source=source.path.name,
            **self.times,
            tight=self.tight,
            phase=self.phase,
            seed=self.seed,
            rows=rows,
            seconds=self._spans.closed.last / 1e9,
            figures=figures,
        )

    def _start(self, start: AllocatorState, base: Demand, scaling: Scaling, share: float) -> ScaledStart:
        """The scaled start; a share that cannot be is told by the option that asked for it."""
        try:
            return scaled_start(self.source.machine, start, base.start_objects, scaling, share)
        except TooSmallError as error:
            if self.tight is None:
                raise
            most = math.floor(1000 * self.tight / share) / 1000
            least = min(rounded_up(error.least * self.tight / share), most)
            raise KevacuateError(
                f"{self.tight:g} of the working set cannot be made: {error.why}. Give at least {least:g}."
            ) from None

    def _rows_at_once(self) -> int:
        """Rows that one copy reads at once."""
        return max(ROWS_AT_ONCE // self.times["memory"], 1 << 12)

    def _read_once(self, demand: Demand, scratch: Path) -> Demand:
        """The demand, read to its end; one that is made of events is stored meanwhile, as it is read many times."""
        if self.source.generated is not None or self.source.has_demand:
            rows = demand.spans.closed.rows
        else:
            rows = write_demand(scratch, demand.chunks(closed=True), demand.start_objects)
            demand = Demand(
                demand.start_objects,
                lambda _: read_demand(scratch, self._rows_at_once(), verify=False),
                demand.kinds,
                demand.quality,
            )
        if not rows or not demand.quality.allocs:
            raise empty_demand(self.source)
        return demand

    def _shape(self, demand: Demand, start: AllocatorState) -> Shape:
        """The shape of the recorded demand."""
        machine, total = self.source.machine, demand.spans.closed.rows
        shaping = Shaping(machine.cpus, in_use_at(start, machine.hugepage_order))
        rows = 0
        for chunk in demand.chunks(closed=True):
            shaping.add(open_rows(chunk))
            rows += chunk.t.size
            self.report("measuring the recorded demand", rows, total)
        return shaping.shape

    def _share(self, before: Shape, start: AllocatorState) -> float:
        """The share of the memory that is kept."""
        if self.tight is None:
            return 1.0
        managed = sum(zone.managed for zone in start.zones)
        share = self.tight * before.peak / max(managed, 1)
        if share > 1:
            raise KevacuateError(
                f"{self.tight:g} of the working set is more memory than there is: {before.peak:,} of {managed:,} pages are in "
                f"use at once. Give at most {math.floor(1000 * managed / before.peak) / 1000:g}."
            )
        return share

    def _refuse_too_long(self, plan: Plan) -> None:
        """Refuse what the columns of a demand cannot hold."""
        last = plan.demand.spans.closed.last * -(-plan.scaling.copies // plan.scaling.groups)
        copies, objects = plan.scaling.copies, plan.demand.quality.peak_objects
        most = copies * max(3 * objects, plan.shadows)
        if most > MOST_IDS:
            raise KevacuateError(
                f"{copies} copies of {self.source.path} may have {most:,} objects or shadows, and a demand holds {MOST_IDS:,}: "
                "scale it by less."
            )
        if 2 * (last + 1) * (plan.length + 1) > LONGEST_NS:
            raise KevacuateError(
                f"{plan.length} passes of {self.source.path} are longer than a demand can be."
            )

    def _about(self) -> dict[str, Any]:
        """How it was scaled, as JSON values."""
        rest = {"tight": self.tight, "phase": self.phase, "seed": self.seed}
        return {"recording": self.source.path.name, "digest": self.source.digest, **self.times, **rest}

    def _described(self, machine: Any) -> Any:
        """The machine, which says that it is scaled."""
        machine.extra["scaled"] = self._about()
        return machine

    def _tasks(self) -> dict[str, str]:
        """Names of tasks, those of the copies too."""
        known = self.source.quality.get("tasks", {})
        return {
            str(int(task) + copy * TASKS if int(task) > 0 else int(task)): name
            for copy in range(self.times["memory"])
            for task, name in known.items()
        }

    def _told(self, plan: Plan, shaping: Shaping) -> Iterator[DemandChunk]:
        """The rows, counted, measured and told as they go."""
        total = plan.demand.spans.closed.rows * plan.scaling.copies * plan.length
        for chunk in plan.chunks():
            self._counts += np.bincount(chunk.op, minlength=len(self._counts))
            self._read_again += int(((chunk.op == ob.OP_ALLOC) & (chunk.aux > 0)).sum())
            self._spans = self._spans.after(chunk)
            shaping.add(open_rows(chunk))
            self.report("scaling the demand", self._spans.closed.rows, total)
            yield chunk

    def _facts(self, plan: Plan, base: Demand) -> dict[str, Any]:
        """What is kept beside the demand: its events are the recording's, as often as they were used."""
        n = plan.scaling.copies * plan.length
        own = {field.name: getattr(base.quality, field.name) * n for field in fields(DemandQuality)}
        c = self._counts
        own |= dict(
            zip(
                _COUNTED,
                (
                    c[list(ob.BIRTHS)].sum(), c[list(ob.DEATHS)].sum(), c[ob.OP_FREE_PFN], c[ob.OP_SPLIT],
                    c[ob.OP_RECLAIM], self._read_again, c[ob.OP_ACCESS], c[ob.OP_TRUNCATE], c[ob.OP_ATTEMPT],
                ),
                strict=True,
            )
        )  # fmt: skip
        own |= {
            "peak_objects": plan.objects,
            "peak_shadows": plan.scaling.copies * plan.shadows,
            "file_pages": 0,
        }
        quality = DemandQuality(**{name: int(value) for name, value in own.items()})
        return {
            "quality": quality.as_dict(),
            "page_kinds": asdict(base.kinds),
            "open_span": list(self._spans.open),
            "scaled": self._about(),
        }


def _peak(before: Shape, start: AllocatorState, after: Shape, scaled: AllocatorState) -> Figure:
    """The most pages in use at once, as a share of each machine's memory."""
    shares = [
        100 * shape.peak / max(sum(zone.managed for zone in state.zones), 1)
        for shape, state in ((before, start), (after, scaled))
    ]
    return Figure(
        "peak",
        "most pages in use at once",
        "% of memory",
        shares[0],
        shares[1],
        abs(shares[0] - shares[1]) / 100,
    )
