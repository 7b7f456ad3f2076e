"""The client of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from nnmass.client.architectures import ArchitectureCalls
from nnmass.client.calls import path_of
from nnmass.client.searches import SearchCalls
from nnmass.client.transport import SECONDS, Transport
from nnmass.client.verifications import VerificationCalls
from nnmass.results import NamedDevice, NamedSpace
from nnmass.trainings import Named, Readiness
from nnmass_core.codec import JsonObject


class Client(SearchCalls, ArchitectureCalls, VerificationCalls):
    """Sends requests to a service, and returns the same types as the local functions.

    url: its address; by default NNMASS_SERVER, else http://127.0.0.1:8000. key: an API key; by default NNMASS_KEY.
    timeout: the longest duration of one request, in seconds. Requests without a response are safely repeated a few
    times; after 429 and 503 the client waits as long as the service asks.

    >>> with Client() as client:
    ...     answer = client.search("densenet-cifar", max_params="1M")
    ...     file = client.export(answer.best, format="onnx")

    Raises errors of `nnmass.errors`. May be used by several threads.
    """

    def __init__(self, url: str | None = None, key: str | None = None, *, timeout: float = SECONDS) -> None:
        super().__init__(Transport(url, key, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r}{', with a key' if self._transport.has_key else ''})"

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._transport.url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def spaces(self) -> list[NamedSpace]:
        """Return the named spaces, each with the number of its distinct architectures."""
        return [NamedSpace.from_json(item) for item in self._pages("/v1/spaces")]

    def space(self, name: str) -> JsonObject:
        """Return a named space's full definition, which you can edit and search. Raises NotFound."""
        found: JsonObject = self._transport.get(path_of("/v1/spaces", name))
        return found

    def devices(self) -> list[NamedDevice]:
        """Return the devices that a search can name, with their limits and sources; your own first."""
        return [NamedDevice.from_json(item) for item in self._pages("/v1/devices")]

    def device(self, name: str) -> NamedDevice:
        """Return a device. Raises NotFound."""
        return NamedDevice.from_json(self._transport.get(path_of("/v1/devices", name)))

    def keep_device(self, profile: Mapping[str, Any]) -> NamedDevice:
        """Store a device profile, which `nnmass calibrate` writes, in the service; it replaces one with the same name.

        Searches can then refer to it by name. Raises InvalidRequest that names the field.
        """
        return NamedDevice.from_json(self._transport.post("/v1/devices", dict(profile)))

    def delete_device(self, name: str) -> None:
        """Delete one of your profiles. Raises NotFound."""
        self._transport.delete(path_of("/v1/devices", name))

    def datasets(self) -> list[Named]:
        """Return the data sets that a verification can name."""
        return [Named.from_json(item) for item in self._pages("/v1/datasets")]

    def recipes(self) -> list[Named]:
        """Return the recipes that a verification can name."""
        return [Named.from_json(item) for item in self._pages("/v1/recipes")]

    def ready(self) -> Readiness:
        """Return whether the service accepts requests, and what is missing. Raises ServiceUnreachable."""
        return Readiness.from_json(self._transport.look("/readyz"))


__all__ = ["Client"]
