"""Campaigns of a service: a few trainings of the networks of one question, for the best that is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from nnmass.client.calls import Calls, as_json, path_of
from nnmass.client.streams import Watch, follow, wait_for
from nnmass.results import Event
from nnmass.search_options import SearchOptions, Space, question_of
from nnmass.trainings import Campaign

PLACE = "/v1/campaigns"


class CampaignCalls(Calls):
    """The client's methods for campaigns. A campaign may always be given as returned by the client, or by its id."""

    def campaign(  # noqa: PLR0913 - each argument is a field of the request
        self,
        space: Space | None = None,
        *,
        dataset: str | Mapping[str, Any],
        recipe: str | Mapping[str, Any],
        strategy: str = "spread-fit-confirm",
        trainings: int = 16,
        confirm: int = 3,
        rounds: int = 5,
        validation: float | None = None,
        seeds: Sequence[int] = (0,),
        adapt: bool = True,
        artifacts: Sequence[str] | None = None,
        **options: Unpack[SearchOptions],
    ) -> Campaign:
        """Submit a campaign and return it; `wait_campaign` waits for its answer.

        Args:
            space: A preset's name, a full definition, or a list of several for the same input and classes; with the
                option `within` it may be None: the preset of that network's family.
            dataset: The name of a data set (see `datasets`), or its full definition.
            recipe: The name of a recipe (see `recipes`), or its full definition.
            strategy: `spread-fit-confirm` spreads half of the trainings over the networks near the budget and takes
                the others where models of the results expect the most; `top` trains the networks that a search ranks
                first, `random` random ones near the budget.
            trainings: How many networks to train, 1 to 200; those that were trained before on this data by this recipe
                are taken as they are, and do not count.
            confirm: At how many further seeds the best network is trained in the end, 0 to 20.
            rounds: In how many rounds, 1 to 20. The first has half of the trainings.
            validation: The share of the training images that is held out to choose networks by, 0 to 0.5; at 0 the test
                accuracy chooses. None: that of a recipe that is written out with `validation`, else 0.1.
            seeds: The seeds at which each network is trained, at most 20.
            adapt: Whether to adapt a recipe that makes fewer than 20 steps an epoch on the data, as in `verify`.
            artifacts: Files to store for each training, as in `verify`.
            options: Limits and objective; see `nnmass.search_options.SearchOptions`. `top_k` and `first_rank` do not
                apply.

        Raises:
            InvalidRequest: A field is wrong; each problem names its field.
            DefinitionError: A limit is not an amount, such as "1.2M".
        """
        body = {
            "search": question_of(space, options),
            "dataset": as_json(dataset),
            "recipe": as_json(recipe),
            "strategy": strategy,
            "trainings": trainings,
            "confirm": confirm,
            "rounds": rounds,
            "seeds": list(seeds),
            **({} if validation is None else {"validation": validation}),
            **({} if adapt else {"adapt": False}),
            **({} if artifacts is None else {"artifacts": list(artifacts)}),
        }
        return Campaign.from_json(self._transport.post(PLACE, body, once=True))

    def find_campaign(self, campaign: Campaign | str) -> Campaign:
        """Return the current state of a campaign, with its trainings.

        Args:
            campaign: The campaign, as the client returned it, or its id.

        Raises:
            NotFound: There is no such campaign.
        """
        return Campaign.from_json(self._transport.get(path_of(PLACE, campaign)))

    def campaigns(
        self, *, status: str | None = None, family: str | None = None, created_after: datetime | None = None
    ) -> Iterator[Campaign]:
        """Yield campaigns without their trainings, newest first, fetched page by page as needed.

        Args:
            status: Only campaigns in this state: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
            family: Only campaigns of networks of this family.
            created_after: Only campaigns created after this date and time, which has its time zone.

        Raises:
            InvalidRequest: A filter is wrong; each problem names its field.
        """
        after = None if created_after is None else created_after.isoformat()
        for item in self._pages(PLACE, status=status, family=family, created_after=after):
            yield Campaign.from_json(item)

    def wait_campaign(
        self, campaign: Campaign | str, *, progress: Watch | None = None, timeout: float | None = None
    ) -> Campaign:
        """Return a campaign once it has ended, in whatever state.

        Args:
            campaign: The campaign, as the client returned it, or its id.
            progress: Is called with each event.
            timeout: Seconds after which waiting ends, while the service continues; None sets no limit.

        Raises:
            TimedOut: The campaign has not ended after `timeout` seconds.
            NotFound: There is no such campaign.
        """
        found = self.find_campaign(campaign)
        if found.ended and progress is None:
            return found
        events = path_of(PLACE, found, "events")
        return wait_for(self._transport, events, lambda: self.find_campaign(found), progress, timeout)

    def campaign_events(self, campaign: Campaign | str, *, last: int = 0) -> Iterator[Event]:
        """Yield the events of a campaign until it has ended.

        Args:
            campaign: The campaign, as the client returned it, or its id.
            last: The id of the last known event; the first event that is yielded is the one after it.

        Raises:
            NotFound: There is no such campaign.
            ServiceUnreachable: No event stream is available, also after repeats.
        """
        return follow(self._transport, path_of(PLACE, campaign, "events"), last=last)

    def cancel_campaign(self, campaign: Campaign | str) -> Campaign:
        """Cancel a campaign with its trainings that have not ended; an ended one does not change.

        Args:
            campaign: The campaign, as the client returned it, or its id.

        Returns:
            The campaign in its new state.

        Raises:
            NotFound: There is no such campaign.
        """
        return Campaign.from_json(self._transport.post(path_of(PLACE, campaign, "cancel")))

    def pause_campaign(self, campaign: Campaign | str, *, paused: bool = True) -> Campaign:
        """Pause a campaign: the trainings of its round go on, and nothing else begins; or let it go on.

        Args:
            campaign: The campaign, as the client returned it, or its id.
            paused: Whether it is paused.

        Returns:
            The campaign in its new state.

        Raises:
            NotFound: There is no such campaign.
            WrongState: The campaign has ended.
        """
        return Campaign.from_json(self._transport.post(path_of(PLACE, campaign, "pause" if paused else "resume")))

    def change_campaign(self, campaign: Campaign | str, *, trainings: int) -> Campaign:
        """Change how many networks a campaign trains; the rounds that have not begun share what is left.

        Args:
            campaign: The campaign, as the client returned it, or its id.
            trainings: The number of networks in all, 1 to 200.

        Returns:
            The campaign in its new state.

        Raises:
            InvalidRequest: The number is out of range.
            NotFound: There is no such campaign.
            WrongState: The last round of the campaign has begun, or it has ended.
        """
        answer = self._transport.send("PATCH", path_of(PLACE, campaign), body={"trainings": trainings})
        return Campaign.from_json(answer.json())

    def delete_campaign(self, campaign: Campaign | str) -> None:
        """Delete a campaign; its trainings stay, as evidence.

        Args:
            campaign: The campaign, as the client returned it, or its id.

        Raises:
            NotFound: There is no such campaign.
            WrongState: The campaign is running; cancel it first.
        """
        self._transport.delete(path_of(PLACE, campaign))
