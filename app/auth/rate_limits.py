"""Limit how many requests each owner may send to one API process."""

from __future__ import annotations

import math
import time

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.auth.keys import Caller
from app.config import Settings
from app.errors import TooMany

SHORTEST_WAIT_SECONDS = 1


class RateLimits:
    """Counts the requests of each owner in a sliding window. Thread-safe. Callers without a key are not limited."""

    def __init__(self, settings: Settings) -> None:
        self._limit = parse(settings.rate_limit)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, caller: Caller) -> None:
        """Count a request of a caller.

        Raises:
            TooMany: The owner has used up the window's requests; the error contains when to try again.
        """
        if caller.key is None or self._limiter.hit(self._limit, caller.owner):
            return
        reset = self._limiter.get_window_stats(self._limit, caller.owner).reset_time
        seconds = max(SHORTEST_WAIT_SECONDS, math.ceil(reset - time.time()))
        raise TooMany(
            f"rate limit exceeded: {self._limit} for each owner", code="too_many_requests", retry_after=seconds
        )
