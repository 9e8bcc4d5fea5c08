# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/kernels.md is made from the tables of repeats, and its figures are those of their makers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import ROOT
from kernels_document import Population, kernels_document, populations

from kevacuate.fidelity.verdict.outcomes import FIRST_IMAGE, SECOND_IMAGE

TABLES = [ROOT / "tests" / "data" / "outcomes" / name for name in ("outcomes.csv", "outcomes-pressure.csv")]
PAGE = ROOT / "docs" / "results" / "kernels.md"


@pytest.fixture(scope="module")
def booted() -> dict[tuple[str, int, str], Population]:
    """By workload, seed and image, of one CPU and 1 GiB."""
    return {
        (one.workload.name, one.workload.seed, one.image): one
        for one in populations(TABLES)
        if (one.workload.memory, one.workload.cpus) == ("1g", 1)
    }


def test_the_page_is_what_its_command_writes() -> None:
    assert kernels_document(TABLES) == PAGE.read_text(encoding="utf-8"), (
        "run: python docs/generate_kernels.py tests/data/outcomes/outcomes.csv tests/data/outcomes/outcomes-pressure.csv"
    )


@pytest.mark.parametrize(
    ("population", "kernel", "column", "stock", "changed", "p"),
    [
        (
            ("churn", 5, SECOND_IMAGE),
            "fixskip",
            "claims_below_pageblock_order",
            (70.6, 5.3),
            (65.5, 6.1),
            0.003,
        ),
        (
            ("churn", 5, SECOND_IMAGE),
            "patched",
            "claims_below_pageblock_order",
            (70.6, 5.3),
            (67.8, 4.6),
            0.058,
        ),
        (("churn", 5, SECOND_IMAGE), "fixskip", "end_mixed", (221.0, 124.8), (205.2, 106.0), 0.634),
        (("churn", 1, SECOND_IMAGE), "fixskip", "claims_whole_block", (30.6, 6.0), (25.6, 5.2), 0.008),
        (("churn", 1, SECOND_IMAGE), "patched", "end_mixed", (100.3, 47.3), (96.2, 49.0), 0.798),
        (
            ("pressure", 1, SECOND_IMAGE),
            "patched",
            "claims_below_pageblock_order",
            (15.0, 4.3),
            (12.6, 1.8),
            0.020,
        ),
        (("pressure", 1, SECOND_IMAGE), "fixskip", "load_compact_fail", (67.2, 8.6), (59.2, 16.7), 0.057),
        (("pressure", 1, SECOND_IMAGE), "fixskip", "thp_without_defrag", (138.6, 4.9), (141.5, 5.1), 0.073),
    ],
)
def test_figures_are_those_of_the_tables_makers(
    booted: dict[tuple[str, int, str], Population],
    population: tuple[str, int, str],
    kernel: str,
    column: str,
    stock: tuple[float, float],
    changed: tuple[float, float],
    p: float,
) -> None:
    """Means, standard deviations and p (of 20,000 draws) as the makers of the tables published them."""
    row = booted[population].changes(kernel)[column]
    for found, wanted in ((row.before, stock), (row.after, changed)):
        assert (round(found.mean, 1), round(found.sd, 1)) == wanted
    assert row.p == pytest.approx(p, abs=0.006)
    assert row.corrected >= row.p
    assert row.difference.holds(row.difference.value)


def test_images_are_never_mixed(booted: dict[tuple[str, int, str], Population]) -> None:
    def sizes(population: Population) -> list[int]:
        return [len(boots) for boots in population.boots.values()]

    assert sizes(booted["churn", 1, SECOND_IMAGE]) == [20, 20, 20]
    assert sizes(booted["churn", 1, FIRST_IMAGE]) == [7, 7, 6]
    assert sizes(booted["churn", 5, SECOND_IMAGE]) == [25, 24, 24]
    assert sizes(booted["pressure", 1, SECOND_IMAGE]) == [21, 21, 21]
    text = PAGE.read_text(encoding="utf-8")
    assert "196 with the second disk image" in text


def test_a_table_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    command = [
        sys.executable,
        str(ROOT / "docs" / "generate_kernels.py"),
        str(wrong),
        "-o",
        str(tmp_path / "k.md"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no table of repeats" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "k.md").exists()
