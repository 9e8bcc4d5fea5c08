# SPDX-License-Identifier: GPL-2.0-or-later
import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from capture_tools import FORMATS, FREE_TEXT, PAGE, TEXTS, FakeSpool, free, small_machine, sub_buffer

from kevacuate.capture import finish
from kevacuate.capture.finish import salvage, salvage_all
from kevacuate.capture.livewriter import LiveWriter
from kevacuate.capture.spool import GoneCpu, note_gone
from kevacuate.capture.stream import SpoolStream
from kevacuate.capture.workdir import WorkDir, captured_and_left, left_behind
from kevacuate.cli.common import tidy
from kevacuate.errors import KevacuateError
from kevacuate.observe.info import about_recording
from kevacuate.recording import Recording, parquet
from kevacuate.recording.completeness import refuse_losses
from kevacuate.recording.snapshot import snapshot_from_texts

DEAD = 999_999_999


def work_of_a_killed_recorder(tmp_path: Path, **events: str) -> tuple[WorkDir, FakeSpool]:
    """As a recorder leaves it that is killed after its snapshot at the start."""
    work = WorkDir(tmp_path / f".x.kev.rec-{DEAD}")
    work.spool.mkdir(parents=True)
    machine = small_machine()
    machine = replace(machine, events=machine.events | events)
    facts = {
        "target": "x.kev",
        "cpus": [0, 1],
        "page_bytes": PAGE,
        "keep_pids": False,
        "machine": machine.to_json(),
    }
    work.write("facts.json", facts)
    work.add_snapshot(snapshot_from_texts(TEXTS, 60, "start"))
    directory = work.new_page_dir()
    flags = np.zeros(4096, np.uint64)
    flags[1024:2048] = 1 << 10
    for name in ("kpageflags", "kpagecount"):
        parquet.write_table(directory / f"{name}.parquet", {"word": flags})
    parquet.write_json(directory / "facts.json", {"begin": 40, "end": 60, "step": 4096, "read_from": [40]})
    return work, FakeSpool(work.spool, 2)


def pfns(path: Path) -> list[int]:
    return [int(p) for chunk in Recording.open(path).events() for p in chunk.pfn]


def test_what_was_spooled_becomes_a_recording(tmp_path: Path) -> None:
    work, spool = work_of_a_killed_recorder(tmp_path)
    work.kev.mkdir()
    spool.put(0, sub_buffer(100, free(1, pid=31), free(2, 50, pid=32)), until=400)
    spool.put(1, sub_buffer(120, free(3, pid=31), free(4, 100)), until=200)
    ((left, made, said),) = salvage_all(tmp_path)
    assert made is not None
    assert (left, made.name) == (work.path, "x.salvaged.kev")
    assert said == f"A recorder was killed here: what it had captured is now {made}."
    recording = Recording.open(made)
    (chunk,) = recording.events()
    assert chunk.pfn.tolist() == [1, 3, 2]  # what is at 220 is cut: up to there CPU 1 is known, not beyond
    assert chunk.pid.tolist() == [1, 1, 2]
    assert recording.quality["stopped"] == "because the recorder was killed"
    assert recording.quality["cut_ts"] == 220
    assert recording.start is not None
    assert recording.start.approximate
    assert recording.start.free.pfn.tolist() == [1024]
    assert [s.label for s in recording.snapshots] == ["start"]
    assert not work.path.exists()
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("twice", [False, True])
def test_finished_files_of_events_are_kept(tmp_path: Path, twice: bool) -> None:
    work, spool = work_of_a_killed_recorder(tmp_path)
    writer = LiveWriter(tmp_path / "x.kev", small_machine(), work, keep_pids=False)
    writer.kev.__enter__()
    stream = SpoolStream(work.spool, [0, 1], FORMATS, PAGE)
    spool.put(0, sub_buffer(100, free(1), free(2, 50)), until=160)
    spool.put(1, until=160)
    for chunk in stream.pump():
        writer.add(chunk)
    writer.save(stream, now=True)
    spool.put(0, sub_buffer(170, free(5)), until=300)
    spool.put(1, sub_buffer(180, free(6)), until=300)
    for chunk in stream.pump():
        writer.add(chunk)  # and lost with the file that is not finished
    if twice:  # saving it was cut off as well
        work.kev.rename(work.path / "kev-old")
        work.kev.mkdir()
        (work.kev / "events.parquet").write_bytes(b"PAR1")
    made = salvage(work, "x.kev").made
    assert made is not None
    assert pfns(made) == [1, 2, 5, 6]


def test_a_cpu_whose_events_went_missing_counts_as_a_loss(tmp_path: Path) -> None:
    work, spool = work_of_a_killed_recorder(tmp_path)
    work.kev.mkdir()
    spool.put(0, sub_buffer(100, free(1), free(2, 50)), until=400)
    spool.put(1, sub_buffer(120, free(3)), until=400)
    note_gone(work.spool, GoneCpu(1, 130, "its trace buffer could not be read: No such device"))
    note_gone(work.spool, GoneCpu(1, 390, "again"))
    note_gone(work.spool, GoneCpu(7, 140, "it had none"))
    made = salvage(work, "x.kev").made
    assert made is not None
    recording = Recording.open(made)
    assert {loss.cpu: loss.gaps for loss in recording.losses} == {0: 0, 1: 1, 7: 1}
    assert [(c["cpu"], c["ts"]) for c in recording.quality["cpus_gone"]] == [(1, 130), (7, 140)]
    assert [(i["cpu"], i["begin"]) for i in recording.quality["loss_intervals"]] == [(1, 130), (7, 140)]
    with pytest.raises(KevacuateError, match="lost events"):
        refuse_losses(recording)


def test_names_do_not_collide(tmp_path: Path) -> None:
    (tmp_path / "x.salvaged.kev").mkdir()
    work, spool = work_of_a_killed_recorder(tmp_path)
    work.kev.mkdir()
    spool.put(0, sub_buffer(100, free(1)), until=400)
    spool.put(1, until=400)
    made = salvage(work, "x.kev").made
    assert made is not None
    assert made.name == "x.salvaged-2.kev"


@pytest.mark.parametrize("damage", ["facts", "spool"])
def test_what_cannot_be_saved_stays_and_is_named(tmp_path: Path, damage: str) -> None:
    work, spool = work_of_a_killed_recorder(tmp_path)
    work.kev.mkdir()
    spool.put(0, sub_buffer(100, free(1)), until=400)
    spool.put(1, until=400)
    if damage == "facts":
        (work.path / "facts.json").write_text("{")
    else:
        (work.spool / "words").unlink()
    for _ in range(2):  # the next recorder tries it again
        ((left, made, said),) = salvage_all(tmp_path)
        assert (left, made) == (work.path, None)
        assert said.startswith(
            f"{work.path}, which a killed recorder left, cannot be made a recording and stays: "
        )
        assert [path.name for path in tmp_path.iterdir()] == [work.path.name]
        assert list(work.spool.glob("*.raw"))


def test_a_recorder_that_captured_nothing_is_named_and_removed(tmp_path: Path) -> None:
    work, _ = work_of_a_killed_recorder(tmp_path)
    (work.path / "snapshots.jsonl").unlink()
    said = [found.sentence for found in salvage_all(tmp_path)]
    assert said == [f"A recorder was killed before it had captured anything: removed {work.path}."]
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_stays_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, _ = work_of_a_killed_recorder(tmp_path)
    monkeypatch.setattr(finish, "free_disk", lambda directory: 0)
    ((left, made, said),) = salvage_all(tmp_path)
    assert (left, made) == (work.path, None)
    assert said.startswith("Saving what a killed recorder captured needs ")
    assert said.endswith(f" MiB free: {work.path} stays.")
    assert work.snapshots()


def test_other_commands_name_what_a_killed_recorder_captured_and_leave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, place = tmp_path / "here", tmp_path / "tmp"
    private, empty = place / f"kevacuate-triage-{DEAD}-abc", place / f"kevacuate-triage-{DEAD}-def"
    for directory in (here, private, empty):
        directory.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    works = [work_of_a_killed_recorder(directory)[0].path for directory in (here, private)]
    tidy(here)
    removed, *named = capsys.readouterr().err.splitlines()
    assert removed == f"kevacuate: removed {empty} (0.0 MB), which a killed command left."
    assert named == [
        f"kevacuate: a killed recorder left {work}: the next recording there saves it (-o {work.parent / 'next.kev'})."
        for work in works
    ]
    assert all(work.is_dir() for work in works)
    assert [work.path for work in captured_and_left(here)] == works
    tidy(here, saves=True)  # the recorder says itself what it does in its own directory
    assert str(works[0]) not in capsys.readouterr().err


def test_the_directory_of_a_living_recorder_is_left_alone(tmp_path: Path) -> None:
    work = WorkDir.create(tmp_path / "y.kev")
    assert left_behind(tmp_path) == []
    assert salvage_all(tmp_path) == []
    assert work.path.is_dir()


def test_events_that_could_not_be_read_are_named(tmp_path: Path) -> None:
    text = FREE_TEXT.replace("mm_page_free", "mm_compaction_migratepages").replace("266", "300")
    work, spool = work_of_a_killed_recorder(tmp_path, **{"compaction/mm_compaction_migratepages": text})
    work.kev.mkdir()
    unread = free(1).replace(struct.pack("<H", 266), struct.pack("<H", 300), 1)
    spool.put(0, sub_buffer(100, free(1), unread, unread), until=400)
    spool.put(1, sub_buffer(120, free(3)), until=400)
    ((_, made, _),) = salvage_all(tmp_path)
    assert made is not None
    recording = Recording.open(made)
    assert recording.not_read == {"mm_compaction_migratepages": 2}
    assert about_recording(recording)["events_not_read"] == {"mm_compaction_migratepages": 2}
    assert recording.save(tmp_path / "again.kev").not_read == {"mm_compaction_migratepages": 2}
