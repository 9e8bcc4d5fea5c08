# SPDX-License-Identifier: GPL-2.0-or-later
"""What a block of the documentation may need, and whether it is to be had here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path


@cache
def _tracefs() -> str:
    """Whether this machine can be recorded, as ``kevacuate doctor`` finds it."""
    if os.geteuid() != 0:
        return "only root can record"
    from kevacuate.capture.doctor import examine, possible

    return "" if possible(examine()) else "this machine cannot be recorded (kevacuate doctor says why)"


def _environment(variable: str, meaning: str) -> Callable[[], str]:
    """A need that is met where a variable is set."""
    return lambda: "" if os.environ.get(variable) else f"{meaning} (set {variable} to run it)"


NEEDS: dict[str, Callable[[], str]] = {
    "tracefs": _tracefs,
    "venv": lambda: (
        "" if Path(sys.prefix, "bin", "activate").exists() else "this Python is not a virtual environment's"
    ),
    "terminal": lambda: "",  # the runner makes one
    "clone": lambda: "",  # run at the top of the source tree
    "minutes": _environment("KEVACUATE_DOCS_MINUTES", "it takes minutes"),
    "tracer": _environment(
        "KEVACUATE_DOCS_TRACER", "it takes the machine's own trace buffer, which others may be using"
    ),
    "recordings": _environment("KEVACUATE_GROUND_TRUTH", "it needs a directory of recordings"),
    "debian": _environment(
        "KEVACUATE_DEBIAN_KERNEL", "it takes a dump, or 1 GB of Debian's kernel booted in qemu"
    ),
    "ci": lambda: "it installs the package and starts these tests: .ci/run runs it, word for word",
}
"""Name of a need, and what is missing here; empty if nothing is. Any other name is a program's."""
ON_REQUEST = {"minutes", "tracer", "recordings", "debian", "ci"}
"""Those that are met nowhere unless somebody says so."""


def missing(needs: tuple[str, ...]) -> str:
    """Why a block with these needs cannot run here; empty if it can."""
    for need in needs:
        if need in NEEDS:
            why = NEEDS[need]()
        else:
            why = "" if shutil.which(need) else f"the program {need} is not installed"
        if why:
            return why
    return ""
