# SPDX-License-Identifier: GPL-2.0-or-later
"""What copies of /proc files say: public reports with their values worked out by hand, series, machines, advice."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.proctext import looks
from kevacuate.kernelfiles.text import TextFile
from kevacuate.measure.metrics import fragmentation_index
from kevacuate.observe.files import procshelf
from kevacuate.observe.files.proc import answer
from kevacuate.observe.files.procadvice import RULES, extfrag_for_order, fragmentation_scores, starts_above
from kevacuate.observe.files.procshelf import machine_of
from kevacuate.reports.triage.files.proc import words

DATA = Path(__file__).parent.parent / "data" / "procfiles"


def of(*paths: Path) -> dict[str, Any]:
    return answer([TextFile(path) for path in paths])


def machine(*paths: Path) -> dict[str, Any]:
    found = of(*paths)["machines"]
    assert len(found) == 1
    one: dict[str, Any] = found[0]
    return one


def written(folder: Path, **texts: str) -> Path:
    """A folder with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def zones(part: dict[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    return {(zone["node"], zone["zone"]): zone for zone in part["zones"]}


FREE: dict[str, dict[tuple[int, str], tuple[int, int, int, int]]] = {
    "server-buddyinfo": {
        (0, "DMA"): (3968, 3584, 96, -1000),
        (0, "DMA32"): (136512, 0, 1000, 995),
        (0, "Normal"): (1294805, 0, 1000, 995),
    },
    "bees-buddyinfo": {
        (0, "DMA"): (3328, 3072, 76, -1000),
        (0, "DMA32"): (42060, 512, 987, -1000),
        (0, "Normal"): (1628466, 2560, 998, -1000),
    },
    "eight-nodes-buddyinfo": {
        (0, "DMA"): (3452, 2560, 258, -1000),
        (0, "DMA32"): (345645, 67072, 805, -1000),
        (0, "Normal"): (12410411, 54272, 995, -1000),
        (1, "Normal"): (11159671, 1536, 999, -1000),
        (2, "Normal"): (11315823, 365568, 967, -1000),
        (3, "Normal"): (13082295, 249344, 980, -1000),
        (4, "Normal"): (8418778, 187392, 977, -1000),
        (5, "Normal"): (8555636, 16384, 998, -1000),
        (6, "Normal"): (3644233, 144384, 960, -1000),
        (7, "Normal"): (9368269, 978432, 895, -1000),
    },
    "mail-2015-reserve": {(0, "Normal"): (27590, 1536, 944, -1000)},
    "stopped-pagetypeinfo": {(0, "Normal"): (3325037, 1871872, 437, -1000)},
    "mail-2024-quoted-printable": {(0, "Normal"): (4315374, 4227072, 20, -1000)},
    "collectl": {
        (0, "DMA"): (539, 0, 1000, 1000 - (1000 + 539000 // 512) // 27),
        (0, "DMA32"): (1244, 512, 588, -1000),
    },
    "mangled-blanks": {(0, "DMA"): (8 + 2 * 16 + 32 + 64 + 256 + 512 + 3 * 1024, 3584, 98, -1000)},
}
"""Report to zone to: free pages, those in chunks of order 9 or larger, both indices at order 9, by awk from the same text."""


@pytest.mark.parametrize("name", FREE)
def test_free_memory_of_a_report(name: str) -> None:
    free = machine(DATA / f"{name}.txt")["free"]
    found = {
        zone: (
            of["last"]["free_pages"],
            of["followed"][-1]["pages_last"],
            of["last"]["unusable_free_index"][9],
            of["last"]["fragmentation_index"][9],
        )
        for zone, of in zones(free).items()
    }
    assert found == FREE[name]


@pytest.mark.parametrize("path", sorted(DATA.glob("*.txt")), ids=lambda path: path.stem)
def test_a_report_is_recognised_by_its_content(path: Path) -> None:
    assert looks(TextFile(path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "roses are red\n",
        "Node 0, zone Normal\n",
        "\n" * 70000,
        "anon 5\nthp_fault_alloc 8\n",
        "time: 1684144800\n",
    ],
)
def test_other_text_is_not(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    assert not looks(TextFile(tmp_path / "x"))


BLOCKS: dict[str, dict[tuple[int, str], dict[str, int]]] = {
    "mail-2015-reserve": {(0, "Normal"): {"Unmovable": 135, "Reclaimable": 3, "Movable": 124, "Reserve": 2}},
    "mail-2016-two-kernels": {
        (1, "Normal"): {"Unmovable": 3880, "Reclaimable": 3530, "Movable": 25356, "Reserve": 2}
    },
    "mail-2019-wrapped-highmem": {
        (0, "DMA"): {"Unmovable": 10, "Movable": 14, "Reclaimable": 4},
        (0, "HighMem"): {"Unmovable": 3, "Movable": 32, "CMA": 57},
    },
    "stopped-pagetypeinfo": {
        (0, "DMA"): {"Unmovable": 1, "Movable": 7},
        (0, "DMA32"): {"Unmovable": 25, "Movable": 1466, "Reclaimable": 37},
        (0, "Normal"): {"Unmovable": 298, "Movable": 10165, "Reclaimable": 288, "HighAtomic": 1},
    },
    "router-order-10": {(0, "Normal"): {"Unmovable": 22, "Movable": 39, "Reclaimable": 3}},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_pageblocks_of_a_report(name: str) -> None:
    blocks = machine(DATA / f"{name}.txt")["blocks"]
    found = {
        zone: {kind: count for kind, count in of["blocks_last"].items() if count}
        for zone, of in zones(blocks).items()
        if of["blocks_last"]
    }
    assert found == BLOCKS[name]


def test_pages_by_type_and_counts_that_the_kernel_stopped() -> None:
    found = machine(DATA / "stopped-pagetypeinfo.txt")
    normal = zones(found["blocks"])[0, "Normal"]
    assert normal["free_pages"] == {
        "Unmovable": 44607, "Movable": 3177750, "Reclaimable": 102240, "HighAtomic": 440, "CMA": 0, "Isolate": 0,
    }  # fmt: skip
    assert normal["stopped"] == [["Movable", 0]]
    assert found["free"]["at_least"]
    assert found["free_from"] == "pagetypeinfo"


def test_the_kernel_names_the_order_of_a_pageblock() -> None:
    found = machine(DATA / "router-order-10.txt")
    assert (found["pageblock_order"], found["pageblock_order_given"]) == (10, True)
    normal = found["free"]["zones"][0]
    assert (normal["last"]["free_pages"], normal["followed"][-1]) == (
        23097,
        {
            "order": 10,
            "pages_first": 12288,
            "pages_last": 12288,
            "none_moments": 0,
            "none_from": None,
            "none_from_time": None,
        },
    )
    assert normal["unusable"]["last"] == 467


def test_rows_of_thirteen_orders() -> None:
    free = machine(DATA / "mail-2019-wrapped-highmem.txt")["free"]
    highmem = zones(free)[0, "HighMem"]
    assert (highmem["orders"], highmem["last"]["free_pages"]) == (13, 66408)
    assert highmem["last"]["largest_order"] == 12


def test_a_change_of_pageblocks_between_two_copies() -> None:
    normal = machine(DATA / "mail-2016-two-kernels.txt")["blocks"]["zones"][0]
    assert normal["blocks_first"]["Unmovable"] == 815
    assert normal["blocks_last"]["Unmovable"] == 3880
    advice = of(DATA / "mail-2016-two-kernels.txt")["advice"]
    assert [piece["evidence"] for piece in advice] == [
        "Node 1, zone Normal: unmovable and reclaimable pageblocks 1,248 -> 7,410 of 32,768."
    ]


def test_counters_that_are_kept_by_zone() -> None:
    counters = machine(DATA / "vmstat-61.txt")["counters"]
    counts = {name: one["count"] for name, one in counters["counters"].items()}
    assert counts == {
        "allocstall": 1047 + 2384,
        "pgalloc": 256 + 3928448 + 8211892,
        "pgfree": 12842526,
        "pgsteal_kswapd": 2605540,
        "pgsteal_direct": 212892,
        "pgscan_kswapd": 5990649,
        "pgscan_direct": 334257,
    }
    assert counters["since"] == "boot"
    assert counters["per_hour"] is None


def test_watermarks_of_a_report() -> None:
    dma = machine(DATA / "zoneinfo-419.txt")["marks"]["zones"][0]
    assert dma == {
        "node": 0, "zone": "DMA", "free": 3976, "min": 1, "low": 4, "high": 7, "boost": 0, "present": 3997, "managed": 3976,
        "pcp": 0, "moments": 1, "below_min": 0, "below_low": 0, "boosted": 0,
    }  # fmt: skip


def test_samples_of_several_files_after_one_title() -> None:
    found = machine(DATA / "samples.txt")
    normal = zones(found["free"])[0, "Normal"]
    assert (normal["first"]["free_pages"], normal["last"]["free_pages"]) == (
        1 + 4 + 12 + 32 + 80 + 64,
        1 + 4 + 12 + 32 + 16 + 32,
    )
    assert found["counters"]["seconds"] == 1.0
    assert {name: one["count"] for name, one in found["counters"]["counters"].items()} == {
        "allocstall": 3,
        "compact_stall": 5,
    }
    assert found["counters"]["per_hour"] == {"allocstall": 10800.0, "compact_stall": 18000.0}
    assert found["memory"]["values"]["MemFree"] == {"first": 1024000, "last": 512000}


def row(*chunks: int, zone: str = "Normal") -> str:
    """A row of buddyinfo of eleven orders."""
    return f"Node 0, zone {zone:>8} " + " ".join(map(str, (*chunks, *[0] * (11 - len(chunks))))) + "\n"


def series(*rows: str, start: int = 1684144800, step: int = 60) -> str:
    return "".join(f"time: {start + step * at}\n{text}" for at, text in enumerate(rows))


def test_the_first_bad_moment(tmp_path: Path) -> None:
    """Free at order 9 in copies 1 and 3; none in 2, 4 and 5: bad from the fourth on."""
    good, bad = row(8, 0, 0, 0, 0, 0, 0, 0, 0, 1), row(520)
    (tmp_path / "log").write_text(series(good, bad, good, bad, bad))
    normal = machine(tmp_path / "log")["free"]["zones"][0]
    assert normal["followed"][-1] == {
        "order": 9, "pages_first": 512, "pages_last": 0, "none_moments": 3, "none_from": 3,
        "none_from_time": "2023-05-15 10:03:00 UTC",
    }  # fmt: skip
    assert normal["followed"][0]["order"] == 3
    unusable = 8 * 1000 // 520
    assert normal["unusable"] == {
        "order": 9,
        "first": unusable,
        "last": 1000,
        "least": unusable,
        "most": 1000,
        "trend": 1000 - unusable,
    }


def test_the_trend_is_of_thirds(tmp_path: Path) -> None:
    """Shares 0, 100, 200, ..., 800 thousandths: the thirds' means are 100 and 700."""
    rows = [row(512 * at, 0, 0, 0, 0, 0, 0, 0, 0, 10 - at) for at in range(9)]
    (tmp_path / "log").write_text(series(*rows))
    assert machine(tmp_path / "log")["free"]["zones"][0]["unusable"]["trend"] == 600


def test_bad_everywhere_is_of_all_zones(tmp_path: Path) -> None:
    good, bad = row(8, 0, 0, 0, 0, 0, 0, 0, 0, 1, zone="DMA32"), row(520, zone="DMA32")
    (tmp_path / "log").write_text(series(good + row(9), bad + row(9)))
    costly, huge = machine(tmp_path / "log")["free"]["all_zones"]
    assert (costly["order"], costly["none_moments"]) == (3, 1)
    assert (huge["order"], huge["none_moments"], huge["none_from"]) == (9, 1, 1)


def test_a_cut_row_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        series(row(8), row(9), row(10)) + "time: 1684145000\nNode 0, zone   Normal 11 0 0\n"
    )
    free = machine(tmp_path / "log")["free"]
    assert free["rows_left_out"] == 1
    assert free["zones"][0]["last"]["free_pages"] == 10


CUT = {
    "a row of buddyinfo": (
        "Node 0, zone DMA" + " 1" * 11 + "\nNode 0, zone Normal 1 2 3\n",
        "free",
        {(0, "DMA")},
    ),
    "a row with a sign": (
        "Node 0, zone DMA -1" + " 1" * 10 + "\nNode 1, zone DMA" + " 1" * 11,
        "free",
        {(1, "DMA")},
    ),
    "a count of no machine": (
        f"Node 0, zone DMA {9**15}" + " 1" * 10 + "\nNode 1, zone DMA" + " 1" * 11,
        "free",
        {(1, "DMA")},
    ),
    "a row of a type": (
        "Node 0, zone DMA, type Movable"
        + " 1" * 11
        + "\nNode 0, zone Normal, type Unmovable"
        + " 1" * 11
        + "\nNode 0, zone Normal, type Movable 1 2 3\n",
        "free",
        {(0, "DMA")},
    ),
    "the last types": (
        "".join(
            f"Node 0, zone {name} {'1 ' * 11}\n"
            for name in ("DMA, type Unmovable", "DMA, type Movable", "Normal, type Unmovable")
        ),
        "free",
        {(0, "DMA")},
    ),
    "a row of pageblocks": (
        "Number of blocks type Unmovable Movable Reclaimable\nNode 0, zone DMA 1 7 0\nNode 0, zone Normal 1802 40",
        "blocks",
        {(0, "DMA")},
    ),
    "a zone without its high watermark": (
        "".join(
            f"Node 0, zone {name}\n  pages free 9\n  min 1\n  low 2\n" + high
            for name, high in (("DMA", "  high 3\n"), ("Normal", ""))
        ),
        "marks",
        {(0, "DMA")},
    ),
    "more free pages than a machine has": (
        "".join(
            f"Node 0, zone {name}\n  pages free {n}\n  min 1\n  low 2\n  high 3\n"
            for name, n in (("DMA", 9), ("Normal", 1 << 53))
        ),
        "marks",
        {(0, "DMA")},
    ),
}


@pytest.mark.parametrize("name", CUT)
def test_what_is_cut_off_is_no_zone_with_less_in_it(name: str, tmp_path: Path) -> None:
    text, part, right = CUT[name]
    (tmp_path / "log").write_text(text)
    found = of(tmp_path / "log")
    (one,) = found["machines"]
    assert set(zones(one[part])) == right
    assert found["rows_not_read"] == 1
    assert "Rows of zones that are damaged or cut off, and were left out: 1." in words(found)
    if "type" not in name:
        assert one["blocks" if part == "free" else "free"] is None, "a row of one table is none of another"


def test_orders_that_are_not_in_the_file_are_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(
        'node_buddyinfo_blocks{node="0",size="0",zone="Normal"} 5\nnode_buddyinfo_blocks{node="0",size="2",zone="Normal"} 7\n'
        'node_buddyinfo_blocks{node="0",size="3",zone="Normal"} 1e30\n'
    )
    free = machine(tmp_path / "m")["free"]
    assert free["zones"] == []
    assert free["excerpts"] == [{"node": 0, "zone": "Normal", "orders": 0, "chunks": {"0": 5, "2": 7}}]
    assert free["all_zones"] == []


def test_counters_over_a_series_and_a_restart(tmp_path: Path) -> None:
    """Stalls 10 -> 30 (+20), then booted: 4 (+4), then 9 (+5): 29 in all."""
    texts = [f"compact_stall {stalls}\npgfree {pages}\nallocstall_dma32 1\nallocstall_normal {pages}\n" for stalls, pages in
             ((10, 100), (30, 300), (4, 40), (9, 90))]  # fmt: skip
    (tmp_path / "log").write_text(series(*texts, step=900))
    counters = machine(tmp_path / "log")["counters"]
    assert counters["restarts"] == 1
    assert counters["counters"]["compact_stall"] == {"count": 29, "first": 10, "last": 9}
    assert counters["counters"]["allocstall"]["count"] == 200 + 41 + 50
    assert counters["seconds"] == 2700.0
    assert counters["per_hour"]["compact_stall"] == round(29 * 3600 / 2700, 1)
    assert counters["busiest"]["compact_stall"] == {
        "count": 20, "from_time": "2023-05-15 10:00:00 UTC", "to_time": "2023-05-15 10:15:00 UTC",
    }  # fmt: skip


def test_older_names_are_todays(tmp_path: Path) -> None:
    (tmp_path / "v").write_text(
        "allocstall 7\npgscan_direct_dma32 1\npgscan_direct_normal 2\npgscan_direct_throttle 50\nthp_split 3\n"
    )
    counts = machine(tmp_path / "v")["counters"]["counters"]
    assert {name: one["count"] for name, one in counts.items()} == {
        "allocstall": 7,
        "pgscan_direct": 3,
        "thp_split_page": 3,
    }


def test_marks_over_a_series(tmp_path: Path) -> None:
    zone = "Node 0, zone   Normal\n  pages free     {}\n        boost    {}\n"
    zone += "        min      10\n        low      20\n        high     30\n"
    (tmp_path / "z").write_text(
        series(zone.format(25, 0), zone.format(15, 0), zone.format(5, 8), zone.format(40, 0))
    )
    normal = machine(tmp_path / "z")["marks"]["zones"][0]
    assert {key: normal[key] for key in ("moments", "below_min", "below_low", "boosted", "free")} == {
        "moments": 4, "below_min": 1, "below_low": 2, "boosted": 1, "free": 40,
    }  # fmt: skip


def test_slab_caches_by_pages(tmp_path: Path) -> None:
    line = "{} 10 20 192 21 {} : tunables 0 0 0 : slabdata {} {} 0\n"
    text = (
        "slabinfo - version: 2.1\n" + line.format("dentry", 1, "{0}", "{0}") + line.format("inode", 4, 30, 30)
    )
    (tmp_path / "s").write_text(series(text.format(50), text.format(90)))
    slab = machine(tmp_path / "s")["slab"]
    assert slab["pages"] == 90 + 120
    assert [(one["cache"], one["pages"], one["pages_first"]) for one in slab["caches"]] == [
        ("inode", 120, 120),
        ("dentry", 90, 50),
    ]


def files_of_a_day(folder: Path) -> list[Path]:
    """A series as files by time, one of them compressed, and counters as a log of another name."""
    folder.mkdir()
    for at in range(12):
        (folder / f"buddyinfo.{1684144800 + 60 * at}").write_text(
            row(100 + at, 5, zone="DMA") + row(at * 7, 3)
        )
    (folder / "buddyinfo-20230515-101200.gz").write_bytes(
        gzip.compress((row(112, 5, zone="DMA") + row(84, 3)).encode())
    )
    (folder / "vmstat.log").write_text(series("compact_stall 5\n", "compact_stall 9\n"))
    return sorted(folder.iterdir())


def test_files_by_time_are_a_series_in_any_order(tmp_path: Path) -> None:
    paths = files_of_a_day(tmp_path / "day")
    straight = of(*paths)
    draw = random.Random(4)
    for _ in range(5):
        draw.shuffle(paths)
        assert json.dumps(of(*paths)) == json.dumps(straight)
    free = straight["machines"][0]["free"]
    assert (free["moments"], free["seconds"]) == (13, 720.0)
    assert [point["free_by_order"][0] for point in zones(free)[0, "Normal"]["series"]] == [
        at * 7 for at in range(13)
    ]


def test_numbered_files_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = written(tmp_path, **{f"buddyinfo.{at}": row(at) for at in (1, 2, 9, 10, 11)})
    normal = machine(*folder.iterdir())["free"]["zones"][0]
    assert [point["free_by_order"][0] for point in normal["series"]] == [1, 2, 9, 10, 11]


def test_files_whose_times_overlap_are_one_series(tmp_path: Path) -> None:
    folder = written(
        tmp_path, a=series(row(1), row(3), step=120), b=series(row(2), row(4), start=1684144860, step=120)
    )
    normal = machine(*folder.iterdir())["free"]["zones"][0]
    assert [point["free_by_order"][0] for point in normal["series"]] == [1, 2, 3, 4]


def test_equal_copies_in_one_folder_are_two(tmp_path: Path) -> None:
    folder = written(tmp_path, **{"buddyinfo.1": row(5), "buddyinfo.2": row(5)})
    assert machine(*folder.iterdir())["free"]["moments"] == 2


def test_folders_of_several_machines_are_kept_apart(tmp_path: Path) -> None:
    for host, pages in (("a", 5), ("b", 9)):
        written(tmp_path / host / "proc", buddyinfo=row(pages), vmstat="compact_stall 1\n")
        written(tmp_path / host / "sos_commands" / "memory", buddy=row(pages))
    found = of(*(path for path in tmp_path.rglob("*") if path.is_file()))["machines"]
    assert [Path(one["name"]).name for one in found] == ["a", "b"]
    assert [one["free"]["zones"][0]["last"]["free_pages"] for one in found] == [5, 9]
    assert [one["free"]["moments"] for one in found] == [1, 1]


def test_folders_that_share_no_kind_are_one_machine(tmp_path: Path) -> None:
    written(tmp_path / "x", buddyinfo=row(5))
    written(tmp_path / "y", vmstat="compact_stall 1\n")
    one = machine(tmp_path / "x" / "buddyinfo", tmp_path / "y" / "vmstat")
    assert one["name"] == ""
    assert one["free"] is not None
    assert one["counters"] is not None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("buddyinfo", ""),
        ("sos-box/proc/buddyinfo", "sos-box"),
        ("sos-box/sos_commands/memory/cat", "sos-box"),
        ("nodes/n1/proc/zoneinfo", "nodes/n1"),
        ("n1/2023-05-15_10-00-00/proc/buddyinfo", "n1"),
        ("n1/20230515-100000/buddyinfo", "n1"),
        ("n1/before/buddyinfo", "n1/before"),
    ],
)
def test_the_folder_that_says_whose_files_these_are(path: str, name: str) -> None:
    assert machine_of(Path(path)) == name


def test_more_copies_than_are_kept_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procshelf, "MOST_MOMENTS", 4)
    (tmp_path / "log").write_text(series(*(row(at) for at in range(10))))
    free = machine(tmp_path / "log")["free"]
    assert (free["moments"], free["moments_left_out"]) == (4, 6)


def test_a_damaged_file_among_others(tmp_path: Path) -> None:
    whole = gzip.compress((series(*(row(at) for at in range(3000)))).encode())
    (tmp_path / "buddyinfo.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "vmstat").write_text("compact_stall 1\n")
    found = of(tmp_path / "buddyinfo.gz", tmp_path / "vmstat")
    assert [text.endswith("its compressed data ends too early.") for text in found["damaged"]] == [True]
    assert found["machines"][0]["free"]["moments"] > 100
    with pytest.raises(KevacuateError, match="ends too early"):
        of(tmp_path / "buddyinfo.gz")


def normal(free: tuple[int, ...], present: int = 10**6) -> dict[str, str]:
    """Copies of a machine with one zone."""
    return {
        "buddyinfo": row(*free),
        "zoneinfo": "Node 0, zone   Normal\n  pages free     5\n        min      0\n        low      0\n        high     0\n"
        f"        present  {present}\n        managed  {present}\n",
    }


SCATTERED = (20000,)
STALLED = "compact_stall 200\ncompact_fail 120\ncompact_success 80\n"
FAULTS = "thp_fault_alloc 900\nthp_fault_fallback 1100\n"
TYPES = (
    "Page block order: 9\n"
    "Node 0, zone Normal, type Unmovable {} 0 0 0 0 0 0 0 0 0 0\nNode 0, zone Normal, type Movable {} 0 0 0 0 0 0 0 0 0 0\n"
    "Number of blocks type     Unmovable      Movable  Reclaimable\nNode 0, zone   Normal  {} {} {}\n"
)
HOLDS: dict[str, tuple[list[dict[str, str]], list[dict[str, str]]]] = {
    "who_spoils": (
        [normal(SCATTERED), {"buddyinfo": row(16 << 9)}],
        [normal(((16 << 9) - 1,)), normal((20000, 0, 0, 0, 0, 0, 0, 0, 0, 1)), {"buddyinfo": row(0, 0, 0, 0, 0, 0, 0, 0, 40)}],
    ),
    "huge_page_faults": (
        [{"vmstat": STALLED + FAULTS}],
        [
            {"vmstat": STALLED}, {"vmstat": FAULTS}, {"vmstat": STALLED + FAULTS.replace("1100", "800")},
            {"vmstat": STALLED.replace("120", "80") + FAULTS}, {"vmstat": "compact_stall 99\ncompact_fail 99\n" + FAULTS},
        ],
    ),
    "kswapd_too_late": (
        [{"log": series("allocstall_normal 5\n", "allocstall_normal 65\n")}],
        [
            {"log": series("allocstall_normal 5\n", "allocstall_normal 64\n")},
            {"log": series("allocstall_normal 5\n", "allocstall_normal 64\n", step=1)},
            {"vmstat": "allocstall_normal 100000\n"},
        ],
    ),
    "proactive": (
        [normal((4000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4)) | {"vmstat": STALLED}],
        [
            normal((4000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4)), normal((20000,)) | {"vmstat": STALLED},
            normal((100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4)) | {"vmstat": STALLED},
        ],
    ),
    "blocks_lost": (
        [{"log": series(TYPES.format(1, 1, 100, 900, 0), TYPES.format(1, 1, 105, 890, 5))}],
        [
            {"log": series(TYPES.format(1, 1, 100, 900, 0), TYPES.format(1, 1, 109, 891, 0))},
            {"types": TYPES.format(1, 1, 900, 100, 0)},
        ],
    ),
    "compact_once": (
        [{"types": TYPES.format(10000, 10000, 1, 9, 0)}],
        [{"types": TYPES.format(10001, 9999, 1, 9, 0)}, {"types": TYPES.format(10, 10, 1, 9, 0)}],
    ),
}  # fmt: skip
"""Rule to files for which it holds, and files for which it does not, at either side of its limits."""


def test_every_rule_is_tried() -> None:
    assert [rule.__name__ for rule in RULES] == list(HOLDS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_holds_where_it_should(rule: Any, tmp_path: Path) -> None:
    for wanted, cases in zip((True, False), HOLDS[rule.__name__], strict=True):
        for number, texts in enumerate(cases):
            folder = written(tmp_path / f"{wanted}{number}", **texts)
            pieces = list(rule(machine(*sorted(folder.iterdir()))))
            assert bool(pieces) is wanted, (wanted, number)
            assert len(pieces) <= 1


def test_nothing_stands_out(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        **normal((100, 50, 20, 10, 5, 5, 5, 5, 5, 5, 900)),
        vmstat="compact_stall 0\nallocstall_normal 3\n",
    )
    assert of(*folder.iterdir())["advice"] == []


def test_the_score_that_proactive_compaction_watches(tmp_path: Path) -> None:
    """Of 4,000 + 4,096 free pages 49 % lie below order 9; with 10**6 of 10**6 + 1 pages that is 48."""
    one = machine(*written(tmp_path, **normal((4000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4))).iterdir())
    assert extfrag_for_order(one["free"]["zones"][0]["last"], 9) == 49
    assert fragmentation_scores(one) == {0: 48}
    assert [starts_above(p) for p in (0, 20, 80, 90, 100)] == [100, 90, 30, 15, 0]


def test_the_index_of_a_report_is_the_kernels_formula() -> None:
    """1,000 less (1,000 + 1,294,805 x 1,000 / 512) / 422,614 chunks: 1,000 less 5."""
    assert fragmentation_index([127559, 175569, 74035, 31054, 12025, 2271, 101, 0, 0, 0, 0], 9) == 995


def test_both_indices_are_those_that_a_running_kernel_prints(tmp_path: Path) -> None:
    """Of a moment at which buddyinfo is the same before and after debugfs is read."""
    sources = {name: Path("/sys/kernel/debug/extfrag") / name for name in ("unusable_index", "extfrag_index")}
    for _ in range(20):
        try:
            texts = {"buddyinfo": Path("/proc/buddyinfo").read_text()}
            texts |= {name: source.read_text() for name, source in sources.items()}
        except OSError:
            pytest.skip("debugfs' extfrag cannot be read here")
        if Path("/proc/buddyinfo").read_text() == texts["buddyinfo"]:
            break
    else:
        pytest.skip("free memory changes too fast here")
    one = machine(*written(tmp_path, **texts).iterdir())
    assert one["free"]["zones"]
    for ours, kernels in (
        ("unusable_free_index", "unusable_index"),
        ("fragmentation_index", "extfrag_index"),
    ):
        printed = {zone: of["last"] for zone, of in zones(one[kernels]).items()}
        assert {zone: of["last"][ours] for zone, of in zones(one["free"]).items()} == printed
