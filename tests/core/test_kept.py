"""Shares of a reference's stages and params that networks keep, against brute force on small spaces of every family."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.architecture import Architecture, Part
from nnmass_core.budget import Budget
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import resolve_spaces
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from nnmass_core.spaces.kept import Kept
from tests.core.every_limit import FAMILIES, Small, flat, random_small
from tests.core.test_left_out_stages import left_out
from tests.core.test_overlapping import overlapping
from tests.networks import AROUND_MOBILENET

SHARES = (0.5, 0.8, 0.9, 0.95, 1, 1.0)
COSTS = ("macs", "macs", "params", "peak_activation_bytes")


def kept_of(part: Part, own: Part) -> Fraction:
    return own.mass / part.mass if part.mass else Fraction(own.width, part.width)


def keeps(network: Architecture, reference: Architecture, stages: float | None, params: float | None) -> bool:
    """Return whether a network keeps shares of a reference, each as the decimal that it is written as."""
    own, parts = network.evaluation, reference.evaluation.parts
    if params is not None and own.params < Fraction(str(params)) * reference.evaluation.params:
        return False
    if stages is None:
        return True
    return len(own.parts) == len(parts) and all(
        kept_of(part, one) >= Fraction(str(stages)) for part, one in zip(parts, own.parts, strict=True)
    )


def value(network: Architecture, cost: str) -> int:
    figures = network.evaluation
    return {"macs": figures.macs, "params": figures.params, "peak_activation_bytes": figures.peak_elements}[cost]


def check(rng: Random, space: dict[str, Any], networks: list[Architecture]) -> None:
    """Compare answers with brute force: least costs, most NN-Mass, and what nothing meets."""
    read = decode_space(space)
    values = read.part_values("widths")
    described = 1 if values is None else len(values.columns)
    whole = [network for network in networks if len(network.evaluation.parts) == described]
    if not whole:
        return
    reference = rng.choice(whole)
    stages, params = rng.choice((*SHARES, *SHARES, None)), rng.choice((*SHARES, None, None))
    no_width = values is None and not reference.evaluation.mass
    stages = None if no_width else stages
    kept = Kept(stages, params)
    able = [network for network in networks if keeps(network, reference, stages, params)]
    cost = rng.choice(COSTS)
    least = Minimize(cost, reference=reference, kept=kept)
    if stages is None:
        able = [network for network in able if network.evaluation.mass >= reference.evaluation.mass]
    found = ask(space, least)
    best = found.ranking[0].architecture
    assert value(best, cost) == min(value(network, cost) for network in able)
    assert found.certificate.reference == reference
    assert keeps(best, reference, stages, params)

    able = [network for network in networks if keeps(network, reference, stages, params)]
    bound = rng.choice(sorted(network.evaluation.macs for network in networks))
    within = [network for network in able if network.evaluation.macs <= bound]
    most = ask(space, Maximize(reference=reference, kept=kept), Budget(max_macs=bound), len(within) + 1)
    assert {one.architecture for one in most.ranking} == set(within)
    assert most.certificate.optimal
    if within:
        assert most.ranking[0].evaluation.mass == max(network.evaluation.mass for network in within)
        return
    relaxation = most.certificate.relaxation
    assert relaxation is not None
    cheap = [network for network in networks if network.evaluation.macs <= bound]
    if stages is not None:
        percents = [k for k in range(100) if any(keeps(one, reference, k / 100 or None, params) for one in cheap)]
        expected = max((k for k in percents if Fraction(k, 100) < Fraction(str(stages))), default=None)
        assert relaxation["keep_stages"] == (None if expected is None else expected / 100)
    if params is not None:
        shares = [
            Fraction(one.evaluation.params * 10_000 // reference.evaluation.params, 10_000)
            for one in cheap
            if keeps(one, reference, stages, None)
        ]
        assert relaxation["keep_params"] == (float(max(shares)) if shares else None)


def ask(space: Any, objective: Objective, budget: Budget | None = None, top_k: int = 1) -> Any:
    request = SearchRequest(
        space=resolve_spaces(space), budget=budget or Budget(), objective=objective, top_k=min(top_k, 1000)
    )
    assert SearchRequest.from_json(request.to_json(), version=request.version).digest == request.digest
    return search(request, Control())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(3)
def test_kept_shares_equal_brute_force(seed: int, family: str) -> None:
    rng = Random(f"kept {seed}")
    small = random_small(rng, family)
    check(rng, small.space, networks_of(small))


@pytest.mark.random_cases(6)
def test_stages_that_overlap_or_can_be_left_out_equal_brute_force(seed: int) -> None:
    rng = Random(f"kept runs {seed}")
    space, rows = overlapping(rng, 150) if rng.random() < 0.5 else left_out(rng, 150)
    check(rng, space, networks_of(Small(space, rows, {})))


def networks_of(small: Small) -> list[Architecture]:
    read = decode_space(small.space)
    return [read.architecture(flat(row)) for row in small.rows]


def test_shares_that_nothing_meets_are_named() -> None:
    reference = named_network("mobilenet_v2")
    most = Maximize(reference=reference, kept=Kept(0.8, 0.95))
    certificate = ask(AROUND_MOBILENET, most, Budget(max_macs=60_000_000)).certificate
    assert (certificate.feasible, certificate.optimal) == (False, True)
    relaxation = certificate.relaxation
    assert set(relaxation) == {"max_macs", "keep_stages", "keep_params"}
    assert relaxation["max_macs"] > 60_000_000
    # easing either alone does not help, which is said of both
    assert (relaxation["keep_stages"], relaxation["keep_params"]) == (None, None)
    alone = Maximize(reference=reference, kept=Kept(0.8))
    relaxation = ask(AROUND_MOBILENET, alone, Budget(max_macs=60_000_000)).certificate.relaxation
    assert 0.1 < relaxation["keep_stages"] < 0.8
    eased = Maximize(reference=reference, kept=Kept(relaxation["keep_stages"]))
    assert ask(AROUND_MOBILENET, eased, Budget(max_macs=60_000_000)).certificate.feasible


def test_what_is_kept_limits_the_answer_and_has_a_slack() -> None:
    reference = named_network("mobilenet_v2")
    kept = Minimize("macs", reference=reference, kept=Kept(0.8, 0.95))
    found = ask(AROUND_MOBILENET, kept)
    assert set(found.certificate.binding) <= {"keep_stages", "keep_params"}
    (best,) = found.ranking
    assert set(best.slack) == {"keep_stages", "keep_params"}
    shares = [kept_of(*pair) for pair in zip(reference.evaluation.parts, best.evaluation.parts, strict=True)]
    assert best.slack["keep_stages"] == float(min(shares) - Fraction("0.8")) >= 0
    # without either, the answer has the reference's NN-Mass as a whole, as requests before these fields
    plain = ask(AROUND_MOBILENET, Minimize("macs", reference=reference, kept=Kept(0, None)))
    assert plain.ranking[0].evaluation.mass >= reference.evaluation.mass
    assert SearchRequest.from_json({"space": AROUND_MOBILENET, "objective": kept.to_json()}).version == 2
    assert Minimize("macs", reference=reference, kept=Kept(0, None)).to_json().keys() == {"minimize", "reference"}


def space_of(**stages: Any) -> dict[str, Any]:
    return AROUND_MOBILENET | stages


@pytest.mark.parametrize(
    ("space", "objective", "field", "code"),
    [
        ("densenet-cifar", {"reference": "mobilenet_v2", "keep_stages": 0.8}, "keep_stages", "different_family"),
        (
            space_of(stages=AROUND_MOBILENET["stages"][:6]),
            {"reference": "mobilenet_v2", "keep_stages": 0.8},
            "keep_stages",
            "different_parts",
        ),
        (AROUND_MOBILENET, {"keep_params": 0.5}, "keep_params", "needs_reference"),
        (AROUND_MOBILENET, {"reference": "mobilenet_v2", "keep_stages": 1.2}, "keep_stages", "out_of_range"),
        (AROUND_MOBILENET, {"reference": "mobilenet_v2", "keep_params": "95"}, "keep_params", "out_of_range"),
        (AROUND_MOBILENET, {"reference": "mobilenet_v2", "keep_params": True}, "keep_params", "out_of_range"),
    ],
)
@pytest.mark.parametrize("goal", [{"minimize": "macs"}, {"maximize": "nn_mass"}])
def test_what_cannot_be_kept_names_the_field(
    space: Any, objective: dict[str, Any], field: str, code: str, goal: Any
) -> None:
    with pytest.raises(DefinitionError) as caught:
        SearchRequest.from_json({"space": space, "objective": goal | objective})
    assert [(problem.field, problem.code) for problem in caught.value.problems] == [(f"objective.{field}", code)]


def test_several_spaces_and_fronts() -> None:
    reference = named_network("resnet20")
    around = reference.space_around()
    fixed = reference.definition() | {
        "stages": [
            {"channels": 16, "repeats": [2, 3]},
            {"channels": 32, "repeats": 3},
            {"channels": [56, 64], "repeats": 3},
        ]
    }
    fixed.pop("version")
    kept = Minimize("macs", reference=reference, kept=Kept(0.8, 0.95))
    assert ask([around, fixed], kept).certificate.objective_value == ask(around, kept).certificate.objective_value
    with pytest.raises(DefinitionError, match="reference"):
        SearchRequest.from_json(
            {"space": around, "objective": {"pareto": ["nn_mass", "macs"], "reference": "resnet20"}}
        )
    assert Pareto(("macs",)).to_json() == {"pareto": ["nn_mass", "macs"]}
