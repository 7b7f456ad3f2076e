"""The commits since the rules of CONTRIBUTING.md were written follow them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = "930e77ff154488c420cae2d87baed178c0cd6ede"
"""The last commit before the rules."""

SUBJECT = re.compile(r"(?!Merge )[A-Z][^\n]{1,70}[^.\s]")
"""A capital letter, at most 72 characters, no period."""

NO_IMPERATIVE = re.compile(r"(?:(?:Add|Fix|Mov|Renam|Remov|Chang|Updat|Replac|Us)(?:ed|es|ing|s)|The|An?|No|What)\b")
"""First words of subjects that are no imperatives."""


def problems(message: str) -> list[str]:
    """Return what the rules say against a commit's message."""
    subject, *rest = message.strip("\n").split("\n")
    found = []
    if not SUBJECT.fullmatch(subject):
        found.append("the subject needs a capital letter, at most 72 characters, and no period")
    if NO_IMPERATIVE.match(subject):
        found.append("the subject is not an imperative")
    if len(rest) < 2 or rest[0] or not rest[1].strip():
        found.append("there is no body after an empty line")
    return found


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"no history with {BASE} here: {done.stderr.strip()}")
    return done.stdout


def test_commits_follow_the_rules() -> None:
    messages = git("log", "--no-merges", "--format=%H%n%B%x00", f"{BASE}..HEAD").split("\0")
    wrong = {}
    for entry in filter(None, (message.strip("\n") for message in messages)):
        commit, message = entry.split("\n", 1)
        if found := problems(message):
            wrong[f"{commit[:9]} {message.splitlines()[0]}"] = found
    assert not wrong


@pytest.mark.parametrize(
    ("message", "count"),
    [
        ("Add a thing\n\nIt was missing.\n", 0),
        ("Add a thing\n", 1),
        ("Add a thing\nIt was missing.\n", 1),
        ("Added a thing\n\nIt was missing.\n", 1),
        ("The thing is added\n\nIt was missing.\n", 1),
        ("add a thing\n\nIt was missing.\n", 1),
        ("Add a thing.\n\nIt was missing.\n", 1),
        (f"Add {'x' * 68}\n\nIt was missing.\n", 0),
        (f"Add {'x' * 69}\n\nIt was missing.\n", 1),
    ],
)
def test_problems_of_a_commit_message_are_counted(message: str, count: int) -> None:
    assert len(problems(message)) == count
