# SPDX-License-Identifier: GPL-2.0-or-later
"""Named fields over the state's flat arrays: ``zone = s.zone[z]; zone.nr_free_pages += 1``, at the cost of an index.

A record is a class of annotated attributes (:mod:`kevacuate.mm.fields`): ``int`` is one word, ``words(n)`` is *n* of them. Its
words follow each other in an array, and records of one kind do. The same source runs in three forms:

* compiled: a record is a raw pointer, and a field the load or store that ``array[i * stride + offset]`` is;
* compiled with bounds checked (``NUMBA_BOUNDSCHECK=1``): the same, and an index beyond the records, or beyond a field's words,
  raises IndexError;
* plain Python (``NUMBA_DISABLE_JIT=1``, and every reader outside compiled code): the class itself, over a memoryview, so that
  values are plain ints.

Whatever an array's dtype is, a field that is read is an int64. What compiled code sees is in :mod:`kevacuate.recordtypes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from inspect import get_annotations
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt


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
