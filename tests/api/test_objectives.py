"""The other objectives through the API: least cost, compression, Pareto fronts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nnmass_core.named.networks import named_network
from tests.core.latencies import profile
from worker import search_tasks
from worker.process import Context


def run(client: TestClient, worker: Context, body: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer = client.post("/v1/searches", json={"space": "densenet-tiny-free"} | body)
    assert answer.status_code == 202, answer.text
    assert search_tasks.run_next(worker)
    url = answer.headers["Location"]
    items = client.get(f"{url}/architectures", params={"limit": 100}).json()["items"]
    search: dict[str, Any] = client.get(url).json()
    assert search["status"] == "succeeded", search["error"]
    return search, items


def test_minimizing_params_respects_the_least_nn_mass(client: TestClient, worker: Context) -> None:
    search, items = run(client, worker, {"objective": {"minimize": "params", "min_nn_mass": 100}, "top_k": 5})
    result = search["result"]
    assert (result["optimal"], result["upper_bound"], result["count"]) == (True, None, 5)
    assert result["objective_value"] == result["bound"] == items[0]["params"]
    assert all(item["nn_mass"] >= 100 for item in items)
    assert [item["params"] for item in items] == sorted(item["params"] for item in items)


def test_compress_accepts_a_definition_or_an_id(client: TestClient, worker: Context) -> None:
    _, items = run(client, worker, {"budget": {"max_params": 100_000}, "top_k": 40})
    reference = items[-1]
    body = {"budget": {"max_macs": 200_000_000}, "top_k": 1}
    by_id, found = run(client, worker, body | {"objective": _compress({"arch_id": reference["arch_id"]})})
    same = client.post(
        "/v1/searches",
        json={"space": "densenet-tiny-free"} | body | {"objective": _compress(reference["architecture"])},
    ).json()
    assert (same["id"], same["reused"]) == (by_id["id"], True)
    result = by_id["result"]
    assert result["reference"] == {key: reference[key] for key in ("arch_id", "nn_mass", "params", "macs")}
    assert result["savings"]["params"] == reference["params"] / found[0]["params"] >= 1
    assert found[0]["nn_mass"] >= reference["nn_mass"]


def _compress(reference: dict[str, Any]) -> dict[str, Any]:
    return {"minimize": "params", "reference": reference}


def test_compress_keeps_shares_of_stages_and_params(client: TestClient, worker: Context) -> None:
    network = named_network("resnet20")
    reference = network.evaluation.report("fp32") | {"architecture": network.definition()}
    around = {name: reference["architecture"][name] for name in ("family", "input", "num_classes", "block", "stem")}
    stages = [{"channels": [c // 2, c, 3 * c // 2], "repeats": [1, 2, 3]} for c in (16, 32, 64)]
    around |= {"stem_channels": 16, "stages": stages}
    kept = {"keep_stages": 0.8, "keep_params": 0.95}
    objective = {"minimize": "macs", "reference": "resnet20"}
    search, items = run(client, worker, {"space": around, "objective": objective | kept, "top_k": 1})
    assert search["request"]["objective"] == {**objective, "reference": reference["architecture"], **kept}
    assert items[0]["params"] >= 0.95 * reference["params"]
    pairs = list(zip(items[0]["stages"], reference["stages"], strict=True))
    assert all(own["nn_mass"] >= 0.8 * stage["nn_mass"] for own, stage in pairs)
    assert items[0]["slack"].keys() == kept.keys()
    summary = "Least MACs with 80 % of each stage&#39;s NN-Mass and 95 % of the params of a reference"
    assert summary in client.get(f"/searches/{search['id']}").text
    # a limit that the shares exclude: each is named
    most = {"maximize": "nn_mass", "reference": "resnet20", **kept}
    none, _ = run(client, worker, {"space": around, "objective": most, "budget": {"max_macs": 10_000_000}})
    assert none["result"]["reference"]["params"] == reference["params"]
    assert none["result"]["relaxation"].keys() == {"max_macs", *kept}
    off, _ = run(client, worker, {"space": around, "objective": objective | {"keep_stages": None, "keep_params": 0}})
    assert off["request"]["objective"].keys() == {"minimize", "reference"}
    wrong = client.post("/v1/searches", json={"space": "resnet-imagenet-free", "objective": objective | kept})
    assert wrong.status_code == 422
    assert [error["field"] for error in wrong.json()["errors"]] == ["objective.keep_stages"]


def test_a_front_ascends_in_cost_and_in_nn_mass(client: TestClient, worker: Context) -> None:
    search, items = run(client, worker, {"objective": {"pareto": ["nn_mass", "peak_activation_bytes"]}})
    assert (search["result"]["optimal"], search["result"]["resolution"]) == (True, None)
    assert search["result"]["count"] == len(items) > 10
    for figure in ("peak_activation_bytes", "nn_mass"):
        values = [item[figure] for item in items]
        assert values == sorted(set(values))


def test_a_front_in_two_costs_has_every_point_in_pages_and_files(client: TestClient, worker: Context) -> None:
    budget = {"max_params": 100_000, "max_macs": 20_000_000}
    search, items = run(client, worker, {"objective": {"pareto": ["nn_mass", "params", "macs"]}, "budget": budget})
    result, path = search["result"], f"/v1/searches/{search['id']}"
    assert (result["optimal"], result["resolution"], search["outcome"]) == (True, None, "proved")
    page = client.get(f"{path}/architectures", params={"limit": 100}).json()
    while page["next_cursor"]:
        page = client.get(f"{path}/architectures", params={"limit": 100, "cursor": page["next_cursor"]}).json()
        items += page["items"]
    assert [item["point"] for item in items] == list(range(1, result["count"] + 1))
    assert len(items) > 200
    assert client.get(f"{path}/export").json()["ranking"] == items
    lines = client.get(f"{path}/export", params={"format": "csv"}).text.splitlines()
    assert len(lines) == len(items) + 1
    front = [(item["params"], item["macs"], -item["nn_mass"]) for item in items]
    assert front == sorted(front)
    for one, another in itertools.permutations(front, 2):
        assert not all(a <= b for a, b in zip(one, another, strict=True))


def test_a_front_is_thinned_to_the_points_that_are_asked_for(client: TestClient, worker: Context) -> None:
    whole, every = run(client, worker, {"objective": {"pareto": ["nn_mass", "params"]}})
    thinned, items = run(client, worker, {"objective": {"pareto": ["nn_mass", "params"], "points": 5}})
    assert [item["point"] for item in items] == [1, 2, 3, 4, 5]
    assert items[0]["arch_id"] == every[0]["arch_id"]
    assert items[-1]["nn_mass"] == whole["result"]["best_nn_mass"] == thinned["result"]["best_nn_mass"]
    assert whole["result"]["count"] > 5
    assert (thinned["result"]["thinned_from"], whole["result"]["thinned_from"]) == (whole["result"]["count"], None)
    assert thinned["result"]["optimal"]


def test_a_point_of_a_front_has_no_rank(client: TestClient, worker: Context) -> None:
    search, items = run(client, worker, {"objective": {"pareto": ["nn_mass", "params"]}})
    assert [(item["rank"], item["point"]) for item in items[:3]] == [(None, 1), (None, 2), (None, 3)]
    path = f"/v1/searches/{search['id']}"
    assert client.get(f"{path}/export").json()["ranking"][0] == items[0]
    first, *lines = client.get(f"{path}/export", params={"format": "csv"}).text.splitlines()
    assert (first.split(",")[:2], lines[0].split(",")[0]) == (["point", "arch_id"], "1")
    (about,) = client.get(f"/v1/architectures/{items[1]['arch_id']}").json()["searches"]
    assert (about["rank"], about["point"]) == (None, 2)
    ranked, places = run(client, worker, {"top_k": 5, "budget": {"max_params": items[-1]["params"]}})
    assert [(item["rank"], item["point"]) for item in places] == [(rank, None) for rank in range(1, 6)]
    ids = f"{search['id']},{ranked['id']}"
    shared = client.get("/v1/searches/compare", params={"ids": ids}).json()["shared"]["items"]
    best = next(one for one in shared if one["arch_id"] == places[0]["arch_id"])
    assert (best["ranks"], best["points"]) == ([None, 1], [len(items), None])
    preview = {"space": "densenet-mlp-mnist", "objective": {"pareto": ["nn_mass", "params"]}}
    previewed = client.post("/v1/searches/preview", json=preview).json()["items"]
    assert [(item["rank"], item["point"]) for item in previewed[:2]] == [(None, 1), (None, 2)]


def test_the_most_of_a_cost_and_the_least_at_any_nn_mass(client: TestClient, worker: Context) -> None:
    most, items = run(client, worker, {"objective": {"maximize": "macs"}, "budget": {"max_params": 1e5}, "top_k": 3.0})
    assert most["request"]["budget"] == {"max_params": 100_000, "precision": "fp32"}
    assert (most["result"]["objective_value"], most["result"]["upper_bound"]) == (items[0]["macs"], None)
    assert [item["macs"] for item in items] == sorted((item["macs"] for item in items), reverse=True)
    least, fewest = run(client, worker, {"objective": {"minimize": "weight_bytes"}, "top_k": 1})
    assert least["request"]["objective"] == {"minimize": "weight_bytes"}
    assert least["result"]["objective_value"] == fewest[0]["weight_bytes"] < items[0]["weight_bytes"]
    more = client.get(f"/searches/{most['id']}").text
    assert "Most MACs within 100 k params" in more
    assert "Effect of a larger budget" not in more


def test_a_share_of_the_most_macs_is_spent(client: TestClient, worker: Context) -> None:
    asked = {"budget": {"max_params": 100_000}, "spend": {"quantity": "macs", "share": 0.95}, "top_k": 5}
    search, items = run(client, worker, asked)
    assert search["request"]["spend"] == asked["spend"]
    most, (dearest,) = run(client, worker, {"budget": asked["budget"], "objective": {"maximize": "macs"}, "top_k": 1})
    spent = search["result"]["spent"]
    assert (search["outcome"], spent["optimal"]) == ("proved", True)
    assert spent["most"] == spent["bound"] == dearest["macs"] == most["result"]["objective_value"]
    assert {"arch_id", "nn_mass", "params", "macs", "architecture"} <= set(spent["network"])
    assert spent["network"] == {key: dearest[key] for key in spent["network"]}
    assert all(item["macs"] >= spent["least"] >= 0.95 * dearest["macs"] for item in items)
    assert "spend" in search["result"]["binding"]
    plain, (best,) = run(client, worker, {"budget": asked["budget"], "top_k": 1, "spend": None})
    assert (plain["result"]["spent"], "spend" in plain["request"]) == (None, False)
    assert best["macs"] < spent["least"]
    page = client.get(f"/searches/{search['id']}").text
    assert "Most NN-Mass with 95 % of the most MACs within 100 k params" in page
    assert f"The most that fits is {dearest['macs']:,} MACs, proved; the networks use at least" in page
    wrong = client.post(
        "/v1/searches", json={"space": "densenet-tiny-free", "spend": {"quantity": "beauty", "share": 1}}
    )
    assert wrong.json()["errors"][0]["field"] == "spend.quantity"


def test_depth_is_a_limit_an_objective_and_a_figure(client: TestClient, worker: Context) -> None:
    budget = {"max_params": 100_000, "min_depth": 6, "max_depth": 10}
    search, items = run(client, worker, {"budget": budget, "top_k": 3})
    assert search["result"]["optimal"]
    assert "max_depth" in search["result"]["binding"]
    for item in items:
        assert item["depth"] == sum(cell["depth"] for cell in item["architecture"]["cells"])
        assert item["slack"]["max_depth"] == 10 - item["depth"]
        assert item["slack"]["min_depth"] == item["depth"] - 6 >= 0
    page = client.get(f"/searches/{search['id']}").text
    assert '<th scope="col" class="n">depth</th>' in page
    assert f'data-value="{items[0]["depth"]}">{items[0]["depth"]} layers</td>' in page
    plain, _ = run(client, worker, {"budget": {"max_params": 100_000}, "top_k": 1})
    assert '<th scope="col" class="n">depth</th>' not in client.get(f"/searches/{plain['id']}").text
    _, front = run(client, worker, {"budget": {"max_params": 20_000}, "objective": {"pareto": ["nn_mass", "depth"]}})
    assert [point["depth"] for point in front] == sorted({point["depth"] for point in front})
    impossible, _ = run(client, worker, {"budget": {"max_depth": 5, "min_nn_mass": 300}})
    assert impossible["outcome"] == "nothing_fits"
    least = int(impossible["result"]["relaxation"]["max_depth"])
    assert f"Raise the depth limit to at least {least} layers." in client.get(f"/searches/{impossible['id']}").text


def test_the_activations_of_a_batch_are_in_memory_together(client: TestClient, worker: Context) -> None:
    asked: dict[str, Any] = {"budget": {"max_peak_activation_bytes": 2_400_000}, "top_k": 2}
    single, _ = run(client, worker, asked)
    search, items = run(client, worker, {**asked, "budget": asked["budget"] | {"batch": 8}})
    assert (search["request"]["budget"]["batch"], "batch" in single["request"]["budget"]) == (8, False)
    for item in items:
        one = {"architectures": [item["architecture"]]}
        (alone,) = client.post("/v1/architectures/evaluate", json=one).json()["results"]
        assert (item["batch"], item["peak_activation_bytes"]) == (8, 8 * alone["peak_activation_bytes"])
        assert item["slack"]["max_peak_activation_bytes"] == 2_400_000 - item["peak_activation_bytes"] >= 0
        assert item["weight_bytes"] == alone["weight_bytes"]
    page = client.get(f"/searches/{search['id']}").text
    assert "activations, fp32, batch 8" in page
    assert "within 2.4 MB of activation memory at fp32, batch 8" in page
    lines = client.get(f"/v1/searches/{search['id']}/export", params={"format": "csv"}).text.splitlines()
    heads = lines[0].split(",")
    assert lines[1].split(",")[heads.index("batch")] == "8"
    form = {"preset": "densenet-tiny-free", "max_peak_activation_bytes": "2.4MB", "batch": "8"}
    shown = client.post("/ui/preview", data=form, headers={"Origin": str(client.base_url)}).text
    assert "batch 8" in shown
    wrong = client.post("/ui/preview", data=form | {"batch": "0"}, headers={"Origin": str(client.base_url)})
    assert (wrong.status_code, "batch" in wrong.text) == (422, True)


def test_weights_and_activations_fit_one_memory(client: TestClient, worker: Context) -> None:
    search, items = run(client, worker, {"budget": {"max_memory_bytes": 300_000, "precision": "int8"}, "top_k": 3})
    assert (search["result"]["optimal"], search["result"]["binding"]) == (True, ["max_memory_bytes"])
    for item in items:
        assert item["memory_bytes"] == item["weight_bytes"] + item["peak_activation_bytes"]
        assert item["slack"]["max_memory_bytes"] == 300_000 - item["memory_bytes"] >= 0
    page = client.get(f"/searches/{search['id']}").text
    assert '<th scope="col" class="n">memory, int8</th>' in page
    assert "Limited by memory of weights and activations." in page
    refused, _ = run(client, worker, {"budget": {"max_memory_bytes": 1000}})
    assert refused["outcome"] == "nothing_fits"
    least = int(refused["result"]["relaxation"]["max_memory_bytes"])
    assert run(client, worker, {"budget": {"max_memory_bytes": least}, "top_k": 1})[0]["outcome"] == "proved"


def test_networks_fit_several_devices(client: TestClient, worker: Context) -> None:
    mine = profile("fast")
    assert client.post("/v1/devices", json=mine).status_code == 201
    slow = profile("slow", ram_bytes=400_000)
    for operator in slow["latency"]["operators"]:
        operator["mac"] *= 2
    budget = {"devices": ["fast", slow, "raspberry-pi-4b-4gb"], "max_latency_ms": 1.5}
    search, items = run(client, worker, {"budget": budget, "top_k": 5})
    named = search["request"]["budget"]["devices"]
    assert [one if isinstance(one, str) else one["name"] for one in named] == ["fast", "slow", "raspberry-pi-4b-4gb"]
    assert search["result"]["optimal"]
    for item in items:
        fits = {fit["device"]: fit for fit in item["devices"]}
        assert item["latency_ms"] == max(fits["fast"]["latency_ms"], fits["slow"]["latency_ms"]) <= 1.5
        assert item["latency"]["device"] == "slow"
        assert fits["raspberry-pi-4b-4gb"]["latency_ms"] is None
        assert fits["slow"]["slack"]["max_peak_activation_bytes"] == 400_000 - item["peak_activation_bytes"]
        assert item["slack"]["max_latency_ms"] == fits["slow"]["slack"]["max_latency_ms"]
    page = client.get(f"/searches/{search['id']}").text
    assert "Left by the best on each device" in page
    assert "the memory of slow and raspberry-pi-4b-4gb on fast" in page
    lines = client.get(f"/v1/searches/{search['id']}/export", params={"format": "csv"}).text.splitlines()
    assert len(lines) == 6


def test_the_cells_of_a_network_have_something_in_common(client: TestClient, worker: Context) -> None:
    asked = {"budget": {"max_params": 100_000}, "structure": {"widths": "never_fall", "density": None}, "top_k": 5}
    search, items = run(client, worker, asked)
    assert search["request"]["structure"] == {"widths": "never_fall"}
    for item in items:
        widths = [cell["width"] for cell in item["architecture"]["cells"]]
        assert widths == sorted(widths)
    free, _ = run(client, worker, {"budget": {"max_params": 100_000}, "structure": None})
    assert "structure" not in free["request"]
    assert int(search["result"]["space_size"]) < int(free["result"]["space_size"])
    assert "widths that never fall" in client.get(f"/searches/{search['id']}").text
    preview = client.post("/v1/searches/preview", json={"space": "densenet-tiny-free"} | asked).json()
    assert [item["arch_id"] for item in preview["items"]] == [item["arch_id"] for item in items]


def test_later_ranks_and_excluded_networks(client: TestClient, worker: Context) -> None:
    budget = {"max_params": 100_000}
    whole, items = run(client, worker, {"budget": budget, "top_k": 6})
    later, found = run(client, worker, {"budget": budget, "top_k": 3, "first_rank": 4})
    assert found == items[3:]
    assert (later["request"]["first_rank"], later["result"]["first_rank"], later["result"]["count"]) == (4, 4, 3)
    for name in ("objective_value", "bound", "best_nn_mass", "binding", "optimal"):
        assert later["result"][name] == whole["result"][name]
    out = [{"arch_id": items[0]["arch_id"]}, items[2]["architecture"], "mobilenet_v2"]
    without, rest = run(client, worker, {"budget": budget, "top_k": 3, "exclude": out})
    assert [item["arch_id"] for item in rest] == [items[rank]["arch_id"] for rank in (1, 3, 4)]
    assert len(without["request"]["exclude"]) == 3
    same = client.post(
        "/v1/searches", json={"space": "densenet-tiny-free", "budget": budget, "top_k": 3, "exclude": out[::-1]}
    ).json()
    assert (same["id"], same["reused"]) == (without["id"], True)
    # the page of a comparison shows the first network of each, whatever its rank
    ids = ",".join(search["id"] for search in (whole, later, without))
    compared = client.get("/v1/searches/compare", params={"ids": ids}).json()["items"]
    assert [one["best"]["arch_id"] for one in compared] == [one[0]["arch_id"] for one in (items, found, rest)]


def test_a_front_leaves_excluded_networks_out(client: TestClient, worker: Context) -> None:
    front: dict[str, Any] = {"budget": {"max_params": 100_000}, "objective": {"pareto": ["nn_mass", "params"]}}
    _, items = run(client, worker, front)
    result, rest = run(client, worker, front | {"exclude": [{"arch_id": items[1]["arch_id"]}]})
    assert result["result"]["optimal"] is True
    kept = [item["arch_id"] for item in items if item != items[1]]
    assert [item["arch_id"] for item in rest if item["arch_id"] in kept] == kept
    assert items[1]["arch_id"] not in {item["arch_id"] for item in rest}


def test_an_excluded_architecture_is_used(client: TestClient, worker: Context) -> None:
    definition = run(client, worker, {"budget": {"max_params": 100_000}, "top_k": 1})[1][0]["architecture"]
    other = {**definition, "num_classes": 7}
    arch_id = client.post("/v1/architectures", json=other).json()["arch_id"]
    made = client.post("/v1/searches", json={"space": "densenet-tiny-free", "exclude": [{"arch_id": arch_id}]}).json()
    refused = client.delete(f"/v1/architectures/{arch_id}")
    assert refused.status_code == 409
    assert f"search {made['id']}" in refused.json()["detail"]
    client.post(f"/v1/searches/{made['id']}/cancel")
    assert client.delete(f"/v1/searches/{made['id']}").status_code == 204
    assert client.delete(f"/v1/architectures/{arch_id}").status_code == 204


def test_floors_and_limits_on_nn_mass_leave_others_out(client: TestClient, worker: Context) -> None:
    budget = {"max_params": 100_000, "min_params": 60_000, "min_macs": 5_000_000, "max_nn_mass": 90.5}
    search, items = run(client, worker, {"budget": budget, "top_k": 5})
    assert search["request"]["budget"] == budget | {"precision": "fp32"}
    result = search["result"]
    assert (result["optimal"], result["binding"]) == (True, ["max_nn_mass"])
    for item in items:
        assert item["nn_mass"] <= 90.5
        slack = {name: item[name[4:]] - bound for name, bound in budget.items() if name.startswith("min_")}
        slack |= {name: bound - item[name[4:]] for name, bound in budget.items() if name.startswith("max_")}
        assert item["slack"] == slack
    lines = client.get(f"/v1/searches/{search['id']}/export", params={"format": "csv"}).text.splitlines()
    assert {f"slack_{name}" for name in budget} <= set(lines[0].split(","))


def test_a_limit_on_density_leaves_denser_cells_out(client: TestClient, worker: Context) -> None:
    budget = {"max_params": 100_000, "max_density": 0.5}
    search, items = run(client, worker, {"budget": budget, "top_k": 5})
    assert search["request"]["budget"] == budget | {"precision": "fp32"}
    assert (search["result"]["optimal"], search["result"]["binding"]) == (True, ["max_params", "max_density"])
    for item in items:
        densest = max(cell["density"] for cell in item["cells"])
        assert item["slack"] == {"max_params": 100_000 - item["params"], "max_density": 0.5 - densest}
    lines = client.get(f"/v1/searches/{search['id']}/export", params={"format": "csv"}).text.splitlines()
    assert "slack_max_density" in lines[0].split(",")
    few: dict[str, float] = {"min_nn_mass": 150, "max_params": 100_000, "max_density": 0.1}
    search, items = run(client, worker, {"budget": few, "top_k": 1})
    assert (search["outcome"], items) == ("nothing_fits", [])
    least = search["result"]["relaxation"]["max_density"]
    found, items = run(client, worker, {"budget": few | {"max_density": least}, "top_k": 1})
    assert (found["outcome"], items[0]["slack"]["max_density"]) == ("proved", 0)


def test_a_floor_that_no_network_reaches_has_the_highest_that_one_does(client: TestClient, worker: Context) -> None:
    budget: dict[str, float] = {"max_params": 100_000, "min_macs": 10**12}
    search, items = run(client, worker, {"budget": budget})
    assert (search["outcome"], items) == ("nothing_fits", [])
    relaxation = search["result"]["relaxation"]
    assert relaxation["max_params"] is None
    enough = {"budget": budget | {"min_macs": relaxation["min_macs"]}, "top_k": 1}
    found, items = run(client, worker, enough)
    assert (found["outcome"], items[0]["macs"]) == ("proved", relaxation["min_macs"])
    run_out, _ = run(client, worker, {"budget": budget | {"min_macs": relaxation["min_macs"] + 1}})
    assert run_out["outcome"] == "nothing_fits"


def test_a_reference_as_budget_is_stored_with_its_numbers_and_named_in_the_answer(
    client: TestClient, worker: Context
) -> None:
    reference = named_network("mlperf-tiny-resnet8")
    asked: dict[str, Any] = {"budget": {"within": "mlperf-tiny-resnet8", "ratio": {"macs": 0.75}}, "top_k": 3}
    made = client.post("/v1/searches", json=asked)
    assert search_tasks.run_next(worker)
    search = client.get(made.headers["Location"]).json()
    items = client.get(f"{made.headers['Location']}/architectures").json()["items"]
    budget = search["request"]["budget"]
    limits = {"max_params": 78_186, "max_macs": 9_376_224, "max_weight_bytes": 314_664}
    limits |= {"max_peak_activation_bytes": 196_608}
    assert {name: budget[name] for name in limits} == limits
    assert (budget["within"], budget["ratio"]["macs"]) == (reference.definition(), 0.75)
    within = search["result"]["within"]
    assert (within["limits"], within["ratio"]) == (limits, budget["ratio"])
    assert within["reference"]["arch_id"] == reference.arch_id
    assert all(items[0][name.removeprefix("max_")] <= bound for name, bound in limits.items())
    assert items[0]["architecture"]["input"] == reference.definition()["input"]
    # the same question by its stored form, and by the reference's id, is the same search
    again = [client.post("/v1/searches", json=search["request"]).json()]
    by_id = {"within": {"arch_id": items[0]["arch_id"]}}
    again.append(client.post("/v1/searches", json={"budget": asked["budget"], "top_k": 3}).json())
    assert [(one["id"], one["reused"]) for one in again] == [(search["id"], True)] * 2
    cheaper = client.post("/v1/searches/preview", json={"budget": by_id, "top_k": 1}).json()
    assert cheaper["result"]["within"]["limits"]["max_params"] == items[0]["params"]
    assert cheaper["items"][0]["nn_mass"] >= items[0]["nn_mass"]
    for budget in ({}, {"within": "mobilenet_v1"}):
        refused = client.post("/v1/searches", json={"budget": budget})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "space")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"budget": {"min_params": 5, "max_params": 4}}, "budget.min_params"),
        ({"budget": {"min_nn_mass": 5, "max_nn_mass": 4}}, "budget.min_nn_mass"),
        ({"budget": {"min_params": -1}}, "budget.min_params"),
        ({"budget": {"max_nn_mass": "much"}}, "budget.max_nn_mass"),
        ({"budget": {"max_density": 1.5}}, "budget.max_density"),
        ({"budget": {"max_density": 0.5}, "space": "mobilenet-v2-tiny-free"}, "budget.max_density"),
        ({"budget": {"min_latency_ms": 3}}, "budget.min_latency_ms"),
        ({"budget": {"min_depth": 7, "max_depth": 6}}, "budget.min_depth"),
        ({"budget": {"max_depth": 1.5}}, "budget.max_depth"),
        ({"budget": {"batch": 0}}, "budget.batch"),
        (
            {"budget": {"max_memory_bytes": 10**6}, "objective": {"pareto": ["nn_mass", "macs"]}},
            "budget.max_memory_bytes",
        ),
        ({"budget": {"batch": 1.5}}, "budget.batch"),
        ({"budget": {"batch": 65_537}}, "budget.batch"),
        ({"budget": {"batch": 8, "device": profile(), "max_latency_ms": 5}}, "budget.batch"),
        ({"budget": {"batch": 8, "device": profile()}, "objective": {"minimize": "latency_ms"}}, "objective.minimize"),
        ({"budget": {"min_peak_activation_bytes": 3}}, "budget.min_peak_activation_bytes"),
        ({"budget": {"max_nn_mass": 1}, "objective": {"minimize": "macs", "min_nn_mass": 2}}, "objective.min_nn_mass"),
        ({"objective": {"pareto": ["nn_mass", "macs"]}, "top_k": 5}, "top_k"),
        ({"objective": {"pareto": ["nn_mass", "macs", "macs"]}}, "objective.pareto"),
        ({"objective": {"pareto": ["nn_mass", "macs"], "points": 2}}, "objective.points"),
        ({"objective": {"maximize": "nn_mass", "points": 9}}, "objective.points"),
        ({"objective": {"pareto": ["nn_mass", "macs", "params", "weight_bytes"]}}, "objective.pareto"),
        ({"objective": {"pareto": ["nn_mass", "macs"]}, "diversity": "shape"}, "diversity"),
        ({"objective": {"minimize": "latency_ms", "min_nn_mass": 1}}, "objective.minimize"),
        ({"objective": {"maximize": "peak_activation_bytes"}}, "objective.maximize"),
        ({"objective": {"maximize": "latency_ms"}}, "objective.maximize"),
        ({"spend": {"quantity": "macs", "share": 2}}, "spend.share"),
        ({"spend": {"quantity": "macs", "share": 0.5}, "objective": {"pareto": ["nn_mass", "macs"]}}, "spend"),
        ({"objective": {"minimize": "params", "reference": {"arch_id": "arch_0"}}}, "objective.reference.arch_id"),
        ({"objective": {"minimize": "params", "reference": {"arch_id": 5}}}, "objective.reference.arch_id"),
        ({"budget": {"devices": ["rp2040", "toaster"]}}, "budget.devices.1"),
        ({"budget": {"devices": ["rp2040", "rp2040"]}}, "budget.devices"),
        ({"budget": {"device": "rp2040", "devices": ["rp2040"]}}, "budget.devices"),
        ({"budget": {"devices": ["rp2040"] * 9}}, "budget.devices"),
        ({"budget": {"within": "resnet1"}}, "budget.within"),
        ({"budget": {"within": {"arch_id": "arch_0"}}}, "budget.within.arch_id"),
        ({"budget": {"ratio": {"macs": 0.5}}}, "budget.ratio"),
        ({"budget": {"within": "resnet18", "ratio": {"mac": 0.5}}}, "budget.ratio.mac"),
        ({"budget": {"within": "resnet18", "ratio": {"macs": 0}}}, "budget.ratio.macs"),
        ({"structure": {"widths": "rise"}}, "structure.widths"),
        ({"structure": {"depths": "equal"}}, "structure.depths"),
        ({"structure": {"density": "equal"}, "space": "resnet-tiny-free"}, "structure.density"),
        ({"first_rank": 0}, "first_rank"),
        ({"first_rank": 10_000}, "first_rank"),
        ({"first_rank": 2, "objective": {"pareto": ["nn_mass", "macs"]}}, "first_rank"),
        ({"exclude": ["mobilenet_v2", 5]}, "exclude.1"),
        ({"exclude": [{"arch_id": "arch_0"}]}, "exclude.0.arch_id"),
        ({"objective": 5}, "objective"),
    ],
)
def test_an_invalid_objective_names_its_field(client: TestClient, body: dict[str, Any], field: str) -> None:
    for route in ("/v1/searches", "/v1/searches/preview"):
        answer = client.post(route, json={"space": "densenet-tiny-free"} | body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_a_stored_search_keeps_the_spend_that_it_had(client: TestClient, worker: Context) -> None:
    tiny = {"space": "resnet-tiny", "budget": {"max_params": 200_000}, "top_k": 1}
    around = {"space": {"around": "resnet20"}, "budget": {"max_params": 200_000}, "top_k": 1}
    for asked, spend in ((tiny, {}), (tiny, {"spend": None}), (around, {}), (around, {"spend": None})):
        search, items = run(client, worker, asked | spend)
        request = search["request"]
        if spend:
            assert (request.get("spend"), search["result"].get("spent")) == (None, None)
        else:
            assert request["spend"] == {"quantity": "macs", "share": 0.95, "default": True}
            spent = search["result"]["spent"]
            assert min(item["macs"] for item in items) >= spent["least"] >= 0.95 * spent["most"]
            assert spent["network"]["macs"] == spent["most"]
            assert set(spent["network"]) >= {"arch_id", "weight_bytes", "peak_activation_bytes", "architecture"}
        again = client.post("/v1/searches", json=request).json()
        assert (again["id"], again["reused"]) == (search["id"], True)
        following = client.post(f"/v1/searches/{search['id']}/next").json()
        assert following["request"].get("spend") == request.get("spend")
        assert search_tasks.run_next(worker)


def test_an_equal_search_is_found_whoever_asked_for_the_spend(client: TestClient, worker: Context) -> None:
    tiny = {"space": "resnet-tiny", "budget": {"max_params": 150_000}, "top_k": 1}
    default, _ = run(client, worker, tiny)
    explicit = client.post("/v1/searches", json=tiny | {"spend": {"quantity": "macs", "share": 0.95}}).json()
    assert (explicit["id"], explicit["reused"]) == (default["id"], True)
