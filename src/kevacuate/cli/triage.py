# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate triage``."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

import kevacuate
from kevacuate.cli.common import console, live_status, print_json, progress_bar, tidy
from kevacuate.cli.options import Name, Number, json_option
from kevacuate.cli.stored import STDIN, stored
from kevacuate.ending import heed
from kevacuate.recording.atomic_write import temporary_place


@click.command("triage", short_help="Is this machine fragmenting, by whom, and what would help?")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=Name())
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
def command(files: tuple[Path, ...], live: bool, duration: float, as_json: bool) -> None:
    """Say whether a machine is fragmenting, by whom, and what would help.

    FILE is a recording, or what there is without one; each is recognised by its content:

    - kernel logs: dmesg, syslog, journal (failed allocations, OOM reports)

    - /proc: buddyinfo, pagetypeinfo, zoneinfo, vmstat, meminfo, slabinfo

    - owners: page_owner, show_stacks, allocinfo

    - tools: perf trace, perf kmem, babeltrace, bpftrace, bcc

    - monitors: node_exporter, sar and sadf, netdata

    Several files are taken together. A folder or tar archive is searched (a sosreport, say), and - is standard input.
    There is no replay and no model. Of a recording light data are enough: mm_page_alloc_extfrag, with snapshots if there are any.

    Example: dmesg | kevacuate triage -

    Example: kevacuate triage sosreport-host1.tar.xz

    Example: kevacuate triage my-server.kev

    Example: sudo kevacuate triage --live --duration 600
    """
    if live == bool(files):
        raise click.UsageError("triage reads FILE or, with --live, this machine: give one of the two.")
    result = _live(duration) if live else _of_files(files)
    if as_json:
        print_json(result)
    elif "answers" in result:
        _print_answers(result)
    else:
        _print(result)


def _of_files(files: tuple[Path, ...]) -> dict[str, Any]:
    """Triage what the files hold, with a progress bar."""
    heed()
    with ExitStack() as kept, progress_bar("reading") as progress:
        paths = {kept.enter_context(stored(file)): file for file in files}
        called = {path: "standard input" if str(file) == STDIN else str(file) for path, file in paths.items()}
        return kevacuate.triage(list(paths), called=called, progress=partial(progress, "reading"))


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
    from kevacuate.reports.triage.brought import advice_words
    from kevacuate.reports.triage.files.recording import tables
    from kevacuate.reports.triage.words import words

    out = console()
    title = f"{result['name']}, {kernel_words(result['kernel'])}"
    out.print(title, style="bold", highlight=False, markup=False)
    out.print(words(result), markup=False, highlight=False)
    for table in tables(result):
        out.print()
        out.print(table)
    for part in advice_words(result["advice"]):
        out.print()
        out.print(part, markup=False, highlight=False)


def _print_answers(result: dict[str, Any]) -> None:
    """Each answer's words and tables, then what would help."""
    from kevacuate.reports.triage.brought import brought_words

    out = console()
    for number, part in enumerate(brought_words(result)):
        if number:
            out.print()
        out.print(part, markup=False, highlight=False)
