"""The replay of public benchmarks: its rules, its figures, and the page that shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.replay.__main__ import results
from bench.replay.benchmarks import Benchmark, inverted_residual_mass, read, rows_of
from bench.replay.compressions import compressions
from bench.replay.correlations import correlations
from bench.replay.pairs import pairs
from bench.replay.picks import DEFAULT, best_of, picks
from bench.replay.tables import tables
from nnmass_core.families import decode_architecture

# untyped: results, as JSON holds them

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "benchmarks"
RESULTS = json.loads((ROOT / "bench/results/replay.json").read_text(encoding="utf-8"))

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the tables of the public benchmarks are not here")


def benchmark(**columns: list[float]) -> Benchmark:
    measures = {name: np.array(values, float) for name, values in columns.items() if name != "accuracy"}
    mass = measures["nn_mass"][:, None]
    return Benchmark("toy", np.array(columns["accuracy"], float), measures, np.arange(len(mass))[:, None], mass)


TOY = benchmark(
    accuracy=[50, 60, 70, 80, 90],
    nn_mass=[9, 9, 7, 5, 1],
    params=[10, 10, 10, 10, 10],
    macs=[50, 40, 96, 100, 200],
    blocks=[1, 1, 1, 1, 1],
)


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("most NN-Mass", [1, 0, 2, 3]),
        ("most NN-Mass, ties by most MACs", [0, 1, 2, 3]),
        (DEFAULT, [2, 3]),
        ("most MACs", [3, 2, 0, 1]),
        ("most params", [1, 0, 2, 3]),
    ],
)
def test_a_rule_orders_the_networks_within_the_budget(rule: str, first: list[int]) -> None:
    assert best_of(TOY, TOY.measures["macs"] <= 100, rule).tolist() == first


def test_a_search_is_compared_with_the_networks_near_its_budget() -> None:
    count = 1000
    line = [float(n) for n in range(1, count + 1)]
    found = picks((benchmark(accuracy=line, nn_mass=line, params=line, macs=line, blocks=line),))
    # of the networks that use 90 to 100 % of a limit of n, the mean accuracy is 0.95 n, that of the best three n - 1
    expected = np.mean([0.05 * (1 + q * (count - 1)) for q in (0.2, 0.35, 0.5, 0.65, 0.8)]) - 1
    assert found["most NN-Mass"]["all"] == {"searches": 15, "ahead": 15, "points": pytest.approx(expected, abs=0.6)}
    reverse = [-value for value in line]
    found = picks((benchmark(accuracy=reverse, nn_mass=line, params=line, macs=line, blocks=line),))
    assert found["most MACs"]["all"]["ahead"] == 0


def test_a_compression_keeps_what_its_rule_says() -> None:
    one = benchmark(
        accuracy=[80, 60, 50, 40],
        nn_mass=[10, 10, 8, 7.9],
        params=[100, 50, 95, 100],
        macs=[9, 6, 3, 1],
        blocks=[1] * 4,
    )
    found = compressions(one)
    equal = {"references": 1, "impossible": 0, "loss": 20.0, "random": 20.0, "fewer": 1.5}
    kept = {"references": 1, "impossible": 0, "loss": 30.0, "random": 30.0, "fewer": 3.0}
    assert found["least MACs at equal NN-Mass"] == equal
    assert found["least MACs with 80 % of each stage's NN-Mass and 95 % of the params"] == kept
    assert found["most NN-Mass within 80% of the MACs"] == equal


def test_correlations_have_the_sign_of_the_order_and_an_interval_around_them() -> None:
    rng = np.random.default_rng(1)
    line = np.arange(400.0)
    noisy = line + rng.normal(0, 100, 400)
    columns = {"nn_mass": -line, "params": noisy, "macs": line, "blocks": 0 * line}
    found = correlations(benchmark(accuracy=[*line], **{name: [*values] for name, values in columns.items()}), 200)
    assert [*found["all"]["nn_mass"].values()] == pytest.approx([-1, -1, -1])
    assert found["all"]["blocks"]["value"] == 0
    rho = found["all"]["params"]
    assert rho["low"] is not None
    assert rho["high"] is not None
    assert 0.6 < rho["low"] < rho["value"] < rho["high"] < 1
    assert found["macs"]["params"]["value"] < rho["value"]


@needs_data
def test_figures_of_the_replay_are_the_stored_ones() -> None:
    found = results(DATA, resamples=0)

    def compare(stored: Any, now: Any) -> None:
        if isinstance(now, dict) and "low" in now:
            assert now["value"] == pytest.approx(stored["value"], abs=1e-9)
        elif isinstance(now, dict):
            assert now.keys() == stored.keys()
            for name, value in now.items():
                compare(stored[name], value)
        else:
            assert now == pytest.approx(stored, abs=1e-9)

    compare(RESULTS, found)


def test_the_page_shows_the_tables_that_the_command_prints() -> None:
    page = (ROOT / "docs/accuracy.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^<!-- table: (.+) -->\n((?:\|.*\n)+)", page, re.MULTILINE))
    assert shown == tables(RESULTS)
    text = (ROOT / "bench/results/replay.md").read_text(encoding="utf-8")
    assert all(table in text for table in shown.values())


def test_the_default_rule_is_ahead_of_random_networks_near_the_budget() -> None:
    found = RESULTS["picks"][DEFAULT]["all"]
    assert found["searches"] == 90
    assert found["ahead"] >= 65
    assert found["points"] >= 0.5


@needs_data
def test_benchmarks_are_read_as_their_sources_describe_them() -> None:
    found = {one.name: one for one in read(DATA)}
    assert {name: len(one) for name, one in found.items()} == {
        "NAS-Bench-Macro": 3969,
        "NAS-Bench-Macro, real networks": 1176,
        "Accel-NASBench": 5138,
        "TransNAS-Bench-101 macro, class_scene": 662,
        "TransNAS-Bench-101 macro, class_object": 662,
        "TransNAS-Bench-101 macro, jigsaw": 725,
    }
    assert set(found["TransNAS-Bench-101 macro, jigsaw"].measures) == {
        *("nn_mass", "params", "macs", "blocks"),
        *("epe_nas", "fisher", "grad_norm", "grasp", "jacov", "l2_norm", "nwot", "plain", "snip"),
    }


def test_nn_mass_of_blocks_is_that_of_the_family() -> None:
    stages = [{"expansion": 1, "channels": 16, "repeats": 1, "stride": 1}]
    stages += [{"expansion": 6, "channels": c, "repeats": 3, "stride": 2} for c in (24, 40)]
    network = decode_architecture(
        {
            "family": "mobilenet_v2",
            "input": {"channels": 3, "height": 224, "width": 224},
            "num_classes": 1000,
            "stem_channels": 32,
            "last_channels": 1280,
            "stages": stages,
        }
    )
    blocks = sum(2 * inverted_residual_mass(channels, 6) for channels in (24, 40))
    assert float(network.evaluation.mass) == pytest.approx(blocks)


def inverted(stages: list[dict[str, int]], classes: int, side: int, stem_stride: int) -> dict[str, Any]:
    """Return a `mobilenet_v2` definition, with every run of equal blocks as one stage."""
    found: list[dict[str, int]] = []
    for stage in stages:
        if found and stage | {"repeats": 0} == found[-1] | {"repeats": 0, "stride": 1}:
            found[-1] = found[-1] | {"repeats": found[-1]["repeats"] + stage["repeats"]}
        else:
            found.append(stage)
    image = {"channels": 3, "height": side, "width": side}
    ends = {"stem_channels": 32, "last_channels": 1280, "stem_stride": stem_stride}
    return {"family": "mobilenet_v2", "input": image, "num_classes": classes, "stages": found, **ends}


@needs_data
def test_networks_of_nas_bench_macro_evaluate_to_the_published_params_and_macs() -> None:
    """The 1,944 strings, 1,176 networks, whose stages have their first blocks: the family has no bare convolution."""
    count, kinds = 0, {"1": {"expansion": 3, "kernel": 3}, "2": {"expansion": 6, "kernel": 5}}
    for row in rows_of(DATA / "nas-bench-macro.csv.gz"):
        stages = []
        for channels, blocks in zip((64, 128, 256), re.findall(r"(..)(...)(...)", row["blocks"])[0], strict=True):
            sizes = [
                {"channels": channels, "repeats": 1, "stride": 2 if first else 1} for first in (True, False, False)
            ]
            stages += [kinds[block] | size for block, size in zip(blocks, sizes, strict=False) if block != "0"]
        if sum(stage["stride"] == 2 for stage in stages) == 3:
            figures = decode_architecture(inverted(stages, classes=10, side=32, stem_stride=1)).evaluation
            assert (figures.params, figures.macs) == (int(row["params"]), int(row["macs"])), row["blocks"]
            count += 1
    assert count == 1944


@needs_data
def test_networks_of_accel_nasbench_evaluate_to_the_published_params() -> None:
    """Their squeeze-and-excitation squeezes to a quarter of the block's input channels, with biases."""
    rows = rows_of(DATA / "accel-nasbench.csv.gz")
    strides, channels = (1, 2, 2, 2, 1, 2, 1), (16, 24, 40, 80, 112, 192, 320)
    for row in rows:
        stages = []
        for number, (stride, width) in enumerate(zip(strides, channels, strict=True)):
            expansion, kernel, repeats, se = map(int, re.findall(r"\d", row[f"b{number}"]))
            size = {"channels": width, "repeats": repeats, "stride": stride}
            stages.append({"expansion": expansion, **size, "kernel": kernel, "se": 4 * se})
        network = decode_architecture(inverted(stages, classes=1000, side=224, stem_stride=2))
        assert network.evaluation.params == round(1e6 * float(row["params_m"])), row["id"]
    assert len(rows) == 5138


def test_a_folder_without_benchmarks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has none of"):
        read(tmp_path)
    assert pairs(tmp_path) == {}
