# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate replay``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.again import in_plain_python
from kevacuate.cli.common import console, doing, open_recording, print_json, progress_bar, writable
from kevacuate.cli.options import (
    all_option,
    policy_option,
    recording_argument,
    result_options,
    start_option,
)
from kevacuate.policy import BASELINE


@click.command("replay", short_help="Replay under one policy.")
@recording_argument
@policy_option("NAME[,knob=value...] or FILE.py:CLASS[,knob=value...].", BASELINE)
@start_option
@all_option
@click.option(
    "--debug",
    is_flag=True,
    help="Run model and policy as plain Python: slow, with print and breakpoint in hooks.",
)
@result_options
@click.pass_context
def command(
    context: click.Context,
    recording: Path | None,
    policy: str,
    start: Path | None,
    every: bool,
    debug: bool,
    as_json: bool,
    series: bool,
    seed: int,
    loop: str,
    despite_losses: bool,
    save: Path | None,
) -> None:
    """Replay RECORDING (default: the one that ships with the package) under one policy and print what happened.

    Example: kevacuate replay --policy evacuate,pool=8 --json
    """
    from kevacuate.reports.comparison.conclusion import idle
    from kevacuate.reports.comparison.tables import comparison_table

    if debug:
        context.exit(in_plain_python(context))
    kevacuate.parse_policy(policy)
    writable(save)
    source = open_recording(recording, start)
    options = kevacuate.ReplayOptions(
        seed=seed, loop=loop, despite_losses=despite_losses, keep=save is not None
    )
    with progress_bar() as progress:
        told = doing("replaying", progress)
        result = kevacuate.compare(source, policy, repeats=1, options=options, progress=told)
        if save:
            progress(f"writing {save}", 0, 0)
            kevacuate.save(result, save)
    if as_json:
        print_json(result.baseline.to_json(series=series))
        return
    out = console()
    out.print(comparison_table(result, every=every))
    for part in idle(result):
        out.print(part.text, markup=False, highlight=False)
