# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of the constant C expressions that a print fmt holds: ``(((gfp_t)0x10u) | ((gfp_t)0x40u))``, ``(11-1)``.

Known are integers, the casts of kernel types, ``~ ! + - * << >> < > <= >= == != & ^ | && || ?:`` and brackets, with 64 bits.
What holds anything else (a variable, ``sizeof``, a function) has no value here. Nothing is executed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import lru_cache

_CAST = re.compile(r"\(\s*(?:(?:unsigned|signed|long|int|short|char|u?int\d+_t|[us]\d+|gfp_t)\s*)+\)")
_TOKEN = re.compile(
    r"\s*(0[xX][0-9a-fA-F]{1,16}|\d{1,20})[uUlL]{0,3}(?!\w)|\s*(<<|>>|<=|>=|==|!=|&&|\|\||[-~!+*<>&^|?:()])"
)
_MASK = (1 << 64) - 1
_MOST_BYTES, _MOST_DEEP = 1 << 14, 100

_OPERATORS: dict[str, tuple[int, Callable[[int, int], int]]] = {
    "||": (1, lambda a, b: int(bool(a) or bool(b))),
    "&&": (2, lambda a, b: int(bool(a) and bool(b))),
    "|": (3, operator.or_),
    "^": (4, operator.xor),
    "&": (5, operator.and_),
    "==": (6, operator.eq),
    "!=": (6, operator.ne),
    "<": (7, operator.lt),
    ">": (7, operator.gt),
    "<=": (7, operator.le),
    ">=": (7, operator.ge),
    "<<": (8, lambda a, b: a << (b & 63)),
    ">>": (8, lambda a, b: a >> (b & 63)),
    "+": (9, operator.add),
    "-": (9, operator.sub),
    "*": (10, operator.mul),
}
"""How tight each operator binds, and what it does."""


class _Reader:
    """The tokens of one expression, taken one by one."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._at, self._deep = tokens, 0, 0

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return self._tokens[self._at]

    def value(self) -> int:
        """The whole expression."""
        result = self._choice()
        if self._next() != "":
            raise ValueError
        return result

    def _choice(self) -> int:
        self._deep += 1
        if self._deep > _MOST_DEEP:
            raise ValueError
        result = self._binary(1)
        if self._peek() == "?":
            self._next()
            first = self._choice()
            if self._next() != ":":
                raise ValueError
            second = self._choice()
            result = first if result else second
        self._deep -= 1
        return result

    def _binary(self, tight: int) -> int:
        left = self._unary()
        while (known := _OPERATORS.get(self._peek())) and known[0] >= tight:
            self._next()
            left = int(known[1](left, self._binary(known[0] + 1))) & _MASK
        return left

    def _unary(self) -> int:
        token = self._next()
        self._deep += 1
        if self._deep > _MOST_DEEP:
            raise ValueError
        if token == "(":
            result = self._choice()
            if self._next() != ")":
                raise ValueError
        elif token in ("~", "-", "+", "!"):
            inner = self._unary()
            result = {"~": ~inner, "-": -inner, "+": inner, "!": int(not inner)}[token] & _MASK
        else:
            result = int(
                token, 16 if token[:2] in ("0x", "0X") else 8 if token[:1] == "0" and token != "0" else 10
            )
        self._deep -= 1
        return result


@lru_cache(maxsize=1 << 12)
def constant(text: str) -> int | None:
    """The expression's value as an unsigned number of 64 bits; None if it is not constant or not understood."""
    if len(text) > _MOST_BYTES:
        return None
    bare, tokens, at = _CAST.sub(" ", text).strip(), [], 0
    while at < len(bare):
        match = _TOKEN.match(bare, at)
        if match is None:
            return None
        tokens.append(match[1] or match[2])
        at = match.end()
    try:
        return _Reader([*tokens, ""]).value()
    except (ValueError, IndexError):
        return None
