# SPDX-License-Identifier: GPL-2.0-or-later
"""A demand as a seed varies it (:class:`kevacuate.runs.variation.Variation`)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from kevacuate.demand import pagekinds
from kevacuate.demand.build import Demand
from kevacuate.demand.loops import NOTHING
from kevacuate.errors import KevacuateError
from kevacuate.mm.layout import MachineConfig, State
from kevacuate.recording.demand import DemandChunk
from kevacuate.runs.interleave import drawn_shifts, interleaved
from kevacuate.runs.loop import check_rows
from kevacuate.runs.variation import Variation

MOST_ROWS = 1 << 24
"""A demand of more rows is not varied: it would have to be held in memory, at 40 bytes a row."""

KSWAPD_STREAM = 1 << 61
"""Tells the draw of kswapd's times from the others of a seed."""

KEPT = 2
"""Varied demands that are kept: replays of one seed under several policies come one after the other."""

_kept: WeakKeyDictionary[Demand, OrderedDict[tuple[object, ...], Demand]] = WeakKeyDictionary()
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
    key = (how, seed, closed, moments)
    with _lock:
        kept = _kept.setdefault(demand, OrderedDict())
        made = kept.pop(key, None) or _varied(demand, config, how, seed, closed, moments)
        if made is not demand:  # which would keep itself alive
            kept[key] = made
        if len(kept) > KEPT:
            kept.popitem(last=False)
        return made


def _varied(
    demand: Demand, config: MachineConfig, how: Variation, seed: int, closed: bool, moments: tuple[int, ...]
) -> Demand:
    """:func:`varied_demand`, of a seed that varies something."""
    chunks = list(demand.chunks(closed=closed))
    if not chunks or demand.max_objects is None:
        return demand
    rows = DemandChunk(*(np.concatenate(columns) for columns in zip(*chunks, strict=True)))
    start, kinds, quality = demand.start_objects, demand.kinds, demand.quality
    if how.page_kinds:
        kinds = replace(kinds, seed=kinds.seed + seed)
        shown = np.uint8(pagekinds.A_SHOWN)
        start = start._replace(attr=pagekinds.draw_start(start.attr & shown, kinds))
        rows = rows._replace(attr=rows.attr & shown)
        pagekinds.draw_again(rows.op, rows.gfp, rows.mt, rows.attr, 0, kinds.shares())
    if how.moves_rows:
        shadows = max(quality.peak_shadows, 1) if closed else -1
        most = max(quality.peak_objects, start.pfn.size) + 1
        problem, _ = check_rows(
            rows, len(config.cpu_node), config.max_page_order, most, config.npages, 0, shadows
        )
        if not problem:
            rows, objects = interleaved(rows, start.pfn.size, seed, how, moments)
            quality = replace(quality, peak_objects=objects)
        if problem or objects < 0:
            raise KevacuateError("The demand contradicts itself: the recording is corrupted, make it again.")
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
