# SPDX-License-Identifier: GPL-2.0-or-later
"""On the running kernel, in a tracing instance of its own; skipped where that is not possible."""

import contextlib
import json
import mmap
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from capture_tools import (
    DRIFT,
    LONGEST,
    agrees_with_first_events,
    kevacuate,
    pages_moved,
    unavailable,
    wait_until,
)

from kevacuate.capture.options import RecordOptions
from kevacuate.capture.spool import Words
from kevacuate.capture.start import start_recording as record
from kevacuate.capture.status import Result
from kevacuate.capture.tracefs import PREFIX, find_tracefs
from kevacuate.demand.build import build_demand
from kevacuate.errors import KevacuateError
from kevacuate.recording import EventKind, Recording

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "never")

WORK = """
import contextlib, mmap, os
for _ in range(3):
    m = mmap.mmap(-1, 24 << 20)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        m.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, len(m), mmap.PAGESIZE):
        m[at] = 1
    m.close()
    if os.fork() == 0:
        open(os.__file__, 'rb').read()
        os._exit(0)
    os.wait()
"""
TOUCHED = 3 * (24 << 20) // mmap.PAGESIZE
"""Pages that it allocates, one by one, at the least."""
BATCHED = 64
"""More pages than a CPU's folio batches hold back from being freed."""
FOREVER = ("--duration", "36000", "--no-pages")
"""Options of a recorder that the test ends."""


def instances() -> set[str]:
    """Our instances that there are now; those of other recorders may come and go."""
    tracefs = find_tracefs()
    assert tracefs is not None
    return {p.name for p in (tracefs / "instances").glob(PREFIX + "*")}


@contextlib.contextmanager
def recorder(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A recorder of ``a.kev`` there, once it has taken its first snapshot; killed if the test fails."""
    process = kevacuate("record", "-o", str(directory / "a.kev"), *FOREVER)
    try:
        wait_until(lambda: process.poll() is not None or any(directory.glob(".a.kev.rec-*/snapshots.jsonl")))
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        process.kill()


def gone(pid: int) -> bool:
    """Whether the instance of that recorder goes away."""
    wait_until(lambda: f"{PREFIX}{pid}" not in instances())
    return True


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Recording]:
    """A command, recorded."""
    target = tmp_path_factory.mktemp("live") / "a.kev"
    result = record(RecordOptions(target, command=(sys.executable, "-c", WORK), snapshot_seconds=36000))
    return result, Recording.open(target)


def test_a_command_is_recorded_and_what_was_lost_is_said(recorded: tuple[Result, Recording]) -> None:
    result, recording = recorded
    assert (result.exit_status, result.stopped) == (0, "with the command")
    assert f"{PREFIX}{os.getpid()}" not in instances()
    assert [p.name for p in recording.path.parent.iterdir()] == ["a.kev"]
    kinds = recording.quality["events_by_kind"]
    lost = any(loss.any for loss in recording.losses)
    assert bool(result.lost) == lost
    assert lost or kinds["MM_PAGE_ALLOC"] >= TOUCHED
    assert lost or kinds["MM_PAGE_FREE"] >= TOUCHED - BATCHED * recording.machine.cpus
    assert [s.label for s in recording.snapshots] == ["start", "end"]
    assert recording.quality["recorder_events"] < recording.quality["events"]
    assert recording.machine.gfp_bits["__GFP_MOVABLE"] >= 0
    assert not recording.machine.extra["pids_kept"]


def test_the_start_of_a_recording_fits_its_events(recorded: tuple[Result, Recording]) -> None:
    result, recording = recorded
    start = recording.start
    assert start is not None
    assert start.page_flags is not None
    free = int((1 << start.free.order.astype(np.int64)).sum())
    zones = recording.snapshots[0].zones
    counted = sum(zone.free for zone in zones)
    assert abs(free - counted) <= pages_moved(
        recording, start.ts_begin, recording.snapshots[0].ts
    ) + DRIFT * len(zones)
    agrees_with_first_events(recording)
    demand = build_demand(recording)
    for _ in demand.chunks():
        pass
    assert result.lost or demand.quality.allocs >= TOUCHED


def test_rare_events_only(tmp_path: Path) -> None:
    target = tmp_path / "a.kev"
    record(RecordOptions(target, duration=0.3, light=True, pages=False))
    recording = Recording.open(target)
    names = set(recording.quality["events_by_kind"])
    assert names <= {EventKind.MM_PAGE_ALLOC_EXTFRAG.name, EventKind.COMPACTION_END.name}
    assert len(recording.snapshots) == 2
    assert recording.states == []


def test_reading_the_page_flags_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kevacuate.capture.session._HOUSEKEEPING_SECONDS", 0.0)
    phases: list[str] = []
    options = RecordOptions(tmp_path / "a.kev", duration=0.1, light=True)
    record(options, lambda status: phases.append(status.phase))
    in_order = list(dict.fromkeys(re.sub(r"\d+ %", "N %", phase) for phase in phases))
    assert in_order[:3] == ["preparing the decoder", "reading page flags (N %)", "recording"]
    assert phases.index("reading page flags (100 %)") < phases.index("recording")
    after = phases[len(phases) - phases[::-1].index("recording") :]
    assert after[0].startswith("stopped after the time asked for; reading page flags (")
    assert after[-1] == "stopped after the time asked for; writing the recording"


def test_pids_and_names_on_request_only(tmp_path: Path) -> None:
    target, said = tmp_path / "a.kev", tmp_path / "pid"
    command = ("sh", "-c", f"echo $$ > {said}; head -c 1M /dev/zero > {tmp_path}/zeros")
    record(RecordOptions(target, command=command, keep_pids=True, pages=False))
    recording = Recording.open(target)
    pids = {int(p) for chunk in recording.events() for p in np.unique(chunk.pid)}
    assert int(said.read_text()) in pids
    assert recording.quality["tasks"]


def test_the_size_on_disk_has_a_limit(tmp_path: Path) -> None:
    target = tmp_path / "a.kev"
    busy = subprocess.Popen([sys.executable, "-c", "while True: bytearray(8 << 20)"])
    try:
        result = record(RecordOptions(target, duration=36000, max_bytes=1 << 16, pages=False))
    finally:
        busy.kill()
        busy.wait()
    assert result.stopped == "at the size given with --max-size"
    assert Recording.open(target).quality["events"] > 0


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "a.kev"
    target.mkdir()
    with pytest.raises(KevacuateError, match="exists already"):
        record(RecordOptions(target, duration=0.1))
    with pytest.raises(KevacuateError, match="no program"):
        record(RecordOptions(tmp_path / "b.kev", command=("no-such-program-here",)))
    assert [p.name for p in tmp_path.iterdir()] == ["a.kev"]


def test_a_second_recorder_of_that_name_is_refused(tmp_path: Path) -> None:
    with recorder(tmp_path) as first:
        second = kevacuate("record", "-o", str(tmp_path / "a.kev"), "--duration", "1", "--no-pages")
        _, said = second.communicate(timeout=LONGEST)
        assert second.returncode == 2
        assert said.splitlines()[-1].endswith(
            f"a.kev is being written by process {first.pid}: wait for it, or choose another name with -o."
        )
        first.send_signal(signal.SIGTERM)
        _, errors = first.communicate(timeout=LONGEST)
    assert first.returncode == 0, errors
    assert [p.name for p in tmp_path.iterdir()] == ["a.kev"]
    assert gone(first.pid)
    assert gone(second.pid)


def test_a_recording_whose_name_was_taken_meanwhile_gets_another(tmp_path: Path) -> None:
    target = tmp_path / "a.kev"
    result = record(
        RecordOptions(target, command=("mkdir", str(target)), pages=False),
    )
    assert result.target == tmp_path / "a-2.kev"
    assert Recording.open(result.target).quality["stopped"] == "with the command"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-2.kev", "a.kev"]


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -KILL $$", 137), ("true", 0)])
def test_the_exit_status_is_the_commands(tmp_path: Path, command: str, code: int) -> None:
    words = ["record", "-o", str(tmp_path / "a.kev"), "--light", "--no-pages", "--", "sh", "-c", command]
    process = kevacuate(*words)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    done = ("draining the trace buffers", "decoding the last events", "writing the recording")
    for doing in done:
        assert f"kevacuate: stopped with the command; {doing}.\n" in said
    assert Recording.open(tmp_path / "a.kev").quality["stopped"] == "with the command"


@pytest.mark.parametrize("words", [["record", "-o", "a.kev"], ["triage", "--live"]], ids=lambda w: w[0])
def test_a_signal_while_the_decoder_is_compiled_leaves_nothing(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "tmp").mkdir()
    code = (
        "import hashlib, pathlib, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "import kevacuate.capture.session as m\n"
        "def compiles(self):\n"
        f"    pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 30)\n"
        "m.SpoolStream.warm_up = compiles\n"
        "from kevacuate.cli import main; main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    try:
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, said.splitlines()[-1]) == (
        143,
        "kevacuate: stopped by SIGTERM; nothing was written.",
    )
    assert f"{PREFIX}{process.pid}" not in instances()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["ready", "tmp"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_a_killed_recorder_leaves_nothing_or_a_recording(tmp_path: Path, number: signal.Signals) -> None:
    with recorder(tmp_path) as process:
        time.sleep(random.Random(number).uniform(0, 0.5))
        process.send_signal(number)
        _, errors = process.communicate(timeout=LONGEST)
    assert "Traceback" not in errors
    if number != signal.SIGKILL:
        assert process.returncode == 0, errors
        assert [p.name for p in tmp_path.iterdir()] == ["a.kev"]
        assert Recording.open(tmp_path / "a.kev").quality["stopped"] == f"by {number.name}"
    assert gone(process.pid)
    record(RecordOptions(tmp_path / "next.kev", duration=0.1, light=True, pages=False))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == (["a.salvaged.kev", "next.kev"] if number == signal.SIGKILL else ["a.kev", "next.kev"])
    for name in names:
        assert sum(chunk.rows for chunk in Recording.open(tmp_path / name).events()) >= 0


def touch_every_cpu() -> None:
    """Make each CPU allocate pages."""
    for cpu in os.sched_getaffinity(0):
        touch = f"import os; os.sched_setaffinity(0, {{{cpu}}}); bytearray(32 << 20)"
        subprocess.run([sys.executable, "-c", touch], check=True)


def test_a_killed_reader_ends_the_recording(tmp_path: Path) -> None:
    with recorder(tmp_path) as process:
        (work,) = tmp_path.glob(".a.kev.rec-*")
        cpus = len(json.loads((work / "facts.json").read_text())["cpus"])
        words = Words(work / "spool", cpus)

        def known() -> bool:
            touch_every_cpu()
            return all(words.until(at) > 0 or words.spooled(at) > 0 for at in range(cpus))

        wait_until(known)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, errors
    recording = Recording.open(tmp_path / "a.kev")
    assert "was killed" in recording.quality["stopped"]
    assert recording.quality["cut_ts"] > 0
    assert gone(process.pid)


NOBODY = """
import contextlib, io, os, sys
import kevacuate.capture.start, kevacuate.capture.survey, kevacuate.cli.record, kevacuate.cli.snapshot
import kevacuate.capture.doctor, kevacuate.capture.record, kevacuate.capture.snapshot, kevacuate.capture.workdir
import kevacuate.cli.doctor, rich.table
from kevacuate.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["doctor"])  # loads what it needs: nobody may not be able to read where this package lies
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
main(sys.argv[1:])
"""


def as_nobody(*arguments: str) -> tuple[int, str]:
    """The command line's exit status and its words on stderr, without root."""
    script = [sys.executable, "-c", NOBODY, *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=LONGEST, cwd="/")
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["record", "--duration", "1"], ["snapshot"]], ids=lambda a: a[0])
def test_without_root_there_is_one_sentence(arguments: list[str]) -> None:
    code, errors = as_nobody(*arguments)
    assert code == 2
    assert len(errors.strip().splitlines()) == 1
    assert "sudo" in errors


def test_without_root_the_doctor_says_what_to_do() -> None:
    assert as_nobody("doctor") == (1, "")


def test_the_doctor_says_that_it_is_possible() -> None:
    process = kevacuate("doctor", "--json")
    out, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, errors
    found = json.loads(out)
    assert found["recording_possible"]
    assert {check["status"] for check in found["checks"]} <= {"ok", "note"}
    assert gone(process.pid)


def test_a_snapshot_of_this_machine(tmp_path: Path) -> None:
    process = kevacuate("snapshot", "--json", "-o", str(tmp_path / "s.json"))
    out, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, errors
    found = json.loads(out)
    assert found["pages"]["free"] > 0
    there = [name for name in found["blocks"]["class"] if name != "absent"]
    assert sum(found["blocks_by_class"].values()) == len(there)
    assert json.loads((tmp_path / "s.json").read_text()) == found
