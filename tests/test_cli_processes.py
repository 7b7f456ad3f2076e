"""Commands in processes of their own: what they load, their help, completion, progress and interrupts."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import nnmass
from app.cli import app as all_commands
from nnmass.cli.progress import Bar
from tests.commands import SMALL, run

pytestmark = pytest.mark.usefixtures("no_settings_of_the_user")

ROOT = Path(__file__).parents[1]
SLOW = ("--preset", "densenet-cifar-free", "--pareto", "params,macs")
QUICK = {"typer", "numpy"}
LARGE = ("torch", "scipy", "sqlalchemy", "fastapi", "celery", "pydantic", "numpy", "rich", "httpx2", "typer", "pandas")


def probe(*arguments: str) -> set[str]:
    """Return which of the large packages a command loads."""
    code = (
        f"import sys; sys.argv = ['nnmass', *{arguments}]\nfrom nnmass.cli import main\n"
        f"try: main()\nexcept SystemExit as end: code = end.code\n"
        f"print(*[name for name in {LARGE} if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    *names, status = done.stderr.split()
    assert status == "0", done.stderr
    return set(names)


def test_the_version_is_printed_by_an_option_and_by_a_command() -> None:
    for argument in ("--version", "version"):
        done = run(argument)
        assert (done.exit_code, done.stdout) == (0, f"{nnmass.__version__}\n")
    assert probe("--version") == {"typer"}


def test_each_command_loads_only_the_packages_it_needs() -> None:
    assert probe("--help") == {"typer"}
    assert probe("search", "--help") == {"typer"}
    assert probe("search", *SMALL) == {*QUICK, "rich"}
    assert probe("search", *SMALL, "--json") == QUICK
    assert probe("search", *SMALL, "--top-k", "3", "--json") == {*QUICK, "pydantic"}  # typer converts with Pydantic
    assert probe("compress", "resnet18", "--json") == QUICK
    assert probe("export", "resnet18") == QUICK
    assert probe("diagram", "resnet18") == QUICK


@pytest.mark.parametrize(
    "command", ["", "search", "compress", "devices", "evaluate", "export", "verify", "serve", "keys", "db"]
)
def test_every_command_has_help(command: str) -> None:
    done = CliRunner().invoke(all_commands, [*filter(None, [command]), "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.stdout
    if command == "search":
        assert "3 nothing fits" in " ".join(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_suggests_commands_and_presets(shell: str) -> None:
    environment = os.environ | {"_NNMASS_COMPLETE": f"complete_{shell}", "COMP_WORDS": "nnmass sea", "COMP_CWORD": "1"}
    words = {"_TYPER_COMPLETE_ARGS": "nnmass search --preset densenet-c", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    if shell == "bash":
        words |= {"COMP_WORDS": "nnmass search --preset densenet-c", "COMP_CWORD": "3"}
    code = "import sys; sys.argv = ['nnmass']; from nnmass.cli import app; app(prog_name='nnmass')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | words,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "densenet-cifar-free" in done.stdout, done.stderr


class OnTerminal:
    """A command whose standard error is a terminal, as people have it."""

    def __init__(self, *arguments: str) -> None:
        self.terminal, end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nnmass", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=end, text=True
        )
        os.close(end)
        self.output = ""

    def wait_for(self, what: str) -> None:
        """Read until a line was printed."""
        while what not in self.output:
            self.read()

    def read(self) -> bool:
        try:
            output = os.read(self.terminal, 4096).decode()
        except OSError:  # the other end is closed
            return False
        self.output += output
        return bool(output)

    def ended(self) -> str:
        """Return what it has printed, once it has ended."""
        while self.read():
            pass
        printed, _ = self.process.communicate(timeout=30)
        os.close(self.terminal)
        return str(printed)


def test_progress_is_shown_only_on_a_terminal() -> None:
    command = OnTerminal("search", *SLOW, "--time-limit", "2", "--json")
    command.wait_for("%")
    document = json.loads(command.ended())
    assert command.process.returncode == 4
    assert document["result"]["optimal"] is False


def test_an_interrupt_shows_no_traceback() -> None:
    command = OnTerminal("search", *SLOW)
    command.wait_for("%")
    command.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert command.ended() == ""
    assert command.process.returncode == 130
    assert time.monotonic() - began < 20
    assert "Traceback" not in command.output


class Last:
    """Called by Python itself, which reports exceptions of it and does not raise them."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("more", [True, False], ids=["at the next report", "at the end"])
def test_an_interrupt_swallowed_in_a_callback_ends_the_command(monkeypatch: pytest.MonkeyPatch, *, more: bool) -> None:
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: lost.append(about.exc_type))
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with Bar() as bar:
            Last()
            assert lost == [KeyboardInterrupt]
            if more:
                bar.show("", 0.5, "half")
                pytest.fail("it went on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert signal.getsignal(signal.SIGINT) is before
