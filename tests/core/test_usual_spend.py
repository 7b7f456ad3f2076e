"""The share of the MACs that networks spend where a question asks for none: when it applies, and what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from nnmass_core.errors import DefinitionError
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import resolve_space
from nnmass_core.named.spending import USUAL_SPEND, Spend
from nnmass_core.request import SearchRequest
from nnmass_core.search import search

SPACE = resolve_space("resnet-tiny").to_json()
LIMITED: dict[str, Any] = {"budget": {"max_params": 200_000}}
TINY = {"around": "resnet20"}
EXPLICIT = {"quantity": "params", "share": 0.5}


def usual(question: dict[str, Any]) -> bool:
    return SearchRequest.asked(question).spend == USUAL_SPEND


@pytest.mark.parametrize(
    "question",
    [
        {"space": "resnet-tiny", **LIMITED},
        {"space": "resnet-tiny", "budget": {"max_macs": 10**7}},
        {"space": "resnet-tiny", "objective": {"maximize": "nn_mass"}, **LIMITED},
        {"space": ["resnet-tiny", "mobilenet-v2-tiny"], **LIMITED},
        {"space": TINY, **LIMITED},
        {"space": TINY | {"keep": ["stem", "resolution"], "width": [0.5, 1]}, **LIMITED},
        {"budget": {"within": "mlperf-tiny-resnet8"}},
        {"space": "resnet-tiny", "budget": {"within": "mlperf-tiny-resnet8"}},
        {"space": "ds-cnn-keywords", **LIMITED},
    ],
)
def test_a_space_of_usual_proportions_spends_its_macs(question: dict[str, Any]) -> None:
    request = SearchRequest.asked(question)
    assert request.spend == Spend("macs", 0.95)
    assert request.to_json()["spend"] == {"quantity": "macs", "share": 0.95, "default": True}
    assert SearchRequest.from_json(question).spend is None


@pytest.mark.parametrize(
    "question",
    [
        {"space": "resnet-tiny"},
        {"space": "resnet-tiny", "budget": {"max_peak_activation_bytes": 10**5}},
        {"space": "resnet-tiny", "budget": {"min_params": 10**4}},
        {"space": "resnet-tiny-free", **LIMITED},
        {"space": SPACE, **LIMITED},
        {"space": ["resnet-tiny", "resnet-tiny-free"], **LIMITED},
        {"space": ["mobilenet-v2-tiny", SPACE], **LIMITED},
        {"space": SPACE, "budget": {"within": "mlperf-tiny-resnet8"}},
        {"space": "resnet-tiny", "spend": None, **LIMITED},
        {"space": "resnet-tiny", "objective": {"maximize": "macs"}, **LIMITED},
        {"space": "resnet-tiny", "objective": {"minimize": "macs", "min_nn_mass": 10}, **LIMITED},
        {"space": "resnet-tiny", "objective": {"pareto": ["nn_mass", "macs"]}, **LIMITED},
        {"space": "resnet-tiny", "objective": {"maximize": "nn_mass", "reference": "resnet20", "ratio": 0.5}},
    ],
)
def test_other_questions_have_no_spend(question: dict[str, Any]) -> None:
    assert SearchRequest.asked(question).spend is None


def test_a_spend_of_the_question_is_kept() -> None:
    request = SearchRequest.asked({"space": "resnet-tiny", "spend": EXPLICIT, **LIMITED})
    assert request.to_json()["spend"] == EXPLICIT
    assert SearchRequest.asked({"space": "resnet-tiny", "spend": USUAL_SPEND.to_json(), **LIMITED}).spend is not None


@pytest.mark.parametrize("spend", [{}, {"spend": None}, {"spend": EXPLICIT}])
@pytest.mark.parametrize("question", [{"space": "resnet-tiny", **LIMITED}, {"space": TINY, **LIMITED}])
def test_a_stored_request_asks_the_same_again(question: dict[str, Any], spend: dict[str, Any]) -> None:
    request = SearchRequest.asked(question | spend)
    stored = request.to_json()
    for again in (SearchRequest.from_json(stored), SearchRequest.asked(stored)):
        assert (again.spend, again.digest, again.to_json()) == (request.spend, request.digest, stored)


def test_who_asked_for_a_spend_changes_neither_digest_nor_answer() -> None:
    default = SearchRequest.asked({"space": "resnet-tiny", **LIMITED})
    explicit = SearchRequest.asked({"space": "resnet-tiny", "spend": {"quantity": "macs", "share": 0.95}, **LIMITED})
    assert default.to_json() != explicit.to_json()
    assert default.digest == explicit.digest
    assert search(default).digest == search(explicit).digest


def test_the_flag_is_true_or_false() -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.asked({"space": "resnet-tiny", "spend": EXPLICIT | {"default": 1}, **LIMITED})
    assert [problem.field for problem in refused.value.problems] == ["spend.default"]


@pytest.mark.parametrize("name", ["mlperf-tiny-kws", "mlperf-tiny-vww", "mlperf-tiny-resnet8", "mlperf-tiny-ad"])
def test_answers_within_a_reference_use_what_it_does(name: str) -> None:
    """Without skip connections NN-Mass is 0, and the smallest network was first."""
    found = search(SearchRequest.asked({"budget": {"within": name}, "top_k": 1}))
    spent, reference = found.certificate.spent, named_network(name).evaluation
    assert spent is not None
    assert (spent.optimal, spent.most) == (True, reference.macs)
    assert found.ranking[0].evaluation.macs >= 0.95 * reference.macs
    beside = spent.to_json()["network"]
    assert isinstance(beside, dict)
    assert (beside["macs"], beside["params"]) == (spent.most, spent.network.evaluation.params)
    assert beside["architecture"] == spent.network.definition()
