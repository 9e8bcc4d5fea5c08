# SPDX-License-Identifier: GPL-2.0-or-later
"""A comparison written and read again; files that are not one, or are damaged."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison
from kevacuate.measure.saved import is_saved, load_comparison, save_comparison
from kevacuate.mm import constants as k
from kevacuate.recording import Recording
from kevacuate.runs.compare import compare
from kevacuate.runs.options import ReplayOptions


@pytest.fixture(scope="module")
def compared(synthetic_kev: Path) -> Comparison:
    options = ReplayOptions(keep=True, samples=12)
    return compare(Recording.open(synthetic_kev), ["mainline", "evacuate"], repeats=1, options=options)


@pytest.fixture
def saved(compared: Comparison, tmp_path: Path) -> Path:
    save_comparison(tmp_path / "it.kevc", compared)
    return tmp_path / "it.kevc"


def test_everything_comes_back(compared: Comparison, saved: Path) -> None:
    back = load_comparison(saved)
    assert back == compared
    for old, new in zip(compared.runs, back.runs, strict=True):
        assert new.timing == old.timing
        assert old.frames is not None
        assert new.frames is not None
        assert new.frames.pages is not None
        assert old.frames.pages is not None
        for name in ("t", "start", "zone"):
            assert np.array_equal(getattr(new.frames, name), getattr(old.frames, name))
        assert new.frames.zones == old.frames.zones
        assert np.array_equal(new.frames.blocks.at(-1), old.frames.blocks.at(-1))
        assert np.array_equal(new.frames.pages.at(5), old.frames.pages.at(5))
        assert old.frames.held is not None
        assert new.frames.held is not None
        assert len(old.frames.held.cells) > 0
        assert np.array_equal(new.frames.held.cells, old.frames.held.cells)
        assert new.frames.held.of_row(0) == old.frames.held.of_row(0)
        assert (new.frames.held.labels, new.frames.held.t) == (old.frames.held.labels, old.frames.held.t)
        assert new.history is not None
        assert old.history is not None
        assert np.array_equal(new.history.records, old.history.records)
    assert [p.name for p in saved.parent.iterdir()] == ["it.kevc"]


def test_a_plain_comparison_too(compared: Comparison, tmp_path: Path) -> None:
    from dataclasses import replace

    plain = Comparison(tuple(replace(r, frames=None, history=None) for r in compared.runs), {"name": "x"})
    save_comparison(tmp_path / "plain", plain)
    back = load_comparison(tmp_path / "plain")
    assert back == plain
    assert back.runs[0].frames is back.runs[0].history is None


def test_equal_results_are_equal_files(compared: Comparison, saved: Path, tmp_path: Path) -> None:
    save_comparison(tmp_path / "again", compared)
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def rewritten(saved: Path, target: Path, **members: bytes) -> Path:
    """The same archive with some entries replaced (``__`` in a name stands for a dot)."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.replace(".", "__"), old.read(name)))
    return target


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=pickled)
    return stream.getvalue()


def test_damaged_and_hostile_files_are_refused_in_a_sentence(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        about = json.loads(archive.read("about.json"))
        t = np.lib.format.read_array(io.BytesIO(archive.read("0.t.npy")))
    lying = bytearray(npy(t))
    lying[: len(lying)] = bytes(lying).replace(f"({len(t)},)".encode(), b"(99,)")
    cases = {
        "cut": whole[: len(whole) // 2],
        "text": b"hello\n",
        "flipped": whole[:4000] + bytes(b ^ 255 for b in whole[4000:4100]) + whole[4100:],
    }
    paths = []
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    about_newer = json.dumps(about | {"version": 3}).encode()
    members: dict[str, dict[str, bytes]] = {
        "pickle": {"0__t__npy": npy(np.array([{}], object), pickled=True)},
        "header": {"0__t__npy": bytes(lying)},
        "floats": {"0__t__npy": npy(t.astype(float))},
        "shorter": {"0__t__npy": npy(t[1:])},
        "places": {"0__blocks__place__npy": npy(np.array([1 << 40] * 3))},
        "log": {"0__history__npy": npy(np.zeros((3, 7), int))},
        "orders": {"0__history__npy": npy(np.array([[0, k.L_EXTFRAG, 0, 0, 1 << 40, 0, 0, 0]]))},
        "list": {"about__json": b"[1, 2]"},
        "deep": {"about__json": b"[" * 200_000},
        "other": {"about__json": b'{"format": "x"}'},
        "none": {"about__json": json.dumps(about | {"runs": []}).encode()},
        "policyless": {"about__json": json.dumps(about | {"runs": [{}]}).encode()},
        "newer": {"about__json": about_newer},
        "older": {"about__json": json.dumps(about | {"version": 1}).encode()},
        "nan": {"about__json": json.dumps(about | {"recording": {"seconds": float("nan")}}).encode()},
    }
    for name, changed in members.items():
        with zipfile.ZipFile(saved) as archive:
            assert {member.replace("__", ".") for member in changed} <= set(archive.namelist())
        paths.append(rewritten(saved, tmp_path / name, **changed))
    for path in [*paths, tmp_path / "absent"]:
        with pytest.raises(KevacuateError) as caught:
            pytest.fail(f"{path.name} was read as {load_comparison(path)}")
        assert path.name in str(caught.value) or "contradict" in str(caught.value), path
        assert "\n" not in str(caught.value)
    assert not is_saved(tmp_path / "text")
    assert not is_saved(tmp_path / "absent")
    assert is_saved(saved)


def test_a_place_that_cannot_be_written_to(compared: Comparison, tmp_path: Path) -> None:
    with pytest.raises(KevacuateError, match="cannot be written"):
        save_comparison(tmp_path / "no" / "where", compared)
