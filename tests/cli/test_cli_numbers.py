# SPDX-License-Identifier: GPL-2.0-or-later
"""Every option that takes a number refuses what is none, or is absurd, before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli_tools import refusal

from kevacuate.capture.options import RecordOptions, parse_size
from kevacuate.cli.main import COMMANDS, cli
from kevacuate.cli.options import Duration, Number
from kevacuate.errors import KevacuateError

NEEDS = {"verify": ["nothing.kev"], "import": ["nothing.txt"]}


def options(kind: type[click.ParamType]) -> Iterator[tuple[str, str]]:
    """(command, option) of every option of that kind."""
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for param in command.params:
            if isinstance(param, click.Option) and isinstance(param.type, kind):
                yield name, param.opts[-1]


def test_there_are_such_options() -> None:
    assert len(list(options(click.types.FloatParamType))) >= 6
    assert list(options(Number)) == list(options(click.types.FloatParamType)), "click's own takes NaN"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e300", "one"])
@pytest.mark.parametrize(("command", "option"), list(options(click.types.FloatParamType)))
def test_no_number(
    command: str, option: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(command, option, value, *NEEDS.get(command, []))
    assert option in said
    if value in ("nan", "inf", "-inf"):
        assert "is not a finite number" in said
    if value == "one":
        assert "'one' is not a number." in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e3", "9" * 30, ""])
@pytest.mark.parametrize(("command", "option"), list(options(click.types.IntParamType)))
def test_no_whole_number(command: str, option: str, value: str) -> None:
    said = refusal(command, option, value, *NEEDS.get(command, []))
    assert option in said
    assert "range." not in said
    assert ("is not a valid integer." in said) == (not value.lstrip("-").isdecimal())


@pytest.mark.parametrize("size", ["nan", "inf", "-1", "1e9", "9" * 400 + "T", "1..5M", ""])
def test_no_size(size: str) -> None:
    with pytest.raises(KevacuateError, match="is not a size: write for example 512M or 2G"):
        parse_size(size)


@pytest.mark.parametrize("name", ["duration", "snapshot_seconds", "max_bytes"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_recorder_is_not_asked_for_it_either(name: str, value: float) -> None:
    with pytest.raises(KevacuateError, match=f"{name} cannot be {value}"):
        RecordOptions(Path("x.kev"), **{name: value})


@pytest.mark.parametrize("share", ["nan", "inf", "-0.1", "1.1"])
def test_shares_of_a_policy(share: str) -> None:
    said = refusal("compare", "nothing.kev", "--policy", f"mainline,skip-bits={share}")
    assert said.startswith("Knob skip-bits of policy mainline cannot be")


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-1s", "15 s", "1e3", "8d", "605000", "1h30m", "", "٣s", "9" * 400]
)
def test_no_time(text: str) -> None:
    assert "is not a time: write 15s, 2m or 1h, up to a week." in refusal(
        "compare", "nothing.kev", "--time", text
    )


def test_a_number_and_a_time_are_not_both_given() -> None:
    said = refusal("compare", "nothing.kev", "--time", "1m", "--repeats", "5")
    assert "--repeats makes a fixed number of replays, --time as many as fit: give one of them." in said


@pytest.mark.parametrize(("text", "seconds"), [("15", 15), ("15s", 15), ("1.5m", 90), ("2h", 7200), ("0", 0)])
def test_a_time(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds
