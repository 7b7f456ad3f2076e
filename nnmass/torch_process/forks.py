"""A fork server: a process that has imported torch once, and forks a process for each training. Both sides of it.

It serves one owner, a worker, and one forked process at a time. The owner sends the name of a module with the three
standard files of the process, and the forked process runs that module as `python -m` does. Then the owner asks for the
end of the process by one byte, WAIT or KILL, and reads its exit code. The server ends when its owner has ended, or
after a time without a request; a forked process ends with its server.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Self

WAIT, KILL = b"w", b"k"
LONGEST_REQUEST = 1000
STANDARD_FILES = 3
END_WITHIN_SECONDS, SERVER_ENDS_WITHIN_SECONDS = 10.0, 2.0
"""Seconds within which a process ends that is killed or has closed its output, else its server is ended with it; and
seconds within which a server ends by itself whose owner has left, else it is killed."""

PARENT_DEATH_SIGNAL, NAME = 1, 15
"""Linux's PR_SET_PDEATHSIG and PR_SET_NAME."""


def supported() -> bool:
    """Return whether a process that has imported torch can be forked here: macOS's own libraries do not allow it."""
    return sys.platform == "linux"


class Forked:
    """A forked process, with the names of a `subprocess.Popen`."""

    def __init__(self, server: ForkServer, files: tuple[int, int, int]) -> None:
        self.server = server
        self.stdin: IO[str] = os.fdopen(files[0], "w")
        self.stdout: IO[str] = os.fdopen(files[1], errors="replace")
        self.stderr: IO[str] = os.fdopen(files[2], errors="replace")
        self._code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stdout.close()
        self.stderr.close()
        with contextlib.suppress(BrokenPipeError):  # the order was not read: the process has ended before
            self.stdin.close()
        self.wait()

    def wait(self) -> int:
        """Wait for the end of the process, which has closed its output; return its exit code, as `Popen.wait`."""
        return self._end(WAIT)

    def kill(self) -> None:
        """Kill the process and its whole process group."""
        self._end(KILL)

    def _end(self, how: bytes) -> int:
        if self._code is None:
            self._code = self.server.end(how)
        return self._code


class ForkServer:
    """The owner's side of a server."""

    def __init__(self, preparing: str, idle_seconds: float, environment: Mapping[str, str]) -> None:
        """Start the server.

        Args:
            preparing: A module that the server imports before it forks. After its first fork it calls the module's
                function `prepare`, which may take seconds: the first process does not wait for it.
            idle_seconds: How long the server waits for a request before it ends.
            environment: Of the server and of what it forks.
        """
        self._connection, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(idle_seconds), preparing]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nnmass.torch_process.forks", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=environment,
            )
        self._connection.settimeout(END_WITHIN_SECONDS)
        self.alive = True

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    @property
    def output(self) -> IO[str]:
        """What the server itself prints."""
        assert self._process.stdout is not None
        return self._process.stdout

    def fork(self, module: str) -> Forked:
        """Ask for a process that runs a module, without waiting. Raises ConnectionError: the server has ended."""
        pipes = [os.pipe() for _ in range(STANDARD_FILES)]
        (input_end, our_input), (our_output, output_end), (our_errors, errors_end) = pipes
        try:
            socket.send_fds(self._connection, [module.encode()], [input_end, output_end, errors_end])
        except OSError:
            for one in (our_input, our_output, our_errors):
                os.close(one)
            self.stop()
            raise
        finally:
            for one in (input_end, output_end, errors_end):
                os.close(one)
        return Forked(self, (our_input, our_output, our_errors))

    def end(self, how: bytes) -> int:
        """Return the exit code of the forked process after its end, or that of the server if it has ended too."""
        with contextlib.suppress(OSError):
            self._connection.sendall(how)
            code = self._connection.recv(LONGEST_REQUEST)
            if code:
                return int(code)
        return self.stop()

    def stop(self) -> int:
        """End the server, and with it what it has forked; return its exit code."""
        self.alive = False
        self._connection.close()
        try:
            return self._process.wait(SERVER_ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def wait(self) -> None:
        """Wait for the server's end."""
        self._process.wait()


def main() -> None:
    """Serve; in each forked process, run the module that was requested."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    idle_seconds, preparing = float(sys.argv[2]), importlib.import_module(sys.argv[3])
    module = _serve(connection, idle_seconds, preparing.prepare)
    if module is not None:
        connection.close()
        del sys.argv[1:]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _serve(connection: socket.socket, idle_seconds: float, prepare: Callable[[], None]) -> str | None:
    """Fork a process for each request. Return the module to run in a forked process, and None at the server's end."""
    server, libc, prepared = os.getpid(), ctypes.CDLL(None), False
    while True:
        gc.collect()
        gc.freeze()  # or each process would copy what the garbage collector looks at
        connection.settimeout(idle_seconds)
        try:
            request, files, _, _ = socket.recv_fds(connection, LONGEST_REQUEST, STANDARD_FILES)
        except TimeoutError:
            return None
        if not request:  # the owner has ended
            return None
        pid = os.fork()
        if pid == 0:
            _leave_server(server, files, libc)
            return request.decode()
        with contextlib.suppress(PermissionError, ProcessLookupError):  # the process has done it itself, or has ended
            os.setpgid(pid, pid)
        for file in files:
            os.close(file)
        if not prepared:
            prepare()
            prepared = True
        connection.settimeout(None)
        how = connection.recv(1)
        if how != WAIT:
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not how:
            return None
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _leave_server(server: int, files: list[int], libc: ctypes.CDLL) -> None:
    """Become a process of its own, with its own group and standard files, that ends with the server."""
    os.setpgid(0, 0)
    libc.prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != server:  # it ended before
        os._exit(1)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    libc.prctl(NAME, b"nnmass trainer")  # for `ps -e`: the command line is the server's


if __name__ == "__main__":
    main()
