# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate export``."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click

from kevacuate.cli.common import console, open_recording, print_json, progress_bar, writable
from kevacuate.cli.options import json_option, policies_option, recording_argument
from kevacuate.errors import KevacuateError
from kevacuate.recording import Recording
from kevacuate.recording.beside import written


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
        "kevacuate.report.ftrace:write_ftrace",
    ),
    "perfetto": Format(
        "Perfetto trace: claims, steals, compaction and evacuations on per-CPU and per-worker tracks, for https://ui.perfetto.dev.",
        ".pftrace",
        "kevacuate.report.perfetto:write_perfetto",
        replays=True,
    ),
}
"""Name, which is also the option's, to format."""


def _format_options(function: Any) -> Any:
    for name, form in reversed(FORMATS.items()):
        function = click.option(f"--{name}", is_flag=True, help=form.help)(function)
    return function


def _events(recording: Recording) -> int:
    """How many events there are to write, 0 if that is not known without reading them all."""
    if not (recording.path / "quality.json").is_file():
        return 0
    events = int(recording.quality.get("events") or 0)
    if not events:
        raise KevacuateError(
            f"{recording.path} holds no events, only what was made of them (states or a demand): "
            "export the recording it came from."
        )
    return events


def _the_one(forms: list[str]) -> str:
    """The one format that was asked for."""
    listed = ", ".join(f"--{name}" for name in FORMATS)
    if not forms:
        raise click.UsageError(f"Say in which format: {listed}.")
    if len(forms) > 1:
        raise click.UsageError(f"export writes one file in one format: give one of {listed}.")
    return forms[0]


@click.command("export", short_help="Write a recording's events in another tool's format.")
@recording_argument
@_format_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to make, - for stdout. Default: the recording's name in the current directory.",
)
@policies_option("With --perfetto: also replay under this policy and write what happened", "")
@json_option
def command(
    recording: Path | None,
    output: Path | None,
    policies: tuple[str, ...],
    as_json: bool,
    **given: bool,
) -> None:
    """Write the events of RECORDING (default: the one that ships with the package) in another tool's format.

    Example: kevacuate export --perfetto --policy mainline --policy evacuate -o two.pftrace
    """
    form = _the_one([name for name in FORMATS if given[name]])
    chosen = FORMATS[form]
    module, _, name = chosen.writer.partition(":")
    write = getattr(importlib.import_module(module), name)
    if policies and not chosen.replays:
        raise click.UsageError(f"--{form} writes recorded events alone: leave --policy out.")
    source = open_recording(recording)
    total = 0
    if chosen.replays:
        write = partial(write, policies=policies)
    else:
        total = _events(source)
    target = output or Path(source.path.name.removesuffix(".kev") + chosen.suffix)
    if str(target) == "-":
        if as_json:
            raise click.UsageError(
                "With -o - the events go to stdout, so --json cannot: leave one of them out."
            )
        write(source, sys.stdout.buffer, None)
        sys.stdout.buffer.flush()
        return
    writable(target)
    with progress_bar() as progress, written(target, replace=False) as made, made.path.open("wb") as file:
        events = write(source, file, lambda done: progress(f"{form} (events)", done, total))
    target = made.target
    size = target.stat().st_size
    if as_json:
        print_json(
            {"file": str(target), "format": form, "events": events, "bytes": size, "digest": source.digest}
        )
        return
    console().print(f"{target}: {events:,} events, {size:,} bytes.")
