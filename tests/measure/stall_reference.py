# SPDX-License-Identifier: GPL-2.0-or-later
"""The stalls in ftrace text, by a script that shares nothing with the package: python stall_reference.py < trace.txt"""

import re
import sys
from collections.abc import Iterable

LINE = re.compile(r"^ *\S.*-(\d+) +\[\d+\] +(\d+)\.(\d{9}): (mm_\w+): (.*)$")
Stall = tuple[int, int, int, str, int, str]


def stalls(lines: Iterable[str]) -> list[Stall]:
    """(begin in ns, ns, pid, "reclaim" or "compaction", order, pages reclaimed or status), in order of their ends."""
    reclaims: dict[str, tuple[int, str]] = {}
    asked: dict[str, str] = {}
    runs: dict[str, tuple[int, str]] = {}
    found: list[Stall] = []
    for line in lines:
        if not (match := LINE.match(line)):
            continue
        pid, now, event, text = match[1], int(match[2] + match[3]), match[4], match[5]
        values = dict(re.findall(r"(\w+)=([^\s,]+)", text))
        if event == "mm_vmscan_direct_reclaim_begin":
            reclaims[pid] = (now, values["order"])
            asked.pop(pid, None)
        elif event == "mm_vmscan_direct_reclaim_end" and pid in reclaims:
            begin, order = reclaims.pop(pid)
            found.append((begin, now - begin, int(pid), "reclaim", int(order), values["nr_reclaimed"]))
        elif event == "mm_compaction_try_to_compact_pages":
            asked[pid] = values["order"]
        elif event == "mm_compaction_begin" and pid in asked:
            runs[pid] = (now, asked[pid])
        elif event == "mm_compaction_end" and pid in runs:
            begin, order = runs.pop(pid)
            found.append((begin, now - begin, int(pid), "compaction", int(order), values["status"]))
        elif event == "mm_page_alloc" and pid in asked and pid not in runs and values["order"] == asked[pid]:
            del asked[pid]
    return found


if __name__ == "__main__":
    for stall in stalls(sys.stdin):
        print(*stall)
