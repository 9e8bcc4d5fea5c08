# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: one file per command, thin."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    """Say that nothing was written, and exit as after a Ctrl-C later on."""
    with suppress(OSError):
        os.write(2, b"kevacuate: interrupted; nothing was written.\n")
    raise SystemExit(128 + number)


@contextmanager
def _ended_while_importing() -> Iterator[None]:
    """Have Ctrl-C end the process without a traceback; a caller's own handler stays, and other threads have none."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    with suppress(ValueError):
        signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.default_int_handler)


with _ended_while_importing():
    from kevacuate.cli.main import main

__all__ = ["main"]
