"""The images of a space: of one shape, or square images of several sizes to choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnmass_core.architecture import Image
from nnmass_core.codec import JsonObject, decode, encode, field_schema, json_schema, object_schema, unknown_fields
from nnmass_core.engine.chain import Chain
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.spaces.axis import Axis, decode_axis, single_axis_schema
from nnmass_core.spaces.base import decode_integer
from nnmass_core.spaces.joined import joined
from nnmass_core.spaces.structure import PartValues

# untyped: an integer and an Axis, by name

CHANNELS = (1, 1024)
RESOLUTION = (1, 8192)


@dataclass(frozen=True)
class Images:
    """The images of the networks of a space.

    Args:
        channels: Channels of the images.
        sizes: Heights and widths to choose from, ascending, each once.
        form: The JSON in which they were written: an image, or `channels` with `resolution`.
    """

    channels: int
    sizes: tuple[tuple[int, int], ...]
    form: Any = field(hash=False)

    @property
    def images(self) -> tuple[Image, ...]:
        """Each image to choose from, ascending in size."""
        return tuple(Image(channels=self.channels, height=height, width=width) for height, width in self.sizes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Channels, height and width of each image to choose from."""
        return tuple((self.channels, *size) for size in self.sizes)

    @property
    def largest(self) -> Image:
        """The largest image."""
        return self.images[-1]

    @property
    def vary(self) -> bool:
        """Whether there are several sizes."""
        return len(self.sizes) > 1

    @property
    def columns(self) -> int:
        """The integers of a path that stand for its image: height and width where sizes vary, else none."""
        return 2 if self.vary else 0

    @property
    def form_version(self) -> int:
        """The earliest version of a request's JSON form that has them in a family that once took one image."""
        return 2 if "resolution" in self.form else 1

    def options(self, of_one: int) -> int:
        """Return the options of `chain`, or a bound on them.

        Args:
            of_one: Those of the chain of one size.
        """
        return len(self.sizes) * (of_one + 1) if self.vary else of_one

    def chain(self, of_one: Callable[[Image], Chain]) -> Chain:
        """Return the chain of all sizes; a path starts with its height and width where sizes vary.

        Args:
            of_one: Returns the chain of one size.
        """
        chains = [of_one(image) for image in self.images]
        return joined(chains, np.array(self.sizes, np.int64)) if self.vary else chains[0]

    def read(self, integers: Sequence[int]) -> tuple[Image, Sequence[int]]:
        """Return the image of a path, and its other integers.

        Args:
            integers: The integers of a path of `chain`.
        """
        if not self.vary:
            return self.largest, integers
        return Image(channels=self.channels, height=integers[0], width=integers[1]), integers[2:]

    def shifted(self, values: PartValues) -> PartValues:
        """Return where the chain of all sizes has the values of parts.

        Args:
            values: Where the chain of one size has them.
        """
        return replace(
            values, columns=tuple(tuple(column + self.columns for column in part) for part in values.columns)
        )


def decode_images(data: object) -> Images:
    """Read the images of a space.

    Args:
        data: An image, or an object with `channels` and the axis `resolution`.

    Raises:
        DefinitionError: A field is wrong; each problem names it.
    """
    if not (isinstance(data, Mapping) and "resolution" in data):
        image = decode(Image, data)
        return Images(image.channels, ((image.height, image.width),), encode(image))
    problems = list(unknown_fields(data, {"channels", "resolution"}))
    found: dict[str, Any] = {}
    if "channels" not in data:
        problems.append(Problem("channels", "required", "is required"))
    for name, read in (
        ("channels", lambda value: decode_integer(value, *CHANNELS)),
        ("resolution", lambda value: decode_axis(value, RESOLUTION)),
    ):
        try:
            found |= {name: read(data[name])} if name in data else {}
        except DefinitionError as error:
            problems += error.under(name).problems
    if problems:
        raise DefinitionError(problems)
    sides: Axis = found["resolution"]
    form = {"channels": found["channels"], "resolution": sides.form}
    return Images(found["channels"], tuple((side, side) for side in sides.values), form)


def images_schema() -> JsonObject:
    """Describe the images of a space as JSON Schema."""
    side = "Height and width in pixels, which may be searched."
    square = object_schema(
        "SquareImages",
        {
            "channels": field_schema(Image, "channels"),
            "resolution": single_axis_schema(*RESOLUTION, side, example=[96, 128, 160]),
        },
    )
    about = "Shape of the input images, or `resolution` for square images of several sizes."
    return {"anyOf": [json_schema(Image), square], "description": about}
