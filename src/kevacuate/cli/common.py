# SPDX-License-Identifier: GPL-2.0-or-later
"""What several commands need: the default recording, the progress bar, JSON output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from kevacuate.errors import KevacuateError
from kevacuate.mm.jit import is_compiled
from kevacuate.recording import Recording


def writable(target: Path | None) -> None:
    """Refuse a file that cannot be written, before the work is done that it is to hold."""
    if target is None:
        return
    if not target.parent.is_dir():
        raise KevacuateError(f"{target.parent} is not a directory, so {target.name} cannot be written there.")
    if not os.access(target.parent, os.W_OK):
        raise KevacuateError(f"{target.parent} cannot be written to: choose another place for {target.name}.")


def open_recording(path: Path | None) -> Recording:
    """The recording at *path*, or the one that ships with the package."""
    return Recording.shipped() if path is None else Recording.open(path)


def console(*, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR and pipes: outside a terminal it has 200 columns, or as many as COLUMNS says."""
    probe = Console(stderr=stderr)
    if probe.is_terminal:
        return probe
    columns = os.environ.get("COLUMNS", "")
    return Console(
        stderr=stderr, width=int(columns) if columns.isdecimal() and int(columns) else 200, soft_wrap=True
    )


def print_json(value: Any) -> None:
    """One JSON document on stdout, keys in a fixed order."""
    json.dump(value, sys.stdout, indent=1, sort_keys=True, allow_nan=False)
    sys.stdout.write("\n")


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr, of rows replayed; yields a function of (run, rows done, rows in all).

    Says that kernels are being compiled where this is the first run. Nothing is printed outside a terminal.
    """
    screen = console(stderr=True)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
    tasks: dict[str, Any] = {}
    first = "" if is_compiled() else "compiling the model, first run only (about a minute)"
    with bar:
        waiting = bar.add_task(first or "reading", total=None)

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                bar.update(waiting, visible=False)
                tasks[name] = bar.add_task(name, total=total or None)
            bar.update(tasks[name], completed=done)

        yield report
