# SPDX-License-Identifier: GPL-2.0-or-later
"""The stalls of a triage in words and tables: direct reclaim, direct compaction, wakes, and compaction that goes in circles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from kevacuate.measure.rescans import LEAST_SCANS
from kevacuate.percent import percent
from kevacuate.reports.bars import duration
from kevacuate.reports.gfp import gfp_words
from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.flags import Flags

Stalls = Mapping[str, Any]

MOST_ROWS = 8
"""Rows of a table; the JSON has all."""
MOST_WAKES = 6

KINDS = {"direct_reclaim": "direct reclaim", "direct_compaction": "direct compaction"}
"""Kinds of stalls, and what the words call them."""
_NEEDED = {
    "direct_reclaim": {"vmscan_direct_reclaim_begin"},
    "direct_compaction": {"compaction_try_to_compact_pages", "compaction_begin"},
}
"""Events without which it is not known that no task waited."""
_DOUBTS = ("begins_without_end", "ends_without_begin", "events_without_task")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _task(row: Mapping[str, Any]) -> str:
    """A task by name and id, as far as they are known."""
    name, pid = row.get("task"), row.get("pid")
    if name:
        return str(name) if pid is None else f"{name} ({pid})"
    return f"task {pid}" if pid is not None else "a task that is not known"


def request_words(order: int | None, gfp: int | None) -> str:
    """``order 9, GFP_KERNEL``."""
    flags = f", {gfp_words(gfp)}" if gfp else ""
    return f"order {order}{flags}" if order is not None else "an order that is not known"


def stall_words(stalls: Stalls | None) -> Iterator[str]:
    """The stalls in sentences; none where no event of theirs was recorded."""
    if stalls is None:
        return
    for name, label in KINDS.items():
        yield from _kind(stalls, name, label)
    yield from _allocations(stalls)
    yield from _background(stalls)
    yield from _kswapd(stalls["kswapd_wakes"])
    yield from _kcompactd(stalls["kcompactd_wakes"])
    for scanner, row in stalls["rescans"].items():
        yield from _circles(scanner, row)
    yield from _unpaired(stalls)


def _kind(stalls: Stalls, name: str, label: str) -> Iterator[str]:
    """One kind of stall: how long, the percentiles, the worst, what failed."""
    row = stalls[name]
    if not row["count"]:
        if _NEEDED[name] <= set(stalls["recorded"]) and not any(stalls[doubt] for doubt in _DOUBTS):
            yield f"No task waited in {label}."
        if name == "direct_compaction":
            yield from _no_run(stalls)
        return
    spread = ""
    if row["count"] > 1:
        spread = f" (p50 {duration(row['p50_ns'])}, p99 {duration(row['p99_ns'])})"
    yield f"Tasks waited {duration(row['total_ns'])} in {label}, {_times(row['count'])}{spread}."
    worst = row["worst"]
    yield (
        f"The longest {label} took {duration(worst['ns'])}, from {worst['at_seconds']:.3f} s on: {_task(worst)}, "
        f"{request_words(worst['order'], worst['gfp'])}."
    )
    share = f"{row['failed']:,} of {row['count']:,} ({percent(row['failed'] / row['count'])})"
    if name == "direct_reclaim":
        yield f"Direct reclaim found no page in {share}, pages reclaimed in all: {row['pages_reclaimed']:,}."
        return
    results = ", ".join(f"{result.replace('_', ' ')} {count:,}" for result, count in row["results"].items())
    yield f"Direct compaction ended without success in {share}: {results}."
    yield from _no_run(stalls)


def _no_run(stalls: Stalls) -> Iterator[str]:
    """Attempts to compact that began in no zone."""
    why = stalls["attempts_without_run"]
    without = sum(why.values())
    if without:
        parts = {
            "deferred": "compaction was deferred", "not_suitable": "no zone was suitable",
            "enough_free": "a page was free already", "not_told": "for a reason not recorded",
        }  # fmt: skip
        told = ", ".join(f"{parts[name]} {count:,}" for name, count in why.items() if count)
        yield f"Attempts to compact: {stalls['attempts_to_compact']:,}, {without:,} of which began in no zone: {told}."


def _allocations(stalls: Stalls) -> Iterator[str]:
    """The allocations that stalled, as a whole."""
    row = stalls["allocations"]
    if not row or not row["count"]:
        return
    yield (
        f"Allocations that stalled: {row['count']:,}, the longest {duration(row['worst_ns'])} from its first stall to its "
        f"answer, {row['failed']:,} without a page."
    )


def _background(stalls: Stalls) -> Iterator[str]:
    """Compaction in which no task waits."""
    for name, label in (
        ("kcompactd", "kcompactd"),
        ("other_compaction", "Others, or tasks whose request was not recorded,"),
    ):
        row = stalls[name]
        if row["count"]:
            yield (
                f"{label} compacted {_times(row['count'])} for {duration(row['total_ns'])}, "
                f"{row['failed']:,} without success."
            )


def _askers(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{_task(task)} {task['count']:,}" for task in row["tasks"])


def _kswapd(wakes: Mapping[str, Any]) -> Iterator[str]:
    """Who woke kswapd."""
    if not wakes["count"]:
        return
    top = wakes["requests"][0]
    what = "a boosted watermark (rmqueue)" if top["boosted"] else request_words(top["order"], top["gfp"])
    yield f"kswapd was woken {_times(wakes['count'])}, most for {what}: {top['count']:,}, by {_askers(top)}."
    high = [row for row in wakes["requests"] if row["as_vmalloc"]]
    if high:
        count, orders = sum(row["count"] for row in high), sorted({row["order"] for row in high})
        span = f"order {orders[0]}" if len(orders) == 1 else f"orders {orders[0]} to {orders[-1]}"
        yield (
            f"Of these wakes {count:,} ({percent(count / wakes['count'])}) were for attempts of {span} that may fail, with "
            "vmalloc's flags (vm_area_alloc_pages)."
        )


def _kcompactd(wakes: Mapping[str, Any]) -> Iterator[str]:
    """Who woke kcompactd."""
    if not wakes["count"]:
        return
    top = wakes["requests"][0]
    order = f"order {top['order']}" if top["order"] >= 0 else "the whole node"
    yield f"kcompactd was woken {_times(wakes['count'])}, most for {order}: {top['count']:,}, by {_askers(top)}."


def _circles(scanner: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Compaction that scans the same range again and again."""
    worst = row["worst"]
    if worst is None:
        return
    where = f"{worst['first_pfn']:#x} to {worst['end_pfn']:#x}"
    span = duration(worst["seconds"] * 1e9)
    if scanner == "runs":
        yield (
            f"Compaction goes in circles: {worst['scans']:,} runs in {span} began at the same pfns, {where}, and ended without "
            "success."
        )
    else:
        yield (
            f"Compaction goes in circles: it scanned pfns {where} for {scanner} {worst['scans']:,} times in {span} and took none."
        )
    share = row["scans_in_streaks"] / row["scans"]
    noun = "runs" if scanner == "runs" else f"scans for {scanner}"
    yield f"Of all {noun} {percent(share)} were in such rows of {LEAST_SCANS} or more."


def _unpaired(stalls: Stalls) -> Iterator[str]:
    """What could not be paired."""
    begins, ends = stalls["begins_without_end"], stalls["ends_without_begin"]
    if begins or ends:
        yield f"Events of stalls that do not pair: begins without an end {begins:,}, ends without a begin {ends:,}."
    if stalls["events_without_task"]:
        yield f"Events of stalls that name no task, and so pair with none: {stalls['events_without_task']:,}."


def _table(title: str, first: tuple[str, ...], rest: tuple[str, ...]) -> Table:
    return plain_table(title, (*first, *rest), rest, whole={*first, *rest} - {"gfp"})


def _span(ns: int | None) -> str:
    return "-" if ns is None else duration(ns)


def stall_tables(stalls: Stalls | None) -> list[Table]:
    """Stalls by request, by task, and wakes of kswapd by request; only those that have rows."""
    if stalls is None:
        return []
    return [table for table in (_requests(stalls), _tasks(stalls), _wakes(stalls)) if table.row_count]


def _flags(gfp: int | None) -> Any:
    return Flags(gfp_words(gfp)) if gfp else Text("not known")


def _requests(stalls: Stalls) -> Table:
    table = _table(
        "Who waited, by request", ("waited in", "order", "gfp"), ("times", "in all", "worst", "failed")
    )
    for row in stalls["requests"][:MOST_ROWS]:
        order = "?" if row["order"] is None else str(row["order"])
        kind = KINDS[row["stall"]].removeprefix("direct ")
        spans = (_span(row[name]) for name in ("total_ns", "worst_ns"))
        table.add_row(kind, order, _flags(row["gfp"]), f"{row['count']:,}", *spans, f"{row['failed']:,}")
    return table


def _tasks(stalls: Stalls) -> Table:
    table = _table(
        "Who waited, by task", ("task",), ("reclaim", "for", "compaction", "for", "worst", "failed")
    )
    for row in stalls["tasks"][:MOST_ROWS]:
        label = _task(row) if row["pids"] == 1 else f"{_task(row)}, {row['pids']:,} tasks"
        table.add_row(
            Text(label[:30]),
            f"{row['direct_reclaims']:,}", _span(row["direct_reclaim_ns"]),
            f"{row['direct_compactions']:,}", _span(row["direct_compaction_ns"]),
            _span(row["worst_ns"]), f"{row['failed']:,}",
        )  # fmt: skip
    return table


def _wakes(stalls: Stalls) -> Table:
    table = _table("Who woke kswapd", ("order", "gfp"), ("wakes", "tasks"))
    for row in stalls["kswapd_wakes"]["requests"][:MOST_WAKES]:
        flags = Text("watermark boost") if row["boosted"] else _flags(row["gfp"])
        table.add_row(str(row["order"]), flags, f"{row['count']:,}", Text(_askers(row)[:32]))
    return table
