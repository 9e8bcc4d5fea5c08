# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate scale``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

import kevacuate
from kevacuate.cli.common import console, open_recording, print_json, progress_bar, writable
from kevacuate.cli.options import Decorator, Integer, Number, json_option, path_option, recording_argument


class Times(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """How many times: a whole number, with or without an x behind it."""

    name = "times"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number.

        Raises
        ------
        click.BadParameter
            It is none.
        """
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,4})x?", value, re.ASCII)
        if not found or not int(found[1]):
            self.fail(f"{value!r} is not how many times: write a whole number, such as 4x.", param, ctx)
        return int(found[1])


def _times_option(name: str, what: str) -> Decorator:
    """An option that says how many times."""
    return click.option(f"--{name}", type=Times(), default=1, metavar="Nx", help=what)


@click.command("scale", short_help="Make a larger, tighter or longer recording of one.")
@recording_argument
@path_option(
    "-o", "--output", required=True, metavar="NAME.kev", help="The recording to make; it must not exist."
)
@_times_option("memory", "Copies of the demand, on a machine with so many times the memory. Default: 1x.")
@_times_option("cpus", "So many times the CPUs. Copies beyond that share them in turn. Default: 1x.")
@_times_option("length", "Passes of each copy, one after the other. Default: 1x.")
@click.option(
    "--tight",
    type=Number(0.01, 100),
    metavar="SHARE",
    help="Memory as a share of the working set, the most pages in use at once. Default: the memory as it is.",
)
@click.option(
    "--phase",
    type=Number(0, 1),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Copies begin later, and pause between passes, by up to that share of the demand's length.",
)
@click.option(
    "--seed",
    type=Integer(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seeds what is drawn: phases, and what is freed first between passes.",
)
@json_option
def command(recording: Path | None, output: Path, as_json: bool, **given: Any) -> None:
    """Scale RECORDING (default: the one that ships with the package), and say what scaling kept.

    What is made is an ordinary recording: a start state and a demand. compare, replay and sweep take it. Run lengths, lifetimes
    and mixing are measured in both demands. A distance of 0 says that nothing differs, 1 that nothing is common.

    Example: kevacuate scale my-server.kev -o large.kev --memory 4x --cpus 2x --length 10x
    """
    from kevacuate.reports.scaled import scaled_sentences, scaled_table

    writable(output)
    source = open_recording(recording)
    with progress_bar() as progress:
        made = kevacuate.scale(source, output, **given, progress=progress)
    if as_json:
        print_json(made.to_json())
        return
    out = console()
    out.print(scaled_table(made))
    for text in scaled_sentences(made):
        out.print(text, markup=False, highlight=False)
