# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/sweep-proof.md, of the figures that tests/sweep_proof.py measured."""

from __future__ import annotations

from typing import Any

from sweep_proof import CELLS, KILLS, simulated

COMPILED = 5.0
"""Seconds: a start that took longer had to compile the model."""

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
PER_WORKER, CELL = 200, 0.2
"""Of the simulation: cells a worker, and seconds a cell."""


def _kills(known: dict[str, Any]) -> list[str]:
    found = known["killed"]
    total = sum(found["kills"].values())
    by = ", ".join(f"{count} x {name}" for name, count in found["kills"].items())
    same = "the bytes of the undisturbed table" if found["equal_bytes"] else "OTHER BYTES"
    return [
        "## Twenty kills\n",
        f"In a grid of {CELLS} cells {total} of {KILLS} processes were killed (SIGKILL) at random moments.",
        f"These were {by}.",
        "After each, the sweep was begun again, with two local workers or two Dask workers.",
        f"At the end {found['cells']} results were there, of {found['different']} different cells, with {same}.\n",
    ]


def _costs(known: dict[str, Any]) -> list[str]:
    lines = [
        "## What a cell costs beside its replay\n",
        "CPU time, as others used the machine. *Beside* is what the workers did beside replays: opening, keeping, telling.",
        "*Start* is once a worker: imports, machine code, and loading the demand.\n",
        "| grid | workers | cells | replays, each | beside, each | client, each | beside and client | start | busiest worker |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in ("tiny, one", "tiny, two", "shipped, one", "shipped, two"):
        one = known[name]
        cells, more = one["cells"], one["beside"] + one["client"]
        lines.append(
            f"| {name.split(',')[0]} | {name.split(' ')[1]} | {cells:.0f} | {one['replays'] / cells * 1e3:.1f} ms | "
            f"{one['beside'] / cells * 1e3:.2f} ms | {one['client'] / cells * 1e3:.2f} ms | "
            f"{more / one['replays'] * 100:.1f} % | "
            f"{one['start']:.1f} s | {one['busiest']:.1f} s |"
        )
    tiny = known["tiny, one"]
    more = (tiny["beside"] + tiny["client"]) / tiny["cells"]
    lines += [
        f"\nBeside a cell of 0.2 s that is {more / 0.2 * 100:.1f} %, the goal being 5 %.",
        "How well two workers share the work out is all of it over the busiest one's. "
        f"That is {_shared(known, 'tiny'):.2f} of {known['tiny, two']['cells']:.0f} cells, and "
        f"{_shared(known, 'shipped'):.2f} of {known['shipped, two']['cells']:.0f}. The goal is 1.9.",
        "What two replays at once lose to shared caches and memory is not in that: on a machine in use it cannot be told apart.",
        "A start that had to compile the model is in the first row.\n" if tiny["start"] > COMPILED else "",
    ]
    return lines


def _shared(known: dict[str, Any], name: str) -> float:
    """The work of both workers over that of the busiest, the client's end counted with it."""
    two = known[f"{name}, two"]
    return float((two["replays"] + two["beside"] + two["client"]) / (two["busiest"] + two["client"]))


def _many(known: dict[str, Any]) -> list[str]:
    if "many" not in known:
        return []
    one = known["many"]
    return [
        "## Ten thousand cells\n",
        f"Two workers replayed {one['cells']:,.0f} cells of the tiny machine. The goal is ten minutes on two cores.",
        f"The busiest worker took {one['busiest']:.0f} s of CPU time, and the client {one['client']:.0f} s.",
        f"By the clock that was {one['wall']:.0f} s, as others used the machine.",
        f"The store has {one['bytes'] / 1e6:.1f} MB, the goal being 50.",
        f"`kevacuate sweep show` of it took {one['show']:.1f} s of CPU time, {one['show_wall']:.1f} s by the clock. "
        "The goal is 3 s.\n",
    ]


def _simulation(known: dict[str, Any]) -> list[str]:
    tiny = known["tiny, two"]
    cost = {"start": tiny["start"] + tiny["load"], "beside": tiny["beside"] / tiny["cells"]}
    client = tiny["client"] / tiny["cells"]
    lines = [
        "## Efficiency on 1 to 1,000 workers, simulated\n",
        f"The simulation (`simulated` in `tests/sweep_proof.py`) hands out the runs that `sweep` does, of cells of {CELL} s.",
        "Each cell's time is multiplied by a number drawn from 0.5 to 1.5.",
        f"There are {PER_WORKER} cells a worker. Every worker first starts ({cost['start']:.1f} s, measured). A cell costs "
        f"{cost['beside'] * 1e3:.2f} ms beside its replay. One client hands out and takes in, {client * 1e3:.2f} ms a cell.",
        "Shards have no client. What a shared file system takes for a result is not simulated.",
        "Efficiency is the replays' time over that of all workers.\n",
        "| workers | with one client | shards |",
        "|---:|---:|---:|",
    ]
    for workers in COUNTS:
        cells = PER_WORKER * workers
        by_client = simulated(workers, cells, CELL, cost, client)
        by_shard = simulated(1, PER_WORKER, CELL, cost, 0.0)
        lines.append(f"| {workers:,} | {by_client:.3f} | {by_shard:.3f} |")
    lines += [
        f"\nThe bottleneck is the client. At {client * 1e3:.2f} ms a cell it serves {1 / client:,.0f} cells a second, which "
        f"{CELL / client:,.0f} workers make.",
        "Beyond that, shards are the way. Their limit is the start, which weighs less the more cells a shard has.\n",
    ]
    return lines


def _fleet(known: dict[str, Any]) -> list[str]:
    if "fleet" not in known:
        return []
    one = known["fleet"]
    cpu = one["own"] + one["workers"]
    return [
        "## A fleet of 2,000 light recordings\n",
        f"{one['machines'] + one['refused']:,.0f} light recordings: {one['spans']:.0f} spans of real ones, copied. "
        "They hold the events that `kevacuate record --light` switches on, and no allocations. "
        f"One has {one['bytes'] / 1e3:.0f} kB on average.",
        f"Two processes triaged them in {cpu:.0f} s of CPU time.",
        f"That is {one['own'] + one['workers'] / 2:.0f} s on two idle cores.",
        f"The goal is a minute. On a machine in use it took {one['wall']:.0f} s.",
        f"Peak memory of all three processes together is at most {one['memory'] / 1e6:,.0f} MB.",
        f"{one['clusters']:.0f} clusters were found.\n",
    ]


def page(known: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->",
        "# What sweeps were shown to do\n",
        "Made by `python tests/sweep_proof.py WORK --page docs/results/sweep-proof.md`.\n",
        "## Equal bytes\n",
        f"SHA-256 of `results.parquet` of one grid of {CELLS} cells, by who replayed it.\n",
        "| by | SHA-256 |",
        "|---|---|",
        *(f"| {name} | `{value[:32]}...` |" for name, value in known["equal"].items()),
        "",
        *_kills(known),
        *_costs(known),
        *_many(known),
        *_simulation(known),
        *_fleet(known),
    ]
    return "\n".join(lines).rstrip() + "\n"
