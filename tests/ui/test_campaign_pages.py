"""The pages of campaigns without a browser: the list, the answer, the form, and what its buttons do."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.jobs import requirements
from nnmass.formatting import role
from tests.api import test_planned_campaigns as planned
from tests.api.everything import QUESTION, TRAINING, Everything
from tests.api.test_campaigns import on_sqlite
from tests.ui.pages import OURS
from worker.process import Context


def page_of(site: Everything, path: str) -> str:
    answer = site.client.get(path)
    assert answer.status_code == 200, answer.text
    return unescape(answer.text)


def rows_of(page: str, part: str) -> list[str]:
    """Return the rows of the table in a part of the page."""
    table = page.partition(f'id="{part}"')[2].partition("</tbody>")[0].partition("<tbody>")[2]
    found: list[str] = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
    return found


def state_of(site: Everything, campaign_id: str) -> dict[str, Any]:
    found: dict[str, Any] = site.client.get(f"/v1/campaigns/{campaign_id}").json()
    return found


def test_the_list_shows_states_and_answers_and_is_filtered(site: Everything) -> None:
    done, open_one = site.ids["campaign_id"], site.campaign
    page = page_of(site, "/campaigns")
    assert 'href="/campaigns" aria-current="page"' in page
    assert [page.index(f'href="/campaigns/{one}"') for one in (open_one, done)] == sorted(
        page.index(f'href="/campaigns/{one}"') for one in (open_one, done)
    ), "newest first"
    assert "60.00 %" in page
    assert "data-changes" in page, "one has not ended"
    succeeded = page_of(site, "/campaigns?status=succeeded")
    assert (done in succeeded, open_one in succeeded, "data-changes" in succeeded) == (True, False, False)
    assert "No campaigns match the filter" in page_of(site, "/campaigns?family=resnet")
    assert site.client.get("/campaigns?status=done").status_code == 422


def test_the_list_goes_on_with_older_campaigns(site: Everything) -> None:
    body = TRAINING | {"search": QUESTION, "strategy": "top"}
    made = [site.client.post("/v1/campaigns", json=body).json()["id"] for _ in range(50)]
    try:
        page = page_of(site, "/campaigns")
        assert (made[-1] in page, made[0] in page, site.ids["campaign_id"] in page) == (True, True, False)
        (older,) = re.findall(r'href="(/campaigns\?[^"]*cursor=[^"]*)"', page)
        assert site.ids["campaign_id"] in page_of(site, older)
    finally:
        site.restore()


def test_a_campaign_shows_its_answer_before_its_trainings(site: Everything) -> None:
    campaign = state_of(site, site.ids["campaign_id"])
    page = page_of(site, f"/campaigns/{campaign['id']}")
    best = campaign["result"]["best"]
    parts = [campaign["result"]["statement"], 'id="best"', 'id="against"', 'id="campaign"', "<h2>Trainings</h2>"]
    assert [page.index(part) for part in parts] == sorted(page.index(part) for part in parts)
    assert f'href="/architectures/{best["arch_id"]}"' in page
    assert f'href="/verifications/{best["verification"]}"' in page
    (points,) = re.findall(r'id="points">(.*?)</script>', page)
    assert [(one["role"], one["accuracy"], one["seeds"]) for one in json.loads(points)] == [
        (item["role"], item["accuracy"], item["seeds"]) for item in campaign["items"]
    ]
    rows = rows_of(page, "trainings")
    assert len(rows) == len(campaign["items"]) == 3
    for row, item in zip(rows, campaign["items"], strict=True):
        assert f'href="/verifications/{item["verification"]}">succeeded</a>' in row
        assert f"{item['params']:,}" in row
        assert f"{100 * item['accuracy']:.2f} %" in row
        assert ("known before" in row) == item["known"]
        is_best = item["arch_id"] == best["arch_id"] and item["role"] != "confirm"
        assert (">best</strong>" in row) == is_best
    (evidence,) = re.findall(r'href="(/evidence\?[^"]*)"', page)
    assert "mlp-paper" in page_of(site, evidence)
    assert "/pause" not in page, "it has ended"


@on_sqlite
def test_a_planned_campaign_shows_predictions_comparisons_and_what_is_proved(
    client: TestClient, worker: Context
) -> None:
    ended = planned.run(client, worker, [8, 4, 4, 1], trainings=16, rounds=3, confirm=1)
    page = unescape(client.get(f"/campaigns/{ended['id']}").text)
    rows = rows_of(page, "trainings")
    assert len(rows) == len(ended["items"]) == 17
    for row, item in zip(rows, ended["items"], strict=True):
        assert f">{role(item['role'])}</td>" in row
        assert f"{100 * item['validation_accuracy']:.2f} %" in row
        if item["predicted"] is not None:
            assert f"{100 * item['predicted']['accuracy']:.2f} %" in row
            assert f"{100 * item['predicted']['low']:.2f} % to {100 * item['predicted']['high']:.2f} %" in row
    controls = rows_of(page, "controls")
    result = ended["result"]
    assert len(controls) == 1 + len(result["against_controls"]) == 5
    assert "random near the budget" in controls[0], "first of all"
    for row, one in zip(controls[1:], result["against_controls"], strict=True):
        is_best = one["arch_id"] == result["best"]["arch_id"]
        assert one["arch_id"] in row
        assert ("it is the best" if is_best else f"{100 * one['value']:+.2f} points") in row
    choices = rows_of(page, "choices")
    assert ["models of the results" in row for row in choices] == [one["fit"] is not None for one in ended["choices"]]
    for row, one in zip(choices, ended["choices"], strict=True):
        if one["fit"] is not None:
            assert f"{one['fit']['bound']:,}</td>" in row
            assert f"{one['fit']['error']:.2f} points" in row
    assert page.index('id="controls"') < page.index('id="choices"'), "proofs apart from accuracies"
    assert 'value="0.1"' in client.get(f"/campaigns/{ended['id']}/again").text


def test_an_open_campaign_is_paused_resumed_changed_and_cancelled(site: Everything) -> None:
    place = f"/campaigns/{site.campaign}"
    try:
        page = page_of(site, place)
        assert f'data-events="/v1{place}/events"' in page
        assert "No training has ended yet." in page
        paused = site.client.post(f"{place}/pause", headers=OURS)
        assert (paused.url.path, 'class="badge paused"' in paused.text) == (place, True)
        assert f'action="{place}/resume"' in paused.text
        assert f'action="{place}/pause"' not in paused.text
        assert 'class="badge paused"' in page_of(site, "/campaigns")
        assert 'class="badge paused"' not in site.client.post(f"{place}/resume", headers=OURS).text
        changed = site.client.post(f"{place}/change", data={"trainings": "24"}, headers=OURS)
        assert (changed.url.path, state_of(site, site.campaign)["trainings"]) == (place, 24)
        for text, said in (("many", "must be a whole number"), ("0", "greater than or equal to 1")):
            refused = site.client.post(f"{place}/change", data={"trainings": text}, headers=OURS)
            assert (refused.status_code, "trainings" in refused.text, said in refused.text) == (422, True, True)
        assert state_of(site, site.campaign)["trainings"] == 24
        cancelled = site.client.post(f"{place}/cancel", headers=OURS)
        assert (cancelled.url.path, 'class="badge cancelled"' in cancelled.text) == (place, True)
        assert f'href="{place}/delete"' in cancelled.text
        assert site.client.post(f"{place}/pause", headers=OURS).status_code == 409
    finally:
        site.restore()


def test_a_campaign_is_started_from_the_page_of_a_search(site: Everything) -> None:
    place = f"/searches/{site.ids['search_id']}/campaign"
    assert f'href="{place}"' in page_of(site, f"/searches/{site.ids['search_id']}")
    page = page_of(site, place)
    assert '<option value="digits"' in page
    assert '<option value="cifar10"' not in page, "no network of the space takes its images"
    form = {"strategy": "top", "trainings": "3", "rounds": "1", "confirm": "0", "dataset": "digits"}
    form |= {"recipe": "mlp-paper", "seeds": "4, 5", "unadapted": "1", "validation": "0.2"}
    try:
        made = site.client.post(place, data=form, headers=OURS)
        assert re.fullmatch(r"/campaigns/[0-9a-f-]{36}", made.url.path), made.text
        campaign = state_of(site, made.url.path.rpartition("/")[2])
        search = site.client.get(f"/v1/searches/{site.ids['search_id']}").json()["request"]
        assert (campaign["search"]["space"], campaign["search"]["budget"]) == (search["space"], search["budget"])
        numbers = {name: campaign[name] for name in ("strategy", "trainings", "rounds", "confirm", "seeds", "adapt")}
        assert numbers == {
            "strategy": "top",
            "trainings": 3,
            "rounds": 1,
            "confirm": 0,
            "seeds": [4, 5],
            "adapt": False,
        }
        assert (campaign["validation"], campaign["recipe_name"]) == (0.2, "mlp-paper")
        assert "20.00 % of the training images held out" in made.text
        again = page_of(site, f"{made.url.path}/again")
        assert '<option value="mlp-paper" selected>' in again
        for filled in (
            'name="trainings" value="3"',
            'name="validation" value="0.2"',
            'name="seeds" value="4, 5"',
            'value="1" checked',
        ):
            assert filled in again
        assert '<option value="top" selected>' in again
        assert '<option value="digits" selected>' in again
        second = site.client.post(f"{made.url.path}/again", data=form | {"trainings": "5"}, headers=OURS)
        assert state_of(site, second.url.path.rpartition("/")[2])["trainings"] == 5
        assert second.url.path != made.url.path
    finally:
        site.restore()


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"trainings": "many"}, "trainings", "must be a whole number"),
        ({"trainings": "0"}, "trainings", "greater than or equal to 1"),
        ({"rounds": "21"}, "rounds", "less than or equal to 20"),
        ({"confirm": "-1"}, "confirm", "greater than or equal to 0"),
        ({"validation": "0.001"}, "validation", "must be more than"),
        ({"seeds": "a"}, "seeds", "must be whole numbers separated by commas"),
        ({"dataset": "cifar10"}, "dataset", "3 x 32 x 32"),
        ({"recipe": "of-later"}, "recipe", "must be a full definition or one of"),
        ({"strategy": "luck"}, "strategy", "must be"),
        ({"validation": "some"}, "validation", "must be a number"),
        ({"validation": "0.7"}, "validation", "less than or equal to 0.5"),
    ],
)
def test_problems_of_the_form_are_shown_next_to_their_field(
    site: Everything, wrong: dict[str, str], field: str, said: str
) -> None:
    place = f"/searches/{site.ids['search_id']}/campaign"
    form = {"strategy": "top", "trainings": "3", "rounds": "1", "confirm": "0", "dataset": "digits"}
    form |= {"recipe": "mlp-paper", "seeds": "0"}
    refused = site.client.post(place, data=form | wrong, headers=OURS)
    assert refused.status_code == 422
    text = unescape(refused.text)
    assert "Not submitted. Fix the marked fields." in text
    (problem,) = re.findall(rf'id="problem-{field}"[^>]*>([^<]*)</p>', text)
    assert said in problem
    assert re.search(rf'name="{field}"[^>]*aria-invalid="true"', text)
    others = re.findall(r'id="problem-(\w+)"[^>]*>([^<]+)</p>', text)
    assert [name for name, _ in others] == [field]
    kept = {name: value for name, value in form.items() if name not in wrong and name in ("trainings", "confirm")}
    assert all(f'name="{name}" value="{value}"' in text for name, value in kept.items()), "what was typed stays"


def test_a_problem_of_the_question_is_shown_above_the_form(site: Everything) -> None:
    body = {"space": QUESTION["space"], "objective": {"pareto": ["nn_mass", "params"]}}
    front = site.client.post("/v1/searches", json=body).json()["id"]
    body = {"space": QUESTION["space"], "budget": {"min_params": 10}}
    unlimited = site.client.post("/v1/searches", json=body).json()["id"]
    form = {"strategy": "random", "dataset": "digits", "recipe": "mlp-paper"}
    try:
        page = page_of(site, f"/searches/{front}/campaign")
        assert ("this one asks for a Pareto front" in page, "Start campaign" in page) == (True, False)
        refused = site.client.post(f"/searches/{unlimited}/campaign", data=form, headers=OURS)
        assert refused.status_code == 422
        assert "budget must limit a cost from above" in refused.text
        assert site.client.post(f"/searches/{front}/campaign", data=form, headers=OURS).status_code == 422
    finally:
        site.restore()


def test_a_service_without_torch_says_what_to_run(site: Everything, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"/searches/{site.ids['search_id']}/campaign"
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    for path in (place, "/campaigns"):
        page = page_of(site, path)
        assert ("make serve-train" in page, "Start campaign<" in page) == (True, False)
