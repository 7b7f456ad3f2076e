"""Built modules: wiring and weights follow the seed; memory layouts and compilation change nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch import Tensor, nn  # noqa: E402

from nnmass_core.errors import DefinitionError  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import assemble, build  # noqa: E402
from nnmass_core.wiring import Wiring, draw_wiring  # noqa: E402
from tests.measured import measured  # noqa: E402
from tests.nets.random_networks import FAMILIES, random_network  # noqa: E402

CNN = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 16, "width": 16},
    "num_classes": 10,
    "cells": [{"width": 8, "depth": 7, "skip_channels": 12}, {"width": 12, "depth": 5, "skip_channels": 99}],
}


STAGES: dict[str, dict[str, Any]] = {
    "convnext": {"patch": 2, "stages": [{"channels": 8, "repeats": 2}, {"channels": 16, "repeats": 1}]},
    "densenet_bc": {"stem": "small", "stem_channels": 16, "growth": 8, "stages": [{"layers": 2}, {"layers": 2}]},
    "ds_cnn": {"stem_channels": 8, "stem_kernel_height": 10, "stem_kernel_width": 4}
    | {"stages": [{"channels": 8, "repeats": 2, "stride": 1}]},
    "mobilenet_v1": {"stem_channels": 8, "stages": [{"channels": 8, "repeats": 2, "stride": 1}]},
    "mobilenet_v2": {"stem_channels": 8, "last_channels": 16}
    | {"stages": [{"expansion": 2, "channels": 8, "repeats": 2, "stride": 1}]},
    "resnet": {"block": "bottleneck", "stages": [{"channels": 8, "repeats": 2}, {"channels": 16, "repeats": 1}]},
    "wide_resnet_cifar": {"stages": [{"channels": channels, "repeats": 1} for channels in (8, 16, 32)]},
}
RESIDUAL = {
    family: {"family": family, "input": {"channels": 3, "height": 16, "width": 16}, "num_classes": 10, **stages}
    for family, stages in STAGES.items()
}
IMAGES = [family for family in FAMILIES if family != "densenet_mlp"]


def run(module: Any, x: Tensor) -> dict[str, Tensor]:
    """Return the scores and every weight's gradient of a training step, without dropout."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    scores = module(x)
    names, weights = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(scores.square().sum(), weights)
    return {"scores": scores.detach(), **dict(zip(names, gradients, strict=True))}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_determines_wiring_and_weights(family: str) -> None:
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


@pytest.mark.parametrize("weights", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("images", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("family", IMAGES)
def test_outputs_do_not_depend_on_the_memory_layout(family: str, images: Any, weights: Any) -> None:
    architecture = decode_architecture(random_network(Random(f"layout {family}"), family))
    x = torch.rand(4, *architecture.input_shape, dtype=torch.float64)
    reference = build(architecture, 0).double()
    module = build(architecture, 0).double().to(memory_format=weights)
    expected, found = run(reference, x), run(module, x.to(memory_format=images))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("family", IMAGES)
def test_feature_maps_have_channels_last_for_every_image_layout(family: str) -> None:
    architecture = decode_architecture(RESIDUAL.get(family, CNN | {"family": family}))
    module, maps = build(architecture, 3), []
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.BatchNorm2d | nn.ReLU):
            part.register_forward_hook(lambda _, __, output: maps.append(output))
    module(torch.rand(2, *architecture.input_shape))
    assert maps
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in maps)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_compiled_module_gives_the_same_outputs(family: str) -> None:
    """With autograd traced and compiled graphs run eagerly."""
    compare_compiled(random_network(Random(f"compiled {family}"), family), "aot_eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor writes C++, and there is no compiler")
def test_machine_code_gives_the_same_outputs() -> None:
    cells = [{"width": 8, "depth": 4, "skip_channels": 12}]
    compare_compiled(CNN | {"input": {"channels": 3, "height": 8, "width": 8}, "cells": cells}, "inductor")


def compare_compiled(definition: dict[str, Any], backend: str) -> None:
    architecture = decode_architecture(definition)
    x = torch.rand(4, *architecture.input_shape)
    plain, compiled = build(architecture, 0), build(architecture, 0)
    torch.compiler.reset()
    expected = run(plain, x)
    if measured:
        measured.remove_calls()
    found = run(torch.compile(compiled, backend=backend, fullgraph=True), x)
    torch.testing.assert_close([*found.values()], [*expected.values()], rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_program_gives_the_same_outputs_for_any_batch_size(family: str) -> None:
    architecture = decode_architecture(random_network(Random(f"program {family}"), family))
    module = build(architecture, 0).eval()
    x = torch.rand(3, *architecture.input_shape)
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (x[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x), module(x), rtol=1e-4, atol=1e-5)


def test_a_wiring_of_another_network_is_refused() -> None:
    architecture = decode_architecture(CNN)
    first, _ = draw_wiring(architecture, 5).cells
    with pytest.raises(DefinitionError) as refused:
        assemble(architecture, Wiring((first, first)))
    assert {problem.field for problem in refused.value.problems} == {"cells.1"}


def test_modules_without_cells_have_no_wiring() -> None:
    architecture = decode_architecture(random_network(Random(2), "resnet"))
    assert draw_wiring(architecture, 1) == Wiring()
    assert isinstance(assemble(architecture, Wiring()), nn.Module)


def test_a_module_without_parts_of_torchvision_does_not_load_it() -> None:
    """Loading it takes as long as loading torch, in each process that exports or measures."""
    code = f"""
import sys
from nnmass_core.families import decode_architecture
from nnmass_core.nets import build
build(decode_architecture({CNN!r}), 0)
print("torchvision" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"
