# SPDX-License-Identifier: GPL-2.0-or-later
"""Work that forked children share: what they do is taken over, what they do not do is done here, and none is left."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from kevacuate import lowering


class Number:
    """A job: its result is who did it."""

    def __init__(self, *, secret: bool = False, fatal: bool = False) -> None:
        self.done, self.secret, self.fatal = False, secret, fatal
        self.by = 0

    def lower(self) -> None:
        if self.fatal and os.getpid() != PARENT:
            os.kill(os.getpid(), signal.SIGKILL)
        self.by, self.done = os.getpid(), True

    def result(self) -> Any:
        return None if self.secret else self.by

    def accept(self, result: Any) -> None:
        self.by, self.done = result, True


PARENT = os.getpid()


@pytest.fixture(autouse=True)
def one_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PARENT", os.getpid())
    monkeypatch.setattr(lowering, "_most", lambda: 1)
    monkeypatch.setattr(lowering, "BATCH", 4)


def shared(jobs: list[Number]) -> None:
    """Put the jobs off, let a child that has begun end, then finish."""
    with lowering.shared():
        for job in jobs:
            lowering.put_off(job)
        children = [child._pid for child in lowering._children]
        for pid in children:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        lowering.finish()
    for pid in children:
        with pytest.raises(ChildProcessError):  # it was waited for
            os.waitpid(pid, os.WNOHANG)


def test_what_a_child_has_done_is_taken_over() -> None:
    jobs = [Number() for _ in range(6)]
    shared(jobs)
    assert all(job.done for job in jobs)
    assert PARENT not in {job.by for job in jobs[:4]}
    assert {job.by for job in jobs[4:]} == {PARENT}


def test_what_cannot_be_handed_over_is_done_here() -> None:
    jobs = [Number(), Number(secret=True), Number(), Number()]
    shared(jobs)
    assert [job.by == PARENT for job in jobs] == [False, True, False, False]


def test_what_a_killed_child_leaves_is_done_here() -> None:
    jobs = [Number(), Number(), Number(fatal=True), Number()]
    shared(jobs)
    assert [job.by == PARENT for job in jobs] == [False, False, True, True]


def test_what_a_failed_compilation_leaves_is_done_by_the_next() -> None:
    jobs = [Number() for _ in range(5)]
    with lowering.shared():  # nothing finishes it
        for job in jobs:
            lowering.put_off(job)
    shared([])
    assert all(job.done for job in jobs)


def test_a_child_heeds_no_signal_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("lost")

    assert os.waitstatus_to_exitcode(os.waitpid(lowering.forked(work), 0)[1]) == 0
    assert capfd.readouterr() == ("", "")
