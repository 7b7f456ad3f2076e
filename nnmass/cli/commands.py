"""Commands that start fast: what typer does for every command and every option is done once, or not at all."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, TypeVar, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

# untyped: values of options of any type, and parameters of typer and click, which share no type

READY = (str, int, float, bool, Enum)
"""Types whose values need no conversion and no check where an option has one already."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command that loads Pydantic only for a value to convert."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all options and arguments, also the option for help."""
        return _fast(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands that loads Pydantic only for a value to convert."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all options, also the one for help."""
        return _fast(super().get_params(ctx))


def _fast(parameters: list[Any]) -> list[Any]:
    """Let options and arguments convert only the values that need it.

    Typer converts every value with Pydantic, also one that is left out, and to load it takes a fifth of a small search.
    """
    for parameter in parameters:
        vars(parameter).setdefault("process_value", partial(_processed, parameter, parameter.process_value))
    return parameters


def _processed(parameter: Any, process: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    """Return a value that is left out, or has its type already, as it is; process any other as typer does."""
    kind = parameter.type_descriptor.annotation
    if value is None and not parameter.required:
        value = () if parameter.multiple or parameter.nargs == -1 else None
    elif not _is_ready(kind, value):
        return process(context, value)
    return value if parameter.callback is None else parameter.callback(context, parameter, value)


def _is_ready(kind: Any, value: Any) -> bool:
    """Return whether a value, or each value of an option that may be repeated, has its type already."""
    several = get_origin(kind) is list
    (one,), values = (get_args(kind), value) if several else ((kind,), [value])
    return isinstance(one, type) and issubclass(one, READY) and all(isinstance(each, one) for each in values)


class CommandLine(typer.Typer):
    """A group of commands with plain help: with rich's markup each start would load all of rich first."""

    def __init__(self, cls: type[Group] = Group, **more: Any) -> None:
        super().__init__(cls=cls, rich_markup_mode=None, **more)

    def command(self, *args: Any, **more: Any) -> Callable[[Function], Function]:
        """Add a function as a command."""
        add = super().command(*args, cls=Command, **more)
        return lambda function: add(evaluated(function))


def evaluated(function: Function) -> Function:
    """Evaluate the annotations of a function once and return it: typer evaluates those that are text four times."""
    function.__annotations__ = inspect.get_annotations(function, eval_str=True)
    return function
