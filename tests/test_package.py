# SPDX-License-Identifier: GPL-2.0-or-later
"""The package as a whole: its facade, its version, and what every file must have or must not."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kevacuate

ROOT = Path(__file__).parent.parent
PACKAGE = Path(kevacuate.__file__).parent
SPDX = "SPDX-License-Identifier: GPL-2.0-or-later"
TEXT = {".py", ".md", ".toml", ".c", ".h", ".sh", ".yml", ".yaml", ".json", ".txt", ""}
SKIPPED = {
    ".git",
    ".venv",
    "__pycache__",
    "data",
    "dist",
    "build",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
}
PRIVATE = re.compile("/" + r"(work|tmp/w)(/|\b)")


def text_files() -> list[Path]:
    """Text files of the project, or of the installed package where that is all there is."""
    top = ROOT if (ROOT / "pyproject.toml").exists() else PACKAGE
    found = (p for p in top.rglob("*") if p.is_file() and p.suffix in TEXT)
    return sorted(
        p for p in found if not SKIPPED & set(p.relative_to(top).parts) and p.stat().st_size < 1 << 20
    )


def test_there_are_files_to_look_at() -> None:
    names = {p.name for p in text_files()}
    assert {"page_alloc.py", "policy.py", "test_package.py", "pyproject.toml", "model.md"} <= names


@pytest.mark.parametrize("name", kevacuate.__all__)
def test_every_name_of_the_facade_can_be_had(name: str) -> None:
    assert getattr(kevacuate, name) is not None


def test_the_facade_names_what_its_homes_define() -> None:
    assert sorted(kevacuate.__all__) == sorted(
        {*kevacuate._HOMES, *kevacuate._MODULES, "KevacuateError", "__version__"}
    )
    for name, home in kevacuate._HOMES.items():
        own = kevacuate._CALLED.get(name, name)
        assert getattr(kevacuate, name) is getattr(importlib.import_module(f"kevacuate.{home}"), own)
        assert home.partition(".")[0] != name, "a room's name would hide it"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kevacuate.nothing


def test_importing_the_package_is_light() -> None:
    code = "import sys, kevacuate; print(sorted({'numba', 'numpy', 'pyarrow', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_module_can_be_imported_and_says_what_it_is() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(["kevacuate", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
            ".__init__"
        )
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        assert module.__doc__, name


def test_every_source_file_begins_with_its_licence() -> None:
    without = [
        str(path)
        for path in text_files()
        if path.suffix in {".py", ".c", ".h", ".toml", ".sh"}
        and not licensed(path.read_text(encoding="utf-8"))
    ]
    assert without == []


def licensed(text: str) -> bool:
    """Whether the first line (the second after ``#!``) is the licence."""
    lines = text.splitlines() or [""]
    return SPDX in lines[1 if lines[0].startswith("#!") and len(lines) > 1 else 0]


def test_no_file_names_a_private_place() -> None:
    found = [
        f"{path.name}: {line}"
        for path in text_files()
        if path.resolve() != Path(__file__).resolve()
        for line in path.read_text(encoding="utf-8").splitlines()
        if PRIVATE.search(line)
    ]
    assert found == []


def test_one_version() -> None:
    from kevacuate._version import __version__

    assert kevacuate.__version__ == __version__
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?([a-z0-9.]+)?", __version__)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'dynamic\s*=\s*\["version"\]', project)
    assert not re.search(r'^version\s*=\s*"', project, re.MULTILINE)


def test_docs_name_modules_and_functions_that_exist() -> None:
    missing = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        for dotted in set(re.findall(r"`(kevacuate(?:\.\w+)+)", page.read_text(encoding="utf-8"))):
            if dotted not in NO_MODULES and not resolves(dotted):
                missing.append(f"{page.name}: {dotted}")
    assert missing == []


NO_MODULES = {"kevacuate.runs.noting.NotingReplay.contents", "kevacuate.policies"}
"""An attribute that only an instance has, and the group of entry points."""


def test_docstrings_name_modules_and_functions_that_exist() -> None:
    missing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for dotted in (
            set(re.findall(r"`~?(kevacuate(?:\.\w+)+)`", path.read_text(encoding="utf-8"))) - NO_MODULES
        ):
            if not resolves(dotted):
                missing.append(f"{path.relative_to(PACKAGE)}: {dotted}")
    assert missing == []


def resolves(dotted: str) -> bool:
    """Whether a dotted name leads to something."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        try:
            for part in parts[cut:]:
                value = getattr(value, part)
        except AttributeError:
            return False
        return True
    return False


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the repository")
def test_the_extras_that_pages_and_messages_name_exist_and_the_quickstart_lists_them() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named: dict[str, Path] = {}
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]:
        for found in re.findall(r"pip install[^\n]*?'(?:kevacuate|\.)\[([\w,]+)\]'", path.read_text()):
            named |= dict.fromkeys(found.split(","), path)
    assert {"plot", "watch", "drgn", "perfetto"} <= set(named), "this test reads what is written there"
    assert set(named) <= set(extras), {extra: path for extra, path in named.items() if extra not in extras}
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "quickstart.md").read_text(), re.MULTILINE)
    assert {extra for row in rows for extra in re.findall(r"`(\w+)`", row)} >= set(extras)
