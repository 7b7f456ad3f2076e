"""The pages of trainings, of the evidence and of files, and what they delete."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html import unescape
from typing import Any
from uuid import UUID

import pytest

from app.jobs import requirements
from app.storage.db import Database
from app.storage.models import Verification
from nnmass_core.named.recipes import resolve_recipe
from tests.api import trainings
from tests.api.everything import Everything
from tests.api.test_verifications import SEARCH as MLP_SEARCH
from tests.networks import MLP
from tests.ui.pages import OURS, filled_in, routes


def test_a_training_shows_how_its_images_were_read_and_what_was_left_out(site: Everything) -> None:
    page = site.client.get(f"/verifications/{site.ids['verification_id']}").text
    for said in (
        "4 training and 10 test inputs of 2 classes",
        "train/ is for training, Valid/ for testing",
        "3 images turned as the EXIF orientation says",
        "Left out: files that end in .txt: 3 (a.txt, b.txt and 1 more)",
    ):
        assert f"<li>{said}</li>" in page


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


def test_the_page_of_a_training_with_a_validation_part_shows_its_figures(site: Everything) -> None:
    database = site.app.state.database
    recipe = replace(resolve_recipe("mlp-paper"), validation=0.1).to_json()
    body = {"architecture": MLP | {"depth": 9}, "dataset": "digits", "recipe": recipe}
    started = site.client.post("/v1/verifications", json=body).json()["id"]
    held = trainings.claim(database)
    trainings.epoch(database, held, 0, 1, validated=0.625, tested=False)
    running = site.client.get(f"/verifications/{started}").text
    assert "10.00 % of the training images held out" in running
    assert 'data-validated="true"' in running
    row = re.findall(r"<td[^>]*>([^<]*)</td>", running.partition('id="epochs-0"')[2].partition("</tbody>")[0])
    assert row[:7] == ["1", "1", "1", "-", "50.00 %", "62.50 %", "-"]
    (curves,) = re.findall(r'id="runs">(.*?)</script>', running)
    assert json.loads(curves)[0]["validation_accuracy"] == [0.625]
    trainings.finish(database, held, {0: 9}, validated=0.75)
    ended = site.client.get(f"/verifications/{started}").text
    assert re.search(r'id="validation">validation accuracy<b>75.00 %</b>', ended)
    plain = site.client.get(f"/verifications/{site.ids['verification_id']}").text
    assert 'data-validated="false"' in plain
    assert "validation" not in plain.replace("data-validated", "").replace("validation_accuracy", "").replace(
        " Valid/", ""
    )
    site.restore()


def test_the_page_of_the_evidence_compares_own_columns(site: Everything) -> None:
    body = {"architecture": MLP | {"depth": 5}, "dataset": "digits", "recipe": "mlp-paper"}
    arch_id = site.client.post("/v1/verifications", json=body).json()["arch_id"]
    trainings.train_all(site.app.state.database, [9])
    points = [
        {"arch_id": arch_id, "name": "ours", "values": {"snip": 7, "published": 0.5}},
        {"architecture": MLP | {"depth": 6}, "name": "theirs", "values": {"published": 0.6}},
    ]
    try:
        assert site.client.post("/v1/evidence/points", json={"points": points}).status_code == 200
        page = site.client.get("/evidence").text
        assert "<h2>Your columns</h2>" in page
        assert '<th scope="row">snip, Spearman</th><td class="n">1</td>' in page
        assert "published (2)</a>" in page
        (shown,) = re.findall(r'id="points">(.*?)</script>', page)
        (one,) = [point for point in json.loads(shown) if point["arch_id"] == arch_id]
        assert (one["name"], one["snip"], one["published"]) == ("ours", 7, 0.5)
        page = site.client.get("/evidence", params={"accuracy": "published"}).text
        assert "Rank correlation with published" in page
        assert 'data-accuracy="published"' in page
        (shown,) = re.findall(r'id="points">(.*?)</script>', page)
        assert {point["name"]: point["accuracy"] for point in json.loads(shown)} == {"ours": 0.5, "theirs": 0.6}
        assert [point["snip"] for point in json.loads(shown)].count(None) == 1
        (path,) = re.findall(r'href="(/v1/evidence[^"]*)"', page)
        rows = csv.DictReader(io.StringIO(site.client.get(unescape(path)).text))
        assert {row["name"] for row in rows} == {"ours", "theirs"}
    finally:
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
    campaign = f"/campaigns/{site.ids['campaign_id']}"
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
            (campaign, f"{campaign}/delete", "the campaign of densenet_mlp on digits", "/campaigns"),
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
    assert len(deleting) == 7
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
