# SPDX-License-Identifier: GPL-2.0-or-later
"""A triage in plain words, with the figures they rest on; its tables are in :mod:`kevacuate.reports.triage.tables`.

Three words, each with one meaning (:mod:`kevacuate.measure.extfrag`): a *claim* takes a chunk below pageblock order and the block
changes type; a *whole-block claim* takes a free pageblock or more; a *steal* takes pages and the block keeps its type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kevacuate.measure.mixed_bounds import Bounds
from kevacuate.measure.triage import (
    FREE_MEMORY,
    NOT_FRAGMENTING,
    NOT_KNOWN,
    QUIET,
    RECOVERING,
    SAME_BLOCKS,
    SPREADING,
    WHOLE_BLOCKS,
)
from kevacuate.percent import percent
from kevacuate.recording import Lost
from kevacuate.reports.bars import duration
from kevacuate.reports.gfp import gfp_words
from kevacuate.reports.triage.stalls import stall_words

Triage = Mapping[str, Any]

HEADLINES = {
    NOT_KNOWN: "Not known",
    NOT_FRAGMENTING: "Not fragmenting",
    WHOLE_BLOCKS: "Whole free blocks only",
    QUIET: "Fragmented, quiet now",
    SAME_BLOCKS: "Fragmenting, without spreading",
    SPREADING: "Fragmenting",
    RECOVERING: "Mixing, while free memory recovers",
    FREE_MEMORY: "Free memory fragments",
}
"""How the first sentence begins, by verdict; docs/triage.md has the rule of each."""

SHORT_SECONDS = 600
"""Less time than this is a sample, and the words say so."""

MOST_EVENTS = 8
"""Kinds of events named where the events that matter are missing."""


def plural(count: int, noun: str) -> str:
    """A number and its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _percent(share: float | None) -> str:
    return (
        "-"
        if share is None
        else percent(share)
        if share in (0, 1) or 0.01 <= share < 0.995
        else percent(share, 2)
    )


def _span(triage: Triage) -> str:
    return duration(triage["seconds"] * 1e9)


def _mixing(counts: Mapping[str, Any]) -> int:
    """Events that took less than a whole free block, of the whole time or of the last third."""
    return int(counts["claims"] + counts["steals"] + counts["claims_or_steals"])


def _totals(triage: Triage) -> dict[str, int]:
    """Events of each series of the timeline, over the whole time."""
    return {name: sum(triage["timeline"][name]) for name in triage["late"]}


def _free_memory(triage: Triage) -> str:
    """How the unusable free index went, as the end of a sentence."""
    first, last = triage["snapshots"]
    index = "unusable_free_index"
    change = triage["unusable_free_index_change"]
    verb = "rose" if change > 0 else "fell" if change < 0 else "went"
    return (
        f"free memory that no huge page (order {last[f'{index}_order']}) can use {verb} from {first[index] / 10:.1f} % to "
        f"{last[index] / 10:.1f} %"
    )


def _whether(triage: Triage) -> Iterator[str]:
    """Whether this machine is fragmenting: the headline, and what it rests on."""
    head, span, late = HEADLINES[triage["verdict"]], _span(triage), triage["late"]
    if triage["verdict"] == NOT_KNOWN:
        yield from _not_known(triage)
        return
    if triage["verdict"] == NOT_FRAGMENTING:
        yield f"{head}: in {span} no unmovable or reclaimable request took memory from a movable pageblock."
        return
    counts = _totals(triage)
    whole, mixing = counts["claims_whole_block"], _mixing(counts)
    if triage["verdict"] == FREE_MEMORY:
        yield f"{head}: {_free_memory(triage)}."
        yield "No unmovable or reclaimable request took part of a movable pageblock in the last third of the time."
        return
    if triage["verdict"] == WHOLE_BLOCKS:
        yield f"{head}: in {span} {plural(whole, 'request')} took free movable pageblocks, and none took part of a block."
        return
    rate = (
        f" ({mixing * 3600 / triage['seconds']:,.0f} an hour)" if triage["seconds"] >= SHORT_SECONDS else ""
    )
    yield f"{head}: unmovable and reclaimable requests took part of a movable pageblock {plural(mixing, 'time')} in {span}{rate}."
    yield from _lately(triage, _mixing(late), mixing)


def _lately(triage: Triage, late: int, mixing: int) -> Iterator[str]:
    """What the last third of the time showed."""
    if triage["verdict"] == QUIET:
        none = "That was not" if mixing == 1 else f"None of the {mixing:,} was"
        yield f"{none} in the last third of that time."
        return
    which = f"{late:,} of the {mixing:,}" if late < mixing else "All" if late > 1 else "That"
    said = f"{which} {'was' if late == 1 else 'were'} in the last third of that time"
    new = triage["late"]["new_blocks"]
    if triage["verdict"] == SAME_BLOCKS:
        yield f"{said}, all in blocks that had been hit before."
    elif triage["events_without_page"] and not new:
        yield f"{said}; which blocks they hit is not known."
    else:
        yield f"{said}, which hit {plural(new, 'block')} for the first time."
    if triage["verdict"] == RECOVERING:
        yield f"Yet {_free_memory(triage)}."


def _not_known(triage: Triage) -> Iterator[str]:
    """Why a triage cannot say whether the machine is fragmenting, and what the recording holds."""
    head, span = HEADLINES[NOT_KNOWN], _span(triage)
    if triage["extfrag_recorded"] is False:
        yield f"{head}: mm_page_alloc_extfrag was not recorded. Record again with it (record --light has it)."
    elif triage["extfrag_recorded"] is None:
        yield (
            f"{head}: no mm_page_alloc_extfrag event in {span}, and the recording does not say whether it was switched on."
        )
    else:
        yield f"{head}: no event in {span} took from a movable pageblock, but some were lost or not read."
    held = sorted(triage["events_held"].items(), key=lambda item: (-item[1], item[0]))
    names = ", ".join(f"{name} {count:,}" for name, count in held[:MOST_EVENTS])
    more = f" and {plural(len(held) - MOST_EVENTS, 'other kind')}" if len(held) > MOST_EVENTS else ""
    yield f"The recording holds: {names or 'no events'}{more}."


def _blocks(triage: Triage) -> Iterator[str]:
    """What became of the pageblocks."""
    blocks = triage["pageblocks"]
    if blocks and (blocks["lost"] or blocks["claimed_back"]):
        net = blocks["net_lost"]
        way = f"{net:,} net lost" if net >= 0 else f"{-net:,} net regained"
        yield (
            f"From first event to last, claims and whole-block claims took {plural(blocks['lost'], 'movable pageblock')}; "
            f"movable requests claimed {blocks['claimed_back']:,} back ({way})."
        )
    if len(triage["snapshots"]) == 2:
        yield from _snapshots(triage)
    if triage["compactions"]:
        moved = triage["compaction_pages_migrated"]
        said = "" if moved is None else f" and moved {plural(moved, 'page')}"
        yield f"Compaction ran {plural(triage['compactions'], 'time')}{said}."


def _snapshots(triage: Triage) -> Iterator[str]:
    """What changed from the first snapshot to the last."""
    first, last = triage["snapshots"]
    if "blocks" in first and "blocks" in last:
        names = ("unmovable", "reclaimable", "movable")
        parts = ", ".join(f"{name} {first['blocks'][name]:,} -> {last['blocks'][name]:,}" for name in names)
        yield f"Pageblocks by type from snapshot {first['label']} to {last['label']}: {parts}."
    exact = not first.get("approximate") and not last.get("approximate")
    if exact and "mixed_blocks" in first and "mixed_blocks" in last:
        yield (
            f"Mixed pageblocks {first['mixed_blocks']:,} -> {last['mixed_blocks']:,}, polluted ones "
            f"{first['polluted_blocks']:,} -> {last['polluted_blocks']:,}."
        )
    elif "mixed_blocks_least" in first and "mixed_blocks_least" in last:
        before, after = (
            Bounds(shot["mixed_blocks_least"], shot["mixed_blocks"]).words() for shot in (first, last)
        )
        yield (
            f"Mixed pageblocks {before} -> {after}. Which pages lie on per-CPU lists is not known of all; the unknown ones count "
            "as the kernel's."
        )
    if triage["verdict"] not in (RECOVERING, FREE_MEMORY):
        said = _free_memory(triage)
        yield f"{said[0].upper()}{said[1:]} of {last['free_pages']:,} free pages."


def _evacuation(triage: Triage) -> Iterator[str]:
    """What evacuation would have been asked to do, and what it would have left alone."""
    plan, steals = triage["evacuation"], triage["steals"]
    whole = triage["claims_whole_block_from_movable"]
    if plan["would_queue"]:
        queued, blocks = plural(plan["would_queue"], "claim"), plural(plan["blocks"], "block")
        where = f", in {blocks}" if plan["blocks"] else ""
        share = _percent(plan["share_of_claims_below_pageblock_order"])
        fits = "within" if plan["most_within_burst"] <= plan["pool_items"] else "more than"
        burst, pool = duration(plan["burst_ns"]), plan["pool_items"]
        yield f"Evacuation: {queued} would have queued one{where}."
        left = f": a whole-block claim ({whole:,} came) leaves nothing to evacuate" if whole else ""
        yield f"Of claims and whole-block claims that is {share}{left}."
        yield f"At most {plan['most_within_burst']} came within {burst}, {fits} the pool of {pool}."
        yield "Whether an evacuation moves pages rests on compaction's skip bits, which light data do not show."
        yield "In ten recorded runs of patched kernels 78 % found their block's bit set and did nothing."
    else:
        yield "Evacuation: none would have been queued, because no movable block was claimed below pageblock order."
    if steals["events"]:
        yield from _stolen(steals)
    else:
        yield "Steals: none from movable blocks."


def _stolen(steals: Mapping[str, Any]) -> Iterator[str]:
    """What steals did, and how much of it evacuation would never touch."""
    events, pages, blocks = (plural(steals[f"{noun}s"], noun) for noun in ("event", "page", "block"))
    share = _percent(steals["share_of_events_from_movable"])
    where = blocks if steals["blocks"] else "blocks that are not named"
    yield f"Steals: {events}, {share} of all that took from movable blocks, put {pages} into {where}."
    if not steals["blocks"]:
        yield "Steals queue nothing."
        return
    share = _percent(steals["events_in_blocks_never_claimed"] / steals["events"])
    never = steals["blocks_never_claimed"]
    yield (
        f"Steals queue nothing: {never:,} of these blocks {'was' if never == 1 else 'were'} never claimed, so evacuation would "
        f"have left them alone, with {share} of the steals."
    )


def _both(triage: Triage) -> Iterator[str]:
    """What can be said where claims and steals cannot be told apart."""
    yield (
        f"{plural(triage['claims_or_steals_from_movable'], 'event')} took part of a movable block: claims or steals, which this "
        "kernel's event does not tell apart."
    )
    yield "Before Linux 3.12 it prints change_ownership=0 for both, so what evacuation would have queued is not known."
    if triage["claims_whole_block_from_movable"]:
        yield f"{plural(triage['claims_whole_block_from_movable'], 'whole-block claim')} left nothing to evacuate."


def _who(triage: Triage) -> Iterator[str]:
    """Who did it, in a sentence."""
    rows = triage["requesters"]
    if not rows:
        return
    names = ("claims", "claims_whole_block", "steals", "claims_or_steals")
    total = sum(row[name] for row in rows for name in names)
    top = rows[0]
    count = sum(top[name] for name in names)
    gfp = f", {gfp_words(top['gfp'])}" if top["gfp"] is not None else ""
    yield f"By whom: {percent(count / total)} were {top['type']} requests of order {top['order_asked']}{gfp}."
    if triage["requests_matched"] is None:
        yield "The gfp flags are not known: mm_page_alloc_extfrag does not name them, and mm_page_alloc was not recorded."
    elif not triage["requests_matched"]:
        yield "The gfp flags are not known: no mm_page_alloc of the same CPU, order and type followed."
    elif triage["requests_unmatched"]:
        yield "The flags are those of the next mm_page_alloc of the same CPU, order and type."
        yield f"No such request followed {triage['requests_unmatched']:,} of the {plural(total, 'event')}."


def _doubts(triage: Triage) -> Iterator[str]:
    """What makes the counts less than all that happened."""
    if triage["extfrag_malformed"]:
        yield f"{plural(triage['extfrag_malformed'], 'event')} made no sense (a type or order that no kernel has)."
    if triage["events_without_page"]:
        yield f"{plural(triage['events_without_page'], 'event')} did not name a page, so counts of blocks leave them out."
    if lost := Lost.of_json(triage):
        kinds = lost.were.replace(" was", " of any kind was").replace(" were", " of any kind were")
        yield f"{kinds[0].upper()}{kinds[1:]} lost: all counts are too low."
    if not triage["losses_known"]:
        yield "Whether events were lost is not known."
    if triage["events_not_read"]:
        yield f"{plural(triage['events_not_read'], 'mm_page_alloc_extfrag event')} of the file could not be read."
    for key, noun in (("lines_not_read", "line"), ("events_without_format", "event")):
        if triage[key]:
            yield f"{plural(triage[key], noun)} of the file could not be read: such events may be missing."
    if triage["seconds"] < SHORT_SECONDS:
        yield f"This saw {_span(triage)} of the machine: a sample, not its life."


def words(triage: Triage) -> str:
    """The triage in sentences, in lines."""
    lines = [" ".join(_whether(triage)), *_blocks(triage)]
    if triage["requesters"]:
        lines += [
            *(_evacuation(triage) if triage["claims_told_from_steals"] else _both(triage)),
            *_who(triage),
        ]
    return "\n".join([*lines, *stall_words(triage["stalls"]), *_doubts(triage)])
