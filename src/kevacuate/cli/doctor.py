# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate doctor``."""

from __future__ import annotations

from dataclasses import asdict

import click

import kevacuate
from kevacuate.cli.common import console, print_json
from kevacuate.cli.options import json_option

_STYLE = {"ok": "green", "note": "yellow", "missing": "bold red"}


@click.command("doctor", short_help="What this machine offers for recording.")
@json_option
def command(as_json: bool) -> int:
    """Say what this machine offers for recording, what is missing, and what to do about it.

    Exit status: 0 if recording is possible, 1 if not. Changes nothing, but makes and removes a tracing instance.

    Example: kevacuate doctor
    """
    from rich.table import Table
    from rich.text import Text

    checks = kevacuate.doctor()
    good = all(check.status != "missing" for check in checks)
    if as_json:
        print_json({"recording_possible": good, "checks": [asdict(check) for check in checks]})
        return 0 if good else 1
    table = Table(box=None, show_header=False, pad_edge=False)
    for column in ("", "", "", ""):
        table.add_column(column, overflow="fold")
    for check in checks:
        status = Text(check.status, style=_STYLE[check.status])
        table.add_row(status, Text(check.name), Text(check.found), Text(check.advice, style="italic"))
    out = console()
    out.print(table)
    out.print(
        "Recording is possible: kevacuate record --duration 60 -o machine.kev"
        if good
        else "Recording is NOT possible: do first what stands beside 'missing' above.",
        highlight=False,
    )
    return 0 if good else 1
