# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate start``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, print_json, progress_bar, writable
from kevacuate.cli.options import (
    Duration,
    Integer,
    Number,
    json_option,
    path_option,
    policy_option,
    recording_argument,
    replay_options,
)


@click.command("start", short_help="Make the memory that replays begin from: taken, scaled, aged.")
@recording_argument
@path_option(
    "-o",
    "--output",
    required=True,
    metavar="NAME.kev",
    help="The start state's file; it must not exist. NAME.llfree: a trace for LLFree's replay. NAME.proc: copies of /proc files.",
)
@click.option("--state", metavar="LABEL", help="Take this recorded state, as peak. Default: the start.")
@policy_option("Replay RECORDING under this policy, and take what the model has then.")
@click.option(
    "--at",
    type=Duration(),
    metavar="TIME",
    help="With --policy: take it after so much virtual time. Default: at the end.",
)
@click.option(
    "--aged",
    is_flag=True,
    help="With --policy: replay it again and again until memory has come to rest, as a test says.",
)
@click.option(
    "--tolerance",
    type=Number(0, 1),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="With --aged: how far a share of pageblocks may still drift.",
)
@click.option(
    "--free",
    type=Number(0, 1),
    default=0.0,
    metavar="SHARE",
    help="With --policy: free this share of what the demand has then, as 0.5.",
)
@click.option("--memory", metavar="SIZE", help="Scale it to a machine with so much memory, as 16GiB.")
@click.option("--cpus", type=Integer(1, 1024), metavar="N", help="Scale it to a machine with so many CPUs.")
@replay_options
@json_option
def command(
    recording: Path | None,
    output: Path,
    state: str | None,
    policy: str | None,
    at: float | None,
    aged: bool,
    tolerance: float,
    free: float,
    memory: str | None,
    cpus: int | None,
    seed: int,
    loop: str,
    despite_losses: bool,
    as_json: bool,
) -> None:
    """Make the memory that replays begin from: a start state, of RECORDING (default: the one that ships with the package).

    RECORDING is a recording, a described workload, a start state, or what `kevacuate snapshot -o NAME.kev` wrote. It may be a
    trace of LLFree's (NAME.llfree), or a folder with copies of /proc/kpageflags and /proc/zoneinfo.

    Its start is taken, or another recorded state, or what a replay comes to. It can then be scaled to another machine. `compare
    --start` and `replay --start` begin from it.

    Example: kevacuate start my-server.kev --policy mainline --at 10m --memory 64GiB -o used.kev

    Example: kevacuate start web-server.toml --policy mainline --aged --free 0.5 -o aged.kev
    """
    from kevacuate.reports.start import start_sentence

    writable(output)
    options = kevacuate.ReplayOptions(seed=seed, loop=loop, despite_losses=despite_losses)
    with progress_bar() as progress:
        made = kevacuate.start_state(
            recording, state=state, policy=policy, at=at, aged=aged, tolerance=tolerance, free=free,
            memory=memory, cpus=cpus, options=options, progress=progress, target=output,
        )  # fmt: skip
        where, lost = kevacuate.save_start(made, output)
    about = {
        "start": str(where),
        "digest": made.digest,
        "cpus": made.machine.cpus,
        "made": list(made.made),
        "lost": lost,
        **made.shares,
    }
    if as_json:
        print_json(about)
        return
    for text in (start_sentence(where, about), lost):
        if text:
            console().print(text, markup=False, highlight=False)
