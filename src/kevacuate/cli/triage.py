# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate triage``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

import kevacuate
from kevacuate.cli.common import console, live_status, open_recording, print_json, progress_bar, tidy
from kevacuate.cli.options import Number, json_option
from kevacuate.recording.atomic_write import temporary_place


@click.command("triage", short_help="Is this machine fragmenting, by whom, and would evacuation see it?")
@click.argument("recording", required=False, type=click.Path(path_type=Path))
@click.option(
    "--live", is_flag=True, help="This machine, now: record light data for --duration, and triage those."
)
@click.option(
    "--duration",
    default=60.0,
    show_default=True,
    type=Number(1.0, 86400.0),
    metavar="SECONDS",
    help="With --live: how long to record.",
)
@json_option
def command(recording: Path | None, live: bool, duration: float, as_json: bool) -> None:
    """Say whether the machine of RECORDING is fragmenting, by whom, and how much of it evacuation would have seen.

    Light data are enough: mm_page_alloc_extfrag, with snapshots if there are any. There is no replay and no model. The figures
    are the recorded kernel's, in plain words.

    Example: kevacuate triage my-server.kev

    Example: sudo kevacuate triage --live --duration 600
    """
    if live == (recording is not None):
        raise click.UsageError("triage reads a RECORDING or, with --live, this machine: give one of the two.")
    result = _live(duration) if recording is None else _recorded(recording)
    if as_json:
        print_json(result)
        return
    _print(result)


def _recorded(path: Path) -> dict[str, Any]:
    """Triage a recording, with a progress bar."""
    source = open_recording(path)
    with progress_bar() as progress:
        return kevacuate.triage(source, progress=partial(progress, "reading events"))


def _live(duration: float) -> dict[str, Any]:
    """Record light data of this machine for *duration* seconds into a temporary directory, and triage them."""
    tidy(temporary_place())
    with live_status(_line) as report:
        return kevacuate.triage_live(
            duration, progress=report, say=lambda text: click.echo(f"kevacuate: {text}", err=True)
        )


def _line(status: Any) -> str:
    """The recorder's status in a line."""
    return f"{status.phase} {status.seconds:,.0f} s: {status.events:,} events, {status.lost.number} lost; Ctrl-C ends it"


def _print(result: dict[str, Any]) -> None:
    """Words first, then what they rest on."""
    from kevacuate.recording.machine import kernel_words
    from kevacuate.reports.triage.stalls import stall_tables
    from kevacuate.reports.triage.tables import requesters_table, tasks_table, timeline_table
    from kevacuate.reports.triage.words import words

    out = console()
    title = f"{result['name']}, {kernel_words(result['kernel'])}"
    out.print(title, style="bold", highlight=False, markup=False)
    out.print(words(result), markup=False, highlight=False)
    for table in stall_tables(result["stalls"]):
        out.print()
        out.print(table)
    if not result["requesters"]:
        return
    out.print()
    out.print(timeline_table(result))
    out.print()
    out.print(requesters_table(result))
    if result["tasks"]:
        out.print(tasks_table(result))
