# SPDX-License-Identifier: GPL-2.0-or-later
"""The claim that the model picks what the kernel picked, on the excerpts of real recordings that lie in the repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kevacuate import KevacuateError, Recording, verify
from kevacuate.kernel.hooks import RmqKind
from kevacuate.recording import EventChunk, EventKind, KevWriter
from kevacuate.recording.schema import concat_chunks

DATA = Path(__file__).parent.parent / "data"
ONE_CPU, TWO_CPUS = DATA / "one-cpu.kev", DATA / "two-cpus.kev"


def rewritten(target: Path, change: Callable[[EventChunk], EventChunk], excerpt: Path = ONE_CPU) -> Path:
    """An excerpt with other events."""
    source = Recording.open(excerpt)
    with KevWriter(target, source.machine) as writer:
        for chunk in source.events():
            writer.add_events(change(chunk))
        for state in source.states:
            writer.add_state(state)
        writer.set_losses(source.losses)
        writer.set_quality({})
    return target


def another_page(chunk: EventChunk) -> EventChunk:
    """The kernel takes another page than it did, once."""
    pfn = chunk.pfn.copy()
    taken = np.flatnonzero(chunk.kind == EventKind.MM_PAGE_ALLOC_ZONE_LOCKED)
    pfn[taken[:1]] += 1 << 12
    return chunk._replace(pfn=pfn)


def a_request_less(chunk: EventChunk) -> EventChunk:
    """The kernel's first refill was not asked for."""
    refills = np.flatnonzero((chunk.kind == EventKind.GT_RMQ) & (chunk.a == 0))
    return chunk.take(np.arange(chunk.rows) != refills[0])


def test_one_cpu_every_page_and_every_list_is_the_kernels() -> None:
    result = verify(ONE_CPU, ["buddy", "pcp", "evacuation"])
    for name, decisions in (("buddy", 24_000), ("pcp", 7_000), ("evacuation", 40)):
        level = result.levels[name]
        assert level.mismatches == 0, level.first
        assert level.decisions > decisions
        assert level.inputs
    assert result.levels["buddy"].dumps
    assert all(result.levels["buddy"].dumps.values())
    assert all(result.levels["pcp"].dumps.values())
    assert result.passes(1.0)


def test_two_cpus_every_page_is_the_kernels_until_compaction_whose_list_operations_were_not_recorded() -> (
    None
):
    result = verify(TWO_CPUS, ["buddy", "pcp"])
    buddy, pcp = result.levels["buddy"], result.levels["pcp"]
    assert buddy.until_compaction is not None
    assert buddy.until_compaction.decisions > 270_000
    assert buddy.until_compaction.mismatches == 0
    assert list(buddy.causes) == ["after compaction whose list operations were not recorded"]
    assert pcp.exactness is not None
    assert pcp.exactness > 0.9999
    assert buddy.first is not None
    assert any(line.startswith(">") for line in buddy.first.around)


def test_a_level_that_the_recording_cannot_support_is_not_passed() -> None:
    stock = verify(
        DATA.parent.parent / "src" / "kevacuate" / "data" / "stock-churn-1g-smp1-s3.kev", ["buddy"]
    )
    level = stock.levels["buddy"]
    assert level.decisions == 0
    assert level.not_exercised
    assert not stock.passes(0.0)
    assert stock.as_dict()["levels"]["buddy"]["exactness"] is None


def test_a_page_that_the_model_did_not_take_is_a_mismatch_with_its_context(tmp_path: Path) -> None:
    level = verify(rewritten(tmp_path / "altered.kev", another_page), ["buddy"]).levels["buddy"]
    assert level.mismatches >= 1
    assert level.first is not None
    assert "mm_page_alloc_zone_locked" in level.first.what
    assert level.first.model != level.first.kernel


def test_resynchronising_is_counted(tmp_path: Path) -> None:
    recording = rewritten(tmp_path / "altered.kev", a_request_less)
    assert verify(recording, ["buddy"]).levels["buddy"].resyncs == 0
    assert verify(recording, ["buddy"], resync=True).levels["buddy"].resyncs == 1


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(KevacuateError, match="There is no level 'pages'"):
        verify(ONE_CPU, ["pages"])


@pytest.mark.parametrize("number", [-1, 1 << 40, (1 << 63) - 1, -(1 << 63)])
@pytest.mark.parametrize(
    ("kind", "column"), [("GT_LIST", "pfn"), ("GT_RMQ", "c"), ("COMPACTION_BEGIN", "b")], ids=str
)
def test_an_event_that_names_a_page_the_machine_does_not_have_is_refused(
    tmp_path: Path, kind: str, column: str, number: int
) -> None:
    """What no machine has is refused where events are read, the rest where the machine is known."""

    def beyond(chunk: EventChunk) -> EventChunk:
        of_kind = chunk.kind == EventKind[kind]
        if kind == "GT_RMQ":
            of_kind &= chunk.a == RmqKind.FREE
        return chunk._replace(**{column: np.where(of_kind, number, getattr(chunk, column))})

    with pytest.raises(
        KevacuateError, match=r"names a page(, order, type, zone or CPU| that no machine has)"
    ):
        verify(rewritten(tmp_path / "bad.kev", beyond), ["buddy"])


def test_a_time_that_no_clock_shows_is_refused(tmp_path: Path) -> None:
    def away(chunk: EventChunk) -> EventChunk:
        return chunk._replace(ts=np.append(chunk.ts[:-1], 2**63 - 1))

    with pytest.raises(KevacuateError, match="has a time that no clock shows"):
        verify(rewritten(tmp_path / "bad.kev", away), ["tuning"])


def test_a_page_that_a_refill_brought_is_decided_though_its_task_compacted(tmp_path: Path) -> None:
    def compacting(chunk: EventChunk) -> EventChunk:
        """Before every refill its task tries direct compaction, in vain."""
        parts, done = [], 0
        for at in np.flatnonzero((chunk.kind == EventKind.GT_RMQ) & (chunk.a == 0)).tolist():
            tries = chunk.take(np.array([at, at]))
            kinds = [EventKind.COMPACTION_BEGIN, EventKind.COMPACTION_TRY_TO_COMPACT_PAGES]
            tries.kind[:], tries.pfn[:], tries.mt[:] = kinds, -1, 0
            parts += [chunk.take(slice(done, at)), tries]
            done = at
        return concat_chunks([*parts, chunk.take(slice(done, None))])

    as_recorded = verify(TWO_CPUS, ["pcp"]).levels["pcp"]
    tried = verify(rewritten(tmp_path / "tried.kev", compacting, TWO_CPUS), ["pcp"]).levels["pcp"]
    pages = "page of an allocation (mm_page_alloc)"
    assert tried.kinds[pages].decisions == as_recorded.kinds[pages].decisions
    assert not any("captured" in name for name in tried.inputs)
