"""MkDocs hooks: reference pages from the code, notebooks as pages, and files from outside docs/ that pages show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.notebook_page import page_of_notebook
from scripts.reference import pages

ROOT = Path(__file__).parents[1]
SHOWN = ("bench/results/*.json", "bench/results/*.md", "bench/results/*.svg")
"""Files outside docs/ to which pages may link; the site has them at the same path as the repository."""

FOLDER = "adr"
"""A folder that the navigation lists as a whole."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the files of a folder in the navigation: its index first, then the others by name."""
    paths = sorted(Path(config.docs_dir, FOLDER).glob("*.md"), key=lambda path: (path.stem != "index", path.name))
    names = [f"{FOLDER}/{path.name}" for path in paths]
    config.nav = [{title: names} if entry == FOLDER else {title: entry} for title, entry in _entries(config)]
    return config


def _entries(config: MkDocsConfig) -> Iterator[tuple[str, object]]:
    for item in config.nav or []:
        yield from item.items()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and files from outside docs/."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    for notebook in sorted(Path(config.docs_dir).glob("notebooks/*.ipynb")):
        place = notebook.relative_to(config.docs_dir).with_suffix(".md").as_posix()
        files.append(File.generated(config, place, content=page_of_notebook(notebook)))
    for pattern in SHOWN:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page with its links adapted to the site.

    There, files from outside docs/ are below the pages, and a notebook is a page.
    """
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(rf"\]\({re.escape(up)}\.\./(?=bench/)", f"]({up}", markdown)
    return re.sub(r"\]\((?=[./]*notebooks/)([\w/.-]+)\.ipynb\)", r"](\1.md)", markdown)
