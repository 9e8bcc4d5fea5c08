# SPDX-License-Identifier: GPL-2.0-or-later
"""What a simulated machine's state consists of: every record's fields, by the kernel's names. To add a field, add a line here.

Fields that the kernel has bear its names (7.2); times are ns of virtual time, memory is in pages. A field of flags is 0 or 1.
How the fields become loads and stores: :mod:`kevacuate.records`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kevacuate.disjoint import arrays_apart
from kevacuate.mm import constants as k
from kevacuate.records import Record, Records, Words, words


class Zone(Record):
    """``struct zone`` (include/linux/mmzone.h), with the per-zone counters of mm/vmstat.c that the model needs."""

    node: int  #: number of its node (zone_to_nid)
    index: int  #: 0 DMA, 1 DMA32, 2 Normal, 3 Movable (zone_idx)
    zone_start_pfn: int
    zone_end_pfn: int  #: the first pfn behind it
    managed_pages: int
    watermark: Words = words(4)  #: MIN, LOW, HIGH, PROMO, without the boost (_watermark)
    watermark_boost: int
    lowmem_reserve: Words = words(4)  #: by the highest zone index that a request may use
    nr_free_pages: int  #: NR_FREE_PAGES
    nr_free_cma: int  #: NR_FREE_CMA_PAGES
    nr_free_highatomic: (
        int  #: what watermark tests subtract for the reserve: its free pages, in old kernels all of it
    )
    nr_free_pages_blocks: int  #: NR_FREE_PAGES_BLOCKS: pages in free chunks of at least a pageblock
    below_high: int  #: ZONE_BELOW_HIGH
    boosted_watermark: int  #: ZONE_BOOSTED_WATERMARK
    reclaim_active: int  #: ZONE_RECLAIM_ACTIVE
    nr_reserved_highatomic: int
    nr_lru: int  #: pages on the LRU lists, of all five
    nr_isolated: int  #: NR_ISOLATED_ANON and NR_ISOLATED_FILE
    compact_cached_migrate_pfn: Words = words(2)  #: of asynchronous, of synchronous compaction
    compact_cached_free_pfn: int
    compact_init_migrate_pfn: int
    compact_init_free_pfn: int
    compact_considered: int
    compact_defer_shift: int
    compact_order_failed: int
    boost_seen: int  #: the boost when kswapd began: what it will give back (zone_boosts[] of balance_pgdat)
    present_pages: int
    nr_isolate_pageblock: int
    free_area: Words = words(k.NR_ORDERS)  #: free chunks by order (free_area[order].nr_free)
    compact_blockskip_flush: int  #: whether kswapd is to clear the skip bits when it goes to sleep


class PerCpuPages(Record, dtype=np.int32):
    """``struct per_cpu_pages``: the tuning of one zone's lists of one CPU; the lists are threaded through ``link``."""

    count: int  #: pages on the lists
    high: int
    high_min: int
    high_max: int
    batch: int
    flags: int  #: PCPF_*
    alloc_factor: int
    free_count: int  #: in kernels with a fixed high: free_factor, which an allocation halves all the same


class Config(Record):
    """What does not change during a run: the machine's shape, sysctls, costs, and where its kernel differs from others."""

    npages: int  #: page frames, rounded up to whole chunks of the largest order
    npages_real: int
    nr_zones: int
    nr_cpus: int
    nr_nodes: int
    max_page_order: int  #: MAX_PAGE_ORDER
    pageblock_order: int
    hpage_pmd_order: int  #: HPAGE_PMD_ORDER: of THP and of hugetlb's default size; -1 without huge pages
    compaction_hpage_order: (
        int  #: COMPACTION_HPAGE_ORDER: hpage_pmd_order, or without huge pages PMD_SHIFT - PAGE_SHIFT
    )
    zone_dma32: int  #: CONFIG_ZONE_DMA32
    defrag_mode: int  #: vm.defrag_mode
    watermark_boost_factor: int  #: vm.watermark_boost_factor
    page_group_by_mobility_disabled: int
    extfrag_threshold: int  #: vm.extfrag_threshold
    compact_unevictable_allowed: int  #: vm.compact_unevictable_allowed
    stat_interval: int  #: vm.stat_interval, ns
    log_level: int
    log_capacity: int  #: records that ``log`` has room for
    vmstat_phase: int  #: when CPU 0's vmstat worker is due first, ns
    kswapd_wake: int  #: from wakeup_kswapd to balance_pgdat, ns
    kswapd_run: int  #: how long a run of kswapd lasts, ns: in open loop, where it reclaims nothing
    shrink_inactive_ns: int  #: reclaim's cost a page scanned of an inactive list, in closed loop,
    shrink_active_ns: int  #: of an active one
    kswapd_slice_ns: int  #: how long kswapd or kcompactd, then tasks, have the CPU they share, in closed loop; 0: none is shared
    dirty_expire: int  #: vm.dirty_expire_centisecs: after how long dirty folios are written, ns,
    flush_ns: int  #: and how long that takes once reclaim asks for it, not scaled
    swap_pages: int  #: slots of the zram device that is swapped to, in closed loop; 0: no swap
    swappiness: int  #: vm.swappiness
    lru_gen: int  #: /sys/kernel/mm/lru_gen/enabled: the multi-gen LRU in place of active and inactive lists, in closed loop,
    lru_gen_heads: int  #: index in ``lru``, in pairs of words, of its lists' heads,
    lru_gen_words: int  #: and, in words, of object 0's generation and uses
    anon_used: int  #: thousandths of the anonymous pages that are in use all the time, an input
    zram_write_ns: int  #: what reclaim pays for a page that it compresses
    zs_chain: int  #: pages of a zspage (pages_per_zspage) of the one size class that all pages compress to,
    zs_objs: int  #: objects that it has room for (objs_per_zspage)
    nr_zspages: int  #: zspages that there is room for in ``swap``
    zs_heads: int  #: index in ``swap`` of the heads of the lists of fullness groups
    lru_first: int  #: index in ``lru``, in pairs of words, of object 0
    compaction: int  #: whether kcompactd runs; 2: what compact_zone does is given from outside
    compaction_proactiveness: int  #: vm.compaction_proactiveness
    open_loop: int
    nr_workers: int
    evacuate: int  #: whether the evacuation patch is in
    pool: int  #: NR_EVACUATE_ITEMS
    per_node: int  #: one worker a node instead of one a CPU
    skip_hint: int  #: whether the evacuation honours the skip bit
    claims: int  #: for which types a claim of a movable block queues it, a bit each
    on_steal: int  #: whether a steal from a movable block queues it too
    guard: int  #: whether isolated blocks are not claimed
    recheck: int  #: whether a block that is movable again is left alone
    tries: int  #: how often a batch is tried before its block is abandoned
    pass_failed: int  #: whether the evacuation goes on behind pages that failed
    drain_first: int  #: whether per-CPU lists and LRU batches are drained first
    queue_twice: int  #: whether a block that is queued already is queued again
    wait_for_item: int  #: whether a request without an item waits for one; else it is dropped
    drop_clean: int  #: whether clean page cache is dropped; else it is moved
    any_target: int  #: whether destinations come from the allocator; else off free movable lists alone
    isolate_block: int  #: whether the block is isolated while it is evacuated
    work_ns: int
    irq_work_ns: int
    wakeup_ns: int
    scan_ns: int
    isolate_ns: int
    reclaim_ns: int
    migrate_ns: int
    time_scale: int
    evacuated_parts: int  #: index in ``folios`` of the pages of folios that an evacuation has split; their destinations follow
    nr_pcp_lists: int  #: NR_PCP_LISTS
    pcp_base: int  #: index in ``link`` of the first per-CPU list's sentinel
    steal_suitable: int  #: this and what follows: switches of the kernel profile (mm/profile.py)
    refuse_highatomic: int
    merge_retypes: int
    free_piece_order: int  #: largest order that a free to the buddy lists is cut into
    split_by_block: int
    pcp_type_cached: int
    pcp_type_base: int  #: index in ``block`` of the types noted of pages on per-CPU lists
    pcp_fixed: int
    sub_batches: int
    free_high_shift: int  #: free_high needs free_count >= batch + (high_min >> this)
    below_high: int  #: what get_page_from_freelist writes into a zone's below_high
    decay: int
    free_highatomic: int
    reserve_any_path: int
    reserve_one_more: int
    isolate_type: int
    skip_awake: int  #: pass over nodes whose kswapd is awake: more than one node, and a kernel that does
    boost_wakes_all: int
    lists_follow_blocks: int
    notes_slab: int  #: whether pages asked for as reclaimable are noted (ATTR_SLAB): a policy shrinks slabs
    hooks: int  #: which hooks a policy has: a bit each (HOOK_*); REGIONS
    hook: Words = words(k.NR_HOOKS)  #: the address of each hook's machine code; in plain Python its number
    list_watch: int  #: what looks at free-list operations: 1 the log, 2 regions
    pcp_notes: int  #: whether something is noted of pages on per-CPU lists: by old kernels, or for regions
    commit_noted: (
        int  #: whether free_frozen_page_commit is not 7.2's alone: high is fixed, or regions are kept
    )
    region_order: int  #: order of a region; 0: none are kept
    nr_regions: int  #: of all zones
    region_note: (
        int  #: index in ``block`` of what every chunk in use was taken for: 1 + its type, 0 of free ones
    )
    region_link: int  #: index in ``link`` of page 0 on the regions' own free lists; 0: there are none
    region_steer_claims: int  #: this and what follows: as RegionConfig has it (mm/layout.py)
    region_steer_refills: int
    region_passes: int
    region_reserve_least: int
    region_reserve_percent: int
    region_half_rule: int
    region_pack_above: int
    region_taint_nofragment: int
    region_cheap_taints: int
    region_worker: int
    region_start_blocks: int
    region_start_pages: int
    region_stop_blocks: int
    region_stop_pages: int
    region_cooldown_ns: int
    region_nofragment_kept: int
    region_evacuate: int
    region_evacuate_blocks: int
    region_shrink: int
    region_shrink_priority: int
    region_contig: int
    region_contig_tries: int
    region_contig_free: int
    contig_cc: int  #: index in ``cc`` of contiguous allocation's compact_control
    nofragment_kept: int  #: whether the slow path has ALLOC_NOFRAGMENT, and no walk of a zonelist drops it
    nofragment_apart: int  #: whether alloc_flags_nofragment is not 7.2's of a machine with ZONE_DMA32 alone
    region_fullness: Words = words(
        3
    )  #: per cent of its pageblocks that are free, from which a region is in the next class
    region_first: Words = words(
        k.NR_REGION_ZONES
    )  #: by zone: number of its first region, less that region's pfn >> region_order


class Counters(Record):
    """The clock, the counters, and what else there is one of."""

    now: int
    next_due: int  #: when :func:`kevacuate.mm.clock.advance` has something to do
    cpu: int  #: the CPU that acts
    late: int  #: how much later than recorded tasks are, as kswapd or kcompactd had their CPU, ns
    row_t: int  #: recorded time of the demand's last row, ns
    nr_log: (
        int  #: records written to ``log`` since it was last taken (more than the capacity: some were lost)
    )
    allocs: int
    frees: int
    alloc_failed: int
    refills: int
    drains: int
    slowpath: int
    boosts: int
    queued: int  #: this and what follows up to worker_ns: the evacuation patch's; claimed blocks put on a pending list,
    dropped: int  #: not put there for want of an item,
    unready: int  #: nor before pageblock_evacuate_init
    irq_works: int  #: runs of evacuate_irq_work_fn
    started: int  #: evacuations
    skipped: int  #: items whose block was movable again
    started_skip_bit: int  #: evacuations of blocks with the skip bit
    finished: int  #: evacuations
    why: Words = words(len(k.WHY_NAMES))  #: evacuations by how they ended (WHY_*)
    isolated: int  #: pages that evacuations isolated,
    reclaimed: int  #: dropped as clean page cache,
    migrated: int  #: moved,
    failed: int  #: and could not move
    worker_ns: int  #: time that the evacuation's workers spent, and a policy's, not scaled
    claim_refused: int  #: claims refused since too little of the block was free or alike (try_to_claim_block)
    kswapd_wakes: int
    guard_refused: int  #: claims that the evacuation patch's guard refused: an isolated block
    bulk_allocs: int
    highatomic_reserved: int
    highatomic_unreserved: int
    freed_while_isolated: int
    dropped_then_freed: int  #: demand frees of what the model had dropped
    failed_then_freed: int  #: demand frees of what the model could not allocate
    first_shadow: int  #: closed loop: index in ``obj`` of shadow 0, see runs/closed_loop.py
    kept_pages: int  #: pages that the recorded kernel reclaimed while the model still had them
    hit_pages: int  #: of those, pages read again before the model dropped them
    truncated_pages: int  #: of those, pages that the workload gave up before
    refault_pages: int  #: pages that the model dropped and the workload used again
    refaults_failed: int  #: such reads for which no memory was to be had
    first_base_page: int  #: closed loop: index in ``obj`` of the first base page, see mm/base_pages.py,
    nr_base_pages: int  #: how many ids there are,
    next_base_page: int  #: where the next ones are looked for,
    spare_base_page: int  #: ids for the largest object that nobody had when it was last looked: -1 none
    base_pages: int  #: base pages taken in the place of folios that were not to be had,
    base_pages_failed: int  #: and those for which no memory was to be had
    folios_split: int  #: large folios that migration has split for want of a destination,
    split_without_ids: int  #: and that it would have, had there been ids for their pages
    file_pages: int  #: closed loop: pages of files in ``mapping``, 0 where the demand does not number them,
    ra_pages: int  #: and how many are read ahead at most
    attempts: int  #: requests that the recorded kernel refused,
    attempts_given_back: int  #: of those, requests that the model satisfied
    bad_free: int  #: demand frees of what was never allocated
    dst_allocs: int  #: destinations that evacuations asked the allocator for
    tail_placed: int
    regions_tainted: int  #: clean regions that became tainted,
    regions_cleaned: int  #: and tainted ones that became clean
    region_pass: Words = words(k.NR_PASSES)  #: chunks taken by pass
    region_works: int  #: times that a region's worker began,
    region_rests: int  #: and that it had nothing to do or had done nothing
    region_taint_refused: int  #: requests with a cheap fallback that were kept from tainting a region
    region_evacuations: int  #: requests that evacuated pageblocks of tainted regions before they fell back,
    region_evacuations_served: int  #: and made room by that;
    region_evacuated_blocks: int  #: those pageblocks,
    region_evacuated_pages: int  #: pages that moved out of them,
    region_evacuation_ns: int  #: time that it took the requests, not scaled
    region_shrinks: int  #: runs of nodes' shrink works,
    region_shrunk_pages: int  #: pages of slabs that they freed
    contig_success: int  #: requests for more than MAX_PAGE_ORDER has that were served,
    contig_fail: int  #: and that were not;
    contig_ranges: int  #: ranges that they isolated, or tried to,
    contig_scanned: int  #: chunks that they looked at in search of one,
    contig_migrated: int  #: pages that they moved,
    contig_reclaimed: int  #: and dropped as clean page cache,
    contig_ns: int  #: time that it took them, not scaled
    decays: int
    watermark_refused: int
    below_watermark: int  #: pages that an open loop took below the mark
    mode: Words = words(4)  #: pages taken per mode of __rmqueue (RMQUEUE_*)
    capture_order: int  #: capture_control of the task that is freeing: order (-1: none),
    capture_mt: int  #: type,
    capture_zone: int  #: zone,
    captured_pfn: int  #: what it captured, -1 so far
    compactions: int
    compact_migrated: int
    compact_failed: int
    compact_ns: int
    evacuate_freelist: int  #: the first free evacuate item (a stack), -1: none
    evacuate_waiting: int  #: the block that has waited longest for an item, by its record's number, -1: none,
    evacuate_waiting_last: int  #: the one that has waited least
    evacuate_ready: int  #: whether pageblock_evacuate_init has run
    kswapd_runs: Words = words(k.NR_ORDERS)  #: mm_vmscan_kswapd_wake by order, as what follows in closed loop
    kswapd_low_wmark_hit_quickly: int  #: woken again within the short sleep,
    kswapd_high_wmark_hit_quickly: int  #: not balanced before or after it
    allocstall: int  #: rounds of direct reclaim,
    allocstall_zone: Words = words(
        k.NR_ZONE_TYPES
    )  #: ALLOCSTALL_*: by reclaim_idx, the highest zone type the request may use
    direct_reclaims: int  #: calls of try_to_free_pages
    reclaim_stall_ns: int  #: what they cost their callers, not scaled
    pgscan_direct_throttle: int
    flushes: int  #: how often the flusher has written all that was dirty
    flush_due: int  #: when it has written next
    throttled_isolated: int  #: direct reclaims that found too many pages isolated
    pgscan_kswapd: int
    pgscan_direct: int
    pgsteal_kswapd: int
    pgsteal_direct: int
    pgscan_skip: int  #: pages passed over as their zone is too high
    pgrefill: int  #: pages of active lists scanned
    pgactivate: int
    pgdeactivate: int
    lru_gen_aged: int  #: generations that the multi-gen LRU has begun
    nr_swap_pages: int  #: slots that are free; 0 without swap
    swap_free: int  #: the first free slot (a stack), -1: none
    swap_first: int  #: the slot whose page is used again first, -1: none,
    swap_last: int  #: and last
    swap_due: int  #: when the first one is
    zspage_free: int  #: the first record of a zspage that is not in use (a stack), -1: none
    first_zspage_page: int  #: index in ``obj`` of the first zspage's first page
    pswpout: int  #: pages written to swap,
    pswpin: int  #: read from it: each is a major fault,
    swap_full: int  #: pages that found no slot, or of a folio no slots,
    swap_without_ids: int  #: of a large folio no ids for its pages,
    swpout_failed: int  #: no memory for a zspage,
    swpin_failed: int  #: no memory to come back to
    swap_freed: int  #: pages that their owner gave up while they were in swap
    thp_swpout: int  #: huge pages written to swap whole
    zspages_alloc: int  #: zspages allocated,
    zspages_free: int  #: and freed again
    pgscan_anon: (
        int  #: this and what follows: the anonymous part of pgscan_*, pgsteal_* and of the workingset
    )
    pgsteal_anon: int
    workingset_refault_anon: int
    workingset_activate_anon: int
    workingset_restore_anon: int
    nr_vmscan_immediate_reclaim: int  #: dirty pages marked for reclaim once they are written
    workingset_refault_file: int
    workingset_activate_file: int
    workingset_restore_file: int
    extfrag: Words = words(
        3 * 3 * 3 * k.NR_ORDERS
    )  #: [kind of kernel/extfrag.py][type asked][type taken][order taken]
    compact_migrate_scanned: (
        int  #: this and what follows by /proc/vmstat's names: pages that migrate scanners looked at,
    )
    compact_free_scanned: int  #: that free scanners did,
    compact_isolated: int  #: that both took,
    compact_stall: int  #: direct compactions that were neither skipped nor deferred,
    compact_success: int  #: those that gave the page asked for,
    compact_fail: int  #: those that did not
    compact_daemon_wake: int  #: works of kcompactd for an order
    compact_daemon_migrate_scanned: int
    compact_daemon_free_scanned: int
    pgmigrate_success: int  #: pages that any migration moved
    pgmigrate_fail: int
    thp_fault_alloc: int  #: huge faults that got a huge page (:func:`kevacuate.mm.page_alloc.is_thp_fault`),
    thp_fault_fallback: int  #: that got none
    oom_kill: (
        int  #: requests that came to out_of_memory with __GFP_FS: the kernel kills for those, here they fail
    )
    oom_nofs: int  #: the same without __GFP_FS, for which the kernel goes on trying: here they fail
    nofail_failed: int  #: requests with __GFP_NOFAIL that failed: the kernel goes on trying for ever
    slowpath_cut: (
        int  #: times that a request was kept from trying again (MOST_TRIES of mm/slowpath_closed.py)
    )
    direct_compact: Words = words(9)  #: results of try_to_compact_pages (COMPACT_*)
    direct_compact_ns: int  #: time that requests spent in direct compaction, not scaled
    slowpath_exit: Words = words(
        len(k.EXIT_NAMES)
    )  #: requests of a closed loop by how they left the slow path (EXIT_*)
    running_hook: int  #: the hook that runs, plus one; 0: none
    hook_error: int  #: what was wrong with a hook (HOOK_*): none is asked from then on,
    failed_hook: int  #: which one it was,
    hook_value: int  #: what it returned, the argument that was refused, or where its exception is told
    policy_due: int  #: when the policy's worker runs next
    policy_runs: int  #: how often it has run
    policy_busy: int  #: until when its last run took,
    policy_cost: int  #: what that has cost so far, ns, not scaled
    policy_operation: int  #: the address of what it has the model do (mm/policy_work.py)
    hook_rounds: int  #: rounds of loops in this call of a hook


class Node(Record):
    """``struct pglist_data``: a node's zonelist, its kswapd, what its kcompactd was asked for, its pending evacuations."""

    cpu: int  #: its lowest CPU
    nr_zonelist: int  #: zones in its zonelist
    zonelist: Words = words(32)  #: node_zonelists: its own zones first, then by distance
    evacuate_ready: int  #: whether its workqueue could be created (evacuate_irq_work.func)
    evacuate_pending: int  #: the newest pending item (an llist), -1: none
    kswapd_state: int  #: KSWAPD_*
    kswapd_due: int
    kswapd_order: int  #: asked for since it last began
    kswapd_highest_zoneidx: int  #: -1 (MAX_NR_ZONES there): nobody has asked since
    kswapd_alloc_order: int  #: of this run: the order asked for,
    kswapd_reclaim_order: int  #: the order that balance_pgdat returns,
    kswapd_run_highest_zoneidx: int  #: the highest zone index
    kswapd_failures: int  #: runs in a row that reclaimed nothing
    kswapd_slice: int  #: what is left of its slice of the CPU, ns
    nr_lru: Words = words(4 * k.NR_LRU_LISTS)  #: pages on each LRU list: [zone index][LRU_*], in closed loop
    nr_isolated_file: int
    nonresident_age: int
    workingset_activate_file: int
    refaults_file: int  #: workingset_activate_file when reclaim last ended (lruvec->refaults)
    workingset_activate_anon: int
    refaults_anon: int
    anon_cost: int  #: lruvec->anon_cost, kept where there is swap, as is
    file_cost: int
    max_seq: (
        int  #: struct lru_gen_folio, as what follows, with lru_gen alone: the youngest generation's number,
    )
    min_seq: Words = words(2)  #: the oldest one's by type (LRU_GEN_*)
    gen_pages: Words = words(k.NR_GEN_LISTS)  #: nr_pages[generation][type][zone index]
    avg_refaulted: Words = words(2 * k.MAX_NR_TIERS)  #: [type][tier], as what follows,
    avg_total: Words = words(2 * k.MAX_NR_TIERS)
    protected: Words = words(2 * k.MAX_NR_TIERS)
    evicted: Words = words(2 * k.MAX_NR_TIERS)
    refaulted: Words = words(2 * k.MAX_NR_TIERS)
    pgdat_writeback: int  #: PGDAT_WRITEBACK
    nr_marked: int  #: dirty folios that reclaim has marked since the flusher wrote
    kcompactd_state: int  #: KCOMPACTD_*
    kcompactd_due: int
    kcompactd_slice: int  #: what is left of its slice of the CPU, ns
    kcompactd_max_order: int  #: asked for and not yet done
    kcompactd_highest_zoneidx: int
    shrink_due: int  #: when the shrink work for its tainted regions runs, NEVER: it is not queued,
    shrink_busy: int  #: until when its last run took


class CompactControl(Record):
    """``struct compact_control`` of a node's kcompactd; in a closed loop one more, behind the nodes', of direct compactions.

    Sources and their destinations stand in ``folios``.
    """

    zone: int  #: the zone that is compacted
    order: int
    highest_zoneidx: int
    proactive_compaction: int
    migrate_pfn: int
    free_pfn: int
    last_migrated_pfn: int
    whole_zone: int
    fast_search_fail: int
    search_order: int
    fast_start_pfn: int
    finish_pageblock: int
    nr_migratepages: int
    nr_freepages: int
    nr_folios: int  #: folios among the sources
    score: int  #: fragmentation score before a proactive run
    as_first: int  #: whether it goes as compaction was first modelled: kcompactd's, in an open loop
    cost: int  #: ns of this turn
    left: int  #: sources not looked at yet
    failed: int  #: folios of this batch that failed
    enomem: int  #: whether destinations ran out in it
    sources: int  #: index in ``folios`` of the first source (cc->migratepages)
    targets: int  #: index in ``folios`` of the first source's destination
    freepages: (
        int  #: place of its private free lists among a zone's lists of an order (FREEPAGES, FREEPAGES_DIRECT)
    )
    mode: int  #: MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC
    direct_compaction: int
    ignore_skip_hint: int
    ignore_block_suitable: int
    migratetype: int
    alloc_flags: int
    gfp_mask: int
    total_migrate_scanned: int
    total_free_scanned: int
    unmapped: int  #: index in ``folios`` of a direct compaction's unmapped sources,
    failures: int  #: of its folios that failed (ret_folios),
    nr_failures: int  #: how many these are
    succeeded: int  #: pages that its batch has moved,
    failed_pages: int  #: that it could not
    parts: int  #: index in ``folios`` of pages of split folios that wait to be tried (split_folios),
    nr_parts: int  #: how many these are
    batch_folios: int  #: folios of kcompactd's batch, with the pages that split ones have become
    nr_split: int  #: folios of this migration that were split,
    split_pages: int  #: and their pages


class SlowPath(Record):
    """The local variables of __alloc_pages_slowpath, of the request that is in it: one at a time is."""

    alloc_flags: int
    can_compact: int
    compact_first: int
    compact_priority: int
    compact_result: int
    compaction_retries: int
    no_progress_loops: int
    did_some_progress: int  #: pages that its last direct reclaim freed
    can_retry_reserves: int
    tries: int  #: passes through `retry:`
    evacuated: int  #: whether room was made for it in tainted regions, or tried to
    kthread: int  #: whether a kernel thread asks: it captures nothing (PF_KTHREAD)


class ScanControl(Record):
    """``struct scan_control`` (mm/vmscan.c) of a node's kswapd or, the last one, of direct reclaim; and where its loops are."""

    nr_to_reclaim: int
    kswapd: int  #: current_is_kswapd()
    may_deactivate: int  #: DEACTIVATE_FILE
    may_deactivate_anon: int  #: DEACTIVATE_ANON
    file_is_tiny: int
    nr_anon: Words = words(2)  #: of shrink_lruvec, with swap: pages to scan yet of both anonymous lists,
    targets: Words = words(4)  #: and what was to be scanned of every list at first (LRU_*)
    nr_pageout: int  #: pages that this batch wrote to swap
    force_deactivate: int
    skipped_deactivate: int
    no_cache_trim_mode: int
    cache_trim_mode: int
    cache_trim_mode_failed: int
    compaction_ready: int
    order: int
    priority: int
    reclaim_idx: int
    gfp_mask: int
    nr_scanned: int
    nr_reclaimed: int
    nr_unqueued_dirty: int  #: pages of the batch: dirty, and not under writeback
    nr_dirty: int  #: this and what follows: sc->nr
    nr_congested: int
    nr_writeback: int
    nr_immediate: int
    nr_taken: int
    nr: Words = words(2)  #: of shrink_lruvec: pages to scan yet of the inactive and of the active file list,
    lruvec_reclaimed: int  #: nr_reclaimed
    node_reclaimed: int  #: nr_reclaimed when shrink_node began
    reclaimable: int
    loop_reclaimed: int  #: nr_reclaimed when balance_pgdat's loop began anew
    nr_boost_reclaim: int
    boosted: int
    scanned: int  #: pages scanned since it began, of any list
    cost: int  #: ns of that, not scaled
    nr_kept: int  #: folios on ``kept``
    kept: Words = words(k.MIN_LRU_BATCH)  #: what shrink_folio_list leaves on the list, first looked at first
    begun: int  #: with lru_gen, as what follows: whether try_to_shrink_lruvec has begun,
    swappiness: int  #: its swappiness,
    gen_type: int  #: the type that a batch was isolated from,
    isolated: int  #: and the pages isolated
    nr_free_folios: int
    free_folios: Words = words(k.FOLIO_BATCH_SIZE)


class Cpu(Record):
    """What a CPU has of its own beside its per-CPU page lists."""

    node: int
    vmstat_due: int  #: when its vmstat worker runs next
    lru_add_nr: int  #: folios in its lru_add batch (struct folio_batch)
    lru_add: Words = words(k.FOLIO_BATCH_SIZE)


class Worker(Record):
    """A ``kevacuate/N`` worker, with the lists of the evacuation it is at."""

    state: int  #: WORKER_*
    due: int
    busy: int  #: until when its last work took
    item: int  #: the item it works on, -1: none
    cursor: int  #: the pfn to go on at
    nr_migratepages: int  #: folios on ``migratepages``
    head: int  #: the oldest queued item, -1: none
    tail: int
    isolated: int  #: pages of this evacuation so far
    reclaimed: int
    migrated: int
    failed: int
    migratepages: Words = words(k.COMPACT_CLUSTER_MAX)  #: cc.migratepages, front first
    dst: Words = words(k.COMPACT_CLUSTER_MAX)  #: scratch of migrate_pages: destinations,
    unmapped: Words = words(k.COMPACT_CLUSTER_MAX)  #: unmapped sources,
    failed_folios: Words = words(k.COMPACT_CLUSTER_MAX)  #: failed ones
    nr_parts: int  #: pages of split folios that wait, in ``folios``, from cfg.evacuated_parts on
    nr_split: int  #: folios of this migration that were split
    tried: int  #: how often the batch has been tried in vain
    isolates: int  #: whether it has isolated the block


class EvacuateItem(Record):
    """``struct evacuate_item``. With ``wait_for_item`` the pool's are followed by one a pageblock, for those that wait."""

    zone: int
    start_pfn: int
    next: int  #: the next item of the list it is on, -1: none
    queued: int  #: when
    movable: int  #: whether it is evacuated though its block is movable: that was asked for
    waits: int  #: of a block's record: whether it is on the list of those that wait


class Region(Record):
    """An aligned run of pageblocks of one zone (the series' ``struct superpageblock``), or the head of a list of regions.

    A pageblock counts in each of ``nr_used`` whose pages it holds.
    """

    zone: int
    start_pfn: int
    end_pfn: int  #: the first pfn behind it, both clipped to the zone
    total: int  #: pageblocks, those that the zone has in part with them
    nr_reserved: int  #: pageblocks that have no page: holes, firmware
    nr_free: int  #: pageblocks all of whose pages are free
    nr_used: Words = words(
        3
    )  #: pageblocks by the type that a page in them was taken for: unmovable, movable, reclaimable
    nr_highatomic: int  #: pageblocks of type MIGRATE_HIGHATOMIC
    nr_free_pages: int
    orders: Words = words(
        k.NR_TYPES
    )  #: of its own free lists by type: a bit for every order that has a chunk
    tainted: int
    fullness: int  #: its class, -1 where it has no pages
    working: int  #: how many pageblocks its worker has queued since it began, 0: it is not at work
    cursor: int  #: the pageblock at which evacuation of it goes on
    rests_until: int  #: until when its worker does nothing
    nr_contig: int  #: pages that contiguous allocations have
    next: int  #: the next region of its zone, category and class, by address
    prev: int


class PageblockContent(Record, dtype=np.int32):
    """What a pageblock holds, where regions are kept (the series' PB_has_* and PB_all_free, but counted)."""

    nr_free: int  #: pages on free lists
    nr_used: Words = words(3)  #: pages in use by the type they were taken for


class SwapRecord(Record):
    """A slot of the swap device, with the page that is in it; behind those a zspage each; then heads of lists of zspages."""

    obj: int  #: of a slot: whose page it has, -1: it is free
    next: int  #: the next free one; in use: the slot whose page is used again next; of zspages their list, a ring
    prev: int
    due: int  #: when its page is used again, NEVER: not before it is freed
    age: int  #: the shadow entry: nonresident_age when its page was evicted,
    shadow: int  #: and 2 * node + whether it had been active
    zspage: int  #: where it is stored
    inuse: int  #: of a zspage: objects in it


class LogRecord(Record):
    """A record of the model's log. What ``a`` to ``d`` say depends on the kind (docs/model.md, section Log)."""

    time: int
    kind: int  #: L_*
    cpu: int
    pfn: int
    a: int
    b: int
    c: int
    d: int


class View(NamedTuple):
    """A :class:`~kevacuate.mm.layout.State` by named fields: what every function of the model takes as ``s``."""

    link: Words
    meta: Words
    block: Words
    zone: Records[Zone]
    pcp: Records[PerCpuPages]
    cfg: Config
    stat: Counters
    node: Records[Node]
    cpu: Records[Cpu]
    worker: Records[Worker]
    item: Records[EvacuateItem]
    cc: Records[CompactControl]
    folios: Words
    log: Records[LogRecord]
    obj: Words
    slow: SlowPath
    lru: Words
    sc: Records[ScanControl]
    region: Records[Region]
    pageblock: Records[PageblockContent]
    swap: Records[SwapRecord]
    mapping: Words


arrays_apart(View, constant=("cfg",))
