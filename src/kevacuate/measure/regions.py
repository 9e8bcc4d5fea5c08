# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions as the model keeps them (:mod:`kevacuate.mm.regions`), in the figures of a moment and of a run.

These go by what pages were taken for; :func:`kevacuate.measure.metrics.region_metrics` goes by what can move, and needs none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kevacuate.measure.results import Run
from kevacuate.measure.rows import Value
from kevacuate.mm import constants as k
from kevacuate.mm.fields import PageblockContent, Region
from kevacuate.mm.layout import State


def kept_regions(state: State) -> dict[str, Any]:
    """What the regions of a moment are, empty where none are kept. Counts in regions unless the name says blocks or pages.

    ``tainted``: that hold a page taken for unmovable or reclaimable requests, or a highatomic pageblock. ``free``: whole, and
    without a page in use. ``clean_whole``: clean, not clipped by their zone, and without a page that is reserved or a contiguous
    allocation's, so that migration alone could empty them. ``to_be_had``: of those as many as there are free pages for,
    min(clean_whole, free pages // pages of a region); no watermark is kept and no page pinned. ``by_fullness``: by class, tainted
    and clean ones together.
    """
    cfg = state.view.cfg
    if not cfg.region_order:
        return {}
    table = {name: column[: cfg.nr_regions] for name, column in Region.table(state.region).items()}
    content = PageblockContent.table(state.pageblock)
    blocks = content["nr_free"] + content["nr_used"].sum(axis=1)
    behind = np.concatenate(([0], np.cumsum(blocks, dtype=np.int64)))
    first, last = table["start_pfn"] >> cfg.pageblock_order, (table["end_pfn"] - 1) >> cfg.pageblock_order
    size = 1 << cfg.region_order
    tainted = table["tainted"] > 0
    given = table["nr_contig"] > 0
    clean = int(np.count_nonzero(~tainted & ~given & (behind[last + 1] - behind[first] == size)))
    classes = np.bincount(table["fullness"] + 1, minlength=k.NR_FULLNESS + 1)[1:]
    return {
        "order": cfg.region_order,
        "regions": cfg.nr_regions,
        "tainted": int(np.count_nonzero(tainted)),
        "free": int(np.count_nonzero((table["nr_free_pages"] == size) & ~tainted)),
        "clean_whole": clean,
        "to_be_had": min(clean, int(table["nr_free_pages"].sum()) >> cfg.region_order),
        "free_blocks_in_tainted": int(table["nr_free"][tainted].sum()),
        "free_pages_in_tainted": int(table["nr_free_pages"][tainted].sum()),
        "by_fullness": dict(zip(k.FULLNESS_NAMES, classes.tolist(), strict=True)),
    }


def region_counters(state: State) -> dict[str, Any]:
    """What happened to regions over a run; nothing where none are kept.

    ``regions_tainted``, ``regions_cleaned``: clean ones that became tainted, and the other way round. ``region_passes``: chunks
    by the pass of __rmqueue that gave them (:mod:`kevacuate.mm.region_passes`). ``region_taint_refused``: requests with a cheap
    fallback that were kept from tainting one. ``region_works``, ``region_rests``: times that a worker began, and led to nothing.
    ``region_evacuations``, ``region_evacuations_served``: requests that evacuated tainted regions before they fell back, and made
    room so; ``region_evacuated_blocks``, ``region_evacuated_pages``, ``region_evacuation_ms``: pageblocks, pages, and ms of
    virtual time, not scaled. ``region_shrinks``, ``region_shrunk_pages``: runs of shrink works, pages of slabs that they freed.
    """
    stat, cfg = state.view.stat, state.view.cfg
    if not cfg.region_order:
        return {}
    return {
        "regions_tainted": stat.regions_tainted,
        "regions_cleaned": stat.regions_cleaned,
        "region_passes": {name: stat.region_pass[i] for i, name in enumerate(k.PASS_NAMES)},
        "region_taint_refused": stat.region_taint_refused,
        "region_works": stat.region_works,
        "region_rests": stat.region_rests,
        "region_evacuations": stat.region_evacuations,
        "region_evacuations_served": stat.region_evacuations_served,
        "region_evacuated_blocks": stat.region_evacuated_blocks,
        "region_evacuated_pages": stat.region_evacuated_pages,
        "region_evacuation_ms": stat.region_evacuation_ns / 1e6,
        "region_shrinks": stat.region_shrinks,
        "region_shrunk_pages": stat.region_shrunk_pages,
    }


def mean_of_regions(name: str) -> Value:
    """The mean over the run's samples of a figure of the regions; None where none were kept."""

    def get(run: Run) -> float | None:
        samples = [kept[name] for kept in run.series.get("kept_regions", []) if kept]
        return sum(samples) / len(samples) if samples else None

    return get


def region_changes(name: str) -> Value:
    """A counter of :func:`region_counters` of the whole run; None where none were kept."""

    def get(run: Run) -> float | None:
        kept = run.metrics["end"].get("kept_regions")
        return float(run.metrics[name]) if kept else None

    return get
