# SPDX-License-Identifier: GPL-2.0-or-later
"""A triage in plain words, with the figures, and its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kevacuate.measure.triage import LATE_SHARE, NOT_FRAGMENTING, QUIET, SAME_BLOCKS
from kevacuate.measure.unclear import Bounds
from kevacuate.report.bars import duration, sparkline
from kevacuate.report.gfp import gfp_words

Triage = Mapping[str, Any]

MOST_ROWS = 12
"""Requesters shown; the JSON has all."""

SHORT_SECONDS = 600
"""Less time than this is a sample, and the words say so."""


def plural(count: int, noun: str) -> str:
    """A number and its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _percent(share: float | None) -> str:
    return (
        "-"
        if share is None
        else f"{share:.0%}"
        if share in (0, 1) or 0.01 <= share < 0.995
        else f"{share:.2%}"
    )


def _whether(triage: Triage) -> str:
    """Whether this machine is fragmenting."""
    span, late = duration(triage["seconds"] * 1e9), triage["late"]
    taken = (
        triage["claims_from_movable"]
        + triage["claims_whole_block_from_movable"]
        + triage["steals_from_movable"]
    )
    if triage["extfrag_recorded"] is False:
        return (
            "Not known: mm_page_alloc_extfrag was not recorded. Record again with it (record --light has it)."
        )
    if triage["extfrag_recorded"] is None:
        return (
            f"No mm_page_alloc_extfrag event in {span}: if they were recorded, which this recording does not say, the machine is "
            "not fragmenting."
        )
    if triage["verdict"] == NOT_FRAGMENTING:
        return f"Not fragmenting: in {span} no unmovable or reclaimable request had to take memory from a movable pageblock."
    start = (
        f"unmovable and reclaimable requests took from movable pageblocks {plural(taken, 'time')} in {span}"
    )
    if triage["seconds"] >= SHORT_SECONDS:
        start += f" ({taken * 3600 / triage['seconds']:,.0f} an hour)"
    if triage["verdict"] == QUIET:
        return f"Fragmented, quiet now: {start}, but never in the last third of that time."
    events = late["claims"] + late["steals"]
    if triage["verdict"] == SAME_BLOCKS:
        return (
            f"Fragmenting, without spreading: {start}, {events:,} of them in the last third, all in blocks hit before or wholly "
            "free."
        )
    new = f"{plural(late['new_blocks'], 'block')} not hit till then {'was' if late['new_blocks'] == 1 else 'were'}"
    return f"Fragmenting: {start}, {events:,} of them in the last third, when {new} hit."


def _blocks(triage: Triage) -> Iterator[str]:
    """What became of the pageblocks."""
    lost = triage["claims_from_movable"] + triage["claims_whole_block_from_movable"]
    back = triage["claims_by_movable"] + triage["claims_whole_block_by_movable"]
    if lost or back:
        net = triage["net_blocks_lost"]
        way = f"{net:,} net lost" if net >= 0 else f"{-net:,} net regained"
        yield f"Movable pageblocks claimed: {lost:,}; claimed back by movable requests: {back:,} ({way})."
    shots = triage["snapshots"]
    if len(shots) == 2:
        first, last = shots
        if "blocks" in first and "blocks" in last:
            names = ("unmovable", "reclaimable", "movable")
            parts = ", ".join(
                f"{name} {first['blocks'][name]:,} -> {last['blocks'][name]:,}" for name in names
            )
            yield f"Pageblocks by type from snapshot {first['label']} to {last['label']}: {parts}."
        exact = not first.get("approximate") and not last.get("approximate")
        if exact and "mixed_blocks" in first and "mixed_blocks" in last:
            yield (
                f"Mixed pageblocks {first['mixed_blocks']:,} -> {last['mixed_blocks']:,}, polluted ones "
                f"{first['polluted_blocks']:,} -> {last['polluted_blocks']:,}."
            )
        elif "mixed_blocks_least" in first and "mixed_blocks_least" in last:
            before, after = (Bounds(s["mixed_blocks_least"], s["mixed_blocks"]).words() for s in shots)
            yield f"Mixed pageblocks {before} -> {after}: some pages on per-CPU lists are not known, and count as the kernel's."
        yield (
            f"Free memory that no huge page (order 9) can use: {first['unusable_free_index_9'] / 10:.1f} % -> "
            f"{last['unusable_free_index_9'] / 10:.1f} % of {last['free_pages']:,} free pages."
        )
    if triage["compactions"]:
        moved = triage["compaction_pages_migrated"]
        said = "" if moved is None else f" and moved {plural(moved, 'page')}"
        yield f"Compaction ran {plural(triage['compactions'], 'time')}{said}."


def _evacuation(triage: Triage) -> Iterator[str]:
    """What evacuation would have been asked to do, and what it would have left alone."""
    plan, steals = triage["evacuation"], triage["steals"]
    lost = plan["would_queue"] + triage["claims_whole_block_from_movable"]
    if lost:
        queued, blocks = plural(plan["would_queue"], "claim"), plural(plan["blocks"], "block")
        yield (
            f"Evacuation: {queued} would have queued one, in {blocks}: those "
            f"below pageblock order, {_percent(plan['share_of_claims_below_pageblock_order'])} of the {plural(lost, 'claim')} of "
            "movable blocks. "
            f"The other {triage['claims_whole_block_from_movable']:,} took whole free blocks: nothing to evacuate."
        )
    else:
        yield "Evacuation: no movable block was claimed, so none would have been queued."
    if plan["would_queue"]:
        fits = "within" if plan["most_within_burst"] <= plan["pool_items"] else "more than"
        yield (
            f"At most {plan['most_within_burst']} within {duration(plan['burst_ns'])}, {fits} the pool of {plan['pool_items']}. "
            "Whether one moves anything rests on compaction's skip bits, which light data do not show: in ten recorded runs of "
            "patched kernels 78 % found theirs set and did nothing."
        )
    if steals["events"]:
        events, pages, blocks = (plural(steals[f"{noun}s"], noun) for noun in ("event", "page", "block"))
        share = _percent(steals["share_of_events_from_movable"])
        yield (
            f"Steals: {events}, {share} of all that was taken from movable blocks, put {pages} into {blocks} without changing "
            f"their type. Steals queue nothing: {_never(steals)}"
        )
    else:
        yield "Steals: none from movable blocks."


def _never(steals: Mapping[str, Any]) -> str:
    """How much of what steals did evacuation would never touch."""
    share = steals["events_in_blocks_never_claimed"] / steals["events"]
    return (
        f"{steals['blocks_never_claimed']:,} of these blocks were never claimed, so evacuation would have left them alone, "
        f"with {_percent(share)} of the steals."
    )


def _who(triage: Triage) -> Iterator[str]:
    """Who did it, in a sentence."""
    rows = triage["requesters"]
    if not rows:
        return
    total = sum(r["claims"] + r["claims_whole_block"] + r["steals"] for r in rows)
    top = rows[0]
    count = top["claims"] + top["claims_whole_block"] + top["steals"]
    gfp = f", {gfp_words(top['gfp'])}" if top["gfp"] is not None else ""
    yield f"By whom: {count / total:.0%} were {top['type']} requests of order {top['order_asked']}{gfp}."
    if triage["requests_matched"] is None:
        yield (
            "The gfp flags are not known: the recording has no mm_page_alloc events, and mm_page_alloc_extfrag does not "
            "name them."
        )
    elif triage["requests_unmatched"]:
        yield (
            f"Of {total:,} events {triage['requests_unmatched']:,} have no request that followed on their CPU; the others' "
            "flags are those of the next mm_page_alloc of the same CPU, order and type."
        )


def words(triage: Triage) -> str:
    """The triage in sentences, one a line."""
    lines = [_whether(triage), *_blocks(triage)]
    if triage["verdict"] != NOT_FRAGMENTING:
        lines += [*_evacuation(triage), *_who(triage)]
    if triage["extfrag_malformed"]:
        lines.append(
            f"{plural(triage['extfrag_malformed'], 'event')} made no sense (a type or order that no kernel has)."
        )
    if triage.get("lost_events"):
        lines.append(
            f"{plural(triage['lost_events'], 'event')} of any kind were lost: all counts are too low."
        )
    if triage["seconds"] < SHORT_SECONDS:
        lines.append(f"This saw {duration(triage['seconds'] * 1e9)} of the machine: a sample, not its life.")
    return "\n".join(lines)


def timeline_table(triage: Triage) -> Table:
    """Claims, steals and newly hit blocks over time."""
    line = triage["timeline"]
    title = f"Over time, {duration(line['bucket_ns'])} a bar; the verdict looks at the last {LATE_SHARE:.0%}"
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for name, label in (
        ("claims", "claims of movable blocks"),
        ("steals", "steals from movable"),
        ("new_blocks", "blocks hit for the first time"),
    ):
        table.add_row(label, sparkline(line[name]), f"{sum(line[name]):,}")
    return table


def requesters_table(triage: Triage) -> Table:
    """Who took movable memory: by type, order and gfp."""
    table = Table(
        title="Who took movable memory",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("type", "order", "gfp"):
        table.add_column(name, no_wrap=True, justify="right" if name == "order" else "left")
    for name in ("would queue", "whole blocks", "steals"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = triage["requesters"]
    for row in rows[:MOST_ROWS]:
        gfp = "not known" if row["gfp"] is None else gfp_words(row["gfp"])
        counts = (f"{row[name]:,}" for name in ("claims", "claims_whole_block", "steals"))
        table.add_row(row["type"], str(row["order_asked"]), gfp, *counts)
    if len(rows) > MOST_ROWS:
        rest = rows[MOST_ROWS:]
        sums = (f"{sum(r[name] for r in rest):,}" for name in ("claims", "claims_whole_block", "steals"))
        table.add_row(f"{len(rest)} others", "", "", *sums)
    return table


def tasks_table(triage: Triage) -> Table:
    """The tasks that took most, where the recording tells tasks apart."""
    title = (
        "Tasks, by process id" if triage["pids_kept"] else "Tasks, numbered (recorded without process ids)"
    )
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("task", no_wrap=True)
    for name in ("would queue", "whole blocks", "steals"):
        table.add_column(name, justify="right", no_wrap=True)
    names = triage["task_names"]
    for row in triage["tasks"]:
        counts = (f"{row[name]:,}" for name in ("claims", "claims_whole_block", "steals"))
        table.add_row(f"{row['pid']} {names.get(str(row['pid']), '')}".rstrip(), *counts)
    return table
