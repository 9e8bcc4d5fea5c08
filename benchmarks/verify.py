# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast recordings are verified: ``python -m benchmarks.verify RECORDING.kev ... [--runs 5]``.

For each recording, in one process, in turn: the events are only read (the yardstick: nothing can verify them faster than
that on one core), and the four levels that stream are run over them. Prints events/s of wall time, CPU seconds and the
process's peak memory so far; begin with the shortest recording to see that memory does not follow the length.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from kevacuate import Recording, verify
from kevacuate.fidelity.verify import STREAMED


def read_only(recording: Recording) -> int:
    """Events, read and counted."""
    return sum(chunk.rows for chunk in recording.events(after=recording.boot or recording.start))


def verified(recording: Recording) -> int:
    """Events, verified at every level that streams."""
    return verify(recording, list(STREAMED)).events


def timed(work: Callable[[Recording], int], path: Path) -> tuple[int, float, float]:
    """(events, seconds, CPU seconds) of one run on a recording opened afresh."""
    recording = Recording.open(path)
    begun, before = time.perf_counter(), time.process_time()
    events = work(recording)
    return events, time.perf_counter() - begun, time.process_time() - before


def main() -> None:
    """Compile, then time each recording."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    levels = ", ".join(STREAMED)
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {arguments.runs} runs each, in turn; levels: {levels}"
    )
    timed(verified, arguments.recordings[0])
    for path in arguments.recordings:
        runs = [(timed(read_only, path), timed(verified, path)) for _ in range(arguments.runs)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        for name, each in zip(("read only", "verified"), zip(*runs, strict=True), strict=True):
            rates = sorted(events / seconds / 1e6 for events, seconds, _ in each)
            cpu = statistics.median(used for *_, used in each)
            print(
                f"{path.name:40} {name:10} {each[0][0]:>10,} events  {statistics.median(rates):6.2f} M/s "
                f"({rates[0]:.2f} to {rates[-1]:.2f})  CPU {cpu:5.2f} s  peak {peak:,} MiB"
            )


if __name__ == "__main__":
    main()
