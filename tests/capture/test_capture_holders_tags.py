# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocation tags and page_owner of a real kernel: what QEMU guests of Linux 7.2.13 kept of the pages of a planted module.

tests/data/holders-7.2-tags has it, made by benchmarks/holders/guest.py. The excerpts are the memory that names one pageblock's
planted pages: with tags beside the pages and page_owner (``ext``), and with tags in the pages' flags (``compressed``).
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kevacuate.capture.holders_claims import Claims
from kevacuate.capture.holders_page_ext import claim_by_owner, claim_by_tags
from kevacuate.capture.holders_struct_pages import Columns
from kevacuate.capture.vmcore import Core, Unreadable
from kevacuate.kernel.pageflags import KPF_PGTABLE, KPF_SLAB, flag, tails_as_heads
from kevacuate.measure.holders import MOVABLE, HeldPages, Holder, find_holders
from kevacuate.recording.procfs import parse_slabinfo

GUEST = Path(__file__).parent.parent / "data" / "holders-7.2-tags"
PLANTED = 2500
"""60,000 pages, of which each 24th stays."""
FUNCTION = "plant"
LINE = re.compile(r"plant_pages\.c:\d+ \[plant_pages\] plant")


class Kept:
    """A core that knows what an excerpt holds, and nothing else."""

    def __init__(self, name: str) -> None:
        self.kept: dict[str, Any] = json.loads(
            lzma.decompress((GUEST / f"excerpt-{name}.json.xz").read_bytes())
        )
        self.section_pages = self.kept["section_pages"]
        self.memory = {int(at, 16): bytearray.fromhex(data) for at, data in self.kept["memory"].items()}
        self.pfn = np.array(self.kept["pfn"], np.int64)

    def read(self, address: int, size: int) -> bytes:
        for at, data in self.memory.items():
            if at <= address and address + size <= at + len(data):
                return bytes(data[address - at : address - at + size])
        raise Unreadable(f"{address:x}")

    def __getattr__(self, name: str) -> Any:
        return lambda *words: self.kept["answers"][" ".join(map(str, (name, *words)))]

    def table_of(self, pfn: int) -> int:
        return int(self.kept["tables"][str(pfn)])

    def claims(self) -> tuple[Core, Columns, Claims]:
        """The excerpt's pages, which nothing has named yet."""
        none = np.empty(0, np.int64)
        claims = Claims(np.zeros(self.kept["pages"], np.uint64), none, none, none)
        claims.code[:] = MOVABLE
        claims.code[self.pfn] = 0
        flags = np.array(self.kept["flags"], np.uint64)
        columns = Columns(*(flags if name == "flags" else self.pfn for name in Columns._fields))
        core: Any = self
        return core, columns, claims


def named(claims: Claims, kept: Kept) -> set[Holder]:
    return {claims.holders[code] for code in claims.code[kept.pfn].tolist()}


@pytest.mark.parametrize("name", ["ext", "compressed"])
def test_tags_name_the_line_of_the_module(name: str) -> None:
    kept = Kept(name)
    core, columns, claims = kept.claims()
    assert claim_by_tags(core, columns, claims, kept.table_of) == ()
    (holder,) = named(claims, kept)
    assert holder.kind == "allocated by"
    assert LINE.fullmatch(holder.name)
    assert len(kept.pfn) > 15, "each 24th of 512 pages"


def test_page_owner_names_the_function_of_the_module() -> None:
    kept = Kept("ext")
    core, _, claims = kept.claims()
    stacks = kept.kept["stacks"]
    assert claim_by_owner(core, claims, kept.table_of, lambda handle: stacks[str(handle)]) == ()
    assert named(claims, kept) == {Holder("allocated by", FUNCTION)}


def test_a_page_whose_tag_is_gone_keeps_no_name() -> None:
    kept = Kept("ext")
    core, columns, claims = kept.claims()
    size = core.read(core.symbol("page_ext_size"), 8)[0]
    at = core.read(
        core.symbol("page_alloc_tagging_ops") + core.offset("struct page_ext_operations", "offset"), 8
    )[0]
    table, first = max(kept.memory.items(), key=lambda item: len(item[1]))
    assert table == (kept.table_of(int(kept.pfn[0])) + int(kept.pfn[0]) * size) % (1 << 64)
    first[at : at + 8] = bytes(8)
    claim_by_tags(core, columns, claims, kept.table_of)
    assert claims.code[kept.pfn[0]] == 0
    assert (claims.code[kept.pfn[1:]] > 0).all()


# -- the whole guest, as drgn read its dump --------------------------------------------------------------------


@pytest.fixture(scope="module")
def guest() -> HeldPages:
    """What every page of the dump was."""
    with np.load(GUEST / "pages.npz", allow_pickle=False) as kept:
        code, types = kept["code"].astype(np.int32), kept["block_types"]
    holders = [
        Holder(kind, name, tuple(also)) for kind, name, also in json.loads((GUEST / "names.json").read_text())
    ]
    return HeldPages(code, tuple(holders), types, 9, "vmcore", "vmcore", "7.2.13", "read")


def by_name(guest: HeldPages, kind: str) -> dict[str, int]:
    counts = np.bincount(guest.code[guest.code >= 0], minlength=len(guest.holders))
    return {h.name: int(n) for h, n in zip(guest.holders, counts, strict=True) if h.kind == kind and n}


def test_the_module_is_ranked_first_with_as_many_pages_as_allocinfo_says(guest: HeldPages) -> None:
    first, second = find_holders(guest).rows[:2]
    assert first.holder.kind == "allocated by"
    assert LINE.fullmatch(first.holder.name)
    text = lzma.decompress((GUEST / "allocinfo.xz").read_bytes()).decode()
    (line,) = (line.split() for line in text.splitlines() if "[plant_pages]" in line)
    assert (int(line[0]), int(line[1])) == (PLANTED * 4096, PLANTED)
    assert first.pages == PLANTED
    assert first.otherwise > 10 * second.otherwise


def test_no_tag_has_more_pages_than_allocinfo_says(guest: HeldPages) -> None:
    text = lzma.decompress((GUEST / "allocinfo.xz").read_bytes()).decode()
    said: dict[str, int] = {}
    for size, place, module, function in re.findall(
        r"^ *(\d+) +\d+ (\S+) (?:(\[\w+\]) )?func:(\S+)", text, re.MULTILINE
    ):
        said[" ".join(part for part in (place, module, function) if part)] = int(size) // 4096
    mine = {name: pages for name, pages in by_name(guest, "allocated by").items() if ".c:" in name}
    assert len(mine) > 5
    assert {name for name, pages in mine.items() if pages > said[name]} == set()
    fewer = {name.split()[-1] for name, pages in mine.items() if pages < said[name]}
    assert fewer == {"shmem_alloc_folio", "stack_depot_save_flags", "allocate_cmdlines_buffer"}, (
        "those that can move, and those of chunks that are not compound: the tag is on the first page alone"
    )


def test_slabs_and_tables_agree_with_its_proc(guest: HeldPages) -> None:
    said = parse_slabinfo(lzma.decompress((GUEST / "slabinfo.xz").read_bytes()).decode())
    mine = by_name(guest, "slab")
    assert sum(abs(mine.get(name, 0) - pages) for name, (_, _, pages) in said.items()) <= 24
    words = np.frombuffer(gzip.decompress((GUEST / "kpageflags.gz").read_bytes()), "<u8")
    words = tails_as_heads(words)[: len(guest.code)]
    kinds = np.array([*(h.kind for h in guest.holders), "", "", ""])[guest.code]
    assert (flag(words, KPF_SLAB) != (kinds == "slab")).sum() <= 24
    assert (
        flag(words, KPF_PGTABLE) != (kinds == "page table")
    ).sum() <= 40  # tasks come and go between the two
