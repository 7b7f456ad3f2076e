"""The answer of a campaign: the best network that was measured, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from app.campaigns.planning import CONFIRM, RANDOM, Choice, leader_of
from app.campaigns.repository import Training
from nnmass_core.verification.pairs import difference_of
from nnmass_core.verification.seeds import OverSeeds, over_seeds

NONE_MEASURED = "No network was measured: no training has succeeded."
NOTHING: dict[str, object] = {"best": None, "chosen_by": None, "against_random": None, "against_controls": []}
CONTROLS = {
    "spend": "the one of most NN-Mass that spends the budget",
    "most_nn_mass": "the one of most NN-Mass",
    "most_macs": "the one of most MACs",
    "most_params": "the one of most params",
}
"""What the best is compared with after random networks, and its name in words."""


class Difference(TypedDict):
    """The best less the network that is first by an order; value: None without an accuracy."""

    role: str
    arch_id: str
    accuracy: float | None
    value: float | None


def result_of(trainings: Sequence[Training], choices: Sequence[Choice]) -> dict[str, object]:
    """Return the answer from the trainings of a campaign, and how its rounds were chosen.

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
        return {**NOTHING, **counts, "statement": NONE_MEASURED}
    seeds = [best.accuracies[seed] for seed in best.row.seeds]
    further = [one.accuracy for one in trainings if one.row.role == CONFIRM and one.accuracy is not None]
    tested, confirmed = over_seeds([one.test for one in seeds]), over_seeds(further)
    validated = over_seeds([one.validation for one in seeds if one.validation is not None])
    assert tested is not None
    accuracy = (confirmed or tested)["mean"]
    random = [accuracy - (one.accuracy or 0.0) for one in measured if one is not best and one.row.role == RANDOM]
    difference = difference_of(random)
    controls = _controls(best, accuracy, networks, choices)
    found = {
        "arch_id": best.row.arch_id,
        "architecture": best.row.definition,
        "role": best.row.role,
        "nn_mass": best.row.nn_mass,
        "params": best.row.params,
        "macs": best.row.macs,
        "verification": None if best.row.verification_id is None else str(best.row.verification_id),
        "accuracy": {**tested},
        "validation": None if validated is None else {**validated},
        "confirmed": None if confirmed is None else {**confirmed},
        "predicted": best.row.predicted,
    }
    said = [
        *_best_in_words(len(measured), tested, validated, confirmed),
        *_random_in_words(best, random),
        *_controls_in_words(best, controls),
        *_choices_in_words(choices),
    ]
    return {
        "best": found,
        "chosen_by": "test" if validated is None else "validation",
        "against_random": None if difference is None else {**difference},
        "against_controls": controls,
        **counts,
        "statement": " ".join(said),
    }


def _controls(
    best: Training, accuracy: float, networks: Sequence[Training], choices: Sequence[Choice]
) -> list[Difference]:
    """Return the best less the network that is first by each order: 0 of itself, None of one without an accuracy."""
    first = choices[0]["controls"] if choices else {}
    by_id = {one.row.arch_id: one for one in networks}
    found: list[Difference] = []
    for role in CONTROLS:
        if role in first:
            control = by_id.get(first[role])
            measured = None if control is None else control.accuracy
            value = 0.0 if control is best else None if measured is None else accuracy - measured
            found.append({"role": role, "arch_id": first[role], "accuracy": measured, "value": value})
    return found


def _best_in_words(
    measured: int, tested: OverSeeds, validated: OverSeeds | None, confirmed: OverSeeds | None
) -> list[str]:
    by = "" if validated is None else f", chosen by {_percent(validated['mean'])} on the validation images"
    said = [f"The best of {measured} measured networks has a test accuracy of {_percent(tested['mean'])}{by}."]
    if confirmed is None:
        return [*said, "No further seed confirms it: being the best of several flatters it."]
    low, high = confirmed["low"], confirmed["high"]
    interval = "" if low is None or high is None else f", 95 % interval {_percent(low)} to {_percent(high)}"
    seeds = f"{confirmed['n']} further seed{'' if confirmed['n'] == 1 else 's'}"
    return [
        *said,
        f"At {seeds}, which had no part in choosing it, it has {_percent(confirmed['mean'])}{interval}.",
    ]


def _random_in_words(best: Training, random: Sequence[float]) -> list[str]:
    if random:
        several = f"{len(random)} random networks near the budget on average"
        one = "one random network near the budget"
        return [f"That is {_points(sum(random) / len(random))} than {one if len(random) == 1 else several}."]
    if best.row.role == RANDOM:
        return ["It is itself a random network near the budget, and no other was measured."]
    return ["No random network near the budget was measured to compare it with."]


def _controls_in_words(best: Training, controls: Sequence[Difference]) -> list[str]:
    itself = [CONTROLS[one["role"]] for one in controls if one["arch_id"] == best.row.arch_id]
    others = [one for one in controls if one["value"] is not None and one["arch_id"] != best.row.arch_id]
    said = [f"It is itself {', '.join(itself)}."] if itself else []
    if others:
        differences = [f"{_points(one['value'] or 0.0)} than {CONTROLS[one['role']]}" for one in others]
        said.append(f"Its accuracy is {', '.join(differences)}.")
    return said


def _choices_in_words(choices: Sequence[Choice]) -> list[str]:
    planned = any(one["controls"] for one in choices)
    unfitted = [one["round"] for one in choices if planned and one["fit"] is None and not one["controls"]]
    unproved = [one["round"] for one in choices if one["proved"] is False]
    said = []
    if unfitted:
        said.append(f"{_rounds(unfitted)} trained networks that spend the budget: too few results to predict.")
    if unproved:
        said.append(f"{_rounds(unproved)} began before the engine had proved its optima.")
    return said


def _rounds(numbers: Sequence[int]) -> str:
    return f"Round{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def _points(difference: float) -> str:
    return f"{abs(100 * difference):.1f} points {'more' if difference > 0 else 'less'}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
