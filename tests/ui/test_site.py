"""The pages without a browser: their content, their refusals and their access control."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from app.auth.keys import Scope
from app.config import Settings
from app.http import problem_json
from app.http.dependencies import KEY_COOKIE
from app.main import create_app
from app.ui.routes import chart_file
from tests.api.everything import Everything
from tests.clients import ADDRESS, client_of
from tests.ui.pages import FORM, OURS, filled_in, key_of, routes, signed_in


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


def test_the_api_refuses_forms_and_pages_refuse_forms_of_other_origins(site: Everything) -> None:
    form = {"space": "densenet-tiny-free"}
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
        body = {"space": "densenet-tiny-free"}
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
