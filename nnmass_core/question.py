"""A search as it is asked in JSON: the fields of `POST /v1/searches`, read into the engine's request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from nnmass_core.budget import Budget
from nnmass_core.errors import DefinitionError
from nnmass_core.hardware.devices import devices
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Pareto, SearchRequest, decode_objective

Find = Callable[[str], object | None]
"""Gives the definition of the architecture that an `arch_id` names, or None."""

FindDevice = Callable[[str], object | None]
"""Gives the profile of a device that does not come with the core, or None."""

RANKED = ("top_k", "diversity", "time_limit_seconds")
T = TypeVar("T")


def unknown(arch_id: str) -> None:
    """Know no architecture by its id."""


def shipped(name: str) -> None:
    """Know no devices but those that come with the core."""


def request_of(question: Mapping[str, Any], find: Find = unknown, find_device: FindDevice = shipped) -> SearchRequest:
    """Return the request that a question makes; what it does not say has its default, other fields are passed over.

    `find` looks up the `arch_id` that a reference may give in place of a definition, `find_device` the name that a
    budget may give in place of a profile. Raises DefinitionError that names the field, as `budget.max_params`.
    """
    space = _under("space", lambda: resolve_space(question["space"]))
    budget = _under("budget", lambda: Budget(**_with_profile(question.get("budget", {}), find_device)))
    wanted = question.get("objective", {"maximize": "nn_mass"})
    objective = _under("objective", lambda: decode_objective(_with_reference(wanted, find)))
    if isinstance(objective, Pareto) and "top_k" in question:
        raise DefinitionError.at("top_k", "conflicts_with_objective", "does not apply to a Pareto front")
    ranked = {name: question[name] for name in RANKED if name in question}
    return SearchRequest(space=space, budget=budget, objective=objective, **ranked)


def _under(field: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except DefinitionError as error:
        raise error.under(field) from error


def _with_profile(budget: Mapping[str, Any], find_device: FindDevice) -> Mapping[str, Any]:
    """Return the budget with the name of a device that does not come with the core looked up."""
    device = budget.get("device")
    profile = find_device(device) if isinstance(device, str) and device not in devices() else None
    return budget if profile is None else {**budget, "device": profile}


def _with_reference(objective: Any, find: Find) -> Any:
    """Return the objective with an `arch_id` in place of a definition looked up."""
    reference = objective.get("reference") if isinstance(objective, Mapping) else None
    if not (isinstance(reference, Mapping) and set(reference) == {"arch_id"}):
        return objective
    definition = find(reference["arch_id"]) if isinstance(reference["arch_id"], str) else None
    if definition is None:
        raise DefinitionError.at("reference.arch_id", "unknown_architecture", "names no architecture known here")
    return {**objective, "reference": definition}
