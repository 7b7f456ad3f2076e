"""Named things that installed packages add to: families of networks, and costs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nnmass_core.errors import NotPossible

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

NAME = "[a-z][a-z0-9_]{0,63}"
"""The form of a name: it is written in JSON, in addresses and in the database."""

T = TypeVar("T")


def _entry_points(group: str) -> Iterable[EntryPoint]:
    """Return the entry points of a group.

    Few machines have any, and importlib.metadata takes a third of the time of `nnmass --help` to load: the files that
    it would read are searched for the group first.
    """
    files = _entry_point_files()
    if files is not None and not any(f"[{group}]" in text for text in files):
        return ()
    from importlib.metadata import entry_points

    return entry_points(group=group)


@cache
def _entry_point_files() -> tuple[str, ...] | None:
    """Return every file of entry points on the module path; None where distributions may be found in another way."""
    folders = [Path(entry) for entry in dict.fromkeys(sys.path)]
    others = [one for one in sys.meta_path if hasattr(one, "find_distributions") and one is not PathFinder]
    try:
        if others or any(folder.is_file() for folder in folders):  # a zip file
            return None
        found = (file for folder in folders for file in folder.glob("*.*-info/entry_points.txt"))
        return tuple(file.read_text(encoding="utf-8", errors="replace") for file in found)
    except OSError:  # an entry that this user may not read
        return None


class Registry(Mapping[str, T], Generic[T]):
    """Values by their names: our own, then those that installed packages register in an entry point group.

    Packages are loaded when a value is first looked up, so that they may import anything of this one. A package that
    cannot be loaded is an error: without it, what is stored could not be read.
    """

    def __init__(
        self, kind: type[T], group: str, name_of: Callable[[T], str], fault: Callable[[T], str], own: tuple[T, ...]
    ) -> None:
        """Make a registry.

        Args:
            kind: the class of its values.
            group: the entry point that packages use.
            name_of: returns the name of a value.
            fault: returns what is wrong with a value of a package, empty when nothing is.
            own: the values of this package, in order.
        """
        self._kind, self._group, self._name_of, self._fault = kind, group, name_of, fault
        self._known = {name_of(value): value for value in own}
        self._loaded = False
        self._lock = RLock()

    def __getitem__(self, name: str) -> T:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, T]:
        with self._lock:
            if not self._loaded:
                self._loaded = True  # a package that reads the registry while it is loaded finds our own values
                try:
                    self._known = self._known | self._installed()
                except BaseException:
                    self._loaded = False
                    raise
            return self._known

    def _installed(self) -> dict[str, T]:
        """Return the values of installed packages. Raises NotPossible for one that is wrong or cannot load."""
        found: dict[str, T] = {}
        code = f"bad_{self._kind.__name__.lower()}"
        for point in _entry_points(self._group):
            try:
                value = point.load()
            except Exception as error:  # the code of a package may raise any kind of error
                raise NotPossible(code, f"{point.value} cannot be loaded: {error}") from error
            if reason := self._reason(value, self._known | found):
                raise NotPossible(code, f"{point.value} {reason}")
            found[self._name_of(value)] = value
        return found

    def _reason(self, value: Any, known: Mapping[str, T]) -> str:
        """Return why a value is refused, empty when it is not."""
        if not isinstance(value, self._kind):
            return f"is not a {self._kind.__name__}"
        name = self._name_of(value)
        if not re.fullmatch(NAME, name):
            return "has a name with characters other than lower-case letters, digits and _"
        second = f"defines a second {self._kind.__name__.lower()} named {name}" if name in known else ""
        return self._fault(value) or second
