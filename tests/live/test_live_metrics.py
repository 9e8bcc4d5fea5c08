# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures for Prometheus: their values, the file, a scrape by the real Prometheus, and the dashboard's queries."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kevacuate.errors import KevacuateError
from kevacuate.kernel.extfrag import CLAIM, STEAL
from kevacuate.live import stallfeed
from kevacuate.live.flags import FlagSweep
from kevacuate.live.machine import LiveSource
from kevacuate.live.metrics import MISSING, Exporter, Figures, address_of
from kevacuate.live.stallfeed import BUCKETS, StallFeed
from kevacuate.live.text import wait_words
from kevacuate.live.view import Queued, View
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import Recording
from kevacuate.recording.snapshot import ZoneCounts
from kevacuate.reports.ftrace import write_ftrace

BUDDY, LRU, SLAB = (1 << bit for bit in (10, 5, 7))
DOCS = Path(__file__).resolve().parents[2] / "docs"
DATA = Path(__file__).resolve().parents[1] / "data"
LINES = [
    "    make-111     [001] .....    10.000900: mm_vmscan_direct_reclaim_begin: order=9 gfp_flags=GFP_HIGHUSER|__GFP_NOWARN",
    "  kworker/u8:3-12   [000] .....    10.001000: mm_compaction_try_to_compact_pages: order=3 gfp_mask=GFP_KERNEL priority=0",
    "           make-111     [001] .....    10.004000: mm_vmscan_direct_reclaim_end: nr_reclaimed=0",
    "  kworker/u8:3-12       [002] .....    10.006000: mm_compaction_begin: zone_start=0x1 migrate_pfn=0x2 free_pfn=0x3 "
    "zone_end=0x4, mode=sync",
    "  kworker/u8:3-12       [003] .....    10.011000: mm_compaction_end: zone_start=0x1 migrate_pfn=0x2 free_pfn=0x3 "
    "zone_end=0x4, mode=sync status=success",
    "       modprobe-9       [001] .....    10.011500: mm_vmscan_wakeup_kswapd: nid=0 order=10 "
    "gfp_flags=__GFP_KSWAPD_RECLAIM|__GFP_IO|__GFP_FS|__GFP_NOWARN",
    "        kswapd0-50      [001] .....    10.012000: mm_compaction_wakeup_kcompactd: nid=0 order=9 classzone_idx=Normal",
]


class OneMachine(LiveSource):
    """A machine of 4 blocks of 512 pages and made-up files, with nothing of the running one; polls add the lines above."""

    def __init__(self, directory: Path, feed: StallFeed) -> None:
        words = np.full(4 * 512, BUDDY, np.uint64)
        words[512:1024] = LRU
        words[1024:1025] = SLAB
        words[1025:1536] = LRU
        words[1536:1600] = 0
        (directory / "kpageflags").write_bytes(words.tobytes())
        self.order, self.feed = 9, feed
        self.flags = FlagSweep(np.arange(4), 9, directory / "kpageflags")
        self.flags.sweep(float("inf"))
        free = (0,) * 10 + (1,)
        types = {"Unmovable": 0, "Movable": 3, "Reclaimable": 1}
        self.zones = (
            ZoneCounts(0, "Normal", 0, 2048, 2048, 2048, 1024, 0, (0, 0, 0, 0), (0,), free, blocks_by_type=types),
        )  # fmt: skip
        self.by_types = Counter({(CLAIM, 0, 1): 2, (STEAL, 2, 1): 5})
        self.queued = [Queued(1.0, 2, 100, 0, 0)]

    def poll(self) -> View:
        self.feed.add(LINES)
        self.by_types[CLAIM, 0, 1] += 1
        return View(
            "made up", "", 1.0, self.flags.blocks, self.flags.shown(self.zones), [("0 Normal", [4, 0, 3])], [],
            self.queued, {"lost_events": 7}, 9, mixed=self.flags.mixed(0),
        )  # fmt: skip

    def listen(self, batches: int = 1) -> None:
        self.feed.add(LINES)

    def close(self) -> None:
        self.flags.close()


@pytest.fixture
def figures(tmp_path: Path) -> Iterator[Figures]:
    feed = StallFeed(("DMA32", "Normal"), "7.2.0")
    with closing(OneMachine(tmp_path, feed)) as source:
        yield Figures(source, feed)


def values(figures: Figures) -> dict[str, float]:
    """All samples, by name and labels in their order."""
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for metric in figures.collect()
        for sample in metric.samples
    }


def test_the_values_are_the_machines(figures: Figures) -> None:
    figures.update()
    found = values(figures)
    expected = {
        "kevacuate_pageblocks free": 1, "kevacuate_pageblocks movable": 1, "kevacuate_pageblocks mixed": 1,
        "kevacuate_pageblocks unclear": 1, "kevacuate_pageblocks_by_type 0 Normal movable": 3,
        "kevacuate_mixed_pageblocks least": 1, "kevacuate_mixed_pageblocks most": 1,
        "kevacuate_polluted_pageblocks least": 0, "kevacuate_polluted_pageblocks most": 2,
        "kevacuate_regions 2MiB": 4, "kevacuate_regions 1GiB": 1,
        "kevacuate_tainted_regions 2MiB least": 1, "kevacuate_tainted_regions 2MiB most": 2,
        "kevacuate_tainted_regions 1GiB least": 1, "kevacuate_unread_pageblocks": 0,
        "kevacuate_free_pages 0 Normal 0": 4, "kevacuate_free_pages 0 Normal 2": 12,
        "kevacuate_unusable_free_index_ratio 0 Normal 2": 0.25, "kevacuate_unusable_free_index_ratio 0 Normal 0": 0,
        "kevacuate_extfrag_events_total claim unmovable movable": 3,
        "kevacuate_extfrag_events_total steal reclaimable movable": 5,
        "kevacuate_extfrag_events_total claim_block movable unmovable": 0,
        "kevacuate_queued_evacuations_total": 1, "kevacuate_lost_events_total": 7,
        "kevacuate_stall_seconds_count direct_reclaim": 1, "kevacuate_stall_seconds_sum direct_reclaim": 0.0031,
        "kevacuate_stall_seconds_bucket direct_reclaim 0.001": 0,
        "kevacuate_stall_seconds_bucket direct_reclaim 0.01": 1,
        "kevacuate_stall_seconds_bucket direct_reclaim +Inf": 1,
        "kevacuate_stall_seconds_sum direct_compaction": 0.005,
        "kevacuate_failed_stalls_total direct_reclaim": 1, "kevacuate_failed_stalls_total direct_compaction": 0,
        "kevacuate_kswapd_wakes_total 10 true": 1, "kevacuate_kswapd_wakes_total 10 false": 0,
        "kevacuate_kcompactd_wakes_total 9 false": 1,
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == pytest.approx(expected)
    figures.listen()
    figures.update()
    found = values(figures)
    assert found["kevacuate_stall_seconds_count direct_reclaim"] == 3
    assert found["kevacuate_queued_evacuations_total"] == 1


def test_who_waits_and_who_wakes_is_named_as_triage_names_it() -> None:
    feed = StallFeed(("DMA32", "Normal"), "7.2.0")
    feed.add(LINES)
    said = feed.to_json()
    assert said["direct_reclaim"] == {"count": 1, "total_ns": 3_100_000, "failed": 1}
    assert said["direct_compaction"] == {"count": 1, "total_ns": 5_000_000, "failed": 0}
    (wake,) = said["kswapd_wakes"]["requests"]
    assert (wake["order"], wake["as_vmalloc"]) == (10, True)
    assert wake["tasks"] == [{"task": "modprobe", "pid": None, "count": 1}]
    assert wait_words(said) == [
        "direct reclaim 1, 3.1 ms, failed 1",
        "direct compaction 1, 5 ms, failed 0",
        "kswapd woken 1: order 10 as vmalloc asks 1 (modprobe 1)",
        "kcompactd woken 1: order 9 1 (kswapd0 1)",
    ]
    assert wait_words(StallFeed((), "7.2.0").to_json()) == []


def test_a_run_that_begins_again_and_again_is_named_while_it_goes_on() -> None:
    feed = StallFeed(("DMA32", "Normal"), "7.2.0")
    for n in range(12):
        where = "zone_start=0x1 migrate_pfn=0x200 free_pfn=0x3 zone_end=0x4, mode=sync"
        feed.add([f"\x1b[2Jx-9 [000] d 1.{n:02}0000: mm_compaction_begin: {where}"])
        feed.add([f"\x1b[2Jx-9 [000] d 1.{n:02}5000: mm_compaction_end: {where} status=complete"])
        feed.add([f"\x1b[2Jx-9 [000] d 1.{n:02}6000: mm_vmscan_wakeup_kswapd: nid=0 order=0 gfp_flags=0"])
        circles = [words for words in wait_words(feed.to_json()) if "circles" in words]
        assert circles == ([f"compaction in circles: runs at pfn 0x200, {n + 1} times"] if n >= 9 else [])
    assert any("(\\x1b[2Jx 12)" in words for words in wait_words(feed.to_json())), "a name is text"


def test_names_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stallfeed, "MOST_NAMES", 3)
    feed = StallFeed((), "7.2.0")
    feed.add([LINES[0].replace("-111", f"-{pid}") for pid in range(1, 9)])
    assert list(feed.names) == [6, 7, 8]


def test_lines_of_a_recording_give_the_figures_of_its_triage() -> None:
    recording = Recording.open(DATA / "reclaim-1cpu")
    out = io.BytesIO()
    write_ftrace(recording, out)
    found = triage_recording(recording)["stalls"]
    feed = StallFeed(tuple(zone.name for zone in recording.machine.zones), recording.machine.kernel)
    form = re.compile(r"(\[\d+\]) +(\d+\.\d{6})\d{3}: ")  # as trace_pipe has it: flags, and microseconds
    feed.add([form.sub(r"\1 ..... \2: ", line) for line in out.getvalue().decode().splitlines()])
    said = feed.to_json()
    for kind in ("direct_reclaim", "direct_compaction"):
        assert [said[kind][name] for name in ("count", "failed")] == [
            found[kind]["count"],
            found[kind]["failed"],
        ]
        assert said[kind]["total_ns"] == pytest.approx(
            found[kind]["total_ns"], abs=2000 * found[kind]["count"]
        )
    for kind in ("kswapd_wakes", "kcompactd_wakes"):
        mine, its = (
            [(row["order"], row.get("gfp"), row["count"]) for row in one[kind]["requests"]]
            for one in (said, found)
        )
        assert mine == its
    assert said["direct_compaction"]["count"] == 18
    assert said["kswapd_wakes"]["count"] > 0


def test_a_stall_as_long_as_a_bound_is_in_its_bucket() -> None:
    feed = StallFeed((), "7.2.0")
    feed.add([LINES[0], LINES[2].replace("10.004000", "10.001900")])
    assert feed.buckets[0].tolist() == [bound == 0.001 for bound in (*BUCKETS, 0)]


@pytest.mark.parametrize(
    "line",
    [
        "", "# tracer: nop", "x-1 [000] d 1.000000: mm_vmscan_direct_reclaim_begin: order=",
        "x-1 [000] d 1.000000: mm_vmscan_new: a=1",
        "x-1 [99999] d 999999999999.000000: mm_vmscan_direct_reclaim_begin: order=999 gfp_flags=0",
        "x-1 [000] d 1.000000: mm_compaction_wakeup_kcompactd: nid=99999999999999999999999 order=1 classzone_idx=X",
    ],
)  # fmt: skip
def test_other_lines_are_passed_over(line: str) -> None:
    feed = StallFeed((), "7.2.0")
    feed.add([line, *LINES])
    assert feed.buckets.sum() == 2


@given(st.text(max_size=200))
def test_any_line_is_taken(text: str) -> None:
    feed = StallFeed((), "7.2.0")
    feed.add([text, LINES[0][: len(text)] + text, LINES[4].replace("0x1", text)])
    assert feed.buckets.sum() <= 1


def test_the_file_is_whole_and_replaced(figures: Figures, tmp_path: Path) -> None:
    path = tmp_path / "kevacuate.prom"
    path.write_text("old")
    with closing(Exporter(str(path), figures)) as exporter:
        exporter.update()
        text = path.read_text()
        assert 'kevacuate_pageblocks{state="mixed"} 1.0\n' in text
        assert "# TYPE kevacuate_extfrag_events_total counter\n" in text
        inode = path.stat().st_ino
        exporter.update()
        assert path.stat().st_ino != inode
    assert sorted(found.name for found in tmp_path.iterdir()) == ["kevacuate.prom", "kpageflags"]
    nowhere = Exporter(str(tmp_path / "no" / "x.prom"), figures)
    with pytest.raises(KevacuateError, match="cannot be written"):
        nowhere.update()


def test_names_and_kinds_pass_prometheus_own_check(figures: Figures, tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool is installed (apt-get install prometheus)")
    Exporter(str(tmp_path / "x.prom"), figures).update()
    text = (tmp_path / "x.prom").read_text()
    done = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_places() -> None:
    assert address_of(":9777") == ("127.0.0.1", 9777)
    assert address_of("0.0.0.0:80") == ("0.0.0.0", 80)
    assert address_of("[::1]:80") == ("::1", 80)
    assert address_of(":009777") == ("127.0.0.1", 9777)
    assert address_of("/a:b/c.prom") == ("", None)
    for place, said in (
        (":70000", "at most 65535"),
        (":" + "9" * 5000, "at most 65535"),
        ("file.txt", "ends in .prom"),
        ("", "ends in .prom"),
    ):
        with pytest.raises(KevacuateError, match=said):
            address_of(place)


def test_an_address_of_ipv6_stands_in_brackets(figures: Figures) -> None:
    try:
        exporter = Exporter("[::1]:0", figures)
    except KevacuateError:
        pytest.skip("no IPv6 here")
    with closing(exporter):
        assert re.fullmatch(r"\[::1\]:\d+", exporter.address)


def test_a_port_that_is_taken_is_said(figures: Figures) -> None:
    with (
        closing(Exporter("127.0.0.1:0", figures)) as exporter,
        pytest.raises(
            KevacuateError, match=r"nothing can listen on 127\.0\.0\.1 port \d+ .*choose another port"
        ),
    ):
        Exporter(exporter.address, figures)


def test_without_the_library_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(KevacuateError) as raised:
        Exporter(":0", None)  # type: ignore[arg-type]
    assert (
        str(raised.value) == MISSING == "--metrics needs prometheus_client: pip install 'kevacuate[metrics]'."
    )


def queries() -> dict[str, str]:
    """The dashboard's queries by panel, of every machine."""
    board = json.loads((DOCS / "grafana-dashboard.json").read_text())
    given = {"$instance": ".*", "$order": "2", "$__rate_interval": "10s"}
    found = {}
    for panel in board["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in given.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


def test_the_dashboard_and_the_page_name_every_metric_and_no_other(figures: Figures) -> None:
    figures.update()
    families = {metric.name + ("_total" if metric.type == "counter" else "") for metric in figures.collect()}
    shown = set(re.findall(r"kevacuate_\w+", " ".join(queries().values())))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == families
    assert set(re.findall(r"`(kevacuate_\w+)`", (DOCS / "watch.md").read_text())) == families


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, expression: str) -> list[Any]:
    """What the Prometheus on that port answers to a query; [] while it does not answer."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 503:  # it is still starting
            return []
        raise AssertionError(f"{expression}: {error.read().decode()}") from None
    except OSError:
        return []
    assert said["status"] == "success", expression
    result: list[Any] = said["data"]["result"]
    return result


@pytest.fixture
def prometheus(tmp_path: Path, figures: Figures) -> Iterator[tuple[int, Exporter]]:
    """A Prometheus on 127.0.0.1 that scrapes the figures; its port, and what it scrapes."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus is installed (apt-get install prometheus)")
    port = free_port()
    with closing(Exporter("127.0.0.1:0", figures)) as exporter:
        exporter.update()
        job = {"job_name": "k", "scrape_interval": "1s", "static_configs": [{"targets": [exporter.address]}]}
        config = tmp_path / "prometheus.yml"
        config.write_text(json.dumps({"scrape_configs": [job]}))  # JSON is YAML
        words = [
            program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        with (tmp_path / "log").open("wb") as log:
            started = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            yield port, exporter
        finally:
            started.terminate()
            started.wait(30)


def until(moment: float, port: int, expression: str) -> list[Any]:
    while not (found := ask(port, expression)) and time.monotonic() < moment:
        time.sleep(0.2)
    return found


def test_prometheus_scrapes_and_answers_the_dashboard(prometheus: tuple[int, Exporter]) -> None:
    port, exporter = prometheus
    end = time.monotonic() + 60
    mixed = until(end, port, 'kevacuate_pageblocks{state="mixed"}')
    assert [row["value"][1] for row in mixed] == ["1"]
    rise = "sum(rate(kevacuate_stall_seconds_count[10s])) > 0"
    while not ask(port, rise) and time.monotonic() < end:  # a rate takes two scrapes that differ
        exporter.update()
        time.sleep(0.5)
    unanswered = [name for name, expression in queries().items() if not ask(port, expression)]
    assert unanswered == []
    counter = ask(port, 'kevacuate_extfrag_events_total{kind="claim",for="unmovable",from="movable"}')
    assert float(counter[0]["value"][1]) >= 4
    url = f"http://127.0.0.1:{port}/api/v1/targets"
    with urllib.request.urlopen(url, timeout=5) as answer:
        (target,) = json.load(answer)["data"]["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
