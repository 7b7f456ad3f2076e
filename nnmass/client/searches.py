"""Searches of a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Unpack

from nnmass.client.calls import Calls, as_json, path_of
from nnmass.client.streams import Watch, follow, wait_for
from nnmass.errors import SearchFailed
from nnmass.neighborhood import compression_question
from nnmass.results import Answer, Architecture, Comparison, Event, Search
from nnmass.search_options import (
    Definition,
    Multipliers,
    Reference,
    SearchOptions,
    Share,
    Space,
    around,
    compression_of,
    question_of,
    reference_of,
)
from nnmass_core.codec import JsonObject

PLACE = "/v1/searches"
AT_ONCE = "wait=2"
"""Most searches finish within this time, and need no second request."""


class SearchCalls(Calls):
    """The client's methods for searches. A search may always be given as returned by the client, or by its id."""

    def submit(
        self,
        space: Space | None = None,
        *,
        name: str = "",
        tags: Sequence[str] = (),
        note: str = "",
        fresh: bool = False,
        **options: Unpack[SearchOptions],
    ) -> Search:
        """Submit a search and return it, usually before it has run.

        The result of an earlier equal search of yours is reused (`reused`), unless `fresh` is set. With the same name,
        tags and note, that search itself is returned; under other ones, a new one with its result (`reused_from`).

        Args:
            space: A preset's name, a full definition, or a list of several for the same input and classes; with the
                option `within` it may be None: the preset of that network's family.
            name: The name of the search, at most 200 characters.
            tags: Tags of the search, at most 20.
            note: A note on the search, at most 10,000 characters.
            fresh: Run the search even if an earlier equal one has a result.
            options: Limits, objective and the size of the result; see `nnmass.search_options.SearchOptions`.

        Raises:
            InvalidRequest: A field is wrong; each problem names its field.
            DefinitionError: A limit is not an amount, such as "1.2M".
        """
        body = question_of(space, options) | {"name": name, "tags": list(tags), "note": note, "fresh": fresh}
        return self._submitted(body, "")

    def search(
        self,
        space: Space | None = None,
        *,
        name: str = "",
        tags: Sequence[str] = (),
        fresh: bool = False,
        progress: Watch | None = None,
        timeout: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Submit a search, wait for it, and return its answer; `answer.search` is the search that the service stores.

        Args:
            space: A preset's name, a full definition, or a list of several for the same input and classes; with the
                option `within` it may be None: the preset of that network's family.
            name: The name of the search, at most 200 characters.
            tags: Tags of the search, at most 20.
            fresh: Run the search even if an earlier equal one has a result.
            progress: Is called with each event.
            timeout: Seconds after which waiting ends, while the service continues; None sets no limit.
            options: Limits, objective and the size of the result; see `nnmass.search_options.SearchOptions`.

        Returns:
            The ranking, best first, and its certificate.

        Raises:
            InvalidRequest: A field is wrong; each problem names its field.
            DefinitionError: A limit is not an amount, such as "1.2M".
            TimedOut: The search has not ended after `timeout` seconds.
            SearchFailed: The search ended without a result.
        """
        body = question_of(space, options) | {"name": name, "tags": list(tags), "fresh": fresh}
        return self.answer(self.wait(self._submitted(body, AT_ONCE), progress=progress, timeout=timeout))

    def scale(
        self,
        reference: Reference,
        *,
        width: Multipliers | None = None,
        depth: Multipliers | None = None,
        keep: Sequence[str] | None = None,
        progress: Watch | None = None,
        timeout: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Search for the best networks that are a network made wider or narrower, deeper or shallower.

        Args:
            reference: A well-known network's name, a definition, or an `arch_id` that the service knows.
            width: Multipliers of the channels, as `nnmass.scale` takes them.
            depth: Multipliers of the blocks, at most 3.
            keep: What stays as it is; by default all but channels and blocks, with one multiplier for all stages.
            progress: Is called with each event.
            timeout: Seconds after which waiting ends, while the service continues; None sets no limit.
            options: Limits, objective and the size of the result; see `nnmass.search_options.SearchOptions`.

        Returns:
            The ranking, best first, and its certificate.

        Raises:
            InvalidRequest: A field is wrong; each problem names its field.
            DefinitionError: A limit is not an amount, such as "1.2M".
            TimedOut: The search has not ended after `timeout` seconds.
            SearchFailed: The search ended without a result.
        """
        return self.search(around(reference, keep, width, depth), progress=progress, timeout=timeout, **options)

    def compress(
        self,
        reference: Reference,
        *,
        minimize: str | None = None,
        keep_stages: Share = "usual",
        keep_params: Share = "usual",
        space: Space | None = None,
        progress: Watch | None = None,
        timeout: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Search for smaller networks than a reference: of least cost, or of most NN-Mass within a share of its cost.

        Args:
            reference: A well-known network's name, a definition, or an `arch_id` that the service knows.
            minimize: The cost to minimize, such as `params` or `peak_activation_bytes`; by default MACs, and none with
                a ratio.
            keep_stages: The share of the NN-Mass of each of the reference's stages to keep, by default 0.8, and none
                with a ratio. None or 0 keeps the NN-Mass as a whole where a cost is minimized.
            keep_params: The share of the reference's params to keep, by default 0.95, and none with a ratio.
            space: The space to search; by default one around the reference.
            progress: Is called with each event.
            timeout: Seconds after which waiting ends, while the service continues; None sets no limit.
            options: Limits and the size of the result; see `nnmass.search_options.SearchOptions`. Without `within`,
                `ratio` is of the reference: NN-Mass is maximized within 0.5 of its MACs, or within
                `{"macs": 0.5, "params": 0.6}`.

        Returns:
            The ranking, best first, and its certificate, which has the savings and the network of one width multiplier.

        Raises:
            InvalidRequest: A field is wrong; each problem names its field.
            DefinitionError: A limit is not an amount, or no space around the reference is defined.
            NotFound: The service does not know the `arch_id`.
            TimedOut: The search has not ended after `timeout` seconds.
            SearchFailed: The search ended without a result.
        """
        ratio = options.pop("ratio", None) if options.get("within") is None else None
        objective = compression_of(minimize, ratio, keep_stages, keep_params)
        definition = reference_of(reference) if space is not None else self._definition(reference)
        body = compression_question(reference, definition, space, objective, options)
        body["objective"] = as_json(body["objective"])
        return self.answer(self.wait(self._submitted(body, AT_ONCE), progress=progress, timeout=timeout))

    def next_ranks(self, search: Search | str) -> Search:
        """Submit the search of the ranks that follow those of a search, and return it, usually before it has run.

        A repeat returns the same search.

        Args:
            search: The search, as the client returned it, or its id.

        Raises:
            NotFound: There is no such search.
            WrongState: The search has not succeeded, or no ranks follow.
        """
        return Search.from_json(self._transport.post(path_of(PLACE, search, "next"), once=True))

    def _definition(self, reference: Reference) -> str | Definition:
        if isinstance(reference, str) and reference.startswith("arch_"):
            found: JsonObject = self._transport.get(path_of("/v1/architectures", reference))["architecture"]
            return found
        return reference

    def _submitted(self, body: Mapping[str, object], prefer: str) -> Search:
        return Search.from_json(self._transport.post(PLACE, body, once=True, prefer=prefer))

    def preview(self, space: Space | None = None, **options: Unpack[SearchOptions]) -> Answer:
        """Return the answer to a search immediately; nothing is stored.

        Args:
            space: A preset's name, a full definition, or a list of several for the same input and classes; with the
                option `within` it may be None: the preset of that network's family.
            options: Limits, objective and the size of the result; see `nnmass.search_options.SearchOptions`.

        Raises:
            InvalidRequest: A field is wrong, or the search takes too long for a preview.
            DefinitionError: A limit is not an amount, such as "1.2M".
        """
        body = question_of(space, options)
        answer = self._transport.post(f"{PLACE}/preview", body)
        # a service of an earlier release does not repeat the request
        return Answer.from_json(answer, answer.get("request", {"objective": {"maximize": "nn_mass"}} | body))

    def wait(self, search: Search | str, *, progress: Watch | None = None, timeout: float | None = None) -> Search:
        """Return a search once it has ended, in whatever state.

        Follows the search's event stream, which resumes after a lost connection, or polls where there is no stream.

        Args:
            search: The search, as the client returned it, or its id.
            progress: Is called with each event, from the first on.
            timeout: Seconds after which waiting ends, while the service continues; None sets no limit.

        Raises:
            TimedOut: The search has not ended after `timeout` seconds.
            NotFound: There is no such search.
        """
        found = search if isinstance(search, Search) else self.get(search)
        if found.ended and progress is None:
            return found
        events = path_of(PLACE, found, "events")
        return wait_for(self._transport, events, lambda: self.get(found), progress, timeout)

    def answer(self, search: Search | str) -> Answer:
        """Return the result of a search with its whole ranking.

        Args:
            search: The search, as the client returned it, or its id.

        Raises:
            SearchFailed: The search has not succeeded.
            NotFound: There is no such search.
        """
        found = search if isinstance(search, Search) and search.ended else self.get(search)
        if found.result is None:
            raise SearchFailed(found)
        return Answer(list(self.ranking(found)), found.result, found.request, found)

    def get(self, search: Search | str) -> Search:
        """Return the current state of a search.

        Args:
            search: The search, as the client returned it, or its id.

        Raises:
            NotFound: There is no such search.
        """
        return Search.from_json(self._transport.get(path_of(PLACE, search)))

    def events(self, search: Search | str, *, last: int = 0) -> Iterator[Event]:
        """Yield the events of a search until it has ended.

        Args:
            search: The search, as the client returned it, or its id.
            last: The id of the last known event; the first event that is yielded is the one after it.

        Raises:
            NotFound: There is no such search.
            ServiceUnreachable: No event stream is available, also after repeats.
        """
        return follow(self._transport, path_of(PLACE, search, "events"), last=last)

    def ranking(self, search: Search | str) -> Iterator[Architecture]:
        """Yield the ranking of a search, best first, fetched page by page as needed; empty until it has succeeded.

        Args:
            search: The search, as the client returned it, or its id.

        Raises:
            NotFound: There is no such search.
        """
        for item in self._pages(path_of(PLACE, search, "architectures")):
            yield Architecture.from_json(item)

    def history(
        self,
        *,
        status: str | None = None,
        outcome: str | None = None,
        family: str | None = None,
        tag: str | None = None,
        q: str | None = None,
        created_after: datetime | None = None,
    ) -> Iterator[Search]:
        """Yield searches, newest first, fetched page by page as needed. All filters given apply together.

        Args:
            status: Only searches in this state: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
            outcome: Only searches that proved this: `proved`, `not_proved`, `nothing_fits` or `nothing_found`.
            family: Only searches of this family of networks.
            tag: Only searches with this tag.
            q: Only searches with this text in the name or note.
            created_after: Only searches created after this date and time, which has its time zone.

        Raises:
            InvalidRequest: A filter is wrong; each problem names its field.
        """
        after = None if created_after is None else created_after.isoformat()
        filters = {"status": status, "outcome": outcome, "family": family, "tag": tag, "q": q}
        for item in self._pages(PLACE, **filters, created_after=after):
            yield Search.from_json(item)

    def change(
        self,
        search: Search | str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
    ) -> Search:
        """Change the name, tags or note of a search; omitted ones do not change.

        Args:
            search: The search, as the client returned it, or its id.
            name: The new name, at most 200 characters.
            tags: The new tags, at most 20; they replace all earlier ones.
            note: The new note, at most 10,000 characters.

        Returns:
            The changed search.

        Raises:
            NotFound: There is no such search.
            InvalidRequest: A value is wrong; each problem names its field.
        """
        given = {"name": name, "tags": None if tags is None else list(tags), "note": note}
        changes = {field: value for field, value in given.items() if value is not None}
        return Search.from_json(self._transport.send("PATCH", path_of(PLACE, search), body=changes).json())

    def cancel(self, search: Search | str) -> Search:
        """Cancel a search; an ended one does not change.

        Args:
            search: The search, as the client returned it, or its id.

        Returns:
            The search in its new state.

        Raises:
            NotFound: There is no such search.
        """
        return Search.from_json(self._transport.post(path_of(PLACE, search, "cancel")))

    def retry(self, search: Search | str) -> Search:
        """Queue a failed or cancelled search again.

        Args:
            search: The search, as the client returned it, or its id.

        Returns:
            The search in its new state.

        Raises:
            NotFound: There is no such search.
            WrongState: The search has succeeded.
        """
        return Search.from_json(self._transport.post(path_of(PLACE, search, "retry")))

    def delete(self, search: Search | str) -> None:
        """Delete a search with its ranking.

        Args:
            search: The search, as the client returned it, or its id.

        Raises:
            NotFound: There is no such search.
            WrongState: The search is running.
        """
        self._transport.delete(path_of(PLACE, search))

    def compare(self, *searches: Search | str) -> Comparison:
        """Compare two to four searches: where they differ, and which architectures they share.

        Args:
            searches: The searches, each as the client returned it, or its id.

        Raises:
            NotFound: There is no such search.
            InvalidRequest: There are fewer than two or more than four searches, or one is given twice.
        """
        ids = ",".join(one if isinstance(one, str) else one.id for one in searches)
        return Comparison.from_json(self._transport.get(f"{PLACE}/compare", {"ids": ids}))
