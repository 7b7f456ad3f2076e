"""Why the service may not start."""

from __future__ import annotations


class StartRefused(Exception):
    """The service cannot start here; the message is the one line shown to the user."""
