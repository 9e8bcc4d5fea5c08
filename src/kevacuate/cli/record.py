# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate record``."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import kevacuate
from kevacuate.cli.common import live_status, print_json, writable
from kevacuate.cli.options import MOST_SECONDS, Number, json_option, path_option

if TYPE_CHECKING:
    from kevacuate.capture.status import Status

MIB = 1 << 20


@click.command(
    "record", short_help="Record the running machine.", context_settings={"ignore_unknown_options": True}
)
@path_option("-o", "--output", help="The recording to make [kevacuate-DATE.kev].")
@click.option(
    "--duration",
    type=Number(0.0, MOST_SECONDS, min_open=True),
    metavar="S",
    help="Seconds to record, from the snapshot at the start on.",
)
@click.option(
    "--light",
    is_flag=True,
    help="Rare events and snapshots only: fit for production, gives triage, no replay.",
)
@click.option("--compaction", is_flag=True, help="All compaction events too.")
@click.option(
    "--migrate", is_flag=True, help="Migration too, with the events that pair a page's old and new pfn."
)
@click.option("--vmscan", is_flag=True, help="Reclaim too.")
@click.option("--pids", is_flag=True, help="Store process ids and names; otherwise tasks are only numbered.")
@click.option(
    "--buffer", "buffer_", metavar="SIZE", help="Trace buffer per CPU [128M, at most 2 % of memory in all]."
)
@click.option(
    "--max-size", default="8G", show_default=True, metavar="SIZE", help="Stop at this size on disk."
)
@click.option(
    "--snapshots",
    default=60.0,
    show_default=True,
    type=Number(1.0, MOST_SECONDS),
    metavar="S",
    help="Seconds between snapshots of /proc.",
)
@click.option(
    "--no-pages",
    is_flag=True,
    help="Do not read the flags of every page: no replay, less work on large machines.",
)
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(output: Path | None, as_json: bool, **given: Any) -> int:
    """Record the page allocator of the running machine until COMMAND ends, the time is over, or Ctrl-C.

    Needs root; COMMAND runs as the user who called sudo. Makes a tracing instance of its own and removes it at the end.

    The exit status is COMMAND's own, 128 + N where signal N ended it, and 0 without COMMAND. It is 2 where nothing was recorded.

    Example: kevacuate record --duration 60 -o server.kev

    Example: kevacuate record -o build.kev -- make -j8
    """
    if given["command"] and given["command"][0].startswith("-"):
        raise click.UsageError(
            f"record has no option {given['command'][0]!r}. All CPUs and tasks are recorded; what stands after -- is the command."
        )
    target = output or Path(time.strftime("kevacuate-%Y%m%d-%H%M%S.kev"))
    if output is not None or os.geteuid() == 0:
        writable(target, saves=True)
    with live_status(_line) as report:
        result = kevacuate.record(
            target,
            duration=given["duration"] or 0.0,
            command=given["command"],
            light=given["light"],
            compaction=given["compaction"],
            migrate=given["migrate"],
            vmscan=given["vmscan"],
            pids=given["pids"],
            buffer=given["buffer_"] or 0,
            max_size=given["max_size"],
            snapshots=given["snapshots"],
            pages=not given["no_pages"],
            progress=report,
            say=lambda text: click.echo(f"kevacuate: {text}", err=True),
        )
    size = sum(p.stat().st_size for p in result.target.rglob("*") if p.is_file())
    if as_json:
        print_json(_json(result, size))
    else:
        click.echo(_sentence(result, size, light=given["light"]), err=True)
    return handed_on(result.exit_status)


def handed_on(status: int | None) -> int:
    """The exit status for COMMAND's (as :class:`subprocess.Popen` has it, None without one): as a shell's, and perf record's."""
    return 128 - status if status is not None and status < 0 else status or 0


def _line(status: Status) -> str:
    lost = f"[red]{status.lost.number} lost[/red]" if status.lost else "none lost"
    waiting = f", {status.waiting / MIB:,.0f} MiB to decode" if status.waiting > MIB else ""
    return (
        f"{status.phase} {status.seconds:,.0f} s: {status.events:,} events, {status.rate:,.0f} events/s, {lost}, "
        f"{status.written / MIB:,.0f} MiB{waiting}"
    )


def _json(result: kevacuate.RecordResult, size: int) -> dict[str, Any]:
    return {
        "recording": str(result.target),
        "events": result.events,
        **result.lost.to_json(),
        "seconds": result.seconds,
        "seconds_between_snapshots": result.between,
        "stopped": result.stopped,
        "command_status": result.exit_status,
        "bytes": size,
    }


def _ended(status: int) -> str:
    """How COMMAND ended, as :class:`subprocess.Popen` has its status."""
    if status >= 0:
        return f"ended with status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-status, f'signal {-status}')}"


def _sentence(result: kevacuate.RecordResult, size: int, *, light: bool) -> str:
    lost = "no event was lost"
    if result.lost:
        lost = f"{result.lost.were} LOST (a larger --buffer, or a quieter disk for -o, loses fewer)"
    seconds = f"{result.seconds:.1f} s"
    if result.seconds - result.between > 0.5:
        seconds += f" ({result.between:.1f} s between the snapshots at both ends)"
    status = f" COMMAND {_ended(result.exit_status)}." if result.exit_status else ""
    following = "triage" if light else "info"
    quiet = (
        " Nothing fell back, no task stalled and no compaction ran in that time."
        if light and not result.events
        else ""
    )
    return (
        f"{result.target}: {result.events:,} events in {seconds}, {lost}, {size / MIB:.1f} MiB; stopped "
        f"{result.stopped}.{status}{quiet} See it with: kevacuate {following} {result.target}"
    )
