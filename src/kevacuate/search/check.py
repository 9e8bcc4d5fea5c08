# SPDX-License-Identifier: GPL-2.0-or-later
"""Invariants of a zone of searched free lists: every counter, bit and list equals a recount from the pages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kevacuate.search import fields as f


def _walk(search: f.Search, head: int) -> list[int]:
    """The nodes of a list; raises IndexError if it does not come back to its head."""
    nodes: list[int] = []
    before, node = head, int(search.link[2 * head])
    while node != head:
        if search.link[2 * node + 1] != before or len(nodes) > search.meta.size:
            raise IndexError(f"The links of the list at {head} disagree at {node}.")
        nodes.append(node)
        before, node = node, int(search.link[2 * node])
    return nodes


def _expected_lists(search: f.Search) -> dict[tuple[int, int], list[int]]:
    """Free chunks by order and type, from the pages, ascending."""
    free = np.flatnonzero((search.meta & f.STATE_MASK) == f.CHUNK_FREE)
    lists: dict[tuple[int, int], list[int]] = {}
    for pfn in free.tolist():
        meta = int(search.meta[pfn])
        lists.setdefault((meta & 15, meta >> 4 & 3), []).append(pfn)
    return lists


def _lists(search: f.Search) -> Iterator[str]:
    """Flat lists, and those of regions as their subsequences."""
    cfg = search.view.cfg
    expected = _expected_lists(search)
    for order in range(cfg.max_page_order + 1):
        for mt in range(3):
            name = f"order {order} type {mt}"
            flat = _walk(search, cfg.npages + order * f.NR_TYPES + mt)
            if sorted(flat) != expected.get((order, mt), []):
                yield f"the flat list of {name} does not hold the free chunks"
            if search.nr_free[order * f.NR_TYPES + mt] != len(flat):
                yield f"nr_free of {name} is not its list's length"
            for region in range(cfg.nr_regions if cfg.regional else 0):
                head = cfg.region_lists + region * f.LISTS + order * f.NR_TYPES + mt
                own = [node - cfg.region_nodes for node in _walk(search, head)]
                if own != [pfn for pfn in flat if pfn >> cfg.region_order == region]:
                    yield f"region {region}'s list of {name} is not the flat list's part"


def _regions(search: f.Search) -> Iterator[str]:
    """Counters and buckets."""
    cfg, expected = search.view.cfg, _expected_lists(search)
    size = 1 << cfg.region_order
    for number in range(cfg.nr_regions):
        region = search.view.region[number]
        inside = slice(number * size, min((number + 1) * size, cfg.npages))
        chunks = [0] * f.NR_ORDERS
        for (order, _), pfns in expected.items():
            chunks[order] += sum(pfn >> cfg.region_order == number for pfn in pfns)
        counted = [region.chunks[order] for order in range(f.NR_ORDERS)]
        if counted != chunks:
            yield f"region {number} counts chunks {counted} and has {chunks}"
        if region.nr_free != sum(n << order for order, n in enumerate(chunks)):
            yield f"region {number}'s free pages are miscounted"
        if region.free_blocks != sum(
            n << order >> cfg.pageblock_order
            for order, n in enumerate(chunks)
            if order >= cfg.pageblock_order
        ):
            yield f"region {number}'s free blocks are miscounted"
        meta = search.meta[inside]
        heads = meta[(meta & f.STATE_MASK) == f.CHUNK_ALLOC].astype(np.int64)
        used = np.bincount(heads >> 4 & 3, 1 << (heads & 15), 4).astype(int).tolist()
        counted = [region.used[mt] for mt in range(4)]
        if counted != used:
            yield f"region {number} counts pages in use {counted} and has {used}"
        if region.present != int((meta != f.CHUNK_RESERVED).sum()):
            yield f"region {number}'s present pages are miscounted"
        if region.present and region.nr_free + sum(used) != region.present:
            yield f"region {number} has lost pages"


def _bucket(search: f.Search, number: int) -> int:
    """The bucket that a region belongs in, by the definition."""
    cfg, region = search.view.cfg, search.view.region[number]
    if region.nr_free == region.present:
        return f.EMPTY * f.CLASSES
    fullness = min(region.nr_free * f.CLASSES // region.present, f.CLASSES - 1)
    if not region.used[0] and not region.used[2]:
        return f.CLEAN * f.CLASSES + fullness
    return (f.TIGHT if region.free_blocks <= cfg.reserve else f.TAINTED) * f.CLASSES + fullness


def _buckets(search: f.Search) -> Iterator[str]:
    """Each region that has a page is on its bucket's list, in ascending order, and on no other."""
    view = search.view
    members: dict[int, list[int]] = {}
    for number in range(view.cfg.nr_regions):
        if view.region[number].present:
            members.setdefault(_bucket(search, number), []).append(number)
    for bucket in range(f.NR_BUCKETS):
        found: list[int] = []
        number = int(search.bucket[bucket])
        while number >= 0 and len(found) <= view.cfg.nr_regions:
            if view.region[number].bucket != bucket:
                yield f"region {number} does not know its bucket"
            found.append(number)
            number = view.region[number].next
        if found != members.get(bucket, []):
            yield f"bucket {bucket} holds regions {found} and should {members.get(bucket, [])}"


def _bits(search: f.Search) -> Iterator[str]:
    """Each bit says what lists and buckets say."""
    cfg, view = search.view.cfg, search.view
    if not cfg.regional:
        return
    lists = _expected_lists(search)
    for which in range(f.NR_SETS):
        bits = search.bits[which * cfg.words : (which + 1) * cfg.words].astype(np.uint64)
        found = {64 * w + b for w, word in enumerate(bits.tolist()) for b in range(64) if word >> b & 1}
        if which >= f.SETS_BY_BUCKET:
            bucket = which - f.SETS_BY_BUCKET
            said = {
                n for n in range(cfg.nr_regions) if view.region[n].present and view.region[n].bucket == bucket
            }
        elif which >= f.SETS_BY_TYPE:
            mt, order = divmod(which - f.SETS_BY_TYPE, f.NR_ORDERS)
            said = {pfn >> cfg.region_order for pfn in lists.get((order, mt), [])}
        else:
            said = {
                pfn >> cfg.region_order
                for (order, _), pfns in lists.items()
                if order == which
                for pfn in pfns
            }
        if found != said:
            yield f"bitmap {which} names regions {sorted(found)} and should {sorted(said)}"


def problems(search: f.Search) -> list[str]:
    """What in a zone differs from a recount: nothing, or sentences. Slow: for tests and proofs."""
    try:
        return [*_lists(search), *_regions(search), *_buckets(search), *_bits(search)]
    except IndexError as error:
        return [str(error)]
