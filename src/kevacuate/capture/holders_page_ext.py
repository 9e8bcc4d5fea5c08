# SPDX-License-Identifier: GPL-2.0-or-later
"""Who allocated a page, where the kernel keeps it: allocation tags (CONFIG_MEM_ALLOC_PROFILING) and page_owner.

Both lie beside the struct pages, in page_ext, of which every section has a table (mm/page_ext.c); tags may lie in the page's
flags instead (sysctl.vm.mem_profiling=1,compressed; since 6.14).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.capture.holders_claims import Claims
from kevacuate.capture.holders_struct_pages import Columns, has
from kevacuate.capture.vmcore import Core, Unreadable, number, text, variable
from kevacuate.kernel.pageowners import CODETAG_ID_FIRST, PAGE_EXT_OWNER_ALLOCATED
from kevacuate.kernelfiles.allocator_frames import NOT_KEPT, NOT_TOLD, holder_of, is_early
from kevacuate.measure.holders import Holder

Ints = npt.NDArray[np.int64]
TableOf = Callable[[int], int]
"""A pfn to what its section has as page_ext (0: nothing): the entry of a pfn lies pfn times page_ext_size behind it."""

TAGS_ON = "mem_alloc_profiling_key"
"""The static key of allocation tags: above 0 while they are on. Off, pages keep the tags of whoever had them before."""

INVALID = 1
"""Bit of a section's page_ext that is about to go (PAGE_EXT_INVALID)."""


def claim_by_tags(core: Core, columns: Columns, claims: Claims, table_of: TableOf) -> tuple[str, ...]:
    """Name pages by the line of source that allocated them; what could not be said, a sentence each.

    Parameters
    ----------
    core : Core
        The memory.
    columns : Columns
        What struct pages say: where tags lie in their flags.
    claims : Claims
        Takes the names.
    table_of : TableOf
        Finds page_ext.

    """
    if core.symbol("page_alloc_tagging_ops") is None:
        return ("Allocation tags are not told: this kernel has none (CONFIG_MEM_ALLOC_PROFILING).",)
    if core.symbol(TAGS_ON) is not None and not variable(core, TAGS_ON, 4):
        return ("Allocation tags are not told: they are off here (boot with sysctl.vm.mem_profiling=1).",)
    known = _Tags(core)
    if variable(core, "mem_profiling_compressed", 4):
        pfn = np.intersect1d(claims.nameless(), columns.pfn)
        row = np.searchsorted(columns.pfn, pfn)
        shift, mask = variable(core, "alloc_tag_ref_offs", 4), variable(core, "alloc_tag_ref_mask", 8)
        index = columns.flags[row] >> np.uint64(shift) & np.uint64(mask)
        tags = known.of_index(index.astype(np.int64))
    else:
        at = variable_of_ops(core, "page_alloc_tagging_ops")
        pfn = claims.nameless()
        tags = _extension(core, pfn, table_of, at, 8).view("<u8")[:, 0].astype(np.uint64)
    for tag in np.unique(tags).tolist():
        name = known.name(tag)
        if name:
            claims.claim(pfn[tags == np.uint64(tag)], Holder("allocated by", name))
    return ()


class _Tags:
    """The kernel's and its modules' struct alloc_tags."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._size = core.size("struct alloc_tag")
        section = "struct alloc_tag_kernel_section"
        kernel = core.symbol("kernel_tags")
        self._first = self._count = self._modules = 0
        if kernel is not None and has(core, section, "first_tag"):
            self._first = number(core, kernel + core.offset(section, "first_tag"))
            self._count = number(core, kernel + core.offset(section, "count"))
        modules = core.symbol("module_tags")
        if modules is not None and has(core, "struct alloc_tag_module_section", "first_tag"):
            self._modules = number(
                core, modules + core.offset("struct alloc_tag_module_section", "first_tag")
            )

    def of_index(self, index: Ints) -> npt.NDArray[np.uint64]:
        """Addresses of tags by a page's index; 0 for none."""
        place = index - CODETAG_ID_FIRST
        kernel = np.uint64(self._first) + (place * self._size).astype(np.uint64)
        module = np.uint64(self._modules) + ((place - self._count) * self._size).astype(np.uint64)
        module = np.where(self._modules, module, np.uint64(0))
        return np.where(place < 0, np.uint64(0), np.where(place < self._count, kernel, module))

    def name(self, tag: int) -> str:
        """``file:line function`` of a tag; '' where it is none."""
        core = self._core
        if tag < 4096:
            return ""
        try:
            line = number(core, tag + core.offset("struct codetag", "lineno"), 4)
            function, file, module = (
                text(core, at, 256)
                if (at := number(core, tag + core.offset("struct codetag", member)))
                else ""
                for member in ("function", "filename", "modname")
            )
        except Unreadable:
            return ""
        if not function or not file:
            return ""
        return f"{PurePosixPath(file)}:{line} {f'[{module}] ' if module else ''}{function}"


def claim_by_owner(
    core: Core, claims: Claims, table_of: TableOf, stack_of: Callable[[int], list[str]]
) -> tuple[str, ...]:
    """Name pages by the function that page_owner saw ask for them; what could not be said, a sentence each.

    Parameters
    ----------
    core : Core
        The memory.
    claims : Claims
        Takes the names.
    table_of : TableOf
        Finds page_ext.
    stack_of : callable
        A handle of the stack depot to the names of the functions, innermost first; [] where it has none.

    """
    at = variable_of_ops(core, "page_owner_ops")
    if not at or not has(core, "struct page_owner", "handle"):
        return ("page_owner is not told: this kernel was not booted with page_owner=on.",)
    pfn = claims.nameless()
    size = core.size("struct page_owner")
    entry = _extension(core, pfn, table_of, 0, at + size)
    flags = np.ascontiguousarray(entry[:, :8]).view("<u8")[:, 0]
    where = at + core.offset("struct page_owner", "handle")
    handles = np.ascontiguousarray(entry[:, where : where + 4]).view("<u4")[:, 0]
    handles = np.where(flags >> np.uint64(PAGE_EXT_OWNER_ALLOCATED) & np.uint64(1) != 0, handles, 0)
    for handle in np.unique(handles[handles != 0]).tolist():
        stack = stack_of(handle)
        name = holder_of(stack)
        if name not in (NOT_KEPT, NOT_TOLD) and not is_early(stack):
            claims.claim(pfn[handles == handle], Holder("allocated by", name))
    return ()


def variable_of_ops(core: Core, name: str) -> int:
    """Where the data of a user of page_ext begin in an entry; 0 where the kernel has no such user."""
    ops = core.symbol(name)
    if ops is None or not has(core, "struct page_ext_operations", "offset"):
        return 0
    return number(core, ops + core.offset("struct page_ext_operations", "offset"))


def _extension(core: Core, pfn: Ints, table_of: TableOf, at: int, size: int) -> npt.NDArray[np.uint8]:
    """Bytes [at, at + size) of the page_ext of these pages (ascending), uint8[pages, size]; 0 where there are none."""
    result = np.zeros((len(pfn), size), np.uint8)
    entry = variable(core, "page_ext_size", 8)
    if not entry or at + size > entry:
        return result
    for first, last in _runs(pfn, core.section_pages):
        table = table_of(int(pfn[first]))
        if not table or table & INVALID:
            continue
        low, high = int(pfn[first]), int(pfn[last - 1]) + 1
        try:
            data = core.read((table + low * entry) % (1 << 64), (high - low) * entry)
        except Unreadable:
            continue
        rows = np.frombuffer(data, np.uint8).reshape(high - low, entry)
        result[first:last] = rows[pfn[first:last] - low, at : at + size]
    return result


def _runs(pfn: Ints, section: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose pfns lie in one section."""
    if len(pfn):
        bounds: Any = np.flatnonzero(np.diff(pfn // section)) + 1
        yield from zip([0, *bounds.tolist()], [*bounds.tolist(), len(pfn)], strict=True)
