"""The figures of the worked examples of docs/theory.md, by equation, computed by the product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from nnmass_core import mass
from nnmass_core.architecture import Architecture, Image
from nnmass_core.budget import Budget, least_mass_of, most_mass_of
from nnmass_core.campaigns.fit import left_out
from nnmass_core.campaigns.pool import Score
from nnmass_core.certificate import Certificate
from nnmass_core.codec import JsonObject, decode
from nnmass_core.engine.bounds import Layer, Prices, layer, price
from nnmass_core.engine.chain import Chain
from nnmass_core.engine.completions import Completions
from nnmass_core.engine.fronts.optima import lines
from nnmass_core.engine.problem import RANKING, Key, column_of, maximize, minimize
from nnmass_core.engine.sums.reach import Reach
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.families.concatenation import resolutions
from nnmass_core.hardware.devices import Device
from nnmass_core.hardware.fitting import error_of, least_squares
from nnmass_core.hardware.latency import LatencyModel, estimate
from nnmass_core.named.compression import compression_space, limits_of_ratio, uniform
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import resolve_space, resolve_spaces
from nnmass_core.named.scaling import around
from nnmass_core.named.spending import Spend
from nnmass_core.request import Maximize, Minimize, Pareto, SearchRequest
from nnmass_core.search import chain_for, chain_of, search
from nnmass_core.spaces.base import Space
from nnmass_core.spaces.kept import Kept
from nnmass_core.spaces.structure import Structure
from nnmass_core.wiring import draw_wiring
from tests.core.residual_problems import choices
from tests.networks import AROUND_MOBILENET
from tests.parsed import parsed

Figures = dict[str, str]
"""Names and values as the page writes them."""

W, D, T = 16, 8, 30
"""The cell of most examples."""

CIFAR = {"channels": 3, "height": 32, "width": 32}


def written(value: float | Fraction) -> str:
    """Return a figure as the page writes it: with commas, and at most six digits unless it is an integer."""
    return f"{value:,}" if isinstance(value, int) else f"{float(value):,.6g}"


def figures(**values: float | Fraction) -> Figures:
    return {name: written(value) for name, value in values.items()}


def densenet(*cells: tuple[int, int, int], family: str = "densenet_cnn") -> Architecture:
    keys = ("width", "depth", "skip_channels")
    parts = [dict(zip(keys, cell, strict=True)) for cell in cells]
    return decode_architecture({"family": family, "input": CIFAR, "num_classes": 10, "cells": parts})


def mlp(**changes: Any) -> Architecture:
    form = {"in_features": 784, "num_classes": 10, "width": 8, "depth": 16, "skip_channels": 12, "activation": "relu"}
    return decode_architecture({"family": "densenet_mlp", **form, **changes})


def wide_resnet() -> Architecture:
    """Return WRN-28-10."""
    stages = [{"channels": channels, "repeats": 4} for channels in (160, 320, 640)]
    return decode_architecture({"family": "wide_resnet_cifar", "input": CIFAR, "num_classes": 10, "stages": stages})


OPTIMUM = ((16, 7, 76), (48, 5, 140), (112, 4, 216))
"""The cells of the network that the search of docs/benchmarks.md finds."""


def costs_by_cell(network: Architecture) -> Figures:
    parts, whole = network.evaluation.parts, network.evaluation
    by_cell = {f"{name} of cell {n}": getattr(p, name) for n, p in enumerate(parts, 1) for name in ("params", "macs")}
    head = {f"{name} of the head": getattr(whole, name) - sum(getattr(p, name) for p in parts) for name in COSTS}
    return figures(**by_cell, **head, params=whole.params, macs=whole.macs)


COSTS = ("params", "macs")


def costs(network: Architecture) -> Figures:
    return figures(**{name: getattr(network.evaluation, name) for name in COSTS})


def costs_of_first_stage(network: Architecture) -> Figures:
    first = network.evaluation.parts[0]
    return figures(**{f"{name} of stage 1": getattr(first, name) for name in COSTS}) | costs(network)


def steps(network: Architecture, *names: str) -> Figures:
    """Return the live elements of some steps, and the network's peak."""
    elements = {step.name: step.peak_elements for step in network.evaluation.steps}
    return figures(**{name: elements[name] for name in names}, peak=network.evaluation.peak_elements)


def basic_blocks_of_wrn() -> Figures:
    """Return the live elements of the first two stages of a narrow WRN of one block a stage, and its peak."""
    stages = [{"channels": channels, "repeats": 1} for channels in (64, 128, 256)]
    form = {"family": "wide_resnet_cifar", "input": CIFAR, "num_classes": 10, "stages": stages}
    found = steps(decode_architecture(form), "stage 1, block 1", "stage 2, block 1")
    return {f"WRN: {name}": value for name, value in found.items()}


def gated_block() -> Architecture:
    """Return a network of one inverted residual with squeeze-and-excitation on maps of 1 x 1."""
    stage = {"expansion": 6, "channels": 16, "repeats": 1, "stride": 1, "kernel": 5, "se": 4}
    image = {"channels": 3, "height": 2, "width": 2}
    form = {"family": "mobilenet_v2", "input": image, "num_classes": 10, "stem_channels": 16, "last_channels": 64}
    return decode_architecture(form | {"stages": [stage]})


def chains() -> Figures:
    """Return the costs and the peaks of two of MLPerf Tiny's networks."""
    first, second = (named_network(f"mlperf-tiny-{name}") for name in ("vww", "kws"))
    spoken = costs(second) | figures(peak=second.evaluation.peak_elements)
    of_second = {f"{name} of mlperf-tiny-kws": value for name, value in spoken.items()}
    return costs(first) | figures(peak=first.evaluation.peak_elements) | of_second


def all_figures(name: str) -> Figures:
    """Return costs, peak and NN-Mass of a named network."""
    found = named_network(name).evaluation
    return costs(named_network(name)) | figures(peak=found.peak_elements, m=found.mass)


def signals() -> Figures:
    """Return the figures of networks of a signal, with plain and with depthwise convolutions."""
    plain, depthwise = (
        decode_architecture(
            {
                "family": family,
                "input": {"channels": 6, "height": 1, "width": 128},
                "num_classes": 6,
                "cells": [{"width": w, "depth": d, "skip_channels": t} for w, d, t in ((16, 8, 30), (32, 6, 40))],
            }
        )
        for family in ("densenet_cnn", "densenet_cnn_depthwise")
    )
    figures_of_plain = costs(plain) | figures(peak=plain.evaluation.peak_elements, m=plain.evaluation.mass)
    return figures_of_plain | {f"{name} of depthwise": value for name, value in costs(depthwise).items()}


def fitted_score() -> Figures:
    """Return the scores of two options."""
    score = Score(np.array([3e-6, 0.0, 0.02]), np.array([1.5]), 1e-4)
    first, second = score.of(np.array([[8714.0, 8584, 25], [610, 600, 0]]), np.log([[3.0], [1.0]])).tolist()
    return figures(**{"score of the first": first, "score of the second": second})


def left_out_results() -> Figures:
    """Return the leave-one-out errors of a process with given hyperparameters."""
    kernel = Matern(1.0, nu=2.5) + WhiteKernel(0.01)
    process = GaussianProcessRegressor(kernel, optimizer=None).fit(np.array([[0.0], [1], [2]]), np.array([-1, 0.5, 1]))
    errors, deviations = left_out(process)
    return figures(
        **{
            "error of the first": errors[0],
            "error of the last": errors[2],
            "deviation of the second": deviations[1],
        }
    )


def several_cells_of_an_mlp() -> Figures:
    """Return the figures of MLPerf Tiny's autoencoder, and of the same with skip connections."""
    form = parsed(named_network("mlperf-tiny-ad").definition())
    form["later_cells"][-1]["skip_channels"] = 32
    more = decode_architecture(form | {"skip_channels": 32})
    found = costs(more) | figures(peak=more.evaluation.peak_elements, m=more.evaluation.mass)
    return all_figures("mlperf-tiny-ad") | {f"{name} with skips": value for name, value in found.items()}


def multiplied_stages() -> Figures:
    mobilenet = named_network("mobilenet_v2")
    (scaled,) = around(mobilenet, ["resolution", "expansion", "kernel", "proportions"], 0.75, 1).spaces
    own = around(mobilenet, ["resolution", "stem", "expansion", "kernel"], [0.5, 0.75, 1], [1, 2])
    return figures(params=search(SearchRequest(space=scaled, budget=Budget())).ranking[0].evaluation.params) | figures(
        networks=own.spaces[0].chain().count()
    )


def proportional_networks() -> Figures:
    (cell,) = around(densenet((16, 13, 40)), width=1.5, depth=1.5).spaces
    made = parsed(search(SearchRequest(space=cell, budget=Budget())).ranking[0].architecture.definition())["cells"][0]
    sizes = {"width": made["width"], "depth": made["depth"], "skip channels": made["skip_channels"]}
    return figures(
        **sizes,
        **{"density before": mass.density(16, 13, 40), "density": mass.density(*sizes.values())},
        networks=around(named_network("mobilenet_v2")).spaces[0].chain().count(),
    )


def dense_blocks() -> Figures:
    """Return the figures of two DenseNets."""
    first = costs_of_first_stage(named_network("densenet121"))
    others = {f"{figure} of densenet40_k12": value for figure, value in all_figures("densenet40_k12").items()}
    return first | all_figures("densenet121") | others


def convnext_tiny() -> Figures:
    first, networks = costs_of_first_stage(named_network("convnext_tiny")), resolve_space("convnext-imagenet").chain()
    return first | all_figures("convnext_tiny") | figures(networks=networks.count())


def nodes_of_dense_blocks() -> Figures:
    chain = resolve_space("densenet-bc-cifar").chain()
    nodes = {f"nodes before block {number}": chain.nodes[number] for number in (1, 2, 3)}
    return figures(networks=chain.count(), **nodes, options=chain.options())


def small_images() -> Figures:
    """Return the figures of three networks for images of 32 x 32."""
    others = {name: all_figures(name) for name in ("resnet18_cifar", "mlperf-tiny-resnet8")}
    named = {f"{figure} of {name}": value for name, found in others.items() for figure, value in found.items()}
    return all_figures("resnet20") | named


def ends() -> Figures:
    names = ("resnet18", "mobilenet_v2")
    networks = {name: named_network(name) for name in names} | {"WRN": wide_resnet()}
    named = ((name, step) for name, network in networks.items() for step in network.evaluation.steps)
    return figures(**{f"{step.name} of {n}": step.peak_elements for n, step in named if step.name in ("stem", "head")})


def inverted(expansion: int, channels: int, stride: int) -> Fraction:
    """Return the NN-Mass of one inverted residual that 24 channels enter."""
    stage = {"expansion": expansion, "channels": channels, "repeats": 1, "stride": stride}
    form = {"family": "mobilenet_v2", "input": CIFAR, "num_classes": 10, "stem_channels": 24, "last_channels": 64}
    return decode_architecture(form | {"stages": [stage]}).evaluation.mass


def ranked_pair() -> Figures:
    shallow, deep = (densenet(*2 * [cell]).evaluation for cell in ((16, 8, 80), (16, 16, 64)))
    assert shallow.mass == deep.mass
    assert [key.sign for key in RANKING] == [1, -1, -1]
    return figures(m=shallow.mass) | figures(
        **{"macs of the first": shallow.macs, "macs of the second": deep.macs},
    )


def wiring_example() -> Figures:
    (cell,) = draw_wiring(mlp(width=2, depth=5, skip_channels=3), 0).cells
    return {f"layer {j}": str(list(taken)) for j, taken in enumerate(cell) if j >= 2}


def isometry() -> Figures:
    import torch
    from torch import nn

    from nnmass_core.training.spectrum import dense_spectrum

    linear = nn.Linear(2, 2).requires_grad_(requires_grad=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    found: dict[str, float] = {}
    for name, activation in (("ReLU", nn.ReLU()), ("ELU", nn.ELU())):
        spectrum = dense_spectrum(nn.Sequential(activation, linear), torch.tensor([[1.0, -1.0]]))
        found |= {f"mean with {name}": spectrum.mean, f"standard deviation with {name}": spectrum.std}
    return figures(**found)


def latency_model() -> LatencyModel:
    """Return a profile with round prices."""
    operators = [
        {"kind": "linear", "call": 1000.0, "mac": 2.0},
        {"kind": "activate", "call": 300.0, "written": 1.0},
        {"kind": "send", "call": 400.0, "piece": 50.0},
        {"kind": "concatenate", "call": 500.0, "piece": 50.0},
    ]
    held_out = {"networks": 40, "families": 3, "median_error": 0.1, "band_low": 0.8, "band_high": 1.3, "coverage": 0.9}
    return decode(LatencyModel, {"runtime": "example", "threads": 1, "operators": operators, "held_out": held_out})


def latency() -> Figures:
    network = mlp(in_features=4, num_classes=3, width=5, depth=4, skip_channels=5)
    work = network.work()
    assert work is not None
    model = latency_model()
    by_kind: dict[str, int] = {}
    for operators in (each for part in work for each in part):
        by_kind[operators.kind] = by_kind.get(operators.kind, 0) + model.nanoseconds((operators,))
    far = tuple(replace(one, off_chip=2.0 * (one.kind == "activate")) for one in model.operators)
    activations = [each for part in work for each in part if each.kind == "activate"]
    off_chip = sum(replace(model, operators=far, on_chip_elements=5).nanoseconds((each,)) for each in activations)
    total = estimate(model, "example", work).nanoseconds
    return figures(**by_kind, total=total, **{"activate off the chip": off_chip})


def skip_operators() -> Figures:
    work = densenet((W, D, T)).work()
    assert work is not None
    send, join = (next(each for part in work for each in part if each.kind == kind) for kind in ("send", "concatenate"))
    assert (send.calls, send.pieces) == (join.calls, join.pieces)
    return figures(calls=send.calls, sent=send.read, joined=join.read, pieces=send.pieces)


def band() -> Figures:
    network = mlp(in_features=4, num_classes=3, width=5, depth=4, skip_channels=5)
    found = parsed(estimate(latency_model(), "example", network.work() or ()).to_json())
    return figures(low_ms=found["low_ms"], high_ms=found["high_ms"])


def gap() -> Figures:
    certificate = Certificate(
        count=1,
        optimal=False,
        objective_value=800.0,
        bound=820.0,
        best_nn_mass=800.0,
        upper_bound=820.0,
        space_size=1,
        feasible=True,
        binding=None,
        relaxation=None,
        caveats=(),
        labels=0,
        pruned=0,
    )
    assert certificate.gap is not None
    return figures(gap=certificate.gap)


def caveats() -> Figures:
    ranges = {"cells": 1, "width": [16, 32], "depth": 8, "skip_channels": [0, 30, 500]}
    space = decode_space({"family": "densenet_cnn", "input": CIFAR, "num_classes": 10, **ranges})
    return {"caveats": ", ".join(search(SearchRequest(space=space, budget=Budget())).certificate.caveats)}


def joint_relaxation() -> Figures:
    budget = Budget(max_params=78_666, max_macs=12_500_000)
    found = search(SearchRequest(space=resolve_space("densenet-cifar"), budget=budget)).certificate.joint_relaxation
    assert found is not None
    assert found.factor is not None
    assert found.limits is not None
    return figures(factor=found.factor, **{name: int(limit) for name, limit in found.limits.items()})


def priced_cell() -> tuple[Space, Chain, list[Layer], Prices]:
    """Return the space of one cell, and the prices that bound it within 90,000 params."""
    ranges = {"cells": 1, "width": W, "depth": D, "skip_channels": [0, T, 96]}
    space = decode_space({"family": "densenet_cnn", "input": CIFAR, "num_classes": 10, **ranges})
    chain = space.chain()
    layers = [
        layer(s, column_of(s, maximize("nn_mass")), -column_of(s, minimize("params"))[:, None]) for s in chain.stages
    ]
    return space, chain, layers, price(layers, chain.nodes, np.array([90_000.0]), np.array([0.0026]))


def bound_on_a_shape() -> Figures:
    limit = Budget(max_params=90_000)
    space, _, _, prices = priced_cell()
    found: dict[str, float | Fraction] = {}
    for one in reversed(search(SearchRequest(space=space, budget=Budget())).ranking):
        skips = parsed(one.architecture.definition())["cells"][0]["skip_channels"]
        found |= {f"m at {skips}": one.evaluation.mass, f"params at {skips}": one.evaluation.params}
    best = search(SearchRequest(space=space, budget=limit, diversity="shape")).ranking[0].evaluation.mass
    return figures(**found, bound=prices.bound, best=best)


def best_completion() -> Figures:
    _, chain, layers, prices = priced_cell()
    budget = np.array([90_000.0])
    completions = Completions(layers, chain.nodes, budget, prices, 0.0)
    use, start = layers[0].use, prices.priced(layers)[0] + prices.constant
    reached = completions.reachable(1, layers[0].target, start, use)
    assert reached is not None
    left = int(budget[0] - use[0, 0])
    found = {"params of the start": int(use[0, 0]), "params left": left, "bound": float(reached[0])}
    return figures(**found, **{"bound of (38)": prices.bound})


def least_peak() -> Figures:
    asked = partial(SearchRequest, space=resolve_space("densenet-tiny-free"), budget=Budget(max_params=200_000))
    ranking = search(asked(objective=Minimize("peak_activation_bytes", 192.0))).ranking
    points = search(asked(objective=Pareto(("peak_activation_bytes",)))).ranking
    named = {"first": ranking[0], "second": ranking[1], "lowest": points[0]}
    found: dict[str, float | Fraction] = {"points": len(points)}
    for name, one in named.items():
        found |= {f"peak of the {name}": one.evaluation.peak_elements, f"m of the {name}": one.evaluation.mass}
    return figures(**found)


def overlapping_stages() -> Figures:
    stage = {"expansion": 2, "channels": 8, "repeats": [1, 2], "stride": 1}
    small = AROUND_MOBILENET | {"stages": [stage, stage]}
    ranking = search(SearchRequest(space=decode_space(small), budget=Budget())).ranking
    budget = Budget(max_params=2_300_000, max_macs=200_000_000)
    best = search(SearchRequest(space=decode_space(AROUND_MOBILENET), budget=budget)).certificate
    blocks = sorted(parsed(one.architecture.definition())["stages"][0]["repeats"] for one in ranking)
    sizes = {"choices": choices(small), "space_size": len(ranking)}
    around = {
        "choices around MobileNetV2": choices(AROUND_MOBILENET),
        "networks around MobileNetV2": best.space_size or 0,
    }
    return figures(**sizes, **around, **{"m of the best": best.best_nn_mass or 0}) | {"n": ", ".join(map(str, blocks))}


def front_by_labels() -> Figures:
    asked = partial(SearchRequest, space=resolve_space("densenet-tiny-free"), budget=Budget(max_params=200_000))
    in_two = search(asked(objective=Pareto(("params", "macs")))).ranking
    in_params = search(asked(objective=Pareto(("params",)))).ranking
    best = max(in_two, key=lambda one: one.evaluation.mass)
    found: dict[str, float | Fraction] = {
        "points in params": len(in_params),
        "points in params and MACs": len(in_two),
        "m of the best": best.evaluation.mass,
        "params of the best": best.evaluation.params,
        "MACs of the best": best.evaluation.macs,
    }
    return figures(**found)


def front_without_its_best() -> Figures:
    objective, budget = Pareto(("params",)), Budget(max_params=200_000)
    asked = partial(SearchRequest, space=resolve_space("densenet-tiny-free"), budget=budget, objective=objective)
    whole = search(asked()).ranking
    rest = search(asked(exclude=(whole[-1].architecture,))).ranking
    masses = {"m of the best": whole[-1].evaluation.mass, "m without the best": rest[-1].evaluation.mass}
    return figures(**{"points": len(whole), "points without the best": len(rest)}, **masses)


def lines_of_a_grid() -> Figures:
    found = {r: lines(1, 1000, r) for r in (0, 3, 5)}
    counts = {f"lines[{r}]": len(found[r]) for r in (0, 3)}
    return figures(**counts, **{f"widest gap of lines[{r}]": int(np.diff(found[r]).max()) for r in (3, 5)})


def limits_on_mass() -> Figures:
    m = Fraction(14, 3)
    x = float(m)
    distances = {"x - m": Fraction(x) - m, "m - least(x)": m - least_mass_of(x), "most(x) - m": most_mass_of(x) - m}
    return {"m": str(m)} | figures(**distances)


def spending_a_share() -> Figures:
    space, budget = resolve_space("densenet-tiny-free"), Budget(max_params=100_000)
    plain = search(SearchRequest(space=space, budget=budget, top_k=1))
    found = search(SearchRequest(space=space, budget=budget, top_k=1, spend=Spend("macs", 0.95)))
    spent = found.certificate.spent
    assert spent is not None
    best, without = (result.ranking[0].evaluation.mass for result in (found, plain))
    return figures(
        most=int(spent.most), least=int(spent.least), **{"m of the best": best, "m without the share": without}
    )


def limits_of_a_reference() -> Figures:
    named: JsonObject = {"within": "mlperf-tiny-resnet8", "ratio": {"macs": 0.55}}
    asked = [SearchRequest.from_json({"budget": named | more}) for more in ({}, {"precision": "int8"})]
    (params, macs, weights, peak), (*_, small) = (dict(one.budget.bounds).values() for one in asked)
    return figures(
        params=params,
        macs=macs,
        **{"weight bytes": weights, "peak bytes": peak, "peak bytes at int8": small},
    )


def several_devices() -> Figures:
    model = latency_model()
    operators = tuple(replace(one, call=one.call / 2, mac=9 * one.mac) for one in model.operators)
    devices = [
        Device(name, "", None, None, "", "", times)
        for name, times in (("first", model), ("second", replace(model, operators=operators)))
    ]
    ranges = {"width": {"min": 2, "max": 8}, "depth": {"min": 3, "max": 9}, "skip_channels": {"min": 0, "max": 8}}
    form = {"family": "densenet_mlp", "in_features": 4, "num_classes": 3, "activation": "relu", **ranges}
    budget = Budget(devices=devices, max_latency_ms=0.008)
    request = SearchRequest(space=decode_space(form), budget=budget, top_k=1)
    best = search(request).ranking[0]
    on = {one.device: one.nanoseconds for one in request.latencies_of(best.architecture)}
    tight = replace(request, budget=Budget(devices=devices, max_latency_ms=0.001))
    least = search(tight).certificate.relaxation
    assert best.latency is not None
    assert least is not None
    return figures(**on, t=best.latency.nanoseconds, least=round(1e6 * (least["max_latency_ms"] or 0)))


def structures() -> Figures:
    space = resolve_space("densenet-tiny-free")
    found = {"all": chain_for(space, Budget(), ()).count()}
    for name, rule in (("widths", "equal"), ("widths", "never_fall"), ("density", "equal"), ("skip_channels", "equal")):
        kept = chain_for(space, Budget(), (), Structure(**{name: rule}))
        found[f"{name} {rule}"] = kept.count()
    return figures(**found)


def shares_of_a_reference() -> Figures:
    reference = named_network("mobilenet_v2")
    space = decode_space(reference.space_around())
    kept, plain = (
        search(SearchRequest(space=space, budget=Budget(), objective=objective, top_k=1)).ranking[0].evaluation
        for objective in (
            Minimize("macs", reference=reference, kept=Kept(0.8, 0.95)),
            Minimize("macs", reference=reference),
        )
    )
    pairs = zip(kept.parts, reference.evaluation.parts, strict=True)
    found: dict[str, float | Fraction] = {
        "fewest MACs": kept.macs,
        "m": kept.mass,
        "least share of a stage": min(own.mass / part.mass for own, part in pairs if part.mass),
        "params": kept.params,
        "fewest MACs at its NN-Mass": plain.macs,
    }
    return figures(**found)


def share_of_a_reference() -> Figures:
    reference = named_network("mobilenet_v2")
    limits = limits_of_ratio(reference, {"macs": 0.5})
    found = uniform(reference, limits)
    assert found is not None
    space = compression_space(reference, {"macs": 0.5})
    form = {"space": space, "objective": {"maximize": "nn_mass", "reference": "mobilenet_v2", "ratio": 0.5}}
    answer = search(SearchRequest.from_json(form | {"structure": {"widths": "never_fall"}, "top_k": 1}))
    best, size = answer.ranking[0].evaluation, answer.certificate.space_size
    assert size is not None
    costs: dict[str, float | Fraction] = {"limit": limits["macs"], "a": found[0], "networks": size}
    costs |= {"macs of N(a)": found[1].evaluation.macs, "macs of the best": best.macs, "m of the best": best.mass}
    return figures(**costs)


def sums_close_to_a_limit() -> Figures:
    space = resolve_space("densenet-tiny-free")
    chain = chain_of(space)
    reach = Reach(chain, Key(chain.quantities.index("macs"), 1))
    best = search(most_macs_of(space)).ranking[0].evaluation
    return figures(
        divisor=reach.divisor,
        **{
            "remainders before the first stage": reach.remainders,
            "first sum that may occur": reach.value(reach.first(reach.distance(30_000_000))),
            "MACs of the best": best.macs,
        },
    )


def most_macs_of(space: Space) -> SearchRequest:
    return SearchRequest(space=space, budget=Budget(max_macs=30_000_000), objective=Maximize("macs"), top_k=1)


def bound_by_what_must_follow() -> Figures:
    best = search(most_macs_of(resolve_space("densenet-tiny-free"))).ranking[0].evaluation
    return figures(**{"m of the best": best.mass})


def sums_of_fractions() -> Figures:
    chain = chain_of(resolve_space("densenet-cifar-free"))
    reach = Reach(chain, RANKING[0])
    remainders = max(len(set((own % reach.ending_divisor).tolist())) for own in reach.distances)
    return figures(D=chain.common_denominator, divisor=reach.ending_divisor, **{"remainders of a cell": remainders})


def left_out_stages() -> Figures:
    image = {"channels": 3, "height": 224, "width": 224}
    base = {"family": "resnet", "input": image, "num_classes": 1000, "block": "basic"}
    small = base | {"stages": [{"channels": 8, "repeats": [0, 1]}] * 3}
    widths = [{"min": c // 2, "max": 3 * c // 2, "step": c // 8} for c in (64, 128, 256, 512)]
    around = base | {"stages": [{"channels": each, "repeats": {"min": 0, "max": 4}} for each in widths]}
    of_around = {
        "choices around ResNet-18": choices(around),
        "networks around ResNet-18": decode_space(around).chain().count(),
    }
    return figures(choices=choices(small), space_size=decode_space(small).chain().count(), **of_around)


def numbers_of_cells() -> Figures:
    tiny = resolve_space("densenet-tiny-free").to_json()
    sizes = {f"networks of {m}": decode_space(tiny | {"cells": m}).chain().count() for m in (1, 2, 3)}
    return figures(**sizes, space_size=decode_space(tiny | {"cells": [1, 2, 3]}).chain().count())


def several_resolutions() -> Figures:
    tiny = resolve_space("resnet-tiny-free").to_json()
    spaces = [decode_space(tiny | {"input": {"channels": 3, "resolution": sides}}) for sides in ([64], [48, 64, 80])]
    one, several = (
        search(SearchRequest(space=space, budget=Budget(max_params=500_000, max_macs=50_000_000), top_k=1))
        for space in spaces
    )
    best = several.ranking[0]
    return {"side of the best": str(best.architecture.input_shape[1])} | figures(
        **{"networks of 64": one.certificate.space_size or 0, "space_size": several.certificate.space_size or 0},
        **{"m of the best": best.evaluation.mass, "m at 64": one.ranking[0].evaluation.mass},
    )


def several_spaces() -> Figures:
    budget = Budget(max_params=200_000, max_macs=20_000_000)
    spaces = resolve_spaces(["resnet-tiny-free", "mobilenet-v2-tiny-free"])
    answer = search(SearchRequest(space=spaces, budget=budget, top_k=5))
    first, second = (share.bound for share in answer.certificate.spaces)
    assert first is not None
    assert second is not None
    tiny = resolve_space("densenet-tiny-free").to_json()
    narrow, wide, both = (
        tiny | {"width": {"min": low, "max": high, "step": 8}} for low, high in ((8, 32), (24, 64), (24, 32))
    )
    either = search(SearchRequest(space=resolve_spaces([narrow, wide]), budget=Budget(), top_k=1)).certificate
    size, size_of_either = answer.certificate.space_size, either.space_size
    assert size is not None
    assert size_of_either is not None
    return figures(
        **{"space_size": size, "networks of either": size_of_either},
        **{"networks of both": decode_space(both).chain().count()},
    ) | figures(
        **{"m of the best": answer.ranking[0].evaluation.mass},
        **{"bound of the first": first, "bound of the second": second},
    )


def fitted_profile() -> Figures:
    (price,) = least_squares(np.array([[1.0], [2.0], [4.0]]), np.array([3.0, 5.0, 10.0])).tolist()
    found = error_of(np.ones(99), np.arange(51, 150) / 100, 1)
    return figures(c=price, low=found.band_low, high=found.band_high, coverage=found.coverage)


def limit_on_density() -> Figures:
    space = resolve_space("densenet-tiny-free")
    plain, within = (
        search(SearchRequest(space=space, budget=Budget(max_params=100_000, max_density=most), top_k=1))
        for most in (None, 0.75)
    )
    return figures(**{"m": plain.ranking[0].evaluation.mass, "m within": within.ranking[0].evaluation.mass})


def depth() -> Figures:
    named = {name: named_network(name).evaluation.depth for name in ("resnet18", "resnet50", "mobilenet_v2")}
    space = resolve_space("densenet-tiny-free")
    budgets = Budget(max_params=100_000), Budget(max_params=100_000, max_depth=10)
    best = (search(SearchRequest(space=space, budget=budget, top_k=1)).ranking[0] for budget in budgets)
    first, second = (one.evaluation for one in best)
    return figures(
        **{"benchmark network": densenet(*OPTIMUM).evaluation.depth},
        **named,
        WRN=wide_resnet().evaluation.depth,
        m=first.mass,
        depth=first.depth,
        **{"m within": second.mass},
    )


def one_memory() -> Figures:
    space = resolve_space("densenet-tiny-free")
    best, none = (search(SearchRequest(space=space, budget=Budget(max_memory_bytes=size))) for size in (500_000, 1))
    evaluation = best.ranking[0].evaluation
    report, relaxation = evaluation.report("fp32"), none.certificate.relaxation or {}
    return figures(
        **{"m of the best": evaluation.mass},
        weights=report["weight_bytes"],
        activations=report["peak_activation_bytes"],
        least=int(relaxation["max_memory_bytes"] or 0),
    )


PER_WIDTH = ("resnet18", "mobilenet_v2", "densenet121", "mlperf-tiny-vww")
"""Named networks of families whose width is not that of a cell."""

EXAMPLES: dict[int, Callable[[], Figures]] = {
    1: lambda: {f"L_{j}": str(mass.layer_links(W, j, T)) for j in range(5)},
    2: lambda: figures(t=mass.canonical_skip_channels(W, D, 500)),
    3: lambda: figures(S=mass.links(W, D, T)),
    4: lambda: figures(rho=mass.density(W, D, T)),
    5: lambda: figures(**{"m of the cell": mass.mass(W, D, T), "m of the network": densenet(*OPTIMUM).evaluation.mass}),
    6: lambda: figures(k_hat=mass.average_degree(W, D, T)),
    7: lambda: figures(m=Fraction(*mass.basic_block_terms(64, 128))),
    8: lambda: figures(m=Fraction(*mass.bottleneck_terms(256, 64))),
    9: lambda: figures(**{"m with stride 1": inverted(6, 24, 1), "m with stride 2": inverted(6, 24, 2)}),
    10: lambda: figures(
        **{name: named_network(name).evaluation.mass for name in ("resnet18", "resnet50", "mobilenet_v2")},
        WRN=wide_resnet().evaluation.mass,
    ),
    11: ranked_pair,
    12: lambda: {
        f"cell {n}": f"{h} x {w}" for n, (h, w) in enumerate(resolutions(Image(channels=1, height=28, width=33), 3), 1)
    },
    13: lambda: costs_by_cell(densenet(*OPTIMUM)),
    14: lambda: costs_by_cell(densenet(*OPTIMUM, family="densenet_cnn_depthwise")),
    15: lambda: costs(mlp()),
    16: lambda: costs_of_first_stage(named_network("resnet18")),
    17: lambda: costs_of_first_stage(named_network("resnet50")),
    18: lambda: costs_of_first_stage(wide_resnet()),
    19: lambda: {
        **costs_of_first_stage(named_network("mobilenet_v2")),
        **{f"its {name}": value for name, value in costs_of_first_stage(named_network("efficientnet_b0")).items()},
    },
    20: lambda: figures(
        **{f"weight_bytes at {p}": densenet(*OPTIMUM).evaluation.report(p)["weight_bytes"] for p in ("fp32", "int8")}
    ),
    21: lambda: figures(
        **{"I of the cell": mass.sampled_links(W, D, T), "I of the network": densenet(*OPTIMUM).evaluation.indices}
    ),
    22: lambda: figures(
        peak=densenet(*OPTIMUM).evaluation.peak_elements,
        peak_activation_bytes=densenet(*OPTIMUM).evaluation.report("fp32")["peak_activation_bytes"],
    ),
    23: lambda: steps(densenet(*OPTIMUM), "cell 1, first layer", "cell 1, other layers", "cell 2, first layer", "head"),
    24: lambda: steps(densenet(*OPTIMUM, family="densenet_cnn_depthwise"), "cell 2, first layer"),
    25: lambda: figures(**{f"peak with {n} features": mlp(in_features=n).evaluation.peak_elements for n in (16, 784)}),
    26: lambda: steps(named_network("resnet18"), "stage 1, block 1", "stage 2, block 1") | basic_blocks_of_wrn(),
    27: lambda: steps(named_network("resnet50"), "stage 1, block 1", "stage 1, block 2"),
    28: lambda: {
        **steps(named_network("mobilenet_v2"), "stage 1, block 1", "stage 2, block 1", "stage 2, block 2"),
        "with a gate": steps(gated_block(), "stage 1, block 1")["stage 1, block 1"],
    },
    29: ends,
    30: wiring_example,
    31: isometry,
    32: latency,
    33: skip_operators,
    34: band,
    35: gap,
    36: caveats,
    37: joint_relaxation,
    38: bound_on_a_shape,
    39: least_peak,
    40: overlapping_stages,
    41: front_by_labels,
    83: front_without_its_best,
    50: limits_on_mass,
    51: spending_a_share,
    89: limits_of_a_reference,
    52: sums_close_to_a_limit,
    53: bound_by_what_must_follow,
    54: limit_on_density,
    57: best_completion,
    60: several_devices,
    61: structures,
    92: shares_of_a_reference,
    93: share_of_a_reference,
    67: left_out_stages,
    68: numbers_of_cells,
    65: lines_of_a_grid,
    69: depth,
    71: one_memory,
    70: lambda: figures(
        **{f"bytes for {n}": densenet(*OPTIMUM).evaluation.report("int8", n)["peak_activation_bytes"] for n in (1, 8)}
    ),
    75: several_resolutions,
    76: several_spaces,
    78: fitted_profile,
    80: chains,
    81: sums_of_fractions,
    85: small_images,
    86: lambda: all_figures("regnet_x_400mf"),
    90: multiplied_stages,
    91: proportional_networks,
    94: dense_blocks,
    95: nodes_of_dense_blocks,
    96: several_cells_of_an_mlp,
    97: signals,
    98: fitted_score,
    99: left_out_results,
    100: lambda: (
        figures(densenet_cnn=densenet(*OPTIMUM).evaluation.mass_per_width)
        | figures(**{name: named_network(name).evaluation.mass_per_width for name in PER_WIDTH})
    ),
    101: convnext_tiny,
}
