# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate export``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

import kevacuate
from kevacuate.cli.common import console, open_recording, print_json, progress_bar, writable
from kevacuate.cli.options import json_option, path_option, policies_option, recording_argument
from kevacuate.reports.export import FORMATS


def _format_options(function: Any) -> Any:
    for name, form in reversed(FORMATS.items()):
        function = click.option(f"--{name}", is_flag=True, help=form.help)(function)
    return function


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
@path_option(
    "-o",
    "--output",
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
    if policies and not FORMATS[form].replays:
        raise click.UsageError(f"--{form} writes recorded events alone: leave --policy out.")
    source = open_recording(recording)
    target = output or Path(source.path.name.removesuffix(".kev") + FORMATS[form].suffix)
    if str(target) == "-":
        if as_json:
            raise click.UsageError(
                "With -o - the events go to stdout, so --json cannot: leave one of them out."
            )
        kevacuate.export(source, sys.stdout.buffer, form, policies)
        sys.stdout.buffer.flush()
        return
    writable(target)
    with progress_bar() as progress:
        made = kevacuate.export(
            source, target, form, policies, progress=partial(progress, f"writing {form} (events)")
        )
    target = made.file or target
    size = target.stat().st_size
    if as_json:
        print_json(
            {
                "file": str(target),
                "format": form,
                "events": made.events,
                "bytes": size,
                "digest": source.digest,
            }
        )
        return
    console().print(f"{target}: {made.events:,} events, {size:,} bytes.")
