# SPDX-License-Identifier: GPL-2.0-or-later
"""A fleet's recordings triaged by the workers of a Dask scheduler.

Workers read a recording by its path. One that cannot, or finds another there, is sent it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kevacuate.sweeps.cells import Source, canonical, model_version
from kevacuate.sweeps.daskhands import files_of
from kevacuate.sweeps.dasktask import mark_of, triage_run
from kevacuate.sweeps.scheduler import RETRIES, Scheduler


class _Run(NamedTuple):
    """Recordings that are triaged together, and whether they are sent."""

    paths: list[Path]
    sent: bool


def triaged_by_dask(
    paths: Sequence[Path], address: str, ahead: int, progress: Callable[[int, int], None]
) -> dict[str, dict[str, Any]]:
    """What the workers say of every recording, by path; *ahead* of them are told of at once.

    Raises
    ------
    KevacuateError
        Dask is not installed, or the scheduler cannot be reached, is lost, or has no worker.
    """
    said: dict[str, dict[str, Any]] = {}

    def runs(_: int) -> Iterator[_Run]:
        return (_Run(list(paths[at : at + ahead]), sent=False) for at in range(0, len(paths), ahead))

    def submit(client: Any, run: _Run) -> Any:
        whole = [os.path.abspath(path) for path in run.paths]
        marks = [[path, mark_of(Path(path))] for path in whole]
        order = {"model": model_version(), "recordings": marks}
        sent = {path: files_of(Source(path, "", Path(path).name)) for path in whole} if run.sent else None
        return client.submit(triage_run, canonical(order), sent, pure=False, retries=RETRIES)

    def take(run: _Run, text: str) -> _Run | None:
        found = dict(zip(run.paths, json.loads(text), strict=True))
        said.update({str(path): one for path, one in found.items() if "absent" not in one})
        progress(len(said), len(paths))
        absent = [path for path, one in found.items() if "absent" in one]
        return _Run(absent, sent=True) if absent else None

    def give_up(run: _Run, why: str) -> None:
        said.update({str(path): {"refused": f"Dask gave it up: {why}."} for path in run.paths})

    Scheduler(address).run(runs, submit, take, give_up)
    return said
