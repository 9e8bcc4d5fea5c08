# SPDX-License-Identifier: GPL-2.0-or-later
"""What LLVM is told of arrays that are apart (:mod:`kevacuate.disjoint`).

Numba's raw pointers say nothing of what they point to, so LLVM must read every parameter again after every store. Here each
load and store carries a TBAA tag, as C's type-based rules give it: one an array of numbers, one a named field of an array of
records. Loads of arrays that no compiled function writes are invariant besides. Accesses without a tag (NumPy arrays, the
pointers of other NamedTuples) may alias everything.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import lower_builtin, register_model

from kevacuate.disjoint import Place


def load(builder: ir.IRBuilder, pointer: Any, place: Place | None) -> Any:
    """Read a word that lies in *place*."""
    value = builder.load(pointer)
    if place is not None:
        _mark(builder.module, value, place)
        if place.constant:
            value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


def store(builder: ir.IRBuilder, value: Any, pointer: Any, place: Place | None) -> None:
    """Write a word that lies in *place*.

    Raises
    ------
    TypeError
        The place is constant.
    """
    if place is not None and place.constant:
        raise TypeError(f"{place.tag} is constant: compiled code may not write it.")
    stored = builder.store(value, pointer)
    if place is not None:
        _mark(builder.module, stored, place)


def _mark(module: ir.Module, access: Any, place: Place) -> None:
    """Tag a load or store as one of a place."""
    root = module.add_metadata([ir.MetaDataString(module, "kevacuate")])
    zero = ir.Constant(ir.IntType(64), 0)
    kind = module.add_metadata([ir.MetaDataString(module, place.tag), root, zero])
    access.set_metadata("tbaa", module.add_metadata([kind, kind, zero]))


class PlacePointer(types.CPointer):
    """A pointer to the numbers of an array that lies in *place*."""

    def __init__(self, dtype: types.Type, place: Place) -> None:
        self.place = place
        super().__init__(dtype)
        self.name = f"{place.tag}*"

    @property
    def key(self) -> tuple[types.Type, Place]:
        """What tells it from others: :class:`types.CPointer` has the items' type alone."""
        return self.dtype, self.place


register_model(PlacePointer)(models.PointerModel)


def pointer_type(dtype: types.Type, place: Place | None) -> types.Type:
    """The type of a pointer to numbers that lie in *place*."""
    return types.CPointer(dtype) if place is None else PlacePointer(dtype, place)


@lower_builtin(operator.getitem, PlacePointer, types.Integer)
def _get_item(_context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    """One item."""
    return load(builder, builder.gep(args[0], [args[1]]), signature.args[0].place)


@lower_builtin(operator.setitem, PlacePointer, types.Integer, types.Any)
def _set_item(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
    """Write one item."""
    store(builder, args[2], builder.gep(args[0], [args[1]]), signature.args[0].place)
    return context.get_dummy_value()
