"""Several spaces in one question: their chains as one, and the number of their different networks.

docs/theory.md (76).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonValue
from nnmass_core.engine.chain import Chain
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.spaces.base import MOST_OPTIONS, AnySpace, Space, too_many_options
from nnmass_core.spaces.joined import NO_INTEGER, common, joined

MOST_SPACES = 8
SEVERAL = "several"
"""The family of spaces of different families."""

MOST_COMPARED = 2_000_000
"""The most options that are compared to count networks of several spaces once: some seconds. No clock: a count is the
same in every run."""


@dataclass(frozen=True)
class SeveralSpaces(AnySpace):
    """Several spaces of any families, for the same input and classes; a network of two of them counts once.

    Args:
        members: The spaces, 2 to 8, in the order of the request.

    Raises:
        DefinitionError: There are too few or too many, one is there twice, or their inputs or classes differ; each
            problem names the position in the list.
    """

    members: tuple[Space, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.members) <= MOST_SPACES:
            raise DefinitionError.at("", "bad_length", f"must be one space, or a list of 2 to {MOST_SPACES}")
        problems: list[Problem] = []
        first = self.members[0]
        for number, space in enumerate(self.members):
            if space in self.members[:number]:
                problems.append(Problem(str(number), "repeated", "repeats an earlier space of the list"))
            if space.inputs() != first.inputs():
                message = "must have the input of the first space: one question is about one kind of input"
                problems.append(Problem(str(number), "different_input", message))
            if space.largest().num_classes != first.largest().num_classes:
                message = "must be that of the first space: one question is about one set of classes"
                problems.append(Problem(f"{number}.num_classes", "different_classes", message))
        options = self.option_bound()
        if not problems and options > MOST_OPTIONS:
            problems.append(too_many_options(options))
        if problems:
            raise DefinitionError(problems)

    @property
    def family(self) -> str:
        """The family of all networks, or `SEVERAL`."""
        families = {space.family for space in self.members}
        return families.pop() if len(families) == 1 else SEVERAL

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The spaces."""
        return self.members

    @property
    def form(self) -> JsonValue:
        """The list of definitions."""
        return [space.to_json() for space in self.members]

    @property
    def form_version(self) -> int:
        """The earliest version of a request's JSON form that has several spaces."""
        return 2

    def architecture(self, integers: Sequence[int]) -> Architecture:
        """Return the architecture of a path.

        Args:
            integers: The position of the space, then the integers of its own path, with `NO_INTEGER` anywhere.
        """
        own = [number for number in integers[1:] if number != NO_INTEGER]
        return self.members[integers[0]].architecture(own)

    def option_bound(self) -> int:
        """Return an upper bound on the number of options of the chain."""
        return sum(space.option_bound() + 1 for space in self.members)

    def varies_width(self) -> bool:
        """Return whether there are networks of different widths: nothing says that widths of two spaces are equal."""
        return True

    def varies_resolution(self) -> bool:
        """Return whether there are networks for images of different sizes."""
        return any(space.varies_resolution() for space in self.members)

    def most_parts(self) -> int:
        """Return the most cells or stages of a network."""
        return max(space.most_parts() for space in self.members)


def chain_of_all(chains: Sequence[Chain]) -> Chain:
    """Return the chain of all networks of some spaces; a path starts with the position of its space.

    A network of two spaces is a path of each.

    Args:
        chains: The chains of the spaces; a single one is returned as it is.
    """
    if len(chains) == 1:
        return chains[0]
    # an empty chain has nodes without options, which no path may reach
    kept = [number for number, chain in enumerate(chains) if chain.count()] or [0]
    return joined([chains[number] for number in kept], np.array(kept, np.int64)[:, None])


@dataclass(frozen=True)
class Size:
    """How many different networks some spaces have: exactly, or at most."""

    networks: int
    exact: bool


def size_of_all(spaces: Sequence[Space], chains: Sequence[Chain]) -> Size:
    """Return the number of different networks of some spaces, by inclusion and exclusion.

    It is exact unless two spaces of a family cannot be compared option by option, or have too many options for it.

    Args:
        spaces: The spaces.
        chains: Their chains, restricted by a structure perhaps.
    """
    every = sum(chain.count() for chain in chains)
    families = [space.family for space in spaces]
    alone = len(set(families)) == len(families)
    if alone:
        return Size(every, True)
    kinds: dict[object, list[Chain]] = {}
    exact = True
    for number, (space, chain) in enumerate(zip(spaces, chains, strict=True)):
        shared = space.shared()
        comparable = shared is not None and chain.parts is None
        exact &= comparable or families.count(space.family) == 1
        kinds.setdefault((space.family, shared, len(chain.stages)) if comparable else number, []).append(chain)
    left = MOST_COMPARED
    total = 0
    for of_kind in kinds.values():
        counted = _inclusion_exclusion(of_kind, left)
        if counted is None:
            return Size(every, False)
        size, used = counted
        total, left = total + size, left - used
    return Size(total, exact)


def _inclusion_exclusion(chains: Sequence[Chain], most: int) -> tuple[int, int] | None:
    """Return the number of different paths, and the options that were compared; None where these are too many."""
    total = used = 0
    sets: list[tuple[int, int, Chain]] = [(number, 1, chain) for number, chain in enumerate(chains)]
    while sets:
        last, sign, chain = sets.pop()
        total += sign * chain.count()
        for number in range(last + 1, len(chains)):
            used += chain.options() + chains[number].options()
            both = None if used > most else common(chain, chains[number])
            if both is None:
                return None
            if both.count():
                sets.append((number, -sign, both))
    return total, used
