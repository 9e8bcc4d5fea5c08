# SPDX-License-Identifier: GPL-2.0-or-later
"""How a policy's hook becomes machine code at an address: compiled alone, kept on disk under a key of what it consists of.

A hook's ``self`` is a pointer to what the policy keeps: whole numbers by name, and rows of them (a word a pageblock). Every index
is checked, and an error ends the hook, not the process.
"""

from __future__ import annotations

import ctypes
import hashlib
import operator
import os
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, config
from numba.core.errors import NumbaError
from numba.core.serialize import _numba_unpickle
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

from kevacuate import jit
from kevacuate.compiler import EntryCompiler
from kevacuate.dispatch import Kept
from kevacuate.records import view_of
from kevacuate.recordtypes import view_type

_I64 = ir.IntType(64)

MOST_TOLD = 160
"""Characters of what the compiler says that are passed on."""


class SelfType(types.Type):  # type: ignore[misc]
    """A pointer to what a policy keeps. Word 0 is the number of pageblocks; then the fields: (name, word, length).

    Of one whose length is below 0 (by pageblock, say) the word holds where it lies, and the next one how long it is.
    """

    def __init__(self, fields: tuple[tuple[str, int, int], ...]) -> None:
        self.fields = fields
        super().__init__("self" + hashlib.sha256(repr(fields).encode()).hexdigest()[:12])

    def field(self, name: str) -> tuple[int, int] | None:
        """(word, length) of a field; None if there is none."""
        return next(((at, length) for own, at, length in self.fields if own == name), None)


class RowType(types.Type):  # type: ignore[misc]
    """Several words: a pointer to the first, and how many there are."""

    def __init__(self) -> None:
        super().__init__("row")


_ROW = RowType()


@register_model(SelfType)
class _SelfModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _I64.as_pointer())


@register_model(RowType)
class _RowModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, [("first", types.CPointer(types.int64)), ("count", types.int64)])


@infer_getattr
class _SelfAttributes(AttributeTemplate):  # type: ignore[misc]
    key = SelfType

    def generic_resolve(self, of: SelfType, name: str) -> Any:
        """The type of a field; None for a name that is none, which is an error of typing."""
        field = of.field(name)
        return None if field is None else _ROW if field[1] else types.int64


@lower_getattr_generic(SelfType)
def _get_field(context: Any, builder: Any, of: SelfType, value: Any, name: str) -> Any:
    at, length = of.field(name) or (0, 0)
    pointer = builder.gep(value, [_I64(at)])
    if not length:
        return builder.load(pointer)
    row = cgutils.create_struct_proxy(_ROW)(context, builder)
    elsewhere = length < 0
    row.first = builder.gep(value, [builder.load(pointer)]) if elsewhere else pointer
    row.count = builder.load(builder.gep(value, [_I64(at + 1)])) if elsewhere else _I64(length)
    return row._getvalue()


@lower_setattr_generic(SelfType)
def _set_field(context: Any, builder: Any, signature: Any, args: Any, name: str) -> None:
    at, _ = signature.args[0].field(name)
    value = context.cast(builder, args[1], signature.args[1], types.int64)
    builder.store(value, builder.gep(args[0], [_I64(at)]))


@type_callable(operator.getitem)
def _type_getitem(_context: Any) -> Any:
    return lambda of, index: (
        types.int64 if isinstance(of, RowType) and isinstance(index, types.Integer) else None
    )


@type_callable(operator.setitem)
def _type_setitem(_context: Any) -> Any:
    return lambda of, index, _: (
        types.void if isinstance(of, RowType) and isinstance(index, types.Integer) else None
    )


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """The word of a row at an index, which is checked."""
    row = cgutils.create_struct_proxy(_ROW)(context, builder, value=args[0])
    index = context.cast(builder, args[1], signature.args[1], types.int64)
    cgutils.do_boundscheck(context, builder, index, row.count)
    return builder.gep(row.first, [index])


@lower_builtin(operator.getitem, RowType, types.Integer)
def _get_word(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.load(_place(context, builder, signature, args))


@lower_builtin(operator.setitem, RowType, types.Integer, types.Any)
def _set_word(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    value = context.cast(builder, args[2], signature.args[2], types.int64)
    builder.store(value, _place(context, builder, signature, args))
    return context.get_dummy_value()


class _KeptHook(Kept):
    """A hook's cache: one file a key, whatever the time of the source file."""

    def __init__(self, function: Callable[..., Any], key: str) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = key

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return super()._index_key(sig.args, codegen)


_addresses: dict[str, tuple[int, Any]] = {}
"""By key: the address of a hook that this process has, and what keeps it in memory."""


class HookProblem(Exception):
    """A hook does not compile: why, and the line that the compiler names (0: none)."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


def hook_address(
    function: Callable[..., Any], fields: tuple[tuple[str, int, int], ...], key: str, state: Any
) -> int:
    """The address of a hook's machine code: compiled now, or kept on disk under *key*.

    Parameters
    ----------
    function : function
        Takes ``self``, the state and :data:`kevacuate.jit.HOOK_NUMBERS` whole numbers, and returns one. Its name is unique.
    fields : tuple
        Of ``self``: (name, word, length), as of :class:`SelfType`.
    key : str
        Of all that the machine code consists of.
    state : NamedTuple of arrays
        Whose view the hook takes.

    Raises
    ------
    HookProblem
        It does not compile.
    """
    if key not in _addresses:
        numba_types = [jit_type(array) for array in state]
        view = view_type(view_of(type(state)), numba_types)
        signature = types.int64(SelfType(fields), view, *(types.int64,) * jit.HOOK_NUMBERS)
        compiled = _compiled(function, key)
        try:
            compiled.compile(signature)
        except NumbaError as error:
            raise HookProblem(*_why(error)) from None
        result = compiled.overloads[signature.args]
        address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        _addresses[key] = address, result
    return _addresses[key][0]


def jit_type(array: Any) -> Any:
    """Numba's type of a writable C-contiguous array of one dimension."""
    from numba.np.numpy_support import from_dtype

    return types.Array(from_dtype(array.dtype), 1, "C")


def _compiled(function: Callable[..., Any], key: str) -> Any:
    """A hook's dispatcher, which keeps its machine code in the package's cache."""
    before = config.CACHE_DIR
    config.CACHE_DIR = os.path.join(jit.cache_dir(), "policies")
    try:
        compiled = njit(
            pipeline_class=EntryCompiler,
            no_cpython_wrapper=True,
            no_cfunc_wrapper=True,
            nogil=True,
            error_model="python",
            boundscheck=jit.ARRAY_FORM,
        )(function)
        compiled._cache = _KeptHook(function, key)
        return compiled
    finally:
        config.CACHE_DIR = before


def _why(error: NumbaError) -> tuple[str, int]:
    """What the compiler says in one line, and the line of the source that it names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    place = getattr(error, "loc", None)
    told = next((line for line in lines if not line.startswith(("Failed in", "-", "File", "During"))), "")
    return told.rstrip(".")[:MOST_TOLD], int(getattr(place, "line", 0) or 0)


def told_exception(address: int) -> str:
    """What ended a hook: Numba's description at an address, as *call_hook* gives it."""

    class Told(ctypes.Structure):
        _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_int32), ("hashed", ctypes.c_void_p))

    told = Told.from_address(address)
    kind, given, *_ = _numba_unpickle(told.data, ctypes.string_at(told.data, told.length), told.hashed)
    return " ".join(map(str, given)) if given else getattr(kind, "__name__", "an error")
