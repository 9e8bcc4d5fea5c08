# SPDX-License-Identifier: GPL-2.0-or-later
"""Which stacks hold most memory, from copies of page_owner_stacks/show_stacks: movable or not, in which pageblocks, it
does not say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kevacuate.kernelfiles.allocator_frames import holder_of, is_early
from kevacuate.kernelfiles.page_owner import frames, stacks
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.each import each

MOST_STACKS = 1 << 18
"""Stacks kept; what comes later is only summed up."""

ROWS = 100
"""Stacks and holders in the answer."""


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """The stacks of each file by what they hold.

    Parameters
    ----------
    files : sequence of TextFile
        Copies of page_owner_stacks/show_stacks.
    progress : callable, optional
        Called with (files done, files in all).

    Returns
    -------
    dict
        ``kind``, ``files``, ``advice`` (a copy of page_owner tells more), and ``copies``: one dict a file with ``unit``
        ("base pages", or
        "allocations" of 6.9), ``count`` in all, ``early`` (allocated before page_owner began), ``stacks_in_all``, and by count
        ``holders`` and ``stacks``.

    Raises
    ------
    KevacuateError
        A file cannot be read, or does not decompress.

    """
    copies = each(files, _copy, progress)
    return {
        "kind": "page_owner_stacks",
        "files": [file.name for file in files],
        "copies": copies,
        "advice": _advice(copies),
    }


def _copy(file: TextFile) -> dict[str, Any]:
    """The answer of one file."""
    held: dict[tuple[str, ...], int] = {}
    holders: dict[str, int] = {}
    total = early = 0
    pages = True
    for one in stacks(file):
        named = frames(one.stack)
        pages &= one.pages
        total += one.number
        if is_early(named):
            early += one.number
        elif named in held or len(held) < MOST_STACKS:
            held[named] = held.get(named, 0) + one.number
            asked = holder_of(named)
            holders[asked] = holders.get(asked, 0) + one.number
    ranked = sorted(held.items(), key=lambda item: (-item[1], item[0]))
    return {
        "file": file.name,
        "unit": "base pages" if pages else "allocations",
        "count": total,
        "early": early,
        "stacks_in_all": len(held),
        "holders": [
            {"holder": name, "count": n}
            for name, n in sorted(holders.items(), key=lambda item: (-item[1], item[0]))[:ROWS]
        ],
        "stacks": [
            {"holder": holder_of(named), "stack": list(named), "count": n} for named, n in ranked[:ROWS]
        ],
    }


def _advice(copies: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What tells more."""
    if not any(copy["stacks"] for copy in copies):
        return []
    return [
        {
            "do": "Give a copy of /sys/kernel/debug/page_owner: it says which pageblocks each stack's pages lie in.",
            "evidence": "show_stacks names neither migratetypes nor pages.",
            "source": "Documentation/mm/page_owner.rst",
        }
    ]
