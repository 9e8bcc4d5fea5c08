# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages in pipes and in the queues of sockets: found from the inodes of pipefs and sockfs, which the kernel keeps in a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from kevacuate.capture.holders_claims import Claims
from kevacuate.capture.holders_struct_pages import has
from kevacuate.capture.vmcore import Core, Torn, Unreadable, number, text
from kevacuate.capture.vmcore_lists import TRIES, walk
from kevacuate.observe.holders import Holder

MOST = 1 << 22
"""Inodes of one file system, and buffers of one queue, that are believed."""

MOST_SLOTS = 1 << 20
"""Slots of a pipe that are believed: pipe-max-size of root has no other bound."""

Ints = npt.NDArray[np.int64]


def claim_pipes(core: Core, claims: Claims) -> tuple[str, ...]:
    """Name the pages of pipes; what could not be said, a sentence each."""
    if not has(core, "struct pipe_inode_info", "bufs"):
        return ("Pipe buffers are not told: this kernel's pipes are not known.",)
    return _claim(core, "pipe_mnt", lambda inode: _pipe_pages(core, inode), claims, "pipe buffer")


def claim_sockets(core: Core, claims: Claims) -> tuple[str, ...]:
    """Name the pages in sockets' queues, by protocol; what could not be said, a sentence each."""
    if not has(core, "struct socket_alloc", "vfs_inode"):
        return ()
    return _claim(core, "sock_mnt", lambda inode: _socket_pages(core, inode), claims, "socket buffer")


Pages = Callable[[int], tuple[str, list[int]]]
"""An inode's address to the name of what it is, and addresses of struct pages."""


def _claim(core: Core, mount: str, pages: Pages, claims: Claims, kind: str) -> tuple[str, ...]:
    """Name the pages of every inode of a kernel's own mount."""
    try:
        inodes = _inodes(core, mount)
    except Unreadable:
        return (f"Pages of the kind {kind} are not told: {mount} cannot be read.",)
    except Torn:
        return (f"Pages of the kind {kind} are not told: the list of {mount} changed while it was read.",)
    found: dict[str, list[int]] = {}
    missed = 0
    for inode in inodes:
        try:
            name, addresses = pages(inode)
        except Unreadable:
            missed += 1
            continue
        found.setdefault(name, []).extend(addresses)
    for name, addresses in sorted(found.items()):
        claims.claim(pfns_of(core, addresses), Holder(kind, name))
    return (f"{missed:,} inodes of {mount} were gone or could not be read.",) if missed else ()


def pfns_of(core: Core, addresses: list[int]) -> Ints:
    """Pfns of struct pages by their addresses; an address that is none gives -1."""
    at = np.array(addresses, np.uint64) - np.uint64(core.pages)
    pfn, rest = np.divmod(at.astype(np.int64), core.size("struct page"))
    return np.where(rest == 0, pfn, -1)


def _inodes(core: Core, mount: str) -> list[int]:
    """Addresses of the inodes of a kernel's own mount, by the name of the variable that points to it."""
    at = core.symbol(mount)
    if at is None:
        return []
    super_block = number(core, number(core, at) + core.offset("struct vfsmount", "mnt_sb"))
    head = super_block + core.offset("struct super_block", "s_inodes")
    entry = core.offset("struct inode", "i_sb_list")
    for left in reversed(range(TRIES if core.live else 1)):
        try:
            return [found - entry for found in walk(core, head, MOST)]
        except Torn:
            if not left:
                raise
    return []


def _pipe_pages(core: Core, inode: int) -> tuple[str, list[int]]:
    """The pages of a pipe: those of its slots in use, and those it keeps for the next write."""
    pipe = number(core, inode + core.offset("struct inode", "i_pipe"))
    if not pipe:
        return "", []
    info = "struct pipe_inode_info"
    slots = number(core, pipe + core.offset(info, "ring_size"), 4)
    bufs = number(core, pipe + core.offset(info, "bufs"))
    kept = core.width(info, "tmp_page") // 8
    found = [number(core, pipe + core.offset(info, "tmp_page") + 8 * n) for n in range(kept)]
    size = core.size("struct pipe_buffer")
    page, ops = (core.offset("struct pipe_buffer", member) for member in ("page", "ops"))
    data = core.read(bufs, min(slots, MOST_SLOTS) * size)
    for at in range(0, len(data), size):
        if data[at + ops : at + ops + 8] != bytes(8):
            found.append(int.from_bytes(data[at + page : at + page + 8], "little"))
    return "", [address for address in found if address]


def _socket_pages(core: Core, inode: int) -> tuple[str, list[int]]:
    """The pages in a socket's queues, beside what lies in slabs, and the one it fills next."""
    alloc = "struct socket_alloc"
    socket = inode - core.offset(alloc, "vfs_inode") + core.offset(alloc, "socket")
    sock = number(core, socket + core.offset("struct socket", "sk"))
    if not sock:
        return "", []
    found = [number(core, sock + core.offset("struct sock", "sk_frag"))]
    for queue in ("sk_receive_queue", "sk_write_queue", "sk_error_queue"):
        if has(core, "struct sock", queue):
            head = sock + core.offset("struct sock", queue)
            for buffer in islice(_buffers(core, head), MOST):
                found += _buffer_pages(core, buffer)
    common = sock + core.offset("struct sock", "__sk_common")
    protocol = number(core, common + core.offset("struct sock_common", "skc_prot"))
    name = text(core, protocol + core.offset("struct proto", "name"), 32) if protocol else ""
    return name, [address for address in found if address]


def _buffers(core: Core, head: int) -> Iterator[int]:
    """The struct sk_buffs of a queue, whose first member is the next one."""
    at = number(core, head)
    while at not in (head, 0):
        yield at
        at = number(core, at)


def _buffer_pages(core: Core, buffer: int) -> list[int]:
    """Addresses of the struct pages of a buffer's fragments, and of those that hang on it."""
    found: list[int] = []
    waiting = [buffer]
    while waiting and len(found) < MOST:
        at = waiting.pop()
        data = number(core, at + core.offset("struct sk_buff", "head"))
        end = number(core, at + core.offset("struct sk_buff", "end"), core.width("struct sk_buff", "end"))
        shared, info = "struct skb_shared_info", data + end
        if not data or core.width("struct sk_buff", "end") != 4:
            continue
        count = number(core, info + core.offset(shared, "nr_frags"), 1)
        frags, most = core.offset(shared, "frags"), core.length(shared, "frags")
        size = core.width(shared, "frags") // most
        found += [number(core, info + frags + size * n) for n in range(min(count, most))]
        hanging = number(core, info + core.offset(shared, "frag_list"))
        while hanging and len(waiting) < MOST:
            waiting.append(hanging)
            hanging = number(core, hanging)
    return found
