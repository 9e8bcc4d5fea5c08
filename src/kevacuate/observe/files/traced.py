# SPDX-License-Identifier: GPL-2.0-or-later
"""External fragmentation events out of perf trace, babeltrace and plot-fragmentation: by type, order and task.

These tools print no pageblock order, and perf trace and plot-fragmentation no CPU; plot-fragmentation names no page
either. What they
hold is counted as a recording's is (:mod:`kevacuate.measure.triage`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kevacuate.kernel import gfp as kernel_gfp
from kevacuate.kernel.migratetypes import MIGRATE_RECLAIMABLE, SWAPPED_UNTIL, table
from kevacuate.kernel.migratetypes import name as type_name
from kevacuate.kernel.versions import parse_version
from kevacuate.kernelfiles.plotfrag import Compaction, Fragmentation, Reader, looks_like_plotfrag
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.traced import LTTNG, NO_CPU, PERF_TRACE, Losses, Traced, events, tool_of
from kevacuate.measure.triage import TriageCounter
from kevacuate.observe.files.each import each
from kevacuate.observe.recordingadvice import Facts, advice_of
from kevacuate.recording import Lost
from kevacuate.recording.gfptext import gfp_text
from kevacuate.recording.schema import COLUMN_TYPES, NO_PFN, EventChunk, EventKind

ASSUMED_PAGEBLOCK_ORDER = 9
"""What a pageblock's order is taken to be: that of x86-64 and of arm64 with pages of 4 KiB. No such file tells it."""

CHUNK = 1 << 16
"""Events counted at a time."""

MOST_TASKS = 1 << 16
"""Tasks whose names are kept."""

MOST_REQUESTS = 1 << 12
"""Kinds of requests told apart."""

ROWS = 100
"""Kinds of requests in the answer."""

HOW_TO_RECORD = {
    PERF_TRACE: "perf trace -a -e kmem:mm_page_alloc_extfrag",
    LTTNG: "lttng enable-event --kernel kmem_mm_page_alloc_extfrag",
}
"""What switches the event on that a triage needs, by tool."""

LAST_NS = 1 << 62
"""Later times are no times."""

ALLOC, EXTFRAG = "mm_page_alloc", "mm_page_alloc_extfrag"


class _Row(NamedTuple):
    """An event as a chunk's row."""

    ts: int
    cpu: int
    pid: int
    kind: int
    pfn: int
    order: int
    mt: int
    gfp: int
    a: int
    b: int
    c: int
    d: int = 0


class _Facts:
    """What is learnt of a file on the first pass, and counted beside the events."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.last = 0
        self.lost = 0
        """Events of any kind that the tool says it lost."""
        self.movable = 0
        """Number of the movable type, as a movable request proves it; 0: nothing does."""
        self.held: Counter[str] = Counter()
        self.tasks: dict[int, str] = {}
        self.requests: dict[tuple[int, int, int], list[int]] = {}

    def see(self, one: Traced) -> None:
        """The first pass."""
        self.first = one.ns if self.first is None else min(self.first, one.ns)
        self.last = max(self.last, one.ns)
        if len(self.held) < 1000 or one.name in self.held:
            self.held[one.name] += 1
        number = one.fields.get("migratetype", 0)
        if one.name == ALLOC and one.fields.get("gfp_flags", 0) & kernel_gfp.GFP_MOVABLE and number in (1, 2):
            self.movable = self.movable or number

    @property
    def swapped(self) -> bool:
        """Whether the numbers are those before Linux 4.4."""
        return self.movable == MIGRATE_RECLAIMABLE

    def name(self, tid: int, task: str) -> None:
        """Keep a task's name."""
        if task and (tid in self.tasks or len(self.tasks) < MOST_TASKS):
            self.tasks[tid] = task

    def request(self, one: Traced, mt: int) -> None:
        """Count an allocation."""
        key = (
            mt,
            _within(one.fields.get("order", 0), 127),
            _within(one.fields.get("gfp_flags", 0), (1 << 32) - 1),
        )
        if key in self.requests or len(self.requests) < MOST_REQUESTS:
            found = self.requests.setdefault(key, [0, _within(one.fields.get("pfn", NO_PFN), (1 << 40) - 1)])
            found[0] += 1


def _within(value: int, most: int) -> int:
    """The value; -1 of one that no kernel prints."""
    return value if 0 <= value <= most else -1


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """The external fragmentation events of each file.

    Parameters
    ----------
    files : sequence of TextFile
        Lines of perf trace or babeltrace, or plot-fragmentation's JSON.
    progress : callable, optional
        Called with (files done, files in all).

    Returns
    -------
    dict
        ``kind``, ``files``, ``advice``, and ``traces``: one dict a file as of a recording's triage
        (:meth:`kevacuate.measure.triage.TriageCounter.result`), with ``tool``, ``requests`` (allocations by type, order
        and gfp with
        the page of the first), ``compaction`` (by order: successes and failures, of plot-fragmentation), ``told_events``
        (how many the
        file says that it holds) and ``numbering`` of migratetypes.

    Raises
    ------
    KevacuateError
        A file cannot be read, or is truncated.

    """
    traces = each(
        files, lambda file: _plotfrag(file) if looks_like_plotfrag(file) else _traced(file), progress
    )
    return {
        "kind": "traced",
        "files": [file.name for file in files],
        "traces": traces,
        "advice": [piece for trace in traces for piece in _advice(trace)],
    }


def _traced(file: TextFile) -> dict[str, Any]:
    """The answer of a file of perf trace or babeltrace."""
    facts = _Facts()
    losses = Losses()
    for one in events(file, losses):
        facts.see(one)
    facts.lost = losses.events
    counter = TriageCounter(ASSUMED_PAGEBLOCK_ORDER, (facts.first or 0, facts.last))
    _count(counter, _rows(events(file, Losses()), facts))
    tool = tool_of(file) or PERF_TRACE
    found = _result(file.name, tool, "", counter, facts)
    if tool == PERF_TRACE and facts.requests:
        found |= {"requests_matched": 0, "requests_unmatched": counter.who.unmatched}
    numbering = (
        "before 4.4" if facts.swapped else "since 4.4" if facts.movable else "taken to be those since 4.4"
    )
    return {
        **found,
        "numbering": numbering,
        "requests": _requests(facts),
        "compaction": {},
        "told_events": None,
        "malformed": 0,
    }


def _rows(traced: Iterator[Traced], facts: _Facts) -> Iterator[_Row]:
    """The events that are counted."""
    swapped = table(SWAPPED_UNTIL)
    assert swapped is not None
    for one in traced:
        if one.name not in (ALLOC, EXTFRAG):
            continue
        facts.name(one.tid, one.task)
        get = one.fields.get
        name = "migratetype" if one.name == ALLOC else "alloc_migratetype"
        mt, taken = (
            _stored(get(field, 0), swapped if facts.swapped else None)
            for field in (name, "fallback_migratetype")
        )
        if one.name == ALLOC:
            facts.request(one, mt)
        if one.cpu == NO_CPU and one.name == ALLOC:
            continue  # without a CPU no request can be told to be the one that an extfrag event belongs to
        yield _Row(
            _within(one.ns, LAST_NS),
            _within(one.cpu, 65535) if one.cpu != NO_CPU else 0,
            _within(one.tid, (1 << 31) - 1),
            int(EventKind.MM_PAGE_ALLOC if one.name == ALLOC else EventKind.MM_PAGE_ALLOC_EXTFRAG),
            _within(get("pfn", NO_PFN), (1 << 40) - 1),
            _within(get("order" if one.name == ALLOC else "alloc_order", 0), 127),
            mt,
            get("gfp_flags", 0) & kernel_gfp.GFP_MASK,
            _within(get("fallback_order", 0), 127),
            taken,
            int(get("change_ownership", 0) != 0),
        )


def _stored(number: int, swapped: Any) -> int:
    """The stored number of a migratetype; -1 if it is none."""
    if not 0 <= number < 6:
        return -1
    return number if swapped is None else int(swapped[number])


def _count(counter: TriageCounter, rows: Iterator[_Row]) -> None:
    """Feed the counter chunks in order of time."""
    waiting: list[_Row] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == CHUNK:
            counter.add(_chunk(waiting))
            waiting = []
    counter.add(_chunk(waiting))


def _chunk(rows: list[_Row]) -> EventChunk:
    columns = (
        list(zip(*sorted(rows, key=lambda row: row.ts), strict=True)) if rows else [()] * len(COLUMN_TYPES)
    )
    return EventChunk(
        *(
            np.array(column, np.int64).astype(dtype)
            for column, dtype in zip(columns, COLUMN_TYPES.values(), strict=True)
        )
    )


def _plotfrag(file: TextFile) -> dict[str, Any]:
    """The answer of plot-fragmentation's JSON."""
    facts, reader = _Facts(), Reader(file)
    facts.first = 0
    for one in reader.events():
        facts.last = max(facts.last, one.ns)
    if reader.heading.seconds is not None:
        facts.last = max(facts.last, round(reader.heading.seconds * 1e9))
    counter = TriageCounter(ASSUMED_PAGEBLOCK_ORDER, (0, facts.last))
    reader, compaction = Reader(file), dict[int, list[int]]()
    _count(counter, _plotfrag_rows(reader, facts, compaction))
    return {
        **_result(file.name, "plot-fragmentation", reader.heading.kernel, counter, facts),
        "numbering": "named",
        "requests": [],
        "compaction": {
            str(order): {"success": n[1], "failure": n[0]} for order, n in sorted(compaction.items())
        },
        "told_events": reader.heading.total_events,
        "malformed": reader.malformed,
    }


def _plotfrag_rows(reader: Reader, facts: _Facts, compaction: dict[int, list[int]]) -> Iterator[_Row]:
    """The extfrag events; those of compaction are counted on the way."""
    for one in reader.events():
        if isinstance(one, Compaction):
            facts.held["compaction_success" if one.success else "compaction_failure"] += 1
            compaction.setdefault(one.order, [0, 0])[one.success] += 1
            continue
        facts.held[EXTFRAG] += 1
        facts.name(one.tid, one.task)
        yield _fragmentation(one)


def _fragmentation(one: Fragmentation) -> _Row:
    kind = int(EventKind.MM_PAGE_ALLOC_EXTFRAG)
    ts, own = _within(one.ns, LAST_NS), int(one.claim)
    return _Row(ts, 0, one.tid, kind, NO_PFN, one.order, one.asked, 0, one.fallback_order, one.taken, own)


def _result(name: str, tool: str, kernel: str, counter: TriageCounter, facts: _Facts) -> dict[str, Any]:
    """What a triage of a recording says, of such a file."""
    return {
        "file": name,
        "tool": tool,
        "kernel": kernel,
        "pageblock_order": ASSUMED_PAGEBLOCK_ORDER,
        "pageblock_order_assumed": True,
        "events_held": dict(facts.held.most_common()),
        "extfrag_recorded": True if counter.seen else None,
        "losses_known": False,
        **Lost(facts.lost, False).to_json(),
        "events_not_read": 0,
        "events_without_format": 0,
        "lines_not_read": 0,
        "stalls": None,
        "pids_kept": True,
        "task_names": {str(tid): task for tid, task in facts.tasks.items()},
        **counter.result(known=counter.seen and not facts.lost, huge_order=ASSUMED_PAGEBLOCK_ORDER),
    }


def _requests(facts: _Facts) -> list[dict[str, Any]]:
    """Allocations by type, order and gfp, most first. Flags are read in the bit numbers of Linux 7.2."""
    ranked = sorted(facts.requests.items(), key=lambda item: (-item[1][0], item[0]))
    return [
        {
            "type": type_name(mt),
            "order": order,
            "gfp": flags,
            "gfp_names": gfp_text(flags & kernel_gfp.GFP_MASK) if flags >= 0 else "not known",
            "requests": count,
            "first_pfn": pfn,
        }
        for (mt, order, flags), (count, pfn) in ranked[:ROWS]
    ]


def _advice(trace: dict[str, Any]) -> list[dict[str, str]]:
    """What to record where this trace falls short, and what the kernel offers against what it shows."""
    if not trace["extfrag"] and trace["tool"] in HOW_TO_RECORD:
        return [
            {
                "do": f"Record mm_page_alloc_extfrag with `{HOW_TO_RECORD[trace['tool']]}`.",
                "evidence": "The file holds no such event, so it does not say whether memory is being fragmented.",
                "source": "include/trace/events/kmem.h, mm_page_alloc_extfrag",
            }
        ]
    version = parse_version(trace["kernel"])
    found = advice_of(Facts({**trace, "huge_order": ASSUMED_PAGEBLOCK_ORDER}, version, {}, {}, None))
    if trace["events_without_page"] or trace["tool"] == PERF_TRACE:
        found.append(
            {
                "do": "Record it again with `kevacuate record --light`: that keeps pages and CPUs, and costs no more.",
                "evidence": f"{trace['tool']} does not name {'the CPU' if trace['tool'] == PERF_TRACE else 'pages'}.",
                "source": "include/trace/events/kmem.h, mm_page_alloc_extfrag",
            }
        )
    return found if trace["extfrag"] else []
