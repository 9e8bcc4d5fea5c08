# SPDX-License-Identifier: GPL-2.0-or-later
"""The lowering of typed functions to LLVM's text, put off and then shared among processes.

Numba types and lowers a function in one go, in Python, so that threads do not help. Lowering, though, needs nothing but the typed
function, and gives nothing but text: it is put off (:func:`put_off`), and forked children take part of what has piled up. They
inherit the typed functions and write the text to memory that the parent reads. The parent waits for nobody: what no child has
done when it comes to it, it does itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

MOST_CHILDREN = 3
"""Children at once, at most; fewer where this process may use fewer cores."""

_PR_SET_PDEATHSIG = 1

BATCH = 24
"""Functions that are worth a child (some 0.3 s of lowering; a fork costs some 10 ms)."""


class Job(Protocol):
    """A function to be lowered."""

    done: bool

    def lower(self) -> None:
        """Lower it in this process."""

    def result(self) -> Any:
        """What lowering gave, as JSON holds it; None if that cannot be handed to another process."""

    def accept(self, result: Any) -> None:
        """Take what another process's :meth:`result` gave."""


def forked(work: Callable[[], Any]) -> int:
    """Begin a child that does *work* and ends, without a word whatever happens; its number.

    It ends with its parent. Signals that end a command are its parent's.
    """
    with warnings.catch_warnings():  # of threads that do not exist in the child: it needs none of their locks
        warnings.simplefilter("ignore", DeprecationWarning)
        number = os.fork()
    if number:
        return number
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for ending in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(ending, signal.SIG_IGN)
        work()
    finally:
        os._exit(0)


class _Child:
    """A forked process that lowers some jobs in their order.

    Its file, which has no name, holds for each job a line of JSON: what :meth:`Job.result` gave.
    """

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs
        self._file = os.memfd_create("kevacuate")
        self._at = self._next = 0
        self._ended = False
        self._pid = forked(self._work)

    def _work(self) -> None:
        for job in self._jobs:
            job.lower()
            os.write(self._file, json.dumps(job.result()).encode() + b"\n")

    def collect(self) -> bool:
        """Hand over what the child has done meanwhile; True once it has ended."""
        self._ended = self._ended or os.waitpid(self._pid, os.WNOHANG)[0] != 0
        new = os.pread(self._file, os.fstat(self._file).st_size - self._at, self._at)
        whole = new[: new.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            job, result = self._jobs[self._next], json.loads(line)
            self._next += 1
            if result is not None and not job.done:
                job.accept(result)
        return self._ended

    def end(self) -> None:
        """End the child, whatever it is at."""
        if not self._ended:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._file)


_waiting: list[Job] = []
"""Put off, and no child has them."""
_given: list[Job] = []
"""Those that a child has, or had."""
_children: list[_Child] = []


def _most() -> int:
    """How many children there may be at once."""
    return min(len(os.sched_getaffinity(0)) - 1, MOST_CHILDREN)


def put_off(job: Job) -> None:
    """Have *job* lowered later: by :func:`finish` at the latest."""
    _waiting.append(job)
    if len(_waiting) >= BATCH:
        _hand_out()


def _hand_out() -> None:
    """Take in what children have done, and give what waits to a child, if there may be one more."""
    for child in list(_children):
        if child.collect():
            _children.remove(child)
            child.end()
    if len(_children) < _most():
        jobs = list(_waiting)
        _given.extend(jobs)
        _waiting.clear()
        with suppress(OSError):  # no more processes or memory: the parent does it all
            _children.append(_Child(jobs))


def finish() -> None:
    """Lower all that was put off; what children have not done yet, too, from the last on."""
    while (job := _left()) is not None:
        job.lower()
    _waiting.clear()
    _given.clear()


def _left() -> Job | None:
    """A job that is not done; before that a child is begun for what waits, so that both work at it from its two ends."""
    for child in _children:
        child.collect()
    if len(_waiting) >= BATCH:
        _hand_out()
    return next((job for job in (*reversed(_waiting), *reversed(_given)) if not job.done), None)


@contextmanager
def shared() -> Iterator[None]:
    """Within, children may be begun; none is left. What a compilation that failed leaves undone is put off again."""
    try:
        yield
    finally:
        for child in _children:
            child.end()
        _children.clear()
        _waiting.extend(job for job in _given if not job.done)
        _given.clear()
