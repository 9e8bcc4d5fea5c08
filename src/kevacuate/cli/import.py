# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate import``."""

from __future__ import annotations

import os
from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, print_json, progress_bar, writable
from kevacuate.cli.options import Name, json_option, path_option
from kevacuate.cli.stored import STDIN, stored

_SUFFIXES = (".xz", ".gz", ".zst", ".bz2", ".dat", ".txt", ".raw", ".trace")


def default_target(file: Path) -> Path:
    """``trace.dat`` becomes ``trace.kev`` in the current directory."""
    if str(file) == STDIN:
        return Path("imported.kev")
    name = os.path.basename(os.path.realpath(file))
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix) or name
    return Path(f"{name}.kev")


@click.command("import", short_help="Make a recording of a trace that another tool wrote.")
@click.argument("file", type=Name())
@path_option(
    "-o",
    "--output",
    metavar="DIR.kev",
    help="The recording to make. Default: the file's name in the current directory.",
)
@path_option(
    "--formats",
    metavar="DIR",
    help="Format files of the recorded kernel (SYSTEM/EVENT or SYSTEM/EVENT/format, as below tracefs' events/).",
)
@click.option(
    "--buffer",
    metavar="NAME",
    help="Which instance's buffer to take of a trace.dat, or a text of trace-cmd report, that holds several.",
)
@click.option(
    "--kernel",
    metavar="VERSION",
    help="The recorded kernel, as uname -r prints it, where a text does not name it: names and numbers changed.",
)
@click.option("--no-pids", is_flag=True, help="Do not keep process ids.")
@json_option
def command(
    file: Path,
    output: Path | None,
    formats: Path | None,
    buffer: str | None,
    kernel: str | None,
    no_pids: bool,
    as_json: bool,
) -> None:
    """Make a recording of FILE, which another tool wrote; - is standard input.

    FILE is trace-cmd's trace.dat (versions 6 and 7), or the text of ftrace, of trace-cmd report or of perf script. Raw per-CPU
    ring-buffer pages are read too, and a directory of those. FILE may be compressed with xz, lzma, gzip, bzip2 or zstd, and is
    recognised by its content.

    Example: kevacuate import trace.dat -o my-server.kev
    """
    from kevacuate.reports.imported import imported_text

    target = output or default_target(file)
    writable(target)
    what = f"reading {'standard input' if str(file) == STDIN else file} (bytes)"
    with progress_bar(what) as progress, stored(file) as source:
        about = kevacuate.import_recording(
            source,
            target,
            kevacuate.ImportOptions(formats, buffer, kernel),
            pids=not no_pids,
            progress=lambda done, total: progress(what, done, total),
        )
    if as_json:
        print_json(about)
        return
    console().print(imported_text(about), highlight=False, markup=False)
