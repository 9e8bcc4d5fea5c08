# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy from a file (``my.py:Name``) or an installed package (entry points "kevacuate.policies"): read, checked, made ready.

Only what the user names is read and run; a recording or a stored result never loads code.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from kevacuate import jit
from kevacuate.errors import KevacuateError, did_you_mean, small_file
from kevacuate.mm import policy_calls
from kevacuate.mm.hooks import quotient, remainder, round_too_many
from kevacuate.policy.api import WORKER_ONLY
from kevacuate.policy.hook_source import (
    QUOTIENT,
    REMAINDER,
    TOO_MANY,
    Checker,
    Fault,
    called_names,
    dividers,
    ends,
    lines_told,
    prepared,
    takes_machine,
    used_names,
)
from kevacuate.policy.hooks import ANSWERS, EVENTS, HOOKS, Hooks

GROUP = "kevacuate.policies"
"""The group of entry points that installed policies have."""

SHIPPED = {"contiguitas": "Contiguitas"}
"""Policies of hooks that the package has itself: a file of this folder by its name, and the class in it."""

TOO_DEEP = "nested too deeply"

MOST_WAYS = 10_000
"""Calls of the file's functions in a hook, those in what it calls counted each time."""

MOST_TOLD = 160
"""Characters of an exception's text that are passed on."""


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
        """Every method of the class by name, those too that it inherits from another class of the file."""
        classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}
        inherited = [
            classes[own.__name__] for own in reversed(self.policy.__mro__) if own.__name__ in classes
        ]
        return {
            node.name: node for found in inherited for node in found.body if isinstance(node, ast.FunctionDef)
        }

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """Every function of the file, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks that it overrides."""
        return tuple(name for name in HOOKS if name in self.methods)

    @cached_property
    def without_machine(self) -> frozenset[str]:
        """Functions of the file, ``self.NAME`` for methods, that do not take the machine; hooks do."""
        named = {f"self.{name}": node for name, node in self.methods.items()} | self.functions
        return frozenset(name for name, node in named.items() if not takes_machine(node))

    @cached_property
    def calls(self) -> frozenset[str]:
        """Names of the model's functions that its hooks may call."""
        used = (
            name for hook in self.hooks for node in self.reached(hook).values() for name in used_names(node)
        )
        found = (self.global_value(name) for name in used)
        return frozenset(getattr(one, "py_func", one).__name__ for one in found if is_of_the_model(one))

    def global_value(self, name: str) -> Any:
        """What a global name, or an attribute of a global module, stands for; None for nothing."""
        first, _, attribute = name.partition(".")
        found: Any = self.policy._space.get(first)  # type: ignore[attr-defined]
        if not attribute:
            return found
        return getattr(found, attribute, None) if isinstance(found, ModuleType) else None

    def wrong(self, line: int, hook: str, what: str) -> KevacuateError:
        """A sentence of what is wrong with a hook."""
        end = "" if what.endswith("?") else "."
        return KevacuateError(f"{self.path}:{line}: the hook {hook} of {self.name} {what}{end}")

    def takes(self, name: str) -> list[str] | None:
        """The names of the arguments of a function that hooks call, without self; None of a builtin."""
        table = self.methods if name.startswith("self.") else self.functions
        if node := table.get(name.removeprefix("self.")):
            return [one.arg for one in node.args.args][name.startswith("self.") :]
        found = self.global_value(name)
        function = getattr(found, "py_func", found)
        return list(inspect.signature(function).parameters) if isinstance(function, FunctionType) else None

    @property
    def prefix(self) -> str:
        """What stands before a method's name where it is a function."""
        return f"_{self.name}_"

    def first_line(self, place: str) -> int:
        """The first line of a function that was made ready under this name."""
        method = self.methods.get(place.removeprefix(self.prefix))
        return (self.functions.get(place) or method or self.tree.body[0]).lineno

    def reached(self, hook: str) -> dict[str, ast.FunctionDef]:
        """A hook and what it calls of the file, by name: ``self.NAME`` for a method.

        Raises
        ------
        KevacuateError
            They call each other in a circle, or in too many ways: each of those may become machine code of its own.
        """
        found: dict[str, ast.FunctionDef] = {}
        ways: dict[str, int] = {}

        def visit(name: str, above: tuple[str, ...]) -> int:
            table = self.methods if name.startswith("self.") else self.functions
            function = table.get(name.removeprefix("self."))
            if function is None:
                return 0
            if name in above:
                raise self.wrong(function.lineno, hook, f"calls {name} in a circle, which has no end")
            if name not in ways:
                found[name] = function
                ways[name] = 1 + sum(visit(inner, (*above, name)) for inner in called_names(function))
            if ways[name] > MOST_WAYS:
                raise self.wrong(
                    function.lineno, hook, f"reaches {name} in more than {MOST_WAYS:,} calls of calls"
                )
            return ways[name]

        visit(f"self.{hook}", ())
        return found


def is_of_the_model(found: Any) -> bool:
    """Whether something is a function of the model that hooks may call."""
    ours = isinstance(found, jit.Part) or (jit.JIT_DISABLED and isinstance(found, FunctionType))
    return ours and getattr(getattr(found, "py_func", found), "__module__", "") == policy_calls.__name__


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
            if is_of_the_model(found):
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
    fields = {"nr_pageblocks": 0, **{name: one.length for name, one in policy.declared.items() if one.words}}
    knobs = {"nr_pageblocks"} | {name for name, found in policy.declared.items() if found.sort == "knob"}
    for name in policy.declared:
        if name in HOOKS or hasattr(Hooks, name):
            raise KevacuateError(
                f"{file.path}: {file.name} declares {name}, which is a name of kevacuate's own: choose another."
            )
    check_bases(file)
    check_shares(file)
    check_knobs(file)
    checker = Checker(
        fields, knobs, set(file.methods), known_of(space, file.functions), file.takes, jit.JIT_DISABLED
    )
    used: set[str] = set()
    for hook in file.hooks:
        check_form(file, hook)
        for name, function in file.reached(hook).items():
            used.add(name)
            faults: list[Fault] = list(checker.faults(function, method=name.startswith("self.")))
            if faults:
                first = min(faults, key=lambda fault: fault.line)
                raise file.wrong(first.line, hook, first.what)
        check_place(file, hook)
    check_used(file, used)
    if not file.hooks:
        raise KevacuateError(f"{file.path}: {file.name} has no hook: give it one of {', '.join(HOOKS)}.")


def check_form(file: HooksFile, hook: str) -> None:
    """Refuse a hook with other arguments than it is given, or without an answer.

    Raises
    ------
    KevacuateError
        What is wrong.
    """
    method = file.methods[hook]
    given = inspect.signature(getattr(Hooks, hook)).parameters
    write = f"write def {hook}({', '.join(given)})"
    if len(method.args.args) != len(given):
        raise file.wrong(method.lineno, hook, f"takes other arguments than it is given: {write}")
    if method.args.args[1].arg != "s":
        raise file.wrong(method.lineno, hook, f"needs s as its second argument: {write}")
    if hook not in EVENTS and not ends(method.body):
        raise file.wrong(method.lineno, hook, f"can end without a return: it returns {ANSWERS[hook]}")


def check_place(file: HooksFile, hook: str) -> None:
    """Refuse a hook but the worker that calls what changes the allocator at once, itself or by what it calls of the file.

    Raises
    ------
    KevacuateError
        The first such call.
    """
    if hook == "worker":
        return
    calls = (n for one in file.reached(hook).values() for n in ast.walk(one) if isinstance(n, ast.Call))
    for node in sorted(calls, key=lambda call: call.lineno):
        called = ast.unparse(node.func)
        if any(file.global_value(called) is one for one in WORKER_ONLY):
            raise file.wrong(node.lineno, hook, f"calls {called}, which only the hook worker may")


def check_used(file: HooksFile, used: set[str]) -> None:
    """Refuse methods that no hook calls: a hook's name is misspelt, most likely. *used* are those that are called.

    Raises
    ------
    KevacuateError
        The first one that is not called by another of them; before that one whose name is like a hook's.
    """
    unused = [name for name in file.methods if f"self.{name}" not in used]
    if not unused:
        return
    called = {
        inner for name in unused for inner in called_names(file.methods[name]) if inner != f"self.{name}"
    }
    first = [name for name in unused if f"self.{name}" not in called] or unused
    name = next((one for one in first if did_you_mean(one, HOOKS)), first[0])
    meant = did_you_mean(name, HOOKS) or f"the hooks are {', '.join(HOOKS)}."
    where = f"{file.path}:{file.methods[name].lineno}"
    raise KevacuateError(
        f"{where}: {file.name} has a method {name}, which is no hook and which no hook calls: {meant}"
    )


def check_bases(file: HooksFile) -> None:
    """Refuse methods that come from another file: only the file that was named is read.

    Raises
    ------
    KevacuateError
        The first class that has some.
    """
    own = {node.name for node in file.tree.body if isinstance(node, ast.ClassDef)}
    for base in file.policy.__mro__[: file.policy.__mro__.index(Hooks)]:
        here = base.__name__ in own and file.global_value(base.__name__) is base
        if not here and any(isinstance(found, FunctionType) for found in vars(base).values()):
            raise KevacuateError(
                f"{file.path}: {file.name} inherits methods of {base.__name__}, which is not in the file: put it there."
            )


def check_shares(file: HooksFile) -> None:
    """Refuse shares of what is not counted.

    Raises
    ------
    KevacuateError
        The first one.
    """
    declared = file.policy.declared
    for found in declared.values():
        for name in found.of:
            if name not in declared or declared[name].sort != "counter":
                raise KevacuateError(
                    f"{file.path}: {file.name} declares {found.name} as a share of {name}, which is no counter of it."
                )


def check_knobs(file: HooksFile) -> None:
    """Refuse a knob that is bound by one which is none, or whose default lies below that one's.

    Raises
    ------
    KevacuateError
        The first one.
    """
    declared = file.policy.declared
    for found in declared.values():
        bound = declared.get(found.at_least)
        if not found.at_least or (bound and bound.sort == "knob" and bound.default <= found.default):
            continue
        why = (
            f"{bound.default} by default, and it {found.default}"
            if bound and bound.sort == "knob"
            else "no knob of it"
        )
        raise KevacuateError(
            f"{file.path}: {file.name} declares {found.name} as at least {found.at_least}, which is {why}."
        )


@dataclass(frozen=True)
class ReadyHook:
    """A hook ready to be compiled: its function, and the key of all that its machine code consists of."""

    function: FunctionType
    key: str


def ready(file: HooksFile, hook: str, fields: object) -> ReadyHook:
    """A hook's function, with plain or compiled functions in the place of those of the file that it calls."""
    reached = file.reached(hook)
    space = dict(file.policy._space)  # type: ignore[attr-defined]
    space |= {TOO_MANY: round_too_many, QUOTIENT: quotient, REMAINDER: remainder}
    prefix = file.prefix
    parts = [(ast.dump(node), lines_told(node)) for node in reached.values()]
    used = sorted({name for node in reached.values() for name in used_names(node)})
    numbers = {name: value for name in used if isinstance(value := file.global_value(name), int)}
    told = repr((jit.source_digest() if not jit.JIT_DISABLED else "", hook, parts, numbers, fields))
    key = hashlib.sha256(told.encode()).hexdigest()[:24]
    for name, node in reached.items():
        own = name.removeprefix("self.")
        place = f"{prefix}{own}" if name.startswith("self.") else own
        is_hook = name == f"self.{hook}"
        made = prepared(node, place, prefix, file.without_machine, hook=hook if is_hook else "")
        exec(compile(ast.Module([made], []), str(file.path), "exec"), space)
        for divider, text in dividers(made).items():
            exec(compile(text, "<a division of a hook>", "exec"), space)
            space[divider] = jit.foreign_part(_named(space[divider], divider, key))
        function = _named(space[place], place, key)
        if not is_hook:
            space[place] = jit.foreign_part(function)
    space["__name__"] = "kevacuate.policy"
    return ReadyHook(space[f"{prefix}{hook}"], key)


def _named(function: FunctionType, name: str, key: str) -> FunctionType:
    """A function under a name that no other has."""
    function.__name__ = function.__qualname__ = f"{name}_{key}"
    function.__module__ = "kevacuate.policy"
    return function


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
        source = small_file(given).decode()
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
    except (MemoryError, RecursionError):
        raise KevacuateError(
            f"{path}: the policy file is no Python that can be read: it is {TOO_DEEP}."
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
    try:
        check(file)
    except RecursionError:
        raise KevacuateError(f"{path}: the policy {name} cannot be read: it is {TOO_DEEP}.") from None
    return file


def _run(path: Path, code: Any) -> dict[str, Any]:
    """The names that a file defines. What it prints meanwhile goes to standard error: standard output is the command's own."""
    module = ModuleType(f"kevacuate_policy_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}")
    module.__file__ = str(path)
    try:
        with redirect_stdout(sys.stderr):
            exec(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise KevacuateError(f"{where}: the policy file cannot be loaded: {_told(error)}.") from None
    return module.__dict__


def _told(error: BaseException) -> str:
    """An exception in a line, whatever it is: a file may raise what cannot even be printed."""
    try:
        said = "".join(c if c.isprintable() else " " for c in str(error).split("\n")[0])[:MOST_TOLD].rstrip(
            ". "
        )
    except Exception:
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def installed() -> dict[str, EntryPoint]:
    """Policies of installed packages, by name; none is loaded."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def load_shipped(name: str) -> HooksFile:
    """The class of hooks of a policy of :data:`SHIPPED`."""
    return load_file(str(Path(__file__).with_name(f"{name}.py")), SHIPPED[name])


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
