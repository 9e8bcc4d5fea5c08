# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of the running machine: the texts of /proc that count pages, and the flags of every page."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.capture.machine import PROC, text_of
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import tails_as_heads
from kevacuate.recording import parquet
from kevacuate.recording.snapshot import Snapshot, snapshot_from_texts
from kevacuate.recording.startstate import PageSnapshot

TEXTS = ("zoneinfo", "buddyinfo", "pagetypeinfo", "vmstat")
STEP = 1 << 16
"""Pages read at once."""


def now() -> int:
    """Nanoseconds of the trace clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def take_counts(label: str) -> Snapshot:
    """The machine now, by zone; files that may not be read (pagetypeinfo needs root) are left out."""
    texts = {name: text_of(PROC / name) for name in TEXTS}
    return snapshot_from_texts(texts, now(), label)


def top_pfn(snapshot: Snapshot) -> int:
    """One more than the largest pfn of any zone."""
    return max((z.start_pfn + z.spanned for z in snapshot.zones), default=0)


class PageReader:
    """Reads /proc/kpageflags and /proc/kpagecount into Parquet files, a step at a time.

    Parameters
    ----------
    directory : Path
        Where to put them.
    pages : int
        How many.

    """

    NAMES = ("kpageflags", "kpagecount")

    def __init__(self, directory: Path, pages: int) -> None:
        self.directory, self.pages = directory, pages
        self.read_from: list[int] = []
        self.begin = self.end = 0

    def read(self, between: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Read everything; *between* is called after every step.

        Returns
        -------
        dict
            JSON values that :func:`load_pages` takes.

        Raises
        ------
        KevacuateError
            They cannot be read or stored.

        """
        files = []
        try:
            files = [os.open(PROC / name, os.O_RDONLY) for name in self.NAMES]
            writers = [
                parquet.TableWriter(self.directory / f"{name}.parquet", {"word": np.uint64})
                for name in self.NAMES
            ]
            self.begin = now()
            for first in range(0, self.pages, STEP):
                self.read_from.append(now())
                for name, file, writer in zip(self.NAMES, files, writers, strict=True):
                    words = page_words(file, first, min(STEP, self.pages - first))
                    writer.add({"word": tails_as_heads(words) if name == "kpageflags" else words})
                between()
            self.end = now()
            for writer in writers:
                writer.close()
        except OSError as error:
            raise KevacuateError(
                f"The page flags ({', '.join(str(PROC / n) for n in self.NAMES)}) cannot be read or stored: "
                f"{error.strerror or error}; run as root."
            ) from None
        finally:
            for file in files:
                os.close(file)
        return {"begin": self.begin, "end": self.end, "step": STEP, "read_from": self.read_from}


def page_words(file: int, first: int, count: int) -> npt.NDArray[np.uint64]:
    """The 64-bit words of pages [first, first + count); 0 for those beyond the file's end."""
    data = os.pread(file, 8 * count, 8 * first)
    words = np.zeros(count, np.uint64)
    whole = len(data) // 8
    words[:whole] = np.frombuffer(data[: 8 * whole], "<u8")
    return words


READERS = 2
"""Threads that have the kernel look at pages: it takes some 50 ns for each."""


def read_ahead(file: int, pages: int) -> Generator[npt.NDArray[np.uint64], None, None]:
    """:func:`page_words` of the first *pages*, in steps; the next ones are read while the caller works on one."""
    with ThreadPoolExecutor(READERS, "pages") as pool:
        waiting: deque[Future[npt.NDArray[np.uint64]]] = deque()
        for first in range(0, pages, STEP):
            waiting.append(pool.submit(page_words, file, first, min(STEP, pages - first)))
            if len(waiting) > READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def load_pages(directory: Path, facts: dict[str, Any]) -> PageSnapshot:
    """What a :class:`PageReader` stored.

    Raises
    ------
    KevacuateError
        The files are missing or corrupted.

    """
    flags, count = (
        parquet.read_table(directory / f"{name}.parquet", {"word": np.uint64})["word"]
        for name in PageReader.NAMES
    )
    read_from = np.asarray(facts["read_from"] or [facts["begin"]], np.int64)
    return PageSnapshot(flags, count, int(facts["begin"]), int(facts["end"]), int(facts["step"]), read_from)
