"""Fronts of spaces of ordinary size: how many labels they take, and which points they have."""

from __future__ import annotations

from nnmass_core.budget import Budget
from nnmass_core.named.presets import presets
from nnmass_core.request import Pareto, SearchRequest
from nnmass_core.search import search

EXAMPLE = Budget(max_params=1_000_000, max_macs=150_000_000)


def test_labels_that_grow_from_the_output_are_few() -> None:
    space = presets()["densenet-cifar-free"].space
    found = search(SearchRequest(space=space, budget=EXAMPLE, objective=Pareto(("params", "macs"))))
    # from the input there are 1,379,979; NN-Mass in doubles would give 99 points more, which are no points of the front
    assert found.certificate.labels < 500_000
    assert found.certificate.optimal
    assert len(found.ranking) == 12_914
