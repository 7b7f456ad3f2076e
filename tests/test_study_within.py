"""The page of networks trained at ResNet-8's limits agrees with its points, and they with what searches answer."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from nnmass_core.named.networks import named_network
from nnmass_core.request import SearchRequest
from scripts.study_within import DEFAULT, RANDOM, REFERENCE, RULES, SEEDS, SPACE_NAMES, bodies, picked, write_within

DOCS = Path(__file__).parents[1] / "docs"


def trained(accuracies: dict[str, list[float]]) -> dict[str, Any]:
    """Stored results of trainings with given accuracies by arch_id."""
    items = []
    for one in picked():
        each, figures = accuracies[one.architecture.arch_id], one.architecture.evaluation
        items.append(
            {
                "arch_id": one.architecture.arch_id,
                "nn_mass": float(figures.mass),
                "params": figures.params,
                "macs": figures.macs,
                "accuracy": {"mean": mean(each), "by_seed": [{"accuracy": value} for value in each]},
                "data": {"train": 5000, "test": 2000},
                "device": "cpu (a machine)",
                "seconds": 2.5,
                "versions": {"torch": "9.9"},
            }
        )
    return {"verifications": items}


def points(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "study/within.csv").read_text().splitlines()))


def check(docs: Path) -> None:
    """Compare every figure of the tables, and of the sentences below them, with the points."""
    page = " ".join((docs / "study-within.md").read_text().split())
    for space, name in SPACE_NAMES.items():
        text = page.split(f"## {name[0].upper()}{name[1:]}", 1)[1].split(" ## ", 1)[0]
        of = [row for row in points(docs) if row["space"] == space]
        beside = mean(float(row["mean"]) for row in of if row["rules"] == RANDOM)
        for row in of:
            each = [float(value) for value in row["accuracies"].split()]
            assert float(row["mean"]) == pytest.approx(mean(each), abs=1e-4)
            figures = f"{float(row['nn_mass']):,.1f} | {int(row['params']):,} | {int(row['macs']):,}"
            by_seed = ", ".join(f"{100 * value:.1f}" for value in each)
            percent = f"{100 * float(row['mean']):.1f}"
            ahead = "" if row["rules"] == RANDOM else f"{100 * (float(row['mean']) - beside):+.1f}"
            line = f"| {row['rules']} | {row['shape']} | {figures} | {percent} | {ahead} | {by_seed} |"
            assert " ".join(line.split()) in text


def test_the_page_shows_the_trainings(tmp_path: Path) -> None:
    networks = picked()
    write_within(
        trained({one.architecture.arch_id: [0.4 + n / 100, 0.43 + n / 90] for n, one in enumerate(networks)}), tmp_path
    )
    check(tmp_path)
    page = " ".join((tmp_path / "study-within.md").read_text().split())
    assert "5,000 images of CIFAR-10 to train on and 2,000 to test on" in page
    assert len(points(tmp_path)) == len(networks)


def test_networks_keep_the_limits_and_every_rule_has_one() -> None:
    most = named_network(REFERENCE).evaluation
    by_space: dict[str, list[str]] = {}
    for one in picked():
        found = one.architecture.evaluation
        assert found.params <= most.params
        assert found.macs <= most.macs
        by_space.setdefault(one.space, []).extend(one.rules)
    assert set(by_space) == set(SPACE_NAMES)
    for rules in by_space.values():
        assert set(rules) - {"ResNet-8"} == {*RULES, RANDOM}
        assert rules.count(RANDOM) == 3
    assert "ResNet-8" in by_space["residual"]
    assert {tuple(body["seeds"]) for body in bodies("images.zip")} == {tuple(SEEDS)}


def test_the_page_in_docs_agrees_with_its_points() -> None:
    check(DOCS)


def test_the_points_are_of_the_networks_that_searches_answer_today() -> None:
    now = {(one.space, "; ".join(one.rules), one.architecture.arch_id) for one in picked()}
    assert {(row["space"], row["rules"], row["arch_id"]) for row in points(DOCS)} == now


def test_the_first_rule_is_the_default_of_a_search_within_a_reference() -> None:
    asked = SearchRequest.asked({"budget": {"within": REFERENCE}})
    assert asked.spend is not None
    assert {"quantity": asked.spend.quantity, "share": asked.spend.share} == RULES[DEFAULT]["spend"]
