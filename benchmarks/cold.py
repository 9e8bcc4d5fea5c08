# SPDX-License-Identifier: GPL-2.0-or-later
"""What a new user waits for: each command's first run, nothing compiled, in this tree and in another one, in turn.

``python -m benchmarks.cold OTHER`` prints seconds and processor seconds of both trees (medians) and their ratios. OTHER is a
checkout; both run in this Python. Every run has a cache directory of its own, which is empty.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
_DATA = HERE / "tests" / "data"
_SHIPPED = HERE / "src" / "kevacuate" / "data" / "stock-churn-1g-smp1-s3.kev"
_RAW = str(_DATA / "raw-1cpu")
COMMANDS = {
    "compare": ["compare"],
    "compare --repeats 5": ["compare", "--repeats", "5"],
    "replay": ["replay"],
    "report": ["report", "-o", "OUT/report.html"],
    "explain": ["explain", "block:209", "--policy", "mainline"],
    "verify": ["verify", str(_DATA / "one-cpu.kev")],
    "info": ["info", _RAW],
    "info, shipped": ["info"],
    "triage": ["triage", _RAW],
    "report --recorded": ["report", "--recorded", "-o", "OUT/recorded.html", _RAW],
    "watch --once": ["watch", "--once", _RAW],
    "import": ["import", _RAW, "-o", "OUT/imported.kev"],
    "export": ["export", "--ftrace", str(_DATA / "one-cpu.kev"), "-o", "OUT/exported.txt"],
    "plot": ["plot", "-o", "OUT"],
    "snapshot": ["snapshot"],
}
"""Command lines; OUT is a new directory."""


def first_run(tree: Path, words: list[str]) -> tuple[float, float, int]:
    """(seconds, processor seconds of it and its children, exit code) of a command without anything compiled."""
    with tempfile.TemporaryDirectory(prefix="cold-") as directory:
        command = [sys.executable, "-c", "from kevacuate.cli import main; main()"]
        command += [word.replace("OUT", directory) for word in words]
        environment = {
            **os.environ,
            "PYTHONPATH": str(tree / "src"),
            "KEVACUATE_CACHE_DIR": str(Path(directory) / "cache"),
        }
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return time.perf_counter() - begin, used.ru_utime + used.ru_stime, process.returncode


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("other", type=Path, help="a checkout to compare with")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", action="append", choices=sorted(COMMANDS), help="this command; repeat it")
    given = parser.parse_args()
    trees = (HERE, given.other.resolve())
    print(
        "| first run of | seconds | other | ratio | processor seconds | other | ratio |\n|---|---|---|---|---|---|---|"
    )
    for name in given.only or COMMANDS:
        runs = [tuple(first_run(tree, COMMANDS[name]) for tree in trees) for _ in range(given.runs)]
        codes = {code for pair in runs for _, _, code in pair}
        cells = []
        for what in range(2):
            ours, theirs = (statistics.median(pair[tree][what] for pair in runs) for tree in range(2))
            cells += [f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}"]
        failed = "" if codes == {0} else f" (exit codes {sorted(codes)})"
        print(f"| {name}{failed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
