"""From `nnmass serve` to an ONNX file of a proved architecture only with the command line, as a new user has it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.processes.service import SHORT_LEASES, Json, Service, environment, wait_for

pytest.importorskip("torch", reason="torch comes with the extra `train`")
onnx = pytest.importorskip("onnx", reason="onnx comes with the extra `train`")

pytestmark = pytest.mark.processes

BUDGET = ("--max-params", "30k", "--max-weight-bytes", "128 KiB", "--max-macs", "10M")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("newcomer"), SHORT_LEASES) as service:
        wait_for(lambda: "files_worker" not in service.get("/readyz")["missing"], "its worker listens", 60)
        yield service


def nnmass(service: Service, folder: Path, *arguments: str) -> str:
    """Run a command in a folder; returns what it prints."""
    root = str(Path(__file__).parents[2])
    settings = environment({"NNMASS_SERVER": service.address}) | {"PYTHONPATH": root}
    command = [sys.executable, "-m", "nnmass", *arguments]
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no user is at a terminal"
    return done.stdout


def outputs(path: Path) -> list[int]:
    """Run a file in ONNX Runtime on an image of zeros; returns the shape of what comes out."""
    import onnxruntime

    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    (scores,) = session.run(None, {image.name: np.zeros((1, 1, 28, 28), np.float32)})
    assert np.isfinite(scores).all()
    return list(scores.shape)


def weights_in(path: Path) -> int:
    """Return how many numbers a file holds that a network can learn or keep."""
    tensors = onnx.load(str(path)).graph.initializer
    return sum(int(np.prod(tensor.dims)) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT)


def test_the_command_line_exports_a_proved_architecture_to_onnx(service: Service, tmp_path: Path) -> None:
    printed = nnmass(
        service, tmp_path, "search", "--preset", "densenet-tiny-free", *BUDGET, "--name", "first", "--save", "best.json"
    )
    assert "architectures, proved in" in printed
    assert "Next: nnmass export best.json --format onnx -o best.onnx" in printed
    nnmass(service, tmp_path, *["export", "best.json", "--format", "onnx", "-o", "best.onnx"])
    assert outputs(tmp_path / "best.onnx") == [1, 10]

    (listed,) = json.loads(nnmass(service, tmp_path, "history", "--json"))["items"]
    shown: Json = json.loads(nnmass(service, tmp_path, "show", listed["id"], "--json"))
    assert (shown["name"], shown["status"], shown["result"]["optimal"]) == ("first", "succeeded", True)
    best = shown["ranking"][0]
    assert best["architecture"] == json.loads((tmp_path / "best.json").read_text())
    assert best["params"] <= 30_000
    assert 0.9 * best["params"] <= weights_in(tmp_path / "best.onnx") <= best["weight_bytes"] / 4

    nnmass(service, tmp_path, "diagram", best["arch_id"], "-o", "best.svg")
    assert (tmp_path / "best.svg").read_text().startswith("<svg")
    assert service.alarms() == []
