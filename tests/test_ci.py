"""The script that CI runs, with a stand-in for make: it runs every step, shows its output and says how long it took."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAND_IN = """#!/bin/bash
echo "ran make $*"
[ "$1" != "$FAILING" ]
"""


def run_ci(folder: Path, failing: str = "") -> subprocess.CompletedProcess[str]:
    """Run .ci/run in a folder in which make does nothing, and fails at one target."""
    for name, text in (
        ("bin/make", STAND_IN),
        ("bin/chromium", "#!/bin/bash\n"),
        ("bin/go", "#!/bin/bash\n"),
        (".venv/bin/python", "#!/bin/bash\n"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    environment = os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}", "FAILING": failing}
    command = ["bash", ".ci/run"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_every_step_runs_and_has_a_row_in_the_table(tmp_path: Path) -> None:
    done = run_ci(tmp_path)
    assert done.returncode == 0, done.stderr
    targets = re.findall(r"^ran make (\S+)", done.stdout, re.MULTILINE)
    assert sorted(targets) == sorted(
        [
            "clean",
            ".venv/installed",
            ".venv-dev/installed",
            "demo",
            "check",
            "audit",
            "test",
            "test",
            "test",
            "coverage",
        ]
    )
    table = done.stdout.split("seconds  step\n")[1]
    rows = re.findall(r"^ *\d+  (.+)$", table, re.MULTILINE)
    assert rows[-1] == "all"
    assert {
        "environment of the tests",
        "demo",
        "check",
        "audit",
        "wheels",
        "servers from packages",
        "all tests",
    } <= set(rows)


@pytest.mark.parametrize(
    "target", [".venv/installed", ".venv-dev/installed", "demo", "check", "audit", "test", "coverage"]
)
def test_a_step_that_fails_fails_the_run_and_is_named_in_the_table(tmp_path: Path, target: str) -> None:
    done = run_ci(tmp_path, failing=target)
    assert done.returncode == 1
    assert f"ran make {target}" in done.stdout
    assert re.search(r"^ *\d+  .+, failed$", done.stdout, re.MULTILINE)
    assert ("all tests, failed" in done.stdout) == (target == "coverage")
