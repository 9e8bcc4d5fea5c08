# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate plot``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import (
    console,
    doing,
    open_recording,
    print_json,
    progress_bar,
    refuse_stdout,
    writable,
)
from kevacuate.cli.options import (
    Name,
    json_option,
    policies_option,
    repeats_of,
    repeats_option,
    replay_options,
)
from kevacuate.errors import KevacuateError
from kevacuate.policy import PAIR
from kevacuate.recording.atomic_write import folder

FIGURES = {"map": "pageblock_maps", "time": "timelines", "flow": "flows", "bars": "bars"}
"""Name of a figure, and the function of :mod:`kevacuate.reports.plot` that draws it."""
FORMATS = ("png", "svg", "pdf")


@click.command("plot", short_help="Draw figures of a comparison: PNG, SVG or PDF.")
@click.argument("source", required=False, type=Name(), metavar="[RECORDING|COMPARISON]")
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
@policies_option("Replay a recording under this policy", PAIR)
@repeats_option()
@click.option("-o", "--output", default=Path(), type=Name(file_okay=False), help="Directory.")
@json_option
@replay_options
def command(
    source: Path | None,
    figures: tuple[str, ...],
    formats: tuple[str, ...],
    policies: tuple[str, ...],
    repeats: int | None,
    output: Path,
    as_json: bool,
    seed: int,
    loop: str,
    despite_losses: bool,
) -> None:
    """Draw the pageblock map, the time series, the flow of claims and steals, and the comparison's bars.

    Of replays of RECORDING (default: the one that ships with the package), or of a saved COMPARISON. Bars show mean and spread
    of all replays; the other figures one of each policy, the median by mixed pageblocks at the end.

    Example: kevacuate plot --figure map --figure bars --format svg -o figures
    """
    from kevacuate.measure.saved import figures_of
    from kevacuate.reports import plot
    from kevacuate.reports.plot.style import pyplot

    refuse_stdout(output)
    with progress_bar("reading matplotlib"):
        pyplot().switch_backend("Agg")
    options = kevacuate.ReplayOptions(seed=seed, loop=loop, despite_losses=despite_losses, keep=True)
    saved = source is not None and source.is_file()
    writable(next(place for place in (output, *output.absolute().parents) if place.exists()) / "the figures")
    comparison, name = _comparison(source, policies, repeats, options)
    written = []
    with folder(output), progress_bar("drawing the figures") as progress:
        for figure in figures or FIGURES:
            progress(f"drawing {figure}", 0, 0)
            with figures_of(source) if saved else nullcontext():
                drawn = getattr(plot, FIGURES[figure])(comparison)
            for form in formats or ("png",):
                written.append(plot.save(drawn, output / f"{name}-{figure}.{form}"))
            pyplot().close(drawn)
    if as_json:
        print_json({"files": [str(path) for path in written], "digest": comparison.recording["digest"]})
        return
    for path in written:
        console().print(str(path), markup=False, highlight=False)


def _comparison(
    source: Path | None, policies: tuple[str, ...], repeats: int | None, options: kevacuate.ReplayOptions
) -> tuple[kevacuate.Comparison, str]:
    """What to draw, and the name that the files begin with."""
    from kevacuate.measure.saved import is_saved

    if source is not None and source.is_file() and is_saved(source):
        if policies or repeats:
            raise KevacuateError(
                f"{source} is a saved result: its runs are made; leave --policy and --repeats out."
            )
        return kevacuate.load(source), source.stem
    chosen = policies or PAIR
    for spec in chosen:
        kevacuate.parse_policy(spec)
    recording = open_recording(source)
    with progress_bar() as progress:
        made = kevacuate.compare(
            recording,
            chosen,
            repeats=repeats_of(repeats),
            options=options,
            progress=doing("replaying", progress),
        )
    return made, recording.path.name.removesuffix(".kev")
