# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays of several policies, seed after seed, until the rows that decide are decided or a stated time is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from kevacuate.measure import Run
from kevacuate.measure.deciding import deciding_values
from kevacuate.measure.sequential import FIRST_LOOK, SequentialTest, looks

Job = tuple[int, int]
"""(Which seed from the first on, which policy), both counted from 0."""


class Budget:
    """A time that may be spent, from the moment on when the first replay is under way, or *since* an earlier one.

    On a first run that is when the model began to be compiled: who waits for it waits no longer than they said.
    """

    def __init__(self, seconds: float, since: float | None = None) -> None:
        self._seconds = seconds
        self._begun = since

    def begin(self) -> None:
        """A replay is under way."""
        if self._begun is None:
            self._begun = time.monotonic()

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self._begun is not None and time.monotonic() - self._begun >= self._seconds


def replay_until_decided(
    policies: int, one: Callable[[int, int], Run], *, workers: int, budget: Budget
) -> list[list[Run]]:
    """The runs of each policy, as many of one as of the other.

    All workers are kept busy: while a look is taken, the next seeds are being replayed already, and what was replayed beyond the
    look that decides is left out. So the number of replays is a function of their figures, unless the time was spent.

    Parameters
    ----------
    policies : int
        How many there are.
    one : callable
        Given the number of a policy and of a seed, both from 0: the run. Called in threads.
    workers : int
        Replays at once.
    budget : Budget
        Once it is spent no seed is begun, but for the first FIRST_LOOK. The caller begins it.
    """
    pool = ThreadPoolExecutor(workers, "replay")
    jobs = _jobs(policies, budget)
    pending: dict[Future[Run], Job] = {}
    done: dict[Job, Run] = {}
    due, test = looks(), SequentialTest()
    look = next(due)[0]
    try:
        while True:
            while len(pending) < workers and (job := next(jobs, None)) is not None:
                pending[pool.submit(one, job[1], job[0])] = job
            if not pending:
                return _groups(done, policies, _whole(done, policies))
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                done[pending.pop(future)] = future.result()
            while _whole(done, policies) >= look:
                values = deciding_values(_groups(done, policies, look))
                if test.decide(values, look).decided:
                    return _groups(done, policies, look)
                look = next(due)[0]
    finally:  # what is under way beyond the last look ends at its next chunk: the caller has been told to stop it
        pool.shutdown(wait=False, cancel_futures=True)


def _jobs(policies: int, budget: Budget) -> Iterator[Job]:
    """One seed after the other, all policies of it, until the time is spent and at least FIRST_LOOK seeds are begun."""
    seed = 0
    while seed < FIRST_LOOK or not budget.spent:
        yield from ((seed, policy) for policy in range(policies))
        seed += 1


def _whole(done: dict[Job, Run], policies: int) -> int:
    """How many seeds, from the first on, have been replayed under all policies."""
    seed = 0
    while all((seed, policy) in done for policy in range(policies)):
        seed += 1
    return seed


def _groups(done: dict[Job, Run], policies: int, replays: int) -> list[list[Run]]:
    """The first so many runs of each policy."""
    return [[done[seed, policy] for seed in range(replays)] for policy in range(policies)]


def flat(groups: Sequence[Sequence[Run]]) -> list[Run]:
    """The runs by policy, then by seed."""
    return [run for group in groups for run in group]
