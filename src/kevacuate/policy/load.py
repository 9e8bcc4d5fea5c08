# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy from a file (``my.py:Name``) or an installed package (entry points "kevacuate.policies"): read, checked, made ready.

Only what the user names is read and run; a recording or a stored result never loads code.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from kevacuate import jit
from kevacuate.errors import KevacuateError
from kevacuate.policy.hook_source import (
    Checker,
    Fault,
    arity_words,
    called_names,
    ends,
    prepared,
)
from kevacuate.policy.hooks import ANSWERS, EVENTS, HOOKS, Hooks

GROUP = "kevacuate.policies"
"""The group of entry points that installed policies have."""


@dataclass(frozen=True)
class HooksFile:
    """A class of hooks and the source it is in.

    Attributes
    ----------
    path : Path
        The file, as it was named.
    name : str
        The class.
    source : str
        The file's text.
    policy : type
        The class itself.
    hooks : tuple of str
        The hooks that it overrides.
    """

    path: Path
    name: str
    source: str = field(repr=False)
    policy: type[Hooks] = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def spec(self) -> str:
        """``my.py:Name``."""
        return f"{self.path.name}:{self.name}"

    @cached_property
    def methods(self) -> dict[str, ast.FunctionDef]:
        """Every method of the class in the file, by name."""
        found = next(n for n in self.tree.body if isinstance(n, ast.ClassDef) and n.name == self.name)
        return {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """Every function of the file, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks that it overrides."""
        return tuple(name for name in HOOKS if name in self.methods)

    def wrong(self, line: int, hook: str, what: str) -> KevacuateError:
        """A sentence of what is wrong with a hook."""
        return KevacuateError(f"{self.path}:{line}: the hook {hook} of {self.name} {what}.")

    def takes(self, name: str) -> list[str] | None:
        """The names of the arguments of a function that hooks call, without self; None of a builtin."""
        table = self.methods if name.startswith("self.") else self.functions
        if node := table.get(name.removeprefix("self.")):
            return [one.arg for one in node.args.args][name.startswith("self.") :]
        found: Any = self.policy._space  # type: ignore[attr-defined]
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else getattr(found, part, None)
        function = getattr(found, "py_func", found)
        return list(inspect.signature(function).parameters) if isinstance(function, FunctionType) else None

    def reached(self, hook: str) -> dict[str, ast.FunctionDef]:
        """A hook and what it calls of the file, by name: ``self.NAME`` for a method.

        Raises
        ------
        KevacuateError
            They call each other in a circle.
        """
        found: dict[str, ast.FunctionDef] = {}

        def visit(name: str, above: tuple[str, ...]) -> None:
            table = self.methods if name.startswith("self.") else self.functions
            function = table.get(name.removeprefix("self."))
            if function is None:
                return
            if name in above:
                raise self.wrong(function.lineno, hook, f"calls {name} in a circle, which has no end")
            found[name] = function
            for inner in called_names(function):
                visit(inner, (*above, name))

        visit(f"self.{hook}", ())
        return found


def known_of(space: dict[str, Any], functions: dict[str, ast.FunctionDef]) -> Callable[[str, str, bool], str]:
    """Says of a global name (and an attribute of it) what is wrong with it in a hook, or nothing."""

    def known(name: str, attribute: str, called: bool) -> str:
        if called and not attribute and name in functions:
            return ""
        shown = f"{name}.{attribute}" if attribute else name
        missing = object()
        found: Any = space.get(name, missing)
        if found is missing:
            return f"uses {shown}, which is not defined in the file"
        if attribute:
            if not isinstance(found, ModuleType):
                return f"takes an attribute of {name}, which is no module"
            found = getattr(found, attribute, missing)
            if found is missing:
                return f"uses {shown}, which does not exist"
        if called:
            ours = isinstance(found, jit.Part) or (jit.JIT_DISABLED and isinstance(found, FunctionType))
            home = getattr(getattr(found, "py_func", found), "__module__", "")
            if ours and home == "kevacuate.mm.policy_calls":
                return ""
            return f"calls {shown}, which is neither in the file nor a function of kevacuate.policy"
        if not isinstance(found, int):
            return f"uses {shown}, which is no whole number but of type {type(found).__name__}"
        return ""

    return known


def check(file: HooksFile) -> None:
    """Refuse hooks that cannot be compiled, with file, line and reason.

    Raises
    ------
    KevacuateError
        The first reason.
    """
    policy = file.policy
    space: dict[str, Any] = policy._space  # type: ignore[attr-defined]
    fields = {"nr_pageblocks": 0, **{name: found.length for name, found in policy.declared.items()}}
    knobs = {"nr_pageblocks"} | {name for name, found in policy.declared.items() if found.sort == "knob"}
    for name in policy.declared:
        if name in HOOKS or hasattr(Hooks, name):
            raise KevacuateError(
                f"{file.path}: {file.name} declares {name}, which is a name of kevacuate's own: choose another."
            )
    checker = Checker(
        fields, knobs, set(file.methods), known_of(space, file.functions), file.takes, jit.JIT_DISABLED
    )
    used: set[str] = set()
    for hook in file.hooks:
        takes, wanted = (
            len(file.methods[hook].args.args),
            len(inspect.signature(getattr(Hooks, hook)).parameters),
        )
        if takes != wanted:
            raise file.wrong(file.methods[hook].lineno, hook, arity_words(hook, takes, wanted))
        if hook not in EVENTS and not ends(file.methods[hook].body):
            raise file.wrong(
                file.methods[hook].lineno, hook, f"can end without a return: it returns {ANSWERS[hook]}"
            )
        for name, function in file.reached(hook).items():
            used.add(name)
            faults: list[Fault] = list(checker.faults(function, method=name.startswith("self.")))
            if faults:
                first = min(faults, key=lambda fault: fault.line)
                raise file.wrong(first.line, hook, first.what)
    unused = [name for name in file.methods if f"self.{name}" not in used]
    if unused:
        raise KevacuateError(
            f"{file.path}:{file.methods[unused[0]].lineno}: {file.name} has a method {unused[0]}, which is no hook and which no "
            f"hook calls: the hooks are {', '.join(HOOKS)}."
        )
    if not file.hooks:
        raise KevacuateError(f"{file.path}: {file.name} has no hook: give it one of {', '.join(HOOKS)}.")


@dataclass(frozen=True)
class ReadyHook:
    """A hook ready to be compiled: its function, and the key of all that its machine code consists of."""

    function: FunctionType
    key: str


def ready(file: HooksFile, hook: str, fields: object) -> ReadyHook:
    """A hook's function, with plain or compiled functions in the place of those of the file that it calls."""
    reached = file.reached(hook)
    space = dict(file.policy._space)  # type: ignore[attr-defined]
    prefix = f"_{file.name}_"
    parts = [ast.dump(node) for node in reached.values()]
    numbers = {name: value for name, value in sorted(space.items()) if isinstance(value, int)}
    told = repr((jit.source_digest() if not jit.JIT_DISABLED else "", hook, parts, numbers, fields))
    key = hashlib.sha256(told.encode()).hexdigest()[:24]
    for name, node in reached.items():
        own = name.removeprefix("self.")
        place = f"{prefix}{own}" if name.startswith("self.") else own
        is_hook = name == f"self.{hook}"
        made = prepared(node, place, prefix, hook=hook if is_hook else "")
        exec(compile(ast.Module([made], []), str(file.path), "exec"), space)
        function = space[place]
        function.__name__ = function.__qualname__ = f"{place}_{key}"
        function.__module__ = "kevacuate.policy"
        if not is_hook:
            space[place] = jit.foreign_part(function)
    space["__name__"] = "kevacuate.policy"
    return ReadyHook(space[f"{prefix}{hook}"], key)


_loaded: dict[tuple[str, str, str], HooksFile] = {}
"""Files that this process has read, by path, class and text."""


def load_file(path: str, name: str) -> HooksFile:
    """The class *name* of hooks in a file, checked.

    Raises
    ------
    KevacuateError
        The file cannot be read or run, has no such class, or a hook cannot be compiled.
    """
    given = Path(path)
    try:
        source = given.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KevacuateError(f"The policy file {path} cannot be read: {why}.") from None
    key = (str(given.resolve()), name, source)
    if key not in _loaded:
        _loaded[key] = _load(given, name, source)
    return _loaded[key]


def _load(path: Path, name: str, source: str) -> HooksFile:
    """See :func:`load_file`."""
    try:
        tree = ast.parse(source, str(path))
        code = compile(source, str(path), "exec")
    except SyntaxError as error:
        raise KevacuateError(
            f"{path}:{error.lineno or 1}: the policy file is no Python: {error.msg}."
        ) from None
    space = _run(path, code)
    classes = {
        own: found
        for own, found in space.items()
        if isinstance(found, type) and issubclass(found, Hooks) and found is not Hooks
    }
    if name not in classes:
        has = f"its classes of Hooks are {', '.join(classes)}" if classes else "it has no class of Hooks"
        raise KevacuateError(f"{path} has no policy {name!r}: {has}.")
    if not any(isinstance(node, ast.ClassDef) and node.name == name for node in tree.body):
        raise KevacuateError(
            f"{path} imports the policy {name} and does not define it: name the file that does."
        )
    policy = classes[name]
    policy._space = space  # type: ignore[attr-defined]
    file = HooksFile(path, name, source, policy, tree)
    check(file)
    return file


def _run(path: Path, code: Any) -> dict[str, Any]:
    """The names that a file defines."""
    module = ModuleType(f"kevacuate_policy_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}")
    module.__file__ = str(path)
    try:
        exec(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        said = str(error).split("\n")[0].rstrip(".")
        told = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise KevacuateError(f"{where}: the policy file cannot be loaded: {told}.") from None
    return module.__dict__


def installed() -> dict[str, EntryPoint]:
    """Policies of installed packages, by name; none is loaded."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def load_entry_point(entry: EntryPoint) -> HooksFile:
    """The class of hooks that an entry point names, checked.

    Raises
    ------
    KevacuateError
        As :func:`load_file`; or its package is not there.
    """
    try:
        found = find_spec(entry.module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin or not entry.attr:
        raise KevacuateError(
            f"The policy {entry.name} of the entry point {entry.value!r} cannot be found: install it again."
        )
    return load_file(found.origin, entry.attr)
