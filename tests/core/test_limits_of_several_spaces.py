"""Depth, a batch and one memory limited together in several spaces, against brute force: (69), (70), (71), (76).

The numbers are those of docs/theory.md.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.named.presets import resolve_spaces
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.brute import BYTES
from tests.core.test_several_spaces import Network, families_of, key, networks, ordered, random_spaces, within

TOGETHER = "max_memory_bytes"
LIMITS = ("max_depth", "min_depth", "max_peak_activation_bytes", "max_params")

RANKINGS: tuple[Objective, ...] = (
    *(Maximize(), Maximize(), Maximize("depth"), Minimize("depth"), Minimize("macs")),
    Minimize("peak_activation_bytes"),
)
FRONTS: tuple[Objective, ...] = (
    *(Pareto(("depth",)), Pareto(("peak_activation_bytes",))),
    *(Pareto(("peak_activation_bytes", "depth")), Pareto(("params", "macs"))),
)


class Question:
    """Random limits on networks of random spaces, at a precision and for a batch."""

    def __init__(self, rng: Random, every: list[Network]) -> None:
        self.precision, self.batch = rng.choice(list(BYTES)), rng.choice((1, 2, 3, 8))
        names = [*rng.sample((TOGETHER, "max_depth"), rng.choice((1, 2, 2))), *rng.sample(LIMITS, rng.choice((0, 1)))]
        self.limits: dict[str, int] = {}
        for name in dict.fromkeys(names):
            uses = sorted(self.use(one, name) for one in every)
            share = rng.choice((0.1, 0.3)) if name == "min_depth" else rng.choice((0.0, 0.2, 0.5, 0.8))
            self.limits[name] = max(0, uses[int(share * (len(uses) - 1))] + rng.choice((0, 0, -1)))
        if self.limits.get("min_depth", 0) > self.limits.get("max_depth", 2**53):
            del self.limits["min_depth"]

    def use(self, one: Network, name: str) -> int:
        activations = one.row.peak * BYTES[self.precision] * self.batch
        match name:
            case "max_memory_bytes":
                return activations + one.row.weight_bytes(self.precision)
            case "max_peak_activation_bytes":
                return activations
            case "max_params":
                return one.row.params
        return one.cost("depth")

    def able(self, every: list[Network], without: str = "") -> list[Network]:
        """Return the networks that keep the limits; `without` one of them."""
        kept = within(every, {"precision": self.precision})
        for name, bound in self.limits.items():
            if name != without:
                sign = -1 if name.startswith("min") else 1
                kept = [one for one in kept if sign * self.use(one, name) <= sign * bound]
        return kept


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.random_cases(60)
def test_depth_batch_and_memory_equal_brute_force(seed: int, *, one: bool) -> None:
    check(Random(f"several limits {one} {seed}"), one=one)


@pytest.mark.listed
@pytest.mark.parametrize("one", [True, False])
@pytest.mark.random_cases(20)
def test_depth_batch_and_memory_of_a_list_equal_brute_force(seed: int, *, one: bool) -> None:
    check(Random(f"listed several limits {one} {seed}"), one=one)


def check(rng: Random, *, one: bool) -> None:
    """Compare a random question about random spaces with brute force."""
    smalls = random_spaces(rng, families_of(rng, one=one))
    every = networks(smalls)
    question = Question(rng, every)
    objective = rng.choice(RANKINGS if TOGETHER in question.limits else (*RANKINGS, *FRONTS, *FRONTS))
    more: dict[str, Any] = {} if isinstance(objective, Pareto) else {"top_k": rng.choice((1, 5, 1000))}
    budget = Budget(precision=question.precision, batch=question.batch, **question.limits)  # type: ignore[arg-type]
    spaces = resolve_spaces([small.space for small in smalls])
    answer = search(SearchRequest(space=spaces, budget=budget, objective=objective, **more))
    expected = ordered(question.able(every), objective)[: more.get("top_k")]
    assert [place.architecture.arch_id for place in answer.ranking] == [one.arch_id for one in expected]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(expected))
    for place, network in zip(answer.ranking, expected, strict=True):
        figures = place.to_json(question.precision)
        assert figures.get("batch", 1) == question.batch
        used = {TOGETHER: figures["memory_bytes"], "max_depth": figures["depth"]}
        assert used == {name: question.use(network, name) for name in used}
    if not expected:
        for name, nearest in (certificate.relaxation or {}).items():
            uses = [question.use(other, name) for other in question.able(every, without=name)]
            nearer = max if name.startswith("min") else min
            assert nearest == nearer(uses, default=None)
    elif not isinstance(objective, Pareto):
        binding = [
            name
            for name in question.limits
            if key(ordered(question.able(every, without=name), objective)[0], objective) < key(expected[0], objective)
        ]
        assert sorted(certificate.binding or ()) == sorted(binding)
