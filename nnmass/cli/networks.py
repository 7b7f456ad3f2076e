"""Commands for single networks: evaluate, draw, and export to files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnmass import formatting
from nnmass.cli.exit_codes import exit_on_error, refuse
from nnmass.cli.inputs import network_and_seed_in, networks_in
from nnmass.cli.options import Json, KeyFile, Precision, PrecisionOption, Server, client_of, note_missing

if TYPE_CHECKING:
    from nnmass_core.architecture import Architecture
    from nnmass_core.export.deployment import FileOptions


class ExportFormat(StrEnum):
    """The file formats of an architecture."""

    PYTORCH = "pytorch"
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    JSON = "json"
    METADATA = "metadata"
    WEIGHTS = "weights"


MADE_WITH_TORCH = (ExportFormat.ONNX, ExportFormat.TORCHSCRIPT, ExportFormat.METADATA)
BINARY = (ExportFormat.ONNX, ExportFormat.TORCHSCRIPT, ExportFormat.WEIGHTS)
HERE = Path("-")

Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK", help="File with a JSON definition (- for stdin), a known name, or an arch_id of a service."
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file (default: stdout).")]


def evaluate(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="NETWORK...", help="Files with JSON definitions (- for stdin), or known names such as resnet50."
        ),
    ],
    precision: PrecisionOption = Precision.FP32,
    batch: Annotated[int, typer.Option(metavar="N", help="Inputs at a time, for activation memory.")] = 1,
    *,
    as_json: Json = False,
) -> None:
    """Print NN-Mass and all costs of your networks, in order. A file may contain a list of networks."""
    from nnmass.cli.printing import print_json, print_networks
    from nnmass.local import evaluate as evaluate_here

    given = [network for place in networks for network in networks_in(place)]
    names = {f"architectures.{index}": name for index, (name, _) in enumerate(given)}
    with exit_on_error(names | {"batch": "--batch"}):
        found = evaluate_here([network for _, network in given], precision=precision.value, batch=batch)
    if as_json:
        print_json({"results": [dict(network.raw) for network in found]})
    else:
        print_networks(found.items, ("network", [name for name, _ in given]))
        for (name, _), network in zip(given, found, strict=True):
            for caveat in network.caveats or ():
                typer.echo(f"Note on {name}: {formatting.CAVEATS.get(caveat, caveat)}")


def export(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK|TRAINING",
            help="File with a JSON definition (- for stdin), a known name, or the arch_id of a network or the id of a "
            "training of a service.",
        ),
    ],
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="Format of the file; weights exist only of a training, and metadata is what the ONNX file says about "
            "itself.",
        ),
    ] = ExportFormat.PYTORCH,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Seed that draws the wiring (default: 0, or that of the file); of a training, one of its seeds.",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(metavar="NUMBER|dynamic", help="Inputs that an ONNX file takes at once (default: dynamic)."),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(help="Version of the operators of an ONNX file, 13 to 22 (default: 18).")
    ] = None,
    output: Output = None,
    server: Server = None,
    key_file: KeyFile = None,
    *,
    fold_batchnorm: Annotated[
        bool | None,
        typer.Option(
            "--fold-batchnorm/--keep-batchnorm",
            help="Make each BatchNorm a part of the convolution before it, in ONNX and TorchScript files (default), or "
            "keep it.",
        ),
    ] = None,
) -> None:
    """Write an untrained network, or a trained network of a service, to a file.

    Weights of a training load only into the pytorch file of the same training and seed. With --batch, --opset or
    --keep-batchnorm, a worker of the service writes its ONNX file from its stored weights and metadata.

    ONNX, its metadata and TorchScript of an untrained network require torch: on this machine (the extra `train`), or on
    a worker of the --server service.
    """
    from nnmass.search_options import is_id

    if output is None and form in BINARY:
        refuse(f"--output is required: {form.value} is a binary format")
    if output == HERE and form in BINARY and sys.stdout.isatty():
        refuse(f"--output must be a file: {form.value} is a binary format")
    asked = {"batch": batch, "opset": opset, "fold_batchnorm": fold_batchnorm}
    with exit_on_error():
        if is_id(network):
            content = _of_training(network, form, seed, asked, server, key_file)
        elif form == ExportFormat.WEIGHTS:
            refuse("--format weights requires the id of a training: an untrained network has none")
        else:
            content = _untrained(network, form, seed, asked, server, key_file)
    if output is None or output == HERE:
        typer.echo(content if form in BINARY else content.decode(), nl=False)
    else:
        from nnmass.cli.printing import write_file

        write_file(output, content)


def _of_training(
    name: str,
    form: ExportFormat,
    seed: int | None,
    asked: Mapping[str, Any],
    server: str | None,
    key_file: Path | None,
) -> bytes:
    from nnmass.cli.progress import Bar
    from nnmass_core.export.deployment import file_options

    file_options(form.value, **asked)
    if not server:
        refuse("--server is required: only a service knows trainings by their id")
    with client_of(server, key_file) as client, Bar() as bar:
        if any(value is not None for value in asked.values()):
            note_missing(client, "files_worker")
        return client.export_trained(name, format=form.value, seed=seed, waiting=bar.waiting, **asked)


def _untrained(
    name: str,
    form: ExportFormat,
    seed: int | None,
    asked: Mapping[str, Any],
    server: str | None,
    key_file: Path | None,
) -> bytes:
    from nnmass_core.export.deployment import file_options

    options = file_options(form.value, **asked)
    network, own_seed = _given(name)
    wanted = own_seed if seed is None else seed
    if server:
        return _from_service(network, form, wanted, asked, server, key_file)
    return _made_here(network, form, wanted, options)


def _given(name: str) -> tuple[Any, int]:
    """Return a network by its arch_id, name or definition, and the seed of its wiring."""
    return (name, 0) if name.startswith("arch_") else network_and_seed_in(name)


def _from_service(
    network: Any, form: ExportFormat, seed: int, asked: Mapping[str, Any], server: str, key_file: Path | None
) -> bytes:
    from nnmass.cli.progress import Bar

    with client_of(server, key_file) as client, Bar() as bar:
        if form in MADE_WITH_TORCH:
            note_missing(client, "files_worker")
        return client.export(network, format=form.value, seed=seed, waiting=bar.waiting, **asked)


def _made_here(network: Any, form: ExportFormat, seed: int, options: FileOptions) -> bytes:
    from nnmass.torch_process.client import ExportFailed, content_of

    try:
        return content_of(_decoded(network), form.value, seed, options)
    except ExportFailed as error:
        refuse(f"{error} (or use a service: --server URL)")


def _decoded(network: Any) -> Architecture:
    """Return a network that is given here; one that only a service knows is refused."""
    from nnmass.search_options import definition_of
    from nnmass_core.families import decode_architecture

    if isinstance(network, str) and network.startswith("arch_"):
        refuse("--server is required: only a service knows networks by their id")
    return decode_architecture(definition_of(network))


def diagram(
    network: Network,
    output: Output = None,
    server: Server = None,
    key_file: KeyFile = None,
) -> None:
    """Draw a network as SVG: its cells or stages, their skip wiring, and their share of the NN-Mass."""
    with exit_on_error():
        if network.startswith("arch_") and server:
            with client_of(server, key_file) as client:
                picture = client.diagram(network)
        else:
            picture = _decoded(_given(network)[0]).diagram()
    if output is None or output == HERE:
        typer.echo(picture, nl=False)
    else:
        from nnmass.cli.printing import write_file

        write_file(output, picture.encode())
