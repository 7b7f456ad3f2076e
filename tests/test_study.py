"""The page of the study agrees with its evidence: written from given answers, and as stored in docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nnmass_core.families import decode_architecture
from nnmass_core.named.recipes import Recipe, resolve_recipe
from nnmass_core.verification.evidence import MEASURES, evidence_of
from scripts.study import CNN_RECIPE, SEARCHES, cnn_bodies, mlp_bodies
from scripts.study_page import points_of, write
from tests.parsed import parsed

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS = "dataset,task,recipe,family,role,arch_id,widths,nn_mass,params,macs,accuracy,runs"
VALUE = r"([+-]\d\.\d\d|undefined)(?: \([^)]*\))?"


def verification(body: dict[str, Any], accuracy: float, **more: Any) -> dict[str, Any]:
    architecture = decode_architecture(body["architecture"])
    recipe = body["recipe"] if isinstance(body["recipe"], dict) else resolve_recipe(body["recipe"]).to_json()
    figures = architecture.evaluation
    return {
        "role": "single",
        "search": None,
        "candidate_rank": None,
        "arch_id": architecture.arch_id,
        "nn_mass": float(figures.mass),
        "params": figures.params,
        "macs": figures.macs,
        "architecture": architecture.definition(),
        "recipe": recipe,
        "recipe_name": None if isinstance(body["recipe"], dict) else body["recipe"],
        "recipe_digest": "sha256:aa",
        "seeds": body["seeds"],
        "accuracy": {"mean": accuracy, "std": 0.0125 if len(body["seeds"]) > 1 else None},
        "data": {"train": 700, "test": 300, "digest": "sha256:bb"},
        "device": "cpu (a machine)",
        "threads": 1,
        "seconds": 2.5,
        "versions": {"torch": "9.9"},
        **more,
    }


def part_of(items: list[dict[str, Any]]) -> dict[str, Any]:
    lines = [COLUMNS]
    for item in items:
        cells = item["architecture"].get("cells", [item["architecture"]])
        widths = "x".join(str(cell["width"]) for cell in cells)
        what = ["set", "784/10", "quick", item["architecture"]["family"], item["role"], item["arch_id"], widths]
        figures = [item["nn_mass"], item["params"], item["macs"], item["accuracy"]["mean"], len(item["seeds"])]
        lines.append(",".join(map(str, [*what, *figures])))
    table = "\n".join(lines) + "\n"
    evidence = evidence_of(points_of(table)) | {"scope": {"dataset": "set"}}
    return {"verifications": items, "evidence": evidence, "csv": table}


def grid(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """A grid whose accuracies come from nowhere, and neither rise nor fall with anything."""
    return part_of([verification(body, (i * 37 % 29) / 29) for i, body in enumerate(bodies)])


def optimum(candidate: float, by_params: float, at_random: float) -> dict[str, Any]:
    bodies = list(mlp_bodies())
    roles = {"candidate": candidate, "params_control": by_params, "random_control": at_random}
    items = [
        verification(bodies[3 * rank + place], accuracy, role=role, search="s", candidate_rank=rank)
        for rank in (1, 2)
        for place, (role, accuracy) in enumerate(roles.items())
    ]
    result = {"optimal": True, "space_size": "1234", "caveats": ["widths_differ"]}
    missing = {"control": "params", "candidate_rank": 3, "message": "the space holds no other"}
    search = {"id": "s", "name": "a space", "budget": {"max_params": 9000}, "result": result}
    return part_of(items) | {"searches": [search | {"missing_controls": [missing]}]}


def section(page: str, heading: str) -> str:
    return page.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]


def printed(text: str, name: str) -> list[str]:
    """The values that a table's row gives for NN-Mass, params and MACs, without their intervals."""
    found = re.search(rf"^\| {re.escape(name)} \| {VALUE} \| {VALUE} \| {VALUE} \|$", text, re.MULTILINE)
    assert found, name
    return list(found.groups())


def expected(overall: dict[str, Any], method: str) -> list[str]:
    values = [overall[name][method]["value"] for name in MEASURES]
    return ["undefined" if value is None else f"{value:+.2f}" for value in values]


def check_grid(text: str, table: str) -> None:
    points = points_of(table)
    overall = parsed(evidence_of(points))["overall"]
    assert printed(text, "Spearman's rho") == expected(overall, "spearman")
    assert printed(text, "Kendall's tau-b") == expected(overall, "kendall")
    for point in points:
        figures = f"| {point.nn_mass:.1f} | {point.params:,} | {point.macs:,} | {point.accuracy:.4f} |"
        assert figures in text
    assert len(re.findall(r"^\| \d+ \| [\d ·]+ \|", text, re.MULTILINE)) == len(points)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    docs = tmp_path_factory.mktemp("docs")
    cnn = grid(list(cnn_bodies("images.zip")))
    write({"mlp": grid(list(mlp_bodies())), "optimum": optimum(0.75, 0.5, 0.875), "cnn": cnn}, docs)
    return docs


@pytest.mark.parametrize(("name", "heading"), [("mlp", "MLPs"), ("cnn", "CNNs")])
def test_the_section_of_a_grid_shows_its_evidence(written: Path, name: str, heading: str) -> None:
    text, table = section((written / "study.md").read_text(), heading), (written / f"study/{name}.csv").read_text()
    check_grid(text, table)
    assert f"> {evidence_of(points_of(table))['statement']}\n" in text
    assert ("| 0.013 |" in text) == (name == "mlp")
    assert ("| one seed |" in text) == (name == "cnn")


def test_networks_without_skips_are_evaluated_separately(written: Path) -> None:
    text, table = section((written / "study.md").read_text(), "MLPs"), (written / "study/mlp.csv").read_text()
    skipping = [point for point in points_of(table) if point.nn_mass > 0]
    assert 0 < len(skipping) < 27
    values = expected(parsed(evidence_of(skipping))["overall"], "spearman")
    reported = " ".join(text.split())
    assert f"{27 - len(skipping)} of the networks have no skip connections" in reported
    assert re.search(
        rf"rho is: NN-Mass \{values[0]} \(.*\), params \{values[1]} \(.*\), MACs \{values[2]} \(", reported
    )


def test_the_page_reports_when_a_control_is_more_accurate(written: Path) -> None:
    text = " ".join(section((written / "study.md").read_text(), "The optimum").split())
    assert "25.0 points more accurate than the controls by params, and ahead in 2 of 2 pairs" in text
    assert "12.5 points less accurate than the controls at random, and ahead in 0 of 2 pairs" in text
    assert "The most accurate of all is a random control (0.8750)" in text
    assert "No params control of rank 3: the space holds no other." in text
    assert "The best of 1,234 networks, proved" in text


def test_conditions_name_recipes_devices_and_seconds(written: Path) -> None:
    text = section((written / "study.md").read_text(), "Conditions")
    assert "cpu (a machine), 1 thread a training: torch 9.9 (42 networks)" in text
    assert "`sha256:aa`" in text
    assert "`sha256:bb`" in text
    assert f"epochs {CNN_RECIPE.epochs}" in " ".join(text.split())
    assert "| 68 |" in text  # 27 networks at 2.5 s


def test_plots_are_deterministic_and_small(written: Path, tmp_path: Path) -> None:
    cnn = grid(list(cnn_bodies("images.zip")))
    write({"mlp": grid(list(mlp_bodies())), "optimum": optimum(0.75, 0.5, 0.875), "cnn": cnn}, tmp_path)
    for name in ("mlp", "optimum", "cnn"):
        drawn = (written / f"study/{name}.svg").read_bytes()
        assert drawn == (tmp_path / f"study/{name}.svg").read_bytes()
        assert len(drawn) < 300_000


def test_the_study_trains_distinct_valid_networks() -> None:
    for bodies, most in ((list(mlp_bodies()), 27), (list(cnn_bodies("images.zip")), 9)):
        networks = [decode_architecture(body["architecture"]) for body in bodies]
        assert len({network.arch_id for network in networks}) == len(networks) == most
        assert {0.0} < {float(network.evaluation.mass) for network in networks}
    assert Recipe(**next(cnn_bodies("images.zip"))["recipe"]) == CNN_RECIPE
    assert {search["top_k"] for search in SEARCHES} == {3}


@pytest.mark.parametrize(("name", "heading"), [("mlp", "MLPs"), ("cnn", "CNNs")])
def test_the_page_in_docs_agrees_with_its_points(name: str, heading: str) -> None:
    page, table = (DOCS / "study.md").read_text(), (DOCS / f"study/{name}.csv").read_text()
    check_grid(section(page, heading), table)
    opening = page.split("\n## ", 1)[0]
    row = next(line for line in opening.splitlines() if line.startswith(f"| {heading}"))
    values = [cell.split(" (")[0] for cell in row.strip("| ").split(" | ")[2:]]
    assert values == expected(parsed(evidence_of(points_of(table)))["overall"], "spearman")


def test_the_optimum_in_docs_agrees_with_its_points() -> None:
    text = section((DOCS / "study.md").read_text(), "The optimum")
    points = points_of((DOCS / "study/optimum.csv").read_text())
    for point in points:
        assert f"| {point.nn_mass:.1f} | {point.params:,} | {point.macs:,} | {point.accuracy:.4f} |" in text
    values = {name: figures["spearman"]["value"] for name, figures in parsed(evidence_of(points))["overall"].items()}
    assert f"correlation with accuracy is {values['nn_mass']:.2f} " in text
    assert f"{values['params']:.2f} (95 % interval" in text
