"""Fit device profiles to networks that others timed, and check them on networks that were not fitted.

`python -m bench.timings --data ../shared/benchmarks` reads Accel-NASBench (afzalxo/Accel-NASBench, Apache-2.0), writes
the profiles of its six devices into nnmass_core, and timings.json and timings.md into bench/results.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.replay.benchmarks import ACCEL_CHANNELS, Row, rows_of
from nnmass.measurements import Fitted, Measurements, Timed, fitted
from nnmass_core.budget import Budget
from nnmass_core.certificate import Ranked
from nnmass_core.codec import JsonObject
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.families.mobilenet_v2 import MobileNetV2
from nnmass_core.hardware.devices import Device, read_device
from nnmass_core.hardware.fitting import ON_CHIP, error_of, figures_of, fit_networks, least_squares
from nnmass_core.hardware.latency import Work
from nnmass_core.request import SearchRequest
from nnmass_core.search import search

# untyped: results, as JSON holds them

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Choice = tuple[int, int, int, int]
"""Expansion, kernel, repeats and squeeze-and-excitation (0 or 1) of a stage."""

FILE = "accel-nasbench.csv.gz"
ROOT = Path(__file__).parents[1]
PROFILES = ROOT / "nnmass_core" / "hardware" / "measured.json"
RESULTS = ROOT / "bench" / "results"

STRIDES = (1, 2, 2, 2, 1, 2, 1)
IMAGE: JsonObject = {"channels": 3, "height": 224, "width": 224}
ENDS: JsonObject = {"num_classes": 1000, "stem_channels": 32, "last_channels": 1280, "activation": "relu"}
SQUEEZED_TO = 4
"""Input channels of a block for each channel that its squeeze-and-excitation squeezes to."""

MOST_REPEATS = (3, 3, 3, 3, 3, 4, 3)
OPTIONS = {"expansion": (1, 4, 6), "kernel": (3, 5), "se": (0, SQUEEZED_TO)}
"""What a stage chooses from, beside its repeats."""

DRAWN, DRAWS = 50, 20
"""Networks of a draw, and the number of draws."""

LIMITS = 10
"""Limits of the searches with each profile: the middles of the tenths of the measured times."""

SETS = {"searches": range(DRAWS), "fresh": range(DRAWS, 2 * DRAWS)}
"""The draws whose profiles are searched with. The form of the fit was chosen with the first; the others are a check."""

DIGITS = 6
"""Significant digits of the times in shipped profiles: other versions of a library for algebra agree in them."""

SOURCE = "Accel-NASBench (Ahmad et al., 2024), afzalxo/Accel-NASBench, anb_dataset, Apache-2.0"
GPU = (
    "Milliseconds an image, 1,000 by images a second: torch in channels last under autocast, in batches of 256 (the "
    "batch of the configuration that the source published), after a warm-up, without loading images."
)
TPU = "Milliseconds an image, 1,000 by images a second: torch-xla in bfloat16 (two bytes) on one core, batches of {}."
RANGE = " Networks of inverted residuals at 224 x 224 with kernels 3 and 5, ReLU."


@dataclass(frozen=True)
class Board:
    """A device of the table: its profile's name, title and note, the column of its times, and how they were measured.

    most: the median error that is asked of a fit to `DRAWN` networks.
    """

    name: str
    title: str
    column: str
    precision: str
    batch: int
    runtime: str
    note: str
    most: float

    @property
    def measure(self) -> str:
        """What the milliseconds are."""
        return self.column.partition("_")[0]

    def milliseconds(self, rows: list[Row]) -> Floats:
        """Return the milliseconds of each network, (n,), NaN where the table has none."""
        values = np.array([float(row[self.column] or "nan") for row in rows])
        return 1000 / values if self.measure == "throughput" else values


BOARDS = (
    Board(
        *("zcu102", "AMD Zynq UltraScale+ ZCU102 (DPU)", "latency_zcu102_ms", "int8", 1),
        "Vitis AI 2.5, DPUCZDX8G_ISA1_B4096",
        "Milliseconds of one image, one thread.",
        0.06,
    ),
    Board(
        *("vck190", "AMD Versal VCK190 (DPU), batch of 6", "latency_vck190_ms", "int8", 6),
        "Vitis AI 2.5, DPUCVDX8G_ISA3_C32B3",
        "Milliseconds of a run of 6 images, the fewest that this DPU takes, one thread.",
        0.06,
    ),
    Board(
        *("a100-40gb-batched", "NVIDIA A100 40GB, an image in batches", "throughput_a100", "fp16", 256),
        *("torch, autocast", GPU, 0.01),
    ),
    Board(
        *("rtx-3090-batched", "NVIDIA GeForce RTX 3090, an image in batches", "throughput_3090", "fp16", 256),
        *("torch, autocast", GPU, 0.02),
    ),
    Board(
        *("tpu-v2-batched", "Google TPU v2, one core, an image in batches", "throughput_tpuv2", "fp16", 64),
        *("torch-xla 1.13, bfloat16", TPU.format(64), 0.07),
    ),
    Board(
        *("tpu-v3-batched", "Google TPU v3, one core, an image in batches", "throughput_tpuv3", "fp16", 128),
        *("torch-xla 1.13, bfloat16", TPU.format(128), 0.07),
    ),
)


def choices_of(row: Row) -> list[Choice]:
    """Return expansion, kernel, repeats and squeeze-and-excitation (0 or 1) of each stage."""
    found = [re.findall(r"\d", row[f"b{stage}"]) for stage in range(len(STRIDES))]
    return [(int(expansion), int(kernel), int(repeats), int(se)) for expansion, kernel, repeats, se in found]


def definition_of(row: Row) -> JsonObject:
    """Return the definition of a network of the table."""
    stages: list[dict[str, int]] = [
        {"expansion": e, "channels": channels, "repeats": repeats, "stride": stride, "kernel": kernel}
        | ({"se": SQUEEZED_TO} if se else {})
        for (e, kernel, repeats, se), channels, stride in zip(choices_of(row), ACCEL_CHANNELS, STRIDES, strict=True)
    ]
    return {"family": "mobilenet_v2", "input": IMAGE, **ENDS, "stages": [*stages]}


def space() -> JsonObject:
    """Return the space of the table's networks."""
    free: JsonObject = {name: list(values) for name, values in OPTIONS.items()}
    stages: list[JsonObject] = [
        {**free, "channels": channels, "stride": stride, "repeats": {"min": 1, "max": most}}
        for channels, stride, most in zip(ACCEL_CHANNELS, STRIDES, MOST_REPEATS, strict=True)
    ]
    return {"family": "mobilenet_v2", "input": IMAGE, **ENDS, "stages": stages}


def profile_of(board: Board, networks: tuple[Timed, ...]) -> Fitted:
    """Return a board's profile, fitted to some networks."""
    about = {"name": board.name, "title": board.title, "source": SOURCE, "note": board.note + RANGE}
    known = {"runtime": board.runtime, "machine": board.title, "threads": 1}
    known |= {"precision": board.precision, "batch": board.batch}
    return fitted(Measurements(networks, board.measure), about, known, FILE)


def shipped(profile: Any) -> Any:
    """Return a profile, or a part of one, with its numbers rounded as shipped profiles have them."""
    match profile:
        case dict():
            return {name: shipped(value) for name, value in profile.items()}
        case list():
            return [shipped(value) for value in profile]
        case float():
            return float(f"{profile:.{DIGITS}g}")
    return profile


@dataclass(frozen=True, eq=False)
class Table:
    """The networks of the table, and what fits need of them, one entry a network."""

    rows: list[Row]
    works: list[tuple[Work, ...]]
    figures: dict[int, Floats]
    """By the elements on the chip."""
    choices: Floats

    @classmethod
    def of(cls, rows: list[Row]) -> Table:
        """Read rows."""
        works = [work_of(choices_of(row)) for row in rows]
        figures = {on_chip: figures_of(works, on_chip) for on_chip in ON_CHIP}
        return cls(rows, works, figures, np.array([one_hot(choices_of(row)) for row in rows]))

    def timed(self, places: Indices, milliseconds: Floats) -> tuple[Timed, ...]:
        """Return some networks with their times."""
        return tuple(
            Timed(decode_architecture(definition_of(self.rows[place])), float(milliseconds[place]))
            for place in places.tolist()
        )


def work_of(choices: Sequence[Choice]) -> tuple[Work, ...]:
    """Return the operators of a network, stage by stage: channels and maps are fixed, so that stages do not interact.

    They are those of networks whose stages are alike, which is quicker than to build each of 5,138 networks.
    """
    stem, *_, head = _work_of_equal(choices[0])
    stages = (_work_of_equal(choice)[2 * k + 1 : 2 * k + 3] for k, choice in enumerate(choices))
    return (stem, *itertools.chain.from_iterable(stages), head)


@cache
def _work_of_equal(choice: Choice) -> tuple[Work, ...]:
    """Return the operators of the network whose stages all have one choice."""
    network = decode_architecture(definition_of(row_of([choice] * len(STRIDES))))
    return network.work() or ()


def row_of(choices: Sequence[Choice]) -> Row:
    """Return what the table has in a row about a network."""
    return {f"b{stage}": "e{}k{}r{}s{}".format(*choice) for stage, choice in enumerate(choices)}


CHOICES = [
    (expansion, kernel, repeats, int(se > 0))
    for expansion, kernel, se in itertools.product(*OPTIONS.values())
    for repeats in range(1, max(MOST_REPEATS) + 1)
]
"""What a stage can be, in the order of its figures."""


def one_hot(choices: Sequence[Choice]) -> Floats:
    """Return which of all choices a network has in each stage, as 0 and 1, and 1 for what all networks have."""
    found = np.zeros((len(STRIDES), len(CHOICES)))
    for stage, choice in enumerate(choices):
        found[stage, CHOICES.index(choice)] = 1
    return np.append(found.ravel(), 1.0)


def draws_of(board: Board, table: Table) -> dict[str, Any]:
    """Return the errors of fits to few networks on all others."""
    milliseconds = board.milliseconds(table.rows)
    errors, own, covered = [], [], []
    for draw in range(DRAWS):
        fitted_to, others = drawn(milliseconds, draw)
        fit = fit_networks([table.works[place] for place in fitted_to], milliseconds[fitted_to].tolist())
        shares = milliseconds[others] / (table.figures[fit.on_chip][others] @ fit.prices / 1e6)
        band = error_of(fit.estimates, milliseconds[fitted_to], 1)
        errors.append(float(np.median(np.abs(1 / shares - 1))))
        own.append(band.median_error)
        covered.append(float(np.mean((band.band_low <= shares) & (shares <= band.band_high))))
    return {
        "networks": int(np.isfinite(milliseconds).sum()),
        "median_error": median(errors),
        "least_error": min(errors),
        "greatest_error": max(errors),
        "stated_error": median(own),
        "coverage": float(np.mean(covered)),
        "stated_coverage": band.coverage,
        "most": board.most,
    }


def drawn(milliseconds: Floats, draw: int) -> tuple[Indices, Indices]:
    """Return the networks of a draw, and all others that have a time."""
    order = np.random.default_rng(draw).permutation(np.flatnonzero(np.isfinite(milliseconds)))
    return order[:DRAWN], order[DRAWN:]


def searches_of(board: Board, table: Table, draws: range) -> dict[str, Any]:
    """Return how the best networks by the profiles of draws, one for each limit, are timed by fits to all others."""
    milliseconds = board.milliseconds(table.rows)
    limits = [float(np.nanquantile(milliseconds, (place + 0.5) / LIMITS)) for place in range(LIMITS)]
    shares, within, within_by_operator = (np.zeros((len(draws), LIMITS)) for _ in range(3))
    for row, draw in enumerate(draws):
        fitted_to, others = drawn(milliseconds, draw)
        device = read_device(profile_of(board, table.timed(fitted_to, milliseconds)).profile)
        assert device.latency is not None
        on_chip = device.latency.on_chip_elements
        by_choice = least_squares(table.choices[others], milliseconds[others])
        by_operator = least_squares(table.figures[on_chip][others], milliseconds[others])
        band = device.latency.held_out
        for column, limit in enumerate(limits):
            found = found_by(device, limit)
            network, estimated = found.architecture, found.latency
            assert isinstance(network, MobileNetV2)
            assert estimated is not None
            choices = [(s.expansion, s.kernel, s.repeats, int(s.se > 0)) for s in network.stages]
            share = float(one_hot(choices) @ by_choice) / estimated.milliseconds
            again = float((figures_of([network.work() or ()], on_chip) @ by_operator)[0]) / estimated.milliseconds
            shares[row, column] = share
            within[row, column] = band.band_low <= share <= band.band_high
            within_by_operator[row, column] = band.band_low <= again <= band.band_high
    return {
        "searches": shares.size,
        "within": int(within.sum()),
        "within_by_operator": int(within_by_operator.sum()),
        "within_by_limit": within.sum(axis=0).astype(int).tolist(),
        "median_share": float(np.median(shares)),
        "least_share": float(shares.min()),
        "greatest_share": float(shares.max()),
    }


def found_by(device: Device, limit: float) -> Ranked:
    """Return the network with the most NN-Mass that a profile estimates to take at most so many milliseconds."""
    budget = Budget(device=device, max_latency_ms=limit)
    return search(SearchRequest(space=decode_space(space()), budget=budget, top_k=1)).ranking[0]


def results_of(table: Table) -> dict[str, Any]:
    """Return everything that is checked, by the name of the device."""
    return {
        board.name: {
            "draws": draws_of(board, table),
            **{name: searches_of(board, table, draws) for name, draws in SETS.items()},
        }
        for board in BOARDS
    }


def profiles_of(table: Table) -> list[Any]:
    """Return the profiles to ship, each fitted to all networks that have a time."""
    found = []
    for board in BOARDS:
        milliseconds = board.milliseconds(table.rows)
        places = np.flatnonzero(np.isfinite(milliseconds))
        found.append(shipped(profile_of(board, table.timed(places, milliseconds)).profile))
    return found


HEAD = f"""# Profiles fitted to timed networks

Networks and times: {SOURCE}. `python -m bench.timings --data FOLDER` prints this page.

## Errors of a fit to {DRAWN} networks on all others, {DRAWS} draws

Error: |estimated / measured - 1|. Stated: what the profile says, from its own networks, of which each fifth is
estimated by a fit to the others. In the band: the share of all other networks whose measured / estimated is in the band
of the profile.

| device | networks | median error (least to greatest) | asked | stated | in the band | stated |
| --- | --: | --: | --: | --: | --: | --: |
"""

FOUND = f"""
## Networks that searches find

Searches for the most NN-Mass under `max_latency_ms`, {LIMITS} with the profile of each draw of {DRAWN} networks, at the
middles of the tenths of the measured times: the 5th, 15th, up to the 95th percentile. The network found is timed by
fits to all networks that are not of the draw: by a time for each of the choices of each stage, and by the operators of
the profile. Counted: how often these times are in the band of the profile. The form of the fit was chosen with the
first {DRAWS} draws; the next {DRAWS} were searched afterwards. Fewest: of the {DRAWS} searches at one limit, at the
limit with the fewest in the band.

| device | draws | in the band, by choices | fewest | in the band, by operators | time by choices / estimated |
| --- | --- | --: | --: | --: | --: |
"""


def page_of(results: dict[str, Any]) -> str:
    """Return the results as tables in Markdown."""
    errors = "".join(_errors(name, found["draws"]) for name, found in results.items())
    searches = (_found(name, set_, found[set_]) for name, found in results.items() for set_ in SETS)
    return HEAD + errors + FOUND + "".join(searches)


def _found(name: str, set_: str, found: dict[str, Any]) -> str:
    draws = f"{SETS[set_].start} to {SETS[set_].stop - 1}"
    counts = [f"{found[by]} of {found['searches']}" for by in ("within", "within_by_operator")]
    shares = f"{found['median_share']:.2f} ({found['least_share']:.2f} to {found['greatest_share']:.2f})"
    fewest = f"{min(found['within_by_limit'])} of {DRAWS}"
    return f"| `{name}` | {draws} | {counts[0]} | {fewest} | {counts[1]} | {shares} |\n"


def _errors(name: str, found: dict[str, Any]) -> str:
    error = f"{percent(found['median_error'])} ({percent(found['least_error'])} to {percent(found['greatest_error'])})"
    shares = f"{percent(found['coverage'], 1)} | {percent(found['stated_coverage'], 1)}"
    asked, stated = percent(found["most"], 0), percent(found["stated_error"])
    return f"| `{name}` | {found['networks']:,} | {error} | {asked} | {stated} | {shares} |\n"


def percent(share: float, digits: int = 2) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def main() -> None:
    """Fit, check, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the files of the benchmarks")
    parser.add_argument("--profiles", type=Path, default=PROFILES)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    table = Table.of(rows_of(given.data / FILE))
    given.profiles.write_text(json.dumps(profiles_of(table), indent=1) + "\n")
    found = results_of(table)
    page = page_of(found)
    print(page)
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "timings.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.results / "timings.md").write_text(page)


if __name__ == "__main__":
    main()
