"""The base class of every family's search space, and the reader of its JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self, cast

from nnmass_core.architecture import Architecture
from nnmass_core.codec import (
    JsonObject,
    JsonValue,
    as_integer,
    check_integer,
    choice_schema,
    one_of,
    sha256_of,
    unknown_fields,
)
from nnmass_core.engine.chain import Chain, Ints, Stage
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.hardware.latency import LatencyModel, Work
from nnmass_core.spaces.structure import PartValues

MOST_OPTIONS = 3_000_000
"""The most options of a space over all its stages; the engine uses about 120 bytes for each."""

_REQUIRED = object()


class AnySpace(ABC):
    """What a request searches: a space of one family, or several spaces."""

    @property
    @abstractmethod
    def family(self) -> str:
        """The family of the networks."""

    @property
    @abstractmethod
    def spaces(self) -> tuple[Space, ...]:
        """The spaces of one family each; the space itself where it is one."""

    @property
    @abstractmethod
    def form(self) -> JsonValue:
        """The JSON form in a request."""

    @property
    @abstractmethod
    def form_version(self) -> int:
        """The earliest version of a request's JSON form (request.py) that has all of the space."""

    @abstractmethod
    def architecture(self, integers: Sequence[int]) -> Architecture:
        """Return the architecture of a path.

        Args:
            integers: The integers of the path in definition order.
        """

    @abstractmethod
    def option_bound(self) -> int:
        """Return an upper bound on the number of options of the chain, without building it."""

    @abstractmethod
    def varies_width(self) -> bool:
        """Return whether the space contains networks of different widths."""

    @abstractmethod
    def varies_resolution(self) -> bool:
        """Return whether the space contains networks for images of different sizes."""

    @abstractmethod
    def most_parts(self) -> int:
        """Return the most cells or stages of a network of the space."""


class Space(AnySpace):
    """A set of architectures of one family, given by ranges. A subclass is a frozen dataclass."""

    family: ClassVar[str]
    densest_evidence: ClassVar[float | None] = None
    """Density of the densest cell whose training the publication reports, for cells with a density."""

    has_skips: ClassVar[bool] = True
    """Whether networks of the family can have skip connections: without them NN-Mass is 0 for all of them."""

    def __post_init__(self) -> None:
        problems = list(self.cross_check()) or list(self._check_size())
        if problems:
            raise DefinitionError(problems)

    @classmethod
    @abstractmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a space from parsed JSON.

        Args:
            data: The full definition of the space, `family` included.

        Raises:
            DefinitionError: The definition is wrong; it has every problem found.
        """

    @abstractmethod
    def to_json(self) -> JsonObject:
        """Write the space as JSON-ready objects that `from_json` reads back to an equal space."""

    @classmethod
    @abstractmethod
    def schema(cls) -> JsonObject:
        """Describe the JSON form as JSON Schema."""

    @classmethod
    def family_schema(cls) -> JsonObject:
        """Describe the field `family` as JSON Schema."""
        return choice_schema((cls.family,), "Family of the networks.")

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The space itself."""
        return (self,)

    @property
    def form(self) -> JsonValue:
        """The definition."""
        return self.to_json()

    def cross_check(self) -> Iterator[Problem]:
        """Yield problems between fields that are each valid."""
        yield from ()

    @abstractmethod
    def largest(self) -> Architecture:
        """Return an architecture whose costs no other of the space exceeds (it need not lie in the space)."""

    def work(self) -> tuple[Work, ...] | None:
        """Return operators of every kind that a network of the space runs; None if the family does not define them."""
        return self.largest().work()

    @abstractmethod
    def chain(self, model: LatencyModel | None = None) -> Chain:
        """Return the space as a chain of stages, in which each architecture is exactly one path.

        Args:
            model: The source of latencies for families whose architectures define their `work`; for others, and without
                a model, latencies are 0.
        """

    def densities(self, stage: Stage) -> tuple[Ints, Ints] | None:
        """Return the densities of the cells that a stage's options define; None where they define no such cell.

        Args:
            stage: A stage of the space's chain.

        Returns:
            Numerators and denominators, (options,) each.
        """
        return None

    def layers(self, chain: Chain) -> tuple[Ints, ...] | None:
        """Return how many layers each option adds to a network's depth: docs/theory.md (69); None if not defined.

        Args:
            chain: The space's chain.

        Returns:
            The layers of each stage's options, (options,) each, whose sum over a path is the depth of its network.
        """
        return None

    def part_values(self, name: str) -> PartValues | None:
        """Return where the chain has a value of each part; None where it means nothing for the family.

        Args:
            name: A field of a structure: `widths`, `density` or `skip_channels`.
        """
        return None

    def most_parts(self) -> int:
        """Return the most cells or stages of a network of the space."""
        return len(self.largest().evaluation.parts)

    @property
    def counts_layers(self) -> bool:
        """Whether the family defines the layers of its options: without them depth cannot be limited."""
        return type(self).layers is not Space.layers

    @property
    def form_version(self) -> int:
        """The earliest version of a request's JSON form (request.py) that has all of the space."""
        return 1

    def varies_resolution(self) -> bool:
        """Return whether the space contains networks for images of different sizes."""
        return False

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of one input that the networks of the space take, ascending."""
        return (self.largest().input_shape,)

    def shared(self) -> tuple[object, ...] | None:
        """Return what all networks of the space have in common beside the integers of its chain; None if unknown.

        Networks of two spaces of a family that differ in this differ. Where it is equal, a network of both spaces is a
        path of equal options in both chains, unless these read stages run by run (`Chain.parts`).
        """
        return None

    @cached_property
    def digest(self) -> str:
        """A hash of the space's JSON form."""
        return sha256_of(self.to_json())

    def _check_size(self) -> Iterator[Problem]:
        options = self.option_bound()
        if options > MOST_OPTIONS:
            yield too_many_options(options)
            return
        try:
            self.largest()
        except DefinitionError as error:
            yield from (Problem("", p.code, f"contains a network that is refused: {p.text()}") for p in error.problems)


def too_many_options(options: int) -> Problem:
    """Return the problem of a space with too many options.

    Args:
        options: The number of options, more than `MOST_OPTIONS`.
    """
    message = f"contains {options:,} options over its stages, more than {MOST_OPTIONS:,}; use larger steps"
    return Problem("", "too_large", message)


class Fields:
    """Reads the fields of one JSON object and collects all problems before it raises.

    Args:
        data: The object; a key that the schema of `kind` does not have is a problem.
        kind: The class of the space that the object defines.
    """

    def __init__(self, data: Mapping[str, Any], kind: type[Space]) -> None:
        self._data = data
        self._problems = list(unknown_fields(data, set(cast("Mapping[str, JsonValue]", kind.schema()["properties"]))))

    def read(self, name: str, parse: Callable[[object], Any], default: Any = _REQUIRED) -> Any:
        """Return the parsed field. On a problem, record it for `stop_if_wrong`; the result is then meaningless.

        Args:
            name: The name of the field.
            parse: Converts the JSON value; it raises DefinitionError if the value is wrong.
            default: The result for a field that is left out; without one the field is required.
        """
        if name not in self._data:
            if default is _REQUIRED:
                self._problems.append(Problem(name, "required", "is required"))
            return default
        try:
            return parse(self._data[name])
        except DefinitionError as error:
            self._problems += error.under(name).problems
            return None

    def stop_if_wrong(self) -> None:
        """Raise the problems recorded so far, if there are any.

        Raises:
            DefinitionError: A field was wrong; it has every problem found.
        """
        if self._problems:
            raise DefinitionError(self._problems)


def decode_integer(data: object, minimum: int, maximum: int) -> int:
    """Read an integer within inclusive bounds.

    Args:
        data: The JSON value; a double without a fraction, such as 1e6, counts as an integer.
        minimum: The least value.
        maximum: The greatest value.

    Raises:
        DefinitionError: The value is not an integer within the bounds.
    """
    number = as_integer(data)
    problems = list(check_integer(number, minimum, maximum, ""))
    if problems or not isinstance(number, int):
        raise DefinitionError(problems)
    return number


def decode_choice(data: object, options: tuple[str, ...]) -> str:
    """Read one of a fixed set of words.

    Args:
        data: The JSON value.
        options: The allowed words.

    Raises:
        DefinitionError: The value is not one of the words.
    """
    if isinstance(data, str) and data in options:
        return data
    raise DefinitionError.at("", "unknown_choice", one_of(data, options))
