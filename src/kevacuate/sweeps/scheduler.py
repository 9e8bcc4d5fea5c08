# SPDX-License-Identifier: GPL-2.0-or-later
"""The workers of a Dask scheduler: jobs handed out, so many at once, and what comes of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from kevacuate.errors import KevacuateError

Job = TypeVar("Job")

CONNECT_SECONDS = 10
RETRIES = 3
"""How often a job is begun again whose worker was lost."""

AHEAD = 4
"""Jobs a worker's thread that the scheduler knows of at once."""


def first_line(error: BaseException | None) -> str:
    """What an exception says, in a line without a period; its name where it says nothing."""
    return str(error).partition("\n")[0].removesuffix(".") or type(error).__name__


class Scheduler:
    """A Dask scheduler at an address, as ``tcp://host:8786``.

    Raises
    ------
    KevacuateError
        Dask is not installed.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise KevacuateError(
                "Dask is not installed, which --scheduler needs: pip install 'kevacuate[dask]'."
            ) from None
        self._dask: Any = distributed
        self._address = address

    def run(
        self,
        jobs: Callable[[int], Iterable[Job]],
        submit: Callable[[Any, Job], Any],
        take: Callable[[Job, str], Job | None],
        give_up: Callable[[Job, str], None],
    ) -> None:
        """Have jobs done.

        Parameters
        ----------
        jobs : callable
            The jobs, for so many threads of workers.
        submit : callable
            Makes the future of a job, with a client; it is text.
        take : callable
            Takes the text of a job; a job that is to be done in its place, or None.
        give_up : callable
            Told of a job that Dask gave up, and why.

        Raises
        ------
        KevacuateError
            The scheduler cannot be reached, is lost, or has no worker.
        """
        # One that could not connect would be closed when it is collected: that takes 20 s, and prints a traceback.
        quiet = type("Client", (self._dask.Client,), {"__del__": lambda client: None})
        try:
            client = quiet(self._address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            raise KevacuateError(
                f"No Dask scheduler answers at {self._address}: {first_line(error)}."
            ) from None
        try:
            threads = sum(client.nthreads().values())
            if not threads:
                raise KevacuateError(
                    f"The Dask scheduler at {self._address} has no worker: start `dask worker {self._address}`."
                )
            self._work(client, deque(jobs(threads)), threads * AHEAD, submit, take, give_up)
        except (OSError, TimeoutError) as error:
            raise KevacuateError(
                f"The Dask scheduler at {self._address} was lost ({first_line(error)}): the same command goes on from here."
            ) from None
        finally:
            with suppress(Exception):
                client.close(timeout=CONNECT_SECONDS)

    def _work(
        self,
        client: Any,
        waiting: deque[Job],
        most: int,
        submit: Callable[[Any, Job], Any],
        take: Callable[[Job, str], Job | None],
        give_up: Callable[[Job, str], None],
    ) -> None:
        """Hand out the jobs, so many at once, and take what comes back."""
        pending: dict[Any, Job] = {}
        done = self._dask.as_completed(loop=client.loop, raise_errors=False)
        while waiting or pending:
            while waiting and len(pending) < most:
                job = waiting.popleft()
                future = submit(client, job)
                pending[future] = job
                done.add(future)
            future = next(done)
            job = pending.pop(future)
            if future.status == "finished":
                again = take(job, future.result())
                if again is not None:
                    waiting.appendleft(again)
            elif future.status in ("cancelled", "lost"):
                raise TimeoutError("it forgot what it was asked for")
            else:
                give_up(job, first_line(future.exception()))
            future.release()
