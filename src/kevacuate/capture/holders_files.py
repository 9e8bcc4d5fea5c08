# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages in pipes and in the queues of sockets: found from the files that tasks have open.

The kernel keeps no list of pipes or sockets as such: their inodes are on no list of their file system (new_inode_pseudo,
fs/inode.c). A pipe or socket that no task has open, as one on its way through another socket, is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from kevacuate.capture.holders_claims import Claims
from kevacuate.capture.holders_struct_pages import has
from kevacuate.capture.vmcore import Core, Unreadable, number, text
from kevacuate.measure.holders import Holder

MOST = 1 << 22
"""Files of one table, and buffers of one queue, that are believed."""

MOST_SLOTS = 1 << 20
"""Slots of a pipe that are believed: root's pipes have no other bound."""

S_IFMT, S_IFIFO, S_IFSOCK = 0o170000, 0o010000, 0o140000
"""Types of inodes in i_mode (include/uapi/linux/stat.h)."""

PIPE, SOCKET = "pipe buffer", "socket buffer"
Ints = npt.NDArray[np.int64]


def claim_open_files(core: Core, claims: Claims, tables: Iterable[int]) -> tuple[str, ...]:
    """Name the pages of the pipes and sockets that are open; what could not be said, a sentence each.

    Parameters
    ----------
    core : Core
        The memory.
    claims : Claims
        Takes the names.
    tables : iterable of int
        Addresses of the struct files_structs of all tasks.

    """
    if not has(core, "struct pipe_inode_info", "bufs") or not has(core, "struct file", "f_inode"):
        return ("Buffers of pipes and sockets are not told: this kernel's files are not known.",)
    found: dict[Holder, list[int]] = {}
    missed = 0
    for inode in sorted(_inodes(core, tables)):
        try:
            holder, addresses = _pages(core, inode)
        except Unreadable:
            missed += 1
            continue
        found.setdefault(holder, []).extend(addresses)
    for holder, addresses in sorted(found.items()):
        claims.claim(pfns_of(core, addresses), holder)
    return (f"{missed:,} open pipes or sockets could not be read.",) if missed else ()


def _inodes(core: Core, tables: Iterable[int]) -> set[int]:
    """Addresses of the inodes of all open files."""
    found: set[int] = set()
    inode = core.offset("struct file", "f_inode")
    for files in set(tables) - {0}:
        for file in _files(core, files):
            try:
                found.add(number(core, file + inode))
            except Unreadable:
                continue
    return found - {0}


def _files(core: Core, files: int) -> list[int]:
    """Addresses of the struct files of one table; [] where it cannot be read."""
    try:
        table = number(core, files + core.offset("struct files_struct", "fdt"))
        most = number(core, table + core.offset("struct fdtable", "max_fds"), 4)
        array = number(core, table + core.offset("struct fdtable", "fd"))
        entries = np.frombuffer(core.read(array, 8 * min(most, MOST)), "<u8")
    except Unreadable:
        return []
    return [int(file) for file in entries[entries != 0]]


def _pages(core: Core, inode: int) -> tuple[Holder, list[int]]:
    """What an open file's inode is, and addresses of the struct pages of its buffers: [] if it is neither pipe nor socket."""
    kind = number(core, inode + core.offset("struct inode", "i_mode"), 2) & S_IFMT
    if kind == S_IFIFO:
        return Holder(PIPE, ""), _pipe_pages(core, inode)
    if kind == S_IFSOCK and has(core, "struct socket_alloc", "vfs_inode"):
        name, pages = _socket_pages(core, inode)
        return Holder(SOCKET, name), pages
    return Holder("", ""), []


def pfns_of(core: Core, addresses: list[int]) -> Ints:
    """Pfns of struct pages by their addresses; an address that is none gives -1."""
    at = np.array(addresses, np.uint64) - np.uint64(core.pages)
    pfn, rest = np.divmod(at.astype(np.int64), core.size("struct page"))
    return np.where(rest == 0, pfn, -1)


def _pipe_pages(core: Core, inode: int) -> list[int]:
    """The pages of a pipe: those of its slots in use, and those it keeps for the next write."""
    pipe = number(core, inode + core.offset("struct inode", "i_pipe"))
    if not pipe:
        return []
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
    return [address for address in found if address]


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
