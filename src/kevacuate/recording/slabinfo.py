# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/slabinfo: how many pages each slab cache has (version 2.1, since 2.6.10; slabinfo_show, mm/slab_common.c)."""

from __future__ import annotations

from typing import NamedTuple


class SlabCache(NamedTuple):
    """One line of /proc/slabinfo."""

    objects: int
    """Objects in use."""
    object_bytes: int
    slabs: int
    pages: int
    """Pages of all its slabs: slabs times pages of a slab."""


def parse_slabinfo(text: str) -> dict[str, SlabCache]:
    """The caches by name; lines that are not of a cache are passed over.

    Parameters
    ----------
    text : str
        The file: ``name active_objs num_objs objsize objperslab pagesperslab : tunables ... : slabdata active_slabs num_slabs
        sharedavail``.

    """
    found = {}
    for line in text.splitlines():
        head, _, rest = line.partition(":")
        fields = head.split()
        data = rest.partition("slabdata")[2].split()
        if len(fields) != 6 or len(data) < 2 or not all(_is_number(n) for n in (*fields[1:], *data[:2])):
            continue
        slabs = int(data[1])
        found[fields[0]] = SlabCache(int(fields[1]), int(fields[3]), slabs, slabs * int(fields[5]))
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
