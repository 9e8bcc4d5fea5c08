# SPDX-License-Identifier: GPL-2.0-or-later
"""Pointers that LLVM knows to be apart: a store to one array of the state cannot change what another holds.

Numba's raw pointers say nothing of what they point to, so LLVM must read every parameter again after every store. Here each
load and store carries a TBAA tag, one a field, which is what C's type-based rules give a compiler, by array instead of by type.
Loads of fields that no compiled function writes are invariant besides. What carries no tag, as other NamedTuples' pointers and
NumPy arrays, may alias everything.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from llvmlite.ir.instructions import LoadInstr
from numba import types
from numba.core.datamodel import models
from numba.extending import lower_builtin, register_model


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


def mark(builder: ir.IRBuilder, access: Any, pointer: FieldPointer) -> Any:
    """Tag a load or store as one of the pointer's field; gives it back."""
    module = builder.module
    root = module.add_metadata([ir.MetaDataString(module, "kevacuate")])
    zero = ir.Constant(ir.IntType(64), 0)
    kind = module.add_metadata([ir.MetaDataString(module, pointer.tag), root, zero])
    access.set_metadata("tbaa", module.add_metadata([kind, kind, zero]))
    if pointer.constant and isinstance(access, LoadInstr):
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
