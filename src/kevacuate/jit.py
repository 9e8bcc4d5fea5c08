# SPDX-License-Identifier: GPL-2.0-or-later
"""How the model's kernels are compiled: one decorator, one cache rule, two ways to hold the state.

Every compiled function of the package is decorated with :func:`kernel` if Python calls it, with :func:`part` if only
other kernels do. Two things are decided here and nowhere else:

* **The cache.** Numba's on-disk cache does not notice a change in a callee that lives in another file. So
  the cache directory's name is a hash of every source file that holds or feeds compiled code, the versions of Numba
  and Python, and the form below: edit any of them and everything is compiled anew. Nor does Numba notice that a
  NamedTuple's fields changed places: their names are in the key of each kernel.
* **Arrays or pointers.** The state is a NamedTuple of NumPy arrays. :func:`pointers` turns it, inside
  compiled code, into a NamedTuple of the same field names that holds raw pointers, which LLVM handles as fast as C, and
  records of named fields (:mod:`kevacuate.records`). ``s.meta[i]`` and ``s.zone[z].nr_free_pages`` read the same
  everywhere, so the same source also runs on the arrays, with bounds checked (``NUMBA_BOUNDSCHECK=1``), and as plain
  Python (``NUMBA_DISABLE_JIT=1``).
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, overload

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils, config, event
from numba.core.caching import FunctionCache
from numba.extending import intrinsic

from kevacuate.compiler import (
    ApartCompiler,
    ColdCompiler,
    EntryCompiler,
    PartCompiler,
    heard,
    one_version,
    parts_of,
)
from kevacuate.ending import owe, uncut
from kevacuate.errors import KevacuateError
from kevacuate.lowering import forked
from kevacuate.records import field_value, plain, view_of, view_type

F = TypeVar("F", bound=Callable[..., Any])

JIT_DISABLED: bool = bool(config.DISABLE_JIT)
"""True when the kernels run as plain Python."""

ARRAY_FORM: bool = JIT_DISABLED or bool(config.BOUNDSCHECK)
"""True when the kernels index NumPy arrays (checked), False when they use raw pointers."""

PACKAGE = Path(__file__).resolve().parent

COMPILED = "compiled.txt"
"""The package's list of the source files that hold or feed compiled code; a test finds them anew and compares."""


@cache
def source_digest(package: Path = PACKAGE) -> str:
    """Hash (hex, 16 digits) of the sources that :data:`COMPILED` lists, Numba's version, Python's, and the form of the state."""
    form = "arrays" if ARRAY_FORM else "pointers"
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {platform.machine()} {form}".encode())
    for name in (package / COMPILED).read_text().split():
        digest.update(name.encode())
        digest.update((package / name).read_bytes())
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
    owe(private, partial(_remove_private, private, os.getpid()))
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


PARTS_SHARE = 0.6
"""Of the time that a large kernel takes to compile, the share in which its parts are typed; the rest is LLVM's."""


class _Compiling(event.Listener):  # type: ignore[misc]
    """Calls a function when the first kernel begins to be compiled: not when its machine code is found on disk."""

    def __init__(self, call: Callable[[], None], progress: Callable[[str], Any] | None) -> None:
        self._call: Callable[[], None] | None = call
        self._progress = progress
        self._kernel, self._parts, self._typed, self._began = "", 0, 0, 0.0

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        if not isinstance(getattr(dispatcher, "_cache", None), FunctionCache):
            return
        self._begins()
        if self._progress is not None:
            self._kernel, self._parts = dispatcher.py_func.__name__, parts_of(dispatcher)
            self._typed, self._began = 0, time.monotonic()

    def _begins(self) -> None:
        """A kernel is being compiled: the first time that is told."""
        if self._call is not None:
            call, self._call = self._call, None
            call()

    def typed(self) -> None:
        """One part more is typed."""
        self._typed += 1
        if self._progress is None or self._typed < 20:  # too few to judge the machine's speed by
            return
        share = PARTS_SHARE * min(self._typed / max(self._parts, self._typed), 1)
        left = (time.monotonic() - self._began) * (1 / share - 1)
        self._progress(
            f"compiling {self._kernel}, first run only: {self._typed} of {max(self._parts, self._typed)} functions, "
            f"about {left:.0f} s more (estimate)"
        )

    def on_end(self, event: Any) -> None:
        pass

    def wait(self, text: str) -> None:
        """Another process compiles; what it says of that."""
        self._begins()
        if self._progress is not None and text:
            self._progress(text)


_listening: list[_Compiling] = []


@contextmanager
def when_compiling(call: Callable[[], None], progress: Callable[[str], Any] | None = None) -> Iterator[None]:
    """Call *call*, once, when within the block a kernel has to be compiled, by whichever thread.

    *progress* is told in words how far a large kernel is, and how long it may take, judged by the time it took so far.
    """
    listener = _Compiling(call, progress)
    _listening.append(listener)
    event.register("numba:compile", listener)
    heard.append(listener.typed)
    try:
        yield
    finally:
        heard.remove(listener.typed)
        event.unregister("numba:compile", listener)
        _listening.remove(listener)


@overload
def part(function: F) -> F: ...


@overload
def part(*, inline: bool | None = None, cold: bool = False) -> Callable[[F], F]: ...


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
        return lambda f: _part(f, inline, cold)
    return _part(function, inline, cold)


def _part(function: F, inline: bool | None, cold: bool) -> Any:
    """Compile *function*: see :func:`part`."""
    if JIT_DISABLED:
        return function
    compiler = ColdCompiler if cold else ApartCompiler if inline is False else PartCompiler
    compiled = numba.njit(
        pipeline_class=compiler,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        nogil=True,
        error_model="numpy",
        boundscheck=ARRAY_FORM,
        forceinline=bool(inline),  # said even if not: a callee that is silent inherits its caller's
    )(function)
    return one_version(compiled)


class _Kept(FunctionCache):  # type: ignore[misc]
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


def kernel(function: F) -> F:
    """Compile *function*, which Python calls on a state of arrays, and keep the machine code on disk."""
    if JIT_DISABLED:
        return function
    before = config.CACHE_DIR
    config.CACHE_DIR = cache_dir()
    try:
        compiled = numba.njit(
            pipeline_class=EntryCompiler, nogil=True, error_model="numpy", boundscheck=ARRAY_FORM
        )(function)
        compiled._cache = _Kept(function)  # as cache=True does, with a cache of ours
        return compiled  # type: ignore[no-any-return]
    finally:
        config.CACHE_DIR = before


@contextmanager
def beside(work: Callable[[], Any], *kernels: Any) -> Iterator[None]:
    """While the block runs, a forked child does *work*, so that *kernels* are compiled and kept on disk when the block ends.

    What else the work does is lost with the child, errors too. Nothing is begun where the kernels are kept already, or there is
    one core. Call it before other threads compile.
    """
    if JIT_DISABLED or len(os.sched_getaffinity(0)) < 2 or all(map(is_kept, kernels)):
        yield
        return
    said = os.memfd_create("kevacuate")
    child = forked(lambda: _speaking_to(said, work))
    try:
        yield
        if _heard_to_its_end(child, said):
            child = 0
    finally:
        os.close(said)
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


_MOST_SAID = 200

LONGEST_SILENCE = 300.0
"""Seconds after which a child that says nothing new is given up: what it was to compile is then compiled here."""


def _heard_to_its_end(child: int, said: int) -> bool:
    """Pass on to the listeners what the child says in the file *said*, until it ends; False if it is given up."""
    last, since = "", time.monotonic()
    while not os.waitpid(child, os.WNOHANG)[0]:
        text = os.pread(said, _MOST_SAID, 0).decode().strip()
        if text != last:
            last, since = text, time.monotonic()
        elif time.monotonic() - since > LONGEST_SILENCE:
            return False
        for listener in _listening:
            listener.wait(text)
        time.sleep(0.02)
    return True


def _speaking_to(file: int, work: Callable[[], Any]) -> None:
    """In the child: *work*; what it says of compiling goes into *file*, and the parent's listeners hear nothing of it."""
    for listener in _listening:
        event.unregister("numba:compile", listener)
    _listening.clear()
    heard.clear()
    with when_compiling(lambda: None, lambda text: os.pwrite(file, text.encode().ljust(_MOST_SAID), 0)):
        work()


def is_kept(kernel: Any) -> bool:
    """Whether the disk has code of a kernel: each is compiled for one set of types. True of plain Python, too."""
    return JIT_DISABLED or os.path.exists(kernel._cache._cache_file._index_path)


if JIT_DISABLED:

    def pointers(state: Any) -> Any:
        """The state with each array as a memoryview: items are then plain ints, which do not overflow."""
        return plain(view_of(type(state)), state)

else:

    @intrinsic
    def pointers(typingctx: Any, state: Any) -> Any:
        """Turn a NamedTuple of C-contiguous arrays into its view: raw pointers (arrays where bounds are checked) and records.

        The caller keeps the arrays alive for as long as the pointers are used.
        """
        result = view_type(view_of(state.instance_class), state.types)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            values = [
                field_value(context, builder, of, array, builder.extract_value(args[0], i))
                for i, (of, array) in enumerate(zip(result.types, state.types, strict=True))
            ]
            return context.make_tuple(builder, signature.return_type, values)

        return result(state), codegen


if JIT_DISABLED:

    def prefetch(array: Any, index: int) -> None:
        """Nothing: plain Python has no prefetch."""

elif ARRAY_FORM:

    @part(inline=True)
    def prefetch(array: Any, index: int) -> None:
        """Nothing: the checked form does not prefetch."""

else:

    @intrinsic
    def prefetch(typingctx: Any, pointer: Any, index: Any) -> Any:
        """Ask the processor to load the cache line of ``pointer[index]``, which will be written."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address = builder.gep(args[0], [args[1]])
            byte = ir.IntType(8).as_pointer()
            int32 = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [builder.bitcast(address, byte), int32(1), int32(3), int32(1)])
            return context.get_dummy_value()

        return types.void(pointer, index), codegen
