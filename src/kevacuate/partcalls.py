# SPDX-License-Identifier: GPL-2.0-or-later
"""How code that Numba compiles, entry points and hooks, calls a part that :mod:`kevacuate.partcode` writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, Signature, signature

from kevacuate.compiler import CalledPart, widened
from kevacuate.jit import Part
from kevacuate.partcode import (
    Function,
    argument_types,
    call_function,
    declared,
    made_by_numba,
    result_type,
)
from kevacuate.partsource import Unsupported
from kevacuate.partvalues import leaf_types, of_numba, to_numba


@cache
def type_of_part(part: Part) -> types.Type:
    """Numba's type of a part: a function whose call is lowered to one of the part's function."""

    class Called(AbstractTemplate):  # type: ignore[misc]
        key = part

        def generic(self, args: Sequence[types.Type], kws: dict[str, types.Type]) -> Signature | None:
            """The signature of a call."""
            if kws:
                return None
            given = tuple(map(types.unliteral, args))
            if _ours(given):
                result = result_type(part, argument_types(part, given))
                if _ours((result,)):
                    return signature(result, *given)
            return made_by_numba(part, tuple(map(widened, given))).signature

    def lower(context: Any, builder: ir.IRBuilder, sig: Signature, values: Sequence[Any]) -> Any:
        if not _ours((*sig.args, sig.return_type)):
            return context.get_function(types.Dispatcher(part.compiled), sig)(builder, values)
        args = argument_types(part, sig.args)
        code = declared(builder.module, part, args, sig.return_type)
        context.active_code_library.add_linking_library(CalledPart(context.codegen(), part, args))
        given = [of_numba(builder, of, value) for of, value in zip(sig.args, values, strict=True)]
        function = Function(part, args, sig.return_type, code)
        return to_numba(context, builder, call_function(builder, function, given))

    cpu_target.target_context.insert_func_defn([(lower, part, (types.VarArg(types.Any),))])
    return types.Function(Called)


def _ours(args: Sequence[types.Type]) -> bool:
    """Whether parts of ours take and return these types: not arrays, nor numbers that int64 does not hold."""
    try:
        for of in args:
            leaf_types(widened(of))
    except Unsupported:
        return False
    return True
