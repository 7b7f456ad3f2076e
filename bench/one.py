"""Run one method on one case in this process, on one core, and print the result as JSON: `python -m bench.one`."""

from __future__ import annotations

import argparse
import json
import os
import resource
from importlib import import_module

from bench.cases import CASES
from bench.growth import GROWTH

METHODS = {
    "ours": "bench.ours",
    "thousand": "bench.ours",
    "cp_sat": "bench.exact",
    "highs": "bench.exact",
    "tpe": "bench.sampled",
    "nsga2": "bench.sampled",
    "random_search": "bench.sampled",
}
"""The module of each method; only the module needed is imported, so that none loads the others' libraries."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=[*CASES, *GROWTH])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    method = getattr(import_module(METHODS[given.method]), given.method)
    answer = method((CASES | GROWTH)[given.case], given.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("ANSWER", json.dumps(answer.to_json() | {"peak_memory_mb": round(peak, 1)}))


if __name__ == "__main__":
    main()
