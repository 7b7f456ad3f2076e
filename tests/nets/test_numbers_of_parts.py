"""Networks of spaces whose number of stages or cells is searched, against the modules that are built from them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from nnmass_core.budget import Budget  # noqa: E402
from nnmass_core.families import decode_architecture, decode_space  # noqa: E402
from nnmass_core.nets import build  # noqa: E402
from nnmass_core.request import SearchRequest  # noqa: E402
from nnmass_core.search import search  # noqa: E402
from tests.core.brute import Row  # noqa: E402
from tests.core.test_left_out_stages import left_out  # noqa: E402
from tests.core.test_number_of_cells import of_counts  # noqa: E402
from tests.core.test_overlapping import overlapping  # noqa: E402

Drawn = Callable[[Random, int], tuple[dict[str, Any], list[Row]]]


@pytest.mark.random_cases(15)
@pytest.mark.parametrize("draw", [left_out, of_counts, overlapping])
def test_networks_of_every_number_of_parts_cost_what_their_modules_do(draw: Drawn, seed: int) -> None:
    space, rows = draw(Random(f"modules {seed}"), 150)
    ranking = search(SearchRequest(space=decode_space(space), budget=Budget(), top_k=1000)).ranking
    assert len(ranking) == len(rows)
    by_parts = {len(place.evaluation.parts): place.architecture for place in ranking}
    for network in by_parts.values():
        assert decode_architecture(network.definition()) == network
        with torch.device("meta"):
            module = build(network, 0).eval()
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                scores = module(torch.empty(1, *network.input_shape))
        assert scores.shape == (1, network.num_classes)
        assert sum(one.numel() for one in module.parameters()) == network.evaluation.params
        assert counter.get_total_flops() == 2 * network.evaluation.macs
