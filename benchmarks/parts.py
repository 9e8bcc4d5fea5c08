# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the time of a replay goes: ``python -m benchmarks.parts [RECORDING] [--policy mainline] [--runs 20]``.

Prints CPU milliseconds a replay and calls of each part, parts inside others included. With ``--map`` perf knows the names of
the compiled functions, too (:mod:`benchmarks.perfmap`); compile before:

    perf record -e cpu-clock:u -F 5000 python -m benchmarks.parts --map --runs 60
    perf report --no-children --sort symbol
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import perfmap
from kevacuate import Recording
from kevacuate.demand import build as demand
from kevacuate.measure import blocks, metrics
from kevacuate.percent import percent
from kevacuate.runs import initial_state, loop
from kevacuate.runs import replay as run

PARTS: tuple[tuple[str, Any, str], ...] = (
    ("replay", run, "replay"),
    ("  demand opened", run, "build_demand"),
    ("  start state loaded", run, "initial_state"),
    ("    pages of nobody", initial_state, "_pages_of_nobody"),
    ("  rows decoded", demand, "read_demand"),
    ("  rows checked", run.Replay, "_checked"),
    ("  rows replayed (compiled)", run, "replay_rows"),
    ("  samples", run.Replay, "sample"),
    ("    what is due (compiled)", run.Replay, "advance"),
    ("    blocks counted (compiled)", blocks, "count_blocks"),
    ("    figures of blocks", metrics, "block_metrics"),
    ("    figures of free pages", metrics, "free_metrics"),
    ("    counters so far", run, "so_far"),
    ("  result, digest included", run.Replay, "_metrics"),
    ("  provenance", run.Replay, "_provenance"),
)


class _Standing:
    """Stands for a function or an entry point: a call goes another way, what else it is asked for is the function's."""

    def __init__(self, function: Callable[..., Any], call: Callable[..., Any]) -> None:
        self._function, self._call = function, call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __get__(self, owner: Any, _kind: type | None = None) -> Any:
        return self if owner is None else functools.partial(self, owner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


class Timers:
    """CPU seconds and calls by part."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((name for name, *_ in PARTS), 0.0)
        self.calls = dict.fromkeys((name for name, *_ in PARTS), 0)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """*call*, timed as *name*; of a generator every step is."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            try:
                result = call(*args, **kwargs)
            finally:
                self.seconds[name] += time.process_time() - begin
                self.calls[name] += 1
            return self._steps(name, result) if isinstance(result, Iterator) else result

        return _Standing(call, timed)

    def _steps(self, name: str, rows: Iterator[Any]) -> Iterator[Any]:
        while True:
            begin = time.process_time()
            row = next(rows, None)
            self.seconds[name] += time.process_time() - begin
            self.calls[name] += 1
            if row is None:
                return
            yield row


def main(arguments: list[str] | None = None) -> int:
    """Replay, timed by parts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recording", nargs="?", help="default: the shipped one")
    parser.add_argument("--policy", default="mainline")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--map", action="store_true", help="write /tmp/perf-PID.map")
    options = parser.parse_args(arguments)
    if options.map:
        perfmap.keep_objects()
    recording = Recording.open(options.recording) if options.recording else Recording.shipped()
    run.replay(recording, options.policy)
    if options.map:
        print(perfmap.write(loop.replay_rows, blocks.count_blocks))
    timers = Timers()
    for name, owner, attribute in PARTS:
        setattr(owner, attribute, timers.around(name, getattr(owner, attribute)))
    for _ in range(options.runs):
        run.replay(recording, options.policy)
    whole = timers.seconds[PARTS[0][0]]
    for name, *_ in PARTS:
        seconds, calls = timers.seconds[name], timers.calls[name] / options.runs
        print(
            f"{name:32} {seconds / options.runs * 1e3:8.2f} ms {percent(seconds / whole, 1):>7} {calls:7.0f} calls"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
