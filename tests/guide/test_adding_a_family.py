"""The code of docs/adding-a-family.md, installed as a package of its own beside the product as it stands."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnmass_core import plugin
from nnmass_core.families import FAMILIES
from tests.guide.packages import ROOT, blocks, install, python

PAGE = ROOT / "docs" / "adding-a-family.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the page, installed once."""
    return install(PAGE, tmp_path_factory.mktemp("package"))


@pytest.fixture
def installed(package: Path, tmp_path: Path) -> Path:
    """A copy, which the test may change."""
    return Path(shutil.copytree(package, tmp_path / "installed"))


def test_the_family_has_fewer_than_a_hundred_lines_and_everything_works(installed: Path) -> None:
    files = blocks(PAGE)
    code = files["residual_mlp/__init__.py"] + files["residual_mlp/net.py"]
    assert sum(bool(line.strip()) for line in code.splitlines()) < 100
    done = python(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/guide/family.py", seconds=280)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def imported(code: str) -> Iterator[str]:
    """The modules that some code imports, wherever it does."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def test_the_family_imports_only_the_plugin_module() -> None:
    code = "\n".join(text for name, text in blocks(PAGE).items() if name.endswith(".py"))
    ours = {name for name in imported(code) if name.split(".")[0] in ("app", "nnmass", "nnmass_core", "worker")}
    assert ours == {"nnmass_core.plugin"}


def test_the_plugin_module_has_every_name_that_it_lists_and_loads_no_torch_for_the_rest() -> None:
    assert all(getattr(plugin, name) is not None for name in plugin.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        plugin.nothing  # noqa: B018
    code = "import sys; from nnmass_core.plugin import Family, draw_wiring; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def families(path: Path) -> subprocess.CompletedProcess[str]:
    """Print the families that a process with this module path knows."""
    return python(path, "-c", "from nnmass_core.families import FAMILIES; print(*FAMILIES)")


def test_an_installed_family_is_listed_after_the_built_in_ones(installed: Path) -> None:
    assert families(installed).stdout.split() == [*FAMILIES, "residual_mlp"]
    assert "residual_mlp" not in FAMILIES


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("FAMILY = 'residual_mlp'", "residual_mlp:FAMILY is not a Family"),
        ("FAMILY = Family(ResNet, ResNetSpace)", "residual_mlp:FAMILY defines a second family named resnet"),
        ("FAMILY = Family(ResNet, WideResNetCifarSpace)", "residual_mlp:FAMILY has spaces of another family"),
        (
            "class Loud(ResNet):\n    family = 'Loud/One'\nFAMILY = Family(Loud, ResNetSpace)",
            "residual_mlp:FAMILY has a name with characters other than lower-case letters, digits and _",
        ),
    ],
)
def test_a_family_that_cannot_be_loaded_is_reported_at_the_start(installed: Path, code: str, reason: str) -> None:
    known = (
        "from nnmass_core.families import Family\n"
        "from nnmass_core.families.resnet import ResNet, ResNetSpace\n"
        "from nnmass_core.families.wide_resnet_cifar import WideResNetCifarSpace\n"
    )
    (installed / "residual_mlp" / "__init__.py").write_text(f"{known}{code}\n", encoding="utf-8")
    done = families(installed)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith(reason)


def test_no_module_of_the_product_names_the_family() -> None:
    parts = ("app", "migrations", "nnmass", "nnmass_core", "worker")
    files = [path for part in parts for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".html", ".js")]
    assert len(files) > 100
    assert not [path for path in files if "residual_mlp" in path.read_text(encoding="utf-8")]
