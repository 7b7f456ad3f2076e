"""What a row found, as one line of JSON and as a line of the table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

COUNTS = ("acked", "lost", "doubled", "stuck", "wrong")
SECONDS = ("wall", "p50", "p99")


@dataclass
class Outcome:
    """How a row went. It passed when there is no reason why it did not.

    lost: acknowledged, but not in the database. doubled: more than one row, ranking or end of one thing. stuck: not
    ended in time. wrong: another result than in a calm run, or a state or answer that contradicts what was
    acknowledged. p50, p99: seconds from a request to its end, unless the row says otherwise. notes: what else is worth
    knowing, such as how often it was killed.
    """

    row: str
    acked: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    wrong: int = 0
    wall: float = 0.0
    p50: float | None = None
    p99: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all guarantees of the row held."""
        return not self.reasons

    def require(self, reason: str, *, that: bool) -> None:
        """Fail with this reason unless something is so."""
        if not that:
            self.reasons.append(reason)

    def take_times(self, seconds: Sequence[float]) -> None:
        """Set p50 and p99."""
        if seconds:
            self.p50, self.p99 = percentile(seconds, 50), percentile(seconds, 99)

    def judge(self, wanted: int) -> None:
        """Require what every row does: all was acknowledged, and nothing went amiss."""
        self.require(f"{self.acked} acknowledged, not {wanted}", that=self.acked == wanted)
        for name in COUNTS[1:]:
            self.require(f"{getattr(self, name)} {name}", that=getattr(self, name) == 0)

    def line(self, seed: int, plant: str | None) -> str:
        """Return the row as one line of JSON."""
        figures = {name: getattr(self, name) for name in COUNTS}
        times = {name: _rounded(getattr(self, name)) for name in SECONDS}
        whole = {"row": self.row, "seed": seed, "plant": plant, "passed": self.passed, **figures, **times}
        return json.dumps(whole | {"reasons": self.reasons, "notes": self.notes})


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that a percentage of the values does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the rows as a table for people."""
    rows = [["row", "", *COUNTS, *SECONDS, "why not, and notes"]]
    for outcome in outcomes:
        times = ["-" if value is None else f"{value:.2f}" for value in (outcome.wall, outcome.p50, outcome.p99)]
        notes = ", ".join(f"{name} {value}" for name, value in outcome.notes.items())
        words = "; ".join(filter(None, [*outcome.reasons, notes]))
        counts = [str(getattr(outcome, name)) for name in COUNTS]
        rows.append([outcome.row, "ok" if outcome.passed else "FAILED", *counts, *times, words])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = (0, 1, len(widths) - 1)
    lines = (
        "  ".join(cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in enumerate(pairs))
        for pairs in ([*zip(row, widths, strict=True)] for row in rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
