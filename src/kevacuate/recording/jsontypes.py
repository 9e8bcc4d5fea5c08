# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON values that come from a file, checked against the types that the program works with.

A file's digest says that it is whole, not that its values are of the kind that this program writes: anybody can write a file and
its digest. So nothing that is read is used before it has gone through here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
MOST = 2**63
"""Whole numbers lie within [-2**63, 2**64): they go into 64-bit columns."""


class WrongType(Exception):
    """A value is not of the kind that it should be; says where and of which kind it should be."""


def checked(value: Any, kind: Any, where: str = "it") -> Any:
    """*value* as *kind*, which is a type as dataclasses annotate their fields with.

    Parameters
    ----------
    value
        As :mod:`json` reads it.
    kind : type
        int, float, bool, str, None, a dataclass, ``tuple[X, ...]`` or a fixed tuple (lists in JSON), ``list[X]``,
        ``dict[str, X]``, a union of these, or Any.
    where : str
        What the value is called in the error.

    Raises
    ------
    WrongType
        It is of another kind. Whole numbers are within 64 bits, other numbers finite; True is no number.
    """
    if kind is Any:
        return value
    if is_dataclass(kind):
        return build(kind, value, where)  # type: ignore[arg-type]
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _one_of(value, get_args(kind), where)
    if origin in (tuple, list) and isinstance(value, list):
        items = _items(kind, value, where)
        return tuple(items) if origin is tuple else items
    if origin is dict and isinstance(value, dict):
        return {name: checked(item, get_args(kind)[1], f"{where}.{name}") for name, item in value.items()}
    if origin is None and _is_plain(value, kind):
        return value
    raise WrongType(f"{where} is {_shown(value)}, not {_named(kind)}")


def _one_of(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    for kind in kinds:
        try:
            return checked(value, type(None) if kind is None else kind, where)
        except WrongType:
            continue
    raise WrongType(f"{where} is {_shown(value)}, not {' or '.join(map(_named, kinds))}")


def _items(kind: Any, value: list[Any], where: str) -> list[Any]:
    inner = get_args(kind)
    if get_origin(kind) is tuple and (len(inner) != 2 or inner[1] is not Ellipsis):
        if len(inner) != len(value):
            raise WrongType(f"{where} has {len(value)} values, not {len(inner)}")
        return [checked(v, k, f"{where}[{i}]") for i, (v, k) in enumerate(zip(value, inner, strict=True))]
    return [checked(v, inner[0], f"{where}[{i}]") for i, v in enumerate(value)]


def _is_plain(value: Any, kind: Any) -> bool:
    """Whether the value is of a plain type."""
    if kind is int:
        return type(value) is int and -MOST <= value < 2 * MOST
    if kind is float:
        return _is_plain(value, int) or (type(value) is float and math.isfinite(value))
    return type(value) is kind


def _named(kind: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        type(None): "null",
    }
    plain = {tuple: "a list", list: "a list", dict: "an object"}
    return names.get(kind) or plain.get(get_origin(kind) or kind) or "an object"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def build(kind: type[T], values: Any, where: str = "it") -> T:
    """A dataclass from a JSON object with its fields' names; other names, of newer programs, are passed over.

    Raises
    ------
    WrongType
        It is no object, lacks a field without default, or a field is of another kind.
    """
    if not isinstance(values, Mapping):
        raise WrongType(f"{where} is {_shown(values)}, not an object")
    given = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in values:
            given[field.name] = checked(values[field.name], _hints(kind)[field.name], f"{where}.{field.name}")  # type: ignore[arg-type]
        elif field.default is MISSING and field.default_factory is MISSING:
            raise WrongType(f"{where} lacks {field.name}")
    return kind(**given)
