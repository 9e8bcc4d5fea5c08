# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of `kevacuate.jit`: what is compiled anew when, and where kernels may live."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

import kevacuate
from kevacuate import jit
from kevacuate.errors import KevacuateError

PACKAGE = Path(kevacuate.__file__).parent
BOOT = """
from kevacuate import jit
from kevacuate.mm import boot
from kevacuate.mm.layout import MachineConfig, ZoneConfig, build_state
machine = MachineConfig(npages=64, zones=(ZoneConfig(0, 2, 0, 64),), max_page_order=4, pageblock_order=4)
state = build_state(machine)
boot.memblock_free_all(state, machine)
head = int(state.cfg[0]) + 4 * 8 + 1
print(jit.source_digest(), int(state.link[2 * head]))
"""


def boot_first_free(package_parent: Path, cache: Path, **environment: str) -> tuple[str, int]:
    """(source digest, first page of the largest movable list) of a boot in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", BOOT],
        env={
            **os.environ,
            "PYTHONPATH": str(package_parent),
            "KEVACUATE_CACHE_DIR": str(cache),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    digest, first = done.stdout.split()
    return digest, int(first)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package's source; its parent directory."""
    for room in ("kernel", "mm", "measure", "recording", "demand", "runs", "observe", "fidelity"):
        shutil.copytree(
            PACKAGE / room, tmp_path / "kevacuate" / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("errors.py", "_version.py", "jit.py"):
        shutil.copy(PACKAGE / name, tmp_path / "kevacuate" / name)
    (tmp_path / "kevacuate" / "__init__.py").write_text("")
    return tmp_path


def test_editing_a_callee_compiles_anew(copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = boot_first_free(copy, cache)
    assert boot_first_free(copy, cache) == before
    callee = copy / "kevacuate" / "mm" / "constants.py"
    source = callee.read_text()
    assert "FPI_TO_TAIL = 2" in source
    callee.write_text(source.replace("FPI_TO_TAIL = 2", "FPI_TO_TAIL = 0"))
    after = boot_first_free(copy, cache)
    assert before[1] == 0
    assert after[1] == 48
    assert before[0] != after[0]


def test_the_digest_tells_the_forms_apart(copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    pointers = boot_first_free(copy, cache)
    arrays = boot_first_free(copy, cache, NUMBA_BOUNDSCHECK="1")
    assert pointers[1] == arrays[1]
    assert pointers[0] != arrays[0]


def makes_kernels(path: Path) -> bool:
    """Whether a file compiles anything."""
    for node in ast.walk(ast.parse(path.read_text())):
        from_jit = isinstance(node, ast.ImportFrom) and node.module == "kevacuate.jit"
        if from_jit and {alias.name for alias in node.names} & {"kernel", "part"}:
            return True
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            if any(name.split(".")[0] in ("numba", "llvmlite") for name in names):
                return True
    return False


def test_kernels_live_where_the_digest_looks() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if makes_kernels(path)}
    assert "mm" in rooms
    assert rooms - {"jit.py"} <= set(jit._KERNEL_ROOMS)


def test_the_digest_reads_every_file_of_the_kernel_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[Path] = set()
    original = Path.read_bytes

    def note(path: Path) -> bytes:
        read.add(path)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    jit.source_digest.__wrapped__()
    assert {path for room in jit._KERNEL_ROOMS for path in (PACKAGE / room).rglob("*.py")} <= read


def test_only_jit_and_records_know_numba() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("jit.py", "records.py"):
            assert "numba" not in {name.split(".")[0] for name in imported(path)}, path


def imported(path: Path) -> set[str]:
    """Absolute names of imported modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_a_full_cache_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(jit, "cache_dir", lambda: str(tmp_path))
    compiled = jit.kernel(_one_more)
    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    said = r"cannot be kept in .*\(No space left on device\): make room, or set KEVACUATE_CACHE_DIR"
    with pytest.raises(KevacuateError, match=said):
        compiled(1)


def _one_more(number):  # type: ignore[no-untyped-def]
    return number + 1
