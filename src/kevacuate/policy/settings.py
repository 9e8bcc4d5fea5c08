# SPDX-License-Identifier: GPL-2.0-or-later
"""Knobs of every policy: the kernel's own settings, by the kernel's names. What is not given is as it was recorded.

Limits are those of the kernel's ctl_tables (:data:`kevacuate.recording.settings.SYSCTLS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from kevacuate.mm.constants import MAX_SWAPPINESS, PAGE_SIZE
from kevacuate.policy.knobs import Knob, choice
from kevacuate.recording.settings import INT_MAX, SYSCTLS

LEAST_HIGH_FRACTION = 8
"""MIN_PERCPU_PAGELIST_HIGH_FRACTION (mm/page_alloc.c at 7.2): a smaller vm.percpu_pagelist_high_fraction but 0 is refused."""

THP_DEFRAG = ("always", "defer", "defer+madvise", "madvise", "never")
"""What /sys/kernel/mm/transparent_hugepage/defrag takes."""

UNITS = {"K": 10, "M": 20, "G": 30}
"""Of a size: powers of two."""

MOST_RATIO = 100
"""How many times smaller a page may be once compressed."""

MOST_DIGITS = 12
"""Characters of a number, at most."""

_LIMITS = {sysctl.name: (sysctl.least, sysctl.most) for sysctl in SYSCTLS}

_HELP = {
    "min_free_kbytes": "vm.min_free_kbytes: the zones' watermarks and the per-CPU lists' bounds follow from it",
    "watermark_scale_factor": "vm.watermark_scale_factor: how far apart the watermarks lie, in 1/10000 of a zone",
    "watermark_boost_factor": "vm.watermark_boost_factor: how far a fallback may raise the marks, in 1/10000 of the high one",
    "compaction_proactiveness": "vm.compaction_proactiveness: how eagerly kcompactd works unasked",
    "defrag_mode": "vm.defrag_mode: whole pageblocks are kept free at the cost of reclaim and compaction (since 6.15)",
    "percpu_pagelist_high_fraction": "vm.percpu_pagelist_high_fraction: part of a zone that per-CPU lists may hold; 0: it adapts",
    "compact_unevictable_allowed": "vm.compact_unevictable_allowed: whether compaction moves mlocked pages",
    "extfrag_threshold": "vm.extfrag_threshold: compaction passes over a zone whose fragmentation index is not above it",
}


def _ranged(name: str) -> Callable[[str], int]:
    """A whole number that the kernel takes for this sysctl, in plain digits."""
    least, most = _LIMITS[name]

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or len(text) > len(str(INT_MAX)):
            raise ValueError
        value = int(text)
        refused = name == "percpu_pagelist_high_fraction" and 0 < value < LEAST_HIGH_FRACTION
        if not least <= value <= most or refused:
            raise ValueError
        return value

    return convert


def _values(name: str) -> str:
    """What a sysctl takes, in words."""
    least, most = _LIMITS[name]
    if name == "percpu_pagelist_high_fraction":
        return f"0, or a number from {LEAST_HIGH_FRACTION} to {most}"
    return f"{least} or {most}" if most == least + 1 else f"a number from {least} to {most}"


def share(text: str) -> float:
    """A share of the whole: above 0, up to 1, in plain digits."""
    if not text.isascii() or not text.replace(".", "", 1).isdigit():
        raise ValueError
    value = float(text)
    if not (math.isfinite(value) and 0 < value <= 1):
        raise ValueError
    return value


def share_or_none(text: str) -> float:
    """A share of the whole, from 0 on."""
    return 0.0 if text in ("0", "0.0") else share(text)


def ratio(text: str) -> float:
    """How many times smaller: from 1 to 100, in plain digits."""
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > MOST_DIGITS:
        raise ValueError
    value = float(text)
    if not 1 <= value <= MOST_RATIO:
        raise ValueError
    return value


def _at_most(most: int) -> Callable[[str], int]:
    """A whole number from 0 on, in plain digits."""

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or len(text) > MOST_DIGITS or int(text) > most:
            raise ValueError
        return int(text)

    return convert


def size(text: str) -> int:
    """Bytes: ``off``, or a whole number of KiB, MiB or GiB (K, M, G), up to 1 TiB less a page, a page at least."""
    if text == "off":
        return 0
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not (number.isascii() and number.isdigit()) or len(number) > MOST_DIGITS:
        raise ValueError
    value = int(number) << UNITS[unit]
    if not PAGE_SIZE <= value < PAGE_SIZE << 28:
        raise ValueError
    return value


def _one_of(*names: str) -> Callable[[str], Any]:
    """One of these names."""
    table = {name: name for name in names}

    def convert(text: str) -> Any:
        return table[text]

    return convert


SETTINGS: dict[str, Knob] = {
    **{name: Knob(_ranged(name), _values(name), text, setting=name) for name, text in _HELP.items()},
    "memory": Knob(
        share,
        "a share of the recorded memory, above 0, up to 1",
        "memory that stays: free pageblocks are taken away at the start, the highest first",
        setting="memory",
    ),
    "thp_enabled": Knob(
        choice(madvise="madvise", never="never"),
        "madvise or never (always makes no huge fault that was not recorded)",
        "transparent_hugepage/enabled: huge faults that it does not allow are replayed as base pages",
        setting="thp_enabled",
    ),
    "thp_defrag": Knob(
        _one_of(*THP_DEFRAG),
        ", ".join(THP_DEFRAG),
        "transparent_hugepage/defrag: how hard a huge fault tries, as vma_thp_gfp_mask has it",
        setting="thp_defrag",
    ),
    "zram": Knob(
        size,
        "off, or a size from 4K to less than 1024G, as 512M or 2G",
        "size of a zram device that is swapped to, in a closed loop (off: there is no swap)",
        setting="zram",
    ),
    "zram_ratio": Knob(
        ratio,
        "a number from 1 to 100",
        "input: how many times smaller a page is once compressed, 3 unless given",
        setting="zram_ratio",
    ),
    "swappiness": Knob(
        _at_most(MAX_SWAPPINESS),
        f"a number from 0 to {MAX_SWAPPINESS}",
        "vm.swappiness: how gladly anonymous pages are reclaimed where there is swap, 60 unless given",
        setting="swappiness",
    ),
    "lru_gen": Knob(
        _at_most(1),
        "0 or 1",
        "/sys/kernel/mm/lru_gen/enabled: the multi-gen LRU reclaims, in a closed loop",
        setting="lru_gen",
    ),
    "anon_used": Knob(
        share_or_none,
        "a share from 0 to 1",
        "input: share of anonymous pages in use all the time, which are read from swap again, 0.5 unless given",
        setting="anon_used",
    ),
}
"""The knobs, in the order in which they are shown."""

OF_SWAP = ("zram_ratio", "swappiness", "anon_used")
"""Settings that do nothing where there is no swap."""


def without_swap(given: Mapping[str, Any]) -> list[str]:
    """Those of *given* settings that do nothing, as they make no zram device."""
    return [] if given.get("zram") else [name for name in OF_SWAP if name in given]
