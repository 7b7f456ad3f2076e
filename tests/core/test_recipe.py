"""Recipes: validation, digests of equal ones, and the numbers and texts of their codec."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.named.datasets import resolve_dataset
from nnmass_core.named.recipes import Recipe, batch_problems, recipe_name, recipes, resolve_recipe, validation_problems

PAPER: dict[str, dict[str, Any]] = {
    "mlp-paper": {"optimizer": "adam", "learning_rate": 1e-3},
    "cifar-paper": {
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "batch_size": 128,
    },
    "imagenet-paper": {
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "weight_decay": 4e-5,
        "schedule": "cosine",
        "epochs": 150,
    },
    "cifar-quick": {"schedule": "one_cycle"},
}


def problems(data: object) -> list[tuple[str, str]]:
    with pytest.raises(DefinitionError) as refused:
        resolve_recipe(data)
    return [(problem.field, problem.code) for problem in refused.value.problems]


@pytest.mark.parametrize("name", PAPER)
def test_named_recipes_have_the_published_values(name: str) -> None:
    form = resolve_recipe(name).to_json()
    assert {field: form[field] for field in PAPER[name]} == PAPER[name]
    assert recipe_name(resolve_recipe(name).digest) == name


def test_a_recipe_reads_back_from_json_and_equal_ones_share_a_digest() -> None:
    for item in recipes().values():
        again = resolve_recipe(json.loads(json.dumps(item.recipe.to_json())))
        assert (again, again.digest) == (item.recipe, item.recipe.digest)
    assert len({item.recipe.digest for item in recipes().values()}) == len(recipes())
    # JSON does not distinguish 1 from 1.0
    whole = resolve_recipe({"optimizer": "adam", "learning_rate": 1, "batch_size": 8.0, "epochs": 2})
    assert whole.digest == Recipe(optimizer="adam", learning_rate=1.0, batch_size=8, epochs=2).digest
    assert recipe_name(replace(whole, epochs=3).digest) is None


def test_a_recipe_without_validation_has_the_digest_that_it_always_had() -> None:
    """The field came later: at 0 it is not written."""
    recipe = recipes()["mlp-paper"].recipe
    assert recipe.digest == "sha256:b1ac975c6fa25b1429d7df9d1520d75c3b6ab17c2c3599a45797b2dd74848be2"
    assert replace(recipe, validation=0.0).digest == recipe.digest
    held_out = replace(recipe, validation=0.1)
    assert held_out.digest != recipe.digest
    assert resolve_recipe(held_out.to_json()) == held_out


def test_a_share_that_holds_out_no_image_of_a_class_is_refused() -> None:
    """4,000 images of 10 classes: a share of 0.00125 of 400 is half an image, which rounds to none."""
    recipe = recipes()["mlp-paper"].recipe
    for share, refused in ((0.0, False), (1e-4, True), (0.00125, True), (0.0013, False), (0.1, False)):
        found = list(validation_problems(replace(recipe, validation=share), 4_000, 10))
        assert [(problem.field, problem.code) for problem in found] == (
            [("validation", "too_small")] if refused else []
        )
    assert not list(validation_problems(replace(recipe, validation=1e-4), None, None))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"learning_rate": 0}, ("learning_rate", "too_small")),
        ({"learning_rate": 1e9}, ("learning_rate", "too_large")),
        ({"learning_rate": float("nan")}, ("learning_rate", "not_a_number")),
        ({"learning_rate": "0.1"}, ("learning_rate", "not_a_number")),
        ({"learning_rate": True}, ("learning_rate", "not_a_number")),
        ({"momentum": 1.0}, ("momentum", "too_large")),
        ({"optimizer": "lion"}, ("optimizer", "unknown_choice")),
        ({"epochs": 1.5}, ("epochs", "not_an_integer")),
        ({"epochs": 1001}, ("epochs", "too_large")),
        ({"batch_size": 0}, ("batch_size", "too_small")),
        ({"validation": 0.51}, ("validation", "too_large")),
        ({"validation": -0.1}, ("validation", "too_small")),
        ({"warmup": 5}, ("warmup", "unknown_field")),
    ],
)
def test_an_invalid_recipe_names_its_field(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert problems(recipes()["cifar-paper"].recipe.to_json() | change) == [expected]


def test_only_sgd_accepts_momentum() -> None:
    assert problems(recipes()["mlp-paper"].recipe.to_json() | {"momentum": 0.9}) == [
        ("momentum", "conflicts_with_optimizer")
    ]
    assert problems("resnet-paper") == [("", "unknown_recipe")]


@pytest.mark.parametrize(
    ("side", "stages", "refused"), [(32, 4, True), (64, 4, False), (32, 3, False), (8, 3, True)], ids=str
)
def test_a_batch_of_one_image_is_refused_at_maps_of_one_position(side: int, stages: int, *, refused: bool) -> None:
    network = decode_architecture(
        {
            "family": "resnet",
            "input": {"channels": 3, "height": side, "width": side},
            "num_classes": 10,
            "block": "basic",
            "stages": [{"channels": 8, "repeats": 1}] * stages,
        }
    )
    recipe = resolve_recipe("cifar-quick")
    problems = list(batch_problems(replace(recipe, batch_size=1), network))
    assert [(problem.field, problem.code) for problem in problems] == [("batch_size", "too_small")] * refused
    assert not list(batch_problems(replace(recipe, batch_size=2), network))


def test_a_batch_of_one_input_is_refused_with_batchnorm_of_linear_layers() -> None:
    form = {"family": "densenet_mlp", "in_features": 6, "num_classes": 3, "width": 4, "depth": 3, "skip_channels": 0}
    recipe = replace(resolve_recipe("mlp-paper"), batch_size=1)
    (problem,) = batch_problems(recipe, decode_architecture(form | {"activation": "relu", "batchnorm": 1}))
    assert (problem.field, problem.code) == ("batch_size", "too_small")
    assert problem.text().endswith("in a batch of one input, BatchNorm would see one value per channel")
    assert not list(batch_problems(recipe, decode_architecture(form | {"activation": "relu"})))


@pytest.mark.parametrize(
    ("path", "code"), [("a" * 401, "too_long"), (5, "not_a_string"), ("../x", None), ("/x", None), ("a\\b", None)]
)
def test_texts_are_bounded_and_match_their_pattern(path: Any, code: str | None) -> None:
    with pytest.raises(DefinitionError) as refused:
        resolve_dataset({"name": "imagefolder", "path": path})
    (problem,) = refused.value.problems
    assert problem.field == "path"
    assert code in (None, problem.code)
