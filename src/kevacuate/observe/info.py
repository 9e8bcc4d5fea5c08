# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording holds: its machine, its events by kind, whether they fit together, and the verdict in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kevacuate.demand.build import build_demand
from kevacuate.demand.start_objects import pages_in_use
from kevacuate.measure.extfrag import tells_ownership
from kevacuate.measure.recorded import recorded_kinds
from kevacuate.measure.timeline import Timeline
from kevacuate.mm.profile import NOT_MODELLED, profile_for
from kevacuate.observe.pagebooks import PAGE_KINDS, PageBooks
from kevacuate.percent import percent
from kevacuate.recording import EventKind, Lost, Recording, has_demand
from kevacuate.recording.completeness import losses_by_cpu
from kevacuate.recording.demand import read_demand
from kevacuate.recording.quality import QualityCounter, events_only
from kevacuate.recording.settings import recorded_settings, settings_in_words
from kevacuate.runs.loop_choice import reclaim_words
from kevacuate.runs.start_guesses import guessed_words, start_facts
from kevacuate.runs.trust import lost_and_unread, trust_words

Progress = Callable[[str, int, int], None]
"""Called with (what is under way, events or rows done, in all; 0 if not known)."""


def about_recording(recording: Recording, progress: Progress | None = None) -> dict[str, Any]:
    """The quality report: facts of a recording, of its events and of its demand, and a verdict in words.

    Streams the events once, and twice more where a demand can be made of them; memory is bounded by the machine's pages.

    Raises
    ------
    KevacuateError
        The recording cannot be read.
    """
    report = progress or (lambda name, done, total: None)
    machine = recording.machine
    profile, standing = (
        profile_for(machine.kernel) if machine.kernel else (None, "none: the kernel is not known")
    )
    about: dict[str, Any] = {
        "name": recording.path.resolve().name,
        "digest": recording.digest,
        "kernel": machine.kernel,
        "kernel_known": machine.extra.get("kernel_known", "named" if machine.kernel else ""),
        "kernel_range": machine.extra.get("kernel_range", [None, None]),
        "change_ownership_unknown": not tells_ownership(machine),
        "profile": standing,
        "profile_unsure": list(profile.unsure) if profile else [],
        "not_modelled": [*NOT_MODELLED, *(profile.not_modelled if profile else ())],
        "arch": machine.arch,
        "cpus": machine.cpus,
        "clock": machine.clock,
        "zones": [{"node": z.node, "name": z.name, "managed_pages": z.managed} for z in machine.zones],
        "pageblock_order": machine.pageblock_order,
        "vm_settings": recorded_settings(machine),
        "vm_settings_in_words": settings_in_words(machine),
        "states": [
            {"tag": s.tag, "label": s.label, "page_flags": s.page_flags is not None} for s in recording.states
        ],
        "snapshots": len(getattr(recording, "snapshots", ())),
        "start": start_facts(recording),
        "extfrag_known": int(EventKind.MM_PAGE_ALLOC_EXTFRAG) in (recorded_kinds(machine) or ()),
        **losses_by_cpu(recording),
        "losses": [asdict(loss) for loss in recording.losses],
        "events_not_read": recording.not_read,
        "events_passed_over": recording.passed_over,
    }
    about |= about_events(recording, report)
    about["extfrag_known"] |= EventKind.MM_PAGE_ALLOC_EXTFRAG.name in about["events_by_kind"]
    about |= about_demand(recording, report)
    about["verdict"] = verdict(about, about["quality"].get("trusted"))
    return about


def about_events(recording: Recording, report: Progress) -> dict[str, Any]:
    """One pass over all events: by kind, CPU and time, and whether allocations and frees fit together.

    The books begin at the start state where there is one, else they know of no page.
    """
    counter, time = QualityCounter(), Timeline()
    for ts in recording.span or ():
        time.reach(ts)
    kept = recording.quality.get("events", 0) if (recording.path / "machine.json").exists() else 0
    done = 0
    for chunk in recording.events():
        counter.add(chunk)
        time.add(events_only(chunk).ts)
        done += chunk.rows
        report("events", done, max(int(kept), done) if kept else 0)
    counted = counter.to_json()
    kinds = counted["events_by_kind"]
    demanded = any(kinds.get(kind.name) for kind in PAGE_KINDS[:3])
    rate = counted["events"] * 1e9 / time.span if time.span else None
    used = time.used()
    return {
        **counted,
        "recorded_seconds": recording.seconds,
        "events_per_second": rate,
        "peak_events_per_second": int(used.max()) * 1e9 / time.width if len(used) > 1 else rate,
        "timeline": time.to_json(("events",)),
        "pages": asdict(page_books(recording, report).facts) if demanded else None,
    }


def page_books(recording: Recording, report: Progress) -> PageBooks:
    """Enter the recording's allocations and frees into books that begin at its start state, if it has one."""
    start, done = recording.start, 0
    books = PageBooks(pages_in_use(start, recording.machine.hugepage_order) if start is not None else None)
    for chunk in recording.events(kinds=PAGE_KINDS, after=start):
        books.add(chunk)
        done += chunk.rows
        report("pages", done, 0)
    return books


START = "start"
"""The key of ``quality.json`` that start states alone have."""
IS_START = "it is a start state"


def about_demand(recording: Recording, report: Progress) -> dict[str, Any]:
    """The demand's size and what its reconstruction counted; where none can be made, ``no_demand`` says why."""
    none = {
        "demand_rows": 0,
        "demand_seconds": 0.0,
        "start_objects": 0,
        "quality": {},
        "moves": None,
        "reclaim": "",
    }
    if not has_demand(recording.path):
        if recording.start is None:
            return {**none, "no_demand": "it holds no state of the allocator to start from"}
        needed = (EventKind.MM_PAGE_ALLOC, EventKind.MM_PAGE_FREE)
        if START in recording.quality:
            return {**none, "no_demand": IS_START}
        if next(recording.events(kinds=needed, after=recording.start), None) is None:
            return {**none, "no_demand": "it holds no allocations and frees after its start state"}
    demand = build_demand(recording)
    rows, span = 0, 0
    stored = recording.has_demand  # its attr need not be drawn to be counted
    for chunk in read_demand(recording.path, verify=False) if stored else demand.chunks():
        rows += int(chunk.t.size)
        span = int(chunk.t[-1]) if chunk.t.size else span
        report("demand", rows, 0)
    quality = {} if demand.max_objects is None else demand.quality.as_dict()
    return {
        "demand_rows": rows,
        "demand_seconds": span / 1e9,
        "start_objects": int(demand.start_objects.pfn.size),
        "quality": quality,
        "moves": moves(quality) if quality else None,
        "reclaim": reclaim_words(quality),
        "no_demand": None,
    }


def moves(quality: dict[str, Any]) -> dict[str, int]:
    """Objects that the recorded kernel moved, by how their new place was found (:mod:`kevacuate.demand.migrations`).

    ``by_event``: a migration entry named it. ``by_rule``: paired in order with the mover's own allocations or with compaction's
    free lists. ``by_block``: only the target pageblock was known, until one of its pages was freed. ``waiting``: alive at the
    end, and still without a place. ``given_up``: freed in the demand, for want of a destination or of room.
    """
    return {
        "by_event": quality["moves_exact"],
        "by_rule": quality["moves_by_destination"] + quality["moves_by_list"],
        "by_block": quality["moves_by_block"],
        "waiting": quality["moves_unresolved"],
        "given_up": quality["moves_dropped"] + quality["unpaired_sources"],
    }


def _moved(about: dict[str, Any]) -> str:
    """What is not known of moved pages, and how to know it next time; nothing where it is known."""
    moved = about["moves"] or {"by_block": 0, "waiting": 0}
    lost = moved["by_block"] + moved["waiting"]
    if not lost or about["events_by_kind"].get(EventKind.REMOVE_MIGRATION_PTE.name):
        return ""
    return (
        f"Compaction moved {lost:,} objects to pages that no event names: they live on, where the rule puts them. Recording "
        "set_migration_pte and remove_migration_pte as well names most. "
    )


def verdict(about: dict[str, Any], trusted: float | None) -> str:
    """A few sentences: can this recording be replayed, and what to keep in mind.

    *trusted* is the share of the demand that is known, None where the recording does not say.
    """
    lost, said = Lost.of_json(about), lost_and_unread(about)
    if about["no_demand"] == IS_START:
        return "It is a start state: compare --start and replay --start begin from it."
    if about["no_demand"]:
        use = (
            "triage and compare --recorded can use it"
            if about["extfrag_known"]
            else "without external fragmentation events it is of little other use"
        )
        return f"{said}. It cannot be replayed, as {about['no_demand']}; {use}."
    if trusted is None:
        return f"{said}; how much of the demand is a guess was not kept."
    if lost:
        guessed = guessed_words(about["start"])
        return (
            f"{said}, so objects are missing or never freed: at most {percent(trusted, 2)} of the demand is known. "
            f"Record again with larger buffers before drawing conclusions.{f' {guessed}' if guessed else ''}"
        )
    return (
        f"{said}; {percent(trusted, 2)} of the demand is known from the kernel's own events. "
        f"{trust_words(trusted, about['start'])} {_moved(about)}What a trace cannot show (pinned, dirty, busy pages) "
        "is drawn from stated shares: see page_kinds in a run's provenance."
    )


def info(recording: Recording | str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """What a recording holds and how good it is: what ``kevacuate info --json`` prints.

    Parameters
    ----------
    recording : Recording or path
        Any recording; the demand's figures need a start state.
    progress : callable, optional
        Called with (what is under way, events or rows done, in all; 0 where that is not known).

    Returns
    -------
    dict
        JSON values: the machine (sizes in pages), ``events_by_kind``, ``recorded_seconds``, ``lost_events`` by CPU,
        ``demand_rows``, ``quality`` (counts of the reconstruction), ``start`` (what of it is guessed), and ``verdict``, in
        sentences.

    Raises
    ------
    KevacuateError
        The recording cannot be read.

    Examples
    --------
    >>> import kevacuate
    >>> about = kevacuate.info("my-server.kev")
    >>> about["kernel"], about["lost_events"]
    ('7.2.13', [0])
    """
    return about_recording(Recording.of(recording), progress)
