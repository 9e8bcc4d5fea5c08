# SPDX-License-Identifier: GPL-2.0-or-later
"""The running machine's figures for Prometheus: scraped over HTTP, or a file for node_exporter's textfile collector.

Names follow Prometheus' conventions: base units, ``_total`` for counters. Counters count from when the watch began.
docs/watch.md has the table of all of them, docs/grafana-dashboard.json a dashboard.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Iterator
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kevacuate._version import __version__
from kevacuate.errors import KevacuateError
from kevacuate.kernel.extfrag import KIND_NAMES
from kevacuate.kernel.migratetypes import name as type_name
from kevacuate.live.machine import LiveSource
from kevacuate.live.stallfeed import BUCKETS, StallFeed
from kevacuate.live.view import CONTENTS, UNREAD, View
from kevacuate.measure.blocks import BlockCounts
from kevacuate.measure.frames import CONTENT_ABSENT, CONTENT_UNMOVABLE
from kevacuate.measure.metrics import region_metrics, unusable_free_index
from kevacuate.measure.pages import IN_USE, UNMOVABLE
from kevacuate.measure.stalls import STALL_NAMES, WAITS
from kevacuate.measure.wakes import as_vmalloc_asks
from kevacuate.mm.constants import MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE
from kevacuate.recording.atomic_write import not_written
from kevacuate.recording.schema import EventKind

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import CollectorRegistry

SIZES = {"2MiB": 9, "1GiB": 18}
"""Regions counted, by their size with pages of 4 KiB, and their order in pages."""

MOST_BATCHES = 50
"""Batches of events taken at once: 100,000 events."""
MOST_ORDER = 10
"""MAX_PAGE_ORDER of most machines; wakes for higher orders are counted when they come."""
_COMMON = [
    (kind, wanted, source)
    for kind in range(len(KIND_NAMES))
    for wanted, source in permutations((MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE), 2)
]
"""Counted from 0 on, so that the first event is a rise: kinds and types of external fragmentation events, and ..."""
_WAKES = [
    (str(order), like)
    for order in range(MOST_ORDER + 1)
    for like in ("false", "true")
    if order or like == "false"
]
"""... orders of wakes."""

MISSING = "--metrics needs prometheus_client: pip install 'kevacuate[metrics]'."


def _library() -> Any:
    """prometheus_client.

    Raises
    ------
    KevacuateError
        It is not installed.
    """
    try:
        import prometheus_client.core
    except ImportError:
        raise KevacuateError(MISSING) from None
    return prometheus_client


class Figures:
    """Makes the metrics of the latest view; scrapes come from other threads than :meth:`update`."""

    def __init__(self, source: LiveSource, feed: StallFeed) -> None:
        self._core = _library().core
        self._source, self._feed = source, feed
        self._queued = 0
        self._lock = threading.Lock()
        self._metrics: list[Metric] = []

    def listen(self) -> None:
        """Take the events that have come meanwhile, before the kernel's buffer is full."""
        self._source.listen(MOST_BATCHES)

    def update(self) -> None:
        """Take the next view."""
        view = self._source.poll()
        self._queued += len(self._source.queued)
        self._source.queued.clear()
        metrics = [
            *self._about(),
            *self._blocks(view),
            *self._free(view),
            *self._events(view),
            *self._stalls(),
        ]
        with self._lock:
            self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """The metrics of the latest view, as the library asks for them."""
        with self._lock:
            metrics = self._metrics
        yield from metrics

    def _gauge(
        self, name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]
    ) -> Metric:
        """A gauge with its samples."""
        metric = self._core.GaugeMetricFamily(f"kevacuate_{name}", text, labels=labels)
        return _filled(metric, rows)

    def _counter(
        self, name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]
    ) -> Metric:
        """A counter with its samples; the library adds ``_total``."""
        metric = self._core.CounterMetricFamily(f"kevacuate_{name}", text, labels=labels)
        return _filled(metric, rows)

    def _about(self) -> Iterator[Metric]:
        labels = {"version": __version__, "kernel": platform.release()}
        yield self._gauge(
            "build_info", "The program and the kernel.", tuple(labels), [(tuple(labels.values()), 1)]
        )
        sweeps = self._source.flags
        yield self._gauge(
            "map_renewal_seconds", "Time that the last whole reading of the page flags took.", (),
            [((), sweeps.seconds)] if sweeps.sweeps else [],
        )  # fmt: skip

    def _blocks(self, view: View) -> Iterator[Metric]:
        """What pageblocks and regions hold; polluted and tainted as bounds, and only once all flags were read."""
        counts = np.bincount(view.content, minlength=len(CONTENTS)).tolist()
        shown = [((CONTENTS[i],), n) for i, n in enumerate(counts) if i not in (CONTENT_ABSENT, UNREAD)]
        yield self._gauge("pageblocks", "Pageblocks by what they hold.", ("state",), shown)
        yield self._gauge("unread_pageblocks", "Pageblocks not read yet.", (), [((), counts[UNREAD])])
        types = [
            ((str(zone.node), zone.name, name.lower()), n)
            for zone in self._source.zones
            for name, n in zone.blocks_by_type.items()
        ]
        yield self._gauge("pageblocks_by_type", "Pageblocks by migratetype.", ("node", "zone", "type"), types)
        if view.mixed is None:
            return
        yield self._bounds(
            "mixed_pageblocks", "Pageblocks with pages that can move and pages that cannot.", *view.mixed
        )
        pages, start = self._source.flags.pages, view.start << view.pageblock_order
        sure = (pages[:, UNMOVABLE] > 0) | (view.content == CONTENT_UNMOVABLE)
        maybe = sure | (pages[:, IN_USE] > 0)
        movable = sum(n for (_, _, name), n in types if name == "movable")
        others = sum(n for _, n in types) - movable
        yield self._bounds(
            "polluted_pageblocks", "Pageblocks of movable type with a page that cannot move.",
            max(int(sure.sum()) - others, 0), min(int(maybe.sum()), movable),
        )  # fmt: skip
        yield from self._regions(start, sure, maybe, view)

    def _bounds(self, name: str, text: str, least: int, most: int) -> Metric:
        """A number that page flags bound."""
        return self._gauge(
            name, f"{text} At least and at most.", ("bound",), [(("least",), least), (("most",), most)]
        )

    def _regions(self, start: Any, sure: Any, maybe: Any, view: View) -> Iterator[Metric]:
        """Aligned regions with a page that cannot move (:func:`kevacuate.measure.metrics.region_metrics`)."""
        there = view.content != CONTENT_ABSENT
        rows, tainted = [], []
        for size, order in SIZES.items():
            if order < view.pageblock_order:
                continue
            for bound, which in (("least", sure), ("most", maybe)):
                pages = np.zeros((int(there.sum()), IN_USE + 1), np.int32)
                pages[:, UNMOVABLE] = which[there]
                found = region_metrics(
                    BlockCounts(np.zeros(len(pages), np.int8), pages, start[there]),
                    order,
                    view.pageblock_order,
                )
                tainted.append(((size, bound), found["tainted"]))
            rows.append(((size,), found["regions"]))
        yield self._gauge("regions", "Aligned regions of memory.", ("size",), rows)
        yield self._gauge(
            "tainted_regions", "Regions with a page that cannot move.", ("size", "bound"), tainted
        )

    def _free(self, view: View) -> Iterator[Metric]:
        """Free memory by zone and order."""
        labels, pages, index = ("node", "zone", "order"), [], []
        for title, chunks in view.free_orders:
            node, _, zone = title.partition(" ")
            for order, number in enumerate(chunks):
                key = (node, zone, str(order))
                pages.append((key, number << order))
                index.append((key, unusable_free_index(chunks, order) / 1000))
        yield self._gauge("free_pages", "Pages in free chunks of the order.", labels, pages)
        text = "Share of free memory in chunks smaller than the order."
        yield self._gauge("unusable_free_index_ratio", text, labels, index)

    def _events(self, view: View) -> Iterator[Metric]:
        """Claims and steals by type, and what was lost."""
        counts = dict.fromkeys(_COMMON, 0) | dict(self._source.by_types)
        rows = [
            ((KIND_NAMES[kind], type_name(wanted), type_name(source)), n)
            for (kind, wanted, source), n in sorted(counts.items())
        ]
        yield self._counter(
            "extfrag_events", "Claims, whole-block claims and steals.", ("kind", "for", "from"), rows
        )
        yield self._counter(
            "queued_evacuations",
            "Blocks that the patched kernel would have queued.",
            (),
            [((), self._queued)],
        )
        lost = view.counts["lost_events"]
        yield self._counter(
            "lost_events", "Events that the kernel's buffer could not keep.", (), [((), lost)]
        )

    def _stalls(self) -> Iterator[Metric]:
        """Direct reclaim and direct compaction, and wakes of kswapd and kcompactd."""
        text = "Time that tasks waited in direct reclaim or direct compaction."
        histogram = self._core.HistogramMetricFamily("kevacuate_stall_seconds", text, labels=("stall",))
        for kind, name in enumerate(STALL_NAMES[:WAITS]):
            sums = np.cumsum(self._feed.buckets[kind]).tolist()
            bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
            histogram.add_metric([name], list(zip(bounds, sums, strict=True)), self._feed.seconds[kind])
        yield histogram
        failed = [((name,), self._feed.failed[kind]) for kind, name in enumerate(STALL_NAMES[:WAITS])]
        yield self._counter(
            "failed_stalls", "Stalls without a page reclaimed, or without success.", ("stall",), failed
        )
        for kind, name in (
            (EventKind.VMSCAN_WAKEUP_KSWAPD, "kswapd"),
            (EventKind.COMPACTION_WAKEUP_KCOMPACTD, "kcompactd"),
        ):
            yield self._counter(
                f"{name}_wakes", f"Wakes of {name} by order.", ("order", "as_vmalloc"), self._wakes(int(kind))
            )

    def _wakes(self, kind: int) -> list[tuple[tuple[str, ...], float]]:
        """Wakes by order, and whether with the flags of vmalloc's attempts."""
        found: dict[tuple[str, ...], float] = dict.fromkeys(_WAKES, 0)
        for (order, gfp), n in sorted(self._feed.wakes.by_request(kind).items()):
            key = (str(order), "true" if as_vmalloc_asks(order, gfp) else "false")
            found[key] = found.get(key, 0) + n
        return list(found.items())


def _filled(metric: Any, rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    for labels, value in rows:
        metric.add_metric(list(labels), value)
    filled: Metric = metric
    return filled


class Exporter:
    """Writes the metrics to a file, or answers scrapes, at each :meth:`update`.

    Parameters
    ----------
    place : str
        A file, or ``ADDRESS:PORT``; without an address only this machine can connect (127.0.0.1).
    figures : Figures
        What makes them.

    Raises
    ------
    KevacuateError
        The port cannot be had, or is none.
    """

    def __init__(self, place: str, figures: Figures) -> None:
        library = _library()
        self.figures, self._library = figures, library
        self.registry: CollectorRegistry = library.CollectorRegistry(auto_describe=False)
        self.registry.register(figures)
        self._server: Any = None
        self.address = ""
        """Where it listens, with the port that the kernel chose for port 0."""
        self.file: Path | None = None
        address, port = address_of(place)
        if port is None:
            self.file = Path(place)
            return
        try:
            self._server, _ = library.start_http_server(port, addr=address, registry=self.registry)
        except OSError as error:
            raise KevacuateError(
                f"--metrics {place}: nothing can listen on {address} port {port} ({error.strerror}): choose another port."
            ) from None
        host = f"[{address}]" if ":" in address else address
        self.address = f"{host}:{self._server.server_address[1]}"

    def update(self) -> None:
        """Take the next view; write the file, beside it first and then renamed, in the format that the textfile collector reads.

        Raises
        ------
        KevacuateError
            The file cannot be written.
        """
        self.figures.update()
        if self.file is not None:
            try:
                self._library.write_to_textfile(str(self.file), self.registry)
            except OSError as error:
                raise not_written(self.file, error) from None

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def address_of(place: str) -> tuple[str, int | None]:
    """Address and port of ``ADDRESS:PORT`` or ``:PORT`` (127.0.0.1); no port where it names a file.

    Raises
    ------
    KevacuateError
        The port is none, or the name is not one that the textfile collector reads.
    """
    address, colon, port = place.rpartition(":")
    if colon and "/" not in place and port.isascii() and port.isdigit():
        if len(port.lstrip("0")) > 5 or int(port) > 65535:
            raise KevacuateError(f"--metrics {place}: a port is at most 65535.")
        return address.strip("[]") or "127.0.0.1", int(port)
    if not place.endswith(".prom"):
        raise KevacuateError(
            f"--metrics {place}: name a file that ends in .prom, as the textfile collector wants, or a port, as :9777."
        )
    return "", None
