"""Check the wording of the repository: `python -m scripts.words` lists forbidden words, sentences and names.

It prints the number of findings in each file and their lines, and exits with 1 if there are any. `docs/glossary.md` has
the words to use. Words inside names count too: `rungAgain` and `rung_again` both contain "rung".
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

WORDS = {
    "bell": "notification",
    "bells": "notifications",
    "ring": "notify",
    "rings": "notifies",
    "rang": "notified",
    "ringing": "notifying",
    "rung": "notified",
    "pulse": "heartbeat",
    "pulses": "heartbeats",
    "throng": "many requests at the same moment",
    "throngs": "many requests at the same moment",
    "told": "reported, or the name of the value",
    "asking": "search options, or: requesting",
}
"""Forbidden words, each with what to write instead."""

SENTENCES = {
    "make good what a dead worker": "recover jobs after a worker died",
    "there is no key, or it does not count": "the API key is missing, invalid, or lacks the required scope",
    "asked for in vain": "that could not be found",
    "taken up again where they were cut off": "resumable",
    "nobody has had this file made yet": "this file does not exist yet",
    "goes on with the blocks before it": "repeats the previous stage",
    "is no text": "is a binary format",
    "mind:": "Note:",
    "the first 100; the files have all": "showing the first 100; download for the full ranking",
    "by which somebody reaches what is not theirs": "vulnerabilities",
    "release is mended": "release receives fixes",
    "search and keep": "Run search",
    "the answer so far": "Live result",
    "say what it allows": "enter your limits",
    "what is wrong stands beside its fields": "fix the marked fields",
    "show the picked one": "Open or compare selected",
    "compare two to four picked": "Compare selected (2 to 4)",
    "tick one architecture": "select one architecture",
    "nothing here. a search's page": "no trainings yet",
    "nothing here yet": "no searches yet",
    "holds it back": "limited by",
    "the others kept": "with the other limits unchanged",
    "NN-Mass does not see the resolution": "NN-Mass ignores input resolution",
    "take it away": "download",
    "saved program": "TorchScript",
    "go on from its last checkpoint": "resume",
    "train the same once more": "run again",
    "not to be had within": "not computed: it would take longer than",
    "take the preset's": "load preset",
    "is not a field of this object": "unknown field",
    "is no file and no well-known network": "is not a file or a known network",
    "where to; text goes here": "output file (default: stdout)",
    "it expires; never without": "days until expiry (default: never)",
    "of this owner alone": "only this owner's",
    "who runs it makes one": "your administrator creates one",
    "say who may use the service": "manage API keys",
}
"""Forbidden sentences, or a part that identifies one, each with what to write instead."""

MODULES = ("around", "ending", "trained", "owned", "parent")
FUNCTIONS = ("apart", "in_turn")

ALLOWED = (
    ("rung_at", "a column of the table `jobs`, and the index on it; renaming it would need a migration"),
    ("NNMASS_RING_AGAIN_SECONDS", "the former name of a setting, still accepted"),
)
"""Text in which a forbidden word is allowed, each with the reason."""

EXEMPT = ("CHANGELOG.md", "migrations/", "requirements.lock", "bench/results/", "scripts/words.py")
"""Paths that are not searched: history, and generated files."""

GAP = r"[\s#>*\"'/\\]+"
"""What may separate two words of a sentence: a line break with a comment sign or quotation marks."""

PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""A word, or a part of a name in snake_case or CamelCase."""


def findings(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield each forbidden word, sentence and name of a file: its line, and the replacement."""
    if path.suffix == ".py":
        yield from _names(path, text)
    for allowed, _ in ALLOWED:
        text = text.replace(allowed, "-" * len(allowed))
    for found in PART.finditer(text):
        if (better := WORDS.get(found.group().lower())) is not None:
            yield _line(text, found.start()), f'"{found.group()}": write {better}'
    for sentence, better in SENTENCES.items():
        pattern = r"\b" + GAP.join(re.escape(word) for word in sentence.split())
        for found in re.finditer(pattern, text, re.IGNORECASE):
            yield _line(text, found.start()), f'"{sentence}": write {better}'


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _names(path: Path, text: str) -> Iterator[tuple[int, str]]:
    if path.stem in MODULES:
        yield 1, f"the module is called {path.stem}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in FUNCTIONS:
            yield node.lineno, f"the function is called {node.name}"


def tracked() -> Iterator[Path]:
    """Yield the files to search: those that git tracks, except the exempt ones."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and not name.startswith(EXEMPT) and (ROOT / name).is_file():
            yield Path(name)


def main() -> int:
    """Print what was found, and return the exit code."""
    total = 0
    places: list[str] = []
    for path in tracked():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        found = sorted(findings(path, text))
        if found:
            print(f"{len(found):5} {path}")
            places += [f"{path}:{line}: {what}" for line, what in found]
        total += len(found)
    print("\n".join([*places, f"{total} forbidden words, sentences and names"]))
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
