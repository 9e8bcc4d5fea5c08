# SPDX-License-Identifier: GPL-2.0-or-later
"""Where recording is not possible or the disk gives out: shown in a mount namespace of its own; skipped where there is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from capture_tools import unavailable

from kevacuate.capture.tracefs import PREFIX, find_tracefs
from kevacuate.recording import Recording

KEVACUATE = f'{sys.executable} -c "from kevacuate.cli import main; main()"'
NO_TRACEFS = "umount -l $(awk '$3 == \"tracefs\" {print $2}' /proc/mounts) 2>/dev/null\n"
HIDDEN = NO_TRACEFS + "mount -t tmpfs none /sys/kernel\n"


def shell(script: str) -> tuple[int, str, str]:
    """Run it in a mount namespace of its own: exit status, stdout, stderr."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        cwd="/",
    )
    return done.returncode, done.stdout, done.stderr


def possible() -> bool:
    """Whether this test may make such a namespace and mount in it."""
    try:
        return os.geteuid() == 0 and shell("mount -t tmpfs none /mnt")[0] == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not possible(), reason="needs root and a mount namespace of its own")
COMMANDS = ["record --duration 1", "triage --live --duration 1", "watch --once"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_kernel_without_tracefs_is_one_sentence(command: str, tmp_path: Path) -> None:
    code, out, errors = shell(f"{HIDDEN}cd {tmp_path}; {KEVACUATE} {command}")
    assert (code, out) == (2, "")
    (line,) = errors.splitlines()
    assert "This kernel has no /sys/kernel/tracing" in line
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_names_what_a_kernel_without_tracefs_lacks() -> None:
    code, out, errors = shell(f"{HIDDEN}{KEVACUATE} doctor --json")
    assert (code, errors) == (1, "")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["tracefs"]["status"] == "missing"
    assert "CONFIG_FTRACE" in checks["tracefs"]["advice"]


@pytest.mark.skipif(find_tracefs() is None, reason="needs tracefs, mounted")
@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="needs setpriv")
def test_tracefs_that_may_not_be_mounted_is_said_by_record_and_doctor_alike() -> None:
    without = "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "
    code, _, errors = shell(f"{NO_TRACEFS}{without}{KEVACUATE} record --duration 1")
    assert code == 2
    (line,) = errors.splitlines()
    assert "cannot be mounted" in line
    code, out, _ = shell(f"{NO_TRACEFS}{without}{KEVACUATE} doctor --json")
    assert code == 1
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["tracefs"]["status"] == "missing"


def disk(tmp_path: Path, options: str, script: str) -> tuple[int, str]:
    """Run the script with a small disk at $D; its exit status and stderr."""
    code, _, errors = shell(
        f"set -e; D={tmp_path}/disk; mkdir $D; mount -t tmpfs -o {options} none $D; set +e\n{script}"
    )
    return code, errors


@pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "never")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("ro", "cannot be written to (Read-only file system)"),
        ("size=20M", "MiB free, but recording needs at least"),
    ],
)
def test_a_read_only_or_full_disk_is_one_sentence(tmp_path: Path, options: str, said: str) -> None:
    code, errors = disk(
        tmp_path,
        options,
        f"{KEVACUATE} record --duration 1 --no-pages -o $D/a.kev; c=$?; ls -A $D >&2; exit $c",
    )
    assert code == 2
    (line,) = errors.splitlines()
    assert said in line


FILL = """
{record} & child=$!
echo $child > {keep}/../pid
for i in $(seq 3000); do
    find $D/.a.kev.rec-* -name 'cpu*.raw' -size +0 2>/dev/null | grep -q . && break
    kill -0 $child 2>/dev/null || break
    [ -e $D/.a.kev.rec-*/snapshots.jsonl ] && {touch}
    sleep 0.1
done
dd if=/dev/zero of=$D/full bs=64k 2>/dev/null
{touch}
wait $child; code=$?
rm $D/full
{again}
cp -r $D/*.kev {keep}/
exit $code
"""


@pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "never")
def test_a_disk_that_fills_up_leaves_a_recording(tmp_path: Path) -> None:
    """Another program takes the last byte while it records: it ends in words, and what was captured is kept or saved.

    That program begins once the recorder's own file has grown: what it holds then are whole sub-buffers of events.
    """
    (tmp_path / "keep").mkdir()
    script = FILL.format(
        record=f"{KEVACUATE} record --duration 36000 --no-pages --buffer 4M -o $D/a.kev",
        touch=f"{sys.executable} -c 'bytearray(200 << 20)'",
        again=f"{KEVACUATE} record --light --no-pages --duration 0.1 -o $D/b.kev",
        keep=tmp_path / "keep",
    )
    code, errors = disk(tmp_path, "size=160M", script)
    assert code in (0, 2), errors
    assert "Traceback" not in errors
    kept = {path.name: Recording.open(path) for path in (tmp_path / "keep").iterdir()}
    assert "b.kev" in kept, errors
    first = kept.get("a.kev") or kept.get("a.salvaged.kev")
    assert first is not None, errors
    assert sum(chunk.rows for chunk in first.events()) > 0
    tracefs = find_tracefs()
    assert tracefs is not None
    assert not (tracefs / "instances" / f"{PREFIX}{(tmp_path / 'pid').read_text().strip()}").exists()
