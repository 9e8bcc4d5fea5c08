# SPDX-License-Identifier: GPL-2.0-or-later
"""What LLVM is told of the state's arrays is true, and it is told it."""

from __future__ import annotations

import ast
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from llvmlite import ir
from numba import types

import kevacuate
from kevacuate.mm import jit
from kevacuate.mm.disjoint import FieldPointer, pointer_type
from kevacuate.mm.layout import MachineConfig, State, ZoneConfig, build_state, copy_state, grow_objects

ROOMS = ("mm", "measure", "replay", "recording")
MACHINE = MachineConfig(npages=1024, zones=(ZoneConfig(0, 2, 0, 1024),))


@pytest.mark.parametrize("made", ["built", "copied", "grown"])
def test_arrays_of_a_state_share_no_memory(made: str) -> None:
    state = build_state(MACHINE)
    state = {"built": state, "copied": copy_state(state), "grown": grow_objects(state, 1 << 17)}[made]
    assert not any(np.shares_memory(one, other) for one, other in combinations(state, 2))


def is_compiled(function: ast.FunctionDef) -> bool:
    """Whether ``part`` or ``kernel`` decorates it."""
    names = [
        node.id for mark in function.decorator_list for node in ast.walk(mark) if isinstance(node, ast.Name)
    ]
    return "part" in names or "kernel" in names


def test_no_compiled_function_writes_cfg() -> None:
    package = Path(kevacuate.__file__).parent
    seen = 0
    for path in (path for room in ROOMS for path in sorted((package / room).rglob("*.py"))):
        functions = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
        ]
        for function in filter(is_compiled, functions):
            items = [node for node in ast.walk(function) if isinstance(node, ast.Subscript)]
            for item in items:
                if isinstance(item.value, ast.Attribute) and item.value.attr == "cfg":
                    seen += 1
                    assert isinstance(item.ctx, ast.Load), f"{path}:{item.lineno} writes cfg"
    assert seen > 100


def test_fields_of_the_state_have_pointers_of_their_own_and_others_plain_ones() -> None:
    kinds = [pointer_type(State, name, types.int64) for name in ("zone", "cfg", "stat")]
    assert len(set(kinds)) == 3
    assert [kind.constant for kind in kinds if isinstance(kind, FieldPointer)] == [False, True, False]
    assert pointer_type(MachineConfig, "zone", types.int64) == types.CPointer(types.int64)


@pytest.mark.skipif(jit.ARRAY_FORM, reason="the checked form has no pointers")
def test_a_store_to_one_array_does_not_make_another_be_read_again() -> None:
    @jit.kernel
    def count(sa, n):  # type: ignore[no-untyped-def]
        s = jit.pointers(sa)
        for i in range(n):
            s.stat[i & 7] += s.zone[3]

    state = build_state(MACHINE)
    count(state, 3)
    assert state.stat[0] == state.stat[1] == state.stat[2] == state.zone[3] == 1024
    text = next(iter(count.inspect_llvm().values()))
    assert "!tbaa" in text
    body = text[text.index("define") : text.index("\n}")].split("\n\n")
    loops = [block for block in body if "store i64" in block and "State" not in block.split("\n")[0]]
    assert loops
    assert all(block.count("load i64") == block.count("store i64") for block in loops)  # stat alone is read


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
    jit.drop_zero_fills(function)
    stores = [one for one in function.entry_basic_block.instructions if isinstance(one, ir.StoreInstr)]
    assert [store.operands[1] for store in stores] == slots[2:]
