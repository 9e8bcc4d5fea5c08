# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of `kevacuate.jit`: what is compiled anew when, and where compiled code may live."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from compiled_sources import Sources
from numba.core.caching import IndexDataCacheFile

import kevacuate
from kevacuate import compiling, jit
from kevacuate.errors import KevacuateError

PACKAGE = Path(kevacuate.__file__).parent
BOOT = """
from kevacuate import jit
from kevacuate.mm import load_state
from kevacuate.mm.layout import MachineConfig, ZoneConfig, build_state
machine = MachineConfig(npages=64, zones=(ZoneConfig(0, 2, 0, 64),), max_page_order=4, pageblock_order=4)
state = build_state(machine)
load_state.memblock_free_all(state, machine)
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
    for room in (
        "kernel",
        "mm",
        "measure",
        "recording",
        "demand",
        "workload",
        "runs",
        "search",
        "observe",
        "fidelity",
    ):
        shutil.copytree(
            PACKAGE / room, tmp_path / "kevacuate" / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in (
        "errors.py",
        "ending.py",
        "_lazy.py",
        "_version.py",
        "jit.py",
        "records.py",
        "aliasing.py",
        "compiler.py",
        "compiling.py",
        "disjoint.py",
        "dispatch.py",
        "hookcompiler.py",
        "intrinsics.py",
        "lowering.py",
        "partcalls.py",
        "partcode.py",
        "partexpressions.py",
        "partsource.py",
        "partstatements.py",
        "partvalues.py",
        "recordtypes.py",
        jit.COMPILED,
    ):
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


def test_the_list_names_what_holds_or_feeds_compiled_code() -> None:
    listed = (PACKAGE / jit.COMPILED).read_text().split()
    assert listed == Sources(PACKAGE).files(), "python tests/compiled_sources.py writes the list anew"


def test_editing_any_listed_file_changes_the_digest_and_no_other_does(copy: Path) -> None:
    package = copy / "kevacuate"
    listed = set((package / jit.COMPILED).read_text().split())
    before = jit.source_digest.__wrapped__(package)
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        path.write_bytes(source + b"# a comment\n")
        changed = jit.source_digest.__wrapped__(package) != before
        assert changed == (path.relative_to(package).as_posix() in listed), path
        path.write_bytes(source)


def test_what_compiled_code_reaches_is_followed_to_where_it_is_defined(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    files = {
        "__init__": "",
        "loop": "from package import numbers as n\nfrom package.again import LIMIT as MOST\nfrom package.hidden import shadow\n"
        "@kernel\ndef f(shadow: Unused):\n    return n.ONE + MOST + shadow\n",
        "numbers": "from package.deep import BASE\nfrom package.python import TEXT\nONE = BASE + 1\nWORDS = TEXT\n",
        "again": "from package.limits import LIMIT\n",
        "limits": "LIMIT = 3\n",
        "deep": "BASE = 1\n",
        "python": "TEXT = 'text'\ndef g():\n    from package.loop import f\n",
        "hidden": "shadow = 1\n",
        "places": "from package.again import Record\nclass Zone(Record):\n    node: int\n",
    }
    for name, source in files.items():
        (package / f"{name}.py").write_text(source)
    assert Sources(package).files() == ["deep.py", "limits.py", "loop.py", "numbers.py", "places.py"]


FIRST = """
from kevacuate.jit import kernel
@kernel
def first(pair):
    return pair.a[0]
"""
PAIR = """
from typing import NamedTuple
import numpy as np
class Pair(NamedTuple):
    {fields}
"""
CALL = """
import numpy as np
from first import first
from pair import Pair
print(first(Pair(a=np.array([1]), b=np.array([2]))), sum(first.stats.cache_hits.values()))
"""


def test_fields_that_change_places_elsewhere_compile_anew(tmp_path: Path) -> None:
    said = []
    (tmp_path / "first.py").write_text(FIRST)
    for fields in (("a", "b"), ("a", "b"), ("b", "a")):
        pair = tmp_path / "pair.py"
        pair.write_text(PAIR.format(fields="; ".join(f"{name}: np.ndarray" for name in fields)))
        os.utime(pair, (1, 1))
        done = subprocess.run(
            [sys.executable, "-Bc", CALL],
            cwd=tmp_path,
            env={**os.environ, "KEVACUATE_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True, text=True, check=True, timeout=600,
        )  # fmt: skip
        said.append(done.stdout.split())
    assert said == [["1", "0"], ["1", "1"], ["1", "0"]]


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


BESIDE = """
import os
from kevacuate.jit import beside, kernel, part, when_compiling
PARENT = os.getpid()
@part
def half(number):
    return number // 2
@kernel
def quarter(number):
    return half(half(number))
said = []
def work():
    quarter(8)
    print("child", flush=True) if os.getpid() == PARENT else None
with when_compiling(lambda: said.append("compiling")):
    for _ in range(2):
        with beside(work, quarter):
            pass
        print(len(said), len(quarter.overloads), flush=True)
    print(quarter(12), sum(quarter.stats.cache_hits.values()), len(said))
"""


def test_an_entry_point_that_another_process_compiles_is_found_on_disk(tmp_path: Path) -> None:
    (tmp_path / "quarters.py").write_text(BESIDE)
    done = subprocess.run(
        [sys.executable, "-c", "import quarters"],
        cwd=tmp_path,
        env={**os.environ, "KEVACUATE_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one core: no other process")
    assert done.stdout.split("\n")[:3] == ["1 0", "1 0", "3 1 1"]


def test_a_child_that_says_nothing_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one core: no other process")
    monkeypatch.setattr(jit, "LONGEST_SILENCE", 0.2)
    monkeypatch.setattr(jit, "is_kept", lambda kernel: False)
    started = []
    forked = jit.forked
    monkeypatch.setattr(jit, "forked", lambda work: started.append(forked(work)) or started[0])
    with jit.beside(lambda: time.sleep(3600), _one_more):
        pass
    with pytest.raises(ChildProcessError):  # killed, and waited for
        os.waitpid(started[0], os.WNOHANG)


def test_progress_tells_functions_and_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    listener = compiling._Compiling(lambda: None, said.append)
    now = iter([100.0, *[106.0] * 40])
    monkeypatch.setattr(compiling.time, "monotonic", lambda: next(now))
    listener.begins("_one_more", lambda: 40)
    for _ in range(20):
        listener.typed()
    assert said == ["compiling _one_more, once: 20 of 40 functions, about 74 s more (estimate)"]
