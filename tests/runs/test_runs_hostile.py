# SPDX-License-Identifier: GPL-2.0-or-later
"""Demands that contradict themselves: one sentence that names the row, whatever the chunks are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import synthetic
from synthetic import Script, start_state, write_recording

from kevacuate.errors import KevacuateError
from kevacuate.recording import DemandOp, Recording
from kevacuate.runs.compare import compare
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay

BAD_ROW = 43
FREE_PFN = DemandOp.FREE_PFN


def sane() -> Script:
    """Rows that are right: 100 to 119 live, 120 is freed, 137 failed, a page of the start is freed."""
    script = Script()
    for obj in range(100, 121):
        script.alloc(obj, obj % 2)
    for obj in range(121, 139):
        script.alloc(obj, 10 if obj > 122 else 0)
    script.free(120, 0)
    script.free(138, 10)
    script.add(FREE_PFN, -1, 0, aux=synthetic.ANONYMOUS.start)
    script.alloc(139, 0)
    assert len(script.rows) == BAD_ROW
    return script


CASES: dict[str, tuple[Callable[[Script], None], str]] = {
    "free of an id never allocated": (lambda s: s.free(500), "frees object 500, which was never allocated"),
    "second free": (lambda s: s.free(120), "frees object 120, which was never allocated or is freed already"),
    "second free of a failed one": (lambda s: s.free(138, 10), "frees object 138, which was never allocated"),
    "free of a start object's id beyond the last": (lambda s: s.free(64), "frees object 64, which was never"),
    "id still alive": (lambda s: s.alloc(101), "allocates object 101, which is still in use"),
    "id still alive, bulk": (
        lambda s: s.add(DemandOp.ALLOC_BULK, 101),
        "allocates object 101, which is still in use",
    ),
    "id of a failed allocation": (lambda s: s.alloc(137, 0), "allocates object 137, which is still in use"),
    "id of a start object": (lambda s: s.alloc(3), "allocates object 3, which is still in use"),
    "split of nothing": (lambda s: s.add(DemandOp.SPLIT, 500, 1, aux=501), "splits object 500"),
    "split of a single page": (lambda s: s.add(DemandOp.SPLIT, 100, 1, aux=501), "splits object 100"),
    "split of order 0": (lambda s: s.add(DemandOp.SPLIT, 101, 0, aux=501), "an order above MAX_PAGE_ORDER"),
    "upper half alive": (lambda s: s.add(DemandOp.SPLIT, 101, 1, aux=103), "names its upper half 103"),
    "upper half is itself": (lambda s: s.add(DemandOp.SPLIT, 101, 1, aux=101), "names its upper half 101"),
    "free page freed": (
        lambda s: s.add(FREE_PFN, -1, 0, aux=synthetic.END - 1),
        "are free already or an object's",
    ),
    "start page freed twice": (
        lambda s: s.add(FREE_PFN, -1, 0, aux=synthetic.ANONYMOUS.start),
        "are free already or an object's",
    ),
    "an object's page freed": (
        lambda s: s.add(FREE_PFN, -1, 0, aux=synthetic.START_OBJECTS.start),
        "are free already or an object's",
    ),
    "some of the pages are free": (
        lambda s: s.add(FREE_PFN, -1, 7, aux=synthetic.ANONYMOUS.start & ~127),
        "are free already or an object's",
    ),
    "negative page": (
        lambda s: s.add(FREE_PFN, -1, 0, aux=-1),
        "a page frame that the machine does not have",
    ),
    "page beyond memory": (
        lambda s: s.add(FREE_PFN, -1, 0, aux=synthetic.END),
        "a page frame that the machine does not have",
    ),
    "largest page": (
        lambda s: s.add(FREE_PFN, -1, 10, aux=2**31 - 1),
        "a page frame that the machine does not have",
    ),
    "pages not aligned": (
        lambda s: s.add(FREE_PFN, -1, 1, aux=synthetic.ANONYMOUS.start + 1),
        "a page frame that the machine does not have",
    ),
    "order too large": (lambda s: s.alloc(500, 11), "an order above MAX_PAGE_ORDER"),
    "largest order": (lambda s: s.free(100, 255), "an order above MAX_PAGE_ORDER"),
    "CPU out of range": (lambda s: s.alloc(500, cpu=2), "a CPU that the machine does not have"),
    "largest CPU": (lambda s: s.free(100, cpu=65535), "a CPU that the machine does not have"),
    "type 7": (lambda s: s.alloc(500, mt=7), "a migratetype that nobody can ask for"),
    "highatomic asked for": (lambda s: s.alloc(500, mt=3), "a migratetype that nobody can ask for"),
    "unknown operation": (lambda s: s.add(100, 100), "an operation that this program does not know"),
    "negative id": (lambda s: s.free(-1), "an object id outside the table"),
    "negative id allocated": (lambda s: s.alloc(-2), "an object id outside the table"),
    "negative upper half": (
        lambda s: s.add(DemandOp.SPLIT, 101, 1, aux=-1),
        "an object id outside the table",
    ),
    "time far away": (lambda s: s.alloc(500, t=1 << 62), "a time that runs backwards or is years away"),
}


def refusal(path: Path, options: ReplayOptions) -> str:
    with pytest.raises(KevacuateError) as caught:
        replay(Recording.open(path), "evacuate", options=options)
    return str(caught.value)


def test_without_the_bad_row_all_is_well(tmp_path: Path) -> None:
    metrics = replay(Recording.open(write_recording(tmp_path / "x.kev", sane()))).metrics
    assert metrics["demand_rows"] == BAD_ROW
    assert metrics["allocations_failed"] > 2
    assert metrics["frees_of_failed"] == 1


@pytest.mark.parametrize("time", [1, -1])
def test_times_that_go_back_are_refused_where_the_file_is_read(tmp_path: Path, time: int) -> None:
    script = sane()
    script.alloc(500, t=time)
    path = write_recording(tmp_path / "x.kev", script)
    said = {refusal(path, ReplayOptions(chunk_rows=rows)) for rows in (1, 7, 1 << 18)}
    assert said == {f"{path}/demand.parquet is corrupted: its times go back, at {time} ns. Record again."}


@pytest.mark.parametrize("case", list(CASES))
def test_a_contradiction_is_one_sentence_with_its_row(tmp_path: Path, case: str) -> None:
    change, words = CASES[case]
    script = sane()
    change(script)
    for obj in range(600, 620):
        script.alloc(obj, t=1 << (62 if case == "time far away" else 40))
    path = write_recording(tmp_path / "x.kev", script)
    said = {refusal(path, ReplayOptions(chunk_rows=rows)) for rows in (1, 7, 1 << 18)}
    assert len(said) == 1
    (sentence,) = said
    assert sentence.startswith(f"Row {BAD_ROW} of the demand ")
    assert words in sentence
    assert sentence.endswith("the recording is corrupted, make it again.")


def test_an_id_far_beyond_the_machine(tmp_path: Path) -> None:
    script = sane()
    script.alloc(2**31 - 1)
    path = write_recording(tmp_path / "x.kev", script)
    assert "names object 2147483647, more than its machine has pages" in refusal(path, ReplayOptions())


def test_ids_beyond_what_the_recording_promised_are_no_error(tmp_path: Path) -> None:
    script = Script()
    for obj in range(40_000, 40_100):
        script.alloc(obj)
    path = write_recording(tmp_path / "x.kev", script, facts={})
    for rows in (1, 1 << 18):
        run = replay(Recording.open(path), options=ReplayOptions(chunk_rows=rows))
        assert run.metrics["allocations"] == 100


def test_an_empty_demand(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "x.kev", Script())
    with pytest.raises(KevacuateError, match="is empty: there is nothing to replay"):
        replay(Recording.open(path))


def test_no_policy_to_compare(synthetic_kev: Path) -> None:
    with pytest.raises(KevacuateError, match="No policy was given"):
        compare(Recording.open(synthetic_kev), [])


def test_lost_events_are_refused_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_recording(tmp_path / "x.kev", sane(), missed=1234)
    with pytest.raises(KevacuateError, match=r"lost events \(1,234 on CPU 1\).*--despite-losses"):
        replay(Recording.open(path))
    monkeypatch.setattr(
        "kevacuate.runs.compare.demand_while_compiling", None
    )  # minutes, on a large recording
    with pytest.raises(KevacuateError, match=r"lost events \(1,234 on CPU 1\).*--despite-losses"):
        compare(Recording.open(path), "mainline")
    assert (
        replay(Recording.open(path), options=ReplayOptions(despite_losses=True)).metrics["demand_rows"]
        == BAD_ROW
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("samples", 0), ("chunk_rows", 0), ("prefetch", -1), ("log_capacity", 1 << 14), ("seed", -1)),
        *(("samples", 10**21), ("chunk_rows", 1 << 40), ("prefetch", 1 << 40), ("log_capacity", 1 << 40)),
    ],
)
def test_options_that_no_replay_can_work_with(name: str, value: int) -> None:
    said = f"{name} of a replay cannot be {value}: it is a whole number, (at least|from) [0-9]"
    with pytest.raises(KevacuateError, match=said):
        ReplayOptions(**{name: value})


def test_a_recording_without_a_state(tmp_path: Path) -> None:
    import shutil

    from kevacuate.recording import KevWriter

    whole = write_recording(tmp_path / "whole.kev", sane(), state=start_state())
    bare = tmp_path / "bare.kev"
    with KevWriter(bare, Recording.open(whole).machine) as writer:
        writer.set_losses(Recording.open(whole).losses)
    for name in ("demand.json", "demand.parquet", "start_objects.parquet"):
        shutil.copy(whole / name, bare / name)
    with pytest.raises(KevacuateError, match="holds no start state"):
        replay(Recording.open(bare))
