# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics of Prometheus' node_exporter that hold what /proc does: buddyinfo, vmstat, meminfo.

Its collectors name them ``node_buddyinfo_blocks{node,size,zone}`` (size is the order), ``node_vmstat_NAME`` and
``node_memory_NAME_bytes``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kevacuate.kernelfiles.proctext import BUDDYINFO, MEMINFO, MOST_ORDERS, VMSTAT

_METRIC = re.compile(
    r"^node_(?P<what>buddyinfo_blocks|vmstat_\w{1,80}|memory_\w{1,80})(?:\{(?P<labels>[^}]{0,300})\})?"
    r"\s+(?P<value>\d{1,20}(?:\.\d{1,20})?(?:[eE]\+?\d{1,2})?)(?:\s+(?P<ms>\d{13}))?$"
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_KIB = 1024
MOST_CHUNKS = 10**12
"""No zone has so many free chunks: rows of /proc/buddyinfo, too, have at most 12 digits."""


class Metric(NamedTuple):
    """One value.

    Attributes
    ----------
    kind : str
        BUDDYINFO, VMSTAT or MEMINFO.
    key : tuple of (int, str, int), or str
        Node, zone and order of free chunks; else the counter, named as in /proc.
    value : int
        As in /proc: chunks, a counter, or kB (meminfo; a number of huge pages stays one).
    milliseconds : str
        The time since 1970 that the exporter gave with it; empty without one.

    """

    kind: str
    key: object
    value: int
    milliseconds: str


def metric_of(line: str) -> Metric | None:
    """The metric that a line is; None if it is none of these."""
    if not line.startswith("node_"):
        return None
    found = _METRIC.match(line.strip())
    if found is None:
        return None
    what, value, at = found["what"], int(float(found["value"])), found["ms"] or ""
    if what.startswith("vmstat_"):
        return Metric(VMSTAT, what.removeprefix("vmstat_"), value, at)
    if what.startswith("memory_"):
        name = what.removeprefix("memory_")
        if not name.endswith("_bytes"):
            return Metric(MEMINFO, name, value, at)
        return Metric(MEMINFO, name.removesuffix("_bytes"), value // _KIB, at)
    labels = dict(_LABEL.findall(found["labels"] or ""))
    node, order = labels.get("node", ""), labels.get("size", "")
    if not (node.isdecimal() and order.isdecimal() and int(order) < MOST_ORDERS and len(node) < 5):
        return None
    if value >= MOST_CHUNKS:
        return None
    return Metric(BUDDYINFO, (int(node), labels.get("zone", "?"), int(order)), value, at)
