# SPDX-License-Identifier: GPL-2.0-or-later
"""What is counted of recorded kernels, against what their makers counted: outcomes.csv beside the recordings."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from kevacuate.observe.outcomes import recorded_outcome
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import Recording

COUNTS = {
    "mm_page_alloc": "allocations",
    "extfrag": "extfrag",
    "claims_below_pageblock_order": "claims_from_movable",
    "claims_whole_block": "claims_whole_block_from_movable",
    "claims_refused": "claims_refused_from_movable",
    "steals_from_movable": "steals_from_movable",
    "steals_by_movable": "steals_by_movable",
    "evac_queued": "evacuations_queued",
    "evac_dropped": "evacuations_dropped",
    "evac_started": "evacuations_started",
    "evac_skipped_movable_again": "evacuations_movable_again",
    "evac_finished": "evacuations_finished",
    "evac_started_with_skip_bit": "evacuations_started_with_skip_bit",
    "pages_isolated": "pages_isolated",
    "pages_reclaimed": "pages_dropped",
    "pages_migrated": "pages_migrated",
    "pages_failed": "pages_failed",
}
MOMENT = {
    "mixed": ("mixed_blocks",),
    "polluted": ("polluted_blocks",),
    "free_pages": ("free_pages",),
    "blocks_unmovable": ("blocks", "unmovable"),
    "blocks_movable": ("blocks", "movable"),
    "blocks_reclaimable": ("blocks", "reclaimable"),
}


def outcomes() -> list[dict[str, Any]]:
    """The rows whose recordings lie beside the one that the environment names (or in that directory)."""
    named = os.environ.get("KEVACUATE_GROUND_TRUTH")
    if not named:
        return []
    root = Path(named) if (Path(named) / "outcomes.csv").exists() else Path(named).parent
    if not (root / "outcomes.csv").exists():
        return []
    with (root / "outcomes.csv").open() as file:
        rows = [row | {"path": root / row["recording"]} for row in csv.DictReader(file) if row["recording"]]
    return [row for row in rows if row["path"].is_dir()]


ROWS = outcomes()


def blocks_in_holes(recording: Recording) -> int:
    """Pageblocks without memory inside zones, which the makers counted with those that hold a page that cannot move."""
    size = 1 << recording.machine.pageblock_order
    return sum((zone.spanned - zone.present) // size for zone in recording.machine.zones)


@pytest.mark.skipif(not ROWS, reason="needs KEVACUATE_GROUND_TRUTH, with outcomes.csv beside the recording")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["recording"])
def test_counts_are_those_of_the_outcomes(row: dict[str, Any]) -> None:
    recording = Recording.open(row["path"])
    found = recorded_outcome(recording)
    assert {name: found.metrics[ours] for name, ours in COUNTS.items()} == {
        name: int(row[name]) for name in COUNTS
    }
    holes = blocks_in_holes(recording)
    for label in ("peak", "freed", "end"):
        moment = found.moments[label]
        ours: dict[str, Any] = {}
        for name, path in MOMENT.items():
            value: Any = moment
            for key in path:
                value = value[key]
            ours[name] = value
        assert ours == {name: int(row[f"{label}_{name}"]) for name in MOMENT}, label
        assert moment["blocks_with_unmovable"] + holes == int(row[f"{label}_blocks_with_unmovable"])
        by_order = [int(n) for n in row[f"{label}_free_by_order"].split()]
        if moment["interleaved"] == 0:  # theirs are /proc/buddyinfo's, read after the dump
            assert moment["free_by_order"] == by_order
        else:
            pages = sum(n << i for i, n in enumerate(by_order))
            assert abs(pages - moment["free_pages"]) <= moment["free_pages"] // 100


@pytest.mark.skipif(not ROWS, reason="needs KEVACUATE_GROUND_TRUTH, with outcomes.csv beside the recording")
def test_triage_counts_the_same() -> None:
    row = ROWS[0]
    found = triage_recording(Recording.open(row["path"]))
    assert found["evacuation"]["would_queue"] == int(row["claims_below_pageblock_order"])
    assert found["steals"]["events"] == int(row["steals_from_movable"])
    assert found["allocations"] == int(row["mm_page_alloc"])
    assert found["requests_matched"] + found["requests_unmatched"] == sum(
        int(row[n]) for n in ("claims_below_pageblock_order", "claims_whole_block", "steals_from_movable")
    )
