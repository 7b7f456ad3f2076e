"""Which trainings a campaign needs next: a pure function of its question and of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count, islice
from typing import TypedDict
from uuid import UUID

from app.campaigns.repository import Known, Training
from app.verifications.service import TrainingOptions, problems_with
from nnmass_core.architecture import Architecture
from nnmass_core.campaigns.engine_pool import EnginePool
from nnmass_core.campaigns.plan import Measured, Prediction, plan, share_of_round
from nnmass_core.codec import JsonObject
from nnmass_core.engine.control import Control
from nnmass_core.errors import Problem
from nnmass_core.families import decode_architecture
from nnmass_core.request import MOST_RESULTS, SearchRequest
from nnmass_core.search import search
from nnmass_core.verification.controls import near_budget_networks

PLANNED = "spread-fit-confirm"
"""The strategy of the planner, `nnmass_core.campaigns.plan`."""

RANKED, RANDOM, KNOWN, CONFIRM = "ranked", "random", "known", "confirm"
"""Why a network is trained, beside the planner's roles: ranked by the search, drawn near the budget, trained before
the campaign, or the leader at further seeds."""

SEED = 0
"""Of everything that is random in the choice of networks."""


class NothingToTrain(Exception):
    """The space has no network for the campaign; `code` is the code of its failure."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Chosen:
    """A network to train at seeds, why, and what is predicted of it.

    known: the verification that has trained it, at no cost; None where there is none.
    """

    architecture: Architecture
    role: str
    seeds: list[int]
    known: UUID | None = None
    predicted: JsonObject | None = None


@dataclass(frozen=True)
class Step:
    """What a campaign does next: the trainings to begin, none at its end, and how their round was chosen.

    proved: whether the engine proved what it found for the choice; None where it proves nothing. controls: the network
    that is first by each order, of a planned campaign's first round. fit: what the models said (`plan.Fit`).
    """

    chosen: list[Chosen]
    proved: bool | None = None
    controls: Mapping[str, str] = field(default_factory=dict)
    fit: JsonObject | None = None

    @property
    def confirms(self) -> bool:
        """Whether the trainings confirm the leader."""
        return any(one.role == CONFIRM for one in self.chosen)


class Choice(TypedDict):
    """How the networks of a round were chosen, as it is stored; see `Step`."""

    round: int
    proved: bool | None
    controls: dict[str, str]
    fit: JsonObject | None


@dataclass(frozen=True)
class Standing:
    """What a campaign asks for, and how far it is.

    trainings: how many networks to train; confirm: how many further seeds of the leader. chosen: its trainings so far.
    known: trainings on its data and by its recipe that had ended when it was submitted. paused: nothing new begins.
    """

    request: SearchRequest
    options: TrainingOptions
    strategy: str
    trainings: int
    confirm: int
    rounds: int
    chosen: Sequence[Training]
    known: Sequence[Known]
    paused: bool = False

    @property
    def networks(self) -> list[Training]:
        """The trainings of different networks, without those that confirm."""
        return [training for training in self.chosen if training.row.role != CONFIRM]

    @property
    def round(self) -> int:
        """The number of the last round that was chosen; 0 before the first."""
        return max((training.row.round for training in self.chosen), default=0)

    @property
    def waits(self) -> bool:
        """Whether nothing is to be done now: it is paused, or a training has not ended."""
        return self.paused or any(training.pending for training in self.chosen)

    @property
    def share(self) -> int:
        """How many networks the next round trains; 0 after the last round."""
        spent = sum(not training.row.known for training in self.networks)
        return share_of_round(self.trainings, spent, self.rounds, self.round)

    @property
    def excluded(self) -> set[str]:
        """The networks that the question excludes."""
        return {network.arch_id for network in self.request.exclude}

    def known_at(self, arch_id: str, seeds: list[int]) -> UUID | None:
        """Return the first earlier training of a network at these seeds."""
        return next((one.id for one in self.known if one.arch_id == arch_id and one.covers(seeds)), None)


def next_trainings(standing: Standing, control: Control) -> Step:
    """Return the trainings that come next; none when the campaign is at its end.

    Networks of a round that are known are free: the round chooses others in addition.

    Raises:
        NothingToTrain: No network of the space can be trained.
        Interrupted: The control stopped it.
    """
    if any(training.row.role == CONFIRM for training in standing.chosen):
        return Step([])
    step = Step([])
    if standing.share:
        step = _planned(standing, control) if standing.strategy == PLANNED else _ordered(standing, control)
        if not step.chosen and not standing.chosen:
            if step.proved is False:
                raise NothingToTrain("nothing_found", "no network was found within the time limit")
            raise NothingToTrain("nothing_fits", "no network of the space keeps all limits")
    return step if step.chosen else Step(_confirmation(standing))


def leader_of(networks: Sequence[Training]) -> Training | None:
    """Return the training of most accuracy, of equal ones that of fewest params; None where none was measured.

    The accuracy is that on the validation images where the recipe holds some out.
    """
    measured = [training for training in networks if training.choosing is not None]
    return min(measured, key=lambda one: (-(one.choosing or 0.0), one.row.params, one.row.arch_id), default=None)


def _planned(standing: Standing, control: Control) -> Step:
    """Return the next round of `spread-fit-confirm`.

    The first one also takes every known network within the budget, at no cost: what the later ones are fitted to is
    then all stored with the campaign.
    """
    options, first = standing.options, standing.round == 0
    before = {one.arch_id: one for one in reversed(standing.known) if one.covers(options.seeds)} if first else {}
    measured = [Measured(key, _percent(one.choosing(options.seeds)), known=True) for key, one in before.items()]
    measured += [Measured(one.row.arch_id, _percent(one.choosing), known=one.row.known) for one in standing.networks]
    definitions = [one.definition for one in before.values()] + [one.row.definition for one in standing.networks]
    unfit, excluded = _Unfit(options), standing.excluded
    pool = EnginePool(
        standing.request,
        map(decode_architecture, definitions),
        admits=lambda one: one.arch_id not in excluded and unfit.admits(one),
        report=lambda message: control.report(0.0, message),
    )
    control.report(0.0, "choosing networks")
    if first:
        inside = {*pool.describe([*before]).keys} - excluded
        measured = [one for one in measured if one.key in inside]
    chosen = plan(pool, measured, standing.share, SEED)
    networks = [
        Chosen(pool.architecture(one.key), one.role, options.seeds, _id(before.get(one.key)), _shares(one.predicted))
        for one in chosen.proposals
    ]
    if first:
        others = {one.key for one in measured} - {one.key for one in chosen.proposals}
        networks += [Chosen(pool.architecture(key), KNOWN, options.seeds, before[key].id) for key in sorted(others)]
    unfit.check(standing, networks)
    proved = pool.optima_proved if chosen.fit is None else chosen.fit.proved
    return Step(networks, proved, dict(chosen.controls.items()), None if chosen.fit is None else asdict(chosen.fit))


def _ordered(standing: Standing, control: Control) -> Step:
    """Return the next round of a strategy that is an order of networks, whatever was measured."""
    chosen: list[Chosen] = []
    seeds, rest, unfit = standing.options.seeds, standing.share, _Unfit(standing.options)
    seen = {training.row.arch_id for training in standing.chosen}
    networks, proved = _ranking(standing, control) if standing.strategy == "top" else (_random(standing, control), None)
    role = RANKED if standing.strategy == "top" else RANDOM
    for architecture in networks:
        if rest == 0:
            break
        if architecture.arch_id in seen:
            continue
        seen.add(architecture.arch_id)
        if not unfit.admits(architecture):
            continue
        known = standing.known_at(architecture.arch_id, seeds)
        chosen.append(Chosen(architecture, role, seeds, known))
        rest -= known is None
    unfit.check(standing, chosen)
    return Step(chosen, proved)


def _ranking(standing: Standing, control: Control) -> tuple[Iterator[Architecture], bool]:
    """Return the ranking of the search, in which known and trained networks are too, and whether it is proved."""
    most = standing.share + len(standing.chosen) + len(standing.known)
    found = search(replace(standing.request, top_k=min(MOST_RESULTS, most)), control)
    return (ranked.architecture for ranked in found.ranking), found.certificate.optimal


def _random(standing: Standing, control: Control) -> Iterator[Architecture]:
    """Yield networks near the budget; those that are known or trained already are among them."""
    control.report(0.0, "drawing networks near the budget")
    excluded = standing.excluded
    return (one for one in near_budget_networks(standing.request, SEED) if one.arch_id not in excluded)


class _Unfit:
    """The networks that cannot be trained as a campaign says, which are passed over.

    Args:
        options: How networks are trained.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self._options = options
        self._problems: list[Problem] = []

    def admits(self, architecture: Architecture) -> bool:
        """Return whether a network can be trained so."""
        problems = problems_with(architecture, self._options)
        self._problems = self._problems or problems
        return not problems

    def check(self, standing: Standing, chosen: Sequence[Chosen]) -> None:
        """Raise NothingToTrain where the first round has no network since none can be trained so."""
        if self._problems and not chosen and not standing.chosen:
            first = self._problems[0]
            raise NothingToTrain(first.code, f"no network can be trained so: {first.field} {first.message}")


def _id(known: Known | None) -> UUID | None:
    return None if known is None else known.id


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _shares(predicted: Prediction | None) -> JsonObject | None:
    """Return a prediction with shares in place of percent."""
    return None if predicted is None else {name: value / 100 for name, value in vars(predicted).items()}


def _confirmation(standing: Standing) -> list[Chosen]:
    """Return the leader at further seeds, one training each."""
    leader = leader_of(standing.networks)
    if leader is None or standing.confirm == 0:
        return []
    architecture = decode_architecture(leader.row.definition)
    further = islice((seed for seed in count() if seed not in leader.row.seeds), standing.confirm)
    return [Chosen(architecture, CONFIRM, [seed], standing.known_at(architecture.arch_id, [seed])) for seed in further]
