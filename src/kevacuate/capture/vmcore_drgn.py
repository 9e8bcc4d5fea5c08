# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel's memory by means of drgn: a vmcore (ELF or kdump), or /proc/kcore of the running kernel."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

from kevacuate.capture.vmcore import Unreadable, ZoneAt
from kevacuate.errors import KevacuateError

KCORE = Path("/proc/kcore")
SECTION_BITS = 27
"""SECTION_SIZE_BITS of x86-64 (arch/x86/include/asm/sparsemem.h): a macro, so no debug information has it."""

PAGE_SHIFT = 12
FLATTENED = b"makedumpfile"
"""How the flattened form of a compressed dump begins."""


def _drgn() -> Any:
    try:
        import drgn
    except ImportError:
        raise KevacuateError(
            "A kernel's memory is read with drgn, which is not installed: pip install 'kevacuate[drgn]'."
        ) from None
    return drgn


def open_core(vmcore: Path | None, vmlinux: Path | None = None, *, qemu: str | None = None) -> DrgnCore:
    """Open a vmcore, or without one the running kernel's or a guest's memory, with its debug information.

    Parameters
    ----------
    vmcore : Path or None
        A dump: ELF or compressed by kdump; None for /proc/kcore.
    vmlinux : Path or None
        The kernel's image with debug information; None to let drgn look where distributions put it.
    qemu : str or None
        Where a QEMU guest's machine protocol (QMP) answers: the path of a Unix socket. The guest goes on running.

    Raises
    ------
    KevacuateError
        drgn is missing, a file is, it is no dump of a kernel, or there is no debug information for it.

    """
    file = vmcore or (KCORE if qemu is None else Path(qemu))
    for path, what in ((vmcore, "the dump"), (vmlinux, "the kernel's debug information")):
        if path is not None and not path.is_file():
            raise KevacuateError(
                f"{path} {'is not a file' if path.exists() else 'does not exist'}: name {what}."
            )
    if vmcore is None and qemu is None and not file.exists():
        raise KevacuateError(
            f"There is no {file}: this kernel was built without CONFIG_PROC_KCORE, or this is a container."
        )
    drgn = _drgn()
    logging.getLogger("drgn").setLevel(logging.CRITICAL)  # what it has to say comes as exceptions, too
    program = drgn.Program()
    try:
        if qemu is not None:
            _set_guest(program, qemu)
        elif vmcore is None:
            program.set_kernel()
        else:
            program.set_core_dump(str(vmcore))
    except KevacuateError:
        raise
    except Exception as error:  # libkdumpfile's errors come as bare Exceptions
        raise _not_opened(file, error) from None
    if not program.flags & drgn.ProgramFlags.IS_LINUX_KERNEL:
        raise KevacuateError(
            f"{file} is not the memory of a Linux kernel, or lacks VMCOREINFO (qemu: -device vmcoreinfo and the "
            "guest's module qemu_fw_cfg; kdump writes it always)."
        )
    _load_debug_info(drgn, program, file, vmlinux)
    try:
        return DrgnCore(drgn, program, str(file), live=vmcore is None)
    except drgn.FaultError as error:
        raise KevacuateError(f"{file} lacks memory of the kernel ({error}): it is cut off.") from None


def _set_guest(program: Any, address: str) -> None:
    """Make the program a running QEMU guest's."""
    if not hasattr(program, "set_qemu_qmp"):
        raise KevacuateError(
            "This drgn cannot read QEMU guests: pip install --upgrade drgn (0.3.0 can), or dump the guest and use --vmcore."
        )
    try:
        program.set_qemu_qmp(address)
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise KevacuateError(
            f"The QEMU guest at {address} cannot be read ({why}): start QEMU with -qmp unix:SOCKET,server=on,wait=off."
        ) from None


def _not_opened(file: Path, error: Exception) -> KevacuateError:
    if isinstance(error, PermissionError):
        return KevacuateError(f"{file} cannot be read ({error.strerror}): run it with sudo.")
    if isinstance(error, OSError):
        return KevacuateError(f"{file} cannot be read: {error.strerror or error}.")
    if file.open("rb").read(len(FLATTENED)) == FLATTENED:
        return KevacuateError(
            f"{file} is flattened, as dumps are that go through a pipe: `makedumpfile -R vmcore < {file.name}` puts it in order; "
            "of qemu: dump as ELF."
        )
    return KevacuateError(
        f"{file} is not a dump that drgn can open, or is cut off: {str(error).rstrip('.')}."
    )


def _load_debug_info(drgn: Any, program: Any, file: Path, vmlinux: Path | None) -> None:
    """The kernel's debug information alone: its modules' is not needed."""
    try:
        program.load_debug_info([] if vmlinux is None else [str(vmlinux)], main=True)
        program.type("struct zone")
        return
    except drgn.MissingDebugInfoError:
        pass
    except LookupError:
        pass
    except (OSError, ValueError, drgn.FaultError) as error:
        raise KevacuateError(f"{vmlinux or file} cannot be used as debug information: {error}.") from None
    release = program["UTS_RELEASE"].string_().decode("utf-8", "replace")
    if vmlinux is not None:
        raise KevacuateError(
            f"{vmlinux} is not the debug information of Linux {release}, whose memory {file} is (their build ids differ), or "
            "has none."
        )
    raise KevacuateError(
        f"There is no debug information of Linux {release} on this machine: install it (Debian: linux-image-{release}-dbg; "
        f"Fedora: kernel-debuginfo) or name it with --vmlinux."
    )


def _or_unreadable(method: Callable[..., Any]) -> Any:
    """The method, raising Unreadable where drgn finds no memory."""

    @wraps(method)
    def wrapped(self: DrgnCore, *arguments: int) -> Any:
        try:
            return method(self, *arguments)
        except (self.drgn.FaultError, ValueError, OSError) as error:
            raise Unreadable(str(error)) from None

    return wrapped


class DrgnCore:
    """:class:`kevacuate.capture.vmcore.Core` by means of drgn."""

    def __init__(self, drgn: Any, program: Any, name: str, *, live: bool) -> None:
        from drgn.helpers.linux import cpumask, mm

        self.drgn, self.program, self.name, self.live = drgn, program, name, live
        self.arch = "x86_64" if program.platform.arch == drgn.Architecture.X86_64 else "unknown"
        if self.arch != "x86_64":
            raise KevacuateError(
                f"{name} is of another architecture than x86-64, whose sections are not known here."
            )
        self.release = program["UTS_RELEASE"].string_().decode("utf-8", "replace")
        self.pages = int(mm.pfn_to_page(program, 0).value_())
        self.cpus = tuple(int(cpu) for cpu in cpumask.for_each_online_cpu(program))
        self.section_pages = 1 << (SECTION_BITS - PAGE_SHIFT)
        self._type = cache(program.type)
        self.offset = cache(self._offset)
        self.width = cache(self._width)
        self.has = cache(self._has)

    def _member(self, struct: str, member: str) -> Any:
        return self._type(struct).member(member)

    def _has(self, struct: str, member: str) -> bool:
        return bool(self._type(struct).has_member(member))

    def _offset(self, struct: str, member: str) -> int:
        try:
            return int(self._member(struct, member).offset)
        except LookupError:
            raise KevacuateError(
                f"{struct} of Linux {self.release} has no {member}: its page allocator is not one that this program knows."
            ) from None

    def _width(self, struct: str, member: str) -> int:
        return int(self.drgn.sizeof(self._member(struct, member).type))

    def length(self, struct: str, member: str) -> int:
        """Elements of an array."""
        self.offset(struct, member)
        return int(self._member(struct, member).type.length)

    def size(self, struct: str) -> int:
        """Bytes of the structure."""
        return int(self.drgn.sizeof(self._type(struct)))

    def constant(self, name: str) -> int | None:
        """An enumerator's value."""
        try:
            return int(self.program.constant(name).value_())
        except LookupError:
            return None

    def symbol(self, name: str) -> int | None:
        """A variable's address."""
        try:
            return int(self.program.symbol(name).address)
        except LookupError:
            return None

    @_or_unreadable
    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        return bytes(self.program.read(address, size))

    @_or_unreadable
    def zones(self) -> list[ZoneAt]:
        """Every zone of every online node."""
        from drgn.helpers.linux import mmzone

        return [
            ZoneAt(int(node.node_id), index, int(zone.address_of_().value_()))
            for node in mmzone.for_each_online_pgdat(self.program)
            for index, zone in enumerate(node.node_zones)
        ]

    @_or_unreadable
    def node_address(self, node: int) -> int:
        """Address of the node's pglist_data."""
        from drgn.helpers.linux import mmzone

        return int(mmzone.NODE_DATA(self.program, node).value_())

    @_or_unreadable
    def per_cpu(self, address: int, cpu: int) -> int:
        """A CPU's copy."""
        from drgn.helpers.linux import percpu

        pointer = self.drgn.Object(self.program, "void *", address)
        return int(percpu.per_cpu_ptr(pointer, cpu).value_())

    @_or_unreadable
    def block_bits(self, pfn: int) -> int:
        """The section's pageblock bits."""
        from drgn.helpers.linux import mmzone

        section = mmzone.pfn_to_section(self.program, pfn)
        if not section or not mmzone.present_section(section):
            return 0
        return int(section.usage.pageblock_flags.address_of_().value_())
