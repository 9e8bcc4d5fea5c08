# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate report``."""

from __future__ import annotations

import os
from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import progress_bar, writable
from kevacuate.cli.options import Name, policies_help, policies_option, repeats_option, replay_options
from kevacuate.policy import PAIR
from kevacuate.recording.recording import SHIPPED


@click.command("report", epilog=policies_help(), short_help="One HTML page to look at and to mail.")
@click.argument("inputs", nargs=-1, metavar="[RUN|COMPARISON|RECORDING]...", type=Name())
@click.option(
    "-o",
    "--output",
    metavar="PAGE.html",
    type=Name(dir_okay=False),
    help="The page to write. Default: the input's name with .html, in the current directory.",
)
@policies_option("Policies to replay a recording under", PAIR)
@repeats_option()
@click.option("--recorded", is_flag=True, help="Show the states as recorded; replay nothing.")
@replay_options
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    policies: tuple[str, ...],
    repeats: int | None,
    recorded: bool,
    seed: int,
    loop: str,
    despite_losses: bool,
) -> None:
    """Write one self-contained HTML page: every pageblock over time, timelines, flows between types, all figures.

    The input is what `compare --save FILE` or `replay --save FILE` wrote. Several such files of one recording are shown
    together, with the spread where a policy was run several times. A RECORDING (default: the one that ships with the package)
    is replayed first, each policy several times. A recording that cannot be replayed is shown as it was recorded.

    Example: kevacuate report my-server.kev -o my-server.html
    """
    output = output or Path(f"{Path(os.path.realpath(inputs[0]) if inputs else SHIPPED).stem}.html")
    writable(output)
    for spec in policies:
        kevacuate.parse_policy(spec)
    with progress_bar() as progress:
        made = kevacuate.report(
            inputs or kevacuate.open(),
            output,
            policies or None,
            repeats=repeats,
            recorded=recorded,
            seed=seed,
            loop=loop,
            despite_losses=despite_losses,
            progress=progress,
        )
    click.echo(f"{output}: {made.stat().st_size / 1e6:.1f} MB", err=True)
