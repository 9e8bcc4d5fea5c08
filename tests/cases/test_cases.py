# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs from the field and their right answers, one folder each: README.md says how to add one."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from kevacuate.cli import main
from kevacuate.recording import EventKind, Recording
from kevacuate.recording.gfptext import gfp_text
from kevacuate.recording.schema import COLUMN_TYPES, EventChunk, concat_chunks

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/case.toml"))
_FRAME = re.compile("[\u2500-\u257f]+")
KEYS = {"name", "needs", "run", "recording"}
RUN_KEYS = {"command", "exit", "stdout", "stdout_lacks", "stderr", "stderr_lacks", "json"}
RECORDING_KEYS = {"path", "events", "losses", "machine", "quality", "row", "count"}


def run(command: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a kevacuate command, in this process: an exception is raised as it is.

    The line that says that the model is being compiled comes only with an empty cache, so it is left out.
    """
    words = shlex.split(command)
    assert words[0] == "kevacuate", command
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main(words[1:])
    code = caught.value.code
    assert isinstance(code, int), command
    for stream in (out, err):
        stream.seek(0)
    said = [
        line for line in err.read().splitlines(keepends=True) if "compiling a part of the model" not in line
    ]
    return code, out.read(), "".join(said)


def plain(text: str) -> str:
    """The text with each run of blanks, line ends and table frames as one blank."""
    return " ".join(_FRAME.sub(" ", text).split())


def value_at(values: Any, path: str) -> Any:
    """The value that ``a.0.b`` names in nested dicts and lists; a missing one fails."""
    for key in path.split("."):
        if isinstance(values, list):
            assert key.isdigit(), f"{path} names a place of a list"
            assert int(key) < len(values), f"no {path} in {len(values)} values"
            values = values[int(key)]
            continue
        assert isinstance(values, dict), path
        assert key in values, f"no {path} in {sorted(values)}"
        values = values[key]
    return values


def check_run(wanted: dict[str, Any]) -> None:
    """Run one command and hold what it says to what the case wants."""
    assert set(wanted) <= RUN_KEYS, f"not a key of a run: {set(wanted) - RUN_KEYS}"
    code, out, err = run(wanted["command"])
    said = f"{wanted['command']}\n{out}\n{err}"
    assert code == wanted.get("exit", 0), said
    assert "Traceback" not in out + err, said
    if code == 2:
        assert len(err.splitlines()) == 1, f"not one sentence: {said}"
    for stream, text in (("stdout", plain(out)), ("stderr", plain(err))):
        for part in wanted.get(stream, []):
            assert plain(part) in text, f"{stream} lacks {part!r}: {said}"
        for part in wanted.get(f"{stream}_lacks", []):
            assert plain(part) not in text, f"{stream} has {part!r}: {said}"
    for path, value in wanted.get("json", {}).items():
        assert value_at(json.loads(out), path) == value, f"{path}: {said}"


def cell(events: EventChunk, index: int, column: str) -> Any:
    """One value of an event, as a case writes it."""
    if column == "seconds":
        ts = int(events.ts[index])
        return f"{ts // 10**9}.{ts % 10**9:09d}".rstrip("0").rstrip(".")
    if column == "kind":
        return EventKind(int(events.kind[index])).name
    value = int(getattr(events, column)[index])
    return gfp_text(value) if column == "gfp" else value


def wanted_cell(column: str, value: Any) -> Any:
    """What the case wants there, in the form of :func:`cell`."""
    if column == "seconds":
        return value.rstrip("0").rstrip(".") if "." in value else value
    assert column in COLUMN_TYPES, f"not a column: {column}"
    return value


def check_rows(events: EventChunk, rows: list[dict[str, Any]]) -> None:
    """Hold the events to the rows, each by the columns that it names."""
    assert events.rows == len(rows), f"{events.rows} events, {len(rows)} rows"
    for index, row in enumerate(rows):
        found = {column: cell(events, index, column) for column in row}
        assert found == {column: wanted_cell(column, value) for column, value in row.items()}, f"row {index}"


def check_count(events: EventChunk, wanted: dict[str, Any]) -> None:
    """Hold the number of events that have these columns to ``n``."""
    columns = {column: value for column, value in wanted.items() if column != "n"}
    found = sum(
        all(cell(events, index, column) == wanted_cell(column, value) for column, value in columns.items())
        for index in range(events.rows)
    )
    assert found == wanted["n"], f"{found} of {wanted}"


def check_recording(wanted: dict[str, Any]) -> None:
    """Hold the recording that was made to what the case wants."""
    assert set(wanted) <= RECORDING_KEYS, f"not a key of a recording: {set(wanted) - RECORDING_KEYS}"
    made = Recording.open(wanted.get("path", "out.kev"))
    events = concat_chunks(list(made.events()))
    if "events" in wanted:
        assert events.rows == wanted["events"]
    if "row" in wanted:
        check_rows(events, wanted["row"])
    for counted in wanted.get("count", []):
        check_count(events, counted)
    if "losses" in wanted:
        lost = {str(x.cpu): x.lost.events for x in made.losses if x.any}
        assert lost == wanted["losses"]
    for path, value in wanted.get("machine", {}).items():
        assert value_at(made.machine.to_json(), path) == value, path
    for path, value in wanted.get("quality", {}).items():
        assert value_at(made.quality, path) == value, path


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = tomllib.loads((HERE / name / "case.toml").read_text())
    assert set(case) <= KEYS, f"not a key of a case: {set(case) - KEYS}"
    assert case["name"], "a case has a name"
    missing = [tool for tool in case.get("needs", []) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    place = tmp_path / "case"
    shutil.copytree(HERE / name, place, ignore=shutil.ignore_patterns("case.toml"))
    monkeypatch.chdir(place)
    for wanted in case["run"]:
        check_run(wanted)
    if "recording" in case:
        check_recording(case["recording"])


def test_every_folder_is_a_case() -> None:
    folders = {path.name for path in HERE.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    assert folders == set(CASES)
