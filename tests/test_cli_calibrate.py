"""`nnmass calibrate --measurements`: the table, its errors, and the profile that comes of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

import nnmass
from bench.timings import definition_of, row_of
from nnmass.cli import app
from nnmass.errors import DefinitionError
from nnmass.measurements import MOST_PROBLEMS, read_measurements
from nnmass_core.families import decode_architecture

# untyped: definitions and profiles as JSON has them

TINY: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 9,
    "num_classes": 2,
    "width": 8,
    "depth": 4,
    "skip_channels": 1,
    "activation": "relu",
}


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def quoted(definition: dict[str, Any]) -> str:
    return '"' + json.dumps(definition).replace('"', '""') + '"'


def table(folder: Path, *lines: str, name: str = "times.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def timed(folder: Path, column: str, time_of: Any, count: int = 40) -> Path:
    """Write a table of networks, each with a time that is computed from it."""
    rng, lines = Random(3), [f"network,{column}"]
    for _ in range(count):
        choices = [(rng.choice((1, 4, 6)), rng.choice((3, 5)), rng.randint(1, 3), rng.randint(0, 1)) for _ in range(7)]
        definition = definition_of(row_of(choices))
        lines.append(f"{quoted(definition)},{time_of(decode_architecture(definition))!r}")
    return table(folder, *lines)


def milliseconds(network: Any) -> float:
    return 1.5 + float(network.evaluation.macs) / 1e8


# the table


def test_a_network_is_a_name_a_definition_or_a_file_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TINY), encoding="utf-8")
    path = table(
        tmp_path,
        "\ufeffmilliseconds, network",
        "3.5,resnet18",
        "0.25,tiny.json",
        "",
        "0.5," + quoted(TINY | {"width": 16}),
    )
    found = read_measurements(path)
    assert found.measure == "latency"
    assert [(one.architecture.family, one.milliseconds) for one in found.networks] == [
        ("resnet", 3.5),
        ("densenet_mlp", 0.25),
        ("densenet_mlp", 0.5),
    ]
    assert found.networks[1].architecture == decode_architecture(TINY)


def test_images_a_second_are_milliseconds_an_image(tmp_path: Path) -> None:
    found = read_measurements(table(tmp_path, "network,images_per_second", "resnet18,400"))
    assert (found.measure, found.networks[0].milliseconds) == ("throughput", 2.5)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("mobilenet,3", r'row 2, network must be one of mobilenet_v2, .*a definition; did you mean "mobilenet_v2"\?'),
        ("resnet18,fast", "row 2, milliseconds must be a number"),
        ("resnet18,0", "row 2, milliseconds must be above 0, and at most"),
        ("resnet18,-1", "row 2, milliseconds must be above 0, and at most"),
        ("resnet18,nan", "row 2, milliseconds must be above 0, and at most"),
        ("resnet18,inf", "row 2, milliseconds must be above 0, and at most"),
        ("resnet18,", "row 2, milliseconds must be a number"),
        ("resnet18", "row 2 has 1 values, and there are 2 columns"),
        ("{,3", "row 2, network is not JSON"),
        (quoted(TINY | {"width": 0}) + ",3", "row 2, network.width must be at least 1"),
        (",3", "row 2, network must be one of"),
        ("x" * 300 + ",3", "row 2, network must be one of"),
        ("resnet18,1\nresnet34,2\nresnet18,1", "row 4, network is that of row 2 again"),
    ],
)
def test_a_wrong_row_is_named_with_its_column(tmp_path: Path, line: str, problem: str) -> None:
    path = table(tmp_path, "network,milliseconds", line)
    done = run("calibrate", "--measurements", str(path), "--name", "board", "-o", str(tmp_path / "board.json"))
    assert done.exit_code == 2
    assert not (tmp_path / "board.json").exists()
    assert re.match(f"nnmass: {path}, {problem}", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("network,ms", 'row 1: Unknown column "ms".'),
        ("network,millisecond", 'Did you mean "milliseconds"?'),
        ("network", "One of the columns milliseconds and images_per_second must be there, and not both."),
        ("network,milliseconds,images_per_second", "must be there, and not both."),
        ("milliseconds", 'The column "network" is missing.'),
        ("network,network,milliseconds", 'The column "network" is there twice.'),
    ],
)
def test_a_wrong_column_is_named(tmp_path: Path, header: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        nnmass.calibrate(table(tmp_path, header, "resnet18,3"), name="board")
    said = [one.text() for one in caught.value.problems]
    assert any(str(tmp_path / "times.csv") in text and problem in text for text in said), said


def test_every_wrong_row_is_reported_up_to_a_limit(tmp_path: Path) -> None:
    path = table(tmp_path, "network,milliseconds", *["none,0"] * 30)
    with pytest.raises(DefinitionError) as caught:
        nnmass.calibrate(path, name="board")
    assert len(caught.value.problems) == MOST_PROBLEMS


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read: No such file or directory"), (b"\xff\xfe", "cannot be read: it is not a CSV file in UTF")],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "times.csv"
    if content is not None:
        path.write_bytes(content)
    done = run("calibrate", "--measurements", str(path), "--name", "board")
    assert (done.exit_code, reason in done.stderr, str(path) in done.stderr) == (2, True, True)


# the profile


def test_a_fitted_profile_is_a_device_of_searches(tmp_path: Path) -> None:
    path, written = timed(tmp_path, "milliseconds", milliseconds), tmp_path / "board.json"
    options = ("--name", "board", "--precision", "int8", "--runtime", "none", "-o", str(written))
    done = run("calibrate", "--measurements", str(path), *options)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Median error 0.0 % on 40 networks of 1 family that were not fitted" in done.stdout
    profile = json.loads(written.read_text(encoding="utf-8"))
    assert profile == nnmass.calibrate(path, name="board", title="board", precision="int8", runtime="none")
    assert profile["latency"]["fitted_to"][0]["networks"] == 40
    around: dict[str, Any] = nnmass.space_around("mobilenet_v2")
    (network,) = nnmass.search(
        around | {"stages": nnmass.evaluate(["mobilenet_v2"])[0].definition["stages"]},
        device=profile,
        max_latency_ms=100,
        top_k=1,
    )
    assert network.latency_ms == pytest.approx(1.5 + network.macs / 1e8, rel=1e-3)
    found = run("search", "--preset", "mobilenet-v2-tiny-free", "--device", str(written), "--max-latency-ms", "2")
    assert found.exit_code == 0
    assert "Outside the range of the networks that were timed: input.height, input.width" in found.stdout
    assert "Note: Some latencies are extrapolated" in found.stdout
    refused = run("search", "--preset", "densenet-tiny-free", "--device", str(written), "--max-latency-ms", "2")
    assert "--device has a profile fitted to networks of mobilenet_v2, which says nothing about d" in refused.stderr


def test_a_time_of_throughput_is_named_so(tmp_path: Path) -> None:
    path = timed(tmp_path, "images_per_second", lambda network: 1000 / milliseconds(network))
    profile: Any = nnmass.calibrate(path, name="board", batch=64)
    assert (profile["latency"]["measure"], profile["latency"]["batch"]) == ("throughput", 64)
    written = tmp_path / "board.json"
    written.write_text(json.dumps(profile), encoding="utf-8")
    found = run("search", "--preset", "mobilenet-v2-tiny-free", "--device", str(written), "--max-latency-ms", "2")
    assert "Time an image in batches of 64 of the best: " in found.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--measurements", "t.csv"), "--measurements requires --name"),
        (("--measurements", "t.csv", "--name", "b", "--on", "cuda"), "--on does not apply with --measurements"),
        (("--precision", "int8"), "--precision requires --measurements"),
        (("--batch", "2"), "--batch requires --measurements"),
        (("--runtime", "x"), "--runtime requires --measurements"),
        (("--measurements", "t.csv", "--name", "My Board"), "--name must be a letter followed by"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[str, ...], reason: str) -> None:
    done = run("calibrate", *options)
    assert done.exit_code == 2
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"precision": "int4"}, "precision"),
        ({"batch": 0}, "batch"),
        ({"threads": 0}, "threads"),
        ({"name": "A"}, "name"),
    ],
)
def test_a_wrong_argument_is_named(tmp_path: Path, wrong: dict[str, Any], field: str) -> None:
    path = timed(tmp_path, "milliseconds", milliseconds, 30)
    with pytest.raises(DefinitionError) as caught:
        nnmass.calibrate(path, **{"name": "board", **wrong})
    assert [problem.field for problem in caught.value.problems] == [field]


def test_too_few_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"times\.csv: needs at least \d+ networks to fit \d+ times, and has 9"):
        nnmass.calibrate(timed(tmp_path, "milliseconds", milliseconds, 9), name="board")
