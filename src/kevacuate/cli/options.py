# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments and options that several commands have, each written once, and the stacks that belong together."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kevacuate.measure.permutation import REPEATS
from kevacuate.runs.loop_choice import LOOPS

Decorator = Callable[[Any], Any]


def policies_help() -> str:
    """The policies and knobs, for ``--help``."""
    from kevacuate.policy import KNOBS, PATCHED, policies_told

    lines = ["\b", "Policies:"]
    lines += [_hanging(f"{name}: {what}") for name, what in policies_told().items()]
    lines += [f"Knobs ({PATCHED},KNOB=VALUE,...):"]
    lines += [_hanging(f"{name}: {knob.help}; {knob.values}") for name, knob in KNOBS.items()]
    return "\n".join(lines)


def _hanging(text: str) -> str:
    """A paragraph for a terminal of 80 columns, its first line a little to the left."""
    return textwrap.fill(text, 76, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)


class Integer(click.IntRange):
    """A whole number in a range, which is called one where something else is given."""

    name = "integer"


class Number(click.FloatRange):
    """A finite number in a range. click's own takes NaN, which no comparison refuses."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number.

        Raises
        ------
        click.BadParameter
            It is none, is not finite, or lies outside the range.
        """
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return super().convert(value, param, ctx)


_EMPTY = "an empty name names no file."


class Name(click.Path):
    """The name of a file or directory, which is not empty: an empty one would name the current directory.

    Whether it can be read is for those to say who read it: click would ask that of a file to be written, too.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(path_type=Path, readable=False, **given)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises
        ------
        click.BadParameter
            It is empty, or not of the kind that is asked for.
        """
        if value == "":
            self.fail(_EMPTY, param, ctx)
        return super().convert(value, param, ctx)


def refuse_empty(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    """Words that may be names of files, none of them empty.

    Raises
    ------
    click.BadParameter
        One is empty.
    """
    if "" in words:
        raise click.BadParameter(_EMPTY)
    return words


MOST_SECONDS = 366 * 86400.0
"""Longest time that a command records or watches: a year."""

recording_argument = click.argument("recording", required=False, type=Name())


def path_option(*names: str, file: bool = False, **given: Any) -> Decorator:
    """An option that takes a path, of a *file* alone or of a directory, too."""
    return click.option(*names, type=Name(dir_okay=not file), **given)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of a table.")

series_option = click.option("--series", is_flag=True, help="With --json: the time series too.")

seed_option = click.option(
    "--seed",
    default=0,
    show_default=True,
    type=Integer(0, 2**31 - 1),
    help="Seeds the random choices of a run: when background work starts (not with 0), which blocks carry a drawn skip bit.",
)

loop_option = click.option(
    "--loop",
    default="auto",
    show_default=True,
    type=click.Choice(LOOPS),
    help="open: reclaim is the recorded kernel's. closed: the model reclaims by itself. auto: what the demand is fit for.",
)

start_option = path_option(
    "--start",
    metavar="FILE",
    help="Begin from this start state, not from the demand's own: what `kevacuate start` wrote, or a recording.",
)

losses_option = click.option("--despite-losses", is_flag=True, help="Replay a recording that lost events.")

save_option = click.option(
    "--save",
    type=Name(dir_okay=False),
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


def repeats_option(
    what: str = f"Replays of each policy, with seeds from --seed on. A single one is one draw of chance. Default: {REPEATS}.",
) -> Decorator:
    """``--repeats N``; None where it is not given, see :func:`repeats_of`."""
    return click.option("-r", "--repeats", metavar="N", type=Integer(1, 1000), help=what)


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A time: a number of seconds, or one with the unit s, m or h; as a number of seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds.

        Raises
        ------
        click.BadParameter
            It is no such time.
        """
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(s|m|h)?", value, re.ASCII)
        seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"] if found else -1.0
        if not 0 <= seconds <= self.MOST:
            self.fail(f"{value!r} is not a time: write 15s, 2m or 1h, up to a week.", param, ctx)
        return seconds

    MOST = 7 * 86400.0


def time_option(default: str, what: str) -> Decorator:
    """``--time T``, in seconds, as ``seconds``; None where it is not given: then *default* is meant."""
    text = f"{what} Write 15s, 2m or 1h. Default: {default}."
    return click.option("-t", "--time", "seconds", metavar="TIME", type=Duration(), help=text)


def repeats_of(given: int | None) -> int:
    """How often to replay."""
    return REPEATS if given is None else given


def replay_options(function: Any) -> Any:
    """``--seed``, ``--loop`` and ``--despite-losses``: how a recording is replayed."""
    return seed_option(loop_option(losses_option(function)))


all_option = click.option("--all", "every", is_flag=True, help="Show the rows that are 0 in every run, too.")
"""Nothing folds away."""


def result_options(function: Any) -> Any:
    """``--json``, ``--series``, ``--save`` and :func:`replay_options`: of the commands that replay and print figures."""
    return json_option(series_option(replay_options(save_option(function))))
