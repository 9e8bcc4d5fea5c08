# SPDX-License-Identifier: GPL-2.0-or-later
"""The package's parts as LLVM's code, straight from their source: in one pass, where Numba takes fifteen times as long.

Parts are written in a small part of Python: whole numbers, pointers, records, conditions and loops, with annotated arguments and
results. A part's code is a function of plain words; all parts that an entry point reaches are written into one module. What this
does not know (:class:`.Unsupported`) Numba compiles, and the part's function calls that.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target

from kevacuate import partsource
from kevacuate.jit import Part
from kevacuate.partsource import Unsupported
from kevacuate.partstatements import Body, FoundType
from kevacuate.partvalues import (
    Value,
    cast,
    give_back,
    leaf_types,
    of_numba,
    returned,
    to_numba,
)

_ANNOTATED = {"int": types.int64, "bool": types.boolean, "None": types.none}


def annotated(node: ast.expr | None) -> types.Type | None:
    """The type that an annotation of numbers names, alone or in tuples; None of any other."""
    if node is None:
        return None
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "tuple":
        items = [
            annotated(one) for one in (node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice])
        ]
        return None if None in items else types.BaseTuple.from_types(items)
    return _ANNOTATED.get(ast.unparse(node))


class Function(NamedTuple):
    """A part for given types of its arguments."""

    part: Part
    args: tuple[types.Type, ...]
    result: types.Type
    code: ir.Function


def argument_types(part: Part, given: Sequence[types.Type]) -> tuple[types.Type, ...]:
    """The types that a part's arguments have: as annotated, or as *given* where that names no number."""
    try:
        node = partsource.syntax_of(part.py_func)
    except Unsupported:
        return tuple(map(_plain, given))
    if len(given) != len(node.args.args):
        raise TypeError(f"{part.__name__} takes {len(node.args.args)} arguments, not {len(given)}.")
    return tuple(
        annotated(argument.annotation) or _plain(of)
        for argument, of in zip(node.args.args, given, strict=True)
    )


def result_type(part: Part, args: tuple[types.Type, ...]) -> types.Type:
    """The type of what a part returns: as annotated, else as found in its body, else as Numba finds it."""
    try:
        node = partsource.syntax_of(part.py_func)
        known = annotated(node.returns)
        if known is not None:
            return known
        scratch = PartCode(ir.Module("scratch"))
        code = ir.Function(scratch.module, function_type(args, types.none), "scratch")
        Body(node, part.py_func.__globals__, scratch, None).write(code, args)
        return types.none
    except FoundType as found:
        return found.of
    except Unsupported:
        return _plain(made_by_numba(part, args).signature.return_type)


def _plain(of: types.Type) -> types.Type:
    """A type with whole numbers of any width as int64."""
    if isinstance(of, types.BaseTuple) and not isinstance(of, types.BaseNamedTuple):
        return types.BaseTuple.from_types([_plain(item) for item in of])
    return types.int64 if isinstance(of, types.Integer) else of


def function_type(args: Sequence[types.Type], result: types.Type) -> ir.FunctionType:
    """LLVM's type of a part: it takes and returns words."""
    leaves = [leaf for of in args for leaf in leaf_types(of)]
    return ir.FunctionType(returned(leaf_types(result)), leaves)


def function_name(part: Part, args: Sequence[types.Type]) -> str:
    """The name of a part's function: that of the part, and of the types that it is for."""
    function = part.py_func
    told = f"{function.__code__.co_firstlineno} {', '.join(map(str, args))}"
    return f"{function.__module__}.{function.__qualname__}${hashlib.sha256(told.encode()).hexdigest()[:8]}"


def attributes_of(part: Part) -> list[str]:
    """What LLVM is told of a part: see :func:`kevacuate.jit.part`."""
    if part.cold:
        return ["nounwind", "noinline", "cold", "optsize"]
    return ["nounwind", *([] if part.inline is None else ["alwaysinline" if part.inline else "noinline"])]


def declared(module: ir.Module, part: Part, args: Sequence[types.Type], result: types.Type) -> ir.Function:
    """A part's function in a module."""
    name = function_name(part, args)
    return module.globals.get(name) or ir.Function(module, function_type(args, result), name)


def call_function(builder: ir.IRBuilder, function: Function, args: Sequence[Value]) -> Value:
    """Call a part's function."""
    words = [
        leaf
        for value, of in zip(args, function.args, strict=True)
        for leaf in cast(builder, value, of).leaves
    ]
    called = builder.call(function.code, words)
    size = len(leaf_types(function.result))
    if size < 2:
        return Value(function.result, (called,) if size else ())
    return Value(function.result, tuple(builder.extract_value(called, i) for i in range(size)))


def made_by_numba(part: Part, args: tuple[types.Type, ...]) -> Any:
    """What Numba makes of a part."""
    part.compiled.compile(args)
    return part.compiled.overloads[args]


class PartCode:
    """A module of parts.

    Parameters
    ----------
    module : ir.Module
        To write into.
    heard : callable, optional
        Called whenever a part has been written.

    Attributes
    ----------
    libraries : list
        What Numba compiled of it.
    """

    def __init__(self, module: ir.Module, heard: Callable[[], None] = lambda: None) -> None:
        self.module = module
        self.libraries: list[Any] = []
        self._heard = heard
        self._functions: dict[tuple[Part, tuple[types.Type, ...]], Function] = {}
        self._pending: list[Function] = []

    def want(self, part: Part, given: Sequence[types.Type]) -> Function:
        """A part's function, which :meth:`write` writes."""
        args = argument_types(part, given)
        key = part, args
        if key not in self._functions:
            result = result_type(part, args)
            code = declared(self.module, part, args, result)
            for attribute in attributes_of(part):
                code.attributes.add(attribute)
            function = Function(part, args, result, code)
            self._functions[key] = function
            self._pending.append(function)
        return self._functions[key]

    def call(self, builder: ir.IRBuilder, part: Part, args: Sequence[Value]) -> Value:
        """Call a part."""
        return call_function(builder, self.want(part, [value.of for value in args]), args)

    def write(self) -> set[str]:
        """Write all parts that are wanted, and those that they call; their names."""
        while self._pending:
            function = self._pending.pop()
            try:
                node = partsource.syntax_of(function.part.py_func)
                body = Body(node, function.part.py_func.__globals__, self, function.result)
                body.write(function.code, function.args)
            except Unsupported:
                function.code.blocks.clear()
                self._by_numba(function)
            self._heard()
        return {function.code.name for function in self._functions.values()}

    def _by_numba(self, function: Function) -> None:
        """Have a function call what Numba made of its part."""
        made = made_by_numba(function.part, function.args)
        context, described = cpu_target.target_context, made.fndesc
        self.libraries.append(made.library)
        callee = context.declare_function(self.module, described)
        builder = ir.IRBuilder(function.code.append_basic_block("entry"))
        words, args = list(function.code.args), []
        for of in function.args:
            size = len(leaf_types(of))
            args.append(to_numba(context, builder, Value(of, tuple(words[:size]))))
            del words[:size]
        kept = [
            context.cast(builder, value, of, wanted)
            for value, of, wanted in zip(args, function.args, described.argtypes, strict=True)
        ]
        _, result = context.call_conv.call_function(
            builder, callee, described.restype, described.argtypes, kept
        )
        give_back(builder, cast(builder, of_numba(builder, described.restype, result), function.result))
