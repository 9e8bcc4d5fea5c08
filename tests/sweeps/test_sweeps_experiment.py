# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment files: the grid they stand for, and one sentence with the line for what is wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.measure.startfile import read_start
from kevacuate.sweeps.cells import cells_of, model_version, sources, starts_of
from kevacuate.sweeps.experiment import Experiment, read_experiment
from kevacuate.sweeps.lines import line_of
from kevacuate.workload.toml import read_workload

GRID = """
policies = ["mainline", "evacuate,wq=per-node"]
seeds = 2

[knobs]
pool = ["default", 0]   # the patch's
memory = [1.0, 0.9]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    return path


def labels(experiment: Experiment) -> list[str]:
    return [setting.policy.spec for setting in experiment.settings]


def test_a_knob_is_an_axis_of_the_policies_that_take_it(tmp_path: Path) -> None:
    found = read_experiment(written(tmp_path, GRID))
    assert labels(found) == [
        "mainline,memory=1.0",
        "mainline,memory=0.9",
        "evacuate,wq=per-node,memory=1.0",
        "evacuate,wq=per-node,memory=0.9",
        "evacuate,wq=per-node,pool=0,memory=1.0",
        "evacuate,wq=per-node,pool=0,memory=0.9",
    ]
    assert found.seeds == (0, 1)
    assert len(found) == 12


def test_what_is_left_out_is_as_elsewhere(tmp_path: Path) -> None:
    found = read_experiment(written(tmp_path, ""))
    assert labels(found) == ["mainline", "evacuate", "evacuate,skip-hint=ignore"]
    assert found.seeds == (0, 1, 2, 3, 4)
    assert [Path(name).name for name in found.demands] == ["stock-churn-1g-smp1-s3.kev"]
    assert (found.options.loop, found.options.samples) == ("auto", 100)


def test_cells_are_by_demand_then_seed_and_each_has_a_digest(tmp_path: Path, synthetic_kev: Path) -> None:
    (tmp_path / "again.kev").symlink_to(synthetic_kev)
    (tmp_path / "other.kev").symlink_to(synthetic_kev)
    found = read_experiment(written(tmp_path, f'recordings = ["*.kev"]\n{GRID}'))
    assert len(found.demands) == 2
    demands = sources(found)
    assert [source.name for source in demands] == ["again.kev"], "equal demands are one"
    cells = list(cells_of(found, demands))
    assert [cell.seed for _, cell in cells] == [0] * 6 + [1] * 6
    assert len({digest for digest, _ in cells}) == 12
    assert [digest for digest, _ in cells] == [digest for digest, _ in cells_of(found, sources(found))]


def test_a_digest_follows_from_the_replay_and_from_nothing_else(tmp_path: Path, synthetic_kev: Path) -> None:
    def digest(text: str, place: str) -> str:
        (tmp_path / place).mkdir()
        path = written(tmp_path / place, f'recordings = ["{synthetic_kev}"]\nseeds = [7]\n{text}')
        read = read_experiment(path)
        return next(cells_of(read, sources(read)))[0]

    plain = digest('policies = ["evacuate,pool=0,wq=per-node"]', "a")
    assert plain == digest('policies = ["evacuate,wq=per-node,pool=0"]', "b"), "the order of knobs"
    assert plain == digest('policies = ["evacuate"]\n[knobs]\npool = [0]\nwq = ["per-node"]', "c")
    assert plain != digest('policies = ["evacuate,pool=1,wq=per-node"]', "d")
    assert plain != digest('policies = ["evacuate,pool=0,wq=per-node"]\n[replay]\nloop = "open"', "e")
    assert plain != digest('policies = ["evacuate,pool=0,wq=per-node"]\n[replay.variation]\nread_ns = 1', "f")


def test_a_policys_file_is_part_of_the_digest_and_its_place_is_not(
    tmp_path: Path, synthetic_kev: Path
) -> None:
    def digest(place: str, text: str) -> str:
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine.py").write_text(text)
        grid = f'recordings = ["{synthetic_kev}"]\npolicies = ["mine.py:Mine"]\nseeds = [1]\n'
        read = read_experiment(written(tmp_path / place, grid))
        digest, cell = next(cells_of(read, sources(read)))
        assert cell.label == "mine.py:Mine"
        return digest

    text = HOOKS_FILE
    assert digest("a", text) == digest("b", text)
    assert digest("c", text.replace("least = knob(0", "least = knob(1")) != digest("d", text)


HOOKS_FILE = """
from kevacuate.policy.api import CLAIM, MAINLINE_RULE, Hooks, knob


class Mine(Hooks):
    least = knob(0, "smallest order", most=10)

    def try_to_claim_block(self, s, z, pfn, order, start_type, block_type):
        return CLAIM if order > self.least else MAINLINE_RULE
"""


def test_the_models_version_follows_from_its_sources(tmp_path: Path) -> None:
    for room in ("kernel", "mm", "recording", "demand", "measure", "policy", "workload", "runs", "reports"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "one.py").write_text("x = 1\n")
    (tmp_path / "records.py").write_text("x = 1\n")
    before = model_version(tmp_path)
    model_version.cache_clear()
    (tmp_path / "reports" / "one.py").write_text("x = 2\n")
    assert model_version(tmp_path) == before
    model_version.cache_clear()
    (tmp_path / "mm" / "one.py").write_text("x = 2\n")
    assert model_version(tmp_path) != before
    model_version.cache_clear()


WRONG = [
    ('seeds = 3\npolicies = ["mainlin"]', 2, "There is no policy 'mainlin': the known ones are mainline"),
    ("seeds = 0", 1, "it is how many, or a list of different numbers; at most 2,147,483,647."),
    ("seeds = [1, 1]", 1, "a list of different numbers"),
    ("seeds = true", 1, "seeds cannot be True"),
    ('\nrecordings = [\n  "nothing.kev",\n]', 3, "there is no recording 'nothing.kev'"),
    ("recordings = []", 1, "recordings is empty"),
    ('workloads = ["nothing.toml"]', 1, "there is no description of a workload 'nothing.toml'"),
    (
        "sedes = 3",
        1,
        "there is no key 'sedes'; an experiment has recordings, workloads, start, policies, seeds, knobs, replay",
    ),
    ('seeds = 1\nstart = ["default", "aged.kev"]', 2, "there is no start state 'aged.kev'"),
    ("start = [3]", 1, "start cannot be [3]: it is a list of strings"),
    ('policies = ["mainline", "mainline"]', 1, "names 'mainline' more than once"),
    ("[knobs]\n\npol = [1]", 3, "no policy here has a knob 'pol': they take skip-bits"),
    ("[knobs]\npool = [\n 1,\n -5,\n]", 4, "Knob pool of policy evacuate cannot be '-5': it takes a number"),
    ("[knobs]\nmemory = [true]", 2, "it is a list of different numbers or strings"),
    ("knobs = 3", 1, "knobs cannot be 3: it is a table"),
    ('policies = ["evacuate,pool=1"]\nknobs.pool = [2]', 2, "gives the knob pool already"),
    ('[replay]\nloop = "round"', 2, "open, closed or auto"),
    ("[replay]\nsamples = 0", 2, "samples of a replay cannot be 0"),
    ("[replay]\nsamples = 1000000000000000000000", 2, "a whole number, from 1 to 1000000"),
    ("[replay]\nsample = 3", 2, "replay has loop, samples, despite_losses, variation"),
    ("[replay.variation]\nread_ns = -1", 2, "read_ns of a variation cannot be -1"),
    ("seeds = [\n", 1, "the experiment is no TOML"),
    ('seeds = 3\nseeds = "x', 2, "the experiment is no TOML"),
]


@pytest.mark.parametrize(("text", "line", "said"), WRONG, ids=[said[:40] for _, _, said in WRONG])
def test_what_is_wrong_is_one_sentence_with_the_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(KevacuateError) as caught:
        read_experiment(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}:{line}: "), sentence
    assert said in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_a_demand_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("none")
    (tmp_path / "empty.kev").mkdir()
    for lines, number, said in (
        ('seeds = 1\nworkloads = ["text"]', 2, "text"),
        ('seeds = 1\nworkloads = [\n"workload:none",\n]', 3, "There is no workload 'none'"),
        ('recordings = ["empty.kev"]', 1, "empty.kev"),
    ):
        path = written(tmp_path, lines)
        with pytest.raises(KevacuateError, match=said) as caught:
            sources(read_experiment(path))
        assert str(caught.value).startswith(f"{path}:{number}: ")


def test_a_start_state_that_does_not_fit_is_named_with_its_line(tmp_path: Path, synthetic_kev: Path) -> None:
    recording = kevacuate.open(synthetic_kev)
    start = read_start(recording)
    other = replace(start, machine=replace(start.machine, hugepage_order=8))
    other.save(tmp_path / "other.kev")
    (tmp_path / "text.kev").write_text("none")
    (tmp_path / "light.kev").mkdir()
    for name, said in (
        ("other.kev", f"other.kev has huge pages of another size than the demand {synthetic_kev.name}"),
        ("text.kev", "text.kev"),
        ("light.kev", "light.kev"),
    ):
        path = written(tmp_path, f'recordings = ["{synthetic_kev}"]\nstart = [\n "{name}",\n]')
        read = read_experiment(path)
        with pytest.raises(KevacuateError, match=said) as caught:
            starts_of(read, sources(read))
        assert str(caught.value).startswith(f"{path}:3: ")


def test_what_is_no_ordinary_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "long.toml").write_bytes(b"#" * ((1 << 20) + 1))
    (tmp_path / "directory.toml").mkdir()
    for name in ("pipe", "zero", "long", "directory", "none"):
        for read in (read_experiment, read_workload):
            with pytest.raises(KevacuateError, match=rf"{name}\.toml cannot be read: .*\."):
                read(tmp_path / f"{name}.toml")


def test_lines_are_found_in_tables_and_inline() -> None:
    text = '[a.b]\n"c" = 1\n[replay]\nx = { loop = 1 }\n# y = 3\ny = 2\n'
    assert line_of(text, "a.b") == 1
    assert line_of(text, "a.b.c") == 2
    assert line_of(text, "replay.x.loop") == 4
    assert line_of(text, "replay.y") == 6
    assert line_of(text, "nowhere") == 1
