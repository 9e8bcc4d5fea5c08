# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of a kernel's memory, a dump of it or /proc/kcore: addresses, bytes and the layout of its structures.

:mod:`kevacuate.capture.vmcore_drgn` gives it by means of drgn; everything above knows this interface only.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from kevacuate.errors import KevacuateError


class Unreadable(Exception):
    """Memory that is not in the dump, or not mapped."""


class Torn(Exception):
    """A list that is not whole: it changed while it was read, or the dump was taken in the middle of a change."""


class ZoneAt(NamedTuple):
    """One struct zone: its node, its place among the node's zones (its index), its address."""

    node: int
    place: int
    address: int


class Core(Protocol):
    """A kernel's memory, with the debug information to find one's way in it.

    Attributes
    ----------
    name : str
        The file, for sentences.
    live : bool
        Whether the kernel is running while it is read.
    release, arch : str
        As ``uname -r`` and ``uname -m`` say.
    cpus : tuple of int
        The CPUs that are online.
    pages : int
        Address of the struct page of pfn 0 (vmemmap; it need not be readable).
    section_pages : int
        Pages of a section of sparse memory.

    """

    name: str
    live: bool
    release: str
    arch: str
    cpus: tuple[int, ...]
    pages: int
    section_pages: int

    def has(self, struct: str, member: str) -> bool:
        """Whether this kernel's structure has the member."""

    def offset(self, struct: str, member: str) -> int:
        """Bytes from the structure's beginning to the member; KevacuateError where there is none."""

    def width(self, struct: str, member: str) -> int:
        """Bytes of the member."""

    def length(self, struct: str, member: str) -> int:
        """Elements of a member that is an array."""

    def size(self, struct: str) -> int:
        """Bytes of the structure."""

    def constant(self, name: str) -> int | None:
        """An enumerator's value, None where this kernel has none of that name."""

    def symbol(self, name: str) -> int | None:
        """A variable's address, None where this kernel has none of that name."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory; raises Unreadable."""

    def zones(self) -> list[ZoneAt]:
        """Every zone of every online node, populated or not, by node and index."""

    def node_address(self, node: int) -> int:
        """Address of the node's pglist_data."""

    def per_cpu(self, address: int, cpu: int) -> int:
        """Address of a CPU's copy of a per-CPU object."""

    def block_bits(self, pfn: int) -> int:
        """Address of the pageblock bits of the pfn's section, 0 where there is no such section."""


class Fields:
    """The members of one structure at one address, read as integers.

    Parameters
    ----------
    core : Core
        The memory.
    struct : str
        The structure, as ``struct zone``.
    address : int
        Where it lies.

    """

    def __init__(self, core: Core, struct: str, address: int) -> None:
        self.core, self.struct, self.address = core, struct, address

    def at(self, member: str) -> int:
        """The member's address."""
        return self.address + self.core.offset(self.struct, member)

    def get(self, member: str, *, signed: bool = False) -> int:
        """The member's value; 0 where this kernel's structure has none."""
        if not self.core.has(self.struct, member):
            return 0
        width = self.core.width(self.struct, member)
        return number(self.core, self.at(member), width, signed=signed)

    def array(self, member: str, *, signed: bool = False) -> tuple[int, ...]:
        """The elements of a member that is an array of integers."""
        count = self.core.length(self.struct, member)
        width = self.core.width(self.struct, member) // count
        at = self.at(member)
        return tuple(number(self.core, at + i * width, width, signed=signed) for i in range(count))


def number(core: Core, address: int, width: int = 8, *, signed: bool = False) -> int:
    """An integer of memory, little-endian, *width* bytes."""
    return int.from_bytes(core.read(address, width), "little", signed=signed)


def text(core: Core, address: int, most: int = 4096) -> str:
    """A C string; '' where it cannot be read."""
    found = b""
    try:
        while len(found) < most and b"\0" not in found:
            found += core.read(address + len(found), 16)
    except Unreadable:
        pass
    return found.split(b"\0")[0].decode("utf-8", "replace")


def variable(core: Core, name: str, width: int) -> int:
    """A global variable's value, 0 where this kernel has none of that name."""
    at = core.symbol(name)
    return 0 if at is None else number(core, at, width)


def needed(core: Core, name: str) -> int:
    """An enumerator's value.

    Raises
    ------
    KevacuateError
        This kernel has none of that name.

    """
    value = core.constant(name)
    if value is None:
        raise KevacuateError(
            f"The kernel {core.release} of {core.name} has no {name}: its page allocator is not one that this program knows."
        )
    return value
