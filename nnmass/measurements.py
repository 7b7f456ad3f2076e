"""Device profiles fitted to networks that somebody timed, from a table: docs/tasks/latency.md."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject, encode, one_of, printable, unknown_field_message
from nnmass_core.costs import NANOSECONDS
from nnmass_core.errors import DefinitionError, NotPossible, Problem
from nnmass_core.families import decode_architecture
from nnmass_core.hardware.devices import NAME, read_device
from nnmass_core.hardware.fitting import error_of, families_of, fit_networks
from nnmass_core.hardware.latency import LONGEST
from nnmass_core.named.networks import named_network, named_networks

NETWORK = "network"
TIMES = {"milliseconds": "latency", "images_per_second": "throughput"}
"""The columns that a time may have, and what a profile from it estimates."""

MOST_PROBLEMS = 20
"""The most problems of a table that are reported."""

LONGEST_NAME = 255
"""The most characters of a file's name: systems refuse to look for longer ones."""

MOST_MILLISECONDS = LONGEST / NANOSECONDS


@dataclass(frozen=True)
class Timed:
    """A network that somebody timed: its definition, and its milliseconds."""

    architecture: Architecture
    milliseconds: float


@dataclass(frozen=True)
class Measurements:
    """The networks of a table, and what their milliseconds are: `latency` or `throughput`."""

    networks: tuple[Timed, ...]
    measure: str


@dataclass(frozen=True)
class Fitted:
    """A profile as JSON, and the estimate of each network, in milliseconds, from a fit to other networks."""

    profile: JsonObject
    estimates: tuple[float, ...]


def calibrate(
    measurements: str | Path,
    *,
    name: str,
    title: str = "",
    precision: str = "fp32",
    batch: int = 1,
    runtime: str = "",
    threads: int = 1,
) -> JsonObject:
    """Return a device profile fitted to networks that somebody timed; a search takes it as its `device`.

    >>> profile = nnmass.calibrate("times.csv", name="my-board", precision="int8")
    >>> answer = nnmass.search(space, device=profile, max_latency_ms=5)

    The fit needs scipy (the extra `evidence`). Its error, in `profile["latency"]["held_out"]`, is that of networks that
    were not fitted: each fifth of the table is estimated by a fit to the others.

    Args:
        measurements: A CSV file with a network and a time on each row. The column `network` has the name of a
            well-known network, the name of a file with a definition, as seen from the folder of the table, or a
            definition as JSON. The other column is `milliseconds` or `images_per_second`.
        name: Name of the profile.
        title: Title that people see; by default the name.
        precision: The precision at which the networks were timed: `fp32`, `fp16` or `int8`.
        batch: Images that were processed at once.
        runtime: The runtime of the networks, such as `ONNX Runtime 1.23`.
        threads: Threads for one input.

    Raises:
        DefinitionError: A row of the table is wrong, or it has too few; each problem names the file, row and column.
            Or another argument is wrong.
        NotPossible: scipy is not installed.
    """
    about: JsonObject = {"name": name, "title": title, "source": "nnmass calibrate --measurements", "note": ""}
    known: JsonObject = {"precision": precision, "batch": batch, "runtime": runtime or "not stated", "threads": threads}
    return fitted(read_measurements(Path(measurements)), about, known, str(measurements)).profile


def fitted(found: Measurements, about: Mapping[str, object], known: Mapping[str, object], table: str) -> Fitted:
    """Return the profile that is fitted to measurements.

    Args:
        found: The networks, each with its time.
        about: The profile's name, title, source and note.
        known: The runtime, precision, batch and threads of the measurements.
        table: The name of the table, for errors.

    Raises:
        DefinitionError: There are too few networks, or a field of `about` or `known` is wrong.
        NotPossible: scipy is not installed.
    """
    if not re.fullmatch(NAME, str(about["name"])):
        message = "must be a letter followed by up to 63 of a-z, 0-9, dot, dash and underscore"
        raise DefinitionError.at("name", "bad_name", message)
    works = [timed.architecture.work() or () for timed in found.networks]
    milliseconds = [timed.milliseconds for timed in found.networks]
    try:
        fit = fit_networks(works, milliseconds)
    except DefinitionError as error:
        raise error.under(table) from error
    except ImportError as error:
        raise NotPossible("needs_scipy", "a fit needs scipy: pip install 'nnmass[evidence]'") from error
    networks = [(timed.architecture.family, timed.architecture) for timed in found.networks]
    families = families_of(networks)
    latency = {
        **known,
        "operators": [encode(operator) for operator in fit.operators],
        "held_out": encode(error_of(fit.estimates, milliseconds, len(families))),
        "measure": found.measure,
        "fitted_to": [encode(family) for family in families],
        "on_chip_elements": fit.on_chip,
    }
    try:
        profile = read_device({**about, "latency": latency}).definition()
    except DefinitionError as error:
        own = (Problem(p.field.removeprefix("latency."), p.code, p.message) for p in error.problems)
        raise DefinitionError(own) from error
    return Fitted(profile, tuple(fit.estimates.tolist()))


def read_measurements(path: Path) -> Measurements:
    """Return the networks of a table.

    Raises:
        DefinitionError: A row is wrong; each problem names the file, row and column. The header is row 1.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [*csv.reader(file, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a CSV file in UTF-8"
        raise DefinitionError.at(str(path), "unreadable", f"cannot be read: {reason}") from error
    header = [name.strip() for name in rows[0]] if rows else []
    problems = [Problem(f"{path}, row 1", code, message) for code, message in _problems_of(header)]
    if problems:
        raise DefinitionError(problems)
    (column,) = {*header} & {*TIMES}
    networks: list[Timed] = []
    places: dict[Architecture, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        try:
            timed = _timed(header, row, path.parent, column)
            if timed.architecture in places:
                message = f"is that of row {places[timed.architecture]} again; give each network one time"
                raise DefinitionError.at(NETWORK, "repeated", message)
        except DefinitionError as error:
            problems += [
                Problem(f"{path}, row {number}{problem.field and ', '}{problem.field}", problem.code, problem.message)
                for problem in error.problems
            ]
            continue
        places[timed.architecture] = number
        networks.append(timed)
    if problems:
        raise DefinitionError(problems[:MOST_PROBLEMS])
    return Measurements(tuple(networks), TIMES[column])


def _problems_of(header: list[str]) -> Iterator[tuple[str, str]]:
    """Yield code and message of what is wrong with the names of the columns."""
    known = {NETWORK, *TIMES}
    for name in dict.fromkeys(header):
        if name not in known:
            yield "unknown_column", unknown_field_message(printable(name), known).replace("field", "column")
        elif header.count(name) > 1:
            yield "repeated_column", f'The column "{name}" is there twice.'
    if NETWORK not in header:
        yield "required", f'The column "{NETWORK}" is missing.'
    if len({*header} & {*TIMES}) != 1:
        yield "required", f"One of the columns {' and '.join(TIMES)} must be there, and not both."


def _timed(header: list[str], row: list[str], folder: Path, column: str) -> Timed:
    if len(row) != len(header):
        raise DefinitionError.at("", "bad_length", f"has {len(row)} values, and there are {len(header)} columns")
    values = dict(zip(header, row, strict=True))
    problems: list[Problem] = []
    try:
        milliseconds = _milliseconds(values[column].strip(), column)
    except DefinitionError as error:
        problems += error.under(column).problems
    try:
        architecture = _network(values[NETWORK].strip(), folder)
    except DefinitionError as error:
        problems += error.under(NETWORK).problems
    if problems:
        raise DefinitionError(problems)
    return Timed(architecture, milliseconds)


def _milliseconds(text: str, column: str) -> float:
    """Return the milliseconds of a time. Raises DefinitionError."""
    try:
        value = float(text)
    except ValueError:
        raise DefinitionError.at("", "not_a_number", "must be a number") from None
    found = 1000 / value if TIMES[column] == "throughput" and value else value
    if not 0 < found <= MOST_MILLISECONDS:  # false for NaN too
        raise DefinitionError.at("", "out_of_range", f"must be above 0, and at most {MOST_MILLISECONDS:,.0f} ms")
    return found


def _network(text: str, folder: Path) -> Architecture:
    """Return the network of a row: a definition, a well-known name or a file. Raises DefinitionError."""
    if text.startswith("{"):
        architecture = decode_architecture(_json(text))
    elif text in named_networks():
        architecture = named_network(text)
    elif len(text) <= LONGEST_NAME and (folder / text).is_file():
        architecture = decode_architecture(_json((folder / text).read_bytes()))
    else:
        message = one_of(text, named_networks(), after=", a file or a definition")
        raise DefinitionError.at("", "unknown_network", message)
    if architecture.work() is None:
        raise DefinitionError.at("", "no_latency", f"is a {architecture.family}, which does not report its operations")
    return architecture


def _json(text: str | bytes) -> object:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DefinitionError.at("", "not_json", "is not JSON") from error
    return found
