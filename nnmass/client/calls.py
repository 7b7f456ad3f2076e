"""The shared base of the client's groups of methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from nnmass.client.streams import check
from nnmass.client.transport import Transport, json_of, seconds_of
from nnmass.errors import NotFound
from nnmass.json_fields import Json
from nnmass.results import Architecture, Job
from nnmass.search_options import Definition, definition_of

PAGE = 100
EXPORT_SECONDS = 600.0


class Calls:
    """A group of methods over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _pages(self, path: str, **filters: Any) -> Iterator[Json]:
        """Yield the items of a list, fetched page by page as they are needed."""
        cursor = None
        while True:
            page = self._transport.get(path, {**filters, "limit": filters.get("limit", PAGE), "cursor": cursor})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _file(
        self, path: str, asked: Mapping[str, Any], timeout: float | None, waiting: Callable[[str], None] | None
    ) -> bytes:
        """Return a file; while a worker creates it, wait and ask again. Raises TimedOut."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            answer = self._transport.send("GET", path, params=asked)
            if answer.status_code == 200:
                return answer.content
            if waiting is not None:
                waiting(str(json_of(answer)["message"]))
            check(deadline)
            pause = seconds_of(answer)
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))

    def _known(self, network: str | Definition) -> str:
        """Return the service's id of a network; a definition that is new to the service is registered."""
        if isinstance(network, str) and network.startswith("arch_"):
            return network
        if isinstance(network, Architecture) and self._knows(network.arch_id):
            return network.arch_id
        return str(self._transport.post("/v1/architectures", dict(definition_of(network)))["arch_id"])

    def _knows(self, arch_id: str) -> bool:
        """Return whether the service knows a network. A key that may only read is enough for this."""
        try:
            self._transport.get(path_of("/v1/architectures", arch_id))
        except NotFound:
            return False
        return True


def path_of(collection: str, thing: Job | str, *below: str) -> str:
    """Return the path of a search or a training, or of something below it."""
    name = thing if isinstance(thing, str) else thing.id
    return "/".join([collection, quote(name, safe=""), *(quote(part, safe="") for part in below)])


def given(**parameters: object) -> dict[str, str]:
    """Return the query parameters that are not None, as text."""
    present = {name: value for name, value in parameters.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in present.items()}


def as_json(value: Any) -> Any:
    """Convert a mapping to a dictionary, which JSON writers need; leave every other value unchanged."""
    return dict(value) if isinstance(value, Mapping) else value
