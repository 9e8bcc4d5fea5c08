# SPDX-License-Identifier: GPL-2.0-or-later
import errno
import gc
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import synthetic
from recorded_tools import chunk_of
from recording_reference import RAW_1CPU, RAW_2CPU

from kevacuate.errors import KevacuateError
from kevacuate.recording import EventKind, KevWriter, Recording, parquet
from kevacuate.recording.kev import recording_of
from kevacuate.recording.parquet import combined_digest, file_digest
from kevacuate.recording.schema import EventChunk, concat_chunks
from kevacuate.recording.snapshot import Snapshot


@pytest.fixture
def copy(kev_1cpu: Path, tmp_path: Path) -> Path:
    path = tmp_path / "copy.kev"
    shutil.copytree(kev_1cpu, path)
    return path


@pytest.mark.parametrize(("raw", "fixture"), [(RAW_1CPU, "kev_1cpu"), (RAW_2CPU, "kev_2cpu")])
def test_round_trip(raw: Path, fixture: str, request: pytest.FixtureRequest) -> None:
    before, after = Recording.open(raw), Recording.open(request.getfixturevalue(fixture))
    assert after.machine == before.machine
    assert after.losses == before.losses
    old, new = (concat_chunks(list(r.events())) for r in (before, after))
    old = old.take((old.kind != EventKind.GT_DUMP) | (old.a == 6))
    for a, b in zip(old, new, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert len(before.states) == len(after.states) == 2
    for s, t in zip(before.states, after.states, strict=True):
        for (name, a), b in zip(asdict(s).items(), asdict(t).values(), strict=True):
            if isinstance(a, tuple) and a and isinstance(a[0], np.ndarray):
                for x, y in zip(a, b, strict=True):
                    assert x.dtype == y.dtype
                    np.testing.assert_array_equal(x, y, err_msg=name)
            elif isinstance(a, np.ndarray):
                np.testing.assert_array_equal(a, b, err_msg=name)
            else:
                assert a == b, name


def test_events_after_states_are_the_same(kev_2cpu: Path) -> None:
    before, after = Recording.open(RAW_2CPU), Recording.open(kev_2cpu)
    wanted = [EventKind.MM_PAGE_ALLOC, EventKind.MM_PAGE_FREE]
    for s, t in zip(before.states, after.states, strict=True):
        old = concat_chunks(list(before.events(after=s, kinds=wanted)))
        new = concat_chunks(list(after.events(after=t, kinds=wanted, chunk_rows=777)))
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)


def test_state_of_another_recording_is_refused(kev_1cpu: Path, kev_2cpu: Path) -> None:
    other = Recording.open(kev_2cpu).start
    with pytest.raises(KevacuateError, match="it is another's"):
        list(Recording.open(kev_1cpu).events(after=other))


def test_saving_twice_gives_the_same_files(kev_1cpu: Path, tmp_path: Path) -> None:
    again = Recording.open(RAW_1CPU).save(tmp_path / "again.kev")
    assert again.digest == Recording.open(kev_1cpu).digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.kev"]


def test_quality_counts(kev_1cpu: Path) -> None:
    quality = Recording.open(kev_1cpu).quality
    assert quality["events"] == sum(quality["events_by_kind"].values()) == sum(quality["events_by_cpu"])
    assert "GT_DUMP" not in quality["events_by_kind"]
    assert quality["source_digest"] == Recording.open(RAW_1CPU).digest


def test_events_are_small(kev_1cpu: Path) -> None:
    quality = Recording.open(kev_1cpu).quality
    assert (kev_1cpu / "events.parquet").stat().st_size < 5 * quality["events"]


def test_every_data_file_is_digested(kev_1cpu: Path) -> None:
    files = {str(p.relative_to(kev_1cpu)) for p in kev_1cpu.rglob("*") if p.is_file()} - {"machine.json"}
    assert files == set(json.loads((kev_1cpu / "machine.json").read_text())["files"])


def test_changed_bytes_are_found_in_every_file(copy: Path) -> None:
    for file in sorted(p for p in copy.rglob("*") if p.is_file()):
        data = file.read_bytes()
        changed = bytearray(data)
        changed[len(data) // 2] ^= 0x10
        file.write_bytes(changed)
        with pytest.raises(KevacuateError, match=r"corrupted|does not describe|not JSON"):
            Recording.open(copy)
        file.write_bytes(data[: len(data) // 2])
        with pytest.raises(KevacuateError, match="corrupted"):
            Recording.open(copy)
        file.write_bytes(data)
        if file.name != "machine.json":
            file.unlink()
            with pytest.raises(KevacuateError, match="missing"):
                Recording.open(copy)
            file.write_bytes(data)
    Recording.open(copy)


def test_truncated_parquet_without_verification(copy: Path) -> None:
    data = (copy / "events.parquet").read_bytes()
    for cut in (0, 3, 100, len(data) // 2, len(data) - 1):
        (copy / "events.parquet").write_bytes(data[:cut])
        with pytest.raises(KevacuateError, match=r"events\.parquet is corrupted or truncated"):
            list(Recording.open(copy, verify=False).events())


def rewrite(path: Path, **changes: object) -> None:
    """Change machine.json, with a right digest."""
    body = json.loads((path / "machine.json").read_text()) | changes
    files = body.pop("files")
    body.pop("digest")
    body |= {"files": files, "digest": combined_digest(body, files)}
    (path / "machine.json").write_text(json.dumps(body))


def test_newer_schema_is_refused(copy: Path) -> None:
    rewrite(copy, schema_version=2)
    with pytest.raises(KevacuateError, match="has schema version 2, but this program reads up to version 1"):
        Recording.open(copy)


@pytest.mark.parametrize("version", [None, "1", 0, True, 1.5])
def test_odd_schema_versions_are_refused(copy: Path, version: object) -> None:
    rewrite(copy, schema_version=version)
    with pytest.raises(KevacuateError, match="does not describe"):
        Recording.open(copy)


def test_foreign_json_is_refused(tmp_path: Path) -> None:
    for text in (
        "[]",
        "{}",
        '{"format": "x"}',
        "nope",
        '{"schema_version": 1, "format": "kevacuate recording"}',
    ):
        (tmp_path / "machine.json").write_text(text)
        with pytest.raises(KevacuateError):
            Recording.open(tmp_path)


def test_incomplete_machine_is_refused(copy: Path) -> None:
    for machine in ({}, [], None, {"zones": 3}):
        rewrite(copy, machine=machine)
        with pytest.raises(KevacuateError, match="does not describe a machine"):
            Recording.open(copy)


def sign(path: Path) -> None:
    """Let machine.json have the digests of the files as they are."""
    body = json.loads((path / "machine.json").read_text())
    body.pop("digest")
    files = {name: file_digest(path / name) for name in body.pop("files")}
    body |= {"files": files, "digest": combined_digest(body, files)}
    (path / "machine.json").write_text(json.dumps(body))


def test_events_whose_times_go_back_are_refused(copy: Path) -> None:
    table = pq.read_table(copy / "events.parquet")
    rows = np.arange(table.num_rows)
    rows[[5, -1]] = rows[[-1, 5]]
    pq.write_table(table.take(rows), copy / "events.parquet")
    sign(copy)
    recording = Recording.open(copy)
    with pytest.raises(KevacuateError, match=r"events\.parquet is corrupted: its times go back, at \d+ ns"):
        list(recording.events())
    with pytest.raises(KevacuateError, match="its times go back"):  # from one chunk to the next, too
        list(recording.events(chunk_rows=1))


def test_events_of_parts_that_go_back_are_refused(tmp_path: Path) -> None:
    with KevWriter(tmp_path / "x.kev", synthetic.machine()) as writer:
        writer.add_events(three_events(0))
        writer.cut()
        writer.add_events(three_events(10))
    first, second = (tmp_path / "x.kev" / f"events-000{number}.parquet" for number in range(2))
    first.rename(tmp_path / "other")
    second.rename(first)
    (tmp_path / "other").rename(second)
    sign(tmp_path / "x.kev")
    with pytest.raises(
        KevacuateError, match=r"events-0001\.parquet is corrupted: its times go back, at 0 ns"
    ):
        list(Recording.open(tmp_path / "x.kev").events())


def test_states_and_snapshots_whose_times_go_back_are_refused(copy: Path, tmp_path: Path) -> None:
    first = copy / "states/000/state.json"
    first.write_text(json.dumps(json.loads(first.read_text()) | {"ts": 1 << 61}))
    sign(copy)
    with pytest.raises(KevacuateError, match=r"states/001/state\.json is corrupted: its times go back"):
        _ = Recording.open(copy).states
    snapshots = [Snapshot(label=str(ts), ts=ts, zones=(), vmstat={}) for ts in (5, 3)]
    with KevWriter(tmp_path / "x.kev", synthetic.machine()) as writer:
        writer.add_snapshots(snapshots)
    with pytest.raises(KevacuateError, match=r"snapshots\.jsonl is corrupted: its times go back, at 3 ns"):
        _ = Recording.open(tmp_path / "x.kev").snapshots


def test_what_a_recording_names_is_a_part_of_it_and_what_lies_in_it_is_not(copy: Path) -> None:
    for name in ("machine.json", "events.parquet", "states/000/state.json", "demand.parquet"):
        assert recording_of(copy / name) == copy, name
    for name in ("a.png", "states/000/a.png", "../machine.json"):
        assert recording_of(copy / name) is None, name
    (copy / "machine.json").write_text("cut")
    assert recording_of(copy / "machine.json") == copy
    assert recording_of(copy / "events.parquet") is None


def test_files_outside_are_refused(copy: Path) -> None:
    body = json.loads((copy / "machine.json").read_text())
    body.pop("digest")
    files = body.pop("files") | {"../outside": "00"}
    body |= {"files": files, "digest": combined_digest(body, files)}
    (copy / "machine.json").write_text(json.dumps(body))
    with pytest.raises(KevacuateError, match="names a file outside itself"):
        Recording.open(copy)


def test_writer_leaves_nothing_behind_when_it_fails(tmp_path: Path, kev_1cpu: Path) -> None:
    machine = Recording.open(kev_1cpu).machine

    def fail() -> None:
        with KevWriter(tmp_path / "x.kev", machine) as writer:
            for chunk in Recording.open(kev_1cpu).events():
                writer.add_events(chunk)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_writer_refuses_an_existing_target_and_unsorted_events(tmp_path: Path, kev_1cpu: Path) -> None:
    recording = Recording.open(kev_1cpu)
    with pytest.raises(KevacuateError, match="exists already"):
        KevWriter(kev_1cpu, recording.machine)
    chunk = next(recording.events())
    with pytest.raises(KevacuateError, match="not sorted"), KevWriter(tmp_path / "x", recording.machine) as w:
        w.add_events(chunk.take(slice(None, None, -1)))
    assert not (tmp_path / "x").exists()


def test_a_state_that_no_dump_shows(tmp_path: Path, kev_1cpu: Path) -> None:
    recording = Recording.open(kev_1cpu)
    chunk = concat_chunks(list(recording.events()))
    chunk = chunk.take(chunk.kind != EventKind.GT_DUMP)
    middle = int(np.median(chunk.ts))
    state = type(recording.states[1])(**{**vars(recording.states[1]), "ordinal": -1, "ts": middle})
    with KevWriter(tmp_path / "x.kev", recording.machine) as writer:
        writer.add_events(chunk)
        writer.add_state(state)
    saved = Recording.open(tmp_path / "x.kev")
    after = concat_chunks(list(saved.events(after=saved.start)))
    assert after.rows == int((chunk.ts > middle).sum()) > 0


def test_chunks_must_have_a_size(kev_1cpu: Path) -> None:
    with pytest.raises(KevacuateError, match="at least 1"):
        next(Recording.open(kev_1cpu).events(chunk_rows=0))


class FullDisk:
    """In place of pyarrow's own writer: the disk has no room for anything more."""

    def write_table(self, *args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("rows", [0, 10])
def test_a_full_disk_is_one_sentence_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    writer = parquet.TableWriter(tmp_path / "x.parquet", {"pfn": np.int64})
    writer.add({"pfn": np.arange(rows)})
    monkeypatch.setattr(writer._writer, "writer", FullDisk())
    with pytest.raises(KevacuateError, match="No space left on device"):
        writer.close()
    monkeypatch.undo()
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    writer._writer.writer = FullDisk()
    del writer
    gc.collect()
    assert not said


def test_a_disk_that_fills_up_before_the_end_is_told_of_once_more_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an import meets it, which closes the file on its way out."""
    writer = parquet.TableWriter(tmp_path / "x.parquet", {"pfn": np.int64})
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(writer._writer, "writer", FullDisk())
    for use in (lambda: writer.add({"pfn": np.arange(15)}), writer.close):
        with pytest.raises(KevacuateError, match=r"x\.parquet cannot be written: No space left on device\.$"):
            use()


def three_events(first: int) -> EventChunk:
    """Frees at three successive nanoseconds."""
    return chunk_of({"kind": EventKind.MM_PAGE_FREE, "ts": first + i, "pfn": i} for i in range(3))


def test_parts_lie_in_order_of_time_by_name(tmp_path: Path) -> None:
    """As a user reads them: the files that a glob finds, sorted."""
    made = []
    with KevWriter(tmp_path / "x.kev", synthetic.machine()) as writer:
        for part in range(12):
            if part:
                writer.cut()
            writer.add_events(three_events(10 * part))
            made.append(10 * part)
    found = sorted(path.name for path in (tmp_path / "x.kev").glob("events*.parquet"))
    assert found == [f"events-{part:04d}.parquet" for part in range(12)]
    read = [int(pq.read_table(tmp_path / "x.kev" / name)["ts"][0].as_py()) for name in found]
    assert read == made
    assert [int(chunk.ts[0]) for chunk in Recording.open(tmp_path / "x.kev").events()] == made


def test_a_single_part_has_no_number(tmp_path: Path) -> None:
    with KevWriter(tmp_path / "x.kev", synthetic.machine()) as writer:
        writer.add_events(three_events(0))
    assert [p.name for p in (tmp_path / "x.kev").glob("events*")] == ["events.parquet"]


def test_parts_as_older_programs_named_them(tmp_path: Path) -> None:
    with KevWriter(tmp_path / "x.kev", synthetic.machine()) as writer:
        for part in range(3):
            if part:
                writer.cut()
            writer.add_events(three_events(10 * part))
    path = tmp_path / "x.kev"
    (path / "events-0000.parquet").rename(path / "events.parquet")
    body = json.loads((path / "machine.json").read_text())
    own = body.pop("files")
    own["events.parquet"] = own.pop("events-0000.parquet")
    body.pop("digest")
    body |= {"files": own, "digest": combined_digest(body, own)}
    (path / "machine.json").write_text(json.dumps(body))
    assert [int(chunk.ts[0]) for chunk in Recording.open(path).events()] == [0, 10, 20]
