# SPDX-License-Identifier: GPL-2.0-or-later
"""The searches of free lists by region, timed in C: ``python -m benchmarks.search [--gib 1 4 16 64]``.

One generated demand is served by mainline's rule and by the series' passes; each notes what it did to the lists. The C twin does
both again on lists of ``struct page`` of 64 bytes: mainline's once on flat lists, the series' in every form of the search. It
fails if a search finds another page than the trace says. Runs are interleaved; printed are medians of CPU time for each operation
(requests and frees), less the time that it takes to read the trace, and their ratios to mainline's flat lists. Walks of whole
flat lists are so long that only some operations are done. Needs a C compiler (``cc``).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.run import CFLAGS
from kevacuate.search import fields as f
from kevacuate.search.churn import churn
from kevacuate.search.measure import Generated, warmed
from kevacuate.search.zone import list_chunks, run_rows

HERE = Path(__file__).parent
PLAIN, NOTHING = f.NR_FORMS, f.NR_FORMS + 1
"""Forms of the twin alone: mainline's lists without regions; the trace read and nothing done."""
WALKED = 100_000_000
"""Chunks that walks of whole lists may look at in a run."""
NAMES = {"PLAIN": PLAIN, "NOTHING": NOTHING, **{name: getattr(f, name) for name in (
    "FLAT", "BY_REGION", "BITMAPS", "TYPED_BITMAPS", "NR_BUCKETS", "NR_ORDERS", "NR_SETS", "SETS_BY_TYPE", "SETS_BY_BUCKET",
    "T_ADD", "T_ADD_TAIL", "T_DELETE", "T_BUCKET", "T_FIND", "T_END",
)}}  # fmt: skip


class Mismatch(Exception):
    """A search in C found another page."""


class Trace(NamedTuple):
    """What a zone did to its lists, and how they lay before."""

    npages: int
    region_order: int
    buckets: np.ndarray
    chunks: np.ndarray
    records: np.ndarray
    on_lists: int


def build_twin(directory: str) -> ctypes.CDLL:
    """Compile ``search_twin.c`` into *directory* and load it."""
    Path(directory, "search_records.h").write_text(
        f"enum {{ {', '.join(f'{name} = {value}' for name, value in NAMES.items())} }};\n"
    )
    library = os.path.join(directory, "search_twin.so")
    command = [
        os.environ.get("CC", "cc"),
        *CFLAGS,
        "-I",
        directory,
        "-o",
        library,
        str(HERE / "search_twin.c"),
    ]
    subprocess.run(command, check=True)
    twin = ctypes.CDLL(library)
    twin.zone_new.restype = ctypes.c_void_p
    twin.zone_run.restype = ctypes.c_int64
    return twin


def traced(what: Generated, rule: int) -> Trace:
    """The generated demand under one rule: how the zone lies once it is churned, and what *what.rows* rows then do."""
    search, shape, _, gen = warmed(what, rule, trace=40 * what.rows)
    view = search.view
    chunks = np.zeros(3 * list_chunks(search, np.zeros(0, np.int32)), np.int32)
    list_chunks(search, chunks)
    buckets = f.RegionLists.table(search.region)["bucket"].copy()
    view.stat.nr_trace = 0
    for rows in churn(gen, what.npages, what.rows):
        run_rows(search, rows, 0, rows.t.size)
    done = view.stat.nr_trace
    if done > view.cfg.trace_capacity:
        raise SystemExit(f"The trace of {done:,} records does not fit: time fewer rows.")
    return Trace(
        shape.npages, what.region_order, buckets, chunks, search.trace[: 4 * done].copy(), chunks.size // 3
    )


def run(twin: ctypes.CDLL, trace: Trace, form: int, most: int) -> float:
    """Nanoseconds of an operation."""
    zone = ctypes.c_void_p(twin.zone_new(
        ctypes.c_int(form), ctypes.c_int64(trace.npages), ctypes.c_int(trace.region_order),
        ctypes.c_int(trace.buckets.size), trace.buckets.ctypes.data_as(ctypes.c_void_p),
        trace.chunks.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(trace.chunks.size // 3),
    ))  # fmt: skip
    if not zone:
        raise SystemExit("There is not enough memory for the zone's struct pages: time smaller zones.")
    ended, wrong = ctypes.c_int64(), ctypes.c_int64()
    spent = twin.zone_run(
        zone, trace.records.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(trace.records.size // 4),
        ctypes.c_int64(most), ctypes.byref(ended), ctypes.byref(wrong),
    )  # fmt: skip
    twin.zone_free(zone)
    if wrong.value:
        raise Mismatch(f"{wrong.value:,} searches of form {form} found other pages than the trace says")
    return float(spent) / ended.value


def measure(twin: ctypes.CDLL, what: Generated, repeats: int) -> dict[str, Any]:
    """One zone: ns of an operation by form, and the ratios to mainline's."""
    mainline, series = traced(what, f.MAINLINE), traced(what, f.REGIONS)
    walks = max(WALKED // max(4 * series.on_lists, 1), 20)
    plan = [
        ("mainline", mainline, PLAIN, 1 << 40), ("regions", series, f.BY_REGION, 1 << 40),
        ("bitmaps", series, f.BITMAPS, 1 << 40), ("typed bitmaps", series, f.TYPED_BITMAPS, 1 << 40),
        ("flat, walked", series, f.FLAT, walks),
        ("nothing", series, NOTHING, 1 << 40),
    ]  # fmt: skip
    ns: dict[str, list[float]] = {name: [] for name, *_ in plan}
    for _ in range(repeats):
        for name, trace, form, most in plan:
            ns[name].append(run(twin, trace, form, most))
    reading = statistics.median(ns.pop("nothing"))
    spent = {name: max(statistics.median(values) - reading, 0.1) for name, values in ns.items()}
    ratios = {name: value / spent["mainline"] for name, value in spent.items()}
    spread = {name: [min(values) - reading, max(values) - reading] for name, values in ns.items()}
    return {
        "gib": what.gib,
        "rows": what.rows,
        "ns": spent,
        "ns_range": spread,
        "ratio": ratios,
        "reading_ns": reading,
    }


def timed(gibs: list[int], rows: int, repeats: int, cycles: int = 3) -> list[dict[str, Any]]:
    """All zones."""
    with tempfile.TemporaryDirectory() as directory:
        twin = build_twin(directory)
        return [measure(twin, Generated(gib, rows=rows, cycles=cycles), repeats) for gib in gibs]


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if a search in C finds another page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument(
        "--gib", type=int, nargs="+", default=[1, 4, 16, 64], help="zone sizes (default 1 4 16 64)"
    )
    parser.add_argument("--rows", type=int, default=400_000, help="rows timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cycles", type=int, default=3, help="rises and falls of kernel memory before that")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    try:
        found = timed(options.gib, options.rows, options.repeats, options.cycles)
    except Mismatch as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    for one in found:
        told = ", ".join(f"{name} {one['ns'][name]:.0f} ns ({one['ratio'][name]:.2f})" for name in one["ns"])
        print(
            f"{one['gib']:>4} GiB, an operation, ratio to mainline: {told}; reading the trace {one['reading_ns']:.1f} ns"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
