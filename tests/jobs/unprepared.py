"""A module that no fork server can import."""

from __future__ import annotations

import sys

sys.exit(7)
