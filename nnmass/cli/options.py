"""Options shared by several commands, and the parts of a request that they set."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from nnmass.cli.commands import evaluated
from nnmass.cli.exit_codes import refuse
from nnmass.cli.inputs import json_in, network_in
from nnmass_core.costs import (
    LEAST_MASS,
    MOST_DENSITY,
    MOST_MASS,
    Cost,
    costs_by_floor,
    costs_by_limit,
    limit_names,
    objectives,
    sums,
)

if TYPE_CHECKING:
    from nnmass.client import Client
    from nnmass.results import Job
    from nnmass.search_options import SearchOptions


class Precision(StrEnum):
    """The precision of stored numbers."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Diversity(StrEnum):
    """How much results must differ."""

    NONE = "none"
    SHAPE = "shape"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Server = Annotated[
    str | None, typer.Option("--server", metavar="URL", envvar="NNMASS_SERVER", help="Use this service.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file", metavar="FILE", envvar="NNMASS_KEY_FILE", help="File with the API key; or set NNMASS_KEY."
    ),
]


def _device_names(incomplete: str) -> list[str]:
    from nnmass_core.hardware.devices import devices

    return [name for name in devices() if name.startswith(incomplete)]


Device = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Device whose memory sets limits (see `nnmass devices`), or a profile from `nnmass calibrate`. May be "
        "repeated: networks then fit each of the devices.",
        autocompletion=_device_names,
    ),
]
COSTS = f"<{'|'.join(objectives())}>"
Minimize = Annotated[
    str | None,
    typer.Option(metavar=COSTS, help="Minimize this cost, at --min-nn-mass if given (default: maximize NN-Mass)."),
]
Maximize = Annotated[
    str | None,
    typer.Option(metavar=f"<{'|'.join(sums())}>", help="Maximize this cost in place of NN-Mass."),
]
Limits = Mapping[str, Any]
NO_LIMITS: Limits = {}
WITHIN = {
    "within": Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="Take params, MACs, weights and peak activations of this network as limits: a known name, an arch_id "
            "(with --server), or a file with a definition. A --max option replaces its own limit.",
        ),
    ],
    "ratio": Annotated[
        list[str] | None,
        typer.Option(
            metavar="COST=RATIO",
            help="With --within: allow this ratio of one of its costs, such as macs=0.5 or macs=50%. In compress, "
            "without it: maximize NN-Mass within this share of the network's MACs, 0.5, or of its params, params=60%. "
            "May be repeated.",
        ),
    ],
}
"""The options of a budget within a reference."""
RATIO = "--ratio must be a cost and a ratio, such as macs=0.5 or macs=50%"

PrecisionOption = Annotated[Precision, typer.Option("--precision", help="Numeric precision for memory.")]
BudgetPrecision = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        help="Numeric precision for memory (default: that of --device, int8 for a microcontroller; fp32 without one).",
    ),
]
BudgetBatch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", help="Inputs at a time, for activation memory and latency (default: 1)."),
]
TopK = Annotated[int | None, typer.Option(metavar="K", help="Number of networks to rank (default: 10).")]
FirstRank = Annotated[
    int | None,
    typer.Option(metavar="RANK", help="Rank at which the ranking starts: 11 gives what follows the first ten."),
]
Widths = Annotated[
    str | None,
    typer.Option(
        metavar="<equal|never_fall>",
        help="Widths of the cells (channels of the stages): all equal, or none below the one before it.",
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="What stays as in the network, separated by commas, of resolution, stem, expansion, kernel, channels, "
        "repeats, proportions (default: all but channels and repeats). Without proportions each stage is scaled by "
        "itself.",
    ),
]
WidthAxis = Annotated[
    str | None,
    typer.Option(
        metavar="AXIS", help="Multipliers of the channels: 0.5,0.75,1 or 0.5:1.5:0.05 (default: 0.25:2:0.05)."
    ),
]
DepthAxis = Annotated[
    str | None,
    typer.Option(metavar="AXIS", help="Multipliers of the blocks, at most 3: 1,1.5 or 0.5:2:0.1 (default: 0.2:2:0.1)."),
]
EqualDensity = Annotated[bool, typer.Option("--equal-density", help="The cells of a network have one density.")]
EqualSkips = Annotated[
    bool, typer.Option("--equal-skip-channels", help="The cells of a network have equal skip channels.")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NETWORK",
        help="Leave out this network: a known name, an arch_id (with --server), or a file with definitions such as the "
        "output of `search --json`. May be repeated.",
    ),
]
DiversityOption = Annotated[
    Diversity, typer.Option("--diversity", help="shape: at most one result for each tuple of widths and depths.")
]
TimeLimit = Annotated[
    float, typer.Option(metavar="SECONDS", help="Time limit; then print the best so far, not proved (exit code 4).")
]
Save = Annotated[
    Path | None, typer.Option("--save", metavar="FILE", help="Write the best network's definition to this file.")
]


def client_of(server: str | None, key_file: Path | None) -> Client:
    """Return a client of the named service, or of the one on this machine."""
    from nnmass.client import Client

    return Client(server or None, _key_in(key_file))


def note_missing(client: Client, what: str) -> None:
    """Print a note when no worker serves the queue; the command waits all the same."""
    if what in client.ready().missing:
        typer.echo(
            f"nnmass: the service has no running {what.replace('_', ' ')}; start one with `make serve-train`", err=True
        )


def note_place(job: Job) -> None:
    """Print what a job waits for when others are before it; the command waits all the same."""
    if job.waiting is not None and job.waiting["place"] > 1:
        typer.echo(f"nnmass: {job.progress.message}", err=True)


def _key_in(path: Path | None) -> str | None:
    """Return the key: the environment variable, if set, else the file's content."""
    if path is None or os.environ.get("NNMASS_KEY"):
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"--key-file: cannot read {path} ({type(error).__name__})")


def with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each limit of a budget, in place of its parameter `limits`, which gets them all."""
    signature = inspect.signature(evaluated(command))

    @wraps(command)
    def run(**given: Any) -> None:
        command(limits={name: given.pop(name) for name in (*limit_names(), *WITHIN)}, **given)

    options = [_limit_option(name, cost, "Maximum") for name, cost in costs_by_limit().items()]
    options += [_limit_option(name, cost, "Minimum") for name, cost in costs_by_floor().items()]
    options += [_mass_option(name, word) for name, word in ((LEAST_MASS, "Minimum"), (MOST_MASS, "Maximum"))]
    options.append(_density_option())
    options += [_option(name, kind) for name, kind in WITHIN.items()]
    parameters = [[one] if one.name != "limits" else options for one in signature.parameters.values()]
    vars(run)["__signature__"] = signature.replace(parameters=[*chain.from_iterable(parameters)])
    return run


def _limit_option(name: str, cost: Cost, word: str) -> inspect.Parameter:
    metavar = {"": "COUNT", "bytes": "BYTES"}.get(cost.unit, cost.unit.upper())
    text = f"{word} {cost.meaning}{' on --device' if cost.timed else ''}: {cost.example}."
    option = cost.option if name == cost.limit else cost.floor_option
    return _option(name, Annotated[str | None, typer.Option(option, metavar=metavar, help=text)])


def _mass_option(name: str, word: str) -> inspect.Parameter:
    option = f"--{name.replace('_', '-')}"
    return _option(name, Annotated[float | None, typer.Option(option, metavar="MASS", help=f"{word} NN-Mass.")])


def _density_option() -> inspect.Parameter:
    text = "Maximum density of every cell: 0.8."
    return _option(MOST_DENSITY, Annotated[float | None, typer.Option("--max-density", metavar="SHARE", help=text)])


def _option(name: str, kind: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=kind)


def around_of(reference: Any, keep: str | None, width: str | None, depth: str | None) -> Any:
    """Return the space around a network: a name, an id or a definition."""
    from nnmass.search_options import around

    kept = None if keep is None else [word.strip() for word in keep.split(",") if word.strip()]
    return around(reference, kept, _multipliers(width, "--width"), _multipliers(depth, "--depth"))


def _multipliers(text: str | None, option: str) -> Any:
    """Return multipliers: MIN:MAX, MIN:MAX:STEP, one number, or several separated by commas."""
    if text is None:
        return None
    try:
        numbers = [float(word) for word in text.replace(":", ",").split(",")]
    except ValueError:
        numbers = []
    colons, several = text.count(":"), text.count(",")
    if not numbers or colons > 2 or (colons and several):
        refuse(f"{option} must be multipliers: one such as 0.75, several as 0.5,0.75,1, or a range as 0.5:1.5:0.05")
    if colons:
        return dict(zip(("min", "max", "step"), numbers, strict=False))
    return numbers if several else numbers[0]


def limits_of(
    limits: Limits, devices: list[str] | None, precision: Precision | None, batch: int | None
) -> SearchOptions:
    """Return the limits of a search; devices that are files are read."""
    found = [_profile_in(device) for device in devices or []]
    given = {"precision": None if precision is None else precision.value, "batch": batch}
    named = {"device": found[0]} if len(found) == 1 else {"devices": found} if found else {}
    within, ratios = limits.get("within"), limits.get("ratio")
    reference = {} if within is None else {"within": within if within.startswith("arch_") else network_in(within)}
    ratio = {"ratio": dict(ratio_of(text, RATIO) for text in ratios)} if ratios else {"ratio": None}
    return cast("SearchOptions", {**limits, **reference, **ratio, **named, **given})


def ratio_of(text: str, wanted: str) -> tuple[str, float]:
    """Return the cost and the number of an option's value, such as macs=0.5 or macs=50%; else refuse with `wanted`."""
    from decimal import Decimal, InvalidOperation  # imported here: few commands need it

    quantity, _, share = text.partition("=")
    try:
        number = Decimal(share.removesuffix("%"))
    except InvalidOperation:
        refuse(wanted)
    return quantity, float(number / 100 if share.endswith("%") else number)


def _profile_in(device: str) -> Any:
    is_file = device.endswith(".json") or Path(device).is_file()
    return json_in(device, "the device's profile") if is_file else device
