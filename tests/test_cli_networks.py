"""Commands for single networks and for what they can name: compress, evaluate, diagram, export, presets, devices."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import nnmass
from tests.commands import SMALL, run

pytestmark = pytest.mark.usefixtures("no_settings_of_the_user")

SMALL_IMAGE = {"channels": 3, "height": 32, "width": 32}


def test_compress_prints_what_it_saves(tmp_path: Path) -> None:
    done = run("compress", "resnet18", "--top-k", "2")
    assert done.exit_code == 0
    assert re.search(r"Compared with the reference \(NN-Mass 3,392; 11,689,512 params", done.stdout)
    path = tmp_path / "network.json"
    path.write_text(nnmass.export("resnet18", format="json").decode())
    found = json.loads(run("compress", str(path), "--minimize", "params", "--max-macs", "1.5G", "--json").stdout)
    answer = nnmass.compress("resnet18", minimize="params", max_macs="1.5G")
    assert found["items"] == [item.raw for item in answer]


def test_compress_keeps_shares_or_a_ratio_and_shows_one_multiplier() -> None:
    kept = run("compress", "resnet20", "--top-k", "1").stdout
    assert "keeping these shares lost 0.5 to 1.1 points" in kept
    assert re.search(r"^ width x 0\.\d+ .* · .*$", kept, re.MULTILINE)
    half = json.loads(run("compress", "resnet20", "--ratio", "50%", "--top-k", "1", "--json").stdout)
    assert half["result"]["uniform"]["macs"] <= half["items"][0]["macs"] <= 40_813_184 // 2
    assert half["items"] == [item.raw for item in nnmass.compress("resnet20", ratio=0.5, top_k=1)]
    plain = json.loads(run("compress", "resnet20", "--keep-stages", "0", "--keep-params", "0", "--json").stdout)
    assert plain["items"][0]["nn_mass"] >= 624
    none = run("compress", "resnet20", "--ratio", "0.3", "--keep-stages", "95%", "--keep-params", "1")
    assert none.exit_code == 3
    for floor in ("each stage's NN-Mass", "the params"):
        assert f"the share of {floor} to keep" in none.stdout
    assert "--ratio must be a share" in run("compress", "resnet20", "--ratio", "half").stderr
    assert "cannot be combined" in run("compress", "resnet20", "--ratio", "0.5", "--minimize", "params").stderr


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mobilenetv2", "Did you mean mobilenet_v2?"), ("resnet19", "Did you mean resnet"), ("zebra", "Known networks: ")],
)
def test_an_unknown_network_gets_the_known_name_that_is_most_similar(name: str, hint: str) -> None:
    for command in ("compress", "evaluate", "export", "diagram"):
        done = run(command, name)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f'nnmass: "{name}" is not a file or a known network. {hint}')


@pytest.mark.parametrize("name", ["best.pt", "Model.ONNX", "weights.safetensors"])
def test_a_model_file_is_refused_with_what_is_taken(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04\xff")
    for command in ("compress", "evaluate", "export", "diagram"):
        for place in (str(path), name):
            done = run(command, place)
            said = f'nnmass: "{place}" is a model file; give the network\'s definition as JSON, or the name of a known'
            assert (done.exit_code, done.stdout) == (2, "")
            assert done.stderr == f"{said} network\n"
    with pytest.raises(nnmass.DefinitionError, match="cannot be a model file; give the network's definition"):
        nnmass.evaluate([name])
    with pytest.raises(nnmass.DefinitionError, match="cannot be a model file; give the network's definition"):
        nnmass.compress(name)


def test_evaluate_prints_networks_in_the_given_order(tmp_path: Path) -> None:
    path = tmp_path / "two.json"
    path.write_text(json.dumps([nnmass.evaluate([name])[0].definition for name in ("resnet18", "resnet34")]))
    done = run("evaluate", "mobilenet_v2", str(path))
    assert done.exit_code == 0
    places = [done.stdout.index(name) for name in ("3,504,872", "11,689,512", "21,797,672")]
    assert places == sorted(places)
    assert f"{path} #2" in done.stdout
    assert "activations, fp32, batch 8" in run("evaluate", "resnet18", "--batch", "8").stdout
    assert "--batch must be at least 1" in run("evaluate", "resnet18", "--batch", "0").stderr
    results = json.loads(run("evaluate", "resnet18", "--precision", "int8", "--json").stdout)["results"]
    assert results == [item.raw for item in nnmass.evaluate(["resnet18"], precision="int8")]


def test_evaluate_notes_what_is_unusual_about_a_network(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(dict(nnmass.evaluate(["resnet18"])[0].definition) | {"input": SMALL_IMAGE}))
    done = run("evaluate", "resnet18", str(path))
    notes = [line for line in done.stdout.splitlines() if line.startswith("Note on")]
    assert len(notes) == 1
    assert notes[0].startswith(f"Note on {path}: More than a third of a network's layers have feature maps of 2 x 2")
    (result,) = json.loads(run("evaluate", str(path), "--json").stdout)["results"]
    assert result["caveats"] == ["maps_up_to_2x2"]


def test_an_invalid_network_is_reported_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    path.write_text('{"family": "resnet"}')
    done = run("evaluate", "resnet18", str(path))
    assert done.exit_code == 2
    assert f"{path}: stages is required" in done.stderr


def test_presets_lists_the_named_spaces() -> None:
    assert "densenet-cifar-free" in run("presets").stdout
    listed = json.loads(run("presets", "--json").stdout)
    assert {item["name"]: item["space_size"] for item in listed}["densenet-cifar-free"] == "170252539265024"


def test_devices_are_listed_and_limit_a_search() -> None:
    assert "stm32f407" in run("devices").stdout
    limits = {item["name"]: item["limits"] for item in json.loads(run("devices", "--json").stdout)}
    request = json.loads(run("search", *SMALL, "--device", "stm32f407", "--json").stdout)["request"]
    assert request["budget"]["device"] == "stm32f407"
    assert "weight memory" in run("search", *SMALL[:2], "--device", "stm32f407").stdout
    assert request["budget"]["precision"] == "int8"
    named = json.loads(run("search", *SMALL, "--device", "stm32f407", "--precision", "fp32", "--json").stdout)
    assert named["request"]["budget"]["precision"] == "fp32"
    smaller = json.loads(run("compress", "resnet18", "--device", "rp2350", "--json").stdout)
    assert smaller["request"]["budget"] == {"device": "rp2350", "precision": "int8"}
    assert limits["stm32f407"]["max_weight_bytes"] == 2**20


def test_diagram_draws_a_network(tmp_path: Path) -> None:
    path = tmp_path / "network.svg"
    assert run("diagram", "resnet18", "-o", str(path)).exit_code == 0
    assert path.read_text() == run("diagram", "resnet18").stdout == nnmass.diagram("resnet18")
    done = run("diagram", f"arch_{'0' * 32}")
    assert (done.exit_code, "--server is required" in done.stderr) == (2, True)


def test_export_accepts_a_name_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    assert run("export", "resnet18", "--format", "json", "-o", str(path)).exit_code == 0
    assert run("export", str(path)).stdout == run("export", "resnet18", "-o", "-").stdout
    for wrong in ("nowhere.json", str(tmp_path)):
        assert run("export", wrong).exit_code == 2
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    assert "is not JSON" in run("export", str(deep)).stderr
    deep.write_bytes(b"\xff\xfe")
    assert "it is not UTF-8 text" in run("export", str(deep)).stderr


def test_devices_lists_the_memory_limits() -> None:
    done = run("devices")
    assert "stm32f746" in done.stdout
    assert "1,048,576" in done.stdout
    assert json.loads(run("devices", "--json").stdout)[0]["limits"]["max_weight_bytes"] == 1_048_576
