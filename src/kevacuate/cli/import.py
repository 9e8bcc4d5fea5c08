# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate import``."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, print_json, progress_bar, writable
from kevacuate.cli.options import json_option, path_option
from kevacuate.errors import KevacuateError
from kevacuate.recording.atomic_write import private_directory

_SUFFIXES = (".xz", ".gz", ".zst", ".bz2", ".dat", ".txt", ".raw", ".trace")
STDIN = "-"


def default_target(file: Path) -> Path:
    """``trace.dat`` becomes ``trace.kev`` in the current directory."""
    if str(file) == STDIN:
        return Path("imported.kev")
    name = os.path.basename(os.path.realpath(file))
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix) or name
    return Path(f"{name}.kev")


def _is_pipe(file: Path) -> bool:
    """Whether FILE is a pipe, as the shell's ``<(zcat trace.txt.gz)`` and mkfifo make them."""
    try:
        return stat.S_ISFIFO(file.stat().st_mode)
    except (OSError, ValueError):  # the importer says what is wrong with it
        return False


@contextmanager
def stored(file: Path) -> Iterator[Path]:
    """The file to read: FILE itself, or what standard input or a pipe holds, kept in a file for as long as it is read.

    An importer looks at a file before it reads it, which a pipe does not allow.
    """
    if str(file) == STDIN:
        name = "Standard input"
    elif _is_pipe(file):
        name = str(file)
        click.echo(f"kevacuate: reading {name}, a pipe, until its writer closes it.", err=True)
    else:
        yield file
        return
    with private_directory("input") as directory:
        kept = directory / "standard input"
        try:
            with (
                kept.open("wb") as out,
                nullcontext(sys.stdin.buffer) if file == Path(STDIN) else file.open("rb") as pipe,
            ):
                shutil.copyfileobj(pipe, out)
        except OSError as error:
            raise KevacuateError(
                f"{name} cannot be kept in {directory}: {error.strerror or error}; set TMPDIR to a place with room."
            ) from None
        try:
            yield kept
        except KevacuateError as error:
            raise KevacuateError(str(error).replace(str(kept), name)) from None


@click.command("import", short_help="Make a recording of a trace that another tool wrote.")
@click.argument("file", type=click.Path(path_type=Path))
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
