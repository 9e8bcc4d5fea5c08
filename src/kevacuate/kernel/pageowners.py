# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers in a struct page, or beside it, that say whose the page is. Read at 7.2; each says since when it holds."""

from __future__ import annotations

PP_SIGNATURE = 0xDEAD_0000_0000_0040
"""page->pp_magic of a page_pool's page, 5.10: 0x40 + POISON_POINTER_DELTA as x86-64 configures it (include/linux/poison.h)."""

PP_MAGIC_MASK = 0xFFFF_FF80_0000_007C
"""Bits of pp_magic that are the signature's on 64-bit kernels: bits 7 to 38 hold a DMA index since 6.16 (include/linux/mm.h)."""

MEMCG_DATA_KMEM = 1 << 1
"""Bit of page->memcg_data: an obj_cgroup is charged, not a mem_cgroup. 5.11 (include/linux/memcontrol.h)."""

MEMCG_DATA_FLAGS = 3
"""Bits of page->memcg_data that are no part of the pointer."""

PAGE_EXT_OWNER_ALLOCATED = 1
"""Bit of page_ext->flags of a page in use whose page_owner is set: enum page_ext_flags. 5.4 and later."""

CODETAG_ID_FIRST = 2
"""First index of a page's allocation tag that stands for a tag; 0 is none, 1 empty (include/linux/pgalloc_tag.h, 6.14)."""

PAGE_TYPES = {
    "PGTY_hugetlb": "hugetlb",
    "PGTY_zsmalloc": "zsmalloc",
    "PGTY_guard": "debug guard page",
    "PGTY_unaccepted": "unaccepted memory",
    "PGTY_large_kmalloc": "large kmalloc",
}
"""enum pagetype (6.11; include/linux/page-flags.h) to what a page of it is; slabs and page tables have flags."""
