"""The training loop: against a minimal loop, against itself resumed from every state, and its failures."""

from __future__ import annotations

import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch.nn import functional  # noqa: E402

from nnmass_core.architecture import Architecture  # noqa: E402
from nnmass_core.errors import NotPossible  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.named.adaptation import Adaptation, adaptation_of, batch_sizes, trained_recipe  # noqa: E402
from nnmass_core.named.datasets import resolve_dataset  # noqa: E402
from nnmass_core.named.recipes import Recipe  # noqa: E402
from nnmass_core.nets import build  # noqa: E402
from nnmass_core.training import measure  # noqa: E402
from nnmass_core.training.data import Data, Standardize, load  # noqa: E402
from nnmass_core.training.loop import (  # noqa: E402
    Epoch,
    State,
    Training,
    batches,
    has_faulty_kernels,
    in_order,
    loader,
    make_deterministic,
    make_fabric,
    make_optimizer,
    make_schedule,
    safe_kernels,
    smallest_normalized_map,
)
from tests.nets.random_networks import FAMILIES, random_network  # noqa: E402

MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 64,
    "num_classes": 10,
    "width": 12,
    "depth": 5,
    "skip_channels": 9,
    "activation": "relu",
}
CNN: dict[str, Any] = {
    "family": "densenet_cnn",
    "input": {"channels": 1, "height": 8, "width": 8},
    "num_classes": 10,
    "cells": [{"width": 6, "depth": 4, "skip_channels": 7}],
}
ADAM = Recipe(optimizer="adam", learning_rate=1e-2, batch_size=100, epochs=3)
SGD = Recipe(
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    schedule="one_cycle",
    batch_size=128,
    epochs=2,
    augmentation="crop_flip",
    label_smoothing=0.1,
)
COSINE = replace(SGD, schedule="cosine", augmentation="none", precision="bf16-mixed")
MOBILE: dict[str, Any] = {  # has dropout
    "family": "mobilenet_v2",
    "input": {"channels": 1, "height": 8, "width": 8},
    "num_classes": 10,
    "stem_channels": 4,
    "last_channels": 16,
    "stages": [{"expansion": 2, "channels": 6, "repeats": 1, "stride": 1}],
}
ADAPTED = Adaptation(requested=SGD, recipe=replace(SGD, batch_size=72, learning_rate=0.075), images=1442)
CASES: dict[str, tuple[dict[str, Any], Recipe | Adaptation]] = {
    "adam": (MLP, ADAM),
    "one cycle, augmented": (CNN, SGD),
    "cosine, bf16": (CNN, COSINE),
    "dropout": (MOBILE, ADAM),
    "adapted": (CNN, ADAPTED),
    "validation": (CNN, replace(SGD, validation=0.2)),
    "validation, adapted": (CNN, replace(ADAPTED, recipe=replace(ADAPTED.recipe, validation=0.2), images=1153)),
}


@pytest.fixture(autouse=True)
def _deterministic() -> Any:
    make_deterministic()
    yield
    torch.use_deterministic_algorithms(mode=False)


class RecordingHost:
    """A host that keeps every state, as a file would, and asks for one in the middle of each epoch."""

    def __init__(self, middle: int | None = None) -> None:
        self.middle = middle
        self.epochs: list[Epoch] = []
        self.states: list[bytes] = []

    def on_step(self, epoch: int, step: int, steps: int) -> bool:
        return step == self.middle

    def epoch(self, done: Epoch) -> None:
        self.epochs.append(done)

    def on_checkpoint(self, state: State, epoch: int, step: int) -> None:
        file = BytesIO()
        torch.save(state, file)
        self.states.append(file.getvalue())


def data_of(architecture: Architecture) -> Data:
    return load(resolve_dataset("digits"), architecture.input_shape, architecture.num_classes, Path())


def training(definition: dict[str, Any], recipe: Recipe | Adaptation, seed: int = 0) -> Training:
    architecture = decode_architecture(definition)
    fabric = make_fabric(trained_recipe(recipe), "cpu")
    return Training(fabric, architecture, data_of(architecture), recipe, seed)


def weights(trained: Training) -> dict[str, Any]:
    return trained.module.state_dict()


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("case", CASES)
def test_a_training_resumed_from_any_state_ends_with_the_same_bits(case: str) -> None:
    whole, host = training(*CASES[case]), RecordingHost(middle=0)
    outcome = whole.run(host)
    epochs = trained_recipe(CASES[case][1]).epochs
    assert len(host.states) == 2 * epochs  # one within and one after each epoch
    for number, saved in enumerate(host.states):
        again, rest = training(*CASES[case]), RecordingHost()
        again.restore(torch.load(BytesIO(saved), weights_only=True))
        assert again.run(rest) == outcome
        assert rest.epochs == host.epochs[(number + 1) // 2 :]
        assert equal(weights(again), weights(whole))


def test_a_checkpoint_without_wiring_resumes_with_the_same_bits() -> None:
    """nnmass 0.1.0 stored checkpoints without the wiring: a training may run over an upgrade."""
    whole, host = training(MLP, ADAM), RecordingHost()
    outcome = whole.run(host)
    state = torch.load(BytesIO(host.states[0]), weights_only=True)
    module = {name: value for name, value in state["module"].items() if not name.endswith(".wiring")}
    assert len(module) < len(state["module"])
    again = training(MLP, ADAM)
    again.restore(state | {"module": module})
    assert again.run(RecordingHost()) == outcome
    assert equal(weights(again), weights(whole))


def test_a_checkpoint_of_another_wiring_is_refused() -> None:
    whole, host = training(MLP, replace(ADAM, epochs=1)), RecordingHost()
    whole.run(host)
    state = torch.load(BytesIO(host.states[0]), weights_only=True)
    other = build(decode_architecture(MLP), 1).state_dict()
    wiring = {name: value for name, value in other.items() if name.endswith(".wiring")}
    with pytest.raises(NotPossible, match="the wiring of another seed") as refused:
        training(MLP, replace(ADAM, epochs=1)).restore(state | {"module": {**state["module"], **wiring}})
    assert refused.value.code == "bad_checkpoint"


@pytest.mark.parametrize(("definition", "size"), [(MLP, 100), (CNN, 72)], ids=["mlp", "batchnorm, 20 steps"])
def test_training_gives_the_same_weights_as_a_minimal_loop(definition: dict[str, Any], size: int) -> None:
    """The same batches through a minimal loop give the same weights and statistics, bit for bit."""
    architecture, recipe = decode_architecture(definition), replace(ADAM, batch_size=size)
    ours, host = training(definition, recipe), RecordingHost()
    ours.run(host)
    data, module = data_of(architecture), build(architecture, 0).train()
    optimizer, standardize = make_optimizer(module, recipe), Standardize(data, architecture.input_shape)
    for epoch in range(recipe.epochs):
        total, hits = 0.0, 0
        for x, labels in loader(data.train, batches(batch_sizes(len(data.train), size), 0, epoch, 0, (0, 1))):
            scores = module(standardize(x))
            loss = functional.cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(labels)
            hits += int((scores.argmax(1) == labels).sum())
        assert host.epochs[epoch].train_loss == pytest.approx(total / len(data.train), rel=1e-6)
        assert host.epochs[epoch].train_accuracy == hits / len(data.train)
    assert equal(weights(ours), module.state_dict())


def test_a_training_of_enough_steps_gives_the_figures_that_it_always_gave() -> None:
    """The figures of the release before recipes were adapted; other processors round differently."""
    host = RecordingHost()
    recipe = replace(SGD, batch_size=64)
    assert adaptation_of(recipe, 1442) is None
    outcome = training(CNN, recipe).run(host)
    assert outcome.accuracy == pytest.approx(0.676, abs=0.01)
    assert outcome.test_loss == pytest.approx(0.99769, rel=1e-3)
    assert [done.train_loss for done in host.epochs] == pytest.approx([2.164747, 1.693724], rel=1e-4)


def test_an_adapted_training_is_evaluated_with_statistics_of_all_training_images() -> None:
    """Mean and variance of the first BatchNorm, computed here from its input for every image that is not augmented."""
    trained, host = training(CNN, ADAPTED), RecordingHost()
    outcome = trained.run(host)
    architecture = decode_architecture(CNN)
    data, first = data_of(architecture), trained.module.eval().get_submodule("cells.0.layers.0")
    x, _ = data.train.__getitems__(list(range(len(data.train))))
    with torch.no_grad():
        norm: Any = first.get_submodule("norm")
        values = first.get_submodule("conv")(Standardize(data, architecture.input_shape)(x))
    assert torch.allclose(norm.running_mean, values.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, values.var((0, 2, 3)), rtol=0.01)
    assert norm.momentum == 0.1
    plain = training(CNN, trained_recipe(ADAPTED)).run(RecordingHost())
    assert (outcome.accuracy, outcome.test_loss) != (plain.accuracy, plain.test_loss)


def test_statistics_computed_again_do_not_change_the_training() -> None:
    """Each epoch's training losses are those of the same recipe without new statistics: only evaluations differ."""
    hosts = [RecordingHost(), RecordingHost()]
    training(MOBILE, ADAPTED).run(hosts[0])
    training(MOBILE, trained_recipe(ADAPTED)).run(hosts[1])
    ours, plain = ([(done.train_loss, done.train_accuracy) for done in host.epochs] for host in hosts)
    assert ours == plain


def test_the_outcome_equals_an_evaluation_of_the_trained_module() -> None:
    trained, host = training(CNN, replace(SGD, epochs=1)), RecordingHost()
    outcome = trained.run(host)
    architecture = decode_architecture(CNN)
    data = data_of(architecture)
    x, labels = data.test.__getitems__(list(range(len(data.test))))
    with torch.no_grad():
        scores = trained.module.eval()(Standardize(data, architecture.input_shape)(x))
    predicted = scores.argmax(1)
    counts = [[int(((labels == t) & (predicted == p)).sum()) for p in range(10)] for t in range(10)]
    loss = float(functional.cross_entropy(scores, labels))
    assert outcome.confusion == counts
    assert outcome.accuracy == sum(counts[i][i] for i in range(10)) / len(labels)
    assert outcome.test_loss == pytest.approx(loss, rel=1e-5)
    assert (host.epochs[-1].test_accuracy, host.epochs[-1].test_loss) == (outcome.accuracy, outcome.test_loss)


def test_training_reaches_accuracy_on_real_digits() -> None:
    """A golden run: six epochs of a small network on the real digits."""
    outcome = training(MLP, replace(ADAM, epochs=6)).run(RecordingHost())
    assert outcome.accuracy == pytest.approx(0.9, abs=0.06)


@pytest.mark.parametrize("definition", [MLP, MOBILE], ids=["mlp", "dropout"])
def test_a_seed_determines_the_training_independent_of_earlier_ones(definition: dict[str, Any]) -> None:
    first, other, again = (
        training(definition, replace(ADAM, epochs=1), seed).run(RecordingHost()) for seed in (3, 4, 3)
    )
    assert first == again
    assert first != other


def test_the_loss_is_computed_in_full_precision() -> None:
    """In bfloat16 it would have 8 bits: many steps would give the very same loss, rounded."""
    losses: list[Any] = []
    trained = training(CNN, COSINE)
    trained._check = losses.append  # type: ignore[method-assign,assignment]
    trained.run(RecordingHost())
    assert {loss.dtype for loss in losses} == {torch.float32}


@pytest.mark.parametrize("rate", [100.0, 3.0])
def test_divergence_raises_and_gives_no_score(rate: float) -> None:
    wild = Recipe(optimizer="sgd", learning_rate=rate, momentum=0.99, batch_size=50, epochs=20)
    with pytest.raises(NotPossible) as refused:
        training(MLP | {"activation": "elu"}, wild).run(RecordingHost())
    assert refused.value.code == "diverged"


def test_resuming_from_the_state_of_another_training_is_refused() -> None:
    host = RecordingHost()
    training(MLP, replace(ADAM, epochs=1)).run(host)
    state = torch.load(BytesIO(host.states[0]), weights_only=True)
    same = training(MLP, replace(ADAM, epochs=1))
    with pytest.raises(NotPossible) as refused:
        same.restore(state | {"data": "sha256:of other images"})
    assert refused.value.code == "data_changed"
    for other in (training(MLP, ADAM), training(MLP, replace(ADAM, epochs=1), seed=1)):
        with pytest.raises(NotPossible) as refused:
            other.restore(state)
        assert refused.value.code == "bad_checkpoint"


def test_a_checkpoint_of_a_recipe_does_not_continue_its_adaptation() -> None:
    host = RecordingHost()
    training(CNN, trained_recipe(ADAPTED)).run(host)
    with pytest.raises(NotPossible) as refused:
        training(CNN, ADAPTED).restore(torch.load(BytesIO(host.states[0]), weights_only=True))
    assert refused.value.code == "bad_checkpoint"


POOLED = MOBILE | {"stages": [MOBILE["stages"][0] | {"channels": c, "stride": 2} for c in (6, 8)]}


@pytest.mark.parametrize(
    ("definition", "size", "refused"), [(POOLED, 1, True), (POOLED, 3, False), (MOBILE, 1, False), (MLP, 1, False)]
)
def test_a_batch_of_one_image_is_refused_where_batchnorm_sees_one_value(
    definition: dict[str, Any], size: int, *, refused: bool
) -> None:
    """1,442 images in threes leave one, which joins the batch before it."""
    recipe = replace(ADAM, batch_size=size)
    if not refused:
        training(definition, recipe)
        return
    with pytest.raises(NotPossible, match=r"recipe\.batch_size") as error:
        training(definition, recipe)
    assert error.value.code == "batch_too_small"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_smallest_normalized_map_is_that_of_the_module(family: str) -> None:
    for number in range(20):
        architecture = decode_architecture(random_network(Random(number), family))
        found = smallest_normalized_map(build(architecture, 0), architecture.input_shape)
        assert found == architecture.smallest_normalized_map()


@pytest.mark.parametrize(
    ("capability", "channels", "kernel", "stride", "faulty"),
    [
        ("AVX2", 7, 1, 2, True),
        ("DEFAULT", 4, 1, 2, True),
        ("AVX512", 7, 1, 2, False),
        ("AVX2", 8, 1, 2, False),
        ("AVX2", 7, 3, 2, False),
        ("AVX2", 7, 1, 1, False),
    ],
)
def test_narrow_shortcuts_are_trained_without_faulty_kernels(
    monkeypatch: pytest.MonkeyPatch, capability: str, channels: int, kernel: int, stride: int, *, faulty: bool
) -> None:
    """tests/jobs/test_verification_tasks.py trains such a network; with these kernels its process is aborted."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    module = torch.nn.Sequential(torch.nn.Conv2d(channels, 16, kernel, stride))
    before = torch.backends.mkldnn.enabled
    assert has_faulty_kernels(module) == faulty
    with safe_kernels(module):
        assert torch.backends.mkldnn.enabled == (before and not faulty)
    assert torch.backends.mkldnn.enabled == before


def test_half_precision_requires_a_gpu() -> None:
    with pytest.raises(NotPossible) as refused:
        make_fabric(replace(ADAM, precision="fp16-mixed"), "cpu")
    assert refused.value.code == "precision_not_supported"


@pytest.mark.parametrize(("images", "size", "processes"), [(10, 3, 1), (9, 4, 1), (1, 4, 1), (129, 64, 2), (50, 8, 2)])
def test_every_epoch_has_every_image_once_for_any_number_of_processes(images: int, size: int, processes: int) -> None:
    sizes = batch_sizes(images, size, processes)
    assert sum(sizes) == images
    assert len(sizes) == 1 or min(sizes) >= 2 * processes
    for epoch in (0, 5):
        parts = [list(batches(sizes, 7, epoch, 0, (rank, processes))) for rank in range(processes)]
        keys = sorted(key for part in parts for batch in part for key in batch)
        assert keys == list(range(epoch * images, (epoch + 1) * images))
        whole = list(batches(sizes, 7, epoch, 0, (0, 1)))
        assert list(batches(sizes, 7, epoch, 1, (0, 1))) == whole[1:]
    orders = [list(batches(sizes, 7, epoch, 0, (0, 1))) for epoch in (0, 1)]
    assert images < 3 or [k % images for b in orders[0] for k in b] != [k % images for b in orders[1] for k in b]
    tested = sorted(k for rank in range(processes) for b in in_order(images, size, (rank, processes)) for k in b)
    assert tested == list(range(images))


def test_the_learning_rate_follows_its_schedule() -> None:
    def rates(recipe: Recipe, steps: int) -> list[float]:
        optimizer = make_optimizer(torch.nn.Linear(1, 1), recipe)
        schedule = make_schedule(optimizer, recipe, steps)
        assert schedule is not None
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    cosine = rates(replace(SGD, schedule="cosine"), 50)
    assert cosine == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 50)) for step in range(50)])
    cycle = rates(SGD, 50)
    assert max(cycle) == pytest.approx(0.1)
    assert cycle.index(max(cycle)) == 14  # 30 % of the way
    assert cycle[-1] < 0.1 / 1000
    assert make_schedule(make_optimizer(torch.nn.Linear(1, 1), ADAM), ADAM, 50) is None


def test_an_epoch_reports_the_learning_rate_of_its_last_step() -> None:
    host = RecordingHost()
    training(CNN, replace(SGD, schedule="cosine", epochs=2)).run(host)
    steps = 2 * len(batch_sizes(1442, 128))
    last = [0.05 * (1 + math.cos(math.pi * step / steps)) for step in (steps // 2 - 1, steps - 1)]
    assert [done.learning_rate for done in host.epochs] == pytest.approx(last)


@pytest.mark.parametrize("definition", [MLP, CNN], ids=["mlp", "cnn"])
def test_measured_params_and_macs_equal_the_closed_form(definition: dict[str, Any]) -> None:
    architecture = decode_architecture(definition)
    counted = measure.count(build(architecture, 0), architecture.input_shape)
    assert counted == {"params": architecture.evaluation.params, "macs": architecture.evaluation.macs}


def test_latency_is_the_median_on_the_callers_clock() -> None:
    ticks = iter(range(10_000))
    found = measure.latency_ms(build(decode_architecture(MLP), 0), (64,), lambda: float(next(ticks)))
    assert (found["value"], found["low"], found["high"], found["kind"]) == (1000.0, 1000.0, 1000.0, "measured")
