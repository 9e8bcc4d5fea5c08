# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds memory that cannot move, by place in the kernel's code, from copies of /proc/allocinfo.

The file says nothing of migratetypes. A place counts as movable memory by its function, if it is one of :data:`MOVABLE`;
all others count as memory that cannot move, so their sum is an upper bound. Slab pages count twice in the file: as pages under
``mm/slub.c`` and as objects under who asked for them; here only the objects do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from kevacuate.kernelfiles.allocinfo import Tag, tags
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread
from kevacuate.observe.files.each import each

MOVABLE = frozenset(
    {
        "__filemap_get_folio", "__filemap_get_folio_mpol", "filemap_alloc_folio", "page_cache_ra_unbounded",
        "page_cache_ra_order",
        "ra_alloc_folio", "ractl_alloc_folio", "do_read_cache_folio", "filemap_create_folio", "alloc_anon_folio",
        "folio_prealloc",
        "vma_alloc_zeroed_movable_folio", "vma_alloc_anon_folio_pmd", "__do_huge_pmd_anonymous_page", "wp_page_copy",
        "shmem_alloc_folio", "shmem_alloc_and_add_folio", "alloc_swap_folio", "__alloc_swap_folio", "__read_swap_cache_async",
        "swap_cache_alloc_folio", "alloc_migration_target", "compaction_alloc", "compaction_alloc_noprof", "alloc_charge_folio",
        "alloc_misplaced_dst_folio", "do_anonymous_page", "do_cow_fault",
    }
)  # fmt: skip
"""Functions that allocate pages with GFP_HIGHUSER_MOVABLE or a mapping's flags, and nothing else (mm/, names of 6.10 to 7.2)."""

SLAB_PAGES = "alloc_slab_page"
"""Where slabs themselves are allocated (mm/slub.c)."""

ROWS = 100
"""Places in the answer."""

STANDS_OUT = 0.25
"""Share of the memory that cannot move from which one place is reason for advice."""


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Who holds memory that cannot move, of each file.

    Parameters
    ----------
    files : sequence of TextFile
        Copies of /proc/allocinfo.
    progress : callable, optional
        Called with (files done, files in all).

    Returns
    -------
    dict
        ``kind``, ``files``, ``advice``, and ``copies``: one dict a file with ``bytes``, ``movable_bytes``, ``slab_pages_bytes``,
        ``cannot_move_bytes`` (at most), ``places`` (by bytes), ``inaccurate`` (places whose counters missed something) and
        ``lines_not_read``.

    Raises
    ------
    KevacuateError
        A file cannot be read, or does not decompress.

    """
    copies = each(files, _copy, progress)
    return {
        "kind": "allocinfo",
        "files": [file.name for file in files],
        "copies": copies,
        "advice": [piece for copy in copies for piece in _advice(copy)],
    }


def _rank(tag: Tag) -> tuple[int, int, str, int, str]:
    return -tag.size, -tag.calls, tag.file, tag.line, tag.function


def _copy(file: TextFile) -> dict[str, Any]:
    """The answer of one file."""
    unread, everything, movable, slabs, inaccurate, places = Unread(), 0, 0, 0, 0, 0
    largest: list[Tag] = []
    for tag in tags(file, unread):
        everything += tag.size
        inaccurate += not tag.accurate
        if tag.function in MOVABLE:
            movable += tag.size
        elif tag.function == SLAB_PAGES:
            slabs += tag.size
        elif tag.size:
            places += 1
            largest.append(tag)
            if len(largest) > 2 * ROWS:
                largest = heapq.nsmallest(ROWS, largest, key=_rank)
    ranked = heapq.nsmallest(ROWS, largest, key=_rank)
    return {
        "file": file.name,
        "bytes": everything,
        "movable_bytes": movable,
        "slab_pages_bytes": slabs,
        "cannot_move_bytes": everything - movable - slabs,
        "places_in_all": places,
        "places": [
            {
                "place": f"{tag.file}:{tag.line}",
                "function": tag.function,
                "module": tag.module,
                "bytes": tag.size,
                "calls": tag.calls,
            }
            for tag in ranked
        ],
        "inaccurate": inaccurate,
        "lines_not_read": unread.lines,
    }


def _advice(copy: dict[str, Any]) -> list[dict[str, str]]:
    """What to look at, where one place holds much of it."""
    if not copy["places"]:
        return []
    top, held = copy["places"][0], copy["cannot_move_bytes"]
    if top["bytes"] < STANDS_OUT * held:
        return []
    return [
        {
            "do": f"Look first at what allocates in {top['function']} ({top['place']}).",
            "evidence": f"It holds {top['bytes'] / 2**20:,.1f} of {held / 2**20:,.1f} MiB that cannot move.",
            "source": "Documentation/mm/allocation-profiling.rst",
        }
    ]
