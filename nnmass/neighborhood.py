"""The space around a given network in which to search for a cheaper one, for the same inputs and classes."""

from __future__ import annotations

from nnmass.search_options import Definition, definition_of
from nnmass_core.codec import JsonObject


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
