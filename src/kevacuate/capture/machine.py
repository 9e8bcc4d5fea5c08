# SPDX-License-Identifier: GPL-2.0-or-later
"""The running machine as a recording describes machines."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from kevacuate.capture.tracefs import CLOCK
from kevacuate.errors import KevacuateError
from kevacuate.recording import procfs
from kevacuate.recording.formats import EventFormat, gfp_bits
from kevacuate.recording.machine import Machine
from kevacuate.recording.settings import LRU_GEN, SYSCTLS

PROC = Path("/proc")
SYS = Path("/sys")
THP = Path("/sys/kernel/mm/transparent_hugepage")
UNMODELLED_ZONE = "Device"


def text_of(path: Path, default: str = "") -> str:
    """The text of a small file of /proc or /sys, or the default where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return default


def page_flags_unread(path: Path, error: OSError) -> KevacuateError:
    """What is said where *path*, /proc/kpageflags, cannot be opened: what is the matter there, and what to do."""
    if isinstance(error, FileNotFoundError):
        why = "this kernel was built without CONFIG_PROC_PAGE_MONITOR, or this is a container (run it on the host)"
        return KevacuateError(f"There is no {path}: {why}.")
    todo = "run it on the host, this is a container" if os.geteuid() == 0 else "run it with sudo"
    return KevacuateError(f"{path} cannot be read ({error.strerror}): {todo}.")


def chosen(path: Path) -> str:
    """The choice in brackets of a file such as ``always [madvise] never``; '' if there is none."""
    match = re.search(r"\[([\w+-]+)\]", text_of(path))
    return match[1] if match else ""


def cpu_nodes(cpus: int) -> list[int]:
    """The NUMA node of each CPU, 0 where the system does not say."""
    nodes = [0] * cpus
    for directory in (SYS / "devices/system/node").glob("node[0-9]*"):
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", text_of(directory / "cpulist")):
            for cpu in range(int(first), int(last or first) + 1):
                if cpu < cpus:
                    nodes[cpu] = int(directory.name[4:])
    return nodes


def node_distances() -> list[list[int]]:
    """The distance of each NUMA node to each, 10 to itself, 255 where a number is no node's; [] if there is one node."""
    rows = {
        int(directory.name[4:]): [int(x) for x in text_of(directory / "distance").split() if x.isdigit()]
        for directory in (SYS / "devices/system/node").glob("node[0-9]*")
    }
    online = sorted(rows)
    if len(online) < 2 or any(len(row) != len(online) for row in rows.values()):
        return []
    table = [[255] * (online[-1] + 1) for _ in range(online[-1] + 1)]
    for node, row in rows.items():
        for other, distance in zip(online, row, strict=True):
            table[node][other] = distance
    return table


def settings() -> dict[str, Any]:
    """Settings that change what the allocator does: sysctls of vm, THP's, lru_gen; a file that cannot be read is left out."""
    found: dict[str, Any] = {}
    for sysctl in SYSCTLS:
        value = text_of(PROC / "sys/vm" / sysctl.name).strip()
        if value.isascii() and value.isdigit():
            found[sysctl.name] = int(value)
    if re.fullmatch(r"0x[0-9a-f]{1,4}", enabled := text_of(SYS / "kernel/mm/lru_gen/enabled").strip()):
        found[LRU_GEN] = int(enabled, 16)
    for name in ("enabled", "defrag"):
        if value := chosen(THP / name):
            found[f"thp_{name}"] = value
    return found


def describe(cpus: int, formats: dict[int, EventFormat], extra: dict[str, Any]) -> Machine:
    """The machine.

    Parameters
    ----------
    cpus : int
        One more than the largest number of a CPU with a buffer.
    formats : dict
        The recorded events' formats by id.
    extra : dict
        Further facts for ``Machine.extra``.

    """
    zones, names = procfs.parse_zoneinfo(text_of(PROC / "zoneinfo"))
    page_size = os.sysconf("SC_PAGE_SIZE")
    huge = procfs.hugepage_order(text_of(PROC / "meminfo"), page_size)
    alloc = next((e for e in formats.values() if e.name == "mm_page_alloc"), None)
    buddy = procfs.parse_buddyinfo(text_of(PROC / "buddyinfo"))
    orders = max((len(counts) for counts in buddy.values()), default=11)
    facts = {"cpu_node": cpu_nodes(cpus), "max_page_order": orders - 1, "settings": settings()}
    if distances := node_distances():
        facts["node_distance"] = distances
    return Machine(
        kernel=platform.release(),
        arch=platform.machine(),
        cpus=cpus,
        nodes=tuple(sorted({z.node for z in zones})) or (0,),
        zones=tuple(z for z in zones if z.name != UNMODELLED_ZONE),
        zone_names=tuple(n for n in names if n != UNMODELLED_ZONE),
        page_size=page_size,
        pageblock_order=procfs.pageblock_order(text_of(PROC / "pagetypeinfo")),
        hugepage_order=huge,
        nr_pcp_lists=14 if THP.is_dir() else 12,
        clock=CLOCK,
        gfp_bits=gfp_bits(alloc) if alloc else {},
        events={f"{e.system}/{e.name}": e.text for e in formats.values()},
        cmdline=text_of(PROC / "cmdline").strip(),
        swap=procfs.has_swap(text_of(PROC / "meminfo")),
        hooks=False,
        extra=facts | extra,
    )
