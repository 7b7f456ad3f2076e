"""The documentation builds without a warning, loads nothing from other hosts, and its reference is complete."""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, is_typeddict

import pytest
import typer

from app.cli import app
from app.config import Settings
from nnmass.json_fields import FromJson
from scripts.pictures import FOLDER, pictures
from scripts.reference.commands import commands
from scripts.reference.rest import openapi

ROOT = Path(__file__).parents[1]
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
"""What a browser loads by itself, and the attribute that names it."""


class Loaded(HTMLParser):
    """Collects what a page loads, and the places that links can lead to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.places: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value for name, value in given.items() if name == LOADING.get(tag) and value]
        self.places |= {value for name, value in given.items() if name == "id" and value}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def pages(site: Path) -> Iterator[Path]:
    yield from sorted(site.rglob("*.html"))


def names(name: str, command: Any) -> Iterator[str]:
    """The commands that people are shown."""
    if not command.hidden:
        inner = getattr(command, "commands", None)
        yield from [name] if inner is None else (n for w, one in inner.items() for n in names(f"{name} {w}", one))


def loaded(site: Path, page: str) -> Loaded:
    return Loaded((site / page).read_text())


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    found = list(pages(site))
    assert len(found) > 30
    for page in found:
        assert [address for address in Loaded(page.read_text()).addresses if re.match(r"([a-z]+:)?//", address)] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", sheet.read_text()), sheet


def test_every_file_that_a_page_loads_exists(site: Path) -> None:
    for page in pages(site):
        for address in Loaded(page.read_text()).addresses:
            path = address.split("?")[0].split("#")[0]
            if path and not address.startswith("data:") and page.name != "404.html":
                assert (page.parent / path).exists(), (page, address)


def test_every_route_is_in_the_reference(site: Path) -> None:
    text = (site / "reference/rest.html").read_text()
    headings = re.findall(r"<h3[^>]*><code>(.*?)</code>", text)
    assert headings == [f"{method.upper()} {path}" for path, item in openapi()["paths"].items() for method in item]
    assert len(headings) > 30


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    text, described = (site / "reference/commands.html").read_text(), loaded(site, "reference/commands.html").places
    found = commands()
    assert [command.name for command in found] == list(names("nnmass", typer.main.get_command(app)))
    for command in found:
        assert command.anchor in described
        own = text.split(f'id="{command.anchor}"', 1)[1].split("<h2", 1)[0]
        for parameter in command.context.command.params:
            if not getattr(parameter, "hidden", False):
                named = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
                assert named is None or named.split("|")[0] in own, (command.name, named)


def test_every_setting_is_in_the_reference(site: Path) -> None:
    text = (site / "reference/settings.html").read_text()
    for name in Settings.model_fields:
        assert f"<code>NNMASS_{name.upper()}</code>" in text


def test_every_public_python_name_is_in_the_reference(site: Path) -> None:
    import nnmass

    described = loaded(site, "reference/python.html").places
    assert {f"nnmass.{name}" for name in nnmass.__all__ if not name.startswith("_")} <= described
    assert {"nnmass.Client.search", "nnmass.search_options.SearchOptions"} <= described


def inputs(value: Any) -> list[str]:
    """The parameters of a function, a method or a constructor; the fields of a class that is read by its fields."""
    if hasattr(value, "_fields") or is_typeddict(value):
        return list(value._fields if hasattr(value, "_fields") else value.__annotations__)
    if inspect.isclass(value) and issubclass(value, FromJson):
        return [name for name in vars(value)["__annotations__"] if name != "raw"]
    if inspect.isclass(value) and "__init__" not in vars(value):
        return []  # it has the parameters of its base class
    if not (inspect.isclass(value) or inspect.isfunction(value) or inspect.ismethod(value)):
        return []
    return [name for name in inspect.signature(value).parameters if name != "self"]


@pytest.mark.parametrize("page", ["python", "core", "plugin"])
def test_every_parameter_in_the_python_reference_is_described(site: Path, page: str) -> None:
    sections = re.split(r'<h\d id="(nnmass[^"]*)"', (site / f"reference/{page}.html").read_text())
    found = 0
    for name, text in zip(sections[1::2], sections[2::2], strict=True):
        owner, _, last = name.rpartition(".")
        lists = re.findall(r"(?:Parameters|Attributes):</span>(.*?)</ul>", text, re.DOTALL)
        described = re.findall(r"<b><code>(?:<span[^>]*>)?\**(\w+)(?:</span>)?</code></b>", "".join(lists))
        wanted = inputs(getattr(pkgutil.resolve_name(owner), last, None))  # None: a field without a default
        found += len(wanted)
        assert described[len(described) - len(wanted) :] == wanted, name
    assert found > 100


def test_every_name_of_the_plugin_module_is_in_the_reference(site: Path) -> None:
    from nnmass_core import plugin

    described = loaded(site, "reference/plugin.html").places
    assert {f"nnmass_core.plugin.{name}" for name in plugin.__all__} <= described


def test_pictures_of_the_docs_equal_those_that_the_library_draws() -> None:
    drawn = pictures()
    assert {path.name for path in FOLDER.glob("*.svg")} == set(drawn)
    for name, picture in drawn.items():
        assert (FOLDER / name).read_text() == picture, f"{name}: run python -m scripts.pictures"
