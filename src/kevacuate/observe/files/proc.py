# SPDX-License-Identifier: GPL-2.0-or-later
"""What copies of /proc files say of free memory, pageblocks, watermarks, claims and stalls, alone or over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread
from kevacuate.observe.files.procadvice import advice_of
from kevacuate.observe.files.proccounters import counters_answer
from kevacuate.observe.files.procfree import blocks_answer, free_answer, summed
from kevacuate.observe.files.procmarks import index_answer, marks_answer, memory_answer, slab_answer
from kevacuate.observe.files.procshelf import Progress, Series, read_shelf

USUAL_PAGEBLOCK_ORDER = 9
"""Assumed where no file gives it: 2 MiB of 4 KiB pages, as on x86-64 and on arm64 with such pages."""


def answer(files: Sequence[TextFile], progress: Progress | None = None) -> dict[str, Any]:
    """What the files say.

    Parameters
    ----------
    files : sequence of TextFile
        Copies of buddyinfo, pagetypeinfo, zoneinfo, vmstat, meminfo, slabinfo, extfrag_index, unusable_index, in any order.
    progress : callable, optional
        Called with (files done, in all).

    Raises
    ------
    KevacuateError
        The only file cannot be read to its end, or none holds a whole row.

    Returns
    -------
    dict
        ``kind``, ``files``, ``machines`` (one a folder where several have the same kind of file, see
        :func:`kevacuate.observe.files.procshelf.machine_of`; each :func:`machine_answer`), ``lines_cut`` (too long),
        ``rows_not_read`` (rows and zones that are damaged or cut off),
        ``damaged`` (sentences about files that end too early), and ``advice``.

    """
    unread = Unread()
    shelf, damaged = read_shelf(files, progress or (lambda done, total: None), unread)
    if not shelf:
        named = files[0].name if len(files) == 1 else f"{len(files):,} files"
        raise KevacuateError(
            f"{named}: no whole row of a /proc file could be read, so there is nothing to say."
        )
    machines = [machine_answer(name, kinds) for name, kinds in shelf.items()]
    return {
        "kind": "proc",
        "files": sorted(file.name for file in files),
        "lines_cut": sum(file.cut for file in files),
        "rows_not_read": unread.lines,
        "damaged": damaged,
        "machines": machines,
        "advice": [piece for machine in machines for piece in advice_of(machine)],
    }


def machine_answer(name: str, kinds: dict[str, Series]) -> dict[str, Any]:
    """One machine's answer; a part of which there is no file is None.

    ``pageblock_order`` and ``pageblock_order_given`` (False: assumed), ``free`` and ``free_from`` (:func:`free_answer`;
    buddyinfo, or pagetypeinfo where that is all there is), ``blocks`` (:func:`blocks_answer`), ``marks``
    (:func:`marks_answer`), ``counters`` (:func:`counters_answer`), ``memory``, ``slab``, ``extfrag_index``,
    ``unusable_index``.
    """
    types = kinds.get("pagetypeinfo")
    given = (
        next((at.values.pageblock_order for at in types.moments if at.values.pageblock_order), None)
        if types
        else None
    )
    order = given or USUAL_PAGEBLOCK_ORDER
    by_types = summed(types) if types else None
    free = kinds.get("buddyinfo") or (by_types if by_types and by_types.moments else None)
    stopped = (
        "buddyinfo" not in kinds and types is not None and any(at.values.stopped for at in types.moments)
    )
    parts = {
        "blocks": ("pagetypeinfo", blocks_answer),
        "marks": ("zoneinfo", marks_answer),
        "counters": ("vmstat", counters_answer),
        "memory": ("meminfo", memory_answer),
        "slab": ("slabinfo", slab_answer),
        "extfrag_index": ("extfrag_index", index_answer),
        "unusable_index": ("unusable_index", index_answer),
    }
    return {
        "name": name,
        "pageblock_order": order,
        "pageblock_order_given": given is not None,
        "free": free_answer(free, order, stopped) if free else None,
        "free_from": "buddyinfo" if "buddyinfo" in kinds else "pagetypeinfo" if free else None,
        **{part: make(kinds[kind]) if kind in kinds else None for part, (kind, make) in parts.items()},
    }
