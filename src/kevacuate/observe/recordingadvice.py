# SPDX-License-Identifier: GPL-2.0-or-later
"""What would help on a machine of which there is a recording: rules, each with its source; none where none holds.

docs/triage.md has the rules as a table, which a test compares with :data:`RULES`. No rule promises an effect. What a policy did
to kernels that were booted, and how often the model was right about it, stands in the evidence (:func:`worth`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from kevacuate.kernel.gfp import GFP_COMP, GFP_MOVABLE, GFP_NOMEMALLOC
from kevacuate.kernel.versions import SYSCTL_SINCE, Version, version_text
from kevacuate.measure.triage import SAME_BLOCKS, SPREADING
from kevacuate.measure.trustrecord import record
from kevacuate.policy.defaults import BASELINE, COMPARED
from kevacuate.recording.settings import SYSCTLS

VM = "Documentation/admin-guide/sysctl/vm.rst"
THP = "Documentation/admin-guide/mm/transhuge.rst"
KMEM = "Documentation/trace/events-kmem.rst, external fragmentation events"
PAGEMAP = "Documentation/admin-guide/mm/pagemap.rst, /proc/kpageflags"

MOST_ADVICE = 3
"""Pieces of advice on a recording."""

MIXING = 64
"""Claims and steals of movable pageblocks below which they do not stand out: as many as the patch can have waiting at once."""

CLAIMS = 10
"""Claims below pageblock order below which a policy that acts on claims has too little to do."""

STALLS = 100
"""Direct compactions, scans or wakes below which a share of them says little."""

RECLAIMS = 60
"""Direct reclaims below which a rate says nothing: a minute's at :data:`RECLAIMS_AN_HOUR`."""

RECLAIMS_AN_HOUR = 3600
"""Direct reclaims: one a second."""

CIRCLES = 0.1
"""Share of compaction's scans in streaks from which on they stand out."""

WORTH = 16
"""Pageblocks' worth of free pages: with less, no free huge page says little."""

_OF_THP = GFP_MOVABLE | GFP_COMP | GFP_NOMEMALLOC
_DEFAULTS = {sysctl.name: sysctl.default for sysctl in SYSCTLS}

Piece = tuple[str, str, str]


class Facts(NamedTuple):
    """What the rules look at."""

    triage: Mapping[str, Any]
    """:func:`kevacuate.observe.triage.triage_recording` without the advice."""
    version: Version | None
    """Of the recorded kernel; None where it is not known."""
    settings: Mapping[str, Any]
    """The vm sysctls that were recorded."""
    counters: Mapping[str, int]
    """How far the counters of /proc/vmstat went from the first snapshot to the last; empty without two."""
    recording: str | None
    """The recording's path where it can be replayed; None where another has to be made first."""

    def has(self, sysctl: str) -> bool:
        """Whether the recorded kernel has a sysctl, or may have it: which kernel it was is not always known."""
        return self.version is None or self.version >= SYSCTL_SINCE[sysctl]

    def where(self, sysctl: str) -> str:
        """``vm.NAME``, with the versions that have it where the recorded kernel is not known."""
        told = "" if self.version else f" (Linux {version_text(SYSCTL_SINCE[sysctl])} and later)"
        return f"vm.{sysctl}{told}"


def advice_of(facts: Facts) -> list[dict[str, str]]:
    """The rules that hold for a recording, strongest first, at most three: ``do``, ``evidence``, ``source``.

    A trace of another tool, of which there are no stalls and no snapshots, gets those of the others.
    """
    found = [piece for rule in RULES for piece in rule(facts)]
    return [
        {"do": do, "evidence": evidence, "source": source} for do, evidence, source in found[:MOST_ADVICE]
    ]


def comparing(recording: str | None, policies: tuple[str, ...]) -> str:
    """The command that compares policies on a recording; without one that can be replayed, after the one that makes it."""
    name = recording or "full.kev"
    command = f"`kevacuate compare {name} {' '.join(f'--policy {policy}' for policy in policies)}`"
    return command if recording else f"`sudo kevacuate record --duration 60 -o {name}`, then {command}"


def worth() -> str:
    """What the model's verdict on the patch is worth, and what booted kernels showed, in sentences."""
    total = record().total("closed")
    return (
        f"Promised is nothing: of {total.asked} of the model's verdicts {total.right} were those of booted kernels, and "
        f"{total.false} false. Booted kernels have shown no effect of the patch on mixed pageblocks."
    )


def _mixing(triage: Mapping[str, Any]) -> int:
    """Requests that took part of a movable pageblock."""
    names = ("claims_from_movable", "steals_from_movable", "claims_or_steals_from_movable")
    return sum(int(triage.get(name) or 0) for name in names)


def _stands_out(triage: Mapping[str, Any]) -> bool:
    """Whether claims and steals of movable pageblocks are many, and go on."""
    return triage["verdict"] in (SPREADING, SAME_BLOCKS) and _mixing(triage) >= MIXING


def _taken(triage: Mapping[str, Any]) -> str:
    return f"Unmovable and reclaimable requests took part of a movable pageblock {_mixing(triage):,} times."


def compare_policies(facts: Facts) -> Iterator[Piece]:
    """Compare the patch with mainline on this demand: claims that it acts on stand out."""
    claims, steals = (int(facts.triage.get(f"{name}_from_movable") or 0) for name in ("claims", "steals"))
    if not _stands_out(facts.triage) or not facts.triage["claims_told_from_steals"] or claims < CLAIMS:
        return
    yield (
        f"Compare policies on this machine's demand: {comparing(facts.recording, COMPARED)}.",
        f"{claims:,} claims of movable pageblocks would have queued an evacuation; {steals:,} steals would not. {worth()}",
        f"{KMEM}; docs/fidelity.md; docs/results/kernels.md",
    )


def boost_off(facts: Facts) -> Iterator[Piece]:
    """Turn watermark boosting on again: it is off while pageblocks get mixed."""
    if not _stands_out(facts.triage) or facts.settings.get("watermark_boost_factor") != 0:
        return
    yield (
        f"Turn watermark boosting on again: `sysctl vm.watermark_boost_factor={_DEFAULTS['watermark_boost_factor']}`.",
        f"It is 0, which turns it off. {_taken(facts.triage)}",
        f"{VM}, watermark_boost_factor",
    )


def huge_page_faults(facts: Facts) -> Iterator[Piece]:
    """Let huge page faults not wait for compaction: most of their direct compactions fail."""
    stalls = facts.triage["stalls"]
    rows = [
        row
        for row in (stalls["requests"] if stalls else ())
        if row["stall"] == "direct_compaction"
        and row["order"] == facts.triage["huge_order"]
        and (row["gfp"] or 0) & _OF_THP == _OF_THP
    ]
    count, failed = (sum(row[name] for row in rows) for name in ("count", "failed"))
    fell_back = facts.counters.get("thp_fault_fallback", 0)
    faults = fell_back + facts.counters.get("thp_fault_alloc", 0)
    if count < STALLS or 2 * failed < count or 2 * fell_back < faults:
        return
    waited = sum(row["total_ns"] for row in rows) / 1e9
    fallback = f" Of {faults:,} huge page faults {fell_back:,} fell back to small pages." if faults else ""
    yield (
        "Let huge page faults wake kcompactd and not compact: `echo defer+madvise > "
        "/sys/kernel/mm/transparent_hugepage/defrag`.",
        f"{failed:,} of {count:,} direct compactions for huge pages failed; tasks waited {waited:,.1f} s in them.{fallback}",
        f"{THP}, defrag: defer+madvise",
    )


def kswapd_too_late(facts: Facts) -> Iterator[Piece]:
    """Wake kswapd earlier: tasks often reclaim by themselves."""
    stalls, seconds = facts.triage["stalls"], facts.triage["seconds"]
    count = stalls["direct_reclaim"]["count"] if stalls else 0
    if (
        count < RECLAIMS
        or count * 3600 < RECLAIMS_AN_HOUR * seconds
        or not facts.has("watermark_scale_factor")
    ):
        return
    value = facts.settings.get("watermark_scale_factor", _DEFAULTS["watermark_scale_factor"])
    known = "is" if "watermark_scale_factor" in facts.settings else "is by default"
    waited = stalls["direct_reclaim"]["total_ns"] / 1e9
    yield (
        f"Wake kswapd earlier: raise {facts.where('watermark_scale_factor')}, and count direct reclaims again.",
        f"Tasks reclaimed {count:,} times in {seconds:,.1f} s, and waited {waited:,.1f} s. vm.watermark_scale_factor "
        f"{known} {value}.",
        f"{VM}, watermark_scale_factor",
    )


def circles(facts: Facts) -> Iterator[Piece]:
    """See what holds the pages that compaction scans again and again."""
    stalls = facts.triage["stalls"]
    for scanner, row in (stalls["rescans"] if stalls else {}).items():
        worst, inside = row["worst"], row["scans_in_streaks"]
        if worst is None or inside < STALLS or inside < CIRCLES * row["scans"]:
            continue
        noun = "runs" if scanner == "runs" else f"scans for {scanner}"
        yield (
            f"See what holds pfns {worst['first_pfn']:#x} to {worst['end_pfn']:#x}: `sudo kevacuate holders`.",
            f"Compaction goes in circles there: {worst['scans']:,} {noun} took nothing. Of all {row['scans']:,} {inside:,} were "
            "in such rows.",
            PAGEMAP,
        )
        return


def vmalloc_wakes(facts: Facts) -> Iterator[Piece]:
    """Name the callers that wake kswapd with vmalloc's flags: the event names the task alone."""
    stalls = facts.triage["stalls"]
    wakes: Mapping[str, Any] = stalls["kswapd_wakes"] if stalls else {"count": 0, "requests": ()}
    count = sum(row["count"] for row in wakes["requests"] if row["as_vmalloc"])
    if count < STALLS or 2 * count < wakes["count"]:
        return
    yield (
        "Name the callers that wake kswapd: `echo stacktrace > /sys/kernel/tracing/events/vmscan/mm_vmscan_wakeup_kswapd/"
        "trigger`, then read trace.",
        f"{count:,} of {wakes['count']:,} wakes of kswapd have the flags of vmalloc's attempts at large chunks. The event names "
        "the task, not the caller.",
        "Documentation/trace/events.rst, stacktrace trigger; mm/vmalloc.c:vm_area_alloc_pages",
    )


def defrag_mode(facts: Facts) -> Iterator[Piece]:
    """Avoid fragmentation from boot on: pageblocks get mixed, and the kernel has a mode against it."""
    if not _stands_out(facts.triage) or not facts.has("defrag_mode") or facts.settings.get("defrag_mode"):
        return
    policies = (BASELINE, f"{BASELINE},defrag_mode=1")
    yield (
        f"Set {facts.where('defrag_mode')} to 1 right after boot. What it costs in the model: "
        f"{comparing(facts.recording, policies)}.",
        f"{_taken(facts.triage)} The mode reclaims and compacts more; no booted kernel has checked the model's verdict on it.",
        f"{VM}, defrag_mode",
    )


def proactive(facts: Facts) -> Iterator[Piece]:
    """Let kcompactd begin earlier: allocations compact by themselves, and it works."""
    stalls = facts.triage["stalls"]
    row = stalls["direct_compaction"] if stalls else {"count": 0, "failed": 0}
    default = _DEFAULTS["compaction_proactiveness"] or 0
    value = facts.settings.get("compaction_proactiveness", default)
    few = row["count"] < STALLS or 2 * row["failed"] > row["count"]
    if few or not facts.has("compaction_proactiveness") or value > default:
        return
    do = (
        f"Let kcompactd begin earlier: raise {facts.where('compaction_proactiveness')} above {value}."
        if value
        else f"Turn proactive compaction on again: `sysctl vm.compaction_proactiveness={default}`."
    )
    yield (
        do,
        f"Tasks compacted {row['count']:,} times and waited {row['total_ns'] / 1e9:,.1f} s; {row['failed']:,} ended without "
        "success.",
        f"{VM}, compaction_proactiveness",
    )


def scattered(facts: Facts) -> Iterator[Piece]:
    """See who holds the pageblocks: much is free, and no huge page."""
    shots = facts.triage["snapshots"]
    last: Mapping[str, Any] = shots[-1] if shots else {"free_pages": 0, "huge_pages_free": None}
    if last["huge_pages_free"] != 0 or last["free_pages"] < WORTH << facts.triage["pageblock_order"]:
        return
    yield (
        "See who holds the pageblocks: `sudo kevacuate holders`.",
        f"At the end {last['free_pages']:,} pages were free, and none in a chunk of order "
        f"{last['unusable_free_index_order']} or larger.",
        PAGEMAP,
    )


RULES: tuple[Callable[[Facts], Iterator[Piece]], ...] = (
    compare_policies,
    boost_off,
    huge_page_faults,
    kswapd_too_late,
    circles,
    vmalloc_wakes,
    defrag_mode,
    proactive,
    scattered,
)
"""The rules, strongest first."""
