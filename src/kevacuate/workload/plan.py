# SPDX-License-Identifier: GPL-2.0-or-later
"""From a description to a generator's tables: each part's actors, ids, shadows and rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel import gfp as gf
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from kevacuate.kernel.pageattr import PageAttr
from kevacuate.records import Record
from kevacuate.workload import describe as ds
from kevacuate.workload import draw
from kevacuate.workload import fields as fd
from kevacuate.workload import kinds as kd
from kevacuate.workload.fields import Actor, Generator, Part, Totals
from kevacuate.workload.kinds import PAGE
from kevacuate.workload.machine import GIGANTIC, cpu_nodes, memory_pages

ANON, FILE = int(PageAttr.LRU), int(PageAttr.LRU | PageAttr.FILE)
DIRTY = int(PageAttr.DIRTY)
TYPES = {"unmovable": MIGRATE_UNMOVABLE, "movable": MIGRATE_MOVABLE, "reclaimable": MIGRATE_RECLAIMABLE}
ACCOUNTED = gf.GFP_KERNEL | gf.GFP_ZERO | gf.GFP_ACCOUNT
"""Page tables and kernel stacks (GFP_PGTABLE_USER, include/asm-generic/pgalloc.h; THREADINFO_GFP)."""
READ = gf.GFP_HIGHUSER_MOVABLE | gf.GFP_COMP | gf.GFP_NORETRY | gf.GFP_NOWARN
"""Readahead (readahead_gfp_mask, include/linux/pagemap.h)."""
WRITE = (gf.GFP_HIGHUSER_MOVABLE | gf.GFP_WRITE | gf.GFP_COMP) & ~gf.GFP_FS
"""A write into the page cache (__filemap_get_folio: FGP_WRITEBEGIN has FGP_WRITE and FGP_NOFS, fs/iomap)."""
THP = gf.GFP_TRANSHUGE_LIGHT | gf.GFP_KSWAPD_RECLAIM
"""A huge page fault with defrag=defer (vma_thp_gfp_mask, mm/huge_memory.c)."""
HUGETLB = gf.GFP_HIGHUSER_MOVABLE | gf.GFP_COMP | gf.GFP_NOWARN | gf.GFP_RETRY_MAYFAIL
"""The pool of hugetlb (htlb_alloc_mask and alloc_buddy_hugetlb_folio, mm/hugetlb.c)."""
GIGANTIC_GFP = gf.GFP_HIGHUSER | gf.GFP_COMP | gf.GFP_NOWARN | gf.GFP_THISNODE
"""hugetlb for a gigantic page, node by node (htlb_alloc_mask and alloc_pool_huge_folio, mm/hugetlb.c): it need not be movable."""
ROW_NS = 200
"""Least time from a row of an actor to its next."""
MOST_ACTORS = 1 << 15
BURSTS = 4
"""Bursts at once that a pool has room for beside its mean size."""
LARGEST_TASK = 3.0
"""A task is at most so many times as large as the mean."""
MOST_SHADOWS = 4
"""Shadows a page of the machine that a demand may number (kevacuate.runs.replay)."""

STEPS = 8
"""Steps that a window is cut into where it is worked out how many objects of each class are alive."""

Fields = dict[str, Any]
Arrays = npt.NDArray[np.int64]


@dataclass
class Plan:
    """Parts as they are laid out so far: ids from 0 on, places in ``ids``, shadows from *first* on."""

    workload: ds.Workload
    memory: int
    parts: list[Fields] = field(default_factory=list)
    actors: list[Fields] = field(default_factory=list)
    tables: list[npt.NDArray[np.int64]] = field(default_factory=list)
    objects: int = 0
    places: int = 0
    folios: int = 0
    shadows: int = 1
    profile: list[int] = field(default_factory=list)
    pages: int = 0
    """What all parts but caches have at most."""
    fills: list[Callable[[Generator, int], None]] = field(default_factory=list)

    def cpus(self, part: ds.PartOf) -> tuple[int, int]:
        """First CPU and number of CPUs of a part.

        Raises
        ------
        KevacuateError
            The machine has no such CPU or node.
        """
        machine, text = self.workload.machine, part.cpus
        if text == "all":
            return 0, machine.cpus
        if text.startswith("node"):
            nodes = cpu_nodes(machine)
            node = int(text[4:])
            if node not in nodes:
                raise KevacuateError(
                    f"{part.TABLE} {part.name!r} is on {text}, and the machine has {machine.nodes} "
                    f"node{'' if machine.nodes == 1 else 's'}."
                )
            return nodes.index(node), nodes.count(node)
        first, _, last = text.partition("-")
        low, high = int(first), int(last or first)
        if not low <= high < machine.cpus:
            raise KevacuateError(
                f"{part.TABLE} {part.name!r} is on the CPUs {text}, and the machine has the CPUs 0-{machine.cpus - 1}."
            )
        return low, high - low + 1

    def add(self, part: ds.PartOf, actors: int, **given: Any) -> Fields:
        """Lay out a part of so many actors; its fields."""
        first, cpus = self.cpus(part)
        fill = min(self.workload.fill, self.workload.duration)
        fields: Fields = {
            "actors": actors, "first_cpu": first, "cpus": cpus, "gap": ROW_NS, "burst": 1, "begin": part.begin, "fill": fill,
            "rhythm": int(part.rhythm), "first_object": self.objects,
        }  # fmt: skip
        fields |= given
        number = len(self.parts)
        for i in range(actors):
            self.actors.append({"part": number, "number": i, "cpu": first + i % cpus})
        if len(self.actors) > MOST_ACTORS:
            raise KevacuateError(
                f"{part.TABLE} {part.name!r} needs {len(self.actors):,} tasks at once, more than {MOST_ACTORS:,}: describe "
                "fewer, larger or slower ones."
            )
        self.parts.append(fields)
        return fields

    def own(self, fields: Fields, count: int) -> int:
        """Give the part so many ids; its first."""
        fields["first_object"], fields["objects"] = self.objects, count
        self.objects += count
        return int(fields["first_object"])

    def uses(self, part: ds.PartOf, pages: int) -> None:
        """A part has so many pages at most.

        Raises
        ------
        KevacuateError
            It is nothing, or all parts together have more than the machine has.
        """
        if pages < 1:
            raise KevacuateError(f"{part.TABLE} {part.name!r} has less than a page of memory: give it more.")
        self.pages += pages
        if self.pages > self.memory * 0.985:
            raise KevacuateError(
                f"With {part.TABLE} {part.name!r} the parts have {self.pages * PAGE / 2**30:.2f} GiB at once, and the machine "
                f"{self.memory * PAGE / 2**30:.2f} GiB: give them at most 98 % of it."
            )

    def makes(self, part: ds.PartOf, rows: float) -> None:
        """A part makes so many rows a second in the mean.

        Raises
        ------
        KevacuateError
            Its CPUs cannot make as many: a row takes at least :data:`ROW_NS`.
        """
        _, cpus = self.cpus(part)
        most = cpus * 10**9 // ROW_NS
        if rows > most:
            raise KevacuateError(
                f"{part.TABLE} {part.name!r} makes {rows:,.0f} rows a second, and its CPUs can make {most:,}: describe "
                "less memory, or longer lives and pauses."
            )

    def table(self, values: npt.NDArray[np.int64]) -> int:
        """Keep a table of quantiles; its number."""
        self.tables.append(values)
        return len(self.tables) - 1


def _fixed(share: float) -> int:
    """A share out of :data:`~kevacuate.workload.fields.WHOLE`."""
    return round(share * fd.WHOLE)


def _sizes(
    weights: npt.NDArray[np.float64],
    lives: npt.NDArray[np.float64],
    objects: float,
    burst: int,
    *,
    fixed: bool,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Objects of each class alive in the mean, and the most that there may be: six standard deviations more, and the bursts."""
    alive = weights * lives / (weights * lives).sum() * objects
    target = np.maximum(np.round(alive), 1).astype(np.int64)
    spare = np.ceil(6 * np.sqrt(target)).astype(np.int64) + burst
    return target, target if fixed else target + spare


def _rings(plan: Plan, fields: Fields, room: Arrays) -> Fields:
    """Give each class of a pool its ring of ids; where they are."""
    at, count = plan.places, int(room.sum())
    first = plan.own(fields, count)
    plan.places += count

    def fill(made: Generator, _: int) -> None:
        made.ids[at : at + count] = np.arange(first, first + count)

    plan.fills.append(fill)
    pad = (0, fd.CLASSES - len(room))
    starts = np.concatenate([[0], np.cumsum(room)[:-1]])
    return {"base": np.pad(at + starts, pad), "room": np.pad(room, pad)}


def _pool(
    plan: Plan,
    part: ds.PartOf,
    pages: int,
    lifetimes: tuple[int, ...],
    shares: tuple[float, ...],
    *,
    dies: int = fd.RANDOM,
    fixed: bool = False,
    **given: Any,
) -> Fields:
    """Lay out a pool that has so many *pages* in the mean, or at most (*fixed*); *shares* are of the objects born."""
    order = given.get("order", 0)
    weights = np.array(shares) / sum(shares)
    lives = np.maximum(np.array(lifetimes, np.float64), 1.0)
    _, cpus = plan.cpus(part)
    bursts = 2 * given.get("burst", 1) * min(cpus, BURSTS)
    given_rates: Fields = {}
    if isinstance(part, ds.Pool) and part.births:
        given_rates, target, room = _profile(plan, part, bursts)
    else:
        target, room = _sizes(weights, lives, pages / (1 << order), bursts, fixed=fixed)
        plan.uses(part, int(room.sum()) << order)
        plan.makes(part, 2e9 * float((target / lives).sum()))
    fields = plan.add(part, min(cpus, max(int(target.sum()), 1)), behaviour=fd.POOL, **given)
    fields |= {"dies": dies, "nr_classes": len(room)} | _rings(plan, fields, room)
    pad = (0, fd.CLASSES - len(room))
    fields["share"] = np.pad(np.round(np.cumsum(weights) * fd.WHOLE).astype(np.int64), pad)
    fields["target"] = np.pad(target, pad)
    fields["lifetime"] = np.pad(np.round(lives).astype(np.int64), pad, constant_values=1)
    for actor in plan.actors[len(plan.actors) - fields["actors"] :]:
        actor["again"] = int(bool(given_rates))
    fields |= given_rates
    return fields


def _arena(
    plan: Plan,
    part: ds.PartOf,
    tasks: int,
    pages: int,
    spread: float,
    *,
    limit: int,
    life: int,
    pause: int,
    **given: Any,
) -> Fields:
    """Lay out tasks of so many *pages* in the mean, of which all together have *limit* at most."""
    most = max(math.ceil(pages * LARGEST_TASK), 1)
    room = most + most // 512 + 2 + given.get("kernel", 0)
    kernel = given.get("kernel", 0) * tasks + (limit // 512 + tasks if given.get("tables") else 0)
    plan.uses(part, limit + kernel)
    gap, rows = (
        given.get("gap", ROW_NS),
        2 * (max(pages >> given.get("order", 0), 1) + given.get("kernel", 0)),
    )
    plan.makes(part, tasks * rows * 1e9 / (life + pause + rows * gap))
    fields = plan.add(
        part, tasks, behaviour=fd.ARENA, life=max(life, 1), pause=max(pause, 1), limit=limit, **given
    )
    fields["quantiles"] = plan.table(draw.lognormal_table(pages, spread, 1, most))
    fields["size"] = pages
    first = plan.own(fields, room * tasks)
    for i, actor in enumerate(plan.actors[-tasks:]):
        actor |= {"first_object": first + i * room, "room": room, "again": -1}
    return fields


def _anonymous(plan: Plan, part: ds.Anonymous) -> None:
    pages = part.memory.pages(plan.memory)
    tasks = part.tasks or plan.cpus(part)[1]
    tasks = min(tasks, max(pages, 1))
    _arena(
        plan, part, tasks, max(pages // tasks, 1), part.spread, limit=pages, life=part.lifetime, pause=part.pause, tables=1,
        order=part.order, mt=MIGRATE_MOVABLE, gfp=gf.GFP_HIGHUSER_MOVABLE | gf.GFP_ZERO | (gf.GFP_COMP if part.order else 0),
        attr=ANON, huge=_fixed(part.thp), huge_gfp=THP, huge_order=9, table_gfp=ACCOUNTED, gap=max(part.touch, ROW_NS),
        renewed=_fixed(part.renewed), mlocked=_fixed(part.mlocked), pinned=_fixed(part.pinned),
    )  # fmt: skip


def _forks(plan: Plan, part: ds.Forks) -> None:
    pages = max(part.private // PAGE, 1)
    work = 2 * (pages + part.kernel_pages) * max(part.touch, ROW_NS)
    busy = part.rate * (part.lifetime + work) / 1e9
    tasks = max(math.ceil(2 * busy), 1)
    pause = max(round(tasks / max(part.rate, 1e-9) * 1e9) - part.lifetime - work, 1)
    limit = max(math.ceil(pages * (busy + 4 * math.sqrt(busy) + 1)), 1)
    _arena(
        plan, part, tasks, pages, part.spread, limit=limit, life=part.lifetime, pause=pause, tables=1,
        kernel=part.kernel_pages, mt=MIGRATE_MOVABLE, gfp=gf.GFP_HIGHUSER_MOVABLE, attr=ANON, table_gfp=ACCOUNTED,
        gap=max(part.touch, ROW_NS),
    )  # fmt: skip


def _vmalloc(plan: Plan, part: ds.Vmalloc) -> None:
    pages, area = part.memory.pages(plan.memory), max(part.area // PAGE, 1)
    tasks = min(max(pages // area, 1), 4096)
    _arena(
        plan, part, tasks, max(pages // tasks, 1), part.spread, limit=pages, life=part.lifetime, pause=part.pause,
        order=part.order, bulk=1, mt=MIGRATE_UNMOVABLE, gfp=gf.GFP_KERNEL | gf.GFP_HIGHMEM | gf.GFP_NOWARN,
    )  # fmt: skip


def _files_written(plan: Plan, part: ds.FilesWritten) -> None:
    pages = max(part.file // PAGE, 1)
    rate = part.rate / PAGE / pages
    busy = rate * part.kept / 1e9
    tasks = max(math.ceil(2 * busy), 1)
    merged = -(-tasks // 4096)
    tasks, pages, rate = -(-tasks // merged), pages * merged, rate / merged
    pause = max(round(tasks / max(rate, 1e-9) * 1e9) - part.kept, 1)
    limit = max(math.ceil(pages * (busy / merged + 4 * math.sqrt(busy / merged) + 1)), 1)
    _arena(
        plan, part, tasks, pages, part.spread, limit=limit, life=part.kept, pause=pause, order=part.order,
        mt=MIGRATE_MOVABLE, gfp=WRITE, attr=FILE, dirty=_fixed(1 - part.synced),
    )  # fmt: skip


def _page_cache(plan: Plan, part: ds.PageCache) -> None:
    folio = PAGE << part.order
    per_file = max(part.file // folio, 1)
    files = max(part.files.pages(plan.memory) * PAGE // (per_file * folio), 1)
    folios = files * per_file
    resident = min(max(part.cached.pages(plan.memory) >> part.order, 64), folios)
    run = min(max(part.run // folio, 1), per_file)
    plan.uses(part, resident << part.order)
    if folios << part.order > (MOST_SHADOWS - 1) * plan.memory or folios + resident >= 1 << 31:
        raise KevacuateError(
            f"page_cache.files of {part.name!r} cannot be more than 300% of the machine's memory: give less."
        )
    _, cpus = plan.cpus(part)
    runs = part.reads / (run * folio)
    fields = plan.add(
        part, cpus, behaviour=fd.CACHE, order=part.order, mt=MIGRATE_MOVABLE, gfp=READ, write_gfp=WRITE, attr=FILE,
        burst=run, folios=folios, file=per_file, resident=resident, life=max(round(cpus / max(runs, 1e-9) * 1e9), 1),
        written=_fixed(part.written), dirty=_fixed(1 - part.synced), deleted=_fixed(part.deleted), nr_classes=1,
        rhythm=int(part.rhythm), id_of=plan.places,
    )  # fmt: skip
    fields["quantiles"] = plan.table(draw.zipf_table(files, part.reuse))
    fields["pause"] = max(fields["fill"] * cpus * per_file // resident - per_file * ROW_NS, 1)
    first = plan.own(fields, resident)
    size = 1 << part.order
    fields["first_shadow"] = -(-plan.shadows // size) * size
    plan.shadows = fields["first_shadow"] + (folios << part.order)
    at = plan.places
    ring = at + folios + resident
    plan.places = ring + resident
    plan.folios = max(plan.folios, at + folios)
    fields["base"], fields["room"] = (
        np.pad([ring], (0, fd.CLASSES - 1)),
        np.pad([resident], (0, fd.CLASSES - 1)),
    )

    def fill(made: Generator, _: int) -> None:
        made.ids[at:ring] = -1
        made.ids[ring : ring + resident] = np.arange(first, first + resident)

    plan.fills.append(fill)


def _slab(plan: Plan, part: ds.Slab) -> None:
    reclaimable = part.type == "reclaimable"
    lifetimes = (part.lifetime, part.long_lifetime) if part.long else (part.lifetime,)
    shares = (1 - part.long, part.long) if part.long else (1.0,)
    fields = _pool(
        plan, part, part.memory.pages(plan.memory), lifetimes, shares, order=part.order, mt=TYPES[part.type],
        gfp=gf.GFP_KERNEL | (gf.GFP_RECLAIMABLE if reclaimable else 0) | (gf.GFP_COMP if part.order else 0), burst=part.burst,
        together=1,
    )  # fmt: skip
    fields |= {
        "shrink_every": part.shrink_every,
        "shrink_share": _fixed(part.shrink),
        "shrink_next": part.shrink_every,
    }


def _page_tables(plan: Plan, part: ds.PageTables) -> None:
    pages = part.memory.pages(plan.memory)
    _pool(
        plan,
        part,
        pages,
        (part.lifetime,),
        (1.0,),
        mt=MIGRATE_UNMOVABLE,
        gfp=ACCOUNTED,
        burst=part.burst,
        together=1,
    )


def _buffers(plan: Plan, part: ds.Network | ds.Pipes, order: int, gfp: int) -> None:
    """Buffers that come at a rate and are held for a while: the oldest goes first.

    A burst comes at once, so that no fewer are held. Where fewer would come in the time, they are held until as many have come.
    """
    rate = max(part.rate / PAGE / 1e9, 1 / kd.MOST_NS)
    pages = max(math.ceil(rate * part.held), part.burst << order)
    held = max(part.held, round((part.burst << order) / rate))
    _pool(
        plan, part, pages, (held,), (1.0,), dies=fd.OLDEST, order=order, mt=MIGRATE_UNMOVABLE, gfp=gfp,
        burst=part.burst,
    )  # fmt: skip


def _network(plan: Plan, part: ds.Network) -> None:
    _buffers(plan, part, part.order, gf.GFP_ATOMIC | gf.GFP_NOWARN | (gf.GFP_COMP if part.order else 0))


def _pipes(plan: Plan, part: ds.Pipes) -> None:
    _buffers(plan, part, 0, gf.GFP_HIGHUSER | gf.GFP_ACCOUNT)


def _huge_pages(plan: Plan, part: ds.HugePages) -> None:
    pages = part.memory.pages(plan.memory) // 512 * 512
    _pool(
        plan, part, pages, (part.lifetime,), (1.0,), order=9, mt=MIGRATE_MOVABLE, gfp=HUGETLB, burst=part.burst, fixed=True,
    )  # fmt: skip


def _gigantic_requests(plan: Plan, part: ds.GiganticRequests) -> None:
    _pool(
        plan, part, part.count * GIGANTIC, (part.lifetime,), (1.0,), order=GIGANTIC.bit_length() - 1, mt=MIGRATE_UNMOVABLE,
        gfp=GIGANTIC_GFP, fixed=True,
    )  # fmt: skip


PAGES = {"kernel": 0, "anonymous": ANON, "file": FILE, "dirty": FILE | DIRTY}
DIES = {"random": fd.RANDOM, "together": fd.RANDOM, "oldest": fd.OLDEST, "newest": fd.NEWEST}


def _profile(plan: Plan, part: ds.Pool, bursts: int) -> tuple[Fields, Arrays, Arrays]:
    """Fields, targets and rooms of a pool whose births and deaths are given: as many of each class as follow from them.

    Steps through the windows: births by the shares, deaths in proportion to how many are alive and how fast they die. Such
    a pool is not held against the machine's memory: pools may be large at different times.
    """
    born, die = np.array(part.births, np.int64), np.array(part.deaths, np.int64)
    weights = np.array(part.shares) / sum(part.shares)
    hazard = 1.0 / np.maximum(np.array(part.lifetimes, np.float64), 1.0)
    alive = np.zeros(len(weights))
    most = np.zeros(len(weights))
    for come, go in zip(born / STEPS, die / STEPS, strict=True):
        for _ in range(STEPS):
            alive += come * weights
            most = np.maximum(most, alive)
            rate = alive * hazard
            alive = np.maximum(alive - go * rate / max(rate.sum(), 1e-300), 0.0)
    room = np.ceil(1.1 * most + 6 * np.sqrt(most)).astype(np.int64) + bursts
    plan.makes(part, float(born.sum() + die.sum()) * 1e9 / max(plan.workload.duration - part.begin, 1))
    at = len(plan.profile)
    until = np.cumsum(np.stack([np.r_[0, born], np.r_[0, die]], axis=1), axis=0)
    plan.profile += until.ravel().tolist()
    window = max((plan.workload.duration - part.begin) // len(born), 1)
    return {"windows": len(born), "window": window, "profile": at}, room, room


def _own_pool(plan: Plan, part: ds.Pool) -> None:
    _pool(
        plan, part, part.memory.pages(plan.memory), part.lifetimes, part.shares, dies=DIES[part.dies], order=part.order,
        mt=TYPES[part.type], gfp=part.gfp, attr=PAGES[part.page], burst=part.burst, together=int(part.dies == "together"),
        pinned=_fixed(part.pinned), mlocked=_fixed(part.mlocked),
    )  # fmt: skip


def _rounds(plan: Plan, part: ds.Rounds) -> None:
    tasks = part.tasks or plan.cpus(part)[1]
    each = (part.memory.pages(plan.memory) >> part.order) // tasks
    kept = int(each * part.kept)
    if kept < 1:
        raise KevacuateError(f"rounds {part.name!r} keeps less than one object a task: give it more memory.")
    plan.uses(part, each * tasks << part.order)
    plan.add(
        part, tasks, behaviour=fd.ROUNDS, order=part.order, mt=TYPES[part.type], gfp=part.gfp, attr=PAGES[part.page],
        gap=max(part.touch, ROW_NS), pause=part.pause, rounds=part.rounds if int(kept * part.again) else 0,
        renewed=int(kept * part.again), fill=0,
    )  # fmt: skip
    first, at = plan.objects, plan.places
    plan.own(plan.parts[-1], each * tasks)
    plan.places += each * tasks
    for i, actor in enumerate(plan.actors[-tasks:]):
        actor |= {"first_object": first + i * each, "size": each, "pieces": kept, "base": at + i * each}

    def fill(made: Generator, seed: int) -> None:
        shuffled = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, at, 1 << 21])))
        made.ids[at : at + each * tasks] = first + shuffled.permutation(each * tasks)

    plan.fills.append(fill)


LAY_OUT: dict[type[ds.PartOf], Callable[[Plan, Any], None]] = {
    ds.Anonymous: _anonymous, ds.Forks: _forks, ds.PageCache: _page_cache, ds.FilesWritten: _files_written, ds.Slab: _slab,
    ds.PageTables: _page_tables, ds.Network: _network, ds.Pipes: _pipes, ds.Vmalloc: _vmalloc, ds.HugePages: _huge_pages,
    ds.GiganticRequests: _gigantic_requests,
    ds.Pool: _own_pool, ds.Rounds: _rounds,
}  # fmt: skip


def plan_of(workload: ds.Workload) -> Plan:
    """Every part laid out.

    Raises
    ------
    KevacuateError
        The parts do not fit the machine; says which does not, and what to do.
    """
    plan = Plan(workload, memory_pages(workload.machine))
    for part in workload.parts:
        LAY_OUT[type(part)](plan, part)
    return plan


def _filled(record: type[Record], rows: list[Fields]) -> npt.NDArray[np.int64]:
    """An array of records with these fields."""
    array: npt.NDArray[np.int64] = record.new(len(rows))
    columns = record.table(array)
    for i, row in enumerate(rows):
        for name, value in row.items():
            columns[name][i] = value
    return array


def _rhythm(workload: ds.Workload) -> npt.NDArray[np.int64]:
    """The rate over the rhythm's period: 1 when it is busiest."""
    rhythm = workload.rhythm
    if rhythm is None:
        return np.full(fd.TABLE, fd.ONE, np.int64)
    phase = (np.arange(fd.TABLE) / fd.TABLE - rhythm.peak / max(rhythm.period, 1)) * 2 * np.pi
    rate = rhythm.least + (1 - rhythm.least) * (1 + np.cos(phase)) / 2
    levels: npt.NDArray[np.int64] = np.round(rate * fd.ONE).astype(np.int64)
    return levels


def new_generator(workload: ds.Workload, plan: Plan | None = None, seed: int | None = None) -> Generator:
    """The generator before its first row; *seed* in place of the description's."""
    plan = plan or plan_of(workload)
    chosen = workload.seed if seed is None else seed
    totals = Totals.new()
    columns = Totals.table(totals)
    columns["nr_actors"][0], columns["end"][0] = len(plan.actors), workload.duration
    if workload.rhythm is not None:
        columns["period"][0], columns["begin"][0] = workload.rhythm.period, workload.rhythm.begin
    for i, actor in enumerate(plan.actors):
        actor["random"] = draw.first_state(chosen, i)
    due = _first_due(plan, chosen)
    order = np.lexsort((np.arange(len(due)), due))
    made = Generator(
        g=totals,
        part=_filled(Part, plan.parts),
        actor=_filled(Actor, plan.actors),
        heap=order.astype(np.int32),
        due=due[order],
        ids=np.zeros(max(plan.places, 1), np.int32),
        piece=np.zeros(max(plan.objects, 1), np.uint8),
        seen=np.zeros(max(plan.folios, 1), np.uint8),
        quantile=np.concatenate(plan.tables) if plan.tables else np.zeros(fd.TABLE + 1, np.int64),
        exponential=draw.exponential_table(),
        rhythm=_rhythm(workload),
        profile=np.array([*plan.profile, 0], np.int64),
    )
    for fill in plan.fills:
        fill(made, chosen)
    return made


def _first_due(plan: Plan, seed: int) -> npt.NDArray[np.int64]:
    """When each actor is due first: tasks one after the other while the workload grows, the others when their part begins."""
    at = np.random.SeedSequence([seed, 1 << 20]).generate_state(max(len(plan.actors), 1), np.uint32)
    due = []
    for actor, drawn in zip(plan.actors, at.tolist(), strict=False):
        part = plan.parts[actor["part"]]
        spread = part["fill"] if part["behaviour"] == fd.ARENA else min(part["fill"], 1_000_000)
        due.append(part["begin"] + (spread * drawn >> 32))
    return np.array(due, np.int64)
