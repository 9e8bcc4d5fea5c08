# SPDX-License-Identifier: GPL-2.0-or-later
"""Write docs/results/search-cost.md: ``python docs/generate_search_cost.py``. Needs a C compiler, 4 GiB of memory, minutes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


from search_cost_document import Demand, search_cost_document  # noqa: E402

from benchmarks.search import CFLAGS, timed  # noqa: E402
from kevacuate import KevacuateError, Recording  # noqa: E402
from kevacuate.recording.atomic_write import written  # noqa: E402
from kevacuate.search import fields as f  # noqa: E402
from kevacuate.search.measure import Generated, search_generated, search_recorded  # noqa: E402
from kevacuate.search.stream import zone_demand  # noqa: E402

TARGET = ROOT / "docs" / "results" / "search-cost.md"
SMALL_REGION_ORDER = 13
LONGEST_WALK = 1_000
RULES = (f.MAINLINE, f.LOOK_AHEAD, f.REGIONS)


def recorded() -> Demand:
    """The shipped recording, under every rule."""
    demand = zone_demand(Recording.shipped(), SMALL_REGION_ORDER)
    return {
        rule: search_recorded(demand, "recorded", SMALL_REGION_ORDER, rule, LONGEST_WALK) for rule in RULES
    }


def generated(gib: int, rows: int, cycles: int) -> Demand:
    """A generated demand, under every rule."""
    what = Generated(gib, rows=rows, cycles=cycles)
    return {rule: search_generated(what, rule) for rule in RULES}


def machine() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unnamed processor"


def times(gibs: list[int], rows: int, repeats: int) -> dict[str, Any]:
    """What the C twin takes."""
    cc = os.environ.get("CC", "cc")
    version = subprocess.run(
        [cc, "--version"], check=True, capture_output=True, text=True
    ).stdout.splitlines()[0]
    flags = " ".join(one for one in CFLAGS if one.startswith("-O"))
    return {"runs": timed(gibs, rows, repeats), "machine": machine(), "compiler": f"{version}, {flags}"}


def main() -> None:
    """Make the page: it is there whole, or as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--gib", type=int, nargs="+", default=[1, 4, 16, 64, 256], help="zones of generated demand"
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="operations counted of each")
    parser.add_argument("--cycles", type=int, default=3, help="rises and falls of kernel memory before that")
    parser.add_argument("--timed", type=int, nargs="*", default=[1, 4, 16, 64], help="zones timed in C")
    parser.add_argument("--repeats", type=int, default=5, help="times that each is timed")
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    arguments = parser.parse_args()
    try:
        demands = [recorded()]
        for gib in arguments.gib:
            print(f"{gib} GiB of generated demand", file=sys.stderr, flush=True)
            demands.append(generated(gib, arguments.rows, arguments.cycles))
        taken = times(arguments.timed, arguments.rows // 4, arguments.repeats) if arguments.timed else None
    except KevacuateError as error:
        sys.exit(str(error))
    text = search_cost_document(demands, "python docs/generate_search_cost.py", taken)
    with written(arguments.output, replace=True) as page:
        page.path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
