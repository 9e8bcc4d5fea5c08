# SPDX-License-Identifier: GPL-2.0-or-later
"""One record of a story in plain words, with what went before kept in mind: waits, batches, reasons of failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from kevacuate.kernel import migratetypes
from kevacuate.kernel.extfrag import CLAIM_BLOCK, NOT_TOLD, extfrag_kind
from kevacuate.kernel.migratetypes import name as type_name
from kevacuate.mm import constants as k
from kevacuate.mm.log import unpack_types
from kevacuate.observe import event_records as h
from kevacuate.recording import PageAttr
from kevacuate.reports.gfp import gfp_words
from kevacuate.reports.story.place import Place
from kevacuate.runs import noting as notes


class Happening(NamedTuple):
    """A record: its columns by name."""

    t: int
    kind: int
    cpu: int
    pfn: int
    a: int
    b: int
    c: int
    d: int


Told = tuple[str, str, dict[str, Any]]
"""A step's kind, its sentence, its figures."""


def plural(n: int, word: str) -> str:
    """``1 page``, ``2 pages``."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def seconds(ns: int) -> str:
    """A time of the story."""
    return f"{ns / 1e9:.6f} s"


def duration(ns: int) -> str:
    """A length of time in the unit it is read in."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns} ns"


LOG_KINDS = range(1, 64)
"""Kinds of the model's log, which tells of blocks."""

CANNOT = {PageAttr.PINNED: "pinned", PageAttr.BUSY: "locked", PageAttr.WRITEBACK: "under writeback"}


class Teller:
    """Turns records into steps, one after the other.

    Parameters
    ----------
    recorded : bool
        The records are a real kernel's: ``d`` of page records is then a task, not an object.
    place : Place
        What the story is of.
    """

    def __init__(self, recorded: bool, place: Place) -> None:
        self.recorded, self.pageblock_order = recorded, place.pageblock_order
        self.of_block = "its block: " if place.is_page else ""
        self.queued_at: int | None = None
        self.handed_over = True
        self.started_at: int | None = None
        self.claimed = False
        self.attrs: dict[int, tuple[int, int]] = {}

    def account(self, one: Happening) -> None:
        """Keep in mind which objects are in the block, and what keeps those from moving."""
        if self.recorded:
            return
        if one.kind in (notes.NOTE_ALLOC, notes.NOTE_START) and one.d >= 0:
            self.attrs[one.d] = (one.c >> 32, 1 << one.a)
        elif one.kind in (notes.NOTE_FREE, notes.NOTE_MOVED_OUT, notes.NOTE_DROPPED):
            self.attrs.pop(one.d, None)

    def tell(self, one: Happening) -> Told | None:
        """The step of this record; None where there is nothing to say."""
        self.account(one)
        words = _WORDS.get(one.kind)
        told = words(self, one) if words else None
        if told is None or one.kind not in LOG_KINDS or one.kind == k.L_EXTFRAG:
            return told
        return told[0], self.of_block + told[1], told[2]

    def stuck(self) -> dict[str, int]:
        """Pages in the block that migrate_pages cannot move, by reason (known of a replay alone)."""
        out: Counter[str] = Counter()
        for attr, pages in self.attrs.values():
            if attr & PageAttr.LRU:
                for bit, name in CANNOT.items():
                    out[name] += pages if attr & bit else 0
        return {name: n for name, n in out.items() if n}

    def who(self, one: Happening) -> str:
        """By whom: task or object, as far as known."""
        if self.recorded:
            return f" by task {one.d}" if one.d >= 0 else ""
        return f", object {one.d}" if one.d >= 0 else ""


def _claim(teller: Teller, one: Happening) -> Told:
    wanted, own = (type_name(mt) for mt in unpack_types(one.a))
    counts = f"{one.b} pages free, {one.c} movable"
    facts = {"for": wanted, "from": own, "free": one.b, "movable": one.c}
    if one.d:
        teller.claimed = True
        return "claimed", f"claimed for {wanted} requests, was {own}: {counts}", facts
    return (
        "claim refused",
        f"a request for {wanted} pages tried to claim the {own} block: {counts}, too few",
        facts,
    )


def _extfrag(teller: Teller, one: Happening) -> Told | None:
    wanted, own = (type_name(mt) for mt in unpack_types(one.c))
    facts = {"for": wanted, "from": own, "order_asked": one.a, "order_taken": one.b}
    what = f"order {one.a} for a request of type {wanted}, from a free {own} chunk of order {one.b}"
    if one.d == NOT_TOLD:
        return "claimed or stolen", f"claimed or stolen, which this kernel does not tell: {what}", facts
    if not one.d:
        return "stolen", f"stolen: {what}", facts
    if teller.claimed:
        teller.claimed = False
        return None
    whole = extfrag_kind(one.b, teller.pageblock_order, one.d) == CLAIM_BLOCK
    return (
        "claimed",
        ("claimed, all of it free: " if whole else "claimed (counts not recorded): ") + what,
        facts,
    )


def _queued(teller: Teller, one: Happening) -> Told:
    teller.queued_at, teller.handed_over = one.t, False
    return "queued", f"evacuation queued, node {one.b}", {"node": one.b}


def _irq_work(teller: Teller, one: Happening) -> Told | None:
    if teller.queued_at is None or teller.handed_over:
        return None
    teller.handed_over = True
    wait = one.t - teller.queued_at
    text = f"irq_work hands {plural(one.b, 'item')} to kevacuate/{one.a}, {duration(wait)} after the block was queued"
    return "handed over", text, {"items": one.b, "node": one.a, "wait_ns": wait}


def _started(teller: Teller, one: Happening) -> Told:
    teller.started_at, teller.handed_over = one.t, True
    wait = one.t - teller.queued_at if teller.queued_at is not None else None
    facts = {
        "waited_ns": wait,
        "type": type_name(one.a >> 8),
        "free": one.b,
        "on_lru": one.c,
        "skip_bit": one.a & 1,
    }
    text = "the worker starts" + (f" after waiting {duration(wait)}" if wait is not None else "")
    text += f": type {facts['type']}, {one.b} pages free, {one.c} on the LRU"
    return "started", text + (", compaction's skip bit is set" if one.a & 1 else ""), facts


def _isolated(_: Teller, one: Happening) -> Told:
    eagain = " (-EAGAIN: too many pages of the node are isolated)" if one.a else ""
    text = f"batch: pages {one.c} to {one.d} of the block scanned, {one.b} isolated{eagain}"
    return "isolated", text, {"isolated": one.b, "from": one.c, "to": one.d, "ret": one.a}


def _migrated(teller: Teller, one: Happening) -> Told:
    facts: dict[str, Any] = {"ret": one.a, "given": one.b, "migrated": one.c, "failed": one.d}
    text = f"migrate_pages: {one.c} of {plural(one.b, 'page')} moved"
    if one.d:
        text += f", {one.d} failed"
        if one.a == -k.ENOMEM:
            text += ": no free page to move them to"
        elif stuck := teller.stuck():
            facts["stuck"] = stuck
            held = ", ".join(f"{n} {name}" for name, n in sorted(stuck.items()))
            text += f"; what cannot be moved in this block: {held}"
    return "migrated", text, facts


def _finished(teller: Teller, one: Happening) -> Told:
    number, failed = one.d & 255, one.d >> 8
    why = k.WHY_NAMES[number] if number < len(k.WHY_NAMES) else f"reason {number}"
    took = one.t - teller.started_at if teller.started_at is not None else None
    facts = {
        "isolated": one.a, "dropped": one.b, "migrated": one.c, "failed": failed, "why": why, "took_ns": took,
    }  # fmt: skip
    text = "the evacuation ends" + (f" after {duration(took)}" if took is not None else "")
    text += f": {why}; {one.a} isolated, {one.b} dropped, {one.c} migrated, {failed} failed"
    teller.queued_at = teller.started_at = None
    return "finished", text, facts


def _allocated(teller: Teller, one: Happening) -> Told:
    gfp, mt = one.c & 0xFFFFFFFF, migratetypes.name(one.b)
    flags = gfp_words(gfp) if gfp else "alloc_pages_bulk" if teller.recorded else gfp_words(gfp)
    facts = {
        "order": one.a,
        "type": mt,
        "gfp": flags,
        "pfn": one.pfn,
        ("task" if teller.recorded else "object"): one.d,
    }
    inside = f" (chunk at {one.pfn:#x})" if one.a else ""
    return "allocated", f"allocated{teller.who(one)}: order {one.a}{inside}, {mt}, {flags}", facts


def _freed(teller: Teller, one: Happening) -> Told:
    return "freed", f"freed{teller.who(one)}, order {one.a}", {"order": one.a}


def _moved_out(teller: Teller, one: Happening) -> Told:
    text = f"migrated away to pfn {one.b:#x}{teller.who(one)}"
    return "moved out", text, {"to": one.b, "order": one.a}


def _moved_in(teller: Teller, one: Happening) -> Told:
    text = "mapped again as a migration's destination" if teller.recorded else "a migration's destination"
    return "moved in", f"{text}{teller.who(one)}", {"order": one.a}


def _dropped(teller: Teller, one: Happening) -> Told:
    return "dropped", f"dropped as clean page cache{teller.who(one)}", {"order": one.a}


def _in_use(teller: Teller, one: Happening) -> Told:
    what = "by something that cannot move" if one.d < 0 else f"on an LRU list{teller.who(one)}"
    return "in use", f"in use at the start {what}, order {one.a}", {"order": one.a}


def _compacted(what: str, verb: str) -> Callable[[Teller, Happening], Told]:
    def words(_: Teller, one: Happening) -> Told:
        text = f"compaction scans pfns {one.pfn:#x} to {one.a:#x} for {what}: {one.b} scanned, {one.c} {verb}"
        return "compaction", text, {"first": one.pfn, "end": one.a, "scanned": one.b, "taken": one.c}

    return words


_WORDS: dict[int, Callable[[Teller, Happening], Told | None]] = {
    k.L_EVAC_CLAIM: _claim,
    k.L_EXTFRAG: _extfrag,
    k.L_BLOCK_TYPE: lambda _, o: (
        "type",
        f"type changes from {type_name(o.a)} to {type_name(o.b)}",
        {"from": type_name(o.a), "to": type_name(o.b)},
    ),
    k.L_EVAC_QUEUED: _queued,
    k.L_EVAC_DROPPED: lambda _, o: ("not queued", "evacuation not queued: no item was left", {}),
    k.L_IRQ_WORK: _irq_work,
    k.L_EVAC_STARTED: _started,
    k.L_EVAC_SKIPPED: lambda _, o: ("skipped", "the worker finds the block movable again and leaves it alone", {}),
    k.L_EVAC_ISOLATE: _isolated,
    k.L_EVAC_RECLAIM: lambda _, o: (
        "reclaimed",
        f"{plural(o.a, 'clean cache page')} dropped, {o.b} left to migrate",
        {"dropped": o.a, "left": o.b},
    ),
    k.L_EVAC_MIGRATE: _migrated,
    k.L_EVAC_PUTBACK: lambda _, o: ("put back", f"{plural(o.a, 'page')} put back on the LRU", {"pages": o.a}),
    k.L_EVAC_FINISHED: _finished,
    k.L_HIGHATOMIC_RESERVE: lambda _, o: ("highatomic", "reserved for high-order atomic requests", {}),
    k.L_HIGHATOMIC_UNRESERVE: lambda _, o: ("highatomic", "no longer reserved for high-order atomic requests", {}),
    notes.NOTE_ALLOC: _allocated,
    notes.NOTE_FREE: _freed,
    notes.NOTE_MOVED_OUT: _moved_out,
    notes.NOTE_MOVED_IN: _moved_in,
    notes.NOTE_DROPPED: _dropped,
    notes.NOTE_START: _in_use,
    h.NOTE_COMPACT_FROM: _compacted("pages to move", "taken"),
    h.NOTE_COMPACT_INTO: _compacted("free pages", "taken as destinations"),
    h.NOTE_UNMAPPED: lambda teller, o: ("unmapped", f"unmapped for a migration{teller.who(o)}", {"order": o.a}),
}  # fmt: skip
