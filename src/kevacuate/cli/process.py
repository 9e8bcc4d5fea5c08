# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command's process owes its surroundings: standard streams that are closed, and signals that end it."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command: what it was writing is removed."""

_caught: list[int] = []


def heed() -> None:
    """Raise KeyboardInterrupt if one was raised already and got lost: a library that is being imported may drop it."""
    if _caught:
        raise KeyboardInterrupt


def _unraisable(given: sys.UnraisableHookArgs) -> None:
    """Pass over what a signal raised where nothing can be raised, as in a callback of the compiler: it is noted."""
    if not _caught:
        sys.__unraisablehook__(given)


@contextmanager
def ended_by_signal() -> Iterator[list[int]]:
    """Have :data:`ENDING` raise KeyboardInterrupt; yields a list, which then holds the signal's number.

    A signal that is ignored (nohup) or handled by the caller stays so.
    """
    caught = _caught
    caught.clear()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    usual = (signal.SIG_DFL, signal.default_int_handler)
    taken = {n: handler for n in ENDING if (handler := signal.getsignal(n)) in usual}
    for number in taken:
        signal.signal(number, note)
    usual_hook, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        yield caught
    finally:
        sys.unraisablehook = usual_hook
        caught.clear()
        for number, handler in taken.items():
            signal.signal(number, handler)


def fill_standard_streams() -> bool:
    """Give closed standard streams something to stand on, so that no file of ours gets their numbers; whether stdout was closed.

    What a stream's encoding cannot say is shown as a question mark.

    Writing to a stdout that was closed fails (EBADF), as the caller asked for; writing to such a stderr goes nowhere.
    """
    closed = sys.stdout is None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        descriptor = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        stream = open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (stays open)
        setattr(sys, name, stream)
    for out in (sys.stdout, sys.stderr):
        if isinstance(out, io.TextIOWrapper) and out.errors == "strict":
            out.reconfigure(errors="replace")  # an ASCII locale, a file's name in another encoding
    return closed


def discard_stdout() -> None:
    """Let what is still to be written to stdout, which failed, go nowhere: else Python tries again at its end, and complains."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
    except (OSError, ValueError):  # not a file: a test's
        pass
