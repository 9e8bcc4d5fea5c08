# SPDX-License-Identifier: GPL-2.0-or-later
"""One cell replayed: its demand is loaded once and held for the cells that follow."""

from __future__ import annotations

import os
import platform
import socket
import time
from copy import copy
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from kevacuate._version import __version__
from kevacuate.demand.build import Demand
from kevacuate.errors import KevacuateError
from kevacuate.measure import Run
from kevacuate.policy import Policy, parse_policy
from kevacuate.recording import DemandChunk, Recording
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import demand_while_compiling, replay
from kevacuate.runs.variation import Variation
from kevacuate.sweeps.cells import Cell, Source, canonical, code_of, demand_digest, model_version
from kevacuate.sweeps.columns import FIGURES, START
from kevacuate.sweeps.demands import local, open_demand
from kevacuate.sweeps.experiment import in_file_words
from kevacuate.workload.opening import on_start

HELD_ROWS = 1 << 22
"""A demand of at most so many rows is held in memory, at 36 bytes each; a larger one is read anew by every replay."""


class Unable(Exception):
    """A cell could not be replayed here; that is no result: elsewhere, or later, it may be."""


class Absent(Unable):
    """The cell's demand is not here."""


class Done(NamedTuple):
    """A cell's result, and who made it."""

    result: dict[str, Any]
    made: dict[str, Any]


def held(demand: Demand) -> Demand:
    """The same demand with its rows in memory, if they are few enough."""
    if demand.spans.closed.rows > HELD_ROWS or demand.max_objects is None:
        return demand
    chunks = list(demand.chunks(closed=True))
    if not chunks:
        return demand
    rows = DemandChunk(*(np.concatenate(columns) for columns in zip(*chunks, strict=True)))
    for column in rows:
        column.flags.writeable = False
    made = copy(demand)
    made._chunks = lambda _: iter([rows])
    return made


def _there(source: Source) -> Recording:
    """The recording of a demand or start state, checked by its digest.

    Raises
    ------
    Absent
        It is not there, or is another.
    """
    try:
        recording = open_demand(source.path)
        digest = demand_digest(recording)
    except (KevacuateError, OSError) as error:
        raise Absent(str(error)) from None
    if digest != source.digest:
        raise Absent(f"{source.path} has changed since the sweep began: begin it again.")
    return recording


class Bench:
    """Replays cells one after the other; holds the demand of the last."""

    def __init__(self, hands: str) -> None:
        self._hands = hands
        self._digest = ""
        self._recording: Recording | None = None
        self._demand: Demand | KevacuateError | None = None
        self._policies: dict[str, Policy] = {}
        self._last = time.process_time()

    def _hold(self, cell: Cell) -> Recording:
        """Open the cell's recording and load its demand, unless it is the last one's.

        Raises
        ------
        Absent
            It or the start state is not there, or is another than the cell's.
        """
        wanted = cell.source.digest + (cell.start.digest if cell.start else "")
        if self._digest == wanted and self._recording is not None:
            return self._recording
        self._digest, self._recording, self._demand = "", None, None
        recording = _there(cell.source)
        if cell.start is not None:
            recording = on_start(recording, _there(cell.start))
        try:
            self._demand = held(demand_while_compiling(recording))
        except KevacuateError as error:
            self._demand = error
        self._digest, self._recording = wanted, recording
        return recording

    def _policy(self, cell: Cell) -> Policy:
        """The cell's policy, which is parsed once.

        Raises
        ------
        Unable
            Its file is not here, or another than the cell's.
        """
        if cell.spec not in self._policies:
            try:
                policy = parse_policy(cell.spec)
            except KevacuateError as error:
                raise Unable(str(error)) from None
            if code_of(policy) != cell.code:
                raise Unable(f"The file of {cell.base} has changed since the sweep began: begin it again.")
            self._policies[cell.spec] = policy
        return self._policies[cell.spec]

    def run(self, cell: Cell) -> Done:
        """Replay a cell. What the replay refuses is its result, too.

        Raises
        ------
        Unable
            There is no telling what the replay comes to: the demand is not here, memory or disk is short, or a fault ended it.
        """
        begun, wall, before = datetime.now(UTC), time.monotonic(), time.process_time()
        result = self._described(cell)
        replaying = 0.0
        try:
            recording = self._hold(cell)
            started = time.process_time()
            result |= self._replayed(cell, recording)
            replaying = time.process_time() - started
        except KevacuateError as error:
            places = (cell.source.path, str(local(cell.source.path)))
            said = in_file_words(str(error))
            for place in places:
                said = said.replace(place, cell.source.name)
            result["error"] = said
        except Unable:
            raise
        except Exception as error:  # of this machine, or a fault of this program: the other cells go on
            raise Unable(f"{type(error).__name__}: {error}") from None
        now = time.process_time()
        overhead = (before - self._last) + (now - before - replaying)
        self._last = now
        made = self._made(cell, begun, time.monotonic() - wall, replaying, overhead)
        return Done(result, made)

    def _described(self, cell: Cell) -> dict[str, Any]:
        """What a row begins with, before the replay."""
        return {
            "cell": cell.digest,
            "demand": cell.source.name,
            "demand_digest": cell.source.digest,
            "kernel": "",
            "policy": cell.label,
            "base": cell.base,
            "code": cell.code,
            "seed": cell.seed,
            "replay": canonical(cell.replay),
            "model": model_version(),
            "knobs": cell.knobs | ({START: cell.start.name} if cell.start else {}),
            "loop": "",
            "final_state_digest": "",
            "error": None,
            "figures": {},
        }

    def _replayed(self, cell: Cell, recording: Recording) -> dict[str, Any]:
        """The rest of the row."""
        if isinstance(self._demand, KevacuateError):
            raise self._demand
        options = ReplayOptions(
            **{**cell.replay, "variation": Variation(**cell.replay["variation"])}, seed=cell.seed
        )
        run = replay(recording, self._policy(cell), options=options, demand=self._demand)
        return {
            "kernel": recording.machine.kernel,
            "loop": run.loop[0],
            "final_state_digest": run.provenance["final_state_digest"],
            "figures": figures(run),
        }

    def _made(self, cell: Cell, begun: datetime, wall: float, cpu: float, overhead: float) -> dict[str, Any]:
        """Who made it, and what it took."""
        return {
            "cell": cell.digest,
            "hands": self._hands,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "begun": begun.isoformat(timespec="milliseconds"),
            "seconds": wall,
            "cpu_seconds": cpu,
            "overhead_cpu_seconds": overhead,
            "kevacuate": __version__,
            "python": platform.python_version(),
            "numba": version("numba"),
            "numpy": np.__version__,
        }


def figures(run: Run) -> dict[str, float]:
    """The figures of a run by the ids of their rows; those that it has none of are left out."""
    values = {row.id: row.value(run) for row in FIGURES}
    own = {f"policy.{name}": float(value) for name, value in run.metrics.get("policy", {}).items()}
    return {name: value for name, value in {**values, **own}.items() if value is not None}
