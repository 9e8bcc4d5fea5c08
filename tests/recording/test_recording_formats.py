# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pytest
from recording_reference import FREE_FORMAT, RAW_1CPU

from kevacuate.errors import KevacuateError
from kevacuate.recording.formats import gfp_bits, gfp_table, load_formats, parse_format, zone_names
from kevacuate.recording.schema import GFP_BITS


def test_parse_format_reads_fields() -> None:
    event = parse_format(FREE_FORMAT, "kmem")
    assert (event.name, event.id, event.system) == ("mm_page_free", 266, "kmem")
    pfn, pid = event.field("pfn"), event.field("common_pid")
    assert pfn is not None
    assert pid is not None
    assert (pfn.offset, pfn.size, pfn.signed) == (8, 8, False)
    assert (pid.offset, pid.size, pid.signed) == (4, 4, True)
    assert event.size == 20
    assert event.field("nothing") is None


def test_parse_format_reads_arrays_and_pointers() -> None:
    text = "name: x\nID: 3\nformat:\n\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n"
    text += "\tfield:const void * ptr;\toffset:24;\tsize:8;\tsigned:0;\n"
    event = parse_format(text)
    assert [f.name for f in event.fields] == ["comm", "ptr"]


@pytest.mark.parametrize("text", ["", "name: x\n", "name: x\nID: 99999\nfield:int a;\toffset:0;\tsize:4;\n"])
def test_parse_format_refuses_other_files(text: str) -> None:
    with pytest.raises(KevacuateError, match="not a tracefs format file"):
        parse_format(text)


def test_gfp_bits_of_recorded_kernel_are_those_of_72() -> None:
    formats = load_formats(RAW_1CPU / "formats")
    bits = gfp_bits(next(e for e in formats.values() if e.name == "mm_page_alloc"))
    assert {k: v for k, v in bits.items() if k in GFP_BITS} == GFP_BITS


def test_gfp_bits_in_hex_and_moved() -> None:
    text = FREE_FORMAT.replace(
        "print fmt:",
        'print fmt: __print_flags(REC->f, "|", {(unsigned long)((( gfp_t)(0x400u|0x800u)) | (( gfp_t)0x40u)),'
        ' "GFP_NOFS"}, {(unsigned long)(( gfp_t)(0x400u|0x800u)), "__GFP_RECLAIM"}, {(unsigned long)'
        '(( gfp_t)0x100000u), "__GFP_ACCOUNT"}, {(unsigned long)(( gfp_t)0x8u), "__GFP_MOVABLE"})',
    )
    bits = gfp_bits(parse_format(text))
    zones = {"__GFP_DMA": 0, "__GFP_HIGHMEM": 1, "__GFP_DMA32": 2}
    assert bits == {"__GFP_ACCOUNT": 20, "__GFP_MOVABLE": 3} | zones
    table = gfp_table(bits)
    assert table[20] == 1 << 22
    assert table[:4].tolist() == [1, 2, 4, 8]
    assert (np.delete(table, [0, 1, 2, 3, 20]) == 0).all()


def test_zone_names_from_print_fmt() -> None:
    text = FREE_FORMAT + '__print_symbolic(REC->idx, {0, "DMA"}, {1, "DMA32"}, {2, "Normal"})'
    assert zone_names({1: parse_format(text)}) == ("DMA", "DMA32", "Normal")
    assert zone_names({1: parse_format(FREE_FORMAT)}) == ()
