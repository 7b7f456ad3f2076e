"""How a worker trains: killed in every phase, cancelled, out of disk, with damaged checkpoints, to the same result."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psutil
import pytest
from PIL import Image
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.orm import undefer

pytest.importorskip("torch", reason="torch comes with the extra `train`")

import torch

from app.config import Settings
from app.jobs import lifecycle
from app.main import create_app
from app.storage.models import Artifact, Checkpoint, Job, JobEvent, Verification, VerificationEpoch
from app.verifications import service
from app.verifications.schemas import VerificationBody
from nnmass.torch_process.forks import ForkServer
from nnmass_core.families import decode_architecture
from nnmass_core.named.adaptation import adaptation_of
from nnmass_core.named.datasets import resolve_dataset
from nnmass_core.named.recipes import Recipe, resolve_recipe
from nnmass_core.nets import assemble, build
from nnmass_core.training.data import Standardize, load
from nnmass_core.training.validation import held_out
from nnmass_core.wiring import Wiring
from tests.clients import client_of
from tests.conftest import POSTGRES, SQLITE, Backend
from tests.networks import MLP
from worker import child, files_tasks, train_tasks, verification_tasks
from worker.process import Context

OWNER = "local"
RECIPE = Recipe(optimizer="adam", learning_rate=1e-2, batch_size=100, epochs=3)
BODY: dict[str, Any] = {
    "architecture": MLP,
    "dataset": "digits",
    "recipe": RECIPE.to_json(),
    "seeds": [0, 1],
    "artifacts": ["weights"],
}
MOMENTS = (
    "before the first epoch",
    "epoch 1 step 0",
    "before the checkpoint of epoch 1",
    "while a checkpoint is written",
    "checkpoint renamed, not reported",
    "before the files",
    "at the end",
)


@dataclass
class Bench:
    """A worker's context and what a test looks at."""

    context: Context

    def submit(self, **changes: Any) -> UUID:
        body = VerificationBody.model_validate(BODY | changes)
        with self.context.database.write() as session:
            wanted = service.plan(session, OWNER, body)
            return UUID(str(service.submit(session, OWNER, body, wanted, None).body["id"]))

    def run(self) -> bool:
        return train_tasks.run_next(self.context)

    def look(self, verification_id: UUID) -> tuple[Job, Verification]:
        with self.context.database.read() as session:
            return session.get_one(Job, verification_id), session.get_one(Verification, verification_id)

    def answer(self, verification_id: UUID) -> dict[str, Any]:
        with self.context.database.read() as session:
            return service.show(session, OWNER, verification_id).model_dump(mode="json")

    def rows(self, kind: type[Any], verification_id: UUID) -> list[Any]:
        with self.context.database.read() as session:
            column = kind.job_id if kind is JobEvent else kind.verification_id
            query = select(kind).where(column == verification_id).order_by(*inspect(kind).primary_key)
            return list(session.scalars(query))

    def folder(self, verification_id: UUID) -> Path:
        return self.context.settings.training_dir / str(verification_id)


@pytest.fixture
def bench(backend: Backend) -> Bench:
    quick = {"most_attempts": 100, "heartbeat_seconds": 0.2, "checkpoint_seconds": 1000.0}
    settings: Settings = backend.settings.model_copy(update=quick)
    return Bench(Context(settings, backend.database, "test/1"))


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ForkServer]]:
    """The free fork servers of a worker that has none at first."""
    free: list[ForkServer] = []
    monkeypatch.setattr(child, "_free", free)
    yield free
    for server in free:
        server.stop()


@pytest.fixture
def deaths(servers: list[ForkServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file with the moments at which trainers kill themselves from now on, one a line."""
    path = tmp_path / "deaths"
    monkeypatch.setenv("NNMASS_TEST_DEATHS", str(path))
    return path


def let_die(monkeypatch: pytest.MonkeyPatch, deaths: Path, *moments: str) -> None:
    """Let the next trainers kill themselves at these moments."""
    deaths.write_text("\n".join(moments))
    monkeypatch.setattr(verification_tasks, "MODULE", "tests.jobs.killed_trainer")


on_sqlite = pytest.mark.parametrize("backend", [SQLITE], indirect=True)
"""For what does not depend on the database."""


def calm(bench: Bench, **changes: Any) -> dict[str, Any]:
    """Return a verification that nothing disturbed."""
    verification_id = bench.submit(**changes)
    assert bench.run()
    answer = bench.answer(verification_id)
    assert answer["status"] == "succeeded", answer["error"]
    return answer


def test_an_undisturbed_training_stores_its_results_and_files(bench: Bench) -> None:
    answer = calm(bench)
    assert answer["adaptation"]["requested"]["steps_per_epoch"] == 15
    assert [len(run["epochs"]) for run in answer["runs"]] == [3, 3]
    result, accuracies = answer["result"], [run["accuracy"] for run in answer["runs"]]
    assert [item["accuracy"] for item in result["accuracy"]["by_seed"]] == accuracies
    assert result["accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2)
    assert result["accuracy"]["std"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    matrix = result["confusion"]["matrix"]
    assert sum(map(sum, matrix)) == 2 * result["data"]["test"]
    hits = sum(matrix[i][i] for i in range(10))
    assert hits / sum(map(sum, matrix)) == pytest.approx(result["accuracy"]["mean"])
    assert (result["measured"]["params"], result["measured"]["macs"]) == (answer["params"], answer["macs"])
    assert [item["name"] for item in answer["artifacts"]] == ["weights-seed0.pt", "weights-seed1.pt"]
    assert result["seconds"] == pytest.approx(sum(e["seconds"] for run in answer["runs"] for e in run["epochs"]))
    verification_id = UUID(answer["id"])
    assert not bench.folder(verification_id).exists()  # nothing is left on the worker
    assert not bench.rows(Checkpoint, verification_id)
    reported = [event.data["epoch"] for event in bench.rows(JobEvent, verification_id) if "epoch" in event.data]
    assert [(epoch["seed"], epoch["epoch"]) for epoch in reported] == [(s, e) for s in (0, 1) for e in (1, 2, 3)]
    with bench.context.database.read() as session:
        log = service.log(session, OWNER, verification_id)
    assert "attempt 1 on test/1" in log
    assert "seed 1, epoch 3 of 3" in log


@on_sqlite
def test_trainings_are_forked_from_one_process_and_give_the_files_of_one_started_alone(
    bench: Bench, servers: list[ForkServer]
) -> None:
    what: dict[str, Any] = {"seeds": [0], "artifacts": ["weights", "onnx", "metadata"]}
    first = calm(bench, **what)
    pids = [server.pid for server in servers]
    assert [psutil.Process(pid).num_threads() for pid in pids] == [1]
    second = calm(bench, **what)
    assert [server.pid for server in servers] == pids
    settings = bench.context.settings.model_copy(update={"train_idle_seconds": 0.0})
    alone = calm(Bench(replace(bench.context, settings=settings)), **what)
    assert [server.pid for server in servers] == pids
    assert sha256s(first) == sha256s(second) == sha256s(alone)
    assert first["result_digest"] == second["result_digest"] == alone["result_digest"]


@on_sqlite
def test_files_of_one_seed_belong_together_and_give_the_reported_accuracy(bench: Bench) -> None:
    answer = calm(bench, seeds=[0, 3], artifacts=["weights", "source", "definition"])
    media_types = {item["name"]: item["media_type"] for item in answer["artifacts"]}
    kinds = {"network-{}.json": "application/json", "network-{}.py": "text/x-python"}
    kinds |= {"weights-{}.pt": "application/octet-stream"}
    assert media_types == {name.format(f"seed{seed}"): kind for name, kind in kinds.items() for seed in (0, 3)}
    with bench.context.database.read() as session:
        rows = session.scalars(select(Artifact).options(undefer(Artifact.content)))
        content = {row.name: row.content for row in rows}
    architecture = decode_architecture(MLP)
    data = load(resolve_dataset("digits"), architecture.input_shape, architecture.num_classes, Path())
    x, labels = data.test.__getitems__(list(range(len(data.test))))
    x = Standardize(data, architecture.input_shape)(x)
    reported = {run["seed"]: run["accuracy"] for run in answer["runs"]}
    for seed, other in ((0, 3), (3, 0)):
        source, weights = content[f"network-seed{seed}.py"], content[f"weights-seed{seed}.pt"]
        names: dict[str, Any] = {}
        exec(compile(source, "network.py", "exec"), names)
        assert f"weights-seed{seed}.pt" in names["__doc__"]
        module = names["build"]().eval()
        module.load_state_dict(torch.load(BytesIO(weights), weights_only=True))
        hits = (module(x).argmax(1) == labels).sum()
        assert int(hits) / len(labels) == reported[seed]
        with pytest.raises(RuntimeError, match=f"seed {seed}"):
            module.load_state_dict(torch.load(BytesIO(content[f"weights-seed{other}.pt"]), weights_only=True))
        definition = json.loads(content[f"network-seed{seed}.json"])
        assert (decode_architecture(definition["architecture"]), definition["seed"]) == (architecture, seed)
        built = assemble(architecture, Wiring.from_json(definition["wiring"], architecture))
        built.load_state_dict(torch.load(BytesIO(weights), weights_only=True))


@on_sqlite
def test_an_onnx_file_of_a_training_has_all_that_deployment_needs(bench: Bench) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra `test`")
    answer = calm(bench, seeds=[3], artifacts=["weights", "onnx", "metadata"])
    with bench.context.database.read() as session:
        rows = session.scalars(select(Artifact).options(undefer(Artifact.content)))
        content = {row.name: row.content for row in rows}
    network = runtime.InferenceSession(content["model-seed3.onnx"], providers=["CPUExecutionProvider"])
    about = json.loads(content["model-seed3.json"])
    inside = network.get_modelmeta().custom_metadata_map
    assert inside == {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    architecture = decode_architecture(MLP)
    assert (about["status"], about["seed"], about["arch_id"]) == ("trained", 3, architecture.arch_id)
    assert decode_architecture(about["definition"]) == architecture
    assert about["weights_file"] == {"name": "weights-seed3.pt", "sha256": sha256s(answer)["weights-seed3.pt"]}
    assert about["dataset"] == {"name": "digits"}
    # what a user has: the file, its metadata, and images
    data = load(resolve_dataset("digits"), (1, 8, 8), 10, Path())
    images, labels = data.test.__getitems__(list(range(len(data.test))))
    mean, std = (np.array(about[name], np.float32)[:, None, None] for name in ("mean", "std"))
    assert (about["input_image"], about["input_channels"]) == ([1, 8, 8], ["gray"])
    x = ((images.numpy() / 255 - mean) / std).reshape(len(images), -1).astype(np.float32)
    ((low, high),) = about["input_range"]
    assert low == pytest.approx(float(x.min()), abs=1e-5)
    assert x.max() <= high + 1e-5
    scores = network.run(None, {"input": x})[0]
    assert about["classes"] == [str(digit) for digit in range(10)]
    assert float((scores.argmax(1) == labels.numpy()).mean()) == pytest.approx(about["accuracy"], abs=1e-9)
    assert about["accuracy"] == answer["runs"][0]["accuracy"]
    assert about["test_inputs"] == len(labels)
    traces = (str(Path(__file__).parents[2]), sys.prefix, str(bench.context.settings.training_dir), 'File "')
    assert [trace for trace in traces if trace.encode() in content["model-seed3.onnx"]] == []
    # the same network with other options, written by a worker from what the training stored
    client = client_of(create_app(bench.context.settings))
    place, asked = f"/v1/verifications/{answer['id']}/export", {"format": "onnx", "batch": "7", "opset": "13"}
    assert client.get(place, params=asked).status_code == 202
    assert files_tasks.run_next(bench.context)
    fixed = runtime.InferenceSession(client.get(place, params=asked).content, providers=["CPUExecutionProvider"])
    module = build(architecture, 3).eval()
    module.load_state_dict(torch.load(BytesIO(content["weights-seed3.pt"]), weights_only=True))
    with torch.no_grad():
        expected = module(torch.from_numpy(x[:7])).numpy()
    assert np.allclose(fixed.run(None, {"input": x[:7]})[0], expected, atol=1e-5)
    said = client.get(place, params=asked | {"format": "metadata"}).json()
    assert said == about | {"batch": 7, "opset": 13, "input_shape": [7, 64]}
    assert client.get(place, params={"format": "onnx"}).content == content["model-seed3.onnx"]


def test_a_validation_part_is_measured_after_each_epoch_and_the_test_part_after_the_last(bench: Bench) -> None:
    recipe = replace(RECIPE, validation=0.2, epochs=2)
    answer = calm(bench, recipe=recipe.to_json(), artifacts=["metadata"])
    for run in answer["runs"]:
        assert [epoch["validation_accuracy"] is None for epoch in run["epochs"]] == [False, False]
        assert [epoch["test_accuracy"] is None for epoch in run["epochs"]] == [True, False]
        assert run["epochs"][-1]["test_accuracy"] == run["accuracy"]
    result = answer["result"]
    architecture = decode_architecture(MLP)
    data = load(resolve_dataset("digits"), architecture.input_shape, architecture.num_classes, Path())
    held = held_out(data, 0.2)
    assert (result["data"]["train"], result["data"]["validation"]) == (len(data.train) - held, held)
    assert answer["adaptation"]["images"] == len(data.train) - held
    last = [run["epochs"][-1] for run in answer["runs"]]
    validation = result["accuracy"]["validation"]
    assert validation["by_seed"] == [
        {"seed": seed, "accuracy": epoch["validation_accuracy"], "loss": epoch["validation_loss"]}
        for seed, epoch in enumerate(last)
    ]
    assert validation["mean"] == pytest.approx(sum(epoch["validation_accuracy"] for epoch in last) / 2)
    with bench.context.database.read() as session:
        rows = session.scalars(select(Artifact).options(undefer(Artifact.content)))
        said = json.loads(min(rows, key=lambda row: row.name).content)
        assert "for validation" in service.log(session, OWNER, UUID(answer["id"]))
    assert (said["validation_accuracy"], said["validation_inputs"]) == (last[0]["validation_accuracy"], held)
    events = [event.data["epoch"] for event in bench.rows(JobEvent, UUID(answer["id"])) if "epoch" in event.data]
    assert [event["test_accuracy"] is None for event in events] == [True, False, True, False]
    again = calm(bench, recipe=recipe.to_json(), artifacts=[])
    assert again["result_digest"] == answer["result_digest"]


@on_sqlite
def test_a_class_with_too_few_images_to_hold_any_out_fails_the_training(bench: Bench, tmp_path: Path) -> None:
    settings = bench.context.settings.model_copy(update={"data_root": tmp_path})
    for label in ("cat", "dog"):
        for i in range(10):
            place = tmp_path / "set" / label / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * i).save(place)
    verification_id = bench.submit(
        architecture=MLP | {"num_classes": 2},
        dataset={"name": "imagefolder", "path": "set"},
        recipe=replace(RECIPE, validation=0.01).to_json(),
    )
    assert train_tasks.run_next(replace(bench.context, settings=settings))
    job, _ = bench.look(verification_id)
    assert (job.state, job.error_code) == ("failed", "class_too_small")
    assert str(job.error_message).startswith("recipe.validation of 0.01 holds out no image of the class cat, ")


@pytest.mark.slow
@on_sqlite
def test_a_training_killed_in_every_phase_ends_with_the_same_result(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deaths: Path
) -> None:
    expected = calm(bench)
    let_die(monkeypatch, deaths, *MOMENTS)
    verification_id = bench.submit()
    for attempt in range(1, len(MOMENTS) + 1):
        assert bench.run()
        job, _ = bench.look(verification_id)
        assert (job.state, job.attempt) == ("queued", attempt)
    assert not deaths.read_text()
    assert bench.run()
    answer = bench.answer(verification_id)
    assert (answer["status"], answer["attempts"]) == ("succeeded", len(MOMENTS) + 1)
    assert answer["result_digest"] == expected["result_digest"]
    assert sha256s(answer) == sha256s(expected)
    epochs = [(row.seed, row.epoch) for row in bench.rows(VerificationEpoch, verification_id)]
    assert sorted(epochs) == [(s, e) for s in (0, 1) for e in (1, 2, 3)]
    started = [
        e for e in bench.rows(JobEvent, verification_id) if e.data["status"] == "running" and e.event == "status"
    ]
    assert len(started) == len(MOMENTS) + 1  # every attempt counted once
    assert not bench.folder(verification_id).exists()


def sha256s(answer: dict[str, Any]) -> dict[str, str]:
    """Return the hashes of the trained weights."""
    return {item["name"]: item["sha256"] for item in answer["artifacts"]}


@pytest.mark.slow
@pytest.mark.parametrize("backend", [pytest.param(POSTGRES, marks=pytest.mark.servers)], indirect=True)
def test_a_training_survives_dropped_database_connections(bench: Bench) -> None:
    long: dict[str, Any] = {"recipe": replace(RECIPE, epochs=80).to_json(), "seeds": [0]}
    expected = calm(bench, **long)
    verification_id, ended = bench.submit(**long), threading.Event()
    dropped: list[Any] = []
    drop = text(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and :me <> pid"
    )

    def drop_again_and_again() -> None:
        engine = create_engine(bench.context.settings.sqlalchemy_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            me = {"me": connection.execute(text("select pg_backend_pid()")).scalar_one()}
            while not ended.wait(0.2):
                dropped.extend(connection.execute(drop, me).all())
        engine.dispose()

    dropping = when(lambda: bool(bench.rows(VerificationEpoch, verification_id)), drop_again_and_again)
    assert bench.run()
    ended.set()
    dropping.result()
    answer = bench.answer(verification_id)
    assert len(dropped) > 5
    assert (answer["status"], answer["attempts"]) == ("succeeded", 1)
    assert answer["result_digest"] == expected["result_digest"]


@pytest.mark.slow
@on_sqlite
def test_a_training_killed_within_an_epoch_resumes_from_a_checkpoint_of_that_epoch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deaths: Path
) -> None:
    expected = calm(bench, seeds=[0])
    often = replace(bench.context, settings=bench.context.settings.model_copy(update={"checkpoint_seconds": 1e-6}))
    # the step of a check after which a checkpoint was stored at step 1
    let_die(monkeypatch, deaths, "epoch 2 step 20")
    verification_id = bench.submit(seeds=[0])
    assert train_tasks.run_next(often)
    assert max((row.epoch, row.step) for row in bench.rows(Checkpoint, verification_id)) == (1, 1)
    assert train_tasks.run_next(often)
    answer = bench.answer(verification_id)
    assert answer["result_digest"] == expected["result_digest"]
    assert sha256s(answer) == sha256s(expected)


@pytest.mark.slow
@on_sqlite
def test_a_training_that_kills_its_process_fails_after_three_attempts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deaths: Path
) -> None:
    let_die(monkeypatch, deaths, *["before the first epoch"] * 10)
    three = replace(bench.context, settings=bench.context.settings.model_copy(update={"most_attempts": 3}))
    verification_id = bench.submit()
    while train_tasks.run_next(three):
        pass
    job, _ = bench.look(verification_id)
    assert (job.state, job.attempt, job.error_code) == ("failed", 3, "out_of_memory")
    monkeypatch.setattr(verification_tasks, "MODULE", "worker.trainer")
    calm(bench)  # the others are not affected


@pytest.mark.slow
@on_sqlite
def test_a_full_disk_fails_the_training_and_preserves_the_last_checkpoint(bench: Bench) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    expected = calm(bench, seeds=[0])
    verification_id = bench.submit(seeds=[0])
    folder = bench.folder(verification_id)
    full = folder / ".seed0-epoch00002-step0000000-fence1.pt.unfinished"
    # every write there fails because no space is left
    fills = when(folder.is_dir, lambda: full.symlink_to("/dev/full"))
    assert bench.run()
    fills.result()
    answer = bench.answer(verification_id)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "disk_full")
    assert [row.epoch for row in bench.rows(Checkpoint, verification_id)] == [1]
    assert [path.name for path in folder.iterdir()] == ["seed0-epoch00001-step0000000-fence1.pt"]  # nothing torn
    with bench.context.database.write() as session:
        assert service.retry(session, OWNER, verification_id)
    assert bench.run()
    answer = bench.answer(verification_id)
    assert (answer["status"], answer["result_digest"]) == ("succeeded", expected["result_digest"])
    with bench.context.database.read() as session:
        assert "resumes at epoch 1" in service.log(session, OWNER, verification_id)


@pytest.mark.slow
@on_sqlite
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deaths: Path
) -> None:
    expected = calm(bench, seeds=[0])
    let_die(monkeypatch, deaths, "epoch 3 step 0")
    verification_id = bench.submit(seeds=[0])
    assert bench.run()
    files = sorted(bench.folder(verification_id).iterdir())
    assert [path.name[:16] for path in files] == ["seed0-epoch00001", "seed0-epoch00002"]
    content = bytearray(files[-1].read_bytes())
    content[len(content) // 2] ^= 1
    files[-1].write_bytes(content)
    assert bench.run()
    answer = bench.answer(verification_id)
    assert (answer["status"], answer["result_digest"]) == ("succeeded", expected["result_digest"])
    with bench.context.database.read() as session:
        log = service.log(session, OWNER, verification_id)
    assert "missing or damaged" in log
    assert "resumes at epoch 1" in log


@pytest.mark.slow
@on_sqlite
def test_a_retry_with_changed_images_does_not_resume(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deaths: Path, tmp_path: Path
) -> None:
    bench.context = replace(bench.context, settings=bench.context.settings.model_copy(update={"data_root": tmp_path}))
    birds = tmp_path / "birds"
    make_images(birds, shade=0)
    let_die(monkeypatch, deaths, "epoch 2 step 0")
    dataset = {"name": "imagefolder", "path": "birds"}
    verification_id = bench.submit(architecture=BODY["architecture"] | {"num_classes": 2}, dataset=dataset, seeds=[0])
    assert bench.run()
    make_images(birds, shade=90)
    assert bench.run()
    answer = bench.answer(verification_id)
    assert (answer["status"], answer["error"]["code"]) == ("failed", "data_changed")
    make_images(birds, shade=0)
    with bench.context.database.write() as session:
        assert service.retry(session, OWNER, verification_id)
    assert bench.run()
    assert bench.answer(verification_id)["status"] == "succeeded"


@on_sqlite
def test_how_an_image_folder_was_read_is_in_the_result_and_the_log(bench: Bench, tmp_path: Path) -> None:
    bench.context = replace(bench.context, settings=bench.context.settings.model_copy(update={"data_root": tmp_path}))
    make_images(tmp_path / "birds", shade=0)
    (tmp_path / "birds/test").rename(tmp_path / "birds/Valid")
    (tmp_path / "birds/train/gull/notes.txt").write_text("!")
    (tmp_path / "birds/train/gull/broken.png").write_text("!")
    changes: dict[str, Any] = {
        "architecture": BODY["architecture"] | {"num_classes": 2},
        "recipe": replace(RECIPE, epochs=1).to_json(),
        "seeds": [0],
        "artifacts": [],
    }
    dataset = {"name": "imagefolder", "path": "birds", "broken_files": "skip"}
    answer = calm(bench, dataset=dataset, **changes)
    data = answer["result"]["data"]
    assert (data["train"], data["test"]) == (40, 10)
    assert data["layout"] == "train/ is for training, Valid/ for testing"
    assert data["left_out"] == [
        {"reason": "images that cannot be read", "count": 1, "names": ["train/gull/broken.png"]},
        {"reason": "files that end in .txt", "count": 1, "names": ["train/gull/notes.txt"]},
    ]
    with bench.context.database.read() as session:
        log = service.log(session, OWNER, UUID(answer["id"]))
    assert "read 40 training images and 10 test images of the classes crow, gull" in log
    assert "left out: images that cannot be read: 1 (train/gull/broken.png)" in log


def make_images(folder: Path, shade: int) -> None:
    """Write an image folder of two classes, 8 x 8 pixels each."""
    for part, count in (("train", 20), ("test", 5)):
        for index, name in enumerate(("crow", "gull")):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                gray = (shade + 60 * index + number) % 256
                Image.new("L", (8, 8), gray).save(folder / part / name / f"{number:02}.png")


def separable(data_root: Path, train: int, test: int) -> dict[str, str]:
    """Write images of two classes, bright above or bright below; return the data set, the number of images a class."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for label, half in (("above", np.s_[:12]), ("below", np.s_[12:])):
            folder = data_root / "halves" / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 90, (24, 24, 3)).astype(np.uint8)
                pixels[half] += 150
                Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return {"name": "imagefolder", "path": "halves"}


@on_sqlite
def test_cifar_quick_learns_160_separable_images(bench: Bench, tmp_path: Path) -> None:
    bench.context = replace(bench.context, settings=bench.context.settings.model_copy(update={"data_root": tmp_path}))
    what: dict[str, Any] = {
        "architecture": {
            "family": "mobilenet_v2",
            "input": {"channels": 3, "height": 24, "width": 24},
            "num_classes": 2,
            "stem_channels": 16,
            "last_channels": 64,
            "stages": [
                {"expansion": 1, "channels": 16, "repeats": 1, "stride": 1},
                {"expansion": 4, "channels": 24, "repeats": 2, "stride": 2},
                {"expansion": 4, "channels": 32, "repeats": 1, "stride": 2},
            ],
        },
        "dataset": separable(tmp_path, train=80, test=50),
        "recipe": "cifar-quick",
    }
    answer = calm(bench, **what, seeds=[0])
    assert answer["runs"][0]["accuracy"] > 0.9
    adapted = adaptation_of(resolve_recipe("cifar-quick"), 160)
    assert adapted is not None
    assert answer["adaptation"] == answer["result"]["adaptation"] == adapted.to_json()
    assert answer["result"]["warnings"] == []
    plain = calm(bench, **what, seeds=[0], adapt=False)
    assert (plain["adaptation"], plain["result"]["adaptation"]) == (None, None)
    assert plain["runs"][0]["accuracy"] < 0.9  # the recipe makes 16 steps in all
    assert [warning["code"] for warning in plain["result"]["warnings"]] == ["chance_level"]
    assert plain["result_digest"] != answer["result_digest"]


@on_sqlite
def test_below_154_images_there_are_more_epochs_and_progress_counts_them(bench: Bench, tmp_path: Path) -> None:
    bench.context = replace(bench.context, settings=bench.context.settings.model_copy(update={"data_root": tmp_path}))
    network = {
        "family": "wide_resnet_cifar",
        "input": {"channels": 3, "height": 8, "width": 8},
        "num_classes": 2,
        "stages": [{"channels": 4, "repeats": 1}] * 3,
    }
    recipe = replace(resolve_recipe("cifar-quick"), epochs=2)
    dataset = separable(tmp_path, train=10, test=5)
    verification_id = bench.submit(architecture=network, dataset=dataset, recipe=recipe.to_json(), seeds=[0, 1])
    assert bench.run()
    answer = bench.answer(verification_id)
    adapted = adaptation_of(recipe, 20)
    assert adapted is not None
    assert answer["adaptation"] == adapted.to_json()
    assert (answer["recipe"]["epochs"], answer["adaptation"]["trained"]["epochs"]) == (2, 14)  # 40 steps, 3 an epoch
    assert [len(run["epochs"]) for run in answer["runs"]] == [14, 14]
    events = [event.data for event in bench.rows(JobEvent, verification_id)]
    fractions = [event["fraction"] for event in events if "fraction" in event]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any("epoch 14 of 14" in event.get("message", "") for event in events)


@pytest.mark.slow
@on_sqlite
def test_a_recipe_of_enough_steps_is_trained_as_requested(bench: Bench) -> None:
    recipe = replace(RECIPE, batch_size=64, epochs=1).to_json()  # 23 steps
    answers = [calm(bench, recipe=recipe, seeds=[0], adapt=adapt) for adapt in (True, False)]
    assert answers[0]["adaptation"] is None
    assert answers[0]["result_digest"] == answers[1]["result_digest"]
    assert sha256s(answers[0]) == sha256s(answers[1])


@pytest.mark.slow
@on_sqlite
def test_folders_of_finished_trainings_are_removed(bench: Bench) -> None:
    done, cancelled = UUID(calm(bench, seeds=[0])["id"]), bench.submit(seeds=[0])
    with bench.context.database.write() as session:
        service.cancel(session, OWNER, cancelled)
    folders = [bench.folder(name) for name in (done, cancelled, UUID(int=7))]
    folders.append(bench.context.settings.training_dir / "not-a-name-of-ours")
    for folder in folders:
        folder.mkdir(parents=True)
    calm(bench, seeds=[0])
    assert [folder.is_dir() for folder in folders] == [False, True, False, True]  # a retry may want the cancelled one's


@on_sqlite
def test_divergence_fails_the_training_with_its_own_error_code(bench: Bench) -> None:
    wild = Recipe(optimizer="sgd", learning_rate=100.0, momentum=0.99, batch_size=50, epochs=20)
    verification_id = bench.submit(recipe=wild.to_json())
    assert bench.run()
    answer = bench.answer(verification_id)
    assert (answer["status"], answer["error"]["code"], answer["result"]) == ("failed", "diverged", None)
    assert answer["attempts"] == 1


@on_sqlite
def test_a_cancel_ends_the_process_within_seconds_and_a_retry_resumes(bench: Bench, servers: list[ForkServer]) -> None:
    long = replace(RECIPE, epochs=400).to_json()
    verification_id = bench.submit(seeds=[0], recipe=long)

    def cancel() -> None:
        with bench.context.database.write() as session:
            service.cancel(session, OWNER, verification_id)

    def log() -> str:
        with bench.context.database.read() as session:
            return service.log(session, OWNER, verification_id)

    cancelled = when(lambda: len(bench.rows(VerificationEpoch, verification_id)) >= 2, cancel)
    assert bench.run()
    seconds = time.monotonic() - cancelled.result()
    assert seconds < 10, "the training would continue for a minute"
    assert bench.look(verification_id)[0].state == "cancelled"
    assert [process for server in servers for process in psutil.Process(server.pid).children()] == []
    assert len(servers) == 1
    with bench.context.database.write() as session:
        assert service.retry(session, OWNER, verification_id)
    again = when(lambda: "resumes at epoch" in log(), cancel)
    assert bench.run()
    again.result()


@on_sqlite
def test_late_writes_of_a_lost_worker_are_refused(bench: Bench) -> None:
    verification_id = bench.submit(seeds=[0], recipe=replace(RECIPE, epochs=400).to_json())

    def take_back() -> None:
        with bench.context.database.write() as session:
            job = session.get_one(Job, verification_id)
            job.state = "queued"
            session.flush()
            other = lifecycle.claim(session, "train", "test/2", 60.0)
            assert other is not None
            assert other.fence == 2

    taken = when(lambda: bool(bench.rows(Checkpoint, verification_id)), take_back)
    assert bench.run()
    taken.result()
    known = {row.file for row in bench.rows(Checkpoint, verification_id)}
    assert all(name.endswith("fence1.pt") for name in known)
    job, row = bench.look(verification_id)
    assert (job.state, job.worker, row.result) == ("running", "test/2", None)


class Later:
    """Something done by another thread; `result` waits for it and gives the moment."""

    def __init__(self, run: Callable[[], float]) -> None:
        self._found: list[float] = []
        self._thread = threading.Thread(target=lambda: self._found.append(run()))
        self._thread.start()

    def result(self) -> float:
        self._thread.join()
        assert self._found, "it failed"
        return self._found[0]


def when(ready: Callable[[], bool], act: Callable[[], None]) -> Later:
    """Act once something is so; the moment of the act is on the monotonic clock."""

    def run() -> float:
        deadline = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        act()
        return time.monotonic()

    return Later(run)
