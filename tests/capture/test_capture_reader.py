# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that moves sub-buffers into the spool, on files that stand for a kernel's: CPUs that come and go."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from capture_tools import PAGE, free, sub_buffer

from kevacuate.capture.reader import CpuReader
from kevacuate.capture.spool import DONE, W_DONE, W_ERROR, Words, gone_cpus, segment_path


def instance(tmp_path: Path, **files: bytes) -> Path:
    """A directory like a tracing instance, whose raw files hold these bytes."""
    for cpu, data in files.items():
        (tmp_path / "instance/per_cpu" / cpu).mkdir(parents=True)
        (tmp_path / "instance/per_cpu" / cpu / "trace_pipe_raw").write_bytes(data)
    (tmp_path / "spool").mkdir()
    return tmp_path / "instance"


@pytest.fixture
def one(tmp_path: Path) -> CpuReader:
    """A reader of a CPU with two sub-buffers."""
    path = instance(tmp_path, cpu0=sub_buffer(100, free(1)) + sub_buffer(200, free(2)))
    words = Words(tmp_path / "spool", 1, create=True)
    return CpuReader(path, tmp_path / "spool", 0, 0, words, PAGE, ThreadPoolExecutor(1))


def test_a_raw_file_that_is_not_there_ends_that_cpu_only(tmp_path: Path) -> None:
    path = instance(tmp_path, cpu0=sub_buffer(100, free(1)))
    words = Words(tmp_path / "spool", 2, create=True)
    arguments = [str(path), str(tmp_path / "spool"), str(PAGE), "0.01", "0.01", "0,1"]
    reader = subprocess.run(
        [sys.executable, "-m", "kevacuate.capture.reader", *arguments], input=b"s", check=False, timeout=600
    )
    assert reader.returncode == 0
    assert (words[W_DONE], words[W_ERROR]) == (DONE, 0)
    assert words.spooled(0) == PAGE
    assert words.until(1) > 0  # so that the other CPU's events do not wait for it
    (gone,) = gone_cpus(tmp_path / "spool")
    assert gone.cpu == 1
    assert "No such file" in gone.why


def test_without_any_raw_file_nothing_can_be_recorded(tmp_path: Path) -> None:
    path = instance(tmp_path)
    words = Words(tmp_path / "spool", 1, create=True)
    arguments = [str(path), str(tmp_path / "spool"), str(PAGE), "0.01", "0.01", "0"]
    subprocess.run(
        [sys.executable, "-m", "kevacuate.capture.reader", *arguments], input=b"s", check=False, timeout=600
    )
    assert words[W_ERROR] == errno.ENOENT


def test_a_raw_file_that_goes_away_is_noted_from_where_it_was_last_known(one: CpuReader) -> None:
    one.flush()
    assert one.total == 2 * PAGE
    until = one.words.until(0)
    assert until > 0
    os.close(one.raw)
    one.flush()
    one.flush()
    assert one.gone
    assert [(g.cpu, g.ts) for g in gone_cpus(one.spool)] == [(0, until)]
    assert segment_path(one.spool, 0, 0).stat().st_size == 2 * PAGE


def test_a_cpu_that_has_never_been_up_has_nothing_yet(
    one: CpuReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux 6.1: a read of its trace_pipe_raw is ENODEV, and of the same open file, once it is up, its events."""
    real, up = os.read, False

    def read(file: int, size: int) -> bytes:
        if file == one.raw and not up:
            raise OSError(errno.ENODEV, "No such device")
        return real(file, size)

    def no_full_pages(*arguments: object, **more: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "read", read)
    monkeypatch.setattr(os, "splice", no_full_pages)
    one.flush()
    assert (one.gone, one.total) == (False, 0)
    up = True
    one.flush()
    assert (one.gone, one.total) == (False, 2 * PAGE)
    assert gone_cpus(one.spool) == []
