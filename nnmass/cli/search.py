"""Search commands, on this machine or through a service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnmass import formatting
from nnmass.cli.exit_codes import NOT_PROVED, NOTHING_FITS, exit_on_error, refuse
from nnmass.cli.inputs import json_in, network_in, networks_in
from nnmass.cli.options import (
    COSTS,
    NO_LIMITS,
    BudgetBatch,
    BudgetPrecision,
    DepthAxis,
    Device,
    Diversity,
    DiversityOption,
    EqualDensity,
    EqualSkips,
    Exclude,
    FirstRank,
    Json,
    Keep,
    KeyFile,
    Limits,
    Maximize,
    Minimize,
    Precision,
    Save,
    Server,
    TimeLimit,
    TopK,
    WidthAxis,
    Widths,
    around_of,
    client_of,
    limits_of,
    note_place,
    ratio_of,
    with_limits,
)
from nnmass_core.costs import LEAST_MASS

if TYPE_CHECKING:
    from nnmass.client import Client
    from nnmass.results import Answer, NamedDevice
    from nnmass.search_options import SearchOptions, Share, Space
    from nnmass_core.codec import JsonObject

    Run = Callable[["Client | None", Any], Answer]
    """Runs a search with a client (None: on this machine), and shows its progress."""

SECONDS = 60.0


def _preset_names(incomplete: str) -> list[str]:
    from nnmass_core.named.presets import presets as named

    return [name for name in named() if name.startswith(incomplete)]


SearchName = Annotated[str, typer.Option("--name", metavar="TEXT", help="Name of the search in the service.")]
SpendOption = Annotated[
    str | None,
    typer.Option(
        "--spend",
        metavar="COST=SHARE",
        help="Use at least this share of the most of a cost that fits, such as macs=0.95 or macs=95% (the default of "
        "presets that are not *-free, of --around and --within, if MACs or params are limited).",
    ),
]
NoSpend = Annotated[bool, typer.Option("--no-spend", help="Admit networks that use less, where --spend has a default.")]
SpaceFile = Annotated[
    str | None, typer.Option("--space", metavar="FILE", help="File with a JSON definition of the space (- for stdin).")
]


@with_limits
def search(
    preset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Named space (see `nnmass presets`); repeat it for several in one question.",
            autocompletion=_preset_names,
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="File with a JSON definition of the space, or a list of several (- for stdin); may be repeated.",
        ),
    ] = None,
    around: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="In place of a space: look around this network, a known name, a file with a definition, or an arch_id "
            "(with --server).",
        ),
    ] = None,
    keep: Keep = None,
    width: WidthAxis = None,
    depth: DepthAxis = None,
    limits: Limits = NO_LIMITS,
    device: Device = None,
    precision: BudgetPrecision = None,
    batch: BudgetBatch = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    spend: SpendOption = None,
    pareto: Annotated[
        str | None,
        typer.Option(metavar="COSTS", help="Pareto front of NN-Mass and a cost, or two: macs, or params,latency_ms."),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --pareto: at most N points of the front, 3 or more (default: all)."),
    ] = None,
    widths: Widths = None,
    exclude: Exclude = None,
    top_k: TopK = None,
    first_rank: FirstRank = None,
    diversity: DiversityOption = Diversity.NONE,
    time_limit: TimeLimit = SECONDS,
    name: SearchName = "",
    server: Server = None,
    key_file: KeyFile = None,
    *,
    equal_density: EqualDensity = False,
    equal_skip_channels: EqualSkips = False,
    no_spend: NoSpend = False,
    as_json: Json = False,
    save: Save = None,
) -> None:
    """Find the networks with the most NN-Mass within a budget, or with the least or most of a cost, with proof.

    Searches on this machine unless --server names a service. Every limit that you set is hard.
    """
    with exit_on_error({"space": "--preset" if preset else "--around" if around else "--space"}):
        within = limits["within"] is not None
        where = space_of(preset or [], space or [], around, keep, width, depth, within=within)
        if pareto is not None and save is not None:
            refuse("--save does not apply to a Pareto front: none of its networks is the best")
        objective = objective_of(minimize, maximize, limits[LEAST_MASS], pareto, points)
        options = aimed(objective, limits, device, precision, batch) | spend_of(spend, none=no_spend)
        options |= _ranked(top_k, first_rank, diversity, time_limit)
        options |= {"exclude": networks_of(exclude or [])}
        options |= {"structure": _structure(widths, density=equal_density, skip_channels=equal_skip_channels)}
        _finish(_searched(where, name, options, server, key_file), as_json=as_json, save=save, time_limit=time_limit)


@with_limits
def scale(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="File with a JSON definition (- for stdin), a known name such as resnet50, or an arch_id (with "
            "--server).",
        ),
    ],
    keep: Keep = None,
    width: WidthAxis = None,
    depth: DepthAxis = None,
    limits: Limits = NO_LIMITS,
    device: Device = None,
    precision: BudgetPrecision = None,
    batch: BudgetBatch = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    spend: SpendOption = None,
    exclude: Exclude = None,
    top_k: TopK = None,
    first_rank: FirstRank = None,
    diversity: DiversityOption = Diversity.NONE,
    time_limit: TimeLimit = SECONDS,
    name: SearchName = "",
    server: Server = None,
    key_file: KeyFile = None,
    *,
    no_spend: NoSpend = False,
    as_json: Json = False,
    save: Save = None,
) -> None:
    """Make your network wider or narrower, deeper or shallower, to the best that a budget allows, with proof.

    All stages have one multiplier of the width and one of the depth. The same as `search --around`.
    """
    with exit_on_error({"space.around": "NETWORK", "space": "NETWORK"}):
        where = around_of(_reference_in(reference), keep, width, depth)
        objective = objective_of(minimize, maximize, limits[LEAST_MASS], None)
        options = aimed(objective, limits, device, precision, batch) | spend_of(spend, none=no_spend)
        options |= _ranked(top_k, first_rank, diversity, time_limit)
        options |= {"exclude": networks_of(exclude or [])}
        _finish(_searched(where, name, options, server, key_file), as_json=as_json, save=save, time_limit=time_limit)


@with_limits
def compress(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK", help="File with a JSON definition (- for stdin), or a known name such as resnet50."
        ),
    ],
    minimize: Annotated[str | None, typer.Option(metavar=COSTS, help="Cost to minimize (default: macs).")] = None,
    keep_stages: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the NN-Mass of each stage to keep; 0: keep the NN-Mass as a whole (default: 0.8; none with "
            "--ratio).",
        ),
    ] = None,
    keep_params: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Share of the params to keep; 0: any (default: 0.95; none with --ratio)."),
    ] = None,
    space: SpaceFile = None,
    limits: Limits = NO_LIMITS,
    device: Device = None,
    precision: BudgetPrecision = None,
    batch: BudgetBatch = None,
    widths: Widths = None,
    exclude: Exclude = None,
    top_k: TopK = None,
    first_rank: FirstRank = None,
    diversity: DiversityOption = Diversity.NONE,
    time_limit: TimeLimit = SECONDS,
    server: Server = None,
    key_file: KeyFile = None,
    *,
    equal_density: EqualDensity = False,
    equal_skip_channels: EqualSkips = False,
    as_json: Json = False,
    save: Save = None,
) -> None:
    """Find a smaller network than yours, which keeps shares of its stages' NN-Mass and of its params.

    Searches similar networks unless --space names a space; networks with concatenation cells retain their widths.
    Beside the answer stands your network with one multiplier of all widths and as many MACs.
    Searches on this machine unless --server names a service.
    """
    with exit_on_error({"space": "--space"}):
        network = _reference_in(reference)
        where = None if space is None else json_in(space, "the space")
        of_reference: Any = limits["ratio"] if limits["within"] is None else None
        if of_reference and minimize is not None:
            refuse("--ratio cannot be combined with --minimize")
        shares = _ratio_of(of_reference or [])
        limits = {**limits, "ratio": None} if shares else limits
        stages, params = _kept_of("--keep-stages", keep_stages), _kept_of("--keep-params", keep_params)
        options = limits_of(limits, device, precision, batch)
        options |= _ranked(top_k, first_rank, diversity, time_limit)
        options |= {"exclude": networks_of(exclude or [])}
        rules = _structure(widths, density=equal_density, skip_channels=equal_skip_channels)
        options |= {} if rules is None else {"structure": rules}
        options |= {"ratio": shares} if shares else {}

        def run(client: Client | None, progress: Any) -> Answer:
            if client is not None:
                return client.compress(
                    network,
                    minimize=minimize,
                    keep_stages=stages,
                    keep_params=params,
                    space=where,
                    progress=progress,
                    **options,
                )
            from nnmass.local import compress as compress_here

            return compress_here(
                network,
                minimize=minimize,
                keep_stages=stages,
                keep_params=params,
                space=where,
                progress=progress,
                **options,
            )

        _finish(_run(run, server, key_file), as_json=as_json, save=save, time_limit=time_limit)


def next_ranks(
    search_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the search.")],
    server: Server = None,
    key_file: KeyFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Find the networks that follow those of a search of a service: its next ranks.

    A repeat shows the same ranks. On this machine, `search --first-rank` does this.
    """
    from nnmass.cli.progress import Bar

    with exit_on_error(), client_of(server, key_file) as client, Bar() as bar:
        found = client.next_ranks(search_id)
        note_place(found)
        answer = client.answer(client.wait(found, progress=bar))
    _finish(answer, as_json=as_json, save=None, time_limit=answer.request["time_limit_seconds"])


def presets(*, as_json: Json = False) -> None:
    """List the named spaces, for `search --preset`."""
    from nnmass.cli.printing import print_json, print_table
    from nnmass.local import spaces

    found = spaces()
    if as_json:
        print_json([{**vars(one), "space_size": str(one.space_size)} for one in found])
        return
    heads = [("name", "left"), ("networks", "right"), ("description", "left")]
    print_table(heads, ([one.name, f"{one.space_size:.1e}", one.description] for one in found))


def devices(server: Server = None, key_file: KeyFile = None, *, as_json: Json = False) -> None:
    """List the devices, for `search --device`: with --server also the profiles that you stored in the service.

    A search that names no --precision has that of its device.
    """
    from nnmass.cli.printing import print_json, print_table
    from nnmass.local import devices as known

    with exit_on_error():
        if server:
            with client_of(server, key_file) as client:
                found = client.devices()
        else:
            found = known()
    if as_json:
        print_json([dict(one.raw) for one in found])
        return
    heads = [("name", "left"), ("weights, bytes", "right"), ("activations, bytes", "right")]
    heads += [("precision", "left"), ("description", "left")]
    print_table(heads, map(_device_row, found))


def _device_row(device: NamedDevice) -> list[str]:
    memory = [formatting.count(size) for size in (device.flash_bytes, device.ram_bytes)]
    return [device.name, *memory, device.default_precision or formatting.UNKNOWN, device.title]


def space_of(
    named: list[str],
    files: list[str],
    around: str | None,
    keep: str | None,
    width: str | None,
    depth: str | None,
    *,
    within: bool,
) -> Space | None:
    """Return the space of the options, or the list of all where there are several; None for that of --within."""
    if around is None:
        if given := [name for name, value in (("--keep", keep), ("--width", width), ("--depth", depth)) if value]:
            refuse(f"{given[0]} needs --around NETWORK")
        if not named and not files:
            if within:
                return None
            refuse("give --preset NAME (see `nnmass presets`), --space FILE, --around NETWORK, or --within NETWORK")
    found: list[Any] = [*named] if around is None else [*named, around_of(_reference_in(around), keep, width, depth)]
    for file in files:
        read = json_in(file, "the space")
        found += read if isinstance(read, list) else [read]
    one: Space = found[0] if len(found) == 1 else found
    return one


def _reference_in(place: str) -> Any:
    """Return an `arch_id` or a known name as it is, or the definition in a file."""
    return place if place.startswith("arch_") else network_in(place)


def objective_of(
    minimize: str | None,
    maximize: str | None,
    least: float | str | None,
    pareto: str | None,
    points: int | None = None,
) -> JsonObject:
    """Return the objective. least: the least NN-Mass, which is part of it where a cost is minimized."""
    given = {"--pareto": pareto, "--minimize": minimize, "--maximize": maximize}
    asked = [option for option, value in given.items() if value is not None]
    if len(asked) > 1:
        refuse(f"{asked[0]} cannot be combined with {asked[1]}")
    if points is not None and pareto is None:
        refuse("--points applies only to a Pareto front: give --pareto")
    if pareto is not None:
        thinned = {} if points is None else {"points": points}
        return {"pareto": ["nn_mass", *(cost.strip() for cost in pareto.split(","))], **thinned}
    if minimize is None:
        return {"maximize": "nn_mass" if maximize is None else maximize}
    return {"minimize": minimize} | ({} if least is None else {LEAST_MASS: least})


def aimed(
    objective: JsonObject, limits: Limits, device: list[str] | None, precision: Precision | None, batch: int | None
) -> SearchOptions:
    """Return the limits and the objective of a search; a least NN-Mass that the objective has is no limit as well."""
    options = limits_of({**limits, LEAST_MASS: None} if LEAST_MASS in objective else limits, device, precision, batch)
    return options | {"objective": objective}


def _searched(
    where: Space | None, name: str, options: SearchOptions, server: str | None, key_file: Path | None
) -> Answer:
    """Search on this machine, or through a service where one is named."""

    def run(client: Client | None, progress: Any) -> Answer:
        if client is not None:
            return _followed(client, where, name, progress, options)
        from nnmass.local import search as search_here

        return search_here(where, progress=progress, **options)

    return _run(run, server, key_file)


def spend_of(text: str | None, *, none: bool) -> SearchOptions:
    """Return the share to be spent; without one and without `none` there is no option, which has a default."""
    if text is None:
        return {"spend": None} if none else {}
    if none:
        refuse("--spend conflicts with --no-spend: give one of them")
    quantity, share = ratio_of(text, "--spend must be a cost and a share, such as macs=0.95 or macs=95%")
    return {"spend": {"quantity": quantity, "share": share}}


def _share(text: str, otherwise: str) -> float:
    """Return a share, exactly, that is written as a number or in percent. otherwise: what to say if it is not one."""
    from decimal import Decimal, InvalidOperation  # imported here: few searches need it

    try:
        number = Decimal(text.removesuffix("%"))
    except InvalidOperation:
        refuse(otherwise)
    return float(number / 100 if text.endswith("%") else number)


def _ratio_of(texts: list[str]) -> dict[str, float] | None:
    """Return shares of the reference's costs by name; a number alone is one of its MACs."""
    shares: dict[str, float] = {}
    for text in texts:
        cost, _, share = text.rpartition("=")
        shares[cost or "macs"] = _share(share, "--ratio must be a share, such as 0.5, macs=0.5 or params=60%")
    return shares or None


def _kept_of(option: str, text: str | None) -> Share:
    return "usual" if text is None else _share(text, f"{option} must be a share, such as 0.8 or 80%")


def _ranked(top_k: int | None, first_rank: int | None, diversity: Diversity, time_limit: float) -> SearchOptions:
    options: SearchOptions = {"diversity": diversity.value, "time_limit_seconds": time_limit}
    options |= {} if top_k is None else {"top_k": top_k}
    return options if first_rank is None else options | {"first_rank": first_rank}


def _structure(widths: str | None, **equal: bool) -> dict[str, str] | None:
    rules = {name: "equal" for name, wanted in equal.items() if wanted}
    return rules | ({} if widths is None else {"widths": widths}) or None


def networks_of(places: list[str]) -> list[Any]:
    """Return the networks of files, known names and ids."""
    named = [[place] if place.startswith("arch_") else [one for _, one in networks_in(place)] for place in places]
    return [network for networks in named for network in networks]


def _run(run: Run, server: str | None, key_file: Path | None) -> Answer:
    from nnmass.cli.progress import Bar

    with Bar() as bar:
        if not server:
            return run(None, bar)
        with client_of(server, key_file) as client:
            return run(client, bar)


def _followed(client: Client, space: Space | None, name: str, progress: Any, options: SearchOptions) -> Answer:
    """Search through a service. On an interrupt, print how to find the search again."""
    found = client.submit(space, name=name, **options)
    note_place(found)
    try:
        return client.answer(client.wait(found, progress=progress))
    except KeyboardInterrupt:
        typer.echo(f"nnmass: the search continues in the service: nnmass show {found.id}", err=True)
        raise


def _finish(answer: Answer, *, as_json: bool, save: Path | None, time_limit: float) -> None:
    """Print an answer, save its best network, and exit with the code for the result."""
    from nnmass.cli.printing import print_answer, print_json, write_file

    if save is not None and answer.best is not None:
        write_file(save, (json.dumps(dict(answer.best.definition), indent=2) + "\n").encode())
    if as_json:
        print_json(answer.to_json())
    else:
        print_answer(answer)
        typer.echo(_next_step(answer, save), nl=False)
    found = answer.certificate
    if found.feasible is False:
        raise typer.Exit(NOTHING_FITS)
    # a front whose labels take too much memory is coarse by design: that is reported, but is not a failure
    if not found.optimal and (found.resolution is None or found.elapsed_seconds >= time_limit):
        raise typer.Exit(NOT_PROVED)


def _next_step(answer: Answer, save: Path | None) -> str:
    if answer.best is None:
        return ""
    if save is None:
        return "Next: add --save best.json, then `nnmass export best.json --format onnx -o best.onnx`.\n"
    return f"Next: nnmass export {save} --format onnx -o {save.with_suffix('.onnx')}\n"
