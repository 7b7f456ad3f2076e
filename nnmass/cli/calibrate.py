"""Calibrate this machine: measure how long operators take, as a profile that searches can name."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
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


class Precision(StrEnum):
    """The numeric precision of networks that somebody timed."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


def calibrate(
    measurements: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV file with networks that somebody timed: fit the profile to them."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the profile (default: this machine's name).")
    ] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title that people see.")] = "",
    on: Annotated[Where | None, typer.Option(help="Processor that runs the networks (default: cpu).")] = None,
    threads: Annotated[int, typer.Option(min=1, max=4096, help="Threads for one input.")] = 1,
    precision: Annotated[
        Precision | None, typer.Option(help="With --measurements: precision of the networks (default: fp32).")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="With --measurements: images processed at once (default: 1)."),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(metavar="TEXT", help="With --measurements: runtime of the networks.")
    ] = None,
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

    With --measurements it times nothing, and needs no torch: it fits the profile to networks that somebody timed, on
    any device. The table has the column `network` (the name of a well-known network or of a file with a definition, or
    a definition) and one of `milliseconds` and `images_per_second`.

    Then search with `nnmass search --device NAME.json --max-latency-ms 5`. With --server, the service stores the
    profile.
    """
    from nnmass.cli.printing import write_file
    from nnmass_core.hardware.devices import NAME

    of_table = {"--precision": precision, "--batch": batch, "--runtime": runtime}
    _refuse_together(of_table if measurements is None else {"--on": on}, with_table=measurements is not None)
    called = name if name is not None else _own_name()
    if not re.fullmatch(NAME, called):
        refuse("--name must be a letter followed by up to 63 of a-z, 0-9, dot, dash and underscore")
    if measurements is None:
        profile, networks = _of_this_machine(called, title, on or Where.CPU, threads)
    elif name is None:
        refuse("--measurements requires --name: the networks may have been timed on another machine")
    else:
        known = {
            "precision": (precision or Precision.FP32).value,
            "batch": batch or 1,
            "runtime": runtime or "not stated",
        }
        profile, networks = _of_table(measurements, called, title, known | {"threads": threads})
    place = output or Path(f"{called}.json")
    write_file(place, (json.dumps(profile, indent=2) + "\n").encode())
    if server:
        with exit_on_error(), client_of(server, key_file) as client:
            client.keep_device(profile)
    _print(networks, profile, place, kept=bool(server), as_json=as_json)


def _refuse_together(given: Mapping[str, object], *, with_table: bool) -> None:
    """Refuse options that do not apply with --measurements, or without."""
    for option, value in given.items():
        if value is not None:
            refuse(f"{option} {'does not apply with' if with_table else 'requires'} --measurements")


def _of_this_machine(name: str, title: str, on: Where, threads: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the profile of this machine, and the held-out networks."""
    from nnmass_core.hardware.devices import read_device

    found = _measured(on, threads)
    profile = {"name": name, "title": title or found["latency"]["machine"][:200], "latency": found["latency"]}
    return read_device({**profile, "source": "nnmass calibrate", "note": ""}).definition(), found["networks"]


def _of_table(
    table: Path, name: str, title: str, known: Mapping[str, object]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the profile that is fitted to a table, and its networks, each with an estimate from a fit to others."""
    from nnmass.measurements import fitted, read_measurements

    about = {"name": name, "title": title or name, "source": "nnmass calibrate --measurements", "note": ""}
    with exit_on_error({"title": "--title"}):
        found = read_measurements(table)
        fit = fitted(found, about, known, str(table))
    networks = [
        {"family": timed.architecture.family, "estimated_ms": estimate, "measured_ms": timed.milliseconds}
        for timed, estimate in zip(found.networks, fit.estimates, strict=True)
    ]
    return fit.profile, networks


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


def _print(networks: list[dict[str, Any]], profile: dict[str, Any], place: Path, *, kept: bool, as_json: bool) -> None:
    from nnmass.cli.printing import print_json, print_table

    if as_json:
        print_json({"profile": profile, "networks": networks})
        return
    heads = [("family", "left"), ("networks", "right"), ("median error", "right"), ("largest", "right")]
    print_table(heads, _rows(networks))
    error = profile["latency"]["held_out"]
    families = f"{error['families']} {'family' if error['families'] == 1 else 'families'}"
    typer.echo(
        f"Median error {100 * error['median_error']:.1f} % on {error['networks']} networks of {families} "
        f"that were not fitted; measured / estimated is {error['band_low']:.2f} to {error['band_high']:.2f}."
    )
    typer.echo(f"Wrote {place}{'; the service stored the profile' if kept else ''}.")
    preset, limit = _next(networks) if "fitted_to" in profile["latency"] else ("densenet-cifar", "5")
    device = profile["name"] if kept else place
    typer.echo(f"Next: nnmass search --preset {preset} --device {device} --max-latency-ms {limit}")


def _next(networks: list[dict[str, Any]]) -> tuple[str, str]:
    """Return a space of a family that was timed, and the median of the times."""
    from statistics import median

    from nnmass_core.named.presets import presets

    families = {one["family"] for one in networks}
    names = (preset.name for preset in presets().values() if preset.space.family in families)
    return next(names, "FILE"), f"{median(one['measured_ms'] for one in networks):.3g}"


def _rows(networks: list[dict[str, Any]]) -> list[list[str]]:
    from statistics import median

    errors: dict[str, list[float]] = {}
    for one in networks:
        errors.setdefault(one["family"], []).append(abs(one["estimated_ms"] / one["measured_ms"] - 1))
    return [
        [family, str(len(of)), f"{100 * median(of):.1f} %", f"{100 * max(of):.1f} %"] for family, of in errors.items()
    ]
