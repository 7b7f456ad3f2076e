"""The training loop: one network, one recipe, one seed. It uses no database, no disk and no clock.

The caller provides callbacks. They receive every epoch, and the states from which the training can resume. On a CPU
with the same number of threads a resumed training is bit-identical to an uninterrupted one, since the order of the
images and their augmentation are functions of seed, epoch and image only. Lightning Fabric handles device placement,
mixed precision and several processes (DDP).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.utils.data import DataLoader

from nnmass_core.architecture import Architecture
from nnmass_core.errors import NotPossible
from nnmass_core.named.adaptation import Adaptation, batch_sizes, trained_recipe
from nnmass_core.named.recipes import ONE_VALUE, Recipe
from nnmass_core.nets import build
from nnmass_core.nets.concatenation import with_wiring
from nnmass_core.training.data import Data, Images, Standardize
from nnmass_core.training.validation import with_validation

# untyped: torch and Lightning leave their states untyped

LOOK_EVERY_STEPS = 20
"""Steps between progress reports and checks of the loss; each check makes a GPU wait for its queued work."""

WORST_LOSS = 100.0
"""Training diverged if an epoch's mean training loss is this many times the loss of guessing."""

TEST_BATCH = 512
PRECISIONS = {"fp32": "32-true", "fp16-mixed": "16-mixed", "bf16-mixed": "bf16-mixed"}
"""Fabric's names for a recipe's precision."""

State = dict[str, Any]
"""Everything a training is: only tensors, numbers and texts, so that `torch.load(weights_only=True)` reads it."""


@dataclass(frozen=True)
class Epoch:
    """One epoch, numbered from 1: mean losses, accuracies in [0, 1], the learning rate of its last step.

    With a validation part, the figures of the test images are None before the last epoch; without one, those of the
    validation images always are.
    """

    seed: int
    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    learning_rate: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of a training: test accuracy in [0, 1], test loss, and counts as confusion[true][predicted].

    The figures of the validation images, after the last epoch too, are None without a validation part.
    """

    accuracy: float
    test_loss: float
    confusion: list[list[int]]
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class _Evaluation:
    """Figures over some images: accuracy in [0, 1], mean loss in nats, and counts as confusion[true][predicted]."""

    accuracy: float
    loss: float
    confusion: list[list[int]]


class TrainingCallbacks(Protocol):
    """The callbacks of a training. Any of them may raise, which ends the training."""

    def on_step(self, epoch: int, step: int, steps: int) -> bool:
        """Handle the end of a step (from 0) of an epoch (from 1); return whether to save a checkpoint now."""

    def epoch(self, done: Epoch) -> None:
        """Handle a finished epoch."""

    def on_checkpoint(self, state: State, epoch: int, step: int) -> None:
        """Save a state after `epoch` finished epochs and `step` steps of the next."""


def make_fabric(recipe: Recipe, device: str, processes: int = 1) -> Fabric:
    """Return the Fabric for a training: device is `cpu`, `cuda` or `mps`; processes share each batch (DDP).

    Raises NotPossible (`precision_not_supported`).
    """
    if recipe.precision == "fp16-mixed" and device == "cpu":
        raise NotPossible("precision_not_supported", "fp16-mixed needs a GPU; bf16-mixed runs on a CPU too")
    strategy = "ddp" if processes > 1 else "auto"
    return Fabric(accelerator=device, devices=processes, strategy=strategy, precision=PRECISIONS[recipe.precision])  # type: ignore[arg-type]


def make_deterministic() -> None:
    """Make torch use deterministic kernels; where a GPU has none, torch warns and continues."""
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads memory before writing it
    torch.backends.cudnn.benchmark = False


FAULTY_BELOW = 8
"""Input channels below which oneDNN's backward pass of a 1x1 convolution with a stride is faulty."""


def has_faulty_kernels(module: nn.Module) -> bool:
    """Return whether training a module on this machine's CPU with oneDNN can corrupt memory.

    The backward pass of a 1x1 convolution with a stride writes 8 channels where the input has fewer, in the kernels
    that oneDNN of torch 2.14.1 takes on processors without AVX-512.

    Args:
        module: The module to train.
    """
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        return False
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    return any(
        layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels < FAULTY_BELOW for layer in layers
    )


@contextmanager
def safe_kernels(module: nn.Module) -> Iterator[None]:
    """Enter a context in which a module can be trained: without oneDNN where its kernels are faulty.

    Args:
        module: The module to train.
    """
    before = torch.backends.mkldnn.enabled
    setattr(torch.backends.mkldnn, "enabled", before and not has_faulty_kernels(module))  # noqa: B010 - torch types it as what stores it
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


class _Seen:
    """Losses, predictions and labels of some steps, summed at their end: each operation slows small networks down."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._predicted: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, loss: Tensor, predicted: Tensor, labels: Tensor) -> None:
        """Add one step: its mean loss, and the classes of its images."""
        self._losses.append(loss)
        self._predicted.append(predicted)
        self._labels.append(labels)

    def sums(self) -> Tensor:
        """Return sums over images, (3,), float64 on the CPU: of losses, of correct predictions, and of images."""
        if not self._losses:
            return torch.zeros(3, dtype=torch.float64)
        sizes = torch.tensor([len(labels) for labels in self._labels], dtype=torch.float64)
        loss = torch.stack(self._losses).cpu().double() @ sizes
        hits = (torch.cat(self._predicted) == torch.cat(self._labels)).sum()
        return torch.tensor([float(loss), float(hits), float(sizes.sum())], dtype=torch.float64)


class Training:
    """The training of one network with a recipe, or with a recipe that was adapted to the number of images.

    data: the images, without those that the recipe holds out for validation in `train`. Raises NotPossible:
    `batch_too_small` where BatchNorm would see one value per channel, or a process no image; `class_too_small` where
    the recipe holds out no image of a class.
    """

    def __init__(
        self, fabric: Fabric, architecture: Architecture, data: Data, recipe: Recipe | Adaptation, seed: int
    ) -> None:
        self.module = build(architecture, seed)
        self._recipe_digest, self._adapted = recipe.digest, isinstance(recipe, Adaptation)
        recipe = trained_recipe(recipe)
        self.data = data = with_validation(data, recipe.validation, seed)
        self._fabric, self._recipe, self._seed, self._data_digest = fabric, recipe, seed, data.digest
        # dropout draws from the global generator, and must not depend on earlier trainings in this process
        torch.manual_seed(seed * 1_000_003 + fabric.global_rank)
        self._train = data.train.augmented(recipe.augmentation, seed)
        self._classes = len(data.classes)
        self._standardize = Standardize(data, architecture.input_shape).to(fabric.device)
        optimizer = make_optimizer(self.module, recipe)
        self._sizes = batch_sizes(len(self._train), recipe.batch_size, fabric.world_size)
        check_batches(self.module, architecture.input_shape, min(self._sizes) // fabric.world_size)
        self._steps = len(self._sizes)
        self._schedule = make_schedule(optimizer, recipe, self._steps * recipe.epochs)
        self._network, self._optimizer = fabric.setup(self.module, optimizer)
        self._epochs_done = self._steps_done = 0
        self._sums = torch.zeros(3, dtype=torch.float64)
        self._rate = recipe.learning_rate
        self._outcome: Outcome | None = None

    def run(self, host: TrainingCallbacks) -> Outcome:
        """Train to the end. Raises NotPossible (`diverged`) when the loss diverges."""
        while self._epochs_done < self._recipe.epochs:
            loss, accuracy = self.train_epoch(host)
            validated, tested = self._evaluations()
            done = self._epochs_done = self._epochs_done + 1
            of_validation = _figures(validated)
            if tested is not None:
                self._outcome = Outcome(tested.accuracy, tested.loss, tested.confusion, *of_validation)
            host.epoch(Epoch(self._seed, done, loss, accuracy, *_figures(tested), self._rate, *of_validation))
            host.on_checkpoint(self.state(), done, 0)
        assert self._outcome is not None
        return self._outcome

    def train_epoch(self, host: TrainingCallbacks) -> tuple[float, float]:
        """Train the rest of the epoch; return its mean loss and accuracy over all processes. Raises NotPossible."""
        with safe_kernels(self.module):
            return self._train_epoch(host)

    def _train_epoch(self, host: TrainingCallbacks) -> tuple[float, float]:
        self._network.train()
        epoch, first = self._epochs_done, self._steps_done
        keys = batches(self._sizes, self._seed, epoch, first, self._share)
        seen = _Seen()
        for step, (x, labels) in enumerate(loader(self._train, keys), start=first):
            loss = self._step(x, labels, seen)
            if step % LOOK_EVERY_STEPS == 0 or step == self._steps - 1:
                self._check(loss)
                if host.on_step(epoch + 1, step, self._steps) and step < self._steps - 1:
                    self._sums, seen = self._sums + seen.sums(), _Seen()
                    self._steps_done = step + 1
                    host.on_checkpoint(self.state(), epoch, step + 1)
        sums = self._sums + seen.sums()
        self._steps_done, self._sums = 0, torch.zeros(3, dtype=torch.float64)
        return self._means(sums)

    def _step(self, x: Tensor, labels: Tensor, seen: _Seen) -> Tensor:
        x, labels = self._placed(x, labels)
        scores = self._scores(x)
        loss = functional.cross_entropy(scores, labels, label_smoothing=self._recipe.label_smoothing)
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        self._optimizer.step()
        if self._schedule is not None:
            self._rate = float(self._schedule.get_last_lr()[0])
            self._schedule.step()
        loss = loss.detach()
        seen.add(loss, scores.detach().argmax(1), labels)
        return loss

    def _scores(self, x: Tensor) -> Tensor:
        """Return the network's scores, without Fabric's wrapper if possible: only DDP needs it, and it takes time."""
        if self._fabric.world_size > 1:
            return self._network(x)  # type: ignore[no-any-return]
        with self._fabric.autocast():
            scores: Tensor = self.module(x)
        return scores.float()  # as Fabric's wrapper does: the loss needs full precision

    def _placed(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        device = self._fabric.device
        return self._standardize(x.to(device, non_blocking=True)), labels.to(device, non_blocking=True)

    def _generators(self) -> dict[str, Tensor]:
        device = self._fabric.device
        there = {"cpu": torch.get_rng_state()}
        return there | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})

    def _restore_generators(self, generators: dict[str, Tensor]) -> None:
        torch.set_rng_state(generators["cpu"])
        if self._fabric.device.type == "cuda" and "cuda" in generators:
            torch.cuda.set_rng_state(generators["cuda"], self._fabric.device)

    def _over_all_processes(self, sums: Tensor) -> Tensor:
        whole = self._fabric.all_reduce(sums.to(self._sums_device, copy=True), reduce_op="sum")  # works in place
        assert isinstance(whole, Tensor)
        return whole.cpu()

    def _means(self, sums: Tensor) -> tuple[float, float]:
        loss, hits, images = self._over_all_processes(sums).tolist()
        mean = loss / images
        if not mean < WORST_LOSS * math.log(max(2, self._classes)):
            raise NotPossible("diverged", f"the mean training loss of epoch {self._epochs_done + 1} is {mean:.3g}")
        return mean, hits / images

    @property
    def _sums_device(self) -> torch.device:
        # NCCL reduces only tensors on its GPU; MPS has no doubles
        return self._fabric.device if self._fabric.device.type == "cuda" else torch.device("cpu")

    def _check(self, loss: Tensor) -> None:
        if not math.isfinite(float(loss)):
            raise NotPossible("diverged", f"the training loss of epoch {self._epochs_done + 1} is {float(loss)}")

    @property
    def _share(self) -> tuple[int, int]:
        return self._fabric.global_rank, self._fabric.world_size

    def _evaluations(self) -> tuple[_Evaluation | None, _Evaluation | None]:
        """Return the figures of this epoch over the validation images and over the test images.

        With a validation part the test images are read only after the last epoch, so that nothing is chosen by them.
        """
        self.module.eval()
        if self._adapted and self._fabric.is_global_zero:
            self._recompute_statistics()
        self._share_statistics()
        held_out, is_last = self.data.validation, self._epochs_done + 1 == self._recipe.epochs
        validated = None if held_out is None else self._evaluate(held_out, "validation")
        return validated, self._evaluate(self.data.test, "test") if held_out is None or is_last else None

    def _evaluate(self, images: Images, name: str) -> _Evaluation:
        pairs, total = torch.zeros(self._classes**2, dtype=torch.int64), torch.zeros(())
        keys = in_order(len(images), TEST_BATCH, self._share)
        # the plain module: DDP's would wait at every batch for the other processes, which may have fewer batches
        with torch.no_grad(), self._fabric.autocast():
            for batch in loader(images, keys):
                x, labels = self._placed(*batch)
                scores = self.module(x).float()
                pair = labels * self._classes + scores.argmax(1)
                pairs += torch.bincount(pair.cpu(), minlength=self._classes**2)
                total += functional.cross_entropy(scores, labels).cpu() * len(labels)
        counts = self._over_all_processes(pairs).reshape(self._classes, self._classes)
        loss = float(self._over_all_processes(total) / counts.sum())
        if not math.isfinite(loss):
            raise NotPossible("diverged", f"the {name} loss of epoch {self._epochs_done + 1} is {loss}")
        return _Evaluation(int(counts.trace()) / int(counts.sum()), loss, counts.tolist())

    def _recompute_statistics(self) -> None:
        """Set the running statistics of BatchNorm to means over all training images, which are not augmented.

        They are a moving average over the last batches, which after few steps, or in small batches, is far from the
        statistics of the images under the present weights. Training itself does not use them.
        """
        norms = [module for module in self.module.modules() if isinstance(module, _BatchNorm) and is_tracking(module)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
        seen = 0
        images = self.data.train
        sizes = batch_sizes(len(images), TEST_BATCH)
        keys = (batch.tolist() for batch in torch.arange(len(images)).split(sizes))
        with torch.no_grad(), self._fabric.autocast():
            for batch in loader(images, keys) if norms else ():
                x, _ = self._placed(*batch)
                seen += len(x)
                for norm in norms:
                    norm.momentum = len(x) / seen  # which makes the moving average a mean over all images so far
                self.module(x)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum

    def _share_statistics(self) -> None:
        """Give every process the running statistics of the first process, which are the ones that are saved."""
        if self._fabric.world_size > 1:
            for buffer in self.module.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def state(self) -> State:
        """Return everything that a training needs to resume from here."""
        return {
            "seed": self._seed,
            "recipe": self._recipe_digest,
            "data": self._data_digest,
            "epochs_done": self._epochs_done,
            "steps_done": self._steps_done,
            "sums": self._over_all_processes(self._sums),
            "module": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict() if self._schedule is not None else {},
            "precision": self._fabric.strategy.precision.state_dict(),
            "generators": self._generators(),
            "outcome": None if self._outcome is None else _written(self._outcome),
        }

    def restore(self, state: State) -> None:
        """Resume from a state of the same training.

        Raises NotPossible for a state of another training (`bad_checkpoint`) or of other images (`data_changed`).
        """
        if (state["seed"], state["recipe"]) != (self._seed, self._recipe_digest):
            raise NotPossible("bad_checkpoint", "the checkpoint belongs to another training")
        check_data(state["data"], self._data_digest)
        try:
            self.module.load_state_dict(with_wiring(state["module"], self.module))  # the seeds are equal
        except RuntimeError as error:
            raise NotPossible("bad_checkpoint", f"the checkpoint does not fit the network: {error}") from error
        self._optimizer.load_state_dict(state["optimizer"])
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])
        self._fabric.strategy.precision.load_state_dict(state["precision"])
        if self._fabric.world_size == 1:  # the saved states are the first process's; each process draws its own numbers
            self._restore_generators(state["generators"])
        self._epochs_done, self._steps_done = state["epochs_done"], state["steps_done"]
        self._sums = state["sums"] if self._fabric.is_global_zero else torch.zeros(3, dtype=torch.float64)
        self._outcome = None if state["outcome"] is None else Outcome(**state["outcome"])


def _figures(evaluation: _Evaluation | None) -> tuple[float | None, float | None]:
    """Return loss and accuracy of an evaluation, or None for both where there is none."""
    return (None, None) if evaluation is None else (evaluation.loss, evaluation.accuracy)


def _written(outcome: Outcome) -> State:
    """Return an outcome for a state; without a validation part it has the form of releases that knew none."""
    return {name: value for name, value in vars(outcome).items() if value is not None}


def make_optimizer(module: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimizer, which updates all parameters together."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return SGD(module.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=decay, fused=True)
    kind = {"adam": Adam, "adamw": AdamW}[recipe.optimizer]
    return kind(module.parameters(), lr=rate, weight_decay=decay, fused=True)


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler | None:
    """Return the learning rate schedule for this number of steps; None for a constant rate."""
    if recipe.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    if recipe.schedule == "one_cycle":
        return OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, cycle_momentum=False)
    return None


def is_tracking(norm: _BatchNorm) -> bool:
    """Return whether a BatchNorm has running statistics, which it uses in evaluation."""
    return norm.track_running_stats and norm.running_mean is not None


def check_batches(module: nn.Module, shape: tuple[int, ...], smallest: int) -> None:
    """Check that a module can be trained on its smallest part of a batch, given as the number of images.

    shape: of one input. Raises NotPossible (`batch_too_small`) for a part without an image, and for one image where a
    BatchNorm would see one value per channel: the normalized value would be 0 for every image.
    """
    if smallest < 1:
        message = "recipe.batch_size must be at least the number of processes that share a batch"
        raise NotPossible("batch_too_small", message)
    if smallest == 1 and smallest_normalized_map(module, shape) == 1:
        of_maps = " at the network's 1x1 feature maps" if len(shape) == 3 else ""
        message = f"recipe.batch_size must be at least 2 for each process: {ONE_VALUE}{of_maps}"
        raise NotPossible("batch_too_small", message)


def smallest_normalized_map(module: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return the positions of the smallest feature map that BatchNorm normalizes; None without BatchNorm.

    shape: of one input.
    """
    positions: list[int] = []
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]

    def note(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        positions.append(given[0][0, 0].numel())

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    was_training = module.training
    with torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    module.train(was_training)
    for hook in hooks:
        hook.remove()
    return min(positions, default=None)


def batches(sizes: list[int], seed: int, epoch: int, first: int, share: tuple[int, int]) -> Iterator[list[int]]:
    """Yield the keys of an epoch's batches from the step `first` on, in the order given by seed and epoch.

    A key is epoch * images + index (see Images). share: (index of this process, number of processes); each process gets
    its part of a batch.
    """
    images, (rank, world) = sum(sizes), share
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    keys = torch.randperm(images, generator=generator) + epoch * images
    for batch in keys.split(sizes)[first:]:
        yield batch[rank::world].tolist()


def in_order(images: int, size: int, share: tuple[int, int]) -> Iterator[list[int]]:
    """Yield the keys of all images in their order, this process's part of them."""
    rank, world = share
    for batch in torch.arange(images)[rank::world].split(size):
        yield batch.tolist()


def loader(images: Images, keys: Iterator[list[int]]) -> DataLoader[Any]:
    """Return batches of (images, labels) for lists of keys. Images on disk are read by separate processes."""
    return DataLoader(
        images,
        batch_sampler=list(keys),  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        num_workers=images.reading_processes,
        generator=torch.Generator(),  # each start draws from a generator, and the global one belongs to dropout
    )


def check_data(known: str | None, digest: str) -> None:
    """Refuse to resume with other images than at the start. Raises NotPossible (`data_changed`)."""
    if known not in (None, digest):
        message = "the dataset has changed since this training started; start a new training or restore the old images"
        raise NotPossible("data_changed", message)


def _as_it_is(batch: Any) -> Any:
    return batch
