# SPDX-License-Identifier: GPL-2.0-or-later
"""What the policies of "reliable 1GB page allocation" share: knobs by which they go by regions, and rows of what they did.

SPB is the series' own abbreviation of superpageblock, which the model calls a region.
"""

from __future__ import annotations

from kevacuate.measure.regions import region_changes
from kevacuate.measure.rows import LOWER, NEITHER, Row, figure_of
from kevacuate.measure.table import REGIONS
from kevacuate.policy.knobs import COMMON, MOST, NEEDED_REGIONS, Knob, choice, count
from kevacuate.policy.settings import SETTINGS


def entries(text: str) -> int:
    """Entries of a list, up to 4096."""
    if count(text) > 4096:
        raise ValueError
    return count(text)


def per_cent(text: str) -> int:
    """A share from 0 to 100 per cent."""
    if count(text) > 100:
        raise ValueError
    return count(text)


STEERING: dict[str, Knob] = {
    "steer-claims": Knob(
        entries,
        "a number from 0 to 4096, default 8",
        "entries behind the first of a list that a claim looks at for one in a tainted region",
        "region_steer_claims",
    ),
    "steer-refills": Knob(
        entries,
        "a number from 0 to 4096, default 8",
        "entries of a list that a movable request for whole pageblocks looks at for one in the fullest clean region",
        "region_steer_refills",
    ),
}

PASSES: dict[str, Knob] = {
    "steer-claims": STEERING["steer-claims"],
    "reserve-least": Knob(
        count,
        f"a number from 0 to {MOST}, default 4",
        "free pageblocks that a tainted region keeps from movable requests, at least",
        "region_reserve_least",
    ),
    "reserve-percent": Knob(
        per_cent,
        "a number from 0 to 100, default 3",
        "the same as a share of the region's pageblocks: the larger holds",
        "region_reserve_percent",
    ),
    "half-rule": Knob(
        choice(dropped=False, kept=True),
        "dropped (default) or kept",
        "whether a claim in a tainted region needs half of the block free or alike, as mainline's does",
        "region_half_rule",
    ),
    "pack-above": Knob(
        count,
        f"a number from 0 to {MOST}, default 8",
        "with more regions, ALLOC_NOFRAGMENT does not keep requests from small chunks of tainted ones",
        "region_pack_above",
    ),
    "taint-nofragment": Knob(
        choice(forbid=False, allow=True),
        "forbid (default) or allow",
        "whether a request with ALLOC_NOFRAGMENT may taint a clean region",
        "region_taint_nofragment",
    ),
    "slowpath-nofragment": Knob(
        choice(dropped=False, kept=True),
        "dropped or kept",
        "whether ALLOC_NOFRAGMENT holds until reclaim and compaction have failed, and in alloc_pages_bulk",
        "region_nofragment_kept",
    ),
    "cheap-fallback": Knob(
        choice(taints=True, waits=False),
        "taints or waits",
        "whether a request with a cheap fallback may taint a clean region while a tainted one has movable pageblocks",
        "region_cheap_taints",
    ),
}


def knobs(own: dict[str, Knob]) -> dict[str, Knob]:
    """A policy's own knobs with those of every policy."""
    return {**own, **COMMON, "regions": NEEDED_REGIONS, **SETTINGS}


PASSES_SECTION = f"{REGIONS}: passes"


PASS_ROWS = (
    *(
        Row(
            f"regions.pass.{end}",
            PASSES_SECTION,
            label,
            "chunks",
            figure_of("region_passes", name),
            direction,
        )
        for name, end, label, direction in (
            ("1", "own_in_tainted", "1: own type in a tainted region", NEITHER),
            ("2", "block_in_tainted", "2: a free pageblock of one claimed", NEITHER),
            ("2b", "claim_in_tainted", "2b: a movable pageblock of one claimed", NEITHER),
            ("2c", "borrow_in_tainted", "2c: borrowed, unmovable and reclaimable", NEITHER),
            ("2d", "borrow_movable", "2d: borrowed from movable lists", NEITHER),
            ("3", "taint", "3: from a clean region", LOWER),
            ("clean", "movable_clean", "movable, from a clean region", NEITHER),
            ("shared", "movable_shared", "movable, from a tainted one above its reserve", NEITHER),
            ("reserve", "movable_reserve", "movable, from a tainted one's reserve", LOWER),
        )
    ),
    Row(
        "regions.pass.taint_refused",
        PASSES_SECTION,
        "kept from tainting: a cheap fallback",
        "requests",
        region_changes("region_taint_refused"),
    ),
)
