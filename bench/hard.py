"""Time kinds of question in every preset: now, in an earlier checkout, and by solvers that get our tables.

`python -m bench.hard` writes hard.json, hard.md and the plot stages.svg into bench/results: one row a question, with
the time of each and their ratios. `--before CHECKOUT` times an earlier checkout too; what is not measured this time
keeps its earlier result. Times are processor time of one core, so that what else runs on the machine matters little.
Solvers answer the questions that have a single answer. "now" is a whole answer: its ranks, the proof of which limits
bind, the certificate. "Solver's job" is the engine with what a solver is asked: tables that are ready, one proved
optimum. `--patience 3` stops a solver after three times what this
release took, and after a second at least: enough to see which of the two is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.stages import MOST_STAGES, STAGES

RESULTS = Path(__file__).parent / "results"
HERE = Path(__file__).parents[1]

LIMITS = {
    "densenet-cifar-free": {"max_params": 1_000_000, "max_macs": 150_000_000},
    "densenet-cifar": {"max_params": 1_000_000, "max_macs": 150_000_000},
    "densenet-cifar-depthwise": {"max_params": 1_000_000, "max_macs": 150_000_000},
    "densenet-tiny-free": {"max_params": 200_000, "max_macs": 30_000_000},
    "densenet-mlp-mnist": {"max_params": 60_000, "max_macs": 60_000},
    "mobilenet-v2-imagenet-free": {"max_params": 2_300_000, "max_macs": 200_000_000},
    "mobilenet-v2-tiny-free": {"max_params": 100_000, "max_macs": 10_000_000},
    "resnet-imagenet-free": {"max_params": 12_000_000, "max_macs": 2_000_000_000},
    "resnet-tiny-free": {"max_params": 1_000_000, "max_macs": 100_000_000},
    "wide-resnet-cifar-free": {"max_params": 2_000_000, "max_macs": 300_000_000},
    "densenet-tiny": {"max_params": 200_000, "max_macs": 30_000_000},
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
    "densenet-tiny-free": 240.0,
    "densenet-mlp-mnist": 160.0,
    "mobilenet-v2-imagenet-free": 2396.0,
    "mobilenet-v2-tiny-free": 608.0,
    "resnet-imagenet-free": 10367.84761904762,
    "resnet-tiny-free": 1536.0,
    "wide-resnet-cifar-free": 2448.0,
    "densenet-tiny": 240.0,
    "mobilenet-v2-imagenet": 1360.0,
    "mobilenet-v2-tiny": 419.2,
    "resnet-imagenet": 10367.84761904762,
    "resnet-tiny": 1504.0,
    "wide-resnet-cifar": 2448.0,
}
"""The most NN-Mass within these limits."""

SHARE = 0.8
"""The NN-Mass that a least cost must have, as a fraction of the most."""

PEAK = "peak_activation_bytes"

SINGLE = (
    "most, 10",
    "least peak, 1",
    "least params",
    "least MACs",
    "least weights",
    "most MACs",
    "spend",
    "floor",
    "range",
)
"""The kinds of question that solvers answer too: their best network is that of the first rank."""

SELECTION = {
    "densenet-cifar-free": ("most, 10", "shape, 1,000", "least peak, 1", "least MACs", "front of params, MACs"),
    "mobilenet-v2-imagenet-free": ("most, 10", "least peak, 1", "front of params"),
}
"""What `make bench` measures, in some minutes."""

SOLVERS = ("cp_sat", "highs")

ENGINE = "engine"
"""The engine with the job that solvers have: one proved optimum from ready tables, without the rest of an answer."""


def questions(preset: str) -> dict[str, dict[str, Any]]:
    """Return a preset's questions by their kind."""
    limits = LIMITS[preset]
    asked: dict[str, Any] = {"space": preset, "spend": None, **limits}
    least = SHARE * MOST[preset]
    peak, one = {"minimize": PEAK, "min_nn_mass": least}, asked | {"top_k": 1}
    return {
        "most, 10": asked,
        "most, 1,000": asked | {"top_k": 1000},
        "shape, 10": asked | {"diversity": "shape"},
        "shape, 1,000": asked | {"diversity": "shape", "top_k": 1000},
        "least peak, 1": one | {"objective": peak},
        "least peak, 10": asked | {"objective": peak},
        "least peak, 1,000": asked | {"objective": peak, "top_k": 1000},
        "least params": one | {"objective": {"minimize": "params", "min_nn_mass": least}},
        "least MACs": one | {"objective": {"minimize": "macs", "min_nn_mass": least}},
        "least weights": one | {"objective": {"minimize": "weight_bytes", "min_nn_mass": least}},
        "most MACs": one | {"objective": {"maximize": "macs"}},
        "spend": one | {"spend": {"quantity": "macs", "share": 0.95}},
        "floor": one | {"min_macs": int(0.7 * limits["max_macs"])},
        "range": one | {"max_nn_mass": least, "min_macs": limits["max_macs"] // 4},
        "front of params": asked | {"objective": {"pareto": ["nn_mass", "params"]}},
        "front of MACs": asked | {"objective": {"pareto": ["nn_mass", "macs"]}},
        "front of peak": asked | {"objective": {"pareto": ["nn_mass", PEAK]}},
        "front of params, MACs": asked | {"objective": {"pareto": ["nn_mass", "params", "macs"]}},
        "front of peak, MACs": asked | {"objective": {"pareto": ["nn_mass", PEAK, "macs"]}},
    }


def measure(checkout: Path, question: dict[str, Any], limit: float) -> dict[str, Any]:
    """Ask a checkout in a new process.

    A question that it does not know has no seconds and the field that it refuses. One that takes longer than the limit
    has the limit as its seconds, and is not proved.
    """
    command = [sys.executable, "-W", "ignore", str(HERE / "bench" / "asked.py"), json.dumps(question)]
    given = os.environ | {"PYTHONPATH": str(checkout)}
    return _result(command, given, limit)


def measure_solver(method: str, question: dict[str, Any], limit: float) -> dict[str, Any]:
    """Ask a solver that gets our tables in a new process; the result is that of `measure`."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.solvers", method, json.dumps(question), str(limit)]
    return _result(command, dict(os.environ), limit)


def _result(command: list[str], given: dict[str, str], limit: float) -> dict[str, Any]:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=given, timeout=4 * limit + 60)
    except subprocess.TimeoutExpired:
        return {"seconds": limit, "proved": False}
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1]
        if not any(kind in last for kind in ("DefinitionError", "TypeError")):  # as requests of other releases raise
            raise RuntimeError(error.stderr) from error
        return {"seconds": None, "refused": last.partition(": ")[2]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(case: str, found: dict[str, Any]) -> str:
    """Return a question's row of the table; a time over the limit is shown as such, an unknown question as `-`."""
    now, before = found["now"], found.get("before")
    solvers = [found.get(method) for method in SOLVERS]
    best = min((one for one in solvers if one), key=lambda one: one["seconds"], default=None)
    same = "" if before is None or before["seconds"] is None else _same(now, before)
    earlier = None if before is None else before["seconds"]
    cells = [case, f"{now['found']:,}", _seconds(now), _seconds(before), _ratio(earlier, now), same]
    engine = found.get(ENGINE)
    cells += [_seconds(engine), *map(_seconds, solvers), _rivalry(best, now), _rivalry(best, engine)]
    return f"| {' | '.join(cells)} |"


def _same(now: dict[str, Any], before: dict[str, Any]) -> str:
    if not before["proved"]:
        return "not proved"
    return "yes" if now["answer"] == before["answer"] else "no"


def _seconds(found: dict[str, Any] | None) -> str:
    if found is None or found["seconds"] is None:
        return "-" if found is None else "unknown"
    return f"{found['seconds']:.3f}" if found["proved"] else f">{found['seconds']:.0f}"


def _rivalry(best: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    """Return the ratio of the faster solver; one that was stopped would have taken longer."""
    if best is None or now is None:
        return "-"
    return f"{'' if best['proved'] else '>'}{_ratio(best['seconds'], now)}"


def _ratio(other: float | None, now: dict[str, Any]) -> str:
    return "-" if other is None else f"{other / now['seconds']:.1f}"


HEAD = (
    (
        "| question | found | now, s | before, s | before / now | same answer | solver's job, s | CP-SAT, s | HiGHS, s "
        "| solver / now | solver / solver's job |"
    ),
    "|---|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|",
)


def summary(cases: dict[str, Any]) -> list[str]:
    """Return what holds of all cases, line by line."""
    seconds = {case: found["now"]["seconds"] for case, found in cases.items()}
    slowest = max(seconds, key=lambda case: seconds[case])
    late = sum(value > 2 for value in seconds.values())
    median = f"{len(cases)} questions: median {statistics.median(seconds.values()):.3f} s, {late} over 2 s"
    lines = [f"{median}, the slowest {seconds[slowest]:.2f} s ({slowest})."]
    rivals = {case: [found[method] for method in SOLVERS if method in found] for case, found in cases.items()}
    for column, what in (("now", "the whole answer"), (ENGINE, "the solver's job: one optimum from ready tables")):
        asked = [case for case, others in rivals.items() if others and column in cases[case]]
        ahead = [case for case in asked if any(_is_faster(one, cases[case][column]) for one in rivals[case])]
        if asked:
            named = f" ({', '.join(ahead)})" if ahead else ""
            lines.append(f"A solver is faster than {what}, in {len(ahead)} of {len(asked)} questions{named}.")
    pairs = [found for found in cases.values() if "before" in found]
    known = [found for found in pairs if found["before"]["seconds"] is not None]
    if known:
        ratios = [found["before"]["seconds"] / found["now"]["seconds"] for found in known]
        times = f"{statistics.median(ratios):.1f} times as long in the median"
        lines.append(f"The earlier release knows {len(known)} of {len(pairs)}; it takes {times}.")
    return lines


def _is_faster(solver: dict[str, Any], now: dict[str, Any]) -> bool:
    """Return whether a solver proved its answer in less time; if nothing was proved here, in whatever time."""
    return bool(solver["proved"]) and (not now["proved"] or solver["seconds"] < now["seconds"])


def stage_table(stages: dict[str, Any]) -> list[str]:
    """Return a row for each number of stages."""
    head = "| stages | architectures | first, s | tables kept, s | CP-SAT, s | HiGHS, s |"
    lines = [head, "|--:|--:|--:|--:|--:|--:|"]
    for number, found in stages.items():
        now = found["now"]
        cells = [number, f"{now['space_size']:.1e}", f"{now['first']:.3f}", _seconds(now)]
        lines.append(f"| {' | '.join([*cells, *(_seconds(found.get(method)) for method in SOLVERS)])} |")
    return lines


def save(measured: dict[str, Any], results: Path) -> None:
    """Write what is measured so far, in the order of the presets and kinds."""
    known = [f"{preset}: {kind}" for preset in LIMITS for kind in questions(preset)]
    cases = {case: measured["cases"][case] for case in known if case in measured["cases"]}
    stages = {number: measured["stages"][number] for number in map(str, STAGES) if number in measured["stages"]}
    results.mkdir(parents=True, exist_ok=True)
    written = {"python": platform.python_version(), "cases": cases, "stages": stages}
    (results / "hard.json").write_text(json.dumps(written, indent=1) + "\n")
    whole = {case: found for case, found in cases.items() if "now" in found}
    lines = [*HEAD, *(row(case, found) for case, found in whole.items())]
    lines += ["", *(f"{line}  " for line in summary(whole))] if whole else []
    lines += ["", *stage_table(stages)] if stages and all("now" in found for found in stages.values()) else []
    (results / "hard.md").write_text("\n".join(line.rstrip() for line in lines) + "\n")


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="the root of an earlier checkout")
    parser.add_argument("--presets", nargs="*", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--kinds", nargs="*", help="only these kinds, the others' results kept as they are")
    parser.add_argument("--selection", action="store_true", help="only some questions, as `make bench` does")
    parser.add_argument("--only", nargs="*", choices=("now", "before", ENGINE, *SOLVERS), help="only these columns")
    parser.add_argument("--stages", action="store_true", help="only time against the number of stages")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of each question")
    parser.add_argument("--patience", type=float, help="limit solvers to so many times what this release took")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    file = given.results / "hard.json"
    measured = json.loads(file.read_text()) if file.is_file() else {}
    measured = {"cases": measured.get("cases", {}), "stages": measured.get("stages", {})}
    columns = given.only or ["now", *(["before"] if given.before else []), ENGINE, *SOLVERS]
    for preset in () if given.stages else given.presets:
        for kind, question in questions(preset).items():
            if kind in (SELECTION.get(preset, ()) if given.selection else given.kinds or [kind]):
                found = measured["cases"].setdefault(f"{preset}: {kind}", {})
                _measure_all(found, columns, question, given, single=kind in SINGLE)
                print(row(f"{preset}: {kind}", found) if "now" in found else f"{preset}: {kind} {found}", flush=True)
                save(measured, given.results)
    for number in () if given.selection or given.kinds else STAGES:
        found = measured["stages"].setdefault(str(number), {})
        _measure_all(
            found,
            [column for column in columns if column not in ("before", ENGINE)],
            STAGES[number],
            given,
            single=True,
        )
        print(f"{number} of {MOST_STAGES} stages: {found}", flush=True)
        save(measured, given.results)
    if measured["stages"]:
        from bench.plots import plot_stages  # imported here: measuring needs no drawing library

        plot_stages(measured["stages"], given.results / "stages.svg")


def _measure_all(
    found: dict[str, Any], columns: list[str], question: dict[str, Any], given: argparse.Namespace, *, single: bool
) -> None:
    asked = question | {"time_limit_seconds": given.limit}
    for column in columns:
        if column == "now":
            found[column] = measure(HERE, asked, given.limit)
        elif column == "before" and given.before is not None:
            found[column] = measure(given.before, asked, given.limit)
        elif column == ENGINE and single:
            found[column] = measure_solver(column, question, given.limit)
        elif column in SOLVERS and single:
            limit = solver_limit(found.get("now"), given.limit, given.patience)
            found[column] = measure_solver(column, question, limit)


def solver_limit(now: dict[str, Any] | None, limit: float, patience: float | None) -> float:
    """Return the seconds that a solver may take: the limit, or `patience` times what this release took."""
    if now is None or patience is None or not now["proved"]:
        return limit
    took: float = now["seconds"]
    return min(limit, max(1.0, patience * took))


if __name__ == "__main__":
    main()
