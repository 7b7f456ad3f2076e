"""Rules of the code that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_only_the_database_module_commits() -> None:
    committing = [p.name for p in sources("app", "worker", "migrations") if ".commit(" in p.read_text()]
    assert committing == ["db.py"]


def test_only_guarded_text_files_of_commands_what_a_child_wrote_and_shipped_profiles_are_parsed_as_json() -> None:
    parsing = {
        p.name
        for p in sources("app", "worker", "nnmass/cli", "nnmass/torch_process", "nnmass_core")
        if "json.loads" in p.read_text()
    }
    assert parsing == {"body_guard.py", "devices.py", "forms.py", "inputs.py", "protocol.py", "deployment.py"}


def test_api_and_worker_start_without_torch_numba_and_alembic() -> None:
    """Each of them would delay every start: torch by seconds, the others by tenths of a second."""
    imports = "app.main, app.cli, worker.celery_app, nnmass_core.scoring.batch"
    probe = f"import sys, {imports}; print(*{{'torch', 'numba', 'alembic'}} & set(sys.modules))"
    command = [sys.executable, "-c", probe]
    done = subprocess.run(command, cwd=ROOT, check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_no_room_has_more_modules_than_a_person_takes_in() -> None:
    folders = [
        folder
        for top in ("app", "nnmass", "nnmass_core", "worker")
        for folder in (ROOT / top, *(ROOT / top).rglob("*/"))
    ]
    counts = {str(f.relative_to(ROOT)): len(list(f.glob("*.py"))) for f in folders if f.name not in {"cli", "families"}}
    assert counts["app"]
    assert counts["nnmass_core"]
    assert {name: count for name, count in counts.items() if count > 14} == {}


def test_the_changelog_has_the_current_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    version = re.search(r'__version__ = "(.+)"', (ROOT / "nnmass_core/__init__.py").read_text())
    assert version is not None
    assert f"## {version.group(1)}" in changelog


UNTYPED = "dict[str, Any]"
MOST_UNTYPED = 79


def test_few_dictionaries_are_untyped_and_each_module_says_why() -> None:
    counts = {p: p.read_text().count(UNTYPED) for p in sources("app", "worker", "nnmass", "nnmass_core")}
    untyped = {str(p.relative_to(ROOT)): count for p, count in counts.items() if count}
    assert sum(untyped.values()) <= MOST_UNTYPED, untyped
    assert [name for name in untyped if "# untyped: " not in (ROOT / name).read_text()] == []
