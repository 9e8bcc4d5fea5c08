# SPDX-License-Identifier: GPL-2.0-or-later
"""Which reports of kernel logs are another log's copies of reports that were counted.

With the time since boot a report is the one of the same time, request and task, wherever it stands. Without it (syslog lines,
mails) only what it says tells: request, task, process id, zones to the kB, the OOM killer's victim. Of reports that say the same
there are as many as have times, or as the one log has that has most of them without, whichever is more. A report that shows no
zone and no victim must bear the same time of day, too. Where it bears none, it counts, and is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import astuple

from kevacuate.kernelfiles.allocfailure import Report

MOST_KEYS = 1_000_000
"""Reports that are remembered; a copy of a later one is counted again."""


class Copies:
    """Tells copies from new reports, log by log.

    Attributes
    ----------
    found : int
        Copies so far.
    untold : int
        Reports that were counted though one like them stood in another log: neither names a time, and neither shows a zone.

    """

    def __init__(self) -> None:
        self.found = self.untold = 0
        self._times: set[int] = set()
        self._timed: Counter[int] = Counter()
        """Reports with a time since boot, by what they say."""
        self._untimed: Counter[int] = Counter()
        """Those without, of the log that has most of them."""
        self._here: Counter[int] = Counter()
        """Those without, of the log that is being read."""

    def next_log(self) -> None:
        """Another log begins."""
        self._here.clear()

    def is_copy(self, report: Report, clock: str) -> bool:
        """Whether a report is a copy of one that was counted; it is counted or remembered as one.

        Parameters
        ----------
        report : Report
            The report, complete.
        clock : str
            Its time of day; empty where the log has none.

        """
        uptime = report.first.uptime_us
        said = hash(_said(report, clock))
        before = max(self._timed[said], self._untimed[said])
        if uptime is None:
            self._here[said] += 1
            self._keep(self._untimed, said, self._here[said])
        else:
            time = hash((report.kind, uptime, report.task, report.order, report.gfp, report.pid))
            if time not in self._times:
                self._keep(self._timed, said, self._timed[said] + 1)
            if len(self._times) < MOST_KEYS:
                self._times.add(time)
        kept = said in self._timed or said in self._untimed
        if not kept or max(self._timed[said], self._untimed[said]) > before:
            return False
        if uptime is None and not clock and not _tells(report):
            self.untold += 1
            return False
        self.found += 1
        return True

    @staticmethod
    def _keep(counter: Counter[int], said: int, count: int) -> None:
        if said in counter or len(counter) < MOST_KEYS:
            counter[said] = max(counter[said], count)


def _tells(report: Report) -> bool:
    """Whether what a report says tells it from others: it shows zones, or names a victim."""
    return bool(report.zones) or report.oom.victim_pid is not None


def _said(report: Report, clock: str) -> Hashable:
    """What a report says; its time of day, too, where that tells too little."""
    zones = tuple(
        (zone.node, zone.name, tuple(sorted(zone.fields.items())), zone.reserve, tuple(zone.chunks))
        for zone in report.zones
    )
    when = "" if _tells(report) else clock
    return (report.kind, report.task, report.order, report.gfp, report.pid, zones, astuple(report.oom), when)
