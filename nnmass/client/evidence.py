"""Evidence of a service: what trainings and your own figures show about NN-Mass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nnmass.client.calls import Calls, given, path_of
from nnmass.errors import DefinitionError
from nnmass.search_options import definition_of
from nnmass.trainings import Evidence, OwnPoint

PLACE = "/v1/evidence"


class EvidenceCalls(Calls):
    """The client's methods for evidence."""

    def evidence(
        self,
        *,
        dataset: str | None = None,
        family: str | None = None,
        recipe: str | None = None,
        adapted: bool | None = None,
        accuracy: str | None = None,
    ) -> Evidence:
        """Return how well NN-Mass, params, MACs and your own columns order accuracies, with intervals.

        Args:
            dataset: Only trainings on the data set with this key.
            family: Only networks of this family.
            recipe: Only trainings with this recipe.
            adapted: Only trainings whose recipe was adapted to few images, or only the others; None for both.
            accuracy: The name of your column to use as accuracy, in place of the test accuracy of trainings.

        Raises:
            InvalidRequest: A filter is wrong, or you have no such column.
        """
        filters = given(dataset=dataset, family=family, recipe=recipe, adapted=adapted, accuracy=accuracy)
        return Evidence.from_json(self._transport.get(PLACE, filters))

    def evidence_csv(
        self,
        *,
        dataset: str | None = None,
        family: str | None = None,
        recipe: str | None = None,
        adapted: bool | None = None,
        accuracy: str | None = None,
    ) -> str:
        """Return the points of the evidence as CSV, one line for each network, your own columns last.

        Args:
            dataset: Only trainings on the data set with this key.
            family: Only networks of this family.
            recipe: Only trainings with this recipe.
            adapted: Only trainings whose recipe was adapted to few images, or only the others; None for both.
            accuracy: The name of your column to use as accuracy, in place of the test accuracy of trainings.

        Raises:
            InvalidRequest: A filter is wrong, or you have no such column.
        """
        filters = given(dataset=dataset, family=family, recipe=recipe, adapted=adapted, accuracy=accuracy, format="csv")
        return self._transport.send("GET", PLACE, params=filters).text

    def upload_points(self, points: Iterable[Mapping[str, Any]]) -> list[OwnPoint]:
        """Store figures beside networks, such as another proxy or an accuracy that you measured.

        The evidence compares each column with NN-Mass, params and MACs. A figure replaces an earlier one of the same
        network and column.

        Args:
            points: At most 1,000. Each has `values`, figures by the names of their columns; the network as `arch_id` or
                as `architecture`, a definition, an architecture of a result or a well-known name; and, if you like, its
                `name` for charts and tables.

        Returns:
            The networks with all their figures, in the same order.

        Raises:
            InvalidRequest: A field is wrong; each problem names the point's index and the field.
            WrongState: You would have more networks or columns than the service allows.
            DefinitionError: There is no well-known network of a name.
        """
        sent = [_point(index, point) for index, point in enumerate(points)]
        answer = self._transport.post(f"{PLACE}/points", {"points": sent})
        return [OwnPoint.from_json(item) for item in answer["items"]]

    def points(self) -> Iterator[OwnPoint]:
        """Yield the networks beside which you uploaded figures, by `arch_id`."""
        for item in self._pages(f"{PLACE}/points"):
            yield OwnPoint.from_json(item)

    def columns(self) -> dict[str, int]:
        """Return your columns, each with the number of networks that have it."""
        return {item["name"]: item["n"] for item in self._pages(f"{PLACE}/columns")}

    def delete_point(self, arch_id: str) -> None:
        """Delete the figures that you uploaded beside a network.

        Args:
            arch_id: The id of the network.

        Raises:
            NotFound: You have uploaded no figures beside such a network.
        """
        self._transport.delete(path_of(f"{PLACE}/points", arch_id))

    def delete_column(self, name: str) -> None:
        """Delete one of your columns, with all its figures.

        Args:
            name: The name of the column.

        Raises:
            NotFound: You have no such column.
        """
        self._transport.delete(path_of(f"{PLACE}/columns", name))


def _point(index: int, point: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a point as the service takes it, with the definition of its network."""
    if point.get("architecture") is None:
        return point
    try:
        return {**point, "architecture": dict(definition_of(point["architecture"]))}
    except DefinitionError as error:
        raise error.under(f"points.{index}.architecture") from error
