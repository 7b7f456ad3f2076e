"""`nnmass export`: files without the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nnmass.cli import app
from nnmass.torch_process import client
from nnmass_core.export.pytorch_source import artifact_without_torch
from nnmass_core.families import decode_architecture

OTHER_WIRING = "nnmass: wiring is not the wiring that the seed draws for this network\n"

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
    onnx = pytest.importorskip("onnx", reason="onnx comes with the extra `train`")
    path = tmp_path / "network.onnx"
    assert export("--format", "onnx", "-o", str(path)).exit_code == 0
    onnx.checker.check_model(str(path))


def test_onnx_files_have_the_options_that_are_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch comes with the extra `train`")
    onnx = pytest.importorskip("onnx", reason="onnx comes with the extra `train`")
    path, options = tmp_path / "network.onnx", ("--batch", "2", "--opset", "13", "--keep-batchnorm", "--seed", "3")
    assert export("--format", "onnx", "-o", str(path), *options).exit_code == 0
    model = onnx.load(path)
    assert model.opset_import[0].version == 13
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    beside = export("--format", "metadata", *options)
    said = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in json.loads(beside.stdout).items()
    }
    assert {prop.key: prop.value for prop in model.metadata_props} == said
    assert (said["status"], said["seed"], said["batchnorm"]) == ("untrained: initial weights", "3", "kept")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "onnx", "--batch", "0"), "batch must be dynamic or a number from 1 to 1024"),
        (("--format", "onnx", "--batch", "many"), "batch must be dynamic or a number from 1 to 1024"),
        (("--format", "onnx", "--opset", "9"), "opset must be from 13 to 22: files of others cannot be written"),
        (("--format", "torchscript", "--opset", "18"), "opset does not apply to torchscript"),
        (("--batch", "1"), "batch does not apply to pytorch"),
        (("--keep-batchnorm",), "fold_batchnorm does not apply to pytorch"),
    ],
)
def test_an_option_that_cannot_be_had_is_refused(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = export(*options, "-o", str(tmp_path / "network.onnx"))
    assert (done.exit_code, done.stderr) == (2, f"nnmass: {message}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "onnx", "--batch", "0"), "batch must be dynamic or a number from 1 to 1024"),
        (("--format", "weights", "--opset", "13"), "opset does not apply to weights"),
        (("--format", "onnx", "--batch", "1"), "--server is required: only a service knows trainings by their id"),
    ],
)
def test_options_of_a_trained_file_are_checked_before_a_service_is_asked(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    training = "0199c0de-0000-7000-8000-000000000000"
    done = CliRunner().invoke(app, ["export", training, *options, "-o", str(tmp_path / "x.onnx")])
    assert (done.exit_code, done.stderr) == (2, f"nnmass: {message}\n")


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


def test_the_definition_of_a_training_gives_the_wiring_of_its_seed(tmp_path: Path) -> None:
    architecture = decode_architecture(MLP)
    definition = json.loads(artifact_without_torch(architecture, "definition", 3))
    assert export(definition=definition).stdout == export("--seed", "3").stdout
    assert export("--seed", "4", definition=definition).stdout == export("--seed", "4").stdout
    other = definition | {"seed": 4}
    done = export(definition=other)
    assert (done.exit_code, done.stderr) == (2, OTHER_WIRING)
    for wrong, field in (
        (definition | {"seed": -1}, "seed"),
        (definition | {"more": 1}, "more"),
        ({name: definition[name] for name in ("architecture", "wiring")}, "seed"),
        (definition | {"architecture": MLP | {"width": 0}}, "architecture.width"),
    ):
        done = export(definition=wrong)
        assert (done.exit_code, field in done.stderr, "--seed" in done.stderr) == (2, True, False), done.stderr


def test_files_of_trainings_require_a_service_and_an_id() -> None:
    training = "0199c0de-0000-7000-8000-000000000000"
    done = CliRunner().invoke(app, ["export", training])
    assert (done.exit_code, "--server is required" in done.stderr) == (2, True)
    done = export("--format", "weights", "-o", "weights.pt")
    assert (done.exit_code, "requires the id of a training" in done.stderr) == (2, True)


def test_the_file_of_an_untrained_network_says_so_and_names_its_seed() -> None:
    source = export("--seed", "3").stdout
    assert "Not trained" in source
    assert "WIRING_SEED = 3" in source
    dense = export("--seed", "3", definition=MLP | {"skip_channels": 99}).stdout
    assert "loads trained weights of every seed" in dense.replace("\n", " ")
