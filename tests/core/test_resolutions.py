"""Spaces whose resolution is searched, of every family that takes images: docs/theory.md (75)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from nnmass_core.errors import DefinitionError
from nnmass_core.families import FAMILIES, decode_space
from nnmass_core.named.presets import presets, resolve_space
from nnmass_core.request import Maximize, SearchRequest
from nnmass_core.spaces.structure import Structure
from tests.core import brute, residual_problems
from tests.core.brute import Row, expand
from tests.core.problems import random_axis, random_space
from tests.core.same_networks import check_least_costs, check_most_mass, check_paths, find, found_in
from tests.oracle import nn_mass

# untyped: spaces as JSON has them, and networks of any family

OF_CELLS = ("densenet_cnn", "densenet_cnn_depthwise")
OF_IMAGES = (*OF_CELLS, *residual_problems.FAMILIES)
SIDES = (8, 9, 11, 16)


@dataclass(frozen=True)
class SizedRow(Row):
    """One network; `cells` start with its height and width, which are no part of its shape."""

    own_shape: Any = ()

    @property
    def shape(self) -> Any:
        return self.own_shape


def of_sizes(rng: Random, family: str, most: int = 150) -> tuple[dict[str, Any], list[Row]]:
    """Return a space of several resolutions, most times, and its networks in ranking order."""
    of_cells = family in OF_CELLS
    space = random_space(rng, most, family) if of_cells else residual_problems.random_space(rng, family, most)
    sides = random_axis(rng, SIDES, 3)
    space |= {"input": {"channels": space["input"]["channels"], "resolution": sides}}
    if family == "convnext":
        space |= {"patch": 1}  # larger patches of small images leave no map for four stages
    if family in residual_problems.SIZED:
        return space, residual_problems.ranked(space)
    ranked = brute.ranked if of_cells else residual_problems.ranked
    images = [{"channels": space["input"]["channels"], "height": side, "width": side} for side in expand(sides)]
    rows = [sized(row, image["height"]) for image in images for row in ranked(space | {"input": image})]
    return space, sorted(rows, key=lambda row: row.place)


def sized(row: Row, side: int) -> Row:
    figures = (row.mass, row.params, row.macs, row.weights, row.peak, row.indices)
    return SizedRow(((side, side), *row.cells), *figures, own_shape=row.shape)  # type: ignore[arg-type]


def integers_of(network: Any) -> Any:
    """Return the height and width of a network, and the integers of its parts."""
    definition = network.definition()
    if definition["family"] in residual_problems.SIZED:
        return residual_problems.integers(definition)
    size = (definition["input"]["height"], definition["input"]["width"])
    if "stages" in definition:
        return (size, *residual_problems.integers(definition))
    return (size, *((cell["width"], cell["depth"], cell["skip_channels"]) for cell in definition["cells"]))


@pytest.mark.parametrize("family", OF_IMAGES)
@pytest.mark.random_cases(12)
def test_each_network_is_exactly_one_path(family: str, seed: int) -> None:
    space, rows = of_sizes(Random(f"paths {family} {seed}"), family)
    check_paths(space, rows, integers_of)
    largest = decode_space(space).largest().evaluation
    assert max(row.macs for row in rows) <= largest.macs
    assert max(row.peak for row in rows) <= largest.peak_elements


@pytest.mark.parametrize("family", OF_IMAGES)
@pytest.mark.random_cases(12)
def test_the_most_nn_mass_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"most {family} {seed}")
    check_most_mass(*of_sizes(rng, family), integers_of, rng)


@pytest.mark.parametrize("family", OF_IMAGES)
@pytest.mark.random_cases(6)
def test_least_costs_and_fronts_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"least {family} {seed}")
    check_least_costs(*of_sizes(rng, family, 100), integers_of, rng)


@pytest.mark.parametrize("name", [name for name in presets() if "mlp" not in name])
def test_one_resolution_is_the_same_space_as_an_image(name: str) -> None:
    form = resolve_space(name).to_json()
    image: Any = form["input"]
    side, channels = image.get("height", 48), image["channels"]
    plain = decode_space({**form, "input": {"channels": channels, "height": side, "width": side}})
    one = decode_space({**form, "input": {"channels": channels, "resolution": [side]}})
    two = decode_space({**form, "input": {"channels": channels, "resolution": [side, side + 16]}})
    assert one.chain().count() == plain.chain().count() == two.chain().count() // 2
    assert [plain.varies_resolution(), one.varies_resolution(), two.varies_resolution()] == [False, False, True]
    first = [1] * sum(stage.integers.shape[1] for stage in plain.chain().stages)
    if plain.family not in residual_problems.SIZED:
        assert one.architecture(first).arch_id == plain.architecture(first).arch_id
        assert two.architecture([side, side, *first]).arch_id == plain.architecture(first).arch_id
        later = plain.family == "convnext" or form.get("width_rule") == "never_fall"
        earliest = 2 if later else 1  # the first form of requests has no such family, and no such rule
        assert (plain.form_version, one.form_version, two.form_version) == (earliest, 2, 2)
    for space in (one, two):
        again = decode_space(space.to_json())
        assert (again, again.digest, hash(again)) == (space, space.digest, hash(space))
    assert len({plain.digest, one.digest, two.digest}) == 3


@pytest.mark.parametrize("family", [family for family in FAMILIES if "mlp" not in family])
@pytest.mark.parametrize(
    ("images", "field", "code"),
    [
        ({"channels": 3, "resolution": []}, "space.input.resolution", "bad_length"),
        ({"channels": 3, "resolution": [0, 32]}, "space.input.resolution.0", "too_small"),
        ({"channels": 3, "resolution": [32, 8193]}, "space.input.resolution.1", "too_large"),
        ({"resolution": [32]}, "space.input.channels", "required"),
        ({"channels": 3, "resolution": [32], "height": 32}, "space.input.height", "unknown_field"),
    ],
)
def test_an_invalid_field_is_named(family: str, images: dict[str, Any], field: str, code: str) -> None:
    preset = next(preset for preset in presets().values() if preset.space.family == family)
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json({"space": {**preset.space.to_json(), "input": images}})
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [(field, code)]


def test_every_resolution_must_be_large_enough_for_the_cells() -> None:
    form = {**resolve_space("densenet-cifar").to_json(), "input": {"channels": 3, "resolution": [4, 32]}}
    with pytest.raises(DefinitionError, match="input: is too small"):
        decode_space(form)


@pytest.mark.parametrize("family", [family for family in OF_IMAGES if family not in residual_problems.OF_ONE_WIDTH])
@pytest.mark.random_cases(8)
def test_a_structure_and_a_density_hold_at_every_resolution(family: str, seed: int) -> None:
    rng = Random(f"structure {family} {seed}")
    space, rows = of_sizes(rng, family)
    column = 0 if family in OF_CELLS else residual_problems.AXES[family].index("channels")
    widths = [[part[column] for part in row.cells[1:]] for row in rows]
    kept = [row for row, each in zip(rows, widths, strict=True) if each == sorted(each)]
    answer = find(space, {}, Maximize(), structure=Structure(widths="never_fall"), top_k=1000)
    assert found_in(answer, integers_of) == [row.cells for row in kept]
    if family in OF_CELLS:
        densities = [max(nn_mass(((w, d, t),)) / (w * d) for w, d, t in row.cells[1:]) for row in rows]
        bound = float(rng.choice(densities))
        sparse = [row for row, most in zip(rows, densities, strict=True) if float(most) <= bound]
        answer = find(space, {"max_density": bound}, Maximize(), top_k=1000)
        assert found_in(answer, integers_of) == [row.cells for row in sparse]
