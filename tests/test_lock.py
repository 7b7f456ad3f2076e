"""The lock has every package of the service, by exact version and hash, in agreement with the constraints."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
HASHES = re.compile(r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+")


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    locked, constraints = (pins((ROOT / name).read_text()) for name in ("requirements.lock", "constraints.txt"))
    assert locked
    assert locked.items() <= constraints.items()


def test_the_lock_has_every_dependency_at_a_required_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = pins((ROOT / "requirements.lock").read_text())
    for wanted in map(Requirement, project["dependencies"]):
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), wanted


def test_every_locked_package_has_hashes() -> None:
    entries = (ROOT / "requirements.lock").read_text().split("\n", 1)[1]
    rest = re.sub(r"^[A-Za-z0-9._-]+==\S+(?: ; .*?)?" + HASHES.pattern + "\n", "", entries, flags=re.MULTILINE)
    assert rest.strip() == ""
    assert "://" not in entries
