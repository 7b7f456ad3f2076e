"""Searches, evaluations and files made here and now, without a service; answers are those that the client gives too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Unpack

from nnmass.errors import DefinitionError, NotPossible, Problem
from nnmass.neighborhood import compression_question
from nnmass.results import Answer, Architecture, Architectures, NamedDevice, NamedSpace, Progress
from nnmass.search_options import (
    Definition,
    Multipliers,
    Reference,
    SearchOptions,
    Share,
    Space,
    around,
    compression_of,
    definition_of,
    question_of,
)
from nnmass_core.architecture import BYTES_PER_ELEMENT
from nnmass_core.architecture import Architecture as Network
from nnmass_core.budget import check_batch
from nnmass_core.codec import JsonObject
from nnmass_core.costs import COSTS
from nnmass_core.engine.control import Control
from nnmass_core.families import caveats_of, decode_architecture
from nnmass_core.named.presets import presets, resolve_space
from nnmass_core.request import SearchRequest, following_ranks

Watch = Callable[[Progress], None]
"""Takes how far a computation is, several times a second. What it raises ends the computation."""


def search(space: Space | None = None, *, progress: Watch | None = None, **options: Unpack[SearchOptions]) -> Answer:
    """Return the best architectures of a space within a budget, with a proof that there are none better.

    >>> answer = search("densenet-cifar", max_params="1M", max_macs="150M", top_k=3)
    >>> answer.certificate.optimal, answer.best.params
    (True, 999226)

    Args:
        space: The name of a preset, a full definition, a network to look around (see `scale`), or a list of several for
            the same input and classes; with the option `within` it may be None: the preset of that network's family.
        progress: Is called with how far the search is, several times a second. What it raises ends the search.
        options: Limits, objective and how much of the answer is wanted; see `SearchOptions`.

    Returns:
        The ranking, best first, and its certificate.

    Raises:
        DefinitionError: A field is wrong; each problem names its field.
    """
    return _answer(SearchRequest.asked(question_of(space, options)), progress)


def _answer(request: SearchRequest, progress: Watch | None) -> Answer:
    started = time.monotonic()
    watched = {} if progress is None else {"report": _reporting(progress)}
    from nnmass_core.search import search as search_exactly  # here: evaluating and drawing do without the engine

    control = Control.timed(lambda: (time.monotonic() - started) / request.time_limit_seconds, **watched)
    found = search_exactly(request, control)
    items = [ranked.to_json(request.budget.precision) for ranked in found.ranking]
    return Answer.from_json({"result": found.report(time.monotonic() - started), "items": items}, request.to_json())


def _reporting(progress: Watch) -> Callable[[float, str], None]:
    return lambda fraction, message: progress(Progress(fraction=fraction, message=message))


def next_ranks(answer: Answer, *, progress: Watch | None = None) -> Answer:
    """Return the ranks that follow those of an answer: the same question with a later `first_rank`.

    Args:
        answer: The answer of a search, computed here or by a service.
        progress: Is called with how far the search is, several times a second. What it raises ends the search.

    Raises:
        NotPossible: No ranks follow: it is a front, has fewer than `top_k`, or reaches the last rank.
    """
    ranks = following_ranks(answer.request, len(answer))
    if ranks is None:
        message = "no ranks follow: it is a front, has fewer than `top_k`, or reaches the last rank"
        raise NotPossible("no_ranks", message)
    first, last = ranks
    following = {**answer.request, "first_rank": first, "top_k": last - first + 1}
    return _answer(SearchRequest.from_json(following), progress)


def scale(
    reference: Reference,
    *,
    width: Multipliers | None = None,
    depth: Multipliers | None = None,
    keep: Sequence[str] | None = None,
    progress: Watch | None = None,
    **options: Unpack[SearchOptions],
) -> Answer:
    """Return the best networks that are a network made wider or narrower, deeper or shallower, within a budget.

    >>> nnmass.scale("resnet50", max_macs="2G", top_k=1).best.macs
    1946247168

    Args:
        reference: The name of a well-known network, a definition, or a network of an answer.
        width: Multipliers of the channels: a number, a list, or a range such as `{"min": 0.5, "max": 1.5, "step":
            0.1}`; by default 0.25 to 2 by 0.05. Channels are rounded as torchvision's `make_divisible`.
        depth: Multipliers of the blocks, at most 3, which are rounded up; by default 0.2 to 2 by 0.1.
        keep: What stays as it is, of `resolution`, `stem`, `expansion`, `kernel`, `channels`, `repeats` and
            `proportions`; by default all but `channels` and `repeats`. With `proportions` all stages have one
            multiplier of each, else each stage takes its own.
        progress: Is called with how far the search is, several times a second. What it raises ends the search.
        options: Limits, objective and how much of the answer is wanted; see `SearchOptions`.

    Returns:
        The ranking, best first, and its certificate.

    Raises:
        DefinitionError: A field is wrong, or the family of the reference has no multipliers; each problem names its
            field.
    """
    return search(around(reference, keep, width, depth), progress=progress, **options)


def compress(
    reference: Reference,
    *,
    minimize: str | None = None,
    keep_stages: Share = "usual",
    keep_params: Share = "usual",
    space: Space | None = None,
    progress: Watch | None = None,
    **options: Unpack[SearchOptions],
) -> Answer:
    """Return smaller networks than a reference: of least cost, or of the most NN-Mass within a share of its cost.

    Args:
        reference: The network to compress: the name of a well-known network, or a definition.
        minimize: The cost to minimize: `params`, `macs`, `weight_bytes`, `peak_activation_bytes` or
            `latency_ms`; by default MACs, and none with a ratio.
        keep_stages: The share of the NN-Mass of each of the reference's stages to keep, by default 0.8, and none with a
            ratio. None or 0 keeps the NN-Mass as a whole where a cost is minimized.
        keep_params: The share of the reference's params to keep, by default 0.95, and none with a ratio.
        space: Where to look; the default is around the reference, with its resolution, stem, expansions and kernels.
        progress: Is called with how far the search is, several times a second. What it raises ends the search.
        options: Limits and how much of the answer is wanted; see `SearchOptions`. Without `within`, `ratio` is of the
            reference: NN-Mass is maximized within 0.5 of its MACs, or within `{"macs": 0.5, "params": 0.6}`.

    Returns:
        The ranking, best first, and its certificate, which has the savings and the network of one width multiplier.

    Raises:
        DefinitionError: A field is wrong, or the family of the reference defines no space around a network.
    """
    ratio = options.pop("ratio", None) if options.get("within") is None else None
    objective = compression_of(minimize, ratio, keep_stages, keep_params)
    question = compression_question(reference, reference, space, objective, options)
    return _answer(SearchRequest.from_json(question), progress)


def evaluate(networks: Iterable[str | Definition], *, precision: str = "fp32", batch: int = 1) -> Architectures:
    """Return NN-Mass and every cost of networks, in order.

    Args:
        networks: Definitions, or names of well-known networks.
        precision: The precision at which bytes are counted: `fp32`, `fp16` or `int8`.
        batch: How many inputs run at a time, 1 to 65,536: activations are those of all of them.

    Returns:
        The networks with their figures, in the same order.

    Raises:
        DefinitionError: A network or the batch is wrong; each problem names the network's index and the field.
    """
    if precision not in BYTES_PER_ELEMENT:
        raise DefinitionError.at("precision", "unknown_choice", f"must be one of {', '.join(BYTES_PER_ELEMENT)}")
    read = _read_all(networks)
    check_batch(batch, precision, [network.evaluation for network in read])
    return Architectures([_evaluated(network, precision, batch) for network in read])


def _evaluated(network: Network, precision: str, batch: int) -> Architecture:
    figures = network.evaluation.report(precision, batch)
    return Architecture.from_json(
        {
            "arch_id": network.arch_id,
            **figures,
            "nn_mass_per_width": float(network.evaluation.mass_per_width),
            **{cost.name: None for cost in COSTS.values() if cost.timed},
            "latency": None,
            **({} if batch == 1 else {"batch": batch}),
            "caveats": list(caveats_of(network)),
            "architecture": network.definition(),
        }
    )


def _read_all(networks: Iterable[str | Definition]) -> list[Network]:
    read: list[Network] = []
    problems: list[Problem] = []
    for index, network in enumerate(networks):
        try:
            read.append(decode_architecture(definition_of(network)))
        except DefinitionError as error:
            problems += error.under(f"architectures.{index}").problems
    if problems:
        raise DefinitionError(problems)
    return read


def export(network: str | Definition, *, format: str = "pytorch", seed: int = 0) -> bytes:  # noqa: A002 - as in REST
    """Return an untrained network as a file: `pytorch`, a module that needs only torch, or `json`, its definition.

    Args:
        network: A definition, or the name of a well-known network.
        format: `pytorch` or `json`.
        seed: Draws the wiring. Weights of a training with another seed do not load into the file.

    Returns:
        The content of the file.

    Raises:
        DefinitionError: The network or the seed is wrong.
        NotPossible: The format needs a process with torch, as `onnx` and `torchscript` do: use `Client.export`, or
            `nnmass export`.
    """
    from nnmass_core.export.pytorch_source import (
        file_without_torch,  # here, as the engine: what is not used is not loaded
    )

    written = file_without_torch(decode_architecture(definition_of(network)), format, seed)
    if written is None:
        message = f"{format} requires torch: use Client.export or the command nnmass export"
        raise NotPossible("needs_torch", message)
    return written


def diagram(network: str | Definition) -> str:
    """Return a picture of a network as self-contained SVG text: cells or stages, skip wiring, share of the NN-Mass.

    Args:
        network: A definition, or the name of a well-known network.

    Raises:
        DefinitionError: The network is wrong.
    """
    return decode_architecture(definition_of(network)).diagram()


def spaces() -> list[NamedSpace]:
    """Return the named spaces, each with the number of its distinct architectures."""
    return [
        NamedSpace(
            name=preset.name,
            family=preset.space.family,
            description=preset.description,
            space_size=preset.space_size,
        )
        for preset in presets().values()
    ]


def space(name: str) -> JsonObject:
    """Return a named space's full definition, ready to edit and to search.

    Args:
        name: The name of a preset.

    Raises:
        DefinitionError: There is no such preset.
    """
    return resolve_space(name).to_json()


def devices() -> list[NamedDevice]:
    """Return the devices that a search can name, with their memory limits and where these are from."""
    from nnmass_core.hardware.devices import devices as known

    return [NamedDevice.from_json(device.to_json()) for device in known().values()]
