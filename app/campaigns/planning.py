"""Which trainings a campaign needs next: a pure function of its question and of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from uuid import UUID

from app.campaigns.repository import Training
from app.verifications.service import TrainingOptions, problems_with
from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.engine.control import Control
from nnmass_core.errors import Problem
from nnmass_core.families import decode_architecture
from nnmass_core.request import MOST_RESULTS, SearchRequest
from nnmass_core.search import search
from nnmass_core.verification.controls import near_budget_networks

RANKED, NEAR_BUDGET, CONFIRM = "ranked", "near_budget", "confirm"
"""Why a network is trained: ranked by the search, drawn near the budget, or the leader at further seeds."""


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
class Standing:
    """What a campaign asks for, and how far it is.

    trainings: how many networks to train; confirm: how many further seeds of the leader. chosen: its trainings so far.
    known: id, arch_id and seeds of earlier trainings on its data and by its recipe. paused: nothing new begins.
    """

    request: SearchRequest
    options: TrainingOptions
    strategy: str
    trainings: int
    confirm: int
    rounds: int
    chosen: Sequence[Training]
    known: Sequence[tuple[UUID, str, list[int]]]
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
        """How many networks the next round trains: an equal share of the rest; 0 after the last round."""
        rest = self.trainings - sum(not training.row.known for training in self.networks)
        rounds = self.rounds - self.round
        return max(0, -(-rest // rounds)) if rounds > 0 else 0

    def known_at(self, arch_id: str, seeds: list[int]) -> UUID | None:
        """Return the first earlier training of a network at these seeds."""
        return next((one for one, network, at in self.known if network == arch_id and set(seeds) <= set(at)), None)


def next_trainings(standing: Standing, control: Control) -> list[Chosen]:
    """Return the trainings that come next; none when the campaign is at its end.

    Networks of a round that are known are free: the round chooses others in addition.

    Raises:
        NothingToTrain: No network of the space can be trained.
        Interrupted: The control stopped it.
    """
    if any(training.row.role == CONFIRM for training in standing.chosen):
        return []
    chosen: list[Chosen] = []
    if standing.share:
        chosen = _round(standing, control)
        if not chosen and not standing.chosen:
            raise NothingToTrain("nothing_fits", "no network of the space keeps all limits")
    return chosen or _confirmation(standing)


def leader_of(networks: Sequence[Training]) -> Training | None:
    """Return the training of most accuracy, of equal ones that of fewest params; None where none was measured."""
    measured = [training for training in networks if training.accuracy is not None]
    return min(measured, key=lambda one: (-(one.accuracy or 0.0), one.row.params, one.row.arch_id), default=None)


def _round(standing: Standing, control: Control) -> list[Chosen]:
    chosen: list[Chosen] = []
    seeds, rest, unfit = standing.options.seeds, standing.share, list[Problem]()
    seen = {training.row.arch_id for training in standing.chosen}
    for architecture, role in _proposals(standing, control):
        if rest == 0:
            break
        if architecture.arch_id in seen:
            continue
        seen.add(architecture.arch_id)
        if problems := problems_with(architecture, standing.options):
            unfit = problems
            continue
        known = standing.known_at(architecture.arch_id, seeds)
        chosen.append(Chosen(architecture, role, seeds, known))
        rest -= known is None
    if unfit and not chosen and not standing.chosen:
        raise NothingToTrain(unfit[0].code, f"no network can be trained so: {unfit[0].field} {unfit[0].message}")
    return chosen


def _proposals(standing: Standing, control: Control) -> Iterator[tuple[Architecture, str]]:
    """Yield networks in the order of the strategy, with why; those that are known or trained already are among them."""
    match standing.strategy:
        case "top":
            most = standing.share + len(standing.chosen) + len(standing.known)
            ranking = search(replace(standing.request, top_k=min(MOST_RESULTS, most)), control).ranking
            yield from ((ranked.architecture, RANKED) for ranked in ranking)
        case "random":
            excluded = {network.arch_id for network in standing.request.exclude}
            control.report(0.0, "drawing networks near the budget")
            for network in near_budget_networks(standing.request, seed=0):
                if network.arch_id not in excluded:
                    yield network, NEAR_BUDGET


def _confirmation(standing: Standing) -> list[Chosen]:
    """Return the leader at further seeds, one training each."""
    leader = leader_of(standing.networks)
    if leader is None or standing.confirm == 0:
        return []
    architecture = decode_architecture(leader.row.definition)
    further = islice((seed for seed in count() if seed not in leader.row.seeds), standing.confirm)
    return [Chosen(architecture, CONFIRM, [seed], standing.known_at(architecture.arch_id, [seed])) for seed in further]
