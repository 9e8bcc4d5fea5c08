# SPDX-License-Identifier: GPL-2.0-or-later
"""LLFree's published experiment through the model: ``python tests/llfree_experiment.py [--share S] [KERNEL ...]``.

Prints, after each round, what linux-alloc-bench counts: free pages of zone Normal, and its free huge frames, those in chunks of
order 9 and 10. A share below 1 runs it on so much less memory. Its result stands in docs/results/llfree.md.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from kevacuate import ReplayOptions
from kevacuate.demand.loops import Span, Spans
from kevacuate.demand.quality import DemandQuality
from kevacuate.mm.layout import State
from kevacuate.policy import parse_policy
from kevacuate.runs.replay import Replay
from kevacuate.workload.describe import Workload
from kevacuate.workload.kinds import PAGE
from kevacuate.workload.plan import plan_of
from kevacuate.workload.stream import demand_of, workload_recording
from kevacuate.workload.toml import read_workload


def counted(state: State) -> tuple[int, int]:
    """(free pages of the last zone, its free huge frames in chunks of orders 9 and 10)."""
    zone = state.view.zone[state.view.cfg.nr_zones - 1]
    return zone.nr_free_pages, zone.free_area[9] + 2 * zone.free_area[10]


def smaller(workload: Workload, share: float) -> Workload:
    """The experiment on a share of its memory: of zone Normal, what lies below it stays."""
    low = 1 << 20
    machine, (part,) = workload.machine, workload.parts
    normal = machine.memory.size // PAGE - low
    memory = machine.memory._replace(size=int((low + normal * share) * PAGE))
    filled = part.memory._replace(size=int(part.memory.size // PAGE * share) * PAGE)  # type: ignore[attr-defined]
    return replace(workload, machine=replace(machine, memory=memory), parts=(replace(part, memory=filled),))


def ends_of_rounds(workload: Workload) -> list[int]:
    """When each round is over, ns, and before them when the first free is."""
    plan = plan_of(workload)
    part, actor = plan.parts[0], plan.actors[0]
    gap, pause, each = part["gap"], part["pause"], actor["size"]
    begin = (each - 1) * gap + pause + (each - actor["pieces"] - 1) * gap
    length = 2 * part["renewed"] * gap - gap
    return [
        begin + pause // 2,
        *(begin + (i + 1) * (pause + length) + pause // 2 for i in range(part["rounds"])),
    ]


def run(workload: Workload, policy: str) -> list[tuple[int, int]]:
    """What is counted when the memory is filled and half freed, and after each round."""
    ends = ends_of_rounds(workload)
    plan = plan_of(workload)
    rows = plan.objects * 2 + 2 * len(ends) * plan.parts[0]["renewed"] * plan.parts[0]["actors"]
    known = Span(ends[-1], rows)
    demand = demand_of(workload, DemandQuality(peak_objects=plan.objects), Spans(known, known))
    replay = Replay(workload_recording(workload), demand, parse_policy(policy), ReplayOptions())
    found: list[tuple[int, int]] = []
    for chunk in demand.chunks():
        at = 0
        while len(found) < len(ends) and at < chunk.t.size and chunk.t[-1] > ends[len(found)]:
            cut = int(chunk.t.searchsorted(ends[len(found)], "right"))
            replay.feed(type(chunk)._make(column[at:cut] for column in chunk))
            replay.advance(ends[len(found)])
            found.append(counted(replay.state))
            at = cut
        replay.feed(type(chunk)._make(column[at:] for column in chunk))
    while len(found) < len(ends):
        replay.advance(ends[len(found)])
        found.append(counted(replay.state))
    return found


def main() -> None:
    """Run it and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--share", type=float, default=1.0)
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("kernels", nargs="*", default=["7.2"])
    given = options.parse_args()
    for kernel in given.kernels:
        workload = smaller(read_workload("workload:llfree-fragmentation"), given.share)
        workload = replace(workload, machine=replace(workload.machine, kernel=kernel))
        workload = replace(workload, parts=(replace(workload.parts[0], rounds=given.rounds),))
        begin = time.perf_counter()
        found = run(workload, "mainline")
        taken = time.perf_counter() - begin
        print(f"Linux {kernel}, {taken:.0f} s; round: free pages, free huge frames")
        for number, (pages, huge) in enumerate(found):
            if number in (0, 1, 2, 10, 50, len(found) - 2, len(found) - 1):
                print(f"{number:4d}: {pages:,} {huge:,}")


if __name__ == "__main__":
    main()
