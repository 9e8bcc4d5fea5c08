# SPDX-License-Identifier: GPL-2.0-or-later
"""Numba's dispatchers of the package's functions: made when an entry point is first called, for Numba takes long to import."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
from numba import types
from numba.core import config, event
from numba.core.caching import FunctionCache
from numba.core.registry import cpu_target
from numba.core.typing.typeof import typeof_impl

from kevacuate import compiling, intrinsics, jit
from kevacuate.compiler import (
    ApartCompiler,
    ColdCompiler,
    EntryCompiler,
    PartCompiler,
    heard,
    one_version,
    parts_of,
)
from kevacuate.ending import uncut
from kevacuate.errors import KevacuateError
from kevacuate.partcalls import type_of_part


class _Teller(event.Listener):  # type: ignore[misc]
    """Tells those who listen which entry point begins to be compiled."""

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        if isinstance(getattr(dispatcher, "_cache", None), FunctionCache):
            for listener in list(compiling.listening):
                listener.begins(dispatcher.py_func.__name__, partial(parts_of, dispatcher))

    def on_end(self, event: Any) -> None:
        pass


def _tell_typed() -> None:
    """Tell those who listen that one part more is typed."""
    for listener in list(compiling.listening):
        listener.typed()


event.register("numba:compile", _Teller())
heard.append(_tell_typed)


@typeof_impl.register(jit.Part)
def _type_of_part(value: jit.Part, _purpose: Any) -> Any:
    """A part in compiled code: a function of ours, or its dispatcher where indices are checked, and of a policy's file."""
    return types.Dispatcher(value.compiled) if jit.ARRAY_FORM or value.foreign else type_of_part(value)


@typeof_impl.register(jit.EntryPoint)
def _type_of_entry_point(value: jit.EntryPoint, _purpose: Any) -> Any:
    """An entry point that compiled code calls, too."""
    return types.Dispatcher(value.compiled)


@typeof_impl.register(jit.Builtin)
def _type_of_builtin(value: jit.Builtin, _purpose: Any) -> Any:
    """A builtin in compiled code is Numba's intrinsic."""
    return cpu_target.typing_context.resolve_value_type(getattr(intrinsics, value.name))


def compiled_part(part: jit.Part) -> Any:
    """A part's dispatcher, with the package's options: see :func:`kevacuate.jit.part`."""
    compiler = ColdCompiler if part.cold else ApartCompiler if part.inline is False else PartCompiler
    compiled = numba.njit(
        pipeline_class=compiler,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        nogil=True,
        error_model="python" if part.foreign else "numpy",
        boundscheck=jit.ARRAY_FORM,
        forceinline=bool(part.inline),  # said even if not: a callee that is silent inherits its caller's
    )(part.py_func)
    return one_version(compiled)


class Kept(FunctionCache):  # type: ignore[misc]
    """Numba's cache on disk, with names of fields in its key and a sentence where the disk is full."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        fields = tuple(
            getattr(argument, "instance_class", argument)._fields
            for argument in sig
            if isinstance(argument, types.NamedTuple | types.NamedUniTuple)
        )
        return (*super()._index_key(sig, codegen), fields)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the machine code; a signal that ends the command waits, else Numba would leave a file of half the code.

        Raises
        ------
        KevacuateError
            It cannot be written.
        """
        try:
            with uncut():
                super().save_overload(sig, data)
        except OSError as error:
            raise KevacuateError(
                f"The compiled model cannot be kept in {self.cache_path} ({error.strerror or error}): "
                "make room, or set KEVACUATE_CACHE_DIR to another directory."
            ) from None


def compiled_entry_point(function: Callable[..., Any]) -> Any:
    """An entry point's dispatcher, which keeps its machine code in the package's cache."""
    before = config.CACHE_DIR
    config.CACHE_DIR = jit.cache_dir()
    try:
        compiled = numba.njit(
            pipeline_class=EntryCompiler, nogil=True, error_model="numpy", boundscheck=jit.ARRAY_FORM
        )(function)
        compiled._cache = Kept(function)  # as cache=True does, with a cache of ours
        return compiled
    finally:
        config.CACHE_DIR = before
