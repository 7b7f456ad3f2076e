"""Numbers as people write them: `1.2M` parameters, `300 KB` of memory."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

from nnmass_core.costs import Cost
from nnmass_core.errors import DefinitionError

Amount = int | float | str
"""A whole number, or one as a text: `150_000_000`, `1.5e8`, `"150M"`, `"320 KiB"`."""

COUNTS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
"""Prefixes of counts (params, MACs), lowercase or uppercase."""

BYTES = {f"{prefix}b" if prefix else "b": size for prefix, size in COUNTS.items()} | {
    f"{prefix}ib": 2 ** (10 * power) for power, prefix in enumerate("kmgt", start=1)
}
"""Units of memory: KB is 1,000 bytes, KiB is 1,024."""

WRITTEN = re.compile(r"(\d{1,20}|\d{1,3}(?:[,_]\d{3}){1,6})(\.\d{1,20})?(e\+?\d{1,2})?\s*([a-z]{0,3})", re.ASCII)


DURATIONS = {"us": Fraction(1, 1000), "ms": Fraction(1), "s": Fraction(1000)}
DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(us|ms|s)?", re.ASCII)


def count(amount: Amount, field: str = "") -> int:
    """Return a count: `1.2M` is 1,200,000. `field` names it in errors. Raises DefinitionError."""
    return _read(amount, COUNTS, field, "a whole number, such as 1200000 or 1.2M")


def memory(amount: Amount, field: str = "") -> int:
    """Return bytes: `300 KB` is 300,000, `300 KiB` is 307,200. `field` names it in errors. Raises DefinitionError."""
    return _read(amount, COUNTS | BYTES, field, "a whole number of bytes, such as 300000, 300KB or 293KiB")


def bound_of(cost: Cost, amount: Amount, field: str = "") -> float:
    """Return the bound of a limit in its cost's unit. `field` names it in errors. Raises DefinitionError."""
    if cost.unit in READERS:
        return READERS[cost.unit](amount, field)
    return (
        count(amount, field) if cost.whole else float(_exact(amount, COUNTS, field, "a number, such as 12.5 or 1.2M"))
    )


def milliseconds(amount: Amount, field: str = "") -> float:
    """Return milliseconds: 5, "5 ms", "0.5 s", "800 us". `field` names it in errors. Raises DefinitionError."""
    if isinstance(amount, int | float) and not isinstance(amount, bool):
        return float(amount)
    written = DURATION.fullmatch(amount.strip().lower()) if isinstance(amount, str) else None
    if written is None:
        raise DefinitionError.at(field, "not_an_amount", "must be milliseconds, such as 5, 5ms or 0.5s")
    return float(Fraction(written[1]) * DURATIONS[written[2] or "ms"])


READERS: dict[str, Callable[[Amount, str], float]] = {"bytes": memory, "ms": milliseconds}
"""The parsers of limits whose unit has its own prefixes."""


def _read(amount: Amount, units: dict[str, int], field: str, wanted: str) -> int:
    if isinstance(amount, int | float) and not isinstance(amount, bool) and amount == amount // 1:
        return int(amount)  # the caller checks its bounds
    value = _exact(amount if isinstance(amount, str) else "", units, field, wanted)
    if value.denominator != 1:
        raise DefinitionError.at(field, "not_an_integer", f"must be {wanted}")
    return value.numerator


def _exact(amount: Amount, units: dict[str, int], field: str, wanted: str) -> Fraction:
    if isinstance(amount, int | float) and not isinstance(amount, bool) and math.isfinite(amount):
        return Fraction(amount)
    written = WRITTEN.fullmatch(amount.strip().lower()) if isinstance(amount, str) else None
    if written is None or written[4] not in units:
        raise DefinitionError.at(field, "not_an_amount", f"must be {wanted}")
    whole, fraction, exponent, unit = written.groups()
    return Fraction(re.sub("[,_]", "", whole) + (fraction or "") + (exponent or "")) * units[unit]
