"""What the work of the queues requires beyond this service's own packages: torch, for everything but searches."""

from __future__ import annotations

from importlib.util import find_spec

from app.config import Settings

NEED_TORCH = ("train", "files")
"""The queues whose work requires torch."""

GET_TORCH = "in a checkout run `make serve-train` in place of `make serve`; elsewhere run `pip install 'nnmass[train]'`"
"""What to do where torch is missing."""

WITHOUT_TORCH = (
    "the service has no torch: it cannot train or measure networks, and cannot create ONNX and TorchScript files"
)


def torch_found(settings: Settings) -> bool | None:
    """Return whether the workers have torch; None where they run apart from this process, and it is not known.

    Embedded workers use the environment of this process. It is read each time: torch may be installed meanwhile.
    """
    return find_spec("torch") is not None if settings.embedded else None


def refusal(settings: Settings, queue: str) -> str | None:
    """Return why no work is accepted for a queue: it would have to fail. None where work is accepted."""
    missing = queue in NEED_TORCH and torch_found(settings) is False
    return f"{WITHOUT_TORCH}; {GET_TORCH}" if missing else None
