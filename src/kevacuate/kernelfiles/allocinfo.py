# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/allocinfo (lib/alloc_tag.c, since 6.10): bytes and allocations of every place in the kernel's code that allocates.

``SIZE CALLS FILE:LINE [MODULE] func:NAME``; version 2.0 (seen in 6.18) adds ``accurate:no`` where a counter missed something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread

_TAG = re.compile(
    r"^ *(\d{1,18}) +(\d{1,18}) (\S{1,300}):(\d{1,7}) (?:\[(\S{1,64})\] )?func:(\S{1,200})( accurate:no)? *$"
)


class Tag(NamedTuple):
    """One place in the code."""

    size: int
    """Bytes that it allocated and that are not freed."""
    calls: int
    """Allocations that are not freed."""
    file: str
    line: int
    module: str
    """"" of the kernel itself."""
    function: str
    accurate: bool


def looks_like_allocinfo(file: TextFile) -> bool:
    """Whether a file begins as /proc/allocinfo does, or was sorted."""
    return file.head.startswith("allocinfo - version: ") or bool(
        re.search(r"^ *\d+ +\d+ \S+\.[ch]:\d+ (?:\[\S+\] )?func:\S+", file.head, re.MULTILINE)
    )


def tags(file: TextFile, unread: Unread) -> Iterator[Tag]:
    """Every place that the file names.

    Raises
    ------
    KevacuateError
        The file cannot be read, or does not decompress.

    """
    for line in file.lines():
        found = _TAG.match(line)
        if found is None:
            unread.lines += bool(line.strip()) and not line.startswith(("allocinfo - version", "#"))
            continue
        yield Tag(
            int(found[1]), int(found[2]), found[3], int(found[4]), found[5] or "", found[6], not found[7]
        )
