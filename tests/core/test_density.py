"""A limit on the density of every cell, with every objective and other limits, against brute force on the oracle."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget, DensityLimit
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.named.spending import Spend
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from nnmass_core.spaces.structure import Structure
from tests.core.brute import Row, first_of_each_shape
from tests.core.every_limit import Small, found, random_small
from tests.core.problems import OTHER_FAMILIES
from tests.core.test_sizes import in_order
from tests.oracle import nn_mass

FAMILIES = ("densenet_cnn", *OTHER_FAMILIES)


def densest(row: Row) -> Fraction:
    """Return the density of a network's densest cell: NN-Mass of the cell over its width and depth."""
    return max(nn_mass((cell,)) / (cell[0] * cell[1]) for cell in row.cells)


def a_question(rng: Random, family: str) -> tuple[Small, dict[str, Any], float, list[Row]]:
    """Return a space, a budget without and with a limit on density, and the networks that keep all limits."""
    small = random_small(rng, family)
    budget = small.budget(rng) if rng.random() < 0.6 else {"precision": "fp32"}
    bound = float(densest(rng.choice(small.rows))) * rng.choice((1, 1, 1, 0.999, 1.001))
    bound = rng.choice((0.0, 1.0)) if rng.random() < 0.1 else min(bound, 1.0)
    kept = [row for row in small.within(budget) if densest(row) <= DensityLimit(bound).density]
    return small, budget, bound, kept


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(25)
def test_a_ranking_below_a_density_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"density {family} {seed}")
    small, budget, bound, kept = a_question(rng, family)
    objective: Any = rng.choice(
        (Maximize(), Maximize(), Maximize("macs"), Minimize("params"), Minimize("peak_activation_bytes"))
    )
    top_k, diversity = rng.choice((1, 3, 1000)), rng.choice(("none", "none", "shape"))
    answer = small.search(budget | {"max_density": bound}, objective, top_k=top_k, diversity=diversity)

    def ordered(rows: list[Row]) -> list[Row]:
        return rows if objective == Maximize() else in_order(small, rows, objective)

    expected = ordered(kept)
    shown = first_of_each_shape(expected) if diversity == "shape" else expected
    assert found(small, answer) == shown[:top_k]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(kept))
    if not kept:
        within = small.within(budget)
        least = float(min(map(densest, within))) if within else None
        assert certificate.relaxation is not None
        assert certificate.relaxation["max_density"] == least
        return
    for place, row in zip(answer.ranking, expected, strict=False):
        if diversity == "none":
            assert place.slack["max_density"] == pytest.approx(bound - float(densest(row)))
    without = ordered(small.within(budget))[0]
    figure = {Maximize("macs"): "macs", Minimize("params"): "params"}.get(objective)
    if objective == Minimize("peak_activation_bytes"):
        better = without.peak < expected[0].peak
    elif figure:
        better = getattr(without, figure) != getattr(expected[0], figure)
    else:
        better = without.mass > expected[0].mass
    assert ("max_density" in (certificate.binding or ())) == better


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(15)
def test_a_front_and_a_spend_below_a_density_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"density front {family} {seed}")
    small, budget, bound, kept = a_question(rng, family)
    cost = rng.choice(("params", "macs", "peak_activation_bytes"))
    expected: list[Row] = []
    for row in in_order(small, kept, Minimize(cost)):
        if not expected or row.mass > expected[-1].mass:
            expected.append(row)
    assert found(small, small.search(budget | {"max_density": bound}, Pareto((cost,)))) == expected
    spent = [row for row in kept if row.macs >= Fraction("0.9") * max(other.macs for other in kept)]
    assert found(small, small.search(budget | {"max_density": bound}, spend=Spend("macs", 0.9), top_k=5)) == spent[:5]


@pytest.mark.listed
@pytest.mark.parametrize("objective", [Maximize(), Pareto(("params",)), Minimize("peak_activation_bytes")])
@pytest.mark.random_cases(10)
def test_lists_keep_the_limit_on_density_too(objective: Objective, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(f"density lists {objective} {seed}")
    small, budget, bound, _ = a_question(rng, "densenet_cnn")
    listed = small.search(budget | {"max_density": bound}, objective)
    monkeypatch.setattr("nnmass_core.search.LISTED", 0)
    assert found(small, small.search(budget | {"max_density": bound}, objective)) == found(small, listed)


def test_networks_of_fewer_cells_keep_the_limit_too() -> None:
    cells = {"width": [4, 8], "depth": [3, 5], "skip_channels": {"min": 0, "max": 12, "step": 3}}
    image = {"channels": 3, "height": 16, "width": 16}
    form = {"family": "densenet_cnn", "input": image, "num_classes": 10, "cells": [1, 2], **cells}
    asked = SearchRequest(space=decode_space(form), budget=Budget(max_params=4000), top_k=1000)
    every = search(asked).ranking
    limited = search(replace(asked, budget=Budget(max_params=4000, max_density=0.5))).ranking
    kept = [one for one in every if all((part.density or 0) <= 0.5 for part in one.evaluation.parts)]
    assert {len(one.evaluation.parts) for one in kept} == {1, 2}
    assert [one.architecture for one in limited] == [one.architecture for one in kept]


def test_a_structure_and_a_limit_on_density_go_together() -> None:
    space = resolve_space("densenet-tiny-free")
    equal = SearchRequest(space=space, budget=Budget(), structure=Structure(widths="equal"), top_k=1000)
    limited = search(replace(equal, budget=Budget(max_density=0.4), top_k=1)).ranking[0]
    widths = limited.architecture.widths
    assert len(set(widths)) == 1
    assert limited.slack["max_density"] >= 0
    free = search(replace(equal, budget=Budget(max_density=0.4), structure=Structure())).ranking
    first = next(one for one in free if len(set(one.architecture.widths)) == 1)
    assert first.architecture == limited.architecture


def test_a_limit_at_the_evidence_removes_the_caveat() -> None:
    space = resolve_space("densenet-cifar")
    plain, limited = (
        search(SearchRequest(space=space, budget=Budget(max_params=1_000_000, **limit), top_k=5))  # type: ignore[arg-type]
        for limit in ({}, {"max_density": space.densest_evidence})
    )
    assert "density_above_evidence" in plain.certificate.caveats
    assert "density_above_evidence" not in limited.certificate.caveats
    assert "max_density" in (limited.certificate.binding or ())
    assert limited.certificate.space_size == plain.certificate.space_size


def test_a_limit_on_density_is_part_of_the_form_and_of_the_digest() -> None:
    space = resolve_space("densenet-tiny-free")
    plain = SearchRequest(space=space, budget=Budget())
    limited = SearchRequest(space=space, budget=Budget(max_density=0.8))
    assert (plain.version, limited.version) == (1, 2)
    assert limited.to_json()["budget"] == {"max_density": 0.8, "precision": "fp32"}
    assert plain.digest != limited.digest
    assert SearchRequest.from_json(limited.to_json()) == limited


@pytest.mark.parametrize("bound", [-0.1, 1.1, "0.5", True, float("nan")])
def test_an_invalid_density_names_its_field(bound: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        Budget(max_density=bound)
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [("max_density", "out_of_range")]


def test_a_family_without_densities_refuses_the_limit() -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest(space=resolve_space("mobilenet-v2-tiny-free"), budget=Budget(max_density=0.5))
    assert [(p.field, p.code) for p in refused.value.problems] == [("budget.max_density", "no_density")]
