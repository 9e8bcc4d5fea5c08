# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kevacuate.cli.common import open_recording, progress_bar, writable
from kevacuate.cli.options import (
    policies_help,
    policies_option,
    repeats_of,
    repeats_option,
    replay_options,
)
from kevacuate.errors import KevacuateError
from kevacuate.policy import PAIR
from kevacuate.recording.recording import SHIPPED

if TYPE_CHECKING:
    from kevacuate.measure import Comparison, Run
    from kevacuate.recording import Recording
    from kevacuate.replay.initial import ReplayOptions

SAMPLES = 200
"""Moments of the map and of the timelines."""


@click.command("report", epilog=policies_help(), short_help="One HTML page to look at and to mail.")
@click.argument("inputs", nargs=-1, metavar="[RUN|COMPARISON|RECORDING]...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="PAGE.html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write. Default: the input's name with .html, in the current directory.",
)
@policies_option("Policies to replay a recording under", PAIR)
@repeats_option
@click.option("--recorded", is_flag=True, help="Show the states as recorded; replay nothing.")
@replay_options
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    policies: tuple[str, ...],
    repeats: int | None,
    recorded: bool,
    seed: int,
    despite_losses: bool,
) -> None:
    """Write one self-contained HTML page: every pageblock over time, timelines, flows between types, all figures.

    The input is what `compare --save FILE` or `replay --save FILE` wrote. Several such files of one recording are shown
    together, with the spread where a policy was run several times. A RECORDING (default: the one that ships with the package)
    is replayed first, each policy several times. A recording that cannot be replayed is shown as it was recorded.

    Example: kevacuate report my-server.kev -o my-server.html
    """
    from kevacuate.measure.saved import is_saved
    from kevacuate.replay.initial import ReplayOptions
    from kevacuate.report.page import comparison_page, write_page

    output = output or Path(f"{Path(os.path.realpath(inputs[0]) if inputs else SHIPPED).stem}.html")
    writable(output)
    saved = [path for path in inputs if path.is_file()]
    for other in (path for path in saved if not is_saved(path)):
        open_recording(other)  # names what it is instead
    if saved and len(saved) < len(inputs):
        raise KevacuateError(
            "Files and recordings cannot be shown together: save a comparison of the recording first."
        )
    if saved:
        if policies or repeats or recorded:
            raise KevacuateError(
                f"{saved[0]} is a saved result, which is shown as it is: leave out --policy, --repeats and --recorded."
            )
        text = comparison_page(_together(saved))
    elif len(inputs) > 1:
        raise KevacuateError("One recording makes one page: name a single recording.")
    else:
        options = ReplayOptions(seed=seed, despite_losses=despite_losses, keep=True, samples=SAMPLES)
        path = inputs[0] if inputs else None
        text = _recording_page(path, policies, repeats_of(repeats), recorded, options)
    write_page(output, text)
    click.echo(f"{output}: {len(text.encode()) / 1e6:.1f} MB", err=True)


def _together(paths: list[Path]) -> Comparison:
    """The runs of several saved files of one recording as one comparison; one seed of a policy is one run, wherever it stands."""
    from kevacuate.measure import Comparison
    from kevacuate.measure.saved import load_comparison

    first, *others = (load_comparison(path) for path in paths)
    for path, other in zip(paths[1:], others, strict=True):
        if other.recording.get("digest") != first.recording.get("digest"):
            raise KevacuateError(
                f"{path} is of another recording than {paths[0]}: compare what replays one demand."
            )
    once: dict[tuple[str, int], Run] = {}
    for run in (run for one in (first, *others) for run in one.runs):
        kept = once.setdefault((run.policy, run.seed), run)
        if kept.frames is None and run.frames is not None:
            once[run.policy, run.seed] = run
    return Comparison(tuple(once.values()), first.recording)


def _recording_page(
    path: Path | None, policies: tuple[str, ...], repeats: int, recorded: bool, options: ReplayOptions
) -> str:
    """The page of a recording: of a comparison made now, or of what was recorded."""
    from kevacuate.policy import parse_policy
    from kevacuate.replay.compare import compare
    from kevacuate.report.page import comparison_page
    from kevacuate.report.write import AS_RECORDED

    chosen = policies or PAIR
    for spec in chosen:
        parse_policy(spec)
    source = open_recording(path)
    if recorded:
        return _as_recorded(source, AS_RECORDED)
    if source.start is None:
        return _as_recorded(
            source, "The recording holds no state to start a replay from: this is what it recorded."
        )
    if source.lost and not options.despite_losses:
        why = f"{source.lost.sentence}, so the demand was not replayed (--despite-losses does it): this is what was recorded."
        return _as_recorded(source, why)
    with progress_bar() as progress:
        return comparison_page(compare(source, chosen, repeats=repeats, options=options, progress=progress))


def _as_recorded(source: Recording, why: str) -> str:
    """The page of what was recorded."""
    from kevacuate.report.write import recording_page

    with progress_bar():
        return recording_page(source, why)
