# SPDX-License-Identifier: GPL-2.0-or-later
"""How help is set: as click does, but an example stays a line that a shell takes."""

from __future__ import annotations

import click

EXAMPLE = "Example: "
"""How a paragraph begins that is a command line."""

_NEXT = " " * 4


def continued(example: str, width: int) -> list[str]:
    """The command line in lines of at most *width* columns, where its words allow that; all but the last end in a backslash."""
    lines = [""]
    for word in example.split():
        at = lines[-1]
        fits = len(at) + 1 + len(word) <= width - 2  # room for the backslash
        if not at.strip():
            lines[-1] = at + word
        elif fits or at == EXAMPLE.strip():
            lines[-1] = f"{at} {word}"
        else:
            lines.append(_NEXT + word)
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


class HelpFormatter(click.HelpFormatter):
    """Wraps text as click does, and examples with backslashes: click breaks them behind any hyphen."""

    def write_text(self, text: str) -> None:
        """Write paragraphs, indented."""
        for number, paragraph in enumerate(text.split("\n\n")):
            if number:
                self.write_paragraph()
            if not paragraph.startswith(EXAMPLE):
                super().write_text(paragraph)
                continue
            indent = " " * self.current_indent
            for line in continued(paragraph, max(self.width - self.current_indent, 11)):
                self.write(f"{indent}{line}\n")


class Context(click.Context):
    """A context whose help is set so."""

    formatter_class = HelpFormatter
