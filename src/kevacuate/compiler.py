# SPDX-License-Identifier: GPL-2.0-or-later
"""How Numba compiles entry points, and takes parts in: each once, and LLVM sees the whole.

Numba would parse, link, optimise and emit every function together with all that it calls, again at every level of calls. Here an
*entry point* (what Python calls) takes in each *part* (what only compiled code calls) that it reaches, once:
:mod:`kevacuate.partcode` writes it. What that does not know, the parts of policies' files, and all parts where indices are
checked, Numba types and lowers once, and they are kept as LLVM's text.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from llvmlite import ir
from llvmlite.binding import Linkage, parse_assembly
from numba import types
from numba.core import cgutils, sigutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, _LowerResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import LoweringPass, PassManager, register_pass
from numba.core.environment import Environment
from numba.core.funcdesc import PythonFunctionDescriptor
from numba.core.lowering import Lower
from numba.core.runtime.nrt import rtsys
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import NativeLowering

from kevacuate import lowering
from kevacuate.jit import Part
from kevacuate.partcode import PartCode


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


_libraries: WeakValueDictionary[int, PartLibrary] = WeakValueDictionary()
"""All parts' libraries by address."""


class PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code of a part that Numba compiles, as text; never optimised, linked or turned into machine code by itself.

    Attributes
    ----------
    attributes : tuple of str
        What LLVM is told of each of its functions.
    texts : list of str
        LLVM's text of its modules.
    functions : set of str
        Names of the functions that they define.
    done : bool
        Whether the part has been lowered to them.
    """

    attributes: tuple[str, ...] = ()

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.texts: list[str] = []
        self.functions: set[str] = set()
        self.done = False
        self._typed: Any = None
        self._finalized = True
        _libraries[id(self)] = self

    @property
    def codegen(self) -> _PartCodegen:
        """The code generator, which loads nothing."""
        return _PartCodegen(self._codegen)

    @property
    def called(self) -> list[Any]:
        """Libraries whose functions it calls."""
        return list(self._linking_libraries)

    def put_off(self, state: Any, described: Any) -> None:
        """Have the typed function that *state* and its description hold lowered later, here or in another process."""
        self._typed = state, described
        lowering.put_off(self)

    def lower(self) -> None:
        """Lower the function that was put off."""
        state, described = self._typed
        with ConfigStack().enter(state.flags.copy()), state.targetctx.push_code_library(self):
            Lower(state.targetctx, self, described, state.func_ir, metadata=state.metadata).lower()
        self._typed, self.done = None, True

    def result(self) -> Any:
        """Texts, names of functions and the libraries called; None if it calls one that its own process does not know."""
        called = [id(library) for library in self._linking_libraries if library is not rtsys.library]
        if any(number not in _libraries for number in called):
            return None
        return self.texts, sorted(self.functions), called

    def accept(self, result: Any) -> None:
        """Take another process's result; libraries lie at the same addresses in a fork. Each entry point has Numba's runtime."""
        self.texts, functions, called = result
        self.functions = set(functions)
        self._linking_libraries = [_libraries[number] for number in called]
        self._typed, self.done = None, True

    def _raise_if_finalized(self) -> None:
        """Nothing: text can always be added."""

    def add_ir_module(self, ir_module: Any) -> None:
        """Keep a module's text."""
        for function in ir_module.functions:
            if not function.is_declaration:
                self.functions.add(function.name)
                for attribute in self.attributes:
                    function.attributes.add(attribute)
                drop_zero_fills(function)
        self.texts.append(cgutils.normalize_ir_text(str(ir_module)))

    def get_pointer_to_function(self, name: str) -> int:
        """0: there is no machine code."""
        return 0


class ApartLibrary(PartLibrary):
    """A part that LLVM shall not inline."""

    attributes = ("noinline",)


class ColdLibrary(PartLibrary):
    """A part that LLVM shall not inline, and to which no likely branch leads."""

    attributes = ("noinline", "cold", "optsize")


class EntryLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code of an entry point. The parts in it become its own, so that LLVM may drop arguments they do not use."""

    _linking_libraries: list[Any]

    def finalize(self) -> None:
        """Take in each part that is reached, once; the rest is Numba's."""
        self._parts: set[str] = set()
        code = PartCode(self._codegen._create_empty_module("parts"), _tell)
        pending, others = list(self._linking_libraries), []
        seen: set[Any] = set()
        while pending:
            lowering.finish()
            for library in self._reached(pending, seen):
                if isinstance(library, CalledPart):
                    code.want(library.part, library.args)
                elif isinstance(library, PartLibrary):
                    self._take(library.texts)
                    self._parts |= library.functions
                else:
                    others.append(library)
            self._parts |= code.write()
            pending, code.libraries = code.libraries, []
        self._take([cgutils.normalize_ir_text(str(code.module))])
        self._linking_libraries = others
        super().finalize()

    def _reached(self, libraries: list[Any], seen: set[Any]) -> Iterator[Any]:
        """Libraries, and those whose functions they call, each once."""
        pending = list(libraries)
        while pending:
            library = pending.pop()
            if library not in seen:
                seen.add(library)
                yield library
                pending += library.called if isinstance(library, PartLibrary) else []

    def _take(self, texts: list[str]) -> None:
        """Take in modules."""
        for text in texts:
            module = parse_assembly(text)
            module.data_layout = self._codegen._data_layout
            self._final_module.link_in(module)

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if function.name in self._parts:
                function.linkage = Linkage.internal
        super()._optimize_final_module()


def _tell() -> None:
    """One part more is compiled."""
    for hear in heard:
        hear()


class CalledPart(JITCodeLibrary):  # type: ignore[misc]
    """Stands for a part, for given types of arguments, that Numba's code calls: :class:`EntryLibrary` has it written."""

    def __init__(self, codegen: Any, part: Part, args: tuple[types.Type, ...]) -> None:
        super().__init__(codegen, "kevacuate")
        self.part, self.args = part, args
        self._finalized = True


class _Passes(PassManager):  # type: ignore[misc]
    """Numba's passes, without a check of its own intermediate code after each."""

    _ENFORCING = False


@register_pass(mutates_CFG=True, analysis_only=False)
class PutOffLowering(LoweringPass):  # type: ignore[misc]
    """In the place of Numba's lowering: callers need no more than a function's name and types."""

    _name = "kevacuate_put_off_lowering"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Describe the function, and put its lowering off."""
        target, flags = state.targetctx, state.flags
        described = PythonFunctionDescriptor.from_specialized_function(
            state.func_ir, state.typemap, state.return_type, state.calltypes,
            mangler=target.mangler, inline=flags.forceinline, noalias=flags.noalias, abi_tags=[flags.get_mangle_string()],
        )  # fmt: skip
        environment = Environment.from_fndesc(described)
        function = target.get_executable(state.library, described, environment)
        target.insert_user_function(function, described, [state.library])
        state.library.put_off(state, described)
        state["cr"] = _LowerResult(described, None, cfunc=function, env=environment)
        return True


class _Remembering:
    """A typing context that types an operator on given numbers once: nearly all calls of compiled code are a few hundred such.

    Numba goes through some twenty templates each time, NumPy's ufuncs first.
    """

    _known: dict[tuple[Any, Any], Any] = {}  # noqa: RUF012 (of all compilations)

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, args: Any, kws: Any) -> Any:
        if (
            kws
            or not isinstance(function, types.Function)
            or not all(isinstance(arg, types.Number | types.Boolean) for arg in args)
        ):
            return self._context.resolve_function_type(function, args, kws)
        key = (function, args)
        if key not in self._known:
            self._known[key] = self._context.resolve_function_type(function, args, kws)
        return self._known[key]


class PartCompiler(Compiler):  # type: ignore[misc]
    """Numba's compiler with a :class:`PartLibrary` to put the code into, and only the passes that a part needs.

    Left out is what parts have no use for: closures, ``with``, ``literally``, array expressions, inlining in Numba, exceptions.
    """

    library_class: type[JITCodeLibrary] = PartLibrary
    passes: frozenset[str] | None = frozenset(
        (
            "TranslateByteCode", "FixupArgs", "IRProcessing", "RewriteSemanticConstants", "DeadBranchPrune",
            "GenericRewrites", "ReconstructSSA", "NopythonTypeInference", "PreLowerStripPhis", "IRLegalization",
            "NativeLowering", "NoPythonBackend",
        )
    )  # fmt: skip

    def __init__(self, typingctx: Any, targetctx: Any, library: Any, *rest: Any) -> None:
        if library is None:
            library = self.library_class(targetctx.codegen(), "kevacuate")
            library.enable_object_caching()
        super().__init__(_Remembering(typingctx), targetctx, library, *rest)

    def define_pipelines(self) -> list[Any]:
        """One pipeline: Numba's passes, or those chosen of them."""
        chosen = _Passes("kevacuate")
        for manager in super().define_pipelines():
            for kind, description in manager.passes:
                if self.passes is None:
                    chosen.add_pass(kind, description)
                elif kind.__name__ in self.passes:
                    chosen.add_pass(PutOffLowering if kind is NativeLowering else kind, description)
        chosen.finalize()
        return [chosen]


class ApartCompiler(PartCompiler):
    """The same with an :class:`ApartLibrary`."""

    library_class = ApartLibrary


class ColdCompiler(PartCompiler):
    """The same with a :class:`ColdLibrary`."""

    library_class = ColdLibrary


class EntryCompiler(PartCompiler):
    """The same with an :class:`EntryLibrary`, and all passes: entry points see arrays."""

    library_class = EntryLibrary
    passes = None

    def compile_extra(self, function: Any) -> Any:
        """Compile *function*."""
        with _no_collection(), lowering.shared():
            return super().compile_extra(function)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for cycles meanwhile: it goes through all that the compiler holds, again and again, and finds little."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def widened(argument: types.Type) -> types.Type:
    """int64 for any integer, be it narrower or a literal."""
    argument = types.unliteral(argument)
    return types.int64 if isinstance(argument, types.Integer) and argument.bitwidth < 64 else argument


def one_version(dispatcher: Any) -> Any:
    """Make callers cast their integers to int64: Numba would compile the function anew for every mixture of widths
    and for every literal, which takes longer than all else.
    """
    resolve: Callable[..., Any] = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        return resolve(tuple(map(widened, args)), {name: widened(kw) for name, kw in kws.items()})

    dispatcher.get_call_template = get_call_template
    dispatcher.compile = lambda signature: _compile_part(dispatcher, signature)
    return dispatcher


heard: list[Callable[[], None]] = []
"""Each is called whenever a part has been typed."""


def parts_of(dispatcher: Any) -> int:
    """How many parts an entry point reaches: by the names in its code and theirs."""
    pending: list[Any] = [dispatcher]
    seen: set[Any] = {dispatcher}
    while pending:
        function = pending.pop().py_func
        for name in function.__code__.co_names:
            found = function.__globals__.get(name)
            if isinstance(found, Part) and found not in seen:
                seen.add(found)
                pending.append(found)
    return len(seen) - 1


def _compile_part(dispatcher: Any, signature: Any) -> Any:
    """A dispatcher's own ``compile``, without disk cache and timers: each timer hears of every lock that is taken below it."""
    with global_compiler_lock, dispatcher._compiling_counter:
        args, return_type = sigutils.normalize_signature(signature)
        if (known := dispatcher.overloads.get(tuple(args))) is not None:
            return known.entry_point
        result = dispatcher._compiler.compile(args, return_type)
        dispatcher.add_overload(result)
        _tell()
        return result.entry_point
