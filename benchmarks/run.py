# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark: the replay loop against its C twin, interleaved in one process on copies of one state.

``python -m benchmarks.run`` prints events/s of CPU time of both, with and without prefetch, and bytes per page; it fails if
the two final states differ in a single byte. Needs a C compiler (``cc``).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import streams
from kevacuate.mm import constants as k
from kevacuate.mm.fields import Config, Counters, Cpu, LogRecord, Node, PerCpuPages, Worker, Zone
from kevacuate.mm.layout import State, state_bytes
from kevacuate.recording import DemandChunk
from kevacuate.runs.loop import STOP_LOG, replay_rows

HERE = Path(__file__).parent
CFLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared")
DISTANCE = 8
"""Prefetch distance in rows."""
_NO_SAMPLE = 1 << 62
_COUNTERS = {
    "refills": "refills",
    "drains": "drains",
    "boosts": "boosts",
    "claims refused": "claim_refused",
    "kswapd wakes": "kswapd_wakes",
    "slow paths": "slowpath",
    "failed": "alloc_failed",
}


class Mismatch(Exception):
    """The two final states differ."""


def records_header() -> str:
    """The records as C structs over the state's arrays, and each array's place in the state."""
    lines = [f"enum {{ {', '.join(f'STATE_{name.upper()}' for name in State._fields)} }};"]
    for record in (Zone, PerCpuPages, Config, Counters, Node, Cpu, Worker, LogRecord):
        name = re.sub("(?<!^)([A-Z])", r"_\1", record.__name__).lower()
        word = f"int{8 * np.dtype(record.DTYPE).itemsize}_t"
        fields = (f"{one}[{at.length}]" if at.length else one for one, at in record.FIELDS.items())
        lines.append(f"struct {name} {{ {word} {', '.join(fields)}; }};")
    return "\n".join(lines) + "\n"


def build_twin(directory: str) -> ctypes.CDLL:
    """Compile ``twin.c`` into *directory* and load it."""
    library = os.path.join(directory, "twin.so")
    Path(directory, "records.h").write_text(records_header())
    command = [os.environ.get("CC", "cc"), *CFLAGS, "-I", directory, "-o", library, str(HERE / "twin.c")]
    subprocess.run(command, check=True)
    twin = ctypes.CDLL(library)
    twin.replay_rows.restype = ctypes.c_int64
    return twin


def run_numba(state: State, rows: DemandChunk, ahead: int) -> None:
    """Replay all rows with the compiled loop; a full log is thrown away."""
    at, end = 0, rows.t.size
    while at < end:
        at, why = replay_rows(state, rows, at, end, _NO_SAMPLE, ahead)
        if why == STOP_LOG:
            state.view.stat.nr_log = 0


def run_c(twin: ctypes.CDLL, state: State, rows: DemandChunk, ahead: int) -> None:
    """The same with the twin."""
    arrays = (ctypes.c_void_p * len(state))(*(array.ctypes.data for array in state))
    columns = (ctypes.c_void_p * len(rows))(*(column.ctypes.data for column in rows))
    why, at, end = ctypes.c_int64(), 0, rows.t.size
    limits = ctypes.c_int64(_NO_SAMPLE), ctypes.c_int64(ahead)
    while at < end:
        at = twin.replay_rows(
            arrays, columns, ctypes.c_int64(at), ctypes.c_int64(end), *limits, ctypes.byref(why)
        )
        if why.value == STOP_LOG:
            state.view.stat.nr_log = 0


def differences(ours: State, theirs: State) -> list[str]:
    """Names of the arrays in which two states differ."""
    return [name for name in State._fields if not np.array_equal(getattr(ours, name), getattr(theirs, name))]


def assign(state: State, source: State) -> None:
    """Make *state* equal to *source*, array by array."""
    for array, values in zip(state, source, strict=True):
        np.copyto(array, values)


def filled(kind: str, gib: int, rows: int, seed: int = 1) -> tuple[State, DemandChunk]:
    """A machine filled as the stream wants it, and *rows* rows to measure."""
    state, generator = streams.booted(gib), streams.generator(gib, seed)
    for chunk in streams.fill(generator, kind, gib):
        run_numba(state, chunk, DISTANCE)
    state.view.stat.nr_log = 0
    return state, streams.churn(generator, kind, gib, rows)


def measure(twin: ctypes.CDLL, kind: str, gib: int, rows: int, repeats: int) -> dict[str, Any]:
    """One machine and stream: Numba, C, Numba, C ... from the same start in the same memory, as two copies of a state may lie in
    pages of different size; medians of the rates.
    """
    start, demand = filled(kind, gib, rows)
    state, ours = (State._make(array.copy() for array in start) for _ in range(2))
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        for ahead in (0, DISTANCE):
            for name in ("numba", "c"):
                assign(state, start)
                begin = time.process_time()
                if name == "c":
                    run_c(twin, state, demand, ahead)
                else:
                    run_numba(state, demand, ahead)
                seconds.setdefault(f"{name}{' prefetch' if ahead else ''}", []).append(
                    time.process_time() - begin
                )
                if name == "numba":
                    assign(ours, state)
            if different := differences(ours, state):
                raise Mismatch(f"{kind}, {gib} GiB, prefetch {ahead}: {', '.join(different)} differ")
    rate = {name: rows / statistics.median(values) for name, values in seconds.items()}
    done = Counters.table(ours.stat - start.stat)
    sizes = state_bytes(start)
    pages = gib * streams.GIB_PAGES
    return {
        "stream": kind,
        "gib": gib,
        "rows": rows,
        "events_per_s": rate,
        "ratio": rate["numba"] / rate["c"],
        "ratio_prefetch_to_plain_c": rate["numba prefetch"] / rate["c"],
        "ratio_prefetch": rate["numba prefetch"] / rate["c prefetch"],
        "bytes_per_page": (sum(sizes.values()) - sizes["obj"] - sizes["log"]) / pages,
        "bytes_per_page_with_objects": (sum(sizes.values()) - sizes["log"]) / pages,
        "counters": {
            **{name: int(done[counter][0]) for name, counter in _COUNTERS.items()},
            "claims": int(done["mode"][0, k.RMQUEUE_CLAIM]),
            "steals": int(done["mode"][0, k.RMQUEUE_STEAL]),
        },
    }


_START = """
import time; begin = time.perf_counter()
from kevacuate.mm.layout import MachineConfig, ZoneConfig, build_state
from kevacuate.mm.load_state import memblock_free_all
from kevacuate.recording import DemandChunk
from kevacuate.runs.loop import replay_rows
import numpy as np
machine = MachineConfig(npages=1 << 16, zones=(ZoneConfig(0, 2, 0, 1 << 16),))
state = build_state(machine); memblock_free_all(state, machine)
from kevacuate.recording.demand import DEMAND_TYPES
replay_rows(state, DemandChunk(*(np.zeros(1, t) for t in DEMAND_TYPES.values())), 0, 1, 1 << 62, 8)
print(time.perf_counter() - begin)
"""


def start_times() -> dict[str, float]:
    """Seconds from starting Python's imports to the first event, with nothing compiled and with all of it."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "KEVACUATE_CACHE_DIR": cache}
        command = [sys.executable, "-c", _START]
        seconds = [
            float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
            for _ in range(4)
        ]
    return {"cold": seconds[0], "warm": min(seconds[1:])}


def large_machine(gib: int, rows: int) -> dict[str, Any]:
    """Fill and churn a machine of *gib* GiB in this process; peak memory with the generator's tables."""
    begin = time.perf_counter()
    state, demand = filled("random", gib, rows)
    run_numba(state, demand, DISTANCE)
    return {
        "gib": gib,
        "events": int(state.view.stat.allocs + state.view.stat.frees),
        "seconds": time.perf_counter() - begin,
        "state_gib": sum(state_bytes(state).values()) / 2**30,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _print(result: dict[str, Any]) -> None:
    """One line per machine and stream."""
    rate = {name: f"{value / 1e6:.1f}" for name, value in result["events_per_s"].items()}
    whole = result["bytes_per_page_with_objects"]
    counters = ", ".join(f"{value} {name}" for name, value in result["counters"].items() if value)
    print(
        f"{result['gib']:>4} GiB {result['stream']:<12} M events/s: Numba {rate['numba']}, with prefetch"
        f" {rate['numba prefetch']}; C {rate['c']}, with prefetch {rate['c prefetch']}\n"
        f"         ratio to C {result['ratio']:.2f}; with prefetch {result['ratio_prefetch_to_plain_c']:.2f} of plain C,"
        f" {result['ratio_prefetch']:.2f} of C with prefetch;"
        f" {result['bytes_per_page']:.2f} bytes per page, {whole:.2f} with the object table\n"
        f"         equal final states; {counters}",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if a final state differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8 GiB only, a million rows, three repeats")
    parser.add_argument("--gib", type=int, nargs="+", default=[8, 256], help="machine sizes (default 8 256)")
    parser.add_argument("--stream", nargs="+", choices=streams.KINDS, default=streams.KINDS)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows measured")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--start", action="store_true", help="also time a cold and a warm start")
    parser.add_argument("--large", type=int, metavar="GIB", help="also simulate a machine of this size")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.gib, options.rows, options.repeats = [8], 1_000_000, 3
    compiler = " ".join((os.environ.get("CC", "cc"), *CFLAGS))
    report: dict[str, Any] = {"python": platform.python_version(), "c": compiler, "runs": []}
    print(f"C: {compiler}; prefetch distance {DISTANCE} rows", flush=True)
    try:
        with tempfile.TemporaryDirectory() as directory:
            twin = build_twin(directory)
            for gib in options.gib:
                for kind in options.stream:
                    report["runs"].append(measure(twin, kind, gib, options.rows, options.repeats))
                    _print(report["runs"][-1])
    except Mismatch as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    if options.start:
        start = report["start"] = start_times()
        print(f"start to first event: cold {start['cold']:.1f} s, warm {start['warm']:.2f} s", flush=True)
    if options.large:
        call = f"large_machine({options.large}, {options.rows})"
        code = f"import json; from benchmarks.run import large_machine; print(json.dumps({call}))"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        report["large"] = json.loads(done.stdout)
        large = report["large"]
        print(
            f"{options.large} GiB machine: {large['events'] / 1e6:.0f} M events, boot and fill included, in"
            f" {large['seconds']:.0f} s; state {large['state_gib']:.1f} GiB, peak {large['peak_gib']:.1f} GiB"
        )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
