"""Exported files give the built module's outputs, where nnmass is not there."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from nnmass_core.export.pytorch_source import pytorch_source  # noqa: E402
from nnmass_core.export.torch_files import write  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.nets import build  # noqa: E402
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


TRACES = (str(Path(__file__).parents[2]), sys.prefix, 'File "', "stack_trace", "debug_pkl", "fx_node")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_torchscript_file_gives_the_same_outputs(family: str, tmp_path: Path) -> None:
    architecture = decode_architecture(random_network(Random(f"script {family}"), family))
    write(architecture, 7, "torchscript", tmp_path / "network.pt")
    x = torch.rand(5, *architecture.input_shape)
    with zipfile.ZipFile(tmp_path / "network.pt") as packed:
        content = b"".join(name.encode() + packed.read(name) for name in packed.namelist())
    assert [trace for trace in TRACES if trace.encode() in content] == []
    about = {"metadata.json": ""}
    loaded = torch.jit.load(tmp_path / "network.pt", _extra_files=about)
    said = json.loads(about["metadata.json"])
    assert (said["status"], said["arch_id"]) == ("untrained: initial weights", architecture.arch_id)
    torch.testing.assert_close(loaded(x), build(architecture, 7).eval()(x), rtol=1e-4, atol=1e-5)
