"""Built modules: wiring and weights follow the seed; memory layouts and compilation change nothing."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch import Tensor, nn  # noqa: E402

from nnmass_core.errors import DefinitionError  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import assemble, build, input_shape  # noqa: E402
from nnmass_core.nets.concatenation import ConcatenationCell  # noqa: E402
from nnmass_core.wiring import Wiring, draw_wiring  # noqa: E402
from tests.nets.random_networks import FAMILIES, random_network  # noqa: E402

CNN = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 16, "width": 16},
    "num_classes": 10,
    "cells": [{"width": 8, "depth": 7, "skip_channels": 12}, {"width": 12, "depth": 5, "skip_channels": 99}],
}


def naive(cell: ConcatenationCell, x: Tensor, wiring: tuple[tuple[int, ...], ...]) -> Tensor:
    """Run a cell as it is written in nn-mass.md: concatenate all earlier outputs, then index the sampled channels."""
    outputs: list[Tensor] = []
    for layer, taken in zip(cell.layers, wiring, strict=True):
        if taken:
            x = torch.cat([x, torch.cat(outputs[:-1], dim=1)[:, list(taken)]], dim=1)
        x = layer(x)
        outputs.append(x)
    return x


@pytest.mark.parametrize("seed", range(20))
def test_a_cell_is_wired_as_specified(seed: int) -> None:
    architecture = decode_architecture(random_network(Random(seed), "densenet_cnn"))
    wiring = draw_wiring(architecture, seed)
    module: Any = assemble(architecture, wiring).eval()
    x = torch.rand(2, *input_shape(architecture))
    expected = x
    for cell, taken in zip(module.cells, wiring.cells, strict=True):
        expected = naive(cell, expected, taken)
    torch.testing.assert_close(module.cells(x), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_gives_one_network(family: str) -> None:
    architecture = decode_architecture(random_network(Random(family), family))
    state = torch.random.get_rng_state()
    first, again, other = (build(architecture, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_gradients_reach_every_weight() -> None:
    module = build(decode_architecture(CNN), 0)
    module(torch.rand(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("family", ["densenet_cnn", "mobilenet_v2"])
def test_memory_layout_changes_nothing(family: str) -> None:
    architecture = decode_architecture(CNN if family == "densenet_cnn" else random_network(Random(1), family))
    module = build(architecture, 0).eval()
    x = torch.rand(2, *input_shape(architecture))
    expected = module(x)
    torch.testing.assert_close(module(x.to(memory_format=torch.channels_last)), expected)
    plain = module.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(plain(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_compiled_gives_the_same() -> None:
    """With autograd traced and compiled graphs run eagerly: whether a C++ compiler is there is another matter."""
    module = build(decode_architecture(CNN), 0)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(compiled(x), build(decode_architecture(CNN), 0)(x))


def test_a_wiring_is_read_as_it_was_written_and_checked() -> None:
    architecture = decode_architecture(CNN)
    wiring = draw_wiring(architecture, 5)
    assert Wiring.from_json(wiring.to_json(), architecture) == wiring
    first, second = wiring.cells
    for broken, field in (
        (Wiring((first,)), "cells"),
        (Wiring((first[:-1], second)), "cells.0"),
        (Wiring(((*first[:2], (0, 1)), second)), "cells.0"),
        (Wiring(((*first[:3], (*first[3][:-1], 999), *first[4:]), second)), "cells.0.3"),
        (Wiring(((*first[:3], first[3][::-1], *first[4:]), second)), "cells.0.3"),
    ):
        with pytest.raises(DefinitionError) as refused:
            assemble(architecture, broken)
        assert field in {problem.field for problem in refused.value.problems}


def test_the_wiring_of_a_seed_stays_what_it_is() -> None:
    small = decode_architecture(CNN | {"cells": [{"width": 3, "depth": 5, "skip_channels": 4}]})
    assert draw_wiring(small, 0).to_json() == {"cells": [[[], [], [0, 1, 2], [0, 3, 4, 5], [2, 4, 6, 8]]]}


def test_modules_without_cells_have_no_wiring() -> None:
    architecture = decode_architecture(random_network(Random(2), "resnet"))
    assert draw_wiring(architecture, 1) == Wiring()
    assert isinstance(assemble(architecture, Wiring()), nn.Module)
