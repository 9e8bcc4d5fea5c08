# SPDX-License-Identifier: GPL-2.0-or-later
"""What could have helped the requests that failed in a kernel's log: one rule a piece of advice, each with its source.

A rule applies to one report, by its verdict and request, and by what its kernel has; advice is ordered by the number of reports
that it applies to. None is given where the log does not say why a request failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kevacuate.kernel.versions import SYSCTL_SINCE as SINCE
from kevacuate.kernel.versions import Version, parse_version
from kevacuate.kernelfiles.allocfailure import OOM
from kevacuate.observe.files.zones_of_failure import (
    BELOW_MIN,
    BOTH,
    FRAGMENTATION,
    NO_CHUNK,
    OTHER_TYPES,
    PROTECTED,
    SHORTAGE,
)

MEMCG = "memory cgroup limit"
"""Verdict on an OOM report of a memory cgroup."""

VM = "Documentation/admin-guide/sysctl/vm.rst"
Told = Mapping[str, Any]


class Rule(NamedTuple):
    """A piece of advice and when it holds."""

    name: str
    do: str
    because: str
    """The evidence: a sentence with ``{count}`` reports in it."""
    source: str
    applies: Callable[[Told, Version], bool]


def _fragmented(told: Told) -> bool:
    return told["verdict"] in (FRAGMENTATION, BOTH) and (told["order"] or 0) > 0


def _reasons(told: Told) -> set[str]:
    """Reasons of all zones that the request may take from."""
    return {reason for zone in told["zones"] for reason in zone["reasons"]}


def _only_cma(told: Told) -> bool:
    return any(
        OTHER_TYPES in zone["reasons"] and "cma" in zone["types_not_allowed"] for zone in told["zones"]
    )


def _atomic_shortage(told: Told) -> bool:
    return (
        told["can_reclaim"] is False and told["verdict"] in (SHORTAGE, BOTH) and BELOW_MIN in _reasons(told)
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "memory.max",
        "Raise memory.max (memory.limit_in_bytes of cgroup v1) of the named groups, or let them use less.",
        "{count} OOM kills were at the limit of a memory cgroup: no zone was short.",
        "Documentation/admin-guide/cgroup-v2.rst, memory.max",
        lambda told, _: told["verdict"] == MEMCG,
    ),
    Rule(
        "memory",
        "Give the machine more memory or swap, or bound what grows with memory.high.",
        "{count} OOM kills of order 0 found no zone above its mark that they might take from, and reclaim freed too little.",
        "Documentation/admin-guide/cgroup-v2.rst, memory.high; Documentation/admin-guide/mm/concepts.rst, OOM killer",
        lambda told, _: told["kind"] == OOM and told["order"] == 0 and told["verdict"] == SHORTAGE,
    ),
    Rule(
        "compaction_proactiveness",
        "Raise vm.compaction_proactiveness above its default of 20, so that background compaction keeps large chunks free.",
        "{count} requests that may reclaim found no free chunk of the order while memory was free.",
        f"{VM}, compaction_proactiveness",
        lambda told, version: _fragmented(told) and bool(told["can_reclaim"]) and version >= SINCE["compaction_proactiveness"],
    ),
    Rule(
        "compact_memory",
        "Write 1 to vm.compact_memory before what asks for the order starts.",
        "{count} requests that may reclaim found no free chunk of the order while memory was free.",
        f"{VM}, compact_memory",
        lambda told, version: _fragmented(told) and bool(told["can_reclaim"]) and version < SINCE["compaction_proactiveness"],
    ),
    Rule(
        "watermark_scale_factor",
        "Raise vm.watermark_scale_factor, so that kswapd starts earlier and keeps more memory free.",
        "{count} requests that cannot reclaim found the zones below the mark.",
        f"{VM}, watermark_scale_factor",
        lambda told, version: _atomic_shortage(told) and version >= SINCE["watermark_scale_factor"],
    ),
    Rule(
        "min_free_kbytes",
        "Raise vm.min_free_kbytes: requests that cannot reclaim may take a part of what lies below the min mark.",
        "{count} requests that cannot reclaim found the zones below the mark.",
        f"{VM}, min_free_kbytes",
        lambda told, version: _atomic_shortage(told) and version < SINCE["watermark_scale_factor"],
    ),
    Rule(
        "watermark_boost_factor",
        "Keep vm.watermark_boost_factor above 0: it reclaims where pageblocks get mixed, and atomic requests of high order gain.",
        "{count} atomic requests of high order found no chunk that may be taken.",
        f"{VM}, watermark_boost_factor",
        lambda told, version: _fragmented(told) and told["can_reclaim"] is False and version >= SINCE["watermark_boost_factor"],
    ),
    Rule(
        "defrag_mode",
        "Set vm.defrag_mode=1 right after boot.",
        "{count} requests of high order failed of fragmentation.",
        f"{VM}, defrag_mode",
        lambda told, version: _fragmented(told) and version >= SINCE["defrag_mode"],
    ),
    Rule(
        "events",
        "Record who mixes pageblocks with `kevacuate record --light`, and triage the recording.",
        "{count} requests of high order failed of fragmentation: a log says that it is so, not who did it.",
        "Documentation/trace/events-kmem.rst, external fragmentation events",
        lambda told, _: _fragmented(told),
    ),
    Rule(
        "lowmem_reserve_ratio",
        "Raise the divisors in vm.lowmem_reserve_ratio, if nothing needs the lower zones for itself.",
        "{count} requests were kept out of a zone by its lowmem_reserve alone.",
        f"{VM}, lowmem_reserve_ratio",
        lambda told, _: told["verdict"] == PROTECTED,
    ),
    Rule(
        "cma",
        "Make the CMA area smaller (cma=), if what it is kept for needs less.",
        "{count} requests found large enough chunks in CMA pageblocks only: unmovable ones may not take them.",
        "Documentation/admin-guide/kernel-parameters.txt, cma=",
        lambda told, _: _only_cma(told),
    ),
    Rule(
        "CONFIG_COMPACTION",
        "Build the kernel with CONFIG_COMPACTION.",
        "{count} OOM kills of high order say that compaction is disabled.",
        "mm/oom_kill.c:dump_header",
        lambda told, _: not told["compaction"] and NO_CHUNK in _reasons(told),
    ),
)  # fmt: skip
"""In order of precedence among those that apply equally often."""


def helps(told: Told) -> tuple[str, ...]:
    """Names of the rules that apply to a report."""
    version = parse_version(told["rules"]) or (0,)
    return tuple(rule.name for rule in RULES if rule.applies(told, version))


def advice(counts: Mapping[str, int], most: int) -> list[dict[str, str]]:
    """The pieces of advice that apply to the most reports, at most *most* of them.

    Parameters
    ----------
    counts : mapping
        Number of reports by name of the rule.
    most : int
        Pieces at most.

    """
    ranked = sorted((rule for rule in RULES if counts.get(rule.name)), key=lambda rule: -counts[rule.name])
    return [
        {"do": rule.do, "evidence": _counted(rule.because, counts[rule.name]), "source": rule.source}
        for rule in ranked[:most]
    ]


def _counted(because: str, count: int) -> str:
    """The evidence with its number; the noun behind it in the singular for one."""
    text = because.format(count=f"{count:,}")
    if count == 1:
        for several, one in (
            ("OOM kills", "OOM kill"),
            ("atomic requests", "atomic request"),
            ("requests", "request"),
            (" were ", " was "),
            (" say ", " says "),
        ):
            text = text.replace(several, one, 1)
    return text


def piece(name: str) -> dict[str, str]:
    """What a rule advises, with its source."""
    rule = next(rule for rule in RULES if rule.name == name)
    return {"do": rule.do, "source": rule.source}
