# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate compare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, doing, open_recording, print_json, progress_bar, writable
from kevacuate.cli.options import (
    Duration,
    all_option,
    policies_help,
    policies_option,
    refuse_empty,
    repeats_option,
    result_options,
    start_option,
    time_option,
)
from kevacuate.cli.recorded import GroupsCommand, compare_recorded
from kevacuate.policy import COMPARED

TIME = "12s"
"""What a comparison may take by default."""

SAMPLES = 20
"""Samples of a replay of which neither time series nor maps are kept: each costs as much as two thousand rows of demand."""


@click.command(
    "compare",
    cls=GroupsCommand,
    epilog=policies_help(),
    short_help="Replay under several policies, or set recordings side by side.",
)
@click.argument("recordings", metavar="[RECORDING]...", nargs=-1, callback=refuse_empty)
@click.option(
    "--recorded",
    is_flag=True,
    help="No replay: set recordings of real kernels side by side, A B ... or groups of repeats A1 A2 -- B1 B2 ...",
)
@policies_option(
    "NAME[,knob=value...] or FILE.py:CLASS[,knob=value...]; the first is what the others are compared with",
    COMPARED,
)
@start_option
@time_option(TIME, "Go on until the rows that decide are decided, or so much time is spent.")
@repeats_option("Replays of each policy, in place of a time, with seeds from --seed on.")
@click.option(
    "--details",
    is_flag=True,
    help="With --recorded: all rows, free chunks by order too, and every recording's value.",
)
@all_option
@result_options
def command(
    recordings: tuple[str, ...],
    recorded: bool,
    policies: tuple[str, ...],
    start: Path | None,
    seconds: float | None,
    repeats: int | None,
    details: bool,
    every: bool,
    as_json: bool,
    series: bool,
    seed: int,
    loop: str,
    despite_losses: bool,
    save: Path | None,
) -> None:
    """Replay RECORDING (default: the one that ships with the package) under several policies, side by side.

    Each policy is replayed with one seed after the other, at least five, until the rows that decide are decided or --time is
    spent. It ends earlier where --time is too short for every row that is left. Shown are mean, spread and difference, and
    whether so many replays can tell it from chance.

    With --recorded: two or more recordings of real kernels side by side, counted from their events and snapshots without a
    model. Repeats are groups, with -- between them.

    Example: kevacuate compare --policy mainline --policy evacuate,skip-hint=ignore

    Example: kevacuate compare web-server.toml --start used.kev

    Example: kevacuate compare --recorded stock1.kev stock2.kev stock3.kev -- patched1.kev patched2.kev patched3.kev
    """
    if recorded:
        _refuse_with_recorded(
            policies or series or save or repeats or every or seconds is not None or start is not None
        )
        compare_recorded(recordings, as_json=as_json, details=details, despite_losses=despite_losses)
        return
    _refuse_contradictions(recordings, repeats, seconds)
    options = kevacuate.ReplayOptions(
        seed=seed, loop=loop, despite_losses=despite_losses, keep=save is not None
    )
    if not (series or save):
        options = replace(options, samples=SAMPLES)
    path = Path(recordings[0]) if recordings else None
    result = _replays(path, start, policies or COMPARED, repeats, seconds, options, save)
    if as_json:
        _print_json(result, series=series)
    else:
        _print(result, every=every)


def _print_json(result: kevacuate.Comparison, *, series: bool) -> None:
    """The comparison as JSON, which begins with the verdict."""
    from kevacuate.reports.comparison.conclusion import FIRST, comparison_json

    print_json(comparison_json(result, series=series), first=FIRST)


def _print(result: kevacuate.Comparison, *, every: bool) -> None:
    """The verdict and what it is worth, the table, and what each policy did."""
    from kevacuate.reports.comparison.conclusion import FIRST, first_parts
    from kevacuate.reports.comparison.tables import comparison_table

    out, said = console(), kevacuate.conclusion(result)
    for text in first_parts(said).values():
        out.print(text, markup=False, highlight=False)
    out.print(comparison_table(result, every=every))
    rest = [part.text for part in said if part.kind not in FIRST]
    out.print("\n".join(rest), markup=False, highlight=False)


def _refuse_with_recorded(others: object) -> None:
    """Refuse --recorded beside options of a replay."""
    if others:
        raise click.UsageError(
            "--recorded replays nothing, so it takes neither --policy nor --start nor --repeats nor --time nor --all nor "
            "--series nor --save."
        )


def _refuse_contradictions(recordings: Sequence[str], repeats: int | None, seconds: float | None) -> None:
    """One recording is replayed, for a time or so many times."""
    if len(recordings) > 1:
        raise click.UsageError(
            f"compare replays one recording, and {len(recordings)} were given; to set recordings side by side use --recorded."
        )
    if repeats is not None and seconds is not None:
        raise click.UsageError(
            "--repeats makes a fixed number of replays, --time as many as fit: give one of them."
        )


def _replays(
    path: Path | None,
    start: Path | None,
    policies: Sequence[str],
    repeats: int | None,
    seconds: float | None,
    options: kevacuate.ReplayOptions,
    save: Path | None,
) -> kevacuate.Comparison:
    """Replay the recording at *path* (None: the one that ships), on the state *start*, and save the comparison where asked to.

    Compiling counts of a time that was asked for alone: by default it would leave too little for a verdict.
    """
    asked = repeats is not None or seconds is not None
    writable(save)
    for spec in policies:
        kevacuate.parse_policy(spec)
    with progress_bar() as progress:
        result = kevacuate.compare(
            open_recording(path, start),
            policies,
            repeats=repeats,
            seconds=seconds if asked else Duration().convert(TIME, None, None),
            count_compiling=asked,
            options=options,
            progress=doing("replaying", progress),
            say=_say,
        )
        if save:
            progress(f"writing {save}", 0, 0)
            kevacuate.save(result, save)
    return result


def _say(sentence: str) -> None:
    """What is known before the replays, on stderr."""
    console(stderr=True).print(sentence, markup=False, highlight=False)
