# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate verify``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, doing, print_json, progress_bar
from kevacuate.cli.options import Integer, Name, Number, json_option, loop_option
from kevacuate.measure.fidelity import LEVELS


@click.command("verify", short_help="Hold the model against the recorded kernel, decision by decision.")
@click.argument("recording", type=Name())
@click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.Choice(LEVELS),
    help="Only this level; repeat it. Default: all.",
)
@click.option(
    "--require",
    type=Number(0.0, 1.0),
    metavar="X",
    help="Exit 1 if a level's exactness is below X (0 to 1). A level named by --level must have been exercised, too.",
)
@click.option(
    "--resync", is_flag=True, help="Take over the recorded state at each dump that differs (counted)."
)
@click.option(
    "--repeats-table",
    "tables",
    multiple=True,
    type=Name(),
    help="CSV of what boots of real kernels came to, for the verdict level; repeat it. "
    "Default: outcomes.csv and outcomes-pressure.csv beside RECORDING.",
)
@click.option(
    "--replays",
    type=Integer(1, 1000),
    default=12,
    show_default=True,
    help="Replays of each policy, for the verdict level.",
)
@loop_option
@click.option("--despite-losses", is_flag=True, help="Verify a recording that lost events.")
@click.option("--details", is_flag=True, help="Decisions by kind, inputs, causes and notes of every level.")
@json_option
def command(
    recording: Path,
    levels: tuple[str, ...],
    require: float | None,
    resync: bool,
    tables: tuple[Path, ...],
    replays: int,
    loop: str,
    despite_losses: bool,
    details: bool,
    as_json: bool,
) -> int:
    """Put the recorded kernel's requests to the model, and count how often it decides what the kernel decided.

    RECORDING is a .kev directory, or one with the raw trace of a kernel with the recording hooks.
    The page docs/fidelity.md says what each level takes from the recording (its inputs). Only what the model decides by itself is
    counted.
    A level that the recording cannot support is "not exercised", which is not a pass.

    Example: kevacuate verify stock-churn.kev --level buddy --level pcp --require 0.999
    """
    from kevacuate.reports.fidelity.tables import details_text, verification_table

    with progress_bar() as progress:
        result = kevacuate.verify(
            recording,
            levels or LEVELS,
            resync=resync,
            despite_losses=despite_losses,
            repeats_table=tables,
            replays=replays,
            options=kevacuate.ReplayOptions(loop=loop),
            progress=doing("verifying", progress),
        )
    passed = require is None or result.passes(require, must_run=bool(levels))
    if as_json:
        print_json({**result.as_dict(), "required": require, "passed": passed})
        return 0 if passed else 1
    out = console()
    out.print(verification_table(result, require))
    for line in details_text(result, full=details):
        out.print(line, markup=False, highlight=False)
    return 0 if passed else 1
