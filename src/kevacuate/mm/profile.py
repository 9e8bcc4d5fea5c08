# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel profiles: what differs between kernel versions, gathered in one place (docs/model.md, section Profiles).

A profile is chosen once, by the recorded kernel's release; :mod:`kevacuate.mm.layout` writes its switches into ``cfg``, and the
functions that differ read them there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from kevacuate.errors import KevacuateError


@dataclass(frozen=True)
class Profile:
    """The behaviour of one kernel series, as far as it differs from the newest one modelled, whose values are the defaults."""

    name: str
    """Series, `7.2`."""
    verified: bool = False
    """Whether recordings of that kernel have been verified against the model."""
    source: str = ""
    """The release whose source was read; empty: none was."""
    fallback: Literal["claim", "steal_suitable"] = "claim"
    """What __rmqueue does once its own lists are empty. `claim`: __rmqueue_claim, then __rmqueue_steal, remembering the mode
    within one refill. `steal_suitable`: __rmqueue_fallback with steal_suitable_fallback moves free pages to the wanted type's
    lists (a block's, whether or not the block is then retyped, or one buddy), and __rmqueue_smallest is tried again; small
    movable requests search from the smallest order up."""
    claim_refuses_highatomic: bool = False
    """Whether try_to_steal_block (try_to_claim_block later) refuses a candidate whose block is of type highatomic."""
    merge_retypes: bool = True
    """Whether __free_one_page gives the buddy's blocks the freed side's type (change_pageblock_range) when buddies of
    different types merge."""
    split_by_block: bool = True
    """Whether a chunk larger than a block that is freed to the buddy lists is freed block by block (split_large_buddy), each
    with its own type; else whole, with its first block's (__free_pages_ok)."""
    pcp_type: Literal["block", "cached"] = "block"
    """Which list free_pcppages_bulk drains a page to. `block`: that of the type its block has now. `cached`: that noted when
    the page came to the per-CPU list (get_pcppage_migratetype: its block's type at the free, free_unref_page_prepare, or the
    list it was refilled from, __rmqueue_smallest), unless the zone has isolated blocks."""
    pcp_tuning: Literal["sub_batches", "one_call", "fixed"] = "sub_batches"
    """How per-CPU lists are sized. `sub_batches`: high adapts (nr_pcp_high, nr_pcp_alloc), drains go in calls of `batch` pages,
    free_high needs free_count >= batch + high_min / 2. `one_call`: high adapts, one free_pcppages_bulk per drain, free_high needs
    free_count >= batch. `fixed`: high is fixed (zone_highsize), refills take `batch`, nr_pcp_free doubles with free_factor,
    free_high (free_factor > 0) frees everything (free_unref_page_commit)."""
    below_high: bool = True
    """Whether get_page_from_freelist sets ZONE_BELOW_HIGH."""
    decay: bool = True
    """Whether the vmstat worker calls decay_pcp_high."""
    free_highatomic: bool = True
    """What __zone_watermark_unusable_free subtracts for the highatomic reserve: its free pages (nr_free_highatomic), or, if
    False, all of it (nr_reserved_highatomic)."""
    reserve_point: Literal["rmqueue_buddy", "get_page_from_freelist"] = "rmqueue_buddy"
    """Who calls reserve_highatomic_pageblock: only rmqueue_buddy, __rmqueue_pcplist refusing to refill for ALLOC_HIGHATOMIC; or
    get_page_from_freelist for a page of any path."""
    reserve_size: Literal["hundredth", "hundredth_and_block"] = "hundredth"
    """How large reserve_highatomic_pageblock lets the reserve grow: a hundredth of the zone in whole blocks, nothing in zones
    of fewer than a hundred blocks; or a hundredth plus one block, a block at a time."""
    isolate: Literal["bit", "type"] = "bit"
    """How set_migratetype_isolate marks a block: a bit beside the type (PB_migrate_isolate), or MIGRATE_ISOLATE in its place, so
    that unset_migratetype_isolate makes the block movable whatever it was (alloc_contig_range, memory offlining)."""
    skip_awake_nodes: bool = True
    """Whether get_page_from_freelist first passes over nodes whose kswapd is awake."""
    boost_wakes_all: bool = False
    """Whether rmqueue wakes kswapd for a boosted zone whatever the request (else only with ALLOC_KSWAPD)."""
    defrag_mode: bool = True
    """Whether the kernel has vm.defrag_mode."""
    vfree_regroups: bool = True
    """Whether the pages of a chunk that vmalloc has split are freed together in chunks as large as can be
    (__free_contig_range), else page by page. Verification alone reads it: a replay frees what the events say."""
    unsure: tuple[str, ...] = field(default=(), repr=False)
    """What is taken from the nearest kernel that is known, or is approximate, in words."""
    not_modelled: tuple[str, ...] = field(default=(), repr=False)
    """Differences to the newest kernel in what no profile models, in words."""

    @property
    def lists_follow_blocks(self) -> bool:
        """Whether a free page always lies on the list of its block's type."""
        return (
            self.fallback == "claim"
            and self.merge_retypes
            and self.split_by_block
            and self.pcp_type == "block"
        )


NOT_MODELLED = (
    "in open loop: direct compaction and reclaim, which are in the demand as they were recorded",
    "swap but to a zram, the multi-gen LRU of kernels before 7.2, page tables and their accessed bits",
    "shrinkers of slabs (what the recorded kernel's freed is in the demand)",
    "per-CPU deltas of NR_FREE_PAGES, and the NUMA expiry of per-CPU lists",
    "alloc_pages_bulk beyond one page a call, page reporting, memory hotplug, hwpoison",
    "in open loop: splitting of large folios whose destination cannot be allocated",
)
"""What no profile models, in words."""

_OLD_COMPACTION = (
    "compaction: compact_gap is 2 << order, not at most 32 pages",
    "compaction: suitability is asked at the LOW mark above order 3",
    "compaction: proactive marks are max(100 - compaction_proactiveness, 5) and 10 more",
    "compaction: asynchronous direct compaction takes blocks of the request's type as sources",
    "compaction: __isolate_free_page and compaction_capture as in 7.2",
    "movable_ops pages are told by mapping bits (__PageMovable)",
    "vmalloc allocates order-0 pages in bulk or huge pages, never other large chunks",
    "there are no trylock allocations and frees",
    "workqueues that say neither WQ_UNBOUND nor WQ_PERCPU are per CPU without a warning (not read)",
)

_V7_2 = Profile("7.2", verified=True, source="7.2.13")
_V6_18 = Profile(
    "6.18",
    unsure=(
        "no source of 6.18 was read: it was observed on a running machine, and is taken to be 7.2 in every switch",
        "per-CPU tuning (pcp_tuning): sub-batches and the condition for free_high",
        "the highatomic reserve's point (reserve_point)",
        "whether nodes with an awake kswapd are passed over (skip_awake_nodes)",
    ),
    not_modelled=(
        "compaction: compact_gap, the suitability mark, proactive marks and the sources of direct compaction are not known",
        "the slow path's order of compaction and reclaim is not known",
        "the order promotion of reclaim and compaction under defrag_mode is newer",
        "vmalloc: whether large chunks come first is not known",
    ),
)
_V6_12 = Profile(
    "6.12",
    source="6.12.117",
    claim_refuses_highatomic=True,
    pcp_tuning="one_call",
    reserve_point="get_page_from_freelist",
    isolate="type",
    skip_awake_nodes=False,
    defrag_mode=False,
    vfree_regroups=False,
    unsure=(
        "an isolated block becomes movable again: alloc_contig_range may ask for another type",
        "the evacuation patch was not written for this kernel: it is modelled where 7.2 has it",
    ),
    not_modelled=(
        *_OLD_COMPACTION,
        "the slow path compacts once before it reclaims; costly __GFP_NORETRY requests fail if that was skipped or deferred",
    ),
)
_V6_1 = replace(
    _V6_12,
    name="6.1",
    source="6.1.192",
    fallback="steal_suitable",
    merge_retypes=False,
    split_by_block=False,
    pcp_type="cached",
    pcp_tuning="fixed",
    below_high=False,
    decay=False,
    free_highatomic=False,
    reserve_size="hundredth_and_block",
    boost_wakes_all=True,
    unsure=(
        *_V6_12.unsure,
        "a free chunk that straddles an isolated block is split into blocks (split_free_page: at the boundaries only)",
        "a block that a chunk in use straddles is not isolated (isolate_single_pageblock would migrate the chunk)",
        "__GFP_HIGH stands for __GFP_ATOMIC, which this kernel still has, in zone_watermark_fast",
    ),
    not_modelled=(
        *_OLD_COMPACTION,
        "the slow path compacts once before it reclaims, and before it uses reserves",
    ),
)

PROFILES = {profile.name: profile for profile in (_V7_2, _V6_18, _V6_12, _V6_1)}
"""All profiles by name, newest first."""


def _series(kernel: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", kernel)
    if match is None:
        raise KevacuateError(
            f"The recorded kernel calls itself {kernel!r}, which is no Linux release: cannot choose a profile."
        )
    return int(match[1]), int(match[2])


def profile_for(kernel: str) -> tuple[Profile, str]:
    """The profile for a kernel release, and how it is to be printed.

    The exact series if there is one, else the newest that is not newer, else the oldest: then it is marked "nearest profile".

    Raises
    ------
    KevacuateError
        *kernel* is no release number.
    """
    wanted = _series(kernel)
    known = sorted(PROFILES.values(), key=lambda profile: _series(profile.name))
    older = [profile for profile in known if _series(profile.name) <= wanted]
    chosen = older[-1] if older else known[0]
    remarks = [] if _series(chosen.name) == wanted else ["nearest profile"]
    remarks += [] if chosen.verified else ["unverified profile"]
    return chosen, f"{chosen.name} ({', '.join(remarks)})" if remarks else chosen.name
