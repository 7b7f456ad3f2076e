"""Calibrate this machine: measure how long operators take, as a profile that searches can name."""

from __future__ import annotations

import json
import platform
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nnmass.cli.exit_codes import exit_on_error, refuse
from nnmass.cli.options import Json, KeyFile, Server, client_of

# untyped: the last event of the process that has torch


class Where(StrEnum):
    """The processor that runs the networks."""

    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


def calibrate(
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the profile (default: this machine's name).")
    ] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title that people see.")] = "",
    on: Annotated[Where, typer.Option(help="Processor that runs the networks.")] = Where.CPU,
    threads: Annotated[int, typer.Option(min=1, max=4096, help="Threads for one input.")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file (default: NAME.json).")
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Time operators on this machine, and write a device profile that estimates latencies.

    Requires torch (the extra `train`) and takes one to two minutes. Run nothing else on the machine meanwhile. The
    estimates are checked on networks that they were not fitted on. The profile records the error, and every estimated
    latency shows its range.

    Then search with `nnmass search --device NAME.json --max-latency-ms 5`. With --server, the service stores the
    profile.
    """
    from nnmass.cli.printing import write_file
    from nnmass_core.hardware.devices import NAME, read_device

    called = name if name is not None else _own_name()
    if not re.fullmatch(NAME, called):
        refuse("--name must be a letter followed by up to 63 of a-z, 0-9, dot, dash and underscore")
    found = _measured(on, threads)
    profile = {"name": called, "title": title or found["latency"]["machine"][:200], "latency": found["latency"]}
    profile = read_device({**profile, "source": "nnmass calibrate", "note": ""}).definition()
    place = output or Path(f"{called}.json")
    write_file(place, (json.dumps(profile, indent=2) + "\n").encode())
    if server:
        with exit_on_error(), client_of(server, key_file) as client:
            client.keep_device(profile)
    _print(found, profile, place, kept=bool(server), as_json=as_json)


def _own_name() -> str:
    """Return this machine's name in the form of a device's name."""
    return re.sub("[^a-z0-9._-]+", "-", platform.node().lower()).lstrip("-._0123456789")[:60] or "this-machine"


def _measured(on: Where, threads: int) -> dict[str, Any]:
    from nnmass.cli.progress import Bar
    from nnmass.torch_process.client import ExportFailed, calibrated

    with Bar() as bar:
        try:
            return calibrated(on.value, threads, lambda fraction, message: bar.show("", fraction, message))
        except ExportFailed as error:
            refuse(str(error))


def _print(found: dict[str, Any], profile: dict[str, Any], place: Path, *, kept: bool, as_json: bool) -> None:
    from nnmass.cli.printing import print_json, print_table

    if as_json:
        print_json({"profile": profile, "networks": found["networks"]})
        return
    heads = [("family", "left"), ("networks", "right"), ("median error", "right"), ("largest", "right")]
    print_table(heads, _rows(found["networks"]))
    error = profile["latency"]["held_out"]
    typer.echo(
        f"Median error {100 * error['median_error']:.1f} % on {error['networks']} networks of {error['families']} "
        f"families that were not fitted; measured / estimated is {error['band_low']:.2f} to {error['band_high']:.2f}."
    )
    typer.echo(f"Wrote {place}{'; the service stored the profile' if kept else ''}.")
    device = profile["name"] if kept else place
    typer.echo(f"Next: nnmass search --preset densenet-cifar --device {device} --max-latency-ms 5")


def _rows(networks: list[dict[str, Any]]) -> list[list[str]]:
    from statistics import median

    errors: dict[str, list[float]] = {}
    for one in networks:
        errors.setdefault(one["family"], []).append(abs(one["estimated_ms"] / one["measured_ms"] - 1))
    return [
        [family, str(len(of)), f"{100 * median(of):.1f} %", f"{100 * max(of):.1f} %"] for family, of in errors.items()
    ]
