# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process owes its surroundings if it ends before its work does: what is to be undone, and what may not be cut.

A signal cannot end a command by an exception alone: the compiler runs for many seconds without returning to Python, and Python
does not end while other threads run. The command then ends at once (:mod:`kevacuate.cli.process`), and no ``finally`` runs. So
whoever makes something that must not outlive the process says here how it is undone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress

caught: list[int] = []
"""Numbers of the signals that were to end this command, as they came."""

written: list[str] = []
"""Files and recordings of this command that are complete: they stay, however it ends."""

_owed: dict[Hashable, Callable[[], object]] = {}
_cutting = threading.RLock()
_depth = {"uncut": 0, "patient": 0}
"""How many blocks of each sort the main thread is in."""


def owe(key: Hashable, undo: Callable[[], object]) -> None:
    """Have *undo* called if the process ends at once, until :func:`settle` of the same *key*."""
    _owed[key] = undo


def settle(key: Hashable) -> None:
    """Forget what :func:`owe` was told: it is undone, or complete."""
    _owed.pop(key, None)


@contextmanager
def owed(undo: Callable[[], object]) -> Iterator[None]:
    """Have *undo* called if the process ends at once within the block."""
    key = object()
    owe(key, undo)
    try:
        yield
    finally:
        settle(key)


def undo_all() -> None:
    """Undo everything that is owed, the last thing first; one that fails does not hold up the others."""
    while _owed:
        with suppress(Exception):
            _owed.popitem()[1]()


def heed() -> None:
    """Raise KeyboardInterrupt if one was raised already and got lost: a library that is being imported may drop it."""
    if caught:
        raise KeyboardInterrupt


@contextmanager
def uncut() -> Iterator[None]:
    """What is done within, in whichever thread, is done to its end before a signal ends the command; short work only."""
    main = threading.current_thread() is threading.main_thread()
    with _cutting:
        _depth["uncut"] += main
        try:
            yield
        finally:
            _depth["uncut"] -= main
    if main:
        heed()


def is_uncut() -> bool:
    """Whether the main thread is within :func:`uncut`: an exception has to wait for its end."""
    return _depth["uncut"] > 0


def cut(seconds: float) -> None:
    """Wait until no thread is within :func:`uncut`, at most *seconds*, and let none in any more; the process is to end then."""
    _cutting.acquire(timeout=seconds)


@contextmanager
def patient() -> Iterator[None]:
    """Within, a signal is answered by finishing something, however long that takes: the process does not end at once."""
    _depth["patient"] += 1
    try:
        yield
    finally:
        _depth["patient"] -= 1


def is_patient() -> bool:
    """Whether the process is within :func:`patient`."""
    return _depth["patient"] > 0
