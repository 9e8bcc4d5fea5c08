# SPDX-License-Identifier: GPL-2.0-or-later
"""What netdata gives of memory: ``/api/v1/data`` as CSV, TSV or JSON; ``/api/v1/allmetrics`` as JSON, shell or Prometheus text.

Charts are those of netdata's proc.plugin and debugfs.plugin (collectors/proc.plugin/proc_meminfo.c, proc_vmstat.c,
proc_pagetypeinfo.c; collectors/debugfs.plugin/debugfs_extfrag.c). netdata draws some rates below zero: signs are dropped. A
chart's name stands in JSON with ``options=jsonwrap``, else in the file's name, else its dimensions tell it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kevacuate.kernelfiles.samples import INDEX, MOST_ORDERS, ORDER, Sample
from kevacuate.kernelfiles.stamps import Stamp, stamp_in
from kevacuate.kernelfiles.sysstat import document
from kevacuate.kernelfiles.text import TextFile

_MIB = 1024.0

CHARTS: dict[str, dict[str, tuple[str, float]]] = {
    "system.ram": {"free": ("free_kb", _MIB)},
    "mem.available": {"avail": ("available_kb", _MIB), "MemAvailable": ("available_kb", _MIB)},
    "mem.slab": {"unreclaimable": ("slab_unreclaimable_kb", _MIB)},
    "mem.kernel": {
        "Slab": ("slab_kb", _MIB), "KernelStack": ("kernel_stack_kb", _MIB), "PageTables": ("page_tables_kb", _MIB),
        "VmallocUsed": ("vmalloc_kb", _MIB),
    },
    "mem.thp_compact": {
        "success": ("compact_success", 1.0), "fail": ("compact_fail", 1.0), "stall": ("compact_stall", 1.0),
    },
    "mem.thp_faults": {"alloc": ("thp_fault_alloc", 1.0), "fallback": ("thp_fault_fallback", 1.0)},
    "mem.swapio": {"in": ("swap_in_kb", 1.0), "out": ("swap_out_kb", 1.0)},
    "system.swapio": {"in": ("swap_in_kb", 1.0), "out": ("swap_out_kb", 1.0)},
    "mem.oom_kill": {"kills": ("oom_kill", 1.0)},
}  # fmt: skip
"""Chart to its dimensions: the figure's name, and what makes its unit of netdata's (MiB, KiB/s, events/s)."""

_PAGETYPE = "mem.pagetype_global"
_BYTES = 1 / 1024
_INDEX_CHART = re.compile(r"mem\.fragmentation_(?:index_)?node_(\d{1,4})_(\w{2,10}?)(?:_index)?$")
_ORDER_DIM = re.compile(r"(?:order(?P<a>\d{1,2})|\d+KB \((?P<b>\d{1,2})\)|(?P<c>\d{1,2}))$")
_CHART = re.compile(r"(?:mem|system)\.[a-z]\w{1,60}")
_BY_DIMENSIONS = {
    frozenset({"free", "used", "cached", "buffers"}): "system.ram",
    frozenset({"avail"}): "mem.available",
    frozenset({"reclaimable", "unreclaimable"}): "mem.slab",
    frozenset({"success", "fail", "stall"}): "mem.thp_compact",
    frozenset({"alloc", "fallback", "fallback_charge"}): "mem.thp_faults",
}
"""A chart's dimensions to the chart, of those that no other chart of netdata has."""

_HEADER = re.compile(
    r"\A\s*\"?time\"?[,\t](?P<dims>[^\n]{1,2000})\n\s*\"?(?:\d{4}-\d\d-\d\d \d\d:|\d{10}(?:\d{3})?[,\t])"
)
_SHELL = re.compile(r'^NETDATA_(?:SYSTEM|MEM)_\w{1,100}="?-?[\d.]*"? *#', re.MULTILINE)
_PROMETHEUS = re.compile(r'^netdata_(?:system|mem)_\w{1,160}\{[^}\n]{0,600}\bdimension="', re.MULTILINE)
_PROMETHEUS_ROW = re.compile(
    r"^netdata_\w{1,200}\{(?P<labels>[^}]{0,1000})\}\s+(?P<value>-?\d{1,20}(?:\.\d{1,12})?(?:e[+-]?\d{1,2})?)(?:\s+(?P<ms>\d{13}))?\s*$",
    re.IGNORECASE,
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_JSON = re.compile(
    r'\A\s*\{(?:.{0,4000}?)(?:"labels" ?: ?\[ ?"time"|"dimension_names" ?:|"(?:mem|system)\.\w+" ?: ?\{\s*"name" ?:)',
    re.DOTALL,
)
_SHELL_ROW = re.compile(r'NETDATA_(?P<name>(?:SYSTEM|MEM)_\w{1,200})="(?P<value>-?\d{1,18}(?:\.\d{1,9})?)"')
_SHELL_NAMES = {
    f"{chart}_{dim}".replace(".", "_").upper(): (chart, dim) for chart, dims in CHARTS.items() for dim in dims
}


def looks_like_netdata(file: TextFile) -> bool:
    """Whether a file begins with what netdata gives of memory."""
    head = file.head
    if _SHELL.search(head) or _PROMETHEUS.search(head):
        return True
    if header := _HEADER.match(head):
        return bool(_chart_of(file.name, _cells(header["dims"])))
    return _JSON.match(head) is not None


def netdata_samples(file: TextFile) -> Iterator[Sample]:
    """The figures of memory in what netdata gave."""
    head = file.head
    if _SHELL.search(head):
        yield from _shell(file.lines())
    elif _PROMETHEUS.search(head):
        yield from _prometheus(file.lines())
    elif _HEADER.match(head):
        yield from _table(file)
    else:
        yield from _json(file)


def figure(chart: str, dimension: str) -> tuple[str, float] | None:
    """Name and factor of a chart's dimension; None if it is none that is kept."""
    if kept := CHARTS.get(chart, {}).get(dimension):
        return kept
    order = _ORDER_DIM.match(dimension)
    number = int(order["a"] or order["b"] or order["c"]) if order else MOST_ORDERS
    if number >= MOST_ORDERS:
        return None
    if chart == _PAGETYPE:
        return f"{ORDER}{number}", _BYTES
    if zone := _INDEX_CHART.match(chart):
        return f"{INDEX}{zone[1]} {zone[2]}:{number}", 1.0
    return None


def _sample(host: str, stamp: Stamp | None, chart: str, dimension: str, value: Any) -> Iterator[Sample]:
    """The sample of a value, if it is one that is kept; an index keeps its sign."""
    kept = figure(chart, dimension)
    if kept is None or isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        return
    number = float(value) * kept[1]
    yield Sample(host, stamp, kept[0], number if kept[0].startswith(INDEX) else abs(number))


def _chart_of(name: str, dimensions: list[str]) -> str:
    """The chart that a file's name or its dimensions tell; empty where neither does."""
    found = _CHART.search(name.rpartition("/")[2])
    told = found[0].removesuffix(".csv").removesuffix(".json") if found else ""
    if any(figure(told, dimension) for dimension in dimensions):
        return told
    if dimensions and all(re.fullmatch(r"\d+KB \(\d{1,2}\)", one) for one in dimensions):
        return _PAGETYPE
    return _BY_DIMENSIONS.get(frozenset(dimensions), "")


def _stamp(value: Any) -> Stamp | None:
    """A time that netdata gives: seconds or milliseconds since 1970, or a date."""
    return stamp_in(
        f"{value:.0f}" if isinstance(value, int | float) and abs(value) < 1e15 else str(value)[:100]
    )


def _cells(line: str) -> list[str]:
    return [cell.strip().strip('"') for cell in re.split(r"[,\t]", line.strip())]


def _table(file: TextFile) -> Iterator[Sample]:
    """``format=csv`` and ``tsv``."""
    chart, columns = "", list[str]()
    for line in file.lines():
        cells = _cells(line)
        if not columns:
            columns = cells[1:] if cells[0] == "time" else []
            chart = _chart_of(file.name, columns)
        elif len(cells) == len(columns) + 1:
            stamp = stamp_in(cells[0])
            for dimension, cell in zip(columns, cells[1:], strict=True):
                yield from _sample("", stamp, chart, dimension, _number(cell))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,18}(?:\.\d{1,12})?(?:[eE][+-]?\d{1,2})?", text) else None


def _json(file: TextFile) -> Iterator[Sample]:
    """``format=json``, bare or in ``jsonwrap``, and allmetrics' ``format=json``."""
    values = document(file)
    if not isinstance(values, dict):
        return
    inner = values.get("result", values)
    labels, rows = (inner.get(name) if isinstance(inner, dict) else None for name in ("labels", "data"))
    if isinstance(labels, list) and isinstance(rows, list):
        dimensions = [str(label) for label in labels[1:]]
        chart = str(values.get("id") or values.get("chart") or "") or _chart_of(file.name, dimensions)
        for row in rows:
            if isinstance(row, list) and len(row) == len(labels) > 0:
                for dimension, value in zip(dimensions, row[1:], strict=True):
                    yield from _sample("", _stamp(row[0]), chart, dimension, value)
        return
    for chart, told in values.items():
        dims = told.get("dimensions") if isinstance(told, dict) else None
        for dimension, one in dims.items() if isinstance(dims, dict) else ():
            if isinstance(one, Mapping):
                yield from _sample(
                    "", _stamp(told.get("last_updated", "")), chart, dimension, one.get("value")
                )


def _shell(lines: Iterable[str]) -> Iterator[Sample]:
    """allmetrics' ``format=shell``: no time, upper case."""
    for line in lines:
        found = _SHELL_ROW.match(line[:400])
        if found and (told := _SHELL_NAMES.get(found["name"])):
            yield from _sample("", None, *told, float(found["value"]))


def _prometheus(lines: Iterable[str]) -> Iterator[Sample]:
    """allmetrics' ``format=prometheus``: the chart and its dimension are labels."""
    for line in lines:
        found = _PROMETHEUS_ROW.match(line[:2000])
        if found is None:
            continue
        labels = dict(_LABEL.findall(found["labels"]))
        stamp = stamp_in(found["ms"]) if found["ms"] else None
        chart, dimension = labels.get("chart", ""), labels.get("dimension", "")
        yield from _sample(labels.get("instance", "")[:200], stamp, chart, dimension, float(found["value"]))
