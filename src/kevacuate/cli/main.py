# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``kevacuate`` command: its subcommands, and how errors reach the user."""

from __future__ import annotations

import errno
import importlib
import signal
import sys
import threading
from typing import Any

import click

from kevacuate import ending
from kevacuate._version import __version__
from kevacuate.cli.help import Context
from kevacuate.cli.process import (
    Watchdog,
    discard_stdout,
    ended_by_signal,
    fill_standard_streams,
    know_failures,
    printing_failed,
)
from kevacuate.errors import KevacuateError, did_you_mean
from kevacuate.reports.escape import visible

COMMANDS = {
    "doctor": "Say what this machine offers for recording, and what is missing.",
    "record": "Record the page allocator of the running machine.",
    "snapshot": "Show the state of a machine's memory: now, or in a dump.",
    "holders": "Say what holds the pageblocks: slab caches, page tables, callers.",
    "watch": "Watch pageblocks and claims live, in the terminal.",
    "compare": "Replay under several policies, or set recordings side by side.",
    "replay": "Replay a recording under one policy.",
    "tune": "Try the kernel's settings: which help, at what cost.",
    "ablate": "Take a policy apart: what each part buys, and costs.",
    "sweep": "Replay a grid of demands, policies, knobs and seeds.",
    "report": "Write one HTML page to look at and to mail.",
    "explain": "Tell the story of one page or pageblock.",
    "plot": "Draw figures of a comparison: PNG, SVG or PDF.",
    "verify": "Hold the model against the recorded kernel, decision by decision.",
    "triage": "Say whether a machine fragments: of a log, /proc or recording.",
    "fit": "Describe a workload with the rates of a recording.",
    "generate": "Make a recording of a described workload.",
    "scale": "Make a larger, tighter or longer recording of one.",
    "start": "Make the memory that replays begin from: taken, scaled, aged.",
    "fleet": "Many machines: which fragment, and which to record in full?",
    "info": "Say what a recording holds and how good it is.",
    "import": "Make a recording of a trace that another tool wrote.",
    "export": "Write a recording's events in another tool's format.",
}


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is used, so that ``--help`` and ``--version`` answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The subcommands, in the order they are most used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand's click object."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"kevacuate.cli.{cmd_name}")
        command: click.Command = module.command
        command.context_class = Context
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, but a reader that goes away gives 141 as SIGPIPE would, where click exits with 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            discard_stdout()
            ctx.exit(141)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``kevacuate help COMMAND`` means ``kevacuate COMMAND --help``."""
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The subcommand; one that does not exist is answered with those that look like it."""
        meant = did_you_mean(args[0], COMMANDS, most=2)
        if args[0] not in COMMANDS and meant and not args[0].startswith("-"):
            raise click.UsageError(f"There is no command {args[0]!r}: {meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: kevacuate compare RECORDING.kev",
)
@click.version_option(__version__, prog_name="kevacuate")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A laboratory for the Linux page allocator.

    It replays the memory demand of a recorded machine through a model of mm/page_alloc.c, under one policy or another. It says
    what each did to fragmentation and what it cost.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _fail(text: str, code: int) -> int:
    """Print one sentence on stderr and return the exit code."""
    click.echo(f"kevacuate: {visible(text)}", err=True)
    return code


def main(args: list[str] | None = None) -> Any:
    """Run the command line and exit: 0 done, 2 with one sentence for anything wrong, 130 after Ctrl-C, 143 after SIGTERM."""
    closed = fill_standard_streams()
    if args is not None or threading.current_thread() is not threading.main_thread():
        sys.exit(_run(args, closed))
    know_failures()
    watchdog = Watchdog(lambda number: f"kevacuate: {_stopped_by(number)}\n")
    with watchdog.watching():  # the process is the command's own
        watchdog.leave(_run(None, closed, own=True))


def _run(args: list[str] | None, closed: bool, *, own: bool = False) -> int:
    """Run the command line; the exit code. *own* as of :func:`kevacuate.cli.process.ended_by_signal`."""
    with ended_by_signal(own=own) as caught:
        try:
            code = cli.main(args=args, prog_name="kevacuate", standalone_mode=False) or 0
            sys.stdout.flush()
        except (click.Abort, KeyboardInterrupt):
            code = _interrupted(caught)
        except BrokenPipeError:
            discard_stdout()
            code = 141
        except Exception as error:
            code = _interrupted(caught) if caught else _refused(error, closed)
    return code if isinstance(code, int) else 0


def _interrupted(caught: list[int]) -> int:
    """Say which signal ended the command, and return the exit code.

    What is raised then need not be KeyboardInterrupt: the compiler takes one in a callback for a failure of its own.
    """
    number = caught[0] if caught else signal.SIGINT
    return _fail(_stopped_by(number), 128 + number)


def _stopped_by(number: int) -> str:
    """The sentence for a signal that ended the command."""
    by = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    return f"{by}; {_written() or 'nothing was written'}."


def _written() -> str:
    """What of this command is complete, as a clause; empty where nothing is."""
    names = list(dict.fromkeys(ending.written))
    return f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} written" if names else ""


def _refused(error: Exception, closed: bool) -> int:
    """The one sentence for what went wrong, and what is written all the same; the exit code."""
    sentence = _sentence(error, closed)
    written = _written()
    return _fail(f"{sentence.removesuffix('.')}; {written}." if written else sentence, 2)


def _sentence(error: Exception, closed: bool) -> str:
    """The one sentence for what went wrong; what is not expected is raised again."""
    if isinstance(error, KevacuateError):
        return str(error)
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "kevacuate"
        return f"{error.format_message()} See '{path} --help'."
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, MemoryError):
        return "this machine has not enough memory for that recording; use a machine with more."
    if not isinstance(error, OSError):
        raise error
    what = error.strerror or error
    if error.filename:
        return f"the system refused: {error.filename} {what}; check the path, its permissions and free space."
    lost = printing_failed()
    discard_stdout()
    if error.errno == errno.ENOENT:  # os.getcwd
        return "the current directory does not exist any more: change to another one."
    if closed and error.errno == errno.EBADF:
        return "standard output is closed, so the result cannot be printed: redirect it to a file."
    if lost:
        return f"the result cannot be printed: {what}; send standard output elsewhere."
    return f"the system refused: {what}; check free space and permissions."
