# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate plot``."""

import json
from pathlib import Path

import pytest
from cli_tools import call, refusal

from kevacuate.errors import KevacuateError
from kevacuate.measure.saved import save_comparison
from kevacuate.recording import Recording
from kevacuate.reports import plot
from kevacuate.runs.compare import compare
from kevacuate.runs.options import ReplayOptions

pytest.importorskip("matplotlib")


def test_every_figure_in_every_format(synthetic_kev: Path, tmp_path: Path) -> None:
    done = call(
        "plot",
        synthetic_kev,
        "-o",
        tmp_path / "new",
        "--format",
        "png",
        "--format",
        "svg",
        "--repeats",
        2,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    names = sorted(Path(name).name for name in json.loads(done.stdout)["files"])
    assert names == sorted(
        f"tiny-{figure}.{form}" for figure in ("map", "time", "flow", "bars") for form in ("png", "svg")
    )
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names


def test_what_a_stopped_command_wrote_is_named(
    synthetic_kev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, turns = plot.save, iter(range(2))

    def second_is_stopped(figure: object, path: Path) -> Path:
        if next(turns):
            raise KeyboardInterrupt
        return save(figure, path)

    monkeypatch.setattr(plot, "save", second_is_stopped)
    done = call("plot", synthetic_kev, "--repeats", "1", "-o", tmp_path)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == f"kevacuate: interrupted; {tmp_path / 'tiny-map.png'} was written."
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-map.png"]


def test_a_directory_without_a_figure_goes_again(
    synthetic_kev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(figure: object, path: Path) -> Path:
        raise KevacuateError(f"{path} cannot be written: No space left on device.")

    monkeypatch.setattr(plot, "save", full)
    said = refusal("plot", synthetic_kev, "--repeats", "1", "-o", tmp_path / "new" / "figures")
    assert said.endswith("No space left on device.")
    assert list(tmp_path.iterdir()) == []


def test_a_saved_comparison(synthetic_kev: Path, tmp_path: Path) -> None:
    saved = tmp_path / "c.saved"
    options = ReplayOptions(samples=5, keep=True)
    save_comparison(
        saved, compare(Recording.open(synthetic_kev), ["mainline", "evacuate"], repeats=1, options=options)
    )
    done = call("plot", saved, "-o", tmp_path, "--figure", "flow", "--format", "pdf")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c-flow.pdf").read_bytes().startswith(b"%PDF")
    assert "leave --policy and --repeats out" in refusal("plot", saved, "--policy", "mainline")


def test_refusals(synthetic_kev: Path) -> None:
    assert "There is no policy" in refusal("plot", synthetic_kev, "--policy", "x")
    assert "is not one of" in refusal("plot", synthetic_kev, "--figure", "x")


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    synthetic_kev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kevacuate.runs.compare.compare", None)
    (tmp_path / "file").write_text("")
    said = refusal("plot", synthetic_kev, "-o", tmp_path / "file" / "figures")
    assert said == f"{tmp_path / 'file'} is not a directory, so the figures cannot be written there."
