"""Whether an accuracy is at chance level: docs/verification.md defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

SIGNIFICANCE = 0.01
"""The probability that answers independent of the images count as better than chance, at most."""


class ChanceWarning(TypedDict):
    """What is wrong with an accuracy, and the seeds whose accuracy it is."""

    code: str
    message: str
    seeds: list[int]


def chance_of(counts: Sequence[int]) -> float:
    """Return the best accuracy that needs no look at the images: that of always answering the most frequent class.

    counts: the test images of each class. The share is never below 1 / classes.
    """
    return max(max(counts) / sum(counts), 1 / len(counts))


def least_hits(counts: Sequence[int]) -> int:
    """Return the fewest correct answers that are better than chance; more than there are images where none are enough.

    It is the smallest k with P(X >= k) <= 0.01, where X is binomial: one trial for each test image, each correct with
    the probability `chance_of(counts)`. counts: the test images of each class.
    """
    from scipy.special import betainc

    images = sum(counts)
    hits = np.arange(1, images + 1)
    tails = betainc(hits, images - hits + 1, chance_of(counts))  # P(X >= hits), which falls as hits grow
    return 1 + int(np.count_nonzero(tails > SIGNIFICANCE))


def chance_warning(accuracies: Mapping[int, float], counts: Sequence[int]) -> ChanceWarning | None:
    """Return a warning about the seeds whose accuracy is at chance level, or None.

    accuracies: the test accuracy in [0, 1] of each seed. counts: the test images of each class.
    """
    images, least = sum(counts), least_hits(counts)
    seeds = [seed for seed, accuracy in accuracies.items() if round(accuracy * images) < least]
    if not seeds:
        return None
    named = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    bound = f"{least} of {images} correct test images" if least <= images else f"more than {images} test images"
    message = (
        f"The accuracy of {named} is at chance level: the network may have learned nothing. Always answering the most "
        f"frequent class gives {chance_of(counts):.3f}; it takes {bound} to be better than chance."
    )
    return {"code": "chance_level", "message": message, "seeds": seeds}
