# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate tune`` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_tools import call, refusal

from kevacuate.cli.tune import LEAST, TIME
from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.tuned import LEAST_TESTED, SCREENED
from kevacuate.reports.tune import HEADS
from kevacuate.runs.tune import SECONDS

SETTINGS = ("--try", "watermark_boost_factor=0", "--try", "compaction_proactiveness=20")


def test_the_table_and_what_it_rests_on(synthetic_kev: Path) -> None:
    done = call("tune", synthetic_kev, *SETTINGS, "--repeats", 8)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "2 settings against mainline" in text
    assert "compaction_proactiveness=20 changes nothing" in text
    assert "The model " in text
    assert (
        "All this is said of the model; booted kernels may differ." in text or "none changed anything" in text
    )


def test_json(synthetic_kev: Path) -> None:
    told = json.loads(call("tune", synthetic_kev, *SETTINGS, "--repeats", 8, "--json").stdout)
    assert set(told) == {
        "recording", "base", "replays", "seed", "level", "power", "tried", "would_have_been_found", "conclusion", "basis",
    }  # fmt: skip
    assert [one["setting"] for one in told["tried"]] == [
        "watermark_boost_factor=0",
        "compaction_proactiveness=20",
    ]
    assert set(told["tried"][0]) == {"setting", "policy", "verdict", "rows", "costs"}
    again = json.loads(call("tune", synthetic_kev, *SETTINGS, "--repeats", 8, "--json").stdout)
    assert told == again


def test_a_time_in_place_of_a_number(synthetic_kev: Path) -> None:
    told = json.loads(
        call("tune", synthetic_kev, "--try", "min_free_kbytes=2000", "--time", "0", "--json").stdout
    )
    assert told["replays"] == {"screened": SCREENED, "tested": 8}


def test_every_row_that_decides_has_a_head() -> None:
    assert list(HEADS) == list(DECIDING)


def test_what_is_said_of_times_and_numbers_is_what_is_done() -> None:
    assert LEAST == LEAST_TESTED
    assert f"{SECONDS:.0f}s" == TIME


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--try", "defrag_mode"), "'defrag_mode' is no setting: write KNOB=VALUE, one for each --try."),
        (("--try", "memory=0.9,pool=1"), "is no setting"),
        (("--try", "pool=8"), "Policy mainline has no knob 'pool'"),
        (("--try", "extfrag_threshold=x"), "cannot be 'x'"),
        (("--policy", "nothing"), "There is no policy 'nothing'"),
        (("--repeats", "7"), "--repeats cannot be 7: fewer than 8 can show nothing."),
        (("--repeats", "8", "--time", "1m"), "give one of them"),
        (("--time", "soon"), "'soon' is not a time"),
    ],
)
def test_refusals_before_anything_is_read(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refusal("tune", tmp_path / "none.kev", *words)


def test_a_recording_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    assert "is a file, but a recording is a directory" in refusal("tune", tmp_path / "x")
    assert "does not exist" in refusal("tune", tmp_path / "none.kev")
