# SPDX-License-Identifier: GPL-2.0-or-later
"""What compiled code has of LLVM's own instructions: how the state's arrays become pointers, and prefetching."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kevacuate.jit import ARRAY_FORM, HOOK_NUMBERS
from kevacuate.records import view_of
from kevacuate.recordtypes import field_value, view_type

int64 = np.int64
"""A number of any type as int64."""


@intrinsic
def pointers(typingctx: Any, state: Any) -> Any:
    """See :data:`kevacuate.jit.pointers`."""
    result = view_type(view_of(state.instance_class), state.types)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [
            field_value(context, builder, of, array, builder.extract_value(args[0], i))
            for i, (of, array) in enumerate(zip(result.types, state.types, strict=True))
        ]
        return context.make_tuple(builder, signature.return_type, values)

    return result(state), codegen


@intrinsic
def prefetch(typingctx: Any, pointer: Any, index: Any) -> Any:
    """See :data:`kevacuate.jit.prefetch`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if ARRAY_FORM:
            return context.get_dummy_value()
        address = builder.gep(args[0], [args[1]])
        byte = ir.IntType(8).as_pointer()
        int32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [builder.bitcast(address, byte), int32(1), int32(3), int32(1)])
        return context.get_dummy_value()

    return types.void(pointer, index), codegen


@intrinsic
def call_hook(typingctx: Any, address: Any, s: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """See :data:`kevacuate.jit.call_hook`."""
    numbers = (types.int64,) * HOOK_NUMBERS
    result = types.UniTuple(types.int64, 2)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = signature.args[1]
        own = types.CPointer(types.int64)
        at = view.instance_class._fields.index("stat")
        behind = ir.IntType(64)(view.types[at].record.STRIDE)
        policy = builder.gep(builder.extract_value(args[1], at), [behind])
        kinds = (own, view, *numbers)
        kind = context.call_conv.get_function_type(types.int64, kinds)
        hook = builder.inttoptr(args[0], kind.as_pointer())
        status, value = context.call_conv.call_function(
            builder, hook, types.int64, kinds, (policy, *args[1:])
        )
        told = builder.ptrtoint(status.excinfoptr, ir.IntType(64))
        failed = builder.select(status.is_error, told, ir.IntType(64)(0))
        return context.make_tuple(builder, signature.return_type, (failed, value))

    return result(types.int64, s, *numbers), codegen


@intrinsic
def operation_address(typingctx: Any, operation: Any, s: Any) -> Any:
    """See :data:`kevacuate.jit.operation_address`."""
    kinds = (types.CPointer(types.int64), s, *(types.int64,) * HOOK_NUMBERS)
    numbas = isinstance(
        operation, types.Dispatcher
    )  # else a part; hooks call it as Numba's functions are called
    made = operation.dispatcher if numbas else operation.typing_key.compiled
    made.compile(kinds)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compiled = made.overloads[kinds]
        context.active_code_library.add_linking_library(compiled.library)
        function = context.declare_function(builder.module, compiled.fndesc)
        return builder.ptrtoint(function, ir.IntType(64))

    return types.int64(operation, s), codegen
