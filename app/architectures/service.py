"""What can be done with architectures."""

from __future__ import annotations

from typing import Any

from nnmass_core.architecture import Architecture
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import decode_architecture


def evaluate(definitions: list[Any], precision: str) -> list[dict[str, Any]]:
    """Return NN-Mass and costs of each definition, in order. Raises DefinitionError that names index and field."""
    return [{"arch_id": a.arch_id, **a.evaluation.report(precision)} for a in _decode_all(definitions)]


def _decode_all(definitions: list[Any]) -> list[Architecture]:
    architectures: list[Architecture] = []
    problems: list[Problem] = []
    for index, definition in enumerate(definitions):
        try:
            architectures.append(decode_architecture(definition))
        except DefinitionError as error:
            problems += error.under(f"architectures.{index}").problems
    if problems:
        raise DefinitionError(problems)
    return architectures
