"""Inputs of public reports on which the product was wrong, from `../shared/cases/public`, each with its right value."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from typer.testing import CliRunner

from nnmass.cli import app
from nnmass_core.budget import Budget
from nnmass_core.families import decode_architecture
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from tests.conftest import SQLITE
from worker import search_tasks, train_tasks
from worker.process import Context

CASES = Path(__file__).parents[1] / "../shared/cases/public"
PETS = ("cat", "dog")

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared inputs are not next to this checkout")
on_sqlite = pytest.mark.parametrize("backend", [SQLITE], indirect=True)
"""For what does not depend on the database."""


def given(name: str) -> Any:
    return json.loads((CASES / name).read_text())


# weights-and-source.json, check_weights.py


def source_module(source: str) -> Any:
    """Return the network of an exported PyTorch file."""
    names: dict[str, Any] = {}
    exec(compile(source, "network.py", "exec"), names)
    return names["build"]()


@on_sqlite
def test_trained_weights_fit_the_source_of_their_training_and_no_other(client: TestClient, worker: Context) -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")
    datasets = pytest.importorskip("sklearn.datasets", reason="the images come with scikit-learn")
    training = client.post("/v1/verifications", json=given("weights-and-source.json")).json()
    assert train_tasks.run_next(worker)
    done = client.get(f"/v1/verifications/{training['id']}").json()
    assert done["status"] == "succeeded", done["error"]
    files = {item["name"]: item["location"] for item in done["artifacts"]}
    weights = torch.load(io.BytesIO(client.get(files["weights-seed1.pt"]).content), weights_only=True)
    untrained = client.get(f"/v1/architectures/{done['arch_id']}/export", params={"format": "pytorch"}).text
    with pytest.raises(RuntimeError, match="the wiring of another seed"):
        source_module(untrained).load_state_dict(weights)  # it reported success, and the accuracy was 0.15

    module = source_module(client.get(files["network-seed1.py"]).text)
    module.load_state_dict(weights)
    x, y = datasets.load_digits(return_X_y=True)
    x = (np.round(x * 255 / 16) / 255).astype(np.float32).reshape(-1, 1, 8, 8)
    test = np.zeros(len(y), bool)
    for label in range(10):
        test[np.where(y == label)[0][4::5]] = True
    images = torch.from_numpy((x - x[~test].mean()) / x[~test].std())
    with torch.no_grad():
        hits = int((module.eval()(images[test]).argmax(1).numpy() == y[test]).sum())
    accuracy = done["result"]["accuracy"]["mean"]
    assert abs(hits - accuracy * test.sum()) <= 1  # rounding may turn one image at most
    assert accuracy > 0.9


# wrn-10-4.json, check_peak.py


def test_the_peak_of_pre_activation_blocks_is_that_of_their_source(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch comes with the extra `train`")
    network = CASES / "wrn-10-4.json"
    assert decode_architecture(given("wrn-10-4.json")).evaluation.peak_elements == 163_840  # it was 147,456
    exported = CliRunner().invoke(app, ["export", str(network), "-o", str(tmp_path / "net.py")])
    assert exported.exit_code == 0, exported.output
    command = [sys.executable, str(CASES / "check_peak.py"), str(tmp_path / "net.py"), "3", "32", "32"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path).stdout
    assert printed.split()[0] == "163840"


# folders.py


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that `folders.py` makes."""
    pytest.importorskip("torch", reason="torch comes with the extra `train`")
    root = tmp_path_factory.mktemp("public")
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, str(CASES / "folders.py"), str(root)], check=True, timeout=120, env=environment)
    return root


def read(root: Path, path: str, classes: int = 2) -> Any:
    """Read a folder in its own resolution and in gray."""
    from nnmass_core.named.datasets import Dataset
    from nnmass_core.training.data import load

    return load(Dataset(name="imagefolder", path=path), (1, 24, 24), classes, root)


def shades(images: Any, label: int) -> NDArray[Any]:
    """Return the images of a class, (n, 24, 24)."""
    places = [i for i, found in enumerate(images.labels.tolist()) if found == label]
    found: NDArray[Any] = images.__getitems__(places)[0][:, 0].numpy().astype(int)
    return found


@pytest.mark.parametrize("name", ["train-valid", "train-validation", "Train-Test", "training-testing"])
def test_the_parts_of_a_split_are_no_classes(data_root: Path, name: str) -> None:
    data = read(data_root, f"split-{name}")
    assert (data.classes, len(data.train), len(data.test)) == (PETS, 40, 40)
    assert data.found.layout == "{}/ is for training, {}/ for testing".format(*name.split("-"))


def test_turned_photographs_are_upright(data_root: Path) -> None:
    data = read(data_root, "exif")
    for part in (data.train, data.test):
        cats, dogs = shades(part, 0), shades(part, 1)
        assert (cats[:, :10].min(0).mean() > 120, cats[:, 14:].mean() < 60) == (True, True)  # cats are bright above
        assert (dogs[:, 14:].min(0).mean() > 120, dogs[:, :10].mean() < 60) == (True, True)
    assert data.found.decisions == ("40 images turned as the EXIF orientation says",)


def test_a_logo_in_the_transparency_is_seen_on_white(data_root: Path) -> None:
    from PIL import Image

    data = read(data_root, "transparent")
    first = np.asarray(Image.open(data_root / "transparent/cat/0.png"))[..., 3].astype(int)
    assert np.array_equal(shades(data.train, 0)[0], 255 - first)
    cats, dogs = (shades(data.train, label)[:, :12].mean() for label in range(2))
    assert (cats < 100, dogs > 180) == (True, True)
    assert data.found.decisions == ("40 images with transparent parts on a white background",)


def test_a_scan_of_12_bits_keeps_its_contrast(data_root: Path) -> None:
    from PIL import Image

    data = read(data_root, "scan12")
    first = np.asarray(Image.open(data_root / "scan12/cat/0.png")).astype(int)
    assert np.array_equal(shades(data.train, 0)[0], first >> 4)  # 4,096 values to 256 shades
    bright, dark = shades(data.train, 0)[:, :12], shades(data.train, 0)[:, 12:]
    assert bright.mean() - dark.mean() == pytest.approx(100 / 16, abs=1)
    (decision,) = data.found.decisions
    assert "scaled as 12 bits, from 0 to 4,095" in decision


@pytest.mark.parametrize(
    ("path", "classes", "images", "left_out"),
    [
        ("half-tif", PETS, (32, 8), {}),
        ("class-of-tif", ("bird", "cat", "dog"), (48, 12), {}),
        (
            "empty-class",
            PETS,
            (32, 8),
            {"folders in the place of a class, without an image that can be read": (1, ("bird/",))},
        ),
        ("backslash.zip", PETS, (24, 6), {}),
    ],
)
def test_no_file_and_no_class_is_dropped_silently(
    data_root: Path, path: str, classes: tuple[str, ...], images: tuple[int, int], left_out: dict[str, Any]
) -> None:
    data = read(data_root, path, len(classes))
    assert (data.classes, (len(data.train), len(data.test))) == (classes, images)
    assert {one.reason: (one.count, one.names) for one in data.found.left_out} == left_out


# batch-of-one.json


def test_a_batch_of_one_with_maps_of_one_position_is_refused_at_its_field(client: TestClient) -> None:
    answer = client.post("/v1/verifications", json=given("batch-of-one.json"))
    assert answer.status_code == 422  # it was stored, and its training failed
    assert [(item["field"], item["code"]) for item in answer.json()["errors"]] == [("recipe.batch_size", "too_small")]


# collapsed-32.json


def test_a_network_with_collapsed_maps_says_so(client: TestClient) -> None:
    answer = client.post("/v1/architectures/evaluate", json={"architectures": [given("collapsed-32.json")]})
    assert answer.status_code == 200, answer.text
    assert [item["caveats"] for item in answer.json()["results"]] == [["maps_up_to_2x2"]]
    printed = CliRunner().invoke(app, ["evaluate", str(CASES / "collapsed-32.json")])
    assert printed.exit_code == 0
    assert "More than a third of a network's layers have feature maps of 2 x 2 or less" in printed.output


# same-question-a.json, same-question-b.json


def test_an_equal_question_of_another_customer_keeps_its_labels(client: TestClient, worker: Context) -> None:
    asked = [given(f"same-question-{letter}.json") for letter in "ab"]
    first = client.post("/v1/searches", json=asked[0]).json()
    assert search_tasks.run_next(worker)
    second = client.post("/v1/searches", json=asked[1]).json()
    done = [client.get(f"/v1/searches/{one['id']}").json() for one in (first, second)]
    assert [(one["name"], one["tags"]) for one in done] == [("customer A", ["a"]), ("customer B", ["b"])]
    assert done[1]["reused_from"] == first["id"] != second["id"]
    assert done[0]["result"] == done[1]["result"]
    assert not search_tasks.run_next(worker)
    listed = client.get("/v1/searches", params={"q": "CUSTOMER"}).json()["items"]
    assert {one["name"] for one in listed} == {"customer A", "customer B"}
    again = client.post("/v1/searches", json=asked[1]).json()
    assert again["id"] == second["id"]


# tight-both.txt


def test_limits_that_only_together_admit_nothing_get_the_least_common_factor() -> None:
    command, *arguments = (CASES / "tight-both.txt").read_text().split()
    assert command == "nnmass"
    printed = CliRunner().invoke(app, [*arguments, "--json"])
    answer = json.loads(printed.output)
    assert answer["outcome"] == "nothing_fits"
    assert answer["result"]["relaxation"] == {"max_params": None, "max_macs": None}
    joint = answer["result"]["joint_relaxation"]
    space = resolve_space("densenet-cifar")

    def fitting(limits: dict[str, Any]) -> int:
        return len(search(SearchRequest(space=space, budget=Budget(**limits), top_k=1)).ranking)

    asked = {"max_params": 78_666, "max_macs": 12_500_000}
    assert joint["limits"] == {name: int(bound * joint["factor"]) for name, bound in asked.items()}
    limits = {name: int(bound) for name, bound in joint["limits"].items()}
    assert (fitting(asked), fitting(limits)) == (0, 1)
    below = {name: int(bound * joint["factor"] * (1 - 1e-9)) for name, bound in asked.items()}
    assert fitting(below) == 0
