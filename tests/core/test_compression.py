"""Where compress looks, the network of one width multiplier beside its answer, and shares of a reference's costs."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from nnmass_core.errors import DefinitionError
from nnmass_core.named.compression import compression_space, keeps_order, uniform
from nnmass_core.named.networks import named_network
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from nnmass_core.spaces.multipliers import Scale
from tests.parsed import parsed


def within(name: str, ratio: Any, **more: Any) -> Any:
    reference = named_network(name)
    shares = ratio if isinstance(ratio, dict) else {"macs": ratio}
    form = {"objective": {"maximize": "nn_mass", "reference": name, "ratio": ratio}, "top_k": 1} | more
    request = SearchRequest.from_json({"space": compression_space(reference, shares)} | form)
    assert SearchRequest.from_json(request.to_json(), version=request.version).digest == request.digest
    return search(request)


NEVER_FALL = {"structure": {"widths": "never_fall"}}


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "resnet18", "resnet50", "regnet_x_400mf"])
def test_half_the_macs_keep_proportions_and_everything_else(name: str) -> None:
    reference = named_network(name)
    answer = within(name, 0.5, **NEVER_FALL)
    (best,) = answer.ranking
    assert answer.certificate.optimal
    assert best.evaluation.macs <= reference.evaluation.macs // 2
    assert best.evaluation.mass >= answer.certificate.uniform.network.evaluation.mass
    own: Any = best.architecture.definition()
    given: Any = reference.definition()
    assert {**own, "stages": []} == {**given, "stages": []}
    pairs = list(zip(own["stages"], given["stages"], strict=True))
    assert all({**one, "channels": 0} == {**other, "channels": 0} for one, other in pairs)
    shares = [one["channels"] / other["channels"] for one, other in pairs if other["channels"] >= 64]
    assert max(shares) <= 1.35 * min(shares)
    channels = [one["channels"] for one, _ in pairs]
    assert keeps_order(reference)
    assert all(before <= after for before, after in pairwise(channels))
    assert min(channels) >= 16


def test_the_uniform_network_is_the_widest_of_its_macs() -> None:
    reference: Any = named_network("mobilenet_v2")
    for share in (1, 0.7, 0.5, 0.31):
        most = int(share * reference.evaluation.macs)
        found = uniform(reference, {"macs": most})
        assert found is not None
        width, network = found
        assert network == reference.scaled(Scale(width))
        assert network.evaluation.macs <= most
        if share < 1:
            assert reference.scaled(Scale(width + Fraction(1, 100))).evaluation.macs > most
    assert uniform(reference, {"macs": 1000}) is None


def test_the_certificate_has_the_uniform_network_with_all_figures() -> None:
    answer = within("resnet18", {"macs": 0.5, "params": 0.6})
    found = parsed(answer.certificate.to_json())["uniform"]
    assert found["width"] == float(found["width"])
    assert found["macs"] <= answer.ranking[0].evaluation.macs
    assert {"arch_id", "nn_mass", "params", "weight_bytes", "peak_activation_bytes", "depth", "stages"} <= found.keys()
    assert answer.ranking[0].evaluation.params <= 0.6 * named_network("resnet18").evaluation.params


def test_a_network_around_a_reference_keeps_its_expansions_and_kernels() -> None:
    form = {"minimize": "macs", "reference": "efficientnet_b0", "keep_stages": 0.8, "keep_params": 0.95}
    space = compression_space(named_network("efficientnet_b0"))
    answer = search(SearchRequest.from_json({"space": space, "objective": form, "top_k": 1} | NEVER_FALL))
    own: Any = answer.ranking[0].architecture
    given: Any = named_network("efficientnet_b0")
    fixed = [[(one.expansion, one.kernel, one.stride, one.se) for one in each.stages] for each in (own, given)]
    assert fixed[0] == fixed[1]
    assert given.evaluation.macs / own.evaluation.macs > 1.2


@pytest.mark.parametrize(
    ("objective", "budget", "field", "code"),
    [
        ({"maximize": "nn_mass", "ratio": 0.5}, {}, "ratio", "needs_reference"),
        ({"maximize": "nn_mass", "reference": "resnet18", "ratio": 0}, {}, "ratio", "out_of_range"),
        ({"maximize": "nn_mass", "reference": "resnet18", "ratio": {"macs": 2}}, {}, "ratio.macs", "out_of_range"),
        ({"maximize": "nn_mass", "reference": "resnet18", "ratio": {"depth": 1}}, {}, "ratio.depth", "unknown_field"),
        (
            {"maximize": "nn_mass", "reference": "resnet18", "ratio": 0.5},
            {"max_macs": 1000},
            "ratio.macs",
            "conflicts_with_budget",
        ),
    ],
)
def test_a_wrong_ratio_names_the_field(objective: Any, budget: Any, field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        SearchRequest.from_json({"space": "resnet-imagenet-free", "objective": objective, "budget": budget})
    assert [(problem.field, problem.code) for problem in caught.value.problems] == [(f"objective.{field}", code)]
