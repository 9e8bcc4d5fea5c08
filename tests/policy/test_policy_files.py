# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies from files: what they may be, what is said of any other, that they run, and that nothing else loads code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_policy_parse import GOOD_VALUES

import kevacuate
from kevacuate import jit
from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.policy import load, parse_policy
from kevacuate.policy import policy as policies
from kevacuate.policy.api import FUNCTIONS, WORKER_ONLY
from kevacuate.policy.hooks import ANSWERS, EVENTS, HOOKS, Hooks
from kevacuate.policy.knobs import COMMON
from kevacuate.policy.settings import SETTINGS
from kevacuate.reports.comparison.rows import comparison_rows
from kevacuate.runs.replay import SETTLE_NS

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = f"{Path(__file__).with_name('everything.py')}:Everything"
EXAMPLES = (
    f"{ROOT}/examples/evacuate_on_steal.py:OnSteal",
    f"{ROOT}/examples/unmovable_reserve.py:Reserve",
    f"{ROOT}/examples/steer_by_gfp.py:ByGfp",
)
CLASS = "class P(Hooks):\n    a = number()\n    r = numbers(4)\n    b = by_block()\n"
CLAIM = CLASS + "    def should_try_claim_block(self, s, order, start_type, allowed):\n        "
WORK = CLASS + "    def worker(self, s):\n        "


def written(folder: Path, text: str) -> str:
    """A policy file with this text behind the import; its class P."""
    path = folder / "p.py"
    path.write_text(f"from kevacuate.policy.api import *\n{text}\n")
    return f"{path}:P"


REFUSED = {
    "def x(:": r"p\.py:2: the policy file is no Python",
    "x\0": r"p\.py:1: the policy file is no Python",
    f"x = 1 / 0\n{CLASS}": r"p\.py:2: the policy file cannot be loaded: ZeroDivisionError: division by zero\.",
    f"import sys\nsys.exit(3)\n{CLASS}": r"p\.py:3: the policy file cannot be loaded: SystemExit: 3\.",
    "class P:\n    pass": "has no policy 'P': it has no class of Hooks",
    "class Q(Hooks):\n    pass": "has no policy 'P': its classes of Hooks are Q",
    CLASS: "has no hook",
    f"{CLASS}    def find_sutable_fallback(self, s):\n        return 1": r"calls: did you mean find_suitable_fallback\?$",
    f"{CLASS}    def worker(self):\n        return 0": r"p\.py:6: .* than it is given: write def worker\(self, s\)\.$",
    f"{CLASS}    @property\n    def worker(self, s):\n        return 0": "has a decorator",
    f"{CLAIM}if order > 3:\n            return 1": "can end without a return: it returns 0 or 1",
    f"{CLAIM}x = [1]\n        return 1": r"p\.py:7: the hook should_try_claim_block of P makes a list, which allocates memory",
    f"import numpy as np\n{CLAIM}np.zeros(3)\n        return 1": r"calls np\.zeros, which is neither in the file nor",
    f"{CLAIM}evacuate_block = 3\n        return evacuate_block(s, 1)": "a local name that shadows a function",
    "class P(Hooks):\n    rmqueue = number()": "declares rmqueue, which is a name of kevacuate's own",
    "class P(Hooks):\n    a = knob(5, 'x', most=10**30)": r"2\*\*62, and a number of 100 bits does not\.",
    "class P(Hooks):\n    a = knob(10**5000, 'x')": r"2\*\*62, and a number of 16,610 bits does not\.",
    "class P(Hooks):\n    a = knob(5, 'x', least=9, most=3)": "bounds are in the wrong order: 9 is more than 3",
    "class P(Hooks):\n    a = knob(9, 'x', most=3)": "9 is not in 0 to 3",
    "class P(Hooks):\n    a = numbers(10**5000)": "not a number of 16,610 bits",
    "class P(Hooks):\n    pool = knob(3, 'x')\n    def worker(self, s):\n        return 0": "declares the knob pool",
    "class P(Hooks):\n    n = knob(3, 'x')\n    def worker(self, s):\n        self.n = 1\n        return 0": "is a knob",
    f"{WORK}return nothing(s)": "uses nothing, which is not defined in the file",
    f"{WORK}return s.stat.now": "takes an attribute of s",
    f"{WORK}return s[0]": "takes an index of something else",
    f"{WORK}return self.rows[0]": r"takes an index of self\.rows, which the class does not declare\.$",
    f"{WORK}return self.a[0]": r"takes an index of self\.a, which is a single number\.$",
    f"{WORK}t = s\n        return 0": "uses s by itself",
    f"{WORK}return now(s, 3)": "calls now with 2 arguments: it takes s",
    f"{WORK}return nr_free_pages(0, s)": "with s in another place: it takes s, z",
    f"{WORK}return min(s, 3)": "passes s to min",
    f"{WORK}return 5 / 2": "divides with /",
    f"{WORK}return self.c": r"reads self\.c, which the class does not declare\.$",
    f"{WORK}self.r = 3\n        return 0": "it has several words",
    f"{WORK}print(1)\n        return 0": "only --debug can" if not jit.JIT_DISABLED else "",
    f"{WORK}open('x')\n        return 0": "uses open|uses 'x'",
    f"def f(n):\n    return f(n)\n{WORK}return f(1)": "in a circle",
    f"{WORK}for x in self.r:\n            pass\n        return 0": "loops over something else than a range",
    f"{WORK}import os\n        return 0": "uses import, which hooks cannot",
    f"{WORK}raise ValueError\n        return 0": "uses raise, which hooks cannot",
}
LINE = r"line \d+\)\.$" if jit.JIT_DISABLED else r"--debug names the line\)\.$"
BASE = "class B(Hooks):\n    def worker(self, s):\n        return 0\n    def helper(self, s):\n        return 1\n"
REFUSED |= {
    f"{WORK}x = (1, 2)\n        return 0": "makes a tuple, which allocates memory",
    f"{WORK}x = {{1: 2}}\n        return 0": "makes a dict, which allocates memory",
    f"{WORK}x = f'a'\n        return 0": "makes a text, which allocates memory",
    f"{WORK}return [i for i in range(3)]": "makes a list, which allocates memory",
    f"{WORK}return sum(self.r)": "uses sum, which is not defined in the file",
    f"{WORK}return self.r[0:2]": "takes a slice, which allocates memory",
    f"{WORK}return 1267650600228229401496703205376": "64 bits alone",
    f"{WORK}range = 3\n        for i in range(2):\n            pass\n        return 0": "a local name that shadows a function",
    f"{WORK}__machine = 3\n        return 0": "names with two underscores are not its own",
    f"{CLASS}    def worker(self, now):\n        return 0": r"needs s as its second argument: write def worker\(self, s\)",
    f"{CLASS}    def worker(own, s):\n        return 0": "needs self as its first argument",
    f"{CLASS}    def worker(self, s, more):\n        return 0": "takes other arguments than it is given",
    f"{CLASS}    def worker(self, *s):\n        return 0": "takes other arguments|without defaults or stars",
    f"{CLASS}    def worker(self, s=None):\n        return 0": "without defaults or stars",
    f"now = 7\n{WORK}return now(s)": "calls now, which is neither in the file nor a function",
    f"def evacuate_block(n):\n    return n\n{WORK}return evacuate_block(s, 1)": "with 2 arguments: it takes n",
    "class P(Hooks):\n    nr_pageblocks = number()\n    def worker(self, s):\n        return 0": "a name of kevacuate's own",
    "class P(Hooks):\n    a = knob(11, 'x', most=9)\n    def worker(self, s):\n        return 0": r"p\.py:3: .* 11 is not in",
    "class P(Hooks):\n    a = knob(1.5, 'x')\n    def worker(self, s):\n        return 0": "a knob is a whole number, not 1.5",
    "class P(Hooks):\n    a = numbers(1 << 40)\n    def worker(self, s):\n        return 0": "a field has 1 to 1,048,576 numbers",
    "class P(Hooks):\n    a = counter('x\\ny', 'z')\n    def worker(self, s):\n        return 0": "a label is one line",
    "class P(Hooks):\n    a = share('x', 'b', 'b')\n    def worker(self, s):\n        return 0": "share of b, which is",
    "class P(Hooks):\n    a = counter('x', 'y', better='up')\n    def worker(self, s):\n        return 0": "not 'up'",
    f"raise KeyboardInterrupt.__base__('x\\x1b[1m')\n{CLASS}": r"cannot be loaded: BaseException: x \[1m\.",
    f"class E(Exception):\n    def __str__(self):\n        raise self\nraise E\n{CLASS}": r"p\.py:5: .* cannot be loaded: E\.",
    f"def f():\n    f()\nf()\n{CLASS}": "cannot be loaded: RecursionError: maximum recursion depth exceeded",
    "x = " + "-" * 200000 + "1": "nested too deeply|is no Python",
    f"{WORK}return " + "1+" * 30000 + "1": "nested too deeply",
    "".join(f"def f{i}(n):\n    return f{i + 1}(n) + f{i + 1}(n)\n" for i in range(40))
    + f"def f40(n):\n    return n\n{CLAIM}return f0(1) > 0": "in more than 10,000 calls of calls",
    f"from dataclasses import dataclass\nimport collections\n{CLASS}    worker = collections.Counter.update": "has no hook",
}
HELPED = "    def help(self, s):\n        return self.{}(s) + migrate_batch(s, 0)\n    def {}(self, s):\n        return 0\n"
STOLEN = "    def page_stolen(self, s, z, pfn, order, start_type, block_type):\n        self.help(s)\n"
LONG = "class P(Hooks):\n    leftover = numbers(4)\n    def worker(self, s):\n        "
REFUSED |= {
    f"{CLAIM}return {call}": rf"p\.py:7: the hook should_try_claim_block of P calls {call.partition('(')[0]}, which only the hook"
    for call in (
        "claim_block(s, 0, 1)", "migrate_batch(s, 0)", "compact_range(s, 0, 9)", "shrink_slab(s, 0, 0)", "spent(s)",
    )
} | {
    CLASS + HELPED.format("other", "other") + STOLEN: r"p\.py:7: the hook page_stolen of P calls migrate_batch, which only",
    f"{CLASS}    def help(self, s):\n        return 1\n    def workr(self, s):\n        return self.help(s)":
        r"p\.py:8: P has a method workr, which is no hook and which no hook calls: did you mean worker\?$",
    f"{CLASS}    def other(self, s):\n        return 1\n    def workr(self, s):\n        return 1": "has a method workr",
    f"{CLASS}    def help(self, s):\n        return 1\n    def other(self, s):\n        return self.help(s)": "method other,",
    f"{CLASS}    def other(self, s):\n        return 1": "has a method other, which .* calls: the hooks are gfp_migratetype, ",
    f"{LONG}return self.leftovr[0]": r"self\.leftovr, which the class does not declare: did you mean leftover\?$",
    f"{LONG}return self.leftovr": r"reads self\.leftovr, which .*: did you mean leftover\?$",
    f"{LONG}self.leftovr = 1\n        return 0": r"assigns to self\.leftovr, which .*: did you mean leftover\?$",
}  # fmt: skip
WRONG = {
    f"{CLAIM}while True:\n            order += 1\n        return 1": r"more than 1,048,576, the last in line 7\.",
    f"def h(n):\n    while n:\n        n = 1\n    return n\n{CLAIM}return h(3)": "more than 1,048,576, the last in line 3",
    "def h(n):\n    for i in range(1000):\n        n += i\n    return n\n"
    f"{CLAIM}for i in range(2000):\n            order += h(i)\n        return 1": "more than 1,048,576, the last in line 3",
    f"{CLAIM}return 1 % self.a": r"was ended: division by zero in line 7\.$",
    f"{CLAIM}order += 1\n        self.a //= self.a\n        return 1": r"was ended: division by zero in line 8\.$",
    f"def h(n):\n    n += 1\n    return n // (n - n)\n{CLAIM}return h(order)": r"was ended: division by zero in line 4\.$",
    f"{CLAIM}return find_suitable_fallback(s, 0, 0, 4, 0)": "gave 4 to a function of the model",
    f"{CLAIM}return enough_to_claim(s, zone_start_pfn(s, 0), 3)": "gave 3 to a function of the model",
    f"{CLAIM}return zone_start_pfn(s, -1)": "gave -1 to a function of the model",
    f"{WORK}return migrate_batch(s, -1)": "gave -1 to a function of the model",
    f"{WORK}return compact_range(s, zone_start_pfn(s, 0), zone_start_pfn(s, 0))": "to a function of the model",
    f"{WORK}return compact_range(s, zone_start_pfn(s, 0), 1 << 40)": "gave 1099511627776 to a function",
    f"{WORK}return shrink_slab(s, 0, 13)": "gave 13 to a function",
    f"{WORK}return shrink_slab(s, 99, 0)": "gave 99 to a function",
    f"{WORK}while True:\n            shrink_slab(s, 0, 0)\n        return 0": "more than 1,048,576",
    f"{CLAIM}self.a += 1\n        return self.r[self.a]": rf"was ended: index is out of bounds \({LINE}",
    f"{CLAIM}return self.b[-1]": rf"was ended: index is out of bounds \({LINE}",
    f"{CLAIM}return 1 // self.a": r"was ended: division by zero in line 7\.$",
    f"{CLAIM}return 2": "returned 2: it returns 0 or 1",
    f"{CLAIM}return nr_free_pages(s, 99) > 0": "gave 99 to a function of the model",
    f"{CLAIM}return get_pfnblock_migratetype(s, 1 << 40) > 0": "gave 1099511627776 to a function",
    f"{CLASS}    def gfp_migratetype(self, s, gfp, order, mt):\n        return 3": "returned 3",
    f"{CLASS}    def rmqueue(self, s, z, order, mt, alloc_flags, turn):\n        return 3": "returned 3: it returns mt",
    f"{CLASS}    def nr_pcp_alloc(self, s, z, cpu, order, wanted):\n        return 0": "returned 0",
    f"{CLASS}    def find_suitable_fallback(self, s, z, order, t, c, mt):\n        return t": "another type",
    f"{WORK}return -1": "returned -1",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_file_that_cannot_be_a_policy_gets_a_sentence(text: str, tmp_path: Path) -> None:
    if not REFUSED[text]:
        pytest.skip("plain Python may print")
    with pytest.raises(KevacuateError, match=REFUSED[text]):
        parse_policy(written(tmp_path, text))


@pytest.mark.parametrize("text", WRONG)
def test_a_hook_that_goes_wrong_ends_the_run_with_a_sentence(
    text: str, tmp_path: Path, synthetic_kev: Path
) -> None:
    with pytest.raises(KevacuateError, match=WRONG[text]) as caught:
        kevacuate.replay(synthetic_kev, written(tmp_path, text))
    assert "p.py:P" in str(caught.value)


def test_the_model_refuses_what_a_hook_may_not_do_though_nobody_has_read_it(
    tmp_path: Path, synthetic_kev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "WORKER_ONLY", ())
    with pytest.raises(
        KevacuateError, match=r"should_try_claim_block of p\.py:P changes the allocator at once"
    ):
        kevacuate.replay(synthetic_kev, written(tmp_path, f"{CLAIM}return spent(s)"))


def test_hooks_of_another_class_of_the_file_are_inherited(tmp_path: Path, synthetic_kev: Path) -> None:
    text = f"{BASE}class P(B):\n    c = counter('c', 'x')\n    def page_stolen(self, s, z, pfn, order, start_type, block_type):"
    hooks = parse_policy(written(tmp_path, f"{text}\n        self.c += self.helper(s)")).hooks
    assert hooks is not None
    assert hooks.hooks == ("page_stolen", "worker")
    other = tmp_path / "other.py"
    other.write_text(f"from kevacuate.policy.api import *\n{BASE}")
    code = f"import importlib.util as u\nm = u.module_from_spec(i := u.spec_from_file_location('o', {str(other)!r}))\n"
    code += f"i.loader.exec_module(m)\nB = m.B\n{CLASS.replace('Hooks', 'B')}"
    with pytest.raises(KevacuateError, match="P inherits methods of B, which is not in the file"):
        parse_policy(written(tmp_path, f"{code}    def worker(self, s):\n        return 0"))


@pytest.mark.parametrize("kind", ["pipe", "directory", "device", "long"])
def test_what_is_no_ordinary_file_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("#" * (1 << 21))
    with pytest.raises(
        KevacuateError,
        match=r"cannot be read: (it is no ordinary file|it is longer than 1,048,576 bytes|Is a directory)\.",
    ):
        parse_policy(f"{path}:P")


def test_what_a_file_prints_is_not_the_command_s_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parse_policy(written(tmp_path, f"print('hello')\n{WORK}return 0"))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "hello\n")


def test_a_worker_that_never_sleeps_does_not_stop_time(tmp_path: Path, synthetic_kev: Path) -> None:
    text = "class P(Hooks):\n    c = counter('c', 'x')\n    def worker(self, s):\n"
    text += "        wake_worker(s, 0)\n        self.c += 1\n        return 1\n"
    run = kevacuate.replay(synthetic_kev, written(tmp_path, text))
    span, _ = kevacuate.build_demand(kevacuate.Recording.open(synthetic_kev)).span
    assert 0 < run.metrics["policy"]["c"] <= 1 + (span + SETTLE_NS) // k.LEAST_SLEEP


def test_arithmetic_that_processors_differ_in_ends_nothing(tmp_path: Path, synthetic_kev: Path) -> None:
    text = "class P(Hooks):\n    n = number()\n    c = counter('c', 'x')\n    d = counter('d', 'x')\n    def worker(self, s):\n"
    text += "        least = -1 << 63\n        self.n = -1\n        self.c = least % self.n + 7 // self.n\n"
    text += "        self.d = 1 << (self.n - 61) & 63\n        return 0"
    run = kevacuate.replay(synthetic_kev, written(tmp_path, text))
    assert run.metrics["policy"] == {"c": -7, "d": 4}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nowhere.py:P", "cannot be read: No such file"),
        ("nowhere.py", "write nowhere.py:CLASS"),
        ("nobody", "the known ones are mainline, evacuate"),
    ],
)
def test_a_name_that_is_none(spec: str, said: str) -> None:
    with pytest.raises(KevacuateError, match=said):
        parse_policy(spec)


def test_knobs_of_a_class_are_checked_and_take_effect(tmp_path: Path, synthetic_kev: Path) -> None:
    text = (
        "class P(Hooks):\n    n = knob(3, 'x', most=9)\n    c = counter('c', 'x')\n    def worker(self, s):\n"
    )
    text += "        self.c = self.n\n        return 0"
    spec = written(tmp_path, text)
    assert kevacuate.replay(synthetic_kev, spec).metrics["policy"] == {"c": 3}
    assert kevacuate.replay(synthetic_kev, f"{spec},n=7").metrics["policy"] == {"c": 7}
    for bad in ("10", "-1", "x", ""):
        with pytest.raises(KevacuateError, match="it takes a number from 0 to 9, default 3"):
            parse_policy(f"{spec},n={bad}")
    with pytest.raises(
        KevacuateError,
        match=r"no knob 'nn': did you mean n\? It takes n, and the knobs of docs/policies\.md\.$",
    ):
        parse_policy(f"{spec},nn=3")
    with pytest.raises(
        KevacuateError, match=r"no knob 'xyz': it takes n, and the knobs of docs/policies\.md\.$"
    ):
        parse_policy(f"{spec},xyz=3")
    (tmp_path / "alone").mkdir()
    alone = written(tmp_path / "alone", "class P(Hooks):\n    def worker(self, s):\n        return 0")
    with pytest.raises(KevacuateError, match=r"no knob 'xyz': it takes the knobs of docs/policies\.md\.$"):
        parse_policy(f"{alone},xyz=3")
    assert parse_policy(f"{spec},pool=8").evacuation(1, 1).pool == 8


BATCHES = """class P(Hooks):
    moved = counter("m", "pages")
    took = counter("t", "ns")
    def worker(self, s):
        size = 1 << pageblock_order(s)
        for block in range(0, nr_pageblocks(s) * size, size):
            if page_zone(s, block) >= 0:
                self.moved += migrate_batch(s, block)
        self.took += spent(s)
        return 500_000_000
"""


def digest(run: kevacuate.Run) -> str:
    """What stands for the state in which a run has ended."""
    return str(run.provenance["final_state_digest"])


def test_the_page_says_which_knobs_reach_migrate_batch(tmp_path: Path, synthetic_kev: Path) -> None:
    page = (
        (ROOT / "docs" / "own-policy.md")
        .read_text()
        .partition("<!-- reached -->")[2]
        .partition("<!-- end -->")[0]
    )
    told = {
        name: row.rstrip("| ").rpartition("| ")[2]
        for row in page.strip().splitlines()[2:]
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }
    assert set(told) == set(policies.POLICIES["evacuate"].knobs) - {*COMMON, *SETTINGS}
    spec = written(tmp_path, BATCHES)
    base = kevacuate.replay(synthetic_kev, spec)
    for name, reached in told.items():
        value = "0" if name == "no-workqueue" else GOOD_VALUES[name][0]
        run = kevacuate.replay(synthetic_kev, f"{spec},{name}={value}")
        same = run.metrics["policy"] == base.metrics["policy"] and digest(run) == digest(base)
        assert ("no" if same else "yes") == reached, name


def test_a_local_name_is_0_until_it_is_assigned(tmp_path: Path, synthetic_kev: Path) -> None:
    text = "class P(Hooks):\n    c = counter('c', 'x')\n    def worker(self, s):\n        if self.c > 5:\n            x = 3\n"
    text += "        self.c = x\n        return 0"
    assert kevacuate.replay(synthetic_kev, written(tmp_path, text)).metrics["policy"] == {"c": 0}


def test_a_hook_that_answers_as_mainline_changes_nothing(tmp_path: Path, synthetic_kev: Path) -> None:
    text = """class P(Hooks):
    def gfp_migratetype(self, s, gfp, order, mt):
        return mt
    def find_suitable_fallback(self, s, z, order, start_type, claimable, mt):
        return find_suitable_fallback(s, z, order, start_type, 0)
    def should_try_claim_block(self, s, order, start_type, allowed):
        return should_try_claim_block(s, order, start_type)
    def try_to_claim_block(self, s, z, pfn, order, start_type, block_type):
        return MAINLINE_RULE
    def free_one_page(self, s, z, pfn, order, mt, fpi, tail):
        return tail
    def nr_pcp_alloc(self, s, z, cpu, order, wanted):
        return wanted
"""
    mainline = kevacuate.replay(synthetic_kev, "mainline").provenance["final_state_digest"]
    own = kevacuate.replay(synthetic_kev, written(tmp_path, text)).provenance["final_state_digest"]
    assert own == mainline


@pytest.mark.parametrize("more", ["", ",skip-hint=ignore,wq=per-node,pool=4"])
def test_evacuate_in_hooks_is_evacuate(more: str, synthetic_kev: Path) -> None:
    hooks = f"{Path(kevacuate.__file__).parent}/policy/evacuate.py:Evacuate{more}"
    built_in, own = (kevacuate.replay(synthetic_kev, spec) for spec in (f"evacuate{more}", hooks))
    assert own.metrics["evacuations_queued"] == built_in.metrics["evacuations_queued"] > 0
    assert own.provenance["final_state_digest"] == built_in.provenance["final_state_digest"]


@pytest.mark.parametrize("spec", EXAMPLES)
def test_examples_run_and_are_short(spec: str, synthetic_kev: Path) -> None:
    path = Path(spec.rpartition(":")[0])
    assert len(path.read_text().splitlines()) <= 40
    run = kevacuate.replay(synthetic_kev, spec)
    assert run.metrics["policy"]


def test_compiled_and_plain_give_the_same(synthetic_kev: Path, tmp_path: Path) -> None:
    code = (
        "import json, sys, kevacuate\n"
        "runs = [kevacuate.replay(sys.argv[1], spec) for spec in sys.argv[2:]]\n"
        "print(json.dumps([[run.metrics['policy'], run.provenance['final_state_digest']] for run in runs]))"
    )
    specs = [EVERYTHING, *EXAMPLES]
    plain = subprocess.run(
        [sys.executable, "-c", code, str(synthetic_kev), *specs],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [kevacuate.replay(synthetic_kev, spec) for spec in specs]
    assert json.loads(plain.stdout) == [
        [r.metrics["policy"], r.provenance["final_state_digest"]] for r in here
    ]


@pytest.mark.skipif(jit.JIT_DISABLED, reason="nothing is compiled")
def test_an_edited_hook_alone_is_compiled_anew(tmp_path: Path, synthetic_kev: Path) -> None:
    from kevacuate.policy.load import ready

    text = f"{WORK}return %s\n    def free_one_page(self, s, z, pfn, order, mt, fpi, tail):\n        return tail\n# %s"
    keys = []
    for number, comment in ((0, "a"), (0, "b"), (5, "b")):
        hooks = parse_policy(written(tmp_path, text % (number, comment))).hooks
        assert hooks is not None
        keys.append({hook: ready(hooks, hook, None).key for hook in hooks.hooks})
    assert keys[0] == keys[1]
    assert keys[1]["free_one_page"] == keys[2]["free_one_page"]
    assert keys[1]["worker"] != keys[2]["worker"]


def test_a_line_that_is_told_is_the_file_s_where_machine_code_was_kept(
    tmp_path: Path, synthetic_kev: Path
) -> None:
    for above, line in (("", 7), ("# one\n# two\n", 9)):
        with pytest.raises(KevacuateError, match=f"division by zero in line {line}"):
            kevacuate.replay(synthetic_kev, written(tmp_path, f"{above}{WORK}return 1 // self.a"))
    with pytest.raises(KevacuateError, match="division by zero in line 8"):
        kevacuate.replay(synthetic_kev, written(tmp_path, f"{WORK}# inside\n        return 1 // self.a"))


def test_counters_are_rows_of_the_table(synthetic_kev: Path, tmp_path: Path) -> None:
    result = kevacuate.compare(synthetic_kev, ["mainline", EXAMPLES[0]], repeats=1)
    kevacuate.save(result, tmp_path / "saved")
    for one in (result, kevacuate.load(tmp_path / "saved")):
        rows = {row.row.id: row for row in comparison_rows(one)}
        base, own = rows["policy.queued"].values
        assert base == (0.0,)
        assert own == (float(result.runs[1].metrics["policy"]["queued"]),)
        assert str(rows["policy.held_back"].row.direction) == "lower"


@pytest.mark.parametrize("counts", ["        self.c += 1\n", ""])
def test_a_worker_that_moves_pages_by_itself_is_told_so(
    counts: str, tmp_path: Path, synthetic_kev: Path
) -> None:
    text = "class P(Hooks):\n    c = counter('c', 'x')\n    def worker(self, s):\n"
    text += f"        migrate_batch(s, zone_start_pfn(s, 0))\n{counts}        return 0\n"
    spec = written(tmp_path, text if counts else f"{CLASS}    def worker(self, s):\n        return 0\n")
    result = kevacuate.compare(synthetic_kev, ["mainline", spec], repeats=1)
    (said,) = (part.text for part in kevacuate.conclusion(result) if part.kind == "nothing")
    assert said.startswith("No policy queued an evacuation. ")
    assert (f"The worker of {spec} acted by itself: the rows of The policy's own tell" in said) == bool(
        counts
    )
    assert ("says nothing about evacuation" in said) != bool(counts)


def test_a_stored_result_loads_no_code(synthetic_kev: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    text = f"open({str(mark)!r}, 'a').write('x')\n{WORK}return 0"
    spec = written(tmp_path, text)
    result = kevacuate.compare(synthetic_kev, ["mainline", spec], repeats=1)
    kevacuate.save(result, tmp_path / "saved")
    mark.unlink()
    assert kevacuate.summary(kevacuate.load(tmp_path / "saved")).num_rows
    assert not mark.exists()


def test_entry_points_are_loaded_by_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "ran"
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    body = f"from kevacuate.policy.api import *\nopen({str(mark)!r}, 'w')\n{WORK}return 0"
    (package / "own.py").write_text(body)
    info = tmp_path / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kevacuate.policies]\nown = mine.own:P\nlost = gone.own:P\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KevacuateError, match=r"the known ones are mainline, evacuate, .*own"):
        parse_policy("nobody")
    assert not mark.exists()
    assert parse_policy("own").hooks
    assert mark.exists()
    with pytest.raises(KevacuateError, match="cannot be found: install it again"):
        parse_policy("lost")


def test_hooks_have_their_numbers_and_words() -> None:
    assert [getattr(k, f"HOOK_{name.upper()}") for name in HOOKS] == list(range(k.NR_HOOKS))
    assert set(ANSWERS) == set(HOOKS) - EVENTS
    assert set(HOOKS) <= set(vars(Hooks))
    assert set(WORKER_ONLY) <= set(FUNCTIONS)
    assert not set(policies.KNOBS) & set(Hooks.declared)


def test_events_are_hooks() -> None:
    assert set(EVENTS) <= set(HOOKS)
