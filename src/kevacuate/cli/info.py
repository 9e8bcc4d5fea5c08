# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate info``."""

from __future__ import annotations

from pathlib import Path

import click

from kevacuate.cli.common import console, json_option, open_recording, print_json, recording_argument


@click.command("info", short_help="What a recording holds and how good it is.")
@recording_argument
@json_option
def command(recording: Path | None, as_json: bool) -> None:
    """Say what RECORDING (default: the one that ships with the package) holds and how good it is.

    Example: kevacuate info my-server.kev
    """
    from kevacuate.replay.about import about_recording
    from kevacuate.report.tables import about_table

    source = open_recording(recording)
    about = about_recording(source)
    if as_json:
        print_json(about)
        return
    out = console()
    out.print(about_table(about))
    out.print(about["verdict"])
