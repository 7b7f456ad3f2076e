"""The command line through a real service."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete
from typer.testing import CliRunner

import nnmass
from app.jobs import lifecycle
from app.storage.models import WorkerBeat
from nnmass import Client
from nnmass.cli import app, deletion
from nnmass.errors import DefinitionError
from nnmass_core.export.deployment import USUAL, metadata_file
from nnmass_core.families import decode_architecture
from nnmass_core.named.recipes import resolve_recipe
from tests.api import trainings
from tests.client.service import Service, wait_until
from tests.client.test_local import MLP
from tests.client.test_transport import SECRET
from tests.core.latencies import profile
from worker import files_tasks
from worker.process import Context

SMALL = ("--preset", "densenet-tiny-free", "--max-params", "100k")


class Run:
    """Runs commands that ask one service."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, *arguments: str, given: str | None = None) -> Any:
        return CliRunner(env={"NNMASS_SERVER": self.address}).invoke(app, list(arguments), input=given)

    def json(self, *arguments: str, given: str | None = None) -> Any:
        done = self(*arguments, "--json", given=given)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)


def at_work(service: Service, queue: str, work: Callable[[], object]) -> threading.Thread:
    """Have a worker do something as soon as a queue holds work."""

    def wait_and_work() -> None:
        wait_until(lambda: service.write(lifecycle.queued, queue), 60)
        work()

    worker = threading.Thread(target=wait_and_work)
    worker.start()
    return worker


@pytest.fixture
def run(service: Service) -> Run:
    service.work()
    return Run(service.address)


def test_a_search_has_the_same_answer_with_and_without_a_service(run: Run, service: Service) -> None:
    there = json.loads(run("search", *SMALL, "--json", "--name", "camera").stdout)
    here = json.loads(CliRunner().invoke(app, ["search", *SMALL, "--json"]).stdout)
    assert there["search"]["name"] == "camera"
    assert here["search"] is None
    assert nnmass.Answer.from_json(here, here["request"]) == nnmass.Answer.from_json(there, there["request"])
    assert CliRunner().invoke(app, ["search", *SMALL, "--server", service.address]).exit_code == 0


def test_exit_codes_are_the_same_with_and_without_a_service(run: Run) -> None:
    assert run("search", "--preset", "densenet-tiny-free", "--max-params", "100").exit_code == 3
    wrong = run("search", *SMALL, "--top-k", "0")
    assert (wrong.exit_code, wrong.stderr) == (2, "nnmass: --top-k must be greater than or equal to 1\n")


def test_a_failed_search_exits_with_1(run: Run, service: Service) -> None:
    service.rest()

    def fail() -> None:
        held = service.write(lifecycle.claim, "search", "test/1", 15.0)
        service.write(lifecycle.fail, held, "broken", "the engine broke")

    worker = at_work(service, "search", fail)
    done = run("search", "--preset", "densenet-tiny-free", "--max-params", "99k")
    worker.join()
    assert (done.exit_code, done.stderr) == (1, "nnmass: the search ended as failed: the engine broke\n")


def test_history_lists_searches_and_show_prints_one(run: Run, client: Client) -> None:
    answer = client.search(
        "densenet-tiny-free", max_params="90k", name="evil \x1b[31m [bold]name", tags=["listed"], top_k=3
    )
    assert answer.search is not None
    (listed,) = run.json("history", "--tag", "listed")["items"]
    assert listed["id"] == answer.search.id
    table = run("history", "--tag", "listed", "--limit", "1").stdout
    assert answer.search.id in table
    assert "evil ?[31m [bold]name" in table
    assert "Most NN-Mass within 90 k params" in table
    shown = run("show", answer.search.id).stdout
    assert all(f"{item.params:,}" in shown for item in answer)
    assert [item["rank"] for item in run.json("show", answer.search.id)["ranking"]] == [1, 2, 3]
    unknown = run("show", "nothing")
    assert (unknown.exit_code, unknown.stderr) == (2, "nnmass: there is no such search\n")


def test_next_prints_the_ranks_that_follow(run: Run, client: Client) -> None:
    answer = client.search("densenet-tiny-free", max_params="90k", name="ranks", top_k=2)
    assert answer.search is not None
    found = run.json("next", answer.search.id)
    assert [item["rank"] for item in found["items"]] == [3, 4]
    assert (found["search"]["name"], found["request"]["first_rank"]) == ("ranks", 3)
    shown = run("next", answer.search.id)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "Ranks 3 to 4 of" in shown.stdout
    front = client.search("densenet-tiny-free", max_params="90k", objective={"pareto": ["nn_mass", "params"]})
    assert front.search is not None
    refused = run("next", front.search.id)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("nnmass: no ranks follow")
    assert run("next", "nothing").exit_code == 2


def test_devices_of_a_service_are_listed_and_suggested(run: Run, client: Client) -> None:
    client.keep_device(profile("lab-board"))
    try:
        assert "lab-board" in run("devices").stdout
        wrong = run("search", "--preset", "densenet-tiny-free", "--device", "lab-bord")
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert wrong.stderr.endswith(', or a profile; did you mean "lab-board"?\n')
        assert run("search", "--preset", "densenet-tiny-free", "--device", "lab-board", "--top-k", "1").exit_code == 0
    finally:
        client.delete_device("lab-board")


def test_a_search_that_reuses_a_result_says_so(run: Run, client: Client) -> None:
    first = client.search("densenet-tiny-free", max_params="92k", name="A", top_k=1).search
    assert first is not None
    done = run(
        "search", "--preset", "densenet-tiny-free", "--max-params", "92k", "--top-k", "1", "--name", "Second name"
    )
    assert f"Reused: the result of the equal search {first.id}.\n" in done.stdout
    (other,) = client.history(q="second name")
    assert (other.name, other.reused_from) == ("Second name", first.id)


def test_a_search_in_which_nothing_fits_has_that_state(run: Run, client: Client) -> None:
    limits = {"max_params": 78_666, "max_macs": "12.5M"}
    answer = client.search("densenet-cifar", name="too tight", **limits)  # type: ignore[arg-type]  # of these names
    assert (answer.certificate.outcome, len(answer)) == ("nothing_fits", 0)
    assert answer.search is not None
    assert answer.search.outcome == "nothing_fits"
    (listed,) = run.json("history", "--outcome", "nothing_fits", "--text", "too tight")["items"]
    assert listed["id"] == answer.search.id
    assert "nothing fits" in run("history", "--text", "too tight").stdout
    assert run.json("history", "--outcome", "proved", "--text", "too tight")["items"] == []
    refused = run("history", "--outcome", "fits")
    assert (refused.exit_code, "outcome" in refused.stderr) == (2, True)
    assert "Raise all limits together, by a factor of about" in run("show", answer.search.id).stdout


def test_show_prints_a_queued_search(run: Run, client: Client, service: Service) -> None:
    service.rest()
    search = client.submit("densenet-tiny-free", max_params="91k")
    done = run("show", search.id)
    assert (done.exit_code, "waiting for a worker" in done.stdout) == (0, True)
    client.cancel(search)


def test_commands_accept_the_id_of_a_registered_network(run: Run, client: Client, tmp_path: Path) -> None:
    known = client.register(MLP).arch_id
    path = tmp_path / "network.json"
    assert run("export", known, "--format", "json", "-o", str(path)).exit_code == 0
    assert json.loads(path.read_text()) == {"version": 1, **MLP}
    assert run("export", str(path)).stdout == run("export", known).stdout
    assert run("diagram", known).stdout == nnmass.diagram(MLP)
    assert (
        run.json("compress", known, "--top-k", "1")["items"] == run.json("compress", str(path), "--top-k", "1")["items"]
    )
    assert run("export", f"arch_{'0' * 32}").exit_code == 2


def test_trainings_are_excluded_and_included(run: Run, client: Client) -> None:
    (training,) = client.verify({**MLP, "depth": 27}, dataset="mnist-5k", recipe="mlp-paper").items
    for options, excluded, words in (((), True, "out of"), (("--undo",), False, "back in")):
        done = run("exclude", training.id, *options)
        assert (done.exit_code, done.stdout) == (0, f"{words} the evidence: {training.id}\n")
        assert client.verification(training).excluded is excluded
    client.delete_verification(training)
    assert run("exclude", training.id).exit_code == 2


def test_figures_are_uploaded_from_a_table_and_compared(run: Run, client: Client, tmp_path: Path) -> None:
    known = [client.register({**MLP, "depth": depth}).arch_id for depth in (30, 31, 32)]
    table = tmp_path / "zico.csv"
    lines = [f"{arch_id},net {i},{i},{'' if i else 0.5}" for i, arch_id in enumerate(known)]
    table.write_text("\n".join(["arch_id,name,zico,published", *lines]) + "\n")
    done = run("upload", str(table))
    assert (done.exit_code, done.stdout) == (0, "stored figures beside 3 networks; columns: published, zico\n")
    assert client.columns() == {"published": 1, "zico": 3}
    points = [{"architecture": {**MLP, "depth": 30 + i}, "values": {"published": 0.5 + i / 10}} for i in range(3)]
    items = run.json("upload", "-", given=json.dumps({"points": points}))["items"]
    assert [(item["name"], item["columns"]["published"]) for item in items] == [
        ("net 0", 0.5),
        ("net 1", 0.6),
        ("net 2", 0.7),
    ]
    written = tmp_path / "points.csv"
    shown = run("evidence", "--accuracy", "published", "--csv", str(written))
    assert shown.exit_code == 0, shown.stderr
    assert re.search(r"zico +3 +1\.00 ", shown.stdout)
    assert "Accuracy is the column published. 3 networks: too few" in shown.stdout
    assert written.read_text() == client.evidence_csv(accuracy="published")
    assert run.json("evidence", "--accuracy", "published")["columns"][0]["name"] == "zico"
    unknown = run("evidence", "--accuracy", "snip")
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "nnmass: --accuracy names a column that you have not uploaded\n",
    )
    for text, said in (
        ("depth,zico\n1,2\n", "must have exactly one of the columns arch_id and network"),
        ("arch_id,zico\na,b\n", "zico in line 2 of - is not a number: b"),
        ("arch_id,zico\na\n", "line 2 of - must have as many cells as the first line"),
        ("{}", "- must contain a list of points"),
    ):
        refused = run("upload", "-", given=text)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr
    assert run("delete", "point", known[0], "--yes").stdout == f"deleted the figures beside {known[0]}\n"
    for column in ("zico", "published"):
        assert run("delete", "column", column, "--yes").exit_code == 0
    assert client.columns() == {}


def test_delete_asks_first(run: Run, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    known = client.register({**MLP, "depth": 28}).arch_id
    refused = run("delete", "architecture", known)
    assert (refused.exit_code, refused.stderr) == (2, "nnmass: --yes is required where nobody can be asked\n")
    monkeypatch.setattr(deletion, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    declined = run("delete", "architecture", known, given="n\n")
    assert (declined.exit_code, f"Delete the network {known}?" in declined.stderr) == (1, True)
    assert client.architecture(known).registered
    done = run("delete", "architecture", known, given="y\n")
    assert (done.exit_code, done.stdout.rpartition("y\n")[2]) == (0, f"deleted the network {known}\n")
    for command in (("architecture", known), ("export", known, "--format", "onnx"), ("verification", "0"),
                    ("measurement", "0"), ("search", "0")):  # fmt: skip
        unknown = run("delete", *command, "--yes")
        assert (unknown.exit_code, "there is no such" in unknown.stderr) == (2, True), command


def test_verify_trains_the_best_of_a_search_and_prints_its_accuracy(
    run: Run, client: Client, service: Service, tmp_path: Path
) -> None:
    answer = client.search("densenet-mlp-mnist", max_params="20k", top_k=2)
    assert answer.search is not None
    worker = at_work(service, "train", lambda: trainings.train_all(service.database, [9, 8]))
    what = ("--dataset", "mnist-5k", "--recipe", "mlp-paper")
    done = run("verify", answer.search.id, *what, "--controls", "params")
    worker.join()
    assert done.exit_code == 0, done.stderr
    assert "no running train worker" in done.stderr
    warnings = (
        "Warning about candidate 1: The accuracy of seed 0 is at chance level",
        "Warning about params control 1",
    )
    figures = ("candidate", "params control", "0.900", "0.800", "Evidence: ", f"{answer[0].params:,}")
    for message in (*figures, *warnings):
        assert message in done.stdout
    lines = done.stdout.splitlines()
    for line in (
        "Data: train/ is for training, Valid/ for testing",
        "Data: 3 images turned as the EXIF orientation says",
        "Left out: files that end in .txt: 3 (a.txt, b.txt and 1 more)",
    ):
        assert lines.count(line) == 1
    training = done.stdout.partition("Next: nnmass export ")[2].split()[0]
    assert f"candidate 1: {service.address}/verifications/{training}, with weights-seed0.pt" in lines
    assert any(line.startswith(f"params control 1: {service.address}/verifications/") for line in lines)
    weights = tmp_path / "weights.pt"
    assert run("export", training, "--seed", "0", "--format", "weights", "-o", str(weights)).exit_code == 0
    assert weights.read_bytes() == b"abc"
    assert "WIRING_SEED = 0" in run("export", training).stdout
    wrong = run("export", training, "--seed", "1")
    assert (wrong.exit_code, wrong.stderr) == (2, "nnmass: --seed must be a seed of the training: 0\n")
    wrong = run("export", training, "--format", "weights", "--opset", "13", "-o", str(weights))
    assert (wrong.exit_code, "opset does not apply to weights" in wrong.stderr) == (2, True)
    wrong = run("export", training, "--format", "torchscript", "-o", str(weights))
    assert (wrong.exit_code, "--format must be one of" in wrong.stderr) == (2, True)


def test_verify_prints_the_validation_accuracy_where_the_recipe_holds_out_images(
    run: Run, service: Service, tmp_path: Path
) -> None:
    definition, recipe = tmp_path / "network.json", tmp_path / "recipe.json"
    definition.write_text(json.dumps({**MLP, "depth": 29}))
    recipe.write_text(json.dumps(replace(resolve_recipe("mlp-paper"), validation=0.1).to_json()))

    def train() -> None:
        held = trainings.claim(service.database)
        trainings.epoch(service.database, held, 0, 1, validated=0.625, tested=False)
        trainings.finish(service.database, held, {0: 9}, validated=0.75)

    worker = at_work(service, "train", train)
    done = run("verify", str(definition), "--dataset", "mnist-5k", "--recipe", str(recipe))
    worker.join()
    assert done.exit_code == 0, done.stderr
    head, _, row = done.stdout.strip().splitlines()[:3]
    assert head.split()[-4:] == ["validation", "test", "accuracy", "state"]
    assert row.split()[-3:] == ["0.750", "0.900", "succeeded"]


def test_the_onnx_file_of_a_training_is_written_with_other_options(
    run: Run, client: Client, service: Service, tmp_path: Path
) -> None:
    """By a worker: this machine needs no torch."""
    torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra `test`")
    from nnmass_core.export.torch_files import about_module
    from nnmass_core.nets import build

    architecture = decode_architecture(MLP)
    module = build(architecture, 0).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    described, state = about_module(architecture, 0, module, USUAL), io.BytesIO()
    torch.save(module.state_dict(), state)
    (training,) = client.verify(MLP, dataset="mnist-5k", recipe="mlp-paper", seeds=[0]).items
    trainings.finish(service.database, trainings.claim(service.database), {0: 7})
    files = {"weights-seed0.pt": state.getvalue(), "model-seed0.json": metadata_file(described)}
    trainings.store(service.database, UUID(training.id), files)
    worker = at_work(service, "files", lambda: files_tasks.run_next(Context(service.settings, service.database, "t/1")))
    path, fixed = tmp_path / "network.onnx", ("--batch", "3", "--opset", "13")
    done = run("export", training.id, "--format", "onnx", *fixed, "-o", str(path))
    worker.join()
    assert done.exit_code == 0, done.stderr
    assert "no running files worker" in done.stderr
    found, inputs = runtime.InferenceSession(str(path)), torch.rand(3, *architecture.input_shape)
    (scores,) = found.run(None, {"input": inputs.numpy()})
    assert torch.allclose(torch.from_numpy(scores), module(inputs), atol=1e-5)
    said = found.get_modelmeta().custom_metadata_map
    assert said["weights_sha256"] == described["weights_sha256"]
    assert (said["opset"], said["batch"], found.get_inputs()[0].shape[0]) == ("13", "3", 3)
    about = json.loads(run("export", training.id, "--format", "metadata", *fixed).stdout)
    assert about == described | {"batch": 3, "opset": 13, "input_shape": [3, *architecture.input_shape]}
    wrong = run("export", training.id, "--format", "onnx", "--opset", "12", "-o", str(path))
    assert (wrong.exit_code, "opset" in wrong.stderr) == (2, True)
    wrong = run("delete", "export", training.id, "--format", "metadata", "--yes")
    assert (wrong.exit_code, "--format must be onnx" in wrong.stderr) == (2, True)
    done = run("delete", "export", training.id, "--format", "onnx", "--yes")
    assert done.stdout == f"deleted the onnx file of {training.id}\n"
    assert client.verification(training).exports == ()


def test_verify_prints_json_and_refuses_invalid_options(
    run: Run, client: Client, service: Service, tmp_path: Path
) -> None:
    definition, recipe = tmp_path / "network.json", tmp_path / "recipe.json"
    definition.write_text(json.dumps(MLP))
    named = next(one for one in client.recipes() if one.name == "mlp-paper")
    recipe.write_text(json.dumps(named.raw["recipe"] | {"epochs": 3}))
    what = ("--dataset", "mnist-5k", "--recipe", str(recipe), "--seeds", "0,7")
    (queued,) = run.json("verify", str(definition), *what, "--no-wait")["items"]
    assert (queued["status"], queued["seeds"], queued["recipe"]["epochs"]) == ("queued", [0, 7], 3)
    held = trainings.claim(service.database)
    service.write(lifecycle.fail, held, "broken", "the power went")
    service.write(lambda session: lifecycle.beat(session, "t/1", "train", torch=False))
    assert "nnmass: no running train worker has torch" in run("verify", str(definition), *what, "--no-wait").stderr
    service.write(lambda session: session.execute(delete(WorkerBeat)))
    fake = ("--dataset", "fake", "--recipe", "imagenet-paper", "--no-wait")
    (other,) = run.json("verify", "resnet18", *fake)["items"]
    client.cancel_verification(other["id"])
    assert other["adaptation"]["trained"]["batch_size"] == 25
    said = run("verify", "resnet18", *fake)
    assert "adapted to 512 training images: batches of 25 instead of 256" in said.stdout
    assert "adapted" not in run("verify", "resnet18", *fake, "--no-adapt").stdout
    for waiting in client.verifications(status="queued"):
        client.cancel_verification(waiting)
    recipe.write_text(json.dumps(named.raw["recipe"] | {"batch_size": 1}))
    stages = [{"channels": 8, "repeats": 1}] * 4
    image = {"channels": 3, "height": 32, "width": 32}
    small = {"family": "resnet", "input": image, "num_classes": 10, "block": "basic", "stages": stages}
    definition.write_text(json.dumps(small))
    refused = run("verify", str(definition), "--dataset", "fake", "--recipe", str(recipe))
    assert refused.exit_code == 2
    assert "--recipe: batch_size must be at least 2" in refused.stderr
    definition.write_text(json.dumps(MLP))
    recipe.write_text(json.dumps(named.raw["recipe"]))
    several = tmp_path / "list.json"
    for content, said in (
        ([MLP], "contains a list of 1 network, and this takes one definition"),
        ([MLP, MLP], "contains a list of 2 networks, and this"),
        ({"items": [{"architecture": MLP}], "result": None}, "contains a list of 1 network, and this"),
        (7, "does not contain a definition, which is a JSON object"),
    ):
        several.write_text(json.dumps(content))
        for command in (("verify", str(several), *what), ("export", str(several)), ("compress", str(several))):
            done = run(*command)
            assert (done.exit_code, done.stderr.splitlines()) == (2, [done.stderr.strip()]), command
            assert f"{several} {said}" in done.stderr, command
    with pytest.raises(DefinitionError, match="architecture: must be an object"):
        client.verify([MLP], dataset="digits", recipe="mlp-paper")  # type: ignore[arg-type]
    for wrong in (("--seeds", "a"), ("--dataset", "nothing"), ("--top", "3")):
        done = run("verify", str(definition), *what, *wrong)
        assert done.exit_code == 2
        assert wrong[0] in done.stderr


def test_a_failed_training_exits_with_1(run: Run, service: Service) -> None:
    def fail() -> None:
        held = trainings.claim(service.database)
        service.write(lifecycle.fail, held, "broken", "the power went")

    worker = at_work(service, "train", fail)
    done = run("verify", "resnet18", "--dataset", "fake", "--recipe", "imagenet-paper")
    worker.join()
    assert (done.exit_code, "failed: the power went" in done.stdout) == (1, True)


def test_the_key_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    unreachable = ("--server", "http://127.0.0.1:1", "--key-file", str(path))
    done = CliRunner().invoke(app, ["history", *unreachable])
    assert (done.exit_code, "no service responds at http://127.0.0.1:1" in done.stderr) == (1, True)
    assert SECRET not in done.output
    path.write_text("no key at all")
    done = CliRunner().invoke(app, ["history", *unreachable])
    assert (done.exit_code, done.stderr) == (2, "nnmass: the API key contains characters that no key contains\n")
    done = CliRunner().invoke(app, ["history", *unreachable[:3], str(tmp_path)])
    assert (done.exit_code, "--key-file" in done.stderr) == (2, True)


def test_an_interrupt_message_names_the_command_that_continues(service: Service, client: Client) -> None:
    service.rest()
    command = [
        sys.executable,
        "-m",
        "nnmass",
        "search",
        "--preset",
        "densenet-tiny-free",
        "--max-params",
        "77k",
        "--json",
    ]
    process = subprocess.Popen(
        [*command, "--server", service.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: any(s.request["budget"].get("max_params") == 77_000 for s in client.history(status="queued")))
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    printed, message = process.communicate(timeout=20)
    assert (process.returncode, printed) == (130, "")
    assert "nnmass show" in message
    assert "Traceback" not in message
    client.cancel(next(client.history(status="queued")))
