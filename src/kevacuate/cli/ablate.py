# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate ablate``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, open_recording, print_json, progress_bar
from kevacuate.cli.options import (
    json_option,
    policies_help,
    policy_option,
    recording_argument,
    repeats_option,
    replay_options,
)
from kevacuate.policy import PATCHED

REPEATS, LEAST = 15, 10
"""Replays of each variant, by default and at least (:mod:`kevacuate.measure.ablated`)."""


@click.command(
    "ablate", epilog=policies_help(), short_help="Take a policy apart: what each part buys, and costs."
)
@recording_argument
@policy_option("NAME[,knob=value...], which is taken apart.", PATCHED)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="KNOB=VALUE,...",
    help="A variant of the policy, in place of those that it declares; repeat it.",
)
@repeats_option(f"Replays of each variant, at least {LEAST}, with seeds from --seed on. Default: {REPEATS}.")
@json_option
@replay_options
def command(
    recording: Path | None,
    policy: str,
    variants: tuple[str, ...],
    repeats: int | None,
    as_json: bool,
    seed: int,
    loop: str,
    despite_losses: bool,
) -> None:
    """Replay a policy and its variants on RECORDING (default: the one that ships with the package), side by side.

    A variant is the policy without one of its parts, or with one thing done that it leaves open. The policy declares them. The
    table says what each buys and what it costs, against the policy as it is. It has at most 80 columns.

    Example: kevacuate ablate my-server.kev --policy evacuate,skip-hint=ignore --repeats 20
    """
    if repeats is not None and repeats < LEAST:
        raise click.UsageError(f"--repeats cannot be {repeats}: fewer than {LEAST} can show nothing.")
    from kevacuate.policy.ablation import ablation_of

    ablation_of(kevacuate.parse_policy(policy), variants or None)
    options = kevacuate.ReplayOptions(seed=seed, loop=loop, despite_losses=despite_losses)
    source = open_recording(recording)
    with progress_bar() as progress:
        result = kevacuate.ablate(
            source,
            policy,
            variants or None,
            repeats=REPEATS if repeats is None else repeats,
            options=options,
            progress=progress,
        )
    _print(result, as_json=as_json)


def _print(result: kevacuate.Ablation, *, as_json: bool) -> None:
    """The ablation as text or as JSON."""
    from kevacuate.reports.ablation import ablation_json, ablation_text

    if as_json:
        print_json(ablation_json(result))
        return
    console().print(ablation_text(result), markup=False, highlight=False)
