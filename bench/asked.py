"""Time searches in this process: `python bench/asked.py QUESTION...`, each the arguments of `nnmass.search` as JSON.

It imports only the public functions, so that PYTHONPATH may name an earlier checkout, and prints one JSON object for
each question.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import time
from typing import Any

import nnmass

LONG = 5.0
"""A question whose first search takes longer, in seconds, is asked only once."""

WARM_RUNS = 5


def timed(question: dict[str, Any]) -> dict[str, Any]:
    """Return the processor time of the first search, the median of more with the tables cached, and the answer."""
    first, answer = ask(question)
    warm = [first] if first > LONG else [ask(question)[0] for _ in range(WARM_RUNS)]
    found = [[one.arch_id for one in answer], answer.certificate.optimal, answer.certificate.bound]
    digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()
    return {
        "first": first,
        "seconds": statistics.median(warm),
        "proved": answer.certificate.optimal,
        "found": len(answer),
        "answer": digest,
        "space_size": answer.certificate.space_size,
    }


def ask(question: dict[str, Any]) -> tuple[float, nnmass.Answer]:
    """Search once; return the seconds of processor time and the answer."""
    started = time.process_time()
    answer = nnmass.search(**question)
    return time.process_time() - started, answer


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for text in sys.argv[1:]:
        print(json.dumps(timed(json.loads(text))), flush=True)
