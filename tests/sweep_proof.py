# SPDX-License-Identifier: GPL-2.0-or-later
"""What sweeps promise, shown by hand: ``python tests/sweep_proof.py WORK [--page docs/results/sweep-proof.md]``.

1. One worker, two workers, shards and Dask give equal bytes for one grid.
2. Twenty processes are killed (SIGKILL) at random moments: workers, clients, Dask workers and schedulers, in a grid of 500 cells.
   Nothing may be lost or doubled, and the bytes stay the same.
3. Costs are measured as CPU time, as others use the machine: two workers against one, and what a cell costs beside its replay.
4. Ten thousand cells of a tiny machine are swept by two workers, and shown.
5. Efficiency on 1 to 1,000 workers is simulated with these costs.

It takes the package's extra ``dask``. What is measured is written to WORK/figures.json step by step; a second call goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import heapq
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import synthetic

import kevacuate
from kevacuate.sweeps.local import LONGEST_RUN
from kevacuate.sweeps.store import Store

GRID = """
recordings = ["tiny.kev"]
policies = ["mainline", "evacuate"]
seeds = 25
[knobs]
pool = [0, 1, 8, 64]
watermark_boost_factor = ["default", 0, 5000, 30000]
"""
CELLS, KILLS, MANY = 500, 20, 10_000
SPANS = 100
"""Light recordings of the fleet that differ; each is there twenty times."""

LARGER = 'recordings = ["{}"]\npolicies = ["mainline", "evacuate"]\nseeds = 12\n'
SWEEP = [sys.executable, "-c", "from kevacuate.cli import main; main()", "sweep"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def digest(store: Path) -> str:
    """SHA-256 of the table of results."""
    return hashlib.sha256((store / "results.parquet").read_bytes()).hexdigest()


class Dask:
    """A scheduler and two workers, processes of their own."""

    def __init__(self, place: Path) -> None:
        self._place = place / "dask"
        self._place.mkdir(exist_ok=True)
        self.port = random.Random(os.getpid()).randrange(20_000, 30_000)
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def ensure(self) -> None:
        """Begin what is not running."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.port += 1
            for worker in self.workers:
                worker.kill()
                worker.wait()
            self.workers = []
            words = ["scheduler", "--port", str(self.port), "--host", "127.0.0.1", "--no-dashboard"]
            self.scheduler = self._begun(words)
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < 2:
            words = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            self.workers.append(self._begun(words))
        from distributed import Client

        with Client(self.address, timeout=180, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=300)

    def watch(self) -> Any:
        """A client that sees what the workers are at."""
        from distributed import Client

        return Client(self.address, timeout=180, set_as_default=False)

    def _begun(self, words: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "dask", *words], cwd=self._place, **QUIET)

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                process.kill()
                process.wait()


def children(parent: int) -> list[int]:
    """Process ids of a sweep's workers."""
    listed = subprocess.run(
        ["ps", "-o", "pid,args", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "sweeps.worker" in line]


def count(store: Path) -> int:
    """Results that are there, roughly: files and rows."""
    import pyarrow.parquet as pq

    rows = pq.read_metadata(store / "results.parquet").num_rows if (store / "results.parquet").exists() else 0
    return rows + len(list((store / "cells").glob("*.json"))) if store.exists() else 0


def victim_of(target: str, sweep: subprocess.Popen[bytes], dask: Dask, rng: random.Random) -> int:
    """The process to be killed; 0 where there is none."""
    if target == "worker":
        return rng.choice(children(sweep.pid) or [0])
    if target == "dask worker":
        return rng.choice(dask.workers).pid
    if target == "scheduler":
        return dask.scheduler.pid if dask.scheduler else 0
    return sweep.pid


def one_kill(target: str, by_dask: bool, grid: Path, store: Path, dask: Dask, rng: random.Random) -> int:
    """Begin the sweep again, and kill a process at a random moment; the cells that were there, -1 where it had ended."""
    hands = ["--workers", "2"]
    if by_dask:
        dask.ensure()
        hands = ["--scheduler", dask.address]
    watch = dask.watch() if by_dask else None
    sweep = subprocess.Popen([*SWEEP, str(grid), "--store", str(store), *hands], **QUIET)
    try:
        if watch is not None:  # Dask keeps results a run at a time: the moment is one of a run
            while sweep.poll() is None and not any(watch.processing().values()):
                time.sleep(0.01)
        else:
            goal = min(count(store) + rng.randrange(1, 4), CELLS - 10)
            while sweep.poll() is None and count(store) < goal:
                time.sleep(0.02)
        time.sleep(rng.random() * 0.2)
        victim = victim_of(target, sweep, dask, rng)
        if sweep.poll() is not None or not victim:
            return -1
        os.kill(victim, signal.SIGKILL)
        at = count(store)
        if target in (
            "worker",
            "dask worker",
        ):  # the sweep goes on by itself; it is ended to let the next kill come
            while sweep.poll() is None and count(store) <= at:
                time.sleep(0.02)
            sweep.send_signal(signal.SIGINT if target == "worker" else signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            sweep.wait(60)
        return at
    finally:
        sweep.kill()
        sweep.wait()
        if watch is not None:
            with contextlib.suppress(Exception):  # its scheduler may be the one that was killed
                watch.close(timeout=1)


def killed(work: Path, grid: Path, whole: str) -> dict[str, Any]:
    """Kill twenty processes while the grid is swept, now by local workers, now by Dask."""
    rng, store = random.Random(16), work / "killed.sweep"
    dask, done = Dask(work), dict.fromkeys(("worker", "client", "dask worker", "scheduler"), 0)
    log: list[str] = []
    plan = ["worker"] * 6 + ["client"] * 5 + ["dask worker"] * 5 + ["scheduler"] * 4
    rng.shuffle(plan)
    begun = 0
    try:
        while plan and begun < 4 * KILLS:
            target, begun = plan[-1], begun + 1
            # workers of a killed local client end all that they were told, up to 96 cells: most clients are those of Dask
            by_dask = target in ("dask worker", "scheduler") or (target == "client" and begun % 4 > 0)
            at = one_kill(target, by_dask, grid, store, dask, rng)
            if at >= 0:
                done[plan.pop()] += 1
                log.append(f"{target} killed at {at} cells")
                print(log[-1], flush=True)
            elif count(store) >= CELLS:
                break
        kevacuate.sweep(grid, store, workers=2)
    finally:
        dask.end()
    cells = [row["cell"] for row in Store(store).made()]
    return {
        "kills": done,
        "cells": len(cells),
        "different": len(set(cells)),
        "equal_bytes": digest(store) == whole,
        "log": log,
    }


def equal(work: Path, grid: Path) -> dict[str, str]:
    """The grid by every kind of hands: the digests of the tables."""
    found = {}
    kevacuate.sweep(grid, work / "one.sweep", workers=1)
    found["one worker"] = digest(work / "one.sweep")
    kevacuate.sweep(grid, work / "two.sweep", workers=2)
    found["two workers"] = digest(work / "two.sweep")
    for k in (3, 1, 4, 2):
        kevacuate.sweep(grid, work / "shards.sweep", shard=f"{k}/4", workers=1)
    kevacuate.collect(grid, work / "shards.sweep")
    found["four shards"] = digest(work / "shards.sweep")
    dask = Dask(work)
    try:
        dask.ensure()
        kevacuate.sweep(grid, work / "dask.sweep", scheduler=dask.address)
    finally:
        dask.end()
    found["Dask, two workers"] = digest(work / "dask.sweep")
    return found


def costs(work: Path, grid: Path, name: str, workers: int) -> dict[str, float]:
    """CPU time [s] of a sweep: replays, the workers beside them, the workers' start, the client."""
    store = work / f"{name}-{workers}.sweep"
    own, all_children = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN

    def used(who: int) -> float:
        usage = resource.getrusage(who)
        return usage.ru_utime + usage.ru_stime

    before = used(own), used(all_children)
    kevacuate.sweep(grid, store, workers=workers)
    client, spent = used(own) - before[0], used(all_children) - before[1]
    made = Store(store).made()
    first = {row["process"]: row for row in sorted(made, key=lambda row: str(row["begun"]), reverse=True)}
    replays = sum(row["cpu_seconds"] for row in made)
    load = sum(row["overhead_cpu_seconds"] for row in first.values())
    beside = sum(row["overhead_cpu_seconds"] for row in made) - load
    by_process: dict[int, float] = {}
    for row in made:
        own_overhead = 0.0 if row is first[row["process"]] else row["overhead_cpu_seconds"]
        by_process[row["process"]] = by_process.get(row["process"], 0.0) + row["cpu_seconds"] + own_overhead
    return {
        "cells": len(made),
        "replays": replays,
        "beside": beside,
        "start": max(spent - replays - beside, 0.0) / workers,
        "load": load / workers,
        "client": client,
        "busiest": max(by_process.values()),
    }


def simulated(workers: int, cells: int, cell: float, cost: dict[str, float], central: float) -> float:
    """Efficiency: the replays' time over workers times the time that all takes.

    Workers start (``start``), then take runs as :func:`kevacuate.sweeps.local.runs_of` cuts them; a cell takes *cell* times 0.5
    to 1.5, drawn, and what is beside it. The one client hands a run out and takes its results in, *central* seconds a cell, one
    thing at a time.
    """
    rng = random.Random(workers)
    ready = [(cost["start"], n) for n in range(workers)]
    heapq.heapify(ready)
    free, left, busy, last = 0.0, cells, 0.0, 0.0
    while left:
        at, number = heapq.heappop(ready)
        size = min(LONGEST_RUN, max(1, left // (2 * workers)))
        left -= size
        free = max(free, at) + central * size
        work = [cell * (0.5 + rng.random()) for _ in range(size)]
        busy += sum(work)
        done = free + sum(work) + size * cost["beside"]
        last = max(last, done)
        heapq.heappush(ready, (done, number))
    return busy / (workers * last)


def fleet(work: Path) -> dict[str, float]:
    """Two thousand light recordings made of real ones, triaged by two processes: CPU time [s] and memory [bytes]."""
    from fleet_tools import light_recordings

    truth = Path(os.environ["KEVACUATE_GROUND_TRUTH"])
    sources = sorted(path.parent for path in truth.glob("*/formats"))
    if not (work / "fleet").exists():
        spans = list(light_recordings(work / "spans", sources, SPANS))
        for number in range(2000):
            shutil.copytree(spans[number % SPANS], work / "making" / f"host{number:04d}.kev")
        (work / "making").rename(work / "fleet")
    code = (
        "import json, resource, time; import kevacuate; begun = time.monotonic();"
        f"found = kevacuate.fleet({str(work / 'fleet')!r}, workers=2);"
        "own, made = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN));"
        "peak = next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'));"  # ru_maxrss is the parent's
        "print(json.dumps({'machines': len(found.machines), 'refused': len(found.refused), 'wall': time.monotonic() - begun,"
        "'own': own.ru_utime + own.ru_stime, 'workers': made.ru_utime + made.ru_stime,"
        "'clusters': len(found.clusters), 'memory': 1024 * (peak + 2 * made.ru_maxrss)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    made: dict[str, float] = json.loads(done.stdout)
    size = sum(path.stat().st_size for path in (work / "fleet").rglob("*") if path.is_file())
    return made | {"spans": SPANS, "bytes": size / 2000}


def many(work: Path) -> dict[str, float]:
    """Ten thousand cells of the tiny machine by two workers, and what `sweep show` takes of them: seconds and bytes."""
    grid = work / "many.toml"
    grid.write_text(GRID.replace("seeds = 25", f"seeds = {MANY // (CELLS // 25)}"))
    begun = time.monotonic()
    made = costs(work, grid, "many", 2)
    wall, store = time.monotonic() - begun, work / "many-2.sweep"
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*SWEEP, "show", str(store)], check=True, **QUIET)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return made | {"wall": wall, "bytes": size, "show": shown, "show_wall": time.monotonic() - begun}


def steps(work: Path, grid: Path) -> Iterator[tuple[str, Callable[[dict[str, Any]], Any]]]:
    """Name of each step, and what it does, given what is known."""
    shipped = work / "larger.toml"
    shipped.write_text(LARGER.format(kevacuate.open().path))
    yield "equal", lambda _: equal(work, grid)
    yield "killed", lambda known: killed(work, grid, known["equal"]["one worker"])
    yield "tiny, one", lambda _: costs(work, grid, "tiny", 1)
    yield "tiny, two", lambda _: costs(work, grid, "tiny", 2)
    yield "many", lambda _: many(work)
    yield "shipped, one", lambda _: costs(work, shipped, "shipped", 1)
    yield "shipped, two", lambda _: costs(work, shipped, "shipped", 2)
    if "KEVACUATE_GROUND_TRUTH" in os.environ:
        yield "fleet", lambda _: fleet(work)


def main() -> None:
    """Do what is not done yet, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and so would sweeps
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    grid, kept = work / "grid.toml", work / "figures.json"
    if not (work / "tiny.kev").exists():
        synthetic.write_recording(work / "tiny.kev", synthetic.fragmenting(6_000))
    grid.write_text(GRID)
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name, step in steps(work, grid):
        if name not in known:
            known[name] = step(known)
            kept.write_text(json.dumps(known, indent=1))
            print(name, json.dumps(known[name]), flush=True)
    if given.page:
        from sweep_proof_page import page

        given.page.write_text(page(known))


if __name__ == "__main__":
    main()
