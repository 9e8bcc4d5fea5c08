# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate ablate`` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_tools import call, refusal

from kevacuate.cli.ablate import LEAST, REPEATS
from kevacuate.measure.ablated import LEAST_REPLAYS, REPLAYS, ablation_from

VARIANTS = ("--variant", "pool=0", "--variant", "skip-hint=ignore,on-steal=yes")


def test_text_and_json_say_the_same(synthetic_kev: Path) -> None:
    done = call("ablate", synthetic_kev, *VARIANTS, "--repeats", 10)
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 80 for line in done.stdout.split("\n"))
    text = " ".join(done.stdout.split())
    assert "evacuate on" in text
    assert "pool=0" in text
    assert (
        "All this is said of the model" in text or "have earned trust" in text or "has earned trust" in text
    )
    told = json.loads(call("ablate", synthetic_kev, *VARIANTS, "--repeats", 10, "--json").stdout)
    assert set(told) == {
        "recording", "base", "replays", "seed", "loop", "level", "power", "names", "variants", "would_have_been_found",
        "conclusion", "basis",
    }  # fmt: skip
    assert set(told["variants"][0]) == {"name", "what", "kind", "policy", "verdict", "rows", "costs", "done"}
    assert set(told["variants"][0]["rows"][0]) == {
        "id", "base", "mean", "p", "judged", "base_spread", "spread", "own_p", "change",
    }  # fmt: skip
    assert " ".join(told["conclusion"].split()) in text
    assert ablation_from(told).base == "evacuate"


def test_what_is_said_of_numbers_is_what_is_done() -> None:
    assert (LEAST, REPEATS) == (LEAST_REPLAYS, REPLAYS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--repeats", "9"), "--repeats cannot be 9: fewer than 10 can show nothing."),
        (("--policy", "mainline"), "declares no ablation"),
        (("--policy", "nothing"), "There is no policy 'nothing'"),
        (("--variant", "pool"), "cannot be 'nothing'"),
        (("--variant", "pool=1", "--variant", "pool=1"), "is given twice"),
    ],
)
def test_refusals_before_anything_is_read(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refusal("ablate", tmp_path / "none.kev", *words)


def test_a_recording_that_is_none(tmp_path: Path) -> None:
    assert "none.kev" in refusal("ablate", tmp_path / "none.kev")
