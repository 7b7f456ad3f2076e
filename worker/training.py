"""Training in the process with torch: seeds one after another, checkpoints on disk, everything else as events.

Events in addition to those of worker/child.py: `adaptation` (how the recipe is adapted to few images, or null),
`epoch` (figures of one epoch), `checkpoint` (a file from which the training can resume), `seed` (a seed's outcome and
its files). Files are complete on disk before their event is sent.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nnmass.torch_process.protocol import carry_out, reserve_stdout, send_event, start_log
from nnmass_core import __version__
from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject, decode
from nnmass_core.errors import NotPossible
from nnmass_core.export.artifacts import ARTIFACTS
from nnmass_core.export.deployment import USUAL, Trained, metadata_file
from nnmass_core.export.pytorch_source import artifact_without_torch
from nnmass_core.export.torch_files import about_module, write, write_module
from nnmass_core.families import decode_architecture
from nnmass_core.named.adaptation import Adaptation, adaptation_of, batch_sizes, trained_recipe
from nnmass_core.named.datasets import resolve_dataset
from nnmass_core.named.recipes import Recipe
from nnmass_core.nets import build
from nnmass_core.training import measure
from nnmass_core.training.data import Data, load
from nnmass_core.training.layout import counted, joined
from nnmass_core.training.loop import (
    Epoch,
    Outcome,
    State,
    Training,
    check_data,
    make_deterministic,
    make_fabric,
)
from nnmass_core.training.validation import held_out

# untyped: the worker's order is parsed JSON, which Order.from_json reads

PROGRESS_EVERY_SECONDS = 0.5
SendEvent = Callable[..., None]

SMALL = {
    "family": "densenet_cnn",
    "input": {"channels": 1, "height": 4, "width": 4},
    "num_classes": 2,
    "cells": [{"width": 2, "depth": 4, "skip_channels": 2}],
}

log = logging.getLogger("nnmass.training")


@dataclass(frozen=True)
class Order:
    """What to train, where to store checkpoints, and from which of them to resume.

    adapt: whether the recipe is adapted to few images.

    finished: seeds that an earlier attempt completed, on images of `data_digest`.

    resume: checkpoints by seed, newest first: `file` (a name in the folder), `sha256`, `size`, `epoch`, `step`. attempt
    is part of new files' names, so that a process presumed dead cannot overwrite those of its successor.
    """

    architecture: Architecture
    data: JsonObject
    recipe: Recipe
    adapt: bool
    seeds: list[int]
    finished: list[int]
    data_digest: str | None
    resume: list[dict[str, Any]]
    folder: Path
    data_root: Path
    fence: int
    device: str
    processes: int
    checkpoint_seconds: float
    artifacts: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, order: dict[str, Any]) -> Order:
        """Read the order that a worker wrote."""
        return cls(
            architecture=decode_architecture(order["architecture"]),
            data=order["dataset"],
            recipe=decode(Recipe, order["recipe"]),
            adapt=order["adapt"],
            seeds=order["seeds"],
            finished=order["finished"],
            data_digest=order["data_digest"],
            resume=order["resume"],
            folder=Path(order["folder"]),
            data_root=Path(order["data_root"]),
            fence=order["fence"],
            device=device_of(order["device"]),
            processes=order["processes"],
            checkpoint_seconds=order["checkpoint_seconds"],
            artifacts=order["artifacts"],
        )


def device_of(wanted: str) -> str:
    """Return the device to train on: CUDA before MPS before CPU unless one is named. Raises NotPossible."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, available in there.items() if available)
    if not there[wanted]:
        raise NotPossible("device_missing", f"the worker has no {wanted} device")
    return wanted


def prepare() -> None:
    """Load more of what trainings need into a process from which they are forked, without threads or a CUDA context.

    The exporter of torch loads most of itself when it writes its first ONNX file, so a small one is written. Where
    there are GPUs it would make a context on one, and each training loads the exporter itself.
    """
    torch.set_num_threads(1)
    if _cuda_in_fork():
        return
    try:
        with TemporaryDirectory(prefix="nnmass-") as folder:
            write(decode_architecture(SMALL), 0, "onnx", Path(folder) / "small.onnx")
    except Exception:  # a training that needs the exporter reports its error, and others do not need it
        log.exception("the exporter of ONNX files could not be loaded")


def _cuda_in_fork() -> bool:
    """Return whether there is a CUDA device; a forked process looks, since one that has looked must not be forked."""
    pid = os.fork()
    if pid == 0:
        there = True
        try:
            there = torch.cuda.is_available()
        finally:
            os._exit(there)
    return os.waitpid(pid, 0)[1] != 0


def train(order: dict[str, Any], send_event: SendEvent) -> None:
    """Carry out an order, in as many processes as it requests."""
    wanted = Order.from_json(order)
    if wanted.processes > 1:
        _launch(order, wanted.processes)
    else:
        train_here(wanted, send_event)


def _launch(order: dict[str, Any], processes: int) -> None:
    """Start the processes as torchrun does; the first of them sends the events."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        run_id=uuid4().hex,
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        start_method="spawn",
    )
    elastic_launch(config, train_rank)(order, os.getpid())


def train_rank(order: dict[str, Any], launcher: int) -> None:
    """Run one of several processes that train together; it ends with the process that launched it."""
    from app.processes.parent_watch import watch_parent

    watch_parent(launcher)
    reserve_stdout()
    start_log()

    def train_our_part(order: dict[str, Any]) -> None:
        train_here(Order.from_json(order), send_event)

    if not carry_out(train_our_part, order):
        sys.exit(1)


def train_here(order: Order, send_event: SendEvent) -> None:
    """Train in this process, which may be one of several. Raises NotPossible."""
    make_deterministic()
    fabric = make_fabric(order.recipe, order.device, order.processes)
    fabric.launch()
    if not fabric.is_global_zero:
        send_event = _silent
    send_event("progress", fraction=0.0, message="reading the dataset")
    shape, classes = order.architecture.input_shape, order.architecture.num_classes
    data = load(resolve_dataset(order.data), shape, classes, order.data_root, _reading(send_event))
    held = held_out(data, order.recipe.validation)
    if fabric.is_global_zero:
        for line in described(data, held):
            log.info("%s", line)
    check_data(order.data_digest, data.digest)
    adaptation = adaptation_of(order.recipe, len(data.train) - held) if order.adapt else None
    send_event("adaptation", adaptation=None if adaptation is None else adaptation.to_json())
    recipe = adaptation or order.recipe
    for seed in order.seeds:
        if seed not in order.finished:
            _Run(order, fabric, data, recipe, seed, send_event).run()
    send_event("done", result=_figures(order, fabric, data, held, adaptation))


def _reading(send_event: SendEvent) -> Callable[[int, int], None]:
    """Return what reports, at most twice a second, how many files have been read."""
    reported = time.monotonic()

    def progress(done: int, files: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= PROGRESS_EVERY_SECONDS:
            reported = time.monotonic()
            send_event("progress", fraction=0.0, message=f"reading the dataset: {done:,} of {files:,} files")

    return progress


def described(data: Data, held: int) -> Iterator[str]:
    """Yield what was read, line by line; `held` of the training images are held out for validation."""
    train, test = counted(len(data.train), "training image"), counted(len(data.test), "test image")
    yield f"read {train} and {test} of the classes {joined(data.classes)}"
    if held:
        yield f"hold out {counted(held, 'training image')} for validation"
    yield from data.found.lines()


def figures_of(done: Epoch) -> Iterator[str]:
    """Yield the loss and the accuracy of an epoch on each part of the images on which they were measured."""
    for name in ("train", "validation", "test"):
        loss, accuracy = getattr(done, f"{name}_loss"), getattr(done, f"{name}_accuracy")
        if loss is not None:
            yield f"{name} loss {loss:.4f} accuracy {accuracy:.4f}"


def _silent(event: str, **fields: Any) -> None:
    """Send no event: the first process sends them for all."""


@dataclass(frozen=True)
class _Made:
    """A training that has ended, and the files that are written so far, by their kinds."""

    training: Training
    outcome: Outcome
    files: dict[str, JsonObject]

    @property
    def state(self) -> dict[str, Tensor]:
        return {name: tensor.cpu() for name, tensor in self.training.module.state_dict().items()}


class _Run:
    """The training of one seed: the callbacks of the loop."""

    def __init__(
        self,
        order: Order,
        fabric: Fabric,
        data: Data,
        recipe: Recipe | Adaptation,
        seed: int,
        send_event: SendEvent,
    ) -> None:
        self._order, self._fabric, self._seed, self._send_event = order, fabric, seed, send_event
        self._training = Training(fabric, order.architecture, data, recipe, seed)
        self._data, self._epochs = self._training.data, trained_recipe(recipe).epochs
        self._images = len(self._data.train)
        self._steps = len(batch_sizes(self._images, trained_recipe(recipe).batch_size, fabric.world_size))
        self._reported = self._kept = self._epoch_started = time.monotonic()
        self._first_step = 0
        self._seconds_an_epoch = 0.0

    def run(self) -> None:
        """Train from the newest intact checkpoint, and write the results."""
        self._resume()
        outcome = self._training.run(self)
        if self._fabric.is_global_zero:
            self._finish(outcome)

    def _resume(self) -> None:
        for known in self._order.resume:
            if known["seed"] == self._seed:
                state = read_checkpoint(self._order.folder / known["file"], known["sha256"])
                if state is not None:
                    self._training.restore(state)
                    self._first_step = state["steps_done"]
                    log.info("seed %d resumes at epoch %d, step %d", self._seed, known["epoch"], known["step"])
                    return
                log.warning("checkpoint %s is missing or damaged; trying the previous one", known["file"])

    # The loop's callbacks

    def on_step(self, epoch: int, step: int, steps: int) -> bool:
        """Report progress, at most twice a second."""
        now = time.monotonic()
        if now - self._reported >= PROGRESS_EVERY_SECONDS:
            self._reported = now
            self._progress(epoch - 1, step + 1, steps, now)
        return self._agreed(due=now - self._kept >= self._order.checkpoint_seconds)

    def _agreed(self, *, due: bool) -> bool:
        """Return the first process's decision: all processes save a checkpoint, or none."""
        return bool(self._fabric.broadcast(due)) if self._fabric.world_size > 1 else due

    def epoch(self, done: Epoch) -> None:
        """Send a finished epoch."""
        now = time.monotonic()
        # an epoch that was resumed in its middle was only partly timed
        share = 1 - self._first_step / self._steps
        seconds = self._seconds_an_epoch = (now - self._epoch_started) / share
        rate = self._images / seconds
        self._epoch_started, self._first_step = now, 0
        if not self._fabric.is_global_zero:
            return
        self._progress(done.epoch, 0, 1, now)
        self._send_event("epoch", **vars(done), seconds=seconds, images_per_second=rate)
        place = f"seed {done.seed}, epoch {done.epoch} of {self._epochs}"
        log.info("%s: %s, %.0f images/s", place, ", ".join(figures_of(done)), rate)

    def on_checkpoint(self, state: State, epoch: int, step: int) -> None:
        """Write a checkpoint."""
        if self._fabric.is_global_zero:
            name = f"seed{self._seed}-epoch{epoch:05d}-step{step:07d}-fence{self._order.fence}.pt"
            sha256, size = write_whole(self._order.folder / name, _bytes_of(state))
            self._send_event("checkpoint", seed=self._seed, epoch=epoch, step=step, file=name, sha256=sha256, size=size)
        self._kept = time.monotonic()

    def _progress(self, epochs: int, step: int, steps: int, now: float) -> None:
        """Report that `epochs` epochs are done, and `step` of `steps` steps of the next."""
        order = self._order
        seeds_done = order.seeds.index(self._seed)
        done = epochs + step / steps
        epoch = min(epochs + 1, self._epochs)
        taken = (step - self._first_step) / steps
        if taken > 0:
            self._seconds_an_epoch = (now - self._epoch_started) / taken
        pace: dict[str, float] = {}
        if self._seconds_an_epoch:
            left = (len(order.seeds) - seeds_done) * self._epochs - done
            pace["images_per_second"] = self._images / self._seconds_an_epoch
            pace["seconds_left"] = left * self._seconds_an_epoch
        fraction = (seeds_done + done / self._epochs) / len(order.seeds)
        place = f"seed {seeds_done + 1} of {len(order.seeds)}, epoch {epoch} of {self._epochs}"
        self._send_event("progress", fraction=fraction, message=place, seed=self._seed, epoch=epoch, **pace)

    def _finish(self, outcome: Outcome) -> None:
        make = {
            "weights": self._weights,
            "source": self._text,
            "definition": self._text,
            "onnx": self._onnx,
            "metadata": self._metadata,
        }
        files: dict[str, JsonObject] = {}
        for kind, content_of in make.items():
            if kind in self._order.artifacts:
                files[kind] = self._file(kind, content_of(_Made(self._training, outcome, files), kind))
        self._send_event(
            "seed", seed=self._seed, data_digest=self._data.digest, **vars(outcome), files=[*files.values()]
        )

    def _weights(self, made: _Made, _: str) -> bytes:
        return _bytes_of(made.state)

    def _text(self, _: _Made, kind: str) -> bytes:
        return artifact_without_torch(self._order.architecture, kind, self._seed)

    def _onnx(self, made: _Made, _: str) -> bytes:
        self._send_event("progress", fraction=self._fraction_done(), message=f"writing seed {self._seed} as ONNX")
        path = self._order.folder / f"export-fence{self._order.fence}.onnx"
        module = self._module(made)
        write_module(module, self._order.architecture.input_shape, "onnx", path, self._about(made, module))
        content = path.read_bytes()
        path.unlink()
        return content

    def _metadata(self, made: _Made, _: str) -> bytes:
        return metadata_file(self._about(made, self._module(made)))

    def _module(self, made: _Made) -> nn.Module:
        module = build(self._order.architecture, self._seed)  # on the CPU, so that the files can be read everywhere
        module.load_state_dict(made.state)
        return module

    def _about(self, made: _Made, module: nn.Module) -> JsonObject:
        data, weights = self._data, made.files.get("weights")
        shape, kind = data.train.shape, data.train.kind
        trained = Trained(
            mean=data.mean,
            std=data.std,
            image=(shape[0], shape[1], shape[2]) if len(shape) == 3 else None,
            pixels=kind == torch.uint8,
            classes=data.classes,
            accuracy=made.outcome.accuracy,
            test_inputs=len(data.test),
            validation_accuracy=made.outcome.validation_accuracy,
            validation_inputs=None if data.validation is None else len(data.validation),
            dataset=resolve_dataset(self._order.data).to_json(),
            data_digest=data.digest,
            weights_file=None if weights is None else {name: str(weights[name]) for name in ("name", "sha256")},
        )
        return about_module(self._order.architecture, self._seed, module, USUAL, trained)

    def _fraction_done(self) -> float:
        return (self._order.seeds.index(self._seed) + 1) / len(self._order.seeds)

    def _file(self, kind: str, content: bytes) -> JsonObject:
        name = ARTIFACTS[kind].name(self._seed)
        path = self._order.folder / f"fence{self._order.fence}-{name}"
        sha256, size = write_whole(path, content)
        media_type = ARTIFACTS[kind].media_type
        return {"name": name, "media_type": media_type, "file": path.name, "sha256": sha256, "size": size}


def _bytes_of(state: Any) -> bytes:
    buffer = BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> tuple[str, int]:
    """Write a file atomically: it exists completely or not at all. Return its SHA-256 and size.

    Raises the OSError of a full disk.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    return hashlib.sha256(content).hexdigest(), len(content)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: Path, sha256: str) -> State | None:
    """Return a state if its file is intact, else None."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    state: State = torch.load(BytesIO(content), weights_only=True, map_location="cpu")
    return state


def _figures(order: Order, fabric: Fabric, data: Data, held: int, adaptation: Adaptation | None) -> JsonObject:
    """Return what a reader needs, in addition to the accuracies, to judge and repeat the run.

    held: how many of the training images are held out for validation.
    """
    module = build(order.architecture, order.seeds[0])
    shape = order.architecture.input_shape
    counted = measure.count(module, shape)
    latency = measure.latency_ms(module.to(fabric.device), shape, time.perf_counter)
    return {
        "measured": {**counted, "latency_ms": latency | {"device": device_name(fabric)}},
        "device": device_name(fabric),
        "processes": order.processes,
        "threads": torch.get_num_threads(),
        "data": {
            "train": len(data.train) - held,
            "validation": held,
            "test": len(data.test),
            "classes": list(data.classes),
            "digest": data.digest,
            **data.found.to_json(),
        },
        "adaptation": None if adaptation is None else adaptation.to_json(),
        "versions": versions(),
    }


def device_name(fabric: Fabric) -> str:
    """Return the device's name for people."""
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    return f"{fabric.device.type} ({_processor()})"


def _processor() -> str:
    """Return the processor's name where the system provides it."""
    try:
        lines: Iterable[str] = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = ()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions that can change a training's figures."""
    packages = ("torch", "torchvision", "lightning-fabric", "numpy")
    installed = {name: metadata.version(name) for name in packages}
    return {"nnmass": __version__, "python": platform.python_version(), **installed}
