# SPDX-License-Identifier: GPL-2.0-or-later
"""Zones of searched free lists: empty ones, and those that lie as a replayed machine's zone does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.regions import REGION_ORDER, nr_regions, region_base
from kevacuate.mm import constants as k
from kevacuate.mm.layout import State
from kevacuate.mm.movable import can_move
from kevacuate.recording import DemandChunk
from kevacuate.search import fields as f
from kevacuate.search.cost import BINS
from kevacuate.search.passes import pass_table
from kevacuate.search.rows import empty_rows
from kevacuate.search.zone import add_free, settle_all


@dataclass(frozen=True)
class ZoneShape:
    """A zone and how it is searched.

    Attributes
    ----------
    start_pfn, end_pfn : int
        What it spans.
    region_order : int
        Order of a region in pages.
    rule : int
        By which its pages are chosen (``fields.MAINLINE``, ``LOOK_AHEAD``, ``REGIONS``).
    form : int
        Whose page is taken, under REGIONS.
    asked : int
        Bit i: form i is asked, too.
    objects : int
        Objects that rows may name.
    by_page : bool
        Objects are pages of a replayed machine.
    longest_walk : int
        Chunks beyond which a flat walk is counted and not made.
    trace : int
        Records kept for the C twin.
    """

    start_pfn: int
    end_pfn: int
    region_order: int = REGION_ORDER
    rule: int = f.REGIONS
    form: int = f.BY_REGION
    asked: int = (1 << f.NR_FORMS) - 1
    objects: int = 1 << 16
    by_page: bool = False
    longest_walk: int = 1 << 30
    look_ahead: int = 8
    pageblock_order: int = 9
    max_page_order: int = 10
    trace: int = 0

    def __post_init__(self) -> None:
        """Refuse what the lists cannot hold."""
        if not 0 <= self.start_pfn < self.end_pfn or self.npages > 1 << 28:
            raise KevacuateError(
                f"A zone cannot span pfns {self.start_pfn} to {self.end_pfn}: at most 1 TiB can be searched."
            )
        if not 1 <= self.pageblock_order <= self.max_page_order <= min(self.region_order, 10):
            raise KevacuateError(
                f"A region of order {self.region_order} cannot hold chunks of order {self.max_page_order}: make it larger."
            )

    @property
    def base(self) -> int:
        """The pfn of its first region."""
        return region_base(self.start_pfn, self.region_order)

    @property
    def npages(self) -> int:
        """Page frames from the base on."""
        return self.end_pfn - self.base

    @property
    def nr_regions(self) -> int:
        """Its regions, clipped ones with them."""
        return nr_regions(self.start_pfn, self.end_pfn, self.region_order)


def reserve_blocks(region_order: int, pageblock_order: int) -> int:
    """Free pageblocks that a tainted region keeps from movable requests: 3 %, at least 4 (16 of 512), of tiny ones a quarter."""
    blocks = 1 << (region_order - pageblock_order)
    return max(blocks >> 5, min(4, blocks // 4))


def build_search(shape: ZoneShape) -> f.Search:
    """A zone with all of its pages reserved."""
    npages, regions = shape.npages, shape.nr_regions
    words = (regions + 63) // 64
    nodes = npages + f.LISTS
    link = np.zeros(2 * (nodes + npages + regions * f.LISTS), np.int32)
    counts = (f.NR_FORMS * 2 * f.NR_MEASURES,)
    region = f.RegionLists.new(regions)
    for name, value in (("bucket", -1), ("next", -1), ("prev", -1)):
        f.RegionLists.table(region)[name][:] = value
    search = f.Search(
        link=link,
        meta=np.full(npages, f.CHUNK_RESERVED, np.uint8),
        block=np.full((npages >> shape.pageblock_order) + 1, k.MIGRATE_MOVABLE, np.uint8),
        region=region,
        cfg=f.SearchConfig.new(),
        stat=f.SearchCounters.new(),
        cost=f.SearchCost.new(f.NR_FORMS),
        nr_free=np.zeros(f.LISTS, np.int64),
        bucket=np.full(f.NR_BUCKETS, -1, np.int64),
        bits=np.zeros(f.NR_SETS * words, np.int64),
        some=np.zeros(words, np.int64),
        passes=pass_table(),
        at=np.full(shape.objects, -1, np.int32),
        hist=np.zeros(counts[0] * BINS, np.int64),
        sum=np.zeros(counts, np.int64),
        worst=np.zeros(counts, np.int64),
        trace=np.zeros(4 * shape.trace, np.int32),
    )
    _configure(search, shape, nodes)
    for first, last in ((npages, nodes), (nodes + npages, link.size // 2)):
        heads = np.arange(first, last, dtype=np.int32)
        link[2 * first : 2 * last : 2] = heads
        link[2 * first + 1 : 2 * last : 2] = heads
    return search


def _configure(search: f.Search, shape: ZoneShape, nodes: int) -> None:
    """``cfg``; the regions' nodes in ``link`` begin at *nodes*."""
    cfg = search.view.cfg
    for name in (
        "npages",
        "region_order",
        "pageblock_order",
        "max_page_order",
        "nr_regions",
        "rule",
        "form",
        "asked",
        "longest_walk",
        "look_ahead",
        "by_page",
    ):
        setattr(cfg, name, getattr(shape, name))
    cfg.words = search.some.size
    cfg.regional = shape.rule == f.REGIONS
    cfg.reserve = reserve_blocks(shape.region_order, shape.pageblock_order)
    cfg.region_nodes, cfg.region_lists = nodes, nodes + shape.npages
    cfg.trace_capacity = shape.trace


def _rows(pfn: npt.NDArray[np.int64], order: npt.NDArray[np.int64], mt: npt.NDArray[np.int64]) -> DemandChunk:
    """Rows for :func:`kevacuate.search.zone.add_free`."""
    rows = empty_rows(pfn.size)
    rows.aux[:], rows.order[:], rows.mt[:] = pfn, order, mt
    return rows


def all_free(shape: ZoneShape) -> f.Search:
    """A zone just booted: all memory free and movable, from its start on in the largest chunks (memblock_free_all)."""
    search = build_search(shape)
    pfns, orders = [], []
    at, end = shape.start_pfn - shape.base, shape.npages
    while at < end:
        order = min(shape.max_page_order, (at & -at).bit_length() - 1 if at else shape.max_page_order)
        while at + (1 << order) > end:
            order -= 1
        pfns.append(at)
        orders.append(order)
        at += 1 << order
    pfn, order_of = np.array(pfns), np.array(orders)
    search.meta[shape.start_pfn - shape.base :] = 0
    return _begin(search, shape, pfn, order_of, np.full(pfn.size, k.MIGRATE_MOVABLE))


def _begin(
    search: f.Search,
    shape: ZoneShape,
    pfn: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    mt: npt.NDArray[np.int64],
) -> f.Search:
    """Put the free chunks on the lists and every region into its bucket; ``meta`` has the rest already."""
    present = np.add.reduceat(
        search.meta != f.CHUNK_RESERVED, np.arange(0, shape.npages, 1 << shape.region_order), dtype=np.int64
    )
    f.RegionLists.table(search.region)["present"][:] = present
    add_free(search, _rows(pfn, order, mt))
    settle_all(search)
    return search


def largest_zone(state: State) -> int:
    """The zone of a replayed machine with most pages."""
    zones = state.view.zone
    return max(range(len(zones)), key=lambda z: zones[z].managed_pages)


def zone_shape(state: State, z: int, region_order: int, shape: ZoneShape | None = None) -> ZoneShape:
    """A replayed machine's zone, searched as *shape* says."""
    zone, cfg = state.view.zone[z], state.view.cfg
    like = shape or ZoneShape(0, 1)
    base = region_base(zone.zone_start_pfn, region_order)
    return replace(
        like,
        start_pfn=zone.zone_start_pfn,
        end_pfn=zone.zone_end_pfn,
        region_order=region_order,
        by_page=True,
        objects=zone.zone_end_pfn - base,
        pageblock_order=cfg.pageblock_order,
        max_page_order=cfg.max_page_order,
    )


def as_replayed(state: State, z: int, shape: ZoneShape) -> f.Search:
    """A zone that lies as zone *z* of a replayed machine does: its free lists in their order, its pages in use where they are.

    Pages in use count as movable where the model's pages can move, else as the type of their pageblock, and as unmovable in a
    movable one. Types beyond the three that can be asked for count as :data:`ASKED_AS` says.
    """
    search = build_search(shape)
    base, end = shape.base, shape.end_pfn
    meta, attr = state.meta[base:end], state.link[2 * base + 1 : 2 * end : 2]
    kind, order = meta >> 4, meta & 15
    types = ASKED_AS[state.block[::2] & k.PB_TYPE_MASK]
    search.block[: (end - base) >> shape.pageblock_order] = types[
        base >> shape.pageblock_order : end >> shape.pageblock_order
    ]
    of_page = np.repeat(types, 1 << shape.pageblock_order)[base:end]
    asked = np.where(of_page == k.MIGRATE_MOVABLE, k.MIGRATE_UNMOVABLE, of_page)
    asked = np.where(can_move(attr), k.MIGRATE_MOVABLE, asked)
    asked = np.where(kind == k.CHUNK_PCP, of_page, asked)
    in_use = np.isin(kind, (k.CHUNK_ALLOC, k.CHUNK_PCP, k.CHUNK_ISOLATED))
    head = np.where(in_use, f.CHUNK_ALLOC | asked << 4 | order, 0)
    reserved = kind == k.CHUNK_RESERVED
    reserved |= np.arange(base, end) < shape.start_pfn
    search.meta[:] = np.where(reserved, f.CHUNK_RESERVED, head)
    search.at[:] = np.where(reserved, -1, np.arange(end - base))
    used = f.RegionLists.table(search.region)["used"]
    at = np.flatnonzero(in_use & ~reserved)
    np.add.at(used, (at >> shape.region_order, asked[at]), 1 << order[at].astype(np.int64))
    return _begin(search, shape, *_free_chunks(state, z, base))


ASKED_AS = np.array([0, 1, 2, 0, 1, 1, 1, 1], np.uint8)
"""What counts for what: highatomic blocks as unmovable ones, CMA and isolated ones as movable."""


def _free_chunks(
    state: State, z: int, base: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Page, order and type of the chunks on a zone's free lists, list by list."""
    found: list[tuple[int, int, int]] = []
    link, cfg = state.link, state.view.cfg
    for order in range(cfg.max_page_order + 1):
        for mt in range(k.MIGRATE_TYPES):
            head = cfg.npages + z * k.LISTS_PER_ZONE + order * k.NR_TYPES + mt
            node = int(link[2 * head])
            while node != head:
                block = state.block[2 * (node >> cfg.pageblock_order)] & k.PB_TYPE_MASK
                found.append((node - base, order, int(ASKED_AS[block])))
                node = int(link[2 * node])
    table = np.array(found, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]
