"""The client of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from nnmass.client.architectures import ArchitectureCalls
from nnmass.client.calls import path_of
from nnmass.client.campaigns import CampaignCalls
from nnmass.client.evidence import EvidenceCalls
from nnmass.client.searches import SearchCalls
from nnmass.client.transport import SECONDS, Transport
from nnmass.client.verifications import VerificationCalls
from nnmass.results import NamedDevice, NamedSpace
from nnmass.trainings import Named, Readiness
from nnmass_core.codec import JsonObject


class Client(SearchCalls, ArchitectureCalls, VerificationCalls, CampaignCalls, EvidenceCalls):
    """Sends requests to a service, and returns the same types as the local functions.

    Requests without a response are safely repeated a few times; after 429 and 503 the client waits as long as the
    service asks.

    >>> with Client() as client:
    ...     answer = client.search("densenet-cifar", max_params="1M")
    ...     file = client.export(answer.best, format="onnx")

    May be used by several threads. Methods raise the errors of `nnmass.errors`.

    Args:
        url: The address of the service; by default NNMASS_SERVER, else http://127.0.0.1:8000.
        key: An API key; by default NNMASS_KEY.
        timeout: The longest duration of one request, in seconds.

    Raises:
        DefinitionError: The address or the key is not valid.
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
        """Return a named space's full definition, which you can edit and search.

        Args:
            name: The name of a preset, as `spaces` lists them.

        Raises:
            NotFound: There is no such preset.
        """
        found: JsonObject = self._transport.get(path_of("/v1/spaces", name))
        return found

    def devices(self) -> list[NamedDevice]:
        """Return the devices that a search can name, with their limits and sources; your own first."""
        return [NamedDevice.from_json(item) for item in self._pages("/v1/devices")]

    def device(self, name: str) -> NamedDevice:
        """Return a device.

        Args:
            name: The name of a device built into nnmass or of one of your profiles, as `devices` lists them.

        Raises:
            NotFound: There is no such device.
        """
        return NamedDevice.from_json(self._transport.get(path_of("/v1/devices", name)))

    def keep_device(self, profile: Mapping[str, Any]) -> NamedDevice:
        """Store a device profile in the service; it replaces one with the same name.

        Searches can then refer to it by name.

        Args:
            profile: The profile, which `nnmass calibrate` writes.

        Returns:
            The stored device.

        Raises:
            InvalidRequest: A field of the profile is wrong; each problem names its field.
        """
        return NamedDevice.from_json(self._transport.post("/v1/devices", dict(profile)))

    def delete_device(self, name: str) -> None:
        """Delete one of your profiles.

        Args:
            name: The name of the profile.

        Raises:
            NotFound: You have no such profile.
        """
        self._transport.delete(path_of("/v1/devices", name))

    def datasets(self) -> list[Named]:
        """Return the data sets that a verification can name."""
        return [Named.from_json(item) for item in self._pages("/v1/datasets")]

    def recipes(self) -> list[Named]:
        """Return the recipes that a verification can name."""
        return [Named.from_json(item) for item in self._pages("/v1/recipes")]

    def ready(self) -> Readiness:
        """Return whether the service accepts requests, and what is missing.

        Raises:
            ServiceUnreachable: The service does not respond.
        """
        return Readiness.from_json(self._transport.look("/readyz"))


__all__ = ["Client"]
