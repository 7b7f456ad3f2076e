"""Architectures of a service: evaluate, register, draw, and export to files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from nnmass.client.calls import Calls, path_of
from nnmass.client.streams import check
from nnmass.client.transport import seconds_of
from nnmass.results import Architecture, Architectures
from nnmass.search_options import Definition, definition_of
from nnmass.trainings import KnownArchitecture

PLACE = "/v1/architectures"
EXPORT_SECONDS = 600.0


class ArchitectureCalls(Calls):
    """The client's methods for architectures.

    A network may be given by an `arch_id` that the service knows, by its definition, as an architecture of a result or,
    where a definition is enough, by a well-known network's name.
    """

    def evaluate(self, networks: Iterable[str | Definition], *, precision: str = "fp32") -> Architectures:
        """Return NN-Mass and every cost of up to 1,000 networks, in order; nothing is stored.

        precision: `fp32`, `fp16` or `int8`, at which bytes are counted. Raises InvalidRequest that names the network's
        index and the field.
        """
        definitions = [dict(definition_of(network)) for network in networks]
        answer = self._transport.post(f"{PLACE}/evaluate", {"architectures": definitions, "precision": precision})
        pairs = zip(answer["results"], definitions, strict=True)
        return Architectures([Architecture.from_json({"architecture": given, **item}) for item, given in pairs])

    def register(self, network: str | Definition) -> KnownArchitecture:
        """Store a network in the service and return it; every request can then refer to it by its `arch_id`."""
        return self.architecture(self._known(network))

    def architecture(self, arch_id: str) -> KnownArchitecture:
        """Return a network that the service knows, with the searches that ranked it. Raises NotFound."""
        return KnownArchitecture.from_json(self._transport.get(path_of(PLACE, arch_id)))

    def export(
        self,
        network: str | Definition,
        *,
        format: str = "pytorch",  # noqa: A002 - the contract's word
        seed: int = 0,
        timeout: float | None = EXPORT_SECONDS,
        waiting: Callable[[], None] | None = None,
    ) -> bytes:
        """Return a network as a file: `pytorch`, `json`, `onnx` or `torchscript`.

        A worker with torch creates the last two; the call waits for them, and calls `waiting` repeatedly meanwhile.
        seed: draws the skip wiring. Raises TimedOut after `timeout` seconds, NotFound, and ServiceError where the file
        cannot be created.
        """
        path = path_of(PLACE, self._known(network), "export")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            answer = self._transport.send("GET", path, params={"format": format, "seed": seed})
            if answer.status_code == 200:
                return answer.content
            if waiting is not None:
                waiting()
            check(deadline)
            pause = seconds_of(answer)
            time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))

    def diagram(self, network: str | Definition) -> str:
        """Return a diagram of a network as self-contained SVG text."""
        return self._transport.send("GET", path_of(PLACE, self._known(network), "diagram.svg")).text
