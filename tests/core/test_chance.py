"""Chance level, against the binomial distribution summed term by term in exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmass_core.verification.chance import chance_of, chance_warning, least_hits


def tail(hits: int, images: int, chance: Fraction) -> Fraction:
    """Return the probability of this many hits or more."""
    terms = (comb(images, k) * chance**k * (1 - chance) ** (images - k) for k in range(hits, images + 1))
    return sum(terms, start=Fraction(0))


@settings(deadline=None)  # the first call loads scipy
@given(st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any))
def test_the_fewest_hits_above_chance_are_those_of_the_binomial_tail(counts: list[int]) -> None:
    images, chance = sum(counts), Fraction(max(counts), sum(counts))
    least = least_hits(counts)
    assert tail(least, images, chance) <= Fraction(1, 100) < tail(least - 1, images, chance)
    assert chance_of(counts) == pytest.approx(float(chance))
    assert chance >= Fraction(1, len(counts))


@pytest.mark.parametrize(("hits", "warned"), [(10, True), (27, True), (28, False), (40, False)])
def test_an_accuracy_up_to_the_bound_is_a_warning(hits: int, *, warned: bool) -> None:
    """40 test images in two equal classes: 28 hits have the probability 0.0083, 27 hits 0.0192."""
    found = chance_warning({0: hits / 40, 7: 1.0}, [20, 20])
    assert (found is not None) == warned
    if found is not None:
        assert (found["code"], found["seeds"]) == ("chance_level", [0])
        assert "0.500" in found["message"]
        assert "28 of 40" in found["message"]


def test_always_answering_the_most_frequent_class_is_chance() -> None:
    assert chance_warning({0: 0.9, 1: 0.9}, [90, 10]) is not None
    assert chance_warning({0: 0.98}, [90, 10]) is None


def test_too_few_test_images_never_show_more_than_chance() -> None:
    found = chance_warning({0: 1.0}, [2, 2])
    assert found is not None
    assert "more than 4 test images" in found["message"]
