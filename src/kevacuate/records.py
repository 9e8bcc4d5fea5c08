# SPDX-License-Identifier: GPL-2.0-or-later
"""Named fields over the state's flat arrays: ``zone = s.zone[z]; zone.nr_free_pages += 1``, at the cost of an index.

A record is a class of annotated attributes (:mod:`kevacuate.mm.fields`): ``int`` is one word, ``words(n)`` is *n* of them. Its
words follow each other in an array, and records of one kind do. The same source runs in three forms:

* compiled: a record is a raw pointer, and a field the load or store that ``array[i * stride + offset]`` is;
* compiled with bounds checked (``NUMBA_BOUNDSCHECK=1``): the same, and an index beyond the records, or beyond a field's words,
  raises IndexError;
* plain Python (``NUMBA_DISABLE_JIT=1``, and every reader outside compiled code): the class itself, over a memoryview, so that
  values are plain ints.

Whatever an array's dtype is, a field that is read is an int64.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import cache
from inspect import get_annotations
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
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

from kevacuate.disjoint import Place, load, place_of, pointer_type, store

CHECKED: bool = bool(config.BOUNDSCHECK)
"""Whether compiled code checks every index of a record and of a field."""


class Words(Protocol):
    """Numbers by index: a pointer, an array or a memoryview, or a field of several words."""

    def __getitem__(self, i: int, /) -> int: ...

    def __setitem__(self, i: int, value: int, /) -> None: ...

    def __len__(self) -> int: ...


class Field(NamedTuple):
    """Where a field lies in its record, in words; *length* is 0 for a single number."""

    offset: int
    length: int


class _Number:
    """A field of one word, in plain Python."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def __get__(self, record: Any, _owner: Any) -> Any:
        return record._words[record._at + self._offset]

    def __set__(self, record: Any, value: int) -> None:
        record._words[record._at + self._offset] = int(value)


class _Several:
    """A field of several words, in plain Python: a part of the record's memoryview."""

    def __init__(self, field: Field) -> None:
        self._field = field

    def __get__(self, record: Any, _owner: Any) -> Any:
        first = record._at + self._field.offset
        return record._words[first : first + self._field.length]

    def __set__(self, record: Any, values: Any) -> None:
        view = self.__get__(record, None)
        for i, value in enumerate(values):
            view[i] = int(value)


class _Length(NamedTuple):
    """What :func:`words` leaves in a class until its fields are laid out."""

    length: int


def words(length: int) -> Any:
    """Declare that a field has *length* words."""
    return _Length(length)


class _Slotted(type):
    """A class whose instances take no attribute that is not declared."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        return super().__new__(mcs, name, bases, {"__slots__": (), **namespace}, **options)


class Record(metaclass=_Slotted):
    """A record of named words. Subclasses declare its fields, in their order; an instance is one record of an array.

    Attributes
    ----------
    FIELDS : dict of str to Field
        Every field's place.
    STRIDE : int
        Words of a record.
    DTYPE : type
        What its array holds: ``class Zone(Record, dtype=np.int64)``.
    """

    __slots__ = ("_at", "_words")

    FIELDS: ClassVar[dict[str, Field]]
    STRIDE: ClassVar[int]
    DTYPE: ClassVar[type]

    def __init_subclass__(cls, dtype: type = np.int64) -> None:
        cls.FIELDS, cls.STRIDE, cls.DTYPE = {}, 0, dtype
        for name in get_annotations(cls):
            declared = cls.__dict__.get(name)
            length = declared.length if isinstance(declared, _Length) else 0
            field = Field(cls.STRIDE, length)
            cls.FIELDS[name] = field
            setattr(cls, name, _Several(field) if length else _Number(field.offset))
            cls.STRIDE += max(length, 1)

    def __init__(self, array: Any, at: int = 0) -> None:
        self._words, self._at = array, at

    @classmethod
    def new(cls, count: int = 1) -> npt.NDArray[Any]:
        """An array of *count* records of zeros."""
        return np.zeros(count * cls.STRIDE, cls.DTYPE)

    @classmethod
    def table(cls, array: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The fields of all records of an array, by name, to read and to write; no copies.

        Shape (records,), of a field of several words (records, words).
        """
        rows = array.reshape(-1, cls.STRIDE)
        return {
            name: rows[:, field.offset : field.offset + field.length]
            if field.length
            else rows[:, field.offset]
            for name, field in cls.FIELDS.items()
        }

    def __repr__(self) -> str:
        """Every field, by name."""
        values = (
            f"{name}={list(value) if self.FIELDS[name].length else value}"
            for name, value in ((name, getattr(self, name)) for name in self.FIELDS)
        )
        return f"{type(self).__name__}({', '.join(values)})"


R = TypeVar("R", bound=Record)


class Records(Generic[R]):
    """The records of one array, by index.

    Parameters
    ----------
    record : type
        Their class.
    array : array of the class's dtype
        Their words, of all records.
    """

    def __init__(self, record: type[R], array: npt.NDArray[Any]) -> None:
        self._record, self._array, self._words = record, array, array.data

    def __getitem__(self, i: int) -> R:
        if not 0 <= i < len(self):
            raise IndexError(f"There is no {self._record.__name__} {i}: there are {len(self)}.")
        return self._record(self._words, int(i) * self._record.STRIDE)

    def __len__(self) -> int:
        return self._array.size // self._record.STRIDE

    def __iter__(self) -> Iterator[R]:
        return (self[i] for i in range(len(self)))


N = TypeVar("N", bound=tuple[Any, ...])


def seen_as(view: type) -> Callable[[type[N]], type[N]]:
    """A decorator of NamedTuple classes of arrays: compiled code sees them as *view*, a NamedTuple class of the same fields."""

    def mark(arrays: type[N]) -> type[N]:
        arrays.VIEW = view  # type: ignore[attr-defined]
        return arrays

    return mark


def view_of(arrays: type) -> type:
    """The NamedTuple class by whose annotations a NamedTuple class of arrays is seen: itself if nothing else is said."""
    view: type = getattr(arrays, "VIEW", arrays)
    return view


def plain(view: type, arrays: Any) -> Any:
    """A *view* of the NamedTuple *arrays* in plain Python: memoryviews, and records where the view's annotations say so."""
    kinds = record_kinds(view)
    values: list[Any] = []
    for name, array in zip(arrays._fields, arrays, strict=True):
        record, single = kinds.get(name, (None, False))
        if record is None:
            values.append(memoryview(array))
        else:
            values.append(record(memoryview(array)) if single else Records(record, array))
    return view(*values)


@cache
def record_kinds(view: type) -> dict[str, tuple[type[Record], bool]]:
    """The fields of a NamedTuple class that hold records, by its annotations: their class, and whether it is a single one."""
    kinds: dict[str, tuple[type[Record], bool]] = {}
    for name, hint in get_type_hints(view).items():
        if get_origin(hint) is Records:
            kinds[name] = (get_args(hint)[0], False)
        elif isinstance(hint, type) and issubclass(hint, Record):
            kinds[name] = (hint, True)
    return kinds


# In compiled code. A type's name is part of the name of every function that takes it, so it is short.

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
