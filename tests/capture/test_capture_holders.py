# SPDX-License-Identifier: GPL-2.0-or-later
"""Naming the pages that cannot move: from memory made by hand, from files of /proc, and as a guest with a planted holder said."""

import gzip
import json
import os
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from vmcore_tools import HEAP, PAGES, SPAN, FakeCore, words

import kevacuate
from kevacuate.capture import holders_drgn, holders_kpageflags, machine, snapshots
from kevacuate.capture.holders_claims import Claims
from kevacuate.capture.holders_drgn import _pages
from kevacuate.capture.holders_files import claim_open_files, pfns_of
from kevacuate.capture.holders_kpageflags import read_kpageflags
from kevacuate.capture.holders_page_ext import claim_by_owner, claim_by_tags
from kevacuate.capture.holders_struct_pages import Columns, claim_by_struct_page, claim_off_lru
from kevacuate.capture.machine import page_flags_unread
from kevacuate.capture.vmcore import Core
from kevacuate.capture.vmcore_lists import geometry, zone_readers
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import KPF_PGTABLE, KPF_SLAB, flag, tails_as_heads
from kevacuate.kernelfiles import allocator_frames
from kevacuate.live.flags import FlagSweep
from kevacuate.live.machine import machine_blocks
from kevacuate.live.text import held_words
from kevacuate.measure.holders import (
    ABSENT,
    FREE,
    MOVABLE,
    UNKNOWN,
    HeldPages,
    Holder,
    find_holders,
)
from kevacuate.measure.holders_by_flags import BY_FLAG, NAMELESS, NO_FLAG, classify
from kevacuate.recording.procfs import parse_slabinfo

LRU, RESERVED, HEAD = 1 << 4, 1 << 12, 1 << 16
HERE = Path(__file__).parents[1]
GUEST = HERE / "data/holders-7.2"
"""Debian's 7.2.13 in qemu, after 400,000 names on a ramfs of which each 200th stayed: what drgn read, and what /proc said."""

STRUCTS = {
    "struct slab": ({"slab_cache": (8, 8)}, 64),
    "struct kmem_cache": ({"name": (16, 8)}, 64),
    "struct pcpu_chunk": ({"list": (8, 16)}, 64),
    "struct files_struct": ({"fdt": (8, 8)}, 32),
    "struct fdtable": ({"max_fds": (0, 4), "fd": (8, 8)}, 32),
    "struct file": ({"f_inode": (24, 8)}, 64),
    "struct inode": ({"i_mode": (0, 2), "i_pipe": (64, 8)}, 80),
    "struct pipe_inode_info": ({"ring_size": (8, 4), "tmp_page": (16, 16), "bufs": (32, 8)}, 48),
    "struct pipe_buffer": ({"page": (0, 8), "ops": (16, 8)}, 40),
    "struct socket_alloc": ({"socket": (0, 16), "vfs_inode": (16, 80)}, 96),
    "struct socket": ({"sk": (8, 8)}, 16),
    "struct sock": ({"__sk_common": (0, 32), "sk_receive_queue": (32, 24), "sk_frag": (64, 16)}, 96),
    "struct sock_common": ({"skc_prot": (8, 8)}, 32),
    "struct proto": ({"name": (24, 32)}, 64),
    "struct sk_buff": ({"head": (16, 8), "end": (24, 4)}, 32),
    "struct skb_shared_info": ({"nr_frags": (2, 1), "frag_list": (8, 8), "frags": (16, 17 * 16)}, 288),
    "struct page_ext_operations": ({"offset": (0, 8)}, 32),
    "struct page_owner": ({"handle": (8, 4)}, 64),
    "struct alloc_tag": ({}, 48),
    "struct codetag": ({"lineno": (4, 4), "modname": (8, 8), "function": (16, 8), "filename": (24, 8)}, 40),
    "struct alloc_tag_kernel_section": ({"first_tag": (0, 8), "count": (8, 8)}, 16),
}
EXTRA = HEAP + 0x8000
"""Where a test puts its own structures."""

EXT = 0xFFFF_C900_0000_0000
"""The section's page_ext."""


class Kernel(FakeCore):
    """A made-up kernel of 7.2 with caches, mounts and page_ext; *names* are symbols."""

    def __init__(self) -> None:
        self.ext = bytearray(SPAN * 80)
        super().__init__(new=True)
        for name, (members, size) in STRUCTS.items():
            self.structs[name] = (members, size)  # type: ignore[assignment]
        page = dict(self.structs["struct page"][0])
        page["compound_info"] = page.pop("compound_head")
        page |= {"pp_magic": (8, 8), "pp": (16, 8), "memcg_data": (56, 8)}
        self.structs["struct page"] = (page, 64)
        self.names_: dict[str, int] = {}
        self.heap.extend(bytes(1 << 18))

    def _place(self, address: int, size: int) -> tuple[bytearray, int]:
        if address >= EXT and address + size <= EXT + len(self.ext):
            return self.ext, address - EXT
        return super()._place(address, size)

    def symbol(self, name: str) -> int | None:
        return self.names_.get(name)

    def length(self, struct: str, member: str) -> int:
        return 17 if member == "frags" else super().length(struct, member)

    def constant(self, name: str) -> int | None:
        return {"PGTY_table": 0xF2, "PGTY_large_kmalloc": 0xF8}.get(name, super().constant(name))

    def text(self, address: int, value: str) -> None:
        for n, byte in enumerate(value.encode() + b"\0"):
            self.put(address + n, 1, byte)

    def ring(self, head: int, entries: list[int]) -> None:
        """A list_head list."""
        around = [head, *entries, head]
        for here, after in pairwise(around):
            self.put(here, 8, after)
            self.put(after + 8, 8, here)

    def page(self, pfn: int) -> int:
        return PAGES + 64 * pfn


def named(core: Kernel, *asked: str) -> tuple[Claims, Columns]:
    """What struct pages name."""
    memory: Core = core
    columns, claims, told = _pages(memory, zone_readers(memory, geometry(memory)))
    assert told == []
    claim_by_struct_page(memory, columns, claims, {"dentry": ("another",)})
    return claims, columns


def holder_of(claims: Claims, pfn: int) -> Holder:
    return claims.holders[claims.code[pfn]]


def slab(core: Kernel, pfn: int, cache: int, pages: int = 1) -> None:
    """A slab of a cache, with tails whose words are masks."""
    core.put(core.page(pfn) + 48, 4, 0xF5000000)
    core.put(core.page(pfn) + 8, 8, cache)
    if pages > 1:
        core.put(core.page(pfn), 8, HEAD)
    for tail in range(pfn + 1, pfn + pages):
        core.put(core.page(tail) + 8, 8, -64 * pages + 1)


@pytest.fixture
def kernel() -> Kernel:
    """A dentry cache, a slab of four pages in it and one that cannot be read, a page table, a free chunk, a folio."""
    core = Kernel()
    core.put(EXTRA + 16, 8, EXTRA + 64)
    core.text(EXTRA + 64, "dentry")
    slab(core, 1200, EXTRA, 4)
    slab(core, 1300, 0x1000)
    core.put(core.page(1301) + 48, 4, 0xF2000000)
    core.put(core.page(1302) + 48, 4, 0xF8000000)
    core.put(core.page(1303) + 8, 8, 0xDEAD_0000_0000_0040 | 5 << 7 | 1 << 1)
    core.free(3, 1, [2048])
    core.fill_pcp(0, 1, [1040])
    words(core, 1400, LRU)
    words(core, 0, RESERVED)
    return core


def test_struct_pages_name_caches_tables_types_and_pools(kernel: Kernel) -> None:
    claims, columns = named(kernel)
    claims.spread()
    dentry = Holder("slab", "dentry", ("another",))
    assert [holder_of(claims, pfn) for pfn in range(1200, 1204)] == [dentry] * 4
    assert holder_of(claims, 1204) == Holder(UNKNOWN, "")
    assert holder_of(claims, 1300) == Holder("slab", "of a cache that cannot be read")
    assert holder_of(claims, 1301).kind == "page table"
    assert holder_of(claims, 1302).kind == "large kmalloc"
    assert holder_of(claims, 1303).kind == "network page_pool"
    assert [claims.code[pfn] for pfn in (2048, 2055, 1040, 1400, 0)] == [FREE, FREE, FREE, MOVABLE, ABSENT]
    assert claims.code[2056] == 0
    assert 1201 not in columns.pfn.tolist()
    assert (claims.code >= 0).sum() == SPAN - 8 - 1 - 1 - 1


def test_per_cpu_chunks_and_files_off_their_lists_are_named(kernel: Kernel) -> None:
    lists, chunk = EXTRA + 256, EXTRA + 512
    kernel.put(EXTRA + 200, 8, lists)
    kernel.put(EXTRA + 208, 4, 2)
    kernel.names_ |= {"pcpu_chunk_lists": EXTRA + 200, "pcpu_nr_slots": EXTRA + 208}
    kernel.ring(lists, [])
    kernel.ring(lists + 16, [chunk + 8])
    kernel.put(kernel.page(1500) + 40, 8, chunk)
    kernel.put(kernel.page(1501) + 24, 8, HEAP)
    kernel.put(kernel.page(1502) + 24, 8, 4)
    claims, columns = named(kernel)
    claim_off_lru(columns, claims)
    assert holder_of(claims, 1500).kind == "per-CPU memory"
    assert holder_of(claims, 1501).kind == "file page"
    assert holder_of(claims, 1502).kind == UNKNOWN


FILES = EXTRA + 1024


def opened(core: Kernel, *inodes: tuple[int, int]) -> None:
    """A table of open files: addresses and modes of their inodes."""
    core.put(FILES + 8, 8, FILES + 64)
    core.put(FILES + 64, 4, 8)
    core.put(FILES + 72, 8, FILES + 128)
    for n, (inode, mode) in enumerate(inodes):
        core.put(FILES + 128 + 16 * n, 8, FILES + 256 + 64 * n)
        core.put(FILES + 256 + 64 * n + 24, 8, inode)
        core.put(inode, 2, mode)


def test_pipes_name_their_pages(kernel: Kernel) -> None:
    inode, pipe, bufs = (EXTRA + n for n in (2048, 2560, 3072))
    opened(kernel, (inode, 0o10600), (inode + 200, 0o100644))
    kernel.put(inode + 64, 8, pipe)
    kernel.put(inode + 200 + 64, 8, 0x1000)
    kernel.put(pipe + 8, 4, 4)
    kernel.put(pipe + 16, 8, kernel.page(1600))
    kernel.put(pipe + 32, 8, bufs)
    for slot, (pfn, ops) in enumerate([(1601, 1), (1602, 0), (1400, 1), (1200, 1)]):
        kernel.put(bufs + 40 * slot, 8, kernel.page(pfn))
        kernel.put(bufs + 40 * slot + 16, 8, ops)
    claims, _ = named(kernel)
    assert claim_open_files(kernel, claims, [FILES, FILES, 0, 0x1000]) == ()
    kinds = [holder_of(claims, pfn).kind for pfn in (1600, 1601, 1602, 1200)]
    assert kinds == ["pipe buffer", "pipe buffer", UNKNOWN, "slab"]
    assert claims.code[1400] == MOVABLE
    opened(kernel, (inode, 0o10600), (inode + 200, 0o10600))
    assert claim_open_files(kernel, claims, [FILES]) == ("1 open pipes or sockets could not be read.",)
    kernel.structs.pop("struct file")
    assert "not told" in claim_open_files(kernel, claims, [FILES])[0]


def test_sockets_name_the_pages_of_their_queues(kernel: Kernel) -> None:
    base, sock, first, second, data = (EXTRA + n for n in (2048, 4096, 4608, 4672, 5120))
    opened(kernel, (base + 16, 0o140777))
    kernel.put(base + 8, 8, sock)
    kernel.put(sock + 8, 8, EXTRA + 8192)
    kernel.text(EXTRA + 8192 + 24, "UNIX-STREAM")
    kernel.put(sock + 64, 8, kernel.page(1700))
    head = sock + 32
    kernel.put(head, 8, first)
    kernel.put(first, 8, head)
    for buffer, at in ((first, data), (second, data + 1024)):
        kernel.put(buffer + 16, 8, at)
        kernel.put(buffer + 24, 4, 256)
    kernel.put(data + 256 + 2, 1, 2)
    kernel.put(data + 256 + 8, 8, second)
    for n, pfn in enumerate((1701, 1702)):
        kernel.put(data + 256 + 16 + 16 * n, 8, kernel.page(pfn))
    kernel.put(data + 1024 + 256 + 2, 1, 1)
    kernel.put(data + 1024 + 256 + 16, 8, kernel.page(1703) | 1)
    claims, _ = named(kernel)
    assert claim_open_files(kernel, claims, [FILES]) == ()
    assert [holder_of(claims, pfn) for pfn in (1700, 1701, 1702)] == [
        Holder("socket buffer", "UNIX-STREAM")
    ] * 3
    assert holder_of(claims, 1703).kind == UNKNOWN  # not a page, but a network device's own memory


def extension(core: Kernel, pfn: int, size: int, values: dict[int, tuple[int, int]]) -> None:
    """Values (width and number by offset) in a page's entry of page_ext."""
    for at, (width, value) in values.items():
        core.put(EXT + pfn * size + at, width, value)


def test_page_owner_names_who_asked(kernel: Kernel) -> None:
    kernel.names_ |= {"page_owner_ops": EXTRA + 600, "page_ext_size": EXTRA + 640}
    kernel.put(EXTRA + 600, 8, 16)
    kernel.put(EXTRA + 640, 8, 80)
    for pfn, flags, handle in ((1800, 3, 7), (1801, 1, 7), (1802, 3, 8), (1803, 3, 9)):
        extension(kernel, pfn, 80, {0: (8, flags), 24: (4, handle)})
    claims, _ = named(kernel)
    stacks = {7: ["post_alloc_hook", "alloc_pages_noprof", "relay_open", "main"], 8: []}
    stacks[9] = [
        "register_early_stack",
        "init_page_owner",
    ]  # of a page that was there before page_owner began
    told = claim_by_owner(kernel, claims, lambda pfn: EXT, lambda h: stacks[h])
    assert told == ()
    assert holder_of(claims, 1800) == Holder("allocated by", "relay_open")
    assert [holder_of(claims, pfn).kind for pfn in (1801, 1802, 1803)] == [UNKNOWN] * 3
    kernel.put(EXTRA + 600, 8, 0)
    assert "page_owner=on" in claim_by_owner(kernel, claims, lambda pfn: 0, lambda h: [])[0]


def test_functions_without_a_symbol_are_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    depot = ModuleType("stackdepot")
    names = ["alloc_pages_noprof", "0xffffffffa0400040", "do_one_initcall"]
    depot.stack_depot_fetch = lambda handle: [SimpleNamespace(name=name) for name in names]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "drgn.helpers.linux.stackdepot", depot)
    core: Any = SimpleNamespace(
        drgn=SimpleNamespace(Object=lambda *words: words, FaultError=OSError), program=None
    )
    stack = holders_drgn._stack(core, 7)
    assert stack == ["alloc_pages_noprof", "a function without a symbol", "do_one_initcall"]
    assert allocator_frames.holder_of(stack) == "a function without a symbol"
    depot.stack_depot_fetch = lambda handle: None  # type: ignore[attr-defined]
    assert holders_drgn._stack(core, 8) == []


def tag(core: Kernel) -> int:
    """An allocation tag, the kernel's second."""
    at = EXTRA + 1200
    core.put(at + 48 + 4, 4, 42)
    core.put(at + 48 + 16, 8, at + 200)
    core.put(at + 48 + 24, 8, at + 240)
    core.text(at + 200, "ring_buffer_alloc")
    core.text(at + 240, "kernel/trace/ring_buffer.c")
    core.names_ |= {"kernel_tags": EXTRA + 700, "page_alloc_tagging_ops": EXTRA + 720}
    core.put(EXTRA + 700, 8, at)
    core.put(EXTRA + 708, 8, 3)
    return at + 48


def test_allocation_tags_name_the_line_beside_the_page_and_in_its_flags(kernel: Kernel) -> None:
    expected = Holder("allocated by", "kernel/trace/ring_buffer.c:42 ring_buffer_alloc")
    address = tag(kernel)
    kernel.names_["page_ext_size"] = EXTRA + 640
    kernel.put(EXTRA + 640, 8, 8)
    extension(kernel, 1800, 8, {0: (8, address)})
    extension(kernel, 1801, 8, {0: (8, 1)})
    claims, columns = named(kernel)
    assert claim_by_tags(kernel, columns, claims, lambda pfn: EXT) == ()
    assert holder_of(claims, 1800) == expected
    assert holder_of(claims, 1801).kind == UNKNOWN

    kernel.names_ |= {
        n: EXTRA + 800 + 8 * i for i, n in enumerate(("mem_profiling_compressed", "alloc_tag_ref_offs"))
    }
    kernel.names_["alloc_tag_ref_mask"] = EXTRA + 816
    kernel.put(EXTRA + 800, 4, 1)
    kernel.put(EXTRA + 808, 4, 40)
    kernel.put(EXTRA + 816, 8, 0xFF)
    kernel.put(kernel.page(1810), 8, 3 << 40)  # the second tag: 0 and 1 are none
    kernel.put(kernel.page(1811), 8, 1 << 40)
    claims, columns = named(kernel)
    assert claim_by_tags(kernel, columns, claims, lambda pfn: 0) == ()
    assert holder_of(claims, 1810) == expected
    assert [holder_of(claims, pfn).kind for pfn in (1800, 1811)] == [UNKNOWN] * 2


def test_tags_that_are_off_name_nobody(kernel: Kernel) -> None:
    address = tag(kernel)
    kernel.names_ |= {"page_ext_size": EXTRA + 640, "mem_alloc_profiling_key": EXTRA + 650}
    kernel.put(EXTRA + 640, 8, 8)
    extension(kernel, 1800, 8, {0: (8, address)})  # of whoever had the page while they were on
    for on in (0, 1):
        kernel.put(EXTRA + 650, 4, on)
        claims, columns = named(kernel)
        told = claim_by_tags(kernel, columns, claims, lambda pfn: EXT)
        assert (holder_of(claims, 1800).kind == UNKNOWN) == (not on)
        assert [line for line in told if "they are off here" in line] == list(told)
        assert len(told) == 1 - on


def test_the_first_name_stays_and_a_compound_page_has_one() -> None:
    flags = np.zeros(8, np.uint64)
    claims = Claims(flags, np.array([7]), np.array([2, 3]), np.array([1, 1]))
    a, b = Holder("a", ""), Holder("b", "")
    claims.claim(np.array([3, -1, 99]), a)
    claims.claim(np.array([1, 2, 4, 7]), b)
    assert claims.nameless().tolist() == [0, 5, 6]
    claims.spread()
    assert claims.code.tolist() == [0, 1, 1, 1, 2, 0, 0, FREE]
    assert claims.holders[1:] == [a, b]


def test_addresses_that_are_no_struct_page_are_no_pfn(kernel: Kernel) -> None:
    assert pfns_of(kernel, [kernel.page(5), kernel.page(5) + 1, 8]).tolist()[:2] == [5, -1]


def test_a_dump_without_struct_pages_is_refused() -> None:
    core = Kernel()
    core.memmap = bytearray()
    memory: Core = core
    with pytest.raises(KevacuateError, match="holds no struct pages: it was filtered"):
        _pages(memory, zone_readers(memory, geometry(memory)))


# -- /proc alone ----------------------------------------------------------------------------------------------


def test_flags_name_slabs_tables_and_huge_pages() -> None:
    slab_, table, huge, zero, mapped, lru, buddy, reserved, locked = (
        1 << n for n in (7, 26, 17, 24, 11, 5, 10, 32, 0)
    )
    asked = np.array([slab_, table, huge, zero, mapped, lru | mapped, buddy, reserved, locked, 0], np.uint64)
    assert classify(asked).tolist() == [0, 1, 2, 3, 4, MOVABLE, FREE, ABSENT, NAMELESS, NO_FLAG]
    compound = np.array([slab_ | 1 << 15, 1 << 16, 1 << 15, 1 << 16], np.uint64)
    assert classify(compound).tolist() == [0, 0, NAMELESS, NAMELESS]


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guest's /proc, with a memory cgroup that is charged for some pages."""
    for module in (holders_kpageflags, machine, snapshots):
        monkeypatch.setattr(module, "PROC", tmp_path)
    for name in ("slabinfo", "pagetypeinfo", "zoneinfo", "buddyinfo"):
        (tmp_path / name).write_bytes((GUEST / name).read_bytes())
    (tmp_path / "kpageflags").write_bytes(gzip.decompress((GUEST / "kpageflags.gz").read_bytes()))
    groups = tmp_path / "cgroup"
    (groups / "a/b").mkdir(parents=True)
    monkeypatch.setattr(holders_kpageflags, "CGROUPS", (tmp_path / "none", groups))
    return tmp_path


def test_a_guests_proc_names_slabs_tables_and_who_is_charged(proc: Path) -> None:
    flags = np.frombuffer((proc / "kpageflags").read_bytes(), "<u8")
    silent = np.flatnonzero(classify(flags) == NO_FLAG)[-5:]
    charged = np.zeros(len(flags), np.uint64)
    charged[silent[:3]] = (proc / "cgroup/a/b").stat().st_ino
    charged[silent[3]] = 1
    charged[np.flatnonzero(classify(flags) == MOVABLE)] = 1
    (proc / "kpagecgroup").write_bytes(charged.tobytes())
    pages = read_kpageflags()
    found = find_holders(pages)
    rows = {row.holder: row for row in found.rows}
    assert rows[BY_FLAG[0][1]].pages == int(flag(tails_as_heads(flags), KPF_SLAB).sum())
    assert rows[Holder(UNKNOWN, "charged to cgroup /a/b")].pages == 3
    assert rows[Holder(UNKNOWN, "charged to cgroup of inode 1")].pages == 1
    assert found.rows[0].holder == BY_FLAG[0][1]
    assert pages.caches["dentry"] == parse_slabinfo((GUEST / "slabinfo").read_text())["dentry"][2]
    assert any("free on per-CPU lists" in line for line in pages.not_told)
    assert pages.types == "estimated"


def with_hole(proc: Path) -> None:
    """Blocks 100 to 109 of the guest show no flag and are none, by /proc/pagetypeinfo."""
    flags = np.frombuffer((proc / "kpageflags").read_bytes(), "<u8").copy()
    flags[100 << 9 : 110 << 9] = 0
    (proc / "kpageflags").write_bytes(flags.tobytes())
    (proc / "pagetypeinfo").write_text((proc / "pagetypeinfo").read_text().replace(" 314 ", " 304 "))


def test_a_hole_takes_no_block_its_type(proc: Path) -> None:
    with_hole(proc)
    pages = read_kpageflags()
    types = pages.block_types
    assert (types[100:110] == -1).all()
    assert [int((types[8:] == kind).sum()) for kind in (0, 2)] == [22, 40]


@pytest.mark.parametrize("hole", [False, True])
def test_a_sweep_of_watch_finds_the_same_holders(proc: Path, hole: bool) -> None:
    if hole:
        with_hole(proc)
    zones = holders_kpageflags._zones()
    pages = read_kpageflags()
    said = find_holders(pages)
    sweep = FlagSweep(machine_blocks((proc / "zoneinfo").read_text(), 9), 9, proc / "kpageflags")
    with closing(sweep):
        sweep.sweep(float("inf"))
        held = sweep.held(tuple(zones))
    assert held.rows == said.rows
    assert held.blocks == said.blocks
    assert held.held.tolist() == said.held.tolist()
    assert held.blocks["held"] == (23 if hole else 33)
    if not hole:
        assert held_words(held) == "held 33 by: slab 27, unknown kernel page 6", "docs/watch.md says so"


def test_a_page_that_came_into_use_meanwhile_is_not_charged_as_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "flags").write_bytes(np.array([0, 1 << 5, 0, 0], "<u8").tobytes())
    (tmp_path / "cgroups").write_bytes(np.array([7, 7, 0, 8], "<u8").tobytes())
    before = classify(np.zeros(4, np.uint64))
    files = [os.open(tmp_path / name, os.O_RDONLY) for name in ("flags", "cgroups")]
    try:
        found = list(holders_kpageflags._charges(*files, 0, before))
    finally:
        for file in files:
            os.close(file)
    assert [(part.pfn.tolist(), part.inode.tolist()) for part in found] == [([0, 3], [7, 8])]


def test_without_kpageflags_it_is_said(proc: Path) -> None:
    (proc / "kpageflags").unlink()
    with pytest.raises(
        KevacuateError, match=r"^There is no \S*/kpageflags: .*CONFIG_PROC_PAGE_MONITOR.*container"
    ):
        read_kpageflags()


@pytest.mark.parametrize(("user", "todo"), [(0, "run it on the host"), (1000, "run it with sudo")])
def test_who_may_not_read_page_flags_is_told_what_to_do(
    user: int, todo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    said = str(page_flags_unread(tmp_path, PermissionError(1, "Operation not permitted")))
    assert said.startswith(f"{tmp_path} cannot be read (Operation not permitted): {todo}")
    with pytest.raises(KevacuateError, match=rf"^There is no {tmp_path}/kpageflags: "):
        FlagSweep(np.arange(1), 9, tmp_path / "kpageflags")


def test_nothing_is_left_behind(proc: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in proc.rglob("*"))
    files = len(os.listdir("/proc/self/fd"))
    read_kpageflags()
    assert sorted((path, path.stat().st_mtime_ns) for path in proc.rglob("*")) == before
    assert len(os.listdir("/proc/self/fd")) == files


# -- the guest, by drgn ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guest() -> HeldPages:
    """What drgn read of the guest's dump."""
    with np.load(GUEST / "pages.npz", allow_pickle=False) as kept:
        code, types = kept["code"].astype(np.int32), kept["block_types"]
    holders = [
        Holder(kind, name, tuple(also))
        for kind, name, also in json.loads((GUEST / "holders.json").read_text())
    ]
    return HeldPages(code, tuple(holders), types, 9, "vmcore", "vmcore", "7.2.13", "read")


def test_the_planted_holder_is_ranked_first(guest: HeldPages) -> None:
    found = find_holders(guest)
    first, second = found.rows[:2]
    assert (first.holder.kind, first.holder.name) == ("slab", "dentry")
    assert (first.blocks, first.alone, first.pages) == (38, 37, 2117)
    assert second.otherwise * 30 < first.otherwise
    assert found.blocks["held"] == 39


def test_its_pages_are_as_many_as_its_slabinfo_says(guest: HeldPages) -> None:
    counts = np.bincount(guest.code[guest.code >= 0], minlength=len(guest.holders))
    mine = {h.name: int(n) for h, n in zip(guest.holders, counts, strict=True) if h.kind == "slab"}
    said = {name: pages for name, (_, _, pages) in parse_slabinfo((GUEST / "slabinfo").read_text()).items()}
    apart = {name: (mine.get(name, 0), pages) for name, pages in said.items() if mine.get(name, 0) != pages}
    assert sum(abs(a - b) for a, b in apart.values()) <= 16, apart
    assert mine["dentry"] == said["dentry"] == 2117


def test_its_slabs_and_tables_are_those_of_its_kpageflags(guest: HeldPages) -> None:
    flags = np.frombuffer(gzip.decompress((GUEST / "kpageflags.gz").read_bytes()), "<u8")
    flags = tails_as_heads(flags)[: len(guest.code)]
    kinds = np.array([*(h.kind for h in guest.holders), "", "", ""])[guest.code]
    assert (flag(flags, KPF_SLAB) != (kinds == "slab")).sum() <= 16
    assert (flag(flags, KPF_PGTABLE) & (kinds != "page table")).sum() <= 16


# -- refusals -------------------------------------------------------------------------------------------------


def test_sources_and_shares_that_make_no_sense_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(KevacuateError, match="each name a source: give one"):
        kevacuate.holders(tmp_path / "a", qemu="b")
    with pytest.raises(KevacuateError, match="from 0 to 1: 2 is not"):
        kevacuate.holders(nearly_empty=2)
    with pytest.raises(KevacuateError, match="vmlinux is of use"):
        kevacuate.holders(vmlinux=tmp_path / "a")
    monkeypatch.setitem(sys.modules, "drgn", None)
    with pytest.raises(KevacuateError, match=r"pip install 'kevacuate\[drgn\]'"):
        kevacuate.holders(qemu="no-such-socket")


def test_a_guest_that_does_not_answer_is_said(tmp_path: Path) -> None:
    pytest.importorskip("drgn", minversion="0.3.0")
    with pytest.raises(KevacuateError, match=r"QEMU guest at .* cannot be read .*-qmp unix:SOCKET"):
        kevacuate.holders(qemu=str(tmp_path / "no-such-socket"))
