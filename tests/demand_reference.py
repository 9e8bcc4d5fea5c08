# SPDX-License-Identifier: GPL-2.0-or-later
"""A second demand reconstruction, slow and in plain Python objects, that the compiled one is checked against.

It follows the rules as the docstrings of ``kevacuate.demand.reconstruct``, ``moves``, ``freepages`` and
``limbo`` state them, with dicts and lists where those have arrays. Queues have no limit here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from kevacuate.recording.schema import EventKind as K

TARGET_MASK = sum(1 << b for b in (1, 3, 8, 12, 18, 20))
TARGET_GFP = sum(1 << b for b in (1, 3, 18, 20))


@dataclass
class Obj:
    ident: int
    pfn: int | None
    order: int
    mt: int
    gfp: int
    compound: bool
    grouped: bool = False
    pending: bool = False

    @property
    def pages(self) -> range:
        return range(self.pfn, self.pfn + (1 << self.order))


@dataclass(frozen=True)
class Anon:
    """A page in use at the start, by the pfn it had then."""

    pfn: int


@dataclass
class Session:
    compacts: bool
    slot: int
    listed: bool = False
    lo: int = 0
    hi: int = 0
    open: bool = False
    call: bool = False
    new: int = -1
    sources: list[tuple[Any, int, int]] = field(default_factory=list)
    targets: list[Obj] = field(default_factory=list)
    staged: list[tuple[int, int]] = field(default_factory=list)
    lists: dict[int, list[int]] = field(default_factory=lambda: {k: [] for k in range(11)})
    ready: list[int] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    stock: list[list[int]] = field(default_factory=list)


class Reference:
    def __init__(self, used: list[bool], start: list[tuple[int, int]]) -> None:
        self.size = len(used)
        self.owner: dict[int, Any] = {p: Anon(p) for p, u in enumerate(used) if u}
        self.rows: list[tuple[int, ...]] = []
        self.q: Counter[str] = Counter()
        self.free_ids: list[int] = []
        self.fresh = 0
        self.groups: dict[int, tuple[Obj, int]] = {}
        self.sessions: dict[int, Session] = {}
        self.limbo: dict[int, list[tuple[Any, int]]] = {}
        self.unknown = (self.size >> 9) + 1
        self.saw_lists = False
        self.t = self.cpu = 0
        for pfn, order in start:
            self.open(pfn, order, 1, 0, True)

    # objects

    def emit(self, op, obj=-1, order=0, mt=0, gfp=0, aux=0):
        self.rows.append((self.t, op, self.cpu, obj, order, mt, gfp, aux))

    def open(self, pfn, order, mt, gfp, compound):
        if self.free_ids:
            ident = self.free_ids.pop()
        else:
            ident = self.fresh
            self.fresh += 1
        obj = Obj(ident, pfn, order, mt, gfp, compound)
        self.own(obj)
        return obj

    def own(self, obj):
        for page in obj.pages:
            self.owner[page] = obj

    def disown(self, pfn, order):
        for page in range(pfn, pfn + (1 << order)):
            self.owner.pop(page, None)

    def free_object(self, obj):
        self.emit(1, obj.ident, obj.order, obj.mt)
        if obj.pfn is not None:
            self.disown(obj.pfn, obj.order)
        self.q["frees"] += 1
        self.free_ids.append(obj.ident)

    def piece(self, obj, pfn, order):
        while obj.order > order:
            before = obj.order
            obj.order -= 1
            upper = self.open(obj.pfn + (1 << obj.order), obj.order, obj.mt, obj.gfp, obj.compound)
            self.emit(2, obj.ident, before, obj.mt, aux=upper.ident)
            self.q["splits"] += 1
            if pfn >= upper.pfn:
                obj = upper
        return obj

    def free_anon(self, pfn, order):
        first = [self.owner[p].pfn for p in range(pfn, pfn + (1 << order))]
        if first[0] % len(first) == 0 and first == list(range(first[0], first[0] + len(first))):
            self.emit(3, order=order, aux=first[0])
            self.q["frees_of_start_pages"] += 1
        else:
            for page in first:
                self.emit(3, aux=page)
                self.q["frees_of_start_pages"] += 1
        self.disown(pfn, order)

    def free_everything(self, pfn, order):
        found = False
        page = pfn
        while page < pfn + (1 << order):
            owner, step = self.owner.get(page), 1
            if isinstance(owner, Obj):
                found = True
                step = 1 << min(owner.order, order)
                self.free_object(owner if owner.order <= order else self.piece(owner, pfn, order))
            elif owner is not None:
                found = True
                self.free_anon(page, 0)
            page += step
        return found

    def born(self, obj, op):
        self.emit(op, obj.ident, obj.order, obj.mt, obj.gfp)
        self.q["allocs"] += 1

    def well_formed(self, pfn, order):
        return 0 <= order <= 10 and 0 <= pfn <= self.size - (1 << order) and pfn % (1 << order) == 0

    def all_free(self, pfn, order):
        pages = range(pfn, pfn + (1 << order))
        return pfn >= 0 and pages.stop <= self.size and not any(p in self.owner for p in pages)

    # page-by-page frees

    def flush(self, cpu):
        obj, count = self.groups.pop(cpu, (None, 0))
        if obj is None:
            return
        obj.grouped = False
        here, self.cpu = self.cpu, cpu
        for page in range(obj.pfn, obj.pfn + count):
            self.free_object(self.piece(self.owner[page], page, 0))
            self.q["partial_frees"] += 1
        self.q["regroup_broken"] += count > 1
        self.cpu = here

    def flush_owner(self, obj):
        for cpu, (other, _) in sorted(self.groups.items()):
            if other is obj:
                self.flush(cpu)

    def continues(self, pfn, order):
        if self.cpu not in self.groups:
            return False
        obj, count = self.groups[self.cpu]
        if order or pfn != obj.pfn + count:
            self.flush(self.cpu)
            return False
        count += 1
        self.groups[self.cpu] = (obj, count)
        if count == 1 << obj.order:
            del self.groups[self.cpu]
            self.free_object(obj)
            self.q["regrouped"] += 1
            self.q["regrouped_pages"] += count
        return True

    # moves

    def place(self, owner, pfn, order):
        if isinstance(owner, Obj):
            owner.pfn = pfn
            self.own(owner)
        else:
            for i in range(1 << order):
                self.owner[pfn + i] = Anon(owner.pfn + i)

    def give_up(self, owner, order):
        if isinstance(owner, Obj):
            self.free_object(owner)
        else:
            self.emit(3, order=order, aux=owner.pfn)
            self.q["frees_of_start_pages"] += 1

    def leave_limbo(self, pfn, order):
        def take(block):
            for i, (owner, size) in enumerate(self.limbo.get(block, [])[:64]):
                base = pfn >> size << size
                if size == order or (size > order and self.all_free(base, size)):
                    del self.limbo[block][i]
                    self.place(owner, base, size)
                    self.q["moves_by_block"] += 1
                    return True
            return False

        block = pfn >> 9
        near = [block]
        for d in range(1, 17):
            near += [b for b in (block + d, block - d) if 0 <= b < self.unknown]
        return any(take(b) for b in [*near, self.unknown])

    def drop_target(self, session, obj):
        session.targets.remove(obj)
        self.disown(obj.pfn, obj.order)
        self.free_ids.append(obj.ident)

    def movable_source(self, pfn, order):
        owner = self.owner.get(pfn)
        if isinstance(owner, Obj):
            folio = owner.mt == 1 or owner.compound
            return folio and owner.order >= order and not owner.grouped and not owner.pending
        if owner is None or owner.pfn % (1 << order):
            return False
        return all(self.owner.get(pfn + i) == Anon(owner.pfn + i) for i in range(1 << order))

    def named(self, session, order):
        new, session.new = session.new, -1
        if new < 0 or new >= self.size:
            return -1
        new = new >> order << order
        if session.compacts:
            return new if self.all_free(new, order) else -1
        obj = self.owner.get(new)
        fits = obj in session.targets and obj.pfn == new and obj.order == order
        return new if fits else -1

    def mover_free(self, session, pfn, order):
        owner = self.owner.get(pfn)
        if isinstance(owner, Obj) and owner.pending and not session.compacts:
            if (owner.pfn, owner.order) != (pfn, order):
                return False
            if owner not in session.targets:
                return False
            self.drop_target(session, owner)
            self.q["repeated_destinations"] += 1
            return True
        if owner is None and session.compacts and self.all_free(pfn, order):
            self.q["compaction_list_frees"] += 1
            if session.open and session.sources:
                session.returned.append(pfn)
            return True
        inside = session.lo <= pfn < session.hi
        if not (inside and session.open and self.movable_source(pfn, order)):
            return False
        if not session.compacts:
            left = sum(o.order == order for o in session.targets)
            left -= sum(size == order and known < 0 for _, size, known in session.sources)
            if left <= 0:
                self.q["reclaimed_in_evacuation"] += 1
                return False
        if session.compacts and session.returned:
            self.resolve_compaction(session)
        if isinstance(owner, Obj):
            owner = self.piece(owner, pfn, order)
            owner.pfn = None
        else:
            self.q["anonymous_moves"] += 1
        self.disown(pfn, order)
        new = self.named(session, order)
        if new < 0:
            session.sources.append((owner, order, -1))
            return True
        if session.compacts:
            session.sources.append((None, order, new))
        else:
            self.drop_target(session, self.owner[new])
        self.place(owner, new, order)
        self.q["moves_exact"] += 1
        return True

    def run_out(self, session):
        for order, chunks in session.lists.items():
            for pfn in chunks:
                session.ready += range(pfn, pfn + (1 << order))
            chunks.clear()

    def compaction_alloc(self, session, order):
        size = 1 << order
        for i in range(len(session.ready) - size + 1):
            pfn = session.ready[i]
            if pfn % size == 0 and session.ready[i + size - 1] == pfn + size - 1:
                del session.ready[i : i + size]
                return pfn
        for found in range(order, 11):
            if session.lists[found]:
                pfn = session.lists[found].pop(0)
                for lower in range(found - 1, order - 1, -1):
                    session.lists[lower].insert(0, pfn + (1 << lower))
                return pfn
        return -1

    def listed(self, session, order, known):
        passed, found = [], -1
        while found < 0 and len(passed) < 64:
            pfn = self.compaction_alloc(session, order)
            if pfn < 0:
                break
            if (known < 0 or pfn == known) and pfn not in session.returned:
                found = pfn
            else:
                passed.append(pfn)
        if order == 0:
            session.ready[:0] = passed
        return found

    def draw_stock(self, session, pages):
        block = -1
        while session.stock and pages > 0:
            block, left = session.stock[0]
            if left > pages:
                session.stock[0][1] -= pages
                pages = 0
            else:
                pages -= left
                session.stock.pop(0)
        return block

    def resolve_compaction(self, session):
        use = session.listed and not session.staged
        for owner, order, known in session.sources:
            block = self.draw_stock(session, 1 << order)
            pfn = self.listed(session, order, known) if use else -1
            if owner is None:
                continue
            if pfn >= 0 and self.all_free(pfn, order):
                self.place(owner, pfn, order)
                self.q["moves_by_list"] += 1
            else:
                block = block if 0 <= block < self.unknown else self.unknown
                self.limbo.setdefault(block, []).append((owner, order))
        session.sources.clear()
        session.returned.clear()

    def resolve(self, session):
        if session.compacts:
            self.resolve_compaction(session)
            return
        for owner, order, _ in session.sources:
            target = next((o for o in session.targets if o.order == order), None)
            if target is not None:
                pfn = target.pfn
                self.drop_target(session, target)
                self.place(owner, pfn, order)
                self.q["moves_by_destination"] += 1
            else:
                self.give_up(owner, order)
                self.q["unpaired_sources"] += 1
        session.sources.clear()
        for obj in session.targets:
            obj.pending = False
            self.born(obj, 0)
            self.q["unpaired_destinations"] += 1
        session.targets.clear()

    def resolve_all(self):
        for session in sorted(self.sessions.values(), key=lambda s: s.slot):
            self.resolve(session)

    def free_slot(self):
        taken = {s.slot for s in self.sessions.values()}
        return next(i for i in range(16) if i not in taken)

    def settle(self, pages):
        for page in pages:
            owner = self.owner.get(page)
            if isinstance(owner, Obj) and owner.grouped:
                self.flush_owner(owner)
        self.resolve_all()

    # events

    def on_alloc(self, pid, pfn, order, mt, gfp, op):
        self.flush(self.cpu)
        if not (self.well_formed(pfn, order) and 0 <= mt <= 5):
            self.q["malformed"] += 1
            return
        pages = range(pfn, pfn + (1 << order))
        if any(p in self.owner for p in pages):
            self.settle(pages)
            self.q["missed_frees"] += self.free_everything(pfn, order)
        session = self.sessions.get(pid)
        obj = self.open(pfn, order, mt, gfp, bool(gfp & 1 << 18))
        target = mt == 1 and gfp & TARGET_MASK == TARGET_GFP
        if target and session is not None and not session.compacts and session.open:
            obj.pending = True
            session.targets.append(obj)
        else:
            self.born(obj, op)

    def free_used(self, pfn, order):
        owner = self.owner.get(pfn)
        if isinstance(owner, Obj) and owner.order >= order:
            if owner.order == order:
                self.free_object(owner)
            elif order == 0 and pfn == owner.pfn and not owner.compound and not owner.pending:
                owner.grouped = True
                self.groups[self.cpu] = (owner, 1)
            else:
                self.q["partial_frees"] += 1
                self.free_object(self.piece(owner, pfn, order))
            return True
        if all(isinstance(self.owner.get(p), Anon) for p in range(pfn, pfn + (1 << order))):
            self.free_anon(pfn, order)
            return True
        return False

    def on_free(self, pid, pfn, order):
        if not self.well_formed(pfn, order):
            self.q["malformed"] += 1
            return
        if self.continues(pfn, order):
            return
        owner = self.owner.get(pfn)
        if isinstance(owner, Obj) and owner.grouped:
            self.flush_owner(owner)
        session = self.sessions.get(pid)
        if session is not None and self.mover_free(session, pfn, order):
            return
        owner = self.owner.get(pfn)
        if isinstance(owner, Obj) and owner.pending:
            self.resolve_all()
        if self.free_used(pfn, order):
            return
        self.settle(range(pfn, pfn + (1 << order)))
        if pfn not in self.owner:
            self.leave_limbo(pfn, order)
        if self.free_used(pfn, order):
            return
        self.q["covering_frees" if self.free_everything(pfn, order) else "orphan_frees"] += 1

    def on_mover(self, kind, pid, pfn, a, taken):
        session = self.sessions.get(pid)
        if kind == K.COMPACTION_ISOLATE_MIGRATEPAGES:
            if session is not None and not session.compacts:
                self.resolve(session)
                session.open = False
                if taken <= 0:
                    del self.sessions[pid]
            if taken <= 0:
                return
            session = self.sessions.get(pid)
            if session is None:
                if pid < 0:
                    return
                session = self.sessions[pid] = Session(False, self.free_slot())
            if session.open:
                session.lo, session.hi = min(session.lo, pfn), max(session.hi, a)
            else:
                session.lo, session.hi, session.open, session.new, session.call = pfn, a, True, -1, False
        elif kind == K.COMPACTION_BEGIN:
            if session is not None:
                self.resolve(session)
                del self.sessions[pid]
            if pid >= 0:
                self.sessions[pid] = Session(True, self.free_slot(), listed=self.saw_lists)
        elif session is None:
            return
        elif kind == K.REMOVE_MIGRATION_PTE:
            session.new = pfn
        elif kind == K.MIGRATE_PAGES:
            self.resolve(session)
            session.open = False
            if not session.compacts:
                del self.sessions[pid]
        elif kind == K.COMPACTION_END:
            self.resolve(session)
            del self.sessions[pid]
        elif session.compacts and kind in (
            K.COMPACTION_ISOLATE_FREEPAGES,
            K.COMPACTION_FAST_ISOLATE_FREEPAGES,
        ):
            fast = kind == K.COMPACTION_FAST_ISOLATE_FREEPAGES
            self.on_isolate_free(session, pfn, taken, fast)

    def on_isolate_free(self, session, start, taken, fast):
        if fast or not session.call:
            self.run_out(session)
            session.call = True
        if sum(1 << order for _, order in session.staged) == taken:
            for pfn, order in session.staged:
                session.lists[order].append(pfn)
        else:
            session.listed = False
        session.staged.clear()
        if taken > 0:
            session.stock.append([-1 if fast or start < 0 else start >> 9, taken])

    def on_list(self, kind, pid, pfn, order, op):
        session = self.sessions.get(pid)
        if session is None or not session.compacts or not (0 <= order <= 10 and 0 <= pfn < self.size):
            return
        if kind == K.GT_LIST and op == 2:
            session.staged.append((pfn, order))
        elif kind != K.GT_LIST or op < 2:
            end = pfn + (1 << order)
            session.staged = [(p, o) for p, o in session.staged if p + (1 << o) <= pfn or p >= end]

    def event(self, t, cpu, pid, kind, pfn, order, mt, gfp, a, c):
        self.q["events"] += 1
        if kind in (K.GT_LIST, K.MM_PAGE_ALLOC_ZONE_LOCKED, K.MM_PAGE_ALLOC_EXTFRAG):
            self.saw_lists |= kind == K.GT_LIST
            self.on_list(kind, pid, pfn, order, a)
            return
        if kind == K.MM_PAGE_FREE_BATCHED:
            self.q["free_duplicates"] += 1
            return
        if kind == K.GT_RMQ and a != 4:
            return
        self.t, self.cpu = t, cpu
        if kind == K.MM_PAGE_ALLOC:
            self.q["alloc_events"] += 1
            if pfn < 0:
                self.q["failed_allocs"] += 1
                if 0 <= order <= 10 and 0 <= mt <= 2:
                    self.q["attempts"] += 1
                    self.emit(8, 0, order, mt, gfp)
            else:
                self.on_alloc(pid, pfn, order, mt, gfp, 0)
        elif kind == K.MM_PAGE_FREE:
            self.q["free_events"] += 1
            self.on_free(pid, pfn, order)
        elif kind == K.GT_RMQ:
            self.q["bulk_allocs"] += 1
            self.on_alloc(-1, pfn, 0, mt, 0xCC0, 4)
        else:
            self.on_mover(kind, pid, pfn, a, c)

    def finish(self):
        for cpu in sorted(self.groups):
            self.flush(cpu)
        self.resolve_all()
        self.q["moves_unresolved"] = sum(map(len, self.limbo.values()))
        self.q["peak_objects"] = self.fresh
        return self.rows, {k: v for k, v in self.q.items() if v}
