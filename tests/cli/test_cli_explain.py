# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate explain``."""

import json
from pathlib import Path

import pytest
from cli_tools import call, refusal

HOOKED = Path(__file__).parent.parent / "data" / "one-cpu.kev"
"""Of its two states the second has no page flags."""
BARE = HOOKED.with_name("two-cpus.kev")
"""No state has page flags."""


def test_a_block_under_two_policies(synthetic_kev: Path) -> None:
    said = json.loads(
        call(
            "explain", synthetic_kev, "block:5", "--policy", "mainline", "--policy", "evacuate", "--json"
        ).stdout
    )
    assert [s["source"] for s in said["stories"]] == ["mainline", "evacuate"]
    assert said["place"]["first_pfn"] == 5 * 512
    for story in said["stories"]:
        assert all(set(step) == {"t_ns", "cpu", "kind", "text", "facts"} for step in story["steps"])
        assert sum(v for key, v in story["contents"][-1].items() if key not in ("t_ns", "type")) == 512
    assert all(line in call("explain", synthetic_kev, "block:5").stdout for line in said["conclusion"])


def test_without_events_the_default_policies_are_replayed(synthetic_kev: Path) -> None:
    said = call("explain", synthetic_kev, "0xa01").stdout
    assert "Under mainline (a replay)" in said
    assert "Under evacuate (a replay)" in said


def test_a_recorded_kernel_tells_itself() -> None:
    said = json.loads(call("explain", HOOKED, "block:100", "--json").stdout)
    assert [s["source"] for s in said["stories"]] == ["recorded"]
    assert said["stories"][0]["start"].startswith("type movable")
    assert said["stories"][0]["unmovable"] == [{"t_ns": 0, "state": "m", "holders": []}]
    assert (
        "\n  cannot move        no page (state m, 0.000000 s)\n"
        in call("explain", HOOKED, "block:100").stdout
    )


def test_without_page_flags_nothing_is_said_of_what_cannot_move() -> None:
    said = call("explain", BARE, "block:100", "--json").stdout
    assert json.loads(said)["stories"][0]["unmovable"] == []
    assert "cannot move  " not in call("explain", BARE, "block:100").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("bl:3",), "neither a page nor a pageblock"),
        (("-5x",), "No such option"),
        (("block:99999999",), "No zone of the recorded machine has pfn"),
        (("a", "b", "c"), "One recording and one place"),
        (("block:209", "--policy", "nope"), "There is no policy 'nope'"),
        (("/nowhere", "block:1"), "does not exist"),
    ],
)
def test_refusals(words: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal("explain", *words)
