"""Verifications and evidence through the API."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.jobs import lifecycle
from app.storage.models import Verification
from app.verifications import service
from nnmass_core.codec import sha256_of
from nnmass_core.families import decode_architecture
from nnmass_core.named.adaptation import adaptation_of
from nnmass_core.named.networks import named_network
from nnmass_core.named.recipes import recipes, resolve_recipe
from tests.api import trainings
from tests.conftest import Backend
from tests.networks import MLP
from worker import search_tasks
from worker.process import Context

RESNET: dict[str, Any] = {  # its last feature maps are 1 x 1
    "family": "resnet",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "block": "basic",
    "stages": [{"channels": 16, "repeats": 1}] * 4,
}
HELD_OUT = replace(resolve_recipe("mlp-paper"), validation=0.1).to_json()
BODY: dict[str, Any] = {"architecture": MLP, "dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
SEARCH: dict[str, Any] = {
    "space": {
        "family": "densenet_mlp",
        "in_features": 64,
        "num_classes": 10,
        "width": 8,
        "depth": {"min": 4, "max": 16},
        "skip_channels": {"min": 0, "max": 16},
        "activation": "relu",
    },
    "budget": {"max_params": 2500},
    "top_k": 3,
}


def post(client: TestClient, **changes: Any) -> Any:
    return client.post("/v1/verifications", json=BODY | changes)


def verify(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = post(client, **changes)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def search(client: TestClient, worker: Context, **changes: Any) -> str:
    search_id = client.post("/v1/searches", json=SEARCH | changes).json()["id"]
    assert search_tasks.run_next(worker)
    return str(search_id)


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problems(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(item["field"], item["code"]) for item in answer.json()["errors"]]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in BODY.items() if key != name}


# valid and invalid requests


def test_a_training_of_a_given_definition_is_queued(client: TestClient) -> None:
    answer = post(client, seeds=[3, 1])
    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/verifications/{body['id']}"
    figures = decode_architecture(MLP).evaluation
    assert (body["status"], body["role"], body["seeds"]) == ("queued", "single", [3, 1])
    assert (body["nn_mass"], body["params"], body["macs"]) == (float(figures.mass), figures.params, figures.macs)
    assert body["recipe"] == recipes()["mlp-paper"].recipe.to_json()
    assert (body["recipe_name"], body["dataset"]) == ("mlp-paper", {"name": "digits"})
    assert body["runs"] == [{"seed": seed, "accuracy": None, "epochs": []} for seed in (3, 1)]
    assert get(client, answer.headers["Location"]) == body


def test_a_training_of_an_autoencoder_is_refused(client: TestClient) -> None:
    answer = post(client, architecture=named_network("mlperf-tiny-ad").definition())
    assert problems(answer) == [("dataset", "not_a_classifier")]
    assert "a reconstruction of its input, not scores of classes" in answer.json()["errors"][0]["message"]


def test_a_training_stores_files_of_every_kind_unless_some_are_named(client: TestClient, backend: Backend) -> None:
    def kept(answer: dict[str, Any]) -> list[str]:
        with backend.database.read() as session:
            return list(session.get_one(Verification, UUID(answer["id"])).kept)

    assert kept(verify(client)) == ["definition", "metadata", "onnx", "source", "weights"]
    assert kept(verify(client, artifacts=["weights", "onnx", "weights"])) == ["onnx", "weights"]
    assert kept(verify(client, artifacts=[])) == []


def test_a_network_with_too_many_links_has_no_source(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_LINKS", 10)
    assert problems(post(client)) == [("artifacts", "too_large")]
    verify(client, artifacts=["weights", "onnx"])


def test_a_training_of_a_known_architecture_id_is_queued(client: TestClient) -> None:
    arch_id = client.post("/v1/architectures", json=MLP).json()["arch_id"]
    named = client.post("/v1/verifications", json=without("architecture") | {"arch_id": arch_id})
    assert named.status_code == 202
    assert named.json()["architecture"]["skip_channels"] == 8
    about = get(client, f"/v1/architectures/{arch_id}")
    assert [item["id"] for item in about["verifications"]] == [named.json()["id"]]


def test_a_network_queued_for_training_is_read_by_its_id(client: TestClient) -> None:
    arch_id = verify(client)["arch_id"]
    assert get(client, f"/v1/architectures/{arch_id}")["params"] == decode_architecture(MLP).evaluation.params


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arch_id": "arch_0"}, ("architecture", "one_of")),
        ({"architecture": None}, ("architecture", "one_of")),
        ({"architecture": None, "arch_id": "arch_0"}, ("arch_id", "unknown_architecture")),
        ({"architecture": MLP | {"width": 0}}, ("architecture.width", "too_small")),
        ({"architecture": MLP | {"in_features": 63}}, ("dataset", "shape_mismatch")),
        ({"architecture": MLP | {"num_classes": 9}}, ("dataset", "classes_mismatch")),
        ({"dataset": "mnist"}, ("dataset", "shape_mismatch")),
        ({"dataset": "imagenet"}, ("dataset", "unknown_dataset")),
        ({"dataset": {"name": "imagefolder"}}, ("dataset.path", "required")),
        ({"dataset": {"name": "imagefolder", "path": "../secret"}}, ("dataset.path", None)),
        ({"dataset": {"name": "imagefolder", "path": "/etc"}}, ("dataset.path", None)),
        ({"recipe": "mlp"}, ("recipe", "unknown_recipe")),
        ({"recipe": {"optimizer": "sgd"}}, ("recipe.learning_rate", "required")),
        ({"recipe": resolve_recipe("mlp-paper").to_json() | {"momentum": 0.9}}, ("recipe.momentum", None)),
        ({"recipe": resolve_recipe("mlp-paper").to_json() | {"epochs": 10**6}}, ("recipe.epochs", "too_large")),
        (
            {
                "architecture": RESNET,
                "dataset": "fake",
                "recipe": resolve_recipe("mlp-paper").to_json() | {"batch_size": 1},
            },
            ("recipe.batch_size", "too_small"),
        ),
        (
            {"recipe": resolve_recipe("mlp-paper").to_json() | {"validation": 0.6}},
            ("recipe.validation", "too_large"),
        ),
        (
            {"recipe": resolve_recipe("mlp-paper").to_json() | {"validation": 0.001}},
            ("recipe.validation", "too_small"),
        ),
        ({"adapt": "no"}, ("adapt", None)),
        ({"seeds": []}, ("seeds", "too_short")),
        ({"seeds": [1, 1]}, ("seeds", "duplicate")),
        ({"seeds": [2**32]}, ("seeds.0", "too_large")),
        ({"seeds": list(range(21))}, ("seeds", "too_long")),
        ({"top": 2}, ("top", "conflicts_with_source")),
        ({"controls": ["params"]}, ("controls", "conflicts_with_source")),
        ({"artifacts": ["logs"]}, ("artifacts.0", "unknown_choice")),
        ({"architecture": None, "search": "0199c0de-0000-7000-8000-000000000000"}, ("search", "unknown_search")),
        ({"unknown": 1}, ("unknown", "unknown_field")),
        (
            {
                "dataset": "synthetic-linear",
                "recipe": "cifar-quick",
                "architecture": MLP | {"in_features": 2, "num_classes": 2},
            },
            ("recipe.augmentation", "no_images"),
        ),
    ],
)
def test_an_invalid_training_request_names_its_field(client: TestClient, changes: Any, expected: Any) -> None:
    found = problems(post(client, **changes))
    assert expected in found or (expected[1] is None and expected[0] in [field for field, _ in found]), found
    assert get(client, "/v1/verifications")["items"] == []


def test_a_repeat_with_the_same_idempotency_key_trains_once(client: TestClient) -> None:
    first, again = (client.post("/v1/verifications", json=BODY, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.json() == again.json()
    other = client.post("/v1/verifications", json=BODY | {"seeds": [5]}, headers={"Idempotency-Key": "k1"})
    assert problems(other) == [("header.Idempotency-Key", "key_reused")]
    assert len(get(client, "/v1/verifications")["items"]) == 1


# the best of a search, with controls


def test_the_best_of_a_search_is_trained_with_controls_of_equal_cost(client: TestClient, worker: Context) -> None:
    search_id = search(client, worker)
    controls = ["params", "macs", "random", "near_budget"]
    body = without("architecture") | {"search": search_id, "top": 3, "controls": controls}
    answer = client.post("/v1/verifications", json=body)
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert batch["missing_controls"] == []
    items = batch["items"]
    roles = [(item["role"], item["candidate_rank"]) for item in items]
    kinds = ("candidate", *(f"{name}_control" for name in controls))
    assert roles == [(kind, rank) for kind in kinds for rank in (1, 2, 3)]
    assert len({item["arch_id"] for item in items}) == 15
    ranking = get(client, f"/v1/searches/{search_id}/architectures")["items"]
    assert [item["arch_id"] for item in items[:3]] == [place["arch_id"] for place in ranking]
    by_role = {(item["role"], item["candidate_rank"]): item for item in items}
    for rank in (1, 2, 3):
        candidate = by_role["candidate", rank]
        for kind in ("params_control", "macs_control"):
            assert by_role[kind, rank]["params"] <= candidate["params"]
            assert by_role[kind, rank]["macs"] <= candidate["macs"]
        assert 0.9 * 2500 <= by_role["near_budget_control", rank]["params"] <= 2500
        chance = by_role["random_control", rank]
        assert chance["params"] == pytest.approx(candidate["params"], rel=0.4)
        assert chance["params"] <= 2500
    listed = get(client, "/v1/verifications", search=search_id, role="random_control")["items"]
    assert [item["candidate_rank"] for item in listed] == [3, 2, 1]


def test_training_from_a_search_without_results_is_refused(client: TestClient, worker: Context) -> None:
    queued = client.post("/v1/searches", json=SEARCH).json()["id"]
    wanted = without("architecture") | {"search": queued}
    assert problems(client.post("/v1/verifications", json=wanted)) == [("search", "not_succeeded")]
    assert search_tasks.run_next(worker)
    empty = search(client, worker, budget={"max_params": 1})
    wanted = without("architecture") | {"search": empty}
    assert problems(client.post("/v1/verifications", json=wanted)) == [("search", "no_architectures")]


def test_a_search_without_possible_controls_is_reported(client: TestClient, worker: Context) -> None:
    space = SEARCH["space"] | {"depth": 4, "skip_channels": 8}
    search_id = search(client, worker, space=space)
    body = without("architecture") | {"search": search_id, "top": 3, "controls": ["random", "near_budget"]}
    batch = client.post("/v1/verifications", json=body).json()
    assert [item["role"] for item in batch["items"]] == ["candidate"]
    assert [(m["control"], m["candidate_rank"]) for m in batch["missing_controls"]] == [
        ("random", 1),
        ("near_budget", 1),
    ]


# its life


def test_a_training_shows_its_epochs_results_and_files(client: TestClient, backend: Backend) -> None:
    first = verify(client, seeds=[0, 1])
    held = trainings.claim(backend.database)
    trainings.epoch(backend.database, held, 0, 1)
    trainings.epoch(backend.database, held, 0, 2)
    path = f"/v1/verifications/{first['id']}"
    running = get(client, path)
    assert running["status"] == "running"
    assert [epoch["epoch"] for epoch in running["runs"][0]["epochs"]] == [1, 2]
    trainings.finish(backend.database, held, {0: 8, 1: 6})
    done = get(client, path)
    accuracy = done["result"]["accuracy"]
    assert accuracy["mean"] == pytest.approx(0.7)
    assert accuracy["std"] == pytest.approx(0.02**0.5)
    assert [item["accuracy"] for item in accuracy["by_seed"]] == [0.8, 0.6]
    assert done["result"]["confusion"] == {"classes": ["no", "yes"], "matrix": [[14, 6], [0, 0]]}
    assert done["result_digest"].startswith("sha256:")
    assert done["result"]["data"] == {k: v for k, v in trainings.FIGURES["data"].items() if k != "classes"}
    page = client.get(f"/verifications/{first['id']}").text
    for seed in (0, 1):  # the source was not stored, as by nnmass 0.1.0: the page links to the one that fits
        assert f"/architectures/{first['arch_id']}/export/pytorch?seed={seed}" in page
    file = client.get(done["artifacts"][0]["location"])
    assert (file.status_code, file.content) == (200, b"abc")
    assert 'filename="weights-seed0.pt"' in file.headers["Content-Disposition"]
    assert client.get(f"{path}/artifacts/other").status_code == 404
    assert client.get(f"{path}/log").headers["Content-Type"].startswith("text/plain")
    listed = get(client, "/v1/verifications")["items"][0]["result"]
    assert listed["accuracy"]["mean"] == pytest.approx(0.7)
    assert "confusion" not in listed  # a megabyte for a thousand classes


def test_a_training_shows_its_validation_accuracy_apart_from_the_test_accuracy(
    client: TestClient, backend: Backend
) -> None:
    plain, validated = verify(client), verify(client, recipe=HELD_OUT, seeds=[0, 1])
    assert (plain["recipe"].get("validation"), validated["recipe"]["validation"]) == (None, 0.1)
    assert validated["adaptation"] is None, "how many images are left depends on the sizes of the classes"
    trainings.finish(backend.database, trainings.claim(backend.database), {0: 8})
    held = trainings.claim(backend.database)
    trainings.epoch(backend.database, held, 0, 1, validated=0.5, tested=False)
    path = f"/v1/verifications/{validated['id']}"
    (running,) = get(client, path)["runs"][0]["epochs"]
    assert (running["test_accuracy"], running["test_loss"]) == (None, None)
    assert (running["validation_accuracy"], running["validation_loss"]) == (0.5, 1.0)
    trainings.finish(backend.database, held, {0: 8, 1: 6}, validated=0.75)
    accuracy = get(client, path)["result"]["accuracy"]
    assert accuracy["mean"] == pytest.approx(0.7)
    by_seed = [{"seed": seed, "accuracy": 0.75, "loss": 0.5} for seed in (0, 1)]
    assert accuracy["validation"] == {"mean": 0.75, "std": 0.0, "by_seed": by_seed}
    before = get(client, f"/v1/verifications/{plain['id']}")
    assert before["result"]["accuracy"]["validation"] is None
    assert before["runs"][0]["epochs"][0]["validation_accuracy"] is None
    table = list(csv.DictReader(io.StringIO(client.get("/v1/evidence", params={"format": "csv"}).text)))
    assert {(row["accuracy"], row["validation_accuracy"]) for row in table} == {("0.8", ""), ("0.7", "0.75")}


def test_the_result_digest_tells_validation_figures_apart(client: TestClient, backend: Backend) -> None:
    digests = []
    for validated in (None, 0.5, 0.75):
        started = verify(client)
        trainings.finish(backend.database, trainings.claim(backend.database), {0: 8}, validated=validated)
        digests.append(get(client, f"/v1/verifications/{started['id']}")["result_digest"])
    assert len(set(digests)) == 3
    as_before = {"epochs": [[0, 1, 1.0, 0.5, 1.0, 0.4, 0.1]], "seeds": [[0, 0.8, 1.0]]}
    assert digests[0] == f"sha256:{sha256_of(as_before)}", "that of releases without a validation part"


def test_a_training_is_cancelled_retried_and_replayed(client: TestClient, backend: Backend) -> None:
    path = f"/v1/verifications/{verify(client)['id']}"
    assert client.post(f"{path}/retry").status_code == 200  # it waits already
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    again = client.post(f"{path}/retry")
    assert (again.status_code, again.json()["status"], again.json()["attempts"]) == (202, "queued", 0)
    trainings.train_all(backend.database, [7])
    refused = client.post(f"{path}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert client.post(f"{path}/cancel").json()["status"] == "succeeded"
    replayed = client.post(f"{path}/replay")
    assert replayed.status_code == 202
    assert replayed.json()["replay"] == {"of": path.rpartition("/")[2], "same_result": None}
    trainings.train_all(backend.database, [7])
    assert get(client, replayed.headers["Location"])["replay"]["same_result"] is True
    third = client.post(f"{path}/replay").headers["Location"]
    trainings.train_all(backend.database, [6])
    assert get(client, third)["replay"]["same_result"] is False


@pytest.mark.parametrize("path", ["", "/log", "/events", "/artifacts/x"])
@pytest.mark.parametrize("name", ["0199c0de-0000-7000-8000-000000000000", "nothing"])
def test_unknown_trainings_are_404(client: TestClient, path: str, name: str) -> None:
    answer = client.get(f"/v1/verifications/{name}{path}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    if not path:
        for verb in ("cancel", "retry", "replay"):
            assert client.post(f"/v1/verifications/{name}/{verb}").status_code == 404
        assert client.patch(f"/v1/verifications/{name}", json={"excluded": True}).status_code == 404


def test_the_list_of_trainings_is_filtered_and_paged(client: TestClient, backend: Backend) -> None:
    made = [verify(client, seeds=[seed])["id"] for seed in range(3)]
    other = verify(client, architecture=MLP | {"in_features": 784}, dataset="mnist-5k")["id"]
    trainings.train_all(backend.database, [5])
    page = get(client, "/v1/verifications", limit=3)
    assert [item["id"] for item in page["items"]] == [other, made[2], made[1]]
    rest = get(client, "/v1/verifications", limit=3, cursor=page["next_cursor"])
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == ([made[0]], None)
    for query, expected in (
        ({"status": "succeeded"}, [made[0]]),
        ({"dataset": "mnist-5k"}, [other]),
        ({"family": "resnet"}, []),
        ({"arch_id": page["items"][0]["arch_id"]}, [other]),
        ({"role": "candidate"}, []),
    ):
        assert [item["id"] for item in get(client, "/v1/verifications", **query)["items"]] == expected
    assert problems(client.get("/v1/verifications", params={"cursor": page["next_cursor"], "role": "single"}))


@pytest.mark.parametrize("path", ["/v1/verifications", "/v1/searches"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"])
def test_times_outside_the_range_of_utc_are_refused(client: TestClient, path: str, moment: str) -> None:
    assert [field for field, _ in problems(client.get(f"{path}?created_after={moment}"))] == ["created_after"]


@pytest.mark.parametrize(
    "address",
    ["/v1/verifications?family=%00", "/v1/evidence?family=a%00b", "/v1/searches?q=%00&tag=a"],
)
def test_nul_in_a_path_or_query_is_refused(client: TestClient, address: str) -> None:
    assert [code for _, code in problems(client.get(address))] == ["null_character"]
    assert client.get("/v1/architectures/%00").status_code == 404


def test_the_openapi_document_defines_every_referenced_schema(client: TestClient) -> None:
    document = get(client, "/openapi.json")
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])


# recipes adapted to few images, and accuracies at chance level


def test_the_adaptation_to_a_known_number_of_images_is_shown_before_the_training(client: TestClient) -> None:
    answer = verify(client, dataset="fake", architecture=RESNET, recipe="cifar-quick")
    adapted = adaptation_of(resolve_recipe("cifar-quick"), 512)
    assert adapted is not None
    assert (answer["adapt"], answer["adaptation"]) == (True, adapted.to_json())
    assert answer["adaptation"]["trained"]["steps_per_epoch"] == 21
    assert answer["recipe"] == recipes()["cifar-quick"].recipe.to_json()  # as requested
    assert verify(client, dataset="fake", architecture=RESNET, recipe="cifar-quick", adapt=False)["adaptation"] is None
    assert verify(client)["adaptation"] is None  # 23 steps of 64 images
    folder = {"name": "imagefolder", "path": "birds"}
    assert verify(client, dataset=folder, architecture=RESNET, recipe="cifar-quick")["adaptation"] is None


def test_an_adaptation_that_a_worker_decides_is_stored_with_the_training(client: TestClient, backend: Backend) -> None:
    folder = {"name": "imagefolder", "path": "birds"}
    path = f"/v1/verifications/{verify(client, dataset=folder, architecture=RESNET, recipe='cifar-quick')['id']}"
    held = trainings.claim(backend.database)
    trainings.adapt(backend.database, held, resolve_recipe("cifar-quick"), 160)
    assert get(client, path)["adaptation"]["trained"]["batch_size"] == 8
    assert "epochs instead of" not in client.get(path.removeprefix("/v1")).text
    trainings.finish(backend.database, held, {0: 7})
    done = get(client, path)
    assert done["adaptation"]["trained"]["batch_size"] == 8
    assert get(client, "/v1/verifications")["items"][0]["adaptation"] == done["adaptation"]

    path = f"/v1/verifications/{verify(client, dataset=folder, architecture=RESNET, recipe='cifar-quick')['id']}"
    trainings.adapt(backend.database, trainings.claim(backend.database), resolve_recipe("cifar-quick"), 40)
    few = get(client, path)["adaptation"]
    assert (few["requested"]["epochs"], few["trained"]["epochs"], few["trained"]["steps_per_epoch"]) == (8, 32, 5)
    assert few["digest"] != done["adaptation"]["digest"]
    assert "5 steps an epoch instead of 1, 32 epochs instead of 8." in client.get(path.removeprefix("/v1")).text
    older = few | {part: {k: v for k, v in few[part].items() if k != "epochs"} for part in ("requested", "trained")}
    with backend.database.write() as session:
        session.get_one(Verification, UUID(path.rpartition("/")[2])).adaptation = older
    assert get(client, path)["adaptation"]["trained"]["epochs"] is None
    assert "epochs instead of" not in client.get(path.removeprefix("/v1")).text


def test_the_result_digest_tells_an_adapted_training_from_another_of_equal_figures(
    client: TestClient, backend: Backend
) -> None:
    digests = []
    for images in (160, 100_000):
        path = f"/v1/verifications/{verify(client, architecture=RESNET, dataset='fake', recipe='cifar-quick')['id']}"
        held = trainings.claim(backend.database)
        trainings.adapt(backend.database, held, resolve_recipe("cifar-quick"), images)
        trainings.finish(backend.database, held, {0: 7})
        digests.append(get(client, path)["result_digest"])
    assert digests[0] != digests[1]
    # as before recipes were adapted
    assert digests[1] == "sha256:4ca672bb2e9b60736676d689226aceb94efca20e36548383d02fffb4208efeee"


def test_evidence_never_mixes_adapted_trainings_with_others(client: TestClient, backend: Backend) -> None:
    quick = resolve_recipe("cifar-quick")
    for images, depths in ((160, (3, 4, 5)), (100_000, (6, 7))):
        for depth in depths:
            verify(client, recipe="cifar-quick", architecture=MLP | {"depth": depth})
            held = trainings.claim(backend.database)
            trainings.adapt(backend.database, held, quick, images)
            trainings.finish(backend.database, held, {0: 7})
    adapted = adaptation_of(quick, 160)
    assert adapted is not None
    evidence = get(client, "/v1/evidence", recipe="cifar-quick")
    assert (evidence["n"], evidence["scope"]["adapted"]) == (3, adapted.digest)
    assert [(other["n"], other["adapted"]) for other in evidence["others"]] == [(2, None)]
    for query, n in (
        ({"adapted": False}, 2),
        ({"adapted": True}, 3),
        ({"recipe": adapted.digest}, 3),
        ({"recipe": quick.digest, "adapted": False}, 2),
    ):
        assert get(client, "/v1/evidence", **query)["n"] == n
    rows = list(csv.DictReader(io.StringIO(client.get("/v1/evidence?format=csv").text)))
    assert sorted(row["adapted"] for row in rows) == ["", ""] + [adapted.digest] * 3


def test_a_diverged_training_counts_for_its_own_adaptation_only(client: TestClient, backend: Backend) -> None:
    quick = resolve_recipe("cifar-quick")
    for images in (160, 100_000):
        verify(client, recipe="cifar-quick")
        held = trainings.claim(backend.database)
        trainings.adapt(backend.database, held, quick, images)
        trainings.finish(backend.database, held, {0: 7})
    verify(client, recipe="cifar-quick", architecture=MLP | {"depth": 5})
    held = trainings.claim(backend.database)
    trainings.adapt(backend.database, held, quick, 160)
    with backend.database.write() as session:
        assert lifecycle.fail(session, held, "diverged", "the loss is nan")
    found = [get(client, "/v1/evidence", adapted=adapted)["diverged"] for adapted in (True, False)]
    assert found == [1, 0]


def test_a_replay_is_adapted_only_if_its_first_run_was(client: TestClient, backend: Backend) -> None:
    for adapt in (True, False):
        path = verify(client, dataset="fake", architecture=RESNET, recipe="cifar-quick", adapt=adapt)["id"]
        trainings.train_all(backend.database, [7])
        again = client.post(f"/v1/verifications/{path}/replay").json()
        assert (again["adapt"], again["adaptation"] is not None) == (adapt, adapt)
        client.post(f"/v1/verifications/{again['id']}/cancel")


def test_an_accuracy_at_chance_level_is_a_warning_on_the_result(client: TestClient, backend: Backend) -> None:
    path = f"/v1/verifications/{verify(client, seeds=[0, 4])['id']}"
    held = trainings.claim(backend.database)
    trainings.finish(backend.database, held, {0: 8, 4: 6})
    (warning,) = get(client, path)["result"]["warnings"]
    assert (warning["code"], warning["seeds"]) == ("chance_level", [0, 4])
    assert "seeds 0, 4 is at chance level" in warning["message"]
    assert get(client, "/v1/verifications")["items"][0]["result"]["warnings"] == [warning]


# what can be named


def test_data_sets_and_recipes_are_listed_ready_to_post(client: TestClient) -> None:
    names = [item["name"] for item in get(client, "/v1/datasets")["items"]]
    assert {"mnist", "mnist-5k", "digits", "cifar10", "cifar100", "imagefolder", "fake"} <= set(names)
    assert {"synthetic-circle", "synthetic-linear"} <= set(names)
    listed = get(client, "/v1/recipes")["items"]
    assert [item["name"] for item in listed] == ["mlp-paper", "cifar-paper", "imagenet-paper", "cifar-quick"]
    own = listed[0]["recipe"] | {"epochs": 2}
    answer = verify(client, recipe=own)
    assert (answer["recipe"], answer["recipe_name"]) == (own, None)
    assert answer["recipe_digest"] != listed[0]["digest"]
    assert verify(client, recipe=listed[0]["recipe"])["recipe_name"] == "mlp-paper"


# evidence


def grid(client: TestClient, backend: Backend, **changes: Any) -> list[dict[str, Any]]:
    """Train a grid in which accuracy grows with NN-Mass."""
    made = [
        verify(client, architecture=MLP | {"depth": depth, "skip_channels": t}, **changes)
        for depth, t in ((6, 2), (6, 8), (8, 4), (8, 12), (10, 6), (10, 14), (12, 4), (12, 10), (14, 12))
    ]
    order = sorted(made, key=lambda item: item["nn_mass"])
    trainings.train_all(backend.database, [1 + order.index(item) for item in made])
    return made


def test_the_statement_of_evidence_without_trainings_reports_their_absence(client: TestClient) -> None:
    evidence = get(client, "/v1/evidence")
    assert (evidence["n"], evidence["scope"], evidence["fit"]) == (0, None, None)
    assert evidence["statement"]


def test_evidence_compares_nn_mass_with_params_and_macs(client: TestClient, backend: Backend) -> None:
    made = grid(client, backend)
    evidence = get(client, "/v1/evidence", dataset="digits", family="densenet_mlp")
    assert (evidence["n"], evidence["runs"]) == (9, 9)
    assert evidence["scope"]["recipe"] == "mlp-paper"
    assert evidence["overall"]["nn_mass"]["spearman"]["value"] == pytest.approx(1.0)
    assert 0 < evidence["overall"]["params"]["spearman"]["value"] < 1
    assert evidence["fit"]["widths"] == [8]
    assert "9" in evidence["statement"]
    points = client.get("/v1/evidence", params={"format": "csv"})
    assert points.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(points.text)))
    assert sorted(row["arch_id"] for row in rows) == sorted(item["arch_id"] for item in made)
    assert {float(row["accuracy"]) for row in rows} == {hits / 10 for hits in range(1, 10)}


def test_evidence_compares_trainings_of_one_data_set_and_recipe(client: TestClient, backend: Backend) -> None:
    grid(client, backend)
    verify(client, recipe="cifar-quick", architecture=MLP)
    trainings.train_all(backend.database, [2])
    evidence = get(client, "/v1/evidence")
    assert (evidence["n"], evidence["scope"]["recipe"]) == (9, "mlp-paper")
    assert [(other["recipe"], other["n"]) for other in evidence["others"]] == [("cifar-quick", 1)]
    assert get(client, "/v1/evidence", recipe="cifar-quick")["n"] == 1
    assert get(client, "/v1/evidence", dataset="mnist-5k")["n"] == 0


def test_evidence_reports_the_count_of_diverged_trainings(client: TestClient, backend: Backend) -> None:
    grid(client, backend)
    verify(client, architecture=MLP | {"depth": 5})
    held = trainings.claim(backend.database)
    with backend.database.write() as session:
        assert lifecycle.fail(session, held, "diverged", "the loss is nan")
    evidence = get(client, "/v1/evidence")
    assert (evidence["n"], evidence["diverged"]) == (9, 1)
    assert "excluded because their training diverged: 1." in evidence["statement"]


def test_evidence_leads_with_the_difference_to_random_networks(
    client: TestClient, backend: Backend, worker: Context
) -> None:
    search_id = search(client, worker)
    body = without("architecture") | {"search": search_id, "top": 3, "controls": ["random", "near_budget"]}
    assert client.post("/v1/verifications", json=body).status_code == 202
    hits = {"candidate": (8, 7, 9), "random_control": (7, 7, 7), "near_budget_control": (9, 9, 9)}
    for role, of_ranks in hits.items():  # in this order they were queued
        for rank, right in enumerate(of_ranks, start=1):
            held = trainings.claim(backend.database)
            training = get(client, f"/v1/verifications/{held.job_id}")
            assert (training["role"], training["candidate_rank"]) == (role, rank)
            trainings.finish(backend.database, held, {0: right})
    evidence = get(client, "/v1/evidence")
    assert evidence["against_random"] == {
        "near_budget": {"n": 3, "value": pytest.approx(-0.1), "low": None, "high": None},
        "random": {"n": 3, "value": pytest.approx(0.1), "low": None, "high": None},
    }
    assert evidence["statement"].startswith(
        "The networks of rankings are on average 10.0 points less accurate than random networks near the budget "
        "(3 pairs: no interval). The networks of rankings are on average 10.0 points more accurate than random "
        "networks of similar cost (3 pairs: no interval). Over 9 networks"
    )


def test_an_excluded_training_is_no_evidence(client: TestClient, backend: Backend, worker: Context) -> None:
    grid(client, backend)
    verify(client, architecture=MLP | {"depth": 5})
    with backend.database.write() as session:
        held = lifecycle.claim(session, "train", "test/1", 60.0)
        assert held is not None
        assert lifecycle.fail(session, held, "diverged", "the loss is nan")
    search_id = search(client, worker)
    before = get(client, "/v1/evidence")
    assert (before["n"], before["runs"], before["diverged"], before["excluded"]) == (9, 9, 1, 0)

    def exclude(verification_id: object, *, excluded: bool = True) -> None:
        answer = client.patch(f"/v1/verifications/{verification_id}", json={"excluded": excluded})
        assert (answer.status_code, answer.json()["excluded"]) == (200, excluded)

    trained = get(client, "/v1/verifications", status="succeeded", limit=2)["items"]
    excluded = [trained[0]["id"], held.job_id, trained[1]["id"]]
    for out, verification_id in enumerate(excluded, 1):
        exclude(verification_id)
        evidence = get(client, "/v1/evidence")
        assert evidence["statement"].endswith(f" Trainings excluded by their owner: {out}.")
        assert (evidence["n"], evidence["runs"]) == ((8, 8) if out < 3 else (7, 7))
        assert (evidence["diverged"], evidence["excluded"]) == (int(out < 2), out)
        assert evidence["scope"]["n"] == evidence["n"]
    assert [get(client, "/v1/evidence", dataset=name)["excluded"] for name in ("digits", "mnist-5k")] == [3, 0]
    assert trained[0]["arch_id"] not in client.get("/v1/evidence?format=csv").text
    items = get(client, f"/v1/searches/{search_id}/architectures")["items"]
    assert [item["predicted_accuracy"] for item in items] == [None] * 3, "seven networks are too few"
    assert [item["excluded"] for item in get(client, "/v1/verifications", limit=1)["items"]] == [True]
    for verification_id in excluded:
        exclude(verification_id, excluded=False)
    assert get(client, "/v1/evidence") == before


@pytest.mark.parametrize("body", [{"excluded": None}, {"excluded": "yes"}, {"excluded": 1}, {"name": "x"}, []])
def test_an_invalid_change_changes_nothing(client: TestClient, body: Any) -> None:
    path = f"/v1/verifications/{verify(client)['id']}"
    assert client.patch(path, json=body).status_code == 422
    assert client.patch(path, json={}).json()["excluded"] is False


def test_trainings_on_random_labels_are_not_evidence(client: TestClient, backend: Backend, worker: Context) -> None:
    grid(client, backend, dataset="fake")
    assert get(client, "/v1/evidence")["n"] == 0
    assert get(client, "/v1/evidence", dataset="fake")["n"] == 9
    search_id = search(client, worker)
    items = get(client, f"/v1/searches/{search_id}/architectures")["items"]
    assert [item["predicted_accuracy"] for item in items] == [None] * 3


def test_evidence_counts_a_repeated_seed_once_and_averages_seeds(client: TestClient, backend: Backend) -> None:
    verify(client)
    verify(client)
    trainings.train_all(backend.database, [2, 4])
    held_out = verify(client, seeds=[1])
    held = trainings.claim(backend.database)
    trainings.finish(backend.database, held, {1: 8})
    evidence = get(client, "/v1/evidence")
    assert (evidence["n"], evidence["runs"]) == (1, 2)
    rows = list(csv.DictReader(io.StringIO(client.get("/v1/evidence?format=csv").text)))
    assert [row["arch_id"] for row in rows] == [held_out["arch_id"]]
    assert float(rows[0]["accuracy"]) == pytest.approx(0.6)


def test_ranked_results_carry_a_prediction_once_evidence_supports_one(
    client: TestClient, backend: Backend, worker: Context
) -> None:
    search_id = search(client, worker)
    path = f"/v1/searches/{search_id}/architectures"
    assert [item["predicted_accuracy"] for item in get(client, path)["items"]] == [None] * 3
    grid(client, backend)
    predicted = [item["predicted_accuracy"] for item in get(client, path)["items"]]
    for item in predicted:
        assert 0 <= item["low"] <= item["value"] <= item["high"] <= 1
        assert (item["n"], item["dataset"], item["recipe"]) == (9, "digits", "mlp-paper")
    other = search(client, worker, space=SEARCH["space"] | {"width": 6})  # of another width, of which nothing is known
    items = get(client, f"/v1/searches/{other}/architectures")["items"]
    assert [item["predicted_accuracy"] for item in items] == [None] * 3
