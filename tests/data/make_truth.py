# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut the dumps of recorded kernels, and what their makers counted at each, for the tests of the counts.

    python tests/data/make_truth.py RECORDINGS

RECORDINGS is a directory of raw recordings, each with its maker's ``summary.json``, and ``outcomes.csv`` beside them.
Writes ``truth/NAME.kev`` with every dump that has page flags, the extfrag events and the claim attempts, without what no count
needs: of the page flags only the bits that tell which pages can move, free lists in order of address, no page counts, of the
events no task. ``truth/dumps.csv`` and ``truth/runs.csv`` have the makers' numbers, from summary.json; where outcomes.csv has the
run too, the two must agree. Blocks without memory inside zones, which the makers counted with those that hold a page that cannot
move, are noted (``hole_blocks``), and so are their pages (``hole_pages``).
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.kernel import pageflags as pf
from kevacuate.recording import AllocatorState, EventChunk, EventKind, KevWriter, Recording
from kevacuate.recording.schema import concat_chunks

HERE = Path(__file__).parent / "truth"
KEPT = np.uint64(
    sum(
        1 << bit
        for bit in (
            pf.KPF_LRU,
            pf.KPF_SLAB,
            pf.KPF_PGTABLE,
            pf.KPF_ANON,
            pf.KPF_BUDDY,
            pf.KPF_COMPOUND_HEAD,
            pf.KPF_COMPOUND_TAIL,
            pf.KPF_NOPAGE,
            pf.KPF_OFFLINE,
            pf.KPF_RESERVED,
        )
    )
)
SHORT = {"Unmovable": "UNMOV", "Movable": "MOV", "Reclaimable": "RECL"}
OWN = ("UNMOV", "RECL")


def slim(state: AllocatorState) -> AllocatorState:
    """The state without what no count needs."""
    free, pcp = state.free, state.pcp_pages
    by = np.lexsort((free.pfn, free.mt, free.order, free.zone))
    on_pcp = np.lexsort((pcp.pfn, pcp.pindex, pcp.cpu, pcp.zone))
    assert state.page_flags is not None
    return replace(
        state,
        free=type(free)(*(column[by] for column in free)),
        pcp_pages=type(pcp)(*(column[on_pcp] for column in pcp)),
        page_flags=state.page_flags & KEPT,
        page_count=None,
    )


def events_of(recording: Recording) -> EventChunk:
    """The extfrag events and claim attempts, without the task; numbered instead of timed, and their pages known by block only."""
    kinds = (EventKind.MM_PAGE_ALLOC_EXTFRAG, EventKind.GT_EVAC)
    found = concat_chunks(list(recording.events(kinds=kinds)))
    found = found.take((found.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG) | (found.order == 0))
    size = 1 << recording.machine.pageblock_order
    return found._replace(
        ts=np.arange(found.rows, dtype=found.ts.dtype),
        pfn=found.pfn // size * size,
        pid=np.zeros_like(found.pid),
    )


def blocks_of(seen: dict[str, Any], mt: str) -> int:
    """Pageblocks of a type, by /proc/pagetypeinfo; with several nodes, which the makers did not read, by the dump."""
    return int(seen["pageblocks"].get(mt, seen[f"type_{SHORT[mt]}"]["n"]))


def dump_row(name: str, label: str, seen: dict[str, Any], holes: tuple[int, int]) -> dict[str, Any]:
    """The maker's numbers at one dump."""
    return {
        "recording": name,
        "label": label,
        "mixed": seen["mixed"],
        "polluted": seen["type_MOV"]["with_unmov"],
        "blocks_with_unmovable": seen["blocks_with_unmov"],
        "unmovable_pages": seen["unmov_pages"],
        "movable_pages": seen["mov_pages"],
        **{f"blocks_{mt.lower()}": blocks_of(seen, mt) for mt in SHORT},
        "hole_blocks": holes[0],
        "hole_pages": holes[1],
    }


def run_row(name: str, summary: dict[str, Any]) -> dict[str, Any]:
    """The maker's counts of a whole run."""

    def count(wanted: tuple[str, ...], taken: str, *how: str) -> int:
        found = 0
        for key, events in summary["extfrag"].items():
            match = re.fullmatch(r"(\w+)<-(\w+) (.*)", key)
            assert match is not None, key
            found += (
                events if match[1] in wanted and match[2] in (taken or match[2]) and match[3] in how else 0
            )
        return found

    steal = ("own=0", "own=0 wholeblk")
    attempts = summary["claim_attempts(sub-block)"]
    return {
        "recording": name,
        "extfrag": sum(summary["extfrag"].values()),
        "claims_below_pageblock_order": count(OWN, "MOV", "own=1"),
        "claims_whole_block": count(OWN, "MOV", "own=1 wholeblk"),
        "claims_refused": sum(attempts.get(f"{own}<-MOV refused", 0) for own in OWN),
        "steals_from_movable": count(OWN, "MOV", *steal),
        "steals_by_movable": count(("MOV",), "", *steal),
    }


def check(dumps: list[dict[str, Any]], run: dict[str, Any], outcome: dict[str, str]) -> None:
    """Whether summary.json and outcomes.csv agree on a run."""
    for column, value in run.items():
        assert column == "recording" or value == int(outcome[column]), (run, column, outcome[column])
    for row in dumps:
        for column in (
            "mixed",
            "polluted",
            "blocks_with_unmovable",
            *(f"blocks_{mt.lower()}" for mt in SHORT),
        ):
            if f"{row['label']}_{column}" in outcome:
                assert row[column] == int(outcome[f"{row['label']}_{column}"]), (row, column)


def cut(path: Path, outcome: dict[str, str] | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Write one recording's excerpt; the makers' rows."""
    recording = Recording.open(path)
    summary = json.loads((path / "summary.json").read_text())
    states = [slim(state) for state in recording.states if state.page_flags is not None]
    events = events_of(recording)
    target = HERE / f"{path.name}.kev"
    shutil.rmtree(target, ignore_errors=True)
    with KevWriter(target, replace(recording.machine, events={})) as writer:
        writer.add_events(events)
        for state in states:
            writer.add_state(state)
        writer.set_losses(recording.losses)
    size = 1 << recording.machine.pageblock_order
    spare = sum((zone.spanned - zone.present) // size for zone in recording.machine.zones)
    snaps = {key.split("-", 2)[2]: value for key, value in summary["snaps"].items()}
    dumps = [dump_row(path.name, s.label, snaps[s.label], (spare, spare * size)) for s in states]
    run = run_row(path.name, summary)
    if outcome is not None:
        check(dumps, run, outcome)
    return dumps, run


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write a table."""
    with (HERE / name).open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main(root: Path) -> None:
    """Cut every recording."""
    HERE.mkdir(exist_ok=True)
    with (root / "outcomes.csv").open() as file:
        outcomes = {row["recording"]: row for row in csv.DictReader(file) if row["recording"]}
    found = [
        cut(path, outcomes.get(path.name))
        for path in sorted(root.iterdir())
        if (path / "summary.json").exists()
    ]
    write("dumps.csv", [row for dumps, _ in found for row in dumps])
    write("runs.csv", [run for _, run in found])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
