"""What the parts of networks have in common, with every kind of question, against brute force on the oracle."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine import control as controls
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import chain_for, chain_of, search
from nnmass_core.spaces import structure as structures
from nnmass_core.spaces.structure import RULES, Structure
from nnmass_core.verification.controls import params_control, random_control
from tests.core import residual_problems
from tests.core.brute import Row, first_of_each_shape
from tests.core.every_limit import FAMILIES, Small, flat, found, random_small
from tests.oracle import nn_mass

COUPLED = tuple(family for family in FAMILIES if family not in ("densenet_mlp", *residual_problems.OF_ONE_WIDTH))
MINIMIZED = ("params", "macs", "weight_bytes", "peak_activation_bytes", "latency_ms")
OBJECTIVES: tuple[Objective, ...] = (
    *(Maximize(), Maximize(), Maximize("macs"), Pareto(("params",))),
    *(Minimize(cost) for cost in MINIMIZED),
)


def parts(small: Small, row: Row) -> list[dict[str, Any]]:
    """Return the definitions of a network's cells or stages."""
    definition = decode_space(small.space).architecture(flat(row)).definition()
    found: Any = definition.get("cells") or definition["stages"]
    return list(found)


def value(part: dict[str, Any], name: str) -> Any:
    if name == "widths":
        return part.get("width", part.get("channels"))
    if name == "skip_channels":
        return part[name]
    width, depth = part["width"], part["depth"]
    return nn_mass(((width, depth, part["skip_channels"]),)) / (width * depth)


def keeps(small: Small, row: Row, rules: dict[str, str]) -> bool:
    for name, rule in rules.items():
        values = [value(part, name) for part in parts(small, row)]
        if rule == "equal" and len(set(values)) > 1:
            return False
        if rule == "never_fall" and any(after < before for before, after in pairwise(values)):
            return False
    return True


def random_rules(rng: Random, family: str) -> dict[str, str]:
    """Return one rule or more that mean something for a family."""
    names = ["widths"] if family in residual_problems.FAMILIES else list(RULES)
    chosen = rng.sample(names, rng.choice((1, 1, min(2, len(names)), len(names))))
    return {name: rng.choice(RULES[name]) for name in chosen}


def a_question(rng: Random, family: str) -> tuple[Small, dict[str, str], list[Row]]:
    """Return a space, rules, and the networks that keep them, nearly always some."""
    for _ in range(20):
        small = random_small(rng, family)
        rules = random_rules(rng, family)
        kept = [row for row in small.rows if keeps(small, row, rules)]
        if 1 < len(kept) < len(small.rows):
            break
    return small, rules, kept


@pytest.mark.parametrize("family", COUPLED)
@pytest.mark.random_cases(20)
def test_networks_keep_a_structure(family: str, seed: int) -> None:
    check(Random(f"structure {family} {seed}"), family)


@pytest.mark.listed
@pytest.mark.parametrize("family", COUPLED)
@pytest.mark.random_cases(8)
def test_listed_networks_keep_a_structure(family: str, seed: int) -> None:
    check(Random(f"listed structure {family} {seed}"), family)


def check(rng: Random, family: str) -> None:
    """Compare a random question about a random space with brute force."""
    small, rules, kept = a_question(rng, family)
    budget = small.budget(rng)
    objective = rng.choice(OBJECTIVES)
    asked: dict[str, Any] = {"structure": Structure(**rules)}
    if not isinstance(objective, Pareto):
        asked |= {"top_k": rng.choice((1, 3, 1000)), "diversity": rng.choice(("none", "none", "shape"))}
    within = {id(row) for row in small.within(budget)}
    able = ordered(small, [row for row in kept if id(row) in within], objective)
    shown = first_of_each_shape(able) if asked.get("diversity") == "shape" else able
    answer = small.search(budget, objective, **asked)
    assert found(small, answer) == shown[: asked.get("top_k", len(shown))]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(able))
    assert certificate.space_size == len(kept)
    if not able:
        assert set(certificate.relaxation or {}) == set(budget) - {"precision"}
        for name, nearest in (certificate.relaxation or {}).items():
            rest = {id(row) for row in small.within({key: budget[key] for key in budget if key != name})}
            assert (nearest is None) == (not any(id(row) in rest for row in kept))


def ordered(small: Small, rows: list[Row], objective: Objective) -> list[Row]:
    """Return the ranking or the front of rows."""
    match objective:
        case Maximize(quantity="nn_mass"):
            return rows
        case Maximize(quantity=cost):
            return sorted(rows, key=lambda row: (-small.cost(row, cost), *row.place))
        case Minimize(cost=cost):
            return sorted(rows, key=lambda row: (small.cost(row, cost), *row.place))
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.params, *row.place)):
        front += [] if front and row.mass <= front[-1].mass else [row]
    return front


@pytest.mark.parametrize("family", COUPLED)
def test_controls_keep_the_structure(family: str) -> None:
    seen = 0
    for seed in range(8):
        small, rules, kept = a_question(Random(f"controls {family} {seed}"), family)
        request = SearchRequest(space=decode_space(small.space), budget=Budget(), structure=Structure(**rules), top_k=1)
        by_id = {request.space.architecture(flat(row)).arch_id: row for row in kept}
        for place in search(request).ranking:
            candidate = place.architecture
            for control in (
                params_control(request, candidate, frozenset()),
                random_control(request, candidate, frozenset(), 1),
            ):
                if control is not None:
                    seen += 1
                    assert control.arch_id in by_id
    assert seen > 2


def test_a_preset_counts_the_networks_of_a_structure() -> None:
    space = resolve_space("densenet-tiny-free")
    whole = chain_of(space)
    sizes = {}
    for rules in ({"widths": "equal"}, {"widths": "never_fall"}, {"density": "equal"}, {"skip_channels": "equal"}):
        sizes[str(rules)] = chain_for(space, Budget(), (), Structure(**rules)).count()
    assert all(0 < size < whole.count() for size in sizes.values())
    best = search(SearchRequest(space=space, budget=Budget(max_params=10**5), structure=Structure(widths="never_fall")))
    widths = [[cell["width"] for cell in parts_of(place.architecture)] for place in best.ranking]
    assert all(one == sorted(one) for one in widths)
    assert best.certificate.optimal


def parts_of(architecture: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = architecture.definition()["cells"]
    return found


def test_a_structure_that_no_network_keeps_admits_nothing() -> None:
    form = {
        "family": "resnet",
        "input": {"channels": 3, "height": 32, "width": 32},
        "num_classes": 10,
        "block": "basic",
    }
    stages = [{"channels": channels, "repeats": 1} for channels in (32, 16)]
    space = decode_space({**form, "stages": stages})
    for objective in (Maximize(), Minimize("params", 1.0), Pareto(("macs",))):
        for rule in RULES["widths"]:
            request = SearchRequest(
                space=space, budget=Budget(max_params=10**6), objective=objective, structure=Structure(widths=rule)
            )
            certificate = search(request).certificate
            assert (certificate.feasible, certificate.optimal, certificate.space_size) == (False, True, 0)
            limits = {"max_params": None} | ({"min_nn_mass": None} if isinstance(objective, Minimize) else {})
            assert certificate.relaxation == limits


def test_the_tables_of_a_structure_are_worked_out_within_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "FEW_OPTIONS", 100)
    space = resolve_space("densenet-cifar")
    request = SearchRequest(space=space, budget=Budget(max_params=10**6), structure=Structure(density="equal"))
    out_of_time = controls.Control(expired=lambda: True)
    chain_of(space).memory.clear()  # the chain itself is kept, so that only the structure's tables are worked out
    certificate = search(request, out_of_time).certificate
    assert (certificate.unfinished, certificate.space_size) == (("tables",), None)
    size = chain_for(space, Budget(), (), request.structure).count()
    assert search(request, out_of_time).certificate.space_size == size
    chain_of(space).memory.clear()


def test_a_structure_that_needs_too_many_options_names_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structures, "MOST_OPTIONS", 100)
    request = SearchRequest(
        space=resolve_space("densenet-cifar"), budget=Budget(), structure=Structure(density="equal")
    )
    with pytest.raises(DefinitionError) as refused:
        search(request)
    assert [problem.field for problem in refused.value.problems] == ["structure.density"]


def test_a_request_without_a_structure_keeps_its_form_and_its_digest() -> None:
    space = resolve_space("densenet-tiny-free")
    plain = SearchRequest(space=space, budget=Budget())
    other = SearchRequest(space=space, budget=Budget(), structure=Structure(widths="equal", density="equal"))
    assert (plain.version, other.version) == (1, 2)
    assert "structure" not in plain.to_json()
    assert other.to_json()["structure"] == {"widths": "equal", "density": "equal"}
    assert SearchRequest.from_json(other.to_json()) == other
    for off in (None, {}, {"widths": None}):
        asked: dict[str, Any] = {**plain.to_json(), "structure": off}
        assert SearchRequest.from_json(asked).digest == plain.digest != other.digest


@pytest.mark.parametrize(
    ("space", "asked", "field"),
    [
        ("densenet-tiny-free", {"widths": "rise"}, "structure.widths"),
        ("densenet-tiny-free", {"widths": 5}, "structure.widths"),
        ("densenet-tiny-free", {"density": "never_fall"}, "structure.density"),
        ("densenet-tiny-free", {"depths": "equal"}, "structure.depths"),
        ("densenet-tiny-free", "equal", "structure"),
        ("resnet-tiny-free", {"density": "equal"}, "structure.density"),
        ("mobilenet-v2-imagenet-free", {"skip_channels": "equal"}, "structure.skip_channels"),
    ],
)
def test_an_invalid_field_is_named(space: str, asked: Any, field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json({"space": space, "structure": asked})
    assert [problem.field for problem in refused.value.problems] == [field]


def test_a_family_of_one_cell_has_no_structure() -> None:
    form = {"family": "densenet_mlp", "in_features": 4, "num_classes": 2, "width": 4, "depth": 4, "skip_channels": 2}
    for name in RULES:
        with pytest.raises(DefinitionError, match="means nothing for densenet_mlp"):
            SearchRequest.from_json({"space": form | {"activation": "relu"}, "structure": {name: "equal"}})
