"""Wrap the prose of the documentation at 120 columns: `python -m scripts.wrap [FILE ...]`, by default every page.

Only a paragraph or list item that has a longer line is wrapped anew. Code, tables, headings, HTML and equations stay as
they are, and so do lines that cannot be broken, such as long links.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/**/*.md", ".github/*.md", "deploy/**/*.md")
WIDTH = 120

_FENCE = re.compile(r"\s*(```|~~~|\$\$)")
_MARKER = re.compile(r"(\s*)((?:[-*+]|\d+[.)])\s+)(?=\S)")
_FIXED = re.compile(r"\s*(?:\||#|<|!!!|\?\?\?|:::|---|\[[^\]]+\]:|!\[)")
_STARTS_A_BLOCK = re.compile(r" (?=(?:[-+*>]|#+|\d+[.)])(?: |$))")
"""A space before what would start a list, a heading or a quotation at the beginning of a line."""


def pages() -> list[Path]:
    """Return the pages whose prose is wrapped."""
    return sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})


def wrapped(text: str) -> str:
    """Return a page with its prose wrapped."""
    out: list[str] = []
    block: list[str] = []
    fence = ""
    for line in text.split("\n"):
        opened = _FENCE.match(line)
        if fence or opened:
            out += _wrapped_block(block)
            block = []
            out.append(line)
            fence = _fence_after(fence, line)
        elif not line.strip() or _FIXED.match(line):
            out += _wrapped_block(block)
            block = []
            out.append(line)
        elif _MARKER.match(line):
            out += _wrapped_block(block)
            block = [line]
        else:
            block.append(line)
    return "\n".join(out + _wrapped_block(block))


def _fence_after(fence: str, line: str) -> str:
    """Return what the line leaves open: the mark of a code block or of an equation, or nothing."""
    found = _FENCE.match(line)
    if fence:
        closes = line.strip().endswith(fence) if fence == "$$" else bool(found and found[1] == fence)
        return "" if closes else fence
    mark = found[1] if found else ""
    return "" if mark == "$$" and line.strip().endswith("$$") and len(line.strip()) > len("$$") else mark


def _wrapped_block(lines: list[str]) -> list[str]:
    if all(len(line) <= WIDTH for line in lines) or any(line.endswith("  ") for line in lines):
        return lines
    marker = _MARKER.match(lines[0])
    indent = re.match(r"\s*", lines[0] if len(lines) == 1 or not marker else lines[1])
    first = marker[0] if marker else indent[0] if indent else ""
    later = " " * len(first) if marker else first
    if not marker and len(first) >= 4:  # a block of code, or the text of an admonition
        return lines
    words = " ".join(line.strip() for line in [lines[0][len(first) :], *lines[1:]])
    made = textwrap.wrap(
        _STARTS_A_BLOCK.sub("\0", words),
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in made]


def main() -> None:
    """Wrap the files that are named, or every page."""
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else pages():
        before = path.read_text(encoding="utf-8")
        after = wrapped(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"wrapped {path}")


if __name__ == "__main__":
    main()
