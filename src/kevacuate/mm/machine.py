# SPDX-License-Identifier: GPL-2.0-or-later
"""``Machine``: the model by hand, one allocation at a time, for teaching and scripts.

>>> machine = Machine(pages=512, pageblock_order=6)
>>> page = machine.alloc("movable")
>>> machine.free(page)
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from kevacuate.errors import KevacuateError, whole_number
from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.base_pages import OBJ_BASE_PAGES, base_page_ids
from kevacuate.mm.check import check
from kevacuate.mm.layout import (
    EvacuationConfig,
    MachineConfig,
    State,
    StateOptions,
    ZoneConfig,
    build_state,
    log_table,
)
from kevacuate.mm.picture import block_picture, describe, free_lists_picture

TYPES = {"unmovable": k.MIGRATE_UNMOVABLE, "movable": k.MIGRATE_MOVABLE, "reclaimable": k.MIGRATE_RECLAIMABLE}
_GFP = {
    "unmovable": k.GFP_KERNEL,
    "movable": k.GFP_HIGHUSER_MOVABLE,
    "reclaimable": k.GFP_KERNEL | k.GFP_RECLAIMABLE,
}
_ATTRS = {
    "file": k.ATTR_FILE,
    "dirty": k.ATTR_DIRTY,
    "writeback": k.ATTR_WRITEBACK,
    "pinned": k.ATTR_PINNED,
    "busy": k.ATTR_BUSY,
}

MOST_CPUS, MOST_ORDER = 1024, 13
"""What a model's machine may have (:func:`kevacuate.mm.layout.build_state` refuses more)."""

_KNOBS = {field.name for field in fields(EvacuationConfig)} - {"evacuate", "ready"}
_NUMBERS = {field.name for field in fields(EvacuationConfig) if type(field.default) is int}


@dataclass(frozen=True)
class Chunk:
    """A handle of an allocation: it stays valid while the pages move, each by itself once migration has split them."""

    machine: Machine
    number: int

    @property
    def pfn(self) -> int | None:
        """First pfn now; None once freed or dropped."""
        return next(iter(self.pfns), None)

    @property
    def pfns(self) -> list[int]:
        """First pfns of its folios now: of one, or of its pages once it was split; those freed or dropped are left out."""
        obj = self.machine.state.obj
        return [int(obj[i]) for i in self.machine._folios(self.number) if obj[i] >= 0]

    def __repr__(self) -> str:
        return f"<chunk {self.number} at pfn {self.pfn}>"


class Machine:
    """A simulated machine of one node and one zone.

    Parameters
    ----------
    pages : int
        Memory in pages, whole pageblocks.
    cpus : int
        CPUs, 1 to 1024.
    pageblock_order : int
        Order of a pageblock; 9 on x86-64, smaller to see everything at once.
    evacuate : bool
        Whether the evacuation patch is in.
    compaction : bool
        Whether kcompactd runs: when :meth:`compact` or kswapd wakes it, and proactively.
    min_free_kbytes : int
        As vm.min_free_kbytes; the watermarks follow from it. 0: no watermarks.
    knobs
        Further fields of :class:`~kevacuate.mm.layout.EvacuationConfig`, such as ``pool=8`` or ``wq="per_node"``.

    Raises
    ------
    KevacuateError
        The machine cannot be modelled, or a knob is not known.
    """

    def __init__(
        self,
        pages: int = 4096,
        cpus: int = 1,
        *,
        pageblock_order: int = 9,
        evacuate: bool = True,
        compaction: bool = False,
        min_free_kbytes: int = 0,
        **knobs: Any,
    ) -> None:
        pageblock_order = whole_number("pageblock_order", pageblock_order, 1, MOST_ORDER)
        cpus = whole_number("cpus", cpus, 1, MOST_CPUS)
        min_free_kbytes = whole_number("min_free_kbytes", min_free_kbytes, 0)
        pages = whole_number("pages", pages, 1)
        if pages % (1 << pageblock_order):
            raise KevacuateError(
                f"pages cannot be {pages}: it is a whole number of pageblocks, of {1 << pageblock_order} pages each."
            )
        unknown = set(knobs) - _KNOBS
        if unknown:
            raise KevacuateError(
                f"There is no knob {unknown.pop()!r}: it is one of {', '.join(sorted(_KNOBS))}."
            )
        for name in set(knobs) & _NUMBERS:
            knobs[name] = whole_number(name, knobs[name], 0)
        order = min(pageblock_order + 1, 10) if pageblock_order < 10 else pageblock_order
        self.config = MachineConfig(
            npages=pages,
            zones=(ZoneConfig(node=0, index=k.ZONE_NORMAL, start_pfn=0, end_pfn=pages),),
            cpu_node=(0,) * cpus,
            max_page_order=order,
            pageblock_order=pageblock_order,
            hpage_pmd_order=pageblock_order if pageblock_order > 3 else -1,
            compaction=compaction,
        )
        objects = max(2 * pages, 64)
        parts = 2 * (pages + (1 << order)) >> order << order
        options = StateOptions(objects=objects + parts, log_capacity=1 << 14)
        self.state: State = build_state(self.config, EvacuationConfig(evacuate=evacuate, **knobs), options)
        load_state.memblock_free_all(self.state, self.config)
        if min_free_kbytes:
            load_state.setup_per_zone_wmarks(self.state, self.config, min_free_kbytes)
        entry.late_initcall(self.state, 1)
        last = (pages - 1) >> pageblock_order << pageblock_order
        self.state.view.zone[
            0
        ].compact_cached_free_pfn = last  # as in zones above pfn 0, where its 0 is no position
        stat = self.state.view.stat
        stat.first_shadow = stat.first_base_page = objects
        stat.nr_base_pages = parts
        self._spare = list(range(objects - 1, -1, -1))

    def alloc(
        self, kind: str = "movable", order: int = 0, *, cpu: int = 0, gfp: int | None = None, **attrs: bool
    ) -> Chunk | None:
        """Allocate 2**order pages of the kind ``unmovable``, ``movable`` or ``reclaimable``; None if there are none.

        Keyword arguments say what a movable page is like: ``file``, ``dirty``, ``writeback``, ``pinned``, ``busy``
        (locked). Movable pages live on the LRU.

        Raises
        ------
        KevacuateError
            There is no such kind, order, CPU or attribute.
        """
        order = whole_number("order", order, 0, self.config.max_page_order)
        cpu = self._cpu(cpu)
        if kind not in TYPES:
            raise KevacuateError(f"There is no kind of page {kind!r}: it is one of {', '.join(TYPES)}.")
        unknown = set(attrs) - set(_ATTRS)
        if unknown:
            raise KevacuateError(
                f"There is no page attribute {unknown.pop()!r}: it is one of {', '.join(_ATTRS)}."
            )
        attr = k.ATTR_LRU if kind == "movable" else 0
        attr |= sum(_ATTRS[name] for name, on in attrs.items() if on)
        number = self._spare.pop()
        flags = _GFP[kind] if gfp is None else gfp
        if entry.alloc(self.state, cpu, -1, order, TYPES[kind], flags, attr, number) < 0:
            self._spare.append(number)
            return None
        return Chunk(self, number)

    def free(self, chunk: Chunk, *, cpu: int = 0) -> None:
        """Free a chunk wherever it is now.

        Raises
        ------
        KevacuateError
            It is no chunk of this machine, or not allocated any more; or there is no such CPU.
        """
        if not isinstance(chunk, Chunk):
            raise KevacuateError(f"{chunk!r} is no chunk: give what alloc() returned.")
        if chunk.machine is not self:
            raise KevacuateError(f"Chunk {chunk.number} is another machine's: free it there.")
        cpu = self._cpu(cpu)
        pfns = chunk.pfns
        if not pfns:
            raise KevacuateError(
                f"Chunk {chunk.number} is not allocated: it was freed, or dropped as clean page cache."
            )
        for pfn in pfns:
            entry.free(self.state, cpu, pfn)
        for number in {chunk.number, *self._folios(chunk.number)}:
            self.state.obj[number] = k.OBJ_NONE
        self._spare.append(chunk.number)

    @property
    def now(self) -> int:
        """Virtual time in ns."""
        return self.state.view.stat.now

    def step(self) -> list[str]:
        """Run the next thing that is due in the background (a worker's step, kswapd, a vmstat tick); what happened, in lines."""
        due = self.state.view.stat.next_due or self._next_due()
        entry.advance(self.state, due)
        return self.events()

    def run(self, ns: int) -> list[str]:
        """Let *ns* of virtual time pass; what happened, in lines. Raises KevacuateError if *ns* is no such time."""
        ns = whole_number("ns", ns, 0)
        entry.advance(self.state, self.now + ns)
        return self.events()

    def settle(self) -> list[str]:
        """Run until no evacuation is queued or under way; what happened, in lines."""
        lines = self.events()
        while self._busy():
            lines += self.step()
        return lines

    def compact(self, order: int) -> None:
        """Wake kcompactd for chunks of 2**order pages; it works as virtual time passes.

        Raises
        ------
        KevacuateError
            The machine has no such order.
        """
        order = whole_number("order", order, 0, self.config.max_page_order)
        entry.wake_kcompactd(self.state, 0, order)

    def events(self) -> list[str]:
        """What the model logged since the last call, in lines."""
        records = log_table(self.state).tolist()
        self.state.view.stat.nr_log = 0
        return [line for line in (describe(self.state, record) for record in records) if line]

    def drain(self) -> None:
        """drain_all_pages: what lies on the per-CPU lists goes back to the buddy lists; then lru_add_drain_all."""
        entry.drain_all(self.state)
        entry.lru_add_drain_all(self.state)

    def check(self) -> None:
        """Raise AssertionError if the state is inconsistent."""
        check(self.state)

    def block(self, number: int) -> str:
        """One pageblock, a character a page (:func:`kevacuate.mm.picture.block_picture`).

        Raises
        ------
        KevacuateError
            The machine has no such block.
        """
        number = whole_number("block", number, 0, self._blocks - 1)
        return block_picture(self.state, number)

    def __repr__(self) -> str:
        """How large it is, and what is free."""
        cpus, free = len(self.config.cpu_node), int(self.state.view.zone[0].nr_free_pages)
        return (
            f"<Machine of {self.config.npages:,} pages in {self._blocks:,} pageblock{'s' * (self._blocks != 1)}, "
            f"{cpus} CPU{'s' * (cpus != 1)}: {free:,} page{'s' * (free != 1)} free>"
        )

    def __str__(self) -> str:
        blocks = range(self._blocks)
        return "\n".join([free_lists_picture(self.state), *(self.block(number) for number in blocks)])

    def _folios(self, number: int) -> range:
        """The objects that a chunk consists of: itself, or its pages once it was split."""
        code = int(self.state.obj[number])
        if code > OBJ_BASE_PAGES:
            return range(number, number + 1)
        first = int(self.state.view.stat.first_base_page)
        ids = base_page_ids(code)
        return range(first + ids.start, first + ids.stop)

    @property
    def _blocks(self) -> int:
        """Pageblocks."""
        return self.config.npages >> self.config.pageblock_order

    def _cpu(self, cpu: int) -> int:
        """The number of a CPU, checked."""
        return whole_number("cpu", cpu, 0, len(self.config.cpu_node) - 1)

    def _next_due(self) -> int:
        entry.advance(self.state, self.now)
        return self.state.view.stat.next_due

    def _busy(self) -> bool:
        """Whether some worker has something to do."""
        return any(worker.state != k.WORKER_IDLE for worker in self.state.view.worker)
