# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.snapshot``: the state of a machine's memory, of this one now or of one whose memory was dumped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from kevacuate.capture.survey import Survey, take_survey
from kevacuate.errors import KevacuateError, named_file

if TYPE_CHECKING:
    from kevacuate.capture.vmcore_state import CoreSnapshot


@overload
def snapshot() -> Survey: ...


@overload
def snapshot(vmcore: str | Path, *, vmlinux: str | Path | None = None) -> CoreSnapshot: ...


@overload
def snapshot(
    vmcore: None = None, *, kcore: Literal[True], vmlinux: str | Path | None = None
) -> CoreSnapshot: ...


def snapshot(
    vmcore: str | Path | None = None, *, kcore: bool = False, vmlinux: str | Path | None = None
) -> Survey | CoreSnapshot:
    """The state of a machine's memory.

    Parameters
    ----------
    vmcore : path, optional
        A dump (ELF or kdump) to read. Without it, this machine now.
    kcore : bool
        Read this machine's allocator from its memory, by /proc/kcore, instead of /proc/kpageflags.
    vmlinux : path, optional
        That kernel's debug information, with a dump or kcore. Default: where distributions put it.

    Returns
    -------
    Survey or CoreSnapshot
        A Survey of this machine: pages of each pageblock by kind (int32[blocks]), and bounds of mixed blocks. With *vmcore* or
        *kcore* a CoreSnapshot: every free list and per-CPU list in order, which ``save`` writes as the start of a replay.

    Raises
    ------
    KevacuateError
        Two sources are named; /proc/kpageflags, the dump or its debug information cannot be read; drgn is missing.

    Examples
    --------
    >>> import kevacuate
    >>> now = kevacuate.snapshot()  # doctest: +ROOT
    >>> len(now.blocks.free) == len(now.classes)  # doctest: +ROOT
    True
    """
    if vmcore is not None and kcore:
        raise KevacuateError("vmcore and kcore name two sources: give one of them.")
    dump, information = (None if name is None else named_file(name) for name in (vmcore, vmlinux))
    if vmcore is None and not kcore:
        if vmlinux is not None:
            raise KevacuateError("vmlinux is of use with vmcore or kcore only.")
        return take_survey()
    from kevacuate.capture.vmcore_drgn import open_core
    from kevacuate.capture.vmcore_state import read_core

    return read_core(open_core(dump, information))
