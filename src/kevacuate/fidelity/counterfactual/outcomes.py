# SPDX-License-Identifier: GPL-2.0-or-later
"""``outcomes.csv``: what runs of real kernels came to, one row a run."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kevacuate.errors import KevacuateError
from kevacuate.recording import Machine

KEY = ("kernel", "workload", "memory", "cpus", "seed", "repeat")

LARGEST_FILE = 64 << 20
"""Bytes of an outcomes file at most: a run is half a kilobyte."""


class Workload(NamedTuple):
    """What was run: runs of the same workload, memory, CPUs and seed make the same requests."""

    name: str
    memory: str
    """As the file writes it: `1g`."""
    cpus: int
    seed: int

    def __str__(self) -> str:
        return f"{self.name}, {self.memory}, {self.cpus} CPU{'s' * (self.cpus != 1)}, seed {self.seed}"


class KernelRun(NamedTuple):
    """One row of the file."""

    kernel: str
    """`stock`, `patched` or `fixskip`."""
    workload: Workload
    repeat: str
    """Tells exact repeats apart."""
    values: Mapping[str, float]
    """Column to value; a column with free chunks by order is one value per order, `peak_free_by_order 3`."""


def workload_of(machine: Machine) -> Workload | None:
    """The workload a recording's kernel was booted to run (gtwl, gtmem in MiB, gtseed on its command line), if it says."""
    found = dict(re.findall(r"\b(gtwl|gtmem|gtseed)=(\w+)", machine.cmdline))
    if not {"gtwl", "gtmem"} <= found.keys() or not found["gtmem"].isdigit():
        return None
    seed = found.get("gtseed", "1")
    if not seed.isdigit():
        return None
    return Workload(found["gtwl"], f"{int(found['gtmem'][:9]) >> 10}g", machine.cpus, int(seed[:9]))


def read_outcomes(path: Path) -> list[KernelRun]:
    """All runs of the file.

    Raises
    ------
    KevacuateError
        The file cannot be read, is no table of outcomes, or holds something that is not a number.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise KevacuateError(
                f"{path} is too large to be a table of outcomes: name another with --outcomes."
            )
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in KEY if name not in (reader.fieldnames or ())]
            if missing:
                raise KevacuateError(
                    f"{path} is no table of outcomes: it has no column {missing[0]!r}; name another with --outcomes."
                )
            return [_run(path, number, row) for number, row in enumerate(reader, start=2)]
    except OSError as error:
        raise KevacuateError(
            f"The outcomes {path} cannot be read: {error.strerror or error}; name the file with --outcomes."
        ) from None
    except (csv.Error, UnicodeDecodeError):
        raise KevacuateError(
            f"{path} is not a CSV file of UTF-8 text: name another with --outcomes."
        ) from None


def _run(path: Path, number: int, row: dict[str, str]) -> KernelRun:
    """One run from line *number*."""
    values: dict[str, float] = {}
    column = ""
    try:
        workload = Workload(row["workload"], row["memory"], int(row["cpus"]), int(row["seed"]))
        for column, text in row.items():
            if column in KEY or column == "recording":
                continue
            parts = text.split()
            if column.endswith("_by_order"):
                values |= {f"{column} {order}": _number(part) for order, part in enumerate(parts)}
            elif parts:
                values[column] = _number(text)
    except (ValueError, TypeError, AttributeError):
        raise KevacuateError(
            f"Line {number} of {path} holds something that is not a number in column {column or 'cpus'!r}: it is damaged."
        ) from None
    return KernelRun(row["kernel"], workload, row["repeat"], values)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value
