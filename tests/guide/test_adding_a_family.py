"""The code of docs/adding-a-family.md, installed as a package of its own beside the product as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-a-family.md"


def blocks() -> dict[str, str]:
    """Return the page's files, by name."""
    found = re.findall(
        r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return dict(found)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder for the module path with the package, and with what an installer notes of it."""
    files = blocks()
    for name in ("residual_mlp/__init__.py", "residual_mlp/net.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[name], encoding="utf-8")
    group = re.search(r'\[project\.entry-points\."([^"]+)"\]\n(.+)', files["pyproject.toml"])
    assert group is not None
    name, value = group[2].replace('"', "").split(" = ")
    noted = tmp_path / "residual_mlp-1.0.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text("Metadata-Version: 2.1\nName: residual-mlp\nVersion: 1.0\n", encoding="utf-8")
    (noted / "entry_points.txt").write_text(f"[{group[1]}]\n{name} = {value}\n", encoding="utf-8")
    return tmp_path


def test_the_family_has_fewer_than_a_hundred_lines_and_everything_works(installed: Path) -> None:
    files = blocks()
    code = files["residual_mlp/__init__.py"] + files["residual_mlp/net.py"]
    assert sum(bool(line.strip()) for line in code.splitlines()) < 100
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/guide/family.py"]
    environment = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_family_that_cannot_be_loaded_is_told_at_the_start(installed: Path) -> None:
    (installed / "residual_mlp" / "__init__.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    command = [sys.executable, "-c", "from nnmass_core.families import FAMILIES; print(list(FAMILIES))"]
    environment = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "residual_mlp" in done.stderr
