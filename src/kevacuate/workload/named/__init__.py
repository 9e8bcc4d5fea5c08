# SPDX-License-Identifier: GPL-2.0-or-later
"""Described workloads that ship with the package, by name: ``workload:NAME`` wherever a recording is taken."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from kevacuate.errors import KevacuateError

PREFIX = "workload:"


def names() -> list[str]:
    """The names of the workloads that ship."""
    here = files("kevacuate").joinpath("workload", "named")
    return sorted(one.name.removesuffix(".toml") for one in here.iterdir() if one.name.endswith(".toml"))


def path_of(name: str) -> Path:
    """The file of the workload of that name.

    Raises
    ------
    KevacuateError
        There is none.
    """
    if name not in names():
        raise KevacuateError(f"There is no workload {name!r}: known are {', '.join(names())}.")
    return Path(str(files("kevacuate").joinpath("workload", "named", f"{name}.toml")))
