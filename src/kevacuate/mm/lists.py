# SPDX-License-Identifier: GPL-2.0-or-later
"""Doubly linked lists threaded through ``link``: of node *n*, ``link[2 * n]`` is the next, ``link[2 * n + 1]`` the previous."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.fields import View


@part(inline=True)
def list_add(s: View, node: int, head: int) -> None:
    """Insert *node* right after *head*: it becomes the list's first."""
    first = s.link[2 * head]
    s.link[2 * node] = first
    s.link[2 * node + 1] = head
    s.link[2 * head] = node
    s.link[2 * first + 1] = node


@part(inline=True)
def list_add_tail(s: View, node: int, head: int) -> None:
    """Insert *node* right before *head*: it becomes the list's last."""
    last = s.link[2 * head + 1]
    s.link[2 * node] = head
    s.link[2 * node + 1] = last
    s.link[2 * head + 1] = node
    s.link[2 * last] = node


@part(inline=True)
def list_del(s: View, node: int) -> None:
    """Unlink *node*."""
    following = s.link[2 * node]
    before = s.link[2 * node + 1]
    s.link[2 * before] = following
    s.link[2 * following + 1] = before
