# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions of a kernel's stack are the allocators' own, so that the one that asked for the memory can be named."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAMES = (
    r"_*set_page_owner\w*",
    r"save_stack",
    r"prep_new_page",
    r"post_alloc_hook",
    r"get_page_from_freelist",
    r"rmqueue\w*",
    r"_*alloc_pages?(?:_(?:noprof|current|node|nodemask|mpol|policy|vma|internal|interleave|slowpath|direct_compact|preferred|many))*",
    r"_*alloc_frozen_pages?\w*",
    r"alloc_slab_page",
    r"_*get_free_pages?\w*",
    r"get_zeroed_page\w*",
    r"_*folio_alloc\w*",
    r"vma_alloc_folio\w*",
    r"alloc_migration_target",
    r"allocate_slab",
    r"new_slab(?:_objects)?",
    r"_*slab_alloc\w*",
    r"_*slab_alloc_node\w*",
    r"slab_post_alloc_hook",
    r"refill_objects",
    r"_*refill_sheaf\w*",
    r"alloc_(?:full|empty)_sheaf\w*",
    r"_*pcs_\w+",
    r"alloc_from_pcs\w*",
    r"barn_\w+",
    r"alloc_slab_obj_exts\w*",
    r"_*alloc_tagging_\w+",
    r"account_slab\w*",
    r"alloc_single_from_new_slab",
    r"_*kmem_cache_alloc\w*",
    r"kmem_getpages",
    r"cache_grow\w*",
    r"cache_alloc_refill",
    r"_*cache_alloc\w*",
    r"fallback_alloc",
    r"_*k[mvz]alloc\w*",
    r"_*kcalloc\w*",
    r"_*kmalloc\w*",
    r"_*do_kmalloc\w*",
    r"_*kvmalloc\w*",
    r"_*kvzalloc\w*",
    r"_*kzalloc\w*",
    r"_*krealloc\w*",
    r"_*kvrealloc\w*",
    r"_*do_krealloc\w*",
    r"kmemdup\w*",
    r"kstrdup\w*",
    r"_*vmalloc\w*",
    r"_*vzalloc\w*",
    r"vmap\w*",
    r"alloc_pages_bulk\w*",
    r"_*alloc_pages_bulk\w*",
    r"alloc_pages_exact\w*",
    r"make_alloc_exact\w*",
    r"mempool_alloc\w*",
    r"mempool_kmalloc",
    r"page_frag_alloc\w*",
    r"dump_stack\w*",
    r"stack_trace_save\w*",
    r"kasan_\w+",
    r"__kasan_\w+",
    r"mod_memcg_\w+",
)
"""Patterns of their names, of every version."""

_COMPILERS = re.compile(r"(?:\.(?:constprop|isra|part|cold)(?:\.\d+)?)+$")
"""What a compiler puts behind the name of a function that it changed."""

_OWN = re.compile("|".join(_NAMES))

NOT_KEPT = "not kept"
"""The holder of a stack that page_owner could not keep, or did not print."""

NOT_TOLD = "not told"
"""The holder of a stack that ends inside the allocators."""


def holder_of(stack: Sequence[str]) -> str:
    """The innermost function that is none of an allocator's own, without a compiler's marks.

    It is :data:`NOT_KEPT` of no stack, and :data:`NOT_TOLD` if all are an allocator's.

    Parameters
    ----------
    stack : sequence of str
        Functions, innermost first (:func:`kevacuate.kernelfiles.page_owner.frames`).

    """
    if not stack or {"register_failure_stack", "register_dummy_stack"} & set(stack[:2]):
        return NOT_KEPT
    plain = (_COMPILERS.sub("", name) for name in stack)
    return next((name for name in plain if not _OWN.fullmatch(name)), NOT_TOLD)


def is_early(stack: Sequence[str]) -> bool:
    """Whether a stack stands for pages that were allocated before page_owner began (mm/page_owner.c, init_pages_in_zone)."""
    return "register_early_stack" in stack[:2]
