"""Inputs of commands: JSON files, and networks by file, name or id."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnmass.cli.exit_codes import exit_on_error, refuse
from nnmass_core.codec import JsonObject, JsonValue
from nnmass_core.named.model_files import TAKEN, is_model_file

HERE = "-"


def json_in(place: str, what: str) -> Any:
    """Return the JSON of a file; - reads standard input. `what` names it in the error if it is not JSON."""
    return _json_of(_text_in(place), what)


def _text_in(place: str) -> str:
    try:
        return sys.stdin.read() if place == HERE else Path(place).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        refuse(f"cannot read {place}: {why}")


def _json_of(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(f"{what} is not JSON: {error}")


def points_in(place: str) -> list[JsonObject]:
    """Return the points of a CSV or JSON file, as `Client.upload_points` takes them; empty cells are no figures."""
    text = _text_in(place)
    if not text.lstrip().startswith(("{", "[")):
        return list(_points_of_table(place, text))
    found = _json_of(text, "the file")
    points = found.get("points") if isinstance(found, Mapping) else found
    if not isinstance(points, list) or not all(isinstance(one, dict) and "values" in one for one in points):
        refuse(f"{place} must contain a list of points, objects with values and arch_id or architecture")
    return points


def _points_of_table(place: str, text: str) -> Iterator[JsonObject]:
    rows = csv.DictReader(text.splitlines())
    identities = [name for name in ("arch_id", "network") if name in (rows.fieldnames or ())]
    if len(identities) != 1:
        refuse(f"{place} must have exactly one of the columns arch_id and network")
    field = "arch_id" if identities == ["arch_id"] else "architecture"
    for row in rows:
        identity, name = row.pop(identities[0]), row.pop("name", None)
        values: dict[str, JsonValue] = {}
        for column, cell in row.items():
            if column is None or cell is None:
                refuse(f"line {rows.line_num} of {place} must have as many cells as the first line")
            if cell:
                values[column] = _number(cell, f"{column} in line {rows.line_num} of {place}")
        named: JsonObject = {"name": name} if name else {}
        yield {field: identity, "values": values, **named}


def _number(cell: str, what: str) -> float:
    try:
        return float(cell)
    except ValueError:
        refuse(f"{what} is not a number: {cell}")


def network_in(place: str) -> Any:
    """Return a network's definition from a file or standard input, or the name of a known network.

    Refuses a file with several networks, or with none.
    """
    return network_and_seed_in(place)[0]


def network_and_seed_in(place: str) -> tuple[Any, int]:
    """Return a network as `network_in` does, and the seed of its wiring: 0 unless the file is that of a training."""
    found, seed = _read(place)
    several = _several(found)
    if several is not None:
        count = f"{len(several)} network{'s' if len(several) != 1 else ''}"
        refuse(f"{place} contains a list of {count}, and this takes one definition (`nnmass search --save` writes one)")
    if not isinstance(found, str | Mapping):
        refuse(f"{place} does not contain a definition, which is a JSON object")
    return found, seed


def _several(found: Any) -> list[Any] | None:
    """Return the networks of a list, or of the output of `search --json`; None for anything else."""
    if isinstance(found, Mapping) and isinstance(found.get("items"), list):
        return [item.get("architecture") if isinstance(item, Mapping) else item for item in found["items"]]
    return found if isinstance(found, list) else None


def _read(place: str) -> tuple[Any, int]:
    """Return what a file contains, or the name of a known network, and the seed of its wiring."""
    if is_model_file(place):
        refuse(f'"{place}" is a model file; {TAKEN}')
    if place != HERE and not Path(place).exists() and _is_name(place):
        return place, 0
    if place != HERE and not Path(place).is_file():
        refuse(_unknown(place))
    found = json_in(place, "the definition")
    return _of_training(found) if isinstance(found, dict) and "wiring" in found else (found, 0)


def _of_training(found: Mapping[str, object]) -> tuple[Any, int]:
    from nnmass_core.export.pytorch_source import read_definition

    with exit_on_error({"seed": "seed"}):  # of the file, not of an option
        architecture, seed = read_definition(found)
    return architecture.definition(), seed


def _unknown(place: str) -> str:
    """Return why a text is not a network, with the most similar known name, or else all known names."""
    from nnmass_core.codec import most_similar

    similar = most_similar(place, _names())
    hint = f"Did you mean {similar}?" if similar else f"Known networks: {', '.join(_names())}."
    return f'"{place}" is not a file or a known network. {hint}'


def networks_in(place: str) -> list[tuple[str, Any]]:
    """Return the networks of a file, each with its name for the output.

    A file may contain one definition, a list of them, or the output of `search --json`.
    """
    found, _ = _read(place)
    several = _several(found)
    if several is None:
        return [(place, found)]
    return [(f"{place} #{number}", network) for number, network in enumerate(several, start=1)]


def _is_name(text: str) -> bool:
    return text in _names()


def _names() -> list[str]:
    from nnmass_core.named.networks import named_networks

    return list(named_networks())
