# SPDX-License-Identifier: GPL-2.0-or-later
"""How long an answer takes: ``python -m benchmarks.answers [RECORDING ...] [--tune] [--time SECONDS]``.

Without --tune: a comparison of the three policies that ``compare`` shows by default, of the shipped recording unless others are
named, until the rows that decide are decided. With it: a tuning with the grid of settings. Each is a command in a process of its
own, run once before, so that the model is compiled. Prints wall time, processor seconds and replays; on a shared machine
processor seconds tell more: on two cores of one's own it takes about half of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

_COMMAND = "import sys; from kevacuate.cli import main; sys.exit(main())"


def measured(arguments: Sequence[str]) -> tuple[dict[str, Any], float, float]:
    """What a command says as JSON, its wall time, its processor seconds."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _COMMAND, *arguments], check=True, capture_output=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), wall, spent


def compared(recording: Sequence[str], seconds: float) -> str:
    """A comparison, in words."""
    told, wall, spent = measured(["compare", *recording, "--json", "--time", f"{seconds}s"])
    decided = told["decision"]
    state = "all rows decided"
    if not decided["decided"]:
        left = (f"{row['id']} of policy {row['policy']}" for row in decided["rows"] if row["state"] == "open")
        state = f"undecided ({', '.join(left)})"
    replays = decided["replays"] * (1 + max(row["policy"] for row in decided["rows"]))
    return f"compare: {state} after {replays} replays; {wall:.1f} s, {spent:.1f} processor seconds"


def tuned(recording: Sequence[str], seconds: float) -> str:
    """A tuning, in words."""
    told, wall, spent = measured(["tune", *recording, "--json", "--time", f"{seconds}s"])
    replays = told["replays"]
    return (
        f"tune: {len(told['tried'])} settings screened in {replays['screened']} replays each, the best tested in "
        f"{replays['tested']}; {wall:.1f} s, {spent:.1f} processor seconds"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.answers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("recordings", nargs="*", help="default: the shipped one")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--time", type=float, help="what it may take (default: 600 s; of tune 45 s)")
    given = parser.parse_args(arguments)
    answer = tuned if given.tune else compared
    for recording in [[path] for path in given.recordings] or [[]]:
        measured(["replay", *recording, "--json"])
        print(
            recording[0] if recording else "shipped",
            answer(recording, given.time or (45 if given.tune else 600)),
            sep=": ",
            flush=True,
        )


if __name__ == "__main__":
    main()
