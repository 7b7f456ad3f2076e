"""Time the kinds of question that were slow, in every preset, now and in an earlier checkout side by side.

`python -m bench.hard --before CHECKOUT` writes hard.json and hard.md into bench/results: one row a question, with the
ratio of the two and whether both gave the same answer. Times are processor time of one core, so that what else runs on
the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
HERE = Path(__file__).parents[1]

LIMITS = {
    "densenet-cifar-free": {"max_params": 1_000_000, "max_macs": 150_000_000},
    "densenet-cifar": {"max_params": 1_000_000, "max_macs": 150_000_000},
    "densenet-cifar-depthwise": {"max_params": 1_000_000, "max_macs": 150_000_000},
    "densenet-tiny": {"max_params": 200_000, "max_macs": 30_000_000},
    "densenet-mlp-mnist": {"max_params": 60_000},
    "mobilenet-v2-imagenet": {"max_params": 2_300_000, "max_macs": 200_000_000},
    "mobilenet-v2-tiny": {"max_params": 100_000, "max_macs": 10_000_000},
    "resnet-imagenet": {"max_params": 12_000_000, "max_macs": 2_000_000_000},
    "resnet-tiny": {"max_params": 1_000_000, "max_macs": 100_000_000},
    "wide-resnet-cifar": {"max_params": 2_000_000, "max_macs": 300_000_000},
}
"""Limits under which every preset has many networks; the first is the README's example."""

MOST = {
    "densenet-cifar-free": 784.1333333333333,
    "densenet-cifar": 739.2,
    "densenet-cifar-depthwise": 1536.0,
    "densenet-tiny": 240.0,
    "densenet-mlp-mnist": 160.0,
    "mobilenet-v2-imagenet": 2396.0,
    "mobilenet-v2-tiny": 608.0,
    "resnet-imagenet": 10367.84761904762,
    "resnet-tiny": 1536.0,
    "wide-resnet-cifar": 2448.0,
}
"""The most NN-Mass within these limits."""

SHARE = 0.8
"""The NN-Mass that a least peak must have, as a fraction of the most."""


def questions(preset: str) -> dict[str, dict[str, Any]]:
    """Return a preset's questions by their kind."""
    asked: dict[str, Any] = {"space": preset, **LIMITS[preset], "time_limit_seconds": 600}
    floor = {"minimize": "peak_activation_bytes", "min_nn_mass": SHARE * MOST[preset]}
    return {
        "most, 10": asked,
        "most, 1,000": asked | {"top_k": 1000},
        "shape, 10": asked | {"diversity": "shape"},
        "shape, 1,000": asked | {"diversity": "shape", "top_k": 1000},
        "least peak, 1": asked | {"objective": floor, "top_k": 1},
        "least peak, 10": asked | {"objective": floor},
        "least peak, 1,000": asked | {"objective": floor, "top_k": 1000},
        "front of peak": asked | {"objective": {"pareto": ["nn_mass", "peak_activation_bytes"]}},
    }


def measure(checkout: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Ask a checkout in a new process. Raises the error of the process."""
    command = [sys.executable, "-W", "ignore", str(HERE / "bench" / "asked.py"), json.dumps(question)]
    given = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=given, timeout=3600)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(case: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return a question's row of the table."""
    ratio, same = before["seconds"] / now["seconds"], "yes" if before["answer"] == now["answer"] else "no"
    cells = (case, now["found"], f"{before['seconds']:.3f}", f"{now['seconds']:.3f}", f"{ratio:.2f}", same)
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def save(cases: dict[str, Any], results: Path) -> None:
    """Write the cases measured so far, in the order of the presets and kinds."""
    known = [f"{preset}: {kind}" for preset in LIMITS for kind in questions(preset)]
    cases = {case: cases[case] for case in known if case in cases}
    results.mkdir(parents=True, exist_ok=True)
    written = {"python": platform.python_version(), "cases": cases}
    (results / "hard.json").write_text(json.dumps(written, indent=1) + "\n")
    head = "| question | found | before, s | now, s | before / now | same answer |\n|---|--:|--:|--:|--:|---|\n"
    (results / "hard.md").write_text(head + "".join(f"{row(case, **pair)}\n" for case, pair in cases.items()))


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="the root of an earlier checkout")
    parser.add_argument("--presets", nargs="*", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--kinds", nargs="*", help="only these kinds, the others' results kept as they are")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    file = given.results / "hard.json"
    cases: dict[str, Any] = json.loads(file.read_text())["cases"] if file.is_file() else {}
    for preset in given.presets:
        for kind, question in questions(preset).items():
            if given.kinds and kind not in given.kinds:
                continue
            pair = {"before": measure(given.before, question), "now": measure(HERE, question)}
            cases[f"{preset}: {kind}"] = pair
            print(row(f"{preset}: {kind}", **pair), flush=True)
            save(cases, given.results)


if __name__ == "__main__":
    main()
