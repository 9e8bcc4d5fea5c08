# SPDX-License-Identifier: GPL-2.0-or-later
"""What bcc's compactsnoop and drsnoop print: one line for each stall in compaction or direct reclaim.

Columns are found by their heading (``COMM PID NODE ZONE ORDER MODE LAT(ms) STATUS``, ``COMM PID LAT(ms) PAGES``), whatever
options
added before or between them. A task's name may hold blanks; all other columns hold none, so they are counted from the right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread

COMPACTSNOOP, DRSNOOP = "compactsnoop", "drsnoop"
"""The tools."""

NO_ORDER = -1
"""compactsnoop's order of a compaction that /proc/sys/vm/compact_memory began; drsnoop prints none."""

LONGEST_COMM = 15
"""TASK_COMM_LEN without its end."""

_HEADING = re.compile(
    r"^(?:TIME\(s\) +)?(?:UID +)?COMM +(?:PID +NODE +ZONE +ORDER +MODE +.{0,80}LAT\(ms\) +STATUS|T?PID +LAT\(ms\) +PAGES)"
)
_LATENCY = re.compile(r"^\d{1,12}(?:\.\d{1,9})?$")
_WHOLE = re.compile(r"^-?\d{1,12}$")


class Stall(NamedTuple):
    """One line."""

    tool: str
    """COMPACTSNOOP or DRSNOOP."""
    task: str
    pid: int
    ns: int
    """How long it took, in nanoseconds."""
    order: int
    """NO_ORDER where there is none."""
    node: int
    """-1 where none is printed."""
    zone: str
    """"" where none is printed."""
    sync: bool
    """MODE is SYNC."""
    status: str
    """compactsnoop's result in the kernel's words; "" of drsnoop."""
    pages: int
    """Pages that drsnoop says were reclaimed; 0 of compactsnoop."""


def looks_like_snoop(file: TextFile) -> bool:
    """Whether a file has such a heading."""
    return any(_HEADING.match(line.strip()) for line in file.head.splitlines())


def stalls(file: TextFile, unread: Unread) -> Iterator[Stall]:
    """Every line of a stall.

    Raises
    ------
    KevacuateError
        The file cannot be read, or does not decompress.

    """
    columns: list[str] = []
    for line in file.lines():
        words = line.split()
        if _HEADING.match(line.strip()):
            columns = words
            continue
        if not columns or not words or "+0x" in words[0] or words[0].startswith(("^C", "#")):
            continue
        found = _stall(columns, words)
        if found is None:
            unread.lines += 1
        else:
            yield found


def _stall(columns: list[str], words: list[str]) -> Stall | None:
    """The stall of a line; None if it is none."""
    spare = len(words) - len(columns)
    at = columns.index("COMM")
    if spare < 0 or spare > 8:
        return None
    values = dict(zip(columns[:at], words[:at], strict=True))
    values["COMM"] = " ".join(words[at : at + 1 + spare])
    values |= zip(columns[at + 1 :], words[at + 1 + spare :], strict=True)
    get = values.get
    pid, order, node = (get(name, "-1") for name in ("PID" if "PID" in columns else "TPID", "ORDER", "NODE"))
    pages = get("PAGES", "0")
    if (
        len(values["COMM"]) > LONGEST_COMM
        or not _LATENCY.match(values["LAT(ms)"])
        or not all(_WHOLE.match(x) for x in (pid, order, node, pages))
    ):
        return None
    return Stall(
        COMPACTSNOOP if "ORDER" in columns else DRSNOOP,
        values["COMM"],
        int(pid),
        round(float(values["LAT(ms)"]) * 1e6),
        int(order),
        int(node),
        get("ZONE", ""),
        get("MODE") == "SYNC",
        get("STATUS", ""),
        int(pages),
    )
