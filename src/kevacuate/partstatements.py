# SPDX-License-Identifier: GPL-2.0-or-later
"""Statements of a part as LLVM's instructions.

Each variable is a place on the stack, of which LLVM makes registers. Its type is that of what is assigned first; where a later
value does not fit it, the function is begun anew with a type that holds both.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from kevacuate.partexpressions import Callees, Expressions
from kevacuate.partsource import Unsupported, assigned_names, constant, outer
from kevacuate.partvalues import (
    I64,
    Value,
    attribute,
    cast,
    chosen,
    give_back,
    item,
    items_of,
    leaf_types,
    set_attribute,
    set_item,
    unified,
)


class FoundType(Exception):
    """The type of what a function returns, where that was asked for."""

    def __init__(self, of: types.Type) -> None:
        super().__init__(str(of))
        self.of = of


class _Wider(Exception):
    """A variable needs a type that holds more."""


class _Loop(NamedTuple):
    """Where ``continue`` and ``break`` go."""

    again: ir.Block
    after: ir.Block


class Body(Expressions):
    """Writes the body of one function.

    Parameters
    ----------
    node : ast.FunctionDef
        Its source.
    names : dict
        Names of its module.
    callees : Callees
        Who has the functions that it calls.
    result : types.Type or None
        Of what it returns; None has the first ``return`` raise :class:`FoundType`.
    """

    def __init__(
        self, node: ast.FunctionDef, names: dict[str, Any], callees: Callees, result: types.Type | None
    ) -> None:
        super().__init__(node, names, callees)
        self._node, self._result = node, result
        self._types: dict[str, types.Type] = {}
        self._values: dict[str, Value] = {}
        self._slots: dict[str, list[Any]] = {}
        self._loops: list[_Loop] = []

    def write(self, function: ir.Function, args: Sequence[types.Type]) -> None:
        """Write the instructions into *function*, which takes the words of its arguments one after the other."""
        while True:
            try:
                self._begin(function, args)
                self._block(self._node.body)
                break
            except _Wider:
                function.blocks.clear()
        if not self.builder.block.is_terminated:
            if isinstance(self._result, types.NoneType):
                self.builder.ret_void()
            else:
                self.builder.unreachable()
        with self.builder.goto_block(self._entry):
            self.builder.branch(self._first)

    def _begin(self, function: ir.Function, args: Sequence[types.Type]) -> None:
        """An entry block for the variables' places, a first one for the code, and the arguments by their names."""
        self._entry = function.append_basic_block("entry")
        self.builder = ir.IRBuilder(function.append_basic_block("first"))
        self._first = self.builder.block
        self._values.clear()
        self._slots.clear()
        self._loops.clear()
        changed, at = assigned_names(self._node), 0
        for argument, of in zip(self._node.args.args, args, strict=True):
            size = len(leaf_types(of))
            value = Value(of, tuple(function.args[at : at + size]))
            at += size
            if argument.arg in changed:
                self._assign(argument.arg, value)
            else:
                self._values[argument.arg] = value

    def variable(self, name: str) -> Value:
        """The value of one of the function's own names."""
        if name in self._values:
            return self._values[name]
        if name not in self._slots:
            raise Unsupported(f"{name} is read before it is written")
        return Value(self._types[name], tuple(map(self.builder.load, self._slots[name])))

    def _assign(self, name: str, value: Value) -> None:
        """Set a variable."""
        of = self._types.setdefault(name, value.of)
        wide = unified(of, value.of)
        if wide != of:
            self._types[name] = wide
            raise _Wider
        if name not in self._slots:
            self._slots[name] = [self._slot(leaf) for leaf in leaf_types(of)]
        for slot, leaf in zip(self._slots[name], cast(self.builder, value, of).leaves, strict=True):
            self.builder.store(leaf, slot)

    def _slot(self, of: ir.Type) -> Any:
        """A place on the stack."""
        with self.builder.goto_block(self._entry):
            return self.builder.alloca(of)

    def _block(self, body: Sequence[ast.stmt]) -> None:
        """Statements one after the other, as far as any is reached."""
        for statement in body:
            if self.builder.block.is_terminated:
                return
            write = getattr(self, f"_do_{type(statement).__name__.lower()}", None)
            if write is None:
                raise Unsupported(ast.unparse(statement))
            write(statement)

    def _do_pass(self, _: ast.Pass) -> None:
        """Nothing."""

    def _do_expr(self, statement: ast.Expr) -> None:
        if not isinstance(statement.value, ast.Constant):
            self.value(statement.value)

    def _do_return(self, statement: ast.Return) -> None:
        value = Value(types.none, ()) if statement.value is None else self.value(statement.value)
        if self._result is None:
            raise FoundType(value.of)
        give_back(self.builder, cast(self.builder, value, self._result))

    def _do_assign(self, statement: ast.Assign) -> None:
        value = self.value(statement.value)
        for target in statement.targets:
            self._set(target, value)

    def _do_annassign(self, statement: ast.AnnAssign) -> None:
        if statement.value is not None:
            self._set(statement.target, self.value(statement.value))

    def _set(self, target: ast.expr, value: Value) -> None:
        """Assign a value to a variable, a field, an item, or several of these."""
        if isinstance(target, ast.Name):
            self._assign(target.id, value)
        elif isinstance(target, ast.Attribute):
            set_attribute(self.builder, self.value(target.value), target.attr, value)
        elif isinstance(target, ast.Subscript):
            set_item(self.builder, self.value(target.value), self.value(target.slice), value)
        elif isinstance(target, ast.Tuple):
            items = items_of(value)
            if len(items) != len(target.elts):
                raise Unsupported("items that are too many or too few")
            for one, part in zip(target.elts, items, strict=True):
                self._set(one, part)
        else:
            raise Unsupported(ast.unparse(target))

    def _do_augassign(self, statement: ast.AugAssign) -> None:
        """Read, then the right side, then write, as Python does; what is written to is found once."""
        target = statement.target
        if isinstance(target, ast.Name):
            before = self.variable(target.id)
            self._assign(target.id, self.binary(statement.op, before, self.value(statement.value)))
        elif isinstance(target, ast.Attribute):
            owner = self.value(target.value)
            before = attribute(self.builder, owner, target.attr)
            new = self.binary(statement.op, before, self.value(statement.value))
            set_attribute(self.builder, owner, target.attr, new)
        else:
            owner, index = self.value(target.value), self.value(target.slice)
            before = item(self.builder, owner, index)
            new = self.binary(statement.op, before, self.value(statement.value))
            set_item(self.builder, owner, index, new)

    def _do_if(self, statement: ast.If) -> None:
        known = constant(statement.test, self._own, self._names)
        if known is not None:
            self._block(statement.body if known else statement.orelse)
            return
        after = self.block("after")
        yes, no = self.block("if"), self.block("else") if statement.orelse else after
        self.branch(statement.test, yes, no)
        for block, body in ((yes, statement.body), (no, statement.orelse)):
            if block is not after:
                self.builder.position_at_end(block)
                self._block(body)
                self._go(after)
        self.builder.position_at_end(after)

    def _go(self, block: ir.Block) -> None:
        """Go on in a block, unless the code has gone elsewhere."""
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def _do_while(self, statement: ast.While) -> None:
        if statement.orelse:
            raise Unsupported("else of a loop")
        again, body, after = self.block("while"), self.block("body"), self.block("after")
        self.builder.branch(again)
        self.builder.position_at_end(again)
        self.branch(statement.test, body, after)
        self._loop(body, statement.body, _Loop(again, after))
        self._go(again)
        self.builder.position_at_end(after)

    def _loop(self, block: ir.Block, body: Sequence[ast.stmt], loop: _Loop) -> None:
        """The body of a loop."""
        self.builder.position_at_end(block)
        self._loops.append(loop)
        self._block(body)
        self._loops.pop()

    def _do_break(self, _: ast.Break) -> None:
        self.builder.branch(self._loops[-1].after)

    def _do_continue(self, _: ast.Continue) -> None:
        self.builder.branch(self._loops[-1].again)

    def _do_for(self, statement: ast.For) -> None:
        """A loop over a range, whose ends are found once, or over a tuple's items, by a counter of its own."""
        if statement.orelse or not isinstance(statement.target, ast.Name):
            raise Unsupported("else of a loop")
        items: list[Value] = []
        if isinstance(statement.iter, ast.Tuple):
            items = items_of(self.value(statement.iter))
            start, stop, step = I64(0), I64(len(items)), 1
        else:
            start, stop, step = self._range(statement.iter)
        counter = self._slot(I64)
        self.builder.store(start, counter)
        check, body, more, after = (self.block(name) for name in ("for", "body", "next", "after"))
        self.builder.branch(check)
        self.builder.position_at_end(check)
        at = Value(types.int64, (self.builder.load(counter),))
        self.builder.cbranch(self.builder.icmp_signed("<" if step > 0 else ">", at.only, stop), body, after)
        self.builder.position_at_end(body)
        self._assign(statement.target.id, chosen(self.builder, items, at) if items else at)
        self._loop(body, statement.body, _Loop(more, after))
        self._go(more)
        self.builder.position_at_end(more)
        self.builder.store(self.builder.add(self.builder.load(counter), I64(step), flags=["nsw"]), counter)
        self.builder.branch(check)
        self.builder.position_at_end(after)

    def _range(self, node: ast.expr) -> tuple[Any, Any, int]:
        """(start, stop, step) of a range."""
        known = isinstance(node, ast.Call) and outer(node.func, self._own, self._names) is range
        if not known or not isinstance(node, ast.Call) or node.keywords or not 1 <= len(node.args) <= 3:
            raise Unsupported(ast.unparse(node))
        step = constant(node.args[2], self._own, self._names) if len(node.args) == 3 else 1
        if not step:
            raise Unsupported("a step that is no constant")
        first: Any = I64(0) if len(node.args) == 1 else self.number(node.args[0])
        return first, self.number(node.args[len(node.args) > 1]), int(step)
