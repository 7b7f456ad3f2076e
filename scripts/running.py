"""Run the embedded service during a script: started on a free port, stopped in an orderly way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

READY_WITHIN_SECONDS = 60
END_WITHIN_SECONDS = 30


@contextmanager
def service(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run the embedded service in a folder, with settings as environment variables; yields its address."""
    command = [sys.executable, "-m", "app", "serve", "--port", "0", "--data-dir", str(folder)]
    environment = os.environ | dict(settings or {})
    with (folder / "serve.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, env=environment)
    try:
        yield wait_until_ready(process, folder / "serve.log")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the service's address once it accepts requests."""
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        said = log.read_text()
        if "nnmass: ready" in said and (found := re.search(r"starting on (http://\S+?),", said)):
            return found.group(1)
        time.sleep(0.05)
    raise SystemExit(f"the service did not start:\n{log.read_text()}")
