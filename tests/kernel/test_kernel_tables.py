# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of the kernel's numbers, against what check_versions.py read out of real kernels' headers."""

import json
from pathlib import Path

import pytest

from kevacuate.kernel import compaction, gfp, migratetypes
from kevacuate.kernel.versions import parse_version
from kevacuate.recording.gfptext import gfp_text

FACTS = json.loads((Path(__file__).parent / "facts.json").read_text())


@pytest.mark.parametrize("release", FACTS)
def test_numbers_of_a_real_kernel(release: str) -> None:
    version, facts = parse_version(release), FACTS[release]
    assert list(migratetypes.names(version) or ()) == facts["migratetypes"]
    if facts["compaction"]:
        assert list(compaction.results(version) or ()) == facts["compaction"]
    bits = gfp.bits(version)
    assert bits is not None
    known = {
        n: b
        for n, b in facts["gfp"].items()
        if gfp.RENAMED.get(n, n) in gfp.GFP_BITS or n in (gfp.WAIT, gfp.NO_KSWAPD)
    }
    assert {n: bits.get(n) for n in known} == known
    assert all(facts["gfp"].get(n, b) == b for n, b in bits.items())


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("3.10.0-693.el7.x86_64", (3, 10)), ("2.6.39.4", (2, 6, 39)), ("v6.9-rc7", (6, 9)), ("Linux 5.4.0", (5, 4)),
        ("7.2.13", (7, 2)), ("6.18.44-fc-v782", (6, 18)), ("2.4.37", None), ("2.6", None), ("", None), ("gki", None),
    ],
)  # fmt: skip
def test_release_strings(release: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(release) == version


@pytest.mark.parametrize(
    ("release", "flags", "text"),
    [
        ("3.10", 0x2040D0, "GFP_KERNEL|__GFP_COMP"),
        ("3.10", 0x20, "GFP_ATOMIC"),
        ("3.10", 0x4742CA & ~0x10 | 0x400010, None),
        ("4.9", 0x24280CA, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO"),
        ("4.9", 0x27080C0, "GFP_KERNEL_ACCOUNT|__GFP_ZERO"),
        ("4.9", 0x2284220, "GFP_ATOMIC|__GFP_NOWARN|__GFP_COMP"),
        ("4.9", 0x4742CA, "GFP_TRANSHUGE|__GFP_THISNODE"),
        ("4.19", 0x6280CA, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO"),
        ("6.13", 0x52C50, "GFP_NOFS|__GFP_RECLAIMABLE|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP"),
    ],
)
def test_flags_as_numbers(release: str, flags: int, text: str | None) -> None:
    bits = gfp.bits(parse_version(release))
    assert bits is not None
    stored = gfp.conversion(bits).convert(flags)
    if text is None:  # until 4.3, kswapd is woken unless __GFP_NO_KSWAPD says not to
        assert not stored & 1 << gfp.GFP_BITS["__GFP_KSWAPD_RECLAIM"]
        return
    assert gfp_text(stored) == text


def test_what_is_not_known_is_none() -> None:
    assert migratetypes.names((2, 6, 32)) is None
    assert migratetypes.table(None) is None
    assert gfp.bits((5, 1)) is None
    assert compaction.results((3, 18)) is None
    assert gfp.composed("GFP_NOWAIT", (6, 7)) is None


def test_the_old_numbering_of_migratetypes() -> None:
    assert migratetypes.table((3, 10)).tolist() == [0, 2, 1, -1, 4, 5]  # type: ignore[union-attr]
    assert migratetypes.table((3, 10), cma=False).tolist() == [0, 2, 1, -1, 5, -1]  # type: ignore[union-attr]
    assert migratetypes.is_identity((4, 4))
    assert not migratetypes.is_identity((4, 3))


def test_names_that_meant_something_else() -> None:
    nowait = gfp.composed("GFP_NOWAIT", (5, 4))
    assert nowait == 1 << gfp.GFP_BITS["__GFP_KSWAPD_RECLAIM"]
    assert gfp.composed("GFP_NOWAIT", (4, 4)) == 0
    assert gfp_text(gfp.composed("GFP_TEMPORARY", (4, 9)) or 0) == "GFP_KERNEL|__GFP_RECLAIMABLE"
    assert compaction.table((4, 4), (4, 4)).tolist() == [2, 1, 4, 8, 5, 3, 0, 7]  # type: ignore[union-attr]
    assert compaction.table((4, 0), (4, 7)).tolist() == [-1, 1, *[-1] * 5]  # type: ignore[union-attr]
    assert compaction.table((4, 0), (4, 6)).tolist() == [2, 1, 4, 8, 5, 3, 0]  # type: ignore[union-attr]
    assert compaction.table((4, 7), (7, 2)).tolist() == list(range(9))  # type: ignore[union-attr]
    assert compaction.table((3, 16), (3, 18)) is None  # what 3.17 and 3.18 had is not known
