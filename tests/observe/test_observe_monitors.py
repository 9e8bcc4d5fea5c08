# SPDX-License-Identifier: GPL-2.0-or-later
"""What sysstat and netdata keep of memory: every form of both gives the same figures, worked out apart from this code.

The forms are those that sysstat 12.6 printed of one data file, and those of netdata's API, with other hosts and figures.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.monitors import answer
from kevacuate.reports.triage.files.monitors import tables, words

ROWS = [
    ("07:34:04", 13925944, 22206712, 4.0, 0.0, 4.0),
    ("07:34:05", 96412, 22377988, 82.0, 12.5, 3.0),
    ("07:34:06", 14032884, 22314468, 0.0, 0.0, 0.0),
]
"""Time, kbmemfree, kbavail, pgscank/s, pgscand/s, pgsteal/s."""

BANNER = "Linux 6.1.0-18-amd64 (build-7) \t{}\t_x86_64_\t(2 CPU)\n\n"


def sar(date: str = "11/30/26", half: bool = False, comma: bool = False) -> str:
    """``sar -B -r``: a header each, averages, other columns between those that are read."""
    after = " AM" if half else ""
    paging = [f"07:34:03{after}     pgpgin/s   fault/s pgscank/s pgscand/s pgsteal/s    %vmeff"]
    memory = [f"07:34:03{after}    kbmemfree   kbavail kbmemused  %memused   %commit"]
    for time, free, available, kswapd, direct, steal in ROWS:
        paging.append(f"{time}{after}  48.00  18964.00  {kswapd:.2f}  {direct:.2f}  {steal:.2f}  7.74")
        memory.append(f"{time}{after}  {free}  {available}  1910664  7.74  9.33")
    average = ["Average:  48.00  18964.00  9999.00  9999.00  9999.00  7.74"]
    text = "\n".join([*paging, *average, "", *memory, "Average:  1 2 3 4.00 5.00"]) + "\n"
    cpu = (
        f"07:34:03{after}        CPU      %usr     %nice\n07:34:04{after}        all     12.44     83.08\n\n"
    )
    text = cpu + text
    return BANNER.format(date) + (text.replace(".", ",") if comma else text)


def sadf_d(epoch: bool = False) -> str:
    paging, memory = (
        f"# hostname;interval;timestamp;{names}"
        for names in ("fault/s;pgscank/s;pgscand/s;pgsteal/s", "kbmemfree;kbavail")
    )
    stamp = {at[0]: str(1796024044 + i) if epoch else f"2026-11-30 {at[0]} UTC" for i, at in enumerate(ROWS)}
    rows = [f"build-7;1;{stamp[at]};9.00;{k:.2f};{d:.2f};{s:.2f}" for at, _, _, k, d, s in ROWS]
    more = [f"build-7;1;{stamp[at]};{free};{avail}" for at, free, avail, *_ in ROWS]
    return "\n".join([paging, *rows, memory, *more]) + "\n"


def sadf_p() -> str:
    names = ("kbmemfree", "kbavail", "pgscank/s", "pgscand/s", "pgsteal/s")
    return "".join(
        f"build-7\t1\t2026-11-30 {row[0]} UTC\t-\t{name}\t{value}\n"
        for row in ROWS for name, value in zip(names, row[1:], strict=True)
    )  # fmt: skip


def sadf_j() -> str:
    moments = [
        {
            "timestamp": {"date": "2026-11-30", "time": at, "utc": 1, "interval": 1},
            "paging": {"pgpgin": 48.0, "pgscank": k, "pgscand": d, "pgsteal": s, "vmeff-percent": 0.0},
            "memory": {"memfree": free, "avail": avail, "memused-percent": 7.74},
        }
        for at, free, avail, k, d, s in ROWS
    ]
    host = {"nodename": "build-7", "release": "6.1.0", "statistics": moments, "restarts": []}
    return json.dumps({"sysstat": {"hosts": [host]}}, indent="\t")


def sadf_x() -> str:
    rows = [
        f'<timestamp date="2026-11-30" time="{at}" utc="1" interval="1">\n'
        f'<paging per="second" pgpgin="48.00" pgscank="{k:.2f}" pgscand="{d:.2f}" pgsteal="{s:.2f}"/>\n'
        f'<memory per="second" unit="kB">\n\t<memfree>{free}</memfree>\n\t<avail>{avail}</avail>\n</memory>\n</timestamp>\n'
        for at, free, avail, k, d, s in ROWS
    ]
    return (
        '<?xml version="1.0"?>\n<sysstat\nxmlns="x">\n<host nodename="build-7">\n'
        + "".join(rows)
        + "</host></sysstat>\n"
    )


FORMS = {
    "sar": sar(), "sar of another locale": sar("30.11.2026", comma=True), "sar, AM and PM": sar("11/30/2026", half=True),
    "sar, ISO": sar("2026-11-30"), "sar, day first": sar("30/11/26"), "sadf -d": sadf_d(), "sadf -d -U": sadf_d(epoch=True),
    "sadf -p": sadf_p(), "sadf -j": sadf_j(), "sadf -x": sadf_x(), "Windows line ends": sar().replace("\n", "\r\n"),
}  # fmt: skip


def told(path: Path, text: str) -> dict[str, Any]:
    """The only host's answer."""
    path.write_bytes(text.encode())
    found = kevacuate.triage([path, path])
    (one,) = found["answers"]
    assert one["kind"] == "monitors"
    (host,) = one["hosts"]
    assert words(one)
    assert tables(one)
    return dict(host)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_sysstat_gives_the_same_figures(form: str, tmp_path: Path) -> None:
    host = told(tmp_path / "given", FORMS[form])
    assert (host["name"], host["seconds"]) == ("build-7", 2.0)
    assert host["first_time"].startswith("2026-11-30 07:34:04")
    figures = host["figures"]
    assert set(figures) == {"free_kb", "available_kb", "pgscan_kswapd", "pgscan_direct", "pgsteal"}
    free, direct = figures["free_kb"], figures["pgscan_direct"]
    assert [free[name] for name in ("samples", "first", "last", "least", "most")] == [
        3,
        13925944,
        14032884,
        96412,
        14032884,
    ]
    assert free["least_time"].startswith("2026-11-30 07:34:05")
    assert (direct["above_zero"], direct["most"]) == (1, 12.5)
    assert direct["mean"] == pytest.approx(12.5 / 3)
    assert host["free_kb_in_direct_reclaim"] == {"with": 96412, "without": 13925944}
    assert host["steal_share"] == pytest.approx(7 / 98.5)


def test_human_units_and_a_night_over_midnight(tmp_path: Path) -> None:
    """--human: 2.5G are 2.5 x 1,048,576 kB. A terminal's sar goes on after midnight, with its header again."""
    head = "23:59:58    kbmemfree   pgscand/s\n"
    text = BANNER.format("11/30/26") + head + "23:59:59   2.5G  0.00\n\n" + head + "00:00:01   512.0k  1.00\n"
    host = told(tmp_path / "given", text)
    assert (host["figures"]["free_kb"]["first"], host["figures"]["free_kb"]["last"]) == (2621440, 512)
    assert host["seconds"] == 2.0


def netdata(values: list[tuple[str, str, list[float | None]]], form: str) -> Iterator[tuple[str, str]]:
    """Files (name and text) of netdata with these charts, dimensions and values from 07:34:04 UTC on, a second each."""
    charts: dict[str, dict[str, list[float | None]]] = {}
    for chart, dimension, of in values:
        charts.setdefault(chart, {})[dimension] = of
    for chart, dims in charts.items():
        times = [1796024044 + i for i in range(len(next(iter(dims.values()))))]
        rows = list(zip(times, *dims.values(), strict=True))
        labels = ["time", *dims]
        if form == "json":
            yield f"{chart}.json", json.dumps({"labels": labels, "data": rows[::-1]})
        elif form == "jsonwrap":
            whole = {
                "api": 1,
                "id": chart,
                "dimension_names": list(dims),
                "result": {"labels": labels, "data": rows},
            }
            yield f"x{len(chart)}", json.dumps(whole)
        elif form == "csv":
            lines = [",".join("null" if cell is None else f"{cell}" for cell in row) for row in rows]
            yield f"{chart}.csv", "\r\n".join([",".join(labels), *lines]) + "\r\n"
        elif form == "prometheus":
            yield chart, "".join(
                f'netdata_{chart.replace(".", "_")}_x_average{{chart="{chart}",dimension="{name}",family="f",instance=""}} '
                f"{value} {at}000\n"
                for name, of in dims.items() for at, value in zip(times, of, strict=True) if value is not None
            )  # fmt: skip


CHARTS: list[tuple[str, str, list[float | None]]] = [
    ("mem.available", "avail", [100.0, 50.5]),
    ("system.ram", "free", [10.0, 2.0]), ("system.ram", "used", [1.0, 1.0]),
    ("system.ram", "cached", [1.0, 1.0]), ("system.ram", "buffers", [1.0, 1.0]),
    ("mem.thp_compact", "success", [1.0, 0.0]), ("mem.thp_compact", "fail", [-2.0, -1.0]),
    ("mem.thp_compact", "stall", [3.0, 1.0]),
    ("mem.thp_faults", "alloc", [1.0, 1.0]), ("mem.thp_faults", "fallback", [-5.0, -1.0]),
    ("mem.thp_faults", "fallback_charge", [0.0, None]),
    *(("mem.pagetype_global", f"{4 << order}KB ({order})", [4096.0 * 1024, 4096.0 * 1024 * (order < 9)]) for order in range(11)),
    *(("mem.fragmentation_node_0_normal_index", f"order{order}", [-1.0, -1.0 if order < 5 else 0.9]) for order in range(11)),
]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "jsonwrap", "csv", "prometheus"])
def test_every_form_of_netdata_gives_the_same_figures(form: str, tmp_path: Path) -> None:
    """By hand: 2 of 11 equal shares lie in orders 9 and 10, then none; 3 of 4 compactions failed; 6 of 8 faults fell back."""
    for name, text in netdata(CHARTS, form):
        (tmp_path / name).write_bytes(text.encode())
    found = kevacuate.triage(tmp_path)
    assert found["not_read"] == []
    (one,) = found["answers"]
    (host,) = one["hosts"]
    figures = host["figures"]
    assert (figures["available_kb"]["first"], figures["available_kb"]["last"]) == (102400, 50.5 * 1024)
    assert (figures["free_kb"]["first"], figures["free_kb"]["least"]) == (10240, 2048)
    assert (host["compact_fail_share"], host["thp_fallback_share"]) == (0.75, 0.75)
    assert host["unusable_free_index"] == {"first": 818, "last": 1000, "least": 818, "most": 1000}
    assert host["extfrag_index"] == {"0 normal": [-1.0] * 5 + [0.9] * 6}
    assert host["seconds"] == 1.0
    assert "no free chunks by order" not in words(one)


def test_all_metrics_of_netdata_as_json_and_for_a_shell(tmp_path: Path) -> None:
    whole = {
        "mem.available": {"name": "mem.available", "context": "mem.available", "units": "MiB", "last_updated": 1796024044,
                          "dimensions": {"avail": {"name": "avail", "value": 12.5}}},
        "system.cpu": {"name": "system.cpu", "units": "percentage", "last_updated": 1796024044, "dimensions": {}},
    }  # fmt: skip
    host = told(tmp_path / "given", json.dumps(whole))
    assert host["figures"]["available_kb"]["last"] == 12800
    text = '# chart: mem.thp_compact (name: mem.thp_compact)\nNETDATA_MEM_THP_COMPACT_FAIL="-7"      # events/s\n'
    text += 'NETDATA_MEM_AVAILABLE_AVAIL="2"      # MiB\n'
    host = told(tmp_path / "given", text)
    assert (host["figures"]["compact_fail"]["last"], host["figures"]["available_kb"]["last"]) == (7, 2048)
    assert host["first_time"] is None


def course(direct: int, samples: int) -> str:
    rows = [
        f"{10 + i // 60:02}:{i % 60:02}:00  {100000 - i}  {8.0 if i < direct else 0.0}\n"
        for i in range(samples)
    ]
    return BANNER.format("11/30/26") + "09:59:00    kbmemfree   pgscand/s\n" + "".join(rows)


@pytest.mark.parametrize(
    ("direct", "samples", "pieces"), [(10, 200, 2), (9, 200, 0), (10, 201, 0), (0, 50, 0)]
)
def test_advice_where_tasks_often_reclaim(direct: int, samples: int, pieces: int, tmp_path: Path) -> None:
    path = tmp_path / "sar"
    path.write_text(course(direct, samples))
    found = answer([TextFile(path)])["advice"]
    assert len(found) == pieces
    assert all(piece["source"].startswith("Documentation/") for piece in found)


def test_the_order_of_files_makes_no_difference(tmp_path: Path) -> None:
    texts = [course(3, 40), sadf_d(), sar(), sadf_j(), *(text for _, text in netdata(CHARTS, "prometheus"))]
    for number, text in enumerate(texts):
        (tmp_path / f"f{number}").write_text(text)
    files = sorted(tmp_path.iterdir())
    wanted = answer([TextFile(path) for path in files])
    for seed in range(5):
        random.Random(seed).shuffle(files)
        assert answer([TextFile(path) for path in files]) == wanted
    assert [host["name"] for host in wanted["hosts"]] == ["", "build-7"]


def test_tables_of_other_activities_alone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sar"
    path.write_text(BANNER.format("11/30/26") + "07:34:03  CPU  %usr\n07:34:04  all  12.44\n")
    with pytest.raises(KevacuateError, match="no whole row with a figure of memory"):
        kevacuate.triage(path)
