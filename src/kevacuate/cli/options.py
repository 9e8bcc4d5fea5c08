# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments and options that several commands have, each written once, and the stacks that belong together."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Any], Any]

PAIR = ("mainline", "evacuate")
"""What a recording is replayed under by default, where maps stand side by side."""

REPEATS = 5
"""Replays of each policy by default: enough for the exact test to tell a difference (5 and 5 give p of 0.008 at best)."""


def policies_help() -> str:
    """The policies and knobs, for ``--help``."""
    from kevacuate.policy import KNOBS, POLICIES

    lines = ["\b", "Policies:"]
    lines += [_hanging(f"{name}: {what}") for name, (what, _) in POLICIES.items()]
    lines += ["Knobs (evacuate,KNOB=VALUE,...):"]
    lines += [_hanging(f"{name}: {knob.help}; {knob.values}") for name, knob in KNOBS.items()]
    return "\n".join(lines)


def _hanging(text: str) -> str:
    """A paragraph for a terminal of 80 columns, its first line a little to the left."""
    return textwrap.fill(text, 76, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)


recording_argument = click.argument("recording", required=False, type=click.Path(path_type=Path))

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of a table.")

series_option = click.option("--series", is_flag=True, help="With --json: the time series too.")

seed_option = click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**31 - 1),
    help="Seeds the random choices of a run: when background work starts (not with 0), which blocks carry a drawn skip bit.",
)

losses_option = click.option("--despite-losses", is_flag=True, help="Replay a recording that lost events.")

save_option = click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the whole result in FILE, with the pageblock map over time. `kevacuate report FILE` reads it.",
)


def policies_option(what: str, default: Sequence[str] | str) -> Decorator:
    """``--policy P``, which may be repeated, as ``policies``; *what* it is for, and what is taken without it."""
    taken = default if isinstance(default, str) else ", ".join(default)
    text = f"{what}; repeat it. Default: {taken}." if taken else f"{what}; repeat it."
    return click.option("--policy", "policies", multiple=True, metavar="P", help=text)


def policy_option(what: str, default: str | None = None) -> Decorator:
    """``--policy P``, a single one, as ``policy``."""
    return click.option("--policy", default=default, show_default=default is not None, metavar="P", help=what)


def repeats_option(function: Any) -> Any:
    """``--repeats N``; None where it is not given, see :func:`repeats_of`."""
    return click.option(
        "-r",
        "--repeats",
        metavar="N",
        type=click.IntRange(1, 1000),
        help=f"Replays of each policy, with seeds from --seed on. A single one is one draw of chance. Default: {REPEATS}.",
    )(function)


def repeats_of(given: int | None) -> int:
    """How often to replay."""
    return REPEATS if given is None else given


def replay_options(function: Any) -> Any:
    """``--seed`` and ``--despite-losses``: how a recording is replayed."""
    return seed_option(losses_option(function))


def result_options(function: Any) -> Any:
    """``--json``, ``--series``, ``--seed``, ``--despite-losses``, ``--save``: of the commands that replay and print figures."""
    return json_option(series_option(replay_options(save_option(function))))
