# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.holders``: who holds the pageblocks of this machine, of a dumped one or of a QEMU guest."""

from __future__ import annotations

import gc
from pathlib import Path

from kevacuate.errors import KevacuateError, named_file
from kevacuate.measure.holders import NEARLY_EMPTY, Holders, find_holders


def holders(
    vmcore: str | Path | None = None,
    *,
    kcore: bool = False,
    qemu: str | None = None,
    vmlinux: str | Path | None = None,
    nearly_empty: float = NEARLY_EMPTY,
) -> Holders:
    """Who holds the pageblocks: what the pages are that cannot move, where a block is of movable type or nearly empty.

    It reads, and changes nothing. A running kernel goes on meanwhile: pages that change are what they were when they were read.

    Parameters
    ----------
    vmcore : path, optional
        A dump (ELF or kdump) to read. Without it, this machine now.
    kcore : bool
        Read this machine from its memory, by /proc/kcore and drgn, instead of /proc/kpageflags.
    qemu : str, optional
        Read a running QEMU guest: the path of its QMP socket.
    vmlinux : path, optional
        That kernel's debug information, with vmcore, kcore or qemu. Default: where distributions put it.
    nearly_empty : float
        Largest share of a block's pages that may be unmovable for it to count as nearly empty, 0 to 1.

    Returns
    -------
    Holders
        Every holder, ranked by the pages otherwise free or movable of the blocks that it holds.

    Raises
    ------
    KevacuateError
        Two sources are named; the source or its debug information cannot be read; drgn is missing.

    Examples
    --------
    >>> import kevacuate
    >>> found = kevacuate.holders()  # doctest: +ROOT
    >>> found.blocks["held"] <= found.blocks["present"]  # doctest: +ROOT
    True

    """
    if sum((vmcore is not None, kcore, qemu is not None)) > 1:
        raise KevacuateError("vmcore, kcore and qemu each name a source: give one of them.")
    if not 0 <= nearly_empty <= 1:
        raise KevacuateError(
            f"nearly_empty is a share of a block's pages, from 0 to 1: {nearly_empty} is not."
        )
    dump, information = (None if name is None else named_file(name) for name in (vmcore, vmlinux))
    if dump is None and not kcore and qemu is None:
        if information is not None:
            raise KevacuateError("vmlinux is of use with vmcore, kcore or qemu only.")
        from kevacuate.capture.holders_kpageflags import read_kpageflags

        return find_holders(read_kpageflags(), nearly_empty)
    from kevacuate.capture.holders_drgn import read_holders
    from kevacuate.capture.vmcore_drgn import open_core

    source = "vmcore" if dump is not None else "kcore" if qemu is None else "qemu"
    pages = read_holders(open_core(dump, information, qemu=qemu), source)
    if qemu is not None:
        gc.collect()  # drgn holds the guest's only place for a monitor until its program goes, and it refers to itself
    return find_holders(pages, nearly_empty)
