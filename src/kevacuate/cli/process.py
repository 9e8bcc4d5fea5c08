# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command's process owes its surroundings: standard streams that are closed, and signals that end it."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from kevacuate import ending

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command: what it was writing is removed."""

GRACE_SECONDS = 0.5
"""A command that has not ended by itself so long after such a signal is ended at once."""

_CUT_SECONDS = 5.0


def _unraisable(given: sys.UnraisableHookArgs) -> None:
    """Pass over what a signal raised where nothing can be raised, as in a callback of the compiler: it is noted."""
    if not ending.caught:
        sys.__unraisablehook__(given)


@contextmanager
def ended_by_signal(*, own: bool = False) -> Iterator[list[int]]:
    """Have :data:`ENDING` raise KeyboardInterrupt; yields a list, which then holds the signal's number.

    A signal that is ignored (nohup) or handled by the caller stays so. In a process that is the command's *own* nothing is left
    to end after the block: a signal that comes while Python ends changes no exit status.
    """
    caught = ending.caught
    caught.clear()
    ending.written.clear()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if not ending.is_uncut():
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
            signal.signal(number, signal.SIG_IGN if own else handler)


class Watchdog:
    """Ends the process at once after one of :data:`ENDING`, where Python cannot: its main thread is within the compiler.

    A thread is told of every signal by the C part of Python, whatever the main thread does.

    Parameters
    ----------
    sentence : callable
        From a signal's number to what is said of it on stderr.

    """

    def __init__(self, sentence: Callable[[int], str]) -> None:
        self._sentence = sentence
        self._leaving = threading.Lock()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch within the block; from the main thread only."""
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read_end,), name="signals", daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(write_end)

    def _watch(self, read_end: int) -> None:
        with open(read_end, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] not in ENDING or ending.is_patient():
                    continue
                time.sleep(GRACE_SECONDS)
                if not ending.is_patient() and self._leaving.acquire(blocking=False):
                    _end_at_once(128 + number[0], self._sentence(number[0]))

    def leave(self, code: int) -> NoReturn:
        """End the process: at once after a signal, and where threads still work, for which Python would wait.

        Its own end takes Python a second or two when the compiler was at work.
        """
        self._leaving.acquire()  # the other thread may be at it, and then ends this one
        others = (t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon)
        if code > 128 or any(others):
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            _end_at_once(code, "")
        sys.exit(code)


def _end_at_once(code: int, sentence: str) -> NoReturn:
    """End the process without waiting for its threads, everything undone that it owes."""
    ending.cut(_CUT_SECONDS)
    ending.undo_all()
    with suppress(OSError):
        os.write(2, sentence.encode())
    os._exit(code)


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
        if not isinstance(out, io.TextIOWrapper):
            continue
        ascii_locale = out.errors == "surrogateescape" and codecs.lookup(out.encoding).name != "utf-8"
        if out.errors == "strict" or ascii_locale:  # a file's name in another encoding; the C locale
            out.reconfigure(errors="replace")
    return closed


class _Printed(io.FileIO):
    """A standard output that knows whether a write to it failed: such an error does not say of what file it is."""

    failed = False

    def write(self, data: Any, /) -> int:
        """As a file's."""
        try:
            return super().write(data)
        except OSError:
            self.failed = True
            raise


def know_failures() -> None:
    """Have :func:`printing_failed` know of stdout; in a process that is the command's own."""
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper) or not isinstance(out.buffer, io.BufferedWriter | io.FileIO):
        return
    raw = _Printed(out.fileno(), "w", closefd=False)
    at_once = isinstance(out.buffer, io.FileIO)  # PYTHONUNBUFFERED
    buffer = raw if at_once else io.BufferedWriter(raw)
    line = out.line_buffering
    sys.stdout = io.TextIOWrapper(
        buffer, out.encoding, out.errors, line_buffering=line, write_through=at_once
    )


def printing_failed() -> bool:
    """Whether something could not be written to stdout."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return isinstance(raw, _Printed) and raw.failed


def discard_stdout() -> None:
    """Let what is still to be written to stdout, which failed, go nowhere: else Python tries again at its end, and complains."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
    except (OSError, ValueError):  # not a file: a test's
        pass
