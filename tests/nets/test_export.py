"""Exported files give the built module's outputs, where nnmass is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from nnmass_core.export.pytorch_source import pytorch_source  # noqa: E402
from nnmass_core.export.torch_files import write  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import build  # noqa: E402
from nnmass_core.nets.liveness import peak_elements  # noqa: E402
from nnmass_core.wiring import draw_wiring  # noqa: E402
from tests.nets import onnx_liveness  # noqa: E402
from tests.nets.random_networks import FAMILIES, random_network  # noqa: E402

IN_EACH_FOLDER = """
import os, sys
script, *folders = sys.argv[1:]
sys.modules.update(dict.fromkeys(["nnmass_core", "app", "worker"]))
for folder in folders:
    os.chdir(folder)
    sys.modules.pop("network", None)
    print(f"{os.path.basename(folder)}: ", end="", flush=True)
    exec(script)
"""

RUN_SOURCE = """
import torch, network
module = network.build()
module.load_state_dict(torch.load("weights.pt", weights_only=True))
example = torch.load("example.pt", weights_only=True)
torch.testing.assert_close(module.eval()(example["x"]), example["y"], rtol=1e-4, atol=1e-5)
print("the same")
"""

RUN_ONNX = """
import torch, onnx, onnxruntime
onnx.checker.check_model("network.onnx", full_check=True)
example = torch.load("example.pt", weights_only=True)
(found,) = onnxruntime.InferenceSession("network.onnx").run(None, {"input": example["x"].numpy()})
torch.testing.assert_close(torch.from_numpy(found), example["y"], rtol=1e-4, atol=1e-4)
print("the same")
"""


def prepare(family: str, folder: Path, seed: int = 7) -> Any:
    """Build a random network with weights that are not the initial ones; keep them and an example's outputs."""
    architecture = decode_architecture(random_network(Random(f"export {family}"), family))
    module = build(architecture, seed)
    module.train()(torch.rand(8, *architecture.input_shape))  # so that the running statistics move
    module.eval()
    x = torch.rand(5, *architecture.input_shape)
    torch.save({"x": x, "y": module(x).detach()}, folder / "example.pt")
    torch.save(module.state_dict(), folder / "weights.pt")
    return architecture


def run(script: str, place: Path) -> list[str]:
    """Run a script in the folder of each family, where nnmass is not there; return what it prints.

    One process runs them all, since loading torch takes ten times as long as a script.
    """
    command = [sys.executable, "-c", IN_EACH_FOLDER, script, *(str(place / family) for family in FAMILIES)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


SAME = [f"{family}: the same" for family in FAMILIES]


def test_pytorch_files_run_without_nnmass(tmp_path: Path) -> None:
    for family in FAMILIES:
        folder = tmp_path / family
        folder.mkdir()
        (folder / "network.py").write_text(pytorch_source(prepare(family, folder), 7))
    assert run(RUN_SOURCE, tmp_path) == SAME


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pytorch_file_builds_every_network(family: str) -> None:
    rng = Random(f"source {family}")
    for seed in range(10):
        architecture = decode_architecture(random_network(rng, family))
        names: dict[str, Any] = {}
        exec(compile(pytorch_source(architecture, seed), "network.py", "exec"), names)
        module, plain = build(architecture, seed).eval(), names["build"]().eval()
        plain.load_state_dict(module.state_dict())
        x = torch.rand(3, *architecture.input_shape)
        torch.testing.assert_close(plain(x), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_files_give_the_same_outputs_in_onnx_runtime(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx", reason="onnx comes with the extra `train`")
    for family in FAMILIES:
        folder = tmp_path / family
        folder.mkdir()
        architecture = decode_architecture(random_network(Random(f"export {family}"), family))
        write(architecture, 7, "onnx", folder / "network.onnx")
        module = build(architecture, 7).eval()
        x = torch.rand(5, *architecture.input_shape)
        torch.save({"x": x, "y": module(x).detach()}, folder / "example.pt")
        peak = onnx_liveness.peak(onnx.load(folder / "network.onnx"))
        simulated = peak_elements(architecture, draw_wiring(architecture, 7))
        assert peak == simulated <= architecture.evaluation.peak_elements, family
    assert run(RUN_ONNX, tmp_path) == SAME


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_torchscript_file_gives_the_same_outputs(family: str, tmp_path: Path) -> None:
    architecture = decode_architecture(random_network(Random(f"script {family}"), family))
    write(architecture, 7, "torchscript", tmp_path / "network.pt")
    x = torch.rand(5, *architecture.input_shape)
    loaded = torch.jit.load(tmp_path / "network.pt")
    torch.testing.assert_close(loaded(x), build(architecture, 7).eval()(x), rtol=1e-4, atol=1e-5)
