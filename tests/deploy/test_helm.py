"""The Helm chart: its values against its schema, its manifests against the schemas of Kubernetes and the service.

helm is rarely installed where tests run. The templates are Go templates with the functions of sprig, and Debian has
both: they are rendered by `render.go` where Go is installed; otherwise those tests are skipped. Where helm is installed
too, it lints the chart and must render the same.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from fastapi.testclient import TestClient

from app.config import Settings
from app.main import create_app

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "nnmass"
GO_PATH = Path("/usr/share/gocode")
SECRET = {"secrets": {"existing": "nnmass-secrets"}}
EVERYTHING: dict[str, Any] = {
    **SECRET,
    "api": {"autoscaling": {"enabled": True}, "allowedHosts": ["nas.example.org"]},
    "search": {"autoscaling": {"enabled": True}},
    "train": {"gpus": 2, "nodeSelector": {"gpu": "h100"}},
    "storage": {"existingClaim": "theirs"},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"a": "b"},
        "hosts": ["nnmass.example.org"],
        "tls": [{"hosts": ["nnmass.example.org"], "secretName": "tls"}],
    },
    "metrics": {"token": True},
    "settings": {"NNMASS_RETENTION_DAYS": "90", "NNMASS_LOG_FORMAT": "text"},
    "images": {"pullSecrets": [{"name": "registry"}]},
}
CPU_ONLY: dict[str, Any] = {**SECRET, "train": {"gpus": 0, "tolerations": []}, "storage": {"enabled": False}}


def chart_values() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return values


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return values with others laid over them, as helm does it."""
    found = copy.deepcopy(values)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


@cache
def renderer() -> Path:
    """Return the program that renders."""
    go = shutil.which("go")
    if go is None or not (GO_PATH / "src/github.com/Masterminds/sprig").is_dir():
        pytest.skip("needs Go and sprig: apt-get install golang-go golang-github-masterminds-sprig-dev")
    program = Path(os.environ.get("TMPDIR", "/tmp")) / f"nnmass-render-{os.getpid()}"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GO_PATH),
        "GOFLAGS": "",
        "GOCACHE": f"{program}-cache",
    }
    subprocess.run(
        [go, "build", "-o", str(program), str(Path(__file__).parent / "render.go")], env=environment, check=True
    )
    shutil.rmtree(f"{program}-cache", ignore_errors=True)
    return program


@pytest.fixture(scope="module", autouse=True)
def _no_program_left() -> Any:
    yield
    if renderer.cache_info().currsize:
        renderer().unlink(missing_ok=True)
        renderer.cache_clear()


def render(more: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    seen = {
        "Values": merged(chart_values(), more),
        "Release": {"Name": "nas", "Namespace": "research", "Service": "Helm"},
        "Chart": {"Name": chart["name"], "AppVersion": chart["appVersion"]},
    }
    command = [str(renderer()), str(CHART / "templates")]
    return subprocess.run(command, input=json.dumps(seen), capture_output=True, text=True, check=False)


def manifests(more: dict[str, Any]) -> dict[str, Any]:
    """Return what the chart makes, by kind and name."""
    done = render(more)
    assert done.returncode == 0, done.stderr
    found = [one for one in yaml.safe_load_all(done.stdout) if one]
    return {f"{one['kind']} {one['metadata']['name']}": one for one in found}


def containers(made: dict[str, Any]) -> dict[str, Any]:
    """Return each container by its name."""
    pods = [one["spec"]["template"]["spec"] for one in made.values() if "template" in one.get("spec", {})]
    return {container["name"]: container for pod in pods for container in pod["containers"]}


@pytest.mark.parametrize("more", [{}, SECRET, EVERYTHING, CPU_ONLY], ids=["none", "secret", "everything", "cpu"])
def test_values_follow_the_schema(more: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(merged(chart_values(), more), schema)


@pytest.mark.parametrize(
    "wrong",
    [
        {"api": {"replicas": -1}},
        {"api": {"replica": 2}},
        {"train": {"gpus": "one"}},
        {"settings": {"DATABASE_URL": "x"}},
        {"settings": {"NNMASS_RETENTION_DAYS": 90}},
        {"settings": {"NNMASS_DATABASE_URL": "postgresql://somebody:secret@postgres/nnmass"}},
        {"settings": {"NNMASS_REQUIRE_KEYS": "false"}},
        {"images": {"slim": {"repository": ""}}},
        {"service": {"port": 0}},
    ],
)
def test_the_schema_refuses_invalid_values(wrong: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(merged(chart_values(), wrong), schema)


@pytest.mark.parametrize("more", [SECRET, EVERYTHING, CPU_ONLY], ids=["plain", "everything", "cpu"])
@pytest.mark.parametrize("version", ["1.27", "1.33"])
def test_rendered_manifests_follow_the_kubernetes_schemas(more: dict[str, Any], version: str) -> None:
    made = manifests(more)
    for manifest in made.values():
        kubernetes_validate.validate(manifest, version, strict=True)
    parts = {
        "Deployment nas-api",
        "Deployment nas-search",
        "Deployment nas-train",
        "Deployment nas-files",
        "Deployment nas-sweeper",
    }
    assert made.keys() >= parts | {"Job nas-migrate", "Service nas", "PodDisruptionBudget nas-api"}
    assert ("Ingress nas" in made) == (more is EVERYTHING)
    assert ("HorizontalPodAutoscaler nas-search" in made) == (more is EVERYTHING)
    assert ("PersistentVolumeClaim nas-training" in made) == (more is SECRET)


@pytest.mark.parametrize("more", [SECRET, EVERYTHING, CPU_ONLY], ids=["plain", "everything", "cpu"])
def test_helm_renders_the_same_manifests(more: dict[str, Any], tmp_path: Path) -> None:
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("needs helm")
    (tmp_path / "values.json").write_text(json.dumps(more), encoding="utf-8")
    given = ["--namespace", "research", "--values", str(tmp_path / "values.json")]
    subprocess.run([helm, "lint", "--strict", str(CHART), *given], check=True, capture_output=True)
    done = subprocess.run([helm, "template", "nas", str(CHART), *given], check=True, capture_output=True, text=True)
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert {f"{one['kind']} {one['metadata']['name']}": one for one in made} == manifests(more)


def test_rendering_without_a_secret_names_the_missing_value() -> None:
    done = render({})
    assert done.returncode != 0
    assert "secrets.existing: name a Secret with NNMASS_DATABASE_URL" in done.stderr


def test_commands_equal_those_of_docker_compose() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    made = containers(manifests(SECRET))
    names = {
        "api": "api",
        "search": "search-worker",
        "train": "train-worker",
        "files": "files-worker",
        "sweeper": "sweeper",
        "migrate": "migrate",
    }
    assert {name: made[name]["command"] for name in names} == {n: services[s]["command"] for n, s in names.items()}
    grace = {name: manifest["spec"]["template"]["spec"].get("terminationGracePeriodSeconds")
             for name, manifest in manifests(SECRET).items() if name.startswith("Deployment")}  # fmt: skip
    reported = {
        f"Deployment nas-{n}": int(services[s]["stop_grace_period"].rstrip("s"))
        for n, s in names.items()
        if n != "migrate"
    }
    assert grace == reported


def test_every_variable_is_a_setting_and_no_secret_is_rendered() -> None:
    known = {f"NNMASS_{name.upper()}" for name in Settings.model_fields}
    for name, container in containers(manifests(EVERYTHING)).items():
        names = [variable["name"] for variable in container["env"]]
        assert len(names) == len(set(names)), f"{name} sets a variable twice"
        for variable in container["env"]:
            assert variable["name"] in known | {"POD_IP"}, f"{name} sets {variable['name']}"
            if variable["name"] in ("NNMASS_DATABASE_URL", "NNMASS_BROKER_URL", "NNMASS_SECRET_KEY"):
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "nnmass-secrets"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    api = {variable["name"]: variable.get("value") for variable in containers(manifests(EVERYTHING))["api"]["env"]}
    assert api["NNMASS_REQUIRE_KEYS"] == "true"
    assert api["NNMASS_LOG_FORMAT"] == "text"
    hosts = str(api["NNMASS_ALLOWED_HOSTS"]).split(",")
    assert {"nas", "nas.research.svc", "nnmass.example.org", "nas.example.org"} <= set(hosts)


def test_the_api_accepts_the_pod_address_used_by_probes_and_prometheus(tmp_path: Path) -> None:
    made = containers(manifests(SECRET))
    names = [variable["name"] for variable in made["api"]["env"]]
    assert names.index("POD_IP") < names.index("NNMASS_ALLOWED_HOSTS"), "it is filled in where it was set before"
    api = {variable["name"]: variable for variable in made["api"]["env"]}
    assert api["POD_IP"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    reported = api["NNMASS_ALLOWED_HOSTS"]["value"].replace("$(POD_IP)", "10.1.2.3")
    app = create_app(Settings(data_dir=tmp_path, require_keys=True, allowed_hosts=reported))
    with TestClient(app, base_url="http://10.1.2.3:8000") as client:
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            assert client.get(made["api"][probe]["httpGet"]["path"]).status_code != 421
        assert client.get("/healthz").status_code == 200
        assert client.get("/healthz", headers={"Host": "10.1.2.4"}).status_code == 421


def test_pods_have_the_scrape_annotation_only_with_a_metrics_token() -> None:
    for more, expected in ((SECRET, False), (EVERYTHING, True)):
        pod = manifests(more)["Deployment nas-api"]["spec"]["template"]["metadata"]
        assert ("prometheus.io/scrape" in pod.get("annotations", {})) == expected


def test_a_new_training_worker_waits_for_the_gpu_of_the_old_one() -> None:
    made = manifests(SECRET)
    assert made["Deployment nas-train"]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "strategy" not in made["Deployment nas-search"]["spec"]


def test_only_training_workers_request_gpus() -> None:
    made = containers(manifests(EVERYTHING))
    for kind in ("requests", "limits"):
        assert made["train"]["resources"][kind]["nvidia.com/gpu"] == 2
        for name in ("search", "files"):
            assert "nvidia.com/gpu" not in made[name]["resources"][kind]
    assert "nvidia.com/gpu" not in json.dumps(containers(manifests(CPU_ONLY)))
    assert made["train"]["image"] == "nnmass-train:0.1.0"
    assert made["files"]["image"] == "nnmass-train:0.1.0"
    assert made["search"]["image"] == "nnmass:0.1.0"


def test_training_and_files_workers_share_the_volume_with_the_data_sets() -> None:
    made = containers(manifests(SECRET))
    volumes = {name: [mount["name"] for mount in made[name]["volumeMounts"]] for name in ("search", "files", "train")}
    assert volumes == {"search": ["tmp"], "files": ["tmp", "data"], "train": ["tmp", "shm", "data"]}


def test_the_chart_has_the_version_of_the_project() -> None:
    from nnmass_core import __version__

    assert yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"] == __version__
