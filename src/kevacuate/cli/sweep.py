# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate sweep``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import kevacuate
from kevacuate.cli.common import console, print_json
from kevacuate.cli.options import Integer, Name, json_option, path_option
from kevacuate.ending import heed, owed

EVERY_SECONDS = 20.0
"""Outside a terminal: how often it is said how far the sweep is."""


@click.command("sweep", short_help="Replay a grid of demands, policies, knobs and seeds.")
@click.argument("experiment", metavar="EXPERIMENT.toml", type=Name())
@path_option("--store", metavar="DIR", help="Where results are kept. Default: EXPERIMENT.sweep.")
@click.option(
    "--workers",
    metavar="N",
    type=Integer(1, 1024),
    help="Processes at once. Default: one a core, fewer where memory is short.",
)
@click.option("--shard", metavar="K/N", help="Replay part K of N only, K from 1 on: for schedulers of jobs.")
@click.option(
    "--collect",
    "collecting",
    is_flag=True,
    help="Replay nothing: collect what shards left, say what is missing.",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Have the workers of a Dask scheduler replay: tcp://HOST:PORT."
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    experiment: Path,
    store: Path | None,
    workers: int | None,
    shard: str | None,
    collecting: bool,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Replay every cell of a grid, and keep each result in a store: a cell that is there is never replayed again.

    EXPERIMENT.toml lists recordings, policies, knobs and seeds. Every combination is a cell. The same command goes on after
    Ctrl-C or a crash. DIR/results.parquet has a row a cell.

    Example: kevacuate sweep pool.toml --store pool.sweep
    """
    from kevacuate.reports.sweeps.words import swept_words

    if collecting:
        if shard or workers or scheduler:
            raise click.UsageError(
                "--collect replays nothing, so it takes neither --shard nor --workers nor --scheduler."
            )
        result = kevacuate.collect(experiment, store)
    else:
        if scheduler and (shard or workers):
            raise click.UsageError(
                "--scheduler has workers of its own, so it takes neither --shard nor --workers."
            )
        with _progress() as progress:
            result = kevacuate.sweep(
                experiment, store, workers=workers, shard=shard, scheduler=scheduler, progress=progress
            )
    if as_json:
        print_json(result.to_json())
    else:
        console().print("\n".join(swept_words(result)), markup=False, highlight=False)
    if result.missing:
        context.exit(2)


@contextmanager
def _progress() -> Iterator[Callable[[Any], None]]:
    """Shows how far the sweep is: a line that changes in a terminal, elsewhere a line now and then."""
    from kevacuate.reports.sweeps.words import far_words

    screen = console(stderr=True)
    if screen.is_terminal:
        with screen.status("reading the recordings") as shown, owed(shown.stop):

            def show(far: Any) -> None:
                heed()
                shown.update(far_words(far))

            yield show
        return
    said = time.monotonic()

    def line(far: Any) -> None:
        nonlocal said
        heed()
        if far.done + far.failed < far.total and time.monotonic() - said >= EVERY_SECONDS:
            said = time.monotonic()
            click.echo(f"kevacuate: {far_words(far)}.", err=True)

    yield line
