# SPDX-License-Identifier: GPL-2.0-or-later
"""Write into README.md what the commands shown there really print: ``python docs/regenerate_readme.py [--check]``.

The blocks stand between ``<!-- name -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import textwrap
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"

REPLAYS = 20
"""Of each policy. A sixth of boots, and of replays, end with several times as much fragmentation: five tell nothing of that."""

EXCERPT = (
    "extfrag.all",
    "extfrag.claims_from_movable",
    "extfrag.steals_from_movable",
    "evacuations.queued",
    "evacuations.started_with_skip_bit",
    "evacuations.ran_to_the_end",
    "evacuations.page_failed",
    "cost.pages_isolated",
    "cost.pages_dropped",
    "cost.pages_migrated",
    "cost.worker_ms",
    "vmstat.thp_fault_fallback",
    "vmstat.allocstall",
    "end.mixed_blocks",
    "end.polluted_blocks",
    "end.polluted_pages",
    "end.regions_2m_movable_only",
)
"""Ids of the rows of the table that the README shows."""

WIDTH = 120
"""Columns of what is printed."""


def block(text: str, name: str) -> re.Match[str]:
    """The block of that name: what stands between its marker and the end marker."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    if not found:
        raise SystemExit(f"README.md has no block {name!r}")
    return found


def story(text: str) -> str:
    """What the README's Python example prints."""
    code = re.search(r"```python\n(.*?)```", block(text, "story")[1], re.DOTALL)
    assert code is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code[1], "README.md", "exec"), {})  # our own file, and only when asked to
    return printed.getvalue()


def comparison() -> tuple[str, str]:
    """(excerpt of the table, conclusion) of ``kevacuate compare --repeats 20``."""
    from rich.console import Console

    from kevacuate.cli.common import open_recording
    from kevacuate.policy import COMPARED
    from kevacuate.reports.comparison.conclusion import conclusion
    from kevacuate.reports.comparison.rows import ROWS, row_of
    from kevacuate.reports.comparison.tables import comparison_table
    from kevacuate.reports.comparison.worth import MARK
    from kevacuate.runs.compare import compare

    result = compare(open_recording(None), COMPARED, repeats=REPLAYS)
    screen = io.StringIO()
    Console(file=screen, width=WIDTH, no_color=True).print(comparison_table(result))
    sections = {row.section for row in ROWS}
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    ruled = [i for i, line in enumerate(lines) if line.strip().startswith("─")]
    head = [line for line in lines[: ruled[0] + 1] if line.strip()]
    bands = {i + step for i in ruled[1:] for step in (-1, 0)}
    chosen = [row_of(row_id) for row_id in EXCERPT]
    rows: list[str] = []
    wanted: list[str] = []
    for i, line in enumerate(lines):
        if i in bands:
            rows.append(line)
        elif line.strip() in sections:
            wanted = [row.label for row in chosen if row.section == line.strip()]
            rows += [line] if wanted else []
        elif any(
            line.strip().startswith((f"{name}  ", f"{name}, ", f"{name} {MARK}")) for name in wanted
        ) or line.startswith(("p: ", MARK)):
            rows.append(line)
    whole = str(conclusion(result)).replace(" ± ", "\u00a0±\u00a0")  # a figure stays on one line
    words = "\n".join(textwrap.fill(line, WIDTH, break_on_hyphens=False) for line in whole.split("\n"))
    return "\n".join([*head, *rows]) + "\n", words.replace("\u00a0", " ") + "\n"


def regenerated(text: str) -> str:
    """The README with its blocks as they should be."""
    table, words = comparison()
    fresh = {"output": story(text), "table": table, "conclusion": words}
    for name, content in fresh.items():
        at = block(text, name)
        text = text[: at.start(1)] + f"```\n{content}```\n" + text[at.end(1) :]
    return text


def main() -> int:
    """Rewrite the README, or with --check say whether it is up to date."""
    old = README.read_text()
    new = regenerated(old)
    if "--check" in sys.argv:
        return 0 if new == old else 1
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
