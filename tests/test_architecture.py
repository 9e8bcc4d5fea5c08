# SPDX-License-Identifier: GPL-2.0-or-later
"""Which room may import which, and what the lowest rooms may know."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kevacuate

PACKAGE = Path(kevacuate.__file__).parent
FLOORS = {
    "kernel": 0,
    "mm": 1, "recording": 1,
    "policy": 2, "measure": 2,
    "replay": 3, "capture": 3, "workload": 3,
    "sweep": 4,
    "report": 5, "live": 5,
    "cli": 6,
}  # fmt: skip
ANYWHERE = {"kevacuate.errors", "kevacuate._version"}
FOUNDATION = "kevacuate.mm.jit"  # the one file of mm that recording may import
THIRD_PARTY = {"kernel": {"numpy"}, "mm": {"numpy"}, "recording": {"numpy", "pyarrow"}}
JIT_ALONE = {"numba", "llvmlite"}
COMPILER = (Path("mm/jit.py"), Path("mm/disjoint.py"))
FILE_MODULES = {"os", "io", "pathlib", "tempfile", "shutil", "glob", "mmap", "sqlite3", "pickle"}
FILE_CALLS = {"open", "load", "save", "savez", "fromfile", "tofile", "memmap", "loadtxt", "savetxt", "print"}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Dotted name of a file of the package."""
    parts = ["kevacuate", *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES}


def is_type_checking(node: ast.If) -> bool:
    """Whether the statement is `if TYPE_CHECKING:`."""
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(path: Path, *, running: bool = False) -> Iterator[str]:
    """Dotted names of the modules a file imports; `running`: only those imported when it is loaded."""
    stack: list[ast.AST] = [ast.parse((PACKAGE / path).read_text())]
    while stack:
        node = stack.pop()
        if running and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if running and isinstance(node, ast.If) and is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from imported_from(path, node)
        stack.extend(ast.iter_child_nodes(node))


def imported_from(path: Path, node: ast.ImportFrom) -> Iterator[str]:
    """Modules of a `from ... import ...`: the names may be modules themselves."""
    base = node.module or ""
    if node.level:
        package = module_name(path).split(".")
        package = package if path.name == "__init__.py" else package[:-1]
        base = ".".join(package[: len(package) - node.level + 1] + ([node.module] if node.module else []))
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in NAMES else base


def room_of(name: str) -> str:
    """The room a dotted name lies in; empty for the package's own files."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else ""


def test_every_room_has_a_floor() -> None:
    rooms = {path.parts[0] for path in MODULES if len(path.parts) > 1}
    assert rooms <= set(FLOORS)


@pytest.mark.parametrize("path", [path for path in MODULES if len(path.parts) > 1], ids=str)
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    room = path.parts[0]
    for name in imports(path):
        if name.split(".")[0] != "kevacuate" or name in ANYWHERE or room_of(name) == room:
            continue
        if room == "recording" and name == FOUNDATION:
            continue
        assert room_of(name), f"{path} imports {name}: the facade is for users"
        assert FLOORS[room_of(name)] < FLOORS[room], f"{path} (floor {FLOORS[room]}) imports {name}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] in THIRD_PARTY], ids=str)
def test_the_ground_floor_knows_little(path: Path) -> None:
    allowed = THIRD_PARTY[path.parts[0]] | (JIT_ALONE if path in COMPILER else set())
    for name in imports(path):
        top = name.split(".")[0]
        assert top in sys.stdlib_module_names or top == "kevacuate" or top in allowed, (
            f"{path} imports {name}"
        )


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] == "mm"], ids=str)
def test_the_model_opens_no_file(path: Path) -> None:
    if path in COMPILER:  # there `load` is an instruction
        return
    assert not {name.split(".")[0] for name in imports(path)} & FILE_MODULES
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            called = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            assert called not in FILE_CALLS, f"{path}:{node.lineno} calls {called}"


@pytest.mark.parametrize("room", sorted({path.parts[0] for path in MODULES if len(path.parts) > 1}))
def test_no_import_cycles(room: str) -> None:
    graph = {
        module_name(path): {
            name for name in imports(path, running=True) if name in NAMES and name != f"kevacuate.{room}"
        }
        for path in MODULES
        if path.parts[0] == room
    }
    done: set[str] = set()
    while ready := {
        name for name, needs in graph.items() if name not in done and not (needs & set(graph)) - done
    }:
        done |= ready
    assert set(graph) == done, f"import cycle among {sorted(set(graph) - done)}"


def test_the_facade_holds_no_logic() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    for node in tree.body:
        assert not isinstance(node, ast.ClassDef | ast.For | ast.While | ast.With | ast.Try)
