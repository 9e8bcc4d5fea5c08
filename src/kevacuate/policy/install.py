# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy's hooks put into a machine, what they counted read out of it, and a sentence where one is wrong."""

from __future__ import annotations

import threading
import traceback
from itertools import count
from typing import Any

from kevacuate import jit
from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm.fields import Config
from kevacuate.mm.layout import State, policy_words, with_policy_words, with_policy_worker
from kevacuate.policy.hook_source import with_lines
from kevacuate.policy.hooks import (
    ANSWERS,
    BY_BLOCK,
    BY_ZONE,
    HOOKS,
    Hooks,
    fields_of,
    rows_of,
    values_of,
    words_of,
)
from kevacuate.policy.load import HooksFile, ready

_compiling = threading.Lock()
_numbers = count(1)


def with_hooks(state: State, file: HooksFile | None, knobs: dict[str, int]) -> State:
    """The machine with a policy's hooks and what it keeps; the other arrays are shared.

    Raises
    ------
    KevacuateError
        A hook does not compile, or the machine's kernel has no place for it.
    """
    if file is None:
        return state
    cfg = state.view.cfg
    if cfg.steal_suitable and "rmqueue" in file.hooks:
        raise KevacuateError(
            f"The hook rmqueue of {file.spec} has no place in this kernel: its __rmqueue has no modes to order."
        )
    state = with_policy_words(state, words_of(file.policy, sizes_of(state), knobs))
    config = Config(state.cfg.data)
    addresses = addresses_of(file, state)
    for hook, address in addresses.items():
        number = HOOKS.index(hook)
        config.hooks |= 1 << number
        config.hook[number] = address
    if "worker" in addresses:
        state = with_policy_worker(state)
        state.view.stat.policy_due = state.view.stat.next_due = 0
        config.notes_slab = "shrink_slab" in file.calls
    return state


def sizes_of(state: State) -> dict[int, int]:
    """How many of each the machine has for which a policy may keep a word."""
    cfg = state.view.cfg
    return {BY_BLOCK: -(-cfg.npages_real >> cfg.pageblock_order), BY_ZONE: cfg.nr_zones}


def addresses_of(file: HooksFile, state: State) -> dict[str, int]:
    """Every hook that the policy has, and its address; in plain Python a number of this process."""
    if jit.JIT_DISABLED:
        return {hook: _plain(file, hook, state) for hook in file.hooks}
    with _compiling:
        return {hook: _compiled(file, hook, state) for hook in file.hooks}


def _plain(file: HooksFile, hook: str, state: State) -> int:
    """A hook as plain Python: its number."""
    function = ready(file, hook, None).function
    policy: Hooks = file.policy(memoryview(policy_words(state)))  # type: ignore[arg-type]
    number = next(_numbers)
    jit.plain_hooks[number] = lambda s, *numbers: function(policy, s, *numbers)
    return number


def _compiled(file: HooksFile, hook: str, state: State) -> int:
    """A hook's machine code."""
    from kevacuate.hookcompiler import HookProblem, hook_address

    fields = fields_of(file.policy)
    made = ready(file, hook, fields)
    try:
        return hook_address(made.function, fields, made.key, state)
    except HookProblem as problem:
        line = problem.line or file.methods[hook].lineno
        raise file.wrong(line, hook, f"does not compile: {problem}") from None


def refuse_wrong_hook(state: State, file: HooksFile | None) -> None:
    """Say what was wrong with a hook, if one was.

    Raises
    ------
    KevacuateError
        A hook ended in an error, returned what it may not, or asked for it.
    """
    if file is None:
        return
    stat = state.view.stat
    if not stat.hook_error:
        return
    hook = HOOKS[stat.failed_hook]
    value = stat.hook_value
    said = f"The hook {hook} of {file.spec}"
    if stat.hook_error == k.HOOK_BAD_VALUE:
        raise KevacuateError(f"{said} returned {value}: it returns {ANSWERS[hook]}.")
    if stat.hook_error == k.HOOK_BAD_ARGUMENT:
        raise KevacuateError(
            f"{said} gave {value} to a function of the model: there is no such zone, page, order, type or time."
        )
    if stat.hook_error == k.HOOK_NOT_HERE:
        raise KevacuateError(f"{said} changes the allocator at once, which only the hook worker may.")
    raise KevacuateError(f"{said} was ended: {_told(file, value)}.")


def _told(file: HooksFile, value: int) -> str:
    """What ended a hook, and the line: of an index out of bounds in plain Python alone."""
    if not jit.JIT_DISABLED:
        from kevacuate.hookcompiler import told_exception

        said = told_exception(value)
        told = with_lines(said, file.first_line)
        return told if told != said else f"{said} (--debug names the line)"
    error = jit.hook_errors[value - 1]
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file.path)]
    said, told = str(error), with_lines(str(error), file.first_line)
    return f"{said} (line {lines[-1]})" if lines and told == said else told


def counted(state: State, file: HooksFile | None) -> dict[str, float]:
    """What a policy's rows hold, by name."""
    return {} if file is None else values_of(file.policy, policy_words(state))


def rows_told(file: HooksFile | None) -> dict[str, Any]:
    """How a policy's rows are shown: label, unit and which way is better, by name."""
    if file is None:
        return {}
    return {
        found.name: {"label": found.help, "unit": found.unit, "better": found.better}
        for found in rows_of(file.policy)
    }
