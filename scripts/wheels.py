"""Build the wheels that other people install: `python -m scripts.wheels [--build build/distributions] [--output dist]`.

A checkout installs as one project with all packages. Other people install one of two distributions, each with its
project file in `distributions/` (ADR 18). This copies each project file and its packages into a folder, where any build
tool can build them, and pip builds the wheel.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from nnmass_core import __version__

ROOT = Path(__file__).parents[1]
PACKAGES = {"nnmass": ("nnmass", "nnmass_core"), "nnmass-service": ("app", "migrations", "worker")}
"""The packages of each distribution."""


def stage(name: str, build: Path) -> Path:
    """Copy the files of a distribution into a folder that can be built, and return the folder."""
    folder = build / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for package in PACKAGES[name]:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "LICENSE", f"distributions/{name}/pyproject.toml"):
        shutil.copy(ROOT / file, folder)
    (folder / "VERSION").write_text(f"{__version__}\n")
    (folder / "dependencies.txt").write_text("\n".join(service_dependencies()))
    return folder


def service_dependencies() -> list[str]:
    """Return what the service needs: the library of the same version, and all that the checkout needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [f"nnmass=={__version__}", *project["dependencies"]]


def build_wheel(folder: Path, output: Path) -> None:
    """Build the wheel of a staged folder."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(output), str(folder)], check=True)


def main() -> None:
    """Build the wheels, and print where they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "distributions", help="where to copy the files")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where to write the wheels")
    given = parser.parse_args()
    for name in PACKAGES:
        for older in given.output.glob(f"{name.replace('-', '_')}-*.whl"):
            older.unlink()  # so that `dist/nnmass-*.whl` names one file
        build_wheel(stage(name, given.build), given.output)
        print(*given.output.glob(f"{name.replace('-', '_')}-{__version__}-*.whl"))


if __name__ == "__main__":
    main()
