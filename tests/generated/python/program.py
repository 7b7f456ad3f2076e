"""Run one search and one verification through the generated client; print what the test checks."""

from __future__ import annotations

import json
import sys
import time
from uuid import UUID

import httpx
from nnmass_client import AuthenticatedClient
from nnmass_client.api.searches import get_search, list_architectures, submit_search
from nnmass_client.api.verifications import get_verification, submit_verification
from nnmass_client.models import (
    BudgetBody,
    Dataset,
    DatasetName,
    DenseNetMlp,
    DenseNetMlpSpace,
    DenseNetMlpSpaceActivation,
    PresetName,
    ProblemBody,
    Range,
    RankedPage,
    Recipe,
    RecipeOptimizer,
    SearchAnswer,
    SearchBody,
    State,
    VerificationAnswer,
    VerificationBody,
)

SECONDS = 120.0
ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


def search(client: AuthenticatedClient) -> SearchAnswer:
    space = DenseNetMlpSpace(
        family="densenet_mlp",
        in_features=64,
        num_classes=10,
        width=8,
        depth=Range(min_=4, max_=8),
        skip_channels=[0, 4, 8],
        activation=DenseNetMlpSpaceActivation.RELU,
    )
    body = SearchBody(space=space, budget=BudgetBody(max_params=2000), top_k=2)
    found = submit_search.sync(client=client, body=body, prefer="wait=30")
    assert isinstance(found, SearchAnswer), found
    assert found.status == State.SUCCEEDED, found.status
    assert isinstance(found.request.space, DenseNetMlpSpace), found.request.space
    assert found.request.budget.max_params == 2000
    return found


def verify(client: AuthenticatedClient, network: DenseNetMlp) -> VerificationAnswer:
    recipe = Recipe(optimizer=RecipeOptimizer.ADAM, learning_rate=0.001, batch_size=256, epochs=1)
    body = VerificationBody(dataset=Dataset(name=DatasetName.DIGITS), recipe=recipe, architecture=network, artifacts=[])
    found = submit_verification.sync(client=client, body=body)
    assert isinstance(found, VerificationAnswer), found
    deadline = time.monotonic() + SECONDS
    while found.status not in ENDED:
        assert time.monotonic() < deadline, found.progress
        time.sleep(0.2)
        latest = get_verification.sync(found.id, client=client)
        assert isinstance(latest, VerificationAnswer), latest
        found = latest
    return found


def run(client: AuthenticatedClient) -> None:
    searched = search(client)
    assert searched.result is not None
    page = list_architectures.sync(searched.id, client=client, limit=1)
    assert isinstance(page, RankedPage), page
    best = page.items[0]
    assert isinstance(best.architecture, DenseNetMlp), best.architecture

    refused = submit_search.sync(
        client=client, body=SearchBody(space=PresetName.DENSENET_TINY, budget=BudgetBody(max_params=-1))
    )
    assert isinstance(refused, ProblemBody), refused
    unknown = get_search.sync(UUID(int=0), client=client)
    assert isinstance(unknown, ProblemBody), unknown

    verified = verify(client, best.architecture)
    assert verified.dataset.name == DatasetName.DIGITS
    assert verified.result is not None, verified.error
    print(  # noqa: T201 - the test reads it
        json.dumps(
            {
                "search": str(searched.id),
                "optimal": searched.result.optimal,
                "nn_mass": best.nn_mass,
                "params": best.params,
                "refused": [problem.field for problem in refused.errors],
                "unknown": unknown.status,
                "verification": str(verified.id),
                "accuracy": verified.result.accuracy.mean,
            }
        )
    )


address, key = sys.argv[1:]
with AuthenticatedClient(base_url=address, token=key, timeout=httpx.Timeout(60.0)) as opened:
    run(opened)
