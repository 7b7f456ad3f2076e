"""Full mode as docker-compose.yml and the Dockerfile describe it.

There is no container engine where the tests run. So the files are read and checked, and then each of our services is
started with its own command and environment, taken from the compose file, against a private PostgreSQL and Redis.
What differs from a container is in `Machine` and nowhere else.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from app.processes.uvicorn_server import GRACEFUL_SECONDS
from tests.servers import HOST, PostgresServer, RedisServer, ServerUnavailable

ROOT = Path(__file__).parents[2]
TORCH = ("train-worker", "files-worker")
WORKERS = ("search-worker", *TORCH, "sweeper")
LASTING = ("api", *WORKERS)
OURS = ("migrate", *LASTING)
STORES = ("postgres", "redis")

PASSWORD = "p@ss:w/rd"  # a database's password may hold what a URL may not
START_SECONDS = 60.0
SEARCH_SECONDS = 60.0
ENDLESS = {
    "space": "densenet-cifar-free",
    "budget": {"max_params": 3_000_000, "max_macs": 300_000_000, "max_peak_activation_bytes": 2_000_000},
    "diversity": "shape",
    "top_k": 1000,
    "time_limit_seconds": 60,
    "fresh": True,
}

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
SECRET = re.compile("PASSWORD|SECRET|TOKEN|CREDENTIAL", re.IGNORECASE)


# the compose file


def raw() -> dict[str, Any]:
    """Return the compose file, its anchors merged and its variables as written."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return parsed


def services(**variables: str) -> dict[str, dict[str, Any]]:
    """Return the services as Compose understands them with these variables in .env."""
    found: dict[str, dict[str, Any]] = _interpolated(raw()["services"], {"POSTGRES_PASSWORD": PASSWORD} | variables)
    return found


def _interpolated(node: Any, variables: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, variables) for value in node]
    return VARIABLE.sub(lambda found: _value(found, variables), node) if isinstance(node, str) else node


def _value(found: re.Match[str], variables: dict[str, str]) -> str:
    """Return a variable's value; `:-` and `:?` take an empty one for missing."""
    value = variables.get(found["name"])
    if value or (value is not None and found["kind"] is None):
        return value
    if found["kind"] == "-":
        return str(found["rest"])
    raise LookupError(found["name"])


def strings(node: Any) -> Iterator[str]:
    """Give every text in a parsed file."""
    if isinstance(node, dict):
        node = [*node.keys(), *node.values()]
    if isinstance(node, list):
        for inner in node:
            yield from strings(inner)
    elif isinstance(node, str):
        yield node


def seconds(duration: str) -> float:
    """Read a duration of seconds."""
    found = re.fullmatch(r"(\d+)s", duration)
    assert found, f"{duration}: write it in seconds"
    return float(found[1])


def example_env() -> dict[str, str]:
    """Return what .env.example sets, and what it offers behind a comment sign."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    settings = (re.fullmatch(r"(?:# )?([A-Z_]+)=(.*)", line) for line in lines)
    return {found[1]: found[2] for found in settings if found}


def test_the_compose_file_has_every_service() -> None:
    assert set(services()) == {*OURS, *STORES}


def test_only_the_api_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
    assert not any("network_mode" in service for service in services().values())


def test_a_variable_sets_the_published_address() -> None:
    assert services(NNMASS_PUBLISH="192.0.2.7:80")["api"]["ports"] == ["192.0.2.7:80:8000"]


def test_the_api_listens_beyond_loopback_and_requires_keys() -> None:
    assert "0.0.0.0" in services()["api"]["command"]
    assert services()["api"]["environment"]["NNMASS_REQUIRE_KEYS"] == "true"
    assert not [name for name, service in services().items() if "NNMASS_ALLOW_PUBLIC" in service.get("environment", {})]


@pytest.mark.parametrize("password", [None, ""])
def test_the_services_do_not_start_without_a_password(password: str | None) -> None:
    with pytest.raises(LookupError, match="POSTGRES_PASSWORD"):
        _interpolated(raw(), {} if password is None else {"POSTGRES_PASSWORD": password})


def test_the_files_contain_no_secret() -> None:
    for service in raw()["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not SECRET.search(name) or value is None or VARIABLE.fullmatch(value), name
    assert not [text for text in strings(raw()) if re.search(r"://[^/\s]*:[^/\s]*@", text)]
    assert not [name for name, value in example_env().items() if SECRET.search(name) and value]


def test_the_example_env_names_every_variable() -> None:
    used = {found["name"] for text in strings(raw()) for found in VARIABLE.finditer(text)}
    passed_on = {k for s in raw()["services"].values() for k, v in s.get("environment", {}).items() if v is None}
    assert set(example_env()) == used | passed_on


def test_all_services_have_the_same_database_and_broker() -> None:
    shared = ("NNMASS_DATABASE_URL", "NNMASS_BROKER_URL", "PGPASSWORD")
    places = {tuple(services()[name]["environment"][key] for key in shared) for name in OURS}
    assert places == {("postgresql://nnmass@postgres:5432/nnmass", "redis://redis:6379/0", PASSWORD)}


@pytest.mark.parametrize("name", [*LASTING, *STORES])
def test_permanent_services_have_a_restart_policy_and_a_health_check(name: str) -> None:
    service = services()[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert check["retries"] > 1


def test_the_schema_is_created_once_before_other_services_start() -> None:
    assert services()["migrate"]["restart"] == "no"
    assert services()["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in LASTING:
        assert services()[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_services_that_others_wait_for_have_a_health_check() -> None:
    for service in services().values():
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services()[needed]


def test_workers_wait_for_redis_and_the_api_does_not() -> None:
    for name in WORKERS:
        assert services()[name]["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert "redis" not in services()["api"]["depends_on"]


def test_the_database_has_its_own_volume() -> None:
    assert services()["postgres"]["volumes"] == ["postgres:/var/lib/postgresql/data"]
    assert list(raw()["volumes"]) == ["postgres", "training"]


def test_checkpoints_are_stored_in_a_volume() -> None:
    (volume,) = services()["train-worker"]["volumes"]
    assert services()["files-worker"]["volumes"] == [volume], "it reads the same data sets"
    assert services()["train-worker"]["shm_size"] == "2gb", "readers of images need it"
    folder = volume.removeprefix("training:")
    made = [run for run in dockerfile()["train"].arguments("RUN") if f"mkdir --parents {folder}" in run]
    assert any("chown --recursive nnmass:nnmass" in run for run in made), "a new volume takes its owner from the image"
    inside = {"HOME": "/home/nnmass", "PATH": os.environ["PATH"]}
    probe = "from app.config import Settings; s = Settings(); print(s.training_dir, s.data_root, sep='\\n')"
    reported = subprocess.run(
        [sys.executable, "-c", probe], env=inside, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert reported.stdout.split() == [f"{folder}/training", f"{folder}/datasets"]


def test_redis_has_the_noeviction_policy() -> None:
    command = services()["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_stop_grace_periods_exceed_the_shutdown_time_of_each_service() -> None:
    assert seconds(services()["api"]["stop_grace_period"]) >= GRACEFUL_SECONDS + 5
    for name in WORKERS:
        assert seconds(services()[name]["stop_grace_period"]) >= 30


def test_services_run_with_few_privileges() -> None:
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in services().values())
    for name in OURS:
        service = services()[name]
        assert service["cap_drop"] == ["ALL"]
        assert not {"privileged", "user", "cap_add"} & set(service)
        assert ("volumes" in service) == (name in TORCH)


# the Dockerfile


@dataclass(frozen=True)
class Stage:
    """One stage of the Dockerfile: its instructions, after those of what it is built from."""

    base: str
    instructions: list[tuple[str, str]]

    def arguments(self, instruction: str) -> list[str]:
        """Return the arguments of each use of an instruction, in order."""
        return [rest for name, rest in self.instructions if name == instruction]

    @property
    def copied_from(self) -> list[str]:
        """Return the stages that it takes files from."""
        return re.findall(r"(?:--from=|,from=)([\w-]+)", "\n".join(rest for _, rest in self.instructions))


def dockerfile() -> dict[str, Stage]:
    """Return the stages of the Dockerfile in order."""
    stages: dict[str, Stage] = {}
    name = ""
    for instruction, rest in _instructions():
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            inherited = stages[base] if base in stages else Stage(base, [])
            stages[name] = Stage(inherited.base, list(inherited.instructions))
        else:
            stages[name].instructions.append((instruction, rest))
    return stages


def _instructions() -> Iterator[tuple[str, str]]:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", "")
    for line in filter(str.strip, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        yield instruction, rest.strip()


def copied() -> list[str]:
    """Return every path that the Dockerfile copies from the repository."""
    copies = [rest.split() for instruction, rest in _instructions() if instruction == "COPY"]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


@pytest.mark.parametrize("name", OURS)
def test_services_are_built_from_targets_that_exist(name: str) -> None:
    build = services()[name]["build"]
    assert build == {"context": ".", "target": "train" if name in TORCH else "slim"}
    assert build["target"] in dockerfile()


@pytest.mark.parametrize("target", ["slim", "train"])
def test_images_run_as_an_unprivileged_user(target: str) -> None:
    stage = dockerfile()[target]
    user = stage.arguments("USER")[-1]
    assert user not in ("root", "0")
    assert any(f"useradd --create-home --uid 10001 {user}" in run for run in stage.arguments("RUN"))
    assert stage.instructions[-1] == ("USER", user)


def test_images_have_the_same_pinned_base() -> None:
    assert {stage.base for stage in dockerfile().values()} == {"python:3.11-slim"}


def test_the_default_image_is_slim_and_has_no_torch() -> None:
    assert list(dockerfile())[-1] == "slim"
    assert set(dockerfile()["slim"].copied_from) == {"slim-dependencies", "wheel"}
    assert not dockerfile()["slim-dependencies"].copied_from
    assert "train.txt" not in "\n".join(rest for _, rest in dockerfile()["slim"].instructions)
    assert "train.txt" not in "\n".join(rest for _, rest in dockerfile()["slim-dependencies"].instructions)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not [requirement for requirement in project["dependencies"] if "torch" in requirement]


def test_the_train_image_has_torch() -> None:
    assert "train-dependencies" in dockerfile()["train"].copied_from
    assert any("-r /requirements/train.txt" in run for run in dockerfile()["train-dependencies"].arguments("RUN"))


def test_image_requirements_equal_those_that_the_project_declares(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (run,) = dockerfile()["requirements"].arguments("RUN")
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", run], cwd=tmp_path, env=environment, check=True, timeout=30)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (tmp_path / "train.txt").read_text().splitlines() == project["optional-dependencies"]["train"]


def test_every_install_is_pinned_or_without_an_index() -> None:
    installs = [rest for name, rest in _instructions() if name == "RUN" and " install " in rest]
    assert len(installs) == 4
    pinned = "--require-hashes -r /requirements/requirements.lock", "-c /requirements/constraints.txt"
    for install in installs:
        assert any(pin in install for pin in (*pinned, "--no-deps --no-index"))


def test_the_files_name_no_registry() -> None:
    for name in ("Dockerfile", "docker-compose.yml", ".env.example"):
        assert not re.search("index-url|trusted-host|PIP_INDEX|registry", (ROOT / name).read_text(), re.IGNORECASE)
    images = [*(stage.base for stage in dockerfile().values()), *(services()[name]["image"] for name in STORES)]
    for image in images:
        assert re.fullmatch(r"[a-z]+:\d[\w.-]*", image), "an official image, with its version"


def test_the_dockerfile_fetches_nothing_with_add() -> None:
    assert {name for name, _ in _instructions()} <= {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "CMD"}


@pytest.mark.parametrize("source", copied())
def test_copied_files_exist_and_are_in_the_build_context(source: str) -> None:
    assert (ROOT / source).exists()
    ignored, *patterns = [x for x in (ROOT / ".dockerignore").read_text().splitlines() if x and not x.startswith("#")]
    assert ignored == "*"
    assert f"!{source}" in patterns


@pytest.mark.parametrize("secret", [".env", ".git", "tests", "shared"])
def test_the_build_context_excludes_private_files(secret: str) -> None:
    admitted = [x.removeprefix("!") for x in (ROOT / ".dockerignore").read_text().splitlines() if x.startswith("!")]
    assert not [pattern for pattern in admitted if fnmatch.fnmatch(secret, pattern)]


def test_the_wheel_has_every_package_that_the_project_lists() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.removesuffix("*") for package in listed} <= set(copied())


# the services themselves


@dataclass(frozen=True)
class Machine:
    """Where the services run here instead of in containers: all that is substituted in commands and environments."""

    postgres: PostgresServer
    database: str
    redis: RedisServer
    port: int
    folder: Path

    def argument(self, text: str) -> list[str]:
        """Return a word of a command: our programs are this interpreter's, and the API listens on a loopback port."""
        whole = {
            "nnmass": [sys.executable, "-m", "app"],
            "python": [sys.executable],
            "0.0.0.0": [HOST],
            "8000": [str(self.port)],
        }
        return whole.get(text) or [self.places(text)]

    def places(self, text: str) -> str:
        """Return a text with the addresses of the servers here."""
        addresses = {
            "postgres:5432/nnmass": f"{HOST}:{self.postgres.port}/{self.database}",
            "redis:6379": f"{HOST}:{self.redis.port}",
            "127.0.0.1:8000": f"{HOST}:{self.port}",
        }
        for there, here in addresses.items():
            text = text.replace(there, here)
        return text

    def environment(self, name: str) -> dict[str, str]:
        """Return a service's environment: that of the compose file and of every image, without that of the test."""
        image = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}
        ours = services()[name]["environment"]
        return image | {key: self.places(value) for key, value in ours.items() if value is not None}

    def command(self, words: list[str]) -> list[str]:
        """Return a command of the compose file as it runs here."""
        return [argument for word in words for argument in self.argument(word)]

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://{HOST}:{self.port}"


_databases = count(1)


@pytest.fixture(scope="module")
def compose_redis() -> Iterator[RedisServer]:
    """A Redis with the options that the compose file gives its own."""
    try:
        with RedisServer(extra=services()["redis"]["command"][1:]) as server:
            yield server
    except ServerUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def machine(postgres: PostgresServer, compose_redis: RedisServer, tmp_path: Path) -> Machine:
    """An empty database, migrated by the service `migrate`."""
    name = f"compose_{next(_databases)}"
    postgres.create_database(name)
    made = Machine(postgres, name, compose_redis, _free_port(), tmp_path)
    assert run(made, "migrate", services()["migrate"]["command"]) == 0
    return made


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def run(machine: Machine, name: str, words: list[str], timeout: float = START_SECONDS) -> int:
    """Run a command in the place of a service and return its exit code."""
    with (machine.folder / f"{name}.log").open("ab") as log:
        done = subprocess.run(
            machine.command(words),
            env=machine.environment(name),
            cwd=machine.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=timeout,
            check=False,
        )
    return done.returncode


def healthy(machine: Machine, name: str) -> bool:
    """Run a service's own health check."""
    check = services()[name]["healthcheck"]
    return run(machine, name, check["test"][1:], seconds(check["timeout"])) == 0


@contextmanager
def started(machine: Machine, *names: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run services, healthy when the block begins; whatever is left of them at its end is killed."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in names:
            running[name] = _start(machine, name)
        for name, process in running.items():
            wait(partial(healthy, machine, name), START_SECONDS, f"{name} is healthy")
            assert process.poll() is None, log_of(machine, name)
        yield running
    finally:
        for process in running.values():
            for left in session_of(process.pid):
                with suppress(psutil.NoSuchProcess):
                    left.kill()
            process.wait(10)


def _start(machine: Machine, name: str) -> subprocess.Popen[bytes]:
    with (machine.folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            machine.command(services()[name]["command"]),
            env=machine.environment(name),
            cwd=machine.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def session_of(leader: int) -> list[psutil.Process]:
    """Return the living processes of the session that a service was started with."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait(condition: Callable[[], bool], within: float, what: str) -> float:
    """Wait until something is so, and return how long that took."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < within, f"no success within {within} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - started_at


def log_of(machine: Machine, name: str) -> str:
    """Return the end of a service's log."""
    return (machine.folder / f"{name}.log").read_text()[-4000:]


@cache
def key_of(machine: Machine) -> str:
    """Make an API key as the compose file says, in the place of the API."""
    command = machine.command(["nnmass", "keys", "create", "--owner", "tests"])
    made = subprocess.run(command, env=machine.environment("api"), capture_output=True, text=True, check=True)
    return made.stdout.strip()


def call(machine: Machine, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request to the API and return its answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key_of(machine)}"}
    request = urllib.request.Request(machine.url + path, data, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def end(machine: Machine, name: str, process: subprocess.Popen[bytes]) -> None:
    """End a service as `docker compose stop` does, and check that none of its processes is left."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    process.wait(seconds(services()[name]["stop_grace_period"]))
    assert process.returncode in (0, -signal.SIGTERM), log_of(machine, name)
    wait(lambda: not session_of(process.pid), 2, f"all of {name} has ended")
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.servers
@pytest.mark.processes
def test_a_search_is_answered_by_all_services_together(machine: Machine) -> None:
    assert run(machine, "migrate", services()["migrate"]["command"]) == 0, "migrating again does nothing"
    with started(machine, *LASTING) as running:
        ready = call(machine, "/readyz")
        assert ready["missing"] == []
        assert {name: queue["workers"] for name, queue in ready["queues"].items()} == dict.fromkeys(
            ("search", "train", "files", "maintenance"), 1
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{machine.url}/v1/searches", timeout=10)
        search = call(machine, "/v1/searches", {"space": "densenet-tiny-free"})
        ended = _ended(machine, search["id"])
        assert ended["status"] == "succeeded", ended
        assert ended["result"]["optimal"]
        for name, process in running.items():
            end(machine, name, process)


def _ended(machine: Machine, search_id: str) -> dict[str, Any]:
    answers: list[dict[str, Any]] = []

    def look() -> bool:
        answers.append(call(machine, f"/v1/searches/{search_id}"))
        return answers[-1]["status"] not in ("queued", "running")

    wait(look, SEARCH_SECONDS, f"search {search_id} ends")
    return answers[-1]


@pytest.mark.servers
@pytest.mark.processes
def test_the_health_check_fails_without_a_worker(machine: Machine) -> None:
    assert not healthy(machine, "api")
    assert not healthy(machine, "search-worker")


@pytest.mark.servers
@pytest.mark.processes
def test_a_busy_search_worker_requeues_its_job_and_ends(machine: Machine) -> None:
    with started(machine, "api", "search-worker") as running:
        search_id = call(machine, "/v1/searches", ENDLESS)["id"]
        wait(lambda: call(machine, f"/v1/searches/{search_id}")["status"] == "running", 20, "the search runs")
        end(machine, "search-worker", running["search-worker"])
        left = call(machine, f"/v1/searches/{search_id}")
        assert (left["status"], left["attempts"]) == ("queued", 0)
        end(machine, "api", running["api"])
