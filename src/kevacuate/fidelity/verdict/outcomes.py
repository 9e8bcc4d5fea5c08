# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of repeats (``outcomes.csv``, ``outcomes-pressure.csv``): what boots of real kernels came to, one row a boot."""

from __future__ import annotations

import csv
import math
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kevacuate.errors import KevacuateError
from kevacuate.fidelity.verdict.columns import with_sums
from kevacuate.recording import Machine

KEY = ("kernel", "workload", "memory", "cpus", "seed", "repeat")

LARGEST_FILE = 64 << 20
"""Bytes of a table at most: a run is half a kilobyte."""

FIRST_IMAGE, SECOND_IMAGE = "first", "second"
"""The disk images that boots were made with. Their files differ in size, so each is a population of its own."""

TABLES = ("outcomes.csv", "outcomes-pressure.csv")
"""Names of the tables that are looked for beside a recording."""


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
    image: str
    """Which disk image was booted (:func:`image_of`)."""
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


def image_of(workload: Workload, repeat: str) -> str:
    """The disk image of a boot, where the table has no column ``image``.

    The makers of the tables booted the second image for ``pressure``, for ``churn`` from seed 5 on, and for the repeats from
    ``x6`` on of its seed 1. Any other repeat of seed 1 with a letter of its own (``n1``) is of neither.
    """
    number = re.fullmatch(r"x([0-9]{1,6})", repeat)
    if workload.name == "pressure" or (workload.name == "churn" and workload.seed >= 5):
        return SECOND_IMAGE
    if workload.seed == 1 and number and int(number[1]) >= 6:
        return SECOND_IMAGE
    return FIRST_IMAGE if number or re.fullmatch(r"0|r[0-9]+", repeat) else ""


def recorded_image(machine: Machine) -> str:
    """The disk image of a recording: the second came with the hooks' second set, of which gt_rec is one."""
    return SECOND_IMAGE if "gt_rec" in machine.cmdline else FIRST_IMAGE


def read_repeats(paths: Sequence[Path]) -> list[KernelRun]:
    """All boots of several tables; what tables say of the same boot is joined.

    Raises
    ------
    KevacuateError
        As :func:`read_outcomes`.
    """
    found: dict[tuple[str, Workload, str], KernelRun] = {}
    for path in paths:
        for run in read_outcomes(path):
            key = run.kernel, run.workload, run.repeat
            before = found.get(key)
            found[key] = run if before is None else before._replace(values={**before.values, **run.values})
    return list(found.values())


def read_outcomes(path: Path) -> list[KernelRun]:
    """All runs of the file.

    Raises
    ------
    KevacuateError
        The file cannot be read, is no table of repeats, or holds something that is not a number.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a device may have no end
            raise KevacuateError(
                f"{path} is not a file, so no table of repeats: name another with --repeats-table."
            )
        if about.st_size > LARGEST_FILE:
            raise KevacuateError(
                f"{path} is too large to be a table of repeats: name another with --repeats-table."
            )
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in KEY if name not in (reader.fieldnames or ())]
            if missing:
                raise KevacuateError(
                    f"{path} is no table of repeats: it has no column {missing[0]!r}; name another with --repeats-table."
                )
            return [_run(path, number, row) for number, row in enumerate(reader, start=2)]
    except OSError as error:
        raise KevacuateError(
            f"The table {path} cannot be read: {error.strerror or error}; name the file with --repeats-table."
        ) from None
    except (csv.Error, UnicodeDecodeError):
        raise KevacuateError(
            f"{path} is not a CSV file of UTF-8 text: name another with --repeats-table."
        ) from None


def _run(path: Path, number: int, row: dict[str, str]) -> KernelRun:
    """One run from line *number*."""
    values: dict[str, float] = {}
    column = ""
    try:
        workload = Workload(row["workload"], row["memory"], int(row["cpus"]), int(row["seed"]))
        for column, text in row.items():
            if column in KEY or column in ("recording", "image"):
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
    image = row.get("image") or image_of(workload, row["repeat"])
    return KernelRun(row["kernel"], workload, row["repeat"], image, with_sums(values))


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value
