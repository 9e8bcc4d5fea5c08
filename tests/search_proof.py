# SPDX-License-Identifier: GPL-2.0-or-later
"""The forms of the search choose equal pages over ten million operations: each form decides in turn, all others are asked.

    python tests/search_proof.py [--operations N] [--page PAGE]

Not collected by pytest: it takes minutes. Zones have one and several words of regions, clipped ends, and regions of the smallest
size; the flat lists are walked in full at every request. Every zone is recounted at its end. Prints counts, and makes a page of
them where asked to (docs/results/search-forms.md is one). Exits with 1 if a form chose another page, or a recount differs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from kevacuate.recording.atomic_write import written
from kevacuate.search import fields as f
from kevacuate.search.check import problems
from kevacuate.search.churn import churn, fill, generator
from kevacuate.search.machine import ZoneShape, all_free
from kevacuate.search.zone import run_rows

ZONES = {
    "64 regions of 4 MiB": (0, 1 << 16, 10),
    "30 regions of 8 MiB, the first and the last clipped": (1024, 61_440 - 1536, 11),
    "130 regions of 4 MiB, the last clipped": (0, 130 * 1024 - 512, 10),
    "8 regions of 32 MiB": (0, 1 << 16, 13),
}
"""First pfn, the one behind the last, order of a region."""
COUNTED = ("allocs", "frees", "failed", "whole_claims", "block_claims", "borrowed", "tainted", "moved")
SAID = {
    "allocs": "requests served",
    "frees": "frees",
    "failed": "requests for which there was no chunk",
    "whole_claims": "whole free blocks claimed",
    "block_claims": "blocks claimed with pages in use",
    "borrowed": "pages taken from another type's list",
    "tainted": "regions that became tainted",
    "moved": "changes of bucket",
}


def searched(zone: tuple[int, int, int], form: int, rows: int, seed: int) -> tuple[Counter[str], list[str]]:
    """One zone, one form deciding: what was done; what was wrong."""
    start, end, order = zone
    shape = ZoneShape(start, end, region_order=order, form=form, objects=1 << 17)
    search, made, done = all_free(shape), generator(end - start, seed), 0
    for chunk in fill(made, end - start):
        run_rows(search, chunk, 0, chunk.t.size)
        done += chunk.t.size
    for chunk in churn(made, end - start, rows - done):
        run_rows(search, chunk, 0, chunk.t.size)
    stat = search.view.stat
    wrong = [
        f"{stat.wrong[other]} other pages by {f.FORM_NAMES[other]}"
        for other in range(f.NR_FORMS)
        if stat.wrong[other]
    ]
    wrong += [f"{stat.unfound} requests found nothing"] if stat.unfound else []
    wrong += [f"{stat.not_walked} walks were not made"] if stat.not_walked else []
    return Counter({name: getattr(stat, name) for name in COUNTED}), wrong + problems(search)


def page(total: Counter[str], operations: int, wrong: list[str]) -> str:
    """The page, as Markdown."""
    lines = [
        "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->",
        "# The forms of the search choose equal pages",
        "",
        "Made by `python tests/search_proof.py --page docs/results/search-forms.md`.",
        "Four forms search the same free lists: flat lists, lists per region, bitmaps per order, bitmaps per order and type.",
        "At every request all four are asked, and the flat lists are walked in full. Each form decides in a quarter of the runs.",
        "",
        f"{operations:,} operations, {len(wrong)} differences. After each run every counter, list and bit equals a recount.",
        "",
        "| zone | runs |",
        "|---|---|",
        *(f"| {name} | each form decides once |" for name in ZONES),
        "",
        "| reached | times |",
        "|---|---:|",
        *(f"| {SAID[name]} | {total[name]:,} |" for name in COUNTED),
        "",
        "[What they cost](search-cost.md) is another page. "
        "`tests/search/test_search_forms.py` holds them against a naive oracle, and breaks each to see it noticed.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Play all zones; 1 if anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=10_020_000, help="in all (default 10.02 million)")
    parser.add_argument("--page", type=Path, help="write the counts to this page")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    wrong: list[str] = []
    rows = -(-options.operations // (len(ZONES) * f.NR_FORMS))
    for name, zone in ZONES.items():
        for form in range(f.NR_FORMS):
            done, different = searched(zone, form, rows, seed=form + 1)
            total += done
            wrong += [f"{name}, {f.FORM_NAMES[form]} decides: {one}" for one in different]
            print(
                f"{name}, {f.FORM_NAMES[form]} decides: {dict(done)}; {len(different)} differences",
                flush=True,
            )
    operations = total["allocs"] + total["frees"] + total["failed"]
    print(f"{operations:,} operations, {len(wrong)} differences")
    print("\n".join(wrong[:20]))
    if options.page:
        with written(options.page, replace=True) as file:
            file.path.write_text(page(total, operations, wrong), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
