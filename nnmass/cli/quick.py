"""Plain values of options read without Pydantic, which typer loads to read any: a sixth of a cold search.

Only what needs no judging is read here. Whatever is unusual, or wrong, is left to typer and its messages. It rests on
how typer keeps its readers; one that keeps them otherwise goes on reading everything itself.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

NUMBERS = {int: re.compile(r"-?[0-9]{1,15}", re.ASCII), float: re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)}
UNREAD = object()


class QuickCommand(TyperCommand):
    """A command whose plain options are read at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        _prepare(self, ctx)
        return super().parse_args(ctx, args)


class QuickGroup(TyperGroup):
    """A group of commands whose own plain options are read at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        _prepare(self, ctx)
        return super().parse_args(ctx, args)


def _prepare(command: QuickCommand | QuickGroup, ctx: Any) -> None:
    parameters: list[Any] = list(command.get_params(ctx))
    for parameter in parameters:
        if getattr(parameter, "_runtime_param", UNREAD) is None and hasattr(parameter, "type_descriptor"):
            parameter._runtime_param = _Reader()  # noqa: SLF001 - as the module says


class _Reader:
    """Stands where typer would put its own reader, and makes way for it."""

    @staticmethod
    def coerce(value: Any, param: Any, ctx: Any) -> Any:
        """Return a value as the parameter's type."""
        read = _plain(value, param)
        if read is not UNREAD:
            return read
        param._runtime_param = None  # noqa: SLF001
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _plain(value: Any, param: Any) -> Any:
    """Return a value that needs no judging as the parameter's type; UNREAD where typer is to decide."""
    kind, about = param.type_descriptor.annotation, param.type_descriptor.parameter_info
    if value is None:
        return () if param.multiple or param.nargs == -1 else None
    if param.multiple or param.nargs != 1 or about.parser is not None or not isinstance(kind, type):
        return UNREAD
    if kind is str or (isinstance(value, kind) and kind not in NUMBERS):
        return value if isinstance(value, kind) else UNREAD
    if issubclass(kind, Enum):
        return next((member for member in kind if member.value == value), UNREAD)
    if kind is Path and not (about.exists or about.resolve_path or about.path_type):
        return Path(value)
    return _number(value, kind, about) if kind in NUMBERS else UNREAD


def _number(value: Any, kind: type, about: Any) -> Any:
    text = value if isinstance(value, str) else str(value)
    if not NUMBERS[kind].fullmatch(text):
        return UNREAD
    number = kind(text)
    fits = (about.min is None or number >= about.min) and (about.max is None or number <= about.max)
    return number if fits else UNREAD
