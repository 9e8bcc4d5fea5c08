# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate info``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, doing, open_recording, print_json, progress_bar
from kevacuate.cli.options import json_option, recording_argument


@click.command("info", short_help="What a recording holds and how good it is.")
@recording_argument
@json_option
def command(recording: Path | None, as_json: bool) -> None:
    """Say what RECORDING (default: the one that ships with the package) holds and how good it is.

    Shown are events by kind, CPU and time, losses, and duplicates. Further: whether allocations and frees fit together, what the
    recorded kernel moved, and the share of the demand that a replay can trust. Last comes a verdict in words.

    Example: kevacuate info my-server.kev
    """
    from kevacuate.reports.info import quality_tables

    with progress_bar() as progress:
        about = kevacuate.info(open_recording(recording), progress=doing("reading", progress))
    if as_json:
        print_json(about)
        return
    out = console()
    for table in quality_tables(about):
        out.print(table)
    out.print(about["verdict"], highlight=False, markup=False)
