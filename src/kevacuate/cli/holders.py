# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate holders``."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, print_json, progress_bar
from kevacuate.cli.options import Number, json_option, path_option

FIRST = ("source", "name", "kernel", "blocks", "holders")
EVERY = 1 << 30


@click.command("holders", short_help="Who holds the pageblocks: what the pages are that cannot move.")
@path_option("-c", "--vmcore", metavar="FILE", help="Read a dump (ELF or kdump) instead of /proc.")
@click.option(
    "-k", "--kcore", is_flag=True, help="Read /proc/kcore, the running kernel's memory, instead of /proc."
)
@click.option("-q", "--qemu", metavar="SOCKET", help="Read a running QEMU guest, by its QMP socket.")
@path_option(
    "-s", "--vmlinux", metavar="FILE", help="That kernel's debug information [where distributions put it]."
)
@click.option(
    "--nearly-empty",
    default=0.125,
    show_default=True,
    metavar="SHARE",
    type=Number(0, 1),
    help="Largest share of unmovable pages in a nearly empty block.",
)
@click.option("--all", "every", is_flag=True, help="Show every holder, not the first 20.")
@click.option("--blocks", is_flag=True, help="With --json: every held block with its holders, too.")
@json_option
def command(
    vmcore: Path | None,
    kcore: bool,
    qemu: str | None,
    vmlinux: Path | None,
    nearly_empty: float,
    every: bool,
    blocks: bool,
    as_json: bool,
) -> None:
    """Say what the pages are that cannot move, in blocks of movable type and in nearly empty ones.

    Holders are ranked by the memory that is otherwise free or movable in the blocks they hold. Needs root. Changes nothing.

    Without drgn, /proc/kpageflags tells slabs, page tables and unknown kernel pages. With drgn the kernel's memory names slab
    caches, callers of vmalloc, pipes, sockets and, where the kernel keeps them, allocation tags and page_owner.

    Example: kevacuate holders

    Example: kevacuate holders --vmcore vmcore --vmlinux vmlinux

    Example: kevacuate holders --qemu /run/guest.qmp --vmlinux vmlinux
    """
    if sum((vmcore is not None, kcore, qemu is not None)) > 1:
        raise click.UsageError("--vmcore, --kcore and --qemu each name a source: give one of them.")
    if vmlinux is not None and vmcore is None and not kcore and qemu is None:
        raise click.UsageError("--vmlinux is of use with --vmcore, --kcore or --qemu only.")
    if blocks and not as_json:
        raise click.UsageError("--blocks is of use with --json only.")
    with progress_bar("reading what the pages are"):
        found = kevacuate.holders(vmcore, kcore=kcore, qemu=qemu, vmlinux=vmlinux, nearly_empty=nearly_empty)
    if as_json:
        print_json(found.to_json() | ({"held_blocks": found.blocks_json()} if blocks else {}), FIRST)
        return
    from kevacuate.reports.holders import table, words

    out = console()
    out.print(words(found.to_json()), highlight=False)
    out.print(table(found.to_json(), *([EVERY] if every else [])))
