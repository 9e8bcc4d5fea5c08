# SPDX-License-Identifier: GPL-2.0-or-later
"""The quality report of a recording, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from kevacuate.measure.mixed_bounds import Bounds
from kevacuate.percent import percent
from kevacuate.recording import CpuLosses
from kevacuate.reports.bars import duration, sparkline
from kevacuate.runs.start_guesses import SKIP_HINT

About = Mapping[str, Any]

PAGE_WORDS = (
    ("allocations", "allocations"),
    ("allocations_failed", "allocations that failed"),
    ("frees", "frees"),
    ("duplicates", "duplicates (mm_page_free_batched, ignored)"),
    ("duplicates_confirmed", "  of a page just freed"),
    ("frees_of_earlier_pages", "frees of pages in use at the start"),
    ("frees_of_unknown_pages", "frees of unknown pages"),
    ("frees_of_free_pages", "frees of pages that were free"),
    ("reused_without_free", "pfns reused without a free"),
    ("never_freed", "allocations never freed"),
    ("malformed", "malformed events"),
)
"""Counters of the page books, in words."""

MOVE_WORDS = (
    ("by_event", "named by a migration entry (remove_migration_pte)"),
    ("by_rule", "paired in order with the mover's destinations"),
    ("by_block", "only the target pageblock known, until a page of it was freed"),
    ("waiting", "alive at the end, new place never seen"),
    ("given_up", "given up: freed in the demand"),
)


def _table(title: str = "") -> Table:
    table = Table(title=title or None, title_justify="left", show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("")
    return table


def _losses(about: About) -> str:
    """Lost events by CPU, with the kinds of loss where there are several."""
    if not about["lost_events"]:
        return "not known"
    if not any(about["lost_events"]):
        return "none"
    parts = []
    for loss, events in zip(about["losses"], about["lost_events"], strict=True):
        if events:
            kinds = ", ".join(
                f"{name} {loss[name]:,}"
                for name in ("missed", "gaps", "overrun", "commit_overrun", "dropped")
                if loss[name]
            )
            number = CpuLosses(**loss).lost.number
            parts.append(f"CPU {loss['cpu']}: {number} ({kinds})")
    return "; ".join(parts)


UNVERIFIED = (
    "what to do: compare policies with each other, not with this machine. Verify says how near the model is, where the recorded "
    "kernel has the recording hooks (docs/fidelity.md)"
)
"""What the reader can do about a profile that no recording was held against."""


def _kernel(about: About) -> str:
    """The kernel's release, or which kernels it can be."""
    if about["kernel"]:
        return f"Linux {about['kernel']} ({about['arch'] or 'architecture not known'})"
    first, last = about["kernel_range"]
    if about["kernel_known"] == "proven" and last:
        return f"Linux {f'{first} to {last}' if first else f'{last} or older'}, as its lines prove"
    if about["kernel_known"] == "proven" and first:
        return f"Linux {first} or later, as its lines prove: read with the names and numbers of Linux 7.2"
    if about["kernel_known"] == "assumed":
        return "not known: read with the names and numbers of Linux 7.2"
    return "not known"


def about_table(about: About) -> Table:
    """The recording and its machine."""
    table = _table(about["name"])
    zones = ", ".join(f"node {z['node']} {z['name']} {z['managed_pages']:,} pages" for z in about["zones"])
    states = ", ".join(
        f"{s['label'] or s['tag']}{'' if s['page_flags'] else ' (no page flags)'}" for s in about["states"]
    )
    table.add_row("kernel", _kernel(about))
    if about["change_ownership_unknown"]:
        table.add_row(
            "claims and steals", "cannot be told apart: before Linux 3.12, change_ownership is always 0"
        )
    unverified = [UNVERIFIED] if "unverified" in about["profile"] else []
    table.add_row(
        "profile of the model", "\n".join([about["profile"], *about["profile_unsure"], *unverified])
    )
    cpus = f"{about['cpus']} CPU{'' if about['cpus'] == 1 else 's'}"
    table.add_row(
        "machine",
        f"{cpus}; {zones or 'zones not known'}; pageblock order {about['pageblock_order']}",
    )
    table.add_row("vm sysctls", "\n".join(about["vm_settings_in_words"]))
    table.add_row("states", states or "none")
    if about["snapshots"]:
        table.add_row("snapshots of /proc", f"{about['snapshots']:,}")
    start = about["start"]
    if start:
        marked = start["blocks_with_skip_bit"]
        unseen = f"not recorded ({SKIP_HINT})"
        table.add_row("skip bits at the start", f"{marked:,} blocks" if marked is not None else unseen)
        for name, said in _guesses(start):
            table.add_row(name, said)
    table.add_row("lost events", _losses(about))
    if about["events_not_read"]:
        unread = ", ".join(f"{n:,} of {name}" for name, n in about["events_not_read"].items())
        table.add_row("events not read", unread)
    if about["events_passed_over"]:
        passed = sorted(about["events_passed_over"].items(), key=lambda item: -item[1])
        table.add_row("events passed over", ", ".join(f"{n:,} {name}" for name, n in passed))
    table.add_row("digest", about["digest"])
    return table


def _guesses(start: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows of what is guessed at the start."""
    guesses, mixed = start["guesses"], start["mixed_blocks"]
    if guesses:
        known = guesses["blocks"] - guesses["block_types"]
        yield (
            "pageblock types at the start",
            f"{known:,} of {guesses['blocks']:,} named by events, the others guessed",
        )
        if guesses["silent_blocks"]:
            yield (
                "  of blocks without any flag",
                f"{guesses['silent_blocks']:,}, which exist by /proc/pagetypeinfo's numbers",
            )
        unknown, counted = guesses["pcp_pages_unknown"], guesses["pcp_pages"]
        yield (
            "per-CPU pages at the start",
            f"{counted - unknown:,} of {counted:,} known, the others count as in use",
        )
    elif start["approximate"]:
        yield "guessed at the start", "parts of the state, not counted by the version that recorded it"
    if mixed:
        bounds = Bounds(mixed["least"], mixed["most"])
        begun = "" if bounds.least == bounds.most else "; a replay begins with the latter"
        yield "mixed pageblocks at the start", f"{bounds.words()}{begun}"


def events_table(about: About) -> Table:
    """Events by kind, by CPU and over time."""
    table = _table("Events")
    span, rate = about["recorded_seconds"], about["events_per_second"]
    said = f"{about['events']:,} in {duration(span * 1e9)}"
    if rate:
        peak, width = about["peak_events_per_second"], duration(about["timeline"]["bucket_ns"])
        said += f": {rate:,.0f}/s on average, {peak:,.0f}/s at most (over {width})"
    table.add_row("all", said)
    table.add_row("over time", sparkline(about["timeline"]["events"]))
    cpus = about["events_by_cpu"]
    table.add_row(
        "by CPU",
        ", ".join(f"{i}: {n:,}" for i, n in enumerate(cpus[:16]) if n) + (" ..." if len(cpus) > 16 else ""),
    )
    table.add_section()
    kinds = sorted(about["events_by_kind"].items(), key=lambda item: -item[1])
    most = max((n for _, n in kinds), default=1)
    for name, count in kinds:
        bar = "█" * round(24 * count / most)
        table.add_row(name.lower(), f"{count:>12,} {percent(count / max(about['events'], 1), 1):>7} {bar}")
    return table


def pages_table(about: About) -> Table:
    """Whether allocations and frees fit together."""
    table = _table(
        "Pages, from the start state on"
        if about["states"]
        else "Pages (no start state: nothing is known of a page before its first event)"
    )
    for name, said in PAGE_WORDS:
        table.add_row(said, f"{about['pages'][name]:,}")
    return table


def demand_table(about: About) -> Table:
    """The demand: its size, the moves, and what the reconstruction counted."""
    table = _table("Demand")
    table.add_row(
        "rows", f"{about['demand_rows']:,} over {about['demand_seconds']:.1f} s of the recorded clock"
    )
    table.add_row("objects at the start", f"{about['start_objects']:,}")
    quality = about["quality"]
    if not quality:
        return table
    table.add_row("share a replay can trust", percent(quality["trusted"], 2))
    table.add_row("reclaim and reads", about["reclaim"])
    table.add_section()
    total = sum(about["moves"].values())
    table.add_row(
        "moved by the recorded kernel", f"{total:,} objects, which keep their identity but for those given up"
    )
    for name, said in MOVE_WORDS:
        table.add_row(f"  {said}", f"{about['moves'][name]:,}")
    table.add_section()
    counts = {name: value for name, value in quality.items() if name != "trusted"}
    for name, value in counts.items():
        if value:
            table.add_row(name.replace("_", " "), f"{value:,}")
    none = sum(not value for value in counts.values())
    if none:
        table.add_row("other counters (--json names them)", f"{none} are 0")
    return table


def quality_tables(about: About) -> list[Table]:
    """All tables that this recording has something for."""
    tables = [about_table(about)]
    if about["events"]:
        tables.append(events_table(about))
    if about["pages"]:
        tables.append(pages_table(about))
    if not about["no_demand"]:
        tables.append(demand_table(about))
    return tables
