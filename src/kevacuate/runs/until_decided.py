# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays of several policies, seed after seed, until the rows that decide are decided, cannot be, or a stated time is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from kevacuate.measure import Run
from kevacuate.measure.deciding import deciding_values
from kevacuate.measure.sequential import FIRST_LOOK, HOPELESS, Sequential, SequentialTest, Values, looks

WARM_UP = 8
"""Replays of the first look that tests: it loads what the others find loaded."""

Job = tuple[int, int]
"""(Which seed from the first on, which policy), both counted from 0."""


TABLE_LOOKS = 6
"""The table and the conclusion take up to so many times as long as a look at as many replays (measured for 60 to 600)."""


class Budget:
    """A time that may be spent, from the moment on when the first replay is under way, or *since* an earlier one.

    On a first run that is when the model began to be compiled: who waits for it waits no longer than they said. Of it *reserved*
    seconds at least are kept for what comes behind the last replay.
    """

    def __init__(self, seconds: float, since: float | None = None, reserved: float = 0.0) -> None:
        self._seconds = seconds
        self._begun = since
        self._reserved = self._behind = reserved

    def begin(self) -> None:
        """A replay is under way."""
        if self._begun is None:
            self._begun = time.monotonic()

    def keep(self, seconds: float) -> None:
        """So long takes, as far as is known, what comes behind the last replay that is begun."""
        self._behind = max(seconds, self._reserved)

    @property
    def left(self) -> float:
        """Seconds that are left for replays, below 0 once too many were spent."""
        return self._seconds - self._behind - (0.0 if self._begun is None else time.monotonic() - self._begun)

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self._begun is not None and self.left <= 0


def replay_until_decided(
    policies: int, one: Callable[[int, int], Run], *, workers: int, budget: Budget
) -> list[list[Run]]:
    """The runs of each policy, as many of one as of the other.

    All workers are kept busy: while a look is taken, the next seeds are being replayed already, and what was replayed beyond the
    look that decides is left out. It ends at the look, too, after which no row that is open is likely to be decided by as many
    replays as the time still allows: the user need not wait for what will not come. So the number of replays is a function of
    their figures and of the time alone, and the errors are kept for whatever reason one stops.

    Parameters
    ----------
    policies : int
        How many there are.
    one : callable
        Given the number of a policy and of a seed, both from 0: the run. Called in threads.
    workers : int
        Replays at once.
    budget : Budget
        Once it is spent no seed is begun, but for the first FIRST_LOOK. The caller begins it. What the table will take is told
        from the looks, and the last seed from the others: both are kept of it.
    """
    pool = ThreadPoolExecutor(workers, "replay")
    jobs = _jobs(policies, budget)
    pending: dict[Future[Run], Job] = {}
    done: dict[Job, Run] = {}
    due, test = looks(), SequentialTest()
    look = next(due)[0]
    begun, table = time.monotonic(), 0.0
    try:
        while True:
            while len(pending) < workers and (job := next(jobs, None)) is not None:
                pending[pool.submit(one, job[1], job[0])] = job
            if not pending:
                return _groups(done, policies, _whole(done, policies))
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                done[pending.pop(future)] = future.result()
            seed = (time.monotonic() - begun) * max(policies, workers) / len(done)
            budget.keep(seed + table * len(done) / policies)
            while _whole(done, policies) >= look:
                looked = time.monotonic()
                values = deciding_values(_groups(done, policies, look))
                told, pace = test.decide(values, look), len(done) / policies / (time.monotonic() - begun)
                if told.replays > WARM_UP:
                    table = TABLE_LOOKS * (time.monotonic() - looked) / look
                if told.decided or not _worth_going_on(test, values, told, look + int(pace * budget.left)):
                    return _groups(done, policies, look)
                look = next(due)[0]
    finally:  # what is under way beyond the last look ends at its next chunk: the caller has been told to stop it
        pool.shutdown(wait=False, cancel_futures=True)


def _worth_going_on(test: SequentialTest, values: Values, told: Sequential, until: int) -> bool:
    """Whether some row is likely enough to be decided with *until* replays of each policy."""
    if told.replays == FIRST_LOOK:  # nothing is tested there
        return True
    return any(chance >= HOPELESS for chance in test.outlook(values, told, until).values())


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
