# SPDX-License-Identifier: GPL-2.0-or-later
"""Rescans and wakes in ftrace text, by a script that shares nothing with the package: python rescan_reference.py < trace.txt"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable

LINE = re.compile(r"^ *(\S.*)-(\d+) +\[\d+\] +(\d+)\.(\d{9}): (mm_\w+): (.*)$")
RANGE = re.compile(r"range=\((0x[0-9a-f]+) ~ (0x[0-9a-f]+)\) nr_scanned=(\d+) nr_taken=(\d+)")
SCANS = {
    "mm_compaction_isolate_migratepages": "pages to move",
    "mm_compaction_isolate_freepages": "free pages",
}
Scan = tuple[int, int, bool]
"""Time in ns, pages scanned, and whether a page was taken, or the run had success."""


def streaks(scans: list[Scan]) -> list[list[Scan]]:
    """Rows of ten or more scans of one range that took nothing, each within a second of the one before."""
    rows: list[list[Scan]] = [[]]
    for scan in scans:
        if rows[-1] and (scan[2] or scan[0] - rows[-1][-1][0] > 10**9):
            rows.append([])
        if not scan[2]:
            rows[-1].append(scan)
    return [row for row in rows if len(row) >= 10]


def count(
    lines: Iterable[str],
) -> tuple[dict[str, tuple[int, int, int, int, int, int]], Counter[tuple[str, ...]]]:
    """By scanner scans, pages, streaks, scans and pages in streaks, longest streak; wakes by event, order, gfp and task id."""
    ranges: dict[tuple[str, str, str], list[Scan]] = defaultdict(list)
    begun: dict[str, dict[str, str]] = {}
    wakes: Counter[tuple[str, ...]] = Counter()
    for match in filter(None, map(LINE.match, lines)):
        pid, now, event, text = match[2], int(match[3] + match[4]), match[5], match[6]
        values = dict(re.findall(r"(\w+)=([^\s,]+)", text))
        if event in SCANS and (scan := RANGE.search(text)) and int(scan[3]):
            ranges[SCANS[event], scan[1], scan[2]].append((now, int(scan[3]), scan[4] != "0"))
        elif event == "mm_compaction_begin":
            begun[pid] = values
        elif event == "mm_compaction_end" and (begin := begun.pop(pid, None)):
            if begin["migrate_pfn"] != begin["zone_start"]:
                key = ("runs", begin["migrate_pfn"], begin["free_pfn"])
                ranges[key].append((now, 0, values["status"] == "success"))
        elif event in ("mm_vmscan_wakeup_kswapd", "mm_compaction_wakeup_kcompactd"):
            wakes[event, values["order"], values.get("gfp_flags", ""), pid] += 1
    found = {}
    for name in ("pages to move", "free pages", "runs"):
        scans = [scans for (scanner, _, _), scans in ranges.items() if scanner == name]
        rows = [row for one in scans for row in streaks(one)]
        each = [scan for one in scans for scan in one]
        in_rows = [scan for row in rows for scan in row]
        sums = (len(each), sum(s[1] for s in each), len(rows), len(in_rows), sum(s[1] for s in in_rows))
        found[name] = (*sums, max((len(row) for row in rows), default=0))
    return {name: values for name, values in found.items() if values[0]}, wakes


if __name__ == "__main__":
    print(*count(sys.stdin), sep="\n")
