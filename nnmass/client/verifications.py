"""Verifications of a service: trainings of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nnmass.client.calls import EXPORT_SECONDS, Calls, as_json, given, path_of
from nnmass.client.streams import Watch, follow, wait_for
from nnmass.errors import DefinitionError
from nnmass.results import Event, Search
from nnmass.search_options import Definition, definition_of, is_id
from nnmass.trainings import Batch, Verification
from nnmass_core.export.artifacts import ARTIFACTS

PLACE = "/v1/verifications"
TRAINED_FORMATS = {
    "pytorch": "source",
    "weights": "weights",
    "onnx": "onnx",
    "json": "definition",
    "metadata": "metadata",
}
"""The kind of file of a training for each format that it has."""


class VerificationCalls(Calls):
    """The client's methods for trainings. A training may always be given as returned by the client, or by its id."""

    def verify(
        self,
        what: str | Definition | Search,
        *,
        dataset: str | Mapping[str, Any],
        recipe: str | Mapping[str, Any],
        adapt: bool = True,
        top: int | None = None,
        controls: Sequence[str] = (),
        seeds: Sequence[int] = (0,),
        artifacts: Sequence[str] | None = None,
    ) -> Batch:
        """Queue trainings and return them: of a network, or of the best of a search and its controls.

        Args:
            what: A search, or a network by its `arch_id`, its definition or a well-known name; a search's id counts as
                the search.
            dataset: The name of a data set (see `datasets`), or its full definition.
            recipe: The name of a recipe (see `recipes`), or its full definition.
            adapt: Whether to adapt a recipe that makes fewer than 20 steps an epoch on the data: smaller batches, a
                learning rate for them, more epochs where batches of 8 still make too few steps, and BatchNorm
                statistics recomputed before each evaluation.
            top: How many of a search's ranking to train, 1 to 10, by default 1.
            controls: Any of `params`, `macs` and `random`, for each of which a network of the same cost is trained as
                well, and `near_budget`, a random network that uses at least 90 % of a limit.
            seeds: One training for each, at most 20.
            artifacts: Files to store for each seed: `weights`, `source`, `definition`, `onnx` and `metadata`, what the
                ONNX file says about itself; by default all that the family of the network has.

        Returns:
            The trainings, best first, and the controls that the space does not contain.

        Raises:
            InvalidRequest: A field is wrong; each problem names its field.
            DefinitionError: There is no well-known network of this name.
        """
        body = {
            **_named(what),
            **({} if top is None else {"top": top}),
            **({"controls": list(controls)} if controls else {}),
            "dataset": as_json(dataset),
            "recipe": as_json(recipe),
            **({} if adapt else {"adapt": False}),
            "seeds": list(seeds),
            **({} if artifacts is None else {"artifacts": list(artifacts)}),
        }
        answer = self._transport.post(PLACE, body, once=True)
        return Batch.from_json(answer if "items" in answer else {"items": [answer], "missing_controls": []})

    def verification(self, verification: Verification | str) -> Verification:
        """Return the current state of a training, with its epochs.

        Args:
            verification: The training, as the client returned it, or its id.

        Raises:
            NotFound: There is no such training.
        """
        return Verification.from_json(self._transport.get(path_of(PLACE, verification)))

    def verifications(
        self,
        *,
        status: str | None = None,
        search: Search | str | None = None,
        arch_id: str | None = None,
        dataset: str | None = None,
        family: str | None = None,
        role: str | None = None,
        created_after: datetime | None = None,
    ) -> Iterator[Verification]:
        """Yield trainings without their epochs, newest first, fetched page by page as needed.

        All filters given apply together.

        Args:
            status: Only trainings in this state: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
            search: Only trainings of networks of this search: the search, as the client returned it, or its id.
            arch_id: Only trainings of the network with this id.
            dataset: Only trainings on the data set with this key, as in the evidence.
            family: Only trainings of networks of this family.
            role: Only trainings with this role: `single`, `candidate`, `params_control` or `random_control`.
            created_after: Only trainings created after this date and time, which has its time zone.

        Raises:
            InvalidRequest: A filter is wrong; each problem names its field.
        """
        after = None if created_after is None else created_after.isoformat()
        of = search.id if isinstance(search, Search) else search
        filters = {
            "status": status,
            "search": of,
            "arch_id": arch_id,
            "dataset": dataset,
            "family": family,
            "role": role,
        }
        for item in self._pages(PLACE, created_after=after, **filters):
            yield Verification.from_json(item)

    def wait_verification(
        self, verification: Verification | str, *, progress: Watch | None = None, timeout: float | None = None
    ) -> Verification:
        """Return a training once it has ended, in whatever state.

        Args:
            verification: The training, as the client returned it, or its id.
            progress: Is called with each event; events at the end of an epoch have its figures as `epoch`.
            timeout: Seconds after which waiting ends, while the service continues; None sets no limit.

        Raises:
            TimedOut: The training has not ended after `timeout` seconds.
            NotFound: There is no such training.
        """
        found = self.verification(verification)
        if found.ended and progress is None:
            return found
        events = path_of(PLACE, found, "events")
        return wait_for(self._transport, events, lambda: self.verification(found), progress, timeout)

    def verification_events(self, verification: Verification | str, *, last: int = 0) -> Iterator[Event]:
        """Yield the events of a training until it has ended.

        Args:
            verification: The training, as the client returned it, or its id.
            last: The id of the last known event; the first event that is yielded is the one after it.

        Raises:
            NotFound: There is no such training.
            ServiceUnreachable: No event stream is available, also after repeats.
        """
        return follow(self._transport, path_of(PLACE, verification, "events"), last=last)

    def cancel_verification(self, verification: Verification | str) -> Verification:
        """Cancel a training; an ended one does not change.

        Args:
            verification: The training, as the client returned it, or its id.

        Returns:
            The training in its new state.

        Raises:
            NotFound: There is no such training.
        """
        return Verification.from_json(self._transport.post(path_of(PLACE, verification, "cancel")))

    def exclude(self, verification: Verification | str, *, excluded: bool = True) -> Verification:
        """Take a training out of the evidence without deleting it, or back in.

        Args:
            verification: The training, as the client returned it, or its id.
            excluded: Whether it is out.

        Returns:
            The training in its new state.

        Raises:
            NotFound: There is no such training.
        """
        answer = self._transport.send("PATCH", path_of(PLACE, verification), body={"excluded": excluded})
        return Verification.from_json(answer.json())

    def delete_verification(self, verification: Verification | str) -> None:
        """Delete a training with its epochs and files; its accuracy is no longer evidence.

        Args:
            verification: The training, as the client returned it, or its id.

        Raises:
            NotFound: There is no such training.
            WrongState: The training is running; cancel it first.
        """
        self._transport.delete(path_of(PLACE, verification))

    def delete_measurement(self, measurement_id: str) -> None:
        """Delete a measurement with its figures.

        Args:
            measurement_id: The id of the measurement.

        Raises:
            NotFound: There is no such measurement.
            WrongState: The measurement is running; cancel it first.
        """
        self._transport.delete(path_of("/v1/measurements", measurement_id))

    def retry_verification(self, verification: Verification | str) -> Verification:
        """Queue a failed or cancelled training again; it resumes from its last checkpoint.

        Args:
            verification: The training, as the client returned it, or its id.

        Returns:
            The training in its new state.

        Raises:
            NotFound: There is no such training.
            WrongState: The training has succeeded.
        """
        return Verification.from_json(self._transport.post(path_of(PLACE, verification, "retry")))

    def replay(self, verification: Verification | str) -> Verification:
        """Run the training again; the new one's `replay` then says whether every figure is the same.

        Args:
            verification: The training, as the client returned it, or its id.

        Returns:
            The new training.

        Raises:
            NotFound: There is no such training.
        """
        return Verification.from_json(self._transport.post(path_of(PLACE, verification, "replay"), once=True))

    def log(self, verification: Verification | str) -> str:
        """Return the end of the training process's log.

        Args:
            verification: The training, as the client returned it, or its id.

        Raises:
            NotFound: There is no such training.
        """
        return self._transport.send("GET", path_of(PLACE, verification, "log")).text

    def artifact(self, verification: Verification | str, name: str) -> bytes:
        """Return a file that a training produced.

        Args:
            verification: The training, as the client returned it, or its id.
            name: The name of the file in the training's `artifacts`.

        Returns:
            The content of the file.

        Raises:
            NotFound: There is no such training or file.
        """
        return self._transport.send("GET", path_of(PLACE, verification, "artifacts", name)).content

    def export_trained(
        self,
        verification: Verification | str,
        *,
        format: str = "pytorch",  # noqa: A002 - as `export`
        seed: int | None = None,
        batch: int | str | None = None,
        opset: int | None = None,
        fold_batchnorm: bool | None = None,
        timeout: float | None = EXPORT_SECONDS,
        waiting: Callable[[str], None] | None = None,
    ) -> bytes:
        """Return a file of a trained network. The files of one seed belong together, and not to those of another.

        With one of `batch`, `opset` and `fold_batchnorm`, a worker with torch writes the ONNX file from the stored
        weights and metadata, and the call waits for it.

        Args:
            verification: The training, as the client returned it, or its id.
            format: `pytorch`, the source into which the weights load; `weights`, for torch; `onnx`, the trained
                network; `json`, the definition with the wiring; or `metadata`, what the ONNX file says about itself.
            seed: One of the seeds of the training; may be omitted if there is only one.
            batch: The number of inputs that an ONNX file takes at once, or `dynamic` for any number, as stored.
            opset: The version of the operators of an ONNX file, 13 to 22; 18 as stored.
            fold_batchnorm: Whether each BatchNorm that follows a convolution becomes a part of it, as stored.
            timeout: Seconds after which waiting for a worker ends; None sets no limit.
            waiting: Is called repeatedly while the call waits, with what the file waits for.

        Returns:
            The content of the file.

        Raises:
            DefinitionError: There is no such format or seed, or an option does not apply or cannot be had.
            NotFound: There is no such training, or it has not stored this file.
            WrongState: The training has not ended, or has not stored what a file with options is written from.
            TimedOut: The file does not exist after `timeout` seconds.
            ServiceError: The file cannot be created.
        """
        asked = given(batch=batch, opset=opset, fold_batchnorm=fold_batchnorm)
        training = self.verification(verification)
        if format not in TRAINED_FORMATS:
            message = f"must be one of {', '.join(TRAINED_FORMATS)}: others do not exist for a training"
            raise DefinitionError.at("format", "unknown_choice", message)
        number = _seed_of(training, seed)
        if asked:
            from nnmass_core.export.deployment import file_options  # loads the families, which nothing else here needs

            file_options(format, batch=batch, opset=opset, fold_batchnorm=fold_batchnorm)
            query = {"format": format, "seed": number, **asked}
            return self._file(path_of(PLACE, training, "export"), query, timeout, waiting)
        name = ARTIFACTS[TRAINED_FORMATS[format]].name(number)
        if format == "pytorch" and name not in [file["name"] for file in training.artifacts]:
            # not stored, as by nnmass 0.1.0; the seed determines it
            path = path_of("/v1/architectures", training.arch_id, "export")
            return self._transport.send("GET", path, params={"format": format, "seed": number}).content
        return self.artifact(training, name)

    def cancel_trained_export(self, verification: Verification | str, *, seed: int | None = None) -> None:
        """Cancel the creation of ONNX files of a training, with any options; those that exist do not change.

        Args:
            verification: The training, as the client returned it, or its id.
            seed: One of the seeds of the training; may be omitted if there is only one.

        Raises:
            InvalidRequest: There is no such seed.
            NotFound: There is no such training, or no such file exists or is being created.
        """
        path = path_of(PLACE, verification, "export", "cancel")
        self._transport.post(path, params={"format": "onnx", **given(seed=seed)})

    def delete_trained_export(self, verification: Verification | str, *, seed: int | None = None) -> None:
        """Delete the ONNX files that workers wrote from the weights of a training, with any options.

        Args:
            verification: The training, as the client returned it, or its id.
            seed: One of the seeds of the training; may be omitted if there is only one.

        Raises:
            InvalidRequest: There is no such seed.
            NotFound: There is no such training, or no such file.
            WrongState: A worker is writing a file; cancel it first.
        """
        self._transport.delete(path_of(PLACE, verification, "export"), {"format": "onnx", **given(seed=seed)})


def is_search(what: str | Definition | Search) -> bool:
    """Return whether this is a search and not a network: a text that is no id is a well-known network's name."""
    return isinstance(what, Search) or (isinstance(what, str) and is_id(what))


def _seed_of(training: Verification, seed: int | None) -> int:
    """Return a seed of a training, which must be named where there are several. Raises DefinitionError."""
    seeds = ", ".join(map(str, training.seeds))
    if seed is None:
        if len(training.seeds) > 1:
            raise DefinitionError.at("seed", "required", f"is required: the training has the seeds {seeds}")
        return training.seeds[0]
    if seed not in training.seeds:
        raise DefinitionError.at("seed", "unknown_choice", f"must be a seed of the training: {seeds}")
    return seed


def _named(what: str | Definition | Search) -> dict[str, object]:
    if isinstance(what, Search):
        return {"search": what.id}
    if isinstance(what, str) and what.startswith("arch_"):
        return {"arch_id": what}
    if is_search(what):
        return {"search": what}
    try:
        return {"architecture": dict(definition_of(what))}
    except DefinitionError as error:
        raise error.under("architecture") from error
