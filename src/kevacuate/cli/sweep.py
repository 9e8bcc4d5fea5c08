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
from kevacuate.cli.common import console, print_json, progress_bar, writable
from kevacuate.cli.options import Integer, json_option, path_option, refuse_empty
from kevacuate.ending import heed, owed

BENEFIT, COST = "end.mixed_blocks", "cost.worker_ms+compaction.ms"
"""What the front weighs unless told (:mod:`kevacuate.sweeps.shown`)."""

MOST_CONTEXTS = 6
"""Contexts whose tables are printed."""

EVERY_SECONDS = 20.0
"""Outside a terminal: how often it is said how far the sweep is."""


@click.command("sweep", short_help="Replay a grid of demands, policies, knobs and seeds.")
@click.argument(
    "words", metavar="EXPERIMENT.toml | show STORE", nargs=-1, required=True, callback=refuse_empty
)
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
@path_option("--page", metavar="FILE", file=True, help="With show: write an HTML page that opens offline.")
@click.option("--benefit", metavar="ROW", help=f"With show: what the front weighs. Default: {BENEFIT}.")
@click.option("--cost", metavar="ROW[+ROW]", help=f"With show: against what. Default: {COST}.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    words: tuple[str, ...],
    store: Path | None,
    workers: int | None,
    shard: str | None,
    collecting: bool,
    scheduler: str | None,
    page: Path | None,
    benefit: str | None,
    cost: str | None,
    as_json: bool,
) -> None:
    """Replay every cell of a grid, and keep each result in a store: a cell that is there is never replayed again.

    EXPERIMENT.toml lists recordings, policies, knobs and seeds. Every combination is a cell. The same command goes on after
    Ctrl-C or a crash. DIR/results.parquet has a row a cell.

    `kevacuate sweep show STORE` says which settings help, what explains the variation, and what a benefit costs at least.

    Example: kevacuate sweep pool.toml --store pool.sweep

    Example: kevacuate sweep show pool.sweep --page pool.html
    """
    hands = store or workers or shard or collecting or scheduler
    if words[0] == "show":
        if len(words) != 2:
            raise click.UsageError("show takes one store: kevacuate sweep show STORE.")
        if hands:
            raise click.UsageError(
                "show replays nothing, so it takes neither --store nor --workers nor --shard nor --collect nor --scheduler."
            )
        _show(Path(words[1]), page, benefit or BENEFIT, cost or COST, as_json=as_json)
        return
    if len(words) > 1:
        raise click.UsageError(f"One experiment makes one sweep, and {len(words)} were given.")
    if page or benefit or cost:
        raise click.UsageError(
            "--page, --benefit and --cost belong to what is shown: kevacuate sweep show STORE."
        )
    result = _swept(Path(words[0]), store, workers, shard, collecting, scheduler)
    if as_json:
        print_json(result.to_json())
    else:
        from kevacuate.reports.sweeps.words import swept_words

        console().print("\n".join(swept_words(result)), markup=False, highlight=False)
    if result.missing:
        context.exit(2)


def _swept(
    experiment: Path,
    store: Path | None,
    workers: int | None,
    shard: str | None,
    collecting: bool,
    scheduler: str | None,
) -> kevacuate.Swept:
    """Sweep, or collect."""
    if collecting:
        if shard or workers or scheduler:
            raise click.UsageError(
                "--collect replays nothing, so it takes neither --shard nor --workers nor --scheduler."
            )
        with progress_bar("collecting the results"):
            return kevacuate.collect(experiment, store)
    if scheduler and (shard or workers):
        raise click.UsageError(
            "--scheduler has workers of its own, so it takes neither --shard nor --workers."
        )
    with _progress() as progress:
        return kevacuate.sweep(
            experiment, store, workers=workers, shard=shard, scheduler=scheduler, progress=progress
        )


def _show(store: Path, page: Path | None, benefit: str, cost: str, *, as_json: bool) -> None:
    """Say what a store's results come to."""
    from kevacuate.reports.sweeps.shown import context_table, explained_table, shown_json, shown_words

    writable(page)
    with progress_bar("reading the results") as report:
        shown = kevacuate.show_sweep(store, benefit=benefit, cost=cost)
        if page:
            from kevacuate.reports.sweeps.page import write_sweep_page

            report("writing the page", 0, 0)
            write_sweep_page(shown, page)
    if as_json:
        print_json(shown_json(shown))
        return
    out = console()
    for one in shown.contexts[:MOST_CONTEXTS]:
        out.print(context_table(shown, one))
    if len(shown.contexts) > MOST_CONTEXTS:
        left = len(shown.contexts) - MOST_CONTEXTS
        out.print(f"{left:,} contexts more are in the JSON and on the page.", markup=False, highlight=False)
    if explained := explained_table(shown):
        out.print(explained)
    out.print("\n".join(shown_words(shown)), markup=False, highlight=False)


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
    with progress_bar("reading the recordings") as report:

        def line(far: Any) -> None:
            nonlocal said
            report("replaying the first cells", 0, 0)
            if far.done + far.failed < far.total and time.monotonic() - said >= EVERY_SECONDS:
                said = time.monotonic()
                click.echo(f"kevacuate: {far_words(far)}.", err=True)

        yield line
