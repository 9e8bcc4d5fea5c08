# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate fleet``."""

from __future__ import annotations

from functools import partial

import click

import kevacuate
from kevacuate.cli.common import console, print_json, progress_bar
from kevacuate.cli.options import Integer, json_option, refuse_empty


@click.command("fleet", short_help="Many machines: which fragment, and which to record in full?")
@click.argument("places", metavar="DIR|GLOB...", nargs=-1, required=True, callback=refuse_empty)
@click.option("--workers", metavar="N", type=Integer(1, 1024), help="Processes at once. Default: one a core.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Have the workers of a Dask scheduler triage: tcp://HOST:PORT."
)
@json_option
def command(places: tuple[str, ...], workers: int | None, scheduler: str | None, as_json: bool) -> None:
    """Triage thousands of recordings side by side: which machines fragment, by whom, which are alike.

    Light recordings are enough (`kevacuate record --light`). Recordings are looked for in DIR, however deep. Three machines are
    named that are worth a full recording, because they stand for the most.

    Example: kevacuate fleet recordings/ --json
    """
    from kevacuate.reports.sweeps.fleet import (
        clusters_table,
        fleet_json,
        fleet_words,
        machines_table,
        who_table,
    )

    if scheduler is not None and workers:
        raise click.UsageError("--scheduler has workers of its own, so it takes no --workers.")
    with progress_bar("looking for recordings") as progress:
        told = partial(progress, "reading recordings")
        found = kevacuate.fleet(places, workers=workers, scheduler=scheduler, progress=told)
    if as_json:
        print_json(fleet_json(found))
        return
    out = console()
    out.print(machines_table(found))
    out.print(clusters_table(found))
    if who := who_table(found):
        out.print(who)
    out.print("\n".join(fleet_words(found)), markup=False, highlight=False)
