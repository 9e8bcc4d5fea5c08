# SPDX-License-Identifier: GPL-2.0-or-later
"""The door of triage: which files it finds, what each is, and what it says of those that it does not read."""

from __future__ import annotations

import gzip
import json
import os
import random
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.observe.files import door
from kevacuate.observe.files.door import MOST_ADVICE, files_of, triage
from kevacuate.recording.recognise import PROC_FILES
from kevacuate.reports.triage.brought import brought_words

DATA = Path(__file__).parent.parent / "data"
BUDDY = "Node 0, zone   Normal " + " ".join(map(str, (20000, *[0] * 10))) + "\n"
VMSTAT = "compact_stall 200\ncompact_fail 200\nthp_fault_alloc 1\nthp_fault_fallback 5000\n"
TYPES = (
    "Node 0, zone Normal, type Movable 20000 0 0 0 0 0 0 0 0 0 0\n"
    "Number of blocks type     Unmovable      Movable\nNode 0, zone   Normal  1 9\n"
)


FAILURE = (
    "[   10.000000] sh: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL|__GFP_COMP), nodemask=(null)\n"
    "[   10.000001] CPU: 0 UID: 0 PID: 7 Comm: sh Not tainted 6.18.0 #1 NONE\n[   10.000002] 9999 pages RAM\n"
)


def written(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def refused(*paths: Path) -> str:
    with pytest.raises(KevacuateError) as caught:
        triage(list(paths))
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_the_facade_takes_a_path_or_a_list(tmp_path: Path) -> None:
    written(tmp_path, buddyinfo=BUDDY, vmstat=VMSTAT)
    one, several = (
        kevacuate.triage(tmp_path),
        kevacuate.triage([tmp_path / "vmstat", str(tmp_path / "buddyinfo")]),
    )
    assert json.dumps(one) == json.dumps(several)
    assert [answer["kind"] for answer in one["answers"]] == ["proc"]


def test_a_folder_in_any_order_is_the_same_answer(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / f"{at}", **{f"buddyinfo.{1684144800 + at}": BUDDY.replace("20000", str(at))})
        for at in range(20)
    ]
    files = [path for folder in paths for path in folder.iterdir()]
    straight = json.dumps(triage(files))
    for seed in range(3):
        random.Random(seed).shuffle(files)
        assert json.dumps(triage(files)) == straight
    assert json.dumps(triage(tmp_path)) == straight


def test_a_file_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    written(tmp_path, vmstat=VMSTAT)
    (tmp_path / "link").symlink_to(tmp_path / "vmstat")
    found = triage([tmp_path / "vmstat", tmp_path / "vmstat", tmp_path / "link", tmp_path])
    assert found["answers"][0]["machines"][0]["counters"]["moments"] == 1


def test_at_most_three_pieces_of_advice_and_none_twice(tmp_path: Path) -> None:
    written(tmp_path, buddyinfo=BUDDY, vmstat=VMSTAT, pagetypeinfo=TYPES)
    written(tmp_path / "other", buddyinfo=BUDDY, vmstat=VMSTAT, pagetypeinfo=TYPES)
    found = triage(tmp_path)
    assert len(found["answers"][0]["advice"]) == 6
    assert len(found["advice"]) == MOST_ADVICE
    assert len({piece["do"] for piece in found["advice"]}) == MOST_ADVICE
    assert all(set(piece) == {"do", "evidence", "source"} for piece in found["advice"])


def test_the_strongest_of_each_answer_comes_first() -> None:
    def pieces(*names: str) -> dict[str, Any]:
        return {"advice": [{"do": name, "evidence": "", "source": ""} for name in names]}

    found = door._strongest([pieces("a", "b", "c"), pieces("d", "a"), pieces()])
    assert [piece["do"] for piece in found] == ["a", "d", "b"]


def test_two_answers_that_name_the_same_way_give_it_once() -> None:
    same = ("Write 1 to vm.compact_memory first.", "Compact: `echo 1 > /proc/sys/vm/compact_memory`.")
    answers = [
        {"advice": [{"do": do, "evidence": "", "source": ""}]}
        for do in (*same, "Record: `kevacuate record --light`.")
    ]
    assert [piece["do"] for piece in door._strongest(answers)] == [
        same[0],
        "Record: `kevacuate record --light`.",
    ]


def test_other_files_of_a_folder_are_named(tmp_path: Path) -> None:
    written(tmp_path, vmstat=VMSTAT, poem="roses are red\n", **{"trace.pcap": "\0\1"})
    (tmp_path / "cut.gz").write_bytes(gzip.compress(BUDDY.encode() * 9000)[:200])
    (tmp_path / "bad.xz").write_bytes(b"\xfd7zXZ\x00" + b"x" * 100)
    found = triage(tmp_path)
    said = {Path(one["file"]).name: one["what"] for one in found["not_read"]}
    assert said["poem"] == "not recognised"
    assert "does not decompress" in said["bad.xz"]
    assert set(said) <= {"poem", "trace.pcap", "bad.xz", "cut.gz"}


def test_a_recording_among_files(tmp_path: Path) -> None:
    written(tmp_path, vmstat=VMSTAT)
    (tmp_path / "one.kev").symlink_to(DATA / "one-cpu.kev")
    found = triage([tmp_path / "vmstat", tmp_path / "one.kev"])
    assert [answer["kind"] for answer in found["answers"]] == ["recording", "proc"]


def test_an_archive_that_is_not_unpacked_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        archive.writestr("buddyinfo", BUDDY)
    assert "is an archive" in refused(tmp_path / "logs.zip")
    assert "`kevacuate triage` the folder" in refused(tmp_path / "logs.zip")
    written(tmp_path, poem="roses are red\n")
    said = refused(tmp_path)
    assert "none of the 2 files is of a kind" in said
    assert "unpack" in said


def test_nothing_to_read(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "no")
    assert "nothing was given" in refused()
    assert "the folder holds no file" in refused(tmp_path)
    written(tmp_path, metadata="x", channel0_0="x")
    assert "LTTng" in refused(tmp_path)
    assert "raw ring-buffer pages" in refused(DATA / "raw-2cpu" / "trace")


def test_a_file_without_a_whole_row(tmp_path: Path) -> None:
    written(tmp_path, types="Page block order: 9\nPages per block:  512\n")
    assert "no whole row" in refused(tmp_path / "types")


def test_counters_of_a_cgroup_or_a_node_are_not_the_machines(tmp_path: Path) -> None:
    written(
        tmp_path / "sys" / "fs" / "cgroup",
        **{"memory.stat": "anon 5\nfile 6\npgscan_direct 7\nthp_fault_alloc 8\n"},
    )
    written(
        tmp_path / "sys" / "devices" / "system" / "node" / "node0", vmstat="nr_free_pages 4\nnuma_hit 1\n"
    )
    written(tmp_path / "proc", vmstat="nr_free_pages 9\ncompact_stall 3\n")
    counters = triage(tmp_path)["answers"][0]["machines"][0]["counters"]
    assert counters["moments"] == 1
    assert counters["gauges"]["nr_free_pages"] == {"first": 9, "last": 9}
    assert set(counters["counters"]) == {"compact_stall"}


def test_a_part_of_a_recording_is_named() -> None:
    assert "is a part of the recording" in refused(DATA / "one-cpu.kev" / "quality.json")


def test_a_running_kernels_proc_is_read_by_name(tmp_path: Path) -> None:
    written(tmp_path, kmsg="", vmstat=VMSTAT, buddyinfo=BUDDY, sysrq="Node 0, zone   Normal 1 2 3 4 5 6\n")
    (tmp_path / "self").symlink_to("1")
    assert [Path(file.name).name for file in files_of(tmp_path)] == ["buddyinfo", "vmstat"]
    assert set(PROC_FILES) >= {"buddyinfo", "vmstat"}


def test_no_pipe_or_link_of_a_folder_is_opened(tmp_path: Path) -> None:
    written(tmp_path, vmstat=VMSTAT)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [Path(file.name).name for file in files_of(tmp_path)] == ["vmstat"]


def test_heads_of_files_are_not_kept(tmp_path: Path) -> None:
    written(tmp_path, vmstat=VMSTAT, poem="roses are red\n", buddyinfo=BUDDY)
    files = list(files_of(tmp_path))
    door.triage_files(files)
    assert not [file.name for file in files if {"head", "head_bytes"} & set(vars(file))]
    assert files[0].head == BUDDY


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MOST_FILES", 3)
    written(tmp_path, **{f"a{at}": "" for at in range(4)})
    assert "holds more than 3 files" in refused(tmp_path)


@pytest.mark.parametrize("text", [VMSTAT, FAILURE])
def test_a_file_that_ends_too_early_hides_no_other(tmp_path: Path, text: str) -> None:
    """Of a sosreport's logs one was cut: the others are answered, it as far as it goes, and it is named."""
    written(tmp_path, whole=text)
    noise = random.Random(1).randbytes(200_000)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(text.encode() + noise)[:-100_000])
    found = triage(tmp_path)
    assert [Path(name).name for name in found["answers"][0]["files"]] == ["cut.gz", "whole"]
    told = [*found["answers"][0].get("damaged", ()), *(one["what"] for one in found["not_read"])]
    assert len(told) == 1
    assert "cut.gz is truncated" in told[0]
    assert "truncated" in refused(tmp_path / "cut.gz")


def test_a_file_that_vanishes_hides_no_other(tmp_path: Path) -> None:
    written(tmp_path, a=FAILURE, b=FAILURE, c=FAILURE)
    found = door.triage_files(
        list(files_of(tmp_path)), progress=lambda done, files: (tmp_path / "b").unlink(missing_ok=True)
    )
    assert (found["answers"][0]["failures"], found["answers"][0]["copies"]) == (1, 1)
    assert [one["file"] for one in found["not_read"]] == [str(tmp_path / "b")]
    assert "b cannot be opened" in found["not_read"][0]["what"]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without any right of root; what is needed must be imported."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_folders_that_may_not_be_read_are_told_of_and_hide_nothing_else() -> None:
    """pytest's own directories are root's alone, as TMPDIR may be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        report = written(place / "report", buddyinfo=BUDDY)
        whole = triage(report)
        written(report / "listed", vmstat=VMSTAT).chmod(0o744)
        locked = written(report / "locked", vmstat=VMSTAT)
        triage(report)
        locked.chmod(0o700)
        with as_nobody():
            result = triage(report)
            assert result["answers"] == whole["answers"]
            assert result["not_read"] == [
                {"file": str(report / name), "what": "a folder that may not be read"}
                for name in ("listed", "locked")
            ]
            assert refused(locked) == f"{locked} cannot be read: Permission denied."
            file = locked / "vmstat"
            assert refused(file) == f"{file} cannot be opened: Permission denied."
            assert refused(report / "buddyinfo", locked) == f"{locked} cannot be read: Permission denied."


def test_a_last_line_without_an_end_is_told(tmp_path: Path) -> None:
    """Cut inside a number it has another value: nothing but the missing end shows it."""
    values = []
    for text in ("compact_stall 4100\ncompact_fail 3100\n", "compact_stall 4100\ncompact_fail 31"):
        (tmp_path / "vmstat").write_text(text)
        found = triage([tmp_path / "vmstat"])
        said = [part for part in brought_words(found) if isinstance(part, str)]
        told = f"The last line has no end, so its values may be cut off: {tmp_path / 'vmstat'}." in said
        last = found["answers"][0]["machines"][0]["counters"]["counters"]["compact_fail"]["last"]
        values.append((last, found["last_line_unended"] == [str(tmp_path / "vmstat")], told))
    assert values == [(3100, False, False), (31, True, True)]
