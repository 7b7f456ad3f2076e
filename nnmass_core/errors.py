"""The errors of the core, as one tree.

NnmassError ├── DefinitionError a definition, space or request is invalid; carries one Problem for each wrong field │
└── UnknownVersion a stored form has a version that this release cannot read ├── NotPossible the operation cannot be
done here: a data set is missing, a shape does not fit └── Interrupted the caller stopped a computation
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class NnmassError(Exception):
    """Any error that this package raises deliberately."""


@dataclass(frozen=True)
class Problem:
    """One problem of one field.

    It repeats nothing of the input except the name of an unknown field.

    Args:
        field: The dotted path of the field (`cells.1.width`), empty for the value as a whole.
        code: The stable name of the problem, meant for programs.
        message: What is wrong, for people.
    """

    field: str
    code: str
    message: str

    def under(self, prefix: str) -> Problem:
        """Return the problem with `prefix` added to its field's path.

        Args:
            prefix: The dotted path of the object that contains the field; may be empty.
        """
        return Problem(join_path(prefix, self.field), self.code, self.message)

    def text(self, name: str | None = None) -> str:
        """Return the problem for people, after the field's name or the caller's name for the field.

        Args:
            name: The caller's name for the field; None stands for the field's path. With an empty one, only the message
                is returned.
        """
        name = self.field if name is None else name
        if not name:
            return self.message
        # a message is a predicate whose subject is the field ("must be at least 1"), or a complete sentence
        return f"{name} {self.message}" if self.message[:1].islower() else f"{name}: {self.message}"


class DefinitionError(NnmassError):
    """A definition is invalid; `problems` gives the reasons, field by field.

    Args:
        problems: One problem for each wrong field.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.field or 'value'}: {p.message}" for p in self.problems))

    @classmethod
    def at(cls, field: str, code: str, message: str) -> DefinitionError:
        """Return an error about one field.

        Args:
            field: The dotted path of the field, empty for the value as a whole.
            code: The stable name of the problem, meant for programs.
            message: What is wrong, for people: a predicate of the field ("must be at least 1"), or a sentence.
        """
        return cls([Problem(field, code, message)])

    def under(self, prefix: str) -> DefinitionError:
        """Return the error with `prefix` added to its fields' paths.

        Args:
            prefix: The dotted path of the object that contains the fields; may be empty.
        """
        return DefinitionError(p.under(prefix) for p in self.problems)


class UnknownVersion(DefinitionError):
    """A stored form has a version that this release cannot read."""

    def __init__(self, version: int, known: int) -> None:
        message = f"is {version}, and this release reads at most {known}; use the release that wrote it or a newer one"
        super().__init__([Problem("version", "unknown_version", message)])


class NotPossible(NnmassError):
    """The operation cannot be done here.

    Args:
        code: The stable name of the reason, meant for programs.
        message: The reason, for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Interrupted(NnmassError):
    """The caller's control stopped a computation; it returned nothing."""


def join_path(prefix: str, field: str) -> str:
    """Join two dotted paths, either of which may be empty."""
    return f"{prefix}.{field}" if prefix and field else prefix or field
