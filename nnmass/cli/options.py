"""Options that several commands have, and what they make of a request."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnmass.cli.exit_codes import refuse
from nnmass.cli.inputs import json_in

if TYPE_CHECKING:
    from nnmass.client import Client
    from nnmass.search_options import SearchOptions


class Precision(StrEnum):
    """What stored numbers are counted at."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Diversity(StrEnum):
    """How far results must differ."""

    NONE = "none"
    SHAPE = "shape"


class Cost(StrEnum):
    """What an objective may minimize."""

    PARAMS = "params"
    MACS = "macs"
    PEAK = "peak_activation_bytes"
    LATENCY = "latency_ms"


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
MaxParams = Annotated[str | None, typer.Option(metavar="COUNT", help="Maximum trainable parameters: 1200000, 1.2M.")]
MaxMacs = Annotated[str | None, typer.Option(metavar="COUNT", help="Maximum multiply-accumulates per input: 150M.")]
MaxWeightBytes = Annotated[
    str | None, typer.Option(metavar="BYTES", help="Maximum weight memory: 300KB (1,000 bytes), 293KiB (1,024).")
]
MaxPeakBytes = Annotated[str | None, typer.Option(metavar="BYTES", help="Maximum peak activation memory: 320KB.")]


def _device_names(incomplete: str) -> list[str]:
    from nnmass_core.hardware.devices import devices

    return [name for name in devices() if name.startswith(incomplete)]


Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Device whose memory sets limits (see `nnmass devices`), or a profile from `nnmass calibrate`.",
        autocompletion=_device_names,
    ),
]
MaxLatency = Annotated[str | None, typer.Option(metavar="MS", help="Maximum latency per input on --device: 5, 5ms.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="Numeric precision for memory.")]
TopK = Annotated[int | None, typer.Option(metavar="K", help="Number of networks to rank (default: 10).")]
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
    """Return a client of the service that was named, or of this machine's."""
    from nnmass.client import Client

    return Client(server or None, _key_in(key_file))


def note_missing(client: Client, what: str) -> None:
    """Say so when nobody works on what is waited for; it is waited for all the same."""
    if what in client.ready().missing:
        typer.echo(
            f"nnmass: the service has no running {what.replace('_', ' ')}; start one with `make serve-train`", err=True
        )


def _key_in(path: Path | None) -> str | None:
    """Return the key: a variable that is set goes before a file."""
    if path is None or os.environ.get("NNMASS_KEY"):
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"--key-file: cannot read {path} ({type(error).__name__})")


def limits_of(
    max_params: str | None,
    max_macs: str | None,
    max_weight_bytes: str | None,
    max_peak_bytes: str | None,
    max_latency_ms: str | None,
    device: str | None,
    precision: Precision,
) -> SearchOptions:
    """Return the limits that a search is asked to keep; a device that is a file is read."""
    return {
        "max_params": max_params,
        "max_macs": max_macs,
        "max_weight_bytes": max_weight_bytes,
        "max_peak_activation_bytes": max_peak_bytes,
        "max_latency_ms": max_latency_ms,
        "device": json_in(device, "the device's profile") if device and device.endswith(".json") else device,
        "precision": precision.value,
    }
