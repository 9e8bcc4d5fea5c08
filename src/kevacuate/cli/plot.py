# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate plot``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kevacuate.cli.common import (
    console,
    json_option,
    losses_option,
    open_recording,
    print_json,
    progress_bar,
    seed_option,
)
from kevacuate.errors import KevacuateError

if TYPE_CHECKING:
    from kevacuate.measure import Comparison, Run

FIGURES = {"map": "pageblock_maps", "time": "timelines", "flow": "flows", "bars": "bars"}
"""Name of a figure, and the function of :mod:`kevacuate.report.plot` that draws it."""
FORMATS = ("png", "svg", "pdf")
DEFAULT_POLICIES = ("mainline", "evacuate")


@click.command("plot", short_help="Draw figures of a comparison: PNG, SVG or PDF.")
@click.argument("source", required=False, type=click.Path(path_type=Path), metavar="[RECORDING|COMPARISON]")
@click.option(
    "--figure",
    "figures",
    multiple=True,
    type=click.Choice(list(FIGURES)),
    help="Only this figure; repeat it.",
)
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Format; repeat it. Default: png."
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="P",
    help="Replay a recording under this policy; repeat it. Default: " + ", ".join(DEFAULT_POLICIES) + ".",
)
@click.option(
    "--repeats",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Runs of each policy, with seeds from --seed on: the bars then show their spread.",
)
@click.option(
    "-o", "--output", default=Path(), type=click.Path(path_type=Path, file_okay=False), help="Directory."
)
@json_option
@seed_option
@losses_option
def command(
    source: Path | None,
    figures: tuple[str, ...],
    formats: tuple[str, ...],
    policies: tuple[str, ...],
    repeats: int,
    output: Path,
    as_json: bool,
    seed: int,
    despite_losses: bool,
) -> None:
    """Draw the pageblock map, the time series, the flow of claims and steals, and the comparison's bars.

    Of replays of RECORDING (default: the one that ships with the package), or of a saved COMPARISON.

    Example: kevacuate plot --figure map --figure bars --format svg -o figures
    """
    from kevacuate.report import plot
    from kevacuate.report.plot_style import pyplot

    pyplot().switch_backend("Agg")
    comparison, name = _comparison(source, policies, repeats, seed, despite_losses)
    single = replace(comparison, runs=_first_runs(comparison))
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in figures or FIGURES:
        drawn = getattr(plot, FIGURES[figure])(comparison if figure == "bars" else single)
        for form in formats or ("png",):
            written.append(plot.save(drawn, output / f"{name}-{figure}.{form}"))
        pyplot().close(drawn)
    if as_json:
        print_json({"files": [str(path) for path in written], "digest": comparison.recording["digest"]})
        return
    for path in written:
        console().print(str(path), markup=False, highlight=False)


def _first_runs(comparison: Comparison) -> tuple[Run, ...]:
    """The first run of each policy: maps and lines show one."""
    first: dict[str, Run] = {}
    for run in comparison.runs:
        first.setdefault(run.policy, run)
    return tuple(first.values())


def _comparison(
    source: Path | None, policies: tuple[str, ...], repeats: int, seed: int, despite_losses: bool
) -> tuple[Comparison, str]:
    """What to draw, and the name that the files begin with."""
    from kevacuate.measure.saved import is_saved, load_comparison
    from kevacuate.policy import parse_policy
    from kevacuate.replay.initial import ReplayOptions
    from kevacuate.replay.run import compare

    if source is not None and source.is_file() and is_saved(source):
        if policies or repeats > 1:
            raise KevacuateError(
                f"{source} is a saved comparison: its runs are made; leave --policy and --repeats out."
            )
        return load_comparison(source), source.stem
    chosen = policies or DEFAULT_POLICIES
    for spec in chosen:
        parse_policy(spec)
    recording = open_recording(source)
    runs: list[Run] = []
    with progress_bar() as progress:
        for number in range(seed, seed + repeats):
            options = ReplayOptions(seed=number, despite_losses=despite_losses, keep=number == seed)
            made = compare(recording, chosen, options=options, progress=progress)
            runs += made.runs
    return replace(made, runs=tuple(runs)), recording.path.name.removesuffix(".kev")
