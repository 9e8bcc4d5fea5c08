# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate verify`` as it is typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli_tools import call, refusal, run

from kevacuate.recording.parquet import combined_digest, file_digest, write_table
from kevacuate.recording.state import FreePages, PcpPages

DATA = Path(__file__).parent.parent / "data"
ONE_CPU, TWO_CPUS = DATA / "one-cpu.kev", DATA / "two-cpus.kev"


def test_require_decides_the_exit_code() -> None:
    assert call("verify", ONE_CPU, "--level", "evacuation", "--require", "1").returncode == 0
    assert call("verify", TWO_CPUS, "--level", "pcp", "--require", "1").returncode == 1
    assert call("verify", TWO_CPUS, "--level", "pcp").returncode == 0


def test_json_says_what_was_decided_and_what_was_given() -> None:
    done = call("verify", ONE_CPU, "--level", "evacuation", "--json")
    level = json.loads(done.stdout)["levels"]["evacuation"]
    assert level["decisions"] == sum(kind["decisions"] for kind in level["kinds"].values())
    assert level["inputs"]
    assert level["exactness"] == 1.0


def test_details_name_inputs_and_decisions() -> None:
    shown = call("verify", ONE_CPU, "--level", "evacuation", "--details").stdout
    assert "inputs, taken from the recording:" in shown
    assert "which block a worker starts with next: 4" in shown


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    assert "is not a recording" in refusal("verify", tmp_path)


def signed(path: Path) -> None:
    """Give a recording the digests of what it holds now."""
    body = json.loads((path / "machine.json").read_text())
    own = {name: file_digest(path / name) for name in body.pop("files")}
    body.pop("digest")
    body |= {"files": own, "digest": combined_digest(body, own)}
    (path / "machine.json").write_text(json.dumps(body))


@pytest.mark.parametrize("number", ["000", "001"])
def test_a_state_of_another_zone_is_refused(number: str, tmp_path: Path) -> None:
    path = tmp_path / "x.kev"
    shutil.copytree(ONE_CPU, path)
    file = path / "states" / number / "free.parquet"
    table = {
        name: column.to_numpy().copy()
        for name, column in zip(FreePages._fields, pq.read_table(file).columns, strict=True)
    }
    table["zone"][5:9] = 32767
    write_table(file, table)
    signed(path)
    said = refusal("verify", path, "--level", "buddy")
    assert "holds something of a zone that it does not describe; the recording is corrupted" in said


def test_a_watermark_beyond_any_kernels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.kev"
    shutil.copytree(ONE_CPU, path)
    file = path / "states/000/state.json"
    body = json.loads(file.read_text())
    body["zones"][0]["watermark"][2] = 1 << 63
    file.write_text(json.dumps(body))
    signed(path)
    for command in ("verify", "replay"):
        assert "holds zones, pages or pageblocks that cannot be" in refusal(command, path)


def test_lists_in_another_order_are_mismatches_and_no_endless_drain(tmp_path: Path) -> None:
    path = tmp_path / "x.kev"
    shutil.copytree(ONE_CPU, path)
    file = path / "states/000/pcp_pages.parquet"
    columns = zip(PcpPages._fields, pq.read_table(file).columns, strict=True)
    table = {name: column.to_numpy() for name, column in columns}
    order = np.random.default_rng(1).permutation(table["pfn"].size)
    write_table(file, {name: column[order] for name, column in table.items()})
    signed(path)
    done = run("verify", path, "--level", "pcp", "--json")
    level = json.loads(done.stdout)["levels"]["pcp"]
    assert level["exactness"] < 1.0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("none.csv", "cannot be read: No such file or directory"),
        ("/dev/zero", "/dev/zero is not a file"),
        ("/proc/version", "it has no column 'kernel'"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_before_the_work(
    synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch, table: str, said: str
) -> None:
    monkeypatch.setattr("kevacuate.fidelity.verify._streamed", None)
    assert said in refusal("verify", synthetic_kev, "--level", "buddy", "--repeats-table", table)
