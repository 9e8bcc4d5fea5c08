# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays: a demand through the model under one policy."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from kevacuate._version import __version__
from kevacuate.demand import objects as ob
from kevacuate.demand.build import Demand, build_demand
from kevacuate.demand.refusals import empty_demand
from kevacuate.demand.shadows import INDEXES
from kevacuate.demand.tables import MOST_NUMBERS
from kevacuate.errors import KevacuateError
from kevacuate.jit import beside, is_kept
from kevacuate.measure import Run, moment, run_metrics, so_far
from kevacuate.measure.frames import Frames
from kevacuate.measure.held_states import held_states
from kevacuate.measure.history import History
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.mm.layout import State, grow_objects, log_table, state_bytes
from kevacuate.mm.profile import profile_for
from kevacuate.policy import BASELINE, Policy, parse_policy
from kevacuate.policy.install import counted, refuse_wrong_hook, rows_told
from kevacuate.recording import AllocatorState, DemandChunk, Recording
from kevacuate.recording.completeness import refuse_losses
from kevacuate.recording.state import page_count
from kevacuate.runs.base_page_ids import first_ids, more_base_pages, with_mapping
from kevacuate.runs.huge_faults import HugeFaults, base_page_objects
from kevacuate.runs.initial_state import (
    default_time_scale,
    initial_state,
    machine_config,
    skip_bits,
    start_of,
)
from kevacuate.runs.loop import (
    NO_ROWS,
    STOP_IDS,
    STOP_LOG,
    STOP_OBJECT,
    STOP_SAMPLE,
    check_rows,
    compile_loop,
    one_block,
    replay_rows,
)
from kevacuate.runs.loop_choice import choose_loop
from kevacuate.runs.map_keeper import MapKeeper
from kevacuate.runs.options import ReplayOptions, given_options
from kevacuate.runs.sysctls import settings_used, swap_room
from kevacuate.runs.varied import varied_demand, vary_kswapd
from kevacuate.workload.opening import Replayable, recording_of
from kevacuate.workload.started import refuse_too_large

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all, 0 if not known)."""

ROW_PROBLEMS = {
    1: "an operation that this program does not know",
    2: "a CPU that the machine does not have",
    3: "an order above MAX_PAGE_ORDER",
    4: "a migratetype that nobody can ask for",
    5: "an object id outside the table",
    6: "a time that runs backwards or is years away",
    7: "a page frame that the machine does not have",
    8: "reclaimed pages that the demand does not have",
}


class Replay:
    """One replay in progress.

    Attributes
    ----------
    state : State
        The model's state.
    varied : Variation
        What the seed varied, with times of the recorded machine; all 0 where nothing was.
    log : list of arrays
        The event log taken so far, int64[n, 8] each, if it is kept.
    """

    def __init__(self, recording: Recording, demand: Demand, policy: Policy, options: ReplayOptions) -> None:
        if not options.despite_losses:
            refuse_losses(recording)
        recorded = recording.start
        if recorded is None:
            raise KevacuateError(
                f"{recording.path} holds no start state, so it cannot be replayed: record it with a snapshot."
            )
        self.recording, self.policy, self.options = recording, policy, options
        self.loop = choose_loop(options.loop, demand)
        machine, closed = recording.machine, self.loop.closed
        start = start_of(machine, recorded, policy)
        refuse_too_large(demand, start, closed=closed, swapped=swap_room(policy.settings))
        config = machine_config(machine, start, policy.settings, closed=closed)
        how = options.variation.at_scale(default_time_scale(machine))
        looks = looks_of(recording, recorded) if closed else ()
        self.demand = varied_demand(demand, config, how, seed=options.seed, closed=closed, moments=looks)
        self.varied = how.applied(seed=options.seed, to_demand=self.demand is not demand)
        demand = self.demand
        known, self._shadows = _table_sizes(demand, recorded, closed)
        objects = known + base_page_objects(policy, recorded)
        room = objects + max(self._shadows, 0)
        skip = skip_bits(start, policy, options.seed)
        self.state: State = initial_state(
            machine, config, recorded, start, demand.start_objects, policy, options, room, skip
        )
        vary_kswapd(self.state, options.variation, options.seed)
        self._objects = objects if self.loop.closed else 0
        self.state = first_ids(self.state, self._objects, self._shadows)
        if closed:
            self.state = with_mapping(self.state, demand.quality.file_pages, demand.quality.longest_readahead)
        self._skip_known = recorded.skip_known or policy.skip_bits != "recorded"
        self.start_blocks, self.start_skip = int(start.blocks.pfn.size), int(skip.sum())
        self._faults = HugeFaults.under(policy, recording.machine, known)
        self._nothing_measured()

    def _nothing_measured(self) -> None:
        """No sample was taken, no record read and no row replayed."""
        self.log: list[np.ndarray] = []
        self.keep_log = self.options.keep
        self.map = MapKeeper(self.state, self.demand.start_objects.pfn.size) if self.options.keep else None
        self.lost_log = 0
        self.series: dict[str, list[Any]] = {}
        self._moment: dict[str, Any] = {}
        self._next_sample = k.NEVER
        self._interval = 0
        self._last_time = 0

    def advance(self, t: int) -> None:
        """Run what is due until *t* ns."""
        replay_rows(self.state, NO_ROWS, 0, 0, t, self.options.prefetch)
        refuse_wrong_hook(self.state, self.policy.hooks)

    def sample(self, t: int) -> None:
        """Run what is due until *t* and measure."""
        self.advance(t)
        self._moment = moment(self.state)
        for name, value in {"t": t, **self._moment, **so_far(self.state)}.items():
            self.series.setdefault(name, []).append(value)
        if self.map:
            self.map.look(self.state, t)

    def take_log(self) -> None:
        """Empty the log; keep its records if asked to."""
        records = self.state.view.stat.nr_log
        self.lost_log += records - len(log_table(self.state))
        if self.keep_log:
            self.log.append(log_table(self.state).copy())
        self.state.view.stat.nr_log = 0

    def _checked(self, chunk: DemandChunk, row: int) -> DemandChunk:
        """The chunk's columns for the loop, after a check of every row; the object table grows if need be.

        All are made writable, as some columns of a stored demand are not: Numba takes those for other types and would compile
        the loop once more for every mixture.
        """
        rows = DemandChunk(
            *(np.require(getattr(chunk, name), None, ["C", "W"]) for name in DemandChunk._fields)
        )
        largest = ob.largest_id(rows) + 1
        if largest > (self.state.view.cfg.npages + self.demand.own_pages) * 2 + (1 << 16):
            raise KevacuateError(
                f"The demand names object {largest - 1}, more than its machine has pages: it is corrupted."
            )
        if not self.loop.closed:
            self.state = grow_objects(self.state, largest)
        cfg = self.state.view.cfg
        problem, at = check_rows(
            rows,
            cfg.nr_cpus,
            cfg.max_page_order,
            self._objects if self.loop.closed else self.state.obj.size,
            cfg.npages_real,
            self._last_time,
            self._shadows,
        )
        if problem:
            raise KevacuateError(
                f"Row {row + at} of the demand holds {ROW_PROBLEMS[problem]}; the recording is corrupted, make it again."
            )
        self._last_time = int(rows.t[-1]) if rows.t.size else self._last_time
        return rows

    def feed(self, chunk: DemandChunk, row: int = 0) -> None:
        """Replay a chunk; *row* is its first row's number, for messages."""
        rows = self._checked(self._faults.rewritten(chunk), row)
        at, end = 0, rows.t.size
        while at < end:
            before = at
            at, why = self.step_rows(rows, at, end)
            if self.map:
                self.map.note(self.state, rows, before, at)
            if why == STOP_OBJECT:
                raise KevacuateError(contradiction(rows, at, row + at))
            if why == STOP_IDS:
                self.state = more_base_pages(self.state)
            if why == STOP_SAMPLE:
                self.sample(self._next_sample)
                self._next_sample += self._interval
            view = self.state.view
            if why == STOP_LOG or view.stat.nr_log > view.cfg.log_capacity // 2:
                self.take_log()

    def step_rows(self, rows: DemandChunk, at: int, end: int) -> tuple[int, int]:
        """Rows [at, end) through the compiled loop until it stops: (rows done up to here, why: STOP_*)."""
        stopped: tuple[int, int] = replay_rows(
            self.state, rows, at, end, self._next_sample, self.options.prefetch
        )
        refuse_wrong_hook(self.state, self.policy.hooks)
        return stopped

    def run(self, progress: Progress | None = None) -> Run:
        """Replay the whole demand and measure the end."""
        begin = time.perf_counter()
        closed = self.loop.closed
        span, total = self.demand.spans.closed if closed else self.demand.spans.open
        if not total:
            raise empty_demand(self.recording)
        self._interval, self._next_sample = max(span // max(self.options.samples, 1), 1), 0
        rows, busy = 0, 0.0
        for chunk in rechunk(self.demand.chunks(closed=closed), self.options.chunk_rows):
            started = time.perf_counter()
            self.feed(chunk, rows)
            busy += time.perf_counter() - started
            rows += chunk.t.size
            if progress:
                progress(rows, total)
        self.sample(max(span, self.state.view.stat.now) + SETTLE_NS)
        self.take_log()
        timing = {
            "seconds": time.perf_counter() - begin,
            "model_seconds": busy,
            "events_per_second": rows / max(busy, 1e-9),
        }
        history = None
        if self.map:
            history = History.of_log(self.log, self.state.view.cfg.pageblock_order, self.lost_log)
        frames = self._frames() if self.map else None
        metrics, provenance = self._metrics(rows), self._provenance()
        return Run(self.policy.spec, metrics, self.series, provenance, timing, frames, history)

    def _frames(self) -> Frames:
        """The map, and what holds its pageblocks in the recorded start state."""
        assert self.map is not None
        frames, machine, start = self.map.frames(), self.recording.machine, self.recording.start
        begin = 0 if start is None else start.ts
        held = held_states([start], begin, frames.start, machine.pageblock_order, machine.hugepage_order)
        return replace(frames, held=held)

    def _metrics(self, rows: int) -> dict[str, Any]:
        return {
            "demand_rows": rows,
            "virtual_seconds": self.series["t"][-1] / 1e9,
            "start_blocks": self.start_blocks,
            "start_blocks_with_skip_bit": self.start_skip if self._skip_known else None,
            **run_metrics(self.state, self._moment),
            "policy": counted(self.state, self.policy.hooks),
        }

    def _provenance(self) -> dict[str, Any]:
        machine = self.recording.machine
        evacuation = self.policy.evacuation(default_time_scale(machine), self.state.view.cfg.nr_nodes)
        options = {
            "seed": self.options.seed,
            "samples": self.options.samples,
            "variation": asdict(self.options.variation),
            "variation_applied": asdict(self.varied),
        }
        return {
            "kevacuate": __version__,
            "recording": self.recording.path.name,
            "recording_digest": self.recording.digest,
            **({"start": machine.extra["start"]} if "start" in machine.extra else {}),
            "kernel": machine.kernel,
            "profile": profile_for(machine.kernel)[1],
            "vm_settings": settings_used(machine, self.policy.settings),
            "policy": self.policy.spec,
            "policy_rows": rows_told(self.policy.hooks),
            "skip_bits": self.policy.skip_bits,
            "evacuation": json.loads(json.dumps(asdict(evacuation))),  # lists as a file has them, no tuples
            "page_kinds": asdict(self.demand.kinds),
            "loop": {"wanted": self.options.loop, "ran": self.loop.name, "why": self.loop.why},
            "options": options,
            "final_state_digest": state_digest(self.state),
            "state_bytes": sum(
                n for name, n in state_bytes(self.state).items() if name not in ("log", "obj")
            ),
        }


MOST_SHADOWS = 4
"""Shadows a page that a demand may number: the reconstruction numbers at most twice as many as the machine has pages."""


def looks_of(recording: Recording, start: AllocatorState) -> tuple[int, ...]:
    """When the recording's snapshots behind *start* were taken [ns behind it], in order."""
    return tuple(sorted(state.ts - start.ts for state in recording.states if state.ts > start.ts))


def _table_sizes(demand: Demand, recorded: AllocatorState, closed: bool) -> tuple[int, int]:
    """How many objects and shadows the object table needs room for; in the open loop there are -1 shadows.

    Raises
    ------
    KevacuateError
        The demand's counts are not those of a demand of this machine.
    """
    if not closed:
        return demand.max_objects or 1 << 16, -1
    if demand.max_objects is None:
        _ = demand.spans
    if demand.max_objects is None:
        raise KevacuateError(
            "A closed loop needs a demand with its counts, and this one was stored without: store it again."
        )
    counted, pages = demand.quality, page_count(recorded) + demand.own_pages
    objects, shadows, files, longest = (
        demand.max_objects,
        counted.peak_shadows,
        counted.file_pages,
        counted.longest_readahead,
    )
    if not 0 <= objects <= 2 * pages + (1 << 16) or not 0 <= shadows <= MOST_SHADOWS * pages + (1 << 16):
        raise KevacuateError(
            f"The demand counts {objects:,} objects and {shadows:,} reclaimed pages, more than its machine has room for: it is "
            "corrupted."
        )
    if not 0 <= files <= min(MOST_NUMBERS * pages + (1 << 16), INDEXES) or not 0 <= longest <= INDEXES:
        raise KevacuateError(
            f"The demand counts {files:,} pages of files, and {longest:,} that one read brought in: no reconstruction counts "
            "that, so it is corrupted."
        )
    return max(objects, demand.start_objects.pfn.size), shadows


SETTLE_NS = 1_000_000_000
"""Virtual time after the last row of the demand, so that queued evacuations end before the last measurement."""


def contradiction(rows: DemandChunk, at: int, number: int) -> str:
    """What is wrong with row *at*, which contradicts the rows before it; *number* is its number in the demand."""
    obj, aux = int(rows.obj[at]), int(rows.aux[at])
    what = {
        **dict.fromkeys(ob.BIRTHS, f"allocates object {obj}, which is still in use"),
        ob.OP_FREE: f"frees object {obj}, which was never allocated or is freed already",
        ob.OP_SPLIT: f"splits object {obj} and names its upper half {aux}, but the one cannot be split or the other is in use",
        ob.OP_RECLAIM: f"reclaims object {obj}, which is none of that order, or as shadow {aux}, which is another's",
        ob.OP_ACCESS: f"uses object {obj}, which was never allocated or is freed already",
        ob.OP_FREE_CONTIG: f"frees object {obj}, which is no contiguous allocation of order {int(rows.order[at])}",
        ob.OP_GATHER: f"makes shadow {aux} shadow {obj}, which is another's",
        ob.OP_FREE_PFN: f"frees pages at pfn {aux:#x} that are free already or an object's",
    }
    return f"Row {number} of the demand {what[int(rows.op[at])]}; the recording is corrupted, make it again."


def rechunk(chunks: Iterator[DemandChunk], rows: int) -> Iterator[DemandChunk]:
    """The same rows in chunks of at most *rows*."""
    for chunk in chunks:
        for at in range(0, chunk.t.size, rows):
            yield DemandChunk._make(column[at : at + rows] for column in chunk)


def state_digest(state: State) -> str:
    """SHA-256 (hex) of everything the allocator is: pages, lists, blocks, zones, per-CPU lists, objects."""
    digest = hashlib.sha256()
    for name in ("link", "meta", "block", "zone", "pcp", "cpu", "obj"):
        digest.update(np.ascontiguousarray(getattr(state, name)).data)
    return digest.hexdigest()


def compile_rest() -> None:
    """Have what a replay calls besides its loop compiled: run it on a machine of one pageblock, without rows."""
    state = one_block()
    entry.late_initcall(state, 1)
    moment(state)
    check_rows(NO_ROWS, 1, 0, 0, 0, 0, -1)


def demand_while_compiling(
    recording: Recording, work: Callable[[], Any] = compile_loop, loop: Any = replay_rows
) -> Demand:
    """The recording's demand, its rows read once; if *loop* is not kept, another process has it compiled by *work* meanwhile."""
    with beside(work, loop):
        demand = build_demand(recording)
        _ = demand.span
        if not is_kept(check_rows):
            compile_rest()
    return demand


def loop_is_kept() -> bool:
    """Whether the machine code of the replay's loop is on the disk, so that a replay does not begin with compiling it."""
    return is_kept(replay_rows) and is_kept(check_rows)


def replay(
    recording: Replayable,
    policy: str | Policy = BASELINE,
    *,
    seed: int | None = None,
    options: ReplayOptions = ReplayOptions(),  # noqa: B008 (frozen)
    demand: Demand | None = None,
    progress: Progress | None = None,
) -> Run:
    """Replay a recording's demand once, under one policy. A single replay is one draw of chance: see :func:`kevacuate.compare`.

    Parameters
    ----------
    recording : Recording, Workload or path
        With a start state and a demand, or events to make one of; or a described workload.
    policy : str or Policy
        ``NAME[,knob=value...]``, or what :func:`kevacuate.parse_policy` made of it.
    seed : int, optional
        In place of ``options.seed``. Equal seeds give equal results, bit for bit.
    options : ReplayOptions
        With ``keep`` the run has map and history.
    demand : Demand, optional
        The recording's demand, where :func:`kevacuate.build_demand` has made it already.
    progress : callable, optional
        Called with (rows done, rows in all; 0 where that is not known).

    Returns
    -------
    Run
        ``metrics`` (counters of the whole run, and ``end``, the last moment; pages and blocks), ``series`` (lists of equal
        length, one value a sample; ``t`` in ns of virtual time), ``provenance``, ``timing`` (seconds of the wall clock).

    Raises
    ------
    KevacuateError
        The recording cannot be replayed, lost events, or is corrupted; there is no such policy; an option is out of its range.

    Examples
    --------
    >>> import kevacuate
    >>> run = kevacuate.replay("my-server.kev", "mainline", seed=1)
    >>> run.policy, run.seed, run.metrics["demand_rows"] > 0
    ('mainline', 1, True)
    """
    chosen = policy if isinstance(policy, Policy) else parse_policy(policy)
    given = given_options(options, seed)
    source = recording_of(recording)
    if demand is not None and not isinstance(demand, Demand):
        raise KevacuateError(f"demand cannot be {demand!r}: give what kevacuate.build_demand returned.")
    rows = demand or demand_while_compiling(source)
    if rows.max_objects is None and source.start is not None:
        _ = (
            rows.span
        )  # then the object table is as large whether this replay is the first of the demand or not
    return Replay(source, rows, chosen, given).run(progress)
