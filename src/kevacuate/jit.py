# SPDX-License-Identifier: GPL-2.0-or-later
"""How the model is compiled: two decorators, one cache rule, two ways to hold the state.

Every compiled function of the package is decorated with :func:`kernel` if Python calls it, an *entry point*, with :func:`part`
if only other compiled functions do. Neither imports the compiler: :mod:`kevacuate.dispatch` does, when an entry point is first
called, so that a command that compiles nothing does not wait for it. Three things are decided here and nowhere else:

* **The cache.** Numba's on-disk cache does not notice a change in a callee that lives in another file. So
  the cache directory's name is a hash of every source file that holds or feeds compiled code, the versions of Numba
  and Python, and the form below: edit any of them and everything is compiled anew. Nor does Numba notice that a
  NamedTuple's fields changed places: their names are in the key of each entry point.
* **Arrays or pointers.** The state is a NamedTuple of NumPy arrays. :data:`pointers` turns it, inside
  compiled code, into a NamedTuple of the same field names that holds raw pointers, which LLVM handles as fast as C, and
  records of named fields (:mod:`kevacuate.records`). ``s.meta[i]`` and ``s.zone[z].nr_free_pages`` read the same
  everywhere, so the same source also runs on the arrays, with bounds checked (``NUMBA_BOUNDSCHECK=1``), and as plain
  Python (``NUMBA_DISABLE_JIT=1``).
* **Little work.** What an entry point does of a small recording takes less time in plain Python than the compiler takes:
  :func:`run` chooses. It is the same source, and gives the same.
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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from kevacuate.compiling import listening, when_compiling
from kevacuate.ending import owe
from kevacuate.lowering import forked
from kevacuate.records import plain, view_of

F = TypeVar("F", bound=Callable[..., Any])


def _switched_on(variable: str) -> bool:
    """Whether one of Numba's environment variables is a number other than 0, as Numba reads it."""
    value = os.environ.get(variable, "").strip()
    return value.lstrip("+-").isdecimal() and int(value) != 0


JIT_DISABLED: bool = _switched_on("NUMBA_DISABLE_JIT")
"""True when all runs as plain Python."""

ARRAY_FORM: bool = JIT_DISABLED or _switched_on("NUMBA_BOUNDSCHECK")
"""True when compiled code indexes NumPy arrays (checked), False when it uses raw pointers."""

PACKAGE = Path(__file__).resolve().parent

COMPILED = "compiled.txt"
"""The package's list of the source files that hold or feed compiled code; a test finds them anew and compares."""


@cache
def source_digest(package: Path = PACKAGE) -> str:
    """Hash (hex, 16 digits) of the sources that :data:`COMPILED` lists, Numba's version, Python's, and the form of the state."""
    import numba

    form = "arrays" if ARRAY_FORM else "pointers"
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {platform.machine()} {form}".encode())
    for name in (package / COMPILED).read_text().split():
        digest.update(name.encode())
        digest.update((package / name).read_bytes())
    return digest.hexdigest()[:16]


@cache
def cache_dir() -> str:
    """Directory of the machine code; a private temporary one, for this process, where the user's cache is not writable."""
    base = _cache_base()
    path = os.path.join(base, f"compiled-{source_digest()}") if base else ""
    try:
        if path:
            os.makedirs(path, exist_ok=True)
        if path and os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    private = tempfile.mkdtemp(prefix=f"kevacuate-compiled-{os.getpid()}-")
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


_making = threading.RLock()
"""Held while a dispatcher is made: each function has one, whatever threads ask for it."""


class _Compilable:
    """A function before it is compiled.

    Attributes
    ----------
    py_func : function
        It, in plain Python; what it calls is compiled.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, function.__name__, function
        self.py_func = function
        self._compiled: Any = None

    @property
    def compiled(self) -> Any:
        """Numba's dispatcher."""
        if self._compiled is None:
            with _making:
                from kevacuate import dispatch

                self._compiled = self._compiled or self._make(dispatch)
        return self._compiled

    def _make(self, dispatch: Any) -> Any:
        """A dispatcher, of the module that makes them."""
        raise NotImplementedError


class Part(_Compilable):
    """A function that compiled code calls. Its attributes *inline* and *cold* are as of :func:`part`.

    A *foreign* one, of a policy's file, ends with an error where plain Python does: a division by zero.
    """

    def __init__(
        self, function: Callable[..., Any], inline: bool | None, cold: bool, foreign: bool = False
    ) -> None:
        super().__init__(function)
        self.inline, self.cold, self.foreign = inline, cold, foreign

    def _make(self, dispatch: Any) -> Any:
        return dispatch.compiled_part(self)


class EntryPoint(_Compilable):
    """A function that Python calls, which is compiled when it is first called; its machine code is kept on disk."""

    def __init__(self, function: Callable[..., Any], plain_work: int) -> None:
        super().__init__(function)
        self._plain_work, self._asked = plain_work, False

    def _make(self, dispatch: Any) -> Any:
        return dispatch.compiled_entry_point(self.py_func)

    def __call__(self, *arguments: Any) -> Any:
        """Call the compiled function."""
        return (self._compiled or self.compiled)(*arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_compiled":
            raise AttributeError(name)
        return getattr(self.compiled, name)

    def _kept_once(self) -> bool:
        """Whether machine code of it, of this source or another, was kept: that is loaded in an eighth of the compiler's time."""
        base, name = _cache_base(), f"{self.py_func.__module__.rpartition('.')[2]}.{self.__name__}-*.nbi"
        return bool(base) and any(Path(base).glob(f"compiled-*/*/{name}"))

    @cached_property
    def plain(self) -> Callable[..., Any]:
        """It, and all that it calls, as plain Python."""
        return _in_plain(self.py_func, {}, {})

    def little(self, work: int, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        """Do it in plain Python, while all work of this process is little: (True, what it returns), or (False, None).

        Nothing is changed then: what plain Python began and could not do (a number that does not fit) is undone.
        """
        if not self._asked:
            self._asked = True
            self._plain_work >>= 3 if self._kept_once() else 0
        self._plain_work -= work
        if self._plain_work < 0 or self._compiled is not None:
            return False, None
        arrays = [array for argument in arguments for array in _arrays_of(argument)]
        if sum(array.nbytes for array in arrays) > _MOST_COPIED:
            return False, None
        kept = [array.copy() for array in arrays]
        try:
            with np.errstate(all="ignore"):
                result = self.plain(*(x.data if isinstance(x, np.ndarray) else x for x in arguments))
        except (ArithmeticError, LookupError, TypeError, ValueError):
            for array, before in zip(arrays, kept, strict=True):
                array[...] = before
            return False, None
        return True, result


_MOST_COPIED = 1 << 26
"""Bytes of arrays that are copied at most, lest plain Python cannot end what it began."""


def _arrays_of(argument: Any) -> Iterator[npt.NDArray[Any]]:
    """The arrays that an entry point may write, of one of its arguments."""
    for found in argument if isinstance(argument, tuple) else (argument,):
        if isinstance(found, np.ndarray) and found.flags.writeable:
            yield found


def run(entry: Any, work: int, *arguments: Any) -> Any:
    """Call an entry point: in plain Python while the *work* of all such calls is little, else compiled. Both give the same.

    *work* is in the unit of :func:`kernel`'s *plain_work*.
    """
    if isinstance(entry, EntryPoint):
        done, result = entry.little(work, arguments)
        if done:
            return result
    return entry(*arguments)


class Builtin:
    """A function that is made of LLVM's instructions in compiled code.

    Parameters
    ----------
    name : str
        Its name in :mod:`kevacuate.intrinsics`.
    plain : function
        What stands for it in plain Python.
    """

    def __init__(self, name: str, plain: Callable[..., Any]) -> None:
        self.name, self.plain = name, plain


def _names(code: CodeType) -> Iterator[str]:
    """Global names that a function's code, and what is defined in it, may load."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _in_plain(
    function: Callable[..., Any],
    made: dict[Callable[..., Any], Callable[..., Any]],
    spaces: dict[int, dict[str, Any]],
) -> Callable[..., Any]:
    """*function* with plain Python in the place of all compiled functions that it reaches.

    *made* holds those that are made already, *spaces* the modules' names by the number of their dictionary.
    """
    if not isinstance(function, FunctionType):
        return function
    if (known := made.get(function)) is not None:
        return known
    space = spaces.setdefault(id(function.__globals__), dict(function.__globals__))
    twin = FunctionType(
        function.__code__, space, function.__name__, function.__defaults__, function.__closure__
    )
    made[function] = twin
    for name in _names(function.__code__):
        found = function.__globals__.get(name)
        if isinstance(found, _Compilable):
            space[name] = _in_plain(found.py_func, made, spaces)
        elif isinstance(found, Builtin):
            space[name] = found.plain
    return twin


@overload
def part(function: F) -> F: ...


@overload
def part(*, inline: bool | None = None, cold: bool = False) -> Callable[[F], F]: ...


def part(function: F | None = None, *, inline: bool | None = None, cold: bool = False) -> Any:
    """Compile *function*, which only other compiled functions call, with the package's options.

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


def foreign_part(function: F) -> Any:
    """A function of a policy's file that its hooks call, as :func:`part` makes one of ours."""
    return function if JIT_DISABLED else Part(function, None, False, foreign=True)


def _part(function: F, inline: bool | None, cold: bool) -> Any:
    """See :func:`part`."""
    return function if JIT_DISABLED else Part(function, inline, cold)


@overload
def kernel(function: F) -> F: ...


@overload
def kernel(*, plain_work: int) -> Callable[[F], F]: ...


def kernel(function: F | None = None, *, plain_work: int = 0) -> Any:
    """Compile *function*, which Python calls on a state of arrays, and keep the machine code on disk.

    Parameters
    ----------
    function : callable
        The function, in the subset of Python that Numba compiles.
    plain_work : int
        How much of a process's work :func:`run` does in plain Python, in any unit: what takes about as long as the compiler.
    """
    if function is None:
        return lambda f: kernel(f) if JIT_DISABLED else EntryPoint(f, plain_work)
    return function if JIT_DISABLED else EntryPoint(function, plain_work)


@contextmanager
def beside(work: Callable[[], Any], *entries: Any) -> Iterator[None]:
    """While the block runs, a forked child does *work*, so that *entries* are compiled and kept on disk when the block ends.

    What else the work does is lost with the child, errors too. Nothing is begun where these entry points are kept already, or
    there is one core. Call it before other threads compile.
    """
    if JIT_DISABLED or len(os.sched_getaffinity(0)) < 2 or all(map(is_kept, entries)):
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
        for listener in listening:
            listener.wait(text)
        time.sleep(0.02)
    return True


def _speaking_to(file: int, work: Callable[[], Any]) -> None:
    """In the child: *work*; what it says of compiling goes into *file*, and the parent's listeners hear nothing of it."""
    listening.clear()
    with when_compiling(lambda: None, lambda text: os.pwrite(file, text.encode().ljust(_MOST_SAID), 0)):
        work()


def is_kept(entry: Any) -> bool:
    """Whether the disk has code of an entry point: each is compiled for one set of types. True of plain Python, too."""
    return JIT_DISABLED or os.path.exists(entry._cache._cache_file._index_path)


def _plain_pointers(state: Any) -> Any:
    """The state with each array as a memoryview: items are then plain ints, which do not overflow."""
    return plain(view_of(type(state)), state)


def _plain_prefetch(array: Any, index: int) -> None:
    """Nothing: plain Python has no prefetch."""


HOOK_NUMBERS = 6
"""Whole numbers that the machine code of every hook takes besides ``self`` and ``s``; what it does not name is filled up."""

Hook = Callable[..., int]

plain_hooks: dict[int, Hook] = {}
"""In plain Python: the hooks of policies, by what ``cfg.hook`` holds of them; each takes the state and whole numbers."""

hook_errors: list[BaseException] = []
"""In plain Python: what hooks have raised; a number in the state says which."""


def _plain_call_hook(address: int, s: Any, *numbers: int) -> tuple[int, int]:
    """See :data:`call_hook`."""
    try:
        return 0, int(plain_hooks[address](s, *numbers))
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        hook_errors.append(error)
        return len(hook_errors), 0


call_hook: Any = _plain_call_hook if JIT_DISABLED else Builtin("call_hook", _plain_call_hook)
"""Call a policy's hook at an address, with the state and six whole numbers.

Returns (0, what it returned), or (where its exception is told, 0): in compiled code the address of Numba's description.
"""

OPERATION = -1
"""In plain Python: the number among :data:`plain_hooks` of what a policy's worker has the model do."""


def _plain_operation_address(operation: Callable[..., int], _s: Any) -> int:
    """See :data:`operation_address`."""
    plain_hooks[OPERATION] = lambda s, *numbers: operation(0, s, *numbers)
    return OPERATION


operation_address: Any = (
    _plain_operation_address if JIT_DISABLED else Builtin("operation_address", _plain_operation_address)
)
"""The address of a part that takes what a hook's machine code takes: :data:`call_hook` calls it from there."""

pointers: Any = _plain_pointers if JIT_DISABLED else Builtin("pointers", _plain_pointers)
"""Turn a NamedTuple of C-contiguous arrays into its view: raw pointers (arrays where bounds are checked) and records.

The caller keeps the arrays alive for as long as the pointers are used.
"""

prefetch: Any = _plain_prefetch if JIT_DISABLED else Builtin("prefetch", _plain_prefetch)
"""Ask the processor to load the cache line of ``pointer[index]``, which will be written; the checked form does not."""
