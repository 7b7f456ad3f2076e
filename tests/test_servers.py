"""The temporary servers start, crash, restart and are removed, with programs of either source."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.servers import (
    SOURCE_VARIABLE,
    PostgresServer,
    Program,
    RedisServer,
    Server,
    ServerDied,
    ServerFailed,
    ServerUnavailable,
    Source,
    choose_source,
    find_programs,
)

pytestmark = pytest.mark.servers


def require(program: Program, source: Source) -> Source:
    """Skip the test where the source does not have the program."""
    if find_programs(program, source) is None:
        pytest.skip(f"{program} is not available from {source}")
    return source


@pytest.fixture(params=list(Source))
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A running PostgreSQL server from each source."""
    with PostgresServer(require(Program.POSTGRES, request.param)) as server:
        yield server


@pytest.fixture(params=list(Source))
def redis_source(request: pytest.FixtureRequest) -> Source:
    """Each source that has Redis."""
    return require(Program.REDIS, request.param)


@pytest.fixture
def redis_server(redis_source: Source) -> Iterator[RedisServer]:
    """A running Redis server from each source."""
    with RedisServer(redis_source) as server:
        yield server


@pytest.fixture(params=[PostgresServer, RedisServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running server of each kind, from whichever source is there."""
    with request.param() as running:
        yield running


def connect(url: str) -> psycopg.Connection:
    """Connect to a SQLAlchemy URL with psycopg itself."""
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def ask(url: str, statement: str) -> object:
    """Return the only value the statement selects."""
    with connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def fill(url: str) -> None:
    """Commit one row."""
    with connect(url) as connection:
        connection.execute("CREATE TABLE stored AS SELECT 42 AS value")


def members(server: Server) -> list[psutil.Process]:
    """List every process of the server."""
    main = psutil.Process(server.pid)
    return [main, *main.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Keep those processes that have not ended."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def shared_segments() -> set[str]:
    """List the System V shared memory segments of this machine by id."""
    listing = subprocess.run(["ipcs", "-m"], check=True, capture_output=True, text=True).stdout
    return {line.split()[1] for line in listing.splitlines() if line.startswith("0x")}


def test_postgres_serves_a_loopback_url(postgres: PostgresServer) -> None:
    assert postgres.url == f"postgresql+psycopg://nnmass@127.0.0.1:{postgres.port}/postgres"
    assert ask(postgres.url, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(postgres.url, "SHOW max_connections") == "200"


def test_create_database_is_utf8_in_locale_c(postgres: PostgresServer) -> None:
    url = postgres.create_database("odd name/ü")
    assert ask(url, "SELECT current_database()") == "odd name/ü"
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert ask(url, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"


def test_postgres_preserves_data_when_killed_and_restarted(postgres: PostgresServer) -> None:
    url = postgres.create_database("crash")
    fill(url)
    with connect(url):  # a backend in a separate session, which must end too
        processes = members(postgres)
        postgres.kill()
        assert alive(processes) == []
    with pytest.raises(psycopg.OperationalError):
        connect(url)
    postgres.restart()
    assert ask(url, "SELECT value FROM stored") == 42


def test_postgres_preserves_data_after_an_immediate_stop(postgres: PostgresServer) -> None:
    fill(postgres.url)
    postgres.stop_immediate()
    assert not postgres.running
    postgres.start()
    assert ask(postgres.url, "SELECT value FROM stored") == 42
    assert "was not properly shut down" in (postgres.folder / "server.log").read_text()


def test_postgres_graceful_stop_needs_no_recovery(postgres: PostgresServer) -> None:
    fill(postgres.url)
    with connect(postgres.url):  # clients are disconnected, not waited for
        postgres.restart()
    assert ask(postgres.url, "SELECT value FROM stored") == 42
    assert "was not properly shut down" not in (postgres.folder / "server.log").read_text()


def test_postgres_recovers_when_only_the_postmaster_was_killed(postgres: PostgresServer) -> None:
    fill(postgres.url)
    with connect(postgres.url):
        os.kill(postgres.pid, signal.SIGKILL)
        postgres.restart()
    assert ask(postgres.url, "SELECT value FROM stored") == 42


@pytest.mark.parametrize(("durable", "fsync"), [(False, "off"), (True, "on")])
def test_postgres_has_the_chosen_durability(*, durable: bool, fsync: str) -> None:
    with PostgresServer(durable=durable) as server:
        assert ask(server.url, "SHOW fsync") == fsync


@pytest.mark.skipif(shutil.which("ipcs") is None, reason="ipcs is not installed")
def test_killed_postgres_leaves_no_shared_memory() -> None:
    with PostgresServer() as server:
        segment = (server.folder / "data/postmaster.pid").read_text().splitlines()[6].split()[1]
        server.kill()
        assert segment in shared_segments()
    assert segment not in shared_segments()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL over to another account")
@pytest.mark.parametrize(("mode", "copied"), [(0o700, True), (0o755, False)])
def test_wheel_is_copied_only_where_it_cannot_be_reached(*, mode: int, copied: bool) -> None:
    require(Program.POSTGRES, Source.WHEEL)
    with tempfile.TemporaryDirectory() as parent:
        programs = copy_wheel(Path(parent))
        Path(parent).chmod(mode)
        with PostgresServer(Source.WHEEL, programs=programs) as server:
            folder = server.folder
            started = Path(psutil.Process(server.pid).exe())
            assert started.is_relative_to(folder if copied else parent)
            assert ask(server.url, "SELECT 1") == 1
        assert not folder.exists()
        assert (programs / "postgres").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL over to another account")
def test_an_unreachable_temporary_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ServerUnavailable, match="set TMPDIR"):
        PostgresServer().start()
    assert list(tmp_path.iterdir()) == []


def copy_wheel(site: Path) -> Path:
    """Install a copy of the wheel in the given folder; return its programs' folder."""
    installed = find_programs(Program.POSTGRES, Source.WHEEL)
    assert installed is not None
    for name in ("pgserver", "pgserver.libs"):
        shutil.copytree(installed.parents[2] / name, site / name)
    return site / installed.relative_to(installed.parents[2])


def test_redis_serves_a_loopback_url(redis_server: RedisServer) -> None:
    assert redis_server.url == f"redis://127.0.0.1:{redis_server.port}/0"
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}


def test_redis_loses_its_data_when_killed(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("kept", 42)
        redis_server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        redis_server.restart()
        assert client.get("kept") is None


def test_durable_redis_preserves_data_when_killed(redis_source: Source) -> None:
    with RedisServer(redis_source, durable=True) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", 42)
        server.kill()
        server.restart()
        assert client.get("kept") == b"42"


def test_paused_redis_does_not_answer_until_resumed(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url, socket_timeout=0.2) as client:
        client.set("kept", 42)
        redis_server.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("kept")
        redis_server.resume()
        assert client.get("kept") == b"42"


def test_paused_redis_can_be_stopped(redis_server: RedisServer) -> None:
    redis_server.pause()
    redis_server.stop()
    assert not redis_server.running


def test_extra_arguments_come_last(redis_source: Source) -> None:
    extra = ("--maxmemory-policy", "allkeys-lru")
    with RedisServer(redis_source, extra=extra) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


def test_stop_leaves_no_process_and_preserves_the_address(server: Server) -> None:
    processes, url = members(server), server.url
    server.stop()
    assert alive(processes) == []
    assert server.url == url
    with pytest.raises(ServerFailed, match="not running"):
        _ = server.pid


def test_close_leaves_neither_process_nor_folder(server: Server) -> None:
    processes, folder = members(server), server.folder
    server.close()
    assert alive(processes) == []
    assert not folder.exists()
    server.close()


def test_start_after_close_uses_a_new_folder(server: Server) -> None:
    before = server.folder
    server.close()
    server.start()
    assert server.folder != before


def test_running_server_does_not_start_twice(server: Server) -> None:
    with pytest.raises(ServerFailed, match="already running"):
        server.start()


def test_a_port_that_is_in_use_is_reported_with_the_log_of_the_server(server: Server) -> None:
    server.stop()
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(ServerDied, match=r"(?s)its log ends:.*use"):
        server.start()
    server.start()


def test_the_first_start_tries_another_port_when_one_is_in_use(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        free = socket.socket()
        free.bind(("127.0.0.1", 0))
        ports = iter([stranger.getsockname()[1], server.port, free.getsockname()[1]])
        free.close()
        monkeypatch.setattr("tests.servers._free_port", lambda: next(ports))
        with type(server)() as other:  # neither a foreign socket nor a server of the same kind is mistaken for it
            assert other.pid != server.pid
            assert other.port not in (server.port, stranger.getsockname()[1])


@pytest.mark.parametrize(("kind", "bad"), [(PostgresServer, "--no_such_setting=1"), (RedisServer, "--no-such-setting")])
def test_failing_start_shows_the_log_and_leaves_nothing(kind: type[Server], bad: str) -> None:
    server = kind(extra=[bad])
    with pytest.raises(ServerDied, match=r"(?s)its log ends:.*no.such.setting"), server:
        pass
    with pytest.raises(ServerFailed, match="not started"):
        _ = server.folder


def test_the_variable_chooses_the_source_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    for source in Source:
        if find_programs(Program.REDIS, source):
            monkeypatch.setenv(SOURCE_VARIABLE, source)
            assert choose_source(Program.REDIS) is source
    monkeypatch.setenv(SOURCE_VARIABLE, "elsewhere")
    with pytest.raises(ServerUnavailable, match="system, wheel"):
        choose_source(Program.REDIS)


@pytest.mark.parametrize("program", list(Program))
def test_missing_programs_are_reported_with_both_ways_to_install_them(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SOURCE_VARIABLE, raising=False)
    monkeypatch.setattr("tests.servers.find_programs", lambda *_: None)
    with pytest.raises(ServerUnavailable, match=r"(?s)=system\).*PyPI package.*=wheel\)"):
        choose_source(program)


def test_interpreter_exit_ends_a_server_that_was_not_closed() -> None:
    script = "from tests.servers import RedisServer as R; s = R(); s.start(); print(s.pid, s.folder)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    pid, folder = done.stdout.split()
    assert not psutil.pid_exists(int(pid))
    assert not Path(folder).exists()
