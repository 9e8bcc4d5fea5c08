# SPDX-License-Identifier: GPL-2.0-or-later
"""What sysstat and netdata kept of memory, in words and a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from kevacuate.kernelfiles.samples import KB, RATES
from kevacuate.observe.files.monitors import HUGE_ORDER
from kevacuate.percent import percent
from kevacuate.reports.bars import duration
from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.words import plural

Host = Mapping[str, Any]
MOST_HOSTS = 20
"""Hosts that are told; the JSON has all."""

NUMBERS = ("first", "last", "least", "most")


def words(answer: Mapping[str, Any]) -> str:
    """A paragraph for each host."""
    said = [" ".join(_host(host)) for host in answer["hosts"][:MOST_HOSTS]]
    left = len(answer["hosts"]) - MOST_HOSTS
    said += [f"{plural(left, 'more host')} stand in --json."] if left > 0 else []
    said += [f"Read only in part: {sentence}" for sentence in answer["damaged"]]
    said += [f"Lines cut because they are too long: {answer['lines_cut']:,}."] if answer["lines_cut"] else []
    return "\n\n".join(said)


def _host(host: Host) -> Iterator[str]:
    """One host: which time, and what tasks waited for."""
    name = f"{host['name']}, " if host["name"] else ""
    most = max((figure["samples"] for figure in host["figures"].values()), default=0)
    span = f", {host['first_time']} to {host['last_time']}" if host["first_time"] else ""
    length = f" ({duration(host['seconds'] * 1e9)})" if host["seconds"] else ""
    yield f"{name}{plural(most, 'sample')} of a monitor{span}{length}."
    yield from _reclaim(host)
    for share, what in (
        ("compact_fail_share", "direct compactions {} failed"),
        ("thp_fallback_share", "huge page faults {} fell back to small pages"),
    ):
        if host[share] is not None:
            yield f"Of {what.format(percent(host[share], 1))}."
    yield from _why(host)


def _reclaim(host: Host) -> Iterator[str]:
    """Whether tasks had to reclaim, and how much was free then."""
    scans = host["figures"].get("pgscan_direct")
    if scans is None:
        return
    if not scans["above_zero"]:
        yield "In no sample did a task scan for pages by itself (direct reclaim)."
        return
    when = f" at {scans['most_time']}" if scans["most_time"] else ""
    of = plural(scans["samples"], "sample")
    yield f"Tasks scanned for pages by themselves (direct reclaim) in {scans['above_zero']:,} of {of}."
    yield f"At most they scanned {scans['most']:,.0f} pages a second{when}."
    if free := host["free_kb_in_direct_reclaim"]:
        yield f"Free memory was then {free['with']:,.0f} kB (median), and {free['without']:,.0f} kB in the other samples."


def _why(host: Host) -> Iterator[str]:
    """Fragmentation, where the monitor kept chunks or indices."""
    unusable, indices = host["unusable_free_index"], host["extfrag_index"]
    if unusable:
        yield (
            f"Free memory of no use to order {HUGE_ORDER}, all zones together: {unusable['first'] / 10:.1f} -> "
            f"{unusable['last'] / 10:.1f} % (least {unusable['least'] / 10:.1f}, most {unusable['most'] / 10:.1f} %)."
        )
    for zone, values in (indices or {}).items():
        order = min(HUGE_ORDER, len(values) - 1)
        said = "a chunk is free" if values[order] == -1 else f"{values[order]:.3f}"
        yield f"Node {zone.replace(' ', ', zone ')}: the kernel's fragmentation index of order {order}: {said}."
    if not unusable and not indices:
        yield "It keeps no free chunks by order, so it cannot tell fragmentation from lack of memory."


def tables(answer: Mapping[str, Any]) -> list[Table]:
    """A row a figure, a table a host."""
    return [_table(host) for host in answer["hosts"][:MOST_HOSTS] if host["figures"]]


def _table(host: Host) -> Table:
    names = {
        **{key: f"{label}, kB" for key, label in KB.items()},
        **{key: f"{label}, /s" for key, label in RATES.items()},
    }
    title = "Memory over time" + (f", {host['name']}" if host["name"] else "")
    table = plain_table(title, ("figure", *NUMBERS), NUMBERS, whole={*NUMBERS})
    for key, figure in host["figures"].items():
        label = (
            names[key]
            .replace("kB swapped in, /s", "swapped in, kB/s")
            .replace("kB swapped out, /s", "swapped out, kB/s")
        )
        digits = 0 if key in KB else 2
        table.add_row(label, *(f"{figure[name]:,.{digits}f}" for name in NUMBERS))
    return table
