# SPDX-License-Identifier: GPL-2.0-or-later
"""Which source files hold or feed compiled code: found by the syntax tree, without importing anything.

``python tests/compiled_sources.py`` writes the list by which the compiled model's cache is keyed (``compiled.txt``).

A function under the compiler's decorators is compiled, and so is a record of named fields. It reaches each module-level name
that its body loads: a function (its body is followed), a constant (the names in its value are), a class. Imports are followed to
the file that defines the name. What runs in Python alone and annotations do not count: a file without a compiled function or a
reached name is not in the list.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

DECORATORS = {"kernel", "part", "intrinsic"}
COMPILERS = {"numba", "llvmlite"}


class Module:
    """A source file: what each module-level name is bound to."""

    def __init__(self, package: Path, path: Path) -> None:
        self.path = path
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.tree = ast.parse(path.read_text())

    @cached_property
    def bound(self) -> dict[str, list[ast.stmt]]:
        """Statements that bind each name, those in module-level `if` and `try` too."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in _statements(self.tree.body):
            for name in _names_bound(statement):
                found.setdefault(name, []).append(statement)
        return found

    @property
    def compiled(self) -> Iterator[str]:
        """Names of the functions under a compiler's decorator, and of records, whose fields become offsets."""
        for name, statements in self.bound.items():
            if any(_is_compiled(statement) for statement in statements):
                yield name

    @property
    def is_compiler(self) -> bool:
        """Whether it is part of the compiler itself."""
        imported = (node for node in ast.walk(self.tree) if isinstance(node, ast.Import | ast.ImportFrom))
        return any(
            name.split(".")[0] in COMPILERS
            for node in imported
            for name in (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
        )

    def origin(self, statement: ast.ImportFrom) -> str:
        """Dotted name of the module that a `from` import names."""
        if not statement.level:
            return statement.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - statement.level + self.is_package]
        return ".".join([*kept, *([statement.module] if statement.module else [])])


def _is_compiled(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ClassDef):
        return any(isinstance(base, ast.Name) and base.id == "Record" for base in statement.bases)
    decorators = statement.decorator_list if isinstance(statement, ast.FunctionDef) else []
    return any(_called(decorator) in DECORATORS for decorator in decorators)


def _called(decorator: ast.expr) -> str:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        for inner in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.For | ast.With):
                yield from _statements(getattr(statement, inner, []))


def _names_bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def _variables(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _loaded(statement: ast.stmt) -> Iterator[tuple[str, str | None]]:
    """(name, attribute read of it or None) for what a definition evaluates or its body loads.

    Annotations, a function's own variables and a class's methods do not count.
    """
    own = set(_variables(statement)) if isinstance(statement, ast.FunctionDef) else set()
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns"):
                continue
            children = value if isinstance(value, list) else [value]
            stack.extend(
                child
                for child in children
                if isinstance(child, ast.AST)
                and not (isinstance(node, ast.ClassDef) and isinstance(child, ast.FunctionDef))
            )
        if isinstance(node, ast.Name) and node.id in own:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, None


class Sources:
    """All files of a package, and what its compiled functions reach."""

    def __init__(self, package: Path) -> None:
        self.package = package
        modules = [Module(package, path) for path in sorted(package.rglob("*.py"))]
        self.modules = {module.name: module for module in modules}
        self.reached: set[tuple[str, str]] = set()

    def files(self) -> list[str]:
        """Paths, relative to the package, of the files that hold or feed compiled code."""
        for module in self.modules.values():
            for name in module.compiled:
                self._reach(module, name)
        found = {self.modules[name].path for name, _ in self.reached}
        compilers = {name for name, module in self.modules.items() if module.is_compiler}
        found |= {self.modules[name].path for name in self._closure(compilers)}
        return sorted(path.relative_to(self.package).as_posix() for path in found)

    def _closure(self, names: set[str]) -> set[str]:
        """Modules of the compiler, and those beside them that they import: all of it decides what code is made."""
        found, pending = set(), list(names)
        while pending:
            name = pending.pop()
            if name in found:
                continue
            found.add(name)
            for node in ast.walk(self.modules[name].tree):
                if isinstance(node, ast.ImportFrom):
                    base = self.modules[name].origin(node)
                    pending += [
                        full for alias in node.names if (full := f"{base}.{alias.name}") in self.modules
                    ]
        return found

    def _reach(self, module: Module, name: str) -> None:
        if (module.name, name) in self.reached:
            return
        if name not in module.bound:
            return  # a builtin, a local, or a submodule's name
        for statement in module.bound[name]:
            if isinstance(statement, ast.ImportFrom):
                self._follow(module, statement, name)
            elif not isinstance(statement, ast.Import):
                self.reached.add((module.name, name))
                for loaded, attribute in _loaded(statement):
                    self._load(module, loaded, attribute)

    def _load(self, module: Module, name: str, attribute: str | None) -> None:
        """A name is loaded; if it is a module of ours, its attribute is what is reached."""
        for statement in module.bound.get(name, []):
            if attribute is not None and isinstance(statement, ast.ImportFrom):
                alias = next(a for a in statement.names if (a.asname or a.name) == name)
                inner = self.modules.get(f"{module.origin(statement)}.{alias.name}")
                if inner is not None:
                    self._reach(inner, attribute)
                    return
        self._reach(module, name)

    def _follow(self, module: Module, statement: ast.ImportFrom, name: str) -> None:
        alias = next(a for a in statement.names if (a.asname or a.name) == name)
        source = self.modules.get(module.origin(statement))
        if source is not None:
            self._reach(source, alias.name)


if __name__ == "__main__":
    package = Path(__file__).resolve().parent.parent / "src" / "kevacuate"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else package / "compiled.txt"
    target.write_text("".join(f"{path}\n" for path in Sources(package).files()))
