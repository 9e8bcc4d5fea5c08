# SPDX-License-Identifier: GPL-2.0-or-later
"""Lockstep scripts played until everything that one asks for has been reached often enough: under pressure, or by regions.

    python tests/lockstep_pressure.py [--run NAME] [--most OPERATIONS] [--page PAGE] [--kept FILE]

Not collected by pytest: the run ``pressure`` plays closed loops under pressure, 300,000 operations at least, ``regions`` machines
with regions, under steering, passes and workers, 200,000 at least, ``generations`` closed loops with the multi-gen LRU; each
until all of its results have come often enough, but no more than *most* operations, which takes long. Each shard is played
once; then, in turn, the one that brings what is furthest away soonest. What has been reached can be kept in a file; the next
run goes on from there as if it had not stopped. Prints counts, and makes its part of a page of them where asked to
(docs/results/lockstep.md is one). Exits with 1 if the models differ, or something came too seldom.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "mm")]

HEAD = (
    "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->\n"
    "# Two models in lockstep\n\n"
    "Made by `python tests/lockstep_pressure.py --run NAME --page docs/results/lockstep.md`.\n"
    "Each operation is done by the model and by the second model of `tests/oracle/`.\n"
    "After it the whole state and the log of both are compared. A run ends where they differ.\n"
)
"""What the page begins with."""


class LongRun(NamedTuple):
    """What is played for long: how its part of the page is headed and begins, its shards, what has to be reached."""

    head: str
    told: str
    shards: Sequence[Any]
    required: dict[str, int]
    seldom: dict[str, str]


def long_runs() -> dict[str, LongRun]:
    """The runs by name, in the order of the page."""
    from lockstep_counts import (
        REQUIRED_OF_LONG_GENERATIONS,
        REQUIRED_OF_LONG_REGIONS,
        REQUIRED_OF_LONG_RUN,
        SELDOM,
        UNREACHABLE,
    )
    from test_lockstep import GENERATION_SHARDS, PRESSURE_SHARDS, REGION_SHARDS, Shard

    plans = (("passes", "mixed"), ("passes", "highatomic"), ("passes, evacuation", "staged"))
    pressed = (
        ("passes, pressure", "squeeze"),
        ("passes, pressure", "press"),
        ("passes, pressure", "squeeze folios"),
    )
    always = [Shard(theme, plan, 6, 800) for theme, plan in (*plans, *pressed)]
    return {
        "pressure": LongRun(
            "Under pressure (`pressure`)",
            "Random machines run short of memory, in closed loop.",
            PRESSURE_SHARDS,
            REQUIRED_OF_LONG_RUN,
            {**SELDOM, **UNREACHABLE},
        ),
        "regions": LongRun(
            "By regions (`regions`)",
            "Random machines keep regions of several sizes. Most go by them: steering, passes and workers, with knobs drawn.",
            [*REGION_SHARDS, *always],
            REQUIRED_OF_LONG_REGIONS,
            {},
        ),
        "generations": LongRun(
            "With the multi-gen LRU (`generations`)",
            "Random machines run short of memory, in closed loop, with `lru_gen=1`. Some have a zram device.",
            GENERATION_SHARDS,
            REQUIRED_OF_LONG_GENERATIONS,
            {},
        ),
    }


def longest_wait(total: Counter[str], given: Sequence[Counter[str]], required: dict[str, int]) -> int:
    """The shard to be played next: of what is missing, the one that brings soonest what takes longest.

    *given* is what each shard has brought so far; what none has brought waits for its turn with the others.
    """

    def wait(what: str, at: int) -> float:
        rate = given[at][what] / max(given[at]["operations"], 1)
        return (required[what] - total[what]) / rate if rate else float("inf")

    missing = [what for what, least in required.items() if total[what] < least]
    waits = {what: min((wait(what, at), at) for at in range(len(given))) for what in missing}
    known = {what: least for what, least in waits.items() if least[0] < float("inf")}
    if not known:
        return min(range(len(given)), key=lambda at: given[at]["operations"])
    return max(known.values())[1]


def play(shard: Any, turn: int) -> Counter[str]:
    """Play a shard's machines once, with the seed of this turn: what was reached. Raises Disagreement."""
    from hypothesis import given, seed, settings
    from hypothesis import strategies as st
    from lockstep import Lockstep
    from lockstep_machines import THEMES, specs
    from lockstep_script import Script
    from lockstep_spec import Spec
    from test_lockstep import SETTINGS

    reached: Counter[str] = Counter()

    @seed(turn)
    @settings(SETTINGS, max_examples=shard.machines, deadline=None, database=None)
    @given(specs(THEMES[shard.theme]), st.integers(0, 2**32 - 1))
    def machines(spec: Spec, number: int) -> None:
        lock = Lockstep(spec)
        Script(lock, number, shard.plan).run(shard.operations)
        reached.update(lock.finish().total)

    machines()
    return reached


def load(kept: Path | None, shards: Sequence[Any]) -> tuple[int, list[Counter[str]]]:
    """(turns played, what each shard has brought) of a run that was kept; nothing where there is none, or of other shards."""
    if kept is not None and kept.exists():
        text = json.loads(kept.read_text())
        if text["shards"] == [str(shard) for shard in shards]:
            return text["turns"], [Counter(one) for one in text["given"]]
    return 0, [Counter() for _ in shards]


def save(kept: Path | None, turn: int, shards: Sequence[Any], given: Sequence[Counter[str]]) -> None:
    """Keep what has been reached so far."""
    if kept is not None:
        beside = kept.with_suffix(".part")
        counts = [{what: int(times) for what, times in one.items()} for one in given]
        beside.write_text(
            json.dumps({"turns": turn, "shards": [str(shard) for shard in shards], "given": counts})
        )
        beside.replace(kept)


def play_all(run: LongRun, most: int, say: Callable[[str], None], kept: Path | None) -> Counter[str]:
    """Play until all is reached, or about *most* operations are done."""
    shards, required = run.shards, run.required
    turn, given = load(kept, shards)
    total: Counter[str] = sum(given, Counter())
    while total["operations"] < most and any(total[what] < least for what, least in required.items()):
        at = turn if turn < len(given) else longest_wait(total, given, required)
        reached = play(shards[at], turn)
        given[at].update(reached)
        total.update(reached)
        turn += 1
        save(kept, turn, shards, given)
        rarest = min(required, key=lambda what: total[what] / required[what])
        far = f"{rarest}: {total[rarest]:,} of {required[rarest]:,}"
        say(f"{total['operations']:>10,} operations after {shards[at]}; {far}")
    return total


def part_of_page(run: LongRun, total: Counter[str]) -> str:
    """A run's counts as its part of the page, without the heading."""
    asked = [what for what in run.required if what != "operations"]
    others = [what for what in sorted(total) if what not in run.required and total[what]]
    lines = [
        f"{run.told}\n\n{total['operations']:,} operations. "
        "Where fewer times stand than were asked for, the run was stopped before.\n\n",
        "| reached | times | asked for |\n|---|---:|---:|\n",
    ]
    lines += [f"| {what} | {total[what]:,} | {run.required[what]:,} |\n" for what in asked]
    lines += ["\n| also reached | times |\n|---|---:|\n"]
    lines += [f"| {what} | {total[what]:,} |\n" for what in others]
    if run.seldom:
        lines += ["\n| seldom or never | why |\n|---|---|\n"]
        lines += [f"| {what} | {why} |\n" for what, why in run.seldom.items()]
    return "".join(lines)


def put_in_page(path: Path, name: str, total: Counter[str]) -> None:
    """Write a run's part of the page in place of what it had; the other runs' parts stay as they are."""
    runs = long_runs()
    parts = dict(
        part.partition("\n\n")[::2] for part in (path.read_text() if path.exists() else "").split("\n## ")[1:]
    )
    parts[runs[name].head] = part_of_page(runs[name], total)
    kept = [run.head for run in runs.values() if run.head in parts]
    path.write_text(HEAD + "".join(f"\n## {head}\n\n{parts[head].rstrip()}\n" for head in kept))


def main() -> int:
    """Play, print, and say whether all was reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", choices=tuple(long_runs()), default="pressure", help="what is played")
    parser.add_argument("--most", type=int, default=3_000_000, help="operations after which it gives up")
    parser.add_argument("--page", type=Path, help="where to write the counts")
    parser.add_argument("--kept", type=Path, help="where to keep what has been reached, and to go on from")
    given = parser.parse_args()
    run = long_runs()[given.run]
    total = play_all(run, given.most, lambda line: print(line, file=sys.stderr, flush=True), given.kept)
    for what, times in sorted(total.items()):
        print(f"{times:>10,} {what}")
    missing = {what: least for what, least in run.required.items() if total[what] < least}
    for what, least in missing.items():
        print(f"not reached often enough: {what}: {total[what]:,} < {least:,}")
    if given.page:
        put_in_page(given.page, given.run, total)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
