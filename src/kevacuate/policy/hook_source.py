# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy file's source: what hooks may consist of, and what is put into them, so that they end and never allocate.

Hooks, and functions of the same file that they call, are whole numbers, branches and loops. Everything else is refused with its
line before it runs. Rounds of loops and calls of the file's functions are counted, all together in one call of a hook; more than
:data:`MOST_ROUNDS` end it with an error. Shifts are by their count modulo 64, and a quotient by -1 is a negation: what processors
do there differs.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kevacuate.errors import did_you_mean
from kevacuate.jit import HOOK_NUMBERS
from kevacuate.mm.constants import MOST_ROUNDS
from kevacuate.policy.hooks import EVENTS

MACHINE, TOO_MANY, QUOTIENT, REMAINDER = "__machine", "__too_many", "__quotient", "__remainder"
"""Names that are put into a file's functions: the machine where they do not take it, and what counts rounds and divides."""

BUILTINS = frozenset(("min", "max", "abs", "range", "int", "bool"))
"""Builtins that hooks may call."""

DEBUG_BUILTINS = frozenset(("print", "breakpoint", "repr", "hex"))
"""Builtins that they may call besides in plain Python."""

_DIVIDER = """
def {name}(a, b):
    if b == 0:
        raise ZeroDivisionError({said!r})
    return {of}(a, b)
"""
"""A quotient or a remainder that says in which line it is one by zero."""

_PLACE = re.compile(r"@(\w+)\+(\d+)")
"""A line of a function, counted from its first: what stands elsewhere in the file is no part of a hook's machine code."""

_STATEMENTS: tuple[type[ast.stmt], ...] = (
    ast.Assign, ast.AugAssign, ast.AnnAssign, ast.If, ast.While, ast.For, ast.Return, ast.Expr, ast.Pass, ast.Break, ast.Continue,
)  # fmt: skip
_EXPRESSIONS: tuple[type[ast.expr], ...] = (
    ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Attribute, ast.Subscript,
)  # fmt: skip
_WORDS = {
    ast.List: "a list", ast.Dict: "a dict", ast.Set: "a set", ast.Tuple: "a tuple", ast.ListComp: "a list",
    ast.DictComp: "a dict", ast.SetComp: "a set", ast.GeneratorExp: "a generator", ast.JoinedStr: "a text",
    ast.Lambda: "a lambda", ast.Starred: "a star", ast.Raise: "raise", ast.Try: "try", ast.With: "with", ast.Import: "import",
    ast.ImportFrom: "import", ast.Global: "global", ast.Nonlocal: "nonlocal", ast.Delete: "del", ast.Assert: "assert",
    ast.FunctionDef: "a function inside it", ast.ClassDef: "a class inside it", ast.Await: "await", ast.Yield: "yield",
    ast.YieldFrom: "yield", ast.NamedExpr: "an assignment inside an expression", ast.Slice: "a slice", ast.Match: "match",
}  # fmt: skip
_ALLOCATES = (
    ast.List, ast.Dict, ast.Set, ast.Tuple, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.JoinedStr, ast.Slice,
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What is wrong with a hook's source: in which line, and what."""

    line: int
    what: str


class Checker:
    """Goes through a hook's function, or one that it calls, and says what is wrong first.

    Parameters
    ----------
    fields : mapping of str to int
        Fields of ``self``: their lengths, 0 for a single number.
    knobs : set of str
        Those that are only read.
    methods : set of str
        Methods of the class.
    known : callable
        Whether a global name, or an attribute of one, is a number or a function that hooks may use: what is wrong with it, or
        nothing.
    takes : callable
        The names of the arguments of a function by its name, ``self.NAME`` for a method; None of a builtin.
    debug : bool
        Whether it runs as plain Python.
    """

    def __init__(
        self,
        fields: dict[str, int],
        knobs: set[str],
        methods: set[str],
        known: Callable[[str, str, bool], str],
        takes: Callable[[str], list[str] | None],
        debug: bool,
    ) -> None:
        self.fields, self.knobs, self.methods, self.debug = fields, knobs, methods, debug
        self.known, self.takes = known, takes
        self.local: set[str] = set()
        self.has_self = False

    def faults(self, function: ast.FunctionDef, *, method: bool) -> Iterator[Fault]:
        """All that is wrong with a function, in the order of its lines as far as they are known."""
        given = function.args
        if given.vararg or given.kwarg or given.kwonlyargs or given.defaults or given.posonlyargs:
            yield Fault(function.lineno, "takes plain arguments alone, without defaults or stars")
        if function.decorator_list:
            yield Fault(function.decorator_list[0].lineno, "has a decorator, and takes none")
        names = [one.arg for one in given.args]
        self.has_self = method and bool(names) and names[0] == "self"
        if method and not self.has_self:
            yield Fault(function.lineno, "needs self as its first argument")
        self.local = set(names) | {
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for name in sorted(self.local):
            if name.startswith("__"):
                yield Fault(
                    function.lineno, f"has the name {name}: names with two underscores are not its own"
                )
        for forbidden in ("s", "self"):
            stored = (n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == forbidden)
            for node in stored:
                if isinstance(node.ctx, ast.Store):
                    yield Fault(node.lineno, f"assigns to {forbidden}, which stands for something else")
        for statement in function.body:
            yield from self.statement(statement)

    def statement(self, node: ast.stmt) -> Iterator[Fault]:
        """What is wrong with a statement."""
        if not isinstance(node, _STATEMENTS):
            yield Fault(
                node.lineno, f"uses {_WORDS.get(type(node), type(node).__name__)}, which hooks cannot"
            )
            return
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            return
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call):
            yield Fault(node.lineno, "has an expression that does nothing")
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from self.target(target)
            if node.value is not None:
                yield from self.expression(node.value)
            return
        if isinstance(node, ast.For):
            yield from self.loop(node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield from self.statement(child)
            elif isinstance(child, ast.expr) and not (
                isinstance(node, ast.For) and child in (node.target, node.iter)
            ):
                yield from self.expression(child)

    def loop(self, node: ast.For) -> Iterator[Fault]:
        """A for loop goes over a range."""
        over = node.iter
        ranged = isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and over.func.id == "range"
        if not ranged or not isinstance(node.target, ast.Name):
            yield Fault(node.lineno, "loops over something else than a range of numbers")
            return
        yield from self.expression(over)

    def target(self, node: ast.expr) -> Iterator[Fault]:
        """What is assigned to: a name, a field of self, a word of one."""
        if isinstance(node, ast.Name):
            return
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            name = node.attr
            if name not in self.fields:
                yield Fault(node.lineno, f"assigns to {self.undeclared(name)}")
            elif name in self.knobs:
                yield Fault(node.lineno, f"assigns to self.{name}, which is a knob and does not change")
            elif self.fields[name]:
                yield Fault(node.lineno, f"assigns to self.{name} as a whole: it has several words")
            return
        if isinstance(node, ast.Subscript):
            yield from self.subscript(node)
            return
        yield Fault(node.lineno, "assigns to something else than a name or a field of self")

    def subscript(self, node: ast.Subscript) -> Iterator[Fault]:
        """Only fields of several words have an index."""
        held = node.value
        name = held.attr if isinstance(held, ast.Attribute) and ast.unparse(held.value) == "self" else ""
        if not self.fields.get(name, 0):
            what = "something else than a field of self with several words"
            if name in self.fields:
                what = f"self.{name}, which is a single number"
            elif name:
                what = self.undeclared(name)
            yield Fault(node.lineno, f"takes an index of {what}")
            return
        if isinstance(node.slice, ast.Slice):
            yield Fault(node.lineno, "takes a slice, which allocates memory")
            return
        yield from self.expression(node.slice)

    def undeclared(self, name: str) -> str:
        """A field that the class does not declare, and which it may have been."""
        meant = did_you_mean(name, self.fields)
        return f"self.{name}, which the class does not declare{': ' if meant else ''}{meant}"

    def expression(self, node: ast.expr) -> Iterator[Fault]:
        """What is wrong with an expression."""
        if not isinstance(node, _EXPRESSIONS):
            word = _WORDS.get(type(node), type(node).__name__)
            more = "which allocates memory" if isinstance(node, _ALLOCATES) else "which hooks cannot"
            yield Fault(node.lineno, f"makes {word}, {more}")
            return
        if isinstance(node, ast.Constant):
            whole = isinstance(node.value, int) and -(1 << 63) <= node.value < 1 << 63
            if not whole and not (self.debug and isinstance(node.value, str)):
                yield Fault(
                    node.lineno, f"uses {node.value!r}, and hooks know whole numbers of 64 bits alone"
                )
        elif isinstance(node, ast.Name):
            yield from self.name(node)
        elif isinstance(node, ast.Attribute):
            yield from self.attribute(node)
        elif isinstance(node, ast.Subscript):
            yield from self.subscript(node)
        elif isinstance(node, ast.Call):
            yield from self.call(node)
        else:
            yield from self.operation(node)

    def operation(self, node: ast.expr) -> Iterator[Fault]:
        """Operators whose result is a whole number."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Pow | ast.MatMult):
            yield Fault(node.lineno, "divides with / or raises to a power: use // and << instead")
        if isinstance(node, ast.Compare) and any(
            isinstance(op, ast.In | ast.NotIn | ast.Is | ast.IsNot) for op in node.ops
        ):
            yield Fault(node.lineno, "compares with in or is: use == and or")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from self.expression(child)

    def name(self, node: ast.Name) -> Iterator[Fault]:
        """A name by itself: a local one, or a number of the file's."""
        if node.id in ("s", "self"):
            yield Fault(node.lineno, f"uses {node.id} by itself: s is passed to functions, self has fields")
        elif node.id not in self.local and (wrong := self.known(node.id, "", False)):
            yield Fault(node.lineno, wrong)

    def attribute(self, node: ast.Attribute) -> Iterator[Fault]:
        """A field of self, or a number of a module."""
        if not isinstance(node.value, ast.Name):
            root: ast.expr = node
            while isinstance(root, ast.Attribute):
                root = root.value
            of = "s" if isinstance(root, ast.Name) and root.id == "s" else "an expression"
            yield Fault(node.lineno, f"takes an attribute of {of}: ask the model's functions instead")
        elif node.value.id == "self" and self.has_self:
            if node.attr not in self.fields:
                yield Fault(node.lineno, f"reads {self.undeclared(node.attr)}")
            elif self.fields[node.attr]:
                yield Fault(node.lineno, f"reads self.{node.attr} as a whole: it has several words")
        elif node.value.id in self.local or node.value.id == "s":
            yield Fault(
                node.lineno, f"takes an attribute of {node.value.id}: ask the model's functions instead"
            )
        elif wrong := self.known(node.value.id, node.attr, False):
            yield Fault(node.lineno, wrong)

    def call(self, node: ast.Call) -> Iterator[Fault]:
        """A call of a function of the model, of the same file, or of a method."""
        if node.keywords:
            yield Fault(node.lineno, "calls with names of arguments: give them in their order")
        called = node.func
        if isinstance(called, ast.Name):
            allowed = BUILTINS | (DEBUG_BUILTINS if self.debug else frozenset())
            if called.id in self.local:
                yield Fault(node.lineno, f"calls {called.id}, which is a local name that shadows a function")
            elif called.id in DEBUG_BUILTINS - allowed:
                yield Fault(node.lineno, f"calls {called.id}, which only --debug can")
            elif called.id not in allowed and (wrong := self.known(called.id, "", True)):
                yield Fault(node.lineno, wrong)
        elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            if called.value.id == "self" and self.has_self:
                if called.attr not in self.methods:
                    yield Fault(node.lineno, f"calls self.{called.attr}, which is no method of the class")
            elif called.value.id in self.local:
                yield Fault(
                    node.lineno, f"takes an attribute of {called.value.id}: ask the model's functions instead"
                )
            elif wrong := self.known(called.value.id, called.attr, True):
                yield Fault(node.lineno, wrong)
        else:
            yield Fault(node.lineno, "calls something else than a function by its name")
        yield from self.arguments(node)
        for argument in node.args:
            if not (isinstance(argument, ast.Name) and argument.id == "s"):
                yield from self.expression(argument)

    def arguments(self, node: ast.Call) -> Iterator[Fault]:
        """How many arguments a function takes, and which of them is s."""
        shown = ast.unparse(node.func)
        names = self.takes(shown)
        given = [ast.unparse(argument) for argument in node.args]
        if names is None:
            if "s" in given:
                yield Fault(node.lineno, f"passes s to {shown}, which knows numbers alone")
        elif len(given) != len(names):
            yield Fault(
                node.lineno,
                f"calls {shown} with {len(given)} arguments: it takes {', '.join(names) or 'none'}",
            )
        elif [one == "s" for one in given] != [one == "s" for one in names]:
            yield Fault(node.lineno, f"calls {shown} with s in another place: it takes {', '.join(names)}")


def ends(body: list[ast.stmt]) -> bool:
    """Whether statements always end in a return."""
    last = body[-1]
    if isinstance(last, ast.If):
        return bool(last.orelse) and ends(last.body) and ends(last.orelse)
    if isinstance(last, ast.While):
        always = isinstance(last.test, ast.Constant) and bool(last.test.value)
        return always and not any(isinstance(node, ast.Break) for node in ast.walk(last))
    return isinstance(last, ast.Return) and last.value is not None


def called_names(function: ast.FunctionDef) -> Iterator[str]:
    """Names of functions, and ``self.NAME`` of methods, that a function calls."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "self":
                yield f"self.{node.func.attr}"


def used_names(function: ast.FunctionDef) -> Iterator[str]:
    """Global names, ``NAME`` or ``NAME.ATTRIBUTE``, that a function may use."""
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def takes_machine(function: ast.FunctionDef) -> bool:
    """Whether a function has the machine among its arguments."""
    return any(one.arg == "s" for one in function.args.args)


class _Prepare(ast.NodeTransformer):
    """Counts rounds, makes functions of methods, passes the machine on, and has everything return a number.

    Parameters
    ----------
    prefix : str
        Of the functions that methods become.
    name : str
        What this function is called when it is prepared.
    line : int
        Its first line.
    machine : str
        What the machine is called in this function.
    without : frozenset of str
        Functions of the file, ``self.NAME`` for methods, that do not take the machine: they are given it last.
    event : bool
        Whether it is a hook that answers nothing.
    """

    def __init__(
        self, prefix: str, name: str, line: int, machine: str, without: frozenset[str], *, event: bool
    ) -> None:
        self.prefix, self.machine, self.without, self.event = prefix, machine, without, event
        self.name, self.line = name, line

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """``self.method(...)`` becomes a call of a function that takes self."""
        called = ast.unparse(node.func)
        self.generic_visit(node)
        func = node.func
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "self":
            node.func = ast.copy_location(ast.Name(f"{self.prefix}{func.attr}", ast.Load()), func)
            node.args = [func.value, *node.args]
        if called in self.without:
            node.args = [*node.args, ast.copy_location(ast.Name(self.machine, ast.Load()), func)]
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        """A return without a value gives 0."""
        self.generic_visit(node)
        if node.value is None or self.event:
            node.value = ast.copy_location(ast.Constant(0), node)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """A shift by its count modulo 64; a quotient becomes an assignment."""
        self.generic_visit(node)
        if isinstance(node.op, ast.FloorDiv | ast.Mod):
            read = copy.deepcopy(node.target)
            read.ctx = ast.Load()
            value = self._operation(ast.copy_location(ast.BinOp(read, node.op, node.value), node))
            return ast.copy_location(ast.Assign([node.target], value), node)
        if isinstance(node.op, ast.LShift | ast.RShift):
            node.value = _within_64(node.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Shifts and quotients."""
        self.generic_visit(node)
        return self._operation(node)

    def _operation(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, ast.LShift | ast.RShift):
            node.right = _within_64(node.right)
        elif isinstance(node.op, ast.FloorDiv | ast.Mod):
            of = QUOTIENT if isinstance(node.op, ast.FloorDiv) else REMAINDER
            name = f"{of}_{self.name}_{node.lineno - self.line}"
            call = ast.Call(ast.Name(name, ast.Load()), [node.left, node.right], [])
            return ast.copy_location(call, node)
        return node

    def counted(self, line: int) -> list[ast.stmt]:
        """Statements that count a round or a call, and end the hook where there were too many."""
        place = f"@{self.name}+{line - self.line}"
        said = f"its loops and calls are more than {MOST_ROUNDS:,}, the last in line {place}"
        return ast.parse(f"if {TOO_MANY}({self.machine}):\n    raise RuntimeError({said!r})").body

    def _loop(self, node: ast.While | ast.For) -> ast.AST:
        self.generic_visit(node)
        counting = self.counted(node.lineno)
        for part in counting:
            for inner in ast.walk(part):
                ast.copy_location(inner, node)
        node.body = [*counting, *node.body]
        return node

    visit_While = visit_For = _loop


def _within_64(count: ast.expr) -> ast.expr:
    """A shift's count modulo 64; a constant that is less is left."""
    if isinstance(count, ast.Constant) and isinstance(count.value, int) and 0 <= count.value < 64:
        return count
    return ast.copy_location(ast.BinOp(count, ast.BitAnd(), ast.Constant(63)), count)


def prepared(
    function: ast.FunctionDef, name: str, prefix: str, without: frozenset[str], *, hook: str = ""
) -> ast.FunctionDef:
    """A function ready to be compiled, under another name; a *hook* takes all the numbers there are.

    *without* are functions that do not take the machine, as of the class above.
    """
    made: ast.FunctionDef = copy.deepcopy(function)
    machine = "s" if takes_machine(function) else MACHINE
    prepare = _Prepare(prefix, name, function.lineno, machine, without, event=hook in EVENTS)
    prepare.visit(made)
    made.name, made.returns, made.decorator_list = name, None, []
    for one in made.args.args:
        one.annotation = None
    if machine == MACHINE:
        made.args.args.append(ast.arg(MACHINE))
    if hook:
        missing = HOOK_NUMBERS + 2 - len(made.args.args)
        made.args.args += [ast.arg(f"__unused{i}") for i in range(missing)]
    taken = {one.arg for one in made.args.args}
    stored = {n.id for n in ast.walk(made) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    start = ast.parse("\n".join(f"{own} = 0" for own in sorted(stored - taken))).body
    if not hook:
        start += prepare.counted(function.lineno)
    if not ends(made.body):
        made.body = [*made.body, *ast.parse("return 0").body]
    made.body = [*start, *made.body]
    for inner in ast.walk(made):
        if isinstance(inner, ast.stmt | ast.expr | ast.arg) and not hasattr(inner, "lineno"):
            ast.copy_location(inner, function)
    first = function.body[0]
    for added in start:
        for inner in ast.walk(added):
            ast.copy_location(inner, first)
    return ast.fix_missing_locations(made)


def dividers(made: ast.FunctionDef) -> dict[str, str]:
    """Source of the quotients and remainders that a prepared function calls, by name."""
    found: dict[str, str] = {}
    for node in ast.walk(made):
        if isinstance(node, ast.Name) and node.id.startswith((f"{QUOTIENT}_", f"{REMAINDER}_")):
            of = QUOTIENT if node.id.startswith(QUOTIENT) else REMAINDER
            place, _, offset = node.id.removeprefix(f"{of}_").rpartition("_")
            said = f"division by zero in line @{place}+{offset}"
            found[node.id] = _DIVIDER.format(name=node.id, said=said, of=of)
    return found


def lines_told(function: ast.FunctionDef) -> list[int]:
    """Lines that a prepared function's errors may name, counted from its first."""
    told = ast.While | ast.For | ast.BinOp | ast.AugAssign
    return [node.lineno - function.lineno for node in ast.walk(function) if isinstance(node, told)]


def with_lines(said: str, first: Callable[[str], int]) -> str:
    """An error of a prepared function with the file's lines; *first* gives that of a prepared function by its name."""
    return _PLACE.sub(lambda place: str(first(place[1]) + int(place[2])), said)
