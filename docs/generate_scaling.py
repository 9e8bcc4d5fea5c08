# SPDX-License-Identifier: GPL-2.0-or-later
"""Write docs/results/scaling.md: the effect of a policy on a scaled recording beside its effect on a recording of that size.

``python docs/generate_scaling.py SMALL LARGE --memory 4`` scales SMALL and replays all three. What was measured before is
taken as ``--keep`` wrote it: ``python docs/generate_scaling.py MEASURED.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scaling_document import ROWS, scaling_document

import kevacuate
from kevacuate.demand.loops import open_rows
from kevacuate.measure.deciding import values_of
from kevacuate.measure.shape import Shape, Shaping, figures_of
from kevacuate.policy import COMPARED
from kevacuate.recording.atomic_write import written
from kevacuate.runs.scale import in_use_at

TARGET = Path(__file__).parent / "results" / "scaling.md"
Values = dict[str, dict[str, list[float]]]
"""By policy and row, of every replay."""


def replayed(paths: Sequence[Path], repeats: int) -> tuple[Values, str]:
    """Replays of every policy, dealt evenly to the recordings; and the loop."""
    found: Values = {policy: {} for policy in COMPARED}
    loop = ""
    for number, path in enumerate(paths):
        seed = number * (repeats // len(paths))
        result = kevacuate.compare(path, COMPARED, repeats=repeats // len(paths), seed=seed)
        loop = result.runs[0].loop[0]
        for policy, runs in zip(COMPARED, result.groups.values(), strict=True):
            for row, values in values_of(ROWS, runs).items():
                found[policy].setdefault(row, []).extend(values)
        print(f"{path.name}: {len(result.runs)} replays", file=sys.stderr, flush=True)
    return found, loop


def shape(path: Path) -> Shape:
    """The shape of a stored recording's demand."""
    recording = kevacuate.open(path)
    demand, machine, start = kevacuate.build_demand(recording), recording.machine, recording.start
    assert start is not None
    shaping = Shaping(machine.cpus, in_use_at(start, machine.hugepage_order))
    for chunk in demand.chunks(closed=True):
        shaping.add(open_rows(chunk))
    return shaping.shape


def about(path: Path, name: str) -> dict[str, Any]:
    """What the page says of a recording."""
    recording = kevacuate.open(path)
    quality = kevacuate.build_demand(recording).quality
    zones = [[zone.name, zone.managed] for zone in recording.machine.zones]
    seconds = kevacuate.build_demand(recording).span[0] / 1e9
    return {
        "name": name, "kernel": recording.machine.kernel, "cpus": recording.machine.cpus, "zones": zones,
        "allocations": quality.allocs, "seconds": seconds,
    }  # fmt: skip


def measured(small: Path, large: Path, memory: int, repeats: int, draws: int) -> dict[str, Any]:
    """Scale, replay, and gather."""
    with tempfile.TemporaryDirectory(prefix="kevacuate-scaling-") as place:
        once = {name: Path(place) / f"{name}.kev" for name in ("small", "large")}
        for name, path in (("small", small), ("large", large)):
            kevacuate.scale(path, once[name])  # as it is, with the demand stored
        scaled = [Path(place) / f"scaled-{draw}.kev" for draw in range(draws)]
        cpus = max(kevacuate.open(large).machine.cpus // kevacuate.open(small).machine.cpus, 1)
        made = [
            kevacuate.scale(once["small"], path, memory=memory, cpus=cpus, seed=draw)
            for draw, path in enumerate(scaled)
        ]
        runs = {name: replayed([once[name]], repeats) for name in once} | {
            "scaled": replayed(scaled, repeats)
        }
        return {
            "version": kevacuate.__version__,
            "memory": memory,
            "cpus": cpus,
            "repeats": repeats,
            "draws": draws,
            "loop": {name: loop for name, (_, loop) in runs.items()},
            "small": about(once["small"], small.name),
            "large": about(once["large"], large.name),
            "scaled": about(scaled[0], "scaled"),
            "kept": [asdict(one) for one in made[0].figures],
            "held_out": [asdict(one) for one in figures_of(shape(once["large"]), shape(scaled[0]))],
            "values": {name: values for name, (values, _) in runs.items()},
        }


def main() -> None:
    """Measure or read, and write the page beside its place, then rename."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+", metavar="RECORDING")
    parser.add_argument("--memory", type=int, default=4, help="copies of the first recording")
    parser.add_argument("--repeats", type=int, default=20, help="replays of each policy on each demand")
    parser.add_argument("--draws", type=int, default=4, help="scaled demands, of different seeds")
    parser.add_argument("--keep", type=Path, help="write what was measured here, as JSON")
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    given = parser.parse_args()
    try:
        if given.sources[0].suffix == ".json":
            found = json.loads(given.sources[0].read_text(encoding="utf-8"))
        else:
            small, large = given.sources
            found = measured(small, large, given.memory, given.repeats, given.draws)
    except (kevacuate.KevacuateError, OSError, ValueError) as error:
        sys.exit(str(error))
    if given.keep:
        with written(given.keep, replace=True) as file:
            file.path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    with written(given.output, replace=True) as page:
        page.path.write_text(scaling_document(found), encoding="utf-8")


if __name__ == "__main__":
    main()
