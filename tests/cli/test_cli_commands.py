# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands print."""

import inspect
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import synthetic
from cli_tools import COMMAND, call, run
from synthetic import write_recording

from kevacuate import __version__
from kevacuate.cli.main import COMMANDS, cli
from kevacuate.cli.options import REPEATS
from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.permutation import decide
from kevacuate.policy import KNOBS, policies_told
from kevacuate.reports.comparison.group_rows import mean_text
from kevacuate.reports.comparison.worth import MARK

PAIR = ("--policy", "mainline", "--policy", "evacuate")
FIVE = (*PAIR, "--repeats", str(REPEATS))
POLICIES_OF_PAIR = ("mainline", "evacuate")


@pytest.fixture(scope="module")
def compared(synthetic_kev: Path) -> dict[str, Any]:
    done = run("compare", synthetic_kev, *FIVE, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["kevacuate,", "version", __version__]


def test_help_lists_the_commands_without_importing_them() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name, what in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what)}", done.stdout, re.MULTILINE)
    probe = (
        "import sys; from kevacuate.cli.main import cli\n"
        "cli(['--help'], standalone_mode=False); print('numba' in sys.modules)"
    )
    done = subprocess.run([COMMAND[0], "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_of_a_command_has_an_example(command: str) -> None:
    done = call(command, "--help")
    assert done.returncode == 0
    assert "Example: kevacuate " + command in " ".join(done.stdout.replace("\\\n", " ").split())
    assert call(command, "-h").stdout == done.stdout


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("command", list(COMMANDS))
def test_an_example_is_a_line_for_a_shell_at_any_width(command: str, width: int) -> None:
    """Copied as it is printed, it has the words that its author wrote: none is broken behind a hyphen."""
    group = click.Context(cli, info_name="kevacuate", **cli.context_settings)
    made = cli.get_command(group, command)
    assert made is not None
    assert made.help is not None
    wanted = [p.split() for p in inspect.cleandoc(made.help).split("\n\n") if p.startswith("Example: ")]
    context = made.context_class(made, info_name=command, parent=group, terminal_width=width)
    text = made.get_help(context)
    shown = []
    for found in re.finditer(r"^  (Example: (?:.*\\\n)*.*)\n", text, re.MULTILINE):
        assert max(map(len, found[0].split("\n"))) <= max(width, 78)
        shown.append(found[1].replace("\\\n", " ").split())
    assert shown
    assert shown == wanted


def test_help_of_compare_names_every_policy_and_knob() -> None:
    said = call("compare", "--help").stdout
    for name in [*policies_told(), *KNOBS]:
        assert re.search(rf"^ *{name}: ", said, re.MULTILINE), name


def test_json_of_compare(compared: dict[str, Any]) -> None:
    assert list(compared)[:2] == ["verdict", "worth"]
    assert list(compared)[2:] == ["conclusion", "decision", "groups", "recording", "rows", "rule", "runs"]
    told = {part["kind"]: part["text"] for part in compared["conclusion"]}
    assert (compared["verdict"], compared["worth"]) == (told["verdict"], told["worth"])
    assert {row["trusted"] for row in compared["rows"]} <= {True, False}
    assert [r["policy"] for r in compared["runs"]] == [p for p in POLICIES_OF_PAIR for _ in range(REPEATS)]
    assert compared["groups"] == [{"name": p, "seeds": list(range(REPEATS))} for p in POLICIES_OF_PAIR]
    row = next(r for r in compared["rows"] if r["id"] == "end.mixed_blocks")
    assert (row["section"], row["label"], row["direction"]) == ("At the end", "mixed pageblocks", "lower")
    ends = [r["metrics"]["end"]["mixed_blocks"] for r in compared["runs"]]
    assert row["values"] == [ends[:REPEATS], ends[REPEATS:]]
    assert row["means"] == [sum(v) / REPEATS for v in row["values"]]
    assert row["decisions"][0] == decide(*row["values"]).as_dict()
    for one in compared["runs"]:
        assert set(one) == {"policy", "metrics", "timing", "provenance", "prices"}
        assert one["provenance"]["kevacuate"] == __version__
        assert {"evacuations_queued", "evacuations_finished"} <= set(one["metrics"])
    mainline, evacuate = (compared["runs"][i]["metrics"] for i in (0, REPEATS))
    assert mainline["evacuations_queued"] == 0 < evacuate["evacuations_queued"]
    assert compared["recording"]["kernel"] == "7.2.0-synthetic"


def test_two_runs_differ_in_timing_alone(synthetic_kev: Path, compared: dict[str, Any]) -> None:
    again = json.loads(run("compare", synthetic_kev, *FIVE, "--json").stdout)
    first = json.loads(json.dumps(compared))
    for result in (again, first):
        for one in result["runs"]:
            assert set(one.pop("timing")) == {"seconds", "model_seconds", "events_per_second"}
    assert again == first


def test_series_only_on_request(synthetic_kev: Path, compared: dict[str, Any]) -> None:
    done = call("replay", synthetic_kev, "--policy", "evacuate", "--json", "--series")
    one = json.loads(done.stdout)
    assert set(one) == {"policy", "metrics", "timing", "provenance", "series"}
    assert len(one["series"]["t"]) == len(one["series"]["mixed_blocks"]) > 50
    assert one["metrics"] == compared["runs"][REPEATS]["metrics"]


def test_the_loop_reaches_the_run(synthetic_kev: Path) -> None:
    for given, ran in (((), "open"), (("--loop", "open"), "open"), (("--loop", "closed"), "closed")):
        run = json.loads(call("replay", synthetic_kev, "--json", *given).stdout)
        assert run["provenance"]["loop"]["ran"] == ran
    assert "closed loop" in call("replay", synthetic_kev, "--loop", "closed").stdout
    assert call("replay", synthetic_kev, "--loop", "half").returncode == 2


def test_the_seed_reaches_the_run(synthetic_kev: Path) -> None:
    runs = [
        json.loads(
            call("replay", synthetic_kev, "--policy", "mainline,skip-bits=0.5", "--json", "--seed", s).stdout
        )
        for s in (1, 2)
    ]
    assert [r["provenance"]["options"]["seed"] for r in runs] == [1, 2]
    assert runs[0]["provenance"]["final_state_digest"] != runs[1]["provenance"]["final_state_digest"]


def test_the_table_of_compare(synthetic_kev: Path, compared: dict[str, Any]) -> None:
    done = call("compare", synthetic_kev, *FIVE)
    assert done.returncode == 0
    assert "tiny.kev" in done.stdout
    assert "7.2.0-synthetic" in done.stdout
    queued = next(r for r in compared["rows"] if r["id"] == "evacuations.queued")
    mean = re.escape(mean_text(queued["means"][1], queued["spreads"][1]))
    assert re.search(rf"queued {MARK} +blocks +0 +{mean} +new +differs, p 0.008\b", done.stdout)
    ids = {r["id"] for r in compared["rows"]}
    for part in compared["conclusion"]:
        assert part["text"] in done.stdout.splitlines()
        assert set(part["rows"]) <= ids
    kinds = [part["kind"] for part in compared["conclusion"]]
    assert (kinds[:2], kinds[-2:]) == (["verdict", "worth"], ["rule", "basis"])
    lines = done.stdout.splitlines()
    assert lines[0].startswith("In the model, against mainline: evacuate changes ")
    assert lines[1] == compared["worth"]


def test_json_says_what_is_decided(compared: dict[str, Any]) -> None:
    told = compared["decision"]
    assert (told["replays"], told["alpha_spent"], told["decided"]) == (REPEATS, 0, False)
    assert [look["replays"] for look in told["looks"]] == [REPEATS]
    assert [row["id"] for row in told["rows"]] == [
        row for row in DECIDING if not row.startswith("vmstat.")
    ], "open"
    fields = {"id", "policy", "state", "replays", "p", "seen", "difference", "low", "high", "needed"}
    assert set(told["rows"][0]) == fields


def test_samples_are_few_where_no_series_is_asked_for(synthetic_kev: Path, compared: dict[str, Any]) -> None:
    told = json.loads(call("compare", synthetic_kev, *FIVE, "--json", "--series").stdout)
    few, many = ({run["provenance"]["options"]["samples"] for run in one["runs"]} for one in (compared, told))
    assert (few, many) == ({20}, {100})
    differ = [a["id"] for a, b in zip(compared["rows"], told["rows"], strict=True) if a != b]
    assert all(row.startswith("mean.") for row in differ), "the allocator did the same"


def test_without_a_time_to_spend_five_replays_are_made(synthetic_kev: Path, compared: dict[str, Any]) -> None:
    timed = json.loads(call("compare", synthetic_kev, *PAIR, "--time", "0s", "--json").stdout)
    assert timed["rows"] == compared["rows"]
    assert timed["decision"] == compared["decision"]


def test_more_replays_decide_and_say_so(synthetic_kev: Path) -> None:
    done = call("compare", synthetic_kev, *PAIR, "--repeats", 8)
    (said,) = re.findall(
        r"Of (\d) looks the last was after 8 replays of each policy", done.stdout.replace("\n", " ")
    )
    assert said == "2"
    assert "-> " in done.stdout
    told = json.loads(call("compare", synthetic_kev, *PAIR, "--repeats", 8, "--json").stdout)
    kinds = [part["kind"] for part in told["conclusion"]]
    assert kinds[:2] == ["verdict", "worth"]
    assert set(kinds[2 : kinds.index("error")]) <= {"decided", "undecided"}
    assert "rows that decide" in told["verdict"]


def test_a_single_replay_of_each_policy(synthetic_kev: Path, compared: dict[str, Any]) -> None:
    done = call("compare", synthetic_kev, *PAIR, "--repeats", 1)
    queued = compared["runs"][REPEATS]["metrics"]["evacuations_queued"]
    assert re.search(rf"queued {MARK} +blocks +0 +{queued} +new", done.stdout)
    assert "Undecided: single runs cannot tell a difference between policies" in done.stdout
    assert "±" not in done.stdout


def test_the_table_of_replay(synthetic_kev: Path) -> None:
    done = call("replay", synthetic_kev)
    assert done.returncode == 0
    assert "mainline" in done.stdout
    assert "Price of the benefit" not in done.stdout


def test_output_to_a_pipe_has_no_control_characters(synthetic_kev: Path) -> None:
    for command in (("compare", synthetic_kev, *FIVE), ("info", synthetic_kev)):
        done = run(*command)
        assert "\x1b" not in done.stdout + done.stderr


def test_no_color(synthetic_kev: Path) -> None:
    asked = {"TERM": "xterm-256color", "FORCE_COLOR": "1"}
    colour = re.compile(r"\x1b\[[0-9;]*m")
    coloured = run("compare", synthetic_kev, *FIVE, **asked).stdout
    plain = run("compare", synthetic_kev, *FIVE, **asked, NO_COLOR="1").stdout
    assert re.search(r"\x1b\[(\d+;)*3[0-7]m", coloured)
    assert not re.search(r"\x1b\[(\d+;)*(3[0-7]|4[0-7]|38;|48;)", plain)
    assert colour.sub("", plain) == colour.sub("", coloured)


def test_info(synthetic_kev: Path) -> None:
    about = json.loads(call("info", synthetic_kev, "--json").stdout)
    assert about["demand_rows"] == synthetic.FRAGMENTING_ROWS
    assert about["cpus"] == synthetic.CPUS
    assert about["start_objects"] == len(synthetic.START_OBJECTS)
    assert about["lost_events"] == [0, 0]
    assert about["verdict"].startswith("No event was lost; 100.00 % of the demand")
    said = call("info", synthetic_kev).stdout
    assert about["digest"] in said
    assert about["verdict"] in " ".join(said.split())


def test_info_of_a_recording_with_losses_and_of_unknown_quality(tmp_path: Path) -> None:
    lossy = write_recording(tmp_path / "lossy.kev", missed=5)
    said = json.loads(call("info", lossy, "--json").stdout)
    assert said["lost_events"] == [0, 5]
    assert said["verdict"].startswith(
        "5 events were lost, so objects are missing or never freed: at most 100.00 % of the demand"
    )
    one = write_recording(tmp_path / "one.kev", missed=1)
    said = json.loads(call("info", one, "--json").stdout)
    assert said["verdict"].startswith(
        "1 event was lost, so objects are missing or never freed: at most 100.00 % of the demand"
    )
    bare = write_recording(tmp_path / "bare.kev", facts={})
    done = call("info", bare)
    assert done.returncode == 0, done.stderr
    assert "how much of the demand is a guess was not kept" in done.stdout


@pytest.mark.parametrize("command", [("--help",), ("compare", "--help")])
def test_a_reader_that_closes_the_pipe_early(command: tuple[str, ...]) -> None:
    closed_after_a_line(*command)


@pytest.mark.parametrize("options", [("--json", "--series"), ()])
def test_a_reader_that_closes_the_pipe_before_the_results(
    synthetic_kev: Path, options: tuple[str, ...]
) -> None:
    closed_after_a_line("compare", str(synthetic_kev), *FIVE, *options)


def closed_after_a_line(*args: str) -> None:
    with subprocess.Popen([*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
        process.wait(timeout=600)
    assert "Traceback" not in said
    assert "Exception" not in said
    assert "BrokenPipe" not in said
