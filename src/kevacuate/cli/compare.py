# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate compare``."""

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

DEFAULT_POLICIES = ("mainline", "evacuate", "evacuate,skip-hint=ignore")


def policies_help() -> str:
    """The policies and knobs, for ``--help``."""
    from kevacuate.policy import KNOBS, POLICIES

    lines = ["\b", "Policies:"]
    lines += [f"  {name}: {what}" for name, (what, _) in POLICIES.items()]
    lines += ["Knobs (evacuate,KNOB=VALUE,...):"]
    lines += [f"  {name}: {knob.help}; {knob.values}" for name, knob in KNOBS.items()]
    return "\n".join(lines)


@click.command("compare", epilog=policies_help(), short_help="Replay under several policies, side by side.")
@recording_argument
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="P",
    help="NAME[,knob=value...]; repeat it. The first is what the others are compared with. Default: "
    + ", ".join(DEFAULT_POLICIES)
    + ".",
)
@json_option
@click.option("--series", is_flag=True, help="With --json: the time series too.")
@seed_option
@losses_option
def command(
    recording: Path | None,
    policies: tuple[str, ...],
    as_json: bool,
    series: bool,
    seed: int,
    despite_losses: bool,
) -> None:
    """Replay RECORDING (default: the one that ships with the package) under several policies, side by side.

    Example: kevacuate compare --policy mainline --policy evacuate,skip-hint=ignore
    """
    from kevacuate.policy import parse_policy
    from kevacuate.replay.initial import ReplayOptions
    from kevacuate.replay.run import compare
    from kevacuate.report.tables import comparison_table
    from kevacuate.report.words import conclusion

    chosen = policies or DEFAULT_POLICIES
    for spec in chosen:
        parse_policy(spec)
    source = open_recording(recording)
    with progress_bar() as progress:
        result = compare(
            source, chosen, options=ReplayOptions(seed=seed, despite_losses=despite_losses), progress=progress
        )
    if as_json:
        print_json({**result.to_json(series=series), "conclusion": conclusion(result)})
        return
    out = console()
    out.print(comparison_table(result))
    out.print(conclusion(result))
