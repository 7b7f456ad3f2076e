"""Exit codes of commands, and errors as one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import typer

from nnmass_core.costs import NO_COSTS, costs_by_floor, costs_by_limit

FAILED, WRONG_INPUT, NOTHING_FITS, NOT_PROVED = 1, 2, 3, 4

OPTIONS = {
    "space": "the space",
    "budget.device": "--device",
    "budget.devices": "--device",
    "budget.precision": "--precision",
    "budget.batch": "--batch",
    "budget.within": "--within",
    "budget.ratio": "--ratio",
    "objective.minimize": "--minimize",
    "objective.maximize": "--maximize",
    "objective.min_nn_mass": "--min-nn-mass",
    "objective.pareto": "--pareto",
    "objective.points": "--points",
    "objective.reference": "the reference",
    "spend": "--spend",
    "spend.quantity": "--spend",
    "spend.share": "--spend",
    "exclude": "--exclude",
    "space.around": "--around",
    "space.keep": "--keep",
    "space.width": "--width",
    "space.depth": "--depth",
    "structure.widths": "--widths",
    "structure.density": "--equal-density",
    "structure.skip_channels": "--equal-skip-channels",
    "top_k": "--top-k",
    "first_rank": "--first-rank",
    "top": "--top",
    "controls": "--controls",
    "seeds": "--seeds",
    "seed": "--seed",
    "dataset": "--dataset",
    "recipe": "--recipe",
    "diversity": "--diversity",
    "time_limit_seconds": "--time-limit",
    "url": "--server",
    "key": "the API key",
    "format": "--format",
}
"""The options that set the fields of a request."""


def refuse(reason: str) -> NoReturn:
    """Exit with one clear line and code 2."""
    _end(reason, WRONG_INPUT)


def fail(reason: str) -> NoReturn:
    """Exit with one clear line and code 1."""
    _end(reason, FAILED)


def _end(reason: str, code: int) -> NoReturn:
    typer.echo(f"nnmass: {reason}", err=True)
    raise typer.Exit(code)


@contextmanager
def exit_on_error(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turn an error within the block into one line: invalid input exits with code 2, all other errors with 1.

    names: names of fields to use in place of an option's name.
    """
    from nnmass.errors import DefinitionError, NnmassError, NotFound

    limits = {f"budget.{name}": cost.option for name, cost in costs_by_limit().items()}
    limits |= {f"budget.{name}": cost.floor_option for name, cost in costs_by_floor().items()}
    limits |= {f"budget.{name}": f"--{name.replace('_', '-')}" for name in NO_COSTS}
    known = OPTIONS | limits | dict(names or {})
    try:
        yield
    except DefinitionError as error:
        said = [problem.text(_called(problem.field, known)) for problem in error.problems]
        refuse("; ".join(said) or str(error))
    except NotFound as error:
        refuse(str(error))
    except NnmassError as error:
        fail(str(error))


def _called(field: str, names: Mapping[str, str]) -> str:
    """Return the name of a field: the option that sets it, else its path."""
    if field in names:
        return names[field]
    above = max((name for name in names if name and field.startswith(f"{name}.")), key=len, default=None)
    return field if above is None or above.startswith("--") else f"{names[above]}: {field.removeprefix(above + '.')}"
