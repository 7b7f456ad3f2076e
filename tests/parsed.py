"""A value after it was written as JSON and read back, as a client gets it."""

from __future__ import annotations

import json
from typing import Any


def parsed(value: object) -> Any:
    """Write a value as JSON and read it again."""
    return json.loads(json.dumps(value))
