# SPDX-License-Identifier: GPL-2.0-or-later
"""What the page's scripts are given: JSON values, and streams of numbers (:mod:`kevacuate.reports.page.pack`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.measure import Comparison, Run
from kevacuate.measure.frames import CONTENT_NAMES, Frames, levels
from kevacuate.measure.history import PFN, D
from kevacuate.measure.pages import PAGE_NAMES
from kevacuate.mm import constants as k
from kevacuate.reports.escape import visible
from kevacuate.reports.page.held import pack_held
from kevacuate.reports.page.pack import Blobs, ascending, pack_marks, pack_steps
from kevacuate.reports.page.stories import explain_command, pack_stories

PAGE_BYTES = 2_500_000
"""About how many bytes of the page the pages of single blocks may take; blocks that nothing happened to go without first."""
MOST_CHANGES = 5_000_000
"""Changes of blocks, of all runs together, that the page's maps hold; beyond it they leave out moments, which the page says."""

CHARTS: tuple[tuple[str, str, tuple[Any, ...], float], ...] = (
    ("Mixed pageblocks", "blocks", ("mixed_blocks",), 1),
    ("Polluted pageblocks", "blocks", ("polluted_blocks",), 1),
    ("Unusable free index, order 9", "1/1000", ("unusable_free_index", 9), 1),
    ("Fragmentation index, order 9", "1/1000", ("fragmentation_index", 9), 1),
    ("Claims of pageblocks so far", "events", ("claims",), 1),
    ("Claims of whole free blocks so far", "events", ("claims_whole_block",), 1),
    ("Steals so far", "events", ("steals",), 1),
    ("Evacuations waiting or under way, at most", "blocks", ("queue",), 1),
    ("Evacuations dropped so far, no item left", "blocks", ("evacuations_dropped",), 1),
    ("Pages migrated by evacuation so far", "pages", ("pages_migrated",), 1),
    ("Pages moved by compaction so far", "pages", ("compaction_pages_migrated",), 1),
    ("Clean cache dropped so far", "pages", ("pages_dropped",), 1),
    ("Free memory", "MiB", ("free_pages",), 4096 / (1 << 20)),
)
"""Title, unit, name in the time series (and index there), factor."""


def series_values(run: Run, path: Sequence[Any], factor: float) -> list[float] | None:
    """A chart's line; None where the run does not have it."""
    name, *index = path
    if name == "queue":
        return longest_queue(run)
    if name not in run.series:
        return None
    values = run.series[name]
    for i in index:
        if any(i >= len(v) for v in values):
            return None
        values = [v[i] for v in values]
    return [round(float(v) * factor, 3) for v in values]


def longest_queue(run: Run) -> list[float] | None:
    """The most evacuations that waited or were under way at once, since the moment before; None without a history.

    Between two moments a queue may fill and empty, so its length at the moments alone would show next to nothing.
    """
    if run.history is None:
        return None
    items = [e for e in run.history.evacuations() if e.item >= 0]
    changes = [(e.queued, 1) for e in items] + [(e.ended, -1) for e in items if e.ended is not None]
    longest, length, at = [], 0, 0
    changes.sort()
    for t in run.series["t"]:
        most = length
        while at < len(changes) and changes[at][0] <= t:
            length += changes[at][1]
            most = max(most, length)
            at += 1
        longest.append(float(most))
    return longest


def charts(runs: Sequence[Run], times: Sequence[int]) -> list[dict[str, Any]]:
    """The timelines: per chart one line a run, at the common times; None where a run does not have it.

    ``flat``: one value in all runs all the time, so that the chart has nothing to say.
    """
    out = []
    for title, unit, path, factor in CHARTS:
        lines = []
        for run in runs:
            values = series_values(run, path, factor)
            where = moments_at(run.series["t"], times)
            lines.append(None if values is None else [values[i] for i in where])
        if any(line is not None for line in lines):
            flat = len({value for line in lines for value in line or ()}) == 1
            out.append({"title": title, "unit": unit, "lines": lines, "flat": flat})
    return out


def moments_at(own: Sequence[int], times: Sequence[int]) -> list[int]:
    """For every one of *times* the run's own moment that is nearest to it."""
    mine = np.asarray(own, np.int64)
    right = np.clip(np.searchsorted(mine, times), 0, len(mine) - 1)
    left = np.maximum(right - 1, 0)
    wanted = np.asarray(times, np.int64)
    nearer = np.abs(mine[left] - wanted) <= np.abs(mine[right] - wanted)
    return [int(i) for i in np.where(nearer, left, right)]


def interest(runs: Sequence[Run], frames: Frames) -> npt.NDArray[np.int64]:
    """Per block how much there is to see: 3 evacuated, 2 claimed, 1 mixed at the end, 0 else, the most of all runs."""
    score = np.zeros(len(frames.start), np.int64)
    order = frames.pageblock_order
    for run in runs:
        if run.frames is not None:
            score = np.maximum(score, run.frames.at(-1).kinds.mixed)
        if run.history is None:
            continue
        flows = run.history.of_kind(k.L_EXTFRAG)
        claims = np.append(run.history.of_kind(k.L_EVAC_CLAIM)[:, PFN], flows[flows[:, D] > 0, PFN])
        evacuations = run.history.of_kind(k.L_EVAC_QUEUED, k.L_EVAC_DROPPED)[:, PFN]
        for points, pfns in ((2, claims), (3, evacuations)):
            row = np.flatnonzero(np.isin(frames.start, pfns >> order << order))
            score[row] = np.maximum(score[row], points)
    return score


def blocks_with_pages(runs: Sequence[Run], budget: int = PAGE_BYTES) -> npt.NDArray[np.int64]:
    """Which blocks (numbers in ``Frames.start``) the page shows page by page, ascending; none where no run kept pages."""
    kept = [run.frames for run in runs if run.frames is not None and run.frames.pages is not None]
    if not kept:
        return np.empty(0, np.int64)
    size = 1 << kept[0].pageblock_order
    cost = np.zeros(len(kept[0].start))
    for frames in kept:
        assert frames.pages is not None
        first = frames.pages.first.reshape(-1, size)
        cost += 8 + 0.8 * (first[:, 1:] != first[:, :-1]).sum(axis=1)
        cost += 2 * np.bincount(frames.pages.place // size, minlength=len(cost))
    order = np.argsort(-interest(runs, kept[0]), kind="stable")
    fits = np.cumsum(cost[order]) <= budget
    return np.sort(order[fits])


def run_data(blobs: Blobs, run: Run, times: Sequence[int], detailed: npt.NDArray[np.int64]) -> dict[str, Any]:
    """One run's map, pages and marks."""
    data: dict[str, Any] = {"policy": visible(run.policy), "seed": run.seed}
    frames = run.frames
    if frames is None:
        return data
    data["moments"] = moments_at(frames.t.tolist(), times)
    data["blocks"] = pack_steps(blobs, frames.blocks)
    if frames.pages is not None and len(detailed):
        data["pages"] = pack_steps(blobs, frames.pages.part(detailed, 1 << frames.pageblock_order))
    if run.history is not None:
        data["marks"] = pack_marks(blobs, run.history, frames.start)
    return data


def thinned(runs: Sequence[Run], most: int = MOST_CHANGES) -> tuple[list[Run], int]:
    """The runs with every n-th moment of their maps, the first and the last among them, and n: 1 where all of it fits."""
    every = 1
    shown = list(runs)
    while sum(len(run.frames.blocks.place) for run in shown if run.frames) > most and every < 1 << 16:
        every *= 2
        shown = [run if run.frames is None else replace(run, frames=run.frames.thin(every)) for run in runs]
    return shown, every


def _map_data(blobs: Blobs, mapped: Frames, detailed: npt.NDArray[np.int64]) -> dict[str, Any]:
    """What the map's pageblocks are; *detailed* are the indices of those whose pages are shown."""
    return {
        "blocks": len(mapped.start),
        "order": mapped.pageblock_order,
        "levels": levels(mapped.pageblock_order).tolist(),
        "numbers": blobs.varints(ascending(mapped.start >> mapped.pageblock_order)),
        "zone": blobs.add(mapped.zone.tobytes()),
        "zones": [visible(name) for name in mapped.zones],
        "detailed": blobs.varints(ascending(detailed)),
        "all_detailed": len(detailed) == len(mapped.start),
    }


def page_data(comparison: Comparison, runs: Sequence[Run]) -> tuple[dict[str, Any], Blobs]:
    """(JSON values, streams) for the runs to be drawn: one of each policy."""
    blobs = Blobs()
    mapped = next((run.frames for run in runs if run.frames is not None), None)
    times = mapped.t.tolist() if mapped is not None else list(runs[0].series.get("t", [0]))
    runs, every = thinned(runs)
    detailed = blocks_with_pages(runs)
    data: dict[str, Any] = {
        "t": [t / 1e9 for t in times],
        "types": k.MIGRATE_NAMES,
        "contents": CONTENT_NAMES,
        "classes": PAGE_NAMES,
        "charts": charts(runs, times),
        "explain": explain_command(comparison.recording.get("name", "")),
        "map": None,
        "stories": None,
        "held": None,
    }
    if mapped is not None:
        data["map"] = _map_data(blobs, mapped, detailed) | {"every": every}
        score = interest(runs, mapped)
        data["held"] = pack_held(blobs, runs, score)
        if any(run.history is not None for run in runs):
            data["stories"] = pack_stories(blobs, runs, mapped, score)
    data["runs"] = [
        {
            **run_data(blobs, run, times, detailed),
            "explain": explain_command(comparison.recording.get("name", ""), run),
        }
        for run in runs
    ]
    return data, blobs
