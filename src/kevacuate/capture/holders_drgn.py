# SPDX-License-Identifier: GPL-2.0-or-later
"""What every page is that cannot move, from a kernel's memory by means of drgn: a dump, /proc/kcore, or a running QEMU guest.

Each source names the pages that those before it left: struct pages (slab caches, page tables, page types, page_pool, per-CPU
memory), the vmalloc areas (kernel stacks, callers), open pipes and sockets, allocation tags, page_owner; at last the memory
cgroup that is charged. What remains is counted as unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.capture.holders_claims import Claims
from kevacuate.capture.holders_files import claim_open_files, pfns_of
from kevacuate.capture.holders_page_ext import claim_by_owner, claim_by_tags
from kevacuate.capture.holders_struct_pages import (
    Columns,
    StructPages,
    claim_by_struct_page,
    claim_off_lru,
    has,
)
from kevacuate.capture.vmcore import Core, Fields, Unreadable
from kevacuate.capture.vmcore_blocks import pageblocks
from kevacuate.capture.vmcore_check import pages_of
from kevacuate.capture.vmcore_drgn import DrgnCore
from kevacuate.capture.vmcore_lists import ZoneReader, geometry, pcp_pages, zone_readers
from kevacuate.capture.vmcore_pages import PageWords
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import KPF_NOPAGE
from kevacuate.kernel.pageowners import MEMCG_DATA_FLAGS, MEMCG_DATA_KMEM
from kevacuate.kernel.pcp import pcp_order
from kevacuate.measure.holders import UNKNOWN, HeldPages, Holder

HUGEPAGE_ORDER = 9
"""HPAGE_PMD_ORDER of x86-64."""

NO_SYMBOL = "a function without a symbol"
"""The name of a function that neither the debug information nor kallsyms name: a module's that is gone, or its init text."""

STACK_TASKS = 64
"""Tasks that are looked at for the caller of vmalloc that made their stacks."""

Ints = npt.NDArray[np.int64]


def read_holders(core: DrgnCore, source: str) -> HeldPages:
    """What every page of a kernel is.

    Parameters
    ----------
    core : DrgnCore
        Its memory.
    source : str
        ``vmcore``, ``kcore`` or ``qemu``.

    Raises
    ------
    KevacuateError
        It is not a kernel whose allocator is known, or its struct pages are not in the dump.

    """
    try:
        return _read(core, source)
    except Unreadable as error:
        raise KevacuateError(
            f"{core.name} lacks memory that says what pages are ({error}): it is cut off, or was filtered."
        ) from None


def _read(core: DrgnCore, source: str) -> HeldPages:
    _name_modules(core)
    sizes = geometry(core)
    zones = zone_readers(core, sizes)
    columns, claims, told = _pages(core, zones)
    told += _ask(core, columns, claims)
    claims.spread()
    blocks = pageblocks(zones)
    types = np.full(-(-len(claims.code) >> sizes.block_order), -1, np.int8)
    inside = blocks.pfn >> sizes.block_order < len(types)
    types[blocks.pfn[inside] >> sizes.block_order] = blocks.mt[inside]
    return HeldPages(
        claims.code,
        tuple(claims.holders),
        types,
        sizes.block_order,
        source,
        core.name,
        core.release,
        "read",
        tuple(told),
    )


def _name_modules(core: DrgnCore) -> None:
    """Have functions of modules be found in the kernel's own kallsyms, because their debug information is not loaded."""
    try:
        from drgn.helpers.linux.kallsyms import load_module_kallsyms

        symbols = load_module_kallsyms(core.program)
        core.program.register_symbol_finder("kevacuate_modules", symbols, enable_index=-1)
    except (ImportError, LookupError, AttributeError, TypeError, ValueError, core.drgn.FaultError):
        return  # no modules, or not all of their memory is there: their functions stay without a name


def _pages(core: Core, zones: list[ZoneReader]) -> tuple[Columns, Claims, list[str]]:
    """What struct pages say of pages that cannot move, claims in which free and movable pages are known, what is not told."""
    sizes = zones[0].sizes
    collected = StructPages(core)
    words = PageWords(core, sizes, zones, collected)
    if (words.flags == np.uint64(1 << KPF_NOPAGE)).all():
        raise KevacuateError(
            f"{core.name} holds no struct pages: it was filtered, and says of no page what it is."
        )
    order = np.clip(words.buddy_order, 0, sizes.orders - 1)
    pages = [
        (words.buddy_pfn[order == n][:, None] + np.arange(1 << n)).ravel() for n in np.unique(order).tolist()
    ]
    top = len(words.flags)
    free = np.concatenate([np.empty(0, np.int64), *pages])
    free = free[free < top]
    told = []
    try:
        lists = pcp_pages(zones)
        listed = pages_of(lists.pfn, pcp_order(lists.pindex, HUGEPAGE_ORDER))
        free = np.concatenate([free, listed[listed < top]])
    except KevacuateError:
        told.append(
            "Per-CPU lists changed while they were read: pages on them count as unknown kernel pages."
        )
    tails, heads = words.tails
    return collected.columns, Claims(words.flags, free, tails, heads), told


def _ask(core: DrgnCore, columns: Columns, claims: Claims) -> list[str]:
    """Have every source name pages; what they could not say, a sentence each."""
    told: list[str] = []
    claim_by_struct_page(core, columns, claims, _merged(core))
    told += _claim_vmalloc(core, claims)
    told += claim_open_files(core, claims, _file_tables(core))
    claim_off_lru(columns, claims)
    tables = _page_ext(core)
    told += claim_by_tags(core, columns, claims, tables)
    told += claim_by_owner(core, claims, tables, lambda handle: _stack(core, handle))
    _claim_charged(core, columns, claims)
    return told


def _merged(core: DrgnCore) -> dict[str, tuple[str, ...]]:
    """Names of caches that were merged into a cache, by its name; {} where the kernel does not keep them."""
    from drgn.helpers.linux.slab import get_slab_cache_aliases

    found: dict[str, list[str]] = {}
    try:
        for name, target in get_slab_cache_aliases(core.program).items():
            if not name.startswith(":"):
                found.setdefault(target, []).append(name)
    except (LookupError, AttributeError, TypeError, ValueError, core.drgn.FaultError):
        return {}
    return {target: tuple(sorted(names)) for target, names in found.items()}


def _claim_vmalloc(core: DrgnCore, claims: Claims) -> tuple[str, ...]:
    """Name the pages of vmalloc areas by their callers, and kernel stacks; what could not be said, a sentence each."""
    from drgn.helpers.linux.mm import for_each_vmap_area

    stacks = _stack_callers(core)
    found: dict[Holder, list[Ints]] = {}
    lost = False
    try:
        for area in for_each_vmap_area(core.program):
            at = int(area.vm.value_())
            if not at:
                continue
            try:
                pages, caller = _area(core, at, len(claims.code))
            except Unreadable:
                continue
            holder = (
                Holder("kernel stack", "") if caller in stacks else Holder("vmalloc", _function(core, caller))
            )
            found.setdefault(holder, []).append(pages)
    except (LookupError, AttributeError, core.drgn.FaultError):
        lost = True
    for holder in sorted(found):
        claims.claim(np.concatenate(found[holder]), holder)
    return ("The list of vmalloc areas was read in part only.",) if lost else ()


def _area(core: Core, at: int, most: int) -> tuple[Ints, int]:
    """Pfns of a struct vm_struct's pages, of which *most* are believed, and the address in the function that called vmalloc."""
    vm = Fields(core, "struct vm_struct", at)
    count, pages = vm.get("nr_pages"), vm.get("pages")
    if not count or not pages or count > most:
        return np.empty(0, np.int64), vm.get("caller")
    return pfns_of(core, np.frombuffer(core.read(pages, 8 * count), "<u8").tolist()), vm.get("caller")


def _stack_callers(core: DrgnCore) -> set[int]:
    """The callers of vmalloc that made the stacks of tasks."""
    from drgn.helpers.linux.pid import for_each_task

    found: set[int] = set()
    if not has(core, "struct task_struct", "stack_vm_area"):
        return found
    try:
        for number, task in enumerate(for_each_task(core.program)):
            area = int(task.stack_vm_area.value_())
            if area:
                found.add(Fields(core, "struct vm_struct", area).get("caller"))
            if number >= STACK_TASKS:
                break
    except (LookupError, AttributeError, Unreadable, core.drgn.FaultError):
        pass
    return found


def _file_tables(core: DrgnCore) -> set[int]:
    """Addresses of the struct files_structs of all tasks; as far as the tasks can be read."""
    from drgn.helpers.linux.pid import for_each_task

    found: set[int] = set()
    try:
        for task in for_each_task(core.program):
            found.add(int(task.files.value_()))
    except (LookupError, AttributeError, core.drgn.FaultError):
        pass
    return found


def _function(core: DrgnCore, address: int) -> str:
    """The function that an address lies in."""
    try:
        return str(core.program.symbol(address).name)
    except (LookupError, core.drgn.FaultError):
        return NO_SYMBOL


def _page_ext(core: DrgnCore) -> Callable[[int], int]:
    """A function that gives a pfn's section's page_ext."""

    def table_of(pfn: int) -> int:
        from drgn.helpers.linux import mmzone

        try:
            section: Any = mmzone.pfn_to_section(core.program, pfn)
            return int(section.page_ext.value_()) if section else 0
        except (LookupError, AttributeError, ValueError, core.drgn.FaultError):
            return 0

    return table_of


def _stack(core: DrgnCore, handle: int) -> list[str]:
    """The functions of a stack of the depot, innermost first."""
    from drgn.helpers.linux.stackdepot import stack_depot_fetch

    try:
        trace = stack_depot_fetch(core.drgn.Object(core.program, "depot_stack_handle_t", handle))
        return [frame.name if frame.name[:2] != "0x" else NO_SYMBOL for frame in trace or ()]
    except (LookupError, AttributeError, ValueError, core.drgn.FaultError):
        return []


def _claim_charged(core: DrgnCore, columns: Columns, claims: Claims) -> None:
    """Name pages that nothing else named by the memory cgroup that is charged for them."""
    charged = columns.memcg & np.uint64(MEMCG_DATA_KMEM) != 0
    for data in np.unique(columns.memcg[charged]).tolist():
        path = _cgroup(core, data & ~MEMCG_DATA_FLAGS)
        if path:
            mine = columns.pfn[charged & (columns.memcg == np.uint64(data))]
            claims.claim(mine, Holder(UNKNOWN, f"charged to cgroup {path}"))


def _cgroup(core: DrgnCore, objcg: int) -> str:
    """The path of the memory cgroup of a struct obj_cgroup; '' where it cannot be read."""
    from drgn.helpers.linux.cgroup import cgroup_path

    try:
        group: Any = core.drgn.Object(core.program, "struct obj_cgroup *", objcg)
        return str(cgroup_path(group.memcg.css.cgroup).decode("utf-8", "replace"))
    except (LookupError, AttributeError, ValueError, core.drgn.FaultError):
        return ""
