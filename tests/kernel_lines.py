# SPDX-License-Identifier: GPL-2.0-or-later
"""Do the model's line numbers lie in the kernel's functions that they are given for? By hand, as it needs Linux's source.

``python tests/kernel_lines.py LINUX`` looks at every ``(:LINE)`` and ``FILE.c:LINE`` in a docstring of src/kevacuate/mm. A line
fits if it lies in a function that bears the name of the Python function, or the one said before the number. Prints those that lie
elsewhere, with where such a function is, and exits 1 if there are any. What bears no name of the kernel's cannot be judged.
Numbers of other versions (``6.1:LINE``) are not looked at.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

MODEL = Path(__file__).resolve().parent.parent / "src" / "kevacuate" / "mm"
_FUNCTION = re.compile(r"^(?!#|\s|typedef|struct \w+ \{)[\w\s*]*?\b(\w+)\(")
_LINE = re.compile(r"(?<![\w.])(?P<file>\w+\.[ch])?:(?P<line>\d{2,5})\b")
_FILE = re.compile(r"\b(?:mm|kernel|include/linux|drivers/block/zram)/\w+\.[ch]\b|\b\w+\.[ch]\b")
_SAID = re.compile(r"\b([a-z_]\w{3,})(?: \(|, )$", re.ASCII)


def functions(text: str) -> list[tuple[int, int, str]]:
    """(first line, last line, name) of every function of a C file, by the kernel's style: braces in the first column."""
    found: list[tuple[int, int, str]] = []
    begun: tuple[int, str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if (match := _FUNCTION.match(line)) and not line.rstrip().endswith(";"):
            begun = number, match[1]
        elif line.startswith("}") and begun:
            found.append((begun[0], number, begun[1]))
            begun = None
    return found


class Kernel:
    """The functions of the files that are asked for."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._files: dict[str, list[tuple[int, int, str]]] = {}

    def of(self, name: str) -> list[tuple[int, int, str]]:
        """Those of a file, named with or without its folder."""
        if name not in self._files:
            places = [self._tree / name, self._tree / "mm" / name, self._tree / "include" / "linux" / name]
            there = next((place for place in places if place.is_file()), None)
            self._files[name] = functions(there.read_text(errors="replace")) if there else []
        return self._files[name]


def citations(path: Path) -> Iterator[tuple[int, str, list[str], int, set[str]]]:
    """(line of ours, function, kernel files, kernel's line, names) of every number in a docstring."""
    tree = ast.parse(path.read_text())
    head = ast.get_docstring(tree) or ""
    files = _FILE.findall(head)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        text = ast.get_docstring(node) or ""
        for match in _LINE.finditer(text):
            said = _SAID.search(text[: match.start()])
            names = {node.name, said[1] if said else node.name}
            yield (
                node.lineno,
                node.name,
                [match["file"]] if match["file"] else files,
                int(match["line"]),
                names,
            )


def same(ours: set[str], theirs: str) -> bool:
    """Whether one of our names is the kernel's, underscores before it aside."""
    return theirs.strip("_") in {name.strip("_") for name in ours}


def wrong(path: Path, kernel: Kernel) -> Iterator[str]:
    """A line for each number that lies in no function of its name."""
    for at, function, files, line, names in citations(path):
        known = [one for file in files for one in kernel.of(file)]
        if not known or any(first - 2 <= line <= last and same(names, name) for first, last, name in known):
            continue
        there = [f"{name} {first}-{last}" for first, last, name in known if same(names, name)]
        if there:
            yield f"{path.name}:{at} {function} says :{line}, but {', '.join(there)}"


def main(arguments: list[str]) -> int:
    """Print what fits nothing."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "mm" / "page_alloc.c").is_file():
        print("python tests/kernel_lines.py LINUX: give the folder of Linux's source.", file=sys.stderr)
        return 2
    kernel = Kernel(Path(arguments[0]))
    found = [text for path in sorted(MODEL.glob("*.py")) for text in wrong(path, kernel)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
