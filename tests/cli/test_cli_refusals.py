# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input and interruption: one sentence on stderr, exit 2 (130 after Ctrl-C), nothing left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_tools import COMMAND, call, files, refusal, run
from synthetic import Script, fragmenting, machine, write_recording

import kevacuate
from kevacuate.policy import policies_told
from kevacuate.recording.parquet import combined_digest


@pytest.fixture
def damaged(synthetic_kev: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    path = tmp_path / "damaged.kev"
    shutil.copytree(synthetic_kev, path)
    return path


def set_version(file: Path, version: int) -> None:
    """Give a json file of a recording another schema version, and the digest that belongs to it."""
    body = json.loads(file.read_text()) | {"schema_version": version}
    own = body.pop("files")
    body.pop("digest")
    body |= {"files": own, "digest": combined_digest(body, own)}
    file.write_text(json.dumps(body))


@pytest.mark.parametrize("command", ["compare", "replay", "info"])
def test_missing(tmp_path: Path, command: str) -> None:
    assert refusal(command, tmp_path / "none.kev", apart=True).endswith("none.kev does not exist.")


def test_foreign(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    assert "is a file, but a recording is a directory" in refusal("compare", tmp_path / "x")
    assert "is not a recording" in refusal("compare", tmp_path)
    (tmp_path / "machine.json").write_text('{"name": "some other program"}')
    assert "does not describe a kevacuate recording" in refusal("compare", tmp_path)


@pytest.mark.parametrize(
    "name", ["machine.json", "demand.parquet", "demand.json", "states/000/free.parquet", "quality.json"]
)
def test_truncated_corrupted_and_incomplete(damaged: Path, name: str) -> None:
    file = damaged / name
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert "corrupted" in refusal("replay", damaged)
    file.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert "corrupted" in refusal("replay", damaged, apart=True)


def test_a_file_is_missing(damaged: Path) -> None:
    (damaged / "states/000/blocks.parquet").unlink()
    assert "blocks.parquet is missing: the recording is not complete" in refusal("info", damaged)


@pytest.mark.parametrize("name", ["machine.json", "demand.json"])
def test_newer_schema(damaged: Path, name: str) -> None:
    set_version(damaged / name, 99)
    said = refusal("compare", damaged)
    assert "has schema version 99, but this program reads up to version 1: install a newer kevacuate." in said


def test_unknown_policy_and_knob_before_anything_is_read(tmp_path: Path) -> None:
    for command in ("compare", "replay"):
        said = refusal(command, tmp_path / "none.kev", "--policy", "evict")
        assert said == (
            f"There is no policy 'evict': the known ones are {', '.join(policies_told())}; a file is written FILE.py:CLASS."
        )
        said = refusal(command, tmp_path / "none.kev", "--policy", "evacuate,items=3")
        assert said.startswith(
            "Policy evacuate has no knob 'items': did you mean no-item? It takes pool, wq, skip-hint"
        )
        said = refusal(command, tmp_path / "none.kev", "--policy", "evacuate,pool=many")
        assert said.startswith("Knob pool of policy evacuate cannot be 'many': it takes a number")


def test_that_plain_python_is_slow_is_said_at_once(tmp_path: Path) -> None:
    done = run("replay", tmp_path / "none.kev", "--debug")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "kevacuate: runs as plain Python, which takes minutes where compiled code takes seconds."
    )
    assert "none.kev" in done.stderr.splitlines()[1]


def test_a_node_that_the_machine_does_not_have(synthetic_kev: Path) -> None:
    assert "names node 3" in refusal("replay", synthetic_kev, "--policy", "evacuate,no-workqueue=3")


@pytest.mark.parametrize(
    "args",
    [
        ("compare", "--nope"),
        ("frobnicate",),
        ("replay", "--seed", "-1"),
        ("replay", "a", "b"),
        ("info", "--seed", "1"),
    ],
)
def test_wrong_usage(args: tuple[str, ...]) -> None:
    path = "kevacuate" if args[0] == "frobnicate" else f"kevacuate {args[0]}"
    assert refusal(*args).endswith(f"See '{path} --help'.")


def test_a_command_misspelt_is_answered_with_those_like_it() -> None:
    assert refusal("cmpare").startswith("There is no command 'cmpare': did you mean compare?")
    assert "did you mean report" in refusal("reprot", "x.kev")


def test_no_command_shows_the_help() -> None:
    done = call()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == call("--help").stdout
    assert call("help").stdout == done.stdout
    assert call("help", "triage").stdout == call("triage", "--help").stdout


def test_options_of_other_recorders_are_no_commands(tmp_path: Path) -> None:
    assert refusal("record", "-a", "sleep", "1").startswith(
        "record has no option '-a'. All CPUs and tasks are recorded"
    )
    assert "is not a directory" in refusal("record", "--duration", "1", "-o", tmp_path / "none" / "x.kev")
    assert not (tmp_path / "none").exists()


def test_a_demand_that_frees_what_was_never_allocated(tmp_path: Path) -> None:
    script = fragmenting(2_000)
    script.free(19_999)
    path = write_recording(tmp_path / "x.kev", script)
    wanted = "Row 2000 of the demand frees object 19999, which was never allocated or is freed already"
    assert refusal("compare", path, apart=True).startswith(wanted)
    assert refusal("replay", path, "--policy", "evacuate", "--json").startswith(wanted)


def test_losses_are_refused_unless_told_otherwise(tmp_path: Path) -> None:
    script = Script()
    script.alloc(100)
    path = write_recording(tmp_path / "x.kev", script, missed=7)
    for command in ("compare", "replay"):
        assert "lost events (7 on CPU 1)" in refusal(command, path)
        done = call(command, path, "--despite-losses", "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    done = run("info", os.fsencode(tmp_path / "x").decode() + "\udcff")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recording_whose_name_is_not_utf8(synthetic_kev: Path, tmp_path: Path) -> None:
    named = tmp_path / os.fsdecode(b"caf\xe9.kev")
    shutil.copytree(synthetic_kev, named)
    for command in ("info", "replay", "export"):
        assert "is not UTF-8: rename it" in refusal(
            command, *(["--ftrace"] if command == "export" else []), named
        )


def test_a_part_that_is_no_file_is_not_read(damaged: Path) -> None:
    (damaged / "events.parquet").unlink()
    (damaged / "events.parquet").symlink_to("/dev/zero")
    assert "events.parquet is not a regular file" in refusal("info", damaged)


def test_more_cpus_than_linux_knows(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "many.kev", described=machine(cpus=10**9))
    assert "says 1000000000 CPUs" in refusal("replay", path)


HOSTILE = "7.2.13 [/red][link=http://x]\x1b]0;title\x07\u202elive\x9b31m"


@pytest.mark.parametrize("command", ["info", "replay", "triage", "verify"])
def test_a_kernels_name_is_shown_and_not_obeyed(tmp_path: Path, command: str) -> None:
    path = write_recording(tmp_path / "bad.kev", described=machine(kernel=HOSTILE))
    done = call(command, path)
    assert not any(c in done.stdout + done.stderr for c in "\x1b\x07\u202e\x9b")
    if command != "triage":  # there is nothing in it to triage
        assert "[/red][link=http://x]\\u001b]0;title" in done.stdout.replace("\n", "")


def test_what_is_named_in_an_error_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    assert "a\\u001b]0;title\\u0007 does not exist" in refusal("info", tmp_path / "a\x1b]0;title\x07")


def interrupted_when(args: list[str], ready: Path, cwd: Path) -> tuple[int, str, str]:
    """Start the command, send SIGINT once a file appears; exit code, stdout and stderr."""
    code = (
        "import signal, sys, pathlib, kevacuate.runs.replay as r\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background\n"
        "feed = r.Replay.feed\n"
        "def marked(self, chunk, row=0):\n"
        "    feed(self, chunk, row)\n"
        f"    pathlib.Path({str(ready)!r}).touch()\n"
        "    import time; time.sleep(30)\n"
        "r.Replay.feed = marked\n"
        "from kevacuate.cli import main; main()\n"
    )
    process = subprocess.Popen(
        [COMMAND[0], "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd
    )
    deadline = time.monotonic() + 600
    while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.mark.parametrize("options", [("--json",), ()])
def test_ctrl_c_in_the_middle_of_a_run(synthetic_kev: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    before = files(synthetic_kev)
    work = tmp_path / "work"
    work.mkdir()
    code, out, err = interrupted_when(["compare", str(synthetic_kev), *options], tmp_path / "ready", work)
    assert code == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "kevacuate: interrupted; nothing was written."
    assert files(work) == {}
    assert files(synthetic_kev) == before


def test_no_memory_and_system_errors_are_sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kevacuate.cli import main as run_main
    from kevacuate.recording import Recording

    for error, words in (
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device", "x"), "x No space left"),
    ):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(Recording, "open", fail)
        with pytest.raises(SystemExit) as caught:
            run_main(["info", "somewhere"])
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


DATA = Path(__file__).parent.parent / "data"
EMPTY = {
    "info": [""],
    "compare": [""],
    "explain": ["", "1"],
    "report": [""],
    "plot": [""],
    "verify": [""],
    "triage": [""],
    "import": [""],
    "export": ["-o", ""],
    "replay": ["--save", ""],
    "snapshot": ["-o", ""],
    "holders": ["--vmcore", ""],
    "record": ["-o", ""],
}
"""Command, and an empty name where it takes a file's, as an unset variable of a shell gives."""


@pytest.mark.parametrize("command", list(EMPTY))
def test_an_empty_name_is_not_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "an empty name names no file" in refusal(command, *EMPTY[command])
    assert list(tmp_path.iterdir()) == []


def test_an_empty_policy_is_no_policy(synthetic_kev: Path) -> None:
    for command in (["watch", "--once"], ["replay"], ["compare"], ["explain", "1"]):
        words = [command[0], synthetic_kev, *command[1:], "--policy", ""]
        assert refusal(*words).startswith("There is no policy ''"), words


def test_a_name_of_two_lines_makes_no_second_sentence(tmp_path: Path) -> None:
    (tmp_path / "a\nkevacuate: all is well.").touch()
    said = refusal("info", tmp_path / "a\nkevacuate: all is well.")
    assert "a\\u000akevacuate: all is well. is empty" in said


@pytest.mark.parametrize("where", ["-", "/", "DIRECTORY"])
@pytest.mark.parametrize(
    "command", ["report", "replay", "plot", "import", "snapshot", "record", "compare", "export"]
)
def test_what_is_no_files_name_is_refused_before_the_work(
    synthetic_kev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, where: str
) -> None:
    if command == "plot" and where != "-":
        pytest.skip("a directory is what it takes")
    if command == "export" and where == "-":
        pytest.skip("it writes to standard output")
    for work in ("compare", "snapshot"):  # the others refuse by themselves what exists
        monkeypatch.setattr(kevacuate, work, None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIRECTORY").mkdir()
    name = "--save" if command in ("replay", "compare") else "-o"
    given = {
        "import": [DATA / "trace-cmd/live.v7.dat"],
        "snapshot": [],
        "record": ["--duration", "1"],
        "export": ["--ftrace", synthetic_kev],
    }
    said = refusal(command, *given.get(command, [synthetic_kev]), name, where)
    wanted = "cannot go to standard output (-)" if where == "-" else f"{where}' is a directory|{where} exists"
    assert re.search(re.escape(wanted).replace(r"\|", "|"), said), said
    assert [path.name for path in tmp_path.iterdir()] == ["DIRECTORY"]
