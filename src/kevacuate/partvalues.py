# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed values in a part's code: numbers, pointers, records, and tuples of these, each as LLVM's values of single words.

All whole numbers are int64: what an array holds in fewer bits is widened where it is loaded, and cut where it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from kevacuate.aliasing import PlacePointer, load, store
from kevacuate.disjoint import Place
from kevacuate.partsource import Unsupported
from kevacuate.recordtypes import FieldType, RecordsType, RecordType

I64 = ir.IntType(64)
BIT = ir.IntType(1)


class Value(NamedTuple):
    """A value of a Numba type *of*: LLVM's values of its words, those of a tuple one after the other."""

    of: types.Type
    leaves: tuple[ir.Value, ...]

    @property
    def only(self) -> ir.Value:
        """The one value of a number or a pointer."""
        return self.leaves[0]


def leaf_types(of: types.Type) -> tuple[ir.Type, ...]:
    """LLVM's types of the words of a value.

    Raises
    ------
    Unsupported
        The type is another than those that parts take.
    """
    if of == types.int64:
        return (I64,)
    if of == types.boolean:
        return (BIT,)
    if isinstance(of, types.NoneType):
        return ()
    if isinstance(of, types.BaseTuple):
        return tuple(leaf for item in of for leaf in leaf_types(item))
    return (word_type(of).as_pointer(),)


def word_type(of: types.Type) -> ir.IntType:
    """LLVM's type of the words that a pointer points to."""
    if isinstance(of, RecordType | RecordsType):
        return ir.IntType(8 * np.dtype(of.record.DTYPE).itemsize)
    if isinstance(of, FieldType):
        return ir.IntType(8 * np.dtype(of.dtype).itemsize)
    if isinstance(of, types.CPointer) and isinstance(of.dtype, types.Integer):
        return ir.IntType(of.dtype.bitwidth)
    raise Unsupported(f"type {of}")


def returned(leaves: tuple[ir.Type, ...]) -> ir.Type:
    """What a function returns whose result has these words."""
    if not leaves:
        return ir.VoidType()
    return leaves[0] if len(leaves) == 1 else ir.LiteralStructType(leaves)


def give_back(builder: ir.IRBuilder, value: Value) -> None:
    """Return a value."""
    if not value.leaves:
        builder.ret_void()
    elif len(value.leaves) == 1:
        builder.ret(value.only)
    else:
        whole: Any = ir.Constant(returned(tuple(leaf.type for leaf in value.leaves)), ir.Undefined)
        for i, leaf in enumerate(value.leaves):
            whole = builder.insert_value(whole, leaf, i)
        builder.ret(whole)


def number(value: int | bool) -> Value:
    """A constant."""
    if isinstance(value, bool):
        return Value(types.boolean, (ir.Constant(BIT, int(value)),))
    return Value(types.int64, (ir.Constant(I64, value),))


def tuple_of(values: Iterable[Value]) -> Value:
    """A tuple of several values."""
    items = tuple(values)
    return Value(
        types.BaseTuple.from_types([item.of for item in items]),
        tuple(leaf for item in items for leaf in item.leaves),
    )


def items_of(value: Value) -> list[Value]:
    """The values that a tuple holds."""
    if not isinstance(value.of, types.BaseTuple):
        raise Unsupported(f"items of {value.of}")
    items, at = [], 0
    for item in value.of:
        size = len(leaf_types(item))
        items.append(Value(item, value.leaves[at : at + size]))
        at += size
    return items


def unified(first: types.Type, second: types.Type) -> types.Type:
    """The type that holds values of both."""
    if first == second:
        return first
    numbers = {types.int64, types.boolean}
    if first in numbers and second in numbers:
        return types.int64
    if (
        isinstance(first, types.BaseTuple)
        and isinstance(second, types.BaseTuple)
        and len(first) == len(second)
    ):
        return types.BaseTuple.from_types([unified(a, b) for a, b in zip(first, second, strict=True)])
    raise Unsupported(f"{first} or {second}")


def cast(builder: ir.IRBuilder, value: Value, of: types.Type) -> Value:
    """The value as one of another type: numbers as truth values and back, alone or in tuples."""
    if value.of == of:
        return value
    if of == types.int64 and value.of == types.boolean:
        return Value(of, (builder.zext(value.only, I64),))
    if of == types.boolean and value.of == types.int64:
        return Value(of, (builder.icmp_signed("!=", value.only, I64(0)),))
    if isinstance(of, types.BaseTuple) and isinstance(value.of, types.BaseTuple) and len(of) == len(value.of):
        items = [cast(builder, item, kind) for item, kind in zip(items_of(value), of, strict=True)]
        return Value(of, tuple(leaf for item in items for leaf in item.leaves))
    raise Unsupported(f"{value.of} as {of}")


def attribute(builder: ir.IRBuilder, value: Value, name: str) -> Value:
    """A field of a record, or of a NamedTuple."""
    if isinstance(value.of, types.BaseNamedTuple):
        if name not in value.of.fields:
            raise Unsupported(f"field {name}")
        at: int = value.of.fields.index(name)
        return items_of(value)[at]
    pointer, place, length = _field(builder, value, name)
    if length:
        return Value(FieldType(value.of.record.DTYPE, length, place), (pointer,))
    return _read(builder, pointer, place, signed=True)


def set_attribute(builder: ir.IRBuilder, value: Value, name: str, new: Value) -> None:
    """Write a field of one word."""
    pointer, place, length = _field(builder, value, name)
    if length:
        raise Unsupported(f"field {name} of several words")
    _write(builder, pointer, place, new)


def _field(builder: ir.IRBuilder, value: Value, name: str) -> tuple[Any, Place | None, int]:
    """Pointer, place and length (0: one word) of a record's field."""
    if not isinstance(value.of, RecordType) or name not in value.of.record.FIELDS:
        raise Unsupported(f"attribute {name} of {value.of}")
    field = value.of.record.FIELDS[name]
    pointer = builder.gep(value.only, [I64(field.offset)], inbounds=True)
    return pointer, value.of.field_place(name), field.length


def item(builder: ir.IRBuilder, value: Value, index: Value) -> Value:
    """An item of a pointer, a field or a tuple; of several records one."""
    if isinstance(value.of, types.BaseTuple):
        items = items_of(value)
        if not isinstance(index.only, ir.Constant):
            return chosen(builder, items, index)
        if index.of != types.int64 or not 0 <= index.only.constant < len(items):
            raise Unsupported("index of a tuple")
        return items[int(index.only.constant)]
    pointer = _place_of_item(builder, value, index)
    if isinstance(value.of, RecordsType):
        return Value(RecordType(value.of.record, value.of.place), (pointer,))
    signed = isinstance(value.of, FieldType) or value.of.dtype.signed
    return _read(builder, pointer, _place(value.of), signed=signed)


def chosen(builder: ir.IRBuilder, items: Sequence[Value], index: Value) -> Value:
    """The number of a tuple of numbers at an index, which is within the tuple."""
    numbers = [cast(builder, one, types.int64).only for one in items]
    at, found = cast(builder, index, types.int64).only, numbers[-1]
    for i, one in enumerate(numbers[:-1]):
        found = builder.select(builder.icmp_signed("==", at, I64(i)), one, found)
    return Value(types.int64, (found,))


def set_item(builder: ir.IRBuilder, value: Value, index: Value, new: Value) -> None:
    """Write an item of a pointer or a field."""
    if not isinstance(value.of, FieldType | types.CPointer):
        raise Unsupported(f"item of {value.of}")
    _write(builder, _place_of_item(builder, value, index), _place(value.of), new)


def _place_of_item(builder: ir.IRBuilder, value: Value, index: Value) -> Any:
    """Pointer to an item."""
    at = cast(builder, index, types.int64).only
    if isinstance(value.of, RecordsType):
        at = builder.mul(at, I64(value.of.record.STRIDE))
    return builder.gep(value.only, [at], inbounds=not isinstance(value.of, types.CPointer))


def _place(of: types.Type) -> Place | None:
    """Where what a pointer points to lies."""
    return of.place if isinstance(of, PlacePointer | FieldType) else None


def _read(builder: ir.IRBuilder, pointer: Any, place: Place | None, *, signed: bool) -> Value:
    """A word as int64."""
    read = load(builder, pointer, place)
    if read.type.width == 64:
        if not signed:
            raise Unsupported("uint64")
        return Value(types.int64, (read,))
    return Value(types.int64, ((builder.sext if signed else builder.zext)(read, I64),))


def _write(builder: ir.IRBuilder, pointer: Any, place: Place | None, new: Value) -> None:
    """Store a number as a word."""
    value, word = cast(builder, new, types.int64).only, pointer.type.pointee
    store(builder, value if word.width == 64 else builder.trunc(value, word), pointer, place)


def of_numba(builder: ir.IRBuilder, of: types.Type, value: Any) -> Value:
    """What compiled code of Numba holds as a value of a type."""
    if isinstance(of, types.BaseTuple):
        items = [of_numba(builder, kind, builder.extract_value(value, i)) for i, kind in enumerate(of)]
        whole = tuple_of(items)
        return whole._replace(of=of) if isinstance(of, types.BaseNamedTuple) else whole
    if isinstance(of, types.NoneType):
        return Value(types.none, ())
    if isinstance(of, RecordsType):
        return Value(of, (builder.extract_value(value, 0),))
    if isinstance(of, types.Integer) and of != types.int64:
        extend = builder.sext if of.signed else builder.zext
        return Value(types.int64, (value if of.bitwidth == 64 else extend(value, I64),))
    leaf_types(of)
    return Value(of, (value,))


def to_numba(context: Any, builder: ir.IRBuilder, value: Value) -> Any:
    """The same the other way."""
    if isinstance(value.of, types.BaseTuple):
        return context.make_tuple(
            builder, value.of, [to_numba(context, builder, item) for item in items_of(value)]
        )
    if isinstance(value.of, types.NoneType):
        return context.get_dummy_value()
    if isinstance(value.of, RecordsType):
        empty = ir.Constant(ir.LiteralStructType([value.only.type]), ir.Undefined)
        return builder.insert_value(empty, value.only, 0)
    return value.only
