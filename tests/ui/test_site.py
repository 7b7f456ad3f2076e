"""The pages without a browser: their content, their refusals and their access control."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from app import ui
from app.auth import keys
from app.auth.keys import Scope
from app.config import Settings
from app.http import problem_json
from app.http.dependencies import KEY_COOKIE
from app.jobs import requirements
from app.main import create_app
from app.searches.schemas import SearchBody
from app.storage.db import Database
from app.storage.models import Search, Verification
from app.ui.forms import FormProblems, checked, filled, search_body
from app.ui.routes import chart_file
from nnmass import formatting
from nnmass.formatting import number
from nnmass_core.errors import DefinitionError
from nnmass_core.named.recipes import resolve_recipe
from nnmass_core.request import VERSION, SearchRequest
from tests.api import trainings
from tests.api.everything import Everything, everything
from tests.api.test_verifications import SEARCH as MLP_SEARCH
from tests.clients import ADDRESS, client_of
from tests.networks import MLP, SIZES
from worker import search_tasks
from worker.process import Context

OURS = {"Origin": ADDRESS}
FORM = {"preset": "densenet-tiny", "max_params": "20k", "max_macs": "2M", "name": "first"}


@pytest.fixture(scope="module")
def site(sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """A service without keys that holds one of everything."""
    with everything(sqlite_file, tmp_path_factory.mktemp("site"), keyed=False) as service:
        yield service


@pytest.fixture(scope="module")
def keyed(sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """A service with keys that holds one of everything of one owner."""
    with everything(sqlite_file, tmp_path_factory.mktemp("keyed"), keyed=True) as service:
        yield service


def key_of(app: FastAPI, owner: str, *scopes: Scope) -> str:
    database: Database = app.state.database
    with database.write() as session:
        return keys.create(session, owner, set(scopes))[1]


def signed_in(app: FastAPI, key: str) -> TestClient:
    client = client_of(app)
    answer = client.post("/sign-in", data={"key": key, "next": "/searches"}, headers=OURS, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/searches")
    return client


def routes() -> Iterator[tuple[str, str]]:
    """Yield (method, path) of every page."""
    for router in (router for routers in ui.ROUTERS.values() for router in routers):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield from ((method, route.path) for method in sorted(route.methods or ()))


def filled_in(path: str, site: Everything) -> str:
    """Return the address of a page of what there is."""
    return path.format(**site.ids, form="onnx")


def test_every_page_loads_files_only_from_the_service(site: Everything) -> None:
    given: dict[str, dict[str, Any]] = {
        "/architectures": {"arch_id": site.ids["arch_id"]},
        "/searches/compare": {"ids": [site.ids["search_id"], site.waiting[0]]},
    }
    for path in [filled_in(path, site) for method, path in routes() if method == "GET"]:
        page = site.client.get(path, params=given.get(path, {}))
        assert page.status_code == 200, (path, page.text)
        if page.headers["content-type"].startswith("text/html"):
            assert not re.search(r"(src|href|action)=\"(https?:)?//", page.text), path
            assert "<script>" not in page.text, path
            assert "script-src 'self'" in page.headers["content-security-policy"]
    assert site.client.get("/ui/page.css").status_code == 200
    assert chart_file().stat().st_size > 1_000_000


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
        {"space": "densenet-tiny", "budget": {"max_weight_bytes": 80_000, "precision": "int8"}, "top_k": 3},
        {"space": "resnet-tiny", "objective": {"minimize": "macs", "min_nn_mass": 20.5}},
        {"space": "mobilenet-v2-imagenet", "objective": {"minimize": "params", "reference": "mobilenet_v2"}},
        {"space": "densenet-tiny", "objective": {"pareto": ["nn_mass", "params", "macs"]}},
        {"space": "densenet-tiny", "objective": {"pareto": ["nn_mass", "macs", "peak_activation_bytes"]}},
        {"space": "densenet-tiny", "objective": {"maximize": "weight_bytes"}},
        {"space": "densenet-tiny", "spend": {"quantity": "params", "share": 0.925}},
        {"space": "densenet-tiny", "exclude": ["mobilenet_v2", "resnet50"], "first_rank": 11},
        {"space": "densenet-tiny", "objective": {"minimize": "weight_bytes"}},
        {"space": "densenet-tiny", "budget": {"device": "rp2040"}},
        {"space": "densenet-tiny", "structure": {"widths": "never_fall", "density": "equal"}},
        {"space": "densenet-tiny", "budget": {"devices": ["stm32f746", "rp2040", "rtx-4090"]}},
        {"space": "densenet-tiny", "budget": {"min_params": 20_000, "min_nn_mass": 20.5, "max_nn_mass": 1e2}},
        {"space": "resnet-tiny", "budget": {"max_nn_mass": 90}, "objective": {"minimize": "macs", "min_nn_mass": 20}},
        {"space": "densenet-tiny", "budget": {"min_macs": 9_000_000}, "objective": {"pareto": ["nn_mass", "params"]}},
        {"space": "densenet-tiny", "budget": {"device": "rp2040", "precision": "fp32"}},
    ):
        request = site.client.post("/v1/searches", json=asked).json()["request"]
        body = checked(SearchBody, search_body(filled(request)))
        assert SearchRequest.from_json(body.model_dump(exclude_unset=True)).to_json() == request


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
        ("structure_widths", "rise", "must be one of equal, never_fall"),
        ("first_rank", "0", "must be greater than or equal to 1"),
        ("first_rank", "10000", "must be at most 9991"),
        ("exclude", "resnet50\nmobilenet", "1 must be one of"),
        ("exclude", '{"family": NaN}', "NaN and Infinity are not JSON"),
        ("space", '{"family": "densenet_cnn"', "at byte"),
        ("space", '{"family": NaN}', "NaN and Infinity are not JSON"),
        ("space", '{"family": "densenet_cnn", "cells": 99}', "cells must be at most 12"),
        ("preset", "no-such-space", "must be a full definition or one of"),
        ("top_k", "many", "must be a whole number"),
        ("top_k", "5000", "must be less than or equal to 1000"),
        ("time_limit_seconds", "-1", "must be greater than 0"),
        ("precision", "fp7", "must be"),
    ],
)
def test_a_problem_is_shown_next_to_its_field(site: Everything, field: str, value: str, reported: str) -> None:
    page = site.client.post("/searches", data=FORM | {field: value}, headers=OURS)
    assert page.status_code == 422
    place = "space" if field == "preset" else field
    shown = re.search(rf'id="problem-{place}"[^>]*>([^<]*)<', page.text)
    assert shown is not None
    assert reported in shown[1].replace("&#39;", "'")
    assert 'value="first"' in page.text  # what was right is still there
    part = site.client.post("/ui/preview", data=FORM | {field: value}, headers=OURS)
    assert part.status_code == 422
    assert reported in part.text.replace("&#39;", "'")


def test_problems_of_the_objective_are_shown_next_to_their_fields() -> None:
    with pytest.raises(FormProblems) as least:
        search_body({"preset": ["densenet-tiny"], "goal": ["least"], "cost": ["macs"], "min_nn_mass": ["lots"]})
    assert least.value.by_field == {"min_nn_mass": ["must be a number"]}
    form = {"preset": ["densenet-tiny"], "goal": ["compress"], "cost": ["macs"], "reference": ["nobody"]}
    with pytest.raises(DefinitionError) as compress:
        SearchRequest.from_json(checked(SearchBody, search_body(form)).model_dump(exclude_unset=True))
    assert "must be one of mobilenet_v2" in FormProblems(compress.value.problems).by_field["reference"][0]


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
    asked = {"space": "densenet-tiny", "budget": {"max_params": 30_000}, "top_k": 3, "name": "ranks", "tags": ["edge"]}
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
        json={"space": "densenet-tiny", "budget": {"max_params": 20_000, "max_macs": 2_000_000}},
    ).json()
    assert part.status_code == 200
    assert f"The best of {int(reported['result']['space_size']):,} architectures, proved in" in part.text
    assert f"{reported['items'][0]['params']:,}" in part.text
    assert site.client.get("/v1/searches", params={"q": "live"}).json()["items"] == []  # nothing is stored


def test_an_infeasible_budget_shows_the_sufficient_limit(site: Everything) -> None:
    part = site.client.post("/ui/preview", data={"preset": "densenet-tiny", "max_params": "10"}, headers=OURS)
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


def test_the_api_refuses_forms_and_pages_refuse_forms_of_other_origins(site: Everything) -> None:
    form = {"space": "densenet-tiny"}
    assert site.client.post("/v1/searches", data=form, headers=OURS).status_code == 415
    assert site.client.post("/searches", data=FORM).status_code == 415
    stranger = {"Origin": "http://elsewhere.example"}
    assert site.client.post("/searches", data=FORM, headers=stranger).status_code == 403
    assert site.client.post("/searches", data=FORM, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    many = "&".join(f"f{i}=1" for i in range(1000))
    urlencoded = OURS | {"Content-Type": "application/x-www-form-urlencoded"}
    assert site.client.post("/searches", content=many, headers=urlencoded).status_code == 422
    assert site.client.post("/searches", content=b"\xff\x00&max_params=%00", headers=urlencoded).status_code == 422


def test_text_of_users_is_escaped(site: Everything) -> None:
    evil = "<script>alert(1)</script>"
    made = site.client.post(
        "/searches", data=FORM | {"name": evil, "note": evil, "tags": evil, "fresh": "1"}, headers=OURS
    )
    assert made.status_code == 200
    assert evil not in made.text
    assert evil not in site.client.get("/searches").text
    assert (
        evil not in site.client.get("/searches", params={"q": evil, "tag": evil, "status": evil, "family": evil}).text
    )


def test_a_training_shows_how_its_images_were_read_and_what_was_left_out(site: Everything) -> None:
    page = site.client.get(f"/verifications/{site.ids['verification_id']}").text
    for said in (
        "4 training and 10 test inputs of 2 classes",
        "train/ is for training, Valid/ for testing",
        "3 images turned as the EXIF orientation says",
        "Left out: files that end in .txt: 3 (a.txt, b.txt and 1 more)",
    ):
        assert f"<li>{said}</li>" in page


def test_errors_are_html_pages_with_a_message(site: Everything) -> None:
    for path, status, words in (
        (f"/searches/{uuid4()}", 404, "there is no such search"),
        ("/searches/nonsense", 404, "there is no such search"),
        (f"/architectures/arch_{'0' * 32}", 404, "there is no such architecture"),
        (f"/verifications/{uuid4()}", 404, "there is no such verification"),
        ("/searches/compare", 422, "must name 2 to 4 searches"),
        ("/architectures", 422, "select one architecture"),
        ("/?like=nonsense", 422, "the address is not valid"),
    ):
        page = site.client.get(path)
        assert page.status_code == status, path
        assert page.headers["content-type"].startswith("text/html")
        assert words in page.text


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
"""What browsers send when they open a page."""


def test_browsers_get_pages_for_errors_and_programs_get_problems(site: Everything) -> None:
    for method, path, status, words in (
        ("GET", "/nowhere", 404, "Nothing matches the given URI"),
        ("GET", "/searches/x/y/z", 404, "Nothing matches the given URI"),
        ("GET", "/ui/nowhere.js", 404, "Nothing matches the given URI"),
        ("POST", "/evidence", 405, "Method Not Allowed"),
        ("GET", f"/v1/searches/{uuid4()}", 404, "there is no such search"),
        ("GET", "/v1/searches?status_=queued", 422, "Did you mean"),
        ("GET", "/v1/searches?limit=many", 422, "limit"),
    ):
        page = site.client.request(method, path, headers=BROWSER | OURS)
        assert page.status_code == status, path
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert words in page.text, path
        assert '<a class="brand" href="/">' in page.text
        for accept in ("*/*", "application/json", "application/problem+json, text/html", "text/html;q=0.5, */*"):
            problem = site.client.request(method, path, headers={"Accept": accept} | OURS)
            assert (problem.status_code, problem.headers["content-type"]) == (status, problem_json.MEDIA_TYPE)
            assert problem.headers["vary"] == page.headers["vary"] == "Accept"
            assert problem.headers.get("allow") == page.headers.get("allow")
            assert ("allow" in page.headers) == (status == 405)


def test_browsers_get_pages_also_for_what_is_refused_before_any_route(site: Everything) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path, more, content, status, words in (
        ("/searches", form, b"name=" + b"x" * 3_000_000, 413, "larger than the limit"),
        ("/v1/searches", {"Content-Type": "application/json"}, b"{", 400, "Malformed body"),
        ("/v1/searches", {"Content-Type": "text/plain"}, b"x", 415, "Content-Type: application/json"),
        ("/v1/searches?name=%00", {}, b"", 422, "the character NUL"),
        ("/searches", {"Host": "evil.example"}, b"", 421, "NNMASS_ALLOWED_HOSTS"),
        ("/searches", {"Host": "[::1"}, b"", 421, "NNMASS_ALLOWED_HOSTS"),
        ("/searches", {"Origin": "https://evil.example"}, b"", 403, "another origin"),
    ):
        page = site.client.post(path, headers=BROWSER | OURS | more, content=content)
        assert page.status_code == status, path
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert words in page.text, page.text
        problem = site.client.post(path, headers={"Accept": "*/*"} | OURS | more, content=content)
        assert (problem.status_code, problem.headers["content-type"]) == (status, problem_json.MEDIA_TYPE)
        assert problem.headers["vary"] == page.headers["vary"] == "Accept"
        assert problem.headers.get("connection") == page.headers.get("connection")


def test_a_browser_without_a_key_is_sent_from_the_api_to_sign_in(keyed: Everything) -> None:
    with closing(client_of(keyed.app)) as visitor:
        answer = visitor.get("/v1/searches?limit=3", headers=BROWSER, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/v1/searches%3Flimit%3D3")
        assert visitor.get("/v1/searches").status_code == 401
        assert visitor.get("/nowhere", headers=BROWSER).status_code == 404


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("", False),
        ("*/*", False),
        ("text/html", True),
        ("TEXT/HTML", True),
        (BROWSER["Accept"], True),
        ("text/html, application/json", False),
        ("text/html, application/json;q=0.9, */*", True),
        ("text/html;q=0", False),
        ("text/html;q=none", False),
        ("text/html;level=1;q=0.9, application/*;q=0.8", True),
    ],
)
def test_html_is_sent_only_where_it_is_preferred(accept: str, html: bool) -> None:
    assert problem_json.prefers_html(accept) == html


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


def test_pages_show_how_a_recipe_is_adapted_and_that_an_accuracy_is_at_chance_level(site: Everything) -> None:
    form = {"arch_id": site.ids["arch_id"], "dataset": "digits", "recipe": "imagenet-paper"}
    started = site.client.post("/verifications", data=form, headers=OURS)
    assert "batches of 72 instead of 256" in started.text
    plain = site.client.post("/verifications", data=form | {"unadapted": "1"}, headers=OURS)
    assert "instead of" not in plain.text
    database = site.app.state.database
    held = trainings.claim(database)
    trainings.adapt(database, held, resolve_recipe("imagenet-paper"), 1442)
    trainings.finish(database, held, {0: 7})
    trainings.train_all(database, [7])
    assert "at chance level" in site.client.get(plain.url.path).text
    listed = site.client.get("/verifications").text
    assert (", adapted" in listed, "chance level" in listed) == (True, True)
    for adapted in (True, False):
        evidence = site.client.get("/evidence", params={"recipe": "imagenet-paper", "adapted": adapted})
        assert "recipe imagenet-paper" in evidence.text
        assert ("adapted to few images" in evidence.text) == adapted
    site.restore()


def test_the_csv_file_of_the_evidence_has_the_points_of_the_page(site: Everything) -> None:
    database = site.app.state.database
    for recipe, depths in (("mlp-paper", (5, 6, 7)), ("imagenet-paper", (8, 9))):
        for depth in depths:
            body = {"architecture": MLP | {"depth": depth}, "dataset": "digits", "recipe": recipe, "adapt": False}
            assert site.client.post("/v1/verifications", json=body).status_code == 202
    trainings.train_all(database, [9, 8, 7, 6, 5])
    everything_read = len(site.client.get("/v1/evidence", params={"format": "csv"}).text.splitlines()) - 1
    try:
        for asked, least in (
            ({}, 3),
            ({"recipe": "mlp-paper"}, 3),
            ({"recipe": "imagenet-paper"}, 2),
            ({"recipe": "imagenet-paper", "adapted": "false", "dataset": "digits"}, 2),
            ({"family": "densenet_mlp"}, 3),
        ):
            page = site.client.get("/evidence", params=asked).text
            (shown,) = re.findall(r'id="points">(.*?)</script>', page)
            (path,) = re.findall(r'href="(/v1/evidence[^"]*)"', page)
            rows = list(csv.DictReader(io.StringIO(site.client.get(unescape(path)).text)))
            points = {(point["arch_id"], point["accuracy"]) for point in json.loads(shown)}
            assert {(row["arch_id"], float(row["accuracy"])) for row in rows} == points
            assert least <= len(rows) < everything_read
            kept = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
            assert kept == {name: text for name, text in asked.items() if name != "family"}
    finally:
        site.restore()


def test_deleting_asks_first(site: Everything) -> None:
    arch = f"/architectures/{site.ids['arch_id']}"
    own = "/architectures/" + site.client.post("/v1/architectures", json=MLP | {"depth": 9}).json()["arch_id"]
    site.client.get(f"{arch}/export/onnx?seed=3")
    of_training = f"/verifications/{site.ids['verification_id']}/export/onnx/delete?seed=0"
    training = f"/verifications/{site.ids['verification_id']}"
    measurement = f"/measurements/{site.ids['measurement_id']}"
    measured = f"/architectures/{site.client.get('/v1' + measurement).json()['arch_id']}"
    search = f"/searches/{site.waiting[4]}"
    site.client.post(f"{search}/change", data={"name": "first of all"}, headers=OURS)
    try:
        for shown, path, title, then in (
            (search, f"{search}/delete", "the search “first of all”", "/searches"),
            (training, of_training, "the onnx file with seed 0", training),
            (training, f"{training}/delete", "the training of densenet_mlp on digits", "/verifications"),
            (measured, f"{measurement}/delete", "the measurement of peak", measured),
            (arch, f"{arch}/export/onnx/delete?seed=3", "the onnx file with seed 3", arch),
            (own, f"{own}/delete", "this architecture", "/searches"),
        ):
            assert f'href="{path}"' in site.client.get(shown).text
            page = site.client.get(path)
            assert f"Delete {title}?" in page.text
            assert f'<form method="post" action="{path}"' in page.text
            assert site.client.get(path).status_code == 200, "nothing is deleted before the form is sent"
            assert site.client.post(path, headers=OURS).url.path == then
            assert site.client.get(path).status_code == 404
    finally:
        site.restore()


def test_a_network_that_only_a_reference_uses_has_no_delete_button(site: Everything) -> None:
    network = MLP | {"depth": 6, "skip_channels": 0}
    arch_id = site.client.post("/v1/architectures", json=network).json()["arch_id"]
    page, button = f"/architectures/{arch_id}", f'href="/architectures/{arch_id}/delete"'
    assert button in site.client.get(page).text
    objective = {"minimize": "params", "reference": {"arch_id": arch_id}}
    search = site.client.post("/v1/searches", json=MLP_SEARCH | {"objective": objective})
    assert search.status_code == 202, search.text
    assert site.client.delete(f"/v1/architectures/{arch_id}").status_code == 409
    assert button not in site.client.get(page).text
    assert "no search has it as its reference" in site.client.get(page).text
    site.restore()


def test_no_page_deletes_with_one_click(site: Everything) -> None:
    deleting = [path for method, path in routes() if method == "POST" and path.endswith("/delete")]
    assert len(deleting) == 6
    pages = [path for method, path in routes() if method == "GET"]
    assert set(deleting) <= set(pages), "each address that deletes has a page that asks"
    given: dict[str, dict[str, Any]] = {"/architectures": {"arch_id": site.ids["arch_id"]}}
    for path in pages:
        if path not in deleting:
            page = site.client.get(filled_in(path, site), params=given.get(path, {}))
            forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', page.text)
            assert not [action for action in forms if "/delete" in action], path


def test_pages_of_a_service_without_torch_say_what_to_run(site: Everything, monkeypatch: pytest.MonkeyPatch) -> None:
    arch, search = f"/architectures/{site.ids['arch_id']}", f"/searches/{site.ids['search_id']}"
    training = f"/verifications/{site.ids['verification_id']}"
    offers = {
        search: ('action="/verifications"',),
        arch: ('action="/verifications"', ">ONNX, untrained<", ">TorchScript, untrained<"),
        training: (f'action="{training}/replay"', f'action="{training}/export/onnx"'),
        "/verifications": (),
    }
    for path, offered in offers.items():
        page = site.client.get(path).text
        assert "no torch" not in page, path
        assert all(one in page for one in offered), path
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    for path, offered in offers.items():
        page = site.client.get(path).text
        assert "<code>make serve-train</code>" in page, path
        assert "<code>pip install &#39;nnmass[train]&#39;</code>" in page.replace("'", "&#39;"), path
        assert not any(one in page for one in offered), path
    kept = site.client.get(arch).text
    assert f'href="{arch}/export/pytorch?seed=0"' in kept
    assert "Stored files" in kept, "what was created before can still be downloaded"
    refused = site.client.get(f"{arch}/export/onnx?seed=7")
    assert (refused.status_code, "make serve-train" in refused.text) == (503, True)


def test_a_training_is_excluded_from_the_evidence_on_its_page(site: Everything) -> None:
    place = f"/verifications/{site.ids['verification_id']}"
    assert "Exclude from evidence" in site.client.get(place).text
    page = site.client.post(f"{place}/exclude", headers=OURS)
    assert (page.url.path, "Excluded from the evidence" in page.text) == (place, True)
    assert "excluded" in site.client.get("/verifications").text
    assert "Trainings excluded by their owner: 1." in site.client.get("/evidence").text
    assert "Exclude from evidence" in site.client.post(f"{place}/include", headers=OURS).text
    site.restore()


def test_a_training_on_a_dataset_of_another_release_is_shown(site: Everything) -> None:
    verification_id = site.ids["verification_id"]
    database: Database = site.app.state.database
    with database.write() as session:
        row = session.get_one(Verification, UUID(verification_id))
        row.dataset, row.dataset_key = {"name": "of-later"}, "of-later"
    for path in (f"/v1/verifications/{verification_id}", "/v1/verifications", f"/verifications/{verification_id}"):
        answer = site.client.get(path)
        assert (answer.status_code, "of-later" in answer.text) == (200, True), path
    assert site.client.get("/evidence").status_code == 200
    site.restore()


def test_the_creation_of_a_file_is_cancelled_on_the_page(site: Everything) -> None:
    arch = f"/architectures/{site.ids['arch_id']}"
    site.client.get(f"{arch}/export/torchscript?seed=4")
    cancel = f"{arch}/export/torchscript/cancel?seed=4"
    assert f'action="{cancel}"' in site.client.get(arch).text
    assert site.client.post(cancel, headers=OURS).url.path == arch
    exports = site.client.get(f"/v1{arch}").json()["exports"]
    assert [(one["format"], one["status"]) for one in exports] == [("torchscript", "cancelled"), ("onnx", "succeeded")]
    site.restore()


def test_a_trained_file_with_options_is_asked_for_on_the_page(site: Everything) -> None:
    training = f"/verifications/{site.ids['verification_id']}"
    page = site.client.get(training).text
    (form,) = re.findall(rf'<form class="actions" action="{training}/export/onnx">(.*?)</form>', page, re.DOTALL)
    for field in ('name="seed"', 'name="batch" value="dynamic"', 'value="18" selected', 'name="fold_batchnorm"'):
        assert field in form
    assert f'formaction="{training}/export/metadata"' in form
    asked = {"seed": "0", "batch": "1", "opset": "13", "fold_batchnorm": "false"}
    waiting = site.client.get(f"{training}/export/onnx", params=asked)
    assert "Creating the onnx file of the trained network" in waiting.text
    assert (waiting.headers["Refresh"], f'href="{training}"' in waiting.text) == ("1", True)
    assert site.client.get(f"{training}/export/metadata", params=asked).json()["opset"] == 13
    page = site.client.get(training).text
    assert "onnx, seed 0, batch 1, opset 13, BatchNorm kept" in page
    assert f'<a href="{training}/export/onnx?seed=0">download</a>' in page
    assert site.client.get(f"{training}/export/onnx?seed=0").content == b"made"
    cancel = f"{training}/export/onnx/cancel?seed=0"
    assert f'action="{cancel}"' in page
    assert site.client.post(cancel, headers=OURS).url.path == training
    statuses = [one["status"] for one in site.client.get(f"/v1{training}").json()["exports"]]
    assert statuses == ["cancelled", "succeeded"]
    site.restore()


def test_signing_in_requires_a_valid_key(keyed: Everything) -> None:
    assert keyed.key is not None
    with closing(client_of(keyed.app)) as visitor:
        redirect = visitor.get("/searches?q=x", follow_redirects=False)
        assert (redirect.status_code, redirect.headers["location"]) == (303, "/sign-in?next=/searches%3Fq%3Dx")
        wrong = visitor.post("/sign-in", data={"key": "nnm_wrong"}, headers=OURS)
        assert wrong.status_code == 401
        assert "unknown, revoked or expired" in wrong.text
        elsewhere = visitor.post(
            "/sign-in", data={"key": keyed.key, "next": "//elsewhere.example"}, headers=OURS, follow_redirects=False
        )
        assert elsewhere.headers["location"] == "/"
        cookie = elsewhere.headers["set-cookie"]
        assert all(word in cookie for word in (KEY_COOKIE, "HttpOnly", "SameSite=strict"))
        assert visitor.get("/searches").status_code == 200
        assert visitor.get("/v1/searches").status_code == 200  # the pages' own scripts read events with it
        visitor.post("/sign-out", headers=OURS)
        assert visitor.get("/searches", follow_redirects=False).status_code == 303


def test_a_cookie_does_not_authorize_writes_from_another_origin(keyed: Everything) -> None:
    assert keyed.key is not None
    with closing(signed_in(keyed.app, keyed.key)) as visitor:
        body = {"space": "densenet-tiny"}
        assert visitor.post("/v1/searches", json=body, headers={"Origin": "http://evil.example"}).status_code == 403
        assert visitor.post("/v1/searches", json=body, headers={"Sec-Fetch-Site": "same-site"}).status_code == 403
        assert visitor.post("/v1/searches", json=body, headers=OURS).status_code == 202


def test_no_page_shows_anything_of_another_owner(keyed: Everything) -> None:
    stranger_key = key_of(keyed.app, "stranger", Scope.READ, Scope.SEARCH, Scope.TRAIN)
    with closing(signed_in(keyed.app, stranger_key)) as stranger:
        tried = 0
        for method, pattern in routes():
            path = filled_in(pattern, keyed)
            answer = stranger.request(method, path, headers=OURS, follow_redirects=False)
            assert not any(one in answer.text for one in keyed.ids.values() if one not in path), path
            if "{" in pattern:
                tried += 1
                assert answer.status_code == 404, (method, path, answer.status_code)
        assert tried >= 13
        ids = {"ids": [keyed.ids["search_id"], keyed.waiting[0]]}
        assert stranger.get("/searches/compare", params=ids).status_code == 404
        assert stranger.get("/", params={"like": keyed.ids["search_id"]}).status_code == 404
        train = {"search": keyed.ids["search_id"], "dataset": "digits", "recipe": "mlp-paper"}
        assert "names an unknown search" in stranger.post("/verifications", data=train, headers=OURS).text
        arch = {"arch_id": keyed.ids["arch_id"], "dataset": "digits", "recipe": "mlp-paper"}
        assert "names an unknown architecture" in stranger.post("/verifications", data=arch, headers=OURS).text


def test_a_key_with_scope_read_changes_nothing_on_any_page(keyed: Everything) -> None:
    reader_key = key_of(keyed.app, "somebody", Scope.READ)
    with closing(signed_in(keyed.app, reader_key)) as reader:
        assert reader.get(f"/searches/{keyed.ids['search_id']}").status_code == 200
        for path in [filled_in(path, keyed) for method, path in routes() if method == "POST"]:
            assert reader.post(path, data=FORM, headers=OURS).status_code == 403, path


def test_pages_work_under_the_path_of_a_proxy(tmp_path: Path, sqlite_file: Path) -> None:
    (tmp_path / "nnmass.db").write_bytes(sqlite_file.read_bytes())
    app = create_app(Settings(data_dir=tmp_path))
    with closing(TestClient(app, base_url=ADDRESS, root_path="/nas")) as client:
        page = client.get("/nas/")
        assert 'action="/nas/searches"' in page.text
        assert 'href="/nas/ui/page.css' in page.text
        made = client.post("/nas/searches", data=FORM, headers=OURS, follow_redirects=False)
        assert made.headers["location"].startswith("/nas/searches/")


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
    request = {"space": "densenet-tiny", "objective": {"maximize": "nn_mass"}}
    for bound in (1234567.891, 0.000012, 5.0):
        budget = {"precision": "fp32", "max_latency_ms": bound}
        assert float(filled({**request, "budget": budget, "top_k": 1})["max_latency_ms"][0]) == bound
