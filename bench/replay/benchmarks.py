"""The networks of public benchmarks, with their accuracy, params and MACs as published, and NN-Mass computed.

NAS-Bench-Macro (xiusu/NAS-Bench-Macro, Apache-2.0), Accel-NASBench (afzalxo/Accel-NASBench, Apache-2.0) and the macro
space of TransNAS-Bench-101 as NASLib scored it (automl/NASLib, Apache-2.0), each as a CSV file with one row a network.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnmass_core.mass import basic_block_terms, bottleneck_terms

Floats = NDArray[np.float64]
Row = Mapping[str, str]

COSTS = ("params", "macs")
OWN = ("nn_mass", *COSTS, "blocks")
"""The measures that every benchmark has: NN-Mass, the costs, and the number of blocks."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The networks of one benchmark, one array entry per network, in the order of its file.

    Args:
        name: Of the benchmark; for TransNAS-Bench-101 with the task.
        accuracy: In percent, (n,).
        measures: Values by name, (n,) each: those of `OWN`, and the proxies of the file.
        choices: What distinguishes the networks, a row of small integers each, (n, positions).
        stages: NN-Mass of each stage, (n, stages); None where stages differ from network to network.
    """

    name: str
    accuracy: Floats
    measures: Mapping[str, Floats]
    choices: NDArray[np.int64]
    stages: Floats | None = None

    def __len__(self) -> int:
        return len(self.accuracy)

    def part(self, name: str, rows: NDArray[np.bool_]) -> Benchmark:
        """Return the benchmark of some of the networks. rows: whether each belongs to it, (n,)."""
        measures = {measure: values[rows] for measure, values in self.measures.items()}
        stages = None if self.stages is None else self.stages[rows]
        return Benchmark(name, self.accuracy[rows], measures, self.choices[rows], stages)


def read(folder: Path) -> tuple[Benchmark, ...]:
    """Return the benchmarks whose files are in a folder.

    Raises:
        FileNotFoundError: The folder has none of them.
    """
    found = [
        benchmark
        for file, benchmarks_of in READERS.items()
        if (folder / file).is_file()
        for benchmark in benchmarks_of(rows_of(folder / file))
    ]
    if not found:
        raise FileNotFoundError(f"{folder} has none of {', '.join(READERS)}")
    return tuple(found)


def rows_of(path: Path) -> list[Row]:
    """Return the rows of a compressed CSV file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def inverted_residual_mass(channels: int, expansion: int) -> float:
    """Return NN-Mass of an inverted residual with a shortcut, docs/theory.md (9)."""
    numerator, denominator = bottleneck_terms(channels, channels * expansion)
    return numerator / denominator


def _benchmark(
    name: str,
    accuracy: Iterable[float],
    blocks: Iterable[int],
    choices: list[list[int]],
    stages: list[list[float]],
    **measures: Iterable[float],
) -> Benchmark:
    by_stage = np.array(stages, np.float64)
    columns = {"nn_mass": by_stage.sum(axis=1), **measures, "blocks": blocks}
    arrays = {measure: np.array([*values], np.float64) for measure, values in columns.items()}
    return Benchmark(name, np.array([*accuracy], np.float64), arrays, np.array(choices), by_stage)


MACRO_CHANNELS, MACRO_BLOCKS, MACRO_EXPANSIONS = (64, 128, 256), (2, 3, 3), {"1": 3, "2": 6}


def _macro(rows: list[Row]) -> Iterator[Benchmark]:
    """Yield NAS-Bench-Macro, and the part in which the first block of every stage exists.

    Its strings have eight digits, one a block; 0 is no block, and where zeros stand among a stage's later blocks makes
    no difference, so that equal networks have several rows: their accuracy is the mean.
    """
    by_network: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        ends = np.cumsum((0, *MACRO_BLOCKS))
        stages = [row["blocks"][start:end] for start, end in itertools.pairwise(ends)]
        by_network.setdefault(tuple(stage[0] + stage[1:].replace("0", "") for stage in stages), []).append(row)
    first = [found[0] for found in by_network.values()]
    whole = _benchmark(
        "NAS-Bench-Macro",
        (float(np.mean([float(row["accuracy"]) for row in found])) for found in by_network.values()),
        (sum(len(stage.replace("0", "")) for stage in network) for network in by_network),
        [
            [
                int(digit)
                for stage, blocks in zip(network, MACRO_BLOCKS, strict=True)
                for digit in stage.ljust(blocks, "0")
            ]
            for network in by_network
        ],
        [
            [
                sum(inverted_residual_mass(channels, MACRO_EXPANSIONS[block]) for block in stage[1:])
                for channels, stage in zip(MACRO_CHANNELS, network, strict=True)
            ]
            for network in by_network
        ],
        params=(float(row["params"]) for row in first),
        macs=(float(row["macs"]) for row in first),
    )
    yield whole
    yield whole.part(
        "NAS-Bench-Macro, real networks",
        np.array([all(stage[0] != "0" for stage in network) for network in by_network]),
    )


ACCEL_CHANNELS = (16, 24, 40, 80, 112, 192, 320)


def _accel(rows: list[Row]) -> Iterator[Benchmark]:
    """Yield Accel-NASBench: seven stages, each with expansion, kernel, repeats, and squeeze-and-excitation or none."""
    networks = [
        [tuple(map(int, re.findall(r"\d", row[f"b{stage}"]))) for stage in range(len(ACCEL_CHANNELS))] for row in rows
    ]
    yield _benchmark(
        "Accel-NASBench",
        (float(row["top1"]) for row in rows),
        (sum(repeats for _, _, repeats, _ in network) for network in networks),
        [[value for stage in network for value in stage] for network in networks],
        [
            [
                # a stage changes the channels: its first block has no shortcut
                (repeats - 1) * inverted_residual_mass(channels, expansion)
                for channels, (expansion, _, repeats, _) in zip(ACCEL_CHANNELS, network, strict=True)
            ]
            for network in networks
        ],
        params=(1e6 * float(row["params_m"]) for row in rows),
        macs=(1e6 * float(row["macs_m"]) for row in rows),
    )


TRANSNAS_STEM, TRANSNAS_MODULES = 64, 6
TRANSNAS_GIVEN = ("task", "blocks", "accuracy", *COSTS)


def _transnas(rows: list[Row]) -> Iterator[Benchmark]:
    """Yield the macro space of TransNAS-Bench-101 by task, with the proxies of the file.

    One digit is one module of two residual basic blocks, 0 is none; even digits double the channels.
    """
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task]
        networks = [[int(digit) for digit in re.findall(r"\d", row["blocks"]) if digit != "0"] for row in of_task]
        proxies = [name for name in of_task[0] if name not in TRANSNAS_GIVEN]
        found = _benchmark(
            f"TransNAS-Bench-101 macro, {task}",
            (float(row["accuracy"]) for row in of_task),
            (2 * len(network) for network in networks),
            [[*network, *([0] * (TRANSNAS_MODULES - len(network)))] for network in networks],
            [[_transnas_mass(network)] for network in networks],
            **{cost: [float(row[cost]) for row in of_task] for cost in COSTS},
        )
        measures = {name: np.array([float(row[name]) for row in of_task]) for name in proxies}
        yield Benchmark(found.name, found.accuracy, {**found.measures, **measures}, found.choices)


def _transnas_mass(network: list[int]) -> float:
    channels, total = TRANSNAS_STEM, 0
    for module in network:
        entering, channels = channels, channels * (2 if module % 2 == 0 else 1)
        total += sum(basic_block_terms(i, channels)[0] for i in (entering, channels))
    return float(total)


READERS: dict[str, Callable[[list[Row]], Iterator[Any]]] = {
    "nas-bench-macro.csv.gz": _macro,
    "accel-nasbench.csv.gz": _accel,
    "transnas-macro.csv.gz": _transnas,
}
"""The files, and how each is read."""
