# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of page_owner of many versions: facts of public reports, each value worked out by hand; task names are made up."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kevacuate.kernelfiles.allocator_frames import NOT_KEPT, NOT_TOLD, holder_of, is_early
from kevacuate.kernelfiles.page_owner import Tally, frames, records
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files import page_owner, page_owner_stacks
from kevacuate.reports.triage.files import page_owner as page_owner_words
from kevacuate.reports.triage.files import page_owner_stacks as stacks_words

ALLOC = " post_alloc_hook+0x77/0xf0\n get_page_from_freelist+0x58d/0x14e0\n __alloc_pages+0x1b2/0x380\n"


def record(
    pfn: int, order: int, kind: str, block: str, stack: str, task: str = "worker", pid: int = 7, pbo: int = 9
) -> str:
    """A record as Linux 6.8 to 7.2 print it."""
    mask = {
        "Movable": "0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP)",
        "Reclaimable": "0xd0(__GFP_RECLAIMABLE)",
    }.get(kind, "0xcc0(GFP_KERNEL)")
    return (
        f"Page allocated via order {order}, mask {mask}, pid {pid}, tgid {pid} ({task}), ts 1000 ns\n"
        f"PFN 0x{pfn:x} type {kind} Block {pfn >> pbo} type {block} Flags 0x17ffffc0000000(node=0|zone=2)\n{stack}\n"
    )


def answer_of(tmp_path: Path, text: str) -> dict[str, Any]:
    """The answer that a file of that text gives; its words and tables are made, too."""
    path = tmp_path / "page_owner"
    path.write_text(text)
    assert page_owner.__name__ == "kevacuate.observe.files.page_owner"
    found = page_owner.answer([TextFile(path)])
    assert page_owner_words.words(found)
    with Console(quiet=True) as console:
        for table in page_owner_words.tables(found):
            console.print(table)
    dump: dict[str, Any] = found["dumps"][0]
    return dump


def test_blocks_are_counted_once_a_stack(tmp_path: Path) -> None:
    """Six records: A in blocks 1 and 2 (three pages, one of them order 1), B in block 2; movable ones pollute nothing."""
    a, b = ALLOC + " pipe_write+0x1/0x2\n", ALLOC + " sock_alloc_send_pskb+0x1/0x2\n"
    text = (
        record(512, 0, "Unmovable", "Movable", a, "one")
        + record(514, 1, "Unmovable", "Movable", a, "two")
        + record(1030, 0, "Unmovable", "Movable", a, "one")
        + record(1040, 3, "Reclaimable", "Movable", b, "two")
        + record(1536, 0, "Movable", "Movable", b)
        + record(2048, 0, "Unmovable", "Unmovable", b)
    )
    dump = answer_of(tmp_path, text)
    assert dump["pageblock_order"] == 9
    assert dump["blocks"] == {"movable": 3, "unmovable": 1}
    assert dump["pages_by_type"] == {
        "unmovable": {"unmovable": 1}, "movable": {"unmovable": 4, "movable": 1, "reclaimable": 8}
    }  # fmt: skip
    assert dump["polluted_blocks"] == 2
    assert dump["pages_that_cannot_move"] == 1 + 2 + 1 + 8
    rows = [
        (row["holder"], row["blocks"], row["alone"], row["pages"], row["allocations"])
        for row in dump["holders"]
    ]
    assert rows == [("pipe_write", 2, 1, 4, 3), ("sock_alloc_send_pskb", 1, 0, 8, 1)]
    assert [(row["holder"], row["blocks"], row["alone"]) for row in dump["stacks"]] == [
        row[:3] for row in rows
    ]
    assert dump["stacks"][0]["orders"] == {"0": 2, "1": 1}
    tasks = [
        (row["task"], row["blocks"], row["alone"], row["pages"], row["processes"]) for row in dump["tasks"]
    ]
    assert tasks == [("two", 2, 0, 10, 1), ("one", 2, 0, 2, 1)]


def test_equal_functions_of_two_stacks_are_one_holder(tmp_path: Path) -> None:
    """Two stacks reach pipe_write by two ways: two rows by stack, one by holder whose block counts once."""
    one, two = (ALLOC + f" pipe_write+0x1/0x2\n {name}+0x5/0x9\n" for name in ("vfs_write", "splice"))
    dump = answer_of(
        tmp_path, record(512, 0, "Unmovable", "Movable", one) + record(513, 0, "Unmovable", "Movable", two)
    )
    assert [(row["blocks"], row["alone"]) for row in dump["stacks"]] == [(1, 0), (1, 0)]
    assert [(row["holder"], row["blocks"], row["alone"], row["pages"]) for row in dump["holders"]] == [
        ("pipe_write", 1, 1, 2)
    ]


def test_shuffled_records_give_the_same_answer(tmp_path: Path) -> None:
    draw = random.Random(1)
    made = [
        record(
            512 * draw.randrange(1, 40) + draw.randrange(512), 0, draw.choice(("Unmovable", "Movable", "Reclaimable")),
            draw.choice(("Movable", "Unmovable")), ALLOC + f" h_{draw.randrange(9)}+0x1/0x2\n", f"task{draw.randrange(5)}",
        )
        for _ in range(500)
    ]  # fmt: skip
    first = answer_of(tmp_path, "".join(made))
    draw.shuffle(made)
    assert answer_of(tmp_path, "".join(made)) == first
    assert first["polluted_blocks"] > 10


def test_an_allocation_above_pageblock_order_covers_several_blocks(tmp_path: Path) -> None:
    stack = ALLOC + " alloc_large_system_hash+0x1/0x2\n"
    dump = answer_of(
        tmp_path,
        record(512, 0, "Movable", "Movable", stack) + record(1024, 10, "Unmovable", "Movable", stack),
    )
    assert dump["blocks"] == {"movable": 3}
    assert (dump["polluted_blocks"], dump["pages_that_cannot_move"]) == (2, 1024)


def test_linux_5_11_slab_and_early_pages(tmp_path: Path) -> None:
    """A report of 5.11: PFN 1024 in block 2, PFN 4096 in block 8 (order 9); flags 0 and register_early_stack mean early."""
    text = (
        "Page allocated via order 2, mask "
        "0xd20c1(GFP_DMA|__GFP_IO|__GFP_FS|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP|__GFP_NOMEMALLOC), "
        "pid 62, ts 121463164 ns\nPFN 1024 type Unmovable Block 2 type Unmovable Flags 0x10200(slab|head)\n"
        " prep_new_page+0xcf/0xf0\n allocate_slab+0x24f/0x2f0\n sr_probe+0x213/0x5e0\n\n"
        "Page allocated via order 0, mask 0x0(), pid 1, ts 285099088 ns\n"
        "PFN 4096 type Unmovable Block 8 type Movable Flags 0x100000000000000()\n"
        " register_early_stack+0x23/0x60\n init_page_owner+0x27/0x190\n\n"
    )
    dump = answer_of(tmp_path, text)
    assert (dump["records"], dump["pages"], dump["pageblock_order"]) == (2, 5, 9)
    assert dump["early"] == {"blocks": 1, "pages": 1}
    assert dump["polluted_blocks"] == 1, "the kernel counts early pages as unmovable ones"
    assert dump["stacks"] == [], "nobody knows who allocated early pages"
    assert dump["holders"] == []


def test_pageblocks_of_order_10_in_a_wrapped_mail(tmp_path: Path) -> None:
    """A report whose mail broke the first line: 543776 >> 10 is 531, so pageblocks have order 10."""
    text = (
        "> Page allocated via order 2, mask 0x6202c0(GFP_USER|__GFP_NOWARN), pid 1006, ts\n"
        "> 67278156558 ns\n"
        "> PFN 543776 type Unmovable Block 531 type Movable Flags 0x0()\n"
        ">  vendor_pool_grow+0x28/0x2f8\n>  start_kernel+0x33c/0x5d8\n>    (null)\n> \n"
    )
    dump = answer_of(tmp_path, text)
    assert (dump["pageblock_order"], dump["malformed"], dump["polluted_blocks"]) == (10, 0, 1)
    assert dump["stacks"][0]["stack"] == ["vendor_pool_grow", "start_kernel"]
    assert dump["tasks"][0]["task"] == "process 1006"


def test_unmovable_pages_in_cma_are_named_as_a_fault(tmp_path: Path) -> None:
    """A report of 6.12: an unmovable allocation of order 9 in CMA block 4585 (0x23d200 >> 9)."""
    text = (
        "> Page allocated via order 9, mask 0x52dc0(GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP|__GFP_ZERO), pid 1, "
        "tgid 1 (init), "
        "ts 1065952310 ns\n> PFN 0x23d200 type Unmovable Block 4585 type CMA Flags 0x4000000000000040(head|zone=1|kasantag=0x0)\n"
        ">   post_alloc_hook+0x228/0x230\n>   __kvmalloc_node_noprof+0xd8/0x18c\n>   nf_ct_alloc_hashtable+0x64/0x108\n"
    )
    path = tmp_path / "mail"
    path.write_text(text)
    found = page_owner.answer([TextFile(path)])
    assert found["dumps"][0]["cma"] == {"blocks": 1, "pages": 512}
    assert found["dumps"][0]["pageblock_order"] == 9
    assert found["dumps"][0]["polluted_blocks"] == 0
    assert [piece["source"] for piece in found["advice"]] == ["include/linux/mmzone.h, MIGRATE_CMA"]
    assert "512 pages" in found["advice"][0]["evidence"]


def test_other_layouts_of_public_reports(tmp_path: Path) -> None:
    """A 33-bit page frame (x86 with 28 TiB), a movable page in CMA with an address before each function, and a line put in
    between.
    """
    text = (
        "Page allocated via order 0, mask 0x6280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)\n"
        "PFN 7532909325 type Movable Block 14712713 type Movable Flags 0xdfffffc0040048(uptodate|active|swapbacked)\n"
        " __alloc_pages_nodemask+0xfc/0x270\n alloc_pages_vma+0x7c/0x1e0\n handle_pte_fault+0x399/0xe50\n\n"
        "Page allocated via order 0, mask 0x12cc0(GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY), pid 1, tgid 1 (task) with) "
        "marks), ts 340615384 ns\n"
        "SLAB_PAGE slab_name:kmalloc-32\n"
        "PFN 0x4be0 type Unmovable Block 37 type Movable Flags 0x1fffc0000000800(slab|node=0|zone=1|lastcpupid=0x3fff)\n"
        " post_alloc_hook+0x77/0xf0\n allocate_slab+0x31f/0x410\n iommu_setup_dma_ops+0x299/0x470\nSlab cache page\n"
        "Charged (via objcg) to offline memcg group.slice\n\n"
    )
    dump = answer_of(tmp_path, text)
    assert (dump["pageblock_order"], dump["inconsistent"], dump["malformed"]) == (9, 0, 0)
    row = dump["holders"][0]
    assert (row["holder"], row["blocks"], row["pages"], row["slab"]) == ("iommu_setup_dma_ops", 1, 1, True)
    assert dump["tasks"][0]["task"] == "task) with) marks"
    other = answer_of(
        tmp_path,
        "Page allocated via order 0, mask 0x8(ffffff80085fb714)\nPFN 654411 type Movable Block 639 type CMA Flags "
        "0x0(ffffffbe5c7f12c0)\n"
        "[<ffffff9b64989c14>] post_alloc_hook+0x70/0x80\n[<ffffff9b651216e8>] msm_comm_try_state+0x5f8/0x14f4\n",
    )
    assert (other["pageblock_order"], other["pages_by_type"]) == (10, {"cma": {"movable": 1}})


@pytest.mark.parametrize(("movable", "reclaimable", "bit"), [(2, 1, "0x80000"), (1, 2, "0x10")])
def test_numbers_before_4_6_are_settled_by_a_movable_page(
    tmp_path: Path, movable: int, reclaimable: int, bit: str
) -> None:
    """3.19 to 4.3 number reclaimable 1 and movable 2, 4.4 and 4.5 the other way; __GFP_RECLAIMABLE went from bit 19 to bit 4."""
    text = (
        f"Page allocated via order 0, mask 0x200\nPFN 1030 Block 2 type {movable} Fallback Flags                  \n"
        " [<ffffffff811682c4>] __alloc_pages_nodemask+0x134/0x230\n [<ffffffff811b4058>] pte_alloc_one+0x88/0x120\n\n"
        f"Page allocated via order 1, mask {bit}\nPFN 1032 Block 2 type {movable} Fallback Flags      A           \n"
        " [<ffffffff811682c4>] new_slab+0x134/0x230\n [<ffffffff811b4059>] d_alloc+0x88/0x120\n\n"
        f"Page allocated via order 0, mask 0x200da\nPFN 2048 Block 4 type {movable}          Flags    UDLA         \n"
        " [<ffffffff811682c4>] __alloc_pages_nodemask+0x134/0x230\n [<ffffffff811b4058>] handle_mm_fault+0x88/0x120\n\n"
        f"Page allocated via order 0, mask 0x200\nPFN 4096 Block 8 type {reclaimable} Fallback Flags                  \n"
        " [<ffffffff811682c4>] __alloc_pages_nodemask+0x134/0x230\n [<ffffffff811b4058>] pte_alloc_one+0x88/0x120\n\n"
    )
    dump = answer_of(tmp_path, text)
    assert dump["migratetypes"] == "proven"
    assert dump["pages_by_type"] == {
        "movable": {"unmovable": 1, "movable": 1, "reclaimable": 2}, "reclaimable": {"unmovable": 1}
    }  # fmt: skip
    assert (dump["polluted_blocks"], dump["blocks"]) == (1, {"movable": 2, "reclaimable": 1})
    assert [(row["holder"], row["pages"]) for row in dump["holders"]] == [
        ("d_alloc", 2),
        ("pte_alloc_one", 1),
    ]


def test_sorted_output_counts_pages_without_blocks(tmp_path: Path) -> None:
    """page_owner_sort since 5.17 and before: times 3 and 2 of order 1 are 6 and 4 pages."""
    stack = " new_slab+0x1/0x2\n nfs_inode_alloc+0x9/0x20\n"
    head = "Page allocated via order 1, mask 0xcc0(GFP_KERNEL), pid 9, tgid 9 (mounter), ts 5 ns\n"
    dump = answer_of(
        tmp_path, f"3 times, 6 pages, allocated by SLAB :\n{head}{stack}\n2 times:\n{head}{stack}\n"
    )
    assert (dump["placed"], dump["records"], dump["pages"], dump["polluted_blocks"]) == (False, 5, 10, 0)
    row = dump["holders"][0]
    assert (row["holder"], row["allocations"], row["pages"], row["tasks"]) == (
        "nfs_inode_alloc",
        5,
        10,
        ["mounter"],
    )
    culled = answer_of(
        tmp_path,
        f"7 times, 56 pages, PID 5, TGID 5, task_comm_name: many words, allocated by SLAB :\n{stack}\n",
    )
    assert (culled["pages"], culled["holders"][0]["tasks"]) == (56, ["many words"])


def test_numbers_that_no_machine_has_are_counted_as_broken(tmp_path: Path) -> None:
    """2**40 pages of 4 KiB are 4 PiB: a physical address of 52 bits reaches no further."""
    head = "Page allocated via order 16, mask 0xcc0(GFP_KERNEL), pid 9, tgid 9 (sh), ts 5 ns\n f+0x1/0x2\n\n"
    many, most = f"{10**18 - 1} times:\n{head}", f"5 times, {2**40} pages:\n{head}"
    dump = answer_of(tmp_path, f"{2**24 - 1} times:\n{head}" + many * 20 + most)
    assert (dump["malformed"], dump["records"], dump["pages"]) == (21, 2**24 - 1, (2**24 - 1) << 16)


def test_broken_records_are_counted(tmp_path: Path) -> None:
    good = record(512, 0, "Unmovable", "Movable", ALLOC + " f+0x1/0x2\n")
    headless = (
        "Page allocated via order 0, mask 0xcc0(GFP_KERNEL), pid 1, tgid 1 (x), ts 1 ns\n f+0x1/0x2\n\n"
    )
    huge = good.replace("order 0", "order 99")
    far = good.replace("PFN 0x200", "PFN 0xfffffffffff")
    other_block = good.replace("Block 1", "Block 77")
    nobody = good.replace("type Unmovable", "type Sideways")
    dump = answer_of(
        tmp_path, good + headless + huge + far + nobody + other_block.replace("0x200", "0x9a00") + other_block
    )
    assert dump["malformed"] == 4
    assert (dump["records"], dump["inconsistent"]) == (3, 1), "0x9a00 >> 9 is 77, 0x200 >> 9 is not"
    assert dump["polluted_blocks"] == 2


def test_what_does_not_fit_is_counted_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_owner, "MOST_KEYS", 2)
    monkeypatch.setattr(page_owner, "MOST_PAIRS", 3)
    monkeypatch.setattr(page_owner, "BUFFERED", 1)
    text = "".join(
        record(512 * i, 0, "Unmovable", "Movable", ALLOC + f" f{i}+0x1/0x2\n") for i in range(1, 7)
    )
    dump = answer_of(tmp_path, text)
    assert dump["records"] == 6
    assert (dump["stacks_in_all"], dump["pages_not_ranked"]) == (2, 4)
    assert dump["pairs_left_out"] > 0


def test_holders() -> None:
    assert (
        holder_of(["post_alloc_hook", "__alloc_frozen_pages_noprof", "alloc_pages_mpol", "anon_pipe_write"])
        == "anon_pipe_write"
    )
    assert (
        holder_of(["allocate_slab", "___slab_alloc", "kmem_cache_alloc_noprof", "sk_prot_alloc"])
        == "sk_prot_alloc"
    )
    assert holder_of(["__vmalloc_node_range", "vmalloc", "bpf_prog_alloc"]) == "bpf_prog_alloc"
    assert (
        holder_of(["__alloc_pages", "new_slab.part.0", "__alloc_tagging_slab_alloc_hook", "d_alloc.isra.0"])
        == "d_alloc"
    )
    assert holder_of(["get_page_from_freelist"]) == NOT_TOLD
    assert holder_of([]) == holder_of(["register_failure_stack", "init_page_owner"]) == NOT_KEPT
    assert is_early(["register_early_stack"])
    assert is_early(["create_dummy_stack", "register_early_stack"])
    assert not is_early(["start_kernel"])
    end = b" [<ffffffffffffffff>] 0xffffffffffffffff"
    given = b" [<ffffffff811682c4>] a_b+0x1/0x2\n  c.constprop.0+0x9/0x20 [ext4]\n" + end
    assert frames(given) == ("a_b", "c.constprop.0")


def test_records_stream(tmp_path: Path) -> None:
    """Each record is given out before the next is read."""
    path = tmp_path / "x"
    path.write_text(record(512, 0, "Unmovable", "Movable", ALLOC) * 3)
    tally = Tally()
    given = records(TextFile(path), tally)
    assert next(given).pfn == 512
    assert sum(1 for _ in given) == 2
    assert tally.malformed == 0


@pytest.mark.parametrize(("line", "unit"), [("nr_base_pages", "base pages"), ("stack_count", "allocations")])
def test_show_stacks(tmp_path: Path, line: str, unit: str) -> None:
    """The kernel's documentation: 16 base pages of sockets, 20,824 of the page cache; 47 early ones of a report."""
    path = tmp_path / "show_stacks"
    path.write_text(
        f" post_alloc_hook+0x177/0x1a0\n allocate_slab+0xbc/0x3f0\n ___slab_alloc+0x528/0x8a0\n kmem_cache_alloc+0x224/0x3b0\n"
        f" sk_prot_alloc+0x58/0x1a0\n sk_alloc+0x32/0x4f0\n{line}: 16\n\n"
        f" post_alloc_hook+0x177/0x1a0\n alloc_pages_mpol+0x22e/0x490\n folio_alloc+0xd5/0x110\n filemap_alloc_folio+0x78/0x230\n"
        f"handle: 42\n{line}: 20824\n\n register_early_stack+0x32/0x70\n init_page_owner+0x29/0x2f0\n{line}: 47\n\n"
    )
    found = page_owner_stacks.answer([TextFile(path)])
    copy = found["copies"][0]
    assert (copy["unit"], copy["count"], copy["early"], copy["stacks_in_all"]) == (unit, 20887, 47, 2)
    assert copy["holders"] == [
        {"holder": "filemap_alloc_folio", "count": 20824},
        {"holder": "sk_prot_alloc", "count": 16},
    ]
    assert "filemap_alloc_folio holds most" in stacks_words.words(found)
    assert len(stacks_words.tables(found)) == 1
    assert len(found["advice"]) == 1


@pytest.mark.parametrize(
    ("polluted", "movable", "pieces"), [(15, 15, 0), (16, 16, 2), (16, 1600, 2), (16, 1601, 0), (0, 0, 0)]
)
def test_few_polluted_blocks_are_no_reason_for_advice(polluted: int, movable: int, pieces: int) -> None:
    holder = {
        "holder": "sk_alloc",
        "tasks": ["sh"],
        "blocks": polluted,
        "pages": 9,
        "alone": 0,
        "types": {"unmovable": 9},
    }
    dump = {
        "cma": {"pages": 0},
        "polluted_blocks": polluted,
        "blocks": {"movable": movable},
        "holders": [holder],
    }
    assert len(page_owner._advice(dump)) == pieces


def test_a_task_stands_for_a_holder_that_is_not_told() -> None:
    """The counts are the holder's; which of them are the task's is not told, and so not said."""
    top = {"holder": NOT_TOLD, "tasks": ["bash", "cat"], "blocks": 3, "alone": 1, "pages": 4, "types": {}}
    first, second = page_owner._against(top, 5, 9)
    assert first["do"] == "Look first at what allocates in the task bash."
    assert first["evidence"] == (
        "Pages whose holder is not told lie in 3 of 5 polluted movable pageblocks, and the task bash allocated most of them. "
        "1 of these blocks has no other holder."
    )
    assert second["evidence"].startswith("5 of 9 movable pageblocks with allocated pages hold ")
