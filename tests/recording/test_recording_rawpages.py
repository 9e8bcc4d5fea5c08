# SPDX-License-Identifier: GPL-2.0-or-later
"""Raw per-CPU pages: files, directories, and what must lie beside them."""

import lzma
import shutil
from pathlib import Path

import pytest
from recording_reference import RAW_2CPU
from test_recording_tracedat import equal

from kevacuate.errors import KevacuateError
from kevacuate.recording import Recording
from kevacuate.recording.importers import ImportOptions, import_recording, open_source
from kevacuate.recording.schema import concat_chunks

FORMATS = ImportOptions(RAW_2CPU / "formats")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two CPUs' files, one plain and one xz, and nothing else."""
    directory = tmp_path / "raw"
    directory.mkdir()
    trace = RAW_2CPU / "trace"
    (directory / "cpu0.raw").write_bytes(lzma.decompress((trace / "cpu0.raw.xz").read_bytes()))
    for name in ("cpu1.raw.xz", "header_page", "trace_clock", "cpu0.stats"):
        shutil.copyfile(trace / name, directory / name)
    return directory


def test_a_directory_of_files(raw: Path) -> None:
    read = concat_chunks(list(open_source(raw, FORMATS).events()))
    assert equal(read, concat_chunks(list(Recording.open(RAW_2CPU).events())))
    shutil.copytree(RAW_2CPU / "formats", raw / "formats")
    assert concat_chunks(list(open_source(raw).events())).rows == read.rows


@pytest.mark.parametrize("name", ["cpu1.raw.xz", "trace.dat.cpu1", "pages"])
def test_one_file(raw: Path, tmp_path: Path, name: str) -> None:
    data = (raw / "cpu1.raw.xz").read_bytes()
    file = tmp_path / name
    file.write_bytes(data if name.endswith(".xz") else lzma.decompress(data))
    read = concat_chunks(list(open_source(file, FORMATS).events()))
    wanted = concat_chunks(list(Recording.open(RAW_2CPU).events()))
    assert set(read.cpu.tolist()) == {0 if name == "pages" else 1}
    assert read.ts.tolist() == wanted.ts[wanted.cpu == 1].tolist()


def test_without_format_files(raw: Path) -> None:
    for path in (raw, raw / "cpu0.raw"):
        with pytest.raises(KevacuateError, match=r"mean nothing without .* --formats DIR"):
            open_source(path)


def test_a_cpu_twice_and_a_clock_of_other_units(raw: Path) -> None:
    shutil.copyfile(raw / "cpu0.raw", raw / "x.cpu0")
    with pytest.raises(KevacuateError, match="are of the same CPU: remove one"):
        open_source(raw, FORMATS)
    (raw / "x.cpu0").unlink()
    (raw / "trace_clock").write_text("local [counter] mono")
    with pytest.raises(KevacuateError, match="clock 'counter', which does not count nanoseconds"):
        open_source(raw, FORMATS)


def test_a_directory_with_states_keeps_them(tmp_path: Path) -> None:
    about = import_recording(RAW_2CPU, tmp_path / "x.kev")
    made, wanted = Recording.open(tmp_path / "x.kev"), Recording.open(RAW_2CPU)
    assert about["lacks"] == []
    assert [s.tag for s in made.states] == [s.tag for s in wanted.states] != []
    assert made.losses == wanted.losses


def test_directories_that_hold_nothing_to_import(tmp_path: Path, kev_2cpu: Path) -> None:
    with pytest.raises(KevacuateError, match=r"without cpuN\.raw files"):
        open_source(tmp_path)
    with pytest.raises(KevacuateError, match="is a recording already"):
        open_source(kev_2cpu)
