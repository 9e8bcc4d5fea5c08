// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The yardstick: the model's hot path in C, on the very same arrays.
 *
 * What src/kevacuate/mm does for a stream of allocations and frees on a machine without evacuation is done here again, in
 * the kernel's idiom: structs laid over the flat arrays (records.h, which benchmarks/run.py writes from the records' own
 * declarations), the parameters in one struct, no dispatch. The benchmark runs both
 * on copies of one state and fails unless every array is equal afterwards, log and counters included. What the benchmark's
 * streams never do (highatomic requests, evacuation, splitting) aborts here instead of being half-done.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef int32_t s32;
typedef int64_t s64;
#include "records.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))

typedef uint8_t u8;

enum { UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, CMA, ISOLATE, PCPTYPES = 3 };
enum { CHUNK_BUDDY = 1, CHUNK_PCP = 2, CHUNK_ALLOC = 3, CHUNK_ISOLATED = 5 };
enum { ATTR_LRU = 1, ATTR_MOVABLE_OPS = 64, ATTR_STATIC = 255, ATTR_ON_LRU = 256, ATTR_IN_BATCH = 512 };
enum { PB_TYPE = 7, PB_COMPACT_SKIP = 8, PB_ISOLATE = 16 };
enum { WMARK_MIN, WMARK_LOW, WMARK_HIGH };
enum {
	ALLOC_NO_WATERMARKS = 0x4, ALLOC_OOM = 0x8, ALLOC_NON_BLOCK = 0x10, ALLOC_MIN_RESERVE = 0x20, ALLOC_CMA = 0x80,
	ALLOC_NOFRAGMENT = 0x100, ALLOC_HIGHATOMIC = 0x200, ALLOC_KSWAPD = 0x800,
	ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM,
};
enum {
	GFP_DMA = 1, GFP_HIGHMEM = 2, GFP_DMA32 = 4, GFP_MOVABLE = 8, GFP_HIGH = 0x20, GFP_DIRECT_RECLAIM = 0x400,
	GFP_KSWAPD_RECLAIM = 0x800, GFP_NOFAIL = 0x8000, GFP_MEMALLOC = 0x20000, GFP_NOMEMALLOC = 0x80000,
	GFP_THISNODE = 0x200000,
};
enum { ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE };
enum { COSTLY_ORDER = 3, BATCH_SCALE_MAX = 5, SWAP_CLUSTER_MAX = 32, FOLIO_BATCH = 31, PREV_FREE_HIGH_ORDER = 1, FREE_HIGH_BATCH = 2 };
enum { RMQUEUE_NORMAL, RMQUEUE_CMA, RMQUEUE_CLAIM, RMQUEUE_STEAL };
enum { LISTS_PER_ZONE = 128, NR_TYPES = 8, PCP_LISTS = 16, LOG_MARGIN = 1 << 14 };
enum { OP_ALLOC, OP_FREE, STOP_END = 0, STOP_SAMPLE, STOP_LOG };
enum { KSWAPD_IDLE, KSWAPD_WOKEN, KSWAPD_RUNNING };
enum { L_EXTFRAG = 1, L_CLAIM = 2, L_ALLOC_FAILED = 13, L_BLOCK_TYPE = 14, L_BOOST = 15, L_KSWAPD = 18, L_ZONE_LOCKED = 32,
       L_PCPU_DRAIN = 33, L_LIST = 34 };
#define NEVER ((s64)1 << 62)

struct link { s32 next, prev; };	/* of an allocated page: object, attributes */
struct block { u8 bits, zone; };
struct mm {
	struct link *link;
	u8 *meta;
	struct block *block;
	struct zone *zone;
	struct per_cpu_pages *pcp;
	struct counters *stat;
	struct node *node;
	struct cpu *cpu;
	struct worker *worker;
	struct log_record *log;
	s32 *obj;
	s64 npages, pcp_base, log_level, log_capacity, boost_factor, kswapd_wake, kswapd_run, stat_interval, open_loop, dma32;
	int nzones, ncpus, nnodes, nworkers, max_order, pageblock_order, hpage_pmd_order, nr_pcp_lists;
};

struct rows {
	const s64 *t;
	const u8 *op;
	const uint16_t *cpu;
	const s32 *obj;
	const u8 *order, *mt;
	const uint32_t *gfp;
	const u8 *attr;
	const s32 *aux;
};

static void __attribute__((noreturn)) die(const char *why)
{
	fprintf(stderr, "benchmarks/twin.c: %s is not in the twin\n", why);
	abort();
}

/* ---- the log ---- */

static __attribute__((noinline)) void log_record(struct mm *m, s64 kind, s64 pfn, s64 a, s64 b, s64 c, s64 d)
{
	s64 n = m->stat->nr_log++;
	struct log_record *rec = m->log + n;

	if (n >= m->log_capacity)
		return;
	rec->time = m->stat->now;
	rec->kind = kind;
	rec->cpu = m->stat->cpu;
	rec->pfn = pfn;
	rec->a = a;
	rec->b = b;
	rec->c = c;
	rec->d = d;
}

#define trace(m, level, ...) do { if (unlikely((m)->log_level >= (level))) log_record(m, __VA_ARGS__); } while (0)

/* ---- lists, pageblocks ---- */

static inline s32 free_list(struct mm *m, int z, int order, int mt)
{
	return m->npages + z * LISTS_PER_ZONE + order * NR_TYPES + mt;
}

static inline bool list_empty(struct mm *m, s32 head)
{
	return m->link[head].next == head;
}

static inline void list_add(struct mm *m, s32 node, s32 head)
{
	s32 first = m->link[head].next;

	m->link[node] = (struct link){ first, head };
	m->link[head].next = node;
	m->link[first].prev = node;
}

static inline void list_add_tail(struct mm *m, s32 node, s32 head)
{
	s32 last = m->link[head].prev;

	m->link[node] = (struct link){ head, last };
	m->link[head].prev = node;
	m->link[last].next = node;
}

static inline void list_del(struct mm *m, s32 node)
{
	struct link l = m->link[node];

	m->link[l.prev].next = l.next;
	m->link[l.next].prev = l.prev;
}

static inline struct block *pageblock(struct mm *m, s32 pfn)
{
	return &m->block[pfn >> m->pageblock_order];
}

static inline int pageblock_type(struct mm *m, s32 pfn)
{
	int bits = pageblock(m, pfn)->bits;

	return unlikely(bits & PB_ISOLATE) ? ISOLATE : bits & PB_TYPE;
}

static void set_pageblock_type(struct mm *m, s32 pfn, int mt)
{
	struct block *b = pageblock(m, pfn);
	int old = b->bits & PB_TYPE;

	b->bits = (b->bits & PB_COMPACT_SKIP) | mt;
	if (old != mt)
		trace(m, 1, L_BLOCK_TYPE, pfn >> m->pageblock_order << m->pageblock_order, old, mt, 0, 0);
}

static void change_pageblock_range(struct mm *m, s32 pfn, int order, int mt)
{
	for (int i = 0; i < 1 << (order - m->pageblock_order); i++)
		set_pageblock_type(m, pfn + (i << m->pageblock_order), mt);
}

/* ---- the buddy lists ---- */

static inline void account_freepages(struct mm *m, int z, s64 pages, int mt)
{
	if (unlikely(mt == ISOLATE))
		return;
	m->zone[z].nr_free_pages += pages;
	if (unlikely(mt == CMA))
		m->zone[z].nr_free_cma += pages;
	else if (unlikely(mt == HIGHATOMIC))
		m->zone[z].nr_free_highatomic += pages;
}

static inline void count_free_area(struct mm *m, int z, int order, int mt, int sign)
{
	m->zone[z].free_area[order] += sign;
	if (order >= m->pageblock_order && mt != ISOLATE)
		m->zone[z].nr_free_pages_blocks += (s64)sign * (1 << order);
}

static inline void add_to_free_list(struct mm *m, int z, s32 pfn, int order, int mt, bool tail)
{
	m->meta[pfn] = CHUNK_BUDDY << 4 | order;
	if (tail)
		list_add_tail(m, pfn, free_list(m, z, order, mt));
	else
		list_add(m, pfn, free_list(m, z, order, mt));
	count_free_area(m, z, order, mt, 1);
	trace(m, 3, L_LIST, pfn, tail, order, mt, 0);
}

static inline void del_from_free_list(struct mm *m, int z, s32 pfn, int order, int mt)
{
	list_del(m, pfn);
	m->meta[pfn] = 0;
	count_free_area(m, z, order, mt, -1);
	trace(m, 3, L_LIST, pfn, 2, order, mt, 0);
}

static void move_to_free_list(struct mm *m, int z, s32 pfn, int order, int old_mt, int new_mt)
{
	list_del(m, pfn);
	list_add_tail(m, pfn, free_list(m, z, order, new_mt));
	count_free_area(m, z, order, old_mt, -1);
	count_free_area(m, z, order, new_mt, 1);
	account_freepages(m, z, -(1 << order), old_mt);
	account_freepages(m, z, 1 << order, new_mt);
	trace(m, 3, L_LIST, pfn, 3, order, old_mt + 256 * new_mt, 0);
}

static inline bool page_is_buddy(struct mm *m, int z, s32 pfn, int order)
{
	return m->meta[pfn] == (CHUNK_BUDDY << 4 | order) && (order < m->pageblock_order || pageblock(m, pfn)->zone == z);
}

static void free_one_page(struct mm *m, int z, s32 pfn, int order, int mt)
{
	s32 buddy = pfn;
	bool tail = false;

	account_freepages(m, z, 1 << order, mt);
	m->meta[pfn] = 0;
	for (; order < m->max_order; order++) {
		int buddy_mt = mt;

		buddy = pfn ^ (1 << order);
		if (!page_is_buddy(m, z, buddy, order))
			break;
		if (unlikely(order >= m->pageblock_order)) {
			buddy_mt = pageblock_type(m, buddy);
			if (buddy_mt != mt && !(buddy_mt < PCPTYPES && mt < PCPTYPES))
				break;
		}
		del_from_free_list(m, z, buddy, order, buddy_mt);
		if (buddy_mt != mt)
			change_pageblock_range(m, buddy, order, mt);
		pfn &= buddy;
	}
	if (order < m->max_order - 1)
		tail = page_is_buddy(m, z, (pfn & buddy) ^ (2 << order), order + 1);
	m->stat->tail_placed += tail;
	add_to_free_list(m, z, pfn, order, mt, tail);
}

static void split_large_buddy(struct mm *m, int z, s32 pfn, int order)
{
	s32 end = pfn + (1 << order);
	int piece = min(order, m->pageblock_order);

	for (; pfn < end; pfn += 1 << piece)
		free_one_page(m, z, pfn, piece, pageblock_type(m, pfn));
}

static inline s64 expand(struct mm *m, int z, s32 pfn, int low, int high, int mt)
{
	s64 pages = 0;

	while (high > low) {
		high--;
		add_to_free_list(m, z, pfn + (1 << high), high, mt, false);
		pages += 1 << high;
	}
	return pages;
}

static inline void page_del_and_expand(struct mm *m, int z, s32 pfn, int low, int high, int mt)
{
	del_from_free_list(m, z, pfn, high, mt);
	account_freepages(m, z, expand(m, z, pfn, low, high, mt) - (1 << high), mt);
}

static s32 rmqueue_smallest(struct mm *m, int z, int order, int mt)
{
	for (int current = order; current <= m->max_order; current++) {
		s32 head = free_list(m, z, current, mt);
		s32 pfn = m->link[head].next;

		if (pfn == head)
			continue;
		page_del_and_expand(m, z, pfn, order, current, mt);
		trace(m, 2, L_ZONE_LOCKED, pfn, order, mt, 0, 0);
		return pfn;
	}
	return -1;
}

/* ---- watermarks, kswapd ---- */

static inline s64 wmark_pages(const struct zone *zone, int which)
{
	return zone->watermark[which] + zone->watermark_boost;
}

static inline s64 unusable_free(const struct zone *zone, int order, int flags)
{
	s64 pages = (1 << order) - 1;

	if (!(flags & ALLOC_RESERVES))
		pages += zone->nr_free_highatomic;
	if (!(flags & ALLOC_CMA))
		pages += zone->nr_free_cma;
	return pages;
}

static bool has_free_chunk(struct mm *m, int z, int order, int flags)
{
	for (int o = order; o <= m->max_order; o++) {
		if (!m->zone[z].free_area[o])
			continue;
		for (int mt = 0; mt < PCPTYPES; mt++)
			if (!list_empty(m, free_list(m, z, o, mt)))
				return true;
		if (flags & ALLOC_CMA && !list_empty(m, free_list(m, z, o, CMA)))
			return true;
		if (flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) && !list_empty(m, free_list(m, z, o, HIGHATOMIC)))
			return true;
	}
	return false;
}

static bool zone_watermark_ok(struct mm *m, int z, int order, s64 mark, int hi, int flags)
{
	const struct zone *zone = &m->zone[z];
	s64 least = mark;

	if (flags & ALLOC_MIN_RESERVE) {
		least -= least / 2;
		if (flags & ALLOC_NON_BLOCK)
			least -= least / 4;
	}
	if (flags & ALLOC_OOM)
		least -= least / 2;
	if (zone->nr_free_pages - unusable_free(zone, order, flags) <= least + zone->lowmem_reserve[hi])
		return false;
	return !order || has_free_chunk(m, z, order, flags);
}

static inline bool zone_watermark_fast(struct mm *m, int z, int order, s64 mark, int hi, int flags)
{
	const struct zone *zone = &m->zone[z];

	if (order == 0) {
		s64 unusable = unusable_free(zone, 0, flags);

		if (likely(zone->nr_free_pages - min(zone->nr_free_pages, unusable) > mark + zone->lowmem_reserve[hi]))
			return true;
	}
	if (zone_watermark_ok(m, z, order, mark, hi, flags))
		return true;
	if (!order && flags & ALLOC_MIN_RESERVE && zone->watermark_boost && (flags & 3) == WMARK_MIN)
		return zone_watermark_ok(m, z, order, zone->watermark[WMARK_MIN], hi, flags);
	return false;
}

static void boost_watermark(struct mm *m, int z, int flags)
{
	struct zone *zone = &m->zone[z];
	s64 block_pages = 1 << m->pageblock_order;
	s64 most = zone->watermark[WMARK_HIGH] * m->boost_factor / 10000;

	if (!m->boost_factor || 4 * block_pages > zone->managed_pages || !most)
		return;
	most = max(block_pages, most);
	zone->watermark_boost = min(zone->watermark_boost + block_pages, most);
	m->stat->boosts++;
	trace(m, 1, L_BOOST, -1, z, zone->watermark_boost, 0, 0);
	if (flags & ALLOC_KSWAPD)
		zone->boosted_watermark = 1;
}

static bool pgdat_balanced(struct mm *m, int node, int order, int hi)
{
	bool managed = false;

	for (int z = 0; z < m->nzones; z++) {
		const struct zone *zone = &m->zone[z];

		if (zone->node != node || zone->index > hi || !zone->managed_pages)
			continue;
		managed = true;
		if (zone_watermark_ok(m, z, order, wmark_pages(zone, WMARK_HIGH), hi, 0))
			return true;
	}
	return !managed;
}

static bool node_boosted(struct mm *m, int node, int hi)
{
	for (int z = 0; z < m->nzones; z++) {
		const struct zone *zone = &m->zone[z];

		if (zone->node == node && zone->index <= hi && zone->managed_pages && zone->watermark_boost)
			return true;
	}
	return false;
}

/* Compaction is off here (see attach), so nothing is left to kcompactd where kswapd has no work. */
static void wakeup_kswapd(struct mm *m, int z, int order, int hi)
{
	int node = m->zone[z].node;
	struct node *pgdat = &m->node[node];

	if (!m->zone[z].managed_pages)
		return;
	pgdat->kswapd_highest_zoneidx = max(pgdat->kswapd_highest_zoneidx, hi);
	pgdat->kswapd_order = max(pgdat->kswapd_order, order);
	if (pgdat->kswapd_state != KSWAPD_IDLE || (!node_boosted(m, node, hi) && pgdat_balanced(m, node, order, hi)))
		return;
	pgdat->kswapd_state = KSWAPD_WOKEN;
	pgdat->kswapd_due = m->stat->now + m->kswapd_wake;
	m->stat->next_due = min(m->stat->next_due, pgdat->kswapd_due);
	m->stat->kswapd_wakes++;
	trace(m, 1, L_KSWAPD, -1, node, 1, 0, 0);
}

/* ---- fallbacks ---- */

static const u8 fallbacks[PCPTYPES][2] = {
	[UNMOVABLE] = { RECLAIMABLE, MOVABLE },
	[MOVABLE] = { RECLAIMABLE, UNMOVABLE },
	[RECLAIMABLE] = { UNMOVABLE, MOVABLE },
};

static int suitable_fallback(struct mm *m, int z, int order, int start)
{
	if (!m->zone[z].free_area[order])
		return -1;
	for (int i = 0; i < 2; i++)
		if (!list_empty(m, free_list(m, z, order, fallbacks[start][i])))
			return fallbacks[start][i];
	return -1;
}

static void count_extfrag(struct mm *m, s32 pfn, int order, int from, int start, int mt, int kind)
{
	m->stat->extfrag[((kind * 3 + start) * 3 + mt) * 16 + from]++;
	trace(m, 1, L_EXTFRAG, pfn, order, from, 256 * start + mt, pageblock_type(m, pfn) == start);
}

static s32 claim_whole_block(struct mm *m, int z, s32 pfn, int current, int order, int start, int mt)
{
	del_from_free_list(m, z, pfn, current, mt);
	account_freepages(m, z, -(1 << current), mt);
	change_pageblock_range(m, pfn, current, start);
	account_freepages(m, z, expand(m, z, pfn, order, current, start), start);
	return pfn;
}

static void count_block(struct mm *m, s32 start, int *free, int *movable)
{
	s32 end = start + (1 << m->pageblock_order);

	*free = *movable = 0;
	for (s32 pfn = start; pfn < end;) {
		int meta = m->meta[pfn], pages = 1 << (meta & 15);

		if (meta >> 4 == CHUNK_BUDDY)
			*free += pages;
		else if (meta >> 4 == CHUNK_ALLOC && m->link[pfn].prev & (ATTR_ON_LRU | ATTR_MOVABLE_OPS))
			*movable += pages;
		pfn += pages;
	}
}

static void move_block(struct mm *m, int z, s32 start, int old_mt, int new_mt)
{
	s32 end = start + (1 << m->pageblock_order);

	for (s32 pfn = start; pfn < end;) {
		int meta = m->meta[pfn];

		if (meta >> 4 == CHUNK_BUDDY)
			move_to_free_list(m, z, pfn, meta & 15, old_mt, new_mt);
		pfn += 1 << (meta & 15);
	}
}

static s32 try_to_claim_block(struct mm *m, int z, s32 pfn, int current, int order, int start, int mt, int flags)
{
	s32 first = pfn >> m->pageblock_order << m->pageblock_order;
	int free, movable, alike = 0;
	bool claimed;

	if (current >= m->pageblock_order)
		return claim_whole_block(m, z, pfn, current, order, start, mt);
	boost_watermark(m, z, flags);
	if (first < m->zone[z].zone_start_pfn || first + (1 << m->pageblock_order) > m->zone[z].zone_end_pfn)
		return -1;
	count_block(m, first, &free, &movable);
	if (start == MOVABLE)
		alike = movable;
	else if (mt == MOVABLE)
		alike = (1 << m->pageblock_order) - free - movable;
	claimed = free + alike >= 1 << (m->pageblock_order - 1);
	trace(m, 1, L_CLAIM, first, 256 * start + mt, free, movable, claimed);
	if (!claimed) {
		m->stat->claim_refused++;
		return -1;
	}
	move_block(m, z, first, mt, start);
	set_pageblock_type(m, first, start);
	return rmqueue_smallest(m, z, order, start);
}

static s32 rmqueue_claim(struct mm *m, int z, int order, int start, int flags)
{
	int least = order < m->pageblock_order && flags & ALLOC_NOFRAGMENT ? m->pageblock_order : order;

	for (int current = m->max_order; current >= least; current--) {
		int mt;
		s32 pfn;

		if (current < m->pageblock_order / 2 && start == MOVABLE)
			return -1;
		mt = suitable_fallback(m, z, current, start);
		if (mt < 0)
			continue;
		pfn = try_to_claim_block(m, z, m->link[free_list(m, z, current, mt)].next, current, order, start, mt, flags);
		if (pfn >= 0) {
			count_extfrag(m, pfn, order, current, start, mt, current >= m->pageblock_order ? 2 : 1);
			return pfn;
		}
	}
	return -1;
}

static s32 rmqueue_steal(struct mm *m, int z, int order, int start)
{
	for (int current = order; current <= m->max_order; current++) {
		int mt = suitable_fallback(m, z, current, start);
		s32 pfn;

		if (mt < 0)
			continue;
		pfn = m->link[free_list(m, z, current, mt)].next;
		page_del_and_expand(m, z, pfn, order, current, mt);
		count_extfrag(m, pfn, order, current, start, mt, 0);
		return pfn;
	}
	return -1;
}

static s32 __rmqueue(struct mm *m, int z, int order, int mt, int flags, int *mode)
{
	s32 pfn;

	if (flags & ALLOC_CMA && unlikely(m->zone[z].nr_free_cma > m->zone[z].nr_free_pages / 2)) {
		pfn = rmqueue_smallest(m, z, order, CMA);
		if (pfn >= 0)
			return pfn;
	}
	switch (*mode) {
	case RMQUEUE_NORMAL:
		pfn = rmqueue_smallest(m, z, order, mt);
		if (likely(pfn >= 0))
			return pfn;
		/* fall through */
	case RMQUEUE_CMA:
		pfn = flags & ALLOC_CMA ? rmqueue_smallest(m, z, order, CMA) : -1;
		if (pfn >= 0) {
			m->stat->mode[RMQUEUE_CMA]++;
			*mode = RMQUEUE_CMA;
			return pfn;
		}
		/* fall through */
	case RMQUEUE_CLAIM:
		pfn = rmqueue_claim(m, z, order, mt, flags);
		if (pfn >= 0) {
			m->stat->mode[RMQUEUE_CLAIM]++;
			*mode = RMQUEUE_NORMAL;
			return pfn;
		}
		/* fall through */
	default:
		pfn = flags & ALLOC_NOFRAGMENT ? -1 : rmqueue_steal(m, z, order, mt);
		if (pfn >= 0) {
			m->stat->mode[RMQUEUE_STEAL]++;
			*mode = RMQUEUE_STEAL;
		}
		return pfn;
	}
}

/* ---- per-CPU lists ---- */

static inline s32 clamp(s32 value, s32 low, s32 high)
{
	return value >= high ? high : value <= low ? low : value;
}

static inline bool pcp_allowed(struct mm *m, int order)
{
	return order <= COSTLY_ORDER || order == m->hpage_pmd_order;
}

static inline int order_to_pindex(int order, int mt)
{
	return unlikely(order > COSTLY_ORDER) ? PCPTYPES * (COSTLY_ORDER + 1) + (mt == MOVABLE) : PCPTYPES * order + mt;
}

static inline struct per_cpu_pages *pcp_of(struct mm *m, int z, int cpu)
{
	return &m->pcp[z * m->ncpus + cpu];
}

static inline s32 pcp_list(struct mm *m, int z, int cpu, int pindex)
{
	return m->pcp_base + (z * m->ncpus + cpu) * PCP_LISTS + pindex;
}

static int nr_pcp_alloc(struct mm *m, int z, struct per_cpu_pages *pcp, int order)
{
	int high = pcp->high = clamp(pcp->high, pcp->high_min, pcp->high_max);
	int wanted = order ? pcp->batch : pcp->batch << pcp->alloc_factor;

	if (high < pcp->batch)
		return 1;
	if (pcp->high_min != pcp->high_max && !m->zone[z].below_high)
		high = pcp->high = min(high + wanted, pcp->high_max);
	if (!order) {
		int most = max(high - pcp->count - pcp->batch, pcp->batch);

		if (wanted <= most && pcp->alloc_factor < BATCH_SCALE_MAX)
			pcp->alloc_factor++;
		wanted = min(wanted, most);
	}
	return wanted > 1 ? max(wanted >> order, 2) : wanted;
}

static int rmqueue_bulk(struct mm *m, int z, s32 head, int order, int count, int mt, int flags)
{
	int mode = RMQUEUE_NORMAL, taken;

	for (taken = 0; taken < count; taken++) {
		s32 pfn = __rmqueue(m, z, order, mt, flags, &mode);

		if (unlikely(pfn < 0))
			break;
		m->meta[pfn] = CHUNK_PCP << 4 | order;
		list_add_tail(m, pfn, head);
	}
	m->stat->refills++;
	return taken;
}

static inline s32 rmqueue_pcplist(struct mm *m, int z, int cpu, int order, int mt, int flags)
{
	struct per_cpu_pages *pcp = pcp_of(m, z, cpu);
	s32 head = pcp_list(m, z, cpu, order_to_pindex(order, mt)), pfn;

	pcp->free_count >>= 1;
	if (unlikely(list_empty(m, head))) {
		int taken = rmqueue_bulk(m, z, head, order, nr_pcp_alloc(m, z, pcp, order), mt, flags);

		pcp->count += taken << order;
		if (!taken)
			return -1;
	}
	pfn = m->link[head].next;
	list_del(m, pfn);
	pcp->count -= 1 << order;
	return pfn;
}

static void free_pcppages_bulk(struct mm *m, int z, int cpu, int count, int pindex)
{
	struct per_cpu_pages *pcp = pcp_of(m, z, cpu);

	count = min(pcp->count, count);
	while (count > 0) {
		s32 head = pcp_list(m, z, cpu, pindex);
		s32 pfn = m->link[head].prev;
		int order, mt;

		if (pfn == head) {
			pindex = pindex + 1 < m->nr_pcp_lists ? pindex + 1 : 0;
			continue;
		}
		order = m->meta[pfn] & 15;
		list_del(m, pfn);
		count -= 1 << order;
		pcp->count -= 1 << order;
		mt = pageblock_type(m, pfn);
		free_one_page(m, z, pfn, order, mt);
		trace(m, 2, L_PCPU_DRAIN, pfn, order, mt, 0, 0);
	}
	m->stat->drains++;
}

static int nr_pcp_high(struct mm *m, int z, struct per_cpu_pages *pcp, bool free_high)
{
	int high = pcp->high = clamp(pcp->high, pcp->high_min, pcp->high_max);

	if (unlikely(!high))
		return 0;
	if (unlikely(free_high)) {
		pcp->high = max(high - (pcp->batch << BATCH_SCALE_MAX), pcp->high_min);
		return 0;
	}
	if (m->zone[z].reclaim_active) {
		pcp->high = max(high - max(pcp->free_count, pcp->batch), pcp->high_min);
		return min(pcp->batch << 2, pcp->high);
	}
	if (pcp->high_min == pcp->high_max)
		return high;
	if (m->zone[z].below_high) {
		pcp->high = max(high - max(pcp->free_count, pcp->batch), pcp->high_min);
		return max(pcp->count, pcp->high_min);
	}
	if (pcp->count >= high && high < pcp->free_count + pcp->batch)
		pcp->high = clamp(pcp->free_count + pcp->batch, pcp->high_min, pcp->high_max);
	return high;
}

static __attribute__((noinline)) void drain_after_commit(struct mm *m, int z, int cpu, int limit, bool free_high, int pindex)
{
	struct per_cpu_pages *pcp = pcp_of(m, z, cpu);
	int to_free;

	if (free_high)
		to_free = min(pcp->count, pcp->batch << BATCH_SCALE_MAX);
	else if (limit < pcp->batch)
		to_free = 1;
	else
		to_free = clamp(pcp->free_count, pcp->batch, limit - pcp->batch);
	for (; to_free > 0 && pcp->count > 0; to_free -= pcp->batch)
		free_pcppages_bulk(m, z, cpu, min(to_free, pcp->batch), pindex);
	if (m->zone[z].below_high
	    && zone_watermark_ok(m, z, 0, wmark_pages(&m->zone[z], WMARK_HIGH), ZONE_MOVABLE, 0))
		m->zone[z].below_high = 0;
}

static inline void free_frozen_page_commit(struct mm *m, int z, int cpu, s32 pfn, int order, int mt)
{
	struct per_cpu_pages *pcp = pcp_of(m, z, cpu);
	int pindex = order_to_pindex(order, mt), limit;
	bool free_high = false;

	pcp->alloc_factor >>= 1;
	m->meta[pfn] = CHUNK_PCP << 4 | order;
	list_add(m, pfn, pcp_list(m, z, cpu, pindex));
	pcp->count += 1 << order;
	if (order > 0 && order <= COSTLY_ORDER) {
		free_high = pcp->free_count >= pcp->batch + pcp->high_min / 2 && pcp->flags & PREV_FREE_HIGH_ORDER
			    && (!(pcp->flags & FREE_HIGH_BATCH) || pcp->count >= pcp->batch);
		pcp->flags |= PREV_FREE_HIGH_ORDER;
	} else {
		pcp->flags &= ~PREV_FREE_HIGH_ORDER;
	}
	if (pcp->free_count < pcp->batch << BATCH_SCALE_MAX)
		pcp->free_count += 1 << order;
	limit = nr_pcp_high(m, z, pcp, free_high);
	if (unlikely(pcp->count >= limit))
		drain_after_commit(m, z, cpu, limit, free_high, pindex);
}

static void decay_pcp_high(struct mm *m, int z, int cpu)
{
	struct per_cpu_pages *pcp = pcp_of(m, z, cpu);
	int to_drain;

	if (pcp->high > pcp->high_min) {
		int high = max(pcp->count - (pcp->batch << BATCH_SCALE_MAX), pcp->high - (pcp->high >> 3));

		pcp->high = max(high, pcp->high_min);
		m->stat->decays++;
	}
	for (to_drain = pcp->count - pcp->high; to_drain > 0; to_drain -= pcp->batch)
		free_pcppages_bulk(m, z, cpu, min(to_drain, pcp->batch), 0);
}

static void drain_all_pages(struct mm *m)
{
	for (int cpu = 0; cpu < m->ncpus; cpu++)
		for (int z = 0; z < m->nzones; z++) {
			struct per_cpu_pages *pcp = pcp_of(m, z, cpu);

			while (pcp->count > 0)
				free_pcppages_bulk(m, z, cpu, min(pcp->count, pcp->batch << BATCH_SCALE_MAX), 0);
		}
}

/* ---- virtual time ---- */

static int reclaim_order(struct mm *m, int node, int order, int hi, bool boosted)
{
	s64 lru = 0;

	if (!order || (!boosted && pgdat_balanced(m, node, order, hi)))
		return order;
	for (int z = 0; z < m->nzones; z++)
		if (m->zone[z].node == node)
			lru += m->zone[z].nr_lru;
	return lru >= min(2 << order, SWAP_CLUSTER_MAX) ? 0 : order;
}

static void kswapd_begin(struct mm *m, int node, struct node *pgdat)
{
	int order = pgdat->kswapd_order, hi = pgdat->kswapd_highest_zoneidx >= 0 ? pgdat->kswapd_highest_zoneidx : pgdat->kswapd_run_highest_zoneidx;
	bool boosted = false;

	pgdat->kswapd_order = 0;
	pgdat->kswapd_highest_zoneidx = -1;
	pgdat->kswapd_alloc_order = order;
	pgdat->kswapd_run_highest_zoneidx = hi;
	for (int z = 0; z < m->nzones; z++) {
		struct zone *zone = &m->zone[z];

		if (zone->node != node || zone->index > hi)
			continue;
		zone->reclaim_active = 1;
		zone->boost_seen = zone->watermark_boost;
		boosted |= zone->watermark_boost != 0;
	}
	pgdat->kswapd_reclaim_order = reclaim_order(m, node, order, hi, boosted);
	pgdat->kswapd_state = KSWAPD_RUNNING;
	pgdat->kswapd_due = m->stat->now + m->kswapd_run;
}

static void give_boosts_back(struct mm *m, int node, int hi)
{
	for (int z = 0; z < m->nzones; z++) {
		struct zone *zone = &m->zone[z];

		if (zone->node != node || zone->index > hi)
			continue;
		zone->reclaim_active = 0;
		zone->watermark_boost -= min(zone->watermark_boost, zone->boost_seen);
		zone->boost_seen = 0;
	}
}

static void kswapd_try_to_sleep(struct mm *m, int node, struct node *pgdat)
{
	int order = pgdat->kswapd_reclaim_order, hi = pgdat->kswapd_run_highest_zoneidx;

	pgdat->kswapd_state = KSWAPD_IDLE;
	pgdat->kswapd_due = NEVER;
	if (order >= pgdat->kswapd_alloc_order) {
		order = pgdat->kswapd_order;
		hi = pgdat->kswapd_highest_zoneidx >= 0 ? pgdat->kswapd_highest_zoneidx : hi;
	}
	if (order > 0 && !pgdat_balanced(m, node, order, hi)) {
		pgdat->kswapd_state = KSWAPD_WOKEN;
		pgdat->kswapd_due = m->stat->now;
	}
}

static void kswapd_step(struct mm *m, int node)
{
	struct node *pgdat = &m->node[node];
	bool begins = pgdat->kswapd_state == KSWAPD_WOKEN;

	if (begins) {
		kswapd_begin(m, node, pgdat);
	} else {
		give_boosts_back(m, node, pgdat->kswapd_run_highest_zoneidx);
		kswapd_try_to_sleep(m, node, pgdat);
	}
	trace(m, 1, L_KSWAPD, -1, node, begins ? 2 : 3, 0, 0);
}

static s64 next_due(struct mm *m, int *which)
{
	s64 due = NEVER;

	for (int i = 0; i < m->nworkers; i++)
		if (m->worker[i].due < due)
			die("evacuation");
	for (int i = 0; i < m->nnodes; i++)
		if (m->node[i].kswapd_due < due) {
			due = m->node[i].kswapd_due;
			*which = i;
		}
	for (int i = 0; i < m->ncpus; i++)
		if (m->cpu[i].vmstat_due < due) {
			due = m->cpu[i].vmstat_due;
			*which = m->nnodes + i;
		}
	return due;
}

static __attribute__((noinline)) void advance(struct mm *m, s64 t)
{
	int which = 0;
	s64 due;

	while ((due = next_due(m, &which)) <= t) {
		m->stat->now = max(due, m->stat->now);
		if (which < m->nnodes) {
			m->stat->cpu = m->node[which].cpu;
			kswapd_step(m, which);
		} else {
			which -= m->nnodes;
			m->cpu[which].vmstat_due += m->stat_interval;
			m->stat->cpu = which;
			for (int z = 0; z < m->nzones; z++)
				decay_pcp_high(m, z, which);
		}
	}
	m->stat->next_due = due;
	m->stat->now = max(t, m->stat->now);
}

/* ---- allocation from the outside in ---- */

static inline int gfp_zone(unsigned gfp)
{
	if (gfp & GFP_DMA)
		return ZONE_DMA;
	if (gfp & GFP_DMA32)
		return ZONE_DMA32;
	return (gfp & (GFP_HIGHMEM | GFP_MOVABLE)) == (GFP_HIGHMEM | GFP_MOVABLE) ? ZONE_MOVABLE : ZONE_NORMAL;
}

static inline const struct node *zonelist_of(struct mm *m, int node)
{
	return &m->node[node];
}

static inline int first_zone(struct mm *m, const struct node *pgdat, int hi)
{
	int i = 0;

	while (i < pgdat->nr_zonelist && m->zone[pgdat->zonelist[i]].index > hi)
		i++;
	return i;
}

static s32 rmqueue_buddy(struct mm *m, int z, int order, int mt, int flags)
{
	int mode = RMQUEUE_NORMAL;
	s32 pfn = __rmqueue(m, z, order, mt, flags, &mode);

	if (pfn < 0 && flags & (ALLOC_OOM | ALLOC_NON_BLOCK))
		pfn = rmqueue_smallest(m, z, order, HIGHATOMIC);
	return pfn;
}

static inline s32 rmqueue(struct mm *m, int z, int cpu, int order, int mt, int flags)
{
	struct zone *zone = &m->zone[z];
	s32 pfn = -1;

	if (likely(pcp_allowed(m, order)))
		pfn = rmqueue_pcplist(m, z, cpu, order, mt, flags);
	if (unlikely(pfn < 0))
		pfn = rmqueue_buddy(m, z, order, mt, flags);
	if (flags & ALLOC_KSWAPD && unlikely(zone->boosted_watermark)) {
		zone->boosted_watermark = 0;
		wakeup_kswapd(m, z, 0, zone->index);
	}
	return pfn;
}

static inline bool zone_allows(struct mm *m, int z, int order, int hi, int flags)
{
	struct zone *zone = &m->zone[z];

	if (!zone->below_high) {
		if (likely(zone_watermark_fast(m, z, order, wmark_pages(zone, WMARK_HIGH), hi, flags)))
			return true;
		zone->below_high = 1;
	}
	if (zone_watermark_fast(m, z, order, wmark_pages(zone, flags & 3), hi, flags) || flags & ALLOC_NO_WATERMARKS)
		return true;
	m->stat->watermark_refused++;
	return false;
}

static s32 get_page_from_freelist(struct mm *m, int cpu, int order, int mt, int flags, const struct node *pgdat, int hi)
{
	int first = first_zone(m, pgdat, hi);
	bool skip_awake = m->nnodes > 1;

	for (;;) {
		bool skipped = false, restart = false;
		bool no_fallback = flags & ALLOC_NOFRAGMENT;

		for (int i = first; i < pgdat->nr_zonelist; i++) {
			int z = pgdat->zonelist[i];
			const struct zone *zone = &m->zone[z];
			s32 pfn;

			if (zone->index > hi)
				continue;
			if (no_fallback && m->nnodes > 1 && zone->node != m->zone[pgdat->zonelist[first]].node) {
				restart = true;
				break;
			}
			if (skip_awake && m->node[zone->node].kswapd_state != KSWAPD_IDLE) {
				skipped = true;
				continue;
			}
			if (!zone_allows(m, z, order, hi, flags))
				continue;
			pfn = rmqueue(m, z, cpu, order, mt, flags);
			if (likely(pfn >= 0))
				return pfn;
		}
		if (!restart && skip_awake && skipped)
			skip_awake = false;
		else if (restart || no_fallback)
			flags &= ~ALLOC_NOFRAGMENT;
		else
			return -1;
	}
}

static inline int alloc_flags_nofragment(struct mm *m, const struct node *pgdat, unsigned gfp, int hi)
{
	int flags = gfp & GFP_KSWAPD_RECLAIM;
	int first = first_zone(m, pgdat, hi);
	const struct zone *preferred;

	if (!m->dma32 || first >= pgdat->nr_zonelist)
		return flags;
	preferred = &m->zone[pgdat->zonelist[first]];
	if (preferred->index != ZONE_NORMAL)
		return flags;
	if (m->nnodes == 1)
		return flags | ALLOC_NOFRAGMENT;
	for (int i = 0; i < pgdat->nr_zonelist; i++) {
		const struct zone *zone = &m->zone[pgdat->zonelist[i]];

		if (zone->node == preferred->node && zone->index == ZONE_DMA32)
			return flags | ALLOC_NOFRAGMENT;
	}
	return flags;
}

static void wake_all_kswapds(struct mm *m, int order, const struct node *pgdat, int hi)
{
	s64 last = -1;

	for (int i = first_zone(m, pgdat, hi); i < pgdat->nr_zonelist; i++) {
		const struct zone *zone = &m->zone[pgdat->zonelist[i]];

		if (zone->index > hi || !zone->managed_pages || zone->node == last)
			continue;
		wakeup_kswapd(m, pgdat->zonelist[i], order, hi);
		last = zone->node;
	}
}

static __attribute__((noinline)) s32 alloc_slowpath(struct mm *m, int cpu, int order, int mt, unsigned gfp, const struct node *pgdat)
{
	int hi = gfp_zone(gfp), flags = WMARK_MIN | (gfp & GFP_KSWAPD_RECLAIM);
	s32 pfn;

	m->stat->slowpath++;
	if (first_zone(m, pgdat, hi) >= pgdat->nr_zonelist)
		return -1;
	if (gfp & (GFP_HIGH | GFP_MEMALLOC | GFP_NOFAIL))
		die("an allocation with __GFP_HIGH, __GFP_MEMALLOC or __GFP_NOFAIL");
	if (!(gfp & (GFP_DIRECT_RECLAIM | GFP_NOMEMALLOC)))
		flags |= ALLOC_NON_BLOCK;
	if (mt == MOVABLE)
		flags |= ALLOC_CMA;
	if (flags & ALLOC_KSWAPD)
		wake_all_kswapds(m, order, pgdat, hi);
	pfn = get_page_from_freelist(m, cpu, order, mt, flags, pgdat, hi);
	if (pfn < 0 && m->open_loop) {
		flags |= ALLOC_NO_WATERMARKS;
		pfn = get_page_from_freelist(m, cpu, order, mt, flags, pgdat, hi);
		m->stat->below_watermark += pfn >= 0;
	}
	if (pfn >= 0 || !(gfp & GFP_DIRECT_RECLAIM))
		return pfn;
	pfn = get_page_from_freelist(m, cpu, order, mt, flags, pgdat, hi);
	if (pfn < 0) {
		drain_all_pages(m);
		pfn = get_page_from_freelist(m, cpu, order, mt, flags, pgdat, hi);
	}
	return pfn;
}

static void lru_add_drain_cpu(struct mm *m, int cpu)
{
	struct cpu *batch = &m->cpu[cpu];

	for (int i = 0; i < batch->lru_add_nr; i++) {
		s32 pfn = batch->lru_add[i];
		int meta = m->meta[pfn];

		if (meta >> 4 == CHUNK_ALLOC && m->link[pfn].prev & ATTR_IN_BATCH) {
			m->link[pfn].prev = (m->link[pfn].prev & ~ATTR_IN_BATCH) | ATTR_ON_LRU;
			m->zone[pageblock(m, pfn)->zone].nr_lru += 1 << (meta & 15);
		}
	}
	batch->lru_add_nr = 0;
}

static inline void folio_add_lru(struct mm *m, int cpu, s32 pfn, int order)
{
	struct cpu *batch = &m->cpu[cpu];

	m->link[pfn].prev |= ATTR_IN_BATCH;
	batch->lru_add[batch->lru_add_nr++] = pfn;
	if (batch->lru_add_nr == FOLIO_BATCH || order > 0)
		lru_add_drain_cpu(m, cpu);
}

static inline void alloc_pages(struct mm *m, int cpu, int order, int mt, unsigned gfp, int attr, s32 obj)
{
	const struct node *pgdat = zonelist_of(m, m->cpu[cpu].node);
	int hi = gfp_zone(gfp);
	int flags = WMARK_LOW | alloc_flags_nofragment(m, pgdat, gfp, hi) | (mt == MOVABLE ? ALLOC_CMA : 0);
	s32 pfn;

	m->stat->cpu = cpu;
	if (unlikely(gfp & GFP_THISNODE))
		die("__GFP_THISNODE");
	pfn = get_page_from_freelist(m, cpu, order, mt, flags, pgdat, hi);
	if (unlikely(pfn < 0))
		pfn = alloc_slowpath(m, cpu, order, mt, gfp, pgdat);
	if (unlikely(pfn < 0)) {
		m->stat->alloc_failed++;
		trace(m, 1, L_ALLOC_FAILED, -1, order, mt, gfp, obj);
		m->obj[obj] = -1;
		return;
	}
	m->stat->allocs++;
	m->meta[pfn] = CHUNK_ALLOC << 4 | order;
	m->link[pfn] = (struct link){ obj, attr & ATTR_STATIC };
	m->obj[obj] = pfn;
	if (attr & ATTR_LRU)
		folio_add_lru(m, cpu, pfn, order);
}

static inline void free_object(struct mm *m, int cpu, s32 obj)
{
	s32 pfn = m->obj[obj];
	int order, z, mt;

	if (unlikely(pfn < 0)) {
		m->stat->failed_then_freed++;
		return;
	}
	m->stat->cpu = cpu;
	m->stat->frees++;
	order = m->meta[pfn] & 15;
	if (unlikely(m->meta[pfn] >> 4 == CHUNK_ISOLATED))
		die("an isolated page");
	z = pageblock(m, pfn)->zone;
	if (likely(m->link[pfn].next >= 0))
		m->obj[m->link[pfn].next] = -1;
	if (m->link[pfn].prev & ATTR_ON_LRU)
		m->zone[z].nr_lru -= 1 << order;
	mt = pageblock_type(m, pfn);
	if (unlikely(!pcp_allowed(m, order) || mt == ISOLATE))
		split_large_buddy(m, z, pfn, order);
	else
		free_frozen_page_commit(m, z, cpu, pfn, order, mt >= PCPTYPES ? MOVABLE : mt);
}

/* ---- the loop ---- */

/* always_inline: GCC 12 takes a function that only prefetches for one without effect and drops its calls */
static inline __attribute__((always_inline)) void look_ahead(struct mm *m, const struct rows *d, s64 i, s64 ahead)
{
	s32 far = d->obj[i + 2 * ahead];

	__builtin_prefetch(&m->obj[max(far, 0)], 1, 3);
	if (d->op[i + ahead] == OP_FREE) {
		s32 pfn = m->obj[d->obj[i + ahead]];

		pfn = max(pfn, 0);
		__builtin_prefetch(&m->meta[pfn], 1, 3);
		__builtin_prefetch(&m->link[pfn], 1, 3);
	}
}

static struct mm attach(void **state)
{
	const struct config *cfg = state[STATE_CFG];

	if (cfg->defrag_mode || cfg->page_group_by_mobility_disabled || cfg->evacuate || cfg->compaction || !cfg->sub_batches)
		die("defrag_mode, disabled mobility, evacuation, compaction or a kernel other than 7.2");
	return (struct mm){
		.link = state[STATE_LINK], .meta = state[STATE_META], .block = state[STATE_BLOCK], .zone = state[STATE_ZONE],
		.pcp = state[STATE_PCP], .stat = state[STATE_STAT], .node = state[STATE_NODE], .cpu = state[STATE_CPU],
		.worker = state[STATE_WORKER], .log = state[STATE_LOG], .obj = state[STATE_OBJ],
		.npages = cfg->npages, .nzones = cfg->nr_zones, .ncpus = cfg->nr_cpus, .nnodes = cfg->nr_nodes,
		.max_order = cfg->max_page_order, .pageblock_order = cfg->pageblock_order, .hpage_pmd_order = cfg->hpage_pmd_order,
		.dma32 = cfg->zone_dma32, .boost_factor = cfg->watermark_boost_factor, .log_level = cfg->log_level,
		.log_capacity = cfg->log_capacity, .kswapd_wake = cfg->kswapd_wake, .kswapd_run = cfg->kswapd_run,
		.nworkers = cfg->nr_workers, .nr_pcp_lists = cfg->nr_pcp_lists, .pcp_base = cfg->pcp_base,
		.open_loop = cfg->open_loop, .stat_interval = cfg->stat_interval,
	};
}

/* Replay rows [start, end) until a sample is due or the log is nearly full; returns the row reached, *why it stopped. */
s64 replay_rows(void **state, void **columns, s64 start, s64 end, s64 next_sample, s64 ahead, s64 *why)
{
	struct mm mm = attach(state), *m = &mm;
	struct rows rows = { columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], columns[6],
			     columns[7], columns[8] };
	const struct rows *d = &rows;
	s64 room = m->log_capacity - LOG_MARGIN, i;

	for (i = start; i < end; i++) {
		s64 t = d->t[i];

		if (unlikely(t >= next_sample || m->stat->nr_log > room)) {
			*why = t >= next_sample ? STOP_SAMPLE : STOP_LOG;
			return i;
		}
		if (unlikely(t >= m->stat->next_due))
			advance(m, t);
		m->stat->now = max(t, m->stat->now);
		if (ahead > 0 && i + 2 * ahead < end)
			look_ahead(m, d, i, ahead);
		if (d->op[i] == OP_FREE)
			free_object(m, d->cpu[i], d->obj[i]);
		else if (d->op[i] == OP_ALLOC)
			alloc_pages(m, d->cpu[i], d->order[i], d->mt[i], d->gfp[i], d->attr[i], d->obj[i]);
		else
			die("this operation");
	}
	*why = STOP_END;
	return i;
}
