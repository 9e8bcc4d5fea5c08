# SPDX-License-Identifier: GPL-2.0-or-later
"""What sysstat and netdata kept of memory, as time series: how much was free, who scanned for pages, what compaction did.

They keep no free chunks by order, except netdata's charts of /proc/pagetypeinfo and of extfrag_index where those are switched on.
So the answer says whether tasks had to reclaim or compact, and when; only with those charts does it say why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.netdata import looks_like_netdata, netdata_samples
from kevacuate.kernelfiles.samples import INDEX, KB, ORDER, RATES, Sample
from kevacuate.kernelfiles.stamps import EPOCH
from kevacuate.kernelfiles.sysstat import looks_like_sysstat, sysstat_samples
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.each import take_each
from kevacuate.percent import percent

MOST_SAMPLES = 200_000
"""Samples of one figure of one host that are kept: two days at one a second; more are counted."""

MOST_HOSTS = 10_000
MOST_FIGURES = 2000

SHOWN = 10
"""Samples with direct reclaim that must be there, and :data:`SHOWN_SHARE` of all, for advice."""

SHOWN_SHARE = 0.05

HALF = 0.5
"""Share of compactions that failed, or of huge page faults that fell back, from which on it stands out."""

HUGE_ORDER = 9
"""Order taken for a huge page's: these files do not say it."""

VM = "Documentation/admin-guide/sysctl/vm.rst"


class Course:
    """One figure of one host over time; of equal moments the last value counts, so the files' order makes no difference."""

    def __init__(self) -> None:
        self.values: dict[tuple[float, str], float] = {}
        self.left_out = 0

    def add(self, sample: Sample) -> None:
        """Take a sample."""
        at = (sample.stamp.seconds, sample.stamp.text) if sample.stamp else (float(len(self.values)), "")
        if at not in self.values and len(self.values) >= MOST_SAMPLES:
            self.left_out += 1
            return
        self.values[at] = max(sample.value, self.values.get(at, sample.value))

    def told(self) -> dict[str, Any]:
        """``samples``, ``first``, ``last``, ``mean``, ``least`` and ``most`` with their times, ``above_zero``."""
        rows = sorted(self.values.items())
        numbers = [value for _, value in rows]
        least, most = min(rows, key=lambda row: row[1]), max(rows, key=lambda row: (row[1], -row[0][0]))
        return {
            "samples": len(rows), "samples_left_out": self.left_out,
            "first": numbers[0], "last": numbers[-1], "mean": sum(numbers) / len(numbers),
            "least": least[1], "least_time": least[0][1] or None, "most": most[1], "most_time": most[0][1] or None,
            "above_zero": sum(value > 0 for value in numbers),
        }  # fmt: skip


class Host:
    """The figures of one host."""

    def __init__(self) -> None:
        self.courses: dict[str, Course] = {}
        self.times: set[tuple[float, str, str]] = set()

    def add(self, sample: Sample) -> None:
        """Take a sample."""
        if sample.name in self.courses or len(self.courses) < MOST_FIGURES:
            self.courses.setdefault(sample.name, Course()).add(sample)
        if sample.stamp and len(self.times) < MOST_SAMPLES:
            self.times.add((sample.stamp.seconds, sample.stamp.text, sample.stamp.clock))


def answer(files: Sequence[TextFile], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """What the monitors kept.

    Parameters
    ----------
    files : sequence of TextFile
        What sar, sadf or netdata printed, in any order.
    progress : callable, optional
        Called with (files done, in all).

    Returns
    -------
    dict
        ``kind``, ``files``, ``hosts`` (each :func:`host_answer`, by name), ``lines_cut``, ``damaged``
        (sentences about files that end too early or are too large), ``advice``.

    Raises
    ------
    KevacuateError
        None of the files holds a figure of memory, or the only one cannot be read.

    """
    hosts: dict[str, Host] = {}

    def take(file: TextFile) -> None:
        for sample in samples_of(file):
            if sample.host in hosts or len(hosts) < MOST_HOSTS:
                hosts.setdefault(sample.host, Host()).add(sample)

    damaged = take_each(sorted(files, key=lambda one: one.name), take, progress)
    if not hosts:
        named = files[0].name if len(files) == 1 else f"{len(files):,} files"
        raise KevacuateError(
            f"{named}: no whole row with a figure of memory could be read, so there is nothing to say."
        )
    told = [host_answer(name, hosts[name]) for name in sorted(hosts)]
    return {
        "kind": "monitors",
        "files": sorted(file.name for file in files),
        "hosts": told,
        "lines_cut": sum(file.cut for file in files),
        "damaged": damaged,
        "advice": [piece for host in told for piece in _advice(host)],
    }


def samples_of(file: TextFile) -> Iterator[Sample]:
    """The samples of a file of either monitor."""
    yield from sysstat_samples(file) if looks_like_sysstat(file) else netdata_samples(file)


def looks(file: TextFile) -> bool:
    """Whether a file is of a monitor that is read."""
    return looks_like_sysstat(file) or looks_like_netdata(file)


def host_answer(name: str, host: Host) -> dict[str, Any]:
    """One host: ``figures`` by name (:meth:`Course.told`), and what follows from them.

    ``first_time``, ``last_time``, ``seconds`` (None where times are not known); ``free_kb_in_direct_reclaim``: the median of free
    memory in samples with direct reclaim, and in the others; ``compact_fail_share``, ``thp_fallback_share``, ``steal_share``
    (pages reclaimed of those scanned); ``unusable_free_index`` of order 9 (thousandths ``first``, ``last``, ``least``, ``most``);
    ``extfrag_index`` by zone: the last value by order. None where the figures are not there.
    """
    figures = {key: host.courses[key].told() for key in (*KB, *RATES) if key in host.courses}
    times = sorted(host.times)
    timed = bool(times) and {clock for *_, clock in times} == {EPOCH}
    return {
        "name": name,
        "first_time": times[0][1] if times else None,
        "last_time": times[-1][1] if times else None,
        "seconds": times[-1][0] - times[0][0] if timed else None,
        "figures": figures,
        "free_kb_in_direct_reclaim": _free_when(host),
        "compact_fail_share": _share(figures, "compact_fail", ("compact_fail", "compact_success")),
        "thp_fallback_share": _share(
            figures, "thp_fault_fallback", ("thp_fault_fallback", "thp_fault_alloc")
        ),
        "steal_share": _share(figures, "pgsteal", ("pgscan_kswapd", "pgscan_direct")),
        "unusable_free_index": _unusable(host),
        "extfrag_index": _indices(host),
    }


def _share(figures: dict[str, Any], part: str, whole: tuple[str, ...]) -> float | None:
    """Share of a rate's sum in that of others."""
    if any(name not in figures for name in (part, *whole)):
        return None
    sums = {name: figures[name]["mean"] * figures[name]["samples"] for name in {part, *whole}}
    total = sum(sums[name] for name in whole)
    return float(min(1.0, sums[part] / total)) if total > 0 else None


def _free_when(host: Host) -> dict[str, float] | None:
    """Median of free memory with direct reclaim and without; None where one of both never came."""
    if not {"free_kb", "pgscan_direct"} <= host.courses.keys():
        return None
    free, scans = (host.courses[name].values for name in ("free_kb", "pgscan_direct"))
    during = sorted(free[at] for at in free.keys() & scans.keys() if scans[at] > 0)
    others = sorted(free[at] for at in free.keys() & scans.keys() if not scans[at] > 0)
    if not during or not others:
        return None
    return {"with": during[(len(during) - 1) // 2], "without": others[(len(others) - 1) // 2]}


def _unusable(host: Host) -> dict[str, int] | None:
    """The unusable free index of order 9, all zones together, from free memory by order (mm/vmstat.c:unusable_free_index)."""
    orders = {
        int(name.removeprefix(ORDER)): course
        for name, course in host.courses.items()
        if name.startswith(ORDER)
    }
    if not orders or set(orders) != set(range(max(orders) + 1)) or max(orders) < HUGE_ORDER:
        return None
    shared = set.intersection(*(set(course.values) for course in orders.values()))
    found = []
    for at in sorted(shared):
        kb = [orders[order].values[at] for order in range(max(orders) + 1)]
        if sum(kb) > 0:
            found.append(int(1000 * sum(kb[:HUGE_ORDER]) / sum(kb)))
    return {"first": found[0], "last": found[-1], "least": min(found), "most": max(found)} if found else None


def _indices(host: Host) -> dict[str, list[float]] | None:
    """The kernel's fragmentation index by zone, the last by order from 0."""
    found: dict[str, dict[int, float]] = {}
    for name, course in host.courses.items():
        if name.startswith(INDEX):
            zone, _, order = name.removeprefix(INDEX).partition(":")
            found.setdefault(zone, {})[int(order)] = sorted(course.values.items())[-1][1]
    whole = {zone: of for zone, of in sorted(found.items()) if set(of) == set(range(len(of)))}
    return {zone: [of[order] for order in sorted(of)] for zone, of in whole.items()} or None


def _advice(host: dict[str, Any]) -> list[dict[str, str]]:
    """What the kernel offers where tasks often reclaimed by themselves or huge pages failed, and what would say why."""
    found = [*_kswapd(host), *_huge_pages(host), *_chunks(host)]
    return [{"do": do, "evidence": evidence, "source": source} for do, evidence, source in found]


def _often(host: dict[str, Any]) -> dict[str, Any] | None:
    """The course of direct reclaim, where it came often."""
    scans: dict[str, Any] | None = host["figures"].get("pgscan_direct")
    return scans if scans and scans["above_zero"] >= max(SHOWN, SHOWN_SHARE * scans["samples"]) else None


def _kswapd(host: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Wake kswapd earlier: tasks often reclaim by themselves."""
    if scans := _often(host):
        when = f" at {scans['most_time']}" if scans["most_time"] else ""
        yield (
            "Wake kswapd earlier: raise vm.watermark_scale_factor (Linux 4.6 and later), and compare pgscand.",
            f"Tasks scanned for pages by themselves in {scans['above_zero']:,} of {scans['samples']:,} samples, at most "
            f"{scans['most']:,.0f} pages a second{when}.",
            f"{VM}, watermark_scale_factor",
        )


def _huge_pages(host: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Let huge page faults not wait for compaction: most of both fail."""
    fell, failed = host["thp_fallback_share"], host["compact_fail_share"]
    if fell is None or failed is None or min(fell, failed) < HALF:
        return
    if host["figures"]["thp_fault_fallback"]["above_zero"] >= SHOWN:
        yield (
            "Let huge page faults wake kcompactd and not compact: `echo defer+madvise > "
            "/sys/kernel/mm/transparent_hugepage/defrag`.",
            f"Of huge page faults {percent(fell)} fell back, and of direct compactions {percent(failed)} failed.",
            "Documentation/admin-guide/mm/transhuge.rst, defrag: defer+madvise",
        )


def _chunks(host: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Keep free chunks by order, too: tasks often reclaim, and nothing says why."""
    scans = _often(host)
    if scans and host["unusable_free_index"] is None:
        yield (
            "Keep copies of /proc/buddyinfo beside it, or record: `sudo kevacuate record --light --duration 600 -o "
            "machine.kev`.",
            f"Tasks reclaimed in {scans['above_zero']:,} samples. Without free chunks by order nothing tells lack of memory from "
            "fragmentation.",
            "Documentation/filesystems/proc.rst, buddyinfo",
        )
