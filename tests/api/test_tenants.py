"""Owners see nothing of each other: every route of the OpenAPI document, called on resources of another owner.

The matrix is read from the document, so it includes a new route; a path parameter or a reference in a body that the
matrix does not know fails the tests until a value to try is added.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

import app
from app.auth import keys
from app.auth.keys import Scope
from app.jobs import lifecycle
from app.main import FEATURES, create_app
from app.storage.models import Base, Job
from tests.api import trainings
from tests.api.test_verifications import SEARCH as MLP_SEARCH
from tests.clients import client_of
from tests.conftest import Backend
from tests.core.latencies import profile
from tests.networks import MLP
from worker import search_tasks
from worker.process import Context

MARK = "alices-secret"
"""What alice writes wherever text can be written; it must turn up in no answer to bob."""

COLUMN = "alices_column"
"""The column of figures that alice uploads beside her networks."""

OPEN = {"/healthz", "/readyz"}
METHODS = ("get", "post", "put", "patch", "delete")
UNKNOWN_ID, UNKNOWN_ARCH = str(uuid4()), "arch_" + "0" * 32


@dataclass(frozen=True)
class World:
    """A service with resources of alice.

    bob: another owner. twin: an owner who has made the same as alice, so that their networks have the same ids.
    """

    alice: TestClient
    bob: TestClient
    twin: TestClient
    alices: dict[str, str]
    backend: Backend

    @property
    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(path, method, description) of everything that needs a key."""
        document = self.bob.get("/openapi.json").json()
        for path, item in document["paths"].items():
            if path not in OPEN:
                yield from ((path, method, item[method]) for method in METHODS if method in item)

    def rows(self) -> dict[str, list[str]]:
        """All rows of the database, except the last use of keys and the heartbeats of workers."""
        left_out = {"api_keys", "worker_beats"}
        with self.backend.database.read() as session:
            return {
                table.name: sorted(repr(row) for row in session.execute(select(table)).all())
                for table in Base.metadata.sorted_tables
                if table.name not in left_out
            }


def make_key(backend: Backend, owner: str, scopes: set[Scope]) -> str:
    with backend.database.write() as session:
        return keys.create(session, owner, scopes)[1]


@pytest.fixture
def world(backend: Backend, worker: Context) -> Iterator[World]:
    application = create_app(backend.settings)
    everything = {Scope.READ, Scope.SEARCH, Scope.TRAIN}
    alice, bob, twin = (client_of(application, key=make_key(backend, o, everything)) for o in ("alice", "bob", "twin"))
    with alice:
        _search_and_train(twin, backend, worker, {})
        alices = _search_and_train(alice, backend, worker, {"name": MARK, "tags": [MARK], "note": MARK})
        _diverge(alice, backend, 6)
        assert alice.patch(f"/v1/verifications/{_diverge(alice, backend, 7)}", json={"excluded": True}).is_success
        alices |= _order(alice, alices["arch_id"], alices["verification_id"])
        yield World(alice, bob, twin, alices, backend)


TRAINING = {"dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
REFERENCE = MLP | {"depth": 9}
"""The reference of a search of alice; anybody may register the same network."""


def _search_and_train(client: TestClient, backend: Backend, worker: Context, labels: dict[str, Any]) -> dict[str, str]:
    """Search, and train the best; returns ids by the names of path parameters."""
    search = _post(client, "/v1/searches", MLP_SEARCH | labels)["id"]
    assert search_tasks.run_next(worker)
    (trained,) = _post(client, "/v1/verifications", TRAINING | {"search": search, "top": 1})["items"]
    (ended,) = trainings.train_all(backend.database, [7])
    trainings.describe(backend.database, ended)
    ids = {"search_id": search, "verification_id": trained["id"], "arch_id": trained["arch_id"]}
    return ids | {"name": "weights-seed0.pt"}


def _diverge(client: TestClient, backend: Backend, depth: int) -> str:
    """Store a training that diverged; returns its id."""
    made = _post(client, "/v1/verifications", TRAINING | {"architecture": MLP | {"depth": depth}})["id"]
    held = trainings.claim(backend.database)
    with backend.database.write() as session:
        assert lifecycle.fail(session, held, "diverged", "the loss is not a number")
    return str(made)


def _order(client: TestClient, best: str, trained: str) -> dict[str, str]:
    """Register a network, and request a measurement and exports of the best one, untrained and trained."""
    network = MLP | {"depth": 5}
    registered = _post(client, "/v1/architectures", network)["arch_id"]
    measurement = _post(client, "/v1/measurements", {"kind": "peak", "architecture": {"arch_id": best}})["id"]
    for source in (f"architectures/{best}", f"verifications/{trained}"):
        assert client.get(f"/v1/{source}/export?format=onnx").status_code == 202
    device = _post(client, "/v1/devices", profile("alices-board", title=MARK))["name"]
    _post(client, "/v1/searches", {**MLP_SEARCH, "objective": {"minimize": "params", "reference": REFERENCE}})
    question = {name: value for name, value in MLP_SEARCH.items() if name != "top_k"}
    campaign = _post(client, "/v1/campaigns", TRAINING | {"search": question, "strategy": "top"})["id"]
    points = [{"arch_id": arch, "name": MARK, "values": {COLUMN: 7.5}} for arch in (best, registered)]
    _post(client, "/v1/evidence/points", {"points": points})
    made = {"campaign_id": campaign, "measurement_id": measurement, "registered": registered, "device_name": device}
    return made | {"column_name": COLUMN}


def _post(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201, 202), answer.text
    made: dict[str, Any] = answer.json()
    return made


# the matrix


def find_leaks(world: World) -> Iterator[str]:
    """Request everything of alice on every route as bob and as her twin; yields what they can read or change."""
    before = world.rows()
    for path, method, about in world.operations:
        yield from _leaks_of(world, path, method, about)
    yield from _leaks_by_body(world)
    after = world.rows()
    yield from (f"bob changed {table}" for table in before if not set(before[table]) <= set(after[table]))
    made = set(after["jobs"]) - set(before["jobs"])
    yield from (f"bob made {row}" for row in made if "bob" not in row)
    yield from _leaks_to_a_twin(world)


def _leaks_of(world: World, path: str, method: str, about: dict[str, Any]) -> Iterator[str]:
    parameters = re.findall(r"\{(\w+)\}", path)
    queries = {p["name"]: p for p in about.get("parameters", []) if p["in"] == "query"}
    unknown = {
        "arch_id": UNKNOWN_ARCH,
        "name": "nothing",
        "device_name": "nothing",
        "column_name": "nothing",
        **dict.fromkeys(_IDS, UNKNOWN_ID),
    }
    if parameters in (["name"], []):  # a list, or something everybody has
        for query in _queries(queries, world.alices):
            answer = world.bob.request(method.upper(), path, params=query)
            if _reveals(world, answer.text):
                yield f"{method} {path} {query} reveals {answer.text[:200]}"
        return
    for arch in (world.alices["arch_id"], world.alices["registered"]):
        alices = {**world.alices, "arch_id": arch}
        ours = path.format(**{name: alices[name] for name in parameters})
        nothing = path.format(**{name: unknown[name] for name in parameters})
        query = _required(queries, world.alices)
        answers = [world.bob.request(method.upper(), place, params=query, json=_BODIES.get((method, path)))
                   for place in (ours, nothing)]  # fmt: skip
        if _reported(answers[0]) != _reported(answers[1]) or answers[0].status_code < 400:
            yield f"{method} {path}: {answers[0].status_code} {answers[0].text[:100]}, unknown {answers[1].status_code}"


_IDS = ("search_id", "verification_id", "measurement_id", "campaign_id")
_BODIES: dict[tuple[str, str], Any] = {
    ("patch", "/v1/searches/{search_id}"): {"name": "bob was here"},
    ("patch", "/v1/verifications/{verification_id}"): {"excluded": True},
    ("patch", "/v1/campaigns/{campaign_id}"): {"trainings": 7},
}


def _queries(queries: dict[str, Any], alices: dict[str, str]) -> list[dict[str, str]]:
    """Query a list without filters, then with each filter that could name a resource of alice."""
    values = {
        "search": alices["search_id"],
        "arch_id": alices["arch_id"],
        "ids": alices["search_id"],
        "tag": MARK,
        "q": MARK,
        "accuracy": COLUMN,
    }
    asked = [{name: values[name]} for name in queries if name in values]
    formats = queries.get("format", {}).get("schema", {}).get("enum", [])
    return [{}, *asked, *({"format": value} for value in formats)]


def _required(queries: dict[str, Any], alices: dict[str, str]) -> dict[str, str]:
    if not queries.get("format", {}).get("required"):
        return {}
    return {"format": "onnx"}  # the files that are stored, and that can be deleted


def _reported(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.text


def _reveals(world: World, said: str) -> bool:
    return any(secret in said for secret in (MARK, *(value for name, value in world.alices.items() if name != "name")))


def _leaks_by_body(world: World) -> Iterator[str]:
    """A reference in a body to a resource of alice is answered as an unknown one."""
    for path, body_of, own, nothing in _references(world):
        reported = [_reported(world.bob.post(path, json=body_of(value))) for value in (own, nothing)]
        if reported[0] != reported[1] or reported[0][0] < 400:
            yield f"post {path} with hers: {reported[0]}, with nothing: {reported[1]}"


def _leaks_to_a_twin(world: World) -> Iterator[str]:
    """An owner of the same networks sees only their own searches, trainings and files of them."""
    alices = [world.alices[name] for name in _IDS]
    for path in ("/v1/searches", "/v1/verifications", "/v1/campaigns", f"/v1/architectures/{world.alices['arch_id']}"):
        said = world.twin.get(path).text
        if MARK in said or any(identity in said for identity in alices):
            yield f"{path} reveals a resource of alice to the twin"
    if world.twin.get(f"/v1/architectures/{world.alices['arch_id']}").json()["exports"]:
        yield "the twin sees a file that they did not ask for"
    seen = world.twin.get("/v1/evidence").json()
    if (seen["n"], seen["diverged"], seen["excluded"]) != (1, 0, 0):
        counts = f"{seen['n']} networks, {seen['diverged']} diverged and {seen['excluded']} excluded"
        yield f"the twin's evidence counts {counts}"
    if seen["columns"] or world.twin.get("/v1/evidence/points").json()["items"]:
        yield "the twin sees figures of alice"
    registered = _post(world.twin, "/v1/architectures", REFERENCE)["arch_id"]
    deleted = world.twin.delete(f"/v1/architectures/{registered}")
    if deleted.status_code != 204:
        yield f"a search of alice keeps a network of the twin: {deleted.text}"
    world.twin.get(f"/v1/architectures/{world.alices['arch_id']}/export?format=onnx")
    with world.backend.database.read() as session:
        made = session.scalars(select(Job.owner).where(Job.kind == "export")).all()
    if sorted(made) != ["alice", "alice", "twin"]:
        yield f"files were made for {made}"


Reference = tuple[str, Callable[[str], dict[str, Any]], str, str]


def _references(world: World) -> list[Reference]:
    alices = world.alices

    def compress(arch: str) -> dict[str, Any]:
        return {**MLP_SEARCH, "objective": {"minimize": "params", "reference": {"arch_id": arch}}}

    by_arch: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
        ("/v1/searches", compress),
        ("/v1/searches/preview", compress),
        ("/v1/verifications", lambda arch: {**TRAINING, "arch_id": arch}),
        ("/v1/measurements", lambda arch: {"kind": "peak", "architecture": {"arch_id": arch}}),
        ("/v1/evidence/points", lambda arch: {"points": [{"arch_id": arch, "values": {"zico": 1.0}}]}),
    ]

    def on(device: str) -> dict[str, Any]:
        return {**MLP_SEARCH, "budget": {"device": device}}

    by_device = [(path, on, alices["device_name"], "nothing") for path in ("/v1/searches", "/v1/searches/preview")]
    found = [(*one, alices[arch], UNKNOWN_ARCH) for one in by_arch for arch in ("arch_id", "registered")]
    by_search = ("/v1/verifications", lambda s: {**TRAINING, "search": s, "top": 1}, alices["search_id"], UNKNOWN_ID)
    return [*by_device, *found, by_search]


def test_an_owner_cannot_read_or_change_anything_of_another_owner(world: World) -> None:
    assert list(find_leaks(world)) == []


def test_an_owner_sees_every_own_resource(world: World) -> None:
    """The matrix is not empty: the resources that bob is refused exist."""
    for path, method, about in world.operations:
        if method == "get" and "{search_id}" in path and not path.endswith("events"):
            query = _required({p["name"]: p for p in about.get("parameters", [])}, world.alices)
            assert world.alice.get(path.format(**world.alices), params=query).status_code == 200, path
    listed = world.alice.get("/v1/searches").text + world.alice.get("/v1/verifications").text
    assert all(world.alices[name] in listed for name in ("search_id", "verification_id"))
    seen = world.alice.get("/v1/evidence").json()
    assert (seen["n"], seen["diverged"], seen["excluded"]) == (1, 1, 1)


def test_the_matrix_covers_every_reference(world: World) -> None:
    known = {*world.alices, "name"}
    for path, _, _ in world.operations:
        assert set(re.findall(r"\{(\w+)\}", path)) <= known, f"add what to try on {path} to the matrix"
    document = world.bob.get("/openapi.json").json()
    sent = [operation["requestBody"] for _, _, operation in world.operations if "requestBody" in operation]
    names = _properties(document, sent)
    referring = {name for name in names if re.search("_id$|^ids?$|^search$|^reference$|^replay_of$|^device$", name)}
    assert referring == {"arch_id", "search", "reference", "device"}, "add what to try with it to the matrix"


def _properties(document: dict[str, Any], node: Any, seen: frozenset[str] = frozenset()) -> set[str]:
    """Return the names of all properties below a node of the document."""
    if isinstance(node, list):
        return set().union(*(_properties(document, item, seen) for item in node))
    if not isinstance(node, dict):
        return set()
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        known = document["components"]["schemas"][name]
        return set() if name in seen else _properties(document, known, seen | {name})
    own = set(node["properties"]) if isinstance(node.get("properties"), dict) else set()
    return own.union(*(_properties(document, value, seen) for key, value in node.items() if key != "examples"))


def test_a_repeated_idempotency_key_of_another_owner_makes_a_new_search(world: World) -> None:
    body = {"space": "densenet-tiny-free"}
    reported = [
        client.post("/v1/searches", json=body, headers={"Idempotency-Key": "same"})
        for client in (world.alice, world.bob)
    ]
    assert reported[0].json()["id"] != reported[1].json()["id"]
    other = world.bob.post("/v1/searches", json=MLP_SEARCH | {"fresh": True}, headers={"Idempotency-Key": "other"})
    mine = world.alice.post("/v1/searches", json=body, headers={"Idempotency-Key": "other"})
    assert (other.status_code, mine.status_code) == (202, 202)


def test_an_equal_request_of_another_owner_is_not_reused(world: World) -> None:
    his = _post(world.bob, "/v1/searches", MLP_SEARCH)
    assert (his["reused"], his["id"] != world.alices["search_id"]) == (False, True)


def test_a_cursor_of_another_owner_shows_only_own_searches(world: World) -> None:
    _post(world.alice, "/v1/searches", MLP_SEARCH | {"fresh": True})
    cursor = world.alice.get("/v1/searches?limit=1").json()["next_cursor"]
    assert cursor
    assert world.alice.get("/v1/searches", params={"limit": 1, "cursor": cursor}).status_code == 200
    assert world.bob.get("/v1/searches", params={"limit": 1, "cursor": cursor}).status_code == 422


# without a key, or with one that allows something else


def _call(client: TestClient, world: World, path: str, method: str, about: dict[str, Any], key: str | None) -> int:
    headers = {"Authorization": f"Bearer {key}" if key else "Bearer none"}
    query = _required({p["name"]: p for p in about.get("parameters", [])}, world.alices)
    place = path.format(**{**world.alices, "search_id": UNKNOWN_ID, "verification_id": UNKNOWN_ID})
    return int(client.request(method.upper(), place, params=query, headers=headers, json={}).status_code)


def test_every_route_needs_a_key_with_its_scope(world: World) -> None:
    training = {"verifications", "measurements", "campaigns"}
    only = {scope: make_key(world.backend, "carol", {scope}) for scope in Scope}
    nothing = make_key(world.backend, "carol", set())
    tags = {tag for _, _, about in world.operations for tag in about["tags"]}
    assert tags == {tag for routers in FEATURES.values() for router in routers for tag in router.tags} | {"service"}
    for path, method, about in world.operations:
        if "service" in about["tags"]:
            assert path == "/metrics", "data of all owners need their own check"
            continue  # tests/api/test_metrics.py
        needed = Scope.READ if method == "get" else Scope.TRAIN if training & set(about["tags"]) else Scope.SEARCH
        place = f"{method} {path}"
        assert _call(world.bob, world, path, method, about, None) == 401, place
        assert _call(world.bob, world, path, method, about, nothing) == 403, place
        for scope, key in only.items():
            refused = _call(world.bob, world, path, method, about, key) == 403
            assert refused == (scope not in (needed, Scope.ADMIN)), f"{place} with {scope}"
        assert {"401", "403", "429"} <= set(about["responses"]), place
        assert about["security"] == [{"HTTPBearer": []}], place


# the matrix finds what is missing


OWNED = "Job.owner == owner"


def _modules() -> list[ModuleType]:
    """Every module of the service that filters a query by owner; jobs counts the queued jobs of an owner."""
    found = [
        import_module(about.name)
        for about in pkgutil.walk_packages(app.__path__, "app.")
        if about.name != "app.__main__"
    ]
    return [
        module for module in found if OWNED in inspect.getsource(module) and module.__name__ != "app.jobs.lifecycle"
    ]


SECOND_LOCKS = {("app.searches.repository", 0)}
"""Filters of queries whose callers have already got the search as this owner's: without them nothing can be seen."""


def _filters() -> list[tuple[ModuleType, int]]:
    """Every place in the source where a query is filtered by owner."""
    found = [(module, at) for module in _modules() for at in range(inspect.getsource(module).count(OWNED))]
    return [(module, at) for module, at in found if (module.__name__, at) not in SECOND_LOCKS]


def test_the_source_has_owner_filters() -> None:
    assert len(_filters()) > 5


def _without_filter(module: ModuleType, at: int) -> dict[str, CodeType]:
    """Compile a module with one owner filter made always true; returns the code of its functions by name."""
    parts = inspect.getsource(module).split(OWNED)
    source = OWNED.join(parts[: at + 1]) + "Job.owner == Job.owner" + OWNED.join(parts[at + 1 :])
    return {c.co_qualname: c for c in _codes(compile(source, module.__file__ or "", "exec"))}


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for holder in (module, *(kind for _, kind in inspect.getmembers(module, inspect.isclass))):
        for _, found in inspect.getmembers(holder, inspect.isfunction):
            if found.__module__ == module.__name__:
                yield found


def _forget() -> None:
    """Clear cached queries, so that they are built again with or without the filter."""
    names = [about.name for about in pkgutil.walk_packages(app.__path__, "app.") if about.name.endswith(".repository")]
    kept = [found for name in names for found in vars(import_module(name)).values() if hasattr(found, "cache_clear")]
    assert len(kept) > 1
    for found in kept:
        found.cache_clear()


@pytest.mark.parametrize(("module", "at"), _filters(), ids=lambda value: getattr(value, "__name__", value))
def test_removing_any_owner_filter_is_detected(world: World, module: ModuleType, at: int) -> None:
    changed = _without_filter(module, at)
    originals = {function: function.__code__ for function in _functions(module)}
    _forget()
    try:
        for function in originals:
            function.__code__ = changed.get(function.__qualname__, function.__code__)  # dataclasses' own have no source
        assert next(find_leaks(world), None)  # the matrix is long, and the first leak says enough
    finally:
        for function, code in originals.items():
            function.__code__ = code
        _forget()
