"""Tables of the results."""

from __future__ import annotations

import math
from typing import Any

from bench.growth import GROWTH

NAMES = {
    "ours": "nnmass, top 10",
    "thousand": "nnmass, top 1,000",
    "cp_sat": "OR-Tools CP-SAT",
    "highs": "HiGHS",
    "tpe": "Optuna TPE",
    "nsga2": "Optuna NSGA-II",
    "random_search": "random",
}


def cases_table(cases: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return one row per case and method: time, value, fraction of the optimum, proof, and time relative to ours."""
    lines = [
        "| case | method | seconds | NN-Mass | of the optimum | proved | times ours | peak memory |",
        "|---|---|--:|--:|--:|---|--:|--:|",
    ]
    for case, answers in cases.items():
        best, base = answers["ours"]["value"], answers["ours"]["seconds"]
        for method, answer in answers.items():
            value = answer["value"]
            shown = "-" if value is None else f"{value:.3f}"
            share = "-" if value is None else f"{100 * value / best:.2f} %"
            proved = "yes" if answer["proved"] else "no"
            lines.append(
                f"| {case} | {NAMES[method]} | {answer['seconds']:.3f} | {shown} | {share} | {proved}"
                f" | {answer['seconds'] / base:.1f} | {answer['peak_memory_mb']:.0f} MB |"
            )
    return "\n".join(lines)


def growth_table(growth: dict[str, dict[str, Any]]) -> str:
    """Return one row per space of four cells, and the exponents with which time grows."""
    lines = [
        "| options a cell | architectures | new space, s | tables cached, s | peak memory |",
        "|--:|--:|--:|--:|--:|",
    ]
    for case, answer in growth.items():
        size = int(answer["more"]["space_size"])
        lines.append(
            f"| {options_per_cell(case):,} | {size:.1e} | {answer['setup_seconds']:.3f} | {answer['seconds']:.3f}"
            f" | {answer['peak_memory_mb']:.0f} MB |"
        )
    exponents = [exponent(growth, key) for key in ("setup_seconds", "seconds")]
    lines.append("")
    lines.append(
        f"Time grows as options to the power {exponents[0]:.2f} (new space), {exponents[1]:.2f} (tables cached)."
    )
    return "\n".join(lines)


def scoring_line(found: dict[str, Any]) -> str:
    """Return how many architectures per second the array interface scores."""
    rates = ", ".join(f"{rate / 1e6:.1f} million a second ({name})" for name, rate in found["per_second"].items())
    return f"Array interface, {found['networks']:,} networks of three cells, median of {found['rounds']}: {rates}."


def options_per_cell(case: str) -> int:
    """Return how many combinations of width, depth and skip channels each cell of a growth case has, counted once."""
    return max(len(stage) for stage in GROWTH[case].space.chain().stages)


def exponent(growth: dict[str, dict[str, Any]], key: str) -> float:
    """Return the slope of log time against log options per cell, by least squares."""
    points = [(math.log(options_per_cell(case)), math.log(answer[key])) for case, answer in growth.items()]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
