"""`nnmass export`: files without the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nnmass.cli import app
from nnmass.torch_process import client

MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 4,
    "num_classes": 3,
    "width": 5,
    "depth": 4,
    "skip_channels": 3,
    "activation": "elu",
}


def export(*arguments: str, definition: object = MLP) -> Any:
    return CliRunner().invoke(app, ["export", "-", *arguments], input=json.dumps(definition))


def test_export_prints_a_pytorch_file() -> None:
    done = export("--seed", "3")
    assert done.exit_code == 0
    compile(done.stdout, "network.py", "exec")
    assert done.stdout != export("--seed", "4").stdout


def test_export_writes_a_complete_definition(tmp_path: Path) -> None:
    done = export("--format", "json", "-o", str(tmp_path / "network.json"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert json.loads((tmp_path / "network.json").read_text()) == {"version": 1, **MLP}


def test_export_writes_an_onnx_file(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch comes with the extra `train`")
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "network.onnx"
    assert export("--format", "onnx", "-o", str(path)).exit_code == 0
    onnx.checker.check_model(str(path))


def test_exporting_onnx_without_output_is_refused() -> None:
    done = export("--format", "onnx")
    assert (done.exit_code, done.stderr) == (2, "nnmass: --output is required: onnx is a binary format\n")


def test_export_without_torch_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MODULE", "tests.api.trainer_without_torch")
    done = export("--format", "onnx", "-o", str(tmp_path / "network.onnx"))
    assert done.exit_code == 2
    assert "pip install" in done.stderr
    assert not (tmp_path / "network.onnx").exists()


def test_an_invalid_definition_names_its_field() -> None:
    done = export(definition=MLP | {"width": 0})
    assert (done.exit_code, done.stderr) == (2, "nnmass: width must be at least 1\n")


def test_a_file_that_is_not_json_is_refused() -> None:
    done = CliRunner().invoke(app, ["export", "-"], input="{")
    assert done.exit_code == 2
    assert done.stderr.startswith("nnmass: the definition is not JSON")


def test_the_file_of_an_untrained_network_says_so_and_names_its_seed() -> None:
    source = export("--seed", "3").stdout
    assert "Not trained" in source
    assert "WIRING_SEED = 3" in source
    dense = export("--seed", "3", definition=MLP | {"skip_channels": 99}).stdout
    assert "loads trained weights of every seed" in dense.replace("\n", " ")
