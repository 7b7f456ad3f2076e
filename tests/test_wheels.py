"""What other people install: the wheels of the library and of the service, and a checkout with everything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from nnmass_core import __version__
from scripts.wheels import PACKAGES, service_dependencies

ROOT = Path(__file__).parents[1]
SEARCH = ("search", "--preset", "densenet-cifar", "--max-params", "1M", "--max-macs", "150M")
FIND = "import sys; from importlib.util import find_spec; print(*filter(find_spec, sys.argv[1:]))"


class Environment:
    """A virtual environment of its own."""

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        """Create it. shared: packages of the environment of the tests can be imported too."""
        self.folder = folder
        venv.create(folder, with_pip=True, symlinks=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        if shared:
            (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of it in a folder that has no packages."""
        known = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NNMASS"))}
        command = [str(self.folder / "bin" / program), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=known, capture_output=True, text=True, check=False, timeout=250
        )

    def output(self, program: str, *arguments: str) -> str:
        """Run a program that succeeds, and return what it prints."""
        done = self.run(program, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, *what: str) -> None:
        """Install with pip from the configured index."""
        self.output("pip", "install", "--quiet", "--disable-pip-version-check", *what)

    def importable(self, *names: str) -> list[str]:
        """Return which top-level packages can be imported."""
        return self.output("python", "-c", FIND, *names).split()


def read(path: str) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]
    return project


def by_name(dependencies: list[str]) -> dict[str, Requirement]:
    return {requirement.name: requirement for requirement in map(Requirement, dependencies)}


def source_files(*packages: str) -> set[str]:
    files = (path for package in packages for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the wheels by the names of their distributions."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "scripts.wheels", "--build", str(folder / "build"), "--output", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=250)
    names = {name: f"{name.replace('-', '_')}-{__version__}-py3-none-any.whl" for name in PACKAGES}
    return {name: folder / file for name, file in names.items()}


def test_project_files_agree_on_what_they_need() -> None:
    root, library, service = (
        read(f"{place}pyproject.toml") for place in ("", *(f"distributions/{n}/" for n in PACKAGES))
    )
    known = by_name(root["dependencies"] + [one for extra in root["optional-dependencies"].values() for one in extra])
    for project in (library, service):
        needed = [*project.get("dependencies", []), *(n for e in project["optional-dependencies"].values() for n in e)]
        for requirement in by_name(needed).values():
            assert requirement.name == "nnmass" or requirement == known[requirement.name]
        for field in ("license", "requires-python"):
            assert project[field] == root[field]
    assert (
        by_name(library["optional-dependencies"]["train"]).keys() - {"scipy"}
        == by_name(root["optional-dependencies"]["train"]).keys()
    )
    assert len(library["dependencies"]) <= 5
    assert service_dependencies() == [f"nnmass=={__version__}", *root["dependencies"]]


@pytest.mark.slow
def test_each_wheel_has_the_files_of_its_packages_and_no_others(wheels: dict[str, Path]) -> None:
    for name, path in wheels.items():
        files = {file for file in ZipFile(path).namelist() if ".dist-info/" not in file}
        assert files == source_files(*PACKAGES[name])


@pytest.mark.slow
def test_the_library_works_without_the_service_and_the_service_joins_it(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    environment = Environment(tmp_path / "environment")
    environment.install("--constraint", str(ROOT / "constraints.txt"), str(wheels["nnmass"]))
    assert environment.importable("app", "worker", "migrations", "fastapi", "celery", "nnmass") == ["nnmass"]
    assert environment.output("python", "-c", "import nnmass; print(nnmass.__version__)") == f"{__version__}\n"
    assert environment.output("nnmass", "--version") == f"{__version__}\n"
    assert "The best of 17,836,014 architectures, proved in" in environment.output("nnmass", *SEARCH)
    assert "class " in environment.output("nnmass", "export", "resnet18")
    assert "\n  serve " not in environment.output("nnmass", "--help").split("Commands:")[1]
    for arguments in (("serve",), ("keys", "list"), ("db", "upgrade"), ("worker", "--help")):
        refused = environment.run("nnmass", *arguments)
        expected = f"nnmass: {arguments[0]} is a command of the service: pip install nnmass-service\n"
        assert (refused.returncode, refused.stderr) == (2, expected)
    refused = environment.run("nnmass", "export", "resnet18", "--format", "onnx", "-o", "resnet18.onnx")
    assert refused.returncode == 2
    assert "pip install 'nnmass[train]'" in refused.stderr

    environment.install("--no-deps", str(wheels["nnmass-service"]))
    assert "Run the service" in environment.output("nnmass", "serve", "--help")
    assert "\n  serve " in environment.output("nnmass", "--help").split("Commands:")[1]
    environment.output("pip", "uninstall", "--yes", "--quiet", "nnmass-service")
    assert environment.importable("app", "worker", "migrations", "nnmass", "nnmass_core") == ["nnmass", "nnmass_core"]
    assert environment.output("nnmass", "--version") == f"{__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--editable",)], ids=["installed", "editable"])
def test_a_checkout_installs_everything(options: tuple[str, ...], tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for package in (package for packages in PACKAGES.values() for package in packages):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, checkout)
    environment = Environment(tmp_path / "environment", shared=True)
    environment.install("--no-deps", *options, f"{checkout}[train]")
    place = Path(environment.output("python", "-c", "import app; print(app.__file__)").strip())
    assert place.is_relative_to(checkout if options else environment.folder)
    metadata = "from importlib.metadata import distribution as d; print(d('nnmass').version)"
    assert environment.output("python", "-c", metadata) == f"{__version__}+checkout\n"
    names = [package for packages in PACKAGES.values() for package in packages]
    assert environment.importable(*names) == names
    assert "Run the service" in environment.output("nnmass", "serve", "--help")
    assert "proved in" in environment.output("nnmass", *SEARCH)
    listed = environment.output("nnmass", "keys", "list", "--json", "--data-dir", str(tmp_path / "data"))
    assert json.loads(listed) == []
