# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands import and export, and what the others say of a recording that has only events."""

import errno
import json
import lzma
import os
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
import pytest
from cli_tools import TEXT, call, files, refusal, run

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.recording import EventKind, Recording
from kevacuate.recording.importers import import_recording

DATA = Path(__file__).parent.parent / "data"
SHIPPED = Path(kevacuate.__file__).parent / "data"
LIVE = DATA / "trace-cmd" / "live.v7.dat"


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A recording made of a trace.dat."""
    path = tmp_path / "live.kev"
    assert call("import", LIVE, "-o", path).returncode == 0
    return path


def test_import_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("import", LIVE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("live.v7.kev: 3,078 events over 0.0")
    assert "from trace.dat version 7, zstd." in done.stdout
    assert "cannot be replayed" in done.stdout
    assert done.stderr == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["live.v7.kev"]


def test_import_as_json(tmp_path: Path) -> None:
    done = call("import", LIVE, "-o", tmp_path / "x.kev", "--no-pids", "--json")
    about = json.loads(done.stdout)
    assert about["events"] == 3078 == sum(about["events_by_kind"].values())
    assert about["lacks"] == ["states", "zones"]
    assert about["lost_events"] == {}


def test_repeated_imports_are_equal(tmp_path: Path, imported: Path) -> None:
    call("import", LIVE, "-o", tmp_path / "again.kev")
    for name in files(imported):
        assert (imported / name).read_bytes() == (tmp_path / "again.kev" / name).read_bytes(), name


def test_refusals_of_import(tmp_path: Path, imported: Path) -> None:
    assert refusal("import", tmp_path / "none").endswith("none does not exist.")
    assert refusal("import", LIVE, "-o", imported).endswith(
        "exists already: remove it or choose another name."
    )
    (tmp_path / "x").write_bytes(LIVE.read_bytes()[:20000])
    before = files(tmp_path)
    assert "truncated or corrupted" in refusal("import", tmp_path / "x", "-o", tmp_path / "y.kev", apart=True)
    assert "is a recording already" in refusal("import", imported)
    assert files(tmp_path) == before
    assert "is not a directory" in refusal("import", LIVE, "-o", LIVE / "x.kev")


def test_info_of_events_alone(imported: Path) -> None:
    done = call("info", imported)
    assert done.returncode == 0
    assert "no state of the allocator to start from" in " ".join(done.stdout.split())
    about = json.loads(call("info", imported, "--json").stdout)
    assert about["states"] == []
    assert about["events_by_kind"]["MM_PAGE_ALLOC"] > 100


@pytest.mark.parametrize("command", ["replay", "compare"])
def test_what_a_replay_lacks(imported: Path, command: str) -> None:
    said = refusal(command, imported)
    assert "holds no state of the allocator to start from (its zones, free lists and block types)" in said


def test_export(tmp_path: Path, imported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("export", "--ftrace", imported)
    assert done.stdout.startswith("live.trace.txt: 3,078 events, ")
    text = (tmp_path / "live.trace.txt").read_text()
    assert sum(not line.startswith("#") for line in text.splitlines()) == 3078
    assert run("export", "--ftrace", imported, "-o", "-").stdout == text
    about = json.loads(call("export", "--ftrace", imported, "-o", "x.txt", "--json").stdout)
    assert about["events"] == 3078
    assert about["bytes"] == len(text)
    theirs = lzma.decompress((DATA / "trace-cmd" / "live.text.xz").read_bytes()).decode().splitlines()
    ours = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert ours == [line.split() for line in theirs if ": mm_" in line]


def test_refusals_of_export(tmp_path: Path, imported: Path) -> None:
    assert (
        refusal("export", imported)
        == "Say in which format: --ftrace, --perfetto. See 'kevacuate export --help'."
    )
    shipped = SHIPPED / "stock-churn-1g-smp1-s3.kev"
    assert "holds no events, only what was made of them" in refusal("export", "--ftrace", shipped)
    (tmp_path / "x").write_text("")
    assert "exists already" in refusal("export", "--ftrace", imported, "-o", tmp_path / "x")
    assert "cannot be written" in refusal("export", "--ftrace", imported, "-o", tmp_path / "no" / "x")
    assert "leave one of them out" in refusal("export", "--ftrace", imported, "-o", "-", "--json")


def test_a_full_disk_is_told_of_by_the_recordings_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(
            errno.ENOSPC, "[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left"
        )

    (tmp_path / "trace.txt").write_text(TEXT)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    said = refusal("import", tmp_path / "trace.txt", "-o", tmp_path / "x.kev")
    assert said == f"{tmp_path / 'x.kev'} cannot be written: No space left on device."
    assert [path.name for path in tmp_path.iterdir()] == ["trace.txt"]


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example: kevacuate {command} " in call(command, "--help").stdout


def test_a_last_line_without_an_end_is_told(tmp_path: Path) -> None:
    """A text that was cut inside a number is read without complaint: nothing but the missing end shows it."""
    line = "bash-7 [000] .... 1.000001: mm_page_free: page=0x1 pfn=0x{} order={}"
    whole = line.format("10", 0) + "\n" + line.format("2000", 10) + "\n"
    said = []
    for cut in (0, 1, 2):
        (tmp_path / "t.txt").write_text(whole[: len(whole) - cut])
        done = call("import", tmp_path / "t.txt", "-o", tmp_path / f"{cut}.kev")
        assert done.returncode == 0
        (orders,) = (chunk.order.tolist() for chunk in Recording.open(tmp_path / f"{cut}.kev").events())
        said.append((orders[1], "The file's last line has no end" in done.stdout))
    assert said == [(10, False), (10, True), (1, True)]


def test_import_of_standard_input(tmp_path: Path) -> None:
    import gzip
    import subprocess
    import sys

    def piped(data: bytes, *args: str) -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, "-c", "from kevacuate.cli import main; main()", "import", "-", *args]
        return subprocess.run(words, input=data, capture_output=True, timeout=600, check=False, cwd=tmp_path)

    line = b"  x-5 [001] 1.000001: mm_page_free: page=0x1 pfn=0x1 order=0\n"
    done = piped(gzip.compress(line))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"imported.kev: 1 event over 0.000 s of 2 CPUs, from ftrace text.")
    done = piped(LIVE.read_bytes(), "-o", "live.kev", "--json")
    assert json.loads(done.stdout)["events"] == 3078
    done = piped(b"MemTotal:  1 kB\n", "-o", "x.kev")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"kevacuate: Standard input is a copy of /proc/meminfo: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["imported.kev", "live.kev"]


def test_import_of_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "trace.pipe"
    os.mkfifo(pipe)
    monkeypatch.chdir(tmp_path)
    writer = Thread(target=pipe.write_bytes, args=(LIVE.read_bytes(),))
    writer.start()
    done = call("import", pipe)
    writer.join()
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"kevacuate: reading {pipe}, a pipe, until its writer closes it.\n"
    assert done.stdout.startswith("trace.pipe.kev: 3,078 events")
    assert sorted(p.name for p in tmp_path.glob("*") if p.name != "tmp") == ["trace.pipe", "trace.pipe.kev"]
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(KevacuateError, match=r"^/dev/fd/\d+ is a pipe, which cannot be read twice: "):
        import_recording(Path(f"/dev/fd/{read}"), tmp_path / "x.kev")
    os.close(read)


@pytest.mark.parametrize("command", ["import", "report", "info"])
def test_a_link_to_itself_is_refused(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    assert "loop" in refusal(command, "loop")
    assert files(tmp_path) == {}


@pytest.mark.parametrize("name", ["one-cpu.kev", "raw-1cpu"])
def test_every_command_gives_one_number_of_events(name: str, tmp_path: Path) -> None:
    source = DATA / name

    def said(*words: object) -> int:
        done = call(*words, "--json")
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["events"])

    rows = [chunk.kind for chunk in Recording.open(source).events()]
    number = sum(int((kinds != EventKind.GT_DUMP).sum()) for kinds in rows)
    assert number < sum(map(len, rows)), (
        "the recording holds rows of a dump, so that one can be counted by mistake"
    )
    found = {"info": said("info", source), "verify": said("verify", source, "--level", "pcp")}
    found["export"] = said("export", "--ftrace", source, "-o", tmp_path / "x.txt")
    if name == "raw-1cpu":
        found["import"] = said("import", source, "-o", tmp_path / "x.kev")
        found["info of the import"] = said("info", tmp_path / "x.kev")
    found["quality"] = Recording.open(source).quality["events"]
    about = json.loads(call("info", source, "--json").stdout)
    found["by kind"] = sum(about["events_by_kind"].values())
    found["over time"] = sum(about["timeline"]["events"])
    assert set(found.values()) == {number}, found
