# SPDX-License-Identifier: GPL-2.0-or-later
"""The source of a part: its syntax tree, and what its names outside of it stand for."""

from __future__ import annotations

import ast
import builtins
import enum
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

MOST = 2**63 - 1
"""The largest number that an int64 holds."""


class Unsupported(Exception):
    """A part holds what :mod:`kevacuate.partcode` does not know: Numba compiles it."""


@cache
def _functions(path: str) -> dict[tuple[int, str], ast.FunctionDef]:
    """The functions of a file by the line of their first decorator, or of ``def``, and their name."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    return {
        (min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]), node.name): node
        for node in _defined(tree)
    }


def _defined(body: ast.AST) -> Iterator[ast.FunctionDef]:
    """The functions of a module, and those within statements of it."""
    for node in ast.iter_child_nodes(body):
        if isinstance(node, ast.FunctionDef):
            yield node
        if isinstance(node, ast.stmt):
            yield from _defined(node)


def syntax_of(function: Any) -> ast.FunctionDef:
    """The syntax tree of a function of numbers by place, without defaults and without names of an enclosing function.

    Raises
    ------
    Unsupported
        It is none, or its file cannot be read.
    """
    code = function.__code__
    found = _functions(code.co_filename).get((code.co_firstlineno, code.co_name))
    if found is None or code.co_freevars or function.__defaults__ or function.__kwdefaults__:
        raise Unsupported("source")
    arguments = found.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
        raise Unsupported("arguments")
    return found


@cache
def assigned_names(node: ast.FunctionDef) -> frozenset[str]:
    """Names that a function's body assigns."""
    return frozenset(
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    )


@cache
def own_names(node: ast.FunctionDef) -> frozenset[str]:
    """A function's arguments, and what it assigns."""
    return assigned_names(node) | {argument.arg for argument in node.args.args}


def outer(node: ast.expr, own: frozenset[str], names: dict[str, Any]) -> Any:
    """What a name, or an attribute of a module or of an enumeration, stands for; None if it is none of these.

    *own* are the function's own names, *names* its module's.
    """
    if isinstance(node, ast.Name):
        if node.id in own:
            return None
        return names.get(node.id, vars(builtins).get(node.id))
    if isinstance(node, ast.Attribute):
        owner = outer(node.value, own, names)
        if isinstance(owner, ModuleType | enum.EnumType):
            return getattr(owner, node.attr, None)
    return None


_FOLDED: dict[type[ast.operator], Callable[[int, int], int | None]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.LShift: lambda a, b: a << b if 0 <= b < 64 else None,
    ast.RShift: lambda a, b: a >> b if 0 <= b < 64 else None,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
    ast.BitXor: lambda a, b: a ^ b,
}


def constant(node: ast.expr, own: frozenset[str], names: dict[str, Any]) -> int | bool | None:
    """The number that an expression of constants stands for; None if it is no such, or int64 does not hold it."""
    found: Any = None
    if isinstance(node, ast.Constant):
        found = node.value
    elif isinstance(node, ast.Name | ast.Attribute):
        found = outer(node, own, names)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
        inner = constant(node.operand, own, names)
        if type(inner) is int:
            found = -inner if isinstance(node.op, ast.USub) else ~inner
    elif isinstance(node, ast.BinOp) and type(node.op) in _FOLDED:
        left, right = constant(node.left, own, names), constant(node.right, own, names)
        if type(left) is int and type(right) is int:
            found = _FOLDED[type(node.op)](left, right)
    return found if isinstance(found, bool) else held(found)


def held(found: Any) -> int | None:
    """A whole number that int64 holds; None of anything else."""
    whole = isinstance(found, int | np.integer) and -MOST - 1 <= int(found) <= MOST
    return int(found) if whole else None
