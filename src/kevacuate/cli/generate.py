# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate generate``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, print_json, progress_bar, writable
from kevacuate.cli.options import Name, json_option, path_option


@click.command("generate", short_help="Make a recording of a described workload.")
@click.argument("description", type=Name(dir_okay=False), metavar="DESCRIPTION.toml")
@path_option(
    "-o", "--output", required=True, metavar="NAME.kev", help="The recording to make; it must not exist."
)
@json_option
def command(description: Path, output: Path, as_json: bool) -> None:
    """Make a recording of the workload that DESCRIPTION.toml describes: a start state and a demand, no events.

    The same description gives the same rows, bit for bit. The commands that replay take the description itself, too: then the
    demand is made while it is replayed, and each seed draws it anew.

    Example: kevacuate generate web-server.toml -o web-server.kev
    """
    writable(output)
    workload = kevacuate.read_workload(description)
    with progress_bar("planning the workload") as progress:
        made = kevacuate.generate(
            workload, output, progress=lambda done, total: progress("generating", done, total)
        )
        demand = kevacuate.build_demand(made)
        spans = demand.spans
    about = {
        "recording": str(made.path),
        "workload": workload.name,
        "virtual_seconds": workload.duration / 1e9,
        "rows": spans.closed.rows,
        "rows_of_the_open_loop": spans.open.rows,
        "objects": demand.max_objects,
        "allocations": demand.quality.allocs,
        "frees": demand.quality.frees,
        "uses": demand.quality.accesses,
        "digest": made.digest,
    }
    if as_json:
        print_json(about)
        return
    console().print(
        f"{made.path}: {spans.closed.rows:,} rows in {workload.duration / 1e9:,.0f} s of virtual time, "
        f"{demand.quality.allocs:,} allocations, {demand.quality.frees:,} frees, {demand.quality.accesses:,} uses of page cache.",
        markup=False,
        highlight=False,
    )
