# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate watch``."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

import kevacuate
from kevacuate.cli.common import console, open_recording, print_json, progress_bar, writable
from kevacuate.cli.options import MOST_SECONDS, Number, json_option, policy_option, recording_argument
from kevacuate.ending import caught, heed, patient, written
from kevacuate.errors import KevacuateError

if TYPE_CHECKING:
    from kevacuate.live.view import Source, View
    from kevacuate.policy import Policy


LISTEN_SECONDS = 1.0
"""The longest time between two looks at the kernel's buffer of events, however long an interval is."""


@click.command("watch", short_help="Watch pageblocks and claims live, in the terminal.")
@recording_argument
@policy_option("Play back a replay of RECORDING under this policy instead of what was recorded.")
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    type=Number(0.1, 60),
    help="Seconds between updates.",
)
@click.option(
    "--duration",
    default=0.0,
    type=Number(0, MOST_SECONDS),
    help="End after so many seconds. Default: when you quit.",
)
@click.option("--once", is_flag=True, help="Look for one interval, print, and end.")
@click.option(
    "--metrics",
    metavar="FILE.prom|[ADDRESS]:PORT",
    help="No view, but figures of the running kernel for Prometheus: a file for node_exporter, or a port to scrape.",
)
@json_option
def command(
    recording: Path | None,
    policy: str | None,
    interval: float,
    duration: float,
    once: bool,
    metrics: str | None,
    as_json: bool,
) -> None:
    """Watch the running kernel: pageblocks, claims and steals, and what the evacuation would have queued.

    With RECORDING the same view plays that back. Needs root, or a recording.

    Keys: space pauses, s sorts, + and - zoom, up and down move the map, left and right a playback, q quits.

    Example: kevacuate watch --once --json

    Example: sudo kevacuate watch --metrics :9777 --interval 15
    """
    if metrics is not None:
        if recording is not None or policy is not None or as_json:
            raise click.UsageError(
                "--metrics is of the running kernel: give no RECORDING, --policy or --json."
            )
        _export(metrics, interval, 0.0 if once else duration, once=once)
        return
    if as_json and not once:
        raise click.UsageError("--json is for --once: a terminal view cannot be JSON.")
    chosen = kevacuate.parse_policy(policy) if policy is not None else None
    if not once:
        _need_terminal()
    with closing(_source(recording, chosen, interval)) as source:
        if once:
            _print(_look(source, interval), as_json)
            return
        _run(source, interval, duration)


def _export(place: str, interval: float, duration: float, *, once: bool) -> None:
    """Figures of the running kernel for Prometheus, renewed every interval, until told to end."""
    from kevacuate.live.machine import LiveSource
    from kevacuate.live.metrics import Exporter, Figures, address_of
    from kevacuate.live.stallfeed import StallFeed

    _, port = address_of(place)
    if port is None:
        writable(Path(place))
    if once and port is not None:
        raise click.UsageError("--once writes a file: nothing can scrape a port that is closed at once.")
    feed = StallFeed()
    with (
        closing(LiveSource(interval, feed)) as source,
        closing(Exporter(place, Figures(source, feed))) as exporter,
    ):
        if once:
            source.read_all()
            exporter.update()
            return
        exporter.update()
        if port is None:
            written.append(place)
        where = place if port is None else f"http://{exporter.address}/metrics"
        click.echo(f"kevacuate: figures every {interval:g} s at {where}; Ctrl-C ends it.", err=True)
        now = time.monotonic()
        end, due = now + duration if duration else float("inf"), now + interval
        while (now := time.monotonic()) < end:
            time.sleep(max(min(LISTEN_SECONDS, due - now, end - now), 0))
            exporter.figures.listen()
            if time.monotonic() >= due:
                exporter.update()
                due = max(due + interval, time.monotonic())


def _source(recording: Path | None, chosen: Policy | None, interval: float) -> Source:
    """The running machine, or a recording."""
    if recording is None and chosen is None:
        from kevacuate.live.machine import LiveSource
        from kevacuate.live.stallfeed import StallFeed

        return LiveSource(interval, StallFeed())
    from kevacuate.live.playback import play_recording, play_replay
    from kevacuate.policy import PATCHED

    source = open_recording(recording)
    with progress_bar() as progress:
        if chosen is None and source.quality.get("events", 0) < 2:
            chosen = kevacuate.parse_policy(PATCHED)
        if chosen is not None:
            name = f"replaying {chosen.spec}"
            return play_replay(source, chosen, progress=lambda done, total: progress(name, done, total))
        return play_recording(source, progress=lambda done: progress("reading events", done, 0))


def _look(source: Source, interval: float) -> View:
    """One view: of the running machine after reading everything and listening for an interval; of a recording the end."""
    if source.playback:
        source.seek(1 << 40)
        return source.poll()
    from kevacuate.live.machine import LiveSource

    assert isinstance(source, LiveSource)
    began = time.monotonic()
    with progress_bar("reading page flags") as progress:
        source.read_all()
        progress("listening for events", 0, 0)
        time.sleep(max(interval - (time.monotonic() - began), 0))
        return source.poll()


def _print(view: View, as_json: bool) -> None:
    """A view, as JSON or as text."""
    if as_json:
        print_json(view.as_dict())
        return
    from kevacuate.live.text import Options, events_text, free_text, head_text, map_text, queue_text

    out = console()
    width = min(out.width, 120)
    for text in (
        head_text(view, Options(), width),
        map_text(view, Options(), width, 42),
        free_text(view, min(width, 60), 12),
        queue_text(view, Options(), 22),
        events_text(view, width, 21),
    ):
        out.print(text, highlight=False)
        out.print()


def _need_terminal() -> None:
    """Refuse the terminal view where there is none, before privileges are looked at."""
    try:
        import kevacuate.live.app  # noqa: F401  (whether it loads is the question)
    except ImportError:
        raise KevacuateError(
            "The terminal view needs Textual: pip install 'kevacuate[watch]', or use --once."
        ) from None
    for name in ("stdin", "stdout", "stderr"):  # keys are read from the first, the view is drawn on the last
        if not getattr(sys, name).isatty():
            raise KevacuateError(
                f"The terminal view needs a terminal, which {name} is not: use --once, with --json for scripts."
            )


def _run(source: Source, interval: float, duration: float) -> None:
    """The terminal application."""
    from kevacuate.live.app import WatchApp

    app = WatchApp(source, interval, duration)
    with patient():  # the application gives the terminal back
        app.run()
    if app.ended_by is not None:
        caught.append(app.ended_by)
        heed()
    if app.error is not None:
        raise app.error
