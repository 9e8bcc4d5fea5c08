# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports of failed and stalled allocations and of the OOM killer in kernel logs: found, told apart, put together.

A report is a line that begins it (``page allocation failure``, ``invoked oom-killer`` and so on), who it was (``CPU: 1 PID: 7
Comm: sh ...``), and the zones (:mod:`kevacuate.kernelfiles.showmem`); what the OOM killer adds is read by
:mod:`kevacuate.kernelfiles.oom`. Reports of several CPUs may be mixed line by line. They are told apart by printk's caller, where
the kernel prints it; else each zone goes to the oldest report that lacks it, in the order in which the reports began.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kevacuate.kernel.watermark import ZONES
from kevacuate.kernelfiles import oom
from kevacuate.kernelfiles.loglines import LogLine, messages
from kevacuate.kernelfiles.showmem import (
    Zone,
    add_chunks,
    chunks_go_on,
    fields,
    free_list,
    goes_on,
    lowmem_reserve,
    reserve_goes_on,
    sum_of_chunks,
    zone_fields,
)

FAILURE, STALL, VMALLOC, OOM = "allocation failure", "allocation stall", "vmalloc failure", "out of memory"
"""Kinds of reports."""

MOST_OPEN = 8
"""Reports that are put together at a time; the oldest is given out when one more begins."""

MOST_LINES = 20_000
"""Lines after its first that a report is waited for: the OOM killer lists every task."""

MOST_PIECES = 64
"""Lines in which a line of free chunks that was printed piece by piece may go on."""

MOST_ZONES = 1024
"""Zones of a report that are kept."""

LONGEST_TASK = 64
"""Characters of a task's name that are kept; the kernel's have 15."""

_MASK = r"(?:mode|gfp_mask)[:=](?P<gfp>0x[0-9a-f]{1,8})(?:\((?P<names>[^)]{0,600})\))?"
_BEGINS = (
    (FAILURE, re.compile(rf"(?P<task>.*?):? ?page allocation failure[.:] ?order:(?P<order>\d+),? *(?:{_MASK})?")),
    (STALL, re.compile(rf"(?P<task>.*?):? ?page allocation stalls? for (?P<for>\d+ ?\w+)[,:] order:(?P<order>\d+),? *{_MASK}")),
    (
        VMALLOC,
        re.compile(
            r"(?P<task>.*?):? ?(?:vmalloc: allocation failure|vmalloc error: size \d+)"
            rf"(?:.{{0,40}}?page order (?P<order>\d+))?.{{0,200}}?{_MASK}"
        ),
    ),
    (OOM, re.compile(rf"(?P<task>.*?) invoked oom-killer: {_MASK}.*?order=(?P<order>-?\d+)(?:.*?oom_score_adj=(?P<adj>-?\d+))?")),
)  # fmt: skip
_STARTS = re.compile(
    rb"page(?: |\xc2\xa0)allocation|invoked(?: |\xc2\xa0)oom-killer|vmalloc|Killed process|oom-kill:|ut of memory|Mem-Info:|"
    rb'"MESSAGE" ?: ?\[ ?\d|cma_alloc: |Unable to allocate memory on node|order allocation failed|lowmemorykiller: (?:K|send)'
)
"""Found in every line that is read while no report is open: looked for before anything else."""

OTHERS = {
    "cma_alloc failed": re.compile(r"\bcma_alloc: (?:.{0,64}: )?alloc failed"),
    "SLUB unable to allocate": re.compile(r"\bSLUB: Unable to allocate memory on node"),
    "lowmemorykiller": re.compile(r"\blowmemorykiller: (?:Killing |send)"),
    "Linux 2.4, no report": re.compile(r"\b\d{1,2}-order allocation failed \(gfp="),
}
"""Lines that tell of a failed allocation and are no report (mm/cma.c, mm/slub.c, drivers/staging/android until 4.11)."""

_REST = re.compile(rf",? *{_MASK}")
_NODEMASK = re.compile(r"nodemask=\(?([\d,-]{1,200}|null)\)?")
_MEMS = re.compile(r"mems_allowed=([\d,-]{1,200})")
_WHO = re.compile(
    r"(?:CPU *: (?P<cpu>\d{1,6}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,9}) Comm: (?P<task>.{1,64}?)|"
    r"Pid: (?P<old>\d{1,9}), comm: (?P<older>.{1,64}?)) +"
    r"(?:Not tainted|(?:Kdump: loaded )?(?:Not tainted|Tainted: ?[A-Z -]{1,60}?)) *(?P<release>\d{1,3}\.\d{1,3}[^\s,]{0,100})"
)
_RELEASE = re.compile(
    r"(?:Linux version |\b(?:Not tainted|Tainted: [A-Z -]{1,60}?) )(\d{1,3}\.\d{1,3}\.\S{1,100})"
)
_ENDS = re.compile(r"\b\d{1,15} pages (?:RAM|reserved|of RAM)\b|pages hwpoisoned|pages in pagetable cache")
_INTERESTING = re.compile(
    rb"kB|CPU *:|Pid:|Mem-Info|lowmem|pages|COMPACTION|mems_allowed|memory|limit| for |mode:|DMA|Normal:|HighMem:|Movable:|"
    + _STARTS.pattern
)
"""Found in every line of a report that is read."""


@dataclass(slots=True)
class Report:
    """One report of a log.

    ``order`` is -1 where a person asked for the OOM killer (sysrq), and None where the log does not say. ``gfp`` is the
    kernel's own number, ``gfp_names`` its words (since 4.6). ``nodes`` are those of the nodemask, ``mems_allowed`` of the
    cpuset; None where not printed. ``mixed`` says that another report was open at the same time and no caller told them apart.
    """

    kind: str
    first: LogLine
    task: str = ""
    order: int | None = None
    gfp: int | None = None
    gfp_names: str = ""
    stalled: str = ""
    nodes: frozenset[int] | None = None
    mems_allowed: frozenset[int] | None = None
    pid: int | None = None
    cpu: int | None = None
    release: str = ""
    zones: list[Zone] = field(default_factory=list)
    oom: oom.OomFacts = field(default_factory=oom.OomFacts)
    compaction: bool = True
    mixed: bool = False
    ended: bool = False
    lines: int = 0

    def zone(self, node: int, name: str) -> Zone | None:
        """The zone of that node and name, if it was shown."""
        return next((zone for zone in self.zones if zone.node == node and zone.name == name), None)


def node_set(text: str) -> frozenset[int] | None:
    """Numbers of ``0-1,3``; None for ``null``, of ranges that end before they begin, and above 1,023 (MAX_NUMNODES)."""
    numbers: set[int] = set()
    for part in text.split(",") if text != "null" else ():
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) > 1023:
            return None
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers) or None


def _task_name(text: str) -> str:
    """The task's name: what stands before the kernel's words, without a prefix that is not known."""
    name = text.strip().rpartition("] ")[2] if len(text) > 15 else text.strip()
    return name[-LONGEST_TASK:]


def beginning(line: LogLine) -> Report | None:
    """The report that a line begins; None if it begins none."""
    if not any(word in line.text for word in ("page allocation", "vmalloc", "oom-killer")):
        return None
    for kind, pattern in _BEGINS:
        found = pattern.match(line.text)
        if found is None:
            continue
        named = found.groupdict()
        report = Report(kind, line, task=_task_name(named["task"]))
        report.order = (
            int(named["order"])
            if named["order"] and len(named["order"]) < 4
            else 0
            if kind == VMALLOC
            else None
        )
        report.gfp, report.gfp_names = int(named["gfp"], 16) if named["gfp"] else None, named["names"] or ""
        report.stalled = named.get("for") or ""
        _allowed(report, line.text[found.end() :])
        _allowed(report, line.text)
        return report
    return None


def _allowed(report: Report, text: str) -> None:
    """Takes the nodes that the request was allowed, of the first line or the cpuset's."""
    if (found := _NODEMASK.search(text)) and report.nodes is None:
        report.nodes = node_set(found[1])
    if (found := _MEMS.search(text)) and report.mems_allowed is None:
        report.mems_allowed = node_set(found[1])


@dataclass(slots=True)
class _Pending:
    """A zone whose line may go on."""

    report: Report
    zone: Zone
    chunks: bool
    """Whether it is the line of free chunks."""
    reserve: bool = False
    """Whether it is the line of lowmem_reserve."""
    lines: int = 0


class Reader:
    """Puts the reports of one log together, line by line."""

    def __init__(self) -> None:
        self.release = ""
        """The kernel that the log last named."""
        self.shown = 0
        """How often memory was shown (Mem-Info) though no report had begun: asked for by sysrq, or the first line is lost."""
        self.others: Counter[str] = Counter()
        """Lines of :data:`OTHERS`."""
        self._open: list[Report] = []
        self._last: dict[str, _Pending] = {}

    def read(self, lines: Iterable[bytes]) -> Iterator[Report]:
        """Every report, when it is complete."""
        for line in lines:
            if not self._open and _STARTS.search(line) is None:
                if b"Linux version " in line:
                    self._note_release(line.decode("utf-8", "replace"))
            elif self._open and not self._last and _INTERESTING.search(line) is None:
                yield from self._wait()
            else:
                for told in messages(line):
                    yield from self._line(told)
        yield from self._close(self._open)

    def _note_release(self, text: str) -> None:
        if found := _RELEASE.search(text):
            self.release = found[1]

    def _wait(self) -> Iterator[Report]:
        """Counts a line that belongs to no report; gives out those that are not waited for any longer."""
        for report in self._open:
            report.lines += 1
        yield from self._close([report for report in self._open if report.lines > MOST_LINES])

    def _line(self, line: LogLine) -> Iterator[Report]:
        begun = beginning(line)
        if begun is not None:
            yield from self._begin(begun)
            return
        for report in self._open:
            report.lines += 1
        self.others.update(name for name, form in OTHERS.items() if form.search(line.text))
        self.shown += not self._open and line.text.startswith("Mem-Info:")
        if oom.is_oom_line(line.text):
            yield from self._oom_line(line)
        elif not self._zone_line(line):
            self._other_line(line)
        yield from self._close([report for report in self._open if report.ended and report.kind != OOM])

    def _begin(self, begun: Report) -> Iterator[Report]:
        """Opens a report; an earlier one of the same caller, or one that has its zones, is complete."""
        caller = begun.first.caller
        done = [
            one
            for one in self._open
            if (caller and one.first.caller == caller) or one.ended or (one.zones and one.zones[-1].chunks)
        ]
        yield from self._close(done)
        if len(self._open) >= MOST_OPEN:
            yield from self._close(self._open[:1])
        if not caller:
            for other in self._open:
                other.mixed = begun.mixed = True
        self._open.append(begun)

    def _close(self, done: list[Report]) -> Iterator[Report]:
        for report in list(done):
            self._open.remove(report)
            report.release = report.release or self.release
            self._last = {key: told for key, told in self._last.items() if told.report is not report}
            yield report

    def _candidates(self, line: LogLine) -> list[Report]:
        """Open reports that a line may belong to, oldest first: those of its caller, if the kernel prints callers."""
        if not line.caller:
            return self._open
        return [report for report in self._open if report.first.caller in ("", line.caller)]

    def _zone_line(self, line: LogLine) -> bool:
        """Takes a line about a zone to its report; False if it is none."""
        found = zone_fields(line.text)
        if found is not None:
            node, name, numbers = found
            for report in self._candidates(line):
                if report.zone(node, name) is None and not report.ended and len(report.zones) < MOST_ZONES:
                    zone = Zone(node, name, numbers)
                    report.zones.append(zone)
                    self._last[line.caller] = _Pending(report, zone, chunks=False)
                    break
            return True
        if (reserve := lowmem_reserve(line.text)) is not None:
            self._reserve(line, reserve)
            return True
        if (listed := free_list(line.text)) is not None:
            self._free_list(line, *listed)
            return True
        return self._goes_on(line)

    def _free_list(self, line: LogLine, node: int, name: str, text: str) -> None:
        """Gives a line of free chunks to the zone that lacks one and had nearly as much free: of mixed reports, that is it."""
        free = sum_of_chunks(text)
        found = [
            (report, zone)
            for report in self._candidates(line)
            if (zone := report.zone(node, name)) is not None and not zone.chunks
        ]
        if found:
            report, zone = min(
                found, key=lambda one: 0 if free is None else abs(one[1].fields.get("free", 0) - free)
            )
            add_chunks(zone, text)
            self._last[line.caller] = _Pending(report, zone, chunks=True)

    def _reserve(self, line: LogLine, reserve: tuple[int, ...]) -> None:
        """Gives a lowmem_reserve to the zone whose line came before it."""
        for report in self._candidates(line):
            zone = next((zone for zone in report.zones if not zone.reserve), None)
            if zone is not None:
                zone.reserve = reserve
                self._last[line.caller] = _Pending(report, zone, chunks=False, reserve=True)
                return

    def _goes_on(self, line: LogLine) -> bool:
        """Takes the rest of a zone's line that stands on a line of its own."""
        told = self._last.get(line.caller)
        if told is None:
            return False
        told.lines += 1
        if told.reserve and told.lines <= len(ZONES) and (more := reserve_goes_on(line.text)):
            told.zone.reserve = (*told.zone.reserve, *more)[: len(ZONES)]
            return True
        if not told.chunks and goes_on(line.text):
            for name, number in fields(line.text).items():
                told.zone.fields.setdefault(name, number)
            return True
        waits = told.chunks and told.zone.total is None and told.lines <= MOST_PIECES
        if waits and chunks_go_on(line.text):
            add_chunks(told.zone, line.text)
            return True
        if not waits:
            del self._last[line.caller]
        return False

    def _other_line(self, line: LogLine) -> None:
        """Takes who it was, what the cpuset allows, and the end."""
        text = line.text
        candidates = self._candidates(line)
        if ("CPU" in text or "Pid:" in text) and (found := _WHO.search(text)):
            named = found.groupdict()
            task = named["task"] or named["older"]
            for report in sorted(candidates, key=lambda one: not one.task.endswith(task)):
                if report.pid is None:
                    report.pid = int(named["pid"] or named["old"])
                    report.cpu = int(named["cpu"]) if named["cpu"] else None
                    report.release = self.release = named["release"]
                    if not report.task or report.task.endswith(
                        task
                    ):  # what stood before it was no known prefix
                        report.task = task
                    break
        elif "pages" in text and _ENDS.search(text):
            self._ends(candidates)
        elif found := _REST.match(text):
            for report in candidates:
                if report.gfp is None:
                    report.gfp, report.gfp_names = int(found["gfp"], 16), found["names"] or ""
                    break
        elif "COMPACTION is disabled" in text and candidates:
            candidates[-1].compaction = False
        elif "mems_allowed" in text:
            for report in candidates:
                if report.mems_allowed is None:
                    _allowed(report, text)
                    break

    @staticmethod
    def _ends(candidates: list[Report]) -> None:
        """Ends the oldest report that has all lines of its zones, or the only one that has zones."""
        shown = [report for report in candidates if report.zones and not report.ended]
        whole = [report for report in shown if all(zone.chunks for zone in report.zones)]
        for report in whole[:1] or shown[: len(shown) == 1]:
            report.ended = True

    def _oom_line(self, line: LogLine) -> Iterator[Report]:
        """Takes what the OOM killer says to its report, or to one of its own where the log lacks the beginning."""
        report = next((one for one in self._candidates(line) if one.kind == OOM), None)
        if report is None:
            if not oom.names_victim(line.text):
                return
            report = Report(OOM, line)
            self._open.append(report)
        if oom.take(report.oom, line.text):
            yield from self._close([report])


def reports(lines: Iterable[bytes]) -> Iterator[Report]:
    """The reports in a log, each when it is complete; memory holds :data:`MOST_OPEN` of them at most."""
    return Reader().read(lines)
