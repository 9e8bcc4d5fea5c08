# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate fit``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, doing, open_recording, print_json, progress_bar, writable
from kevacuate.cli.options import (
    json_option,
    path_option,
    recording_argument,
    repeats_of,
    repeats_option,
    seed_option,
)
from kevacuate.recording.atomic_write import written


@click.command("fit", short_help="Describe a workload with the rates of a recording.")
@recording_argument
@path_option("-o", "--output", file=True, metavar="FILE.toml", help="Write the description here.")
@repeats_option(
    "Replays of the recorded and of the generated demand, each of the latter another draw. Default: 5."
)
@seed_option
@json_option
def command(
    recording: Path | None, output: Path | None, repeats: int | None, seed: int, as_json: bool
) -> None:
    """Describe a workload with the rates of RECORDING (default: the one that ships with the package), and measure the distance.

    The generated demand is replayed beside the recorded one, on the recorded start state. Compared are claims, steals, free
    chunks by order and blocks by type.

    Example: kevacuate fit my-server.kev -o mine.toml
    """
    from kevacuate.reports.fit import fit_sentences, fit_table

    writable(output)
    source = open_recording(recording)
    with progress_bar() as progress:
        found = kevacuate.fit(
            source, repeats=repeats_of(repeats), seed=seed, progress=doing("replaying", progress)
        )
    if output is not None:
        with written(output, replace=True) as file:
            file.path.write_text(found.text, encoding="utf-8")
    if as_json:
        print_json(found.to_json())
        return
    out = console()
    out.print(fit_table(found))
    for text in fit_sentences(found):
        out.print(text, markup=False, highlight=False)
