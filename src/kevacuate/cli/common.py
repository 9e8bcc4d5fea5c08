# SPDX-License-Identifier: GPL-2.0-or-later
"""What several commands need: the default recording, the progress bar, JSON output."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

import kevacuate
from kevacuate.compiling import when_compiling
from kevacuate.ending import heed, owed
from kevacuate.errors import KevacuateError
from kevacuate.recording.atomic_write import refuse_special, remove_leftovers, unwritable
from kevacuate.reports.escape import visible_block

if TYPE_CHECKING:
    from rich.progress import Progress

COMPILING = "compiling a part of the model or a policy's hooks, once (up to a minute, hooks seconds)"
"""Said when something is compiled: its machine code is then kept on disk."""


QUIET_SECONDS = 1.0
"""Outside a terminal: a command that has said nothing for so long says what it does."""

Report = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, all of it; 0 if not known)."""


def writable(target: Path | None, *, saves: bool = False) -> None:
    """Refuse a file that cannot be written, before the work is done that it is to hold.

    What killed commands left in its directory is removed, and named on stderr; *saves* as of :func:`tidy`.
    """
    if target is None:
        return
    refuse_stdout(target)
    refuse_special(target)
    if target.is_file():
        from kevacuate.reports.parts import refuse_part

        refuse_part(target)
    if not target.parent.is_dir():
        raise KevacuateError(f"{target.parent} is not a directory, so {target.name} cannot be written there.")
    if not os.access(target.parent, os.W_OK):
        read_only = os.statvfs(target.parent).f_flag & os.ST_RDONLY
        raise unwritable(target, errno.EROFS if read_only else errno.EACCES)
    tidy(target.parent, saves=saves)


def refuse_stdout(target: Path) -> None:
    """Refuse ``-``, which names standard output where a command can write there: a file of that name is nobody's wish."""
    if str(target) == "-":
        raise KevacuateError("What is written here cannot go to standard output (-): name a file.")


def tidy(directory: Path, *, saves: bool = False) -> None:
    """Remove what killed commands left in *directory*, and say so on stderr; what a killed recorder captured is only named.

    *saves*: the command is a recorder, which saves what was captured in that directory, and says so itself.
    """
    from kevacuate.capture.workdir import captured_and_left

    for left in remove_leftovers(directory):
        click.echo(f"kevacuate: removed {visible_block(str(left))}, which a killed command left.", err=True)
    for work in captured_and_left(directory):
        if work.path.parent == directory and saves:
            continue
        shown, again = visible_block(str(work.path)), visible_block(str(work.path.parent / "next.kev"))
        click.echo(
            f"kevacuate: a killed recorder left {shown}: the next recording there saves it (-o {again}).",
            err=True,
        )


def open_recording(path: Path | None, start: Path | None = None) -> kevacuate.Recording:
    """The recording at *path*, or the one that ships with the package; on the start state at *start*, if that is given."""
    heed()
    return kevacuate.open(path, start=start)


class PlainConsole(Console):
    """A console on which text only ever shows: no markup, and what would act on the terminal is written as an escape.

    Names of kernels, zones, tasks and files come from whoever made a recording.
    """

    def on_broken_pipe(self) -> None:
        """Pass it on: the command line knows what to answer, rich would exit with 1."""
        raise  # noqa: PLE0704 (called while a BrokenPipeError is handled)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich's, of the text made visible."""
        return super().render_str(visible_block(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """As rich's; segments that are not the console's own control codes hold visible text only."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible_block(segment.text))


def console(*, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR and pipes: outside a terminal it has 200 columns, or COLUMNS of up to 5 digits."""
    probe = PlainConsole(stderr=stderr, markup=False, emoji=False)
    if probe.is_terminal:
        return probe
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if len(columns) <= 5 and columns.isdecimal() and int(columns) else 200
    return PlainConsole(stderr=stderr, markup=False, emoji=False, width=width, soft_wrap=True)


def print_json(value: Any, first: Sequence[str] = ()) -> None:
    """One JSON document on stdout, keys in a fixed order: those named *first*, the others by the alphabet."""
    if first:
        plain = json.loads(json.dumps(value, sort_keys=True, allow_nan=False))
        value = {name: plain.pop(name) for name in first if name in plain} | plain
    json.dump(value, sys.stdout, indent=1, sort_keys=not first, allow_nan=False)
    sys.stdout.write("\n")


def phase_lines() -> Callable[[Any], None]:
    """For a recorder outside a terminal: a function of its Status that says on stderr what is begun, once each time."""
    said = ""

    def report(status: Any) -> None:
        nonlocal said
        phase = status.phase.partition(" (")[0]  # how far it is changes all the time
        if phase != said:
            said = phase
            click.echo(f"kevacuate: {phase}.", err=True)

    return report


@contextmanager
def live_status(line: Callable[[Any], str]) -> Iterator[Callable[[Any], None]]:
    """For a recorder: a function of its Status that shows it as *line* words it; outside a terminal as :func:`phase_lines`."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield phase_lines()
        return
    with screen.status("starting") as shown, owed(shown.stop):
        yield lambda status: shown.update(line(status))


class _Waits:
    """Says on stderr what the command does, once for each thing, where nothing was said for :data:`QUIET_SECONDS`."""

    def __init__(self, first: str) -> None:
        self._doing, self._said = first, {""}
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self.over = threading.Event()

    def begin(self, doing: str) -> None:
        """The command does this now."""
        with self._lock:
            if doing not in self._said:
                self._doing = doing

    def say(self, text: str) -> None:
        """Say something now."""
        with self._lock, suppress(OSError, ValueError):  # a stderr that is closed or full
            self._last = time.monotonic()
            click.echo(f"kevacuate: {visible_block(text)}.", err=True)

    def watch(self) -> None:
        """Say what is done, until :attr:`over` is set: a thread's work, as what is waited for does not call anybody."""
        while not self.over.wait(QUIET_SECONDS / 10):
            doing = self._doing
            if doing not in self._said and time.monotonic() - self._last >= QUIET_SECONDS:
                self._said.add(doing)
                self.say(doing)


@contextmanager
def _said_waits(first: str) -> Iterator[Report]:
    """What :func:`progress_bar` is outside a terminal."""
    waits = _Waits(first)

    def report(name: str, done: int, total: int) -> None:
        heed()
        waits.begin(name)

    thread = threading.Thread(target=waits.watch, name="waits", daemon=True)
    thread.start()
    try:
        with when_compiling(lambda: waits.say(COMPILING)):
            yield report
    finally:
        waits.over.set()
        thread.join()


def doing(verb: str, report: Report) -> Report:
    """For a library function that names what it works on: says what is done with it, as ``replaying mainline``."""
    return lambda name, done, total: report(f"{verb} {name}", done, total)


def _bar(screen: Console) -> Progress:
    """A bar for each thing that is done, with a spinner."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
    )


@contextmanager
def progress_bar(first: str = "reading the recording") -> Iterator[Report]:
    """A progress bar on stderr; yields a function to tell it what is done. *first* is what is done before that is called.

    Says that the model is being compiled, when it is. Outside a terminal a wait of over a second is said in a line, once.
    """
    heed()
    screen = console(stderr=True)
    if not screen.is_terminal:
        with _said_waits(first) as said:
            yield said
        return
    bar = _bar(screen)
    tasks: dict[str, Any] = {}
    waiting = bar.add_task(first, total=None)

    def compiling(text: str = COMPILING) -> None:
        bar.update(waiting, description=text, visible=True)

    with owed(bar.stop), bar, when_compiling(compiling, compiling):

        def report(name: str, done: int, total: int) -> None:
            heed()
            if name not in tasks:
                bar.update(waiting, visible=False)
                tasks[name] = bar.add_task(name, total=total or None)
            bar.update(tasks[name], completed=done)

        yield report
