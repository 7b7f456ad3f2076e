"""The check of the wording finds what it forbids, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.words import ALLOWED, FUNCTIONS, MODULES, SENTENCES, WORDS, findings

TEXT = Path("page.md")


@pytest.mark.parametrize("word", WORDS)
def test_each_forbidden_word_is_found_in_text_and_in_names(word: str) -> None:
    for text in (f"The {word}, here.", f"{word.upper()}_SECONDS", f"the_{word}_row", f"The{word.capitalize()}Name"):
        assert [line for line, _ in findings(TEXT, f"\n{text}\n")] == [2], text


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_forbidden_sentence_is_found_across_lines(sentence: str) -> None:
    for text in (sentence, sentence.capitalize(), sentence.replace(" ", "\n    # "), sentence.replace(" ", '"\n  "')):
        assert f'"{sentence}": write {SENTENCES[sentence]}' in [what for _, what in findings(TEXT, f"{text} ")]


@pytest.mark.parametrize("name", MODULES)
def test_each_forbidden_module_is_found(name: str) -> None:
    assert list(findings(Path(f"app/{name}.py"), "")) == [(1, f"the module is called {name}")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_forbidden_function_is_found(name: str) -> None:
    text = f"class Threads:\n    async def {name}(self) -> None: ...\n"
    assert list(findings(Path("threads.py"), text)) == [(2, f"the function is called {name}")]


def test_words_that_contain_a_forbidden_one_are_allowed() -> None:
    text = "During a string of searches, spring_cleaning bringing stolddata to belly, tasking the impulse response."
    assert list(findings(TEXT, text)) == []


def test_allowed_exceptions_have_a_reason() -> None:
    for text, reason in ALLOWED:
        assert reason
        assert list(findings(TEXT, text)) == []
