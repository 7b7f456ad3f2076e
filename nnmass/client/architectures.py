"""Architectures of a service: evaluate, register, draw, and export to files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nnmass.client.calls import EXPORT_SECONDS, Calls, given, path_of
from nnmass.results import Architecture, Architectures
from nnmass.search_options import Definition, definition_of
from nnmass.trainings import KnownArchitecture

PLACE = "/v1/architectures"


class ArchitectureCalls(Calls):
    """The client's methods for architectures.

    A network may be given by an `arch_id` that the service knows, by its definition, as an architecture of a result or,
    where a definition is enough, by a well-known network's name.
    """

    def evaluate(
        self, networks: Iterable[str | Definition], *, precision: str = "fp32", batch: int = 1
    ) -> Architectures:
        """Return NN-Mass and every cost of up to 1,000 networks, in order; nothing is stored.

        Args:
            networks: Definitions, or names of well-known networks.
            precision: The precision at which bytes are counted: `fp32`, `fp16` or `int8`.
            batch: How many inputs run at a time, 1 to 65,536: activations are those of all of them.

        Returns:
            The networks with their figures, in the same order.

        Raises:
            InvalidRequest: A network or the batch is wrong; each problem names the network's index and the field.
            DefinitionError: There is no well-known network of a name.
        """
        definitions = [dict(definition_of(network)) for network in networks]
        body = {"architectures": definitions, "precision": precision} | ({} if batch == 1 else {"batch": batch})
        answer = self._transport.post(f"{PLACE}/evaluate", body)
        pairs = zip(answer["results"], definitions, strict=True)
        return Architectures([Architecture.from_json({"architecture": given, **item}) for item, given in pairs])

    def register(self, network: str | Definition) -> KnownArchitecture:
        """Store a network in the service and return it; every request can then refer to it by its `arch_id`.

        Args:
            network: A definition, an architecture of a result, or the name of a well-known network.

        Raises:
            InvalidRequest: The definition is wrong; each problem names its field.
            DefinitionError: There is no well-known network of this name.
        """
        return self.architecture(self._known(network))

    def architecture(self, arch_id: str) -> KnownArchitecture:
        """Return a network that the service knows, with the searches that ranked it.

        Args:
            arch_id: The id of the network: `arch_` and 32 hexadecimal digits.

        Raises:
            NotFound: The service does not know the network.
        """
        return KnownArchitecture.from_json(self._transport.get(path_of(PLACE, arch_id)))

    def export(
        self,
        network: str | Definition,
        *,
        format: str = "pytorch",  # noqa: A002 - the contract's word
        seed: int = 0,
        batch: int | str | None = None,
        opset: int | None = None,
        fold_batchnorm: bool | None = None,
        timeout: float | None = EXPORT_SECONDS,
        waiting: Callable[[str], None] | None = None,
    ) -> bytes:
        """Return an untrained network as a file; `export_trained` returns the files of a training.

        A worker with torch creates `onnx`, `metadata` and `torchscript` files, and the call waits for them.

        Args:
            network: An `arch_id`, a definition, an architecture of a result, or the name of a well-known network.
            format: `pytorch`, `json`, `onnx`, `torchscript`, or `metadata`, what the ONNX file says about itself, as
                JSON.
            seed: Draws the wiring, and the initial weights of `onnx` and `torchscript`. Weights of a training with
                another seed do not load into the file.
            batch: The number of inputs that an ONNX file takes at once, or `dynamic` for any number, as by default.
            opset: The version of the operators of an ONNX file, 13 to 22, by default 18.
            fold_batchnorm: Whether each BatchNorm that follows a convolution becomes a part of it, in ONNX and
                TorchScript files, as by default.
            timeout: Seconds after which waiting ends; None sets no limit.
            waiting: Is called repeatedly while the call waits, with what the file waits for.

        Returns:
            The content of the file.

        Raises:
            TimedOut: The file does not exist after `timeout` seconds.
            NotFound: The service does not know the network.
            DefinitionError: There is no well-known network of this name.
            InvalidRequest: An option does not apply to the format, or its value cannot be had.
            ServiceError: The file cannot be created.
        """
        asked = {"format": format, "seed": seed, **given(batch=batch, opset=opset, fold_batchnorm=fold_batchnorm)}
        return self._file(path_of(PLACE, self._known(network), "export"), asked, timeout, waiting)

    def cancel_export(self, arch_id: str, *, format: str, seed: int = 0) -> None:  # noqa: A002 - the contract's word
        """Cancel the creation of a file, with any options; one that exists does not change.

        Args:
            arch_id: The id of the network.
            format: `onnx`, `metadata` or `torchscript`.
            seed: The seed of its wiring and initial weights.

        Raises:
            NotFound: No such file exists or is being created.
        """
        path = path_of(PLACE, arch_id, "export", "cancel")
        self._transport.post(path, params={"format": format, "seed": seed})

    def delete_export(self, arch_id: str, *, format: str, seed: int = 0) -> None:  # noqa: A002 - the contract's word
        """Delete a file that a worker created, or that waits to be created, with any options.

        Args:
            arch_id: The id of the network.
            format: `onnx`, `metadata` or `torchscript`; other formats are not stored.
            seed: The seed of its wiring and initial weights.

        Raises:
            NotFound: There is no such file.
            WrongState: A worker is creating the file; cancel it first.
        """
        self._transport.delete(path_of(PLACE, arch_id, "export"), {"format": format, "seed": seed})

    def delete_architecture(self, arch_id: str) -> None:
        """Delete a network that you registered.

        Args:
            arch_id: The id of the network.

        Raises:
            NotFound: The service does not know the network.
            WrongState: A search, training, measurement or file uses the network; the message names them.
        """
        self._transport.delete(path_of(PLACE, arch_id))

    def diagram(self, network: str | Definition) -> str:
        """Return a diagram of a network as self-contained SVG text.

        Args:
            network: An `arch_id`, a definition, an architecture of a result, or the name of a well-known network.

        Raises:
            NotFound: The service does not know the network.
            InvalidRequest: The definition is wrong; each problem names its field.
            DefinitionError: There is no well-known network of this name.
        """
        return self._transport.send("GET", path_of(PLACE, self._known(network), "diagram.svg")).text
