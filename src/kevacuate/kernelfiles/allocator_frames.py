# SPDX-License-Identifier: GPL-2.0-or-later
"""Which functions of a kernel's stack are the allocators' own, so that the one that asked for the memory can be named."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OWN = re.compile(
    r"""(?:
    _*set_page_owner\w* | save_stack | prep_new_page | post_alloc_hook | get_page_from_freelist | rmqueue\w*
  | _*alloc_pages?(?:_(?:noprof|current|node|nodemask|mpol|policy|vma|internal|interleave|slowpath|direct_compact|preferred|many))*
  | _*alloc_frozen_pages?\w* | alloc_slab_page
  | _*get_free_pages?\w* | get_zeroed_page\w* | _*folio_alloc\w* | vma_alloc_folio\w* | alloc_migration_target
  | allocate_slab | new_slab(?:_objects)? | _*slab_alloc\w* | _*slab_alloc_node\w* | slab_post_alloc_hook | refill_objects
  | _*refill_sheaf\w* | alloc_(?:full|empty)_sheaf\w* | _*pcs_\w+ | alloc_from_pcs\w* | barn_\w+ | alloc_slab_obj_exts\w*
  | account_slab\w* | alloc_single_from_new_slab | _*kmem_cache_alloc\w* | kmem_getpages | cache_grow\w* | cache_alloc_refill
  | _*cache_alloc\w* | fallback_alloc | _*k[mvz]alloc\w* | _*kcalloc\w* | _*kmalloc\w* | _*do_kmalloc\w* | _*kvmalloc\w* | _*kvzalloc\w*
  | _*kzalloc\w* | _*krealloc\w* | _*kvrealloc\w* | _*do_krealloc\w* | kmemdup\w* | kstrdup\w* | _*vmalloc\w* | _*vzalloc\w* | vmap\w*
  | alloc_pages_bulk\w* | _*alloc_pages_bulk\w* | alloc_pages_exact\w* | make_alloc_exact\w* | mempool_alloc\w* | mempool_kmalloc | page_frag_alloc\w*
  | dump_stack\w* | stack_trace_save\w* | kasan_\w+ | __kasan_\w+ | mod_memcg_\w+
)(?:\.(?:constprop|isra|part|cold)\.?\d*)*""",
    re.VERBOSE,
)

NOT_KEPT = "not kept"
"""The holder of a stack that page_owner could not keep, or did not print."""

NOT_TOLD = "not told"
"""The holder of a stack that ends inside the allocators."""


def holder_of(stack: Sequence[str]) -> str:
    """The innermost function that is none of an allocator's own; :data:`NOT_KEPT` of no stack, :data:`NOT_TOLD` if none is.

    Parameters
    ----------
    stack : sequence of str
        Functions, innermost first (:func:`kevacuate.kernelfiles.page_owner.frames`).

    """
    if not stack or {"register_failure_stack", "register_dummy_stack"} & set(stack[:2]):
        return NOT_KEPT
    return next((name for name in stack if not _OWN.fullmatch(name)), NOT_TOLD)


def is_early(stack: Sequence[str]) -> bool:
    """Whether a stack stands for pages that were allocated before page_owner began (mm/page_owner.c, init_pages_in_zone)."""
    return "register_early_stack" in stack[:2]
