"""Packages that pages of the documentation write out file by file, installed as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks(page: Path) -> dict[str, str]:
    """Return a page's files, by name."""
    found = re.findall(
        r'^```\w+ title="([^"]+)"\n(.*?)^```$', page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return dict(found)


def install(page: Path, place: Path) -> Path:
    """Return a folder for the module path, into which pip has installed the package of a page."""
    for name, text in blocks(page).items():
        path = place / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    folder = place / "installed"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    nothing_fetched = ["--no-index", "--no-build-isolation"]
    subprocess.run([*pip, *nothing_fetched, "--target", str(folder), str(place / "source")], check=True, timeout=120)
    return folder


def python(folder: Path, *arguments: str, seconds: int = 60) -> subprocess.CompletedProcess[str]:
    """Run Python where what is installed in a folder is found."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
