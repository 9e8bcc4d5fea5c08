# SPDX-License-Identifier: GPL-2.0-or-later
"""What LLVM is told of the state's arrays is true, and it is told it."""

from __future__ import annotations

import ast
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from numba import types

import kevacuate
from kevacuate import compiler, jit
from kevacuate.aliasing import pointer_type
from kevacuate.disjoint import place_of
from kevacuate.mm.fields import View, Zone
from kevacuate.mm.layout import MachineConfig, State, ZoneConfig, build_state, grow_objects
from kevacuate.recordtypes import RecordType

MACHINE = MachineConfig(npages=1024, zones=(ZoneConfig(0, 2, 0, 1024),))


@pytest.mark.parametrize("made", ["built", "grown"])
def test_arrays_of_a_state_share_no_memory(made: str) -> None:
    state = build_state(MACHINE)
    state = {"built": state, "grown": grow_objects(state, 1 << 17)}[made]
    assert not any(np.shares_memory(one, other) for one, other in combinations(state, 2))


def is_compiled(function: ast.FunctionDef) -> bool:
    """Whether ``part`` or ``kernel`` decorates it."""
    names = [
        node.id for mark in function.decorator_list for node in ast.walk(mark) if isinstance(node, ast.Name)
    ]
    return "part" in names or "kernel" in names


def written(function: ast.FunctionDef) -> list[str]:
    """What a function's assignments to attributes and items go into: ``s.cfg`` of ``s.cfg.npages`` and of ``s.cfg[i]``."""
    return [
        ast.unparse(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
    ]


def test_no_compiled_function_writes_cfg() -> None:
    package = Path(kevacuate.__file__).parent
    seen = 0
    for name in (package / jit.COMPILED).read_text().split():
        functions = [
            node
            for node in ast.walk(ast.parse((package / name).read_text()))
            if isinstance(node, ast.FunctionDef) and is_compiled(node)
        ]
        for target in (target for function in functions for target in written(function)):
            seen += 1
            assert target.split(".")[-1] != "cfg", f"{name} writes to {target}"
    assert seen > 300


@pytest.mark.skipif(jit.JIT_DISABLED, reason="plain Python compiles nothing")
def test_the_compiler_refuses_to_write_what_is_constant() -> None:
    @jit.kernel
    def write(sa: State, n: int) -> None:
        jit.pointers(sa).cfg.npages = n

    with pytest.raises(Exception, match=r"View\.cfg\.npages is constant"):
        write(build_state(MACHINE), 3)


def test_arrays_and_fields_of_the_state_lie_in_places_of_their_own_and_others_nowhere() -> None:
    places = {name: place_of(View, name) for name in View._fields}
    assert {name for name, place in places.items() if place and place.constant} == {"cfg"}
    assert len({pointer_type(types.int64, place) for place in places.values()}) == len(View._fields)
    zone = RecordType(Zone, places["zone"])
    assert {zone.field_place(name) for name in ("node", "index")} == {
        ("View.zone.node", False),
        ("View.zone.index", False),
    }
    assert zone != RecordType(Zone)
    assert place_of(MachineConfig, "zones") is None
    assert pointer_type(types.int64, None) == types.CPointer(types.int64)


def loops(kernel: Any) -> list[str]:
    """The blocks of a kernel's LLVM text that store to memory in a loop."""
    text = next(iter(kernel.inspect_llvm().values()))
    body = text[text.index("define") : text.index("\n}")].split("\n\n")
    return [block for block in body if "store i64" in block and "!tbaa" in block and "phi" in block]


@pytest.mark.skipif(jit.ARRAY_FORM, reason="the checked form has no pointers")
def test_a_store_to_one_field_does_not_make_another_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "cache_dir", lambda: str(tmp_path))  # of kept machine code no text is left

    @jit.kernel
    def count(sa: State, n: int) -> None:
        s = jit.pointers(sa)
        for i in range(n):
            s.folios[i & 7] += s.zone[0].managed_pages + s.cfg.npages
            s.zone[0].nr_lru += s.folios[i & 7]

    state = build_state(MACHINE)
    count(state, 3)
    assert state.folios[:4].tolist() == [2048, 2048, 2048, 0]
    assert state.view.zone[0].nr_lru == 3 * 2048
    assert loops(count)
    for block in loops(count):
        assert block.count("load i64") <= block.count("store i64")  # no parameter is read again


def test_zero_fills_of_what_calls_return_into_are_dropped_and_others_kept() -> None:
    module, word = ir.Module(), ir.IntType(64)
    callee = ir.Function(
        module, ir.FunctionType(word, [word.as_pointer(), word.as_pointer(), word]), "callee"
    )
    function = ir.Function(module, ir.FunctionType(word, []), "caller")
    builder = ir.IRBuilder(function.append_basic_block())
    slots = []
    for _ in range(3):
        slots.append(builder.alloca(word))
        builder.store(word(0), slots[-1])
    builder.call(callee, [*slots[:2], builder.load(slots[2])])
    builder.ret(builder.load(slots[0]))
    compiler.drop_zero_fills(function)
    stores = [one for one in function.entry_basic_block.instructions if isinstance(one, ir.StoreInstr)]
    assert [store.operands[1] for store in stores] == slots[2:]
