# SPDX-License-Identifier: GPL-2.0-or-later
"""The demand of a described workload: its rows are made as they are asked for, and never kept unless it is stored."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.demand.build import Demand
from kevacuate.demand.loops import Spans
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.quality import DemandQuality
from kevacuate.demand.refusals import empty_demand
from kevacuate.jit import JIT_DISABLED, run
from kevacuate.recording import (
    AllocatorState,
    DemandChunk,
    EventChunk,
    KevWriter,
    Recording,
    StartObjects,
    write_demand,
)
from kevacuate.recording import Machine as RecordedMachine
from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.recording.ringbuf import CpuLosses
from kevacuate.recording.snapshot import Snapshot
from kevacuate.workload.describe import Workload
from kevacuate.workload.fields import Generator, Totals
from kevacuate.workload.generate import MARGIN, generate
from kevacuate.workload.machine import boot_state
from kevacuate.workload.plan import Plan, new_generator, plan_of
from kevacuate.workload.toml import read_workload

CHUNK_ROWS = 1 << 17
GENERATOR = 1
"""Version of the generator: a change of what it makes of a description counts it up, as digests hold it."""

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all, 0 if not known)."""


def rows_of(made: Generator, chunk_rows: int = CHUNK_ROWS) -> Iterator[DemandChunk]:
    """The rows that a generator makes, until its workload ends, in chunks of at most *chunk_rows*, none empty."""
    while True:
        room = chunk_rows + MARGIN
        buffer = DemandChunk(*(np.empty(room, dtype) for dtype in DEMAND_TYPES.values()))
        count = run(generate, room, made, buffer, room)
        if count == 0:
            return
        yield DemandChunk._make(column[:count] for column in buffer)


AHEAD = 2
"""Chunks that are made while the one before is replayed."""


def ahead(chunks: Iterator[DemandChunk]) -> Iterator[DemandChunk]:
    """The same chunks, made by a thread of its own while the consumer works; the thread ends with the iteration.

    The compiled generator holds no lock of the interpreter. With one core, or in plain Python, there is no thread.
    """
    if JIT_DISABLED or len(os.sched_getaffinity(0)) < 2:
        yield from chunks
        return
    waiting: queue.Queue[DemandChunk | BaseException | None] = queue.Queue(AHEAD)
    over = threading.Event()

    def make() -> None:
        last: BaseException | None = None
        try:
            for chunk in chunks:
                while not over.is_set():
                    with suppress(queue.Full):
                        waiting.put(chunk, timeout=0.1)
                        break
                if over.is_set():
                    return
        except BaseException as error:  # the consumer's to hear of
            last = error
        while not over.is_set():
            with suppress(queue.Full):
                waiting.put(last, timeout=0.1)
                return

    thread = threading.Thread(target=make, name="generate", daemon=True)
    thread.start()
    try:
        while (got := waiting.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got
    finally:
        over.set()
        thread.join()


def counted(made: Generator, plan: Plan) -> DemandQuality:
    """What a generator that has come to its end has counted, as a reconstruction does; it had no events."""
    totals = Totals(made.g.data)
    return DemandQuality(
        allocs=totals.allocs,
        frees=totals.frees,
        peak_objects=plan.objects,
        reclaimed=totals.reclaimed,
        read_again=totals.read_again,
        cached=totals.read_again,
        accesses=totals.accesses,
        truncated=totals.truncated,
        peak_shadows=plan.shadows,
    )


def demand_of(
    workload: Workload,
    quality: DemandQuality | None = None,
    spans: Spans | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Demand:
    """The demand of a described workload; each iteration makes its rows anew, the same bit for bit.

    Memory: one int32 and one byte for each object that may be alive, and a few for each folio of a page cache.
    *quality* and *spans* are those of a former iteration, where they are known.

    Raises
    ------
    KevacuateError
        The parts do not fit the machine.
    """
    plan = plan_of(workload)

    def chunks(demand: Demand) -> Iterator[DemandChunk]:
        made = new_generator(workload, plan)
        yield from ahead(rows_of(made, chunk_rows))
        demand.complete(counted(made, plan))

    none = StartObjects(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.uint8))
    demand = Demand(none, chunks, PageKindModel(), quality, spans)
    demand.redrawn = lambda seed: demand_of(
        replace(workload, seed=workload.seed + seed), demand.quality, demand.spans, chunk_rows
    )
    return demand


def description(workload: Workload) -> dict[str, Any]:
    """The description as JSON values: what its digest is of."""
    parts = [{"part": part.TABLE, **asdict(part)} for part in workload.parts]
    body: dict[str, Any] = json.loads(json.dumps({**asdict(workload), "parts": parts}))
    return body


def digest_of(workload: Workload) -> str:
    """SHA-256 (hex) of the description and of the generator's version."""
    body = json.dumps({"generator": GENERATOR, **description(workload)}, sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()


class GeneratedSource:
    """A described machine, in the place of a recorded one: a start state, no events, nothing lost."""

    def __init__(self, workload: Workload) -> None:
        self.digest = digest_of(workload)
        self.machine: RecordedMachine
        self.machine, self._start = boot_state(workload)
        self.quality: dict[str, Any] = {"losses": [], "generated": description(workload)}

    def losses(self) -> tuple[CpuLosses, ...]:
        """Nothing is lost."""
        return ()

    def passed_over(self) -> dict[str, int]:
        """Nothing is passed over."""
        return {}

    def not_read(self) -> dict[str, int]:
        """Nothing is unreadable."""
        return {}

    def event_times(self) -> tuple[int, int] | None:
        """There are no events."""
        return None

    def snapshot_counts(self) -> tuple[Snapshot, ...]:
        """There are no snapshots."""
        return ()

    def states(self) -> Iterator[AllocatorState]:
        """The state at boot."""
        yield self._start

    def events(self, kinds: frozenset[int], chunk_rows: int, since: int = -1) -> Iterator[EventChunk]:
        """There are no events."""
        return iter(())


def workload_recording(workload: Workload, path: Path | None = None) -> Recording:
    """A described workload as a recording: every verb that replays takes it. Its demand is made while it is replayed.

    Raises
    ------
    KevacuateError
        The parts do not fit the machine.
    """
    plan_of(workload)
    made = once(lambda: demand_of(workload))
    return Recording(path or Path(f"{workload.name}.toml"), GeneratedSource(workload), made)


def once(make: Callable[[], Demand]) -> Callable[[], Demand]:
    """The same function, which makes its demand when it is first called."""
    made: list[Demand] = []

    def kept() -> Demand:
        if not made:
            made.append(make())
        return made[0]

    return kept


def generate_recording(
    workload: Workload | str | Path, target: str | Path, *, progress: Progress | None = None
) -> Recording:
    """Store a described workload as a recording with a demand, which every verb that replays takes.

    Parameters
    ----------
    workload : Workload or path
        A description, or the TOML file that holds one.
    target : path
        The ``.kev`` directory to make; it must not exist.
    progress : callable, optional
        Called with (rows done, 0).

    Returns
    -------
    Recording
        The stored recording: a start state, no events.

    Raises
    ------
    KevacuateError
        The description is wrong, its parts do not fit its machine, or the target exists or cannot be written.

    Examples
    --------
    >>> import kevacuate
    >>> from kevacuate.workload.describe import Anonymous, Machine, Slab, Workload
    >>> small = Workload(
    ...     machine=Machine(memory="64MiB"), duration="2s", fill="1s", parts=(Anonymous(memory="40%", lifetime="1s"), Slab())
    ... )
    >>> made = kevacuate.generate(small, "small.kev")
    >>> made.has_demand
    True
    """
    given = workload if isinstance(workload, Workload) else read_workload(workload)
    source, demand = GeneratedSource(given), demand_of(given)
    path = Path(target)
    with KevWriter(path, source.machine) as writer:
        for state in source.states():
            writer.add_state(state)
        writer.set_quality({"generated": description(given)})
        write_demand(
            writer.directory, _told(demand, progress), demand.start_objects, lambda: _facts(given, demand)
        )
        if not demand.quality.allocs:
            raise empty_demand(workload_recording(given))
    return Recording.open(writer.path, verify=False)


def _told(demand: Demand, progress: Progress | None) -> Iterator[DemandChunk]:
    """The rows of both loops; how many, told as they go."""
    rows = 0
    for chunk in demand.chunks(closed=True):
        rows += chunk.t.size
        yield chunk
        if progress:
            progress(rows, 0)


def _facts(workload: Workload, demand: Demand) -> dict[str, Any]:
    """What is kept beside a stored demand."""
    return {
        "quality": demand.quality.as_dict(),
        "page_kinds": asdict(demand.kinds),
        "workload": workload.name,
        "workload_digest": digest_of(workload),
    }
