"""The code of docs/adding-a-cost.md, installed as a package of its own next to the product as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from nnmass.search_options import SearchOptions
from nnmass_core.costs import COSTS, costs_by_limit, limit_names
from tests.guide.packages import ROOT, blocks, install, python

PAGE = ROOT / "docs" / "adding-a-cost.md"
PARTS = ("app", "nnmass", "nnmass_core", "worker")
LITERAL = {
    "nnmass/search_options.py": "keyword arguments with types, which Python cannot compute",
    "app/campaigns/schemas.py": "the example of a body",
    "app/searches/schemas.py": "the example of a body",
    "app/ui/searches.py": "how the empty form is filled",
    "nnmass/__init__.py": "an example in a docstring",
    "nnmass/client/__init__.py": "an example in a docstring",
    "nnmass/local.py": "an example in a docstring",
    "nnmass/measurements.py": "an example in a docstring",
    "nnmass_core/training/calibration.py": "the limit that calibration sets on its test networks",
}
"""The files that may write the name of a limit, and why."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the page, installed once."""
    return install(PAGE, tmp_path_factory.mktemp("package"))


@pytest.fixture
def installed(package: Path, tmp_path: Path) -> Path:
    """A copy, which the test may change."""
    return Path(shutil.copytree(package, tmp_path / "installed"))


def test_the_cost_of_the_page_is_usable_everywhere(installed: Path) -> None:
    code = blocks(PAGE)["energy_cost/__init__.py"]
    assert sum(bool(line.strip()) for text in blocks(PAGE).values() for line in text.splitlines()) < 60
    assert code.count("def ") == 1
    done = python(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/guide/cost.py", seconds=280)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


ROW = "Cost(name='{}', label='energy', meaning='energy', example='5', compute={})"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("ENERGY = 'energy'", "energy_cost:ENERGY is not a Cost"),
        ("ENERGY = " + ROW.format("macs", "lambda c: c.macs"), "defines a second cost named macs"),
        ("ENERGY = " + ROW.format("slack", "lambda c: c.macs"), "has the name of another figure"),
        (
            "ENERGY = " + ROW.format("Loud", "lambda c: c.macs"),
            "characters other than lower-case letters, digits and _",
        ),
        ("ENERGY = " + ROW.format("energy", "None"), "does not say how it is computed"),
        ("ENERGY = " + ROW.format("energy", "lambda c: c.macs / 2"), "is not an integer"),
        ("ENERGY = " + ROW.format("energy", "lambda c: c.macs + 1"), "is not the sum over a network's layers"),
        ("ENERGY = " + ROW.format("energy", "lambda c: c.macs * c.params"), "is not the sum over a network's layers"),
        ("ENERGY = " + ROW.format("energy", "lambda c: c.params // 2"), "is not the sum over a network's layers"),
        ("ENERGY = " + ROW.format("energy", "lambda c: max(c.params, c.macs)"), "a.any() or a.all()"),
        ("ENERGY = " + ROW.format("energy", "lambda c: -c.macs"), "is negative"),
        ("ENERGY = " + ROW.format("weights", "lambda c: 3 * c.macs"), "uses a quantity of the engine"),
        ("ENERGY = " + ROW.format("peak", "lambda c: 3 * c.macs"), "uses a quantity of the engine"),
        ("ENERGY = " + ROW.format("energy", "lambda c: c.macs, quantity='peak'"), "uses a quantity of the engine"),
        ("ENERGY = " + ROW.format("peak_bytes", "lambda c: c.macs"), "has the option --max-peak-bytes of another cost"),
    ],
)
def test_a_cost_that_cannot_be_used_is_refused_when_it_is_loaded(installed: Path, code: str, reason: str) -> None:
    module = f"from nnmass_core.costs import Cost\n{code}\n"
    (installed / "energy_cost" / "__init__.py").write_text(module, encoding="utf-8")
    done = python(installed, "-c", "from nnmass_core.costs import COSTS; print(*COSTS)")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith(reason)


@pytest.mark.parametrize("module", ["nnmass", "app"])
@pytest.mark.parametrize("code", ["import nothing_of_this_name", "ENERGY = 'energy'"])
def test_a_command_is_ended_with_one_line_by_a_cost_that_cannot_be_used(
    installed: Path, module: str, code: str
) -> None:
    (installed / "energy_cost" / "__init__.py").write_text(f"{code}\n", encoding="utf-8")
    done = python(installed, "-m", module, "presets")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nnmass: energy_cost:ENERGY ")
    assert done.stderr.count("\n") == 1


def test_an_installed_cost_is_listed_after_the_built_in_ones(installed: Path) -> None:
    done = python(installed, "-c", "from nnmass_core.costs import COSTS; print(*COSTS)")
    assert done.stdout.split() == [*COSTS, "energy_pj"]
    assert "energy_pj" not in COSTS


def test_a_cost_of_a_package_in_a_zip_file_is_found(installed: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "packages"), "zip", installed)
    done = python(Path(archive), "-c", "from nnmass_core.costs import COSTS; print(*COSTS)")
    assert done.stdout.split() == [*COSTS, "energy_pj"]


def test_without_such_a_package_help_does_not_load_what_would_find_it(tmp_path: Path) -> None:
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('importlib.metadata' in sys.modules, file=sys.stderr))\n"
        "from app.cli import main\n"
        "sys.argv = ['nnmass', '--help']\n"
        "main()"
    )
    assert python(tmp_path, "-c", code).stderr == "False\n"


def test_only_the_table_names_limits() -> None:
    names = re.compile(rf"\b({'|'.join(costs_by_limit())})\b")
    files = [path for part in PARTS for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".html", ".js")]
    assert len(files) > 100
    naming = {
        str(path.relative_to(ROOT))
        for path in files
        if any(names.search(line.replace("budget.max_params", "")) for line in path.read_text("utf-8").splitlines())
    }
    assert naming == set(LITERAL)


def test_the_typed_options_of_a_search_have_every_limit_of_the_table() -> None:
    limits = [name for name in SearchOptions.__annotations__ if name.startswith(("max_", "min_"))]
    assert limits == limit_names()
