"""The space around a given network in which to search for a cheaper one, for the same inputs and classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnmass.search_options import (
    Definition,
    Reference,
    SearchOptions,
    Space,
    definition_of,
    question_of,
    reference_of,
)
from nnmass_core.codec import JsonObject


def compression_question(
    reference: Reference,
    definition: str | Definition,
    space: Space | None,
    objective: Mapping[str, Any],
    options: SearchOptions,
) -> dict[str, object]:
    """Return the body of a search for a smaller network than a reference.

    Args:
        reference: The network as it was given.
        definition: Its definition, or a name.
        space: Where to look; None is around the reference, with widths that never fall where those of the reference do
            not.
        objective: The objective, as `compression_of` returns it.
        options: Limits, and how much of the answer is wanted.

    Raises:
        DefinitionError: A field is wrong, or no space around the reference is defined.
    """
    asked: SearchOptions = {**options, "objective": {**objective, "reference": reference_of(reference)}}
    if space is None:
        from nnmass_core.families import decode_architecture  # imported here: the client needs no numpy
        from nnmass_core.named.compression import compression_space, keeps_order

        network = decode_architecture(definition_of(definition))
        ratio = objective.get("ratio")
        shares = {"macs": ratio} if ratio is not None and not isinstance(ratio, Mapping) else ratio
        space = compression_space(network, shares)
        if "structure" not in options and keeps_order(network) and len(network.widths) > 1:
            asked["structure"] = {"widths": "never_fall"}
    return question_of(space, asked)


def space_around(network: str | Definition) -> JsonObject:
    """Return a space around a network, which you can edit and search.

    For concatenation cells the widths stay, since NN-Mass compares networks fairly only at equal width; depth and skip
    channels vary. For residual stages, channels vary from about half to one and a half times the network's, and up to
    two blocks are added. For dense blocks, growth varies so, and up to two layers are added.

    Args:
        network: The name of a well-known network, a definition, or a network of an answer.

    Raises:
        DefinitionError: There is no such network, or its family defines no space around a network.
    """
    from nnmass_core.families import decode_architecture  # imported here: the client needs no numpy

    return decode_architecture(definition_of(network)).space_around()
