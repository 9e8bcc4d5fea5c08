# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written beside its place: locks, what killed processes left, and names that are taken meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kevacuate.capture.workdir import WorkDir
from kevacuate.errors import KevacuateError
from kevacuate.recording import atomic_write, parquet
from kevacuate.recording.atomic_write import (
    claim,
    leftovers,
    not_written,
    private_directory,
    put,
    release,
    remove_leftovers,
    written,
)
from kevacuate.recording.kev import KevWriter
from kevacuate.workload.opening import open_recording

DEAD = 4_194_303
"""A process id beyond the default pid_max."""


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    with written(target, replace=False) as file:
        file.path.write_text("half")
        assert not target.exists()
        file.path.write_text("whole")
    assert file.target == target
    assert target.read_text() == "whole"
    with pytest.raises(KevacuateError, match="exists already"), written(target, replace=False):
        pass
    with written(target, replace=True) as file:
        file.path.write_text("newer")
    assert target.read_text() == "newer"
    with pytest.raises(ZeroDivisionError), written(target, replace=True) as file:
        file.path.write_text(str(1 // 0))
    assert target.read_text() == "newer"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tmp", "x.txt"]


def test_what_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    (tmp_path / "x-2.txt").write_text("second")
    with written(target, replace=False) as file:
        file.path.write_text("ours")
        target.write_text("theirs")
    assert file.target == tmp_path / "x-3.txt"
    assert target.read_text() == "theirs"
    assert file.target.read_text() == "ours"
    assert (tmp_path / "x-2.txt").read_text() == "second"


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    with (
        pytest.raises(KevacuateError, match="cannot be written: No such file"),
        written(tmp_path / "no" / "x", replace=True),
    ):
        pass


HOLDER = """
import sys
from pathlib import Path
from kevacuate.recording.atomic_write import beside, claim
target = Path(sys.argv[1])
claim(target, beside(target), directory=sys.argv[2] == "directory")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_second_process_is_refused_and_a_killed_one_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "x.kev"
    words = [sys.executable, "-c", HOLDER, str(target), kind]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        assert leftovers(tmp_path) == []
        said = f"x.kev is being written by process {holder.pid}"
        with pytest.raises(KevacuateError, match=said), written(target, replace=False):
            pass
        holder.kill()
    (left,) = leftovers(tmp_path)
    assert left.path.name == f".x.kev.kevacuate-{holder.pid}"
    with written(target, replace=False) as file:
        file.path.write_text("mine")
    assert remove_leftovers(tmp_path) == [left]
    assert target.read_text() == "mine"


def test_leftovers_are_those_of_the_dead(tmp_path: Path) -> None:
    names = [f".a.kevacuate-{DEAD}", f".b.kevacuate-{os.getpid()}", f".c.tmp-{DEAD}", f"d.kevacuate-{DEAD}"]
    for name in names:
        (tmp_path / name).write_text("12345")
    atomic_write.hold(tmp_path / names[1])
    held = (
        tmp_path / f".e.kevacuate-{DEAD - 1}"
    )  # of a process in another namespace, which lives: it holds the lock
    held.write_text("")
    atomic_write.hold(held)
    elsewhere = Path(tempfile.gettempdir()) / f"kevacuate-triage-{DEAD}-abc"
    (elsewhere / "inner").mkdir(parents=True)
    (elsewhere / "inner" / "x").write_text("1")
    (tmp_path / f".link.kevacuate-{DEAD}").symlink_to(elsewhere)
    found = [(left.path.name, left.size) for left in leftovers(tmp_path)]
    assert found == [(names[0], 5), (elsewhere.name, 1)]
    assert len(remove_leftovers(tmp_path)) == 2
    assert not elsewhere.exists()
    atomic_write.release(held)
    atomic_write.release(tmp_path / names[1])  # then it is one's that had this process's id before
    assert [left.path for left in leftovers(tmp_path)] == [tmp_path / names[1], held]


def test_nothing_is_removed_where_locks_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_on_nfs(descriptor: int, operation: int) -> None:  # LOCK_EX wants a file that is open for writing
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(atomic_write.fcntl, "flock", as_on_nfs)
    theirs, own = tmp_path / f".a.kevacuate-{DEAD}", tmp_path / f".b.kevacuate-{os.getpid()}"
    theirs.mkdir()
    own.mkdir()
    assert remove_leftovers(tmp_path) == []
    with pytest.raises(FileExistsError):
        atomic_write.claim(tmp_path / "b", own, directory=True)
    assert theirs.exists()
    assert own.exists()


def test_an_id_that_a_killed_process_had_before(tmp_path: Path) -> None:
    target = tmp_path / "x.kev"
    old = atomic_write.beside(target)
    old.mkdir()
    (old / "half").write_text("1")
    atomic_write.claim(target, old, directory=True)
    assert list(old.iterdir()) == []
    atomic_write.release(old)


def test_the_last_of_two_that_replace_wins(tmp_path: Path) -> None:
    target = tmp_path / "x.html"
    words = [sys.executable, "-c", HOLDER, str(target), "file"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with written(target, replace=True) as file:
            file.path.write_text("mine")
        holder.kill()
    assert target.read_text() == "mine"


@pytest.mark.parametrize("replace", [True, False])
def test_a_device_or_pipe_is_never_replaced(tmp_path: Path, replace: bool) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for target in (pipe, link, *([Path("/dev/null")] if os.geteuid() else [])):
        with (
            pytest.raises(KevacuateError, match=r"a device or a pipe|exists already"),
            written(target, replace=replace),
        ):
            pytest.fail("goes on")
    assert (pipe.is_fifo(), link.is_symlink()) == (True, True)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    for name in ("there", "not-there"):
        (tmp_path / "there").write_text("old")
        link = tmp_path / f"link-to-{name}"
        link.symlink_to(name)
        with written(link, replace=True) as file:
            file.path.write_text("new")
        assert link.is_symlink()
        assert (tmp_path / name).read_text() == "new"


def test_a_private_directory_is_nobody_elses_leftover_while_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with atomic_write.private_directory("input") as directory:
        assert directory.name.startswith(f"kevacuate-input-{os.getpid()}-")
        assert remove_leftovers(tmp_path) == []
        assert directory.is_dir()
    assert list(place.iterdir()) == []
    directory.mkdir()  # a killed process's that had this id
    assert [left.path for left in remove_leftovers(tmp_path)] == [directory]


def test_a_recording_whose_first_file_cannot_be_begun_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *rest: object) -> None:
        path.touch()
        raise KevacuateError(f"{path} cannot be written: No space left on device.")

    machine = open_recording(None).machine
    monkeypatch.setattr(parquet, "TableWriter", full)
    with pytest.raises(KevacuateError, match="No space left"), KevWriter(tmp_path / "here/x.kev", machine):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_directories_made_for_a_recording_that_is_not_stay_only_where_something_is_in_them(
    tmp_path: Path,
) -> None:
    machine = open_recording(None).machine
    with pytest.raises(KeyError), KevWriter(tmp_path / "a/b/x.kev", machine):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
    writer = KevWriter(tmp_path / "a/b/x.kev", machine)
    writer.__enter__()
    (tmp_path / "a/other").touch()
    writer.__exit__(KeyError, KeyError(), None)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["other"]
    work = WorkDir.create(tmp_path / "c/d/x.kev")
    work.remove()
    assert not (tmp_path / "c").exists()


def test_a_recorder_whose_spool_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Path.mkdir

    def full(path: Path, *rest: object, **options: object) -> None:
        if path.name == "spool":
            raise OSError(errno.ENOSPC, "")
        made(path, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(KevacuateError, match="No space left on device"):
        WorkDir.create(tmp_path / "new/x.kev")
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (".x.kev.kevacuate-7/events.parquet", "x.kev"),
        (".x.kev.rec-7/kev/states/000/state.json", "x.kev"),
        ("demo.kev/.demand.json.kevacuate-7", "demo.kev/demand.json"),
        ("x.parquet", "x.parquet"),
    ],
)
def test_what_cannot_be_written_has_the_users_name(tmp_path: Path, where: str, name: str) -> None:
    said = str(
        not_written(tmp_path / where, OSError(errno.ENOSPC, "[Errno 28] Error writing bytes to file."))
    )
    assert said == f"{tmp_path / name} cannot be written: No space left on device."


def test_an_own_directory_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_write.time, "sleep", lambda seconds: pytest.fail("waits for its own lock"))
    with private_directory("triage") as directory:
        own = directory / f".x.kev.kevacuate-{os.getpid()}"
        claim(directory / "x.kev", own, directory=True)
        assert put(own, directory / "x.kev") == directory / "x.kev"
        release(own)
