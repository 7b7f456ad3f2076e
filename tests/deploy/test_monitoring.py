"""The dashboard and the alert rules: every metric that they name is in a real scrape, and each of ours is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.jobs import lifecycle
from app.main import create_app
from app.storage.ids import new_id
from tests.api import trainings
from tests.api.test_verifications import BODY, SEARCH
from tests.clients import client_of
from tests.conftest import Backend
from worker import search_tasks
from worker.process import Context

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "nnmass.json"
NAME = re.compile(r"\b(?:nnmass|process)_[a-z_]+\b")
OF_PROMETHEUS = {"up"}
WANTED = {
    "nnmass_http_requests", "nnmass_http_request_duration_seconds", "nnmass_queue_jobs", "nnmass_queue_oldest_seconds",
    "nnmass_jobs", "nnmass_job_duration_seconds", "nnmass_search_solver_seconds", "nnmass_training_images_per_second",
    "nnmass_workers", "nnmass_worker_last_seen_seconds", "nnmass_broker_up", "nnmass_database_up", "nnmass_build_info",
}  # fmt: skip
"""The metrics by name; the samples of a counter also end in `_total`."""


@pytest.fixture
def scrape(backend: Backend, worker: Context) -> str:
    """A scrape of a service in which something of everything has happened."""
    client = client_of(create_app(backend.settings))
    client.post("/v1/searches", json=SEARCH)
    assert search_tasks.run_next(worker)
    client.post("/v1/verifications", json=BODY)
    trainings.train_all(backend.database, [7])
    with backend.database.write() as session:
        lifecycle.beat(session, "a/1", "search")
        lifecycle.enqueue(session, new_id(), kind="search", queue="search", owner="a")
    return client.get("/metrics").text


def families(text: str) -> dict[str, set[str]]:
    """Return the names of samples by family."""
    return {f.name: {sample.name for sample in f.samples} for f in text_string_to_metric_families(text)}


def expressions(node: Any) -> Iterator[str]:
    """Give every query of a dashboard or of rules."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "definition") and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text())


def rules() -> Any:
    return yaml.safe_load((DEPLOY / "prometheus" / "nnmass.rules.yml").read_text())


def named(document: Any) -> set[str]:
    return {name for expression in expressions(document) for name in NAME.findall(expression)}


@pytest.mark.parametrize("document", [dashboard, rules])
def test_every_referenced_metric_is_in_a_scrape(scrape: str, document: Any) -> None:
    there = set().union(*families(scrape).values())
    assert len(named(document())) > 4
    assert named(document()) - there == set()


def test_every_metric_is_on_the_dashboard(scrape: str) -> None:
    ours = {name: samples for name, samples in families(scrape).items() if name.startswith("nnmass_")}
    assert set(ours) == WANTED
    shown = named(dashboard())
    for name, samples in ours.items():
        assert samples & shown, f"{name} is not shown"


def test_every_metric_is_documented() -> None:
    page = (DEPLOY.parent / "docs" / "operate" / "metrics.md").read_text()
    documented = {name.removesuffix("_total") for name in re.findall(r"`(nnmass_[a-z_]+)`", page)}
    assert documented >= WANTED


def test_every_panel_has_a_query_and_a_description() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    for panel in panels:
        assert panel["targets"], panel["title"]
        assert panel["description"], panel["title"]
        assert all(target["expr"].count("(") == target["expr"].count(")") for target in panel["targets"])
        assert panel["datasource"]["uid"] == "${datasource}", "it works with whatever Prometheus there is"


def test_every_rule_has_a_severity_and_a_summary() -> None:
    (group,) = rules()["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical"), rule
        assert rule["annotations"]["summary"], rule
        assert named(rule) or "up{" in rule["expr"]


def test_prometheus_loads_the_alert_rules() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert [(DEPLOY / "prometheus" / name).exists() for name in config["rule_files"]] == [True]
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert f'job="{job["job_name"]}"' in (DEPLOY / "prometheus" / "nnmass.rules.yml").read_text()
