# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate tune``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, open_recording, print_json, progress_bar
from kevacuate.cli.options import (
    Duration,
    json_option,
    policies_help,
    policy_option,
    recording_argument,
    repeats_option,
    replay_options,
    time_option,
)
from kevacuate.errors import KevacuateError
from kevacuate.policy import BASELINE

TIME = "45s"
"""What a tuning may take by default."""

LEAST = 8
"""Fewest replays of each finalist (:data:`kevacuate.measure.tuned.LEAST_TESTED`)."""


@click.command(
    "tune", epilog=policies_help(), short_help="Try the kernel's settings: which help, at what cost."
)
@recording_argument
@policy_option(
    "NAME[,knob=value...] or FILE.py:CLASS[,knob=value...], to which each setting is added.", BASELINE
)
@click.option(
    "--try",
    "settings",
    multiple=True,
    metavar="KNOB=VALUE",
    help="A setting to try; repeat it. Default: a grid of the kernel's settings, without those that were recorded.",
)
@time_option(TIME, "What the tuning may take.")
@repeats_option(f"Replays of each finalist in the test, at least {LEAST}, in place of a time.")
@json_option
@replay_options
def command(
    recording: Path | None,
    policy: str,
    settings: tuple[str, ...],
    seconds: float | None,
    repeats: int | None,
    as_json: bool,
    seed: int,
    loop: str,
    despite_losses: bool,
) -> None:
    """Try settings of the kernel on RECORDING (default: the one that ships with the package): which help, and at what cost.

    Every setting is replayed a few times. The best are replayed again, with other seeds, and tested. A setting without an effect
    is called a winner in at most 5 % of tunings. All this is said of the model.

    Example: kevacuate tune my-server.kev --try watermark_boost_factor=0 --try min_free_kbytes=65536
    """
    if repeats is not None and seconds is not None:
        raise click.UsageError(
            "--repeats makes a fixed number of replays, --time as many as fit: give one of them."
        )
    if repeats is not None and repeats < LEAST:
        raise click.UsageError(f"--repeats cannot be {repeats}: fewer than {LEAST} can show nothing.")
    _check(policy, settings)
    from kevacuate.reports.tune import tuned_basis, tuned_conclusion, tuned_json, tuned_table

    options = kevacuate.ReplayOptions(seed=seed, loop=loop, despite_losses=despite_losses)
    source = open_recording(recording)
    with progress_bar() as progress:
        result = kevacuate.tune(
            source,
            policy,
            settings or None,
            repeats=repeats,
            seconds=Duration().convert(TIME, None, None) if seconds is None else seconds,
            options=options,
            progress=progress,
        )
    if as_json:
        print_json(tuned_json(result))
        return
    out = console()
    out.print(tuned_table(result))
    for text in ("", tuned_conclusion(result), tuned_basis(result)):
        out.print(text, markup=False, highlight=False)


def _check(policy: str, settings: tuple[str, ...]) -> None:
    """Refuse what is no policy or no setting before anything is read."""
    kevacuate.parse_policy(policy)
    for text in settings:
        if "=" not in text or "," in text:
            raise KevacuateError(f"{text!r} is no setting: write KNOB=VALUE, one for each --try.")
        kevacuate.parse_policy(f"{policy},{text}")
