# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.export``: a recording's events in another tool's format."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from kevacuate.errors import KevacuateError, named_file
from kevacuate.recording.atomic_write import written

if TYPE_CHECKING:
    from kevacuate.policy import Policy
    from kevacuate.recording import Recording


class Format(NamedTuple):
    """A format that recordings can be exported in."""

    help: str
    """For ``--help``."""
    suffix: str
    """What the file's name ends in by default."""
    writer: str
    """``module:function`` of (recording, binary file, progress of events or None), which returns the events written."""
    replays: bool = False
    """Whether the function also takes ``policies``, whose replays are written too."""


FORMATS: dict[str, Format] = {
    "ftrace": Format(
        "ftrace text, as the kernel's trace file and trace-cmd report -t show it.",
        ".trace.txt",
        "kevacuate.reports.ftrace:write_ftrace",
    ),
    "perfetto": Format(
        "Perfetto trace: claims, steals, compaction and evacuations on per-CPU and per-worker tracks, for https://ui.perfetto.dev.",
        ".pftrace",
        "kevacuate.reports.perfetto.export:write_perfetto",
        replays=True,
    ),
}
"""Name to format."""


class Exported(NamedTuple):
    """What :func:`export` wrote."""

    events: int
    """How many events."""
    file: Path | None
    """The file that was made; None where an open one was written to."""


def events_held(recording: Recording) -> int:
    """How many events there are to write, 0 if that is not known without reading them all.

    Raises
    ------
    KevacuateError
        There are none.
    """
    if not (recording.path / "quality.json").is_file():
        return 0
    events = int(recording.quality.get("events") or 0)
    if not events:
        raise KevacuateError(
            f"{recording.path} holds no events, only what was made of them (states or a demand): "
            "export the recording it came from."
        )
    return events


def export(
    recording: Recording | str | Path,
    out: str | Path | IO[bytes],
    form: str = "ftrace",
    policies: str | Policy | Sequence[str | Policy] = (),
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write a recording's events in another tool's format.

    Parameters
    ----------
    recording : Recording or path
        With events; for replays alone, with a demand.
    out : path or binary file
        The file to make, which must not exist, or an open one.
    form : str
        ``ftrace`` (text) or ``perfetto`` (a trace for https://ui.perfetto.dev).
    policies : policy or sequence of policies
        For ``perfetto``: also replay under these, and write what happened.
    progress : callable, optional
        Called with (events written, events in all; 0 where that is not known).

    Returns
    -------
    Exported
        ``events`` written, and the ``file``.

    Raises
    ------
    KevacuateError
        There is no such format, the recording holds no events, the format takes no policies, or the file cannot be written.

    Examples
    --------
    >>> import kevacuate
    >>> made = kevacuate.export("my-server.kev", "my-server.txt")
    >>> made.events > 0, made.file
    (True, PosixPath('my-server.txt'))
    """
    from kevacuate.policy import parse_policies
    from kevacuate.recording import Recording

    if form not in FORMATS:
        raise KevacuateError(f"There is no format {form!r}: choose from {', '.join(FORMATS)}.")
    chosen = FORMATS[form]
    module, _, name = chosen.writer.partition(":")
    write: Callable[..., int] = getattr(importlib.import_module(module), name)
    replayed = parse_policies(policies)
    if replayed and not chosen.replays:
        raise KevacuateError(f"{form} holds recorded events alone: leave the policies out.")
    source = Recording.of(recording)
    given: dict[str, Any] = {"policies": [policy.spec for policy in replayed]} if chosen.replays else {}
    total = 0 if chosen.replays else events_held(source)
    told = (lambda done: progress(done, total)) if progress else None
    if not isinstance(out, str | Path) and hasattr(out, "write"):
        return Exported(write(source, out, told, **given), None)
    with written(named_file(out), replace=False) as made, made.path.open("wb") as file:
        events = write(source, file, told, **given)
    return Exported(events, made.target)
