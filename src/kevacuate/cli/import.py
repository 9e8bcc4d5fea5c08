# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate import``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kevacuate.cli.common import console, print_json, progress_bar
from kevacuate.cli.options import json_option

_SUFFIXES = (".xz", ".dat", ".txt", ".raw", ".trace")


def default_target(file: Path) -> Path:
    """``trace.dat`` becomes ``trace.kev`` in the current directory."""
    name = file.resolve().name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix) or name
    return Path(f"{name}.kev")


def in_words(about: dict[str, Any]) -> str:
    """What was made, in a few sentences."""
    text = (
        f"{about['recording']}: {about['events']:,} events over {about['seconds']:.3f} s of {about['cpus']} CPUs, "
        f"from {about['form']}."
    )
    if about["lost_events"]:
        lost = ", ".join(f"{count:,} on CPU {cpu}" for cpu, count in about["lost_events"].items())
        text += f"\nEvents were lost before they were written ({lost}): whatever is made of this recording has holes."
    for name, count in about.get("events_not_read", {}).items():
        text += f"\n{count:,} events of {name} could not be read: its format lacks a field that is needed."
    if "clock" in about["lacks"]:
        text += "\nThe file does not tell this buffer's clock: compare its times with no other recording's."
    if "states" in about["lacks"]:
        text += (
            "\nThe file does not say what was in memory when it began, so the recording cannot be replayed: "
            "kevacuate record takes that snapshot. Events, their counts and rates are all there."
        )
    if about.get("gfp_numbers_unmapped"):
        text += "\nIts GFP flags are numbers, read as those of Linux 7.2: give the kernel's own with --formats DIR."
    if about.get("names_not_known"):
        text += f"\nNames that Linux 7.2 does not have were dropped: {', '.join(about['names_not_known'])}."
    return text


@click.command("import", short_help="Make a recording of a trace that another tool wrote.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR.kev",
    help="The recording to make. Default: the file's name in the current directory.",
)
@click.option(
    "--formats",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Format files of the recorded kernel (SYSTEM/EVENT or SYSTEM/EVENT/format, as below tracefs' events/).",
)
@click.option(
    "--buffer", metavar="NAME", help="Which instance's buffer to take of a trace.dat that holds several."
)
@click.option("--no-pids", is_flag=True, help="Do not keep process ids.")
@json_option
def command(
    file: Path, output: Path | None, formats: Path | None, buffer: str | None, no_pids: bool, as_json: bool
) -> None:
    """Make a recording of FILE, which another tool wrote.

    FILE is trace-cmd's trace.dat (versions 6 and 7, compressed or not), the text of ftrace, of trace-cmd report or of
    perf script, raw per-CPU ring-buffer pages, or a directory of those. It is recognised by its content.

    Example: kevacuate import trace.dat -o my-server.kev
    """
    from kevacuate.recording.importers import ImportOptions, import_recording

    with progress_bar() as progress:
        about = import_recording(
            file,
            output or default_target(file),
            ImportOptions(formats, buffer),
            pids=not no_pids,
            progress=lambda done, total: progress("reading (bytes)", done, total),
        )
    if as_json:
        print_json(about)
        return
    console().print(in_words(about))
