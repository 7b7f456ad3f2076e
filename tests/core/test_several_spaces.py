"""Several spaces in one question, of one family and of several, against brute force: docs/theory.md (76)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.hardware.latency import estimate
from nnmass_core.named.presets import resolve_space, resolve_spaces
from nnmass_core.named.spending import Spend
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import SearchResult, search
from nnmass_core.spaces import several
from nnmass_core.spaces.structure import Structure
from nnmass_core.verification.controls import params_control, random_control
from tests.core import brute, residual_problems
from tests.core.brute import Row
from tests.core.every_limit import Small, flat
from tests.core.latencies import DEVICE, model
from tests.core.problems import random_space

# untyped: spaces as JSON has them, and what a question has besides its budget

OF_CELLS = ("densenet_cnn", "densenet_cnn_depthwise")
OF_IMAGES = (*OF_CELLS, *residual_problems.FAMILIES)
MINIMIZED = ("params", "macs", "weight_bytes", "peak_activation_bytes", "latency_ms")
OBJECTIVES: tuple[Objective, ...] = (
    *(Maximize(), Maximize(), Maximize("macs")),
    *(Minimize(cost) for cost in MINIMIZED),
    *(Pareto(("params",)), Pareto(("peak_activation_bytes",)), Pareto(("params", "macs"))),
)


@dataclass(frozen=True)
class Network:
    """A network of one or more of the spaces: the first that has it, from 1, and all that have it."""

    arch_id: str
    small: Small
    row: Row
    spaces: tuple[int, ...]

    def cost(self, name: str) -> int:
        return self.small.cost(self.row, name)

    @property
    def place(self) -> tuple[Any, ...]:
        return (*self.row.place[:3], self.spaces[0], self.row.place[3])


def small_of(space: dict[str, Any]) -> Small:
    rows = brute.ranked(space) if space["family"] in OF_CELLS else residual_problems.ranked(space)
    read = decode_space(space)
    works = {row.cells: read.architecture(flat(row)).work() for row in rows}
    return Small(space, rows, {cells: estimate(model(), "", work).nanoseconds for cells, work in works.items() if work})


def random_spaces(rng: Random, families: tuple[str, ...]) -> list[Small]:
    """Return spaces of some families for one input and one number of classes, each different."""
    task = {"input": {"channels": 3, "height": 16, "width": rng.choice((16, 19))}, "num_classes": rng.randint(1, 5)}
    spaces: list[dict[str, Any]] = []
    for family in families:
        while True:
            earlier = [space for space in spaces if space["family"] == family]
            space = near(rng, rng.choice(earlier)) if earlier and rng.random() < 0.8 else a_space(rng, family) | task
            if decode_space(space) not in map(decode_space, spaces):
                break
        spaces.append(space)
    return [small_of(space) for space in spaces]


def a_space(rng: Random, family: str) -> dict[str, Any]:
    if family in OF_CELLS:
        return random_space(rng, 60, family)
    space = residual_problems.random_space(rng, family, 60)
    if family == "resnet":
        space |= {"block": "bottleneck", "groups": rng.choice((1, 2)), "width_per_group": rng.choice((64, 65))}
    return space


def near(rng: Random, space: dict[str, Any]) -> dict[str, Any]:
    """Return a space that differs in one axis, and has a network in common with the given one."""
    if "stages" not in space:
        axes = brute.axes(space["skip_channels"], max(brute.expand(space["cells"])))
        return space | {"skip_channels": [rng.choice(axes[0]), *(one[-1] for one in axes), rng.randint(0, 8)]}
    stages = [dict(stage) for stage in space["stages"]]
    stage = rng.choice(stages)
    if "layers" in stage:
        stage["layers"] = [rng.choice(brute.expand(stage["layers"])), rng.choice((1, 2, 3, 4))]
        return space | {"stages": stages}
    stage["channels"] = [rng.choice(brute.expand(stage["channels"])), rng.choice((1, 2, 3, 4, 6, 8, 16))]
    return space | {"stages": stages}


def networks(smalls: list[Small]) -> list[Network]:
    """Return every network once."""
    found: dict[str, Network] = {}
    for number, small in enumerate(smalls, start=1):
        read = decode_space(small.space)
        for row in small.rows:
            arch_id = read.architecture(flat(row)).arch_id
            known = found.get(arch_id, Network(arch_id, small, row, ()))
            found[arch_id] = Network(arch_id, known.small, known.row, (*known.spaces, number))
    return list(found.values())


def within(found: list[Network], budget: dict[str, Any]) -> list[Network]:
    kept = {id(row) for small in {id(one.small): one.small for one in found}.values() for row in small.within(budget)}
    return [one for one in found if id(one.row) in kept]


def key(one: Network, objective: Objective) -> Any:
    """Return the objective's value with the sign for which less is better."""
    match objective:
        case Maximize(quantity="nn_mass"):
            return -one.row.mass
        case Maximize(quantity=cost):
            return -one.cost(cost)
        case Minimize(cost=cost):
            return one.cost(cost)


def ordered(found: list[Network], objective: Objective) -> list[Network]:
    """Return the ranking, or the front."""
    if not isinstance(objective, Pareto):
        return sorted(found, key=lambda one: (key(one, objective), *one.place))
    front: list[Network] = []
    for one in sorted(found, key=lambda one: (*(one.cost(cost) for cost in objective.costs), *one.place)):
        beaten = any(
            other.row.mass >= one.row.mass and all(other.cost(cost) <= one.cost(cost) for cost in objective.costs)
            for other in front
        )
        front += [] if beaten else [one]
    return front


def ask(smalls: list[Small], budget: dict[str, Any], objective: Objective, **more: Any) -> SearchResult:
    control = more.pop("control", None)
    spaces = resolve_spaces([small.space for small in smalls])
    limits = Budget(**budget, device=DEVICE)
    return search(SearchRequest(space=spaces, budget=limits, objective=objective, **more), control)


def families_of(rng: Random, *, one: bool) -> tuple[str, ...]:
    if one:
        return (rng.choice(OF_IMAGES),) * rng.choice((2, 2, 3))
    return tuple(rng.sample(OF_IMAGES, rng.choice((2, 3)))) + rng.choice(((), ("densenet_cnn",)))


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.random_cases(60)
def test_rankings_and_fronts_equal_brute_force(seed: int, *, one: bool) -> None:
    check(Random(f"several {one} {seed}"), one=one)


@pytest.mark.listed
@pytest.mark.parametrize("one", [True, False])
@pytest.mark.random_cases(20)
def test_answers_of_a_list_equal_brute_force(seed: int, *, one: bool) -> None:
    check(Random(f"listed several {one} {seed}"), one=one)


def check(rng: Random, *, one: bool) -> None:
    """Compare a random question about random spaces with brute force."""
    smalls = random_spaces(rng, families_of(rng, one=one))
    every = networks(smalls)
    budget = rng.choice(smalls).budget(rng)
    objective = rng.choice(OBJECTIVES)
    more: dict[str, Any] = {}
    able = within(every, budget)
    front = isinstance(objective, Pareto)
    likely = ordered(able, objective) if front else able
    out = rng.sample(likely, min(len(likely), rng.choice((0, 0, 2))))
    able = [one for one in able if one not in out]
    more["exclude"] = tuple(decode_space(one.small.space).architecture(flat(one.row)) for one in out)
    if not front:
        more |= {"top_k": rng.choice((1, 3, 1000)), "first_rank": rng.choice((1, 1, 4))}
        if objective == Maximize() and rng.random() < 0.3:
            more["spend"] = Spend("macs", 0.5)
            most = max((one.cost("macs") for one in able), default=0)
            able = [one for one in able if 2 * one.cost("macs") >= most]
    expected = ordered(able, objective)
    shown = expected[more.get("first_rank", 1) - 1 :][: more.get("top_k", len(expected))]
    answer = ask(smalls, budget, objective, **more)
    listed = [(place.architecture.arch_id, place.space) for place in answer.ranking]
    assert listed == [(one.arch_id, one.spaces[0]) for one in shown]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(able))
    if certificate.space_size_exact:
        assert certificate.space_size == len(every)
    else:
        assert certificate.space_size is not None
        assert len(every) <= certificate.space_size <= sum(len(small.rows) for small in smalls)
    for number, share in enumerate(certificate.spaces, start=1):
        assert (share.space, share.networks) == (number, len(smalls[number - 1].rows))
        assert share.count == sum(place.space == number for place in answer.ranking)
        own = [one for one in expected if number in one.spaces]
        if isinstance(objective, Pareto) or not own:
            assert share.bound is None or own == []
            continue
        last = expected[: more["first_rank"] - 1 + more["top_k"]][-1]
        proved = own[0] if key(own[0], objective) < key(last, objective) else last
        assert share.bound == value(proved, objective)
    if not able:
        for name, nearest in (certificate.relaxation or {}).items():
            rest = within(every, {limit: bound for limit, bound in budget.items() if limit != name})
            assert (nearest is None) == all(one in out for one in rest)


def value(one: Network, objective: Objective) -> float:
    """Return the objective's value in its unit."""
    match objective:
        case Maximize(quantity="nn_mass"):
            return float(one.row.mass)
        case Maximize(quantity=cost) | Minimize(cost=cost):
            scale = {"latency_ms": 1e6, "peak_activation_bytes": 1 / 4}.get(cost, 1)
            return one.cost(cost) / scale
    raise AssertionError(objective)


@pytest.mark.parametrize("families", [("densenet_cnn",) * 3, ("mobilenet_v2", "resnet"), ("wide_resnet_cifar",) * 2])
@pytest.mark.random_cases(8)
def test_a_structure_holds_in_each_space(families: tuple[str, ...], seed: int) -> None:
    smalls = random_spaces(Random(f"structure {families} {seed}"), families)

    def keeps(one: Network) -> bool:
        definition = decode_space(one.small.space).architecture(flat(one.row)).definition()
        parts: Any = definition.get("cells") or definition["stages"]
        widths = [part.get("width", part.get("channels")) for part in parts]
        return widths == sorted(widths)

    expected = ordered([one for one in networks(smalls) if keeps(one)], Maximize())
    answer = ask(smalls, {"precision": "fp32"}, Maximize(), structure=Structure(widths="never_fall"), top_k=1000)
    assert [place.architecture.arch_id for place in answer.ranking] == [one.arch_id for one in expected]


@pytest.mark.random_cases(10)
def test_controls_come_from_any_of_the_spaces(seed: int) -> None:
    rng = Random(f"controls {seed}")
    smalls = random_spaces(rng, families_of(rng, one=seed % 2 == 0))
    every = networks(smalls)
    request = SearchRequest(space=resolve_spaces([small.space for small in smalls]), budget=Budget(), top_k=3)
    for place in search(request).ranking:
        candidate = place.architecture
        own = next(one for one in every if one.arch_id == candidate.arch_id)
        # all networks as large as the candidate but one are taken, each perhaps in several spaces
        figures = ("params", "macs", "weight_bytes", "peak_activation_bytes")
        able = [one for one in every if all(one.cost(name) <= own.cost(name) for name in figures) and one != own]
        able.sort(key=lambda one: (-one.cost("params"), -one.cost("macs")))
        taken = frozenset(one.arch_id for one in able[:-1])
        control = params_control(request, candidate, taken)
        assert (control and control.arch_id) == (able[-1].arch_id if able else None)
        drawn = random_control(request, candidate, frozenset(), 1)
        assert drawn is None or drawn.arch_id in {one.arch_id for one in every if one != own}


def test_a_question_that_is_cut_short_has_a_bound() -> None:
    smalls = random_spaces(Random(5), ("densenet_cnn", "resnet"))
    best = max(row.mass for small in smalls for row in small.rows)
    proofs = set()
    for patience in range(0, 60, 3):
        left = iter(range(patience))
        control = Control(expired=lambda left=left: next(left, None) is None)  # type: ignore[misc]
        certificate = ask(smalls, {"precision": "fp32"}, Maximize(), control=control).certificate
        proofs.add(certificate.optimal)
        assert certificate.bound is None or certificate.bound >= float(best)
        assert all(share.bound is None or share.bound >= 0 for share in certificate.spaces)
    assert proofs == {True, False}


@pytest.mark.random_cases(100)
def test_the_size_of_spaces_equals_brute_force(seed: int) -> None:
    check_size(Random(f"sizes {seed}"), one=seed % 3 > 0)


def test_options_of_different_nodes_are_not_taken_for_equal_ones() -> None:
    check_size(Random("collision 56"), one=True)  # most spaces show no difference


def check_size(rng: Random, *, one: bool) -> None:
    """Compare the number of different networks of random spaces with brute force."""
    smalls = random_spaces(rng, families_of(rng, one=one))
    spaces = [decode_space(small.space) for small in smalls]
    size, every = several.size_of_all(spaces, [space.chain() for space in spaces]), len(networks(smalls))
    assert size.networks == every if size.exact else size.networks >= every


def test_what_spaces_share_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = resolve_space("densenet-tiny-free").to_json()
    half, other = tiny | {"width": {"min": 8, "max": 32, "step": 8}}, tiny | {"width": [32, 40, 128]}
    spaces = resolve_spaces(["densenet-tiny-free", half, other])
    size = search(SearchRequest(space=spaces, budget=Budget(max_params=100_000), top_k=1)).certificate
    apart = decode_space(tiny | {"width": [128]}).chain().count()
    pairs = decode_space(tiny | {"width": [32, 40]}).chain().count()
    new = decode_space(other).chain().count() - pairs
    assert apart < new
    assert (size.space_size, size.space_size_exact) == (decode_space(tiny).chain().count() + new, True)
    monkeypatch.setattr(several, "MOST_COMPARED", 10)
    most = search(SearchRequest(space=spaces, budget=Budget(max_params=100_000), top_k=1)).certificate
    assert (most.space_size, most.space_size_exact) == (sum(share.networks for share in size.spaces), False)


def test_copies_leave_no_rank_empty() -> None:
    tiny = resolve_space("densenet-tiny-free")
    inner = decode_space(tiny.to_json() | {"width": {"min": 8, "max": 56, "step": 8}})
    budget = Budget(max_params=100_000)
    for first_rank in (1, 4):
        asked: dict[str, Any] = {"budget": budget, "top_k": 3, "first_rank": first_rank}
        nested = search(SearchRequest(space=several.SeveralSpaces((inner, tiny)), **asked))
        whole = search(SearchRequest(space=tiny, **asked))
        assert [place.architecture.arch_id for place in nested.ranking] == [
            place.architecture.arch_id for place in whole.ranking
        ]


def test_a_list_keeps_its_form_and_one_space_is_that_space() -> None:
    asked: dict[str, Any] = {"space": ["resnet-tiny-free", "mobilenet-v2-tiny-free"], "budget": {"max_params": 10**5}}
    request = SearchRequest.from_json(asked)
    assert (request.version, request.space.family) == (2, "several")
    assert request.to_json()["space"] == [resolve_space(name).to_json() for name in asked["space"]]
    assert SearchRequest.from_json(request.to_json()) == request
    turned = SearchRequest.from_json(asked | {"space": asked["space"][::-1]})
    assert len({request.digest, turned.digest}) == 2
    assert {place.architecture.arch_id for place in search(request).ranking} == {
        place.architecture.arch_id for place in search(turned).ranking
    }


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"space": []}, "space"),
        ({"space": ["resnet-tiny-free"] * 9}, "space"),
        ({"space": ["resnet-tiny-free"]}, "space"),
        ({"space": ["resnet-tiny-free", "nothing"]}, "space.1"),
        ({"space": ["resnet-tiny-free", {"family": "resnet"}]}, "space.1.input"),
        ({"space": ["resnet-tiny-free", "mobilenet-v2-tiny-free", "resnet-tiny-free"]}, "space.2"),
        ({"space": ["resnet-tiny-free", "densenet-cifar"]}, "space.1"),
        ({"space": ["densenet-tiny-free", "densenet-mlp-mnist"]}, "space.1"),
        ({"diversity": "shape"}, "diversity"),
        ({"structure": {"density": "equal"}}, "structure.density"),
        ({"budget": {"max_density": 0.5}}, "budget.max_density"),
    ],
)
def test_an_invalid_field_is_named(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json({"space": ["resnet-tiny-free", "mobilenet-v2-tiny-free"], **asked})
    assert field in [problem.field for problem in refused.value.problems]
    other = resolve_space("resnet-tiny-free").to_json() | {"num_classes": 11}
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json({"space": ["resnet-tiny-free", other]})
    assert [problem.field for problem in refused.value.problems] == ["space.1.num_classes"]
