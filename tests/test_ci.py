# SPDX-License-Identifier: GPL-2.0-or-later
"""What .ci/ does where programs are missing, with an apt-get of our own in place of Debian's."""

import shutil
import subprocess
from pathlib import Path

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
    assert run(tmp_path, chromium="exit 0", trace_cmd="exit 0", apt_get="exit 9") == []


def test_without_root_it_is_said_what_will_skip(tmp_path: Path) -> None:
    (line,) = run(tmp_path, id="echo 1000", trace_cmd="exit 0", apt_get="exit 0")
    assert line.endswith("without chromium (only root can install them): the tests that need them will skip")


def test_a_failing_apt_get_stops_nothing(tmp_path: Path) -> None:
    (line,) = run(tmp_path, id="echo 0", apt_get='echo "E: Temporary failure resolving" >&2; exit 100')
    assert "without chromium trace-cmd (apt-get update failed: E: Temporary failure resolving)" in line


def test_what_can_be_had_is_had(tmp_path: Path) -> None:
    apt = 'case "$*" in *trace-cmd) echo "E: Unable to locate package trace-cmd"; exit 100;; esac'
    installed, without = run(tmp_path, id="echo 0", apt_get=apt)
    assert installed == "installed chromium"
    assert "without trace-cmd (apt-get install failed: E: Unable to locate package trace-cmd)" in without


def test_a_machine_without_apt_get(tmp_path: Path) -> None:
    (line,) = run(tmp_path, id="echo 0")
    assert "there is no apt-get" in line
