# SPDX-License-Identifier: GPL-2.0-or-later
"""Page allocation failures and OOM reports of kernel logs: why each failed, summed up by order, task and time.

A report that stands in several logs counts once (:mod:`kevacuate.observe.files.reportcopies`). Reports that say the same (kind,
order, gfp, verdict, memory cgroup, zones and reasons) are a group; the earliest of them is its example. The sums do not depend on
the order of reports in the files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kevacuate.kernelfiles.allocfailure import FAILURE, OOM, STALL, VMALLOC, Reader, Report
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.kernel_log_advice import MEMCG, advice, helps, piece
from kevacuate.observe.files.reportcopies import Copies
from kevacuate.observe.files.zones_of_failure import NOT_KNOWN, explained

KIND = "kernel_log"

MOST_ADVICE = 3
MOST_GROUPS = 1000
"""Groups of equal reports that are kept; more are counted and not shown."""

MOST_NAMES = 10_000
"""Tasks, victims and hours that are counted one by one; those beyond are counted together."""

SHOWN = 20
"""Tasks, victims and groups in the answer."""

REST = "(others)"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SYSLOG = re.compile(
    r"(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:\.\d+)?(?: (\d{4}))?"
)
_ISO = re.compile(r"(?:[A-Z][a-z]{2} )?(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)")


def clock(text: str) -> str:
    """A log's time of day as ``2024-06-13 04:36:30``, or ``06-13 04:36:30`` where it has no year; empty if it has none.

    Zones of time are left as they are: a log has one.
    """
    if found := _ISO.match(text):
        return f"{found[1]}-{found[2]}-{found[3]} {found[4]}:{found[5]}:{found[6]}"
    found = _SYSLOG.match(text)
    if found is None or found[1] not in _MONTHS:
        return ""
    year = f"{found[6]}-" if found[6] else ""
    return f"{year}{_MONTHS.index(found[1]) + 1:02d}-{int(found[2]):02d} {found[3]}:{found[4]}:{found[5]}"


def _moment(report: Report) -> dict[str, Any]:
    """When a report was written: time of day, and seconds since boot, as far as the log says."""
    uptime = report.first.uptime_us
    return {"clock": clock(report.first.clock), "uptime_seconds": None if uptime is None else uptime / 1e6}


def _hour(moment: dict[str, Any]) -> str:
    """The hour that a moment is counted in: ``06-13 04:00``, or ``hour 3 since boot``."""
    if moment["clock"]:
        return f"{moment['clock'][:-6]}:00"
    seconds = moment["uptime_seconds"]
    return "no time" if seconds is None else f"hour {int(seconds // 3600)} since boot"


def _order_of(moment: dict[str, Any]) -> tuple[str, float]:
    return moment["clock"], -1.0 if moment["uptime_seconds"] is None else moment["uptime_seconds"]


def told_of(report: Report) -> dict[str, Any]:
    """What is said of one report: who and when, the request, the zones and why each did not serve it, the OOM killer's words."""
    told = {
        "kind": report.kind,
        "moment": _moment(report),
        "task": report.task,
        "pid": report.pid,
        "cpu": report.cpu,
        "stalled": report.stalled or None,
        "mixed": report.mixed,
        "compaction": report.compaction,
        **explained(report),
        "oom": _oom(report) if report.kind == OOM else None,
    }
    if report.oom.memcg:
        told["verdict"] = MEMCG
    return {**told, "helps": [piece(name) for name in helps(told)]}


def _oom(report: Report) -> dict[str, Any]:
    """What the OOM killer said."""
    facts = report.oom
    constraint = facts.constraint or ("memcg" if facts.memcg else None)
    return {
        "constraint": constraint,
        "memory_cgroup": facts.group or None,
        "usage_kb": facts.usage_kb,
        "limit_kb": facts.limit_kb,
        "victim": facts.victim or None,
        "victim_pid": facts.victim_pid,
        "victim_anon_kb": facts.victim_anon_kb,
        "asked_for": report.order == -1,
        "nobody_killed": facts.nobody,
    }


def _is_late(clock_or_hour: str) -> bool:
    """Whether a time without a year is of July to December: before January if the log goes on over a year's end."""
    return clock_or_hour[2:3] == "-" and clock_or_hour[:2] > "06"


@dataclass(slots=True)
class _Span:
    """The first of some reports in order of time, and the last one's moment."""

    example: dict[str, Any]
    key: tuple[Any, ...]
    last: dict[str, Any]

    def add(self, told: dict[str, Any], key: tuple[Any, ...]) -> None:
        """Takes a report."""
        if key < self.key:
            self.example, self.key = told, key
        if _order_of(told["moment"]) > _order_of(self.last):
            self.last = told["moment"]


@dataclass(slots=True)
class _Group:
    """Reports that say the same; those of a year's second half apart (:func:`_is_late`)."""

    count: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    halves: dict[bool, _Span] = field(default_factory=dict)

    def add(self, told: dict[str, Any], key: tuple[Any, ...]) -> None:
        """Counts a report."""
        self.count += 1
        _count(self.tasks, told["task"])
        half = self.halves.setdefault(_is_late(told["moment"]["clock"]), _Span(told, key, told["moment"]))
        half.add(told, key)

    def spans(self, over_new_year: bool) -> list[_Span]:
        """The halves in order of time."""
        return [self.halves[late] for late in sorted(self.halves, reverse=over_new_year)]


def _count(counter: Counter[str], name: str) -> None:
    """Counts a name, or it among others where there are too many."""
    counter[name if name in counter or len(counter) < MOST_NAMES else REST] += 1


class Sums:
    """All reports of the logs, summed up in bounded memory."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.orders: Counter[int] = Counter()
        self.oom_orders: Counter[int] = Counter()
        self.tasks: Counter[str] = Counter()
        self.victims: Counter[str] = Counter()
        self.constraints: Counter[str] = Counter()
        self.hours: dict[str, Counter[str]] = {}
        self.helped: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.groups: dict[tuple[Any, ...], _Group] = {}
        self.not_shown = self.proc_lines = self.shown = 0
        self.copies = Copies()

    def add(self, report: Report) -> bool:
        """Counts a report, unless it is another log's copy; whether it was counted."""
        if self.copies.is_copy(report, clock(report.first.clock)):
            return False
        told = told_of(report)
        self.kinds[report.kind] += 1
        self.verdicts[told["verdict"]] += 1
        if told["order"] is not None:
            (self.oom_orders if report.kind == OOM else self.orders)[told["order"]] += 1
        _count(self.tasks, report.task)
        _count(self.kernels, report.release or NOT_KNOWN)
        if told["oom"]:
            _count(self.victims, told["oom"]["victim"] or "")
            self.constraints[told["oom"]["constraint"] or NOT_KNOWN] += 1
        hour = _hour(told["moment"])
        if hour in self.hours or len(self.hours) < MOST_NAMES:
            self.hours.setdefault(hour, Counter())[report.kind] += 1
        self.helped.update(helps(told))
        self._group(told)
        return True

    def _group(self, told: dict[str, Any]) -> None:
        zones = tuple(
            (zone["node"], zone["name"], zone["verdict"], *zone["reasons"]) for zone in told["zones"]
        )
        memcg = told["oom"]["memory_cgroup"] if told["oom"] and told["verdict"] == MEMCG else None
        group_key = (told["kind"], told["order"], told["gfp"], told["verdict"], memcg, zones)
        key = (*_order_of(told["moment"]), told["task"], told["pid"] or 0, repr(told["zones"]))
        group = self.groups.get(group_key)
        if group is None:
            if len(self.groups) >= MOST_GROUPS:
                self.not_shown += 1
                return
            group = self.groups[group_key] = _Group()
        group.add(told, key)

    @property
    def over_new_year(self) -> bool:
        """Whether times without a year go on from December to January: both are there, and neither June nor July is."""
        months = {hour[:2] for hour in self.hours if hour[2:3] == "-"}
        return {"12", "01"} <= months and not months & {"06", "07"}


def _ranked(counter: Counter[str], name: str) -> list[dict[str, Any]]:
    """The names counted most often, those of equal count by name."""
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return [{name: one, "count": count} for one, count in ranked[:SHOWN]]


def _groups(sums: Sums) -> list[dict[str, Any]]:
    """The groups with the most reports; those of equal size by their example's time."""
    of_time = [(group, group.spans(sums.over_new_year), repr(key)) for key, group in sums.groups.items()]
    ranked = sorted(of_time, key=lambda one: (-one[0].count, one[1][0].key, one[2]))
    return [
        {
            "count": group.count,
            "tasks": _ranked(group.tasks, "task")[:3],
            "first": spans[0].example["moment"],
            "last": spans[-1].last,
            "example": spans[0].example,
        }
        for group, spans, _ in ranked[:SHOWN]
    ]


def _by_time(sums: Sums) -> list[dict[str, Any]]:
    """Reports by hour, in order of time; hours since boot by their number."""
    late_first = sums.over_new_year

    def place(hour: str) -> tuple[bool, str, int]:
        if hour.startswith("hour "):
            return False, "", int(hour.split()[1])
        return late_first and hour[2:3] == "-" and not _is_late(hour), hour, 0

    return [
        {"hour": hour, "failures": sum(found[kind] for kind in (FAILURE, STALL, VMALLOC)), "oom": found[OOM]}
        for hour, found in sorted(sums.hours.items(), key=lambda item: place(item[0]))
    ]


def _without_proc(lines: Iterable[bytes], sums: Sums) -> Iterator[bytes]:
    """The lines but those of /proc files by zone (``Node 0, zone``), which are counted: no log's line begins so."""
    for line in lines:
        if line.startswith(b"Node ") and b", zone" in line[:16]:
            sums.proc_lines += 1
        else:
            yield line


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """What kernel logs say of failed allocations and of the OOM killer.

    Parameters
    ----------
    files : sequence of TextFile
        The logs.
    progress : callable, optional
        Called with (files done, files).

    Returns
    -------
    dict
        ``failures``, ``stalls``, ``vmalloc_failures``, ``oom_kills``: counts. ``verdicts`` of all reports. ``by_order``,
        ``oom_by_order``, ``by_task``, ``by_file``, ``by_time``, ``victims`` (an empty name where none is told), ``constraints``.
        ``groups``: reports that say the same, each with an ``example``; its ``zones`` have ``reasons`` and the fragmentation
        index in thousandths (``index``) and as debugfs prints it (``index_text``). Sizes are KiB. ``copies``: reports that
        stood in the logs twice. ``copies_untold``: those that may have, and were counted. ``proc_lines``: lines
        of /proc/buddyinfo, zoneinfo or pagetypeinfo among them, which are not read here.
        ``shown_without_report``: how often memory was shown without a report's first line. ``other_lines``: lines
        that tell of failed allocations and are no report. ``advice``.

    Raises
    ------
    KevacuateError
        A file cannot be read, or does not decompress.

    """
    sums = Sums()
    ordered = sorted(files, key=lambda file: file.name)
    for done, file in enumerate(ordered):
        if progress:
            progress(done, len(ordered))
        sums.copies.next_log()
        reader = Reader()
        for report in reader.read(_without_proc(file.raw_lines(), sums)):
            if sums.add(report):
                _count(sums.files, file.name)
        sums.shown += reader.shown
        sums.others.update(reader.others)
    return {
        "kind": KIND,
        "files": [file.name for file in ordered],
        "failures": sums.kinds[FAILURE],
        "stalls": sums.kinds[STALL],
        "vmalloc_failures": sums.kinds[VMALLOC],
        "oom_kills": sums.kinds[OOM],
        "verdicts": dict(sorted(sums.verdicts.items())),
        "by_order": {str(order): count for order, count in sorted(sums.orders.items())},
        "oom_by_order": {str(order): count for order, count in sorted(sums.oom_orders.items())},
        "by_task": _ranked(sums.tasks, "task"),
        "by_file": _ranked(sums.files, "file"),
        "by_time": _by_time(sums),
        "victims": _ranked(sums.victims, "task"),
        "constraints": dict(sorted(sums.constraints.items())),
        "kernels": _ranked(sums.kernels, "release"),
        "groups": _groups(sums),
        "groups_not_shown": max(len(sums.groups) - SHOWN, 0),
        "reports_in_no_group": sums.not_shown,
        "copies": sums.copies.found,
        "copies_untold": sums.copies.untold,
        "proc_lines": sums.proc_lines,
        "shown_without_report": sums.shown,
        "other_lines": dict(sorted(sums.others.items())),
        "lines_cut": sum(file.cut for file in ordered),
        "advice": advice(sums.helped, MOST_ADVICE),
    }
