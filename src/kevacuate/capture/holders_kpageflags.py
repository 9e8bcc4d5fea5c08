# SPDX-License-Identifier: GPL-2.0-or-later
"""What /proc alone says of the pages of the running machine that cannot move: their kind, and the memory cgroup that pays.

/proc/kpageflags shows slabs, page tables and huge pages. It names no slab cache and no caller. Of all other kernel pages it
shows no owner; /proc/kpagecgroup says which memory cgroup they are charged to, where they are. A page without any flag, and
charged to none, may be the kernel's, or free on a per-CPU list: which of both, /proc does not say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.capture.machine import PROC, UNMODELLED_ZONE, describe, page_flags_unread, text_of
from kevacuate.capture.snapshots import STEP, page_words, read_ahead, take_counts
from kevacuate.kernel.pageflags import KPF_NOPAGE
from kevacuate.measure.holders import ABSENT, FREE, UNKNOWN, HeldPages, Holder
from kevacuate.measure.holders_by_flags import FLAG_HOLDERS, NAMELESS, NO_FLAG, Codes, classify
from kevacuate.recording import procfs
from kevacuate.recording.blocktypes import guess_block_types
from kevacuate.recording.presence import absent_blocks, silent_blocks
from kevacuate.recording.snapshot import ZoneCounts

CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
"""Where the hierarchy of the memory controller lies: that of version 1, else that of version 2."""

MOST_CGROUPS = 100_000
"""Directories of cgroups that are looked at for their names."""


class _Charged(NamedTuple):
    """Unknown pages that a memory cgroup is charged for: pfns and inodes of cgroups, int64 each."""

    pfn: npt.NDArray[np.int64]
    inode: npt.NDArray[np.int64]


def read_kpageflags() -> HeldPages:
    """What every page of this machine is, as far as /proc says: about a second for every 8 GiB.

    Raises
    ------
    KevacuateError
        /proc/kpageflags cannot be read.

    """
    zones = _zones()
    top = max((zone.start_pfn + zone.spanned for zone in zones), default=0)
    order = describe(1, {}, {}).pageblock_order
    words = np.zeros(top, np.uint64)
    code = np.full(top, ABSENT, np.int32)
    charged: list[_Charged] = []
    with (
        _open("kpageflags", needed=True) as file,
        _open("kpagecgroup") as cgroups,
        closing(read_ahead(file, top)) as steps,
    ):
        for number, part in enumerate(steps):
            first = number * STEP
            words[first : first + len(part)] = part
            code[first : first + len(part)] = classify(part)
            charged += _charges(file, cgroups, first, code[first : first + len(part)])
    zones = _zones()
    absent = absent_blocks(silent_blocks(words, order), zones, order)
    gone = np.repeat(absent, 1 << order)[:top]
    code[gone] = ABSENT
    words[gone] = 1 << KPF_NOPAGE  # else a hole ranks as the kernel's, and takes the type of a block that is
    free = (code == FREE).astype(np.uint8)
    types = guess_block_types(tuple(zones), words, free, order, np.full(len(absent), -1, np.int8))
    types[absent] = -1
    holders = _name_cgroups(code, charged)
    slabinfo = procfs.parse_slabinfo(text_of(PROC / "slabinfo"))
    return HeldPages(
        code,
        holders,
        types,
        order,
        "kpageflags",
        str(PROC / "kpageflags"),
        os.uname().release,
        "estimated",
        _not_told(zones, code),
        {name: pages for name, (_, _, pages) in slabinfo.items() if pages},
    )


def _zones() -> list[ZoneCounts]:
    return [zone for zone in take_counts("now").zones if zone.name != UNMODELLED_ZONE]


@contextmanager
def _open(name: str, *, needed: bool = False) -> Iterator[int]:
    """A file of /proc; -1 where it cannot be opened and is not needed."""
    try:
        file = os.open(PROC / name, os.O_RDONLY)
    except OSError as error:
        if needed:
            raise page_flags_unread(PROC / name, error) from None
        yield -1
        return
    try:
        yield file
    finally:
        os.close(file)


def _charges(flags: int, cgroups: int, first: int, code: Codes) -> Iterator[_Charged]:
    """What /proc/kpagecgroup says of the unknown ones of these pages.

    A page may come into use between the two readings, and then be charged as user memory: the flags are read again behind it.
    """
    at = np.flatnonzero(code >= NAMELESS)
    if cgroups < 0 or not len(at):
        return
    low, high = int(at[0]), int(at[-1]) + 1
    inode = page_words(cgroups, first + low, high - low)[at - low].astype(np.int64)
    at, inode = at[inode != 0], inode[inode != 0]
    if not len(at):
        return
    low, high = int(at[0]), int(at[-1]) + 1
    still = classify(page_words(flags, first + low, high - low))[at - low] >= NAMELESS
    yield _Charged(at[still] + first, inode[still])


def _name_cgroups(code: Codes, charged: list[_Charged]) -> tuple[Holder, ...]:
    """Give unknown pages that a cgroup pays for a holder of their own, in place; all holders."""
    holders = list(FLAG_HOLDERS)
    pfn = np.concatenate([np.empty(0, np.int64), *(part.pfn for part in charged)])
    inode = np.concatenate([np.empty(0, np.int64), *(part.inode for part in charged)])
    names = _cgroup_names(set(np.unique(inode).tolist()))
    for number in np.unique(inode).tolist():
        mine = pfn[inode == number]
        code[mine[code[mine] >= NAMELESS]] = len(holders)
        holders.append(Holder(UNKNOWN, f"charged to cgroup {names.get(number, f'of inode {number}')}"))
    return tuple(holders)


def _cgroup_names(wanted: set[int]) -> dict[int, str]:
    """Inodes of memory cgroups to their paths in the hierarchy."""
    found: dict[int, str] = {}
    root = next((root for root in CGROUPS if root.is_dir()), CGROUPS[-1])
    waiting = [root] if wanted else []
    looked = 0
    while waiting and len(found) < len(wanted) and looked < MOST_CGROUPS:
        here = waiting.pop()
        looked += 1
        with suppress(OSError):
            inode = here.stat().st_ino
            if inode in wanted:
                found[inode] = "/" + "/".join(here.relative_to(root).parts)
            waiting += sorted(entry for entry in here.iterdir() if entry.is_dir() and not entry.is_symlink())
    return found


def _not_told(zones: list[ZoneCounts], code: Codes) -> tuple[str, ...]:
    """What /proc cannot say here."""
    lines = [
        "/proc/kpageflags names no slab cache and no owner of other kernel pages: --kcore or --vmcore does, with drgn.",
        "Block types are estimated from what blocks hold and from the counts in /proc/pagetypeinfo.",
    ]
    cached = sum(pcp.count for zone in zones for pcp in zone.pcp)
    unclear = int((code == NO_FLAG).sum())
    if unclear:
        lines.append(
            f"Of {unclear:,} pages without a flag up to {min(cached, unclear):,} are free on per-CPU lists; "
            "/proc does not say which."
        )
    return tuple(lines)
