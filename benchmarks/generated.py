# SPDX-License-Identifier: GPL-2.0-or-later
"""A generated demand of a large machine through the model: ``python -m benchmarks.generated [--gib 256] [--rows N]``.

Prints rows a second of the generator alone, of the replay with the generator in a thread beside it, and the peak of memory. The
machine is described for a day of virtual time at 95 % use; what is replayed are its first rows, and, once it is full, rows of
its steady state. The rate of the whole day is that of the steady state: it is extrapolated, not run.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from itertools import islice

from kevacuate import ReplayOptions
from kevacuate.demand.loops import Span, Spans
from kevacuate.demand.quality import DemandQuality
from kevacuate.policy import parse_policy
from kevacuate.recording import DemandChunk
from kevacuate.runs.replay import Replay
from kevacuate.workload import describe as ds
from kevacuate.workload.plan import new_generator, plan_of
from kevacuate.workload.stream import demand_of, rows_of, workload_recording


def described(gib: int, cpus: int, nodes: int) -> ds.Workload:
    """A machine of so many GiB at 95 % use for a day: all parts, none idle; flows grow with the memory."""

    def flow(mib: int) -> str:
        return f"{mib * gib / 256}MiB/s"

    parts = (
        ds.Anonymous(
            name="heaps",
            memory="38%",
            tasks=4 * cpus,
            lifetime="2h",
            pause="1s",
            thp=0.3,
            renewed=20,
            spread=0.1,
        ),
        ds.Anonymous(name="jobs", memory="12%", tasks=2 * cpus, lifetime="5min", pause="100ms", spread=0.1),
        ds.PageCache(
            files="60%", cached="32%", reads=flow(400), file="4MiB", written=0.1, deleted=0.01, order=1
        ),
        ds.FilesWritten(rate=flow(40), file="8MiB", kept="5min"),
        ds.Slab(
            name="inodes", type="reclaimable", memory="3%", lifetime="5min", long=0.05, long_lifetime="4h"
        ),
        ds.Slab(name="kmalloc", memory="2%", lifetime="30s", long=0.02, long_lifetime="4h"),
        ds.PageTables(memory="0.5%"),
        ds.Network(rate=flow(1024), held="10ms"),
        ds.Pipes(rate=flow(200)),
        ds.Forks(rate="50/s"),
        ds.HugePages(memory="3%", lifetime="100d"),
    )
    rhythm = ds.Rhythm(least=0.3, peak="14h", begin="12h")
    machine = ds.Machine(memory=f"{gib}GiB", cpus=cpus, nodes=nodes)
    return ds.Workload(name="day", machine=machine, duration="1d", fill="2min", parts=parts, rhythm=rhythm)


def first(chunks: Iterator[DemandChunk], rows: int) -> Iterator[DemandChunk]:
    """The chunks until so many rows are through."""
    done = 0
    for chunk in chunks:
        yield chunk
        done += chunk.t.size
        if done >= rows:
            return


def main() -> None:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--gib", type=int, default=256)
    options.add_argument("--cpus", type=int, default=64)
    options.add_argument("--nodes", type=int, default=2)
    options.add_argument("--rows", type=int, default=20_000_000, help="rows of the steady state to replay")
    options.add_argument("--loop", default="open", choices=("open", "closed"))
    given = options.parse_args()
    workload = described(given.gib, given.cpus, given.nodes)
    plan = plan_of(workload)
    print(f"parts have {plan.pages / plan.memory:.1%} of {given.gib} GiB at most, {plan.objects:,} objects")
    begin = time.perf_counter()
    count = sum(chunk.t.size for chunk in islice(rows_of(new_generator(workload, plan)), 80))
    print(f"generator alone, while memory fills: {count / (time.perf_counter() - begin) / 1e6:.2f} M rows/s")
    quality = DemandQuality(peak_objects=plan.objects, peak_shadows=plan.shadows, reclaimed=1)
    span = Span(int(workload.duration), 1 << 40)
    demand = demand_of(workload, quality, Spans(span, span))
    replay = Replay(
        workload_recording(workload), demand, parse_policy("mainline"), ReplayOptions(loop=given.loop)
    )
    pages = sum(zone.managed_pages for zone in replay.state.view.zone)
    stream = demand.chunks(closed=given.loop == "closed")
    begin, rows, fill = time.perf_counter(), 0, int(workload.fill)
    for chunk in stream:
        replay.feed(chunk, rows)
        rows += chunk.t.size
        if chunk.t[-1] > fill:
            break
    taken = time.perf_counter() - begin
    print(f"filling: {rows:,} rows in {taken:.1f} s: {rows / taken / 1e6:.2f} M rows/s, generator beside it")
    free = sum(zone.nr_free_pages for zone in replay.state.view.zone)
    print(f"in use then: {1 - free / pages:.1%}")
    begin, before, at = time.perf_counter(), rows, 0
    own, both = time.thread_time(), time.process_time()
    for chunk in first(stream, given.rows):
        replay.feed(chunk, rows)
        rows += chunk.t.size
        at = int(chunk.t[-1])
    taken = time.perf_counter() - begin
    free = sum(zone.nr_free_pages for zone in replay.state.view.zone)
    own, both = time.thread_time() - own, time.process_time() - both
    print(
        f"steady state: {rows - before:,} rows in {taken:.1f} s: {(rows - before) / taken / 1e6:.2f} M rows/s"
    )
    print(f"rows a second of the replay's own core: {(rows - before) / own / 1e6:.2f} M")
    print(f"rows a second of processor time, generator included: {(rows - before) / both / 1e6:.2f} M")
    virtual = (at - fill) / 1e9
    day = (rows - before) / max(virtual, 1e-9) * 86400
    print(
        f"that was {virtual:.1f} s of virtual time at {1 - free / pages:.1%} use; a day of such would be {day / 1e9:.1f} G rows"
    )
    print(f"peak of memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
