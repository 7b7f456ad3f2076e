"""Campaigns through the client and the command line, with a worker that ends trainings without torch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from app.jobs import lifecycle, rounds
from app.storage.models import Verification
from nnmass import Client, Event
from nnmass.cli import app
from nnmass.errors import InvalidRequest, NotFound, WrongState
from tests.api import trainings
from tests.api.test_verifications import SEARCH
from tests.client.service import Service, wait_until

SPACE = SEARCH["space"]
LIMIT: dict[str, Any] = {"max_params": 2500}
HOW: dict[str, Any] = {"dataset": "digits", "recipe": "mlp-paper"}


@contextmanager
def training(service: Service) -> Iterator[None]:
    """End trainings meanwhile, each with an accuracy that follows from its network."""
    ended = threading.Event()

    def train() -> None:
        while not ended.wait(0.02):
            held = service.write(lifecycle.claim, "train", "test/2", 60.0)
            if held is None:
                continue
            with service.database.read() as session:
                row = session.get_one(Verification, held.job_id)
            hits = int(row.arch_id[-3:], 16) % 10
            validated = hits / 10 if row.recipe.get("validation") else None
            trainings.finish(service.database, held, dict.fromkeys(row.seeds, hits), validated)
            rounds.advance(service.database)

    worker = threading.Thread(target=train)
    worker.start()
    yield
    ended.set()
    worker.join()


def test_a_campaign_through_the_client(service: Service, client: Client) -> None:
    began = datetime.now(UTC)
    made = client.campaign(SPACE, **HOW, strategy="random", trainings=3, confirm=1, seeds=[4], **LIMIT)
    events: list[Event] = []
    with training(service):
        ended = client.wait_campaign(made, progress=events.append, timeout=60)
    assert (ended.status, len(ended.items), events[-1].name) == ("succeeded", 4, "done")
    assert ended.result is not None
    assert ended.result.best is not None
    assert ended.result.best["accuracy"]["mean"] == max(item.accuracy or 0 for item in ended.items)
    assert (ended.result.trained, ended.items[-1].role, ended.items[-1].seeds) == (3, "confirm", (0,))
    assert client.wait_campaign(made.id) == ended
    assert [event.id for event in client.campaign_events(made)] == [event.id for event in events]
    (listed,) = client.campaigns(status="succeeded", family="densenet_mlp", created_after=began)
    assert (listed.id, listed.items) == (made.id, ())
    service.rest()
    other = client.campaign(SPACE, **HOW, strategy="top", adapt=False, artifacts=[], **LIMIT)
    assert client.cancel_campaign(other).status == "cancelled"
    for campaign in (other, made.id):
        client.delete_campaign(campaign)
    with pytest.raises(NotFound):
        client.find_campaign(other)


def test_a_campaign_plans_its_trainings_by_default(service: Service, client: Client) -> None:
    made = client.campaign(SPACE, **HOW, trainings=8, rounds=2, confirm=1, validation=0.2, seeds=[11], **LIMIT)
    assert (made.strategy, made.validation, made.recipe_name) == ("spread-fit-confirm", 0.2, "mlp-paper")
    with training(service):
        ended = client.wait_campaign(made, timeout=60)
    assert ended.result is not None
    assert ended.result.best is not None
    assert ended.result.chosen_by == "validation"
    assert ended.result.best["validation"]["mean"] == max(item.validation_accuracy or 0 for item in ended.items)
    assert ended.result.against_controls[0]["role"] == "spend"
    assert [one["fit"] is None for one in ended.choices] == [True, False]
    assert [item.predicted is None for item in ended.items] == [True] * 4 + [False] * 4 + [True]
    other = client.campaign(SPACE, **HOW, **LIMIT)
    assert (other.rounds, other.trainings, other.confirm, other.validation) == (5, 16, 3, 0.1)
    client.cancel_campaign(other)


def test_a_running_campaign_cannot_be_deleted(service: Service, client: Client) -> None:
    made = client.campaign(SPACE, **HOW, strategy="top", trainings=1, rounds=1, seeds=[5], **LIMIT)
    service.work()
    wait_until(lambda: client.find_campaign(made).status == "running")
    with pytest.raises(WrongState):
        client.delete_campaign(made)
    assert client.pause_campaign(made).paused
    assert not client.pause_campaign(made, paused=False).paused
    with pytest.raises(WrongState):
        client.change_campaign(made, trainings=2)  # in the last of its rounds
    client.cancel_campaign(made)


def test_what_the_service_refuses_names_the_field(client: Client) -> None:
    with pytest.raises(InvalidRequest, match=r"search\.top_k"):
        client.campaign(SPACE, **HOW, strategy="top", top_k=3, **LIMIT)


def test_a_campaign_through_the_command_line(service: Service, client: Client, tmp_path: Any) -> None:
    space = tmp_path / "space.json"
    space.write_text(json.dumps(SPACE))
    run = CliRunner(env={"NNMASS_SERVER": service.address})
    command = ["campaign", "--space", str(space), "--max-params", "2500", "--dataset", "digits"]
    command += ["--recipe", "mlp-paper", "--trainings", "2", "--confirm", "1"]
    with training(service):
        done = run.invoke(app, [*command, "--seeds", "7"])
    assert done.exit_code == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith((" most", " spend", " confirm"))]
    assert [" ".join(row[:2]) for row in rows] == ["most MACs", "spend 2", "confirm 3"]
    assert {row[-1] for row in rows} <= {"succeeded", "known"}
    assert "The best of 2 measured networks has a test accuracy of" in done.stdout
    assert "Next: nnmass export " in done.stdout
    service.rest()
    queued = json.loads(run.invoke(app, [*command, "--seeds", "8", "--no-wait", "--json"]).stdout)
    assert (queued["status"], queued["search"]["budget"]["max_params"]) == ("queued", 2500)
    assert run.invoke(app, ["delete", "campaign", queued["id"], "--yes"]).exit_code == 0
    for wrong, said in (
        (["--max-params", "-1"], "--max-params"),
        (["--rounds", "0"], "--rounds"),
        (["--validation", "0.7"], "--validation"),
        (["--dataset", "no"], "--dataset"),
    ):
        refused = run.invoke(app, [*command, *wrong])
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr
