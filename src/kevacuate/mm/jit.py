# SPDX-License-Identifier: GPL-2.0-or-later
"""How the model's kernels are compiled: one decorator, one cache rule, two ways to hold the state.

Every compiled function of the package is decorated with :func:`kernel` if Python calls it, with :func:`part` if only
other kernels do. Two things are decided here and nowhere else:

* **The cache.** Numba's on-disk cache does not notice a change in a callee that lives in another file. So
  the cache directory's name is a hash of every source file that holds kernels, the versions of Numba
  and Python, and the form below: edit any of them and everything is compiled anew.
* **Arrays or pointers.** The state is a NamedTuple of NumPy arrays. :func:`pointers` turns it, inside
  compiled code, into the same NamedTuple of raw pointers, which LLVM handles as fast as C. ``s.meta[i]``
  reads the same in both, so the same source also runs on the arrays, with bounds checked
  (``NUMBA_BOUNDSCHECK=1``), and as plain Python (``NUMBA_DISABLE_JIT=1``).
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import ir
from llvmlite.binding import Linkage
from numba import types
from numba.core import cgutils, config, event
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import intrinsic

from kevacuate.errors import KevacuateError
from kevacuate.mm.disjoint import pointer_type

F = TypeVar("F", bound=Callable[..., Any])

JIT_DISABLED: bool = bool(config.DISABLE_JIT)
"""True when the kernels run as plain Python."""

ARRAY_FORM: bool = JIT_DISABLED or bool(config.BOUNDSCHECK)
"""True when the kernels index NumPy arrays (checked), False when they use raw pointers."""

_KERNEL_ROOMS = ("kernel", "mm", "measure", "replay", "recording")


@cache
def source_digest() -> str:
    """Hash (hex, 16 digits) of all sources that can hold kernels, Numba's version, Python's, and the form of the state."""
    form = "arrays" if ARRAY_FORM else "pointers"
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {platform.machine()} {form}".encode())
    package = Path(__file__).resolve().parent.parent
    for room in _KERNEL_ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def cache_dir() -> str:
    """Directory of the compiled kernels; a private temporary one, for this process, where the user's cache is not writable."""
    base = _cache_base()
    path = os.path.join(base, f"kernels-{source_digest()}") if base else ""
    try:
        if path:
            os.makedirs(path, exist_ok=True)
        if path and os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    private = tempfile.mkdtemp(prefix=f"kevacuate-kernels-{os.getpid()}-")
    _lock(private)
    atexit.register(_remove_private, private, os.getpid())
    return private


def _lock(directory: str) -> None:
    """Lock a private cache until this process ends: without a lock it would count as a killed process's."""
    with suppress(OSError):  # a file system without locks
        descriptor = os.open(directory, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _cache_base() -> str:
    """The directory that holds all caches of ours; empty where the home directory does not exist, which is nobody's to make."""
    named = os.environ.get("KEVACUATE_CACHE_DIR")
    if named:
        return named
    cache_home = os.environ.get("XDG_CACHE_HOME")
    home = os.path.expanduser("~")
    if not cache_home and not os.path.isdir(home):
        return ""
    return os.path.join(cache_home or os.path.join(home, ".cache"), "kevacuate")


def _remove_private(directory: str, pid: int) -> None:
    """Remove a cache of one process's own when that process ends, not when a child that it forked does."""
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)


class _Compiling(event.Listener):  # type: ignore[misc]
    """Calls a function when the first kernel begins to be compiled: not when its machine code is found on disk."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def on_start(self, event: Any) -> None:
        if self._call is not None and isinstance(
            getattr(event.data["dispatcher"], "_cache", None), FunctionCache
        ):
            call, self._call = self._call, None
            call()

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def when_compiling(call: Callable[[], None]) -> Iterator[None]:
    """Call *call*, once, when within the block a kernel has to be compiled, by whichever thread."""
    listener = _Compiling(call)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)


class _PartCodegen:
    """Numba's code generator for a library that is never loaded: there is no address to write an environment to."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def set_env(self, env_name: str, env: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)


def drop_zero_fills(function: ir.Function) -> None:
    """Take the stores of zero out of a function's entry block that go to what its calls return into.

    Numba makes them for every slot on the stack, where the function begins, and again before the call. Of a callee that is not
    inlined they stay, and once the caller is inlined into the loop, every row would execute them.
    """
    slots = {
        id(argument)
        for block in function.blocks
        for instruction in block.instructions
        if isinstance(instruction, ir.CallInstr)
        for argument in instruction.args[:2]
        if isinstance(argument, ir.AllocaInstr)
    }
    entry = function.entry_basic_block
    entry.instructions = [
        instruction
        for at, instruction in enumerate(entry.instructions)
        if not (
            isinstance(instruction, ir.StoreInstr)
            and entry.instructions[at - 1] is instruction.operands[1]
            and id(instruction.operands[1]) in slots
        )
    ]


class _PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code of a function that only other kernels call: neither optimised nor turned into machine code by itself.

    LLVM sees it again, whole, inside each entry point. Without this, every function is optimised and emitted together
    with all that it calls, again at every level of calls: minutes instead of seconds.
    """

    @property
    def codegen(self) -> _PartCodegen:
        return _PartCodegen(self._codegen)

    attributes: tuple[str, ...] = ()

    def add_ir_module(self, ir_module: Any) -> None:
        for (
            function
        ) in ir_module.functions:  # in the text: llvmlite before 0.48 adds them to what is returned instead
            if not function.is_declaration:
                for attribute in self.attributes:
                    function.attributes.add(attribute)
                drop_zero_fills(function)
        super().add_ir_module(ir_module)

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0


class _ApartLibrary(_PartLibrary):
    """A part that LLVM shall not inline."""

    attributes = ("noinline",)


class _ColdLibrary(_PartLibrary):
    """A part that LLVM shall not inline, and to which no likely branch leads."""

    attributes = ("noinline", "cold")


class _EntryLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code of an entry point. The parts in it become its own, so that LLVM may drop arguments they do not use."""

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if function.linkage == Linkage.linkonce_odr and "9kevacuate" in function.name:
                function.linkage = Linkage.internal
        super()._optimize_final_module()


class _PartCompiler(Compiler):  # type: ignore[misc]
    """Numba's compiler with a :class:`_PartLibrary` to put the code into."""

    library_class: type[JITCodeLibrary] = _PartLibrary

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, *rest: Any) -> None:
        if library is None:
            library = self.library_class(targetctx.codegen(), "kevacuate")
            library.enable_object_caching()
        super().__init__(typingctx, targetctx, library, *rest)


class _ApartCompiler(_PartCompiler):
    """The same with an :class:`_ApartLibrary`."""

    library_class = _ApartLibrary


class _ColdCompiler(_PartCompiler):
    """The same with a :class:`_ColdLibrary`."""

    library_class = _ColdLibrary


class _EntryCompiler(_PartCompiler):
    """The same with an :class:`_EntryLibrary`."""

    library_class = _EntryLibrary


def _widened(argument: types.Type) -> types.Type:
    """int64 for any integer, be it narrower or a literal."""
    argument = types.unliteral(argument)
    return types.int64 if isinstance(argument, types.Integer) and argument.bitwidth < 64 else argument


def _one_version(dispatcher: Any) -> Any:
    """Make callers cast their integers to int64: Numba would compile the function anew for every mixture of widths
    and for every literal, which takes longer than all else.
    """
    resolve = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        return resolve(tuple(map(_widened, args)), {name: _widened(kw) for name, kw in kws.items()})

    dispatcher.get_call_template = get_call_template
    return dispatcher


def part(function: F | None = None, *, inline: bool | None = None, cold: bool = False) -> Any:
    """Compile *function*, which only other kernels call, with the package's options.

    Parameters
    ----------
    function : callable
        The function, in the subset of Python that Numba compiles.
    inline : bool or None
        Force LLVM to inline it into its callers (True: the hot path only), forbid it (False: long and called from many
        places), or leave it to LLVM.
    cold : bool
        Forbid it, and tell LLVM that branches to it are unlikely: what a minority of rows runs. It keeps the hot path
        short and the entry points small; without it LLVM inlines the slow paths again and again.
    """
    if function is None:
        return lambda f: part(f, inline=inline, cold=cold)
    if JIT_DISABLED:
        return function
    compiler = _ColdCompiler if cold else _ApartCompiler if inline is False else _PartCompiler
    compiled = numba.njit(
        pipeline_class=compiler,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        nogil=True,
        error_model="numpy",
        boundscheck=ARRAY_FORM,
        forceinline=bool(inline),  # said even if not: a callee that is silent inherits its caller's
    )(function)
    return _one_version(compiled)


class _Kept(FunctionCache):  # type: ignore[misc]
    """Numba's cache on disk, with a sentence where the disk is full."""

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the machine code.

        Raises
        ------
        KevacuateError
            It cannot be written.
        """
        try:
            super().save_overload(sig, data)
        except OSError as error:
            raise KevacuateError(
                f"The compiled model cannot be kept in {self.cache_path} ({error.strerror or error}): "
                "make room, or set KEVACUATE_CACHE_DIR to another directory."
            ) from None


def kernel(function: F) -> Any:
    """Compile *function*, which Python calls on a state of arrays, and keep the machine code on disk."""
    if JIT_DISABLED:
        return function
    before = config.CACHE_DIR
    config.CACHE_DIR = cache_dir()
    try:
        compiled = numba.njit(
            pipeline_class=_EntryCompiler, nogil=True, error_model="numpy", boundscheck=ARRAY_FORM
        )(function)
        compiled._cache = _Kept(function)  # as cache=True does, with a cache of ours
        return compiled
    finally:
        config.CACHE_DIR = before


if JIT_DISABLED:

    def pointers(state: Any) -> Any:
        """The state with each array as a memoryview: items are then plain ints, which do not overflow."""
        return type(state)(*(memoryview(array) for array in state))

    def prefetch(array: Any, index: int) -> None:
        """Nothing: plain Python has no prefetch."""

elif ARRAY_FORM:

    @part(inline=True)
    def pointers(state):  # type: ignore[no-untyped-def]
        """The state itself: the checked form keeps the arrays."""
        return state

    @part(inline=True)
    def prefetch(array, index):  # type: ignore[no-untyped-def]
        """Nothing: the checked form does not prefetch."""

else:

    @intrinsic
    def pointers(typingctx, state):  # type: ignore[no-untyped-def]
        """Turn a NamedTuple of C-contiguous arrays into one, of the same field names, of raw pointers.

        The caller keeps the arrays alive for as long as the pointers are used.
        """
        owner = state.instance_class
        fields = tuple(
            pointer_type(owner, name, array.dtype)
            for name, array in zip(owner._fields, state.types, strict=True)
        )
        result = types.NamedTuple(fields, owner)

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            data = []
            for i, array_type in enumerate(state.types):
                array = builder.extract_value(args[0], i)
                data.append(context.make_array(array_type)(context, builder, array).data)
            return context.make_tuple(builder, signature.return_type, data)

        return result(state), codegen

    @intrinsic
    def prefetch(typingctx, pointer, index):  # type: ignore[no-untyped-def]
        """Ask the processor to load the cache line of ``pointer[index]``, which will be written."""

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            address = builder.gep(args[0], [args[1]])
            byte = ir.IntType(8).as_pointer()
            int32 = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [builder.bitcast(address, byte), int32(1), int32(3), int32(1)])
            return context.get_dummy_value()

        return types.void(pointer, index), codegen
