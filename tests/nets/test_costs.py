"""Closed forms against the built modules: params, stored numbers, MACs and the peak of activations."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.named.networks import named_networks  # noqa: E402
from nnmass_core.nets import assemble  # noqa: E402
from nnmass_core.nets.liveness import peak_elements, traced_peak  # noqa: E402
from nnmass_core.wiring import Wiring, draw_wiring  # noqa: E402
from tests.conftest import at_most  # noqa: E402
from tests.nets.random_networks import FAMILIES, random_network  # noqa: E402
from tests.residual_walks import WALKS  # noqa: E402
from tests.walks import walk_dense, walk_depthwise, walk_mlp  # noqa: E402

NETWORKS = 300
FEWEST = 30
"""Among so many networks are some whose wiring leaves outputs unread."""


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_forms_equal_the_costs_of_the_module(family: str, pytestconfig: pytest.Config) -> None:
    rng = Random(family)
    met = []
    for index in range(max(FEWEST, at_most(pytestconfig, NETWORKS))):
        d = random_network(rng, family)
        architecture = decode_architecture(d)
        figures, wiring = architecture.evaluation, draw_wiring(architecture, rng.randrange(2**32))
        with torch.device("meta"):
            module = assemble(architecture, wiring).eval()
            image = torch.empty(1, *architecture.input_shape)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                scores = module(image)
        statistics = sum(b.numel() for name, b in module.named_buffers() if name.split(".")[-1].startswith("running_"))
        params = sum(p.numel() for p in module.parameters())
        assert scores.shape == (1, d["num_classes"])
        assert (params, params + statistics) == (figures.params, figures.weights), d
        assert counter.get_total_flops() == 2 * figures.macs, d
        if index % 3 == 0:
            simulated = peak_elements(architecture, wiring)
            assert simulated == walked_peak(d, wiring), d
            assert simulated <= figures.peak_elements, d
            met.append(simulated == figures.peak_elements)
    assert any(met)
    assert all(met) == (family in WALKS), (
        "a wiring may leave outputs unread or read them early; other networks have none"
    )


BETWEEN = ("expand", "depthwise", "downsample.0", "shortcut", "classifier", "fc", "fc1", "fc2")
"""Ends of the names of layers that `depth` does not count: within a separable layer, of shortcuts, of
squeeze-and-excitation and of the head."""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shapes_of_layers_are_those_of_the_module(family: str, pytestconfig: pytest.Config) -> None:
    rng = Random(f"shapes {family}")
    for _ in range(min(60, at_most(pytestconfig, NETWORKS))):
        architecture = decode_architecture(random_network(rng, family))
        seen: list[tuple[int, ...]] = []

        def note(module: Any, inputs: Any, output: Any, seen: list[tuple[int, ...]] = seen) -> None:
            of_maps = isinstance(module, torch.nn.Linear) and output.ndim > 2  # their channels come last
            seen.append((output.shape[-1], *output.shape[1:-1]) if of_maps else tuple(output.shape[1:]))

        with torch.device("meta"):
            module = assemble(architecture, draw_wiring(architecture, 0)).eval()
            for name, layer in module.named_modules():
                if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and not name.endswith(BETWEEN):
                    layer.register_forward_hook(note)
            with torch.no_grad():
                module(torch.empty(1, *architecture.input_shape))
        shapes = architecture.layer_shapes()
        assert shapes is not None
        flat = family == "densenet_mlp"
        assert [(shape.channels, *(shape.size or ())) for shape in shapes] == (
            seen[:-1] if flat else without_head(seen)
        )
        assert len(shapes) + flat == architecture.evaluation.depth


@pytest.mark.parametrize("family", FAMILIES)
def test_the_depth_is_the_longest_path_of_the_module(family: str, pytestconfig: pytest.Config) -> None:
    rng = Random(f"depth {family}")
    for _ in range(min(20, at_most(pytestconfig, NETWORKS))):
        architecture = decode_architecture(random_network(rng, family))
        with torch.device("meta"):
            module = torch.fx.symbolic_trace(assemble(architecture, draw_wiring(architecture, 0)).eval())
        named = [name for name, layer in module.named_modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
        layers = {name: int(not name.endswith((*BETWEEN, "classifier.1", "classifier.2"))) for name in named}
        longest: dict[Any, int] = {}
        for node in module.graph.nodes:
            before = max((longest[other] for other in node.all_input_nodes), default=0)
            longest[node] = before + (layers.get(str(node.target), 0) if node.op == "call_module" else 0)
        assert max(longest.values()) == architecture.evaluation.depth


@pytest.mark.parametrize("family", FAMILIES)
def test_the_peak_of_a_batch_is_that_many_times_the_peak_of_one_input(family: str) -> None:
    rng = Random(f"batch {family}")
    for batch in (2, 7):
        architecture = decode_architecture(random_network(rng, family))
        wiring = draw_wiring(architecture, 0)
        with torch.device("meta"):
            module = torch.fx.symbolic_trace(assemble(architecture, wiring).eval())
            peak = traced_peak(module, torch.empty(batch, *architecture.input_shape))
        assert peak == batch * peak_elements(architecture, wiring)


def without_head(seen: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the outputs that are maps: the classifier's is a vector."""
    return [shape for shape in seen if len(shape) == 3]


def walked_peak(d: dict[str, Any], wiring: Wiring) -> int:
    """Walk a network step by step, layers reading the outputs that the wiring samples from, and no others."""
    if d["family"] in WALKS:
        return WALKS[d["family"]](d)[0].peak
    form = d.get("cells", [d, *d.get("later_cells", [])])
    cells = tuple((c["width"], c["depth"], c["skip_channels"]) for c in form)

    def sampled(c: int, j: int) -> list[int]:
        return sorted({channel // cells[c][0] for channel in wiring.cells[c][j]})

    if d["family"] == "densenet_mlp":
        return walk_mlp(d["in_features"], d["num_classes"], cells, sampled).peak
    walk = walk_dense if d["family"] == "densenet_cnn" else walk_depthwise
    image = (d["input"]["channels"], d["input"]["height"], d["input"]["width"])
    return walk(image, d["num_classes"], cells, sampled).peak


THEIR_OWN_NAMES = ("mnasnet", "efficientnet", "regnet")
"""Networks whose weights have other names in torchvision, which has a class for each."""

ELSEWHERE = (
    *("densenet40_k12", "densenet100_k12_bc", "efficientnet_lite0", "mobilenet_v1", "proxyless_mobile"),
    *("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet18_cifar", "resnext29_8x64d"),
)
"""Networks that torchvision does not have; tests/core/test_residual.py has the params that their sources publish."""


@pytest.mark.parametrize(
    "name", [name for name in named_networks() if name not in ELSEWHERE and not name.startswith("mlperf")]
)
def test_named_networks_have_torchvision_parameter_shapes_and_macs(name: str) -> None:
    models = pytest.importorskip("torchvision").models
    architecture = named_networks()[name]
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # RegNet computes its widths with tensors
        theirs = models.get_model(name, weights=None).eval().to("meta")
    with torch.device("meta"):
        ours = assemble(architecture, draw_wiring(architecture, 0))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            theirs(torch.empty(1, *architecture.input_shape))
    shapes, expected = (
        [(key, tuple(value.shape)) for key, value in module.state_dict().items()] for module in (ours, theirs)
    )
    if name.startswith(THEIR_OWN_NAMES):
        assert [shape for _, shape in shapes] == [shape for _, shape in expected]
    else:
        assert shapes == expected
    assert sum(p.numel() for p in theirs.parameters()) == architecture.evaluation.params
    assert counter.get_total_flops() == 2 * architecture.evaluation.macs


@pytest.mark.parametrize("name", [name for name in named_networks() if name in ELSEWHERE or name.startswith("mlperf")])
def test_named_networks_that_torchvision_lacks_have_the_costs_of_their_modules(name: str) -> None:
    architecture = named_networks()[name]
    with torch.device("meta"):
        module = assemble(architecture, draw_wiring(architecture, 0)).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.empty(1, *architecture.input_shape))
    assert sum(p.numel() for p in module.parameters()) == architecture.evaluation.params
    assert counter.get_total_flops() == 2 * architecture.evaluation.macs


@pytest.mark.parametrize(
    "name",
    [
        *("convnext_tiny", "mobilenet_v2", "mnasnet0_5", "efficientnet_b0", "densenet121"),
        *("resnet18", "resnext50_32x4d", "regnet_x_400mf", "regnet_x_8gf"),
    ],
)
def test_named_networks_give_torchvision_outputs(name: str) -> None:
    models = pytest.importorskip("torchvision").models
    theirs = models.get_model(name, weights=None).eval()
    architecture = named_networks()[name]
    ours = assemble(architecture, draw_wiring(architecture, 0)).eval()
    names = ours.state_dict().keys()
    ours.load_state_dict(dict(zip(names, theirs.state_dict().values(), strict=True)))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-5)
