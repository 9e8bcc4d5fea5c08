# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate replay``."""

from __future__ import annotations

from pathlib import Path

import click

from kevacuate.cli.common import (
    console,
    json_option,
    losses_option,
    open_recording,
    print_json,
    progress_bar,
    recording_argument,
    seed_option,
)


@click.command("replay", short_help="Replay under one policy.")
@recording_argument
@click.option("--policy", default="mainline", show_default=True, metavar="P", help="NAME[,knob=value...].")
@json_option
@click.option("--series", is_flag=True, help="With --json: the time series too.")
@seed_option
@losses_option
def command(
    recording: Path | None, policy: str, as_json: bool, series: bool, seed: int, despite_losses: bool
) -> None:
    """Replay RECORDING (default: the one that ships with the package) under one policy and print what happened.

    Example: kevacuate replay --policy evacuate,pool=8 --json
    """
    from kevacuate.measure import Comparison
    from kevacuate.policy import parse_policy
    from kevacuate.replay.initial import ReplayOptions
    from kevacuate.replay.run import compared_recording, replay
    from kevacuate.report.tables import comparison_table

    chosen = parse_policy(policy)
    source = open_recording(recording)
    with progress_bar() as progress:
        run = replay(
            source,
            chosen,
            options=ReplayOptions(seed=seed, despite_losses=despite_losses),
            progress=lambda done, total: progress(chosen.spec, done, total),
        )
    if as_json:
        print_json(run.to_json(series=series))
        return
    console().print(comparison_table(Comparison((run,), compared_recording(source))))
