"""The settings' reference, from the fields that read the environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.config import SECRETS, Settings
from scripts.reference.text import code, one_line, page, table

ABOUT = """Environment variables of the service, read once when a process starts. A file in `{secrets}` of the same
name in lower case does as well. [Running nnmass](../running.md#settings) says when to set them."""

OF_THE_USER = {"data_dir": "`nnmass` in the user's data directory", "data_root": "`datasets` in the folder above"}
"""Defaults that depend on the machine."""


def settings_page() -> str:
    """Return the page."""
    about = ABOUT.format(secrets=SECRETS)
    return page("# Settings", about, table(("variable", "type", "default", "meaning"), _rows()))


def _rows() -> Iterator[Sequence[str]]:
    prefix = Settings.model_config["env_prefix"]
    for name, field in Settings.model_fields.items():
        yield code(f"{prefix}{name.upper()}"), _type(field), _default(name, field), one_line(field.description or "")


def _type(field: FieldInfo) -> str:
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind is not type(None)]
    if SecretStr in kinds:
        return "secret text"
    if all(isinstance(kind, str) for kind in kinds[1:]) and len(kinds) > 1:
        return ", ".join(code(kind) for kind in kinds[1:])
    words = {"bool": "true or false", "int": "integer", "float": "number", "str": "text", "Path": "folder"}
    return words.get(getattr(kinds[0], "__name__", ""), "texts, by commas")


def _default(name: str, field: FieldInfo) -> str:
    if name in OF_THE_USER:
        return OF_THE_USER[name]
    default = field.default
    if default is None or default == ():
        return "unset"
    return code(str(default).lower() if isinstance(default, bool) else default)
