# SPDX-License-Identifier: GPL-2.0-or-later
"""How long tasks stalled in compaction and direct reclaim, from what compactsnoop and drsnoop print.

Stalls of one tool are added up by task, order and result. compactsnoop prints a line for each zone that was compacted, so
one allocation
can have several; a line that took 0 ms counts as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kevacuate.kernelfiles.snoop import COMPACTSNOOP, DRSNOOP, NO_ORDER, Stall, stalls
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread
from kevacuate.observe.files.each import each

FAILED = (
    "complete",
    "partial_skipped",
    "contended",
    "no_suitable_page",
    "not_suitable_zone",
    "skipped",
    "deferred",
)
"""Results after which the allocation still lacks its page (include/linux/compaction.h, enum compact_result). "complete":
all of the
zone was scanned in vain."""

MOST_GROUPS = 1 << 14
"""Groups told apart; what comes later counts as one."""

LATEST = 1 << 20
"""Latencies kept of one tool for its percentiles: of a longer file every 2nd, 4th and so on."""

ROWS = 100
"""Groups and tasks in the answer."""

STANDS_OUT_NS = 10**9
"""Stalls that take less than this in all are no reason for advice."""


class _Group:
    """Stalls added up."""

    def __init__(self) -> None:
        self.stalls = self.ns = self.worst = self.failed = self.pages = 0

    def add(self, one: Stall) -> None:
        """Add a stall."""
        self.stalls += 1
        self.ns += one.ns
        self.worst = max(self.worst, one.ns)
        self.failed += (
            one.status in FAILED and one.order != NO_ORDER
        )  # of all orders, "complete" is what was asked for
        self.pages += one.pages

    def row(self) -> dict[str, int]:
        """The sums; times in nanoseconds."""
        return {
            "stalls": self.stalls,
            "ns": self.ns,
            "worst_ns": self.worst,
            "failed": self.failed,
            "pages": self.pages,
        }


class _Sample:
    """Every n-th value of a stream, n doubling when there are too many."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.every, self._seen = 1, 0

    def add(self, value: int) -> None:
        """Add a value."""
        if self._seen % self.every == 0:
            self.values.append(value)
            if len(self.values) == LATEST:
                self.values, self.every = self.values[::2], self.every * 2
        self._seen += 1


class _Tool:
    """All stalls of one tool."""

    def __init__(self) -> None:
        self.all, self.sample = _Group(), _Sample()
        self.groups: dict[tuple[str, int, bool, str], _Group] = {}
        self.tasks: dict[str, _Group] = {}

    def add(self, one: Stall) -> None:
        """Add a stall."""
        self.all.add(one)
        self.sample.add(one.ns)
        key = (one.task, one.order, one.sync, one.status)
        if key not in self.groups and len(self.groups) >= MOST_GROUPS:
            key = ("others", NO_ORDER, False, "")
        self.groups.setdefault(key, _Group()).add(one)
        task = one.task if one.task in self.tasks or len(self.tasks) < MOST_GROUPS else "others"
        self.tasks.setdefault(task, _Group()).add(one)

    def result(self, tool: str) -> dict[str, Any]:
        """The tool's part of the answer."""
        groups: list[dict[str, Any]] = [
            {"task": task, "order": order, "sync": sync, "status": status, **group.row()}
            for (task, order, sync, status), group in self.groups.items()
        ]
        tasks: list[dict[str, Any]] = [{"task": task, **group.row()} for task, group in self.tasks.items()]
        names = ("task", "order", "status", "sync")
        groups.sort(key=lambda row: (-row["ns"], -row["stalls"], *(row[name] for name in names)))
        tasks.sort(key=lambda row: (-row["ns"], -row["stalls"], row["task"]))
        values = np.array(self.sample.values, np.int64)
        percentiles = {
            f"p{share}": int(np.percentile(values, share, method="inverted_cdf")) for share in (50, 90, 99)
        }
        return {
            "tool": tool,
            **self.all.row(),
            "percentiles_ns": percentiles,
            "percentiles_of_every": self.sample.every,
            "groups": groups[:ROWS],
            "tasks": tasks[:ROWS],
        }


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """The stalls of all files, by tool.

    Parameters
    ----------
    files : sequence of TextFile
        What compactsnoop or drsnoop printed.
    progress : callable, optional
        Called with (files done, files in all).

    Returns
    -------
    dict
        ``kind``, ``files``, ``advice``, ``unread`` (lines that are no stall), and ``tools``: one dict a tool with
        ``stalls``, ``ns``,
        ``worst_ns``, ``failed`` (compactions whose result leaves the allocation without its page), ``pages`` (reclaimed),
        ``percentiles_ns`` and, most time first, ``groups`` (by task, order, mode and result) and ``tasks``.

    Raises
    ------
    KevacuateError
        A file cannot be read, or does not decompress.

    """
    tools, unread = dict[str, _Tool](), Unread()

    def add(file: TextFile) -> None:
        for one in stalls(file, unread):
            tools.setdefault(one.tool, _Tool()).add(one)

    each(files, add, progress)
    found = [tools[tool].result(tool) for tool in (COMPACTSNOOP, DRSNOOP) if tool in tools]
    return {
        "kind": "snoop",
        "files": [file.name for file in files],
        "tools": found,
        "unread": unread.lines,
        "advice": [piece for tool in found for piece in _advice(tool)],
    }


def _advice(tool: dict[str, Any]) -> list[dict[str, str]]:
    """What the kernel offers against stalls, where they took a second or more."""
    if tool["ns"] < STANDS_OUT_NS:
        return []
    top = tool["tasks"][0]
    evidence = (
        f"{top['task']} stalled {top['ns'] / 1e9:.2f} s of {tool['ns'] / 1e9:.2f} s in all, "
        f"{top['worst_ns'] / 1e6:.1f} ms at worst."
    )
    if tool["tool"] == COMPACTSNOOP:
        return [
            {
                "do": "Raise vm.compaction_proactiveness (Linux 5.9 and later): kcompactd then compacts before tasks must.",
                "evidence": evidence,
                "source": "Documentation/admin-guide/sysctl/vm.rst, compaction_proactiveness",
            }
        ]
    return [
        {
            "do": "Raise vm.watermark_scale_factor, so that kswapd reclaims before tasks must.",
            "evidence": evidence,
            "source": "Documentation/admin-guide/sysctl/vm.rst, watermark_scale_factor",
        }
    ]
