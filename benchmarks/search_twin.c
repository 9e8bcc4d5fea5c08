// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The searches of src/kevacuate/search in C, in the kernel's idiom: struct page of 64 bytes with its lru, struct free_area,
 * bitmaps of unsigned long. A trace says what a zone did to its lists; each form does it again, and every search must find the
 * page that the trace says. The numbers of the trace and of the forms come from search_records.h, which benchmarks/search.py
 * writes from their own declarations.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef int32_t s32;
typedef int64_t s64;
typedef unsigned long ulong;
#include "search_records.h"

#define unlikely(x) __builtin_expect(!!(x), 0)
#define NR_PAGE_ORDERS 11
#define MOST_WORDS 16

struct list_head { struct list_head *next, *prev; };
struct page { ulong flags; struct list_head lru; ulong rest[5]; };
struct free_area { struct list_head free_list[6]; ulong nr_free; };
struct region_lists { struct free_area area[NR_PAGE_ORDERS]; } __attribute__((aligned(64)));
struct region { s64 nr_free, free_blocks, bucket, next, prev; } __attribute__((aligned(64)));
struct record { s32 op, a, b, c; };

struct zone {
	struct page *map;
	struct free_area area[NR_PAGE_ORDERS];
	struct region_lists *lists;
	struct region *region;
	s64 bucket[NR_BUCKETS];
	ulong *bits;
	int form, region_order, nr_regions, words;
	size_t map_bytes;
};

/* ---- lists ---- */

static inline void init_head(struct list_head *head)
{
	head->next = head->prev = head;
}

static inline void insert(struct list_head *node, struct list_head *prev, struct list_head *next)
{
	next->prev = node;
	node->next = next;
	node->prev = prev;
	prev->next = node;
}

static inline bool empty(const struct list_head *head)
{
	return head->next == head;
}

static inline struct page *entry(struct list_head *node)
{
	return (struct page *)((char *)node - offsetof(struct page, lru));
}

static inline ulong *word_of(struct zone *z, int set, int region)
{
	return &z->bits[(size_t)set * z->words + region / 64];
}

static inline void change_bit(struct zone *z, int set, int region)
{
	*word_of(z, set, region) ^= 1UL << (region & 63);
}

static inline bool uses_bits(int form)
{
	return form == BITMAPS || form == TYPED_BITMAPS;
}

static inline void count(struct zone *z, int r, struct free_area *area, int order, int sign)
{
	struct region *region = &z->region[r];

	if (z->form == PLAIN) {
		area->nr_free += sign;
		return;
	}
	region->nr_free += (s64)sign * (1 << order);
	if (order >= 9)
		region->free_blocks += (s64)sign * (1 << (order - 9));
	if (z->form == BITMAPS && area->nr_free + (sign < 0 ? -1 : 0) == 0)
		change_bit(z, order, r);
	area->nr_free += sign;
}

static inline struct free_area *area_of(struct zone *z, int r, int order)
{
	return z->form == PLAIN || z->form == FLAT ? &z->area[order] : &z->lists[r].area[order];
}

static inline void add(struct zone *z, s32 pfn, int order, int mt, bool tail)
{
	int r = pfn >> z->region_order;
	struct free_area *area = area_of(z, r, order);
	struct list_head *head = &area->free_list[mt];
	struct page *page = &z->map[pfn];

	if (z->form == TYPED_BITMAPS && empty(head))
		change_bit(z, SETS_BY_TYPE + NR_ORDERS * mt + order, r);
	page->flags = 1 << 8 | order;
	if (tail)
		insert(&page->lru, head->prev, head);
	else
		insert(&page->lru, head, head->next);
	count(z, r, area, order, 1);
}

static inline void delete(struct zone *z, s32 pfn, int order, int mt)
{
	int r = pfn >> z->region_order;
	struct free_area *area = area_of(z, r, order);
	struct page *page = &z->map[pfn];

	page->lru.next->prev = page->lru.prev;
	page->lru.prev->next = page->lru.next;
	page->flags = 0;
	if (z->form == TYPED_BITMAPS && empty(&area->free_list[mt]))
		change_bit(z, SETS_BY_TYPE + NR_ORDERS * mt + order, r);
	count(z, r, area, order, -1);
}

/* ---- buckets ---- */

static void change_bucket(struct zone *z, int r, int old, int new)
{
	struct region *region = &z->region[r];
	s64 before = -1, behind;

	region->bucket = new;
	if (z->form == PLAIN || z->form == FLAT)
		return;
	if (uses_bits(z->form)) {
		if (old >= 0)
			change_bit(z, SETS_BY_BUCKET + old, r);
		change_bit(z, SETS_BY_BUCKET + new, r);
		return;
	}
	if (old >= 0) {
		if (region->next >= 0)
			z->region[region->next].prev = region->prev;
		if (region->prev >= 0)
			z->region[region->prev].next = region->next;
		else
			z->bucket[old] = region->next;
	}
	for (behind = z->bucket[new]; behind >= 0 && behind < r; behind = z->region[behind].next)
		before = behind;
	region->prev = before;
	region->next = behind;
	if (before >= 0)
		z->region[before].next = r;
	else
		z->bucket[new] = r;
	if (behind >= 0)
		z->region[behind].prev = r;
}

/* ---- searches ---- */

static inline s32 pfn_of(struct zone *z, struct list_head *node)
{
	return entry(node) - z->map;
}

static inline int order_at(int lo, int hi, bool largest, int i)
{
	return largest ? hi - i : lo + i;
}

static s32 find_smallest(struct zone *z, int mt, int lo, int hi)
{
	for (int order = lo; order <= hi; order++)
		if (!empty(&z->area[order].free_list[mt]))
			return pfn_of(z, z->area[order].free_list[mt].next);
	return -1;
}

static s32 find_by_walk(struct zone *z, int mt, int lo, int hi, bool largest, int first, int last)
{
	s64 best = INT64_MAX;
	s32 found = -1;

	for (int i = 0; i <= hi - lo; i++) {
		struct list_head *head = &z->area[order_at(lo, hi, largest, i)].free_list[mt];

		for (struct list_head *node = head->next; node != head; node = node->next) {
			s32 pfn = pfn_of(z, node);
			int r = pfn >> z->region_order;
			s64 bucket = z->region[r].bucket, rank = (bucket * z->nr_regions + r) * 16 + i;

			if (bucket >= first && bucket < last && rank < best) {
				best = rank;
				found = pfn;
			}
		}
	}
	return found;
}

static s32 find_by_region(struct zone *z, int mt, int lo, int hi, bool largest, int first, int last)
{
	for (int bucket = first; bucket < last; bucket++)
		for (s64 r = z->bucket[bucket]; r >= 0; r = z->region[r].next)
			for (int i = 0; i <= hi - lo; i++) {
				struct list_head *head = &z->lists[r].area[order_at(lo, hi, largest, i)].free_list[mt];

				if (!empty(head))
					return pfn_of(z, head->next);
			}
	return -1;
}

static s32 first_in_region(struct zone *z, int r, const ulong *bits, int lo, int hi, bool largest, int mt)
{
	for (int i = 0; i <= hi - lo; i++) {
		int order = order_at(lo, hi, largest, i);
		struct list_head *head = &z->lists[r].area[order].free_list[mt];

		if (bits[(size_t)order * z->words + r / 64] >> (r & 63) & 1 && !empty(head))
			return pfn_of(z, head->next);
	}
	return -1;
}

static s32 find_by_bits(struct zone *z, int mt, int lo, int hi, bool largest, int first, int last)
{
	int base = z->form == BITMAPS ? 0 : SETS_BY_TYPE + NR_ORDERS * mt;
	const ulong *bits = z->bits + (size_t)base * z->words;
	ulong some[MOST_WORDS], known = 0;

	for (int bucket = first; bucket < last; bucket++)
		for (int at = 0; at < z->words; at++) {
			ulong word = z->bits[(size_t)(SETS_BY_BUCKET + bucket) * z->words + at];

			if (!word)
				continue;
			if (!(known >> at & 1)) {
				known |= 1UL << at;
				some[at] = 0;
				for (int order = lo; order <= hi; order++)
					some[at] |= bits[(size_t)order * z->words + at];
			}
			for (word &= some[at]; word; word &= word - 1) {
				s32 pfn = first_in_region(z, 64 * at + __builtin_ctzl(word), bits, lo, hi, largest, mt);

				if (pfn >= 0)
					return pfn;
			}
		}
	return -1;
}

static s32 find(struct zone *z, s32 what, s32 where)
{
	int mt = what & 15, lo = what >> 4 & 15, hi = what >> 8 & 15, first = where & 255, last = where >> 8;
	bool largest = what >> 12;

	if (z->form == PLAIN)
		return find_smallest(z, mt, lo, hi);
	if (z->form == FLAT)
		return find_by_walk(z, mt, lo, hi, largest, first, last);
	if (z->form == BY_REGION)
		return find_by_region(z, mt, lo, hi, largest, first, last);
	return find_by_bits(z, mt, lo, hi, largest, first, last);
}

/* ---- what Python calls ---- */

void zone_free(struct zone *z)
{
	munmap(z->map, z->map_bytes);
	free(z->lists);
	free(z->region);
	free(z->bits);
	free(z);
}

/* A zone whose regions are in *buckets* (-1: none) and whose lists hold *chunks*: (page, order, type), in their order. */
struct zone *zone_new(int form, s64 npages, int region_order, int nr_regions, const s64 *buckets, const s32 *chunks, s64 n)
{
	struct zone *z = calloc(1, sizeof(*z));

	z->form = form;
	z->region_order = region_order;
	z->nr_regions = nr_regions;
	z->words = (nr_regions + 63) / 64;
	z->map_bytes = npages * sizeof(struct page);
	z->map = mmap(NULL, z->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	z->lists = aligned_alloc(64, nr_regions * sizeof(*z->lists));
	z->region = aligned_alloc(64, nr_regions * sizeof(*z->region));
	z->bits = calloc((size_t)NR_SETS * z->words, sizeof(ulong));
	if (z->map == MAP_FAILED || !z->lists || !z->region || !z->bits)
		return NULL;
	madvise(z->map, z->map_bytes, MADV_HUGEPAGE);	/* vmemmap lies in huge pages, too */
	memset(z->map, 0, z->map_bytes);
	memset(z->lists, 0, nr_regions * sizeof(*z->lists));
	memset(z->region, 0, nr_regions * sizeof(*z->region));
	for (int order = 0; order < NR_PAGE_ORDERS; order++)
		for (int mt = 0; mt < 6; mt++) {
			init_head(&z->area[order].free_list[mt]);
			for (int r = 0; r < nr_regions; r++)
				init_head(&z->lists[r].area[order].free_list[mt]);
		}
	for (int bucket = 0; bucket < NR_BUCKETS; bucket++)
		z->bucket[bucket] = -1;
	for (s64 i = 0; i < n; i++)
		add(z, chunks[3 * i], chunks[3 * i + 1], chunks[3 * i + 2], true);
	for (int r = 0; r < nr_regions; r++)
		if (buckets[r] >= 0)
			change_bucket(z, r, -1, buckets[r]);
	return z;
}

/*
 * Do records [0, n) until *most* operations have ended; ns of CPU time. *ended is how many did, *wrong how many searches did not
 * find the trace's page.
 */
s64 zone_run(struct zone *z, const struct record *record, s64 n, s64 most, s64 *ended, s64 *wrong)
{
	struct timespec begin, end;
	s64 ends = 0, bad = 0;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
	for (s64 i = 0; i < n && ends < most; i++) {
		const struct record *rec = &record[i];

		if (z->form == NOTHING) {
			ends += rec->op == T_END;
			bad += rec->a == -1 && rec->op == T_ADD;
			continue;
		}
		switch (rec->op) {
		case T_ADD:
		case T_ADD_TAIL:
			add(z, rec->a, rec->b, rec->c, rec->op == T_ADD_TAIL);
			break;
		case T_DELETE:
			delete(z, rec->a, rec->b, rec->c);
			break;
		case T_BUCKET:
			change_bucket(z, rec->a, rec->b, rec->c);
			break;
		case T_FIND:
			bad += find(z, rec->a, rec->b) != rec->c;
			break;
		default:
			ends++;
		}
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	*ended = ends;
	*wrong = bad;
	return (end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;
}
