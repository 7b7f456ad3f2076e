"""Searches of a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Unpack

from nnmass.client.calls import Calls, as_json, path_of
from nnmass.client.streams import Watch, follow, wait_for
from nnmass.errors import SearchFailed
from nnmass.neighborhood import space_around
from nnmass.results import Answer, Architecture, Comparison, Event, Search
from nnmass.search_options import Definition, Reference, SearchOptions, Space, question_of, reference_of
from nnmass_core.codec import JsonObject

PLACE = "/v1/searches"
AT_ONCE = "wait=2"
"""Most searches finish within this time, and need no second request."""


class SearchCalls(Calls):
    """The client's methods for searches. A search may always be given as returned by the client, or by its id."""

    def submit(
        self,
        space: Space,
        *,
        name: str = "",
        tags: Sequence[str] = (),
        note: str = "",
        fresh: bool = False,
        **options: Unpack[SearchOptions],
    ) -> Search:
        """Submit a search and return it, usually before it has run.

        space: a preset's name or a full definition. options: limits, objective and the size of the result; see
        `nnmass.search_options.SearchOptions`.

        An earlier equal search of yours with a result is returned as it is (`reused`), unless `fresh` is set. Raises
        InvalidRequest that names the field.
        """
        body = question_of(space, options) | {"name": name, "tags": list(tags), "note": note, "fresh": fresh}
        return self._submitted(body, "")

    def search(
        self,
        space: Space,
        *,
        name: str = "",
        tags: Sequence[str] = (),
        fresh: bool = False,
        progress: Watch | None = None,
        timeout: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Submit a search, wait for it, and return its answer; `answer.search` is the search that the service stores.

        progress: called with each event. timeout: seconds after which waiting ends with TimedOut, while the service
        continues. Also raises InvalidRequest, and SearchFailed when the search ends without a result.
        """
        body = question_of(space, options) | {"name": name, "tags": list(tags), "fresh": fresh}
        return self.answer(self.wait(self._submitted(body, AT_ONCE), progress=progress, timeout=timeout))

    def compress(
        self,
        reference: Reference,
        *,
        minimize: str = "macs",
        space: Space | None = None,
        progress: Watch | None = None,
        timeout: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Search for the networks of least cost that have at least the NN-Mass of a reference.

        reference: a well-known network's name, a definition, or an `arch_id` that the service knows. minimize: the name
        of a cost, such as `params`, `macs` or `peak_activation_bytes`. space: the space to search; by default one
        around the reference. Waits as `search` does.
        """
        named = reference_of(reference)
        within = space if space is not None else space_around(self._definition(reference))
        body = question_of(within, {**options, "objective": {"minimize": minimize, "reference": as_json(named)}})
        return self.answer(self.wait(self._submitted(body, AT_ONCE), progress=progress, timeout=timeout))

    def _definition(self, reference: Reference) -> str | Definition:
        if isinstance(reference, str) and reference.startswith("arch_"):
            found: JsonObject = self._transport.get(path_of("/v1/architectures", reference))["architecture"]
            return found
        return reference

    def _submitted(self, body: Mapping[str, object], prefer: str) -> Search:
        return Search.from_json(self._transport.post(PLACE, body, once=True, prefer=prefer))

    def preview(self, space: Space, **options: Unpack[SearchOptions]) -> Answer:
        """Return the answer to a search immediately; nothing is stored. Raises InvalidRequest if it takes too long."""
        body = question_of(space, options)
        answer = self._transport.post(f"{PLACE}/preview", body)
        return Answer.from_json(answer, {"objective": {"maximize": "nn_mass"}} | body)

    def wait(self, search: Search | str, *, progress: Watch | None = None, timeout: float | None = None) -> Search:
        """Return a search once it has ended, in whatever state.

        progress: called with each event, from the first on. Follows the search's event stream, which resumes after a
        lost connection, or polls where there is no stream. Raises TimedOut after `timeout` seconds.
        """
        found = search if isinstance(search, Search) else self.get(search)
        if found.ended and progress is None:
            return found
        events = path_of(PLACE, found, "events")
        return wait_for(self._transport, events, lambda: self.get(found), progress, timeout)

    def answer(self, search: Search | str) -> Answer:
        """Return the result of a search with its whole ranking. Raises SearchFailed when it has not succeeded."""
        found = search if isinstance(search, Search) and search.ended else self.get(search)
        if found.result is None:
            raise SearchFailed(found)
        return Answer(list(self.ranking(found)), found.result, found.request, found)

    def get(self, search: Search | str) -> Search:
        """Return the current state of a search. Raises NotFound."""
        return Search.from_json(self._transport.get(path_of(PLACE, search)))

    def events(self, search: Search | str, *, last: int = 0) -> Iterator[Event]:
        """Yield the events of a search until it has ended. last: the id of the last known event."""
        return follow(self._transport, path_of(PLACE, search, "events"), last=last)

    def ranking(self, search: Search | str) -> Iterator[Architecture]:
        """Yield the ranking of a search, best first, fetched page by page as needed; empty until it has succeeded."""
        for item in self._pages(path_of(PLACE, search, "architectures")):
            yield Architecture.from_json(item)

    def history(
        self,
        *,
        status: str | None = None,
        family: str | None = None,
        tag: str | None = None,
        q: str | None = None,
        created_after: datetime | None = None,
    ) -> Iterator[Search]:
        """Yield searches, newest first, fetched page by page as needed.

        q: text to find in names and notes. created_after: a date and time with its time zone.
        """
        after = None if created_after is None else created_after.isoformat()
        filters = {"status": status, "family": family, "tag": tag, "q": q, "created_after": after}
        for item in self._pages(PLACE, **filters):
            yield Search.from_json(item)

    def change(
        self,
        search: Search | str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
    ) -> Search:
        """Change the name, tags or note of a search; omitted ones do not change. Raises NotFound."""
        given = {"name": name, "tags": None if tags is None else list(tags), "note": note}
        changes = {field: value for field, value in given.items() if value is not None}
        return Search.from_json(self._transport.send("PATCH", path_of(PLACE, search), body=changes).json())

    def cancel(self, search: Search | str) -> Search:
        """Cancel a search; an ended one does not change. Raises NotFound."""
        return Search.from_json(self._transport.post(path_of(PLACE, search, "cancel")))

    def retry(self, search: Search | str) -> Search:
        """Queue a failed or cancelled search again. Raises WrongState when it has succeeded."""
        return Search.from_json(self._transport.post(path_of(PLACE, search, "retry")))

    def delete(self, search: Search | str) -> None:
        """Delete a search with its ranking. Raises NotFound, and WrongState while it runs."""
        self._transport.delete(path_of(PLACE, search))

    def compare(self, *searches: Search | str) -> Comparison:
        """Compare two to four searches: where they differ, and which architectures they share."""
        ids = ",".join(one if isinstance(one, str) else one.id for one in searches)
        return Comparison.from_json(self._transport.get(f"{PLACE}/compare", {"ids": ids}))
