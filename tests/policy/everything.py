# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy with all hooks, each of which answers by chance: for the comparison of the model with its oracle."""

from kevacuate.policy.api import (
    MIGRATE_PCPTYPES,
    Hooks,
    by_block,
    by_zone,
    claim_block,
    compact_range,
    counter,
    enough_to_claim,
    evacuate_block,
    evacuations_pending,
    find_suitable_fallback,
    free_list_first,
    free_list_next,
    free_pages_of_block,
    get_pfnblock_migratetype,
    has_unmovable_page,
    isolate_block,
    knob,
    managed_pages,
    max_page_order,
    migrate_batch,
    migrate_cursor,
    movable_pages_of_block,
    now,
    nr_free,
    nr_free_of_type,
    nr_free_pages,
    nr_nodes,
    nr_pageblocks,
    nr_zones,
    number,
    numbers,
    page_zone,
    pageblock_order,
    rmqueue_turn,
    should_try_claim_block,
    shrink_slab,
    spent,
    unisolate_block,
    wake_worker,
    wakeup_kcompactd,
    wmark_pages,
    zone_end_pfn,
    zone_node,
    zone_start_pfn,
)


class Everything(Hooks):
    """Answers by chance."""

    often = knob(3, "how often a hook answers as mainline does not: once in so many")
    state = number()
    asked = numbers(11)
    seen = by_block()
    worked = by_zone()
    changed = counter("answers that are not mainline's", "answers")

    def draw(self, n):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 16) % n

    def departs(self, hook):
        self.asked[hook] += 1
        if self.draw(self.often):
            return 0
        self.changed += 1
        return 1

    def gfp_migratetype(self, s, gfp, order, mt):
        return self.draw(MIGRATE_PCPTYPES) if self.departs(0) else mt

    def find_suitable_fallback(self, s, z, order, start_type, claimable, mt):
        if self.departs(2):
            other = self.draw(MIGRATE_PCPTYPES)
            if other != start_type and free_list_first(s, z, order, other) >= 0:
                return other
            return -2 if claimable and self.draw(2) else -1
        return mt if find_suitable_fallback(s, z, order, start_type, 0) == mt else 99

    def should_try_claim_block(self, s, order, start_type, allowed):
        if self.departs(3):
            return self.draw(2)
        return should_try_claim_block(s, order, start_type)

    def try_to_claim_block(self, s, z, pfn, order, start_type, block_type):
        self.state += (
            free_pages_of_block(s, pfn) + movable_pages_of_block(s, pfn) + enough_to_claim(s, pfn, start_type)
        )
        return self.draw(3) - 1

    def free_one_page(self, s, z, pfn, order, mt, fpi, tail):
        return self.draw(2) if self.departs(5) else tail

    def nr_pcp_alloc(self, s, z, cpu, order, wanted):
        return 1 + self.draw(8) if self.departs(6) else wanted

    def block_claimed(self, s, z, pfn, order, start_type, block_type):
        self.seen[pfn >> pageblock_order(s)] += 1
        if self.departs(7):
            evacuate_block(s, pfn)

    def page_stolen(self, s, z, pfn, order, start_type, block_type):
        if self.departs(8) and evacuations_pending(s) < 5:
            evacuate_block(s, pfn)
            wake_worker(s, self.draw(100000))

    def last_unmovable_freed(self, s, z, pfn, order, mt):
        self.asked[10] += 1
        self.state += pfn + order + mt
        self.seen[pfn >> pageblock_order(s)] += 16
        if self.departs(10):
            evacuate_block(s, pfn)

    def move(self, s, pfn):
        z = page_zone(s, pfn)
        if z < 0:
            return migrate_batch(s, pfn)
        pfn = min(pfn + self.draw(1 << pageblock_order(s)), zone_end_pfn(s, z) - 1)
        moved = migrate_batch(s, pfn)
        if migrate_cursor(s) & ((1 << pageblock_order(s)) - 1) and self.draw(2):
            moved += migrate_batch(s, migrate_cursor(s))
        return moved

    def compact(self, s, pfn):
        z = max(page_zone(s, pfn), 0)
        start = zone_start_pfn(s, z)
        pages = zone_end_pfn(s, z) - start
        start += self.draw(pages)
        end = min(start + 1 + self.draw(pages), zone_end_pfn(s, z))
        self.worked[z] += compact_range(s, start, end) if self.draw(3) else 0
        return zone_node(s, z)

    def look(self, s):
        z = self.draw(nr_zones(s))
        order = self.draw(max_page_order(s) + 1)
        pfn = free_list_first(s, z, order, self.draw(MIGRATE_PCPTYPES))
        if pfn >= 0:
            self.state += pfn + free_list_next(s, pfn) + page_zone(s, pfn)
        self.state += (
            nr_free(s, z, order) + nr_free_of_type(s, z, order, 1) + nr_free_pages(s, z) + managed_pages(s, z)
        )
        self.state += wmark_pages(s, z, self.draw(4)) + now(s)
        self.state &= 0x7FFFFFFF
        return self.draw(nr_pageblocks(s)) << pageblock_order(s)

    def work(self, s, pfn):
        what = self.draw(4)
        if what == 0:
            return self.move(s, pfn)
        if what == 1:
            return shrink_slab(s, self.draw(nr_nodes(s)), self.draw(4))
        return self.compact(s, pfn) + has_unmovable_page(s, pfn)

    def worker(self, s):
        pfn = self.look(s)
        what = self.draw(6)
        if what == 0:
            evacuate_block(s, pfn)
        elif what == 1:
            claim_block(s, pfn, self.draw(MIGRATE_PCPTYPES))
        elif what == 2 and self.draw(3) == 0:
            isolate_block(s, pfn)
        elif what == 3:
            wakeup_kcompactd(s, 0, self.draw(pageblock_order(s) + 1))
        elif self.draw(30) == 0:
            self.state += self.work(s, pfn)
        else:
            for block in range(nr_pageblocks(s)):
                if get_pfnblock_migratetype(s, block << pageblock_order(s)) > 4:
                    unisolate_block(s, block << pageblock_order(s))
        self.state = (self.state + spent(s)) & 0x7FFFFFFF
        return self.draw(3) * 300000


class Works(Everything):
    """The same with a worker that works."""

    def worker(self, s):
        self.state += self.work(s, self.look(s))
        self.state = (self.state + spent(s)) & 0x7FFFFFFF
        return self.draw(12) * 3000000


class Turns(Hooks):
    """Another order of what __rmqueue tries."""

    turns = number()

    def rmqueue(self, s, z, order, mt, alloc_flags, turn):
        self.turns += 1
        if self.turns & 7 == 0 and turn < 3:
            return 17 if turn == 0 else mt if turn == 1 else 16
        return rmqueue_turn(s, mt, alloc_flags, turn)
