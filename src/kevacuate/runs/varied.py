# SPDX-License-Identifier: GPL-2.0-or-later
"""A demand as a seed varies it (:class:`kevacuate.runs.variation.Variation`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from kevacuate.demand import pagekinds
from kevacuate.demand.build import Demand
from kevacuate.demand.loops import NOTHING
from kevacuate.errors import KevacuateError
from kevacuate.mm.layout import MachineConfig, State
from kevacuate.recording.demand import DemandChunk
from kevacuate.runs.interleave import Sorted, drawn_shifts, interleaved, sort_out
from kevacuate.runs.loop import check_rows
from kevacuate.runs.variation import Variation

MOST_ROWS = 1 << 24
"""A demand of more rows is not varied: it would have to be held in memory, at 42 bytes a row."""

KSWAPD_STREAM = 1 << 61
"""Tells the draw of kswapd's times from the others of a seed."""

KEPT = 2
"""Varied demands that are kept: replays of one seed under several policies come one after the other."""


T = TypeVar("T")


class _Once(Generic[T]):
    """A value that the first who asks for it makes, while others wait."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: list[T] = []

    def get(self, make: Callable[[], T]) -> T:
        """The value."""
        with self._lock:
            if not self._made:
                self._made.append(make())
            return self._made[0]


class _Kept:
    """Of one demand what is kept: its rows sorted out, by whether the loop is closed, and orders of them.

    None stands for the demand as it is.
    """

    def __init__(self) -> None:
        self.sorted_out: dict[bool, _Once[Sorted | None]] = {True: _Once(), False: _Once()}
        self.varied: OrderedDict[tuple[object, ...], _Once[Demand | None]] = OrderedDict()


_kept: WeakKeyDictionary[Demand, _Kept] = WeakKeyDictionary()
_lock = Lock()


def varied_demand(
    demand: Demand,
    config: MachineConfig,
    how: Variation,
    *,
    seed: int,
    closed: bool,
    moments: tuple[int, ...] = (),
) -> Demand:
    """The demand that a replay of that seed runs: the demand itself where nothing is varied, or its counts are not known.

    No row crosses one of the *moments* (ns): the recorded program waited there for its memory to be looked at. A described
    workload is drawn anew for each seed but 0.

    Raises
    ------
    KevacuateError
        The demand is corrupted.
    """
    if seed and demand.redrawn is not None:
        return demand.redrawn(seed)
    if seed == 0 or not (how.moves_rows or how.page_kinds) or demand.span[1] > MOST_ROWS:
        return demand
    with _lock:
        kept = _kept.setdefault(demand, _Kept())
        key = how, seed, closed, moments
        once = kept.varied.setdefault(key, _Once())
        kept.varied.move_to_end(key)
        if len(kept.varied) > KEPT:
            kept.varied.popitem(last=False)

    def varied() -> Demand | None:
        if how.moves_rows:
            once = kept.sorted_out[closed]
            sorted_out = once.get(lambda: _sorted_out(demand, config, closed))
            rows = None if sorted_out is None else sorted_out.rows
        else:
            sorted_out, rows = None, _all_rows(demand, closed)
        return None if rows is None else _varied(demand, rows, sorted_out, how, seed, moments)

    return once.get(varied) or demand


def _all_rows(demand: Demand, closed: bool) -> DemandChunk | None:
    """A demand's rows, which are nobody else's; None where there is none, or ids are not counted."""
    chunks = list(demand.chunks(closed=closed))
    if not chunks or demand.max_objects is None:
        return None
    return DemandChunk(*(np.concatenate(columns) for columns in zip(*chunks, strict=True)))


def _sorted_out(demand: Demand, config: MachineConfig, closed: bool) -> Sorted | None:
    """A demand's rows as every order of them needs them; None as of :func:`_all_rows`."""
    rows = _all_rows(demand, closed)
    if rows is None:
        return None
    start = demand.start_objects.pfn.size
    shadows = max(demand.quality.peak_shadows, 1) if closed else -1
    most = max(demand.quality.peak_objects, start) + 1
    problem, _ = check_rows(
        rows, len(config.cpu_node), config.max_page_order, most, config.npages, 0, shadows
    )
    found = None if problem else sort_out(rows, start)
    if found is None:
        raise KevacuateError("The demand contradicts itself: the recording is corrupted, make it again.")
    return found


def _varied(
    demand: Demand,
    rows: DemandChunk,
    sorted_out: Sorted | None,
    how: Variation,
    seed: int,
    moments: tuple[int, ...],
) -> Demand:
    """The demand with its *rows* varied by a seed; in another order where they are *sorted_out*."""
    start, kinds, quality = demand.start_objects, demand.kinds, demand.quality
    if how.page_kinds:
        kinds = replace(kinds, seed=kinds.seed + seed)
        start = start._replace(attr=pagekinds.draw_start(start.attr, kinds, demand.kinds))
        rows = rows._replace(attr=rows.attr.copy())
        shares = kinds.shares(), demand.kinds.shares()
        pagekinds.draw_again(rows.op, rows.gfp, rows.mt, rows.attr, 0, *shares)
    if sorted_out is not None:
        rows, objects = interleaved(sorted_out._replace(rows=rows), seed, how, moments)
        quality = replace(quality, peak_objects=objects)
    made = [rows]
    return Demand(start, lambda _: iter(made), kinds, quality, NOTHING.after(rows))


def vary_kswapd(state: State, how: Variation, seed: int) -> None:
    """Change how long kswapd takes to wake up and to run, by a factor drawn once, of at least a tenth."""
    if seed == 0 or not how.kswapd_percent:
        return
    cfg = state.view.cfg
    wake, run = (int(x) for x in drawn_shifts(2, seed, KSWAPD_STREAM, how.kswapd_percent * 1000))
    cfg.kswapd_wake = cfg.kswapd_wake * max(100_000 + wake, 10_000) // 100_000
    cfg.kswapd_run = cfg.kswapd_run * max(100_000 + run, 10_000) // 100_000
