# SPDX-License-Identifier: GPL-2.0-or-later
"""Standard input and pipes, kept in a file for as long as a command reads them."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from kevacuate.errors import KevacuateError
from kevacuate.recording.atomic_write import private_directory

STDIN = "-"
"""The name of standard input."""


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
