# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate report``, and ``--save``."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from cli_tools import call, files, refusal
from synthetic import start_state, write_recording

from kevacuate.measure.saved import load_comparison

DATA = Path(__file__).resolve().parent.parent / "data"
PAIR = ("--policy", "mainline", "--policy", "evacuate")


def page_data(path: Path) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"))
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.fixture(scope="module")
def saved(synthetic_kev: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "both.kevc"
    done = call("compare", synthetic_kev, *PAIR, "--repeats", 2, "--save", path, "--json")
    assert done.returncode == 0, done.stderr
    kept = load_comparison(path)
    assert [(r.policy, r.seed) for r in kept.runs] == [
        (p, s) for p in ("mainline", "evacuate") for s in (0, 1)
    ]
    assert json.loads(done.stdout)["runs"][2]["metrics"] == kept.runs[2].metrics
    assert [sum(r.frames is not None for r in runs) for runs in kept.groups.values()] == [1, 1]
    return path


def test_a_recording_is_replayed_and_shown(synthetic_kev: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = call("report", synthetic_kev, "-o", page)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == f"{page}: {page.stat().st_size / 1e6:.1f} MB\n"
    data = page_data(page)
    assert [run["policy"] for run in data["runs"]] == ["mainline", "evacuate"]
    assert 150 < len(data["t"]) < 250
    assert data["map"]["blocks"] == 16
    assert "5 replays (seeds 0 to 4) each" in page.read_text()
    assert data["explain"] == "kevacuate explain tiny.kev"


def test_a_saved_comparison_is_shown(saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert call("report", saved, "-o", page).returncode == 0
    text = page.read_text()
    assert page_data(page)["map"]["all_detailed"]
    assert "No event was lost" in text
    assert call("report", saved, "-o", tmp_path / "again.html").returncode == 0
    assert (tmp_path / "again.html").read_text() == text


def test_a_saved_run_and_several_files(synthetic_kev: Path, saved: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.kevc"
    assert call("replay", synthetic_kev, "--policy", "evacuate,pool=1", "--save", one).returncode == 0
    assert len(load_comparison(one).runs) == 1
    page = tmp_path / "page.html"
    assert call("report", one, "-o", page).returncode == 0
    assert "One run: nothing is compared." in page.read_text()
    two = tmp_path / "two.kevc"
    assert (
        call("replay", synthetic_kev, "--policy", "evacuate,pool=1", "--seed", 3, "--save", two).returncode
        == 0
    )
    assert call("report", saved, one, two, saved, "-o", page).returncode == 0
    assert [r["policy"] for r in page_data(page)["runs"]] == ["mainline", "evacuate", "evacuate,pool=1"]
    text = page.read_text()
    assert "3 policies, 2 replays" in text or "replays: 2, 2, 2" in text
    assert "2 runs, " in text
    assert "4 runs, " not in text, "a run that is given twice is one run"


def test_what_was_recorded(synthetic_kev: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert call("report", DATA / "two-cpus.kev", "--recorded", "-o", page).returncode == 0
    data = page_data(page)
    assert [run["policy"] for run in data["runs"]] == ["recorded kernel"]
    assert len(data["t"]) == 2
    lossy = write_recording(tmp_path / "lossy.kev", missed=5)
    assert call("report", lossy, "-o", page).returncode == 0
    assert "5 events were lost, so the demand was not replayed" in page.read_text()
    assert call("report", lossy, "--despite-losses", "-o", page).returncode == 0
    assert len(page_data(page)["runs"]) == 2


def test_without_a_name_the_page_is_called_as_its_input(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("report", saved)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["both.html"]


def test_refusals(synthetic_kev: Path, saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert "is not a directory" in refusal("report", synthetic_kev, "-o", tmp_path / "no" / "page.html")
    assert "no policy 'x'" in refusal("report", synthetic_kev, "--policy", "x", "-o", page)
    assert "shown as it is" in refusal("report", saved, "--recorded", "-o", page)
    assert "cannot be shown together" in refusal("report", saved, synthetic_kev, "-o", page)
    assert "single recording" in refusal("report", synthetic_kev, DATA / "two-cpus.kev", "-o", page)
    other = tmp_path / "other.kevc"
    skipped = write_recording(tmp_path / "skipped.kev", state=start_state(skip=True))
    assert call("replay", skipped, "--save", other).returncode == 0
    assert "another recording" in refusal("report", saved, other, "-o", page)
    (tmp_path / "junk").write_bytes(b"PK junk")
    assert "is a file, but a recording is a directory" in refusal("report", tmp_path / "junk", "-o", page)
    assert "does not exist" in refusal("report", tmp_path / "absent", "-o", page)
    assert "is not a directory" in refusal("compare", synthetic_kev, "--save", tmp_path / "no" / "x")
    assert "page.html" not in files(tmp_path)


@pytest.mark.parametrize(
    "words",
    [("report", "--recorded", "-o"), ("replay", "--save"), ("compare", "--save"), ("snapshot", "-o")],
    ids=lambda w: w[0],
)
def test_a_pipe_is_refused_before_the_work(
    words: tuple[str, ...], synthetic_kev: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    recording = () if words[0] == "snapshot" else (synthetic_kev,)
    said = refusal(words[0], *recording, *words[1:], pipe)
    assert said == f"{pipe} is a device or a pipe, whose place a file would take: choose another name."
    assert pipe.is_fifo()
