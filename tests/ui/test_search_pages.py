"""The form, and the pages of searches and of the networks that they found."""

from __future__ import annotations

import html
import json
import re
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.searches.schemas import SearchBody
from app.storage.db import Database
from app.storage.models import Search
from app.ui.forms import FormProblems, checked, filled, search_body
from nnmass import formatting
from nnmass.formatting import number
from nnmass_core.errors import DefinitionError
from nnmass_core.request import VERSION, SearchRequest
from tests.api.everything import Everything
from tests.networks import SIZES
from tests.ui.pages import FORM, OURS
from worker import search_tasks
from worker.process import Context


def test_a_form_submitted_twice_makes_one_search(site: Everything) -> None:
    first = site.client.post("/searches", data=FORM, headers=OURS, follow_redirects=False)
    again = site.client.post("/searches", data=FORM, headers=OURS, follow_redirects=False)
    assert first.status_code == 303
    assert first.headers["location"] == again.headers["location"]  # an equal question is answered by the same search
    page = site.client.get(first.headers["location"])
    assert "first" in page.text
    assert "Most NN-Mass within 20 k params and 2 M MACs" in page.text
    found = site.client.get(f"/v1{first.headers['location']}").json()
    assert found["request"]["budget"] == {"max_params": 20_000, "max_macs": 2_000_000, "precision": "fp32"}


def test_a_form_without_a_precision_has_that_of_its_device(site: Everything) -> None:
    for device, precision, said in (("rp2040", "", "int8"), ("rp2040", "fp16", "fp16"), ("", "", "fp32")):
        form = FORM | {"device": device, "precision": precision, "name": "by device"}
        made = site.client.post("/searches", data=form, headers=OURS, follow_redirects=False)
        found = site.client.get(f"/v1{made.headers['location']}").json()
        assert found["request"]["budget"]["precision"] == said
        page = site.client.get(made.headers["location"]).text
        assert (f"the memory of rp2040 at {said}" in page) == bool(device)


def test_a_form_filled_from_a_search_gives_the_same_request(site: Everything) -> None:
    for asked in (
        {"space": "densenet-tiny-free", "budget": {"max_weight_bytes": 80_000, "precision": "int8"}, "top_k": 3},
        {"space": "resnet-tiny-free", "objective": {"minimize": "macs", "min_nn_mass": 20.5}},
        {"space": "mobilenet-v2-imagenet-free", "objective": {"minimize": "params", "reference": "mobilenet_v2"}},
        {"space": "densenet-tiny-free", "objective": {"pareto": ["nn_mass", "params", "macs"]}},
        {"space": "densenet-tiny-free", "objective": {"pareto": ["nn_mass", "params"], "points": 20}},
        {"space": "densenet-tiny-free", "objective": {"pareto": ["nn_mass", "macs", "peak_activation_bytes"]}},
        {"space": "densenet-tiny-free", "objective": {"maximize": "weight_bytes"}},
        {"space": "densenet-tiny-free", "spend": {"quantity": "params", "share": 0.925}},
        {"space": "densenet-tiny-free", "exclude": ["mobilenet_v2", "resnet50"], "first_rank": 11},
        {"space": "densenet-tiny-free", "objective": {"minimize": "weight_bytes"}},
        {"space": "densenet-tiny-free", "budget": {"device": "rp2040"}},
        {"space": "densenet-tiny-free", "structure": {"widths": "never_fall", "density": "equal"}},
        {"space": "densenet-tiny-free", "budget": {"devices": ["stm32f746", "rp2040", "rtx-4090"]}},
        {"space": "densenet-tiny-free", "budget": {"min_params": 20_000, "min_nn_mass": 20.5, "max_nn_mass": 1e2}},
        {
            "space": "resnet-tiny-free",
            "budget": {"max_nn_mass": 90},
            "objective": {"minimize": "macs", "min_nn_mass": 20},
        },
        {
            "space": "densenet-tiny-free",
            "budget": {"min_macs": 9_000_000},
            "objective": {"pareto": ["nn_mass", "params"]},
        },
        {"space": "densenet-tiny-free", "budget": {"device": "rp2040", "precision": "fp32"}},
        {"space": {"around": "resnet20", "width": [0.5, 1.5], "depth": {"min": 0.5, "max": 2}}},
        {"space": {"around": "resnet20", "keep": ["stem", "resolution", "channels"], "depth": 2}},
        {"budget": {"within": "resnet20", "ratio": {"macs": 0.5, "depth": 2, "params": 1}, "max_weight_bytes": 10**6}},
        {"space": "resnet-tiny", "budget": {"max_params": 200_000}},
        {"space": "resnet-tiny", "budget": {"max_params": 200_000}, "spend": None},
        {"space": {"around": "resnet20"}, "budget": {"max_params": 200_000}},
        {"space": {"around": "resnet20"}, "budget": {"max_params": 200_000}, "spend": None},
    ):
        request = site.client.post("/v1/searches", json=asked).json()["request"]
        body = checked(SearchBody, search_body(filled(request)))
        if request.get("spend"):
            request["spend"].pop("default", None)  # the form shows the share, and whoever submits it asks for it
        assert SearchRequest.asked(body.model_dump(exclude_unset=True)).to_json() == request


def test_the_form_offers_the_default_share(site: Everything) -> None:
    form = {"preset": "resnet-tiny", "max_params": "200k", "top_k": "1"}
    assert '<option value="" selected>Default: 95 %' in site.client.get("/").text
    usual = {"quantity": "macs", "share": 0.95}
    for chosen, spend in (
        ({"spend": ""}, usual | {"default": True}),
        ({"spend": "none", "spend_share": "95"}, None),
        ({"spend": "share", "spend_share": "90", "spend_quantity": "params"}, {"quantity": "params", "share": 0.9}),
    ):
        made = site.client.post("/searches", data=form | chosen, headers=OURS, follow_redirects=False)
        assert site.client.get(f"/v1{made.headers['location']}").json()["request"].get("spend") == spend
        again = site.client.get(f"/?like={made.headers['location'].rpartition('/')[2]}").text
        assert f'<option value="{"none" if spend is None else "share"}" selected>' in again
    part = site.client.post("/ui/preview", data=form, headers=OURS).text
    assert '<tr id="most_spent">' in part
    assert "95 % is the default of spaces that keep proportions" in part
    assert (
        '<tr id="most_spent">' not in site.client.post("/ui/preview", data=form | {"spend": "none"}, headers=OURS).text
    )


def test_the_form_takes_the_limits_and_the_space_of_a_reference(site: Everything) -> None:
    form = {"preset": "", "within": "mlperf-tiny-resnet8", "ratio_macs": "0.75", "top_k": "1"}
    part = site.client.post("/ui/preview", data=form, headers=OURS)
    assert part.status_code == 200
    assert "78,186 params, 9,376,224 MACs (0.75 times its own), 314,664 bytes of weight memory" in part.text
    made = site.client.post("/searches", data=form, headers=OURS, follow_redirects=False)
    again = site.client.get(f"/?like={made.headers['location'].rpartition('/')[2]}").text
    for name, text in (("ratio_macs", "0.75"), ("ratio_params", ""), ("max_macs", ""), ("max_params", "")):
        assert f'id="{name}" name="{name}" value="{text}"' in again
    assert "mlperf-tiny-resnet8" in again  # among the names that the field suggests
    refused = site.client.post("/searches", data={"preset": "", "ratio_macs": "0.5"}, headers=OURS)
    assert re.search(r'id="problem-ratio"[^>]*>requires within<', refused.text)
    refused = site.client.post("/searches", data={"preset": ""}, headers=OURS)
    assert re.search(r'id="problem-space"[^>]*>is required, unless', refused.text)


@pytest.mark.parametrize(
    ("field", "value", "reported"),
    [
        ("max_params", "150Q", "must be a whole number, such as 1200000 or 1.2M"),
        ("max_weight_bytes", "1.5 parsecs", "must be a whole number of bytes"),
        ("max_params", "99999999999999999999", "must be"),
        ("min_macs", "x", "must be a whole number, such as 1200000 or 1.2M"),
        ("min_params", "30k", "must be at most max_params, which is 20000"),
        ("max_nn_mass", "-1", "must be greater than or equal to 0"),
        ("min_nn_mass", "much", "must be a number"),
        ("spend_share", "much", "must be a number of percent"),
        ("spend_share", "200", "must be less than or equal to 1"),
        ("within", "resnet1", "must be one of"),
        ("within", '{"family": NaN}', "NaN and Infinity are not JSON"),
        ("ratio_depth", "half", "must be a number"),
        ("structure_widths", "rise", "must be one of equal, never_fall"),
        ("first_rank", "0", "must be greater than or equal to 1"),
        ("first_rank", "10000", "must be at most 9991"),
        ("exclude", "resnet50\nmobilenet", "1 must be one of"),
        ("exclude", '{"family": NaN}', "NaN and Infinity are not JSON"),
        ("space", '{"family": "densenet_cnn"', "at byte"),
        ("space", '{"family": NaN}', "NaN and Infinity are not JSON"),
        ("space", '{"family": "densenet_cnn", "cells": 99}', "cells must be at most 12"),
        ("preset", "no-such-space", "must be a full definition or one of"),
        ("around", "resnet5", 'did you mean "resnet56"'),
        ("around_width", "wide", "width must be numbers, such as"),
        ("around_depth", "1:4", "depth.max must be a number above 0 and at most 3"),
        ("top_k", "many", "must be a whole number"),
        ("top_k", "5000", "must be less than or equal to 1000"),
        ("time_limit_seconds", "-1", "must be greater than 0"),
        ("precision", "fp7", "must be"),
    ],
)
def test_a_problem_is_shown_next_to_its_field(site: Everything, field: str, value: str, reported: str) -> None:
    form = FORM | ({"around": "resnet20"} if field.startswith("around_") else {}) | {field: value}
    page = site.client.post("/searches", data=form, headers=OURS)
    assert page.status_code == 422
    place = "space" if field == "preset" or field.startswith("around_") else field
    shown = re.search(rf'id="problem-{place}"[^>]*>([^<]*)<', page.text)
    assert shown is not None
    assert reported in html.unescape(shown[1])
    assert 'value="first"' in page.text  # what was right is still there
    part = site.client.post("/ui/preview", data=form, headers=OURS)
    assert part.status_code == 422
    assert reported in html.unescape(part.text)


def test_problems_of_the_objective_are_shown_next_to_their_fields() -> None:
    with pytest.raises(FormProblems) as least:
        search_body({"preset": ["densenet-tiny-free"], "goal": ["least"], "cost": ["macs"], "min_nn_mass": ["lots"]})
    assert least.value.by_field == {"min_nn_mass": ["must be a number"]}
    form = {"preset": ["densenet-tiny-free"], "goal": ["compress"], "cost": ["macs"], "reference": ["nobody"]}
    with pytest.raises(DefinitionError) as compress:
        SearchRequest.from_json(checked(SearchBody, search_body(form)).model_dump(exclude_unset=True))
    assert "must be one of mobilenet_v2" in FormProblems(compress.value.problems).by_field["reference"][0]


def test_a_compression_goes_through_the_form_and_back(client: TestClient, worker: Context) -> None:
    space = json.dumps({"around": "resnet20", "width": [0.5, 0.75, 1], "depth": [0.5, 1]})
    form = {"space": space, "reference": "resnet20", "top_k": "3", "cost": "macs"}
    least = form | {"goal": "compress", "keep_stages": "50", "keep_params": "37.5%"}
    within = form | {"goal": "within", "ratio": "60", "keep_stages": "80", "within_keep_params": "20"}
    for sent, name, kept in (
        (least, "minimize", {"keep_stages": 0.5, "keep_params": 0.375}),
        (within, "maximize", {"keep_params": 0.2}),
    ):
        path = client.post("/searches", data=sent, headers=OURS, follow_redirects=False).headers["location"]
        assert search_tasks.run_next(worker)
        request = client.get(f"/v1{path}").json()["request"]
        assert name in request["objective"]
        assert {key: share for key, share in request["objective"].items() if key.startswith("keep")} == kept
        again = checked(SearchBody, search_body(filled(request)))
        body = SearchRequest.from_json(again.model_dump(exclude_unset=True)).to_json()
        assert {key: body[key] for key in ("space", "budget", "objective")} == {
            key: request[key] for key in ("space", "budget", "objective")
        }
        page = client.get(path).text
        assert '<tr id="uniform">' in page
        assert "In the replay of public benchmarks" in page


def test_floors_are_shown_on_the_page_of_a_search(client: TestClient, worker: Context) -> None:
    form = FORM | {"min_params": "9k", "min_nn_mass": "1", "max_nn_mass": "40", "name": "floored"}
    path = client.post("/searches", data=form, headers=OURS, follow_redirects=False).headers["location"]
    budget = client.get(f"/v1{path}").json()["request"]["budget"]
    assert {name: budget[name] for name in budget if name != "precision"} == {
        "max_params": 20_000,
        "max_macs": 2_000_000,
        "min_params": 9_000,
        "min_nn_mass": 1.0,
        "max_nn_mass": 40.0,
    }
    assert search_tasks.run_next(worker)
    found = client.get(f"/v1{path}/architectures").json()["items"]
    assert found
    assert all(9_000 <= item["params"] <= 20_000 and 1 <= item["nn_mass"] <= 40 for item in found)
    page = client.get(path).text
    title = "Most NN-Mass within 20 k params, 2 M MACs and NN-Mass 40 with at least 9 k params and NN-Mass 1"
    assert title in page
    assert "at least 9,000; " in page
    assert "at least 1, at most 40" in page
    more = client.get(f"{path}/more").text
    assert "params" in more
    front = client.get(f"{path}/front", params={"cost": "params"}).json()
    assert all(point["params"] >= 9_000 and point["nn_mass"] <= 40 for point in front)
    assert front


def test_a_limit_on_density_is_shown_on_the_page_of_a_search(client: TestClient, worker: Context) -> None:
    form = FORM | {"max_density": "0.5", "name": "sparse"}
    path = client.post("/searches", data=form, headers=OURS, follow_redirects=False).headers["location"]
    assert client.get(f"/v1{path}").json()["request"]["budget"]["max_density"] == 0.5
    assert search_tasks.run_next(worker)
    page = client.get(path).text
    assert "Most NN-Mass within 20 k params, 2 M MACs and density 0.5" in page
    assert "density of the densest cell" in page
    assert re.search(r'name="max_density" value="0.5"', client.get(f"/?like={path.split('/')[-1]}").text)
    assert client.get(f"{path}/more").status_code == 200
    wrong = client.post("/searches", data=FORM | {"max_density": "2"}, headers=OURS)
    assert wrong.status_code == 422
    assert re.search(
        r'id="problem-max_density"[^>]*>[^<]*at most 1|id="problem-max_density"[^>]*>[^<]*equal to 1', wrong.text
    )


def test_the_ranking_shows_the_unused_share_of_each_limit(client: TestClient, worker: Context) -> None:
    form = FORM | {"max_params": "120k", "max_macs": "30M", "top_k": "3"}
    path = client.post("/searches", data=form, headers=OURS, follow_redirects=False).headers["location"]
    assert search_tasks.run_next(worker)
    page, items = client.get(path).text, client.get(f"/v1{path}/architectures").json()["items"]
    assert len(items) == 3
    for item in items:
        params, macs = (100 * (1 - item[cost] / bound) for cost, bound in (("params", 120_000), ("macs", 30_000_000)))
        assert f"<td>params {params:.1f} %, MACs {macs:.1f} %</td>" in page


def test_the_page_of_a_search_shows_what_is_left_of_each_device(client: TestClient, worker: Context) -> None:
    form = FORM | {"device": "rp2040", "devices": ["stm32f407", "rp2040"]}
    path = client.post("/searches", data=form, headers=OURS, follow_redirects=False).headers["location"]
    assert client.get(f"/v1{path}").json()["request"]["budget"]["devices"] == ["rp2040", "stm32f407"]
    assert search_tasks.run_next(worker)
    page = client.get(path).text
    assert "the memory of rp2040 and stm32f407 at int8" in page
    fits = client.get(f"/v1{path}/architectures").json()["items"][0]["devices"]
    left = fits[1]["slack"]["max_peak_activation_bytes"]
    assert re.search(rf"<th[^>]*>stm32f407</th>.*{re.escape(formatting.memory(left))} activation memory", page)
    assert re.search(r'value="stm32f407"[^>]* selected', client.get(f"/?like={path.split('/')[-1]}").text)
    assert client.get(f"{path}/more").status_code == 200
    two = client.post("/searches", data=FORM | {"devices": ["rp2040", "toaster"]}, headers=OURS)
    assert two.status_code == 422
    assert "must be one of" in two.text


def test_a_button_searches_the_ranks_that_follow(client: TestClient, worker: Context) -> None:
    asked = {
        "space": "densenet-tiny-free",
        "budget": {"max_params": 30_000},
        "top_k": 3,
        "name": "ranks",
        "tags": ["edge"],
    }
    place = client.post("/v1/searches", json=asked).headers["location"].removeprefix("/v1")
    assert client.post(f"{place}/next", headers=OURS).status_code == 409  # it has not run
    assert search_tasks.run_next(worker)
    assert "Search ranks 4 to 6" in client.get(place).text
    made = client.post(f"{place}/next", headers=OURS, follow_redirects=False)
    assert made.status_code == 303
    again = client.post(f"{place}/next", headers=OURS, follow_redirects=False)
    assert again.headers["location"] == made.headers["location"]
    assert search_tasks.run_next(worker)
    found = client.get(f"/v1{made.headers['location']}").json()
    assert (found["request"]["first_rank"], found["name"], found["tags"]) == (4, "ranks", ["edge"])
    page = client.get(made.headers["location"]).text
    for text in ("Ranks 4 to 6 of", "NN-Mass of rank 4", "Search ranks 7 to 9", "from rank 4"):
        assert text in page


def test_the_live_result_equals_that_of_the_api(site: Everything) -> None:
    part = site.client.post("/ui/preview", data=FORM, headers=OURS)
    reported = site.client.post(
        "/v1/searches/preview",
        json={"space": "densenet-tiny-free", "budget": {"max_params": 20_000, "max_macs": 2_000_000}},
    ).json()
    assert part.status_code == 200
    assert f"The best of {int(reported['result']['space_size']):,} architectures, proved in" in part.text
    assert f"{reported['items'][0]['params']:,}" in part.text
    assert site.client.get("/v1/searches", params={"q": "live"}).json()["items"] == []  # nothing is stored


def test_an_infeasible_budget_shows_the_sufficient_limit(site: Everything) -> None:
    part = site.client.post("/ui/preview", data={"preset": "densenet-tiny-free", "max_params": "10"}, headers=OURS)
    assert re.search(r"None of [\d,]+ architectures fits, proved in", part.text)
    assert re.search(r"Raise the params limit to at least [\d,]+\.", part.text)


def test_that_nothing_fits_is_a_state_of_its_own_on_the_pages(site: Everything) -> None:
    site.restore()  # what other tests submitted need not be searched
    limits = {"max_params": "78,666", "max_macs": "12.5M", "name": "too tight"}
    form = {"preset": "densenet-cifar", **limits}
    made = site.client.post("/searches", data=form, headers=OURS, follow_redirects=False)
    worker = Context(site.app.state.settings, site.app.state.database, "test/1")
    while search_tasks.run_next(worker):
        pass
    page = site.client.get(made.headers["location"]).text
    assert '<span class="badge nothing_fits">nothing fits</span>' in page
    assert re.search(r"Raise all limits together, by a factor of about [\d.]+: params to [\d,]+ and MACs to", page)
    for outcome, there in (("nothing_fits", True), ("proved", False), ("", True)):
        listed = site.client.get("/searches", params={"outcome": outcome, "q": "too tight"}).text
        assert ('<span class="badge nothing_fits">nothing fits</span>' in listed) == there
    site.restore()


def test_a_list_of_spaces_is_one_question(client: TestClient, worker: Context) -> None:
    form = {
        "space": json.dumps(["resnet-tiny-free", "mobilenet-v2-tiny-free"]),
        "max_params": "200k",
        "max_macs": "20M",
    }
    made = client.post("/searches", data=form | {"top_k": "2"}, headers=OURS, follow_redirects=False)
    assert made.status_code == 303, made.text
    assert search_tasks.run_next(worker)
    page = client.get(made.headers["location"]).text
    for text in (
        ">space</th>",
        '<td class="n" data-value="2">2</td>',
        "Space 1 (resnet): 28,672 architectures, 0 listed",
    ):
        assert text in page
    assert "mobilenet_v2" in client.get(f"/?like={made.headers['location'].split('/')[-1]}").text
    assert "several" in client.get("/searches?family=several").text
    assert client.get(f"{made.headers['location']}/more").status_code == 200
    wrong = client.post(
        "/searches", data=form | {"space": json.dumps(["resnet-tiny-free", "densenet-tiny-free"])}, headers=OURS
    )
    assert wrong.status_code == 422
    assert "must have the input of the first space" in wrong.text


def test_links_to_architectures_keep_the_precision_of_their_search(site: Everything) -> None:
    form = {"space": json.dumps(SIZES), "device": "stm32f746", "top_k": "2", "name": "camera"}
    made = site.client.post("/searches", data=form, headers=OURS, follow_redirects=False)
    worker = Context(site.app.state.settings, site.app.state.database, "test/1")
    while search_tasks.run_next(worker):
        pass
    path = made.headers["location"]
    page = site.client.get(path).text
    assert all(f">{head}</th>" in page for head in ("weights, int8", "activations, int8", "resolution"))
    assert "weight memory, int8" in page
    ids = [item["arch_id"] for item in site.client.get(f"/v1{path}/architectures").json()["items"]]
    links = re.findall(r'href="/architectures/(arch_\w+)([^"/]*)"', page)
    assert {arch_id for arch_id, _ in links} == set(ids)
    assert {query for _, query in links} == {"?precision=int8"}
    assert '<input type="hidden" name="precision" value="int8">' in page
    assert 'data-precision="int8"' in page
    chosen = site.client.get("/architectures", params={"arch_id": ids, "precision": "int8"})
    assert chosen.url.params["precision"] == "int8"
    assert "weight_bytes, int8" in chosen.text
    assert f'href="/architectures/{ids[1]}?against={ids[0]}&amp;precision=int8"' in chosen.text
    compared = site.client.get("/searches/compare", params={"ids": [path.split("/")[-1], site.ids["search_id"]]}).text
    assert " at int8" in compared
    assert f'/architectures/{ids[0]}?precision=int8"' in compared
    site.restore()


def test_the_page_of_a_front_has_no_rank_and_no_best(site: Everything) -> None:
    form = {"preset": "densenet-mlp-mnist", "goal": "front", "cost": "params", "max_macs": "20k", "name": "a front"}
    part = site.client.post("/ui/preview", data=form, headers=OURS).text
    made = site.client.post("/searches", data=form, headers=OURS, follow_redirects=False)
    worker = Context(site.app.state.settings, site.app.state.database, "test/1")
    while search_tasks.run_next(worker):
        pass
    page = site.client.get(made.headers["location"]).text
    for shown in (part, page):
        assert '<th scope="col" class="n">point</th>' in shown
        assert "rank</th>" not in shown
        assert not re.search(r"[Rr]ank 1|the best|best NN-Mass", shown)
    assert "<h2>Pareto front</h2>" in page
    site.restore()


def test_every_selected_network_is_compared(site: Everything) -> None:
    items = site.client.get(f"/v1/searches/{site.ids['search_id']}/architectures").json()["items"]
    ids = [item["arch_id"] for item in items[:3]]
    for count in (2, 3):
        page = site.client.get("/architectures", params={"arch_id": ids[:count]})
        assert page.url.path == f"/architectures/{ids[0]}"
        assert page.url.params.get_list("against") == ids[1:count]
        (masses,) = re.findall(r'<th scope="row">nn_mass</th>(.*?)</tr>', page.text)
        shown = re.findall(r">([\d,.]+)</td>", masses)
        assert shown == [number(item["nn_mass"]) for item in items[:count]]
        kept = re.findall(r'name="against" value="(\w+)"', page.text)
        assert kept == ids[1:count] * 2, "the forms of precision and seed keep the comparison"
    assert "must have at most" in site.client.get("/architectures", params={"arch_id": ids * 8}).text


def test_an_equal_form_with_another_name_is_a_search_that_links_to_the_first(site: Everything) -> None:
    form = FORM | {"max_params": "20123"}
    first = site.client.post("/searches", data=form, headers=OURS, follow_redirects=False).headers["location"]
    other = site.client.post("/searches", data=form | {"name": "second"}, headers=OURS)
    assert other.url.path != first
    assert f'result of <a href="{first}">an equal search</a>' in other.text


def test_a_search_is_renamed_and_deleted_in_the_pages(site: Everything) -> None:
    place = f"/searches/{site.waiting[3]}"
    changed = site.client.post(f"{place}/change", data={"name": "n1", "tags": "a, b", "note": "why"}, headers=OURS)
    assert changed.status_code == 200
    assert site.client.get(f"/v1{place}").json()["tags"] == ["a", "b"]
    assert "cancelled" in site.client.post(f"{place}/cancel", headers=OURS).text
    assert "queued" in site.client.post(f"{place}/retry", headers=OURS).text
    assert site.client.post(f"{place}/delete", headers=OURS).url.path == "/searches"
    assert site.client.get(place).status_code == 404


def test_a_search_stored_by_a_newer_release_has_a_page_and_can_be_compared(site: Everything) -> None:
    newer, other = site.waiting[5], site.ids["search_id"]
    database: Database = site.app.state.database
    try:
        with database.write() as session:
            session.get_one(Search, UUID(newer)).request_version = VERSION + 1
        assert "Cancel" in site.client.get(f"/searches/{newer}").text
        with database.write() as session:
            session.get_one(Search, UUID(newer)).request_version = 1
            session.get_one(Search, UUID(other)).request_version = VERSION + 1
        assert "not limited" in site.client.get(f"/searches/{other}").text
        compared = site.client.get("/v1/searches/compare", params={"ids": f"{other},{newer}"})
        assert compared.status_code == 200, compared.text
        assert compared.json()["items"][0]["best"] is not None
    finally:
        site.restore()


def test_a_filled_form_keeps_every_digit_of_a_limit() -> None:
    request = {"space": "densenet-tiny-free", "objective": {"maximize": "nn_mass"}}
    for bound in (1234567.891, 0.000012, 5.0):
        budget = {"precision": "fp32", "max_latency_ms": bound}
        assert float(filled({**request, "budget": budget, "top_k": 1})["max_latency_ms"][0]) == bound
