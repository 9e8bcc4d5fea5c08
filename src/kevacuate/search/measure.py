# SPDX-License-Identifier: GPL-2.0-or-later
"""What was counted, as figures: costs of an operation by form, and how the zone lies after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.search import fields as f
from kevacuate.search.churn import Generator, churn, fill, generator, rise_rows
from kevacuate.search.cost import BINS, FREE_AREA_BYTES, HEAD_BYTES, REGION_BYTES, REGION_LIST_BYTES, bin_top
from kevacuate.search.machine import ZoneShape, all_free, as_replayed, zone_shape
from kevacuate.search.stream import ZoneDemand
from kevacuate.search.zone import run_rows

GIB = 1 << 18
"""Pages of 4 KiB."""


@dataclass(frozen=True)
class Cost:
    """Of one measure, over all operations of a kind: mean, the value that 99.9 % of them do not exceed, the largest.

    Values from 256 on are counted in 16 steps an octave: there ``high`` is the upper end of a step, at most 6 % too large.
    """

    mean: float
    high: int
    worst: int


@dataclass(frozen=True)
class Outcome:
    """How a zone lies.

    Attributes
    ----------
    regions, tainted, free : int
        Regions that have pages; those with kernel memory; those all free and whole, a 1 GiB page each.
    clean : int
        The others: movable pages alone have to be moved for a 1 GiB page.
    kernel_pages : int
        Pages in use that were not asked for as movable.
    least : int
        Regions that so many would fill.
    """

    regions: int
    tainted: int
    free: int
    clean: int
    kernel_pages: int
    least: int


@dataclass(frozen=True)
class Searched:
    """One demand under one rule.

    Attributes
    ----------
    name : str
        The demand.
    shape : ZoneShape
        The zone, and how it was searched.
    costs : dict
        (form, ALLOC or FREE, measure) to its :class:`Cost`.
    counters : dict of str to int
        The zone's counters of the part that was counted.
    flips : list of int
        Bits changed by each form there.
    seconds : float
        Virtual time of that part.
    operations : int
        Its requests and frees.
    cycles : list of Outcome
        Where a demand comes and goes in cycles: after each of those before; last of all the end.
    """

    name: str
    shape: ZoneShape
    costs: dict[tuple[int, int, int], Cost]
    counters: dict[str, int]
    flips: list[int]
    seconds: float
    operations: int
    cycles: list[Outcome]


def cost_of(search: f.Search, form: int, kind: int, measure: int) -> Cost:
    """A measure's figures; zeros where nothing was counted."""
    at = (form * 2 + kind) * f.NR_MEASURES + measure
    counts: npt.NDArray[np.int64] = search.hist[at * BINS : (at + 1) * BINS]
    total = int(counts.sum())
    if not total:
        return Cost(0.0, 0, 0)
    worst = int(search.worst[at])
    bound = int(np.searchsorted(np.cumsum(counts), np.ceil(0.999 * total)))
    return Cost(int(search.sum[at]) / total, min(bin_top(bound), worst), worst)


def outcome_of(search: f.Search) -> Outcome:
    """How a zone lies now."""
    table = f.RegionLists.table(search.region)
    kernel = table["used"][:, 0] + table["used"][:, 2]
    there = table["present"] > 0
    size = 1 << search.view.cfg.region_order
    free = (table["nr_free"] == size) & there
    regions, tainted = int(there.sum()), int((kernel > 0).sum())
    return Outcome(
        regions=regions,
        tainted=tainted,
        free=int(free.sum()),
        clean=regions - tainted - int(free.sum()),
        kernel_pages=int(kernel.sum()),
        least=-(-int(kernel.sum()) // size),
    )


def bytes_per_region(form: int, rule: int, regions: int) -> float:
    """What a form keeps beyond mainline's one set of lists, by region.

    Counters of a line; the lists of a region, rounded up to whole lines; bitmaps in words of 64 regions; the buckets' list heads.
    """
    if rule == f.MAINLINE:
        return 0.0
    heads = f.NR_BUCKETS * HEAD_BYTES / regions
    words = -(-regions // 64) * 8 / regions
    if form == f.FLAT:
        return REGION_BYTES + (heads if rule == f.LOOK_AHEAD else 0.0)
    lists = REGION_BYTES + REGION_LIST_BYTES
    if form == f.BY_REGION:
        return lists + heads
    orders = 11 if form == f.BITMAPS else 33
    return lists + (orders + f.NR_BUCKETS) * words


ZONE_LIST_BYTES = 11 * FREE_AREA_BYTES
"""Mainline's lists, of a whole zone (struct free_area free_area[NR_PAGE_ORDERS])."""


def _searched(name: str, search: f.Search, shape: ZoneShape, cycles: list[Outcome], begun: int) -> Searched:
    """The figures of a zone whose costs were counted from *begun* ns on."""
    stat = search.view.stat
    kinds = [
        (form, kind, measure)
        for form in range(f.NR_FORMS)
        for kind in (f.ALLOC, f.FREE)
        for measure in range(f.NR_MEASURES)
    ]
    names = ("allocs", "frees", "failed", "unfound", "failed_frees", "whole_claims", "block_claims", "borrowed",
             "tainted", "moved", "not_walked")  # fmt: skip
    wrong = [stat.wrong[form] for form in range(f.NR_FORMS)]
    if any(wrong) or stat.unfound:
        raise KevacuateError(
            f"The forms of the search chose different pages of {name}: report this as a fault."
        )
    return Searched(
        name=name,
        shape=shape,
        costs={of: cost_of(search, *of) for of in kinds},
        counters={one: getattr(stat, one) for one in names},
        flips=[stat.flips[form] for form in range(f.NR_FORMS)],
        seconds=(stat.now - begun) / 1e9,
        operations=_operations(search),
        cycles=[*cycles, outcome_of(search)],
    )


def _operations(search: f.Search) -> int:
    """Operations whose cost was counted."""
    counts = search.hist.reshape(f.NR_FORMS, 2, f.NR_MEASURES, BINS)
    return int(counts[f.FLAT, :, f.LINES].sum())


def search_recorded(
    demand: ZoneDemand, name: str, region_order: int, rule: int, longest_walk: int
) -> Searched:
    """A recorded demand under one rule: all of it is counted."""
    like = ZoneShape(0, 1, rule=rule, longest_walk=longest_walk)
    shape = zone_shape(demand.state, demand.zone, region_order, like)
    search = as_replayed(demand.state, demand.zone, shape)
    search.view.cfg.counting = 1
    first = outcome_of(search)
    run_rows(search, demand.rows, 0, demand.rows.t.size)
    return _searched(name, search, shape, [first], 0)


@dataclass(frozen=True)
class Generated:
    """What is generated and how much of it is counted.

    Attributes
    ----------
    gib : int
        The zone's size.
    region_order : int
        Order of its regions.
    cycles : int
        Times that kernel memory rises and falls before costs are counted.
    rows : int
        Rows whose costs are counted.
    seed : int
        Of the demand.
    longest_walk : int
        Chunks beyond which a flat walk is counted and not made.
    """

    gib: int
    region_order: int = 18
    cycles: int = 3
    rows: int = 1_000_000
    seed: int = 1
    longest_walk: int = 256

    @property
    def npages(self) -> int:
        """Pages of the zone."""
        return self.gib * GIB


def warmed(
    what: Generated, rule: int, trace: int = 0
) -> tuple[f.Search, ZoneShape, list[Outcome], Generator]:
    """A zone that the generated demand has filled and churned: it, its shape, how it lay after each cycle, the generator."""
    npages = what.npages
    shape = ZoneShape(
        0, npages, region_order=what.region_order, rule=rule, objects=max(npages // 2, 1024),
        longest_walk=what.longest_walk, trace=trace, asked=0,
    )  # fmt: skip
    search, gen = all_free(shape), generator(npages, what.seed)
    for chunk in fill(gen, npages):
        run_rows(search, chunk, 0, chunk.t.size)
    lay = []
    for _ in range(what.cycles):
        for chunk in churn(gen, npages, 2 * rise_rows(npages)):
            run_rows(search, chunk, 0, chunk.t.size)
        lay.append(outcome_of(search))
    return search, replace(shape, asked=(1 << f.NR_FORMS) - 1), lay, gen


def search_generated(what: Generated, rule: int) -> Searched:
    """A generated demand under one rule: costs are counted after the zone has been filled and churned."""
    search, shape, lay, gen = warmed(what, rule)
    view = search.view
    begun = view.stat.now
    search.stat[:] = 0
    view.cfg.asked, view.cfg.counting = shape.asked, 1
    for chunk in churn(gen, what.npages, what.rows):
        run_rows(search, chunk, 0, chunk.t.size)
    return _searched(f"{what.gib} GiB", search, shape, lay, begun)
