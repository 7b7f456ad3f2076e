"""The local functions: the same answers in the same types as a service's, without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nnmass
from nnmass import Client, DefinitionError, NotPossible, Progress, formatting
from nnmass.search_options import SearchOptions
from tests.networks import SIZES

ROOT = Path(__file__).parents[2]
MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 784,
    "num_classes": 10,
    "width": 8,
    "depth": 16,
    "skip_channels": 4,
    "activation": "relu",
}
LARGE = ("torch", "scipy", "pydantic", "sqlalchemy", "fastapi", "celery", "typer", "rich", "pandas")

QUESTIONS: list[tuple[str, SearchOptions]] = [
    ("densenet-tiny-free", {"max_params": "100k", "top_k": 150}),
    ("densenet-mlp-mnist", {"max_weight_bytes": "40 KB", "precision": "int8", "diversity": "shape"}),
    (
        "resnet-tiny-free",
        {"objective": {"minimize": "macs", "min_nn_mass": 500.0}, "max_peak_activation_bytes": "300 KiB"},
    ),
    ("resnet-tiny-free", {"objective": {"pareto": ["nn_mass", "params"]}, "max_macs": "40M"}),
    ("densenet-tiny-free", {"max_params": 10, "max_macs": "1M"}),
    ("densenet-tiny-free", {"device": "stm32f407", "max_peak_activation_bytes": "64 KiB"}),
]


@pytest.mark.parametrize(("space", "options"), QUESTIONS)
def test_a_local_search_has_the_same_answer_as_a_service(client: Client, space: str, options: SearchOptions) -> None:
    here = nnmass.search(space, **options)
    there = client.search(space, **options)
    assert here == there
    assert [item.slack for item in here] == [item.slack for item in there]
    assert [item.unused for item in here] == [item.unused for item in there]
    assert [item.nn_mass_per_width for item in here] == [item.nn_mass_per_width for item in there]
    assert not any(item.unused is None or item.nn_mass_per_width is None for item in here)
    assert [item.parts for item in here] == [item.parts for item in there]
    assert here.certificate.space_size
    assert (here.search is None, there.search is not None) == (True, True)
    preview = client.preview(space, **options)
    assert (preview.items, preview.request) == (here.items, here.request)
    assert here.request["budget"]["precision"] == ("int8" if options.keys() & {"device", "precision"} else "fp32")
    document = here.to_json()
    assert json.loads(json.dumps(document)) == document


def test_a_network_is_scaled_here_as_by_a_service(client: Client) -> None:
    asked: SearchOptions = {"max_macs": "9M", "top_k": 3}
    here = nnmass.scale("mlperf-tiny-resnet8", width=[0.5, 0.75, 1], depth={"min": 0.5, "max": 2, "step": 0.5}, **asked)
    space = {"around": "mlperf-tiny-resnet8", "width": [0.5, 0.75, 1], "depth": {"min": 0.5, "max": 2, "step": 0.5}}
    assert here == nnmass.search(space, **asked)
    assert here.certificate.space_size == 6  # one or two blocks of three widths
    there = client.scale("mlperf-tiny-resnet8", width=[0.5, 0.75, 1], depth=[0.5, 1, 1.5, 2], **asked)
    assert there.items == here.items
    assert here.best is not None
    client.register(here.best)
    again = client.scale(here.best.arch_id, width=1, depth=1)
    assert [network.arch_id for network in again] == [here.best.arch_id]


def test_answers_that_differ_are_not_equal() -> None:
    three, two = (nnmass.search("resnet-tiny-free", max_params="1M", top_k=k) for k in (3, 2))
    assert three != two
    assert three.items[:2] == two.items
    assert three[0] == two.best
    assert three[1:] == three.items[1:]


def test_local_compress_and_evaluate_have_the_same_answers_as_a_service(client: Client) -> None:
    assert nnmass.compress("resnet18", top_k=2) == client.compress("resnet18", top_k=2)
    answer = nnmass.compress(MLP, minimize="params")
    assert answer == client.compress(MLP, minimize="params")
    assert answer.certificate.savings is not None
    assert answer.best is not None
    assert answer.best.params <= nnmass.evaluate([MLP])[0].params
    assert nnmass.evaluate(["resnet50", MLP], precision="int8") == client.evaluate(["resnet50", MLP], precision="int8")
    for networks in (nnmass.evaluate(["resnet50", MLP], batch=8), client.evaluate(["resnet50", MLP], batch=8)):
        for one, network in zip(nnmass.evaluate(["resnet50", MLP]), networks, strict=True):
            assert (network.batch, network.peak_activation_bytes) == (8, 8 * one.peak_activation_bytes)
            assert (network.weight_bytes, network.macs) == (one.weight_bytes, one.macs)
    assert nnmass.spaces() == client.spaces()
    assert nnmass.devices() == client.devices()
    assert nnmass.space("resnet-tiny-free") == client.space("resnet-tiny-free")


def test_the_limits_of_a_reference_are_the_same_with_a_service_and_by_its_id(client: Client) -> None:
    (network,) = nnmass.evaluate(["mlperf-tiny-resnet8"])
    here = nnmass.search(within=network, ratio={"macs": 0.75}, top_k=2)
    assert here == client.search(within="mlperf-tiny-resnet8", ratio={"macs": 0.75}, top_k=2)
    assert here.certificate.within is not None
    assert here.certificate.within["limits"]["max_macs"] == 3 * network.macs // 4
    best = here[0]
    assert client.preview(within=best.arch_id, top_k=1) == nnmass.search(within=best, top_k=1)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnext101_32x8d", "wide_resnet50_2"])
def test_the_space_around_a_network_contains_it(name: str) -> None:
    (network,) = nnmass.evaluate([name])
    around = nnmass.space_around(name)
    least = {"minimize": "params", "min_nn_mass": network.nn_mass}
    answer = nnmass.search(around, objective=least, max_params=network.params, max_macs=network.macs)
    assert answer.certificate.feasible, "the network itself fits"


def test_the_space_around_a_network_of_cells_has_their_widths() -> None:
    best = nnmass.search("densenet-cifar", max_params="1M", top_k=1)[0]
    answer = nnmass.compress(best, top_k=3, keep_stages=None, keep_params=None)
    assert all([part["width"] for part in item.parts] == [part["width"] for part in best.parts] for item in answer)
    assert "widths_differ" not in answer.certificate.caveats
    assert all(item.nn_mass >= best.nn_mass for item in answer)


def test_invalid_arguments_are_refused_before_a_request_is_sent(client: Client) -> None:
    for ask in (nnmass.search, client.submit):
        with pytest.raises(DefinitionError) as refused:
            ask("densenet-tiny-free", max_params="1.2")
        assert [problem.field for problem in refused.value.problems] == ["budget.max_params"]
        with pytest.raises(TypeError, match="max_param"):
            ask("densenet-tiny-free", max_param=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("space", "options", "field"),
    [
        ("nowhere", {}, "space"),
        ({"family": "resnet"}, {}, "space.input"),
        ("densenet-tiny-free", {"max_params": -1}, "budget.max_params"),
        ("densenet-tiny-free", {"precision": "fp64"}, "budget.precision"),
        ("densenet-tiny-free", {"device": "toaster"}, "budget.device"),
        ("densenet-tiny-free", {"top_k": 0}, "top_k"),
        ("densenet-tiny-free", {"objective": {"minimize": "params", "min_nn_mass": -1}}, "objective.min_nn_mass"),
        ("densenet-tiny-free", {"spend": {"quantity": "macs", "share": 2}}, "spend.share"),
        ("densenet-tiny-free", {"min_params": 5, "max_params": 4}, "budget.min_params"),
        (None, {}, "space"),
        (None, {"within": "resnet1"}, "budget.within"),
        (None, {"within": "resnet18", "ratio": {"macs": 0}}, "budget.ratio.macs"),
        (None, {"within": "resnet18", "ratio": {"macs": 0.5}, "max_macs": "1G"}, "budget.ratio.macs"),
        ("densenet-tiny-free", {"ratio": {"macs": 0.5}}, "budget.ratio"),
        ("densenet-tiny-free", {"objective": {"pareto": ["nn_mass", "macs"]}, "top_k": 3}, "top_k"),
        ("densenet-tiny-free", {"time_limit_seconds": 0}, "time_limit_seconds"),
    ],
)
def test_local_errors_name_the_same_fields_as_a_service(client: Client, space: Any, options: Any, field: str) -> None:
    for ask in (nnmass.search, client.submit):
        with pytest.raises(DefinitionError) as refused:
            ask(space, **options)
        assert field in [problem.field for problem in refused.value.problems]


def test_evaluate_errors_name_index_and_field() -> None:
    with pytest.raises(DefinitionError) as refused:
        nnmass.evaluate([MLP, MLP | {"width": 0}, "resnet1"])
    assert [problem.field for problem in refused.value.problems] == ["architectures.1.width", "architectures.2"]
    with pytest.raises(DefinitionError, match="precision"):
        nnmass.evaluate([MLP], precision="fp64")
    with pytest.raises(DefinitionError, match="batch: must be at most 65536"):
        nnmass.evaluate([MLP], batch=65_537)


def test_an_architecture_id_is_refused_without_a_service() -> None:
    with pytest.raises(DefinitionError, match="names an unknown architecture"):
        nnmass.compress(f"arch_{'0' * 32}", space="resnet-tiny-free")


def test_a_progress_callback_is_called_and_can_stop_the_search() -> None:
    reported: list[Progress] = []
    nnmass.search("densenet-tiny-free", max_params="100k", progress=reported.append)
    assert reported[0].message == "building the space"
    assert all(0 <= one.fraction <= 1 for one in reported)

    def enough(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nnmass.search("densenet-tiny-free", max_params="100k", progress=enough)


def test_several_spaces_are_one_question() -> None:
    pytest.importorskip("pandas", reason="pandas is optional")
    spaces: list[Any] = ["resnet-tiny-free", nnmass.space("mobilenet-v2-tiny-free")]
    answer = nnmass.search(spaces, max_params="200k", max_macs="20M", top_k=3)
    assert [item.space for item in answer] == [2, 2, 2]
    assert answer.certificate.spaces is not None
    assert [share["networks"] for share in answer.certificate.spaces] == ["28672", "34836480"]
    assert answer.certificate.space_size_exact is None
    assert list(answer.to_pandas()["space"]) == [2, 2, 2]
    assert "<th>space</th>" in answer._repr_html_()
    one = nnmass.search("resnet-tiny-free", max_params="200k", top_k=1)
    assert (one[0].space, one.certificate.spaces) == (None, None)
    assert "space" not in one.to_pandas().columns


def test_networks_are_exported_and_drawn_locally() -> None:
    compile(nnmass.export(MLP, seed=3), "network.py", "exec")
    assert nnmass.export(MLP) != nnmass.export(MLP, seed=1)
    assert json.loads(nnmass.export(MLP, format="json")) == {"version": 1, **MLP}
    assert nnmass.diagram("resnet18").startswith("<svg")
    with pytest.raises(NotPossible, match=r"Client\.export"):
        nnmass.export(MLP, format="onnx")


def test_tables_name_the_precision_and_the_resolution_where_it_varies() -> None:
    pytest.importorskip("pandas", reason="pandas is optional")
    varied = nnmass.search(SIZES, precision="int8", max_macs="100M", top_k=3)
    fixed = nnmass.search(SIZES | {"input": {"channels": 3, "resolution": 32}}, precision="fp16", top_k=3)
    for answer, precision, varies in ((varied, "int8", True), (fixed, "fp16", False)):
        shown, frame = answer._repr_html_(), answer.to_pandas()
        assert f"<th>weights, {precision}</th><th>activations, {precision}</th>" in shown
        assert set(frame["precision"]) == {item.precision for item in answer} == {precision}
        assert ("<th>resolution</th>" in shown) == ("input_height" in frame.columns) == varies
    heights = [item.definition["input"]["height"] for item in varied]
    assert list(varied.to_pandas()["input_height"]) == heights
    assert f"<td>{heights[0]} x {heights[0]}</td>" in varied._repr_html_()
    both = nnmass.evaluate([varied[0], "resnet18"])
    assert list(both.to_pandas()["input_width"]) == [heights[0], 224]
    assert "<td>224 x 224</td>" in both._repr_html_()


def test_a_front_has_no_best_network() -> None:
    front = nnmass.search("resnet-tiny-free", objective={"pareto": ["nn_mass", "params"]}, max_macs="40M")
    assert front.best is None
    assert [(item.rank, item.point) for item in front[:2]] == [(None, 1), (None, 2)]
    assert "<th>point</th>" in front._repr_html_()
    assert "<th>rank</th>" not in front._repr_html_()
    ranking = nnmass.search("resnet-tiny-free", max_macs="40M", top_k=1)
    assert (ranking[0].rank, ranking[0].point) == (1, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Not limited by the budget. Only a larger space would allow a better network."),
        ({"max_params": "1G"}, "Not limited by the budget. Only a larger space would allow a better network."),
        ({"max_params": "1G", "max_macs": "1T"}, "Raising any one limit would not allow a better network."),
        ({"device": "h100-80gb"}, "Raising any one limit would not allow a better network."),
        ({"max_params": "100k"}, "Limited by params. A higher limit would allow a better network."),
        ({"objective": {"minimize": "macs", "min_nn_mass": 900.0}}, ""),
        (
            {"objective": {"minimize": "macs", "min_nn_mass": 900.0}, "max_params": "1G"},
            "Raising any one limit would not lower the MACs.",
        ),
        ({"objective": {"pareto": ["nn_mass", "macs"]}, "max_params": "1G"}, ""),
        ({"max_params": 1}, ""),
    ],
)
def test_what_limits_an_answer_is_said_for_its_objective(options: dict[str, Any], said: str) -> None:
    answer = nnmass.search("resnet-tiny-free", **options)
    assert formatting.binding(answer.certificate.raw, answer.request) == said


def test_a_limit_that_restricts_a_minimum_is_said_to_lower_the_cost() -> None:
    free = nnmass.search("resnet-tiny-free", objective={"minimize": "macs", "min_nn_mass": 900.0}, top_k=1)
    assert free.best is not None
    tight = nnmass.search(
        "resnet-tiny-free",
        objective={"minimize": "macs", "min_nn_mass": 900.0},
        max_params=free.best.params - 1,
        top_k=1,
    )
    said = formatting.binding(tight.certificate.raw, tight.request)
    assert said == "Limited by params. A higher limit would lower the MACs."


def test_an_answer_converts_to_a_data_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is optional")
    answer = nnmass.search("densenet-tiny-free", max_params="100k", max_macs="60M", top_k=12)
    frame = answer.to_pandas()
    assert list(frame["rank"]) == list(range(1, 13))
    assert list(frame["nn_mass"]) == [item.nn_mass for item in answer]
    limits = {f"{share}_max_{cost}" for share in ("slack", "unused") for cost in ("params", "macs")}
    assert {*limits, "width_1", "width_2"} <= set(frame.columns)
    assert list(frame["unused_max_params"]) == [pytest.approx(1 - item.params / 100_000) for item in answer]
    assert "width_3" not in frame.columns
    assert "rank" not in nnmass.evaluate([MLP]).to_pandas().columns


def test_a_data_frame_without_pandas_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NotPossible, match="pip install"):
        nnmass.evaluate([MLP]).to_pandas()


def test_an_answer_has_an_html_representation() -> None:
    answer = nnmass.search("densenet-tiny-free", max_params="100k", top_k=30)
    shown = answer._repr_html_()
    assert shown.count("<tr>") == 21
    assert "proved in" in shown
    assert "and 10 more" in shown
    assert repr(answer) == f"<Answer: {answer}>"
    assert repr(nnmass.evaluate([MLP])) == "<Architectures: 1>"


def loaded_by(code: str) -> set[str]:
    """Return which of the large packages a piece of code loads."""
    probe = f"import sys\n{code}\nprint(*[name for name in {LARGE} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    return set(done.stdout.split())


def test_importing_nnmass_loads_no_heavy_modules() -> None:
    assert loaded_by("import nnmass") == set()
    assert loaded_by("import nnmass; assert 'numpy' not in sys.modules; assert 'httpx2' not in sys.modules") == set()
    everything = (
        "import nnmass; nnmass.search('resnet-tiny-free', max_params='1M'); nnmass.compress('resnet18');"
        "nnmass.evaluate(['resnet18']); nnmass.diagram('resnet18'); nnmass.export('resnet18'); nnmass.spaces();"
        "assert 'httpx2' not in sys.modules"
    )
    assert loaded_by(everything) == set()
    assert loaded_by("import nnmass; nnmass.Client().close(); assert 'numpy' not in sys.modules") == set()


def test_every_public_name_can_be_imported() -> None:
    for name in nnmass.__all__:
        assert getattr(nnmass, name) is not None
    assert set(nnmass.PLACE) | {"__version__"} == set(nnmass.__all__) == set(dir(nnmass))
    with pytest.raises(AttributeError, match="nothing_here"):
        nnmass.nothing_here  # noqa: B018
