# SPDX-License-Identifier: GPL-2.0-or-later
"""Pointers that LLVM knows to be apart: a store to one array of the state cannot change what another holds.

Numba's raw pointers say nothing of what they point to, so LLVM must read every parameter again after every store. Here each
load and store carries a TBAA tag, one a field: C's type-based rules tell a compiler as much, by type instead of by array.
Loads of fields that no compiled function writes are invariant besides. Accesses without a tag (NumPy arrays, the pointers of
other NamedTuples) may alias everything.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import lower_builtin, register_model

_APART: dict[type, frozenset[str]] = {}
"""The NamedTuples whose arrays share no memory, and which of their fields are only read."""


def arrays_apart(owner: type, *, constant: Iterable[str] = ()) -> None:
    """Say that the arrays of the NamedTuple *owner* share no memory, and that no compiled function writes those in *constant*."""
    _APART[owner] = frozenset(constant)


class FieldPointer(types.CPointer):  # type: ignore[misc]
    """A pointer to the items of one field of a NamedTuple whose arrays share no memory.

    Parameters
    ----------
    owner, field : str
        Names of the NamedTuple and of its field.
    dtype : Numba type
        Of the items.
    constant : bool
        No compiled function writes it.
    """

    def __init__(self, owner: str, field: str, dtype: types.Type, constant: bool) -> None:
        self.tag, self.constant = f"{owner}.{field}", constant
        super().__init__(dtype)
        self.name = f"{self.tag}*"

    @property
    def key(self) -> tuple[str, types.Type, bool]:
        """What tells it from others: :class:`types.CPointer` has the items' type alone."""
        return self.tag, self.dtype, self.constant


register_model(FieldPointer)(models.PointerModel)


def pointer_type(owner: type, field: str, dtype: types.Type) -> types.Type:
    """The type of a pointer to the items of *owner*'s array *field*: one of its own where the arrays are apart."""
    if owner not in _APART:
        return types.CPointer(dtype)
    return FieldPointer(owner.__name__, field, dtype, field in _APART[owner])


def mark(builder: ir.IRBuilder, access: Any, pointer: FieldPointer) -> Any:
    """Tag a load or store as one of the pointer's field; gives it back."""
    module = builder.module
    root = module.add_metadata([ir.MetaDataString(module, "kevacuate")])
    zero = ir.Constant(ir.IntType(64), 0)
    kind = module.add_metadata([ir.MetaDataString(module, pointer.tag), root, zero])
    access.set_metadata("tbaa", module.add_metadata([kind, kind, zero]))
    if pointer.constant and isinstance(access, ir.LoadInstr):
        access.set_metadata("invariant.load", module.add_metadata([]))
    return access


@lower_builtin(operator.getitem, FieldPointer, types.Integer)  # type: ignore[untyped-decorator]
def _load(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    """One item."""
    return mark(builder, builder.load(builder.gep(args[0], [args[1]])), signature.args[0])


@lower_builtin(operator.setitem, FieldPointer, types.Integer, types.Any)  # type: ignore[untyped-decorator]
def _store(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    """Write one item."""
    mark(builder, builder.store(args[2], builder.gep(args[0], [args[1]])), signature.args[0])
    return context.get_dummy_value()
