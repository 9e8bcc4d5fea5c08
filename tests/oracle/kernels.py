# SPDX-License-Identifier: GPL-2.0-or-later
"""How kernel versions differ, as far as the oracle models it. Written from mm/page_alloc.c of 7.2, 6.12.117 and 6.1.192."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """One kernel. The questions are those of docs/model.md, section Profiles; the defaults are the answers of 7.2."""

    claims: bool = True  # __rmqueue_claim and __rmqueue_steal; else steal_suitable_fallback and another try
    refuses_highatomic_block: bool = False
    hygienic: bool = (
        True  # merges retype, large frees are split by block, pcp pages go where their block says
    )
    adaptive_high: bool = True
    drains_in_batches: bool = True
    free_high_divisor: int | None = 2  # free_high needs free_count >= batch + high_min / this (None: batch)
    below_high: bool = True
    decays: bool = True
    counts_free_highatomic: bool = True
    reserves_anywhere: bool = False
    reserve_cap_rounded: bool = True  # a hundredth in whole blocks; else a hundredth and a block
    isolate_bit: bool = True
    passes_over_awake_nodes: bool = True
    boost_wakes_all: bool = False


KERNEL_6_12 = {
    "refuses_highatomic_block": True,
    "drains_in_batches": False,
    "free_high_divisor": None,
    "reserves_anywhere": True,
    "isolate_bit": False,
    "passes_over_awake_nodes": False,
}
KERNEL_6_1 = {
    **KERNEL_6_12,
    "claims": False,
    "hygienic": False,
    "adaptive_high": False,
    "below_high": False,
    "decays": False,
    "counts_free_highatomic": False,
    "reserve_cap_rounded": False,
    "boost_wakes_all": True,
}
KERNELS = {
    "7.2": Kernel(),
    "6.18": Kernel(),
    "6.12": Kernel(**KERNEL_6_12),  # type: ignore[arg-type]
    "6.1": Kernel(**KERNEL_6_1),  # type: ignore[arg-type]
}
