# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate import``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from kevacuate.cli.common import console, print_json, progress_bar, writable
from kevacuate.cli.options import json_option
from kevacuate.errors import KevacuateError

_SUFFIXES = (".xz", ".gz", ".zst", ".bz2", ".dat", ".txt", ".raw", ".trace")
STDIN = "-"


def default_target(file: Path) -> Path:
    """``trace.dat`` becomes ``trace.kev`` in the current directory."""
    if str(file) == STDIN:
        return Path("imported.kev")
    name = file.resolve().name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix) or name
    return Path(f"{name}.kev")


@contextmanager
def stored(file: Path) -> Iterator[Path]:
    """The file to read: FILE itself, or what standard input holds, kept in a file for as long as it is read.

    An importer looks at a file before it reads it, which a pipe does not allow.
    """
    if str(file) != STDIN:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="kevacuate-") as directory:
        kept = Path(directory) / "standard input"
        try:
            with kept.open("wb") as out:
                shutil.copyfileobj(sys.stdin.buffer, out)
        except OSError as error:
            raise KevacuateError(
                f"Standard input cannot be kept in {directory}: {error.strerror or error}; set TMPDIR to a place with room."
            ) from None
        try:
            yield kept
        except KevacuateError as error:
            raise KevacuateError(str(error).replace(str(kept), "Standard input")) from None


@click.command("import", short_help="Make a recording of a trace that another tool wrote.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR.kev",
    help="The recording to make. Default: the file's name in the current directory.",
)
@click.option(
    "--formats",
    type=click.Path(path_type=Path),
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

    FILE is trace-cmd's trace.dat (versions 6 and 7), the text of ftrace, of trace-cmd report or of perf script, raw
    per-CPU ring-buffer pages, or a directory of those. It may be compressed with xz, lzma, gzip, bzip2 or zstd. It is
    recognised by its content.

    Example: kevacuate import trace.dat -o my-server.kev
    """
    from kevacuate.recording.importers import ImportOptions, import_recording
    from kevacuate.report.imported import imported_text

    target = output or default_target(file)
    writable(target)
    with progress_bar() as progress, stored(file) as source:
        about = import_recording(
            source,
            target,
            ImportOptions(formats, buffer, kernel),
            pids=not no_pids,
            progress=lambda done, total: progress("reading (bytes)", done, total),
        )
    if as_json:
        print_json(about)
        return
    console().print(imported_text(about), highlight=False, markup=False)
