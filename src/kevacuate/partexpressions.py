# SPDX-License-Identifier: GPL-2.0-or-later
"""Expressions of a part as LLVM's instructions: whole numbers, conditions, fields, and calls of other parts.

Arithmetic is Numba's of int64: it wraps, ``//`` and ``%`` round down, and a division by zero gives 0.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target

from kevacuate import intrinsics, jit
from kevacuate.partsource import Unsupported, constant, held, outer, own_names
from kevacuate.partvalues import (
    BIT,
    I64,
    Value,
    attribute,
    cast,
    item,
    items_of,
    number,
    of_numba,
    to_numba,
    tuple_of,
    unified,
)

_COMPARISONS = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_OF_BITS = {ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor"}
_OF_NUMBERS = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.LShift: "shl",
    ast.RShift: "ashr",
} | _OF_BITS


class Callees(Protocol):
    """Who has the functions that a part calls."""

    def call(self, builder: ir.IRBuilder, part: jit.Part, args: Sequence[Value]) -> Value:
        """Call a part."""


class Expressions:
    """The expressions of one function, at the place where *builder* is."""

    def __init__(self, node: ast.FunctionDef, names: dict[str, Any], callees: Callees) -> None:
        self.builder: ir.IRBuilder
        self._own = own_names(node)
        self._names, self._callees = names, callees

    def variable(self, name: str) -> Value:
        """The value of one of the function's own names."""
        raise NotImplementedError

    def value(self, node: ast.expr) -> Value:
        """The value of an expression.

        Raises
        ------
        Unsupported
            It is of a kind that parts do not hold.
        """
        known = constant(node, self._own, self._names)
        if known is not None:
            return number(known)
        emit: Callable[[Any], Value] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if emit is None:
            raise Unsupported(ast.unparse(node))
        return emit(node)

    def _name(self, node: ast.Name) -> Value:
        return self.variable(node.id)

    def _attribute(self, node: ast.Attribute) -> Value:
        return attribute(self.builder, self.value(node.value), node.attr)

    def _subscript(self, node: ast.Subscript) -> Value:
        known = outer(node.value, self._own, self._names)
        owner = self.value(node.value) if known is None else tuple_of(self._items(node.value))
        return item(self.builder, owner, self.value(node.slice))

    def _tuple(self, node: ast.Tuple) -> Value:
        return tuple_of(map(self.value, node.elts))

    def _unaryop(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return self._decided(node)
        operand = self.number(node.operand)
        if isinstance(node.op, ast.USub):
            return Value(types.int64, (self.builder.neg(operand),))
        if isinstance(node.op, ast.Invert):
            return Value(types.int64, (self.builder.not_(operand),))
        return Value(types.int64, (operand,))

    def _binop(self, node: ast.BinOp) -> Value:
        return self.binary(node.op, self.value(node.left), self.value(node.right))

    def number(self, node: ast.expr) -> Any:
        """The value of an expression as int64."""
        return cast(self.builder, self.value(node), types.int64).only

    def binary(self, operator: ast.operator, left: Value, right: Value) -> Value:
        """The result of an operator on two values."""
        of_bits = _OF_BITS.get(type(operator))
        if of_bits and left.of == right.of == types.boolean:
            return Value(types.boolean, (getattr(self.builder, of_bits)(left.only, right.only),))
        a, b = (cast(self.builder, value, types.int64).only for value in (left, right))
        if isinstance(operator, ast.FloorDiv | ast.Mod):
            return Value(types.int64, (self._divided(a, b, remainder=isinstance(operator, ast.Mod)),))
        name = _OF_NUMBERS.get(type(operator))
        if name is None:
            raise Unsupported(type(operator).__name__)
        return Value(types.int64, (getattr(self.builder, name)(a, b),))

    def _divided(self, a: Any, b: Any, *, remainder: bool) -> Any:
        """Quotient, rounded down, or remainder; 0 of a division by zero, and of the lowest number by -1."""
        build, zero = self.builder, I64(0)
        lowest = build.and_(build.icmp_signed("==", a, I64(-(2**63))), build.icmp_signed("==", b, I64(-1)))
        none = build.or_(lowest, build.icmp_signed("==", b, zero))
        divisor = build.select(none, I64(1), b)
        rest = build.srem(a, divisor)
        down = build.and_(
            build.icmp_signed("!=", rest, zero), build.icmp_signed("<", build.xor(rest, divisor), zero)
        )
        if remainder:
            found = build.select(down, build.add(rest, divisor), rest)
        else:
            found = build.sub(build.sdiv(a, divisor), build.zext(down, I64))
        return build.select(none, zero, found)

    def _compare(self, node: ast.Compare) -> Value:
        if len(node.ops) > 1:
            return self._decided(node)
        return Value(
            types.boolean, (self._compared(node.ops[0], self.value(node.left), node.comparators[0]),)
        )

    def _compared(self, operator: ast.cmpop, left: Value, right: ast.expr) -> Any:
        """Whether a comparison holds, of a value with an expression."""
        if isinstance(operator, ast.In | ast.NotIn):
            found = self._among(left, self._items(right))
            return found if isinstance(operator, ast.In) else self.builder.not_(found)
        if type(operator) not in _COMPARISONS:
            raise Unsupported(type(operator).__name__)
        a, b = (cast(self.builder, value, types.int64).only for value in (left, self.value(right)))
        return self.builder.icmp_signed(_COMPARISONS[type(operator)], a, b)

    def _items(self, node: ast.expr) -> list[Value]:
        """The items of a tuple that is written out, or of a module's."""
        known = outer(node, self._own, self._names)
        if isinstance(known, tuple) and all(held(one) is not None for one in known):
            return [number(int(one)) for one in known]
        return items_of(self.value(node))

    def _among(self, value: Value, items: Sequence[Value]) -> Any:
        """Whether a value equals one of the items."""
        found: Any = BIT(0)
        for other in items:
            a, b = (cast(self.builder, one, types.int64).only for one in (value, other))
            found = self.builder.or_(found, self.builder.icmp_signed("==", a, b))
        return found

    def truth(self, value: Value) -> Any:
        """Whether a number is not 0."""
        return cast(self.builder, value, types.boolean).only

    def branch(self, node: ast.expr, yes: ir.Block, no: ir.Block) -> None:
        """Go on in *yes* if a condition holds, else in *no*."""
        known = constant(node, self._own, self._names)
        if known is not None:
            self.builder.branch(yes if known else no)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.branch(node.operand, no, yes)
        elif isinstance(node, ast.BoolOp):
            for operand in node.values[:-1]:
                more = self.block("more")
                self.branch(operand, *((more, no) if isinstance(node.op, ast.And) else (yes, more)))
                self.builder.position_at_end(more)
            self.branch(node.values[-1], yes, no)
        elif isinstance(node, ast.Compare) and len(node.ops) > 1:
            self._branch_by_chain(node, yes, no)
        else:
            self.builder.cbranch(self.truth(self.value(node)), yes, no)

    def _branch_by_chain(self, node: ast.Compare, yes: ir.Block, no: ir.Block) -> None:
        """:meth:`branch` by a chain of comparisons, which ends where one does not hold."""
        left = self.value(node.left)
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                raise Unsupported("a chain with in")
            value = self.value(right)
            a, b = (cast(self.builder, one, types.int64).only for one in (left, value))
            holds = self.builder.icmp_signed(_COMPARISONS[type(operator)], a, b)
            left, more = value, yes if right is node.comparators[-1] else self.block("more")
            self.builder.cbranch(holds, more, no)
            self.builder.position_at_end(more)

    def _decided(self, node: ast.expr) -> Value:
        """Whether a condition holds, as a value."""
        yes, no, after = self.block("yes"), self.block("no"), self.block("after")
        self.branch(node, yes, no)
        for block in (yes, no):
            self.builder.position_at_end(block)
            self.builder.branch(after)
        self.builder.position_at_end(after)
        phi = self.builder.phi(BIT)
        phi.add_incoming(BIT(1), yes)
        phi.add_incoming(BIT(0), no)
        return Value(types.boolean, (phi,))

    def block(self, name: str) -> ir.Block:
        """A new block of the function."""
        return self.builder.append_basic_block(name)

    def _ifexp(self, node: ast.IfExp) -> Value:
        ends = []
        yes, no = self.block("yes"), self.block("no")
        self.branch(node.test, yes, no)
        for block, chosen in ((yes, node.body), (no, node.orelse)):
            self.builder.position_at_end(block)
            value = self.value(chosen)
            ends.append((self.builder.block, value))
        after, leave = self.block("after"), self.builder.branch
        return self._merged(ends, after, [lambda: leave(after), lambda: leave(after)])

    def _boolop(self, node: ast.BoolOp) -> Value:
        """The operand that decides; of conditions, whether all or any hold."""
        if all(isinstance(one, ast.Compare | ast.BoolOp) or _is_not(one) for one in node.values):
            return self._decided(node)
        ends, leaving = [], []
        after, build = self.block("after"), self.builder
        for operand in node.values[:-1]:
            value = self.value(operand)
            truth, more = self.truth(value), self.block("more")
            ways = (more, after) if isinstance(node.op, ast.And) else (after, more)
            ends.append((build.block, value))
            leaving.append(lambda truth=truth, ways=ways: build.cbranch(truth, *ways))
            build.position_at_end(more)
        value = self.value(node.values[-1])
        ends.append((build.block, value))
        return self._merged(ends, after, [*leaving, lambda: build.branch(after)])

    def _merged(
        self, ends: Sequence[tuple[ir.Block, Value]], after: ir.Block, leaving: Sequence[Callable[[], Any]]
    ) -> Value:
        """One of several values: that of the block from which the code comes to *after*, by what it does at its end."""
        of = ends[0][1].of
        for _, value in ends[1:]:
            of = unified(of, value.of)
        last = []
        for (block, value), leave in zip(ends, leaving, strict=True):
            self.builder.position_at_end(block)
            last.append(cast(self.builder, value, of))
            leave()
        self.builder.position_at_end(after)
        leaves = []
        for i, leaf in enumerate(last[0].leaves):
            phi = self.builder.phi(leaf.type)
            for (block, _), value in zip(ends, last, strict=True):
                phi.add_incoming(value.leaves[i], block)
            leaves.append(phi)
        return Value(of, tuple(leaves))

    def _call(self, node: ast.Call) -> Value:
        called = outer(node.func, self._own, self._names)
        if node.keywords:
            raise Unsupported("arguments by name")
        if isinstance(called, jit.Part):
            return self._callees.call(self.builder, called, [self.value(one) for one in node.args])
        if isinstance(called, jit.Builtin) and called.name != "int64":
            return self._instructions(called.name, [self.value(one) for one in node.args])
        if isinstance(called, jit.Builtin) or called is int:
            (argument,) = node.args
            return Value(types.int64, (self.number(argument),))
        if called is bool:
            (argument,) = node.args
            return Value(types.boolean, (self.truth(self.value(argument)),))
        if called is min or called is max:
            return self._extreme("<" if called is min else ">", [self.number(one) for one in node.args])
        raise Unsupported(ast.unparse(node.func))

    def _extreme(self, sign: str, numbers: Sequence[Any]) -> Value:
        """The least or the largest of several numbers."""
        if len(numbers) < 2:
            raise Unsupported("the least of one")
        found = numbers[0]
        for other in numbers[1:]:
            found = self.builder.select(self.builder.icmp_signed(sign, other, found), other, found)
        return Value(types.int64, (found,))

    def _instructions(self, name: str, args: Sequence[Value]) -> Value:
        """What :mod:`kevacuate.intrinsics` has under that name."""
        context = cpu_target.target_context
        define = getattr(intrinsics, name)._defn
        signature, codegen = define(cpu_target.typing_context, *(value.of for value in args))
        given = [to_numba(context, self.builder, value) for value in args]
        given = [
            value if of == signature.args[i] else cast(self.builder, args[i], signature.args[i]).only
            for i, (value, of) in enumerate(zip(given, (value.of for value in args), strict=True))
        ]
        return of_numba(self.builder, signature.return_type, codegen(context, self.builder, signature, given))


def _is_not(node: ast.expr) -> bool:
    """Whether an expression is a negation."""
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
