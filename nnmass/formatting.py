"""Format figures and proofs for people. The arguments are parts of answers in their JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnmass_core.costs import (
    COSTS,
    KEPT_PARAMS,
    KEPT_STAGES,
    LEAST_MASS,
    MOST_DENSITY,
    MOST_MASS,
    NO_COSTS,
    USUAL_KEPT,
    Cost,
    costs_by_floor,
    costs_by_limit,
    limit_names,
)
from nnmass_core.export.parts import is_dense_block, parts_of

CAVEATS = {
    "no_limits": "The request sets no limit, so no network is left out for its cost. Set the limits of your hardware.",
    "no_skips": (
        "Networks of this family have no skip connections: NN-Mass is 0 for all of them and says nothing about which "
        "is better. Maximize MACs or params, or minimize a cost."
    ),
    "resolutions_differ": (
        "NN-Mass ignores input resolution, so the search picks the smallest one. Fix it if accuracy matters."
    ),
    "widths_differ": "NN-Mass compares networks fairly only at equal width, and the widths in this search differ.",
    "density_above_evidence": "Some cells have a higher density than any network with published training results.",
    "maps_up_to_2x2": (
        "More than a third of a network's layers have feature maps of 2 x 2 or less, where a 3 x 3 kernel reads mostly "
        "padding. Use fewer strides or a larger input."
    ),
    "expansions_all_1": (
        "All expansions are 1, so no block of the network is wider inside than outside. MobileNetV2 was published with "
        "expansion 6."
    ),
    "channels_below_8": (
        "Some layers have fewer than 8 channels. They pass on little, and most processors compute 8 or more at once."
    ),
    "latency_outside_range": (
        "Some latencies are extrapolated: the networks have fields, named in `latency.outside`, outside the range of "
        "those that were timed."
    ),
    "limits_used_below_60": (
        "The best network uses less than 60 % of every limit. A larger or finer space may have a better one."
    ),
}
OUTCOMES = {
    "proved": "proved",
    "not_proved": "not proved",
    "nothing_fits": "nothing fits",
    "nothing_found": "nothing found",
}
"""The outcomes of a search that has succeeded, for people.

Nothing fits: proved. Nothing found: the time limit was reached before anything was found or proved.
"""

STRUCTURES = {
    "widths": {"equal": "equal widths", "never_fall": "widths that never fall"},
    "density": {"equal": "equal density"},
    "skip_channels": {"equal": "equal skip channels"},
}
"""The rules about what the parts of a network have in common, for people."""

FIGURES = ("nn_mass", "density", "average_degree", "params", "macs")
"""The figures of a cell or stage in addition to its definition."""

KEPT = {KEPT_STAGES: "the share of each stage's NN-Mass", KEPT_PARAMS: "the share of the params"}
"""The floors that follow from what a network keeps of a reference, for people."""

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
UNKNOWN = "-"
OPEN = "not worked out within the time limit"


def count(value: float | None) -> str:
    """Return a whole number with separators: 999,706."""
    return UNKNOWN if value is None else f"{int(value):,}"


def number(value: float | None) -> str:
    """Return a number with up to three decimals: 784.133."""
    return UNKNOWN if value is None else f"{value:,.3f}".rstrip("0").rstrip(".")


def short(value: float, digits: int = 3) -> str:
    """Return a number with a prefix, with this number of digits: 1.2 M."""
    for size, prefix in PREFIXES:
        if abs(value) >= size:
            return (
                f"{value / size:.{digits}g} {prefix}" if abs(value) < 1000 * size else f"{value / size:,.0f} {prefix}"
            )
    return f"{value:.{digits}g}"


def memory(value: float | None) -> str:
    """Return bytes with a decimal prefix: 320 kB."""
    if value is None:
        return UNKNOWN
    return f"{short(value)}B" if abs(value) >= 1000 else f"{int(value)} B"


def limit_label(name: str) -> str:
    """Return what a limit is on: MACs."""
    cost = _limited(name)
    if name in NO_COSTS:
        return "density" if name == MOST_DENSITY else "NN-Mass"
    if name in KEPT:
        return f"of {KEPT[name].removeprefix('the share of ')}"
    return name if cost is None else cost.label


def _limited(name: str) -> Cost | None:
    """Return the cost that a limit is on; None for one on NN-Mass or density, or of another release."""
    return costs_by_limit().get(name) or costs_by_floor().get(name)


def is_floor(name: str) -> bool:
    """Return whether a limit is one from below."""
    return name in ("spend", LEAST_MASS, *KEPT) or name in costs_by_floor()


def _named(name: str) -> str:
    """Return a limit in a sentence: params, the floor on MACs."""
    if name == "spend":
        return "the share to be spent"
    if name in KEPT:
        return f"{KEPT[name]} to keep"
    return f"the floor on {limit_label(name)}" if is_floor(name) else limit_label(name)


def limit_heading(name: str, precision: str) -> str:
    """Return what a limit is on, and for bytes at which precision: weight memory, int8."""
    cost = _limited(name)
    return f"{cost.label}, {precision}" if cost is not None and cost.unit == "bytes" else limit_label(name)


def of_limit(name: str, value: float | None) -> str:
    """Return a limit's value, or its slack, in its unit."""
    if name in KEPT:
        return _percent(value)
    cost = _limited(name)
    if name in NO_COSTS:
        return number(value)
    return count(value) if cost is None else of_cost(cost, value, 4)


def of_cost(cost: Cost, value: float | None, digits: int = 3) -> str:
    """Return what a network has of a cost, in its unit. digits: of a number with decimals."""
    if cost.unit == "bytes":
        return memory(value)
    if cost.unit == "ms":
        return milliseconds(value, digits)
    written = count(value) if cost.whole else number(value)
    return f"{written} {cost.unit}" if cost.unit and value is not None else written


def shown_costs(items: Sequence[Mapping[str, Any]], *requests: Mapping[str, Any]) -> list[Cost]:
    """Return the costs that a table of architectures shows: estimates where there are some, the depth where asked for.

    requests: what the architectures answer.
    """
    shown = [c for c in COSTS.values() if not c.named or any(_names(request, c) for request in requests)]
    return [c for c in shown if not c.timed or any(item.get(c.name) is not None for item in items)]


def _names(request: Mapping[str, Any], cost: Cost) -> bool:
    """Return whether a request has a limit on a cost, or has it as an objective or to be spent."""
    objective, spend = request["objective"], request.get("spend") or {}
    goals = (objective.get("maximize"), objective.get("minimize"), *objective.get("pareto", ()), spend.get("quantity"))
    return cost.name in goals or not request["budget"].keys().isdisjoint({cost.limit, cost.floor})


def cost_heading(cost: Cost, items: Sequence[Mapping[str, Any]]) -> str:
    """Return the heading of a cost's column: bytes name their precision, and what a batch has more of its size.

    So "weights, int8", and "activations, int8, batch 8".
    """
    precisions = list(dict.fromkeys(item["precision"] for item in items if item.get("precision")))
    batches = list(dict.fromkeys(f"batch {item['batch']:,}" for item in items if item.get("batch", 1) > 1))
    counted = precisions if cost.unit == "bytes" else []
    return ", ".join([cost.heading, *counted, *(batches if cost.stored or cost.timed else [])])


def resolution(item: Mapping[str, Any]) -> str:
    """Return the size of a network's input images, height x width; empty where it has no images."""
    size = sides(item)
    return "" if size is None else f"{size[0]} x {size[1]}"


def sides(item: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return height and width of a network's input images; None where it has no images."""
    image = (item.get("architecture") or {}).get("input")
    return (image["height"], image["width"]) if isinstance(image, Mapping) and "height" in image else None


def varies_resolution(items: Sequence[Mapping[str, Any]], caveats: Sequence[str] = ()) -> bool:
    """Return whether a table of networks needs a column for the resolution: theirs or that of their space varies."""
    return len({sides(item) for item in items}) > 1 or "resolutions_differ" in caveats


def milliseconds(value: float | None, digits: int = 3) -> str:
    """Return a latency: 3.21 ms."""
    return UNKNOWN if value is None else f"{value:.{digits}g} ms"


def latency(item: Mapping[str, Any]) -> str:
    """Return the basis of the estimated latency of a ranking's first, in a sentence; empty where there is none."""
    about, value = item.get("latency"), item.get("latency_ms")
    if about is None or value is None:
        return ""
    band = f"{about['low_ms']:.3g} to {about['high_ms']:.3g} ms"
    outside = about.get("outside") or ()
    timed = f" Outside the range of the networks that were timed: {', '.join(outside)}." if outside else ""
    return (
        f"{_measure(about)} of {_first(item)}: {value:.3g} ms, {about['kind']} for {about['device']}; "
        f"expect to measure {band}.{timed}"
    )


def _measure(about: Mapping[str, Any]) -> str:
    """Return what the milliseconds of a profile are; stored answers do not say it, and theirs are latencies."""
    batch = about.get("batch", 1)
    if about.get("measure") == "throughput":
        return f"Time an image in batches of {batch:,}"
    return "Latency" if batch == 1 else f"Latency of a batch of {batch:,}"


def _first(item: Mapping[str, Any]) -> str:
    """Return what the first of a ranking is: the best, unless the ranking starts at a lower rank."""
    rank = item.get("rank") or 1
    return "the best" if rank == 1 else f"rank {rank:,}"


def seconds(value: float) -> str:
    """Return a duration: 70 ms, 1.2 s, 3 min."""
    if value < 1:
        return f"{max(1, round(1000 * value))} ms"
    return f"{value:.1f} s" if value < 120 else f"{round(value / 60)} min"


MARKS = {"expansion": "e", "kernel": "k", "se": "se"}
"""What stands before the fields of an inverted residual in the short form of a stage: e6 k5 40x3."""


def shape(item: Mapping[str, Any]) -> str:
    """Return an architecture's cells or stages in short form: 16x7, 76 · 48x5, 140."""
    return " · ".join(_part(part) for part in parts_of(item))


def _part(part: Mapping[str, Any]) -> str:
    """Return a part in short form, as its heading says (export/parts.py), or the family's own fields."""
    if is_dense_block(part):
        return f"{part['width']}x{part['layers']}"
    if "skip_channels" in part:
        return f"{part['width']}x{part['depth']}, {part['skip_channels']}"
    if "repeats" in part:
        marks = [f"{mark}{part[name]} " for name, mark in MARKS.items() if name in part]
        return f"{''.join(marks)}{part['channels']}x{part['repeats']}"
    return ", ".join(f"{name} {value}" for name, value in part.items() if name not in FIGURES)


def joined(names: Sequence[str], word: str = "and") -> str:
    """Return names as a list in a sentence: params, MACs and latency."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def outcome(result: Mapping[str, Any]) -> str:
    """Return what a search has proved, as one of OUTCOMES."""
    if result["feasible"] is None:
        return "nothing_found"
    if not result["feasible"]:
        return "nothing_fits"
    return "proved" if result["optimal"] else "not_proved"


def state(status: str, outcome: str | None) -> str:
    """Return the state of a search for people: its status, or its outcome where that is no architecture."""
    return OUTCOMES[outcome] if outcome in ("nothing_fits", "nothing_found") else status


def certificate(result: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Return what a search has proved, in a sentence."""
    took, excluded = seconds(result["elapsed_seconds"]), len(request.get("exclude", ()))
    most = "at most " if result.get("space_size_exact") is False else ""
    size = "" if result["space_size"] is None else f"{most}{int(result['space_size']):,} architectures"
    size += f" ({excluded} excluded)" if excluded and size else ""
    size += f" in {len(result['spaces'])} spaces" if result.get("spaces") and size else ""
    if result["feasible"] is False:
        return f"None of {size} fits, proved in {took}."
    if result["feasible"] is None:
        looked = f": found no architecture that fits among {size}, and proved nothing."
        tables = ", before the tables of the space were worked out: nothing was searched."
        return f"Timed out after {took}{looked if size else tables}"
    if "pareto" in request["objective"]:
        kind = "the exact front" if result["optimal"] else "part of the front"
        shown = count(result["count"])
        shown += f" of {count(found)}" if (found := result.get("thinned_from")) else ""
        return f"{shown} points: {kind} over {size}, in {took}."
    first = result.get("first_rank", 1)
    if first > 1:
        return _ranks(first, result, size, took)
    if result["optimal"]:
        return f"The best of {size}, proved in {took}."
    return _not_proved(result, size, took)


def spaces(result: Mapping[str, Any], request: Mapping[str, Any]) -> list[str]:
    """Return what is proved of each of several spaces, a sentence for each; none where there is one space."""
    objective = request["objective"]
    quantity = objective.get("minimize") or objective.get("maximize", "nn_mass")
    lines: list[str] = []
    for share, space in zip(result.get("spaces") or (), request["space"], strict=False):
        bound, listed = share["bound"], f"{share['count']:,} listed"
        value = number(bound) if quantity == "nn_mass" else "" if bound is None else _exact(COSTS[quantity], bound)
        better = "less than" if "minimize" in objective else "more than"
        said = f"none has {better} {value} {'NN-Mass' if quantity == 'nn_mass' else cost(quantity)}"
        if bound is None:
            said = "" if "pareto" in objective or not result["optimal"] else "none fits"
        family = space.get("around", space)["family"]
        of = f"Space {share['space']} ({family}): {int(share['networks']):,} architectures"
        lines.append(f"{', '.join(filter(None, [of, listed, said]))}.")
    return lines


def _not_proved(result: Mapping[str, Any], size: str, took: str) -> str:
    """Return what the time limit left of the proof of a ranking, in a sentence."""
    if result.get("value_proved"):
        open_ranks = "ties with it and later ranks" if result["count"] > 1 else "ties with it"
        return f"No better one among {size}, proved in {took}; {open_ranks} are not proved within the time limit."
    gap = "" if result["gap"] is None else f"; the optimum is at most {100 * result['gap']:.2f} % better"
    return f"Best found among {size} in {took}, not proved within the time limit{gap}."


def _ranks(first: int, result: Mapping[str, Any], size: str, took: str) -> str:
    """Return what a search of ranks below the best has proved, in a sentence."""
    if not result["count"]:
        proved = "proved" if result["optimal"] else "as far as found"
        return f"Fewer than {first:,} of {size} fit, {proved} in {took}."
    last = first + result["count"] - 1
    ranks = f"{f'Ranks {first:,} to {last:,}' if last > first else f'Rank {first:,}'} of {size}"
    if result["optimal"]:
        return f"{ranks}, proved in {took}."
    return f"{ranks} as far as found in {took}, not proved within the time limit."


def binding(result: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Return which limits restrict the result, in a sentence; empty where none is known.

    Where no single limit does, several may still do together, so that less is claimed of a budget with several limits.
    """
    if "binding" in (result.get("unfinished") or ()):
        return f"Which limits restrict the result was {OPEN}."
    names, minimized = result["binding"], request["objective"].get("minimize")
    maximized = request["objective"].get("maximize", "nn_mass")
    effect = "allow a better network" if minimized is None else f"lower the {cost(minimized)}"
    effect = effect if maximized == "nn_mass" else f"allow more {cost(maximized)}"
    if names:
        return f"Limited by {joined([_named(name) for name in names])}. {_eased(names)} would {effect}."
    if names is None or not result["feasible"]:
        return ""
    kept = [name for name in KEPT if name in request["objective"]]
    limits = _number_of_limits(request["budget"]) + len(kept)
    if limits and (limits > 1 or minimized is not None):
        ease = "Easing" if any(map(is_floor, [*request["budget"], *kept])) else "Raising"
        return f"{ease} any one limit would not {effect}."
    return (
        "" if minimized is not None else "Not limited by the budget. Only a larger space would allow a better network."
    )


def _percent(share: float | None) -> str:
    """Return a share: 80 %."""
    return UNKNOWN if share is None else f"{number(100 * share)} %"


def _eased(names: Sequence[str]) -> str:
    """Return what would help against limits, as the subject of a sentence."""
    floors = sum(map(is_floor, names))
    if len(names) == 1:
        lower = "A lower share" if names[0] in ("spend", *KEPT) else "A lower floor"
        return lower if floors else "A higher limit"
    return "Raising any one of these limits" if not floors else "Easing any one of these limits"


def _number_of_limits(budget: Mapping[str, Any]) -> int:
    """Return the number of limits of a budget; of a built-in device's memory, which has two."""
    known = {name for name in budget if name in limit_names()}
    memory = {one.limit: one.memory for one in COSTS.values() if one.memory}
    for device in _devices(budget):
        whole = isinstance(device, str)
        known |= {limit for limit, field in memory.items() if whole or device.get(field) is not None}
    return len(known)


def _devices(budget: Mapping[str, Any]) -> list[Any]:
    """Return the devices of a budget, each a built-in one's name or a profile."""
    return budget.get("devices") or ([budget["device"]] if budget.get("device") else [])


def unused(item: Mapping[str, Any]) -> str:
    """Return the share of each upper limit that an architecture leaves unused; a dash where it is not known."""
    shares = item.get("unused") or {}
    return ", ".join(f"{limit_label(name)} {100 * share:.1f} %" for name, share in shares.items()) or "-"


def slack(item: Mapping[str, Any]) -> str:
    """Return the slack of a ranking's first under each limit, in a sentence; empty where there is none."""
    slack = item.get("slack") or {}
    left, above = (
        [f"{of_limit(name, value)} {limit_label(name)}" for name, value in slack.items() if is_floor(name) == floor]
        for floor in (False, True)
    )
    said = [
        f"Unused by {_first(item)}: {joined(left)}." if left else "",
        f"Above the floors: {joined(above)}." if above else "",
    ]
    return " ".join(filter(None, said))


def fits(item: Mapping[str, Any]) -> list[str]:
    """Return how a ranking's first fits each of several devices, a sentence for each that limits something."""
    lines: list[str] = []
    for fit in item.get("devices") or []:
        left = [f"{of_limit(name, value)} {limit_label(name)}" for name, value in fit["slack"].items()]
        took = "" if fit["latency_ms"] is None else f" (latency {milliseconds(fit['latency_ms'])})"
        lines += [f"Unused by {_first(item)} on {fit['device']}: {joined(left)}{took}."] if left else []
    return lines


def relaxation(result: Mapping[str, Any]) -> list[str]:
    """Return, for each limit, the nearest value that would make the request feasible with the others unchanged.

    Where no single limit does, also return the limits that would, raised together.
    """
    lines: list[str] = []
    for name, least in (result["relaxation"] or {}).items():
        if name == LEAST_MASS:
            lines.append(f"The maximum NN-Mass within the budget is {number(least)}." if least is not None else "")
        elif name == MOST_MASS:
            lines.append(f"The minimum NN-Mass within the budget is {number(least)}." if least is not None else "")
        elif least is None:
            limit = _named(name) if is_floor(name) else f"the {limit_label(name)} limit"
            lines.append(f"Changing {limit} alone does not help.")
        elif name in KEPT:
            lines.append(f"Keep at most {_percent(least)} {limit_label(name)}.")
        elif is_floor(name):
            lines.append(f"Lower {_named(name)} to at most {_exact_limit(name, least)}.")
        else:
            lines.append(f"Raise the {limit_label(name)} limit to at least {_exact_limit(name, least)}.")
    unfinished = result.get("unfinished") or ()
    lines.append(f"Which limits to ease was {OPEN}." if "relaxation" in unfinished else "")
    lines.append(f"How far to raise all limits together was {OPEN}." if "joint_relaxation" in unfinished else "")
    return [line for line in (*lines, _joint_relaxation(result.get("joint_relaxation"))) if line]


def _joint_relaxation(joint: Mapping[str, Any] | None) -> str:
    if joint is None:
        return ""
    kept = _kept(joint["unchanged"])
    if joint["factor"] is None:
        return f"No common factor on the limits helps{kept}."
    limits = [f"{limit_label(name)} to {_exact_limit(name, value)}" for name, value in joint["limits"].items()]
    return f"Raise all limits together, by a factor of about {joint['factor']:.6g}{kept}: {joined(limits)}."


def _kept(unchanged: Sequence[str]) -> str:
    """Return which limits a common factor leaves unchanged, as the end of a clause; empty for none."""
    if not unchanged:
        return ""
    if list(unchanged) == [LEAST_MASS]:
        return " at the same least NN-Mass"
    return f" with {joined([_named(name) for name in unchanged])} unchanged"


def _exact_limit(name: str, value: float) -> str:
    """Return a limit's value with all its digits: a rounded one could be too low."""
    cost = _limited(name)
    return f"{value!r}" if cost is None else _exact(cost, value)


def _exact(cost: Cost, value: float) -> str:
    """Return what a network has of a cost, with all its digits."""
    text = f"{value:,.0f}" if cost.whole else f"{value:,.6f}".rstrip("0").rstrip(".")
    return f"{text} {cost.unit}".rstrip()


def savings(result: Mapping[str, Any]) -> str:
    """Return the savings of a compress search, in a sentence; empty for other searches."""
    reference, times = result.get("reference"), result.get("savings")
    if reference is None or times is None:
        return ""
    figures = f"{count(reference['params'])} params, {count(reference['macs'])} MACs"
    less = f"{_times(times['params'])} params and {_times(times['macs'])} MACs"
    return f"Compared with the reference (NN-Mass {number(reference['nn_mass'])}; {figures}): {less}."


def uniform(result: Mapping[str, Any]) -> str:
    """Return what the network of one width multiplier is, in a sentence; empty where there is none."""
    found = result.get("uniform")
    if found is None:
        return ""
    figures = f"NN-Mass {number(found['nn_mass'])}; {count(found['params'])} params, {count(found['macs'])} MACs"
    return f"For comparison: all channels of the reference times {number(found['width'])} ({figures})."


def replayed(result: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Return what the replay of public benchmarks says of a compression, in a sentence; empty for other searches.

    The figures are those of docs/accuracy.md.
    """
    objective, shown = request["objective"], result.get("reference") is not None and result["feasible"]
    if not shown:
        return ""
    mass = result["reference"]["nn_mass"]
    tested = "one width multiplier was not tried" if result.get("uniform") else ""
    if not mass:
        said, tested = "there are no networks without skip connections", ""
    elif objective.get("minimize") == "macs" and USUAL_KEPT.items() <= objective.items():
        said = "keeping these shares lost 0.5 to 1.1 points of accuracy at 1.3 to 1.4 times fewer MACs"
    elif objective.get("minimize") == "macs" and not KEPT.keys() & objective.keys():
        said = "the fewest MACs at a reference's NN-Mass lost 1 to 9 points of accuracy at 1.5 to 2.8 times fewer MACs"
    elif objective.get("maximize") == "nn_mass" and COSTS["macs"].limit in request["budget"]:
        said = "the most NN-Mass within 80 % of the MACs lost 0.6 to 0.9 points of accuracy, within 50 % 2.4 to 5.4"
    else:
        said, tested = "this rule was not tried", ""
    return f"In the replay of public benchmarks {said}{f'; {tested}' if tested else ''}."


def spent(result: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Return the most of a cost of which a share is used, in a sentence; empty where none has to be."""
    found = result.get("spent")
    if found is None:
        return ""
    known = COSTS[found["quantity"]]
    most, least = (f"{_exact(known, found[name])} {known.label}" for name in ("most", "least"))
    proved = "proved" if found["optimal"] else "not proved within the time limit"
    said = f"The most that fits is {most}, {proved}; the networks use at least {least}."
    if not (request.get("spend") or {}).get("default"):
        return said
    share = f"{_percent(found['share'])} is the default of spaces that keep proportions"
    return f"{said} {share}: --no-spend, or null as `spend`, admits networks that use less."


def most_spent(result: Mapping[str, Any]) -> str:
    """Return what the network is that uses the most of a cost, in a sentence; empty where no share has to be used."""
    found = result.get("spent")
    if found is None:
        return ""
    network, known = found["network"], COSTS[found["quantity"]]
    shown = dict.fromkeys((COSTS["params"], COSTS["macs"], known))
    figures = ", ".join(_labeled(one, network.get(one.name)) for one in shown)
    return (
        f"For comparison, the network of most {known.label}: {figures}; NN-Mass {number(network['nn_mass'])} "
        f"({shape(network)})."
    )


def _labeled(known: Cost, value: float | None) -> str:
    return f"{of_cost(known, value)}{' of' if known.unit else ''} {known.label}"


def taken(result: Mapping[str, Any]) -> str:
    """Return the limits that were taken from a reference, in a sentence; empty where there is none."""
    found = result.get("within")
    if found is None:
        return ""
    own = [_own_limit(name, bound, found["ratio"]) for name, bound in found["limits"].items()]
    mass = number(found["reference"]["nn_mass"])
    return f"Limits from the reference (NN-Mass {mass}; {found['reference']['arch_id']}): {joined(own)}."


def _own_limit(name: str, bound: float, ratios: Mapping[str, float]) -> str:
    known, ratio = _limited(name), ratios[name.removeprefix("max_")]
    of = " of" if known is not None and known.unit else ""
    scale = "" if ratio == 1 else f" ({ratio:g} times its own)"
    return f"{_exact_limit(name, bound)}{of} {limit_label(name)}{scale}"


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times fewer" if ratio >= 1 else f"{1 / ratio:.2f} times as many"


def request_summary(request: Mapping[str, Any]) -> str:
    """Return a request in short form: most NN-Mass within 1 M params and 150 M MACs.

    It names the precision where it depends on it: where a limit or the objective is on memory.
    """
    devices = _devices(request["budget"])
    limits = {
        name: value
        for name, value in request["budget"].items()
        if name not in ("precision", "batch", "device", "devices", "within", "ratio")
    }
    at = f" at {request['budget']['precision']}" if _counts_bytes(request) else ""
    at += f", batch {request['budget']['batch']:,}" if request["budget"].get("batch", 1) > 1 else ""
    budget = [_limit(name, value) for name, value in limits.items() if not is_floor(name)]
    floors = [_limit(name, value) for name, value in limits.items() if is_floor(name)]
    fast = [one["name"] for one in devices if isinstance(one, Mapping) and not _has_memory(one)]
    small = [one if isinstance(one, str) else one["name"] for one in devices if _has_memory(one)]
    where = f" on {joined(fast)}" if fast else ""
    budget += [f"the memory of {joined(small)}"] if small else []
    within = f" within {joined(budget)}" if budget else "" if floors else " without limits"
    above = f" with at least {joined(floors)}" if floors else ""
    ranks = f", from rank {request['first_rank']:,}" if request.get("first_rank", 1) > 1 else ""
    without = f", {len(request['exclude'])} excluded" if request.get("exclude") else ""
    rules = "".join(f", {STRUCTURES[name][rule]}" for name, rule in (request.get("structure") or {}).items())
    asked = f"{_wanted(request['objective'])}{_using(request.get('spend'))}"
    return f"{asked}{within}{above}{where}{at}{rules}{ranks}{without}"


def _has_memory(device: str | Mapping[str, Any]) -> bool:
    """Return whether a device limits memory; every built-in one does."""
    return isinstance(device, str) or bool(device["ram_bytes"] or device.get("flash_bytes"))


def _counts_bytes(request: Mapping[str, Any]) -> bool:
    """Return whether a limit or the objective of a request counts bytes, whose number depends on the precision."""
    limited = {cost.name for name in request["budget"] if (cost := _limited(name)) is not None}
    objective = request["objective"]
    wanted = {objective.get("minimize"), objective.get("maximize"), *objective.get("pareto", ())}
    of_memory = {one.name for one in COSTS.values() if one.unit == "bytes"}
    return bool(_devices(request["budget"])) or bool(of_memory & (limited | wanted))


def _using(spend: Mapping[str, Any] | None) -> str:
    return "" if spend is None else f" with {100 * spend['share']:.4g} % of the most {cost(spend['quantity'])}"


def _wanted(objective: Mapping[str, Any]) -> str:
    if "pareto" in objective:
        return f"Pareto front of NN-Mass and {joined([cost(name) for name in objective['pareto'][1:]])}"
    shares = [f"{_percent(objective[name])} {limit_label(name)}" for name in KEPT if name in objective]
    keeping = f" with {joined(shares)} of a reference" if shares else ""
    if "minimize" in objective:
        least = f" at NN-Mass {number(objective[LEAST_MASS])}" if objective.get(LEAST_MASS) is not None else ""
        at = " at a reference's NN-Mass" if "reference" in objective and KEPT_STAGES not in objective else least
        return f"Least {cost(objective['minimize'])}{at}{' and' if at and keeping else ''}{keeping}"
    maximized = objective.get("maximize", "nn_mass")
    return f"{'Most NN-Mass' if maximized == 'nn_mass' else f'Most {cost(maximized)}'}{keeping}"


def cost(name: str) -> str:
    """Return the name of a cost for people."""
    return COSTS[name].label if name in COSTS else name


def _limit(name: str, value: float) -> str:
    known = _limited(name)
    if known is not None and known.unit:
        return f"{of_limit(name, value)} of {limit_label(name)}"
    if known is None:
        return f"{limit_label(name)} {number(value)}"
    return f"{short(value)} {limit_label(name)}"


def role(name: str) -> str:
    """Return why a campaign trains a network, in words."""
    return name.replace("_", " ").replace("nn mass", "NN-Mass").replace("macs", "MACs")
