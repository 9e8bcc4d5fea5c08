# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.record``: record the running machine; ``kevacuate.triage_live``: record light data, and triage them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kevacuate.capture.command import check_asked
from kevacuate.capture.options import MIB, RecordOptions, parse_size
from kevacuate.capture.start import need_root, start_recording
from kevacuate.capture.status import Result, Status
from kevacuate.errors import KevacuateError, named_file
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import Recording
from kevacuate.recording.atomic_write import private_directory

LEAST_BUFFER = 64 << 10
"""Bytes of trace buffer per CPU below which nothing fits."""


def record(
    target: str | Path,
    *,
    duration: float = 0.0,
    command: Sequence[str] = (),
    light: bool = False,
    compaction: bool = False,
    migrate: bool = False,
    vmscan: bool = False,
    pids: bool = False,
    buffer: str | int = 0,
    max_size: str | int = "8G",
    snapshots: float = 60.0,
    pages: bool = True,
    progress: Callable[[Status], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Result:
    """Record the running machine's page allocator until the command ends, the time is over, or Ctrl-C. Needs root.

    Parameters
    ----------
    target : path
        The ``.kev`` directory to make; it must not exist.
    duration : float
        Seconds, from the snapshot at the start on; 0: no limit.
    command : sequence of str
        What to run; recording ends with it. Nothing is run by default.
    light : bool
        Rare events and snapshots only: fit for production; for :func:`kevacuate.triage`, not for a replay.
    compaction, migrate, vmscan : bool
        Further groups of events.
    pids : bool
        Keep process ids and names; else tasks are only numbered.
    buffer : str or int
        Trace buffer per CPU, as ``"512M"`` or in bytes. Default: 128 MiB, at most 2 % of memory in all.
    max_size : str or int
        Size on disk at which recording stops, as ``"8G"`` or in bytes.
    snapshots : float
        Seconds between snapshots of /proc.
    pages : bool
        Read the flags of every page with the snapshots: without them there is no replay.
    progress : callable, optional
        Called with a :class:`kevacuate.capture.status.Status` a few times a second.
    say : callable, optional
        Called with a sentence about what was found or changed on the machine.

    Returns
    -------
    RecordResult
        ``target``, ``events``, ``lost`` (events), ``seconds``, ``stopped`` (why, in words), ``exit_status`` of the command.

    Raises
    ------
    KevacuateError
        An argument is out of its range, recording is not possible here (``kevacuate.doctor`` says why), or it failed.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.record("new.kev", duration=1, light=True)  # doctest: +ROOT
    >>> result.target, result.exit_status  # doctest: +ROOT
    (PosixPath('new.kev'), None)
    """
    options = record_options(
        target,
        duration=duration,
        command=command,
        light=light,
        groups=tuple(
            name
            for name, wanted in (("compaction", compaction), ("migrate", migrate), ("vmscan", vmscan))
            if wanted
        ),
        keep_pids=pids,
        buffer=buffer,
        max_size=max_size,
        snapshots=snapshots,
        pages=pages,
    )
    return _start(options, progress, say)


def _start(
    options: RecordOptions, progress: Callable[[Status], None] | None, say: Callable[[str], None] | None
) -> Result:
    """Record; who does not want to hear of it is told nothing."""
    check_asked(options)
    need_root()
    return start_recording(options, progress or (lambda status: None), say or (lambda text: None))


def record_options(
    target: str | Path,
    *,
    command: Sequence[str],
    duration: float,
    buffer: str | int,
    max_size: str | int,
    snapshots: float,
    **rest: Any,
) -> RecordOptions:
    """The arguments of :func:`record`, checked.

    Raises
    ------
    KevacuateError
        One is of the wrong kind, or out of its range.
    """
    target = named_file(target)
    if isinstance(command, str) or not all(isinstance(word, str) for word in command):
        raise KevacuateError(f'command cannot be {command!r}: give its words, as ["make", "-j8"].')
    return RecordOptions(
        target=target,
        duration=_seconds("duration", duration),
        command=tuple(command),
        buffer_kb=-(-_size("buffer", buffer, LEAST_BUFFER) // 1024) if buffer else 0,
        max_bytes=_size("max-size", max_size, MIB),
        snapshot_seconds=_seconds("snapshots", snapshots),
        **rest,
    )


def _seconds(name: str, value: float) -> float:
    """A time in seconds, checked to be a number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise KevacuateError(f"{name} cannot be {value!r}: it is a number of seconds, 0 or more.")
    return float(value)


def _size(name: str, size: str | int, least: int) -> int:
    """A size in bytes; one that is too small for anything lacks its letter."""
    if isinstance(size, bool) or not isinstance(size, str | int):
        raise KevacuateError(f"{name} cannot be {size!r}: it is a size, as 512M, or a number of bytes.")
    found = parse_size(size) if isinstance(size, str) else size
    if found < least:
        raise KevacuateError(
            f"--{name} {size} is {found:,} bytes, too little to hold anything: write for example --{name} 512M."
        )
    return found


def triage_live(
    duration: float = 60.0,
    *,
    progress: Callable[[Status], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Record light data of this machine into a temporary directory, and triage them. Needs root.

    Parameters
    ----------
    duration : float
        Seconds to record, 1 to 86,400.
    progress, say : callable, optional
        As of :func:`record`.

    Returns
    -------
    dict
        As :func:`kevacuate.triage`; its ``name`` is "this machine".

    Raises
    ------
    KevacuateError
        As :func:`record`.

    Examples
    --------
    >>> import kevacuate
    >>> kevacuate.triage_live(1)["name"]  # doctest: +ROOT
    'this machine'
    """
    if not 1 <= _seconds("duration", duration) <= 86400:
        raise KevacuateError(f"duration cannot be {duration!r}: it is a number of seconds, from 1 to 86,400.")
    with private_directory("triage") as directory:
        made = _start(
            RecordOptions(
                target=directory / "live.kev",
                duration=duration,
                light=True,
                elsewhere="set TMPDIR to another place",
            ),
            progress,
            say,
        )
        return {**triage_recording(Recording.open(made.target)), "name": "this machine"}
