"""The validation part: which images it has, what is trained and measured without and with it, and its errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch.nn import functional  # noqa: E402

from nnmass_core.errors import NotPossible  # noqa: E402
from nnmass_core.families import decode_architecture  # noqa: E402
from nnmass_core.named.recipes import Recipe  # noqa: E402
from nnmass_core.training import folders  # noqa: E402
from nnmass_core.training.data import Data, Standardize  # noqa: E402
from nnmass_core.training.images import Images, held  # noqa: E402
from nnmass_core.training.loop import Training, make_fabric  # noqa: E402
from nnmass_core.training.validation import held_out, with_validation  # noqa: E402
from tests.nets.folder_files import packed, read, write  # noqa: E402
from tests.nets.test_training import (  # noqa: E402
    ADAM,
    CNN,
    MLP,
    RecordingHost,
    _deterministic,
    data_of,
    equal,
    training,
    weights,
)

__all__ = ["_deterministic"]

HELD_OUT = replace(ADAM, validation=0.2)


def numbered(counts: list[int]) -> Data:
    """Return a data set whose gray images have one pixel, the number of the image; classes take turns."""
    labels = torch.tensor([label for place in range(max(counts)) for label, n in enumerate(counts) if place < n])
    images = torch.arange(len(labels)).to(torch.uint8).reshape(-1, 1, 1, 1)
    return held((images, labels), (images[:1], labels[:1]), [f"class{label}" for label in range(len(counts))])


def numbers(images: Images | None) -> list[int]:
    assert images is not None
    pixels, _ = images.__getitems__(list(range(len(images))))
    return [int(pixel) for pixel in pixels.flatten()]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_share_of_each_class_is_held_out(share: float) -> None:
    data, counts = numbered([40, 9, 101]), [40, 9, 101]
    divided = with_validation(data, share, 3)
    assert divided.validation is not None
    assert torch.bincount(divided.validation.labels).tolist() == [round(n * share) for n in counts]
    assert sorted(numbers(divided.train) + numbers(divided.validation)) == list(range(150)), "each image once"
    assert held_out(data, share) == len(divided.validation)
    for images in (divided.train, divided.validation):
        assert images.labels.tolist() == [int(data.train.labels[number]) for number in numbers(images)]


def test_the_seed_alone_draws_the_images() -> None:
    data = numbered([100, 100])
    first = numbers(with_validation(data, 0.2, 0).validation)
    assert numbers(with_validation(data, 0.2, 0).validation) == first
    assert numbers(with_validation(data, 0.2, 1).validation) != first
    assert with_validation(data, 0.0, 0) is data
    torch.manual_seed(5)  # nothing is drawn from the global generator, on which dropout depends
    before = torch.get_rng_state()
    with_validation(data, 0.2, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert abs(sum(first) / len(first) - 99.5) < 25, "not the first or the last images"


def test_the_part_does_not_depend_on_the_network() -> None:
    parts = [training(network, HELD_OUT, 4).data.validation for network in (MLP, CNN)]
    assert parts[0] is not None
    assert parts[1] is not None
    x, y = (part.__getitems__(list(range(len(part))))[0] for part in parts if part is not None)
    assert torch.equal(x, y)


def test_mean_and_deviation_are_of_the_images_that_are_trained_on() -> None:
    divided = with_validation(numbered([40, 60]), 0.3, 1)
    shades = torch.tensor(numbers(divided.train)).double() / 255
    assert divided.mean == pytest.approx([float(shades.mean())])
    assert divided.std == pytest.approx([float(shades.std(correction=0))])
    assert divided.digest == numbered([40, 60]).digest, "of all images"


def test_images_on_disk_are_held_out_as_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    files = {
        f"{part}/{name}/{i:02}.png": packed(Image.new("L", (6, 4), 9 * i + shift))
        for part in ("train", "test", "valid")
        for shift, name in enumerate(("cat", "dog"))
        for i in range(20)
    }
    write(tmp_path / "set", files)
    in_memory = with_validation(read(tmp_path), 0.2, 0)
    monkeypatch.setattr(folders, "LARGEST_HELD_BYTES", 0)
    on_disk = with_validation(read(tmp_path), 0.2, 0)
    assert on_disk.train.reading_processes
    assert (in_memory.mean, in_memory.std) == (on_disk.mean, on_disk.std)
    for name in ("train", "validation"):
        assert numbers(getattr(in_memory, name)) == numbers(getattr(on_disk, name))
    assert (len(in_memory.train), len(in_memory.test)) == (32, 40)
    (left,) = in_memory.found.left_out  # a folder's own part is not used: the share is of the folder for training
    assert (left.reason, left.count) == ("images in valid/, which are not used", 40)


def test_a_training_with_a_part_is_the_training_on_the_rest() -> None:
    """The same weights as without a share on a data set that has only the other images."""
    ours, host = training(MLP, HELD_OUT), RecordingHost()
    outcome = ours.run(host)
    architecture = decode_architecture(MLP)
    rest = replace(with_validation(data_of(architecture), 0.2, 0), validation=None)
    plain, other = Training(make_fabric(ADAM, "cpu"), architecture, rest, ADAM, 0), RecordingHost()
    alone = plain.run(other)
    assert equal(weights(ours), weights(plain))
    assert (outcome.accuracy, outcome.test_loss, outcome.confusion) == (
        alone.accuracy,
        alone.test_loss,
        alone.confusion,
    )
    losses = [[(done.train_loss, done.train_accuracy) for done in one.epochs] for one in (host, other)]
    assert losses[0] == losses[1]
    assert alone.validation_accuracy is None


def test_the_test_images_are_read_once_after_the_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    for recipe, times in ((HELD_OUT, 1), (ADAM, ADAM.epochs)):
        trained, host = training(MLP, recipe), RecordingHost()
        read_at: list[int] = []
        pixels = trained.data.test.pixels
        at = pixels.at

        def note(indices: list[int], at: Any = at, read_at: Any = read_at, host: Any = host) -> Any:
            read_at.append(len(host.epochs))
            return at(indices)

        monkeypatch.setattr(pixels, "at", note)
        outcome = trained.run(host)
        assert sorted(set(read_at)) == list(range(ADAM.epochs))[-times:]
        tested = [done.test_accuracy for done in host.epochs]
        assert tested[-times:] == [value for value in tested if value is not None]
        assert tested[-1] == outcome.accuracy
        validated = [done.validation_accuracy for done in host.epochs]
        assert (None in validated) == (recipe is ADAM)
        assert validated[-1] == outcome.validation_accuracy


def test_validation_figures_are_those_of_the_module_on_the_images_held_out() -> None:
    trained, host = training(CNN, replace(HELD_OUT, epochs=1)), RecordingHost()
    outcome = trained.run(host)
    part = trained.data.validation
    assert part is not None
    x, labels = part.__getitems__(list(range(len(part))))
    with torch.no_grad():
        scores = trained.module.eval()(Standardize(trained.data, (1, 8, 8))(x))
    assert outcome.validation_accuracy == int((scores.argmax(1) == labels).sum()) / len(labels)
    assert outcome.validation_loss == pytest.approx(float(functional.cross_entropy(scores, labels)), rel=1e-5)
    (done,) = host.epochs
    assert (done.validation_accuracy, done.validation_loss) == (outcome.validation_accuracy, outcome.validation_loss)


@pytest.mark.parametrize(("counts", "share"), [([40, 1], 0.5), ([40, 4], 0.1), ([400, 40], 0.01)])
def test_a_class_with_too_few_images_is_named(counts: list[int], share: float) -> None:
    for call in (lambda: held_out(numbered(counts), share), lambda: with_validation(numbered(counts), share, 0)):
        with pytest.raises(
            NotPossible, match=f"^recipe.validation of {share:g} holds out no image of the class class1, "
        ) as refused:
            call()
        assert refused.value.code == "class_too_small"
        assert f"which has {counts[1]} training image" in str(refused.value)


def test_a_class_without_any_image_is_no_reason_to_refuse() -> None:
    """Random labels may leave a class out."""
    data = numbered([20, 0, 20])
    assert len(with_validation(data, 0.1, 0).train) == 36


def test_a_recipe_with_a_part_needs_the_data_set_as_a_whole() -> None:
    recipe = Recipe(optimizer="adam", learning_rate=1e-2, batch_size=100, epochs=1, validation=0.25)
    trained = training(MLP, recipe)
    assert trained.data.validation is not None
    assert len(trained.data.train) + len(trained.data.validation) == 1442
