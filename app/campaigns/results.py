"""The answer of a campaign: the best network that was measured, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from app.campaigns.planning import CONFIRM, NEAR_BUDGET, leader_of
from app.campaigns.repository import Training
from nnmass_core.verification.pairs import difference_of
from nnmass_core.verification.seeds import OverSeeds, over_seeds

NONE_MEASURED = "No network was measured: no training has succeeded."


def result_of(trainings: Sequence[Training]) -> dict[str, object]:
    """Return the answer from the trainings of a campaign.

    The best is compared by its further seeds where it has any, which had no part in choosing it.
    """
    networks = [training for training in trainings if training.row.role != CONFIRM]
    measured = [training for training in networks if training.accuracy is not None]
    counts = {
        "trained": sum(not training.row.known for training in networks),
        "known": sum(training.row.known for training in networks),
        "without_accuracy": len(networks) - len(measured),
    }
    best = leader_of(networks)
    if best is None:
        return {"best": None, "against_random": None, **counts, "statement": NONE_MEASURED}
    further = [one.accuracy for one in trainings if one.row.role == CONFIRM and one.accuracy is not None]
    chosen, confirmed = over_seeds([best.accuracies[seed] for seed in best.row.seeds]), over_seeds(further)
    assert chosen is not None
    accuracy = (confirmed or chosen)["mean"]
    others = [one for one in measured if one is not best]
    random = [accuracy - (one.accuracy or 0.0) for one in others if one.row.role == NEAR_BUDGET]
    difference = difference_of(random)
    found = {
        "arch_id": best.row.arch_id,
        "architecture": best.row.definition,
        "role": best.row.role,
        "nn_mass": best.row.nn_mass,
        "params": best.row.params,
        "macs": best.row.macs,
        "verification": None if best.row.verification_id is None else str(best.row.verification_id),
        "accuracy": {**chosen},
        "confirmed": None if confirmed is None else {**confirmed},
        "predicted": best.row.predicted,
    }
    return {
        "best": found,
        "against_random": None if difference is None else {**difference},
        **counts,
        "statement": _statement(len(measured), chosen, confirmed, accuracy, random),
    }


def _statement(
    measured: int, chosen: OverSeeds, confirmed: OverSeeds | None, accuracy: float, random: Sequence[float]
) -> str:
    said = [f"The best of {measured} measured networks has a test accuracy of {_percent(chosen['mean'])}."]
    if confirmed is not None:
        low, high = confirmed["low"], confirmed["high"]
        interval = "" if low is None or high is None else f", 95 % interval {_percent(low)} to {_percent(high)}"
        seeds = f"{confirmed['n']} further seed{'' if confirmed['n'] == 1 else 's'}"
        said.append(f"At {seeds}, which had no part in choosing it, it has {_percent(accuracy)}{interval}.")
    else:
        said.append("No further seed confirms it: being the best of several flatters it.")
    if random:
        points = 100 * sum(random) / len(random)
        others = f"{len(random)} random network{'' if len(random) == 1 else 's'} near the budget"
        said.append(f"That is {abs(points):.1f} points {'more' if points > 0 else 'less'} than {others} on average.")
    else:
        said.append("No random network near the budget was measured to compare it with.")
    return " ".join(said)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
