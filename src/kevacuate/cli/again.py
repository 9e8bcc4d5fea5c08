# SPDX-License-Identifier: GPL-2.0-or-later
"""A command once more in another process, in which nothing is compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click


def in_plain_python(context: click.Context) -> int:
    """Run the command of *context* again without ``--debug``, as plain Python; its exit code."""
    click.echo(
        "kevacuate: runs as plain Python, which takes minutes where compiled code takes seconds.", err=True
    )
    arguments = [sys.executable, "-m", "kevacuate", str(context.command.name), *given(context)]
    sys.stdout.flush()
    return subprocess.call(arguments, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})


def given(context: click.Context) -> Iterator[str]:
    """The options and arguments of a command as they are written, without ``--debug``; arguments last."""
    last: list[str] = []
    for one in context.command.params:
        value = context.params.get(str(one.name))
        if one.name == "debug" or value is None or value is False:
            continue
        if isinstance(one, click.Argument):
            last.append(str(value))
        elif value is True:
            yield one.opts[0]
        else:
            yield f"{one.opts[0]}={value}"
    yield from ("--", *last) if last else ()
