# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of tasks in foreign files: what stands before a process id, or a table of ids and names. Any process chooses its own."""

from __future__ import annotations

import re

MOST_NAMES = 1 << 16
"""Names kept of one file, those met first."""
LONGEST_NAME = 64
"""Characters kept of one; the kernel's have 15 (TASK_COMM_LEN), those of a kworker are printed with its work."""

_BEFORE_PID = re.compile(r"(?:-|\s+(?:(?:-1|\d{1,10})/)?)$")
_QUOTED = re.compile(r"^(?:> ?)+")
_TIME = r"\[ *\d{1,12}\.\d{6}\](?:\[ *[TC]\d{1,10}\])? *"
_LOGGED = re.compile(rf"^(?:\S.{{0,127}}? kernel: (?:{_TIME})?|(?:<\d{{1,3}}>)?{_TIME})")
"""What a kernel log puts before the lines of a buffer that was dumped into it (ftrace_dump_on_oops): syslog's words, the time."""


class TaskNames:
    """Process id to name; of several names of one process the last: it has another before it executes a program."""

    def __init__(self) -> None:
        self._before: dict[int, str] = {}

    def add(self, pid: int, before: str) -> None:
        """Keep what stands before a process id in a line."""
        if pid > 0 and (pid in self._before or len(self._before) < MOST_NAMES):
            self._before[pid] = before[-2 * LONGEST_NAME :]

    def table(self, text: str) -> None:
        """Take a table with a process id and its name in each line, as saved_cmdlines has them."""
        for line in text.splitlines():
            pid, _, name = line.partition(" ")
            if pid.isascii() and pid.isdigit() and len(pid) <= 10:
                self.add(int(pid), name)

    def to_json(self) -> dict[str, str]:
        """Id to name, of those that have one (not ``<...>``), by id."""
        found = {pid: _name(before) for pid, before in sorted(self._before.items())}
        return {str(pid): name for pid, name in found.items() if name and not name.startswith("<")}


def _name(before: str) -> str:
    """The name in what stands before a process id: without the mark between the two, a mail's quotes and a log's time."""
    unquoted = _QUOTED.sub("", _BEFORE_PID.sub("", before)).strip()
    return _LOGGED.sub("", unquoted)[:LONGEST_NAME]
