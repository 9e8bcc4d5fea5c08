# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays of several recordings of the same demands, kept in one table: what docs/results/held-out.md is made from."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kevacuate import KevacuateError, Recording, ReplayOptions
from kevacuate.fidelity.verdict import columns
from kevacuate.fidelity.verdict.outcomes import Workload, recorded_image, workload_of
from kevacuate.fidelity.verdict.recorded_run import recorded_counts
from kevacuate.fidelity.verdict.replays import replayed
from kevacuate.policy import BASELINE, BOOTED

KEY = ("recording", "image", "policy", "loop", "seed")
"""The first columns of a table of replays: the rest are columns of the tables of repeats."""


class Replayed(NamedTuple):
    """One replay of one recording."""

    recording: str
    """Its name."""
    image: str
    """The disk image that the recorded kernel was booted with."""
    workload: Workload
    policy: str
    values: dict[str, float]
    """Figures by column of the tables of repeats."""


def measured(path: Path, replays: int, judged: bool) -> Iterator[dict[str, Any]]:
    """A row for each replay of the recording at *path*: under ``mainline``, and under each other booted policy if *judged*.

    Raises
    ------
    KevacuateError
        The recording cannot be read or replayed, or does not say what it ran.
    """
    recording = Recording.open(path)
    workload, start = workload_of(recording.machine), recording.start
    if workload is None or start is None:
        raise KevacuateError(f"{path} does not say which workload it ran, or has no dump at its start.")
    before, _ = recorded_counts(recording, start)
    policies = tuple(BOOTED) if judged else (BASELINE,)
    found = replayed(recording, replays, ReplayOptions(), lambda what, done, total: None, policies)
    for policy, every in found.values.items():
        for seed, values in enumerate(every):
            for column in columns.COUNTS:
                values[column.name] += before.get(column.name, 0)
            about = (path.name, recorded_image(recording.machine), policy, found.loop, seed)
            yield {**dict(zip(KEY, about, strict=True)), **dict(zip(_NAMED, workload, strict=True)), **values}


_NAMED = ("workload", "memory", "cpus", "workload_seed")
"""Columns that say what was run."""


def write_replays(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a table of replays; figures that no replay has are left out."""
    every = list(rows)
    names = [c.name for c in columns.ALL if any(c.name in row for row in every)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, [*KEY, *_NAMED, *names], restval="", extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows({name: _plain(value) for name, value in row.items()} for row in every)


def _plain(value: Any) -> Any:
    """A whole number without its decimals."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_replays(path: Path) -> list[Replayed]:
    """All replays of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    about = {*KEY, *_NAMED}
    return [
        Replayed(
            row["recording"],
            row["image"],
            Workload(row["workload"], row["memory"], int(row["cpus"]), int(row["workload_seed"])),
            row["policy"],
            {name: float(text) for name, text in row.items() if name not in about and text},
        )
        for row in rows
    ]


def recorded_boots(tables: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    """Of each recording the boot that it is of: kernel, workload, memory, CPUs, seed, repeat; from the tables of repeats."""
    found = {}
    for table in tables:
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("recording"):
                    found[row["recording"]] = tuple(
                        row[name] for name in ("kernel", "workload", "memory", "cpus", "seed", "repeat")
                    )
    return found
