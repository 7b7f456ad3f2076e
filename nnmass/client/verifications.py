"""Verifications of a service: trainings of networks, and their evidence about NN-Mass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nnmass.client.calls import Calls, as_json, path_of
from nnmass.client.streams import Watch, follow, wait_for
from nnmass.results import Event, Search
from nnmass.search_options import Definition, definition_of
from nnmass.trainings import Batch, Evidence, Verification

PLACE = "/v1/verifications"


class VerificationCalls(Calls):
    """The client's methods for trainings. A training may always be given as returned by the client, or by its id."""

    def verify(
        self,
        what: str | Definition | Search,
        *,
        dataset: str | Mapping[str, Any],
        recipe: str | Mapping[str, Any],
        top: int | None = None,
        controls: Sequence[str] = (),
        seeds: Sequence[int] = (0,),
        artifacts: Sequence[str] = ("weights", "onnx"),
    ) -> Batch:
        """Queue trainings and return them: of a network, or of the best of a search and its controls.

        what: a search, or a network by its `arch_id`, its definition or a well-known name; a search's id counts as the
        search. dataset, recipe: a name (`datasets`, `recipes`) or a full definition. top: how many of a search's
        ranking to train, by default 1. controls: `params`, `random` or both: for each, a network of the same cost is
        trained as well. seeds: one training each. artifacts: files to store for each seed. Raises InvalidRequest that
        names the field.
        """
        body = {
            **_named(what),
            **({} if top is None else {"top": top}),
            **({"controls": list(controls)} if controls else {}),
            "dataset": as_json(dataset),
            "recipe": as_json(recipe),
            "seeds": list(seeds),
            "artifacts": list(artifacts),
        }
        answer = self._transport.post(PLACE, body, once=True)
        return Batch.from_json(answer if "items" in answer else {"items": [answer], "missing_controls": []})

    def verification(self, verification: Verification | str) -> Verification:
        """Return the current state of a training, with its epochs. Raises NotFound."""
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
        """Yield trainings without their epochs, newest first, fetched page by page as needed."""
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

        progress: called with each event; events at the end of an epoch have its figures as `epoch`. Raises TimedOut
        after `timeout` seconds.
        """
        found = self.verification(verification)
        if found.ended and progress is None:
            return found
        events = path_of(PLACE, found, "events")
        return wait_for(self._transport, events, lambda: self.verification(found), progress, timeout)

    def verification_events(self, verification: Verification | str, *, last: int = 0) -> Iterator[Event]:
        """Yield the events of a training until it has ended. last: the id of the last known event."""
        return follow(self._transport, path_of(PLACE, verification, "events"), last=last)

    def cancel_verification(self, verification: Verification | str) -> Verification:
        """Cancel a training; an ended one does not change."""
        return Verification.from_json(self._transport.post(path_of(PLACE, verification, "cancel")))

    def retry_verification(self, verification: Verification | str) -> Verification:
        """Queue a failed or cancelled training again; it resumes from its last checkpoint."""
        return Verification.from_json(self._transport.post(path_of(PLACE, verification, "retry")))

    def replay(self, verification: Verification | str) -> Verification:
        """Run the training again; the new one's `replay` then says whether every figure is the same."""
        return Verification.from_json(self._transport.post(path_of(PLACE, verification, "replay"), once=True))

    def log(self, verification: Verification | str) -> str:
        """Return the end of the training process's log."""
        return self._transport.send("GET", path_of(PLACE, verification, "log")).text

    def artifact(self, verification: Verification | str, name: str) -> bytes:
        """Return a file that a training produced, by its name in `artifacts`."""
        return self._transport.send("GET", path_of(PLACE, verification, "artifacts", name)).content

    def evidence(self, *, dataset: str | None = None, family: str | None = None, recipe: str | None = None) -> Evidence:
        """Return how well NN-Mass, params and MACs order the accuracies of trained networks, with intervals."""
        filters = {"dataset": dataset, "family": family, "recipe": recipe}
        return Evidence.from_json(self._transport.get("/v1/evidence", filters))


def is_search(what: str | Definition | Search) -> bool:
    """Return whether this is a search and not a network: a text that is no id is a well-known network's name."""
    return isinstance(what, Search) or (isinstance(what, str) and what.count("-") == 4 and len(what) == 36)


def _named(what: str | Definition | Search) -> dict[str, object]:
    if isinstance(what, Search):
        return {"search": what.id}
    if isinstance(what, str) and what.startswith("arch_"):
        return {"arch_id": what}
    return {"search": what} if is_search(what) else {"architecture": dict(definition_of(what))}
