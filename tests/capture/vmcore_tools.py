# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel's memory made by hand: struct pages, zones, lists and pageblock bits, laid out as a kernel's."""

from __future__ import annotations

from collections.abc import Sequence

from kevacuate.capture.vmcore import Unreadable, ZoneAt
from kevacuate.errors import KevacuateError

PAGES = 0xFFFF_EA00_0000_0000
HEAP = 0xFFFF_8880_0000_0000
SPAN = 4096
"""Pages of the one zone, all in one section."""

SECTION = 1 << 15
ORDERS, PCP_LISTS = 11, 14
OLD_TYPES = ("UNMOVABLE", "MOVABLE", "RECLAIMABLE", "HIGHATOMIC", "ISOLATE")
NEW_TYPES = ("UNMOVABLE", "MOVABLE", "RECLAIMABLE", "HIGHATOMIC", "CMA", "ISOLATE")

PAGE = {
    "flags": (0, 8),
    "lru": (8, 16),
    "compound_head": (8, 8),
    "mapping": (24, 8),
    "private": (40, 8),
    "page_type": (48, 4),
}
AREA_BYTES = 16 * 6 + 8
ZONE = {
    "zone_start_pfn": (0, 8),
    "spanned_pages": (8, 8),
    "present_pages": (16, 8),
    "managed_pages": (24, 8),
    "name": (32, 8),
    "_watermark": (40, 32),
    "watermark_boost": (72, 8),
    "lowmem_reserve": (80, 40),
    "flags": (120, 8),
    "nr_reserved_highatomic": (128, 8),
    "compact_cached_free_pfn": (136, 8),
    "compact_cached_migrate_pfn": (144, 16),
    "compact_considered": (160, 4),
    "compact_defer_shift": (164, 4),
    "compact_order_failed": (168, 4),
    "vm_stat": (176, 80),
    "per_cpu_pageset": (256, 8),
    "per_cpu_zonestats": (264, 8),
    "free_area": (272, ORDERS * AREA_BYTES),
}
PCP = {"count": (0, 4), "high": (4, 4), "batch": (8, 4), "lists": (16, 16 * PCP_LISTS)}
LENGTHS = {"free_area": ORDERS, "lists": PCP_LISTS, "_watermark": 4, "lowmem_reserve": 5, "vm_stat": 10}
LENGTHS |= {"vm_stat_diff": 10, "compact_cached_migrate_pfn": 2}
ZONE_BYTES = 4096


class FakeCore:
    """Memory with one zone; *new* lays it out as since 6.12: page types in the highest byte, adapting per-CPU lists, CMA."""

    name, arch, section_pages, pages = "made-up", "x86_64", SECTION, PAGES

    def __init__(self, *, new: bool = False, cpus: int = 2, live: bool = False) -> None:
        self.live, self.release, self.cpus = live, "6.12.0" if new else "6.1.0", tuple(range(cpus))
        self.types = NEW_TYPES if new else OLD_TYPES
        self.new = new
        per = {"free_count": (12, 2), "high_min": (240, 4), "high_max": (244, 4), "alloc_factor": (14, 1)}
        pcp = PCP | (per if new else {"free_factor": (12, 2)})
        self.structs = {
            "struct page": (PAGE, 64),
            "struct zone": (ZONE, ZONE_BYTES),
            "struct free_area": (
                {"free_list": (0, 16 * len(self.types)), "nr_free": (16 * 6, 8)},
                AREA_BYTES,
            ),
            "struct per_cpu_pages": (pcp, 256),
            "struct per_cpu_zonestat": ({"vm_stat_diff": (0, 10)}, 16),
            "struct pglist_data": ({"totalreserve_pages": (0, 8)}, 64),
        }
        self.heap = bytearray(1 << 16)
        self.memmap = bytearray(64 * SPAN)
        self.zone, self.pcps, self.stats, self.node, self.bits, self.names = (
            HEAP + n for n in (0, 4096, 8192, 12288, 16384, 20480)
        )
        for name, value in (("spanned_pages", SPAN), ("present_pages", SPAN), ("managed_pages", SPAN - 100)):
            self.put(self.zone + ZONE[name][0], 8, value)
        self.put(self.zone + ZONE["name"][0], 8, self.names)
        self.put(self.zone + ZONE["per_cpu_pageset"][0], 8, self.pcps)
        self.put(self.zone + ZONE["per_cpu_zonestats"][0], 8, self.stats)
        self.heap[20480:20487] = b"Normal\0"
        for order in range(ORDERS):
            for mt in range(len(self.types)):
                self.link(self.head(order, mt), [])
        for cpu in self.cpus:
            for pindex in range(PCP_LISTS):
                self.link(self.pcp(cpu) + 16 + 16 * pindex, [])
            self.put(self.pcp(cpu) + 8, 4, 63)
        for pfn in range(SPAN):
            self.put(PAGES + 64 * pfn + 48, 4, 0xFFFFFFFF)
        for block in range(SPAN >> 9):
            self.set_block(block, 1)

    # -- making ----------------------------------------------------------------------------------------------

    def _place(self, address: int, size: int) -> tuple[bytearray, int]:
        for start, memory in ((HEAP, self.heap), (PAGES, self.memmap)):
            if start <= address and address + size <= start + len(memory):
                return memory, address - start
        raise Unreadable(f"nothing at {address:#x}")

    def put(self, address: int, width: int, value: int) -> None:
        """Store an integer."""
        memory, at = self._place(address, width)
        memory[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")

    def head(self, order: int, mt: int) -> int:
        """Address of a free list's head."""
        return self.zone + ZONE["free_area"][0] + order * AREA_BYTES + 16 * mt

    def pcp(self, cpu: int) -> int:
        """Address of a CPU's per_cpu_pages."""
        return self.pcps + 512 * cpu

    def link(self, head: int, pfns: Sequence[int]) -> None:
        """Make a list of these pages."""
        ring = [head, *(PAGES + 64 * pfn + 8 for pfn in pfns)]
        for here, after in zip(ring, [*ring[1:], head], strict=True):
            self.put(here, 8, after)
            self.put(after + 8, 8, here)

    def free(self, order: int, mt: int, pfns: Sequence[int]) -> None:
        """Fill a free list, with the counters and the pages' marks."""
        self.link(self.head(order, mt), pfns)
        self.add(self.zone + ZONE["free_area"][0] + order * AREA_BYTES + 96, len(pfns))
        self.add(self.zone + ZONE["vm_stat"][0], len(pfns) << order)
        for pfn in pfns:
            self.put(PAGES + 64 * pfn + 48, 4, 0xF0000000 if self.new else 0xFFFFFF7F)
            self.put(PAGES + 64 * pfn + 40, 8, order)

    def add(self, address: int, value: int) -> None:
        """Add to a 64-bit counter."""
        self.put(address, 8, int.from_bytes(self.read(address, 8), "little", signed=True) + value)

    def fill_pcp(self, cpu: int, pindex: int, pfns: Sequence[int], order: int = 0) -> None:
        """Fill a per-CPU list."""
        self.link(self.pcp(cpu) + 16 + 16 * pindex, pfns)
        count = int.from_bytes(self.read(self.pcp(cpu), 4), "little")
        self.put(self.pcp(cpu), 4, count + (len(pfns) << order))

    def set_block(self, block: int, mt: int, *, skip: bool = False) -> None:
        """A pageblock's four bits."""
        at, shift = self.bits + block // 2, 4 * (block % 2)
        byte = self.read(at, 1)[0] & ~(15 << shift)
        self.put(at, 1, byte | (mt | 8 * skip) << shift)

    # -- what a Core gives -----------------------------------------------------------------------------------

    def has(self, struct: str, member: str) -> bool:
        return member in self.structs[struct][0]

    def offset(self, struct: str, member: str) -> int:
        if not self.has(struct, member):
            raise KevacuateError(f"{struct} has no {member}")
        return self.structs[struct][0][member][0]

    def width(self, struct: str, member: str) -> int:
        return self.structs[struct][0][member][1]

    def length(self, struct: str, member: str) -> int:
        return len(self.types) if member == "free_list" else LENGTHS[member]

    def size(self, struct: str) -> int:
        return self.structs[struct][1]

    def constant(self, name: str) -> int | None:
        names = {f"MIGRATE_{mt}": number for number, mt in enumerate(self.types)}
        names |= {
            "NR_FREE_PAGES": 0,
            "NR_PAGEBLOCK_BITS": 4,
            "PB_migrate_skip": 3,
            "PG_lru": 4,
            "PG_head": 16,
            "PG_reserved": 12,
        }
        names |= {"PGTY_buddy": 0xF0, "PGTY_slab": 0xF5} if self.new else {"PG_slab": 9}
        return names.get(name)

    def symbol(self, name: str) -> int | None:
        return None

    def read(self, address: int, size: int) -> bytes:
        memory, at = self._place(address, size)
        return bytes(memory[at : at + size])

    def zones(self) -> list[ZoneAt]:
        return [ZoneAt(0, 0, self.zone)]

    def node_address(self, node: int) -> int:
        return self.node

    def per_cpu(self, address: int, cpu: int) -> int:
        return address + (512 if address == self.pcps else 16) * cpu

    def block_bits(self, pfn: int) -> int:
        return self.bits if pfn < SECTION else 0


def words(core: FakeCore, pfn: int, flags: int, *, mapping: int = 0, tail_of: int | None = None) -> None:
    """A struct page's flags and mapping, or that it is a tail."""
    at = PAGES + 64 * pfn
    core.put(at, 8, flags)
    core.put(at + 24, 8, mapping)
    if tail_of is not None:
        core.put(at + 8, 8, PAGES + 64 * tail_of + 1)


__all__ = ["PAGES", "SPAN", "FakeCore", "words"]
