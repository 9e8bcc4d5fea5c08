# SPDX-License-Identifier: GPL-2.0-or-later
"""Small format files of kernels that are not at hand, made here after facts of include/trace/events at each version."""

from __future__ import annotations

from kevacuate.recording.formats import EventFormat, parse_format

_COMMON = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
)
_SIZES = {
    "int": 4, "unsigned int": 4, "gfp_t": 4, "bool": 1, "u64": 8, "enum zone_type": 4, "enum migrate_mode": 4,
    "__data_loc char[]": 4,
}  # fmt: skip


def made(system: str, name: str, ident: int, fields: str, print_fmt: str, long_bytes: int = 8) -> EventFormat:
    """A format file of these C fields (``unsigned long pfn; int order``), laid out as the compiler does."""
    text, at = f"name: {name}\nID: {ident}\nformat:\n{_COMMON}\n", 8
    for field in fields.split(";"):
        kind, _, label = field.strip().rpartition(" ")
        size = _SIZES.get(kind, long_bytes)
        align = min(size, long_bytes) if kind == "u64" else size
        at += -at % align
        signed = int(kind in ("int", "long"))
        text += f"\tfield:{kind} {label};\toffset:{at};\tsize:{size};\tsigned:{signed};\n"
        at += size
    return parse_format(f"{text}\nprint fmt: {print_fmt}\n", system)


def flags(bits: dict[str, int]) -> str:
    """``__print_flags`` entries, in the way of kernels whose bits are hexadecimal numbers."""
    return ", ".join(f'{{(unsigned long)(( gfp_t)0x{value:x}u), "{name}"}}' for name, value in bits.items())


GFP_72 = {
    "GFP_KERNEL": 0xCC0, "__GFP_HIGHMEM": 2, "__GFP_DMA32": 4, "__GFP_MOVABLE": 8, "__GFP_RECLAIMABLE": 0x10,
    "__GFP_HIGH": 0x20, "__GFP_IO": 0x40, "__GFP_FS": 0x80, "__GFP_ZERO": 0x100, "__GFP_DIRECT_RECLAIM": 0x400,
    "__GFP_KSWAPD_RECLAIM": 0x800, "__GFP_WRITE": 0x1000, "__GFP_NOWARN": 0x2000, "__GFP_RETRY_MAYFAIL": 0x4000,
    "__GFP_NOFAIL": 0x8000, "__GFP_NORETRY": 0x10000, "__GFP_MEMALLOC": 0x20000, "__GFP_COMP": 0x40000,
    "__GFP_NOMEMALLOC": 0x80000, "__GFP_HARDWALL": 0x100000, "__GFP_THISNODE": 0x200000, "__GFP_ACCOUNT": 0x400000,
}  # fmt: skip
"""Linux 7.2."""

GFP_44 = {
    "GFP_KERNEL": 0x24000C0, "GFP_NOFS": 0x2400040, "GFP_NOIO": 0x2400000, "GFP_HIGH": 0x20, "GFP_ATOMIC": 0x80000,
    "GFP_IO": 0x40, "GFP_NOWARN": 0x200, "GFP_COMP": 0x4000, "GFP_ZERO": 0x8000, "GFP_HARDWALL": 0x20000,
    "GFP_RECLAIMABLE": 0x10, "GFP_MOVABLE": 8, "GFP_DIRECT_RECLAIM": 0x400000, "GFP_KSWAPD_RECLAIM": 0x2000000,
}  # fmt: skip
"""Linux 4.4: no underscores, no name for the bit of __GFP_FS."""

GFP_41 = {
    "GFP_KERNEL": 0xD0, "GFP_ATOMIC": 0x20, "GFP_NOIO": 0x10, "GFP_HIGH": 0x20, "GFP_WAIT": 0x10, "GFP_IO": 0x40,
    "GFP_NOWARN": 0x200, "GFP_COMP": 0x4000, "GFP_ZERO": 0x8000, "GFP_HARDWALL": 0x20000, "GFP_RECLAIMABLE": 0x80000,
    "GFP_MOVABLE": 8, "GFP_NO_KSWAPD": 0x400000,
}  # fmt: skip
"""Linux 3.4 to 4.3."""


def page_alloc(bits: dict[str, int], long_bytes: int = 8, gfp: str = "gfp_t") -> EventFormat:
    """mm_page_alloc of Linux 4.1 and later."""
    text = (
        '"page=%p pfn=0x%lx order=%d migratetype=%d gfp_flags=%s", 0, REC->pfn, REC->order, REC->migratetype, '
        f'(REC->gfp_flags) ? __print_flags(REC->gfp_flags, "|", {flags(bits)}) : "none"'
    )
    fields = f"unsigned long pfn; unsigned int order; {gfp} gfp_flags; int migratetype"
    return made("kmem", "mm_page_alloc", 601, fields, text, long_bytes)


def page_free(long_bytes: int = 8) -> EventFormat:
    """mm_page_free of Linux 4.1 and later."""
    return made(
        "kmem", "mm_page_free", 602, "unsigned long pfn; unsigned int order",
        '"page=%p pfn=0x%lx order=%d", 0, REC->pfn, REC->order', long_bytes,
    )  # fmt: skip


def extfrag(block: str = "9", long_bytes: int = 8, field: str = "unsigned long pfn") -> EventFormat:
    """mm_page_alloc_extfrag; *block* is the C expression for the pageblock order."""
    return made(
        "kmem", "mm_page_alloc_extfrag", 603,
        f"{field}; int alloc_order; int fallback_order; int alloc_migratetype; int fallback_migratetype; int change_ownership",
        '"page=%p pfn=0x%lx alloc_order=%d fallback_order=%d pageblock_order=%d alloc_migratetype=%d '
        'fallback_migratetype=%d fragmenting=%d change_ownership=%d", 0, REC->pfn, REC->alloc_order, '
        f"REC->fallback_order, {block}, REC->alloc_migratetype, REC->fallback_migratetype, "
        f"REC->fallback_order < {block}, REC->change_ownership", long_bytes,
    )  # fmt: skip


def symbols(names: dict[int, str]) -> str:
    """``__print_symbolic`` entries."""
    return ", ".join(f'{{{number}, "{name}"}}' for number, name in names.items())


ZONES = {0: "DMA", 1: "DMA32", 2: "Normal", 3: "Movable"}
RESULTS_72 = dict(
    enumerate(
        ("not_suitable_zone", "skipped", "deferred", "no_suitable_page", "continue", "complete", "partial_skipped",
         "contended", "success")
    )
)  # fmt: skip
RESULTS_44 = dict(
    enumerate(
        (
            "deferred",
            "skipped",
            "continue",
            "partial",
            "complete",
            "no_suitable_page",
            "not_suitable_zone",
            "contended",
        )
    )
)


def compaction_finished(results: dict[int, str], long_bytes: int = 8) -> EventFormat:
    """mm_compaction_finished of Linux 4.4 and later."""
    return made(
        "compaction", "mm_compaction_finished", 611, "int nid; enum zone_type idx; int order; int ret",
        f'"node=%d zone=%-8s order=%d ret=%s", REC->nid, __print_symbolic(REC->idx, {symbols(ZONES)}), REC->order, '
        f"__print_symbolic(REC->ret, {symbols(results)})", long_bytes,
    )  # fmt: skip


def compaction_end(results: dict[int, str], long_bytes: int = 8) -> EventFormat:
    """mm_compaction_end of Linux 4.0 and later: a bool among numbers."""
    return made(
        "compaction", "mm_compaction_end", 612,
        "unsigned long zone_start; unsigned long migrate_pfn; unsigned long free_pfn; unsigned long zone_end; bool sync; "
        "int status",
        '"zone_start=0x%lx migrate_pfn=0x%lx free_pfn=0x%lx zone_end=0x%lx, mode=%s status=%s", REC->zone_start, '
        'REC->migrate_pfn, REC->free_pfn, REC->zone_end, REC->sync ? "sync" : "async", '
        f"__print_symbolic(REC->status, {symbols(results)})", long_bytes,
    )  # fmt: skip


def kcompactd_wake(zone_field: str, long_bytes: int = 8) -> EventFormat:
    """mm_compaction_kcompactd_wake: highest_zoneidx, before Linux 5.8 classzone_idx."""
    return made(
        "compaction", "mm_compaction_kcompactd_wake", 613, f"int nid; int order; enum zone_type {zone_field}",
        f'"nid=%d order=%d classzone_idx=%-8s", REC->nid, REC->order, __print_symbolic(REC->{zone_field}, {symbols(ZONES)})',
        long_bytes,
    )  # fmt: skip


def zone_wmarks(long_bytes: int = 8) -> EventFormat:
    """mm_setup_per_zone_wmarks: a name of any length."""
    return made(
        "kmem", "mm_setup_per_zone_wmarks", 604,
        "int node_id; __data_loc char[] name; unsigned long watermark_min; unsigned long watermark_low; "
        "unsigned long watermark_high; unsigned long watermark_promo",
        '"node_id=%d zone name=%s watermark min=%lu low=%lu high=%lu promo=%lu", REC->node_id, __get_str(name), '
        "REC->watermark_min, REC->watermark_low, REC->watermark_high, REC->watermark_promo", long_bytes,
    )  # fmt: skip
