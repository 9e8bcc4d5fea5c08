# SPDX-License-Identifier: GPL-2.0-or-later
"""compare --recorded and triage, as a user runs them."""

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import synthetic
from cli_tools import call, refusal, run
from recorded_tools import DATA, K, M, R, U, event, extfrag, write_events

from kevacuate.cli.recorded import GROUP_MARK, split_groups
from kevacuate.errors import KevacuateError

SECOND = 10**9


def stream(claims: int, *, allocations: int = 100) -> list[dict[str, Any]]:
    """A machine on which so many movable blocks are claimed."""
    rows = [event(i * SECOND, K.MM_PAGE_ALLOC, 700 + i, mt=M) for i in range(allocations)]
    rows += [extfrag(i * SECOND, 512 * i, U, M, taken=4, own=True) for i in range(claims)]
    rows += [extfrag(i * SECOND, 512 * i, R, M, taken=1, own=False, order=1) for i in range(3)]
    return sorted(rows, key=lambda row: (row["ts"], row["kind"]))


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight recordings: four with few claims, four with many."""
    root = tmp_path_factory.mktemp("machines")
    states = [synthetic.start_state()]
    return [
        write_events(root / f"m{i}.kev", stream(n), states=states)
        for i, n in enumerate((3, 4, 5, 4, 20, 25, 21, 30))
    ]


def rows_of(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows by id."""
    rows = {row["id"]: row for row in said["rows"]}
    assert len(rows) == len(said["rows"])
    return rows


def words_of(said: dict[str, Any]) -> str:
    """The conclusion as text."""
    return "\n".join(part["text"] for part in said["conclusion"])


def compared(*args: object) -> dict[str, Any]:
    done = call("compare", "--recorded", *args, "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_groups_of_repeats(machines: list[Path]) -> None:
    said = compared(*machines[:4], "--", *machines[4:])
    assert [len(group["recordings"]) for group in said["groups"]] == [4, 4]
    claims = rows_of(said)["extfrag.claims_from_movable"]
    assert claims["values"] == [[3, 4, 5, 4], [20, 25, 21, 30]]
    assert claims["means"] == [4, 24]
    assert claims["decisions"][0]["verdict"] == "differs"
    assert claims["decisions"][0]["p"] == pytest.approx(2 / 70)
    control = rows_of(said)["control.allocations"]
    assert control["decisions"][0]["verdict"] == "equal"
    assert "much the same demand" in words_of(said)
    rows = {part["kind"]: part["rows"] for part in said["conclusion"]}
    assert rows["control"] == ["control.allocations"]
    assert "extfrag.claims_from_movable" in rows["found"]
    assert set(rows) <= {"group", "unlike", "control", "found", "rule", "not_compared", "basis"}
    assert rows_of(said)["snapshot.start.mixed_blocks"]["section"] == "At snapshot start"


def test_three_and_three_are_apart_at_best(machines: list[Path]) -> None:
    said = compared(*machines[:3], "--", *machines[4:7])
    assert rows_of(said)["extfrag.claims_from_movable"]["decisions"][0]["verdict"] == "apart"
    assert "cannot give less than 0.10" in said["rule"]


def test_single_recordings_say_that_they_decide_nothing(machines: list[Path]) -> None:
    said = compared(machines[0], machines[4], machines[5])
    assert [group["name"] for group in said["groups"]] == ["m0.kev", "m4.kev", "m5.kev"]
    assert {d["verdict"] for row in said["rows"] for d in row["decisions"]} == {"undecided"}
    assert "single recordings cannot tell" in words_of(said)
    table = call("compare", "--recorded", machines[0], machines[4]).stdout
    assert re.search(r"claims of movable blocks +events +3 +20 +\+567 % +undecided", table)


def test_options_may_stand_after_the_groups(machines: list[Path]) -> None:
    first = call("compare", "--recorded", machines[0], "--", machines[4], "--details")
    assert first.returncode == 0, first.stderr
    assert "free chunks of order 10" in first.stdout
    assert (
        "free chunks of order 10" not in call("compare", "--recorded", machines[0], "--", machines[4]).stdout
    )
    assert "each of A" in call("compare", "--recorded", *machines[:2], "--", machines[4], "--details").stdout


def test_output_to_a_pipe_has_no_control_characters(machines: list[Path]) -> None:
    for args in (("compare", "--recorded", *machines[:2]), ("triage", machines[0])):
        done = run(*args)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_what_makes_recordings_hard_to_compare_is_said(tmp_path: Path, machines: list[Path]) -> None:
    other = write_events(tmp_path / "o.kev", stream(4, allocations=300), missed=5, kernel="6.1.0", cpus=8)
    assert "lost events (5 on CPU 1), so its counts are too low" in refusal(
        "compare", "--recorded", machines[0], other
    )
    said = words_of(compared("--despite-losses", machines[0], machines[0], "--", machines[1], other))
    for part in (
        "differ in CPUs (2, 8)",
        "mixes kernels (6.1.0, 7.2.0-synthetic)",
        "given more than once",
        "Events were lost in o.kev",
        "Snapshots that not all recordings have are left out: start",
        "the demands differ, so compare rates, not counts",
    ):
        assert part in said


@pytest.mark.parametrize(
    "args",
    [("A",), (), ("--", "A"), ("A", "--"), ("A", "--", "--", "B")],
    ids=lambda args: " ".join(args) or "nothing",
)
def test_too_few_groups(args: tuple[str, ...]) -> None:
    assert "Give two or more (A B), or groups" in refusal("compare", "--recorded", *args)


def test_groups_are_split_at_the_marks() -> None:
    assert split_groups(("A", "B")) == [[Path("A")], [Path("B")]]
    assert split_groups(("A", "B", GROUP_MARK, "C")) == [[Path("A"), Path("B")], [Path("C")]]
    with pytest.raises(KevacuateError):
        split_groups((GROUP_MARK,))


def test_compare_refuses_what_does_not_belong_together(machines: list[Path]) -> None:
    assert "--recorded replays nothing" in refusal(
        "compare", "--recorded", *machines[:2], "--policy", "mainline"
    )
    assert "to set recordings side by side use --recorded" in refusal("compare", *machines[:2])
    shipped = refusal(
        "compare",
        "--recorded",
        machines[0],
        DATA.parent.parent / "src/kevacuate/data/stock-churn-1g-smp1-s3.kev",
    )
    assert "holds no events of the recorded kernel" in shipped
    assert "does not exist" in refusal("compare", "--recorded", machines[0], "none.kev")


def test_a_double_dash_without_recorded_is_click_s_own(tmp_path: Path) -> None:
    assert "-odd.kev does not exist" in refusal("compare", "--", "-odd.kev")


def test_click_is_not_asked_to_tell_the_first_double_dash() -> None:
    from kevacuate.cli.compare import command

    with click.Context(command) as context:
        command.parse_args(context, ["--recorded", "A1", "A2", "--", "B1", "--json", "--", "C1"])
        assert context.params["recordings"] == ("A1", "A2", GROUP_MARK, "B1", GROUP_MARK, "C1")
        assert context.params["as_json"] is True
