# SPDX-License-Identifier: GPL-2.0-or-later
"""Which room may import which, and what the lowest rooms may know."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import kevacuate
from kevacuate.policy import POLICIES

PACKAGE = Path(kevacuate.__file__).parent
FLOORS = (
    "kernel", "mm", "recording", "kernelfiles", "demand", "measure", "policy", "workload", "runs", "search", "observe",
    "fidelity", "sweeps", "capture", "reports", "live", "cli",
)  # fmt: skip
"""The rooms from the ground up: each imports only from those before it."""
ANYWHERE = {
    "kevacuate.errors",
    "kevacuate.ending",
    "kevacuate._version",
    "kevacuate._lazy",
    "kevacuate.aliasing",
    "kevacuate.compiler",
    "kevacuate.compiling",
    "kevacuate.disjoint",
    "kevacuate.dispatch",
    "kevacuate.hookcompiler",
    "kevacuate.intrinsics",
    "kevacuate.jit",
    "kevacuate.lowering",
    "kevacuate.partcalls",
    "kevacuate.partcode",
    "kevacuate.partexpressions",
    "kevacuate.partsource",
    "kevacuate.partstatements",
    "kevacuate.partvalues",
    "kevacuate.percent",
    "kevacuate.records",
    "kevacuate.recordtypes",
}
USERS = {"cli"}
"""Rooms that use the package as scripts do, by its facade."""
CLI_KNOWS = {
    "kevacuate",
    "kevacuate.ending",
    "kevacuate.errors",
    "kevacuate._version",
    "kevacuate.compiling",
    "kevacuate.recording.atomic_write",
    "kevacuate.capture.workdir",
}
"""What the command line takes besides rendering (reports), the live view, and the names of policies: the facade; errors; when the
model is compiled; how a process ends; files written beside their place, and what killed commands left there."""
HELP = {
    "kevacuate.measure.permutation",
    "kevacuate.measure.fidelity",
    "kevacuate.measure.saved",
    "kevacuate.recording.recording",
    "kevacuate.recording.machine",
    "kevacuate.runs.loop_choice",
}
"""Homes of constants, words and checks of files that ``--help``, titles and figures need."""
THIRD_PARTY = {"kernel": {"numpy"}, "mm": {"numpy"}, "recording": {"numpy", "pyarrow"}}
COMPILER = {"numba", "llvmlite"}
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


def imports(path: Path, *, running: bool = False, typing: bool = True) -> Iterator[str]:
    """Dotted names of the modules a file imports; `running`: only those imported when it is loaded; `typing`: for types too."""
    stack: list[ast.AST] = [ast.parse((PACKAGE / path).read_text())]
    while stack:
        node = stack.pop()
        if running and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if (running or not typing) and isinstance(node, ast.If) and is_type_checking(node):
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
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("path", [path for path in MODULES if len(path.parts) > 1], ids=str)
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    room = path.parts[0]
    for name in imports(path):
        if name.split(".")[0] != "kevacuate" or name in ANYWHERE or room_of(name) == room:
            continue
        if name == "kevacuate" and room in USERS:
            continue
        assert room_of(name), f"{path} imports {name}: the facade is for users"
        assert FLOORS.index(room_of(name)) < FLOORS.index(room), f"{path} imports {name}, from a floor above"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] in THIRD_PARTY], ids=str)
def test_the_ground_floor_knows_little(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        allowed = top in THIRD_PARTY[path.parts[0]]
        assert top in sys.stdlib_module_names or top == "kevacuate" or allowed, f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_string_that_stands_alone_documents_what_stands_before_it(path: Path) -> None:
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        body = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
        for before, found in pairwise(body):
            alone = isinstance(found, ast.Expr) and isinstance(found.value, ast.Constant)
            assert not alone or isinstance(before, ast.Assign | ast.AnnAssign), f"{path}:{found.lineno}"


COMPILING = {
    Path(f"{name}.py")
    for name in (
        "aliasing", "compiler", "dispatch", "hookcompiler", "intrinsics", "jit", "partcalls", "partcode", "partexpressions",
        "partstatements", "partvalues", "recordtypes",
    )
}  # fmt: skip
"""Who knows the compiler; nothing else of the package does."""


def test_few_files_know_the_compiler() -> None:
    knowing = {path for path in MODULES if {name.split(".")[0] for name in imports(path)} & COMPILER}
    assert knowing <= COMPILING


@pytest.mark.parametrize("path", [path for path in MODULES if module_name(path) in ANYWHERE], ids=str)
def test_what_any_room_may_import_lies_below_all(path: Path) -> None:
    assert {name for name in imports(path) if name.startswith("kevacuate")} <= ANYWHERE


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] == "mm"], ids=str)
def test_the_model_opens_no_file(path: Path) -> None:
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


OTHERS = "|".join(name for name in POLICIES if name != "evacuate")
POLICY_NAME = re.compile(
    rf"(?<![\w./:-])(?:{OTHERS})(?![\w-])|^evacuate$|--policy evacuate\b|`evacuate`|(?<!\w)evacuate,[\w-]+="
)
"""A policy's name in a text: not the verb, as in "nothing to evacuate." """


def named_policies(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every string that names a policy; docstrings and the text of ``--help`` are documentation."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in documentation:
            continue
        if POLICY_NAME.search(node.value.strip()):
            yield node.lineno, node.value


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] not in ("policy", "mm")], ids=str)
def test_nothing_outside_policy_knows_a_policys_name(path: Path) -> None:
    assert list(named_policies(ast.parse((PACKAGE / path).read_text()))) == []


@pytest.mark.parametrize(
    "text", ['x = "mainline"', 'x = "evacuate"', 'x = f"`evacuate` {y}"', 'x = "--policy evacuate,pool=8"']
)
def test_a_policys_name_is_found(text: str) -> None:
    assert list(named_policies(ast.parse(text)))


def test_a_verb_is_no_policys_name() -> None:
    assert not list(
        named_policies(ast.parse('x = "nothing to evacuate."\ny = "kevacuate"\nz = "evacuate block 7"'))
    )


def units(room: str) -> dict[str, set[str]]:
    """Folder or file of a room to those of the same room whose modules it imports when it is loaded."""
    made: dict[str, set[str]] = {}
    for path in MODULES:
        if path.parts[0] != room or len(path.parts) < 2:
            continue
        unit = path.parts[1].removesuffix(".py")
        found = made.setdefault(unit, set())
        for name in imports(path, running=True):
            parts = name.split(".")
            if parts[:2] == ["kevacuate", room] and len(parts) > 2 and parts[2] != unit:
                found.add(parts[2])
    return made


@pytest.mark.parametrize("room", FLOORS)
def test_no_folder_of_a_room_lies_in_a_circle(room: str) -> None:
    graph = {unit: needs for unit, needs in units(room).items() if unit != "__init__"}
    done: set[str] = set()
    while ready := {
        unit for unit, needs in graph.items() if unit not in done and not (needs & set(graph)) - done
    }:
        done |= ready
    assert set(graph) == done, f"circle among {sorted(set(graph) - done)}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] == "cli"], ids=str)
def test_the_command_line_calls_only_the_facade(path: Path) -> None:
    for name in imports(path, typing=False):
        parts = name.split(".")
        if parts[0] != "kevacuate" or name in CLI_KNOWS | HELP:
            continue
        assert parts[1] in ("cli", "reports", "live", "policy"), f"{path} imports {name}"


def test_a_command_calls_no_verb_past_the_facade() -> None:
    homes = {f"kevacuate.{home}" for home in kevacuate._HOMES.values()}
    verbs = {
        f"{home}.{kevacuate._CALLED.get(name, name)}"
        for name, home in kevacuate._HOMES.items()
        if name.islower()
    }
    for path in (path for path in MODULES if path.parts[0] == "cli"):
        for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in homes:
                taken = {f"{node.module.removeprefix('kevacuate.')}.{alias.name}" for alias in node.names}
                assert not taken & verbs, f"{path} imports {taken & verbs}"
