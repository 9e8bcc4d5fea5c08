# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded machine: what ``machine.json`` of a recording says about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.recording.jsontypes import WrongType, build, checked

MOST_CPUS = 8192
"""Linux's largest NR_CPUS (x86 with MAXSMP, powerpc)."""

MOST_ORDER = 30
"""Largest pageblock order believed; the model takes 13 at most."""

EXTRA: dict[str, Any] = {
    "assumed": list[str],
    "buffer_kb": int,
    "change_ownership_unknown": bool,
    "cpu_node": tuple[int, ...],
    "generated": str,
    "groups": list[str],
    "imported": str,
    "kernel_known": str,
    "kernel_range": tuple[str | None, str | None],
    "lacks": list[str],
    "max_page_order": int,
    "missing_events": list[str],
    "mode": str,
    "node_distance": list[list[int]],
    "pids_kept": bool,
    "scaled": dict[str, Any],
    "settings": dict[str, Any],
    "source": str,
    "start": dict[str, str],
}
"""Kinds of those of a machine's further facts that this program reads."""


def kernel_words(kernel: str) -> str:
    """``Linux 7.2.13`` of the release ``7.2.13``; ``Linux (not known)`` where the release is not known (``""``)."""
    return f"Linux {kernel or '(not known)'}"


@dataclass(frozen=True)
class ZoneInfo:
    """One populated zone of /proc/zoneinfo or of a dump: pfns and sizes in pages."""

    node: int
    index: int
    name: str
    start_pfn: int
    spanned: int
    present: int
    managed: int
    watermark_min: int = 0
    watermark_low: int = 0
    watermark_high: int = 0
    pcp_batch: int = 0
    pcp_high_min: int = 0
    pcp_high_max: int = 0


@dataclass(frozen=True)
class Machine:
    """The machine and how it was recorded."""

    kernel: str
    """Release, as ``7.2.13``."""
    arch: str
    """Machine name, as ``x86_64``."""
    cpus: int
    """CPUs that have a buffer."""
    nodes: tuple[int, ...]
    zones: tuple[ZoneInfo, ...]
    """The zones that have pages, by node and index."""
    zone_names: tuple[str, ...]
    """All zone names of the kernel, by index; () if not known."""
    page_size: int
    """Bytes."""
    pageblock_order: int
    hugepage_order: int
    """Order of a PMD-sized page, -1 if the kernel has none."""
    nr_pcp_lists: int
    """Lists of a per_cpu_pages (14 with huge pages, 12 without), 0 if not known."""
    clock: str
    """trace_clock in use, as ``global`` or ``mono``; its unit is the nanosecond."""
    gfp_bits: dict[str, int]
    """GFP bit numbers of the recorded kernel (the stored events use those of Linux 7.2)."""
    events: dict[str, str] = field(default_factory=dict)
    """Event name (``system/event``) to its format file."""
    cmdline: str = ""
    swap: bool = False
    """Whether a swap device was in use."""
    hooks: bool = False
    """Whether the kernel had the recording hooks (gt_* events)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Facts without a name of their own."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Machine:
        """The inverse of :meth:`to_json`; keys of newer programs are passed over.

        Raises
        ------
        KevacuateError
            If a field is missing or is of another kind.

        """
        try:
            machine = build(Machine, values, "machine")
            for name, kind in EXTRA.items():
                if name in machine.extra:
                    checked(machine.extra[name], kind, f"machine.extra.{name}")
        except WrongType as error:
            raise KevacuateError(
                f"machine.json does not describe a machine as this program writes it ({error}): record again."
            ) from None
        if not 0 <= machine.pageblock_order <= MOST_ORDER:
            raise KevacuateError(
                f"machine.json says pageblock order {machine.pageblock_order}, but it is {MOST_ORDER} at most: record again."
            )
        if not 0 <= machine.cpus <= MOST_CPUS:
            raise KevacuateError(
                f"machine.json says {machine.cpus} CPUs, but Linux knows {MOST_CPUS} at most: record again."
            )
        return machine
