"""ONNX files: outputs, size, what they say about themselves, BatchNorm, batch and versions of operators."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")
onnx = pytest.importorskip("onnx", reason="onnx comes with the extra `train`")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra `test`")

from torch import Tensor, nn  # noqa: E402

from nnmass_core.errors import NotPossible  # noqa: E402
from nnmass_core.export import onnx_files  # noqa: E402
from nnmass_core.export.deployment import OPSETS, USUAL, FileOptions  # noqa: E402
from nnmass_core.export.torch_files import about_module, rewrite, write, write_module  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import build  # noqa: E402
from nnmass_core.nets.liveness import peak_elements  # noqa: E402
from nnmass_core.wiring import draw_wiring  # noqa: E402
from tests.nets import onnx_liveness  # noqa: E402
from tests.nets.random_networks import FAMILIES, random_network  # noqa: E402

CASES = Path(__file__).parents[3] / "shared" / "cases" / "public"
SEED = 7
KEPT = FileOptions(batch=1, opset=13, fold_batchnorm=False)
FIXED = FileOptions(batch=3, opset=22)


@dataclass(frozen=True)
class Network:
    """A network whose running statistics are not the initial ones, and its ONNX files."""

    architecture: Any
    module: Any
    folder: Path

    def file(self, options: FileOptions) -> Path:
        """Return the file with these options; it takes seconds, so it is written once."""
        path = self.folder / f"{options.batch}-{options.opset}-{options.fold_batchnorm}.onnx"
        if not path.exists():
            about = about_module(self.architecture, SEED, self.module, options)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                write_module(self.module, self.architecture.input_shape, "onnx", path, about, options)
        return path

    def check(self, model: Any, batch: int = 5) -> None:
        """Compare the outputs of a file's content with torch's."""
        x = torch.rand(batch, *self.architecture.input_shape)
        (found,) = session(model).run(None, {"input": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), self.module(x).detach(), rtol=1e-3, atol=1e-4)


def session(model: Any) -> Any:
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    """Return a random network of each family."""
    made = {}
    for family in FAMILIES:
        architecture = decode_architecture(random_network(Random(f"export {family}"), family))
        module = build(architecture, SEED)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            norms_of: list[Any] = [one for one in module.modules() if is_norm(one)]
            for norm in norms_of:  # every part of the fold counts
                norm.running_mean.normal_(0, 0.1)
                norm.running_var.uniform_(0.5, 1.5)
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.1)
            for name, scale in module.named_parameters():
                if name.endswith("layer_scale"):  # its initial values hide the blocks
                    scale.uniform_(0.5, 1.5)
        made[family] = Network(architecture, module.eval(), tmp_path_factory.mktemp(family))
    return made


def is_norm(module: Any) -> bool:
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)


def norms(module: Any) -> int:
    return sum(map(is_norm, module.modules()))


def operators(model: Any, name: str) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == name]


def foldable(model: Any) -> Iterator[Any]:
    """Yield the BatchNorms of a graph that alone read what a convolution or Linear gives, or such a BatchNorm."""
    convolved = {node.output[0] for name in ("Conv", "Gemm") for node in operators(model, name)}
    read = [name for node in model.graph.node for name in node.input]
    for node in operators(model, "BatchNormalization"):
        if node.input[0] in convolved and read.count(node.input[0]) == 1:
            convolved.add(node.output[0])
            yield node


@pytest.mark.parametrize("family", FAMILIES)
def test_files_have_the_outputs_of_torch(networks: dict[str, Network], family: str) -> None:
    network = networks[family]
    usual = onnx.load(network.file(USUAL))
    onnx.checker.check_model(usual, full_check=True)
    network.check(usual)
    network.check(usual, batch=1)
    kept = onnx.load(network.file(KEPT))
    onnx.checker.check_model(kept, full_check=True)
    network.check(kept, batch=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_batchnorm_is_folded_unless_kept(networks: dict[str, Network], family: str) -> None:
    network = networks[family]
    usual, kept = (onnx.load(network.file(options)) for options in (USUAL, KEPT))
    assert len(operators(kept, "BatchNormalization")) == norms(network.module)
    assert not list(foldable(usual))
    folded = len(list(foldable(kept)))
    assert len(operators(usual, "BatchNormalization")) == norms(network.module) - folded
    # plain dense layers have BatchNorm before convolutions, a ConvNeXt has none
    assert folded or family in ("convnext", "densenet_bc")
    said = {options: about(onnx.load(network.file(options)))["batchnorm"] for options in (USUAL, KEPT)}
    assert said == {USUAL: "folded", KEPT: "kept"}
    assert norms(network.module) == norms(build(network.architecture, SEED)), "the module itself stays as it is"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_batch_is_dynamic_or_fixed(networks: dict[str, Network], family: str) -> None:
    network = networks[family]
    for options, size in ((USUAL, "batch"), (KEPT, 1)):
        model = onnx.load(network.file(options))
        for value in (model.graph.input[0], model.graph.output[0]):
            first = value.type.tensor_type.shape.dim[0]
            assert (first.dim_param or first.dim_value) == size
        assert about(model)["batch"] == ("dynamic" if size == "batch" else size)
    with pytest.raises(Exception, match="Got: 2 Expected: 1"):
        session(model).run(None, {"input": np.zeros((2, *network.architecture.input_shape), np.float32)})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_version_of_the_operators_can_be_had(networks: dict[str, Network], family: str) -> None:
    network = networks[family]
    for opset in OPSETS:
        usual = onnx.load(network.file(USUAL))
        model = onnx_files.finished(usual, about(usual), opset)
        assert [(one.domain, one.version) for one in model.opset_import] == [("", opset)]
        assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import)
        network.check(model, batch=2)


def test_files_are_written_in_the_version_that_is_asked_for(networks: dict[str, Network]) -> None:
    for family in ("densenet_cnn", "mobilenet_v2"):
        model = onnx.load(networks[family].file(FIXED))
        assert (model.opset_import[0].version, about(model)["opset"], about(model)["batch"]) == (22, 22, 3)
        networks[family].check(model, batch=3)


@pytest.mark.parametrize("options", [USUAL, KEPT, FIXED])
def test_stored_weights_are_written_with_other_options(
    networks: dict[str, Network], options: FileOptions, tmp_path: Path
) -> None:
    network, weights, path = networks["densenet_cnn"], tmp_path / "weights.pt", tmp_path / "file.onnx"
    torch.save(network.module.state_dict(), weights)
    described = about_module(network.architecture, SEED, network.module, USUAL)
    rewrite(described, weights, path, options)
    written = onnx.load(path)
    network.check(written, options.batch or 5)
    assert about(written) == about(onnx.load(network.file(options)))
    assert about(written)["weights_sha256"] == described["weights_sha256"]
    torch.save(build(network.architecture, SEED).state_dict(), weights)
    with pytest.raises(NotPossible, match="not those that the metadata describe"):
        rewrite(described, weights, path, options)


def test_a_version_without_an_operator_is_refused(networks: dict[str, Network]) -> None:
    model = onnx.load(networks["densenet_mlp"].file(USUAL))
    del model.graph.node[:]
    model.graph.node.append(onnx.helper.make_node("Mish", ["input"], ["scores"]))
    with pytest.raises(NotPossible, match="opset 13 cannot hold this network"):
        onnx_files.finished(model, {}, 13)


def test_the_peak_holds_over_the_file_that_is_given_out(networks: dict[str, Network]) -> None:
    for family, network in networks.items():
        simulated = peak_elements(network.architecture, draw_wiring(network.architecture, SEED))
        for options in (USUAL, KEPT):
            found = onnx_liveness.peak(onnx.load(network.file(options)))
            assert found == simulated <= network.architecture.evaluation.peak_elements, (family, options)


def test_the_output_of_an_autoencoder_is_named_reconstruction(tmp_path: Path) -> None:
    form = {"family": "densenet_mlp", "in_features": 6, "num_classes": 6, "width": 4, "depth": 2, "skip_channels": 0}
    for outputs, name in (("classes", "scores"), ("reconstruction", "reconstruction")):
        architecture = decode_architecture(form | {"activation": "relu", "outputs": outputs})
        write(architecture, SEED, "onnx", tmp_path / "network.onnx")
        assert [output.name for output in onnx.load(tmp_path / "network.onnx").graph.output] == [name]


TRACES = (str(Path(__file__).parents[2]), sys.prefix, 'File "', "stack_trace", "fx_node")


def check_size(path: Path, architecture: Any) -> None:
    """Assert that a file is weights, operators and what it says about itself, and nothing else."""
    content, model = path.read_bytes(), onnx.load(path)
    assert [trace for trace in TRACES if trace.encode() in content] == []
    graph = model.graph
    parts = [graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    assert not any(part.metadata_props or part.doc_string for part in parts)
    weights = sum(len(tensor.raw_data) for tensor in graph.initializer)
    said = sum(len(prop.key) + len(prop.value) for prop in model.metadata_props)
    assert len(content) - weights - said < 1000 + 250 * len(graph.node)
    assert weights <= architecture.evaluation.report("fp32")["weight_bytes"] + 200


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_is_weights_operators_and_metadata(networks: dict[str, Network], family: str) -> None:
    check_size(networks[family].file(USUAL), networks[family].architecture)


@pytest.mark.parametrize(
    "name", ["wrn-10-4", "weights-and-source", pytest.param("collapsed-32", marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_networks_of_public_cases_are_small_files(name: str, tmp_path: Path) -> None:
    if not CASES.exists():
        pytest.skip(f"{CASES} is not there")
    case = json.loads((CASES / f"{name}.json").read_text())
    architecture = decode_architecture(case.get("architecture", case))
    write(architecture, 1, "onnx", tmp_path / "network.onnx")
    check_size(tmp_path / "network.onnx", architecture)


# What files say about themselves


def about(model: Any) -> dict[str, Any]:
    """Read the metadata of a file as its documentation says: each value is a text, or JSON."""
    return {prop.key: value_of(prop.value) for prop in model.metadata_props}


def value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def test_a_file_of_an_untrained_network_says_what_it_is(networks: dict[str, Network], tmp_path: Path) -> None:
    network = networks["densenet_cnn"]
    said = about(onnx.load(network.file(USUAL)))
    architecture = network.architecture
    assert said["status"] == "untrained: initial weights"
    assert (said["arch_id"], said["seed"], said["precision"]) == (architecture.arch_id, SEED, "fp32")
    assert decode_architecture(said["definition"]) == architecture
    assert said["input_shape"] == ["dynamic", *architecture.input_shape]
    assert said["input_layout"] == "NCHW"
    digest = hashlib.sha256()
    for name in sorted(network.module.state_dict()):
        values = network.module.state_dict()[name]
        digest.update(f"{name} {str(values.dtype)[6:]} {list(values.shape)};".encode())
        digest.update(np.ascontiguousarray(values.numpy()).tobytes())
    assert said["weights_sha256"] == digest.hexdigest()
    for name in ("mean", "std", "classes", "accuracy", "dataset", "weights_file"):
        assert said[name] is None
    write(architecture, SEED, "metadata", tmp_path / "about.json", replace(USUAL, opset=15))
    beside = json.loads((tmp_path / "about.json").read_text())
    other = {"weights_sha256", "opset"}
    assert {name: value for name, value in beside.items() if name not in other} == {
        name: value for name, value in said.items() if name not in other
    }
    assert (beside["opset"], beside["weights_sha256"] == said["weights_sha256"]) == (15, False)


class Branching(nn.Module):
    """A module that torch.fx cannot trace, as that of an installed family may be."""

    def forward(self, x: Tensor) -> Tensor:
        """Return something."""
        return x if x.sum() > 0 else -x


def test_a_module_that_cannot_be_traced_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(NotPossible, match="fold_batchnorm=false"):
        write_module(Branching(), (3,), "onnx", tmp_path / "network.onnx", {})
