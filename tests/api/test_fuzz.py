"""Schemathesis over the whole OpenAPI document: every answer is below 500 and as described.

A normal run sends a fixed set of cases to each operation. `--fuzz-cases 20000` sends that many random cases in total,
different ones each time, and every case that schemathesis derives from the bounds in the document, and prints the
counts of requests and answers.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, Response
from schemathesis.checks import CheckFunction
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation.case import Case as AnyCase
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)
from starlette.types import Receive, Scope, Send

from tests.api.everything import OPERATIONS, Everything, everything, examples_of, operations_of
from tests.clients import ADDRESS

Case: TypeAlias = AnyCase[Any]
Operation: TypeAlias = APIOperation[Any, Any, Any, Any]

CASES, DERIVED = 10, 30
"""Cases of a plain run for each operation: random ones, and of those derived from the document."""

STEPS, WALKS = 8, 12
CHECKS = frozenset({"UndefinedStatusCode", "UndefinedContentType", "MissingContentType", "JsonSchemaError"})
"""What schemathesis calls an answer that is not described."""

UNREPORTED = {
    "GET /v1/searches/compare",  # each search once
    "POST /v1/searches",  # a range's `min` not above its `max`, images that outlast every pooling, a space too large
    "POST /v1/searches/preview",
    "POST /v1/architectures",
    "POST /v1/architectures/evaluate",
    "POST /v1/campaigns",
    "POST /v1/verifications",  # and a data set that fits the network
    "POST /v1/measurements",
    "POST /v1/devices",  # each kind of operator once
    "POST /v1/evidence/points",  # one of `arch_id` and `architecture`, and no name of the table itself
}
"""Operations that refuse some of what the document allows, since JSON Schema cannot say why."""

BESIDE_AN_ID = {"GET /v1/searches/compare", "POST /v1/searches/preview", "POST /v1/architectures/evaluate"}
"""Operations on a path that `{search_id}` or `{arch_id}` matches too: the methods of that one are answered by it."""

pytestmark = pytest.mark.timeout(3600)  # as many cases as the command line asks for


@dataclass
class Tally:
    """Counts of requests and of their answers."""

    statuses: Counter[int] = field(default_factory=Counter)
    undocumented: int = 0
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def add(self, case: Case, answer: Response) -> None:
        """Count an answer."""
        self.statuses[int(answer.status_code)] += 1
        self.slowest = sorted([*self.slowest, (round(answer.elapsed, 2), case.operation.label)])[-5:]

    def __str__(self) -> str:
        failed = sum(count for status, count in self.statuses.items() if status >= 500)
        by_status = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"fuzz: {self.statuses.total()} cases, {failed} answers >= 500, {self.undocumented} undocumented"
            f" ({by_status}); slowest {self.slowest}"
        )


FILE_OPTIONS = frozenset(("batch", "opset", "fold_batchnorm"))


@dataclass(frozen=True)
class Target:
    """A service and its document, in which path parameters are ids of what it holds."""

    service: Everything
    document: dict[str, Any]
    tally: Tally

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {} if self.service.key is None else {"Authorization": f"Bearer {self.service.key}"}

    def schema(self, document: dict[str, Any] | None = None) -> BaseSchema:
        """Return schemathesis' view of the document."""
        schema = schemathesis.openapi.from_dict(document or self.document, config=schemathesis.Config(seed=0))
        schema.config.update(base_url=ADDRESS)
        schema.config.generation.with_security_parameters = False  # the header is set, or there is none to set
        schema.config.generation.allow_x00 = False  # refused wherever it is; test_bytes sends it everywhere
        schema.app = self._requests_alone
        return schema

    async def _requests_alone(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the application's threads are not wanted"
        await self.service.app(scope, receive, send)

    def check(self, case: Case) -> None:
        """Send a case and run every check that applies on the answer."""
        answer = case.call(headers=self.headers)
        self.tally.add(case, answer)
        self.validate(answer, case)

    def validate(self, answer: Response, case: Case, **known: Any) -> None:
        """Run every check that applies on an answer. Raises FailureGroup."""
        sent = {"headers": self.headers} if self.headers else None
        try:
            case.validate_response(
                answer,
                headers=self.headers or None,
                transport_kwargs=sent,
                excluded_checks=list(_excluded(case, answer)),
                **known,
            )
        except FailureGroup as failures:
            self.tally.undocumented += any(type(failure).__name__ in CHECKS for failure in failures.exceptions)
            raise


def _excluded(case: Case, answer: Response) -> Iterator[CheckFunction]:
    if answer.status_code == HTTPStatus.MISDIRECTED_REQUEST:  # a header of chance is called Host: that is no acceptance
        yield negative_data_rejection
    # a cursor is signed and belongs to one list, a key to one request
    if case.operation.label in UNREPORTED or "cursor" in case.query or "Idempotency-Key" in case.headers:
        yield positive_data_acceptance
    if case.operation.label == "GET /v1/evidence" and "accuracy" in case.query:  # a column that was uploaded
        yield positive_data_acceptance
    if not FILE_OPTIONS.isdisjoint(case.query):  # each applies to some formats, which a document cannot say
        yield positive_data_acceptance
    # one of the verification's own seeds, which may be left out where there is one
    if "{verification_id}/export" in case.operation.label or (
        "seed" in case.query and "{verification_id}" in case.operation.label
    ):
        yield positive_data_acceptance
    if case.operation.label in BESIDE_AN_ID:
        yield unsupported_method
        yield allow_header_conformance


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    counts = Tally()
    yield counts
    if request.config.getoption("--fuzz-cases") is not None:
        capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{counts}")  # noqa: T201 - the command line asked for it


@pytest.fixture(scope="module", params=[False, True], ids=["open", "keyed"])
def target(
    request: pytest.FixtureRequest, sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory, tally: Tally
) -> Iterator[Target]:
    """A service that needs no keys, then one that needs them."""
    with everything(sqlite_file, tmp_path_factory.mktemp("fuzz"), keyed=request.param) as service:
        yield Target(service, _aimed(service), tally)


def _document(service: Everything) -> dict[str, Any]:
    document = copy.deepcopy(service.app.openapi())
    for _, _, operation in operations_of(document):
        if service.key is None:
            operation.pop("security", None)  # as the document says: not needed before the first key is made
        for parameter in operation.get("parameters", []):
            if parameter["name"] == "Prefer":
                del parameter["schema"]["examples"]  # no worker is here, so that it would wait to the end
    return document


def _aimed(service: Everything) -> dict[str, Any]:
    """Return the document with existing ids, so that cases get past `404`."""
    document = _document(service)
    for method, path, operation in operations_of(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                parameter["schema"] = {"type": "string", "enum": _pool(service, method, path, parameter["name"])}
    body = document["components"]["schemas"]["VerificationBody"]["properties"]
    body["arch_id"]["examples"] = [service.ids["arch_id"]]
    body["search"]["examples"] = [service.ids["search_id"]]
    (ids,) = document["paths"]["/v1/searches/compare"]["get"]["parameters"]
    ids["schema"]["examples"] = [f"{service.ids['search_id']},{service.waiting[-1]}"]
    return document


def _pool(service: Everything, method: str, path: str, name: str) -> list[str]:
    if path.startswith("/v1/spaces"):
        return ["densenet-tiny-free"]
    if name != "search_id" or path.endswith("/events"):  # the stream of what has not ended does not end
        return [service.ids[name]]
    *gone, kept = service.waiting
    return gone if method == "delete" else [service.ids[name], kept]


@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_to_random_requests_match_the_openapi_document(
    target: Target, label: str, pytestconfig: pytest.Config
) -> None:
    asked = pytestconfig.getoption("--fuzz-cases")
    schema = target.schema()
    operation = _operation(schema, label)
    every = list(_derived(schema, operation))
    for case in every if asked else every[:: len(every) // DERIVED + 1]:
        target.check(case)
    cases = CASES if asked is None else asked // len(OPERATIONS) // 2 + 1
    _settings(asked, cases)(given(_random(operation))(target.check))()


def _settings(asked: int | None, count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=asked is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


def _operation(schema: BaseSchema, label: str) -> Operation:
    found = (one.ok() for one in schema.get_all_operations() if isinstance(one, Ok))
    return next(operation for operation in found if operation.label == label)


def _derived(schema: BaseSchema, operation: Operation) -> Iterator[Case]:
    """Yield the cases at the bounds of the document, on both sides of each."""
    generation = schema.config.generation_for(operation=operation, phase="coverage")
    modes = list(GenerationMode)
    return schema.iter_coverage_cases(operation, generation_modes=modes, generation_config=generation)


def _random(operation: Operation) -> st.SearchStrategy[Case]:
    """Return random cases that the document allows, and cases that it forbids where possible."""
    about = operation.definition.raw
    takes = any(about.get(part) for part in ("parameters", "requestBody", "security"))
    modes = list(GenerationMode) if takes else [GenerationMode.POSITIVE]
    return st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])


def test_created_resources_exist_until_they_are_deleted(target: Target, pytestconfig: pytest.Config) -> None:
    """Calls one operation after the other with the ids from earlier answers."""
    document = _document(target.service)
    for path in [path for path in document["paths"] if path.endswith("/events")]:
        del document["paths"][path]  # the stream of a job without a worker does not end
    for _, _, operation in operations_of(document):
        if "requestBody" in operation:  # random ones are mostly refused, and then there is nowhere to go
            content = operation["requestBody"]["content"]["application/json"]
            examples = examples_of(document, content["schema"])
            # an equal search is answered with the one there is, which another step may have deleted
            content["schema"] = {"enum": [e | {"fresh": True} if "time_limit_seconds" in e else e for e in examples]}
    machine: Any = target.schema(document).as_state_machine()

    class Walk(machine):  # type: ignore[misc]
        def setup(self) -> None:
            target.service.restore()  # where a walk can go must not depend on where those before it went

        def call(self, case: Case, **_: Any) -> Response:
            answer = case.call(headers=target.headers)
            target.tally.add(case, answer)
            return answer

        def validate_response(self, response: Response, case: Case, **_: Any) -> None:
            target.validate(response, case, recorder=self.recorder)

    asked = pytestconfig.getoption("--fuzz-cases")
    Walk.run(settings=settings(_settings(asked, WALKS if asked is None else asked // 100), stateful_step_count=STEPS))
