# SPDX-License-Identifier: GPL-2.0-or-later
"""Named fields in compiled code: Numba's types of :mod:`kevacuate.records`, and how a field is loaded and stored.

A type's name is part of the name of every function that takes it, so it is short.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    lower_builtin,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
    type_callable,
)

from kevacuate.aliasing import load, pointer_type, store
from kevacuate.disjoint import Place, place_of
from kevacuate.records import Record, record_kinds

CHECKED: bool = bool(config.BOUNDSCHECK)
"""Whether compiled code checks every index of a record and of a field."""

_I64 = ir.IntType(64)


class RecordType(types.Type):  # type: ignore[misc]
    """A pointer to one record; of an array that is apart from others, with its place."""

    def __init__(self, record: type[Record], place: Place | None = None) -> None:
        self.record, self.place = record, place
        super().__init__(place.tag if place else record.__name__)

    def field_place(self, name: str) -> Place | None:
        """Where the field *name* of its array's records lies."""
        return self.place.field(name) if self.place else None


class RecordsType(types.Type):  # type: ignore[misc]
    """A pointer to the first of several records; with their number where indices are checked."""

    def __init__(self, record: type[Record], place: Place | None = None) -> None:
        self.record, self.place = record, place
        super().__init__(f"{place.tag if place else record.__name__}s")


class FieldType(types.Type):  # type: ignore[misc]
    """A pointer to the first word of a field of several."""

    def __init__(self, dtype: type, length: int, place: Place | None = None) -> None:
        self.dtype, self.length, self.place = dtype, length, place
        super().__init__(place.tag if place else f"{np.dtype(dtype).name}x{length}")


def _word(dtype: type) -> ir.IntType:
    """LLVM's type of a word."""
    return ir.IntType(8 * np.dtype(dtype).itemsize)


@register_model(RecordType)
class _RecordModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _word(of.record.DTYPE).as_pointer())


@register_model(FieldType)
class _FieldModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _word(of.dtype).as_pointer())


@register_model(RecordsType)
class _RecordsModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        count = [("count", types.int64)] if CHECKED else []
        super().__init__(manager, of, [("first", RecordType(of.record, of.place)), *count])


@infer_getattr
class _RecordAttributes(AttributeTemplate):  # type: ignore[misc]
    key = RecordType

    def generic_resolve(self, record: RecordType, name: str) -> Any:
        """The type of a field; None for a name that is none, which is an error of typing."""
        field = record.record.FIELDS.get(name)
        if field is None:
            return None
        if not field.length:
            return types.int64
        return FieldType(record.record.DTYPE, field.length, record.field_place(name))


def _load(builder: Any, pointer: Any, place: Place | None) -> Any:
    """A word, widened to int64."""
    value = load(builder, pointer, place)
    return value if value.type.width == 64 else builder.sext(value, _I64)


def _store(context: Any, builder: Any, value: Any, of: Any, pointer: Any, place: Place | None) -> None:
    """Store a value of the Numba type *of* as a word."""
    value = context.cast(builder, value, of, types.int64)
    word = pointer.type.pointee
    store(builder, value if word.width == 64 else builder.trunc(value, word), pointer, place)


@lower_getattr_generic(RecordType)
def _get_field(context: Any, builder: Any, of: RecordType, value: Any, name: str) -> Any:
    field = of.record.FIELDS[name]
    pointer = builder.gep(value, [_I64(field.offset)], inbounds=True)
    return pointer if field.length else _load(builder, pointer, of.field_place(name))


@lower_setattr_generic(RecordType)
def _set_field(context: Any, builder: Any, signature: Any, args: Any, name: str) -> None:
    of = signature.args[0]
    pointer = builder.gep(args[0], [_I64(of.record.FIELDS[name].offset)], inbounds=True)
    _store(context, builder, args[1], signature.args[1], pointer, of.field_place(name))


def _index(context: Any, builder: Any, value: Any, of: Any, count: Any) -> Any:
    """An index as int64; checked against *count* where indices are."""
    index = context.cast(builder, value, of, types.int64)
    if CHECKED:
        cgutils.do_boundscheck(context, builder, index, count)
    return index


@type_callable(operator.getitem)
def _type_getitem(_context: Any) -> Any:
    def typer(of: Any, index: Any) -> Any:
        if isinstance(index, types.Integer):
            if isinstance(of, RecordsType):
                return RecordType(of.record, of.place)
            if isinstance(of, FieldType):
                return types.int64
        return None

    return typer


@type_callable(operator.setitem)
def _type_setitem(_context: Any) -> Any:
    def typer(of: Any, index: Any, value: Any) -> Any:
        if isinstance(of, FieldType) and isinstance(index, types.Integer):
            return types.void
        return None

    return typer


@lower_builtin(operator.getitem, RecordsType, types.Integer)
def _get_record(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    of, index_type = signature.args
    records = cgutils.create_struct_proxy(of)(context, builder, value=args[0])
    index = _index(context, builder, args[1], index_type, records.count if CHECKED else None)
    return builder.gep(records.first, [builder.mul(index, _I64(of.record.STRIDE))], inbounds=True)


@lower_builtin(operator.getitem, FieldType, types.Integer)
def _get_word(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    of, index_type = signature.args
    index = _index(context, builder, args[1], index_type, _I64(of.length))
    return _load(builder, builder.gep(args[0], [index], inbounds=True), of.place)


@lower_builtin(operator.setitem, FieldType, types.Integer, types.Any)
def _set_word(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    of, index_type, value_type = signature.args
    index = _index(context, builder, args[1], index_type, _I64(of.length))
    _store(context, builder, args[2], value_type, builder.gep(args[0], [index], inbounds=True), of.place)
    return context.get_dummy_value()


def view_type(view: type, arrays: Any) -> types.NamedTuple:
    """Numba's type of a *view* of the NamedTuple of array types *arrays*."""
    kinds = record_kinds(view)
    fields = []
    for name, array in zip(view._fields, arrays, strict=True):  # type: ignore[attr-defined]
        record, single = kinds.get(name, (None, False))
        place = place_of(view, name)
        if record is not None:
            fields.append(RecordType(record, place) if single else RecordsType(record, place))
        else:
            fields.append(array if CHECKED else pointer_type(array.dtype, place))
    return types.NamedTuple(tuple(fields), view)


def field_value(context: Any, builder: Any, of: Any, array_type: Any, value: Any) -> Any:
    """What a view's field of the type *of* holds, of the array *value*: itself (a new reference), its pointer, or its records."""
    if of == array_type:
        context.nrt.incref(builder, array_type, value)
        return value
    array = context.make_array(array_type)(context, builder, value)
    if not isinstance(of, RecordsType):
        return array.data
    records = cgutils.create_struct_proxy(of)(context, builder)
    records.first = array.data
    if CHECKED:
        records.count = builder.udiv(array.nitems, _I64(of.record.STRIDE))
    return records._getvalue()
