# SPDX-License-Identifier: GPL-2.0-or-later
"""What .ci/ does where programs are missing, with an apt-get of our own in place of Debian's."""

import re
import runpy
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "system-packages"
TOOLS = ("bash", "env", "grep", "mktemp", "rm", "tail", "timeout")
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the source tree is not here")


def run(programs: Path, **scripts: str) -> list[str]:
    """Run the script where the only programs are TOOLS and *scripts*; its lines, once it has ended well."""
    for tool in TOOLS:
        (programs / tool).symlink_to(str(shutil.which(tool)))
    for name, body in scripts.items():
        program = programs / name.replace("_", "-")
        program.write_text(f"#!{programs}/bash\n{body}\n")
        program.chmod(0o755)
    done = subprocess.run([SCRIPT], env={"PATH": str(programs)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_nothing_is_installed_that_is_there(tmp_path: Path) -> None:
    assert run(tmp_path, chromium="exit 0", trace_cmd="exit 0", prometheus="exit 0", apt_get="exit 9") == []


def test_without_root_it_is_said_what_will_skip(tmp_path: Path) -> None:
    (line,) = run(tmp_path, id="echo 1000", trace_cmd="exit 0", prometheus="exit 0", apt_get="exit 0")
    assert line.endswith("without chromium (only root can install them): the tests that need them will skip")


def test_a_failing_apt_get_stops_nothing(tmp_path: Path) -> None:
    (line,) = run(tmp_path, id="echo 0", apt_get='echo "E: Temporary failure resolving" >&2; exit 100')
    assert (
        "without chromium trace-cmd prometheus (apt-get update failed: E: Temporary failure resolving)"
        in line
    )


def test_what_can_be_had_is_had(tmp_path: Path) -> None:
    apt = 'case "$*" in *trace-cmd) echo "E: Unable to locate package trace-cmd"; exit 100;; esac'
    installed, without, more = run(tmp_path, id="echo 0", apt_get=apt)
    assert (installed, more) == ("installed chromium", "installed prometheus")
    assert "without trace-cmd (apt-get install failed: E: Unable to locate package trace-cmd)" in without


def test_a_machine_without_apt_get(tmp_path: Path) -> None:
    (line,) = run(tmp_path, id="echo 0")
    assert "there is no apt-get" in line


LOWEST = SCRIPT.parent / "lowest"


def floors(project: dict[str, Any], *extras: str) -> dict[str, str]:
    """What the script makes of a pyproject."""
    found: dict[str, str] = runpy.run_path(str(LOWEST))["floors"](project, list(extras))
    return found


def test_every_direct_dependency_has_a_floor_that_is_installed() -> None:
    project = tomllib.loads((SCRIPT.parent.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = floors(project, "drgn", "test")
    wanted = [
        *project["dependencies"],
        *(one for extra in extras if extra != "docs" for one in extras[extra]),
    ]
    names = {re.split(r"[>=\[]", one)[0] for one in wanted} - {"kevacuate"}
    assert set(found) == names
    assert found["numba"] == "0.61"
    used = (SCRIPT.parent / "lowest-run").read_text()
    assert "'.[drgn,test]'" in used
    assert ".ci/lowest drgn test" in used


def test_what_has_no_floor_is_refused() -> None:
    for bad in ("numpy", "numpy==2", "numpy>=1,<3", "numpy~=1.0"):
        with pytest.raises(ValueError, match="so it has no floor to install"):
            floors({"name": "x", "dependencies": [bad], "optional-dependencies": {}})
    two = {"name": "x", "dependencies": ["a>=1"], "optional-dependencies": {"more": ["a>=2"]}}
    with pytest.raises(ValueError, match="two floors, 1 and 2"):
        floors(two, "more")
    nested = {
        "name": "x",
        "dependencies": ["a>=1"],
        "optional-dependencies": {"b": ["x[c]"], "c": ["d[e]>=2.0"]},
    }
    assert floors(nested, "b") == {"a": "1", "d": "2.0"}


def test_without_the_oldest_python_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('requires-python = ">=3.11"\n')
    programs = tmp_path / "programs"
    programs.mkdir()
    for tool in ("bash", "env", "sed"):
        (programs / tool).symlink_to(str(shutil.which(tool)))
    (programs / "python3").write_text(f"#!{programs}/bash\necho 3.14\n")
    (programs / "python3").chmod(0o755)
    done = subprocess.run(
        [SCRIPT.parent / "lowest-run", tmp_path], cwd=tmp_path, env={"PATH": str(programs)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "going on without: there is no Python 3.11" in done.stdout


def test_the_main_job_on_the_lowest_versions_names_tests_that_exist() -> None:
    named = re.findall(r"tests/[\w/]+\.py", (SCRIPT.parent / "lowest-run").read_text())
    assert named
    assert [path for path in named if not (SCRIPT.parent.parent / path).is_file()] == []
