# SPDX-License-Identifier: GPL-2.0-or-later
"""On the running kernel, in a tracing instance of its own; skipped where that is not possible."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from capture_tools import kevacuate, unavailable

from kevacuate.capture.options import RecordOptions
from kevacuate.capture.start import record
from kevacuate.capture.status import Result
from kevacuate.capture.tracefs import PREFIX, find_tracefs
from kevacuate.errors import KevacuateError
from kevacuate.recording import EventKind, Recording
from kevacuate.replay.demand import build_demand

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "never")

WORK = """
import mmap, os
for _ in range(3):
    m = mmap.mmap(-1, 24 << 20)
    for at in range(0, len(m), 4096):
        m[at] = 1
    m.close()
    if os.fork() == 0:
        open(os.__file__, 'rb').read()
        os._exit(0)
    os.wait()
"""


def instances() -> set[str]:
    """Our instances that there are now; those of other recorders may come and go."""
    tracefs = find_tracefs()
    assert tracefs is not None
    return {p.name for p in (tracefs / "instances").glob(PREFIX + "*")}


def wait_for(directory: Path) -> None:
    """Until a recorder there has taken its first snapshot."""
    deadline = time.monotonic() + 60
    while not list(directory.glob(".a.kev.rec-*/snapshots.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether the instance of that recorder goes away."""
    deadline = time.monotonic() + 20
    while f"{PREFIX}{pid}" in instances():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Recording]:
    """A command, recorded."""
    target = tmp_path_factory.mktemp("live") / "a.kev"
    result = record(RecordOptions(target, command=(sys.executable, "-c", WORK)))
    return result, Recording.open(target)


def test_a_command_is_recorded_without_loss(recorded: tuple[Result, Recording]) -> None:
    result, recording = recorded
    assert (result.lost, result.exit_status, result.stopped) == (0, 0, "with the command")
    assert f"{PREFIX}{os.getpid()}" not in instances()
    assert [p.name for p in recording.path.parent.iterdir()] == ["a.kev"]
    kinds = recording.quality["events_by_kind"]
    assert kinds["MM_PAGE_ALLOC"] > 18_000
    assert kinds["MM_PAGE_FREE"] > 18_000
    assert not any(loss.any for loss in recording.losses)
    assert [s.label for s in recording.snapshots] == ["start", "end"]
    assert recording.quality["recorder_events"] < recording.quality["events"]
    assert recording.machine.gfp_bits["__GFP_MOVABLE"] >= 0
    assert not recording.machine.extra["pids_kept"]


def test_the_start_of_a_recording_fits_its_events(recorded: tuple[Result, Recording]) -> None:
    _, recording = recorded
    start = recording.start
    assert start is not None
    assert start.page_flags is not None
    free = int((1 << start.free.order.astype(np.int64)).sum())
    counted = sum(zone.free for zone in recording.snapshots[0].zones)
    assert abs(free - counted) < 0.05 * counted + 8192
    demand = build_demand(recording)
    for _ in demand.chunks():
        pass
    quality = demand.quality
    assert quality.allocs > 15_000
    assert quality.trusted > 0.99


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
    in_order = list(dict.fromkeys(re.sub(r"\d+%", "N%", phase) for phase in phases))
    assert in_order[:3] == ["preparing the decoder", "reading page flags (N%)", "recording"]
    assert phases.index("reading page flags (100%)") < phases.index("recording")
    after = phases[len(phases) - phases[::-1].index("recording") :]
    assert after[0].startswith("stopped after the time asked for; reading page flags (")
    assert after[-1] == "stopped after the time asked for; writing the recording"


def test_pids_and_names_on_request_only(tmp_path: Path) -> None:
    target = tmp_path / "a.kev"
    record(RecordOptions(target, duration=0.2, keep_pids=True, pages=False))
    recording = Recording.open(target)
    pids = {int(p) for chunk in recording.events() for p in np.unique(chunk.pid)}
    assert os.getpid() in pids
    assert recording.quality["tasks"]


def test_the_size_on_disk_has_a_limit(tmp_path: Path) -> None:
    target = tmp_path / "a.kev"
    result = record(RecordOptions(target, duration=60, max_bytes=1 << 16, pages=False))
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
    first = kevacuate("record", "-o", str(tmp_path / "a.kev"), "--duration", "60", "--no-pages")
    wait_for(tmp_path)
    second = kevacuate("record", "-o", str(tmp_path / "a.kev"), "--duration", "1", "--no-pages")
    _, said = second.communicate(timeout=120)
    assert second.returncode == 2
    assert said.splitlines()[-1].endswith(
        f"a.kev is being written by process {first.pid}: wait for it, or choose another name with -o."
    )
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=120)
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
    process = kevacuate("record", "-o", str(tmp_path / "a.kev"), "--duration", "60", "--no-pages")
    wait_for(tmp_path)
    time.sleep(random.Random(number).uniform(0, 0.5))
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
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


def test_a_killed_reader_ends_the_recording(tmp_path: Path) -> None:
    process = kevacuate("record", "-o", str(tmp_path / "a.kev"), "--duration", "60", "--no-pages")
    wait_for(tmp_path)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:  # so that every CPU has events, and those up to some time are known
        for cpu in os.sched_getaffinity(0):
            touch = f"import os; os.sched_setaffinity(0, {{{cpu}}}); bytearray(32 << 20)"
            subprocess.run([sys.executable, "-c", touch], check=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    recording = Recording.open(tmp_path / "a.kev")
    assert "was killed" in recording.quality["stopped"]
    assert recording.quality["cut_ts"] > 0
    assert gone(process.pid)


NOBODY = """
import contextlib, io, os, sys
import kevacuate.capture.start, kevacuate.capture.survey, kevacuate.cli.record, kevacuate.cli.snapshot
import kevacuate.capture.doctor, kevacuate.cli.doctor, rich.table
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
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=60, cwd="/")
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
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    found = json.loads(out)
    assert found["recording_possible"]
    assert {check["status"] for check in found["checks"]} <= {"ok", "note"}
    assert gone(process.pid)


def test_a_snapshot_of_this_machine(tmp_path: Path) -> None:
    process = kevacuate("snapshot", "--json", "-o", str(tmp_path / "s.json"))
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    found = json.loads(out)
    assert found["pages"]["free"] > 0
    there = [name for name in found["blocks"]["class"] if name != "absent"]
    assert sum(found["blocks_by_class"].values()) == len(there)
    assert json.loads((tmp_path / "s.json").read_text()) == found
