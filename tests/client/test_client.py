"""The client against a real service with a real worker."""

from __future__ import annotations

import csv
import io
import json
import threading
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import httpx2
import pytest

import nnmass
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.storage.models import Export
from nnmass import (
    Client,
    DefinitionError,
    Event,
    InvalidRequest,
    NotFound,
    NotPossible,
    SearchFailed,
    TimedOut,
    WrongState,
)
from tests.api import trainings
from tests.client.service import Service, wait_until
from tests.client.test_local import MLP

SMALL: dict[str, Any] = {"space": "densenet-tiny-free", "max_params": 100_000}
UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"


def waiting(client: Client, service: Service, **options: Any) -> Any:
    """Submit a search while the worker rests."""
    service.rest()
    return client.submit(**{**SMALL, "fresh": True, **options})


def test_a_search_is_submitted_followed_and_its_answer_read(client: Client) -> None:
    reported: list[Event] = []
    search = client.submit(**SMALL, name="camera", tags=["edge"], note="for the new one")
    assert (search.name, search.tags, search.note, search.reused) == ("camera", ("edge",), "for the new one", False)
    ended = client.wait(search, progress=reported.append)
    assert (ended.status, ended.ended) == ("succeeded", True)
    assert [event.id for event in reported] == list(range(1, len(reported) + 1))
    assert (reported[-1].name, reported[-1].fraction) == ("done", 1.0)
    assert reported[-1].raw["id"] == search.id
    assert ended.created_at.utcoffset() == timedelta(0)
    again = client.submit(**SMALL, name="camera", tags=["edge"], note="for the new one")
    assert (again.id, again.reused, again.reused_from) == (search.id, True, None)
    other = client.submit(**SMALL, name="another camera")
    assert (other.name, other.status, other.reused_from, other.id != search.id) == (
        "another camera",
        "succeeded",
        search.id,
        True,
    )
    assert client.wait(search.id) == client.get(search)


def test_ranking_yields_every_page(client: Client) -> None:
    answer = client.search(**SMALL, top_k=230)
    assert [item.rank for item in answer] == list(range(1, 231))
    assert [item.rank for item in islice(client.ranking(answer.search or ""), 3)] == [1, 2, 3]
    assert answer.search is not None
    assert client.answer(answer.search.id) == answer


def test_the_ranks_that_follow_are_those_that_are_searched_here(client: Client) -> None:
    first = client.search(**SMALL, top_k=3)
    assert first.search is not None
    following = client.wait(client.next_ranks(first.search))
    assert client.next_ranks(first.search.id).id == following.id
    answer = client.answer(following)
    assert [item.rank for item in answer] == [4, 5, 6]
    assert answer == nnmass.next_ranks(first) == nnmass.next_ranks(nnmass.search(**SMALL, top_k=3))
    front = client.search(**SMALL, objective={"pareto": ["nn_mass", "params"]})
    assert front.search is not None
    with pytest.raises(WrongState, match="no ranks follow"):
        client.next_ranks(front.search)
    with pytest.raises(NotPossible, match="no ranks follow"):
        nnmass.next_ranks(front)


def test_history_yields_every_page(client: Client, service: Service) -> None:
    service.rest()
    made = [client.submit(**SMALL, fresh=True, tags=["many"]).id for _ in range(103)]
    found = list(client.history(tag="many"))
    assert [search.id for search in found] == made[::-1]
    assert [search.id for search in islice(client.history(tag="many", status="queued"), 2)] == made[:-3:-1]
    assert not list(client.history(tag="many", created_after=datetime.now(UTC) + timedelta(hours=1)))
    for search in found:
        client.delete(search)
    assert not list(client.history(tag="many"))


def test_a_search_is_changed_cancelled_retried_and_deleted(client: Client, service: Service) -> None:
    search = waiting(client, service)
    changed = client.change(search, name="new", tags=[])
    assert (changed.name, changed.tags) == ("new", ())
    assert client.cancel(search).status == "cancelled"
    assert client.cancel(search).status == "cancelled"
    with pytest.raises(SearchFailed, match="ended as cancelled") as failed:
        client.answer(search)
    assert failed.value.search.id == search.id
    assert client.retry(search).status == "queued"
    service.work()
    assert client.wait(search, timeout=20).status == "succeeded"
    with pytest.raises(WrongState):
        client.retry(search)
    client.delete(search)
    with pytest.raises(NotFound):
        client.get(search)
    with pytest.raises(NotFound):
        client.delete(search)


def test_waiting_ends_after_its_timeout(client: Client, service: Service) -> None:
    search = waiting(client, service)
    with pytest.raises(TimedOut):
        client.wait(search, timeout=0.3)
    with pytest.raises(SearchFailed, match="is still queued"):
        client.answer(search)
    client.cancel(search)


def test_a_failed_search_raises_an_error_with_its_reason(client: Client, service: Service) -> None:
    search = waiting(client, service)
    held = service.write(lifecycle.claim, "search", "test/1", 15.0)
    assert isinstance(held, Claim)
    service.write(lifecycle.fail, held, "broken", "the engine broke")
    assert client.wait(search).status == "failed"
    with pytest.raises(SearchFailed, match="ended as failed: the engine broke"):
        client.answer(search)


def test_compare_shows_differences_of_searches(client: Client) -> None:
    two = [client.search("densenet-tiny-free", max_params=limit, top_k=5).search for limit in (100_000, 120_000)]
    assert all(two)
    found = client.compare(*[one for one in two if one])
    assert "request.budget.max_params" in [one["field"] for one in found.differences]
    with pytest.raises(NotFound):
        client.compare(UNKNOWN_ID, UNKNOWN_ID.replace("8", "9"))


def test_an_error_of_the_service_names_the_field(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="note must have at most") as refused:
        client.submit("densenet-tiny-free", note="x" * 20_000)
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")
    assert refused.value.problems[0].field == "note"
    with pytest.raises(NotFound, match="no such search"):
        client.get("nonsense")


def test_architectures_are_registered_drawn_and_exported(client: Client) -> None:
    known = client.register(MLP)
    assert client.architecture(known.arch_id) == known
    assert known.searches == ()
    assert client.diagram(known.arch_id) == client.diagram(MLP)
    compile(client.export(known, seed=2), "network.py", "exec")
    assert json.loads(client.export("resnet18", format="json"))["family"] == "resnet"
    with pytest.raises(NotFound):
        client.export(f"arch_{'0' * 32}")


def test_export_waits_for_a_file_that_a_worker_makes(client: Client, service: Service) -> None:
    waited: list[str] = []
    with pytest.raises(TimedOut):
        client.export(MLP, format="onnx", timeout=0.2, waiting=waited.append)
    assert waited[0].startswith(
        "waiting for a worker: place 1 in the queue files, whose workers have sent no heartbeat"
    )

    def make() -> None:
        held = trainings.claim(service.database, "files")
        with service.database.write() as session:
            session.get_one(Export, held.job_id).content = b"made"
            lifecycle.succeed(session, held)

    worker = threading.Timer(0.2, make)
    worker.start()
    assert client.export(MLP, format="onnx") == b"made"
    worker.join()


def test_a_training_reports_each_epoch(client: Client, service: Service) -> None:
    batch = client.verify(MLP, dataset="mnist-5k", recipe="mlp-paper", seeds=[0], artifacts=["weights"])
    (training,) = batch.items
    assert (training.role, training.seeds, training.status) == ("single", (0,), "queued")
    reported: list[Event] = []

    def train() -> None:
        held = trainings.claim(service.database)
        trainings.finish(service.database, held, {0: 7})

    worker = threading.Timer(0.2, train)
    worker.start()
    ended = client.wait_verification(training, progress=reported.append, timeout=30)
    worker.join()
    assert [event.epoch["epoch"] for event in reported if event.epoch is not None] == [1]
    assert ended.result is not None
    assert (ended.status, ended.result.accuracy.mean, ended.result.accuracy.std) == ("succeeded", 0.7, None)
    assert [run.epochs[0]["test_accuracy"] for run in ended.runs] == [0.4]
    assert client.wait_verification(ended.id) == ended
    assert len(list(client.verification_events(training, last=1))) == len(reported) - 1
    assert [one.id for one in client.verifications(arch_id=training.arch_id)] == [training.id]
    assert client.artifact(training, "weights-seed0.pt") == b"abc"
    assert client.export_trained(training, format="weights") == b"abc"
    assert client.export_trained(training.id, format="weights", seed=0) == b"abc"
    fitting = client.export(training.arch_id, seed=0)  # the source was not stored, as by nnmass 0.1.0
    assert client.export_trained(training) == fitting
    for wrong, field in (({"seed": 1}, "seed"), ({"format": "torchscript"}, "format")):
        with pytest.raises(DefinitionError) as refused:
            client.export_trained(training, **wrong)
        assert refused.value.problems[0].field == field
    with pytest.raises(NotFound, match="no such artifact"):
        client.export_trained(training, format="onnx")
    assert isinstance(client.log(training), str)
    assert (ended.adaptation, [one["code"] for one in ended.result.warnings]) == (None, ["chance_level"])
    assert client.evidence(dataset="mnist-5k").n == 1
    assert client.evidence(dataset="mnist-5k", adapted=True).n == 0


def test_figures_of_your_own_stand_beside_nn_mass(client: Client) -> None:
    networks = [{**MLP, "depth": 20 + i} for i in range(6)]
    points = [{"architecture": one, "name": f"net {i}", "values": {"zico": i}} for i, one in enumerate(networks)]
    stored = client.upload_points(points)
    assert [(one.name, one.columns) for one in stored] == [(f"net {i}", {"zico": i}) for i in range(6)]
    client.upload_points([{"arch_id": one.arch_id, "values": {"published": -i}} for i, one in enumerate(stored)])
    assert client.columns() == {"published": 6, "zico": 6}
    assert sorted(one.arch_id for one in client.points()) == sorted(one.arch_id for one in stored)
    found = client.evidence(accuracy="published", family="densenet_mlp")
    (column,) = found.columns
    assert (found.n, found.accuracy_column, column["name"]) == (6, "published", "zico")
    assert column["column"]["spearman"]["value"] == pytest.approx(-1)
    table = list(csv.DictReader(io.StringIO(client.evidence_csv(accuracy="published"))))
    assert {row["name"]: row["zico"] for row in table} == {f"net {i}": f"{i}.0" for i in range(6)}
    with pytest.raises(InvalidRequest) as refused:
        client.upload_points([points[0], {**points[1], "values": {"params": 1}}])
    assert refused.value.problems[0].field == "points.1.values.params"
    with pytest.raises(DefinitionError) as unknown:
        client.upload_points([{"architecture": "nonet", "values": {"zico": 1}}])
    assert unknown.value.problems[0].field.startswith("points.0.architecture")
    client.delete_column("published")
    client.delete_point(stored[0].arch_id)
    assert client.columns() == {"zico": 5}
    with pytest.raises(NotFound):
        client.delete_point(stored[0].arch_id)
    client.delete_column("zico")


def test_a_file_of_a_training_is_written_with_options(client: Client, service: Service) -> None:
    (training,) = client.verify(MLP, dataset="mnist-5k", recipe="mlp-paper", seeds=[0]).items
    with pytest.raises(WrongState, match="has not ended; its status is queued"):
        client.export_trained(training, format="onnx", batch=1)
    trainings.finish(service.database, trainings.claim(service.database), {0: 7})
    trainings.describe(service.database, UUID(training.id))
    asked: dict[str, Any] = {"batch": 1, "opset": 13, "fold_batchnorm": False}
    about = json.loads(client.export_trained(training, format="metadata", **asked))
    assert (about["batch"], about["opset"], about["batchnorm"]) == (1, 13, "kept")
    refusals: tuple[tuple[dict[str, Any], str], ...]
    refusals = (({"format": "onnx", "opset": 12}, "opset"), ({"format": "weights", "batch": 1}, "batch"))
    for wrong, field in refusals:
        with pytest.raises(DefinitionError) as refused:
            client.export_trained(training, **wrong)
        assert refused.value.problems[0].field == field
    waited: list[str] = []
    with pytest.raises(TimedOut):
        client.export_trained(training, format="onnx", **asked, timeout=0, waiting=waited.append)
    assert "place 1 in the queue files" in waited[0]
    (stored,) = client.verification(training).exports
    assert (stored["batch"], stored["opset"], stored["status"]) == (1, 13, "queued")
    held = trainings.claim(service.database, "files")
    with service.database.write() as session:
        session.get_one(Export, held.job_id).content = b"made"
        lifecycle.succeed(session, held)
    assert client.export_trained(training, format="onnx", **asked) == b"made"
    client.cancel_trained_export(training, seed=0)  # a file that exists stays
    client.delete_trained_export(training)
    assert client.verification(training).exports == ()
    with pytest.raises(NotFound, match="no such file"):
        client.delete_trained_export(training.id)


def test_a_training_is_cancelled_retried_and_replayed(client: Client) -> None:
    (training,) = client.verify("resnet18", dataset="fake", recipe="imagenet-paper", seeds=[0, 1]).items
    assert training.adaptation is not None
    assert training.adaptation["trained"]["steps_per_epoch"] == 21
    assert client.cancel_verification(training).status == "cancelled"
    assert client.retry_verification(training.id).status == "queued"
    assert client.cancel_verification(training).status == "cancelled"
    (plain,) = client.verify("resnet18", dataset="fake", recipe="imagenet-paper", adapt=False).items
    assert plain.adaptation is None
    client.cancel_verification(plain)
    with pytest.raises(NotFound):
        client.artifact(training, "weights-seed0.pt")
    with pytest.raises(DefinitionError, match="is required: the training has the seeds 0, 1"):
        client.export_trained(training)
    again = client.replay(training)
    assert again.replay is not None
    assert (again.replay["of"], again.replay["same_result"]) == (training.id, None)
    client.cancel_verification(again)


def test_what_was_made_by_mistake_is_deleted(client: Client) -> None:
    arch_id = client.register({**MLP, "depth": 29}).arch_id
    (training,) = client.verify(arch_id, dataset="mnist-5k", recipe="mlp-paper").items
    body = {"kind": "peak", "architecture": {"arch_id": arch_id}}
    measurement = client._transport.post("/v1/measurements", body)["id"]
    with pytest.raises(TimedOut):
        client.export(arch_id, format="onnx", timeout=0)
    with pytest.raises(WrongState, match=f"verification {training.id}; .*measurement {measurement}; .*export onnx"):
        client.delete_architecture(arch_id)
    assert (len(client.architecture(arch_id).measurements), len(client.architecture(arch_id).exports)) == (1, 1)
    assert client.exclude(training).excluded
    assert not client.exclude(training.id, excluded=False).excluded
    client.delete_verification(training)
    client.delete_measurement(measurement)
    client.cancel_export(arch_id, format="onnx")
    client.delete_export(arch_id, format="onnx")
    assert client.architecture(arch_id).registered
    client.delete_architecture(arch_id)
    for gone in (client.delete_verification, client.delete_measurement, client.delete_architecture):
        with pytest.raises(NotFound):
            gone(training.id)
    with pytest.raises(NotFound):
        client.delete_export(arch_id, format="onnx")


def test_the_best_of_a_search_is_trained_with_controls(client: Client) -> None:
    answer = client.search("densenet-mlp-mnist", max_params="20k", top_k=2)
    assert answer.search is not None
    for what in (answer.search, answer.search.id):
        batch = client.verify(what, dataset="mnist-5k", recipe="mlp-paper", top=1, controls=["params"])
        assert [item.role for item in batch.items] == ["candidate", "params_control"]
        assert all(item.search == answer.search.id for item in batch.items)
        for item in batch.items:
            client.cancel_verification(item)
    with pytest.raises(InvalidRequest, match="dataset"):
        client.verify(answer.search, dataset="cifar10", recipe="mlp-paper")


def test_the_client_lists_data_sets_recipes_and_readiness(client: Client) -> None:
    assert "mnist-5k" in [one.name for one in client.datasets()]
    assert "mlp-paper" in [one.name for one in client.recipes()]
    with pytest.raises(NotFound):
        client.space("nowhere")
    ready = client.ready()
    assert ready.ready
    assert "train_worker" in ready.missing


def test_the_data_frame_has_the_columns_of_the_csv_export(client: Client, service: Service) -> None:
    pytest.importorskip("pandas", reason="pandas is optional")
    answer = client.search(**SMALL, max_macs="50M", top_k=4)
    assert answer.search is not None
    path = f"{service.address}/v1/searches/{answer.search.id}/export"
    text = httpx2.get(path, params={"format": "csv"}, trust_env=False, verify=False).raise_for_status().text
    heads = next(csv.reader(io.StringIO(text)))
    assert set(answer.to_pandas().columns) == set(heads) - {"architecture"}


def test_threads_can_share_a_client(client: Client) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(client.search(**SMALL, top_k=7)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(found) == 8)
    assert found == [7] * 8
