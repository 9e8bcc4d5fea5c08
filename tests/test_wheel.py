# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed: a wheel with every file of the package, the marker of types among them, and names that type checkers see."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kevacuate

ROOT = Path(__file__).parent.parent
PACKAGE = Path(kevacuate.__file__).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree."""
    pytest.importorskip("hatchling")
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("the source tree is not here")
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    shutil.copytree(
        ROOT / "src" / "kevacuate",
        tree / "src" / "kevacuate",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tree / "dist"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = (tree / "dist").glob("*.whl")
    return zipfile.ZipFile(made)


def test_the_wheel_says_that_the_package_is_typed(wheel: zipfile.ZipFile) -> None:
    assert "kevacuate/py.typed" in wheel.namelist()


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    here = {
        f"kevacuate/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    there = set(wheel.namelist())
    assert here <= there
    assert {"kevacuate/reports/page/map.js", "kevacuate/data/trust.json"} <= there


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    outside = {name.split("/")[0] for name in wheel.namelist()} - {"kevacuate"}
    assert {name.rpartition(".")[2] for name in outside} == {"dist-info"}


def test_type_checkers_see_every_name_of_the_facade() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    typed = {"KevacuateError", "__version__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for one in node.body:
                assert isinstance(one, ast.ImportFrom)
                typed |= {alias.asname or alias.name for alias in one.names}
    assert typed == set(kevacuate.__all__)
