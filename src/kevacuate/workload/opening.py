# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verb that replays takes: a recording, or a workload that is described."""

from __future__ import annotations

from pathlib import Path

from kevacuate.errors import KevacuateError
from kevacuate.measure.startfile import LABEL, StartState, read_start
from kevacuate.recording import Recording
from kevacuate.workload.describe import Workload
from kevacuate.workload.named import PREFIX, path_of
from kevacuate.workload.started import started
from kevacuate.workload.stream import workload_recording
from kevacuate.workload.toml import is_description, read_workload

Startable = StartState | Recording | str | Path
"""A start state or its file; or a recording or a described workload, whose start is meant."""

Replayable = Recording | Workload | str | Path
"""A recording or its path; a description of a workload, the path of its TOML file, or ``workload:NAME`` of one that ships."""


def recording_of(what: Replayable) -> Recording:
    """The recording itself, the one at a path, or what stands for a described workload.

    Raises
    ------
    KevacuateError
        There is nothing, or it is neither a recording nor a description; or a description is wrong.
    """
    if isinstance(what, Workload):
        return workload_recording(what)
    if not isinstance(what, Recording) and str(what).startswith(PREFIX):
        return workload_recording(read_workload(str(what)), path_of(str(what).removeprefix(PREFIX)))
    if not isinstance(what, Recording) and is_description(what):
        return workload_recording(read_workload(what), Path(what))
    return Recording.of(what)


def open_recording(recording: Replayable | None = None, *, start: Startable | None = None) -> Recording:
    """Open a recording, or a described workload in its place; nothing of it is read before it is asked for.

    Parameters
    ----------
    recording : path, Recording or Workload, optional
        A ``.kev`` directory, a directory with raw traces and format files, or the TOML file of a described workload. Default: the
        recording that ships with the package.
    start : StartState, Recording or path, optional
        What the demand begins from in place of its own start: what :func:`kevacuate.start_state` returned, its file, or a
        recording, whose start state it is.

    Returns
    -------
    Recording
        Its ``machine``, ``events()``, ``states``, ``snapshots`` and ``losses``; times are ns of the recorded clock.

    Raises
    ------
    KevacuateError
        There is nothing, or it is no recording, truncated, corrupted, or newer than this version; or a description is wrong.
        The start state is of a machine that the demand does not fit.

    Examples
    --------
    >>> import kevacuate
    >>> recording = kevacuate.open("my-server.kev")
    >>> recording.machine.pageblock_order
    9
    >>> kevacuate.open().machine.kernel  # without a path: the one that ships with the package
    '7.2.13'
    """
    opened = Recording.shipped() if recording is None else recording_of(recording)
    return opened if start is None else on_start(opened, start)


def _refuse_other_form(path: Path) -> None:
    """Refuse another tool's form of a start state, which can be made one.

    Raises
    ------
    KevacuateError
        It is one.
    """
    trace = path.suffix == ".llfree" and path.is_file()
    if trace or (path.is_dir() and any(path.glob("kpageflags*"))):
        raise KevacuateError(
            f"{path} is another tool's form of a start state: make it one by `kevacuate start {path} -o NAME.kev`."
        )


def on_start(recording: Recording, start: Startable) -> Recording:
    """The recording's demand on another start state.

    Raises
    ------
    KevacuateError
        There is no such state, or it is of a machine that the demand does not fit.
    """
    if isinstance(start, StartState):
        return started(recording, start, LABEL)
    source = start_source(start)
    return started(recording, read_start(source), source.path.name)


def start_source(start: Recording | str | Path) -> Recording:
    """What a start state is read from: its file, or the recording or described workload whose start is meant.

    Raises
    ------
    KevacuateError
        There is no such thing, or it is another tool's form.
    """
    if isinstance(start, str | Path):
        _refuse_other_form(Path(start))
    return recording_of(start)
