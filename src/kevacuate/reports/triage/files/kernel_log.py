# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of kernel logs: what failed, when and whose, and why each zone did not serve it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

from rich.table import Table

from kevacuate.kernelfiles.allocfailure import FAILURE, OOM, STALL, VMALLOC
from kevacuate.observe.files.zones_of_failure import NOT_KNOWN
from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.flags import Flags
from kevacuate.reports.triage.words import plural

MOST_EXAMPLES = 5
"""Groups of reports that are told in words; the table has more."""

MOST_FILES = 3
"""Files with reports that are named; the JSON has more."""

MOST_TABLE = 20
MOST_HOURS = 24


def words(answer: Mapping[str, Any]) -> str:
    """The log in paragraphs: how many of what, then an example of each of the largest groups, zone by zone."""
    paragraphs = [" ".join(_sums(answer))]
    paragraphs += [" ".join(_group(group)) for group in answer["groups"][:MOST_EXAMPLES]]
    left = len(answer["groups"]) - MOST_EXAMPLES
    if left > 0:
        paragraphs.append(f"The table has {plural(left, 'more group')} of equal reports.")
    return "\n\n".join(paragraphs)


def _sums(answer: Mapping[str, Any]) -> Iterator[str]:
    """How many reports there are, and of what kinds."""
    yield f"Kernel log, {plural(len(answer['files']), 'file')}."
    if answer["proc_lines"]:
        yield f"{plural(answer['proc_lines'], 'line')} of /proc files in it were not read: give them as a file of their own."
    if answer["shown_without_report"]:
        yield f"Memory is shown {_times(answer['shown_without_report'])} without a report: by sysrq, or its first line is lost."
    if answer["other_lines"]:
        others = ", ".join(f"{name}: {count:,}" for name, count in answer["other_lines"].items())
        yield f"Lines that tell of failed allocations without a report: {others}."
    counted = [
        plural(answer[name], noun)
        for name, noun in (
            ("failures", "page allocation failure"),
            ("stalls", "allocation stall"),
            ("vmalloc_failures", "vmalloc failure"),
            ("oom_kills", "OOM report"),
        )
        if answer[name]
    ]
    if not counted:
        yield "It holds no failed allocation and no OOM report."
        return
    yield f"It holds {_joined(counted)}."
    if answer["by_order"]:
        by_order = (f"order {order}: {count:,}" for order, count in answer["by_order"].items())
        yield f"Failures by order: {', '.join(by_order)}."
    yield f"Verdicts: {', '.join(f'{verdict}: {count:,}' for verdict, count in answer['verdicts'].items())}."
    if any(one["task"] for one in answer["victims"]):
        victims = ", ".join(
            f"{one['task']}: {one['count']:,}" for one in answer["victims"][:3] if one["task"]
        )
        yield f"The OOM killer killed most: {victims}."
    if len(answer["by_file"]) > 1:
        most = ", ".join(f"{one['file']}: {one['count']:,}" for one in answer["by_file"][:MOST_FILES])
        yield f"Reports by file, those with most: {most}."
    if answer["copies"]:
        yield f"{plural(answer['copies'], 'report')} stood in the logs twice; each counts once."
    if untold := answer["copies_untold"]:
        yield f"{plural(untold, 'counted report')} may stand in the logs twice: neither a time nor a zone tells."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def moment(when: Mapping[str, Any]) -> str:
    """When a report was written; empty where the log does not say."""
    if when["clock"]:
        return str(when["clock"])
    seconds = when["uptime_seconds"]
    return "" if seconds is None else f"{seconds:,.3f} s after boot"


def size(kb: int) -> str:
    """KiB as the kernel's logs write them."""
    return f"{kb:,} kB"


def _group(group: Mapping[str, Any]) -> Iterator[str]:
    """A group's example in sentences."""
    told = group["example"]
    asked = f"order {told['order']}" if told["order"] is not None else "no order named"
    number = f"{group['count']:,} times, first" if group["count"] > 1 else "Once,"
    when = moment(group["first"])
    yield f"{told['kind'].capitalize()}, {asked}, {told['gfp'] or 'flags not known'}: {told['verdict']}."
    yield f"{number}{f' at {when},' if when else ''} by {told['task'] or 'a task not named'}."
    if told["rules_guessed"] and told["zones"]:
        yield f"The log names no kernel: the rules are those of Linux {told['rules']}."
    if not told["zones"] and told["verdict"] == NOT_KNOWN:
        yield "The log shows no zone of it: whole reports, with the lines from Mem-Info on, would say why."
    if told["mixed"] and told["zones"]:
        yield "Its lines are mixed with another report's: zones went to the older one first."
    if told["oom"]:
        yield from _oom(told["oom"])
    for zone in told["zones"]:
        yield from _zone(zone, told)


def _oom(facts: Mapping[str, Any]) -> Iterator[str]:
    """What the OOM killer said."""
    if facts["asked_for"]:
        yield "A person asked for it (sysrq)."
    if facts["constraint"] not in (None, "", "none"):
        group = (
            f" of {facts['memory_cgroup']}"
            if facts["constraint"] == "memcg" and facts["memory_cgroup"]
            else ""
        )
        yield f"Constraint: {facts['constraint']}{group}."
    if facts["limit_kb"] is not None:
        yield f"Usage was {size(facts['usage_kb'])}, the limit {size(facts['limit_kb'])}."
    if facts["victim"]:
        held = (
            f", which held {size(facts['victim_anon_kb'])} of anonymous memory"
            if facts["victim_anon_kb"]
            else ""
        )
        yield f"The OOM killer killed {facts['victim']}{held}."
    elif facts["nobody_killed"]:
        yield "No process was killed."


def _zone(zone: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    """Why one zone did not serve the request."""
    name = f"Node {zone['node']} {zone['name']}"
    if zone["outside"]:
        yield f"{name} could not serve it: {zone['outside']}."
        return
    kept = f" and {size(zone['reserve_kb'])} of lowmem_reserve" if zone["reserve_kb"] else ""
    mark = f"its mark of {size(zone['mark_kb'])}{kept}"
    for reason in zone["reasons"]:
        yield f"{name} {_reason(reason, zone, mark, told['order'])}."
    if not zone["reasons"]:
        yield f"{name} was above {mark} when this was written: {size(zone['free_kb'])} free."
    elif zone["below_low"] and not {"below min", "lowmem_reserve"} & set(zone["reasons"]):
        with_reserve = f" with {size(zone['reserve_kb'])} of lowmem_reserve" if zone["reserve_kb"] else ""
        yield f"It was below low ({size(zone['low_kb'])}{with_reserve}), too."
    if zone["index"] is not None and told["order"]:
        yield f"Its fragmentation index is {zone['index_text']}: {_index(zone['index_says'])}."


def _reason(reason: str, zone: Mapping[str, Any], mark: str, order: int) -> str:
    """A reason as the rest of a sentence."""
    types = (
        _joined([name.replace("cma", "CMA") for name in zone["types_not_allowed"]])
        if zone["types_not_allowed"]
        else ""
    )
    return {
        "below min": f"counted {size(max(zone['counted_kb'], 0))} free, not above {mark}",
        "lowmem_reserve": f"kept {size(zone['reserve_kb'])} of lowmem_reserve, and {size(max(zone['counted_kb'], 0))} were free",
        "no chunk": f"had {size(zone['free_kb'])} free and no chunk of order {order} or larger"
        if order
        else "had no free page",
        "only types it may not take": f"had large enough chunks only in {types} pageblocks",
        "too little in larger chunks": f"had too little free in larger chunks for {mark}",
    }[reason]


def _index(says: str) -> str:
    """The kernel's own verdict, in words."""
    return {
        "fragmentation": "the kernel takes fragmentation for the cause",
        "shortage": "the kernel takes lack of memory for the cause",
        "could have served": "a large enough chunk was free",
        "not known": "the chunks were not shown",
    }[says]


def tables(answer: Mapping[str, Any]) -> list[Table]:
    """Groups of equal reports, tasks, and hours; none where the log holds no report."""
    if not answer["groups"]:
        return []
    hours = [_hours(answer)] if len(answer["by_time"]) > 1 else []
    return [_groups(answer), _tasks(answer), *hours]


SHORT = {FAILURE: "failure", STALL: "stall", VMALLOC: "vmalloc", OOM: "OOM"}
"""What reports are of, as a cell says it."""

CELL = 13
"""Columns of a verdict or a moment: as many as the longest word has."""

FLAGS = 19
"""Columns of gfp flags, where none is longer: so the table fits 80 with what is left to the tasks."""

NUMBERS = ("times", "reports", "failures", "OOM")
"""Columns of numbers."""


def _groups(answer: Mapping[str, Any]) -> Table:
    """Groups of equal reports; *when* is the first and, of several, the last."""
    names = ("times", "of", "gfp", "verdict", "tasks", "when")
    whole = {*names} - {"tasks"}
    table = plain_table("What failed, and why", names, NUMBERS, whole=whole, blanks=2)
    for group in answer["groups"][:MOST_TABLE]:
        told = group["example"]
        ends = ["first"] if group["first"] == group["last"] else ["first", "last"]
        table.add_row(
            f"{group['count']:,}",
            SHORT[told["kind"]] + ("" if told["order"] is None else f"\norder {told['order']}"),
            Flags(told["gfp"] or "-").within(FLAGS),
            fill(told["verdict"], CELL),
            "\n".join(one["task"] for one in group["tasks"]),
            "\n".join(fill(moment(group[end]), CELL) for end in ends) or "-",
        )
    return table


def _tasks(answer: Mapping[str, Any]) -> Table:
    table = plain_table("By task", ("task", "reports"), NUMBERS)
    for one in answer["by_task"][:MOST_TABLE]:
        table.add_row(one["task"] or "(not named)", f"{one['count']:,}")
    return table


def _hours(answer: Mapping[str, Any]) -> Table:
    """Reports by hour: those with the most, in order of time."""
    busiest = sorted(answer["by_time"], key=lambda one: -(one["failures"] + one["oom"]))[:MOST_HOURS]
    table = plain_table("By hour", ("hour", "failures", "OOM"), NUMBERS)
    for one in answer["by_time"]:
        if one in busiest:
            table.add_row(one["hour"], f"{one['failures']:,}", f"{one['oom']:,}")
    return table
