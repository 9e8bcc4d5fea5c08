# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark that replays with two trees in turn, on this tree twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import builds


def test_a_tree_against_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert builds.main([str(builds.HERE), "--runs", "1", "--policy", "mainline"]) == 0
    shown = capsys.readouterr().out
    assert "mainline: 1,096,562 rows" in shown
    assert "final states equal" in shown


def test_what_is_no_source_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no source tree"):
        builds.Tree(tmp_path, "")


def test_a_policy_that_does_not_exist_ends_the_comparison(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="The replay of nonsense ended"):
        builds.main([str(builds.HERE), "--runs", "1", "--policy", "nonsense"])
    assert "nonsense" in capfd.readouterr().err
