# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory from which allocation tags and page_owner of a few pageblocks are read: a dump's part that fits in a test."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.capture.holders_claims import Claims
from kevacuate.capture.holders_drgn import _name_modules, _page_ext, _pages, _stack
from kevacuate.capture.holders_page_ext import claim_by_owner, claim_by_tags
from kevacuate.capture.vmcore_drgn import DrgnCore, open_core
from kevacuate.capture.vmcore_lists import geometry, zone_readers
from kevacuate.measure.holders import MOVABLE, Holders

BLOCKS = 1
"""Pageblocks in an excerpt: what lies between two of one section would be kept, too."""


class Asked:
    """Passes on what a core is asked, and keeps the answers."""

    def __init__(self, core: DrgnCore) -> None:
        self.core = core
        self.section_pages = core.section_pages
        self.answers: dict[str, Any] = {}
        self.memory: dict[int, bytes] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*words: Any) -> Any:
            answer = getattr(self.core, name)(*words)
            self.answers[" ".join(map(str, (name, *words)))] = answer
            return answer

        return ask

    def read(self, address: int, size: int) -> bytes:
        """Memory; the longest piece at an address is kept."""
        data = self.core.read(address, size)
        if size > len(self.memory.get(address, b"")):
            self.memory[address] = data
        return data


def take_excerpt(dump: Path, vmlinux: Path, found: Holders, out: Path) -> None:
    """Write the excerpt of the blocks in which the first holder has most pages, with the names that were read there."""
    core = open_core(dump, vmlinux)
    _name_modules(core)
    asked = Asked(core)
    columns, claims, _ = _pages(core, zone_readers(core, geometry(core)))
    first = found.pages.holders.index(found.rows[0].holder)
    order = found.pages.block_order
    mine = np.bincount(np.flatnonzero(found.pages.code == first) >> order)
    blocks = np.sort(np.argsort(-mine, kind="stable")[:BLOCKS])
    pfn = (blocks[:, None] << order | np.arange(1 << order)).ravel()
    keep = np.zeros(len(claims.code), np.bool_)
    keep[pfn] = found.pages.code[pfn] == first
    claims.code[~keep] = MOVABLE
    rows = np.isin(columns.pfn, np.flatnonzero(keep))
    tables: dict[str, int] = {}
    stacks: dict[str, list[str]] = {}

    def table_of(at: int) -> int:
        return tables.setdefault(str(at), _page_ext(core)(at))

    def stack_of(handle: int) -> list[str]:
        return stacks.setdefault(str(handle), _stack(core, handle))

    names = {}
    for source in ("tags", "owner"):
        mine_now = Claims(np.zeros(len(claims.code), np.uint64), *(np.empty(0, np.int64),) * 3)
        mine_now.code[:] = claims.code
        if source == "tags":
            told = claim_by_tags(asked, columns, mine_now, table_of)  # type: ignore[arg-type]
        else:
            told = claim_by_owner(asked, mine_now, table_of, stack_of)  # type: ignore[arg-type]
        codes = mine_now.code[np.flatnonzero(keep)]
        names[source] = {"told": told, "names": [mine_now.holders[code][:2] for code in codes.tolist()]}
    kept = {
        "pages": len(claims.code), "pfn": np.flatnonzero(keep).tolist(), "flags": columns.flags[rows].tolist(),
        "section_pages": core.section_pages, "answers": asked.answers, "tables": tables, "stacks": stacks,
        "memory": {f"{at:x}": data.hex() for at, data in asked.memory.items()}, "names": names,
    }  # fmt: skip
    out.write_bytes(lzma.compress(json.dumps(kept).encode(), preset=9))
